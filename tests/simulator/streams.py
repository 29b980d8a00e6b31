"""A model of CUDA's streams, in which work runs whenever a seed says, but not before it may.

What is queued on a stream runs in order; streams run beside each other, and only an event
orders one after another. Freed device memory is given to the next who asks on the same stream,
freed page-locked memory to anybody, each at once: as CuPy's pools do it. Code that forgets to
wait for something gives wrong numbers here under some seed.
"""

from __future__ import annotations

import ctypes
import math
import random
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from born.errors import OutOfMemoryError
from born.raw import HostArray

_FREED = 0xAB
"""What freed page-locked memory is filled with, as its next owner may at any time."""


class Stream:
    """Work in the order in which it was queued; each piece says whether it could run."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.queue: deque[Callable[[], bool]] = deque()
        device.streams.append(self)

    def put(self, work: Callable[[], object]) -> None:
        """Queue work that can run as soon as its turn comes."""

        def run() -> bool:
            work()
            return True

        self.queue.append(run)
        self.device.go_on()

    def wait_event(self, event: Event) -> None:
        """Let what is queued from here on run after what the event has recorded so far."""
        mark = event.mark
        self.queue.append(lambda: mark.reached)
        self.device.go_on()

    def synchronize(self) -> None:
        """Have the host wait for all that is queued."""
        mark = Mark()
        self.put(mark.reach)
        self.device.run_until(mark)


class Mark:
    """A place in a stream."""

    def __init__(self) -> None:
        self.reached = False

    def reach(self) -> None:
        """Tell whoever waits that the stream got here."""
        self.reached = True


class Event:
    """The place in a stream at which it was recorded last."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.mark = Mark()
        self.mark.reach()  # there is nothing to wait for before it is recorded

    def record(self, stream: Stream) -> None:
        """Stand for what is queued on the stream so far."""
        self.mark = mark = Mark()
        stream.put(mark.reach)

    def synchronize(self) -> None:
        """Have the host wait for it."""
        self.device.run_until(self.mark)


class DeviceArray:
    """Device memory, which goes back to its stream's pool when nothing holds it."""

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        size = math.prod(shape) * dtype.itemsize
        if size > device.room:
            raise MemoryError(f"no room for {size} bytes")
        self._pool = device.pool[device.compute, size]
        self._memory = self._pool.pop() if self._pool else np.zeros(size, np.uint8)

    @property
    def data(self) -> DeviceArray:
        """What CuPy calls the memory of an array."""
        return self

    def copy_from_host_async(self, address: int, size: int, stream: Stream) -> None:
        """Queue a copy, which reads the host's memory when it runs."""
        memory = self._memory

        def copy() -> None:
            memory[:] = np.frombuffer(ctypes.string_at(address, size), np.uint8)

        stream.put(copy)

    def read_on(self, stream: Stream, into: list[HostArray]) -> None:
        """Queue a kernel that reads it and adds what it finds to a list."""
        memory, shape, dtype = self._memory, self.shape, self.dtype
        stream.put(lambda: into.append(memory.copy().view(dtype).reshape(shape)))

    def __del__(self) -> None:
        if hasattr(self, "_memory"):
            self._pool.append(self._memory)


class Device:
    """A device with one stream that computes, as far as `born_cupy.transfer` asks for one.

    Args:
        seed: of the order in which work runs.
        pace: how much runs at most beside each call from the host; 0 for a device that
            does nothing until the host waits for it.
        room: for how many bytes one array has room.

    Attributes:
        waits: how often the host had to wait.
    """

    def __init__(self, seed: int, pace: int, room: int = 1 << 20) -> None:
        self._random = random.Random(seed)
        self._pace = pace
        self.room = room
        self.streams: list[Stream] = []
        self.pool: defaultdict[object, list[HostArray]] = defaultdict(list)
        self.waits = 0
        self.compute = Stream(self)

    @property
    def cupy(self) -> Any:
        """CuPy, as far as it takes."""

        def stream(non_blocking: bool) -> Stream:
            assert non_blocking, "the default stream would wait for it, and it for that"
            return Stream(self)

        def event(block: bool = False, disable_timing: bool = False) -> Event:
            return Event(self)

        cuda = SimpleNamespace(Stream=stream, Event=event, alloc_pinned_memory=PinnedMemory)
        return SimpleNamespace(empty=partial(DeviceArray, self), cuda=cuda)

    @property
    def stream(self) -> Stream:
        """The stream that a backend computes on."""
        return self.compute

    def __enter__(self) -> None:
        """Device and stream are always current."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, MemoryError):
            raise OutOfMemoryError(str(error)) from error

    def go_on(self) -> None:
        """Run some of what may run."""
        for _ in range(self._random.randint(0, self._pace)):
            self._run_one()

    def run_until(self, mark: Mark) -> None:
        """Run whatever may run, until a place is reached."""
        self.waits += not mark.reached
        while not mark.reached:
            assert self._run_one(), "the streams wait for each other"

    def _run_one(self) -> bool:
        streams = [stream for stream in self.streams if stream.queue]
        self._random.shuffle(streams)
        for stream in streams:
            if stream.queue[0]():
                stream.queue.popleft()
                return True
        return False


class PinnedMemory(bytearray):
    """Page-locked memory, which is somebody else's as soon as it is freed."""

    def __del__(self) -> None:
        self[:] = bytes([_FREED]) * len(self)
        _GRAVES.append(self)  # it stays readable, as pooled memory does


_GRAVES: list[PinnedMemory] = []
