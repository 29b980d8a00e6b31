"""What tables of tensors for kernels have in common (`born_cupy.sources.table`)."""

from __future__ import annotations

from typing import Final

import numpy as np

from born.raw import HostArray

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
