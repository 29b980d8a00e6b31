"""Tables of tensors in device memory, as kernels over many of them read them.

A table has one column a tensor. Work is dealt out in chunks of a fixed number of
elements; the table's last row says how many chunks come before each tensor, and in all.
A block finds the tensor of its chunk there, so that the table's size depends on the
number of tensors alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from born.raw import HostArray

LOCATE: Final = """\
// The tensor that chunk c belongs to; tensors without elements have no chunk.
__device__ inline i64 locate(const u64 *first, i64 tensors, i64 c) {
    i64 low = 0, high = tensors;
    while (high - low > 1) {
        const i64 middle = (low + high) / 2;
        if ((i64)first[middle] <= c) low = middle; else high = middle;
    }
    return low;
}"""

MAX_BLOCKS: Final = 2**31 - 1
"""The largest grid of one axis."""


def count_chunks(sizes: HostArray, chunk: int, row: HostArray) -> int:
    """Write into a table's row how many chunks come before each tensor and in all.

    Args:
        sizes: how many elements each tensor has.
        chunk: how many of them make a chunk.
        row: of uint64, one longer than `sizes`.

    Returns:
        how many chunks there are in all.
    """
    counts = -(-sizes.astype(np.int64) // chunk)
    row[0] = 0
    row[1:] = np.cumsum(counts)
    return int(counts.sum())
