"""Batches on their way to the device: copied beside the computation, from page-locked memory."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from born.raw import Array, HostArray, RawTensor, as_dtype
from born_cupy.runtime import cupy

if TYPE_CHECKING:
    from born_cupy.backend import CupyBackend

_ALIGNMENT: Final = 64  # bytes: a cache line, for the sake of the host's copying


def prefetch(
    backend: CupyBackend, batches: Iterable[Sequence[HostArray]]
) -> Generator[list[RawTensor]]:
    """Batches in device memory, each sent off before the one ahead of it is handed out.

    The host waits for the device only where two batches are on their way already, and at
    the end, until nothing is.

    Args:
        backend: whose stream the batches are for: the one that it has when they are handed out.
        batches: lists of host arrays; each is copied before the next is asked for.

    Raises:
        OutOfMemoryError: the device has no room for a batch; those before it come first.
    """
    with closing(_Upload(backend)) as upload:
        sending = map(upload.send, batches)
        sent, failure = _next(sending)
        while sent is not None:
            following, failure = _next(sending)
            yield upload.received(sent)
            sent = following
    if failure is not None:
        raise failure


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch on its way.

    Attributes:
        arrays: on the device.
        arrived: the event after which they hold the batch.
    """

    arrays: list[Array]
    arrived: Any


def _next(sending: Iterator[_Sent]) -> tuple[_Sent | None, Exception | None]:
    """The next batch if there is one, and the error in its place, which is for later."""
    try:
        return next(sending, None), None
    except Exception as error:
        return None, error


class _Upload:
    """A stream that copies, and the page-locked memory that it copies from.

    Why no memory is written while somebody reads it:

    - CuPy's pool keeps freed memory by the stream it was allocated on, and gives it to the
      next who asks on that stream, at once: work queued there that still uses it comes
      before whatever the new owner queues. The arrays of a batch are allocated, used and
      freed on the backend's stream. But the first to write them is another stream, which
      therefore waits for what the backend's stream has queued until then. That is the
      step before the one that the copy is meant to run beside.
    - The backend's stream waits for a batch's event before the batch is handed out, and
      `close` waits for those that never are.
    - Page-locked memory is filled again, or given back, once its event says that it was read.
    """

    def __init__(self, backend: CupyBackend) -> None:
        self._backend = backend
        with backend.here():
            # One that does not wait for the default stream, as others do.
            self._stream: Any = cupy.cuda.Stream(non_blocking=True)
            self._allocated: Any = cupy.cuda.Event(disable_timing=True)
            self._buffers = cycle((_Buffer(), _Buffer()))

    def send(self, batch: Sequence[HostArray]) -> _Sent:
        """Copy a batch to page-locked memory, and have it copied on from there."""
        buffer = next(self._buffers)
        staged = buffer.filled(batch)
        with self._backend.here():
            try:
                arrays: list[Array] = [cupy.empty(host.shape, host.dtype) for host in staged]
            except MemoryError as error:
                raise self._backend.home.out_of_memory(error) from error
            self._allocated.record(self._backend.stream)
            self._stream.wait_event(self._allocated)
            for array, host in zip(arrays, staged, strict=True):
                array.data.copy_from_host_async(host.ctypes.data, host.nbytes, self._stream)
            buffer.read.record(self._stream)
        return _Sent(arrays, buffer.read)

    def received(self, sent: _Sent) -> list[RawTensor]:
        """The batch, for whatever is queued on the backend's stream from here on."""
        with self._backend.here():
            self._backend.stream.wait_event(sent.arrived)
        return [RawTensor(array) for array in sent.arrays]

    def close(self) -> None:
        """Wait until all that was sent has arrived."""
        self._stream.synchronize()


class _Buffer:
    """Page-locked memory for one batch, as large as the largest so far.

    Attributes:
        read: the event after which the latest batch in it has been read.
    """

    def __init__(self) -> None:
        self.read: Final[Any] = cupy.cuda.Event(block=True, disable_timing=True)
        self._memory: Any = None
        self._size = 0

    def filled(self, batch: Sequence[HostArray]) -> list[HostArray]:
        """Copies of host arrays in this memory, as soon as the batch before has been read."""
        starts: list[int] = []
        size = 0
        for array in batch:
            starts.append(size)
            size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        self.read.synchronize()
        if size > self._size:
            self._memory = cupy.cuda.alloc_pinned_memory(size)
            self._size = size
        return [self._copied(array, start) for array, start in zip(batch, starts, strict=True)]

    def _copied(self, array: HostArray, start: int) -> HostArray:
        dtype = as_dtype(array.dtype).newbyteorder("=")  # a device knows no other
        place: HostArray = np.ndarray(array.shape, dtype, self._memory, start)
        place[...] = array
        return place
