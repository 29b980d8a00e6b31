"""Rows of matrices, shared among threads in blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

from born.backend.threads import POOL, taken
from born.raw import HostArray

BLOCK: Final = 128  # rows, of which few enough are added up one after the other
_PIECES: Final = 2  # for each thread
_PARALLEL: Final = 131_072  # elements from which a second thread pays


def in_blocks(work: Callable[[int, int], object], rows: int, size: int) -> None:
    """Run `work(first, last)` for ranges of whole blocks, on several threads if it is enough.

    Args:
        work: releases the interpreter's lock.
        rows: how many there are.
        size: elements in all rows, of a loop that takes a nanosecond for each or so.
    """
    if size < _PARALLEL or POOL.workers < 2:
        work(0, rows)
        return
    # Few calls: between two of them, a thread waits for the interpreter's lock.
    step = -(-rows // (_PIECES * POOL.workers * BLOCK)) * BLOCK
    pieces = deque(range(0, rows, step))

    def some() -> None:
        for first in taken(pieces):
            work(first, min(first + step, rows))

    POOL.share(some)


def column_sum(sums: HostArray) -> HostArray:
    """The sum of blocks' sums, in double."""
    total: HostArray = sums[0] if len(sums) == 1 else np.add.reduce(sums, axis=0, dtype=np.float64)
    return total.astype(sums.dtype, copy=False)
