"""Copies beside the computation, by page-locked memory: batches on their way to the device, and
small results on their way back."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from itertools import cycle
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend.contract.transfer import Arrival
from born.dtypes import as_dtype
from born.raw import Array, HostArray, RawTensor
from born_cupy.device import DeviceContext, cupy

_ALIGNMENT: Final = 64  # bytes: a cache line, for the sake of the host's copying


def prefetch(
    context: DeviceContext, batches: Iterable[Sequence[HostArray]]
) -> Generator[list[RawTensor]]:
    """Batches in device memory, each sent off before the one ahead of it is handed out.

    The host waits only where two batches are on their way, and at the end. If the device has no
    room for a batch, those before it come first.
    """
    failure: Exception | None = None
    with closing(_Upload(context)) as upload:
        try:
            for batch in batches:
                upload.send(batch)
                if len(upload.under_way) == 2:
                    yield upload.receive()
        except Exception as error:
            failure = error
        while upload.under_way:
            yield upload.receive()
    if failure is not None:
        raise failure


class _Upload:
    """A stream that copies, and the page-locked memory that it copies from.

    Why no memory is written while somebody reads it:

    - CuPy's pool gives freed memory to the next who asks on the same stream, at once. Batches are
      allocated, used and freed on the backend's stream but written first on another, which
      therefore waits for what the backend's stream has queued until then: the step before the
      one that the copy is meant to run beside.
    - The backend's stream waits for a batch's event before the batch is handed out, and `close`
      waits for those that never are.
    - Page-locked memory is filled again, or given back, once its event says that it was read.

    Attributes:
        under_way: arrays of batches not handed out yet, each with the event of their arrival.
    """

    def __init__(self, context: DeviceContext) -> None:
        self._context = context
        self.under_way: Final[deque[tuple[list[Array], Any]]] = deque()
        with context:
            # One that does not wait for the default stream, as others do.
            self._stream: Any = cupy.cuda.Stream(non_blocking=True)
            self._allocated: Any = cupy.cuda.Event(disable_timing=True)
            self._buffers = cycle((_Buffer(), _Buffer()))
        _open.add(self)

    def send(self, batch: Sequence[HostArray]) -> None:
        """Copy a batch to page-locked memory, and have it copied on from there."""
        buffer = next(self._buffers)
        staged = buffer.fill(batch)
        with self._context:
            arrays: list[Array] = [cupy.empty(host.shape, host.dtype) for host in staged]
            self._allocated.record(self._context.stream)
            self._stream.wait_event(self._allocated)
            for array, host in zip(arrays, staged, strict=True):
                array.data.copy_from_host_async(host.ctypes.data, host.nbytes, self._stream)
            buffer.read.record(self._stream)
        self.under_way.append((arrays, buffer.read))

    def receive(self) -> list[RawTensor]:
        """The first batch under way, for what is queued on the backend's stream from here on."""
        arrays, arrived = self.under_way.popleft()
        with self._context:
            self._context.stream.wait_event(arrived)
        return [RawTensor(array) for array in arrays]

    def close(self) -> None:
        """Wait until all that was sent has arrived."""
        try:
            self._stream.synchronize()
        finally:
            _open.discard(self)


_open: Final[set[_Upload]] = set()
"""Uploads that are not closed.

If a suspended loop is garbage in a cycle, the collector finalises all objects in the cycle in any
order: CuPy's streams and events would be destroyed before the loop's end waits for them. What can
be reached from here is not garbage, so the loop closes it first."""


class _Buffer:
    """Page-locked memory for one batch, as large as the largest so far, and the event `read`."""

    def __init__(self) -> None:
        self.read: Final[Any] = cupy.cuda.Event(block=True, disable_timing=True)
        self._memory: Any = None
        self._size = 0

    def fill(self, batch: Sequence[HostArray]) -> list[HostArray]:
        """Copy host arrays into this memory, as soon as the batch before has been read."""
        starts: list[int] = []
        size = 0
        for array in batch:
            starts.append(size)
            size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        self.read.synchronize()
        if size > self._size:
            self._memory = cupy.cuda.alloc_pinned_memory(size)
            self._size = size
        return [self._copy(array, start) for array, start in zip(batch, starts, strict=True)]

    def _copy(self, array: HostArray, start: int) -> HostArray:
        dtype = as_dtype(array.dtype).newbyteorder("=")  # a device knows no other
        place: HostArray = np.ndarray(array.shape, dtype, self._memory, start)
        place[...] = array
        return place


class Fetch(Arrival):
    """A copy to the host, queued on a stream; there once its event is.

    Page-locked memory must not go to somebody else while the device writes to it, so a copy under
    way is kept here even if nobody else does.
    """

    def __init__(self, array: Array, stream: Any) -> None:
        source: Any = cupy.ascontiguousarray(array)
        self._memory: Any = cupy.cuda.alloc_pinned_memory(max(source.nbytes, 1))
        self._host: HostArray = np.ndarray(source.shape, source.dtype, self._memory)
        self._event: Any = cupy.cuda.Event(block=True, disable_timing=True)
        source.data.copy_to_host_async(self._host.ctypes.data, source.nbytes, stream)
        self._event.record(stream)
        _fetches[:] = [fetch for fetch in _fetches if not fetch.is_here] + [self]

    @property
    @override
    def is_here(self) -> bool:
        return bool(self._event.done)

    @override
    def array(self) -> HostArray:
        self._event.synchronize()
        return self._host


_fetches: Final[list[Fetch]] = []
