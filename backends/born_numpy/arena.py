"""Memory of large arrays, used again once nobody holds them.

A system's allocator hands the memory of a large array back, and each of its pages is then mapped
and cleared anew: a training step spends a tenth of its time so. Here it stays in the process.

The arena keeps blocks of memory. It lends an array over a block, the *root*, which is the `base`
of every view, however that came about: by slicing, by DLPack, by `numpy()`. When the last view is
gone, so is the root, and the block may be lent again. So a tensor that escapes is safe as long as
anything holds it, in any thread, after any exception; and a process that was forked has copies of
blocks and of what is known of them alike.

`BORN_ARENA_BYTES` bounds the memory that is kept while nobody uses it, 1 GiB by default; 0 switches
it off.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final
from weakref import ref

import numpy as np

from born.errors import ConfigError
from born.raw import HostArray, Shape

VARIABLE: Final = "BORN_ARENA_BYTES"
LARGE: Final = 131_072
"""Bytes from which an array comes from the arena: below, the allocator keeps memory itself."""
_BYTES: Final = 2**30
_BITS: Final = 4  # of a size that are not rounded up: an eighth is lost at most
_LINE: Final = 64  # bytes of a cache line, at whose start arrays begin
_IDLE: Final = 100_000  # loans after which the blocks of a size that nobody asked for are dropped


class Block(np.ndarray[Any, np.dtype[np.uint8]]):
    """Memory, and where its first cache line begins.

    NumPy looks for the base of a view only through arrays of one class: a block, which is of
    another, stays unseen behind its root.
    """

    first: int


class _Root(ref[HostArray]):
    """Sees the end of a root, and so of all arrays over a block."""

    __slots__ = ("block", "key", "size")

    block: Block
    key: int
    size: int


class Arena:
    """Blocks of memory by size; those that nobody uses are kept up to a number of bytes.

    Args:
        most: bytes to keep; 0 for none, and arrays as NumPy makes them.

    Attributes:
        most: as given.
        free_bytes: of the blocks that nobody uses.
        made: how many blocks there ever were.

    >>> arena = Arena(2**24)
    >>> first = arena.empty((1024, 1024), np.dtype(np.float32))
    >>> place = first.ctypes.data
    >>> view = first[0]
    >>> del first
    >>> arena.empty((1024, 1024), np.dtype(np.float32)).ctypes.data == place  # the view holds it
    False
    >>> del view
    >>> arena.empty((512, 2048), np.dtype(np.float32)).ctypes.data == place
    True
    """

    _count = staticmethod(sys.getrefcount)  # found here even when modules are being taken apart

    def __init__(self, most: int) -> None:
        self.most = most
        self.free_bytes = 0
        self.made = 0
        self._free: dict[int, list[Block]] = {}
        self._lent: dict[int, _Root] = {}
        self._loans = 0
        self._asked: dict[int, int] = {}  # size -> the loan when it was last asked for
        # How many references to a block there are when its root ends and nobody else has one.
        self._usual = 0
        self._lend(self._new(_LINE), _LINE)

    def empty(self, shape: Shape, dtype: np.dtype[Any]) -> HostArray:
        """A contiguous array of any content, in memory that was used before if there is some."""
        count = 1
        for length in shape:
            count *= length
        needed = count * dtype.itemsize
        if needed < LARGE or not self.most:
            return np.empty(shape, dtype)
        step = 1 << (needed.bit_length() - _BITS)
        size = -(-needed // step) * step
        self._loans = loan = self._loans + 1
        self._asked[size] = loan
        try:
            block = self._free[size].pop()  # the latest, which a cache may still hold
            self.free_bytes -= size
        except (KeyError, IndexError):
            block = self._new(size)
        return np.ndarray(shape, dtype, self._lend(block, size))

    def clear(self) -> None:
        """Give all memory back that nobody uses."""
        for size in list(self._free):
            self._drop(size)

    def _lend(self, block: Block, size: int) -> HostArray:
        root: HostArray = np.ndarray(size, np.uint8, block, block.first)
        watch = _Root(root, self._returned)
        watch.block, watch.key, watch.size = block, id(watch), size
        self._lent[watch.key] = watch
        return root

    def _returned(self, watch: _Root) -> None:
        """A root has ended: this runs in any thread, between any two steps of another."""
        del self._lent[watch.key]
        size, block = watch.size, watch.block
        del watch.block
        references = self._count(block)
        if not self._usual:
            self._usual = references
        elif references <= self._usual and self.free_bytes + size <= self.most:
            self.free_bytes += size
            self._free.setdefault(size, []).append(block)

    def _new(self, size: int) -> Block:
        """A block that no free one serves; blocks that nobody asked for lately are dropped."""
        self.made += 1
        for other, asked in list(self._asked.items()):
            if self._loans - asked > _IDLE:
                self._drop(other)
        # Counted anew: threads may have lost each other's changes.
        self.free_bytes = sum(each * len(free) for each, free in list(self._free.items()))
        block = Block(size + _LINE, np.uint8)
        block.first = -block.ctypes.data % _LINE
        return block

    def _drop(self, size: int) -> None:
        """Give up the free blocks of one size."""
        self._asked.pop(size, None)
        free = self._free.get(size, [])
        while free:
            try:
                free.pop()
            except IndexError:  # another thread took the last
                return
            self.free_bytes -= size


def _bytes() -> int:
    """How many bytes to keep, as the environment says."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return _BYTES
    try:
        return max(0, int(text))
    except ValueError as error:
        raise ConfigError(
            f"expected a number of bytes in {VARIABLE}, got {text!r}; 0 keeps no memory"
        ) from error


ARENA: Final = Arena(_bytes())
"""The one arena of this process: memory that one backend has let go is as good for another."""

empty: Final = ARENA.empty


def empty_like(array: HostArray) -> HostArray:
    """A contiguous array of any content, of the shape and dtype of another."""
    return empty(array.shape, array.dtype)
