"""Attention on the device."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from born.raw import Array, RawTensor
from born_cupy.kernels import attention as kernels
from born_cupy.kernels.attention import MOST, SIDE, TILE, Shape
from born_cupy.kernels.source import THREADS, real
from born_cupy.launch import Launching

_HEADS: Final = (0, 2, 1, 3)  # from (batch, tokens, heads, depth), or back


class Tiled(Launching):
    """Attention by kernels that hold a tile of scores.

    None where rows are too long for these, where so few queries would leave them idle that
    products are faster, as in generation, and where shapes do not fit, which products refuse.
    """

    def _attended(
        self,
        q: RawTensor,
        k: RawTensor,
        v: RawTensor,
        mask: RawTensor | None,
        causal: bool,
        scale: float,
    ) -> tuple[RawTensor, RawTensor] | None:
        """The result, and the logarithm of each row's sum of exponentials."""
        shape, lead = self._shape(q, k, v, mask), _lead(q, k, v, mask)
        if shape is None or lead is None or 0 in (*lead, *k.shape, *v.shape):
            return None
        heads = [self._heads(x.array, lead) for x in (q, k, v)]
        y = self._like(heads[0], v.shape[-1])
        totals = self.xp.empty((*lead, q.shape[-2], 1), real(q.dtype))
        over = self._mask(mask, lead, q, k)
        places = [n for x in (*heads, y) for n in _places(x)]
        rest = self._rest(lead, q, k, v, causal, scale)
        blocks = math.prod(lead) * -(-q.shape[-2] // TILE)
        arguments = (*heads, y, totals, *places, *over, *rest)
        self._launch_blocks(kernels.forward(shape), blocks, THREADS, arguments)
        return RawTensor(y.reshape((*lead, *y.shape[2:]))), RawTensor(totals)

    def _attention_slopes(
        self,
        g: RawTensor,
        q: RawTensor,
        k: RawTensor,
        v: RawTensor,
        mask: RawTensor | None,
        y: RawTensor,
        total: RawTensor,
        causal: bool,
        scale: float,
    ) -> tuple[RawTensor, RawTensor, RawTensor] | None:
        """The gradients of q, k and v, not summed to shapes."""
        shape, lead = self._shape(q, k, v, mask), _lead(q, k, v, mask)
        if shape is None or lead is None or 0 in (*lead, *k.shape, *v.shape):
            return None
        rows = (*lead, q.shape[-2])
        if total.shape != (*rows, 1) or any(x.shape != (*rows, v.shape[-1]) for x in (g, y)):
            return None
        gradient, *heads, result = (self._heads(x.array, lead) for x in (g, q, k, v, y))
        dq, dk, dv = (self._like(x, x.shape[-1]) for x in heads)
        along = self.xp.empty(total.shape, total.dtype)
        over = self._mask(mask, lead, q, k)
        rest = self._rest(lead, q, k, v, causal, scale)
        for source, more, count in (
            (kernels.of_queries(shape), (result, dq), q.shape[-2]),
            (kernels.of_keys(shape), (dk, dv), k.shape[-2]),
        ):
            tensors = (gradient, *heads, *more)
            places = [n for x in tensors for n in _places(x)]
            arguments = (*tensors, total, along, *places, *over, *rest)
            blocks = math.prod(lead) * -(-count // TILE)
            self._launch_blocks(source, blocks, THREADS, arguments)
        dq, dk, dv = (RawTensor(x.reshape((*lead, *x.shape[2:]))) for x in (dq, dk, dv))
        return dq, dk, dv

    def _shape(
        self, q: RawTensor, k: RawTensor, v: RawTensor, mask: RawTensor | None
    ) -> Shape | None:
        """What kernels there are for; None where a block's memory is too small for them."""
        if not _fit(q, k, v, mask):
            return None
        depth, width = (-(-x.shape[-1] // SIDE) * SIDE for x in (q, v))
        kind = "" if mask is None else "bool" if mask.dtype.kind == "b" else "number"
        shape = Shape(q.dtype, depth, width, kind)
        fits = max(depth, width) <= MOST and shape.most_shared <= self.context.shared
        return shape if fits and q.shape[-2] >= SIDE else None

    def _heads(self, array: Array, lead: tuple[int, ...]) -> Any:
        """An array as (outer, inner, rows, columns), its columns side by side: a view if it can."""
        four = self._four(array, lead)
        if four.shape[-1] > 1 and four.strides[-1] != four.itemsize:
            return self.xp.ascontiguousarray(four)
        return four

    def _four(self, array: Array, lead: tuple[int, ...]) -> Any:
        """Matrices with leading axes that broadcast, as (outer, inner, rows, columns)."""
        *outer, inner = (1, *lead)
        along = array.shape[-3] if array.ndim > 2 else 1
        matrix = array.shape[-2:]
        wide = self.xp.broadcast_to(array, (*outer[1:], along, *matrix))
        four = wide.reshape((math.prod(outer), along, *matrix))
        return self.xp.broadcast_to(four, (len(four), inner, *matrix))

    def _like(self, heads: Any, length: int) -> Any:
        """An empty array for heads of such rows, whose axes lie in memory in the same order."""
        outer, inner, rows, _ = heads.shape
        if 0 < heads.strides[1] < heads.strides[2]:
            apart = self.xp.empty((outer, rows, inner, length), heads.dtype)
            return apart.transpose(_HEADS)
        return self.xp.empty((outer, inner, rows, length), heads.dtype)

    def _mask(
        self, mask: RawTensor | None, lead: tuple[int, ...], q: RawTensor, k: RawTensor
    ) -> list[Any]:
        if mask is None:
            return []
        array = mask.array if mask.ndim > 1 else mask.array.reshape((1, -1))
        wide = self.xp.broadcast_to(array, (*array.shape[:-2], q.shape[-2], k.shape[-2]))
        four = self._four(wide, lead)
        return [four, *(stride // four.itemsize for stride in four.strides)]

    def _rest(
        self,
        lead: tuple[int, ...],
        q: RawTensor,
        k: RawTensor,
        v: RawTensor,
        causal: bool,
        scale: float,
    ) -> list[Any]:
        inner = lead[-1] if lead else 1
        sizes = (inner, q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1])
        return [*sizes, np.int32(causal), real(q.dtype).type(scale)]


def _fit(q: RawTensor, k: RawTensor, v: RawTensor, mask: RawTensor | None) -> bool:
    """Whether matrices of queries, keys, values and a mask are as long as each other."""
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        return False
    lengths = k.shape[-2], q.shape[-2]
    over = () if mask is None else reversed(mask.shape[-2:])
    return all(n in (1, length) for n, length in zip(over, lengths, strict=False))


def _lead(*tensors: RawTensor | None) -> tuple[int, ...] | None:
    """The leading axes of tensors, broadcast; None where they cannot be."""
    try:
        return np.broadcast_shapes(*(x.shape[:-2] for x in tensors if x is not None))
    except ValueError:
        return None


def _places(four: Any) -> list[int]:
    """How far apart elements lie along all axes but the last."""
    return [stride // four.itemsize for stride in four.strides[:3]]
