"""Tensors in a file, piece by piece, on several threads where that pays."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from born.backend.threads import POOL, taken
from born.raw import HostArray

PIECE: Final = 1 << 20
"""How many bytes are hashed, read and written at once: a piece stays in a core's cache."""

_FEW: Final = 4 * PIECE
"""Up to so many bytes a second thread costs more than it saves."""


def checksum(digests: Iterable[bytes]) -> str:
    """That of a tensor, from the SHA-256 of each of its pieces."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def bytes_of(array: HostArray) -> memoryview:
    """The memory of an array in C order."""
    return array.reshape(-1).view(np.uint8).data


def share(
    do: Callable[[Any], object], pieces: Iterable[Any], size: int, threads: int | None = None
) -> None:
    """Do each piece of a work of `size` bytes, on several threads if it is large."""
    left = deque(pieces)

    def work() -> None:
        try:
            for piece in taken(left):
                do(piece)
        except BaseException:
            left.clear()  # the others stop as well
            raise

    POOL.share(work, 1 if size <= _FEW else threads)


if sys.platform != "win32":

    def _write_some(descriptor: int, part: memoryview, place: int) -> int:
        return os.pwrite(descriptor, part, place)

    def _read_some(descriptor: int, part: memoryview, place: int) -> int:
        return os.preadv(descriptor, [part], place)

else:
    _moving = threading.Lock()  # a file has one position, and this system no other way

    def _write_some(descriptor: int, part: memoryview, place: int) -> int:
        with _moving:
            os.lseek(descriptor, place, os.SEEK_SET)
            return os.write(descriptor, part)

    def _read_some(descriptor: int, part: memoryview, place: int) -> int:
        with _moving:
            os.lseek(descriptor, place, os.SEEK_SET)
            data = os.read(descriptor, len(part))
        part[: len(data)] = data
        return len(data)


def write_at(descriptor: int, part: memoryview, place: int) -> None:
    """Write all of `part`, which a system may do in several goes."""
    while part:
        written = _write_some(descriptor, part, place)
        part, place = part[written:], place + written


def read_at(descriptor: int, part: memoryview, place: int) -> bool:
    """Fill `part`; False if the file ends before."""
    while part:
        count = _read_some(descriptor, part, place)
        if not count:
            return False
        part, place = part[count:], place + count
    return True
