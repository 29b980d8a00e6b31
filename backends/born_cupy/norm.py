"""The norm of many tensors on the device."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from born.raw import Array, HostArray, RawTensor
from born_cupy.mailbox import Mailbox
from born_cupy.runtime import cupy
from born_cupy.sources import norm
from born_cupy.table import MAX_BLOCKS, count_chunks

if TYPE_CHECKING:
    from born_cupy.backend import CupyBackend


class Norm:
    """Computes norms for one backend, whose tables it keeps from call to call."""

    def __init__(self, backend: CupyBackend) -> None:
        self._backend = backend
        # A table for each stream: on another, a kernel may not have read it yet.
        self._tables: dict[tuple[np.dtype[Any], int], Mailbox] = {}
        self._lock = Lock()  # from the sending of a table to the launch that reads it

    def __call__(self, xs: Sequence[RawTensor]) -> RawTensor:
        """The square root of the sum of all squares, of shape ()."""
        groups: dict[np.dtype[Any], list[Array]] = {}
        for x in xs:
            groups.setdefault(x.dtype, []).append(cupy.ascontiguousarray(x.array))
        tables = {dtype: _table(arrays) for dtype, arrays in groups.items()}
        total = sum(blocks for _, blocks in tables.values())
        sums = cupy.empty(max(total, 1), np.float64)
        first = 0
        for dtype, (words, blocks) in tables.items():
            if blocks:
                self._square(dtype, words, len(groups[dtype]), blocks, sums[first:])
                first += blocks
        result = cupy.empty((), np.float64)
        launch = self._backend.compile(norm.root())
        launch(1, norm.THREADS, (sums, np.int64(total), result), self._backend.stream)
        return RawTensor(result)

    def _square(
        self, dtype: np.dtype[Any], words: HostArray, tensors: int, blocks: int, sums: Array
    ) -> None:
        stream = self._backend.stream
        launch = self._backend.compile(norm.squares(dtype))
        with self._lock:
            table = self._tables.get((dtype, stream.ptr))
            if table is None or table.array.size < words.size:
                table = self._tables[dtype, stream.ptr] = Mailbox(words.size, np.uint64)
            table.send(words, stream)
            arguments = (table.array, np.int64(tensors), sums)
            launch(min(blocks, MAX_BLOCKS), norm.THREADS, arguments, stream)


def _table(arrays: Sequence[Array]) -> tuple[HostArray, int]:
    """Addresses, sizes and chunks of some arrays, and how many chunks there are."""
    count = len(arrays)
    sizes: HostArray = np.array([array.size for array in arrays], np.uint64)
    words = np.empty(3 * count + 1, np.uint64)
    words[:count] = [array.data.ptr for array in arrays]
    words[count : 2 * count] = sizes
    return words, count_chunks(sizes, norm.CHUNK, words[2 * count :])
