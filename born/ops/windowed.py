"""Attention that no backend computes at once: to near keys alone, and with dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.backend import B
from born.dtypes import bool_
from born.ops import elementwise, reduction
from born.ops.linear import matmul
from born.ops.shape import concatenate, expand_dims, pad, reshape, swapaxes
from born.raw import HostArray
from born.tensor import Tensor

_BLOCK: Final = 32
"""Queries of the smallest blocks; smaller ones would take more time, not less."""
_FEW: Final = 4
"""In sequences of less than so many blocks, scores that are computed in vain cost little."""
_SPARED: Final = 192
"""Nor does it pay to spare each query fewer scores than these."""


def windowed(
    attention: Callable[..., Tensor[B]],
    q: Tensor[B],
    k: Tensor[B],
    v: Tensor[B],
    mask: Tensor[B] | None,
    causal: bool,
    window: int,
    **options: Any,
) -> Tensor[B]:
    """`ops.attention` to keys less than `window` away; arguments, but the first, are checked."""
    queries, keys = q.shape[-2], k.shape[-2]
    block = max(window, _BLOCK)
    if mask is None and queries == keys >= max(_FEW * block, 2 * block + _SPARED):
        return _in_blocks(attention, q, k, v, causal, window, block, **options)
    # Of keys before the first query's window nothing is seen.
    hidden = max(keys - queries - window + 1, 0)
    if hidden:
        k, v = k[..., hidden:, :], v[..., hidden:, :]
        mask = mask if mask is None or mask.shape[-1] == 1 else mask[..., hidden:]
        keys -= hidden
    if queries > 1 or not causal:
        band = _tensor(abs(_distances(queries, keys)) < window, q)
        if mask is None:
            mask = band
        else:
            mask = mask & band if mask.dtype == bool_ else elementwise.where(band, mask, -math.inf)
    return attention(q, k, v, mask, causal=causal, **options)


def _in_blocks(
    attention: Callable[..., Tensor[B]],
    q: Tensor[B],
    k: Tensor[B],
    v: Tensor[B],
    causal: bool,
    window: int,
    block: int,
    **options: Any,
) -> Tensor[B]:
    """Blocks of queries no shorter than the window, each beside its keys and its neighbours'."""
    alone = q.ndim == k.ndim == v.ndim == 2
    q, k, v = (expand_dims(x, 0) if x.ndim == 2 else x for x in (q, k, v))
    length, count = q.shape[-2], -(-q.shape[-2] // block)
    sides = 2 if causal else 3
    short = count * block - length
    blocks = _cut(q, block, 0, short)
    beside: list[Tensor[B]] = []
    for x in (k, v):
        parts = _cut(x, block, block, short + (sides - 2) * block)
        each = [parts[..., i : i + count, :, :, :] for i in range(sides)]
        beside.append(concatenate(each, axis=-2))
    distance = np.arange(block, 2 * block)[:, None] - np.arange(sides * block)
    near = (abs(distance) < window) & (distance >= 0 if causal else True)
    of_key = np.arange(-1, count - 1)[:, None] * block + np.arange(sides * block)
    seen = near & ((of_key >= 0) & (of_key < length))[:, None, None]
    y = swapaxes(attention(blocks, *beside, _tensor(seen, q), **options), -3, -4)
    y = reshape(y, (*y.shape[:-3], count * block, y.shape[-1]))[..., :length, :]
    return y[0] if alone else y


def _cut(x: Tensor[B], block: int, before: int, after: int) -> Tensor[B]:
    """(..., heads, tokens, width), with zeros added, as (..., blocks, heads, block, width)."""
    if before or after:
        x = pad(x, [(0, 0)] * (x.ndim - 2) + [(before, after), (0, 0)])
    *lead, tokens, width = x.shape
    return swapaxes(reshape(x, (*lead, tokens // block, block, width)), -3, -4)


def with_dropout(
    q: Tensor[B],
    k: Tensor[B],
    v: Tensor[B],
    mask: Tensor[B] | None,
    causal: bool,
    scale: float,
    p: float,
) -> Tensor[B]:
    """`ops.attention` with dropout of its weights; arguments are checked."""
    heads, groups = [x.shape[-3] if x.ndim > 2 else 1 for x in (q, k)]
    shared = groups not in (1, heads)
    if shared:  # an axis for the queries that share a key
        q = _apart(q, groups)
        k, v = expand_dims(k, -3), expand_dims(v, -3)
        if mask is not None and mask.ndim > 1:
            one = mask.ndim < 3 or mask.shape[-3] == 1
            mask = expand_dims(mask, -3) if one else _apart(mask, groups)
    scores = matmul(q * scale, swapaxes(k, -1, -2))
    seen: Tensor[B] | None = None
    if mask is not None and mask.dtype == bool_:
        seen = mask
    elif mask is not None:
        scores, seen = scores + mask, mask > -math.inf
    if causal:
        before = _tensor(_distances(q.shape[-2], k.shape[-2]) >= 0, q)
        seen = before if seen is None else seen & before
    if seen is not None:
        some = reduction.any(seen, axis=-1, keepdims=True)
        zero = Tensor(q.backend.zeros((1,), q.dtype), q.backend)
        scores = elementwise.where(seen, scores, elementwise.where(some, -math.inf, zero))
        weights = elementwise.where(some, _softmax(scores), 0.0)
    else:
        weights = _softmax(scores)
    dropped = Tensor(weights.backend.dropout(weights.raw, p)[0], weights.backend)
    y = matmul(dropped, v)
    return reshape(y, (*y.shape[:-4], heads, *y.shape[-2:])) if shared else y


def _softmax(x: Tensor[B]) -> Tensor[B]:
    return Tensor(x.backend.softmax(x.raw, -1), x.backend)


def _apart(x: Tensor[B], groups: int) -> Tensor[B]:
    """(..., heads, n, m) as (..., groups, heads / groups, n, m)."""
    *lead, heads, rows, columns = x.shape
    return reshape(x, (*lead, groups, heads // groups, rows, columns))


def _distances(queries: int, keys: int) -> HostArray:
    """How far each key lies before each query, the last of which is at the last key."""
    distances: HostArray = np.arange(keys - queries, keys)[:, None] - np.arange(keys)
    return distances


def _tensor(values: HostArray, beside: Tensor[B]) -> Tensor[B]:
    return Tensor(beside.backend.from_numpy(values), beside.backend)
