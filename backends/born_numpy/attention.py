"""Attention, one matrix of scores after the other, shared among threads.

Only some rows of the scores of one head are in memory at a time: they stay in the cache between
the product that makes them and the one that uses them up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self

import numpy as np

from born.backend.threads import POOL, taken
from born.raw import HostArray, RawTensor, Shape
from born_numpy.blas import one_thread

_SCORES: Final = 65_536
"""Elements of a tile of scores: 256 KiB in float32, which a core's own cache holds."""
_LEAST_ROWS: Final = 16
_SERIAL: Final = 32_768
"""Scores below which a second thread costs more than it does."""


def is_tiled(q: RawTensor, k: RawTensor, v: RawTensor, mask: RawTensor | None) -> bool:
    """Whether shapes and dtypes are those of a sound call that is computed here."""
    dtypes = {q.dtype, k.dtype, v.dtype}
    if len(dtypes) > 1 or q.dtype.char not in "fd" or min(q.ndim, k.ndim, v.ndim) < 2:
        return False
    if mask is not None and (mask.ndim < 2 or mask.dtype not in (q.dtype, np.bool_)):
        return False
    return q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2]


class Tile(NamedTuple):
    """Rows of a matrix of scores.

    Attributes:
        rows: which queries.
        keys: how many keys, from the first, any of them sees.
        hidden: what is added to the scores of a causal tile; None where all keys are seen.
    """

    rows: slice
    keys: int
    hidden: HostArray | None


def _tiles(queries: int, keys: int, causal: bool, dtype: np.dtype[Any]) -> list[Tile]:
    step = max(_LEAST_ROWS, _SCORES // max(keys, 1))
    tiles: list[Tile] = []
    for start in range(0, queries, step):
        stop = min(start + step, queries)
        if not causal:
            tiles.append(Tile(slice(start, stop), keys, None))
            continue
        seen = min(max(stop + keys - queries, 0), keys)
        last = np.arange(start, stop)[:, None] + (keys - queries)
        hidden = np.where(np.arange(seen) > last, -np.inf, 0.0).astype(dtype)
        tiles.append(Tile(slice(start, stop), seen, hidden))
    return tiles


class Heads:
    """The matrices of one call, one of each for every head."""

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
        self.batch: Shape = np.broadcast_shapes(*shapes)
        self.q, self.k, self.v = map(self.spread, (q, k, v))
        self.queries, self.keys = q.shape[-2], k.shape[-2]
        self.mask = None
        if mask is not None:
            self.mask = np.broadcast_to(mask, (*self.batch, self.queries, self.keys))
        self.scale = q.dtype.type(scale)
        self.tiles = _tiles(self.queries, self.keys, causal, q.dtype)

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
        made: HostArray = np.empty_like(x, order="C" if 0 in x.strides else "K")
        return made

    def scores(self, head: Any, tile: Tile) -> HostArray:
        """Rows of scale q k^T + mask of one head, in new memory."""
        scores: HostArray = np.matmul(self.q[head][tile.rows], self.k[head][: tile.keys].T)
        scores *= self.scale
        if self.mask is not None:
            mask = self.mask[head][tile.rows, : tile.keys]
            if mask.dtype == np.bool_:
                np.copyto(scores, -np.inf, where=~mask)
            else:
                scores += mask
        if tile.hidden is not None:
            scores += tile.hidden
        return scores

    def each(self, work: Callable[[Any], None]) -> None:
        """Run work for every head, on several threads if it is enough."""
        heads = deque(np.ndindex(*self.batch))

        def some() -> None:
            with np.errstate(all="ignore"):
                for head in taken(heads):
                    work(head)

        if len(heads) * self.queries * self.keys < _SERIAL or len(heads) < 2:
            some()
            return
        with one_thread() as limited:
            # Threads whose products take BLAS's threads as well would wait for each other.
            POOL.share(some, None if limited else 1)


def attention(heads: Heads) -> tuple[RawTensor, RawTensor]:
    """The result, and the logarithm of the sum of each row's exponentials."""
    same = heads.q.shape[-1] == heads.v.shape[-1]
    y = (
        heads.like(heads.q)
        if same
        else np.empty((*heads.q.shape[:-1], heads.v.shape[-1]), heads.q.dtype)
    )
    total = np.empty((*heads.batch, heads.queries, 1), y.dtype)

    def of_head(head: Any) -> None:
        for tile in heads.tiles:
            e = heads.scores(head, tile)
            largest = e.max(axis=1, keepdims=True, initial=-np.inf)
            e -= np.where(largest == -np.inf, 0, largest)
            np.exp(e, out=e)
            sums = e.sum(axis=1, keepdims=True)
            product = np.matmul(e, heads.v[head][: tile.keys])
            product /= np.where(sums == 0, 1, sums)
            y[head][tile.rows] = product
            total[head][tile.rows] = np.where(sums == 0, -np.inf, largest + np.log(sums))

    heads.each(of_head)
    return RawTensor(y), RawTensor(total)


def gradients(
    heads: Heads, g: HostArray, y: HostArray, total: HostArray, for_mask: bool
) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor | None]:
    """The gradients of q, k, v and, if wanted, the mask, over all heads."""
    dq, dk, dv = map(heads.like, (heads.q, heads.k, heads.v))
    shape = (*heads.batch, heads.queries, heads.keys)
    slopes = np.zeros(shape, g.dtype) if for_mask else None
    g = heads.spread(g)

    def of_head(head: Any) -> None:
        k, v = heads.k[head], heads.v[head]
        whole = len(heads.tiles) == 1 and heads.tiles[0].keys == heads.keys
        if not whole:
            dk[head], dv[head] = 0, 0
        for tile in heads.tiles:
            rows, keys = tile.rows, slice(0, tile.keys)
            p = heads.scores(head, tile)
            shift = total[head][rows]
            p -= np.where(shift == -np.inf, 0, shift)
            np.exp(p, out=p)
            g_rows = np.ascontiguousarray(g[head][rows])
            of_p = np.matmul(g_rows, v[keys].T)
            of_p -= np.einsum("ij,ij->i", g_rows, y[head][rows])[:, None]
            of_p *= p
            if slopes is not None:
                slopes[head][rows, keys] = of_p
            of_p *= heads.scale
            dq[head][rows] = np.matmul(of_p, k[keys])
            if whole:
                dv[head] = np.matmul(p.T, g_rows)
                dk[head] = np.matmul(of_p.T, heads.q[head][rows])
            else:
                dv[head][keys] += np.matmul(p.T, g_rows)
                dk[head][keys] += np.matmul(of_p.T, heads.q[head][rows])

    heads.each(of_head)
    of_mask = None if slopes is None else RawTensor(slopes)
    return RawTensor(dq), RawTensor(dk), RawTensor(dv), of_mask
