"""Matrix products, shared among the threads of the pool.

Many small ones, because NumPy computes one after the other, and BLAS shares out each of them, which
is too small for that. And those of matrices with many rows, as the activations of a network are:
loops over these run on the pool, and a thread of BLAS that has computed a product waits awake for
the next one, on a core that such a loop needs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

from born.backend.threads import POOL, taken
from born.raw import HostArray
from born_numpy.arena import empty
from born_numpy.blas import one_thread

_LEAST: Final = 2**21  # multiplications in all from which a second thread pays
_MOST: Final = 2**24  # multiplications of one product that BLAS shares out well itself
_PIECES: Final = 8  # for each thread

_TALL: Final = 131_072  # elements from which loops over a matrix run on the pool, too
_HUGE: Final = 2**31  # multiplications of a product beside which a thread that waits is nothing
_ROWS: Final = 128  # for each thread at least


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


def product(a: HostArray, b: HostArray, bias: HostArray | None = None) -> HostArray:
    """a b + bias of matrices of one dtype, in memory of the arena if it is large.

    It is shared out by rows of a if there are many, or, if columns of a are rows in memory, as
    those of g^T are in the gradient of a weight, added up over pieces of the rows of b.
    """
    rows, inner = a.shape
    columns = b.shape[1]
    out = empty((rows, columns), a.dtype)
    if inner == len(b) and rows * inner * columns <= _HUGE:
        if a.strides[0] >= a.strides[1]:
            if rows * max(inner, columns) >= _TALL and _by_rows(a, b, out, bias):
                return out
        elif (
            inner * max(rows, columns) >= _TALL
            and min(rows, columns) * POOL.workers <= inner  # or the sums would be most of it
            and _over_rows(a, b, out)
        ):
            return _plus(out, bias)
    return _plus(a.dot(b, out), bias)


def _plus(x: HostArray, bias: HostArray | None) -> HostArray:
    if bias is not None:
        x += bias
    return x


def _by_rows(a: HostArray, b: HostArray, out: HostArray, bias: HostArray | None) -> bool:
    def of_piece(piece: slice) -> None:
        rows = out[piece]
        _plus(a[piece].dot(b, rows), bias)

    return _share(of_piece, len(a))


def _over_rows(a: HostArray, b: HostArray, out: HostArray) -> bool:
    """A product as a sum of products over pieces of the shared axis, each made by a thread.

    False, and nothing is done, where threads would not pay or BLAS takes its own.
    """
    sums = {0: out}

    def of_piece(piece: slice) -> None:
        room = out if piece.start == 0 else empty(out.shape, out.dtype)
        sums[piece.start] = room
        a[:, piece].dot(b[piece], room)

    if not _share(of_piece, len(b)):
        return False
    with np.errstate(all="ignore"):
        for start in sorted(sums)[1:]:
            out += sums[start]
    return True


def _share(work: Callable[[slice], object], rows: int) -> bool:
    """Run work for pieces of rows on the pool; False if BLAS took threads of its own for each."""
    workers = POOL.workers
    if workers < 2 or rows < workers * _ROWS:
        return False
    step = -(-rows // workers)
    pieces = deque(slice(start, start + step) for start in range(0, rows, step))

    def some() -> None:
        with np.errstate(all="ignore"):
            for piece in taken(pieces):
                work(piece)

    with one_thread() as limited:
        if limited:
            POOL.share(some)
        return limited
