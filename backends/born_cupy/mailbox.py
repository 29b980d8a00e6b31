"""Small tables on their way from the host to the device."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, Final

import numpy as np

from born.raw import HostArray
from born_cupy.runtime import cupy

_ROWS: Final = 16
"""How many sends may be under way before the host has to wait for the first."""

_RETIRED: Final[deque[tuple[HostArray, list[Any]]]] = deque()
"""Page-locked memory of mailboxes that are gone, and the events after which it is read no more.

Freed at once it would be handed to the next who asks, while the device may have yet to read it;
and to wait for the device is not for whoever happens to let go of a mailbox."""


class Mailbox:
    """An array in device memory that is written from the host again and again, in stream order.

    What is sent lies in page-locked memory until the device has taken it, so sending
    does not wait for the device unless that is `_ROWS` sends behind.

    Args:
        size: how many elements it has, at least 1.
        dtype: of which dtype.

    Attributes:
        array: the array on the device.
    """

    def __init__(self, size: int, dtype: Any) -> None:
        _release()
        self.array: Final[Any] = cupy.empty(max(size, 1), dtype)
        # Held by the rows: page-locked memory goes when nothing refers to it any more.
        memory = cupy.cuda.alloc_pinned_memory(_ROWS * self.array.nbytes)
        rows: HostArray = np.frombuffer(memory, dtype, _ROWS * self.array.size)
        self._rows = rows.reshape(_ROWS, -1)
        self._taken = [cupy.cuda.Event(disable_timing=True) for _ in range(_ROWS)]
        self._sent = 0
        self._latest: bytes | None = None

    def send(self, values: HostArray, stream: Any) -> None:
        """Write `values`, flat and of the dtype, into the array; nothing if they are there."""
        content = values.tobytes()
        if content == self._latest:
            return
        turn = self._sent % _ROWS
        if self._sent >= _ROWS and not self._taken[turn].done:
            self._taken[turn].synchronize()
        row = self._rows[turn]
        row[: values.size] = values
        self.array.data.copy_from_host_async(row.ctypes.data, values.nbytes, stream)
        self._taken[turn].record(stream)
        self._sent += 1
        self._latest = content

    def __del__(self) -> None:
        # At the interpreter's end there may be no CUDA left to ask, nor anything to be kept in;
        # and where the constructor failed, there is nothing to keep.
        with suppress(Exception):
            _RETIRED.append((self._rows, self._taken[: self._sent]))


def _release() -> None:
    """Free the memory of those mailboxes that are gone and have been read."""
    with suppress(IndexError):  # another thread may be at it too
        for _ in range(len(_RETIRED)):
            kept = _RETIRED.popleft()
            if not all(event.done for event in kept[1]):
                _RETIRED.append(kept)
