"""The simulator's devices: which is current, what their memory is, and when their streams get on.

A device does what it is asked when it comes to it. Here that is so for copies from
page-locked memory: they are made when something ordered after them runs, so that a
missing wait, or memory that is written to too early, shows in the result.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Final, Self

import numpy as np

from born.raw import HostArray

DEVICES: Final = 2
"""How many there are; a program for one device has to refuse the other's arrays."""

SHARED_MEMORY: Final = 232_448
"""Bytes of shared memory that a block can ask for."""

TOTAL_BYTES: Final = 8 << 30
"""What a device has."""

_FENCE: Final = 512
"""Bytes on both sides of an allocation that nobody may write to; and how it is aligned."""

_FENCE_BYTE: Final = 0xA5
_UNSET_BYTE: Final = 0xFF  # floats of these bytes are NaN


# -- what the host has waited for --

waits: Final[list[str]] = []
"""The calls, by name, that made the host wait for a device."""


# -- errors --


class CUDARuntimeError(RuntimeError):
    """A call of CUDA that failed."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class OutOfMemoryError(MemoryError):
    """Memory that is not there."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        limited = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{limited})."
        )
        self._size = size


# -- devices --


class _Current(threading.local):
    device = 0
    stream: Stream | None = None


_current: Final = _Current()


class Device:
    """A device by its number."""

    def __init__(self, device: int | None = None) -> None:
        self.id: int = _current.device if device is None else device
        self._before: list[int] = []

    @property
    def compute_capability(self) -> str:
        _check_device(self.id)
        return "90"

    @property
    def attributes(self) -> dict[str, int]:
        # One processor, so that large arrays take a thread more than one turn.
        return {
            "MultiProcessorCount": 1,
            "L2CacheSize": 4096,
            "MaxSharedMemoryPerBlockOptin": SHARED_MEMORY,
        }

    def use(self) -> None:
        _check_device(self.id)
        _current.device = self.id

    def synchronize(self) -> None:
        waits.append("Device.synchronize")
        for stream in list(_streams):
            stream.catch_up()

    def __enter__(self) -> Self:
        self._before.append(_current.device)
        self.use()
        return self

    def __exit__(self, *args: object) -> None:
        _current.device = self._before.pop()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


def _check_device(number: int) -> None:
    if not 0 <= number < DEVICES:
        raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")


def current_device() -> int:
    return _current.device


# -- memory --

_libc: Final = ctypes.CDLL(None)
_APART: Final = 16  # what vectors are aligned to: the end of an array is as near to the page


def _before_a_page(size: int) -> tuple[HostArray, int]:
    """A buffer before a page that nobody may touch, and where in it room for so many bytes is."""
    room = -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    buffer = np.frombuffer(mmap.mmap(-1, room + mmap.PAGESIZE, flags), np.uint8, room)
    if _libc.mprotect(ctypes.c_void_p(buffer.ctypes.data + room), mmap.PAGESIZE, 0):
        raise OSError("a page cannot be kept from being read")
    return buffer, room - -(-max(size, 1) // _APART) * _APART


def _fenced(size: int) -> tuple[HostArray, int]:
    """A buffer with room for fences, and where in it what lies between them is."""
    buffer: HostArray = np.empty(size + 3 * _FENCE, np.uint8)
    return buffer, _FENCE + -buffer.ctypes.data % _FENCE


class Memory:
    """Memory of a device, on the host; behind it lies a page that nobody may touch, or a fence."""

    guarded: ClassVar[bool] = True
    """Whether it is a page, which costs a fifth of the time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.device_id = _current.device
        self.buffer, offset = _before_a_page(size) if self.guarded else _fenced(size)
        self.ptr: int = self.buffer.ctypes.data + offset
        self.bytes: HostArray = self.buffer[offset : offset + size]
        end = offset + size
        self._around = (self.buffer[max(offset - _FENCE, 0) : offset], self.buffer[end:])
        for part in self._around:
            part[:] = _FENCE_BYTE
        self.bytes[:] = _UNSET_BYTE

    @property
    def intact(self) -> bool:
        return all(bool((part == _FENCE_BYTE).all()) for part in self._around)


_memories: Final[weakref.WeakValueDictionary[int, Memory]] = weakref.WeakValueDictionary()


def memory_of(array: HostArray) -> Memory | None:
    """The device's memory that a host array is a view of."""
    return None if array.base is None else _memories.get(id(array.base))


def broken_fences() -> bool:
    """Whether something has been written to outside of all memory."""
    return not all(memory.intact for memory in list(_memories.values()))


def forget(memory: Memory) -> None:
    """Leave memory whose fences are broken out of what is looked at."""
    _memories.pop(id(memory.buffer))


class MemoryPool:
    """What hands out memory, and may be told to stop at a limit."""

    def __init__(self) -> None:
        self._used = 0
        self.limit = 0

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        self.limit = int((fraction or 0) * TOTAL_BYTES) if size is None else size

    def free_all_blocks(self, stream: Stream | None = None) -> None:
        return

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._used

    def malloc(self, size: int) -> MemoryPointer:
        whole = -(-size // _FENCE) * _FENCE
        most = self.limit or TOTAL_BYTES
        if self._used + whole > most:
            raise OutOfMemoryError(whole, self._used, self.limit)
        memory = Memory(size)
        self._used += whole
        _memories[id(memory.buffer)] = memory
        weakref.finalize(memory, self._freed, whole).atexit = False
        return MemoryPointer(memory, 0)

    def _freed(self, size: int) -> None:
        self._used -= size


pool: Final = MemoryPool()


def memory_info() -> tuple[int, int]:
    """The bytes that are free, and all there are."""
    most = pool.limit or TOTAL_BYTES
    return most - pool.used_bytes(), TOTAL_BYTES


class MemoryPointer:
    """A place in a device's memory."""

    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem = mem
        self.ptr: int = mem.ptr + offset

    @property
    def device_id(self) -> int:
        return self.mem.device_id

    @property
    def device(self) -> Device:
        return Device(self.mem.device_id)

    def copy_from_host_async(self, mem: Any, size: int, stream: Stream | None = None) -> None:
        """From page-locked memory, which must stay as it is until the stream has come to it."""
        self._check(size)
        asked = stream or get_current_stream()
        source = mem if isinstance(mem, int) else mem.value
        if not _is_pinned(source, size):  # CUDA copies such memory aside before it returns
            asked.run(lambda: ctypes.memmove(self.ptr, source, size))
            return

        def copy() -> None:
            assert _is_pinned(source, size), "page-locked memory was freed before it was read"
            ctypes.memmove(self.ptr, source, size)

        asked.later(copy)

    def copy_to_host_async(self, mem: Any, size: int, stream: Stream | None = None) -> None:
        """To page-locked memory, which must not be read until the stream has come to it."""
        self._check(size)
        target = mem if isinstance(mem, int) else mem.value
        assert _is_pinned(target, size), "the host would wait for a copy to other memory"

        def copy() -> None:
            assert _is_pinned(target, size), "page-locked memory was freed before it was written"
            ctypes.memmove(target, self.ptr, size)

        (stream or get_current_stream()).later(copy)

    def _check(self, size: int) -> None:
        if self.ptr + size > self.mem.ptr + self.mem.size:
            raise CUDARuntimeError(1, "cudaErrorInvalidValue: invalid argument")


class PinnedMemoryPointer(bytearray):
    """Page-locked memory of the host."""

    @property
    def ptr(self) -> int:
        return ctypes.addressof((ctypes.c_char * len(self)).from_buffer(self))


_pinned: Final[weakref.WeakValueDictionary[int, PinnedMemoryPointer]] = (
    weakref.WeakValueDictionary()
)


def alloc_pinned_memory(size: int) -> PinnedMemoryPointer:
    made = PinnedMemoryPointer(max(size, 1))
    _pinned[made.ptr] = made
    return made


def _is_pinned(address: int, size: int) -> bool:
    return any(
        start <= address and address + size <= start + len(memory)
        for start, memory in list(_pinned.items())
    )


# -- streams --


class _Task:
    """Something that a device does once."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action: Callable[[], object] | None = action

    @property
    def done(self) -> bool:
        return self._action is None

    def run(self) -> None:
        if self._action is not None:
            action, self._action = self._action, None
            action()


_numbers: Final = itertools.count(0x1000, 0x100)


class _Handle:
    """What CUDA hands out and CuPy destroys in its finaliser: to use it after that is an error."""

    _destroyed = False

    def __del__(self) -> None:
        self._destroyed = True

    def refuse_destroyed(self) -> None:
        if self._destroyed:
            raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle: invalid resource handle")


class Stream(_Handle):
    """Work in order; what is not done at once waits in a queue."""

    null: Stream

    def __init__(
        self,
        null: bool = False,
        non_blocking: bool = False,
        ptds: bool = False,
        priority: int | None = None,
    ) -> None:
        self.ptr = 0 if null else next(_numbers)
        self.device_id = _current.device
        self._apart = non_blocking
        self._tasks: list[_Task] = []
        self._before: list[Stream | None] = []
        _streams.add(self)

    def __del__(self) -> None:
        self.catch_up()
        super().__del__()

    # What the simulator itself asks of a stream.

    def later(self, action: Callable[[], object]) -> None:
        """Do something once something else needs it done."""
        self._tasks.append(_Task(action))

    def run(self, action: Callable[[], object]) -> None:
        """Do something after all that comes before it."""
        self.catch_up()
        action()

    def catch_up(self) -> None:
        """Do all that is in the queue, and what the default stream puts before or after it."""
        for stream in list(_streams):
            beside = not (stream._apart or self._apart) and 0 in (stream.ptr, self.ptr)
            if stream is self or beside:
                tasks, stream._tasks = stream._tasks, []
                for task in tasks:
                    task.run()

    def pending(self) -> list[_Task]:
        return list(self._tasks)

    # What CuPy has.

    @property
    def done(self) -> bool:
        return all(task.done for task in self._tasks)

    def synchronize(self) -> None:
        self.refuse_destroyed()
        waits.append("Stream.synchronize")
        self.catch_up()

    def record(self, event: Event | None = None) -> Event:
        made = event or Event()
        made.record(self)
        return made

    def wait_event(self, event: Event) -> None:
        self.refuse_destroyed()
        event.refuse_destroyed()
        self._tasks = [*event.tasks, *self._tasks]

    def use(self) -> Self:
        _current.stream = self
        return self

    def __enter__(self) -> Self:
        self._before.append(_current.stream)
        return self.use()

    def __exit__(self, *args: object) -> None:
        _current.stream = self._before.pop()


class Event(_Handle):
    """A point in a stream's work."""

    def __init__(
        self, block: bool = False, disable_timing: bool = False, interprocess: bool = False
    ) -> None:
        self.tasks: list[_Task] = []
        self.recorded = 0.0

    @property
    def done(self) -> bool:
        self.refuse_destroyed()
        return all(task.done for task in self.tasks)

    def record(self, stream: Stream | None = None) -> None:
        self.refuse_destroyed()
        self.tasks = (stream or get_current_stream()).pending()
        self.recorded = time.perf_counter()

    def synchronize(self) -> None:
        if not self.done:
            waits.append("Event.synchronize")
        for task in self.tasks:
            task.run()


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two records, by the host's clock."""
    return 1e3 * (end_event.recorded - start_event.recorded)


def getDeviceProperties(device: int) -> dict[str, bytes]:
    """What is known of a device."""
    _check_device(device)
    return {"name": b"Simulated GPU"}


_streams: Final[weakref.WeakSet[Stream]] = weakref.WeakSet()
Stream.null = Stream(null=True)


def get_current_stream(device_id: int = -1) -> Stream:
    return _current.stream or Stream.null
