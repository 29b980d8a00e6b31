"""The norm of many tensors on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from born.raw import Array, HostArray, RawTensor
from born_cupy.compiler import Kernel
from born_cupy.device import cupy
from born_cupy.kernels import Source
from born_cupy.kernels.global_norm import CHUNK, root, squares
from born_cupy.kernels.source import THREADS
from born_cupy.kernels.table import MAX_BLOCKS, count_chunks


def global_norm(
    xs: Sequence[RawTensor], compile: Callable[[Source], Kernel], stream: Any
) -> RawTensor:
    """The square root of the sum of all squares, float64 of shape ()."""
    groups: dict[np.dtype[Any], list[Array]] = {}
    for x in xs:
        groups.setdefault(x.dtype, []).append(cupy.ascontiguousarray(x.array))
    tables = {dtype: _table(arrays) for dtype, arrays in groups.items()}
    total = sum(blocks for _, blocks in tables.values())
    sums = cupy.empty(max(total, 1), np.float64)
    first = 0
    for dtype, (words, blocks) in tables.items():
        # New memory for each call: the device may have yet to read what the last one sent.
        arguments = (cupy.asarray(words), np.int64(len(groups[dtype])), sums[first:])
        compile(squares(dtype))(min(blocks, MAX_BLOCKS), THREADS, arguments, stream)
        first += blocks
    result = cupy.empty((), np.float64)
    compile(root())(1, THREADS, (sums, np.int64(total), result), stream)
    return RawTensor(result)


def _table(arrays: Sequence[Array]) -> tuple[HostArray, int]:
    """Addresses, sizes and chunks of some arrays, and how many chunks there are."""
    count = len(arrays)
    sizes: HostArray = np.array([array.size for array in arrays], np.uint64)
    words = np.empty(3 * count + 1, np.uint64)
    words[:count] = [array.data.ptr for array in arrays]
    words[count : 2 * count] = sizes
    return words, count_chunks(sizes, CHUNK, words[2 * count :])
