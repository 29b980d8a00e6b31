"""Many small matrix products, shared among threads.

NumPy computes one after the other, and BLAS shares out each of them, which is too small for that.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np

from born.backend.threads import POOL, taken
from born.raw import HostArray
from born_numpy.arena import empty
from born_numpy.blas import one_thread

_LEAST: Final = 2**21  # multiplications in all from which a second thread pays
_MOST: Final = 2**24  # multiplications of one product that BLAS shares out well itself
_PIECES: Final = 8  # for each thread


def shared(a: HostArray, b: HostArray) -> HostArray | None:
    """The products of batches of matrices, or None if NumPy does as well, or must say what is
    wrong with their shapes."""
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        return None
    one = math.prod(a.shape[-2:]) * b.shape[-1]
    if one > _MOST or one * math.prod(batch) < _LEAST or POOL.workers < 2:
        return None
    outer = 0
    while outer < len(batch) and math.prod(batch[:outer]) < _PIECES * POOL.workers:
        outer += 1
    left = np.broadcast_to(a, (*batch, *a.shape[-2:]))
    right = np.broadcast_to(b, (*batch, *b.shape[-2:]))
    out = empty((*batch, a.shape[-2], b.shape[-1]), a.dtype)
    pieces = deque(np.ndindex(*batch[:outer]))

    def some() -> None:
        with np.errstate(all="ignore"):
            for piece in taken(pieces):
                np.matmul(left[piece], right[piece], out=out[piece])

    with one_thread() as limited:
        # Threads whose products take BLAS's threads as well would wait for each other.
        POOL.share(some, None if limited else 1)
    return out
