"""Tables of tensors in device memory, as kernels over many of them read them.

A table has a column for each tensor. Work is dealt out in chunks of a fixed number of elements;
from the last row, chunks before each tensor and in all, a block finds the tensor of its chunk.

A short table comes with the launch, among its parameters, and needs no copy: then `far` is 0.
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

TABLE: Final = "u64 far, const __grid_constant__ near_words near, i64 tensors"
"""The parameters of a kernel that begin with its table."""

PARAMETERS: Final = f"{TABLE}, const double *values"
"""What kernels of stages are given: the table, and the values of a group."""

FIND: Final = "const u64 *table = far ? (const u64 *)far : near.at;"
"""Where the table is."""

MAX_BLOCKS: Final = 2**31 - 1
"""The largest grid of one axis."""


def count_chunks(sizes: HostArray, chunk: int, row: HostArray) -> int:
    """The number of chunks; those before each tensor, and in all, go into the uint64 `row`."""
    counts = -(-sizes.astype(np.int64) // chunk)
    row[0] = 0
    row[1:] = np.cumsum(counts)
    return int(counts.sum())
