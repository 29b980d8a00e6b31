"""Passes of rules of several stages as compiled loops over rows.

A loop computes a part of a row and keeps what is to be reduced of it, then adds that up: so the
compiler finds two simple loops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend import lanes
from born.backend.threads import POOL
from born.backend.update import BoundUpdate, Check, Scalars, accept, element_dtype
from born.fusion import ARRAY, Program, Ref
from born.fusion.program import COLUMNS, ELEMENT, REDUCTIONS, ROWS
from born.fusion.stages import Pass
from born.raw import HostArray, RawTensor
from born_numba import update
from born_numba.compiler import inlined
from born_numba.intrinsics import float64_at, put_float64
from born_numba.update import (
    SIGNATURE,
    Addresses,
    NumbaUpdate,
    compile_text,
    instruction_text,
    load_text,
    names_of,
    scalar_text,
    store_text,
    values_read,
)
from born_numpy.passes import Elementwise, PassKernel, Tiles
from born_numpy.staged import BoundStages, StagedUpdate
from born_numpy.waves import Plan, Wave

LANES: Final = lanes.LANES
_PART: Final = 4 * LANES  # elements of a row at a time: those kept stay in the first cache
_CHUNK: Final = 32_768  # elements that a thread takes at a time, at least
_PARALLEL: Final = 524_288  # elements from which a second thread pays; as for other updates

# What the table of a call holds: the addresses of array objects, then numbers.
# Behind the last come the addresses of what is reduced, then of the inputs below rank element.
_OBJECTS, _GRADIENTS, _EXTRA, _CHUNKS, _SCALARS, _SETS, _SIZES, _FIRST = range(8)
_HEIGHT, _COLUMNS, _BLOCK, _BLOCKS, _PIECES, _NEXT, _OTHERS = range(8, 15)


class StagedLoops(StagedUpdate):
    """A program of several stages whose passes are compiled loops."""

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
        self, kernel: StagedUpdate, targets: Sequence[Sequence[RawTensor]], check: Check
    ) -> None:
        super().__init__(kernel, targets, check)
        own = kernel.staged.own
        slots = [i - 1 for i in own[2:]]
        elements = [[target[0], *[target[i] for i in slots]] for target in targets]
        self.addresses = Addresses(elements, [kernel.dtypes[i] for i in own])

    @override
    def gathered(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> Any:
        found = self.addresses.gathered(numbers, gradients)
        if found is None:
            return super().gathered(numbers, gradients)
        return self.addresses, found


class Simple(Elementwise):
    """A pass that is an update of one stage, as a compiled loop."""

    def __init__(self, work: Pass, kernel: NumbaUpdate) -> None:
        super().__init__(work, kernel)
        self._loop = kernel.loop

    @override
    def run(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        if wave.gathered is None or self.extra:
            super().run(wave, scalars, sets)
            return
        addresses, gathered = wave.gathered
        plan = wave.plan.made(self, lambda plan: addresses.planned(plan.numbers))
        own = gathered.addresses[wave.plan.places]
        update.run_loop(self._loop, plan, update.table_for(plan, own), scalars, sets)


class Loops(PassKernel):
    """A pass as one compiled loop over the rows of all tensors of a wave."""

    def __init__(self, kernel: StagedUpdate, work: Pass) -> None:
        self._by_rows = kernel.staged.by_rows
        self._work = work
        ops = tuple(
            (*REDUCTIONS[kernel.program.instructions[number].op], refs)
            for number, refs in work.reductions
        )
        self.source, self._loop = _loop(work.program, work.dtypes, len(kernel.staged.own), ops)
        pairs = list(zip(work.inputs, work.ranks, strict=True))
        self._inputs = [(ref, rank) for ref, rank in pairs if rank != ELEMENT]
        self._extra = [*(ref for ref, rank in pairs if rank == ELEMENT), *work.scratch]
        self._tiles: Tiles | None = None

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
        gradients = gathered.addresses[plan.places]
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
        table[_OTHERS:] = [id(array) for array in others]
        if plan.size < _PARALLEL:
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


_Reduced = tuple[tuple[str, int | None, tuple[Ref, ...]], ...]


@cache
def _loop(
    program: Program, dtypes: tuple[np.dtype[Any], ...], own: int, reductions: _Reduced
) -> tuple[str, Callable[[int], int]]:
    source = _source(program, dtypes, own, reductions)
    names = {**globals(), "real": element_dtype(program, dtypes).type}
    return source, compile_text(source, "update", SIGNATURE, names)


def _source(
    program: Program, dtypes: tuple[np.dtype[Any], ...], own: int, reductions: _Reduced
) -> str:
    """The text of a pass whose first `own` arrays are the tensor's, its gradient the second."""
    operands = list(dict.fromkeys(ref for _, _, refs in reductions for ref in refs))
    stored = {
        index: ref
        for index, ref in zip(program.targets, program.outputs, strict=True)
        if ref != Ref(ARRAY, index)
    }
    used = values_read(program, stored)
    read = {ref.index for ref in (*used, *operands) if ref.kind == ARRAY}
    lower = [i for i in range(len(dtypes)) if program.rank(i) in (ROWS, COLUMNS)]
    elements = [i for i in range(len(dtypes)) if i not in lower]
    arrays = names_of(program)
    rows = [k for k, (_, axis, _) in enumerate(reductions) if axis != -2]
    cells = [k for k, (_, axis, _) in enumerate(reductions) if axis == -2]
    lines = [
        f"# {program.name}, computes in {element_dtype(program, dtypes).name}",
        "def update(arguments):",
        "    table = read64(arguments + DATA)",
        "    objects = memory(table, _OBJECTS)",
        "    gradients = memory(table, _GRADIENTS)",
        "    extra = memory(table, _EXTRA)",
        "    chunks = memory(table, _CHUNKS)",
        "    scalars = memory(table, _SCALARS)",
        "    sets = memory(table, _SETS)",
        "    sizes = memory(table, _SIZES)",
        "    firsts = memory(table, _FIRST)",
        "    height = np.int64(word(table, _HEIGHT))",
        "    columns = np.int64(word(table, _COLUMNS))",
        "    block = np.int64(word(table, _BLOCK))",
        "    blocks = np.int64(word(table, _BLOCKS))",
    ]
    others = [
        *(f"result{k}" for k in rows),
        *(f"sums{k}" for k in cells),
        *(arrays[i] if program.rank(i) == ROWS else f"at{i}" for i in lower),
    ]
    lines += [f"    {name} = memory(table, _OTHERS + {n})" for n, name in enumerate(others)]
    lines += [f"    kept{n} = np.empty(_PART, real)" for n in range(len(operands))]
    lines += [f"    lanes{k} = np.empty(LANES, np.float64)" for k in rows]
    lines += [
        "    while True:",
        f"        c = take(table + np.uint64({8 * _NEXT}))",
        "        if c >= np.int64(word(table, _PIECES)):",
        "            return 0",
        "        i = int64_at(chunks, 4 * c)",
        "        first_row = int64_at(chunks, 4 * c + 1)",
        "        end_row = first_row + int64_at(chunks, 4 * c + 2)",
        "        place = int64_at(chunks, 4 * c + 3)",
        "        size = int64_at(sizes, place)",
        "        k = int64_at(sets, place)",
    ]
    lines += [
        f"        s{number} = {scalar_text(program, number)}" for number in range(program.scalars)
    ]
    views: list[str] = []
    for place, index in enumerate(elements):
        if index not in stored and index not in read:
            continue
        dtype = dtypes[index]
        object_ = f"objects, {own} * i + {place}"
        if place >= own:
            object_ = f"extra, {len(elements) - own} * place + {place - own}"
        if place == 1:
            object_ = "gradients, place"
        lines.append(f"        at{index} = read64(uint64_at({object_}) + DATA)")
        views.append(f"{arrays[index]} = at{index} + start * np.uint64({dtype.itemsize})")
    for index in lower:
        if program.rank(index) == COLUMNS:
            address = f"at{index} + np.uint64(8) * np.uint64(across + first)"
            views.append(f"{arrays[index]} = {address}")
    lines += [
        "        for row in range(first_row, end_row):",
        "            base = row * columns",
        "            length = min(columns, size - base)",
        "            across = row // height * columns",
        "            cell = (row // height * blocks + row % height // block) * columns",
    ]
    lines += [
        f"            a{i} = real(float64_at({arrays[i]}, row))"
        for i in lower
        if program.rank(i) == ROWS
    ]
    for k in rows:
        start = "0.0" if reductions[k][0] == "sum" else "-np.inf"
        lines.append(f"            lanes{k}[:] = {start}")
    part = "_PART" if operands else "length"
    lines += [
        f"            for first in range(0, length, {part}):",
        f"                count = min({part}, length - first)",
        "                start = np.uint64(base + first)",
        *(f"                {view}" for view in views),
        "                for j in range(count):",
        *update.numbering(program, 20),
    ]
    for index in elements:
        if index in read:
            load = load_text(dtypes[index], arrays[index])
            lines.append(f"                    a{index} = real({load})")
    lines += [
        f"                    a{i} = real(float64_at({arrays[i]}, j))"
        for i in lower
        if program.rank(i) == COLUMNS
    ]
    for number, (op, args) in enumerate(program.instructions):
        lines.append(f"                    r{number} = {instruction_text(op, args)}")
    lines += [f"                    kept{n}[j] = {ref}" for n, ref in enumerate(operands)]
    for index, ref in stored.items():
        line = store_text(dtypes[index], arrays[index], str(ref))
        lines.append(f"                    {line}")
    lines += _reducing(reductions, operands)
    return "\n".join(lines) + "\n"


def _reducing(reductions: _Reduced, operands: Sequence[Ref]) -> list[str]:
    """The lines that add up what a part of a row has left, and behind the row, its lanes."""
    parts: list[str] = []
    rows: list[str] = []
    for k, (name, axis, refs) in enumerate(reductions):
        known = list(dict.fromkeys(refs))
        how = name if len(refs) == 1 else "squares" if len(known) == 1 else "products"
        kept = ", ".join(f"kept{operands.index(ref)}" for ref in known)
        if axis == -2:
            parts.append(
                f"{how}_below(sums{k} + np.uint64(8) * np.uint64(cell + first), {kept}, count)"
            )
            continue
        parts.append(f"{how}_of_part(lanes{k}, {kept}, count)")
        joined = f"joined_{name}(lanes{k})"
        rows.append(f"put_float64(result{k}, int64_at(firsts, place) + row, {joined})")
    return [
        *(f"                {line}" for line in parts),
        *(f"            {line}" for line in rows),
    ]


# -- what loops call, compiled once for all of them --

# A place that is unsigned is not negative, which the compiler would otherwise ask of each element.


@inlined
def sum_of_part(lanes: Any, x: Any, count: Any) -> None:
    """Add the elements of a part to the lanes."""
    if count == _PART:
        for lane in range(LANES):
            total = lanes[lane] + np.float64(x[lane])
            for turn in range(LANES, _PART, LANES):
                total += np.float64(x[lane + turn])
            lanes[lane] = total
        return
    for turn in range(0, count, LANES):
        for lane in range(min(LANES, count - turn)):
            lanes[lane] += np.float64(x[np.uint64(turn + lane)])


@inlined
def squares_of_part(lanes: Any, x: Any, count: Any) -> None:
    """Add the squares of the elements of a part to the lanes."""
    if count == _PART:
        for lane in range(LANES):
            total = lanes[lane] + np.float64(x[lane]) * np.float64(x[lane])
            for turn in range(LANES, _PART, LANES):
                total += np.float64(x[lane + turn]) * np.float64(x[lane + turn])
            lanes[lane] = total
        return
    for turn in range(0, count, LANES):
        for lane in range(min(LANES, count - turn)):
            value = np.float64(x[np.uint64(turn + lane)])
            lanes[lane] += value * value


@inlined
def products_of_part(lanes: Any, x: Any, y: Any, count: Any) -> None:
    """Add the products of the elements of two parts to the lanes."""
    if count == _PART:
        for lane in range(LANES):
            total = lanes[lane] + np.float64(x[lane]) * np.float64(y[lane])
            for turn in range(LANES, _PART, LANES):
                total += np.float64(x[lane + turn]) * np.float64(y[lane + turn])
            lanes[lane] = total
        return
    for turn in range(0, count, LANES):
        for lane in range(min(LANES, count - turn)):
            place = np.uint64(turn + lane)
            lanes[lane] += np.float64(x[place]) * np.float64(y[place])


@inlined
def larger(x: Any, y: Any) -> Any:
    """The larger of two numbers, and NaN if either is."""
    return x if x > y or x != x else y


@inlined
def max_of_part(lanes: Any, x: Any, count: Any) -> None:
    """Raise the lanes to the elements of a part."""
    for turn in range(0, count, LANES):
        for lane in range(min(LANES, count - turn)):
            lanes[lane] = larger(np.float64(x[np.uint64(turn + lane)]), lanes[lane])


@inlined
def joined_sum(lanes: Any) -> Any:
    """The sum of the lanes, of the upper half and the lower one again and again."""
    half = LANES // 2
    while half:
        for lane in range(half):
            lanes[lane] += lanes[half + lane]
        half //= 2
    return lanes[0]


@inlined
def joined_max(lanes: Any) -> Any:
    """The largest of the lanes."""
    half = LANES // 2
    while half:
        for lane in range(half):
            lanes[lane] = larger(lanes[lane], lanes[half + lane])
        half //= 2
    return lanes[0]


@inlined
def sum_below(sums: Any, x: Any, count: Any) -> None:
    """Add the elements of a part to the sums of their columns, at an address."""
    for j in range(count):
        put_float64(sums, j, float64_at(sums, j) + np.float64(x[j]))


@inlined
def squares_below(sums: Any, x: Any, count: Any) -> None:
    """Add the squares of the elements of a part to the sums of their columns."""
    for j in range(count):
        put_float64(sums, j, float64_at(sums, j) + np.float64(x[j]) * np.float64(x[j]))


@inlined
def products_below(sums: Any, x: Any, y: Any, count: Any) -> None:
    """Add the products of the elements of two parts to the sums of their columns."""
    for j in range(count):
        put_float64(sums, j, float64_at(sums, j) + np.float64(x[j]) * np.float64(y[j]))


@inlined
def max_below(sums: Any, x: Any, count: Any) -> None:
    """Raise the largest elements of columns to those of a part."""
    for j in range(count):
        put_float64(sums, j, larger(np.float64(x[j]), float64_at(sums, j)))
