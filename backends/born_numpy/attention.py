"""Attention, the scores of a few heads after the other, shared among threads.

Only some rows of their scores are in memory at a time: they stay in the cache between
the product that makes them and the one that uses them up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self

import numpy as np

from born.backend.threads import POOL, taken
from born.raw import HostArray, RawTensor, Shape
from born_numpy.arena import empty
from born_numpy.blas import one_thread

_SCORES: Final = 65_536
"""Elements of a tile of scores: 256 KiB in float32, which a core's own cache holds."""
_LEAST_ROWS: Final = 16
_CAUSAL_ROWS: Final = 64
"""Of a causal tile at most, so that little is computed that nobody sees."""
_PIECES: Final = 4  # at least, for each thread, so that none waits long for the last
_SERIAL: Final = 32_768
"""Scores below which a second thread costs more than it does."""
_FEW_KEYS: Final = 262_144  # elements of all keys that one query passes over sooner alone


def is_tiled(q: RawTensor, k: RawTensor, v: RawTensor, mask: RawTensor | None) -> bool:
    """Whether shapes and dtypes are those of a sound call that is computed here."""
    dtypes = {q.dtype, k.dtype, v.dtype}
    if len(dtypes) > 1 or q.dtype.char not in "fd" or min(q.ndim, k.ndim, v.ndim) < 2:
        return False
    if mask is not None and (mask.ndim < 2 or mask.dtype not in (q.dtype, np.bool_)):
        return False
    return q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2]


def is_one_query(q: HostArray, k: HostArray, v: HostArray) -> bool:
    """Whether there is one query for each matrix of keys, as when text is generated."""
    shape = k.shape
    return (
        q.shape[-2] == 1
        and shape[-2] > 0
        and k.size < _FEW_KEYS
        and q.shape[:-2] == shape[:-2] == v.shape[:-2]
    )


def of_one_query(
    q: HostArray, k: HostArray, v: HostArray, scale: float
) -> tuple[RawTensor, RawTensor]:
    """`attention` of one query for each matrix of keys, all of which it sees."""
    with np.errstate(all="ignore"):
        s = np.matmul(q, k.swapaxes(-1, -2))
        s *= s.dtype.type(scale)
        largest = s.max(axis=-1, keepdims=True)
        if not (largest > -np.inf).all():
            largest[largest == -np.inf] = 0
        s -= largest
        np.exp(s, out=s)
        sums = np.add.reduce(s, axis=-1, keepdims=True)
        y = np.matmul(s, v)
        if sums.all():
            y /= sums
        else:
            y /= np.where(sums == 0, 1, sums)
        np.log(sums, out=sums)
        sums += largest
    return RawTensor(y), RawTensor(sums)


class Tile(NamedTuple):
    """Rows of a matrix of scores.

    Attributes:
        rows: which queries.
        keys: how many keys, from the first, any of them sees.
        first: how many of them the first query sees; each that follows sees one more.
    """

    rows: slice
    keys: int
    first: int


def _tiles(queries: int, keys: int, causal: bool) -> list[Tile]:
    """Rows of queries that are taken at once, with the keys they may see."""
    step = max(_LEAST_ROWS, _SCORES // max(keys, 1))
    if causal:
        step = min(step, _CAUSAL_ROWS)
    tiles: list[Tile] = []
    for start in range(0, queries, step):
        stop = min(start + step, queries)
        if causal:
            ahead = keys - queries
            tiles.append(
                Tile(slice(start, stop), min(max(stop + ahead, 0), keys), start + 1 + ahead)
            )
        else:
            tiles.append(Tile(slice(start, stop), keys, keys))
    return tiles


class Rows(NamedTuple):
    """What is done with some rows of the scores of several heads, (heads, rows, keys), in place.

    Attributes:
        weights: `(s, scale, first, total)`: rows s of q k^T become softmax(scale s), where row i
            sees the first `first + i` keys. Writes the logarithm of each row's sum of
            exponentials to `total`.
        slopes: `(s, of_weights, scale, factor, first, total, along)`: the rows become their weights
            again, and of_weights times them, less `along`, the scores' gradient times `factor`.
    """

    weights: Callable[..., object]
    slopes: Callable[..., object]


@lru_cache(maxsize=16)
def _hidden(rows: int, keys: int, first: int, dtype: np.dtype[Any]) -> HostArray:
    """What is added to the scores of rows of which each sees one key more."""
    seen = np.arange(keys) < first + np.arange(rows)[:, None]
    hidden: HostArray = np.where(seen, 0.0, -np.inf).astype(dtype)
    return hidden


def _scale(s: HostArray, scale: float, first: int) -> None:
    if scale != 1:
        s *= s.dtype.type(scale)
    rows, keys = s.shape[1:]
    if first < keys:
        seen = max(first, 0)  # by all
        s[..., seen:] += _hidden(rows, keys - seen, first - seen, s.dtype)


def _weights(s: HostArray, scale: float, first: int, total: HostArray) -> None:
    _scale(s, scale, first)
    largest = s.max(axis=2, keepdims=True, initial=-np.inf)
    s -= np.where(largest == -np.inf, 0, largest)
    np.exp(s, out=s)
    sums = np.add.reduce(s, axis=2, keepdims=True)
    s /= np.where(sums == 0, 1, sums)
    total[...] = np.where(sums == 0, -np.inf, largest + np.log(sums))[..., 0]


def _slopes(
    s: HostArray,
    of_weights: HostArray,
    scale: float,
    factor: float,
    first: int,
    total: HostArray,
    along: HostArray,
) -> None:
    _scale(s, scale, first)
    s -= np.where(total == -np.inf, 0, total)[..., None]
    np.exp(s, out=s)
    of_weights -= along[..., None]
    of_weights *= s
    if factor != 1:
        of_weights *= s.dtype.type(factor)


ROWS: Final = Rows(_weights, _slopes)


class Heads:
    """The matrices of one call, one of each for every head.

    Several heads side by side on the last axis are computed together, so that each call of NumPy
    is long enough for threads not to wait for each other between calls.
    """

    def __init__(
        self,
        q: HostArray,
        k: HostArray,
        v: HostArray,
        mask: HostArray | None,
        causal: bool,
        scale: float,
    ) -> None:
        shapes = [x.shape[:-2] for x in (q, k, v)] + ([] if mask is None else [mask.shape[:-2]])
        self.leading: Shape = np.broadcast_shapes(*shapes)
        self.batch: Shape = self.leading or (1,)
        self.q, self.k, self.v = map(self.spread, (q, k, v))
        self.queries, self.keys = q.shape[-2], k.shape[-2]
        self.mask = None
        if mask is not None:
            self.mask = np.broadcast_to(mask, (*self.batch, self.queries, self.keys))
        self.scale = scale
        self.left = scale if mask is None else 1.0  # of the scale, where scores are computed
        self.tiles = _tiles(self.queries, self.keys, causal)
        self._largest = max(
            (tile.keys * (tile.rows.stop - tile.rows.start) for tile in self.tiles), default=0
        )
        share = math.prod(self.batch) // (_PIECES * POOL.workers)
        self._together = max(1, min(_SCORES // max(self._largest, 1), share, self.batch[-1]))

    @classmethod
    def of(
        cls,
        q: RawTensor,
        k: RawTensor,
        v: RawTensor,
        mask: RawTensor | None,
        causal: bool,
        scale: float,
    ) -> Self:
        """The matrices in the arrays of tensors."""
        return cls(q.array, k.array, v.array, None if mask is None else mask.array, causal, scale)

    def spread(self, x: HostArray) -> HostArray:
        """Repeated over all heads, without a copy."""
        wide: HostArray = np.broadcast_to(x, (*self.batch, *x.shape[-2:]))
        return wide

    def like(self, x: HostArray) -> HostArray:
        """New memory for a result of the shape of x, in its order of axes."""
        if 0 in x.strides:
            return empty(x.shape, x.dtype)
        order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
        made = empty(tuple(x.shape[axis] for axis in order), x.dtype)
        return made.transpose([order.index(axis) for axis in range(x.ndim)])

    def wrap(self, x: HostArray) -> RawTensor:
        """A result, with the leading axes of the call."""
        return RawTensor(x if self.leading else x[0])

    def scores(self, some: Any, tile: Tile, room: HostArray) -> HostArray:
        """Rows of q k^T of some heads, in room; of scale q k^T + mask if there is a mask."""
        k = self.k[some][:, : tile.keys]
        scores = products(self.q[some][:, tile.rows], k.swapaxes(1, 2), room)
        if self.mask is not None:
            scores *= scores.dtype.type(self.scale)
            mask = self.mask[some][:, tile.rows, : tile.keys]
            if mask.dtype == np.bool_:
                np.copyto(scores, -np.inf, where=~mask)
            else:
                scores += mask
        return scores

    def each(self, work: Callable[[Any, HostArray], None]) -> None:
        """Run work for some heads after others, on several threads if it is enough.

        It is handed which heads, an index of the leading axes, and two rooms for their scores.
        """
        step, across = self._together, self.batch[-1]
        pieces = deque(
            (*outer, slice(start, start + step))
            for outer in np.ndindex(*self.batch[:-1])
            for start in range(0, across, step)
        )

        def some() -> None:
            rooms = np.empty((2, step * self._largest), self.q.dtype)
            with np.errstate(all="ignore"):
                for piece in taken(pieces):
                    work(piece, rooms)

        few = math.prod(self.batch) * self.queries * self.keys < _SERIAL
        if few or len(pieces) < 2:
            some()
            return
        with one_thread() as limited:
            # Threads whose products take BLAS's threads as well would wait for each other.
            POOL.share(some, None if limited else 1)


def products(a: HostArray, b: HostArray, room: HostArray) -> HostArray:
    """The matrix products of three-dimensional arrays, at the beginning of room."""
    heads, rows, columns = len(a), a.shape[1], b.shape[2]
    out = room[: heads * rows * columns].reshape(heads, rows, columns)
    return np.matmul(a, b, out=out)


def attention(heads: Heads, do: Rows = ROWS) -> tuple[RawTensor, RawTensor]:
    """The result, and the logarithm of the sum of each row's exponentials."""
    same = heads.q.shape[-1] == heads.v.shape[-1]
    y = (
        heads.like(heads.q)
        if same
        else empty((*heads.q.shape[:-1], heads.v.shape[-1]), heads.q.dtype)
    )
    total = empty((*heads.batch, heads.queries, 1), y.dtype)
    left = heads.left

    def of_heads(some: Any, rooms: HostArray) -> None:
        v, rows_of_y, totals = heads.v[some], y[some], total[some][..., 0]
        for tile in heads.tiles:
            s = heads.scores(some, tile, rooms[0])
            do.weights(s, left, tile.first, totals[:, tile.rows])
            np.matmul(s, v[:, : tile.keys], out=rows_of_y[:, tile.rows])

    heads.each(of_heads)
    return heads.wrap(y), heads.wrap(total)


def gradients(
    heads: Heads,
    g: HostArray,
    y: HostArray,
    total: HostArray,
    for_mask: bool,
    do: Rows = ROWS,
) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor | None]:
    """The gradients of q, k, v and, if wanted, the mask, over all heads."""
    dq, dk, dv = map(heads.like, (heads.q, heads.k, heads.v))
    shape = (*heads.batch, heads.queries, heads.keys)
    slopes = np.zeros(shape, g.dtype) if for_mask else None
    g, y = heads.spread(g), heads.spread(y)
    total = total.reshape(*heads.batch, heads.queries, 1)
    left, factor = heads.left, 1.0 if for_mask else heads.scale
    if not heads.tiles:
        dk.fill(0)
        dv.fill(0)

    def of_heads(some: Any, rooms: HostArray) -> None:
        q, k, v, rows_of_g = heads.q[some], heads.k[some], heads.v[some], g[some]
        rows_of_dq, rows_of_dk, rows_of_dv = dq[some], dk[some], dv[some]
        totals = total[some][..., 0]
        alongs = np.einsum("htd,htd->ht", rows_of_g, y[some])
        for tile in reversed(heads.tiles):
            rows, keys = tile.rows, slice(0, tile.keys)
            p = heads.scores(some, tile, rooms[0])
            g_rows = rows_of_g[:, rows]
            of_p = products(g_rows, v[:, keys].swapaxes(1, 2), rooms[1])
            do.slopes(p, of_p, left, factor, tile.first, totals[:, rows], alongs[:, rows])
            if slopes is not None:
                slopes[some][:, rows, keys] = of_p
                of_p *= of_p.dtype.type(heads.scale)
            np.matmul(of_p, k[:, keys], out=rows_of_dq[:, rows])
            p, of_p = p.swapaxes(1, 2), of_p.swapaxes(1, 2)
            if rows.stop == heads.queries:  # the first of them, which sees all keys
                np.matmul(p, g_rows, out=rows_of_dv)
                np.matmul(of_p, q[:, rows], out=rows_of_dk)
            else:
                rows_of_dv[:, keys] += np.matmul(p, g_rows)
                rows_of_dk[:, keys] += np.matmul(of_p, q[:, rows])

    heads.each(of_heads)
    of_mask = None if slopes is None else heads.wrap(slopes)
    return heads.wrap(dq), heads.wrap(dk), heads.wrap(dv), of_mask
