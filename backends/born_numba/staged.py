"""Passes of rules of several stages as compiled loops over rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend import Backend
from born.backend.threads import POOL
from born.backend.update import (
    BoundUpdate,
    Check,
    GroupUpdate,
    PreparedStep,
    Scalars,
    accept,
    element_dtype,
)
from born.fusion import Program
from born.fusion.program import ELEMENT, ROWS
from born.fusion.stages import Pass
from born.raw import HostArray, RawTensor
from born_numba import rows, update
from born_numba.elements import indented
from born_numba.rounds import PARALLEL, Round
from born_numba.rows import Reduced, RowText, reduced, room_text
from born_numba.shared import shared_in
from born_numba.update import SIGNATURE, Addresses, Gathered, NumbaUpdate, compile_text
from born_numba.whole import Planned, Whole, slots_of
from born_numpy.group import HostGroup
from born_numpy.passes import Elementwise, PassKernel, Tiles
from born_numpy.staged import BoundStages, StagedUpdate
from born_numpy.waves import Plan, Wave

_CHUNK: Final = 32_768  # elements that a thread takes at a time, at least
_PER_THREAD: Final = 4  # tensors at least, if each is taken by one thread

# What the table of a call holds: the addresses of array objects, then numbers.
# Behind the last come the addresses of what is reduced, then of the inputs below rank element.
_OBJECTS, _GRADIENTS, _EXTRA, _CHUNKS, _SCALARS, _SETS, _SIZES, _FIRST = range(8)
_HEIGHT, _COLUMNS, _BLOCK, _BLOCKS, _PIECES, _NEXT, _OTHERS = range(8, 15)


class StagedLoops(StagedUpdate):
    """A program of several stages whose passes are compiled loops."""

    def __init__(
        self, backend: Backend, program: Program, dtypes: tuple[np.dtype[Any], ...]
    ) -> None:
        super().__init__(backend, program, dtypes)
        self._rounds = [
            Round(self.staged, finished) if Round.is_possible(self.staged, finished) else None
            for finished in range(len(self.totals))
        ]
        self.source += "".join(f"# whole tensors\n{x.source}\n" for x in self._rounds if x)
        self.whole = None
        if Whole.is_possible(self.staged, dtypes):
            self.whole = Whole(self.staged, dtypes)
            self.source += self.whole.source

    @override
    def together(self, sizes: Sequence[int], gathered: Any) -> list[Sequence[int]]:
        if gathered is None or not any(self._rounds):
            return super().together(sizes, gathered)
        # Enough tensors for each thread, so that all threads end at about the same time.
        total, most = sum(sizes), PARALLEL
        if total >= PARALLEL:
            most = min(total // (_PER_THREAD * POOL.workers), PARALLEL)
        small = [place for place, size in enumerate(sizes) if size <= most]
        large = [place for place, size in enumerate(sizes) if size > most]
        return [*([small] if small else []), *self.in_waves(sizes, large)]

    @override
    def go(self, wave: Wave, finished: int) -> None:
        whole = self._rounds[finished]
        if whole is not None and wave.gathered is not None and wave.plan.largest <= PARALLEL:
            whole.run(wave)
        else:
            super().go(wave, finished)

    @override
    def compile_pass(self, work: Pass) -> PassKernel:
        if not update.is_compilable(work.program, work.dtypes):
            return super().compile_pass(work)
        if self.is_elementwise(work):
            return Simple(work, NumbaUpdate(work.program, work.dtypes))
        return Loops(self, work)

    @override
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        return _Bound(self, targets, check)


class _Bound(BoundStages):
    """A staged kernel with its tensors, whose gradients are checked by a compiled loop."""

    def __init__(
        self, kernel: StagedLoops, targets: Sequence[Sequence[RawTensor]], check: Check
    ) -> None:
        super().__init__(kernel, targets, check)
        own = kernel.staged.own
        slots = [i - 1 for i in own[2:]]
        elements = [[target[0], *[target[i] for i in slots]] for target in targets]
        self.addresses = Addresses(elements, [kernel.dtypes[i] for i in own])
        self._whole, self._slots = kernel.whole, None
        if kernel.whole is not None:
            self._slots = slots_of(kernel.whole, targets)
        self._latest_whole: Planned | None = None

    @override
    def gathered(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> Any:
        found = self.addresses.gathered(numbers, gradients)
        if found is None:
            return super().gathered(numbers, gradients)
        return self.addresses, found

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        gathered = self.gathered(numbers, gradients)
        in_waves = partial(self.in_waves, numbers, gradients, gathered)
        if gathered is None or self._whole is None or self._slots is None:
            return in_waves()
        _, found = gathered
        if found.plan.size >= PARALLEL:
            return in_waves()
        planned = self._latest_whole
        if planned is None or planned.plan is not found.plan:
            planned = self._whole.planned(self.addresses, self._slots, found)
            self._latest_whole = planned
        return _WholeStep(self._whole, planned, found, in_waves)


@dataclass(slots=True)
class _WholeStep(PreparedStep):
    """A step that is one call of a loop; together with other kernels' it goes in waves."""

    whole: Whole
    planned: Planned
    gathered: Gathered
    in_waves: Callable[[], PreparedStep]
    waves: PreparedStep | None = None

    @override
    def run(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None = None,
        values: RawTensor | None = None,
        finished: int = 0,
    ) -> RawTensor | None:
        if self.whole.is_alone:
            self.whole.run(self.planned, self.gathered, scalars, sets, None)
            return None
        if self.waves is None:
            self.waves = self.in_waves()
        return self.waves.run(scalars, sets, values, finished)

    @override
    def run_all(
        self, scalars: Sequence[Scalars], sets: Sequence[int] | None, group: GroupUpdate
    ) -> bool:
        if not isinstance(group, HostGroup):
            return False
        self.whole.run(self.planned, self.gathered, scalars, sets, group)
        return True


class Simple(Elementwise):
    """A pass that is an update of one stage, as a compiled loop."""

    def __init__(self, work: Pass, kernel: NumbaUpdate) -> None:
        super().__init__(work, kernel)
        self._update = kernel

    @override
    def run(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        if wave.gathered is None or self.extra:
            super().run(wave, scalars, sets)
            return
        addresses, gathered = wave.gathered
        plan = wave.plan.made(self, lambda plan: addresses.planned(plan.numbers))
        own = wave.plan.own_of_array(gathered.addresses)
        update.run_loop(self._update.loop, plan, update.table_for(plan, own), scalars, sets)


class Loops(PassKernel):
    """A pass as one compiled loop over the rows of all tensors of a wave."""

    def __init__(self, kernel: StagedUpdate, work: Pass) -> None:
        self._by_rows = kernel.staged.by_rows
        self._work = work
        own, ops = len(kernel.staged.own), reduced(kernel.program, work)
        self.source = _source(work.program, work.dtypes, own, ops)
        self._compute = element_dtype(work.program, work.dtypes)
        pairs = list(zip(work.inputs, work.ranks, strict=True))
        self._inputs = [(ref, rank) for ref, rank in pairs if rank != ELEMENT]
        self._extra = [*(ref for ref, rank in pairs if rank == ELEMENT), *work.scratch]
        self._tiles: Tiles | None = None

    @cached_property
    def _loop(self) -> Callable[[int], int]:
        return _compiled(self.source, self._compute)

    @override
    def run(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        if wave.gathered is None:
            if self._tiles is None:
                self._tiles = Tiles(self._work)
            self._tiles.run(wave, scalars, sets)
            return
        wave.make_room(self._work)
        plan = wave.plan
        if not plan.size:
            return
        addresses, gathered = wave.gathered
        own, *_ = plan.made(self, self._planned)
        table = own.copy()
        # The names keep alive what the table knows by its address only.
        gradients = plan.own_of_array(gathered.addresses)
        table[_OBJECTS], table[_GRADIENTS] = id(addresses.objects), id(gradients)
        if self._work.scalars:
            values = np.array(scalars, np.float64, ndmin=2)
            table[_SCALARS] = id(values)
        if sets is not None:
            chosen = np.array(sets, np.int64)
            table[_SETS] = id(chosen)
        inputs = [wave.input(ref, rank) for ref, rank in self._inputs]
        if self._extra:
            extra = [
                wave.scratch(ref, place).array
                for place in range(len(plan.sizes))
                for ref in self._extra
            ]
            objects = np.fromiter(map(id, extra), np.uint64, len(extra))
            table[_EXTRA] = id(objects)
        others = [*wave.rows.values(), *wave.blocks.values(), *inputs]
        for number, array in enumerate(others, _OTHERS):  # faster than all at once: they are few
            table[number] = id(array)
        if plan.size < PARALLEL:
            self._loop(id(table))
        else:
            POOL.share(partial(self._loop, id(table)))

    def _planned(self, plan: Plan) -> tuple[HostArray, ...]:
        """The table as far as it stays the same, and the arrays that it knows."""
        chunks: list[tuple[int, int, int, int]] = []
        for place, where in enumerate(plan.layouts):
            number, total = plan.numbers[place], where.matrices * where.rows
            if not plan.sizes[place]:
                continue
            if not self._by_rows or where.blocks == 1:
                most = max(_CHUNK // (where.columns * where.block), 1) * where.block
                if not self._by_rows:
                    most = max(_CHUNK // where.columns, 1)
                chunks += [
                    (number, row, min(most, total - row), place) for row in range(0, total, most)
                ]
            else:
                chunks += [
                    (number, matrix * where.rows + row, min(where.block, where.rows - row), place)
                    for matrix in range(where.matrices)
                    for row in range(0, where.rows, where.block)
                ]
        where = plan.layouts[0]
        arrays = {
            _CHUNKS: np.array(chunks, np.int64).reshape(-1, 4),
            _SIZES: np.array(plan.sizes, np.int64),
            _FIRST: np.array(plan.first_rows, np.int64),
            _SCALARS: np.zeros((1, 0)),
            _SETS: np.zeros(len(plan.sizes), np.int64),
        }
        others = len(self._work.reductions) + len(self._inputs)
        table = np.zeros(_OTHERS + others, np.uint64)
        for place, array in arrays.items():
            table[place] = id(array)
        table[_EXTRA] = id(arrays[_SETS])  # of which nothing is read
        table[_HEIGHT:_NEXT] = (
            where.rows if self._by_rows else plan.total_rows + 1,
            where.columns,
            where.block,
            where.blocks,
            len(chunks),
        )
        return table, *arrays.values()


@cache
def _compiled(source: str, compute: np.dtype[Any]) -> Callable[[int], int]:
    names = {**globals(), **rows.names(compute), **shared_in(source, rows.SHARED)}
    loop: Callable[[int], int] = compile_text(source, "update", SIGNATURE, names)
    return loop


def _source(
    program: Program, dtypes: tuple[np.dtype[Any], ...], own: int, reductions: Reduced
) -> str:
    """The text of a pass whose first `own` arrays are the tensor's, its gradient the second."""
    row = RowText(program, dtypes, reductions)
    inputs = [i for i in range(len(dtypes)) if i in row.lower]
    lines = [
        "def update(arguments):",
        *indented(4, _setting(row, program, inputs)),
        "    while True:",
        f"        c = take(address_of(table, {_NEXT}, 8))",
        "        if c >= pieces:",
        "            return 0",
        "        chunk = address_of(chunks, c, 32)",
        "        place = load_int64(chunk, 3)",
        "        size = load_int64(sizes, place)",
    ]
    if program.scalars:
        lines.append(
            f"        numbers = address_of(scalars, load_int64(sets, place), {8 * program.scalars})"
        )
        lines += [
            f"        s{number} = real(load_float64(numbers, {number}))"
            for number in range(program.scalars)
        ]
    lines += indented(8, _arrays(row, own, [i for i in range(len(dtypes)) if i not in inputs]))
    lines += [
        "        begin = load_int64(chunk, 1)",
        "        for row in range(begin, begin + load_int64(chunk, 2)):",
        *indented(12, _row(row, program, inputs)),
    ]
    return "\n".join(lines) + "\n"


def _setting(row: RowText, program: Program, inputs: Sequence[int]) -> list[str]:
    """The lines that read a table as far as it is the same for all chunks."""
    results, others = len(row.rows), len(row.rows) + len(row.cells)
    lines = [
        "table = read64(arguments + DATA)",
        "objects = data(table, _OBJECTS)",
        "gradients = data(table, _GRADIENTS)",
        "extra = data(table, _EXTRA)",
        "chunks = data(table, _CHUNKS)",
        "scalars = data(table, _SCALARS)",
        "sets = data(table, _SETS)",
        "sizes = data(table, _SIZES)",
        "columns = load_int64(table, _COLUMNS)",
        "pieces = load_int64(table, _PIECES)",
    ]
    if row.rows:
        lines.append("firsts = data(table, _FIRST)")
    if row.columns or row.cells:
        lines.append("height = load_int64(table, _HEIGHT)")
    if row.cells:
        lines.append("block = load_int64(table, _BLOCK)")
        lines.append("blocks = load_int64(table, _BLOCKS)")
    lines += [f"result{n} = data(table, {_OTHERS + n})" for n in range(results)]
    lines += [f"at_sum{k} = data(table, {_OTHERS + n})" for n, k in enumerate(row.cells, results)]
    lines += [
        f"{_of_rows(i) if program.rank(i) == ROWS else f'at{i}'} = data(table, {_OTHERS + n})"
        for n, i in enumerate(inputs, others)
    ]
    return [*lines, *room_text([row])]


def _arrays(row: RowText, own: int, elements: Sequence[int]) -> list[str]:
    """The lines that find the arrays of a chunk's tensor."""
    extra = len(elements) - own
    lines = [
        f"arrays = address_of(objects, load_int64(chunk, 0), {8 * own})",
        f"others = address_of(extra, place, {8 * extra})",
    ]
    for place, index in enumerate(elements):
        array = f"data(arrays, {place})" if place < own else f"data(others, {place - own})"
        if place == 1:
            array = "data(gradients, place)"
        if index in row.elements:
            lines.append(f"at{index} = {array}")
    return lines


def _row(row: RowText, program: Program, inputs: Sequence[int]) -> list[str]:
    """The lines that take a row through the pass."""
    lines = ["base = row * columns", "length = min(columns, size - base)"]
    if row.columns:
        lines.append("across = row // height * columns")
    if row.cells:
        lines.append("cell = (row // height * blocks + row % height // block) * columns")
    lines += [
        f"a{i} = real(load_float64({_of_rows(i)}, row))" for i in inputs if program.rank(i) == ROWS
    ]
    lines += row.lines
    if row.rows:
        lines.append("number = load_int64(firsts, place) + row")
    return [
        *lines,
        *(f"store_float64(result{n}, number, {result})" for n, result in enumerate(row.results)),
    ]


def _of_rows(index: int) -> str:
    return f"rows{index}"
