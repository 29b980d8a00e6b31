"""Update kernels on the device: a table of addresses, and one launch a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend.update import (
    BoundUpdate,
    Check,
    PreparedStep,
    Scalars,
    UpdateKernel,
    accept,
)
from born.fusion import Program
from born.raw import Array, HostArray, RawTensor, Shape
from born_cupy.compiler import Kernel
from born_cupy.device import DeviceContext, cupy
from born_cupy.kernels import Source
from born_cupy.kernels.source import THREADS
from born_cupy.kernels.table import MAX_BLOCKS, count_chunks
from born_cupy.kernels.update import CHUNK, update
from born_cupy.tables import Table


class CupyUpdate(UpdateKernel):
    """A program as one CUDA kernel."""

    def __init__(
        self,
        program: Program,
        dtypes: tuple[np.dtype[Any], ...],
        context: DeviceContext,
        compile: Callable[[Source], Kernel],
    ) -> None:
        source = update(program, dtypes)
        super().__init__(program, dtypes, source.text)
        self.context: Final = context
        self.launch: Final = compile(source)

    @override
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        return _Bound(self, targets, check)


class Memory:
    """Where some parameters without gaps are, to compare it with where their gradients are."""

    def __init__(self, parameters: Sequence[Array]) -> None:
        self._starts = np.array([array.data.ptr for array in parameters], np.uint64)
        self._ends = self._starts + np.array([array.nbytes for array in parameters], np.uint64)
        self._strides = [array.strides for array in parameters]

    def readable(self, gradients: Sequence[Array]) -> tuple[Sequence[Array], HostArray]:
        """Gradients as a kernel can read them while it writes the parameters, and where they are.

        Those with gaps, and those that overlap their parameter, are copied.
        """
        starts = np.array([array.data.ptr for array in gradients], np.uint64)
        apart = (starts < self._ends) & (starts != self._starts)
        if np.count_nonzero(apart):
            ends = starts + (self._ends - self._starts)
            apart &= self._starts < ends
        whole = [
            array.strides == strides or array.flags.c_contiguous
            for array, strides in zip(gradients, self._strides, strict=True)
        ]
        if False not in whole and not np.count_nonzero(apart):
            return gradients, starts
        copies = [
            array if each and not other else array.copy(order="C")
            for array, each, other in zip(gradients, whole, apart, strict=True)
        ]
        return copies, np.array([array.data.ptr for array in copies], np.uint64)


class _Plan:
    """How to update some of the bound tensors.

    Attributes:
        numbers: which of them.
        arrays: of each the parameter and its slots.
        memory: where the parameters are.
        words: the table, without gradients and with the first set of scalars for all.
        blocks: how many chunks there are, a block for each.
    """

    def __init__(self, numbers: Sequence[int], arrays: Sequence[Sequence[Array]]) -> None:
        self.numbers = tuple(numbers)
        self.arrays = [arrays[number] for number in numbers]
        self.memory = Memory([own[0] for own in self.arrays])
        tensors, columns = len(numbers), 1 + len(arrays[0])  # the gradient's comes second
        sizes = np.array([p.size for p, *_ in self.arrays], np.uint64)
        addresses = np.array([[a.data.ptr for a in every] for every in self.arrays], np.uint64)
        self.words = np.zeros((columns + 2) * tensors + tensors + 1, np.uint64)
        rows = self.rows(self.words)
        rows[0], rows[2:columns] = addresses[:, 0], addresses[:, 1:].T
        rows[columns] = sizes
        self.blocks = count_chunks(sizes, CHUNK, self.words[-tensors - 1 :])

    def rows(self, words: HostArray) -> HostArray:
        """A table by rows: addresses, sizes, and which set of scalars each tensor takes."""
        tensors = len(self.numbers)
        rows: HostArray = words[: -tensors - 1].reshape(-1, tensors)
        return rows


def checked(
    context: DeviceContext,
    dtype: np.dtype[Any],
    shapes: Sequence[Shape],
    numbers: Sequence[int],
    gradients: Sequence[RawTensor],
    check: Check,
) -> list[Array]:
    """The arrays of gradients; each is checked that is not plainly like its parameter."""
    kind, device = cupy.ndarray, context.device
    arrays = [gradient.array for gradient in gradients]
    for number, array, gradient in zip(numbers, arrays, gradients, strict=True):
        if not (
            array.__class__ is kind
            and array.shape == shapes[number]
            and array.dtype == dtype
            and array.data.device_id == device
        ):
            check(number, gradient)
    return arrays


class _Bound(BoundUpdate):
    def __init__(
        self, kernel: CupyUpdate, targets: Sequence[Sequence[RawTensor]], check: Check
    ) -> None:
        self._kernel = kernel
        self._check = check
        self._arrays = [[raw.array for raw in target] for target in targets]
        self._shapes = [arrays[0].shape for arrays in self._arrays]
        self._contiguous = all(a.flags.c_contiguous for arrays in self._arrays for a in arrays)
        self._plan = _Plan(range(len(targets)), self._arrays)
        self._partial = self._plan

    def _plan_for(self, numbers: Sequence[int]) -> _Plan:
        if len(numbers) == len(self._arrays) and isinstance(numbers, range):
            return self._plan
        plan = self._partial
        if plan.numbers != tuple(numbers):
            plan = self._partial = _Plan(numbers, self._arrays)  # the latest: it most often stays
        return plan

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        kernel = self._kernel
        arrays = checked(
            kernel.context, kernel.dtypes[1], self._shapes, numbers, gradients, self._check
        )
        with kernel.context:
            if self._contiguous:
                plan = self._plan_for(numbers)
                return _Step(kernel, plan, *plan.memory.readable(arrays), [])
            # By way of contiguous copies, which are written back.
            targets = [self._arrays[number] for number in numbers]
            copies = [[cupy.ascontiguousarray(array) for array in every] for every in targets]
            written = [
                (array, copy)
                for pairs in zip(targets, copies, strict=True)
                for array, copy in zip(*pairs, strict=True)
                if copy is not array
            ]
            plan = _Plan(range(len(numbers)), copies)
            slopes = [array.copy(order="C") for array in arrays]
            return _Step(kernel, plan, *plan.memory.readable(slopes), written)


@dataclass(slots=True)
class _Step(PreparedStep):
    """One launch, after which each array in `written` takes the contents of its copy."""

    kernel: CupyUpdate
    plan: _Plan
    gradients: Sequence[Array]
    addresses: HostArray
    written: Sequence[tuple[Array, Array]]

    @override
    def run(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None = None,
        values: RawTensor | None = None,
        finished: int = 0,
    ) -> None:
        kernel, plan = self.kernel, self.plan
        table = Table(plan.words, len(plan.numbers), scalars)
        rows = plan.rows(table.words)
        rows[1] = self.addresses
        if sets is not None:
            rows[-1] = sets
        with kernel.context:
            kernel.launch(min(plan.blocks, MAX_BLOCKS), THREADS, table.arguments())
            for array, copy in self.written:
                array[...] = copy
