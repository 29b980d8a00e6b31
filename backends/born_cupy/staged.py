"""Updates of several stages on the device: for each stage one launch or two over all tensors.

Nothing here waits: what is of lower rank than element stays in device memory. A rule with matrix
functions goes tensor by tensor, so that it needs memory for the largest alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend import Backend
from born.backend.lanes import Layout, layout
from born.backend.plain_update import apply_matrix_function
from born.backend.update import (
    BoundUpdate,
    Check,
    GroupUpdate,
    PreparedStep,
    Scalars,
    UpdateKernel,
    accept,
)
from born.fusion import RESULT, SCALAR, VALUE, GroupProgram, Program, Ref, total
from born.fusion.program import COLUMNS, ELEMENT, GROUP, MATRIX, REDUCTIONS, ROWS
from born.fusion.tracing import trace
from born.raw import Array, HostArray, RawTensor
from born_cupy.compiler import Kernel
from born_cupy.device import DeviceContext, cupy
from born_cupy.kernels import Source
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
from born_cupy.update import checked, readable

_WORD: Final = 8
"""Bytes of a double."""

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
        numbers: which of the bound tensors.
        places: where their gradients are among those of a step.
        layouts: how each is cut into rows.
        words: the table, without gradients, and with offsets of what has yet to be made.
        kept: the rows of the table that hold such offsets.
        doubles: how many doubles have to be made.
        firsts: how tensors are dealt out -> the pieces before each tensor, and in all.
    """

    def __init__(
        self,
        kernel: CupyStages,
        arrays: Sequence[Sequence[Array]],
        numbers: Sequence[int],
        places: slice,
    ) -> None:
        self.numbers = numbers
        self.places = places
        self.arrays = arrays
        stages, program = kernel.stages, kernel.program
        table = stages.places
        self.layouts = [layout(own[0].shape, stages.by_rows) for own in arrays]
        sizes = [own[0].size for own in arrays]
        self.words = words = np.zeros((table.count, len(arrays)), np.uint64)
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
        kinds = dict.fromkeys(kind for stage in stages.passes for kind, _ in stage)
        self.firsts = {
            kind: np.cumsum(
                [0, *(count_pieces(kind, *each) for each in zip(self.layouts, sizes, strict=True))]
            ).astype(np.uint64)
            for kind in kinds
        }

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
        self._latest: tuple[Sequence[int], list[_Plan]] = (), []

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        kernel = self._kernel
        checked(kernel.context, kernel.dtypes[1], self._shapes, numbers, gradients, self._check)
        slopes = [gradient.array for gradient in gradients]
        with kernel.context:
            if self._contiguous:
                latest, plans = self._latest
                if latest != numbers:
                    plans = self._planned(self._arrays, numbers)
                    self._latest = numbers, plans
                parameters = [self._arrays[number][0] for number in numbers]
                return _Step(kernel, plans, readable(parameters, slopes), [])
            # By way of contiguous copies, which are written back.
            targets = [self._arrays[number] for number in numbers]
            copies = [[cupy.ascontiguousarray(array) for array in every] for every in targets]
            written = [
                (array, copy)
                for pairs in zip(targets, copies, strict=True)
                for array, copy in zip(*pairs, strict=True)
                if copy is not array
            ]
            plans = self._planned(copies, range(len(copies)))
            return _Step(kernel, plans, [a.copy(order="C") for a in slopes], written)

    def _planned(self, arrays: Sequence[Sequence[Array]], numbers: Sequence[int]) -> list[_Plan]:
        count = len(numbers)
        length = 1 if self._kernel.has_matrices else count
        return [
            _Plan(
                self._kernel,
                [arrays[number] for number in numbers[start : start + length]],
                numbers[start : start + length],
                slice(start, start + length),
            )
            for start in range(0, count, length)
        ]


class _Step(PreparedStep):
    """An update by waves of tensors; arrays in `written` then take what their copies hold."""

    def __init__(
        self,
        kernel: CupyStages,
        plans: Sequence[_Plan],
        gradients: Sequence[Array],
        written: Sequence[tuple[Array, Array]],
    ) -> None:
        self._kernel = kernel
        self._waves = [_Wave(kernel, plan, gradients[plan.places]) for plan in plans]
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
        addresses = np.concatenate(
            [
                np.array([wave.addresses(ref) for ref in refs], np.uint64).reshape(len(refs), -1)
                for wave in self._waves
            ],
            axis=1,
        )
        sums = cupy.empty(len(refs), np.float64)
        arguments = [cupy.asarray(addresses), np.int64(addresses.shape[1]), sums]
        kernel.compile(totals_kernel())(len(refs), THREADS, arguments, kernel.context.stream)
        return RawTensor(sums)


class _Wave:
    """Some tensors in one step."""

    def __init__(self, kernel: CupyStages, plan: _Plan, gradients: Sequence[Array]) -> None:
        self._kernel = kernel
        self._plan = plan
        self._gradients = gradients
        self._memory = cupy.empty(max(plan.doubles, 1), np.float64)
        self._made: dict[Ref, list[Array]] = {}
        self._words = plan.words.copy()
        self._words[plan.kept] += np.uint64(self._memory.data.ptr)
        self._words[1] = [array.data.ptr for array in gradients]
        self._table: list[Array] | None = None

    def begin(self, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        """Take what the host gives."""
        table, plan = self._kernel.stages.places, self._plan
        if sets is not None:
            self._words[table.first + 1] = sets[plan.places]
        self._host = scalars[sets[plan.places.start] if sets is not None else 0]
        self._scalars: HostArray = np.array(scalars, np.float64).reshape(-1)

    def release(self) -> None:
        """Let go of what only this step needs."""
        self._made.clear()

    def addresses(self, ref: Ref) -> HostArray:
        """Where a value of each tensor is."""
        row: HostArray = self._words[self._kernel.stages.places.known[ref]]
        return row

    def _arguments(self) -> list[Array]:
        """The table, the pieces for each way to deal tensors out, and the scalars."""
        if self._table is None:
            parts = [
                self._words.reshape(-1),
                *self._plan.firsts.values(),
                self._scalars.view(np.uint64),
            ]
            # New memory for each step: the device may have yet to read what the last one sent.
            whole = cupy.asarray(np.concatenate(parts))
            ends = np.cumsum([0, *map(len, parts)]).tolist()
            self._table = [whole[start:stop] for start, stop in pairwise(ends)]
        return self._table

    def _launch(self, source: Source, kind: str | None, blocks: int, values: Array) -> None:
        kernel = self._kernel
        table, *firsts, scalars = self._arguments()
        place = 0 if kind is None else list(self._plan.firsts).index(kind)
        first = firsts[place] if firsts else table
        count = np.int64(len(self._plan.layouts))
        arguments = [table, count, first, scalars.view(np.float64), values]
        kernel.compile(source)(min(blocks, MAX_BLOCKS), THREADS, arguments, kernel.context.stream)

    def go_through(self, number: int, values: RawTensor | None) -> None:
        """One stage."""
        stages, plan = self._kernel.stages, self._plan
        stage = stages.stages.stages[number]
        known = self._memory if values is None else values.array
        small = stages.small[number]
        if stage.work is not None and stage.work.scratch:
            self._make(stage.work.scratch)
        if small is not None:
            self._launch(small, None, len(plan.layouts), known)
        for kind, source in stages.passes[number]:
            self._launch(source, kind, int(plan.firsts[kind][-1]), known)
        end = stages.ends[number]
        if end is not None:
            self._launch(end, None, len(plan.layouts), known)
        for place in stage.matrices:
            self._apply(place, known)

    def _make(self, refs: Sequence[Ref]) -> None:
        """Memory for operands of matrix functions."""
        compute = self._kernel.stages.compute
        for ref in refs:
            self._keep(ref, [cupy.empty(own[0].shape, compute) for own in self._plan.arrays])

    def _keep(self, ref: Ref, arrays: list[Array]) -> None:
        self._made[ref] = arrays
        row = self._kernel.stages.places.elements[ref]
        self._words[row] = [array.data.ptr for array in arrays]
        self._table = None

    def _apply(self, place: int, values: Array) -> None:
        """A matrix function, of each tensor, by the backend's products."""
        op, args = self._kernel.program.instructions[place]
        results: list[Array] = []
        for number in range(len(self._plan.layouts)):
            given = [self._argument(arg, number, values) for arg in args]
            result = apply_matrix_function(self._kernel.backend, op, *given)
            results.append(cupy.ascontiguousarray(result.array))
        self._keep(Ref(RESULT, place), results)

    def _argument(self, ref: Ref, number: int, values: Array) -> RawTensor | float:
        """An argument of a matrix function: a matrix or a number."""
        if ref in self._made:
            return RawTensor(self._made[ref][number])
        if ref.kind == SCALAR:
            return self._host[ref.index]
        compute = self._kernel.stages.compute
        if ref.kind == VALUE:
            return RawTensor(values[ref.index].astype(compute))
        offset = int(self._plan.words[self._kernel.stages.places.known[ref]][number]) // _WORD
        return RawTensor(self._memory[offset].astype(compute))


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
        self._slots = slots
        self._context = context
        self._compile = compile
        self._kernels: GroupKernels = group_kernels(program)
        self._round = -1
        start = np.zeros(max(len(self._kernels.places), 1))
        first = len(slots)
        start[first : first + len(scalars)] = scalars
        with context:
            self._known = cupy.asarray(start)
            for place, slot in enumerate(slots):
                self._known[place] = slot.array
            self._values = cupy.zeros(max(len(program.values), 1), np.float64)

    @override
    def values(self, totals: Sequence[RawTensor]) -> RawTensor:
        self._round += 1
        source = self._kernels.rounds[self._round]
        if source is not None:
            with self._context:
                added = totals[0].array if totals else self._values
                for other in totals[1:]:
                    added = added + other.array
                arguments = [self._known, added, self._values]
                self._compile(source)(1, 32, arguments, self._context.stream)
        return RawTensor(self._values)

    @override
    def finish(self) -> None:
        with self._context:
            for slot, ref in zip(self._slots, self.program.outputs, strict=True):
                slot.array[...] = self._known[self._kernels.places[ref]]


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
