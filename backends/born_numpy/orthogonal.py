"""Newton-Schulz iterations in the memory of three matrices, shared among the threads of the pool.

A large matrix goes through on all threads, which take tiles of its products; small ones, as many at
once as there are threads. Tiles depend on shapes alone, and BLAS computes each on the thread that
takes it: the bits are the same however many threads there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from born.backend.contract.primitives import Primitives
from born.backend.orthogonal import Polynomial, divisor, polynomial_of
from born.backend.threads import POOL, taken
from born.raw import HostArray, RawTensor
from born_numpy.arena import empty
from born_numpy.blas import one_thread

_LARGE: Final = (
    2**25
)  # multiplications of a product that pays for threads which wait for each other
_LEAST: Final = 2**21  # those of all small products from which a second thread pays
_ROWS: Final = 256  # of a block: of fewer, products are slow,
_BLOCKS: Final = 4  # but so many blocks are enough to share,
_MOST: Final = 512  # and of more rows, products are no faster
_STRIP: Final = 128  # columns of the next matrix that are computed at a time, at least
_CHUNK: Final = 16_384  # elements that are scaled and added at a time, in the first caches
_PAGE: Final = 512  # bytes: where rows are so far apart, a column's elements share few cache lines
_LINE: Final = 64  # bytes of one
_EVEN: Final = 16  # elements: of the registers of a product

Task: TypeAlias = Callable[[], None]
Share: TypeAlias = Callable[[Iterable[Task]], None]
"""Runs tasks, in any order and on any thread, and returns when all are done."""


def orthogonalize_all(
    backend: Primitives,
    xs: Sequence[HostArray],
    scalars: Sequence[tuple[float, float, float, float, float]],
    steps: int,
    preconditioning: str,
) -> list[HostArray]:
    """What `born.backend.orthogonal` computes of each, with its own a, b, c, eps and `added`.

    Each is overwritten. Besides x there is memory for two more matrices, x x^T and its polynomial.
    It cannot be less, unless x x^T were multiplied with x twice in place of with itself once, which
    takes an eighth longer, and longer still where x is not square.
    """
    with one_thread() as limited:
        shares = [_shared if limited and _work(x) >= _LARGE else _alone for x in xs]
        small = list[Task]()
        for x, (a, b, c, eps, added), share in zip(xs, scalars, shares, strict=True):
            _divide(backend, x, eps, added, preconditioning, share)
            for matrix in _matrices(x):
                if share is _shared:
                    _iterate(matrix, a, b, c, steps, share)
                else:
                    small.append(partial(_iterate, matrix, a, b, c, steps, share))
        pays = limited and sum(map(_work, xs)) >= _LEAST
        (_shared if pays else _alone)(small)
    return list(xs)


def _wide(x: HostArray) -> HostArray:
    """The same matrices, or those that are tall transposed."""
    return x.swapaxes(-1, -2) if x.shape[-2] > x.shape[-1] else x


def _matrices(x: HostArray) -> list[HostArray]:
    """Each of them, wide."""
    if not x.size:
        return []
    return [_wide(matrix) for matrix in x.reshape(-1, *x.shape[-2:])]


def _work(x: HostArray) -> int:
    """Multiplications of a product of all of them."""
    rows: int = min(x.shape[-2:])
    return rows * x.size


def _alone(tasks: Iterable[Task]) -> None:
    with np.errstate(all="ignore"):
        for task in tasks:
            task()


def _shared(tasks: Iterable[Task]) -> None:
    """Run tasks that threads take in turn."""
    waiting = deque(tasks)
    POOL.share(lambda: _alone(taken(waiting)))


def _divide(
    backend: Primitives,
    x: HostArray,
    eps: float,
    added: float,
    preconditioning: str,
    share: Share,
) -> None:
    """Divide matrices by their lengths, in place."""
    wide = _wide(x)
    measured = RawTensor(x if preconditioning == "frobenius" else wide)
    lengths = divisor(backend, measured, eps, added, preconditioning, partial(_grams, share))
    with np.errstate(all="ignore"):
        wide /= lengths.array


def _grams(share: Share, xs: RawTensor) -> RawTensor:
    """x x^T of each."""
    x = xs.array
    out = empty((*x.shape[:-1], x.shape[-2]), x.dtype)
    if out.size:
        for each, square in zip(_stack(x), _stack(out), strict=True):
            share(partial(_gram, each, 0.0, square, tile) for tile in _tiles(len(square)))
    return RawTensor(out)


def _stack(x: HostArray) -> HostArray:
    return x.reshape(-1, *x.shape[-2:])


def _iterate(x: HostArray, a: float, b: float, c: float, steps: int, share: Share) -> None:
    """Overwrite a wide matrix with the last of its iterations."""
    rows, columns = x.shape
    pitch = _pitch(rows, x.itemsize)
    memory, other = (empty((rows * pitch,), x.dtype) for _ in range(2))
    square, inner = (each.reshape(rows, pitch)[:, :rows] for each in (memory, other))
    polynomial = polynomial_of(a, b, c)
    tiles = _tiles(rows)
    strips = _strips(rows, columns)
    most = rows * (strips[0].stop - strips[0].start)
    for _ in range(steps):
        share(partial(_gram, x, polynomial.shift, square, tile) for tile in tiles)
        share(partial(_evaluate, polynomial, square, inner, tile) for tile in tiles)
        # Nobody needs the square any more: strips are copied there.
        rooms = [memory[start : start + most] for start in range(0, memory.size - most + 1, most)]
        share(partial(_next, x, inner, polynomial.factor, rooms, strip) for strip in strips)


class _Tile(NamedTuple):
    """Some rows of a symmetric matrix, and as many columns, or some beyond the diagonal."""

    rows: slice
    columns: slice

    @property
    def is_diagonal(self) -> bool:
        return self.rows == self.columns


def _tiles(rows: int) -> list[_Tile]:
    """What a symmetric matrix of so many rows is computed in, what takes longest first."""
    block = _block(rows)
    blocks = _cuts(0, rows, block)
    diagonal = [_Tile(piece, piece) for piece in blocks]
    is_many = len(blocks) > _BLOCKS  # enough to share, and whole ones are faster than halves
    width = block if is_many else _half(block)
    beyond = [
        _Tile(piece, columns) for piece in blocks for columns in _cuts(piece.stop, rows, width)
    ]
    return beyond + diagonal if is_many else diagonal + beyond


def _block(rows: int) -> int:
    """How many rows a block has on the diagonal."""
    count = max(min(-(-rows // _ROWS), _BLOCKS), -(-rows // _MOST))
    return _whole_lines(-(-rows // count))


def _half(block: int) -> int:
    return _whole_lines(-(-block // 2))


def _whole_lines(length: int) -> int:
    """The next length that is even in the registers of a product."""
    return -(-length // _EVEN) * _EVEN


def _cuts(start: int, stop: int, most: int) -> list[slice]:
    """Pieces of a range, of equal length as far as possible."""
    if start == stop:
        return []
    step = _whole_lines(-(-(stop - start) // -(-(stop - start) // most)))
    return [slice(first, min(first + step, stop)) for first in range(start, stop, step)]


def _strips(rows: int, columns: int) -> list[slice]:
    """The columns of the next matrix that are computed at a time: all of a small one, whose product
    is then the one that is written in `born.backend.orthogonal`."""
    if rows * rows * columns < _LARGE:
        return [slice(0, columns)]
    return _cuts(0, columns, max(_STRIP, min(columns // 4, _ROWS), min(columns // 8, _MOST)))


def _pitch(rows: int, itemsize: int) -> int:
    """How far apart the rows of a symmetric matrix lie, so that columns are not slow."""
    return rows if rows * itemsize % _PAGE else rows + _LINE // itemsize


def _gram(x: HostArray, shift: float, out: HostArray, tile: _Tile) -> None:
    """A tile of x x^T + shift, and the one that is its transpose."""
    rows, columns = tile
    part = out[tile]
    # Of a matrix and its own transpose BLAS computes a half, in two thirds of the time.
    np.matmul(x[rows], x[columns].T, out=part)
    _finish(out, shift, tile)


def _evaluate(polynomial: Polynomial, x: HostArray, out: HostArray, tile: _Tile) -> None:
    """A tile of a polynomial of a symmetric matrix, and the one that is its transpose."""
    _, constant, linear, quadratic, _ = polynomial
    rows, columns = tile
    part = out[tile]
    # What is not transposed is faster.
    np.matmul(x[rows], x[rows].T if tile.is_diagonal else x[:, columns], out=part)
    if quadratic != 1.0:
        part *= quadratic
    if linear:
        step = max(_CHUNK // part.shape[1], 1)
        for start in range(0, len(part), step):
            part[start : start + step] += x[tile][start : start + step] * linear
    _finish(out, constant, tile)


def _finish(out: HostArray, shift: float, tile: _Tile) -> None:
    """Change the diagonal, or the tile on its other side."""
    rows, columns = tile
    if not tile.is_diagonal:
        out[columns, rows] = out[tile].T
    elif shift:
        part = out[tile]
        diagonal = np.arange(len(part))
        part[diagonal, diagonal] += shift


def _next(
    x: HostArray, inner: HostArray, factor: float, rooms: list[HostArray], piece: slice
) -> None:
    """Overwrite columns of x by those of inner x factor, with a copy in one of the rooms."""
    strip = x[:, piece]
    try:
        room = rooms.pop()
    except IndexError:  # more threads than rooms
        room = empty((strip.size,), x.dtype)
    copy = room[: strip.size]
    copy = copy.reshape(strip.shape) if _is_in_rows(x) else copy.reshape(strip.T.shape).T
    np.multiply(strip, factor, out=copy)
    np.matmul(inner, copy, out=strip)
    rooms.append(room)


def _is_in_rows(x: HostArray) -> bool:
    return x.strides[0] >= x.strides[1]
