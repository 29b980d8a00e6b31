"""Updates of several stages on the device: for each stage one launch or two over all tensors.

Nothing here waits: what is of lower rank than element stays in device memory. A rule with matrix
functions takes tensors of one shape together, as many as a stack of `_STACK` bytes holds, and
multiplies them by one product: beside what is held, it needs five such stacks, or five times the
largest tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend import Backend
from born.backend.lanes import Layout, layout
from born.backend.orthogonal import largest_eigenvalues
from born.backend.update import (
    BoundUpdate,
    Check,
    GroupUpdate,
    PreparedStep,
    Scalars,
    UpdateKernel,
    accept,
)
from born.fusion import RESULT, GroupProgram, Program, Ref, total
from born.fusion.program import (
    COLUMNS,
    ELEMENT,
    GROUP,
    MATRIX,
    REDUCTIONS,
    ROWS,
    matrix_function,
)
from born.fusion.tracing import trace
from born.raw import Array, HostArray, RawTensor, Shape
from born_cupy.compiler import Kernel
from born_cupy.device import DeviceContext, cupy
from born_cupy.kernels import Source, matrices
from born_cupy.kernels.source import THREADS
from born_cupy.kernels.stages import (
    GroupKernels,
    StageKernels,
    count_pieces,
    group_kernels,
    stage_kernels,
)
from born_cupy.kernels.stages import (
    totals as totals_kernel,
)
from born_cupy.kernels.table import MAX_BLOCKS
from born_cupy.tables import Table
from born_cupy.update import Memory, checked

_WORD: Final = 8
"""Bytes of a double."""

_STACK: Final = 2**24
"""Bytes of matrices that are multiplied at once: enough to keep a large device busy."""

Compile = Callable[[Source], Kernel]


class CupyStages(UpdateKernel):
    """A program of several stages as CUDA kernels."""

    def __init__(
        self,
        backend: Backend,
        program: Program,
        dtypes: tuple[np.dtype[Any], ...],
        context: DeviceContext,
        compile: Compile,
    ) -> None:
        self.stages: StageKernels = stage_kernels(program, dtypes)
        self.backend = backend
        self.context: Final = context
        self.compile: Final = compile
        sources = self.stages.sources
        for source in sources:
            compile(source)
        super().__init__(program, dtypes, "\n".join(source.text for source in sources))
        self.has_matrices = any(stage.matrices for stage in self.stages.stages.stages)

    @override
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        return _Bound(self, targets, check)


class _Plan:
    """Some tensors that go through the stages together, as far as they stay the same.

    Attributes:
        places: which of a step's they are; None if they are all of them.
        arrays: of each the parameter and its slots.
        words: the table without gradients and scalars, and with offsets of what has yet to be made.
        kept: the rows of the table that hold such offsets.
        doubles: how many doubles have to be made.
        pieces: how tensors are dealt out -> how many pieces there are.
    """

    def __init__(
        self,
        kernel: CupyStages,
        arrays: Sequence[Sequence[Array]],
        places: Sequence[int] | None = None,
    ) -> None:
        self.places = places
        self.arrays = arrays
        stages, program = kernel.stages, kernel.program
        table = stages.places
        self.layouts = [layout(own[0].shape, stages.by_rows) for own in arrays]
        sizes = [own[0].size for own in arrays]
        tensors = len(arrays)
        self.words = np.zeros(table.count * tensors + len(table.kinds) * (tensors + 1), np.uint64)
        words = self.rows(self.words, table.count)
        elements = [i for i in range(len(program.arrays)) if program.rank(i) == ELEMENT]
        for row, index in enumerate(elements):
            if index != 1:
                words[row] = [own[max(index - 1, 0)].data.ptr for own in arrays]
        for index, row in table.slots.items():
            words[row] = [own[index - 1].data.ptr for own in arrays]
        self.doubles = 0
        counts = {row: self._counts(table.ranks[ref]) for ref, row in table.known.items()}
        for place, row in table.partial.items():
            _, axis = REDUCTIONS[program.instructions[place].op]
            if axis == -2:
                counts[row] = [x.matrices * x.blocks * x.columns for x in self.layouts]
            else:
                counts[row] = self._counts(ROWS)
        self.kept = sorted(counts)
        for row, own in counts.items():
            before = np.cumsum([0, *own])
            words[row] = _WORD * (self.doubles + before[:-1])
            self.doubles += int(before[-1])
        words[table.first :] = np.array(
            [
                (size, 0, x.matrices, x.rows, x.columns, x.block, x.blocks)
                for size, x in zip(sizes, self.layouts, strict=True)
            ],
            np.uint64,
        ).T
        self.pieces: dict[str, int] = {}
        firsts = self.words[table.count * tensors :].reshape(-1, tensors + 1)
        for first, kind in zip(firsts, table.kinds, strict=True):
            own = [count_pieces(kind, *each) for each in zip(self.layouts, sizes, strict=True)]
            first[1:] = np.cumsum(own)
            self.pieces[kind] = sum(own)

    def rows(self, words: HostArray, count: int) -> HostArray:
        """The rows of a table, each a number for every tensor."""
        tensors = len(self.arrays)
        rows: HostArray = words[: count * tensors].reshape(count, tensors)
        return rows

    def _counts(self, rank: str) -> list[int]:
        """How many values of a rank each tensor has."""
        return [_count(rank, each) for each in self.layouts]


def _count(rank: str, where: Layout) -> int:
    return {
        ROWS: where.matrices * where.rows,
        COLUMNS: where.matrices * where.columns,
        MATRIX: where.matrices,
    }.get(rank, 1)


class _Bound(BoundUpdate):
    def __init__(
        self, kernel: CupyStages, targets: Sequence[Sequence[RawTensor]], check: Check
    ) -> None:
        self._kernel = kernel
        self._check = check
        self._arrays = [[raw.array for raw in target] for target in targets]
        self._shapes = [arrays[0].shape for arrays in self._arrays]
        self._contiguous = all(a.flags.c_contiguous for arrays in self._arrays for a in arrays)
        self._latest: tuple[Sequence[int], list[_Plan], Memory] = (), [], Memory([])

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        kernel = self._kernel
        slopes = checked(
            kernel.context, kernel.dtypes[1], self._shapes, numbers, gradients, self._check
        )
        with kernel.context:
            if self._contiguous:
                latest, plans, memory = self._latest
                if latest != numbers:
                    arrays = [self._arrays[number] for number in numbers]
                    plans, memory = _planned(kernel, arrays), Memory([own[0] for own in arrays])
                    self._latest = numbers, plans, memory
                return _Step(kernel, plans, *memory.readable(slopes), [])
            # By way of contiguous copies, which are written back.
            targets = [self._arrays[number] for number in numbers]
            copies = [[cupy.ascontiguousarray(array) for array in every] for every in targets]
            written = [
                (array, copy)
                for pairs in zip(targets, copies, strict=True)
                for array, copy in zip(*pairs, strict=True)
                if copy is not array
            ]
            plans = _planned(kernel, copies)
            slopes = [array.copy(order="C") for array in slopes]
            memory = Memory([own[0] for own in copies])
            return _Step(kernel, plans, *memory.readable(slopes), written)


def _planned(kernel: CupyStages, arrays: Sequence[Sequence[Array]]) -> list[_Plan]:
    """All tensors at once; or, for matrix functions, stacks of one shape."""
    if not kernel.has_matrices:
        return [_Plan(kernel, arrays)]
    by_shape: dict[Shape, list[int]] = {}
    for place, own in enumerate(arrays):
        by_shape.setdefault(own[0].shape, []).append(place)
    plans: list[_Plan] = []
    for places in by_shape.values():
        size = arrays[places[0]][0].size * kernel.stages.compute.itemsize
        stacks = -(-len(places) // max(_STACK // max(size, 1), 1))
        plans += [
            _Plan(kernel, [arrays[place] for place in own], own)
            for own in (places[number::stacks] for number in range(stacks))
        ]
    return plans


class _Step(PreparedStep):
    """An update by waves of tensors; arrays in `written` then take what their copies hold."""

    def __init__(
        self,
        kernel: CupyStages,
        plans: Sequence[_Plan],
        gradients: Sequence[Array],
        addresses: HostArray,
        written: Sequence[tuple[Array, Array]],
    ) -> None:
        self._kernel = kernel
        self._gradients = gradients  # held until they have been read
        self._waves = [_Wave(kernel, plan, addresses) for plan in plans]
        self._written = written

    @override
    def run(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None = None,
        values: RawTensor | None = None,
        finished: int = 0,
    ) -> RawTensor | None:
        kernel = self._kernel
        starts = kernel.stages.stages.starts
        is_last = finished == len(starts) - 2
        with kernel.context:
            for wave in self._waves:
                if not finished:
                    wave.begin(scalars, sets)
                for number in range(starts[finished], starts[finished + 1]):
                    wave.go_through(number, values)
                if is_last:
                    wave.release()
            if not is_last:
                return self._totals(finished)
            for array, copy in self._written:
                array[...] = copy
        return None

    def _totals(self, finished: int) -> RawTensor:
        """The sums over all tensors that a round ends with."""
        kernel = self._kernel
        program = kernel.program
        rounds = program.group.total_rounds if program.group else ()
        refs = [
            ref for ref, number in zip(program.totals, rounds, strict=True) if number == finished
        ]
        sums = cupy.empty(len(refs), np.float64)
        if len(self._waves) == 1:
            (wave,) = self._waves
            table = wave.table
            starts = [kernel.stages.places.known[ref] * wave.tensors for ref in refs]
        else:
            tensors = sum(wave.tensors for wave in self._waves)
            listed = np.empty((len(refs), tensors), np.uint64)
            for wave in self._waves:
                for row, ref in zip(listed, refs, strict=True):
                    row[wave.places] = wave.addresses(ref)
            table = Table(listed.reshape(-1), tensors, [])
            starts = [place * tensors for place in range(len(refs))]
        launch = kernel.compile(totals_kernel())
        for place, start in enumerate(starts):
            launch(1, THREADS, [*table.arguments(), np.int64(start), sums[place:]])
        return RawTensor(sums)


class _Wave:
    """Some tensors in one step; it has a table once it is begun."""

    def __init__(self, kernel: CupyStages, plan: _Plan, addresses: HostArray) -> None:
        self._kernel = kernel
        self._plan = plan
        self.places = plan.places
        self.tensors = len(plan.arrays)
        self._addresses = addresses if plan.places is None else addresses[plan.places]
        self._memory = cupy.empty(max(plan.doubles, 1), np.float64)
        self._stacks: dict[Ref, Array] = {}
        self.table: Table

    def begin(self, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        """Take what the host gives."""
        plan, places = self._plan, self._kernel.stages.places
        self.table = Table(plan.words, self.tensors, scalars)
        self._rows = rows = plan.rows(self.table.words, places.count)
        rows[plan.kept] += np.uint64(self._memory.data.ptr)
        rows[1] = self._addresses
        if sets is not None:
            own = sets if plan.places is None else [sets[place] for place in plan.places]
            rows[places.first + 1] = own

    def release(self) -> None:
        """Let go of what only this step needs."""
        self._stacks.clear()

    def addresses(self, ref: Ref) -> HostArray:
        """Where a value of each tensor is."""
        row: HostArray = self._rows[self._kernel.stages.places.known[ref]]
        return row

    def _launch(
        self, source: Source, blocks: int, values: Array, *others: Any, threads: int = THREADS
    ) -> None:
        arguments = [*self.table.arguments(), values, *others]
        self._kernel.compile(source)(min(blocks, MAX_BLOCKS), threads, arguments)

    def go_through(self, number: int, values: RawTensor | None) -> None:
        """One stage."""
        stages = self._kernel.stages
        stage = stages.stages.stages[number]
        known = self._memory if values is None else values.array
        self._make([*(stage.work.scratch if stage.work else ()), *self._results(stage.matrices)])
        small, end = stages.small[number], stages.ends[number]
        if small is not None:
            self._launch(small, self.tensors, known, threads=stages.threads)
        for kind, source in stages.passes[number]:
            self._launch(source, self._plan.pieces[kind], known)
        if end is not None:
            self._launch(end, self.tensors, known, threads=stages.threads)
        for place in stage.matrices:
            self._apply(place, known)
        for ref in stage.work.scratch if stage.work else ():
            del self._stacks[ref]

    def _results(self, places: Sequence[int]) -> list[Ref]:
        return [Ref(RESULT, place) for place in places]

    def _make(self, refs: Sequence[Ref]) -> None:
        """Stacks for operands and results of matrix functions."""
        places = self._kernel.stages.places.elements
        for ref in refs:
            shape = self._plan.arrays[0][0].shape
            stack = cupy.empty((self.tensors, *shape), self._kernel.stages.compute)
            self._stacks[ref] = stack
            offsets = np.arange(self.tensors, dtype=np.uint64) * np.uint64(
                stack.nbytes // self.tensors
            )
            self._rows[places[ref]] = np.uint64(stack.data.ptr) + offsets
            self.table.changed()

    def _apply(self, place: int, values: Array) -> None:
        """A matrix function of all tensors, by products of stacks."""
        op, args = self._kernel.program.instructions[place]
        x, result = self._stacks[args[0]], self._stacks[Ref(RESULT, place)]
        if not x.size:
            return
        if matrix_function(op) == "matmul":
            result[...] = x @ self._stacks[args[1]]
        else:
            self._orthogonalize(place, x, result, values)

    def _orthogonalize(self, place: int, x: Array, result: Array, values: Array) -> None:
        """As `born.backend.orthogonal` does it, with a + b A + c A A as it stands."""
        kernels = self._kernel.stages.orthogonal[place]
        rows, columns = x.shape[-2:]
        size = rows * columns
        count = x.size // size  # of matrices
        counts = np.int64(count), np.int64(count // self.tensors)  # and of each tensor
        x = x.reshape(count, rows, columns)
        lengths = self._lengths(kernels, x, values)
        if lengths.size > count:  # one for each row
            shape = (count, 1, columns) if rows > columns else (count, rows, 1)
            x = x / lengths.reshape(shape).astype(x.dtype)
            lengths = cupy.ones(count, np.float64)
        straight = result.reshape(count, rows, columns)
        turned = cupy.empty((count, columns, rows), x.dtype)
        written = matrices.STRAIGHT | matrices.TURNED

        def move(source: Source, into: int, *arrays: Array) -> None:
            _, height, width = arrays[0].shape
            tiles = -(-height // matrices.TILE) * -(-width // matrices.TILE)
            shape = np.int64(height), np.int64(width)
            self._launch(source, count * tiles, values, *arrays, np.int32(into), *counts, *shape)

        own = matrices.STRAIGHT if not kernels.steps else written
        move(kernels.divided, own, x, lengths, straight, turned)
        # From here on with no more rows than columns.
        last = matrices.STRAIGHT
        if rows > columns:
            straight, turned, last = turned, straight, matrices.TURNED
        height = min(rows, columns)
        chunks = -(-height * height // matrices.CHUNK)
        for step in range(1, kernels.steps + 1):
            square = straight @ turned
            product = square @ square  # the square is its own transpose
            self._launch(
                kernels.mixed, count * chunks, values, square, product, *counts,
                np.int64(height * height),
            )  # fmt: skip
            del product
            product = square @ straight
            del square
            own = last if step == kernels.steps else written
            move(kernels.advanced, own, straight, product, straight, turned)
            del product

    def _lengths(self, kernels: matrices.OrthogonalKernels, x: Array, values: Array) -> Array:
        """What each matrix, or each of the rows that are the fewer, is divided by at first."""
        measured = x
        if kernels.preconditioning != "frobenius":
            turned = cupy.ascontiguousarray(x.swapaxes(-1, -2))
            measured = turned @ x if x.shape[-2] > x.shape[-1] else x @ turned
        count, *shape = measured.shape
        stretches = 1
        if kernels.preconditioning == "aol":
            sums = cupy.abs(measured).sum(axis=-1, dtype=np.float64).reshape(-1)
            count *= shape[0]
        elif kernels.preconditioning == "spectral":
            largest = largest_eigenvalues(self._kernel.backend, RawTensor(measured))
            sums = cupy.ascontiguousarray(largest.array).reshape(-1)
        else:
            size = shape[0] * shape[1]
            stretches = -(-size // matrices.SUMS)
            sums = cupy.empty(count * stretches, np.float64)
            given = np.int64(count), np.int64(size), sums
            self._launch(kernels.squares, count * stretches, values, measured, *given)
        lengths = cupy.empty(count, np.float64)
        counts = np.int64(count), np.int64(count // self.tensors), np.int64(stretches)
        self._launch(kernels.lengths, count, values, sums, *counts, lengths)
        return lengths


class CupyGroup(GroupUpdate):
    """The values of rank group in one step, in device memory."""

    def __init__(
        self,
        program: GroupProgram,
        slots: Sequence[RawTensor],
        scalars: Scalars,
        context: DeviceContext,
        compile: Compile,
    ) -> None:
        super().__init__(program)
        self._context = context
        self._compile = compile
        self._kernels: GroupKernels = group_kernels(program)
        self._round = -1
        self._given = [*(slot.array for slot in slots), *map(np.float64, scalars)]
        with context:
            self._known = cupy.empty(max(len(self._kernels.places), 1), np.float64)
            self._values = cupy.empty(max(len(program.values), 1), np.float64)

    @override
    def values(self, totals: Sequence[RawTensor]) -> RawTensor:
        self._round += 1
        source = self._kernels.rounds[self._round]
        if source is not None:
            with self._context:
                added = totals[0].array if totals else self._values
                for other in totals[1:]:
                    added = added + other.array
                self._compile(source)(1, 32, [self._known, added, self._values, *self._given])
        return RawTensor(self._values)

    @override
    def finish(self) -> None:
        """Nothing: the kernel of the last round has written the slots."""


@cache
def _squares() -> Program:
    """A rule that changes nothing but a slot of rank group."""

    def squares(p: Any, g: Any, squared: Any, *, t: Any) -> Any:
        return p, total(g * g)

    return trace(squares, ["squared"], ["t"], {"squared": GROUP})


def sum_of_squares(
    backend: Backend, xs: Sequence[RawTensor], context: DeviceContext, compile: Compile
) -> RawTensor:
    """The sum of the squares of all elements of some tensors, float64 of shape ()."""
    sums = cupy.zeros((1,), np.float64)
    by_dtype: dict[np.dtype[Any], list[RawTensor]] = {}
    for x in xs:
        by_dtype.setdefault(x.dtype, []).append(x)
    for dtype, own in by_dtype.items():
        kernel = CupyStages(backend, _squares(), (dtype, dtype), context, compile)
        arrays = [RawTensor(cupy.ascontiguousarray(x.array)) for x in own]
        step = kernel.bind([[x] for x in arrays]).prepare(range(len(own)), arrays)
        added = step.run([()])
        if added is not None:
            sums = sums + added.array
    return RawTensor(sums.reshape(()))
