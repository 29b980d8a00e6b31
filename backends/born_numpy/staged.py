"""Updates of several stages on the host: tensor by tensor, or many tensors pass by pass.

What is of lower rank than element is computed by NumPy, in double. The passes over elements are
those of NumPy or of compiled loops.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from typing_extensions import override

from born.backend import Backend
from born.backend.lanes import STRETCH, Layout, goes_by_rows, layout
from born.backend.plain_update import apply_matrix_function
from born.backend.threads import POOL, taken
from born.backend.update import (
    BoundUpdate,
    Check,
    PreparedStep,
    Scalars,
    UpdateKernel,
    accept,
    element_dtype,
)
from born.fusion import ARRAY, RESULT, SCALAR, VALUE, Program, Ref
from born.fusion.program import COLUMNS, ELEMENT, MATRIX, REDUCTIONS, ROWS, TENSOR
from born.fusion.stages import Pass, Stages
from born.raw import HostArray, RawTensor
from born_numpy import sums
from born_numpy.group import operation
from born_numpy.update import NumpyUpdate, apart, write_back

_WAVE: Final = 524_288
"""Elements that go through all stages together, so that later ones find them in the cache."""

_PARALLEL: Final = 262_144
"""Elements from which a second thread pays."""

T = TypeVar("T")

Value: TypeAlias = Any
"""A number of NumPy or Python, or an array that broadcasts."""


class StagedUpdate(UpdateKernel):
    """A program of several stages; a subclass says how a pass over the elements is run."""

    def __init__(
        self, backend: Backend, program: Program, dtypes: tuple[np.dtype[Any], ...]
    ) -> None:
        super().__init__(program, dtypes, "")
        self.backend = backend
        self.compute = element_dtype(program, dtypes)
        self.ranks = program.all_ranks()
        self.by_rows = goes_by_rows(program)
        self.stages = Stages(program, dtypes, self.compute)
        self.own = [i for i in range(len(program.arrays)) if program.rank(i) == ELEMENT]
        self.passes = [
            None if stage.work is None else self.compile_pass(stage.work)
            for stage in self.stages.stages
        ]
        self.scalar_refs = [Ref(SCALAR, i) for i in range(program.scalars)]
        known = [Ref(VALUE, i) for i in range(len(program.group.values) if program.group else 0)]
        self.value_refs = [(ref, program.is_boolean(ref)) for ref in known]
        self.has_matrices = any(stage.matrices for stage in self.stages.stages)
        text = "".join(
            f"# stage {number}\n{work.source}\n"
            for number, work in enumerate(self.passes, 1)
            if work is not None
        )
        self.source = f"# {program.name}\n{self._small_text()}{text}"

    def _small_text(self) -> str:
        lines: list[str] = []
        for number, stage in enumerate(self.stages.stages, 1):
            for place in (*stage.small, *stage.matrices):
                op, args = self.program.instructions[place]
                rank = self.ranks[Ref(RESULT, place)]
                lines.append(
                    f"# stage {number}, {rank}: r{place} = {op}({', '.join(map(str, args))})\n"
                )
        return "".join(lines)

    def compile_pass(self, work: Pass) -> PassKernel:
        """What runs a pass."""
        if self.is_elementwise(work):
            return Elementwise(work, self.compile_elementwise(work))
        return Tiles(self, work)

    def is_elementwise(self, work: Pass) -> bool:
        """Whether a pass is an update of one stage."""
        return not work.reductions and not self.by_rows

    def compile_elementwise(self, work: Pass) -> UpdateKernel:
        """The kernel of a pass that is an update of one stage."""
        return NumpyUpdate(work.program, work.dtypes)

    @override
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        return _Bound(self, targets, check)


class PassKernel(ABC):
    """A compiled pass."""

    source: str

    @abstractmethod
    def run(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        """Go through the elements of a wave; reductions go into its `rows` and `columns`."""


class Elementwise(PassKernel):
    """A pass that is an update of one stage."""

    def __init__(self, work: Pass, kernel: UpdateKernel) -> None:
        self._work = work
        self._kernel = kernel
        self.source = kernel.source

    @override
    def run(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        work = self._work
        extra = (*work.inputs, *work.scratch)
        if extra:
            targets = [
                [p, *slots, *(wave.scratch(ref, place) for ref in extra)]
                for place, (p, _, *slots) in enumerate(wave.raws)
            ]
            bound = self._kernel.bind(targets)
        else:
            bound = wave.kept(self, self._bound)
        gradients = [raws[1] for raws in wave.raws]
        bound.prepare(range(len(gradients)), gradients).run(scalars, sets)

    def _bound(self, wave: Wave) -> BoundUpdate:
        return self._kernel.bind([[p, *slots] for p, _, *slots in wave.raws])


class Tiles(PassKernel):
    """A pass by NumPy: tiles of whole rows through ufuncs, and what is reduced of them."""

    def __init__(self, kernel: StagedUpdate, work: Pass) -> None:
        self._staged = kernel
        self._work = work
        self._kernel = NumpyUpdate(work.program, work.dtypes, work.reductions)
        self.source = self._kernel.source

    @override
    def run(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        pieces = self._pieces_by_rows(wave) if self._staged.by_rows else self._pieces(wave)
        work = [
            (piece, scalars[sets[place] if sets else 0])
            for place, group in pieces
            for piece in group
        ]
        if wave.size < _PARALLEL:
            for piece, values in work:
                piece(values)
            return
        waiting = deque(work)

        def share() -> None:
            with np.errstate(all="ignore"):
                for piece, values in taken(waiting):
                    piece(values)

        POOL.share(share)

    def _pieces(self, wave: Wave) -> list[tuple[int, list[Callable[[Scalars], None]]]]:
        """Flat tiles of whole stretches."""
        kernel = self._kernel
        length = max(kernel.tile_size // STRETCH, 1) * STRETCH
        pieces: list[tuple[int, list[Callable[[Scalars], None]]]] = []
        for place, first in enumerate(wave.first_rows):
            arrays = [
                array.reshape(-1) if array.flags.c_contiguous else array.flat
                for array in wave.arrays(place, self._work)
            ]
            own: list[Callable[[Scalars], None]] = []
            for start in range(0, wave.sizes[place], length):
                stop = min(start + length, wave.sizes[place])
                rows = slice(first + start // STRETCH, first + -(-stop // STRETCH))

                def piece(
                    values: Scalars,
                    arrays: Any = arrays,
                    start: int = start,
                    stop: int = stop,
                    rows: slice = rows,
                ) -> None:
                    tiles = [array[start:stop] for array in arrays]
                    reducers = [
                        _flat_reducer(REDUCTIONS[wave.op(number)][0], wave.rows[number][rows])
                        for number, _ in self._work.reductions
                    ]
                    buffers = kernel.buffers_of(stop - start)
                    kernel.tile(*tiles, *values, *buffers, *reducers, *kernel.numbering(start))
                    write_back(arrays, tiles, start, stop)

                own.append(piece)
            pieces.append((place, own))
        return pieces

    def _pieces_by_rows(self, wave: Wave) -> list[tuple[int, list[Callable[[Scalars], None]]]]:
        """Whole matrices, or rows of one of them, a block in one piece."""
        kernel, work = self._kernel, self._work
        where = wave.layouts[0]
        matrices, height, columns = where
        if not wave.sizes[0]:
            return []
        arrays = wave.arrays(0, work)
        small = where.blocks == 1 and height * columns <= kernel.tile_size
        most = max(kernel.tile_size // (height * columns), 1) if small else 1
        tall = max(kernel.tile_size // 4 // columns, 1)  # what is added up is copied, in double
        pieces: list[Callable[[Scalars], None]] = []

        def piece(values: Scalars, first: int, last: int, block: int) -> None:
            start = block * where.block
            stop = min(start + where.block, height)
            for top in range(start, stop, height if small else tall):
                bottom = stop if small else min(top + tall, stop)
                shape = last - first, bottom - top, columns
                tiles = [array[first:last, top:bottom] for array in arrays]
                rows = slice(first * height + top, (last - 1) * height + bottom)
                reducers = [
                    _row_reducer(
                        wave.op(number),
                        None if wave.op(number).endswith("rows") else wave.rows[number][rows],
                        wave.blocks[number][first:last, block] if number in wave.blocks else None,
                    )
                    for number, _ in work.reductions
                ]
                buffers = [
                    b.reshape(shape) for b in kernel.buffers_of(shape[0] * shape[1] * columns)
                ]
                number = kernel.numbering((first * height + top) * columns)
                kernel.tile(*tiles, *values, *buffers, *reducers, *number)

        for first in range(0, matrices, most):
            last = min(first + most, matrices)
            for block in range(where.blocks):
                pieces.append(partial(piece, first=first, last=last, block=block))
        return [(0, pieces)]


def _flat_reducer(op: str, out: HostArray) -> Callable[..., None]:
    def reduce(x: HostArray, y: HostArray | None = None) -> None:
        if op == "sum":
            sums.sums_of_stretches(x, y, out)
        else:
            out[...] = np.maximum.reduceat(x, range(0, x.size, STRETCH))

    return reduce


def _row_reducer(op: str, rows: HostArray | None, columns: HostArray | None) -> Callable[..., None]:
    def reduce(x: HostArray, y: HostArray | None = None) -> None:
        if op.startswith("max"):
            if columns is not None:
                np.maximum(columns, x.max(axis=1), out=columns)
            elif rows is not None:
                rows[...] = x.max(axis=2).reshape(-1)
            return
        wide = sums.doubles(x, y)
        if columns is not None:
            sums.add_columns(wide, columns)
        elif rows is not None:
            rows[...] = sums.sums_of_rows(wide.reshape(-1, wide.shape[2]))

    return reduce


class _Bound(BoundUpdate):
    def __init__(
        self, kernel: StagedUpdate, targets: Sequence[Sequence[RawTensor]], check: Check
    ) -> None:
        self.kernel = kernel
        self.targets = targets
        self._check = check
        self._shapes = [target[0].shape for target in targets]
        self.kept: dict[tuple[int, tuple[int, ...]], Any] = {}

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        dtype = self.kernel.dtypes[1]
        for number, gradient in zip(numbers, gradients, strict=True):
            p, g = self.targets[number][0].array, gradient.array
            if not (
                g.__class__ is p.__class__ is np.ndarray
                and g.shape == p.shape == self._shapes[number]
                and g.dtype is p.dtype is dtype
                and p.flags.writeable
            ):
                self._check(number, gradient)
        return _Step(self, numbers, gradients)


class _Step(PreparedStep):
    """An update in waves: tensors that go through the stages of a round together."""

    def __init__(
        self, bound: _Bound, numbers: Sequence[int], gradients: Sequence[RawTensor]
    ) -> None:
        kernel = bound.kernel
        stages = kernel.stages
        alone = kernel.by_rows or kernel.has_matrices
        rounds = zip(stages.starts, stages.starts[1:], strict=False)
        many = any(
            sum(work is not None for work in kernel.passes[start:stop]) > 1
            for start, stop in rounds
        )
        groups: list[list[int]] = []
        size = 0
        for place, number in enumerate(numbers):
            own = bound.targets[number][0].size
            if not groups or alone or (many and size + own > _WAVE):
                groups.append([])
                size = 0
            groups[-1].append(place)
            size += own
        self._kernel = kernel
        self._waves = [
            Wave(
                bound, [numbers[place] for place in places], [gradients[p] for p in places], places
            )
            for places in groups
        ]

    @override
    def run(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None = None,
        values: RawTensor | None = None,
        finished: int = 0,
    ) -> RawTensor | None:
        stages = self._kernel.stages
        is_last = finished == len(stages.starts) - 2
        with np.errstate(all="ignore"):  # an infinite gradient is the caller's affair, not news
            known = None if values is None else values.array.tolist()
            for wave in self._waves:
                wave.take(scalars, sets, known)
                for number in range(stages.starts[finished], stages.starts[finished + 1]):
                    wave.go_through(number)
                if is_last:
                    wave.store()
            if is_last:
                return None
            return RawTensor(np.array(self._totals(finished)))

    def _totals(self, finished: int) -> list[float]:
        program = self._kernel.program
        rounds = program.group.total_rounds if program.group else ()
        return [
            float(sums.sum_of_all(np.concatenate([wave.of_tensors(ref) for wave in self._waves])))
            for ref, number in zip(program.totals, rounds, strict=True)
            if number == finished
        ]


class Wave:
    """Some tensors in one step, with the values of lower rank that there are so far.

    Attributes:
        raws: of each tensor the parameter, the gradient and the slots of rank element.
        sizes: how many elements each has.
        layouts: how each is cut into rows.
        first_rows: the number of each one's first row among all rows.
        rows: number of a reduction -> what it gives of each row.
        blocks: number of a reduction over rows -> what it gives of each block of each column.
    """

    def __init__(
        self,
        bound: _Bound,
        numbers: Sequence[int],
        gradients: Sequence[RawTensor],
        places: Sequence[int],
    ) -> None:
        self.kernel = kernel = bound.kernel
        self._bound = bound
        self._numbers = tuple(numbers)
        self._places = places
        self._targets = targets = [bound.targets[number] for number in numbers]
        elements = [i - 1 for i in kernel.own[2:]]
        self.raws = [
            [target[0], gradient, *[target[i] for i in elements]]
            for target, gradient in zip(targets, gradients, strict=True)
        ]
        self.sizes, self.layouts, self.row_counts, self.first_rows = self.kept(Wave, Wave._measured)
        self.size = sum(self.sizes)
        self.total_rows = sum(self.row_counts)
        self.rows: dict[int, HostArray] = {}
        self.blocks: dict[int, HostArray] = {}
        self._known: dict[Ref, Value] = {}
        self._scratch: dict[Ref, list[RawTensor]] = {}
        self._sets: list[int] | None = None
        self._copied: dict[int, tuple[HostArray, HostArray]] = {}

    def _measured(self) -> tuple[list[int], list[Layout], list[int], list[int]]:
        """Sizes, layouts, numbers of rows and of first rows."""
        shapes = [target[0].shape for target in self._targets]
        layouts = [layout(shape, self.kernel.by_rows) for shape in shapes]
        counts = [each.matrices * each.rows for each in layouts]
        first = [0, *np.cumsum(counts).tolist()][:-1]
        return [math.prod(shape) for shape in shapes], layouts, counts, first

    def kept(self, owner: object, make: Callable[[Wave], T]) -> T:
        """What is made once for these tensors, and kept from step to step."""
        key = id(owner), self._numbers
        if key not in self._bound.kept:
            self._bound.kept[key] = make(self)
        found: T = self._bound.kept[key]
        return found

    def input(self, ref: Ref, rank: str) -> HostArray:
        """A value of rows or columns, a double for each of the tensor's."""
        value = np.broadcast_to(self.value(ref), self._shape(rank))
        return np.ascontiguousarray(value, np.float64)

    def take(
        self, scalars: Sequence[Scalars], sets: Sequence[int] | None, values: list[float] | None
    ) -> None:
        """Take what the host and the group give."""
        own = None if sets is None else [sets[place] for place in self._places]
        if own is not None and own.count(own[0]) == len(own):
            scalars, own = [scalars[own[0]]], None
        self._scalars = scalars
        self._sets = own
        if own is None:
            self._known.update(zip(self.kernel.scalar_refs, scalars[0], strict=True))
        else:
            for i, ref in enumerate(self.kernel.scalar_refs):
                self._known[ref] = np.array([scalars[number][i] for number in own])
        for (ref, is_boolean), value in zip(self.kernel.value_refs, values or (), strict=False):
            self._known[ref] = bool(value) if is_boolean else value

    def op(self, number: int) -> str:
        """The operation of an instruction."""
        return self.kernel.program.instructions[number].op

    def value(self, ref: Ref) -> Value:
        """A value of lower rank."""
        if ref not in self._known:
            if ref.kind != ARRAY:
                return 0.0  # the zero of a pass
            self._known[ref] = self._slot(ref.index)
        return self._known[ref]

    def _slot(self, index: int) -> Value:
        """A slot of lower rank, as doubles."""
        arrays = [target[index - 1].array for target in self._targets]
        if self.kernel.program.rank(index) == TENSOR:
            numbers = np.array([float(array) for array in arrays])
            return numbers[0] if self.kernel.by_rows else numbers
        return arrays[0].astype(np.float64).reshape(self._shape(self.kernel.program.rank(index)))

    def _shape(self, rank: str) -> tuple[int, ...]:
        matrices, rows, columns = self.layouts[0]
        return {
            ROWS: (matrices, rows, 1),
            COLUMNS: (matrices, 1, columns),
            MATRIX: (matrices, 1, 1),
        }.get(rank, ())

    def go_through(self, number: int) -> None:
        """One stage."""
        kernel = self.kernel
        stage = kernel.stages.stages[number]
        for place in stage.small:
            self._known[Ref(RESULT, place)] = self._small(place)
        if stage.work is not None:
            self._make_room(stage.work)
            work = kernel.passes[number]
            if work is not None:
                work.run(self, *self._scalars_of(stage.work))
            for place, _ in stage.work.reductions:
                self._known[Ref(RESULT, place)] = self._closed(place)
        for place in stage.matrices:
            self._apply(place)

    def _small(self, place: int) -> Value:
        op, args = self.kernel.program.instructions[place]
        if op in REDUCTIONS:
            return self._reduced(op, args)
        return operation(op)(*map(self.value, args))

    def _reduced(self, op: str, args: Sequence[Ref]) -> Value:
        """A reduction of rows, columns or matrices."""
        rank = self.kernel.ranks[args[0]]
        x = np.multiply(*map(self.value, args)) if len(args) > 1 else self.value(args[0])
        name, axis = REDUCTIONS[op]
        if name == "max":
            axes = None if axis is None else (axis,)
            return np.max(x, axis=axes, keepdims=axis is not None, initial=-np.inf)
        x = np.broadcast_to(x, self._shape(rank))
        if axis is None:
            return sums.sum_of_all(x)
        matrices = x.shape[0]
        rows = sums.sums_of_rows(
            np.ascontiguousarray(x).reshape(matrices, x.size // max(matrices, 1))
        )
        return rows.reshape(matrices, 1, 1)

    def _make_room(self, work: Pass) -> None:
        """Memory for what a pass reduces and materialises."""
        self.rows, self.blocks = {}, {}
        for place, _ in work.reductions:
            name, axis = REDUCTIONS[self.op(place)]
            start = 0.0 if name == "sum" else -np.inf
            if axis == -2:
                matrices, _, columns = self.layouts[0]
                shape = matrices, self.layouts[0].blocks, columns
                self.blocks[place] = np.full(shape, start)
            else:
                self.rows[place] = np.full(self.total_rows, start)
        for ref in work.scratch:
            self._scratch[ref] = [
                RawTensor(np.empty(target[0].shape, self.kernel.compute))
                for target in self._targets
            ]

    def scratch(self, ref: Ref, place: int) -> RawTensor:
        """The operand or the result of a matrix function."""
        return self._scratch[ref][place]

    def _scalars_of(self, work: Pass) -> tuple[list[Scalars], list[int] | None]:
        """The scalars of a pass, and which of them each tensor takes."""
        columns = [self.value(ref) for ref in work.scalars]
        if self._sets is None and not work.by_tensor:
            return [tuple(columns)], None
        count = len(self._targets)
        if not any(isinstance(column, np.ndarray) and column.ndim for column in columns):
            return [tuple(map(float, columns))], None
        table = [np.broadcast_to(column, (count,)).tolist() for column in columns]
        return list(zip(*table, strict=True)), list(range(count))

    def _closed(self, place: int) -> Value:
        """The result of a reduction of elements."""
        name, axis = REDUCTIONS[self.op(place)]
        if axis == -2:
            blocks = self.blocks[place]
            if name == "max":
                return blocks.max(axis=1, keepdims=True, initial=-np.inf)
            total = np.zeros((blocks.shape[0], blocks.shape[2]))
            for number in range(blocks.shape[1]):
                total += blocks[:, number]
            return total[:, None]
        rows = self.rows[place]
        if axis == -1:
            return rows.reshape(self._shape(ROWS))
        close = sums.sums_of_tensors if name == "sum" else sums.largest_of_tensors
        tensors = close(rows, self.row_counts)
        return tensors[0] if self.kernel.by_rows else tensors

    def of_tensors(self, ref: Ref) -> HostArray:
        """A value of rank tensor, of each."""
        return np.broadcast_to(np.atleast_1d(self.value(ref)), (len(self._targets),))

    def _apply(self, place: int) -> None:
        """A matrix function, of each tensor."""
        op, args = self.kernel.program.instructions[place]
        results: list[RawTensor] = []
        for number in range(len(self._targets)):
            given = [
                self._scratch[arg][number] if arg in self._scratch else float(self.value(arg))
                for arg in args
            ]
            result = apply_matrix_function(self.kernel.backend, op, *given)
            results.append(RawTensor(np.ascontiguousarray(result.array)))
        self._scratch[Ref(RESULT, place)] = results

    def arrays(self, place: int, work: Pass) -> list[HostArray]:
        """The arrays of a tensor that a pass goes through."""
        arrays: list[HostArray] = [raw.array for raw in self.raws[place]]
        arrays[1] = apart(arrays[1], arrays[0])
        if self.kernel.by_rows:
            shape = tuple(self.layouts[place])
            arrays = [self._matrices(array, shape) for array in arrays]
        for ref, rank in zip(work.inputs, work.ranks, strict=True):
            if rank == ELEMENT:
                arrays.append(self._scratch[ref][place].array)
            else:
                value = np.asarray(self.value(ref), np.float64)
                arrays.append(np.broadcast_to(value, tuple(self.layouts[place])))
        return arrays + [self._scratch[ref][place].array for ref in work.scratch]

    def _matrices(self, array: HostArray, shape: tuple[int, ...]) -> HostArray:
        """An array as matrices; a copy, which is written back, where there is no such view."""
        matrices = array.reshape(shape)
        if array.size and not np.may_share_memory(matrices, array):
            self._copied[id(array)] = matrices, array
        return matrices

    def store(self) -> None:
        """Write what was copied, and the slots of lower rank."""
        for copy, array in self._copied.values():
            array[...] = copy.reshape(array.shape)
        program = self.kernel.program
        pairs = zip(program.targets, program.outputs, strict=True)
        lower = [
            (i, ref) for i, ref in pairs if program.rank(i) != ELEMENT and ref != Ref(ARRAY, i)
        ]
        found = [(i, self.value(ref)) for i, ref in lower]
        for i, value in found:
            rank = program.rank(i)
            for place, target in enumerate(self._targets):
                array = target[i - 1].array
                if rank == TENSOR:
                    own = np.broadcast_to(value, (len(self._targets),))[place]
                    array[...] = own
                else:
                    array[...] = np.broadcast_to(value, self._shape(rank)).reshape(array.shape)
