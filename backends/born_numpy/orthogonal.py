"""Newton-Schulz iterations in three arrays, shared among the threads of the pool.

A large matrix goes through on all threads, which take pieces of its rows; small ones, as many at
once as there are threads. BLAS computes on the thread that calls it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from born.backend.contract.primitives import Primitives
from born.backend.orthogonal import divisor
from born.backend.threads import POOL, taken
from born.raw import HostArray, RawTensor
from born_numpy.arena import empty
from born_numpy.blas import one_thread

_LEAST: Final = 2**21  # multiplications of a product from which a second thread pays
_LARGE: Final = 2**25  # those of a product that pays for threads which wait for each other
_ROWS: Final = 64  # of a piece, at least: of fewer, products are slow
_CHUNK: Final = 16_384  # elements that are scaled and added at a time, in the first caches


def orthogonalize_all(
    backend: Primitives,
    xs: Sequence[HostArray],
    scalars: Sequence[tuple[float, float, float, float, float]],
    steps: int,
    preconditioning: str,
) -> list[HostArray]:
    """What `born.backend.orthogonal` computes of each, with its own a, b, c, eps and `added`.

    Each is overwritten. Besides x there is memory for two more matrices: one for x x^T and then
    for the next x, and one for the polynomial of x x^T. It cannot be less, unless x x^T were
    multiplied with x twice in place of with itself once, which takes an eighth longer, and longer
    still where x is not square.
    """
    pairs = [
        _prepared(backend, x, *each[3:], preconditioning)
        for x, each in zip(xs, scalars, strict=True)
    ]
    jobs = [
        _Job(x, other, each[:3], steps)
        for pair, each in zip(pairs, scalars, strict=True)
        for x, other in zip(*map(_matrices, pair), strict=True)
    ]
    if sum(job.work for job in jobs) < _LEAST or POOL.workers < 2:
        _run_all(jobs)
    else:
        with one_thread() as limited:
            if limited:
                _share_all(jobs)
            else:  # BLAS takes threads of its own
                _run_all(jobs)
    return [_finished(x, *pair, steps) for x, pair in zip(xs, pairs, strict=True)]


def _prepared(
    backend: Primitives, x: HostArray, eps: float, added: float, preconditioning: str
) -> tuple[HostArray, HostArray]:
    """Matrices that are not tall, divided, and memory for as many."""
    other: HostArray | None = None
    if x.shape[-2] > x.shape[-1]:
        x, other = _turned(x, empty(x.shape, x.dtype)), x.reshape(x.swapaxes(-1, -2).shape)
    with np.errstate(all="ignore"):
        x /= divisor(backend, RawTensor(x), eps, added, preconditioning).array
    return x, empty(x.shape, x.dtype) if other is None else other


def _finished(given: HostArray, x: HostArray, other: HostArray, steps: int) -> HostArray:
    """The results, which are in the memory of one or the other, in the order that was given."""
    if steps % 2:
        x, other = other, x
    return x if x.shape == given.shape else _turned(x, other)


def _turned(x: HostArray, out: HostArray) -> HostArray:
    """Each matrix transposed, in other memory."""
    turned = x.swapaxes(-1, -2)
    out = out.reshape(turned.shape)
    out[...] = turned
    return out


def _matrices(x: HostArray) -> HostArray:
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


Run: TypeAlias = Callable[[Callable[[slice], None], int], None]
"""Runs something for all of so many rows, in pieces."""


class _Job:
    """The iterations of one matrix; the result of each takes the memory of the other."""

    def __init__(
        self,
        x: HostArray,
        other: HostArray,
        coefficients: tuple[float, float, float],
        steps: int,
    ) -> None:
        self.work = len(x) * x.size
        self._x, self._other = x, other
        self._coefficients = coefficients
        self._steps = steps

    def run(self, run: Run) -> None:
        """Compute all of them."""
        x, other, (a, b, c) = self._x, self._other, self._coefficients
        if not x.size:
            return
        rows = len(x)
        inner = empty((rows, rows), x.dtype)
        for _ in range(self._steps):
            square = other.reshape(-1)[: inner.size].reshape(inner.shape)
            run(partial(_square, x, square), rows)
            run(partial(_polynomial, square, b, c, inner), rows)
            run(partial(_next, x, a, inner, other), rows)
            x, other = other, x


def _run_all(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.run(_alone)


def _share_all(jobs: Sequence[_Job]) -> None:
    """Run large jobs one after another, each shared among threads, and small ones side by side."""
    small = deque[_Job]()
    for job in sorted(jobs, key=lambda job: -job.work):
        if job.work < _LARGE:
            small.append(job)
        else:
            job.run(_shared)

    def some() -> None:
        for job in taken(small):
            job.run(_alone)

    if small:
        POOL.share(some)


def _alone(work: Callable[[slice], None], rows: int) -> None:
    with np.errstate(all="ignore"):
        work(slice(0, rows))


def _shared(work: Callable[[slice], None], rows: int) -> None:
    """Run work on pieces of rows that threads take in turn."""
    # Twice as many pieces as threads: of a triangle, the first and the last make two in the middle.
    step = max(_ROWS, -(-rows // (2 * POOL.workers)))
    pieces = deque(slice(start, min(start + step, rows)) for start in range(0, rows, step))

    def some() -> None:
        with np.errstate(all="ignore"):
            for piece in taken(pieces):
                work(piece)

    POOL.share(some)


def _square(x: HostArray, out: HostArray, piece: slice) -> None:
    """Rows of x x^T, and the columns that are the same."""
    _upper(x, out, piece)
    _mirror(out, piece)


def _polynomial(x: HostArray, a: float, b: float, out: HostArray, piece: slice) -> None:
    """Rows of a x + b x x of a symmetric matrix, and the columns that are the same."""
    _upper(x, out, piece)
    columns = slice(piece.start, len(x))
    for rows in _chunks(piece, x):
        chunk = out[rows, columns]
        chunk *= b
        chunk += x[rows, columns] * a
    _mirror(out, piece)


def _next(x: HostArray, a: float, inner: HostArray, out: HostArray, piece: slice) -> None:
    """Rows of a x + inner x."""
    np.matmul(inner[piece], x, out=out[piece])
    for rows in _chunks(piece, x):
        out[rows] += x[rows] * a


def _upper(x: HostArray, out: HostArray, piece: slice) -> None:
    """Rows of x x^T from the diagonal on."""
    # Of a matrix and its own transpose BLAS computes a half, in two thirds of the time.
    np.matmul(x[piece], x[piece].T, out=out[piece, piece])
    if piece.stop < len(x):
        np.matmul(x[piece], x[piece.stop :].T, out=out[piece, piece.stop :])


def _mirror(out: HostArray, piece: slice) -> None:
    """Columns below the diagonal that are rows beyond it."""
    out[piece.stop :, piece] = out[piece, piece.stop :].T


def _chunks(piece: slice, x: HostArray) -> Iterator[slice]:
    step = max(_CHUNK // x.shape[1], 1)
    for start in range(piece.start, piece.stop, step):
        yield slice(start, min(start + step, piece.stop))
