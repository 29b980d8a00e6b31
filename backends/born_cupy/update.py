"""Update kernels on the device: a table of addresses, and one launch a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from born.backend.update import BoundUpdate, Scalars, UpdateKernel, check_same
from born.fusion import Program
from born.raw import Array, HostArray, RawTensor
from born_cupy.mailbox import Mailbox
from born_cupy.runtime import cupy
from born_cupy.sources.update import CHUNK, THREADS, update
from born_cupy.table import MAX_BLOCKS, count_chunks

if TYPE_CHECKING:
    from born_cupy.backend import CupyBackend

_SIZE_ROW: Final = 0  # rows of a table after those of addresses
_SET_ROW: Final = 1


class CupyUpdate(UpdateKernel):
    """A program as one CUDA kernel."""

    def __init__(
        self, program: Program, dtypes: tuple[np.dtype[Any], ...], backend: CupyBackend
    ) -> None:
        source = update(program, dtypes)
        super().__init__(program, dtypes, source.text)
        self.backend = backend
        self.launch = backend.compile(source)

    def bind(self, targets: Sequence[Sequence[RawTensor]]) -> BoundUpdate:
        """The kernel over these tensors."""
        return _Bound(self, targets)


class _Plan:
    """How to update some of the bound tensors.

    Attributes:
        numbers: which of them.
        shapes: of their parameters.
        strides: those of contiguous arrays of these shapes.
        words: the table on the host; the gradients' addresses change from step to step.
        blocks: how many chunks there are, a block for each.
    """

    def __init__(self, numbers: Sequence[int], arrays: Sequence[Sequence[Array]]) -> None:
        own = [arrays[number] for number in numbers]
        self.numbers = tuple(numbers)
        self.shapes = [every[0].shape for every in own]
        self.strides = [_contiguous_strides(every[0]) for every in own]
        sizes = np.array([every[0].size for every in own], np.uint64)
        addresses = np.array([[a.data.ptr for a in every] for every in own], np.uint64)
        self.starts: HostArray = addresses.reshape(len(own), -1).T
        self.ends = self.starts[0] + np.array([every[0].nbytes for every in own], np.uint64)
        columns = self.starts.shape[0] + 1  # the gradient's comes second
        self.words = np.zeros((columns + 2) * len(own) + len(own) + 1, np.uint64)
        self.rows: HostArray = self.words[: (columns + 2) * len(own)].reshape(columns + 2, len(own))
        self.rows[0] = self.starts[0]
        self.rows[2:columns] = self.starts[1:]
        self.rows[columns + _SIZE_ROW] = sizes
        self.blocks = count_chunks(sizes, CHUNK, self.words[-len(own) - 1 :])
        self.table = Mailbox(self.words.size, np.uint64)

    @property
    def gradients(self) -> HostArray:
        """The row of the gradients' addresses."""
        row: HostArray = self.rows[1]
        return row

    @property
    def sets(self) -> HostArray:
        """The row that says which set of scalars a tensor has."""
        row: HostArray = self.rows[-2 + _SET_ROW]
        return row


class _Bound(BoundUpdate):
    def __init__(self, kernel: CupyUpdate, targets: Sequence[Sequence[RawTensor]]) -> None:
        self._kernel = kernel
        self._backend = kernel.backend
        self._targets = targets
        self._arrays = [[raw.array for raw in target] for target in targets]
        self._dtype = kernel.dtypes[1]
        self._steady = all(a.flags.c_contiguous for arrays in self._arrays for a in arrays)
        self._partial: _Plan | None = None
        self._scalars: Mailbox | None = None
        self._checked: Sequence[RawTensor] | None = None
        self._addresses: list[int] = []
        self._known: _Plan | None = None
        self._replay = _Replay(kernel) if kernel.backend.graphs else None
        with self._backend.here():
            self._plan = _Plan(range(len(targets)), self._arrays)

    def _plan_for(self, numbers: Sequence[int]) -> _Plan:
        if len(numbers) == len(self._targets) and isinstance(numbers, range):
            return self._plan
        if self._partial is None or self._partial.numbers != tuple(numbers):
            self._partial = _Plan(numbers, self._arrays)  # the latest only: it most often stays
        return self._partial

    def fits(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> bool:
        """Whether every gradient is a contiguous array like its parameter, on the same device."""
        if not self._steady:
            return False
        with self._backend.here():
            plan = self._plan_for(numbers)
        arrays = [gradient.array for gradient in gradients]
        kind, dtype, device = cupy.ndarray, self._dtype, self._backend.device
        if not all(
            a.__class__ is kind and a.dtype == dtype and a.data.device_id == device for a in arrays
        ):
            return False
        if [a.shape for a in arrays] != plan.shapes or not _contiguous(arrays, plan.strides):
            return False
        addresses = [a.data.ptr for a in arrays]
        # Where memory is used again from step to step, there is nothing new to look at.
        if plan is not self._known or addresses != self._addresses:
            if _overlap(plan, addresses).any():
                return False
            self._known, self._addresses = plan, addresses
        self._checked = gradients
        return True

    def __call__(
        self,
        numbers: Sequence[int],
        gradients: Sequence[RawTensor],
        scalars: Sequence[Scalars],
        sets: Sequence[int],
        scale: RawTensor | None = None,
    ) -> None:
        if not numbers:
            return
        checked, self._checked = self._checked, None
        with self._backend.here():
            if checked is gradients or self.fits(numbers, gradients):
                self._checked = None
                addresses = self._addresses
            elif self._steady:
                apart = _apart(self._plan_for(numbers), gradients)
                addresses = [array.data.ptr for array in apart]
            else:
                self._update_slowly(numbers, gradients, scalars, sets, scale)
                return
            plan = self._plan_for(numbers)
            plan.gradients[:] = addresses
            self._launch(plan, scalars, sets, scale, self._replay)

    def _launch(
        self,
        plan: _Plan,
        scalars: Sequence[Scalars],
        sets: Sequence[int],
        scale: RawTensor | None,
        replay: _Replay | None,
    ) -> None:
        stream = self._backend.stream
        plan.sets[:] = sets
        plan.table.send(plan.words, stream)
        values = np.array(scalars, np.float64).reshape(-1)
        if self._scalars is None or self._scalars.array.size < values.size:
            self._scalars = Mailbox(values.size, np.float64)
        self._scalars.send(values, stream)
        arguments = [plan.table.array, np.int64(len(plan.numbers)), self._scalars.array]
        if scale is not None:
            arguments.append(scale.array)
        if replay is None:
            blocks = min(plan.blocks, MAX_BLOCKS)
            self._kernel.launch(blocks, THREADS, arguments, stream)
        else:
            replay(plan, arguments, stream)

    def _update_slowly(
        self,
        numbers: Sequence[int],
        gradients: Sequence[RawTensor],
        scalars: Sequence[Scalars],
        sets: Sequence[int],
        scale: RawTensor | None,
    ) -> None:
        """Parameters or slots that are not contiguous: by way of copies that are."""
        targets = [self._targets[number] for number in numbers]
        for target, number in zip(targets, numbers, strict=True):
            check_same(target, self._arrays[number])
        straight = [[cupy.ascontiguousarray(raw.array) for raw in target] for target in targets]
        copies = [RawTensor(gradient.array.copy(order="C")) for gradient in gradients]
        plan = _Plan(range(len(numbers)), straight)
        plan.gradients[:] = [copy.array.data.ptr for copy in copies]
        self._launch(plan, scalars, sets, scale, replay=None)
        for target, arrays in zip(targets, straight, strict=True):
            for raw, array in zip(target, arrays, strict=True):
                if array is not raw.array:
                    raw.array[...] = array


class _Replay:
    """The launch as a CUDA graph: captured once, and then replayed over what its memory holds."""

    def __init__(self, kernel: CupyUpdate) -> None:
        self._kernel = kernel
        self._graph: Any = None
        self._key: tuple[object, ...] = ()
        self._scale: Array = None

    def __call__(self, plan: _Plan, arguments: Sequence[Any], stream: Any) -> None:
        """Replay the launch, or capture it first if it is another than before."""
        if len(arguments) > 3:  # the scale comes in new memory each time
            if self._scale is None:
                self._scale = cupy.empty_like(arguments[3])
            self._scale[...] = arguments[3]
            arguments = [*arguments[:3], self._scale]
        key = (plan, arguments[2])  # held, so that neither can be freed and made anew
        if self._graph is None or any(a is not b for a, b in zip(key, self._key, strict=True)):
            self._graph, self._key = None, key
            stream.begin_capture()
            try:
                blocks = min(plan.blocks, MAX_BLOCKS)
                self._kernel.launch(blocks, THREADS, arguments, stream)
            except BaseException:
                stream.end_capture()  # what it gives holds less than a step
                raise
            self._graph = stream.end_capture()
        self._graph.launch(stream)


def _overlap(plan: _Plan, addresses: Sequence[int]) -> HostArray:
    """For each gradient whether it overlaps its parameter without being the same memory."""
    starts = np.array(addresses, np.uint64)
    ends = starts + (plan.ends - plan.starts[0])
    across: HostArray = (starts < plan.ends) & (plan.starts[0] < ends) & (starts != plan.starts[0])
    return across


def _apart(plan: _Plan, gradients: Sequence[RawTensor]) -> list[Array]:
    """Gradients as a kernel can read them while it writes the parameters: some are copies."""
    arrays = [gradient.array for gradient in gradients]
    across = _overlap(plan, [array.data.ptr for array in arrays])
    return [
        array.copy(order="C") if overlaps or not array.flags.c_contiguous else array
        for array, overlaps in zip(arrays, across, strict=True)
    ]


def _contiguous(arrays: Sequence[Array], strides: Sequence[tuple[int, ...]]) -> bool:
    """Whether all arrays are contiguous, given what the strides of such arrays most often are."""
    # Strides cost less than flags, but along an axis of one element they say nothing.
    return [a.strides for a in arrays] == strides or all(a.flags.c_contiguous for a in arrays)


def _contiguous_strides(array: Array) -> tuple[int, ...]:
    strides: list[int] = []
    step = array.dtype.itemsize
    for length in reversed(array.shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))
