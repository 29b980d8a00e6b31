"""Softmax, cross-entropy, normalisation and dropout of arrays, halves computed in float32."""

from __future__ import annotations

import math
from typing import Any

from typing_extensions import override

from born.backend.arguments import check_losses, check_probability, normal_axis, trailing_axes
from born.backend.arrays.dispatch import Dispatch, halves_in_float32
from born.backend.arrays.sums import SHORT, long_sum, summed
from born.backend.cells import check_recurrence
from born.backend.contract.network import CellName, Network, Reduction
from born.dtypes import float32, is_half
from born.raw import Array, RawTensor


class ArrayNetwork(Network, Dispatch):
    """Network operations with few passes over memory."""

    _long_sum = staticmethod(long_sum)

    def _exponentials(self, x: RawTensor, axis: int) -> tuple[Array, Array, Array]:
        """x - max, its exponentials and their sum along an axis, in float32 at least."""
        a = x.array
        self._require_floating("softmax", a)
        axis = normal_axis(axis, a.ndim)
        if is_half(a.dtype):
            a = a.astype(float32)
        shifted = a - a.max(axis=axis, keepdims=True, initial=-math.inf)
        e = self.xp.exp(shifted)
        return shifted, e, self._sum_along(e, axis)

    @override
    def softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        _, e, total = self._exponentials(x, axis)
        e /= total
        return RawTensor(e.astype(x.dtype, copy=False))

    @override
    def log_softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        self._require_floating("log_softmax", x.array)
        shifted, _, total = self._exponentials(x, axis)
        shifted -= self.xp.log(self.xp.where(total > 0, total, 1))
        return RawTensor(shifted.astype(x.dtype, copy=False))

    @override
    def softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        weighted = self.mul(g, y).array
        weighted -= y.array * self._sum_along(weighted, axis)
        return RawTensor(weighted)

    def _sum_along(self, a: Array, axis: int) -> Array:
        """The sum along an axis, kept; halves add up in float32."""
        if a.size > SHORT:
            return self._long_sum(a, axis, True).astype(a.dtype, copy=False)
        if is_half(a.dtype):
            return summed(a, axis, True, float32).astype(a.dtype)
        return summed(a, axis, True)

    @override
    def attention(
        self,
        q: RawTensor,
        k: RawTensor,
        v: RawTensor,
        mask: RawTensor | None = None,
        /,
        causal: bool = False,
        scale: float = 1.0,
    ) -> tuple[RawTensor, RawTensor]:
        self._check_dtypes("attention", q, k, v)
        self._require_floating("attention", q.array)
        if not is_half(q.dtype):
            return super().attention(q, k, v, mask, causal, scale)
        over = None if mask is None else _widened(mask)
        y, total = self.attention(
            _widened(q), _widened(k), _widened(v), over, causal=causal, scale=scale
        )
        return RawTensor(y.array.astype(q.dtype)), total

    @override
    def attention_gradients(
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
        for_mask: bool,
    ) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor | None]:
        if not is_half(q.dtype):
            return super().attention_gradients(g, q, k, v, mask, y, total, causal, scale, for_mask)
        dtype, over = q.dtype, None if mask is None else _widened(mask)
        g, q, k, v, y = (_widened(x) for x in (g, q, k, v, y))
        dq, dk, dv, dm = self.attention_gradients(
            g, q, k, v, over, y, total, causal, scale, for_mask
        )
        dq, dk, dv = (RawTensor(x.array.astype(dtype)) for x in (dq, dk, dv))
        return dq, dk, dv, None if dm is None else RawTensor(dm.array.astype(dtype))

    @override
    def recurrence(
        self,
        z: RawTensor,
        initial: RawTensor,
        weight: RawTensor,
        bias: RawTensor | None = None,
        mask: RawTensor | None = None,
        /,
        cell: CellName = "tanh",
        reverse: bool = False,
    ) -> tuple[RawTensor, RawTensor]:
        if not is_half(z.dtype):
            return super().recurrence(z, initial, weight, bias, mask, cell, reverse)
        check_recurrence(z, initial, weight, bias, mask, cell)
        wide, first, product = (_widened(x) for x in (z, initial, weight))
        over = None if bias is None else _widened(bias)
        states, kept = self.recurrence(wide, first, product, over, mask, cell, reverse)
        return RawTensor(states.array.astype(z.dtype)), kept

    @override
    def recurrence_gradients(
        self,
        g: RawTensor,
        z: RawTensor,
        initial: RawTensor,
        weight: RawTensor,
        bias: RawTensor | None,
        mask: RawTensor | None,
        states: RawTensor,
        kept: RawTensor,
        cell: CellName,
        reverse: bool,
    ) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor]:
        if not is_half(z.dtype):
            return super().recurrence_gradients(
                g, z, initial, weight, bias, mask, states, kept, cell, reverse
            )
        dtype, over = z.dtype, None if bias is None else _widened(bias)
        g, z, initial, weight, states = (_widened(x) for x in (g, z, initial, weight, states))
        found = self.recurrence_gradients(
            g, z, initial, weight, over, mask, states, kept, cell, reverse
        )
        dz, dh, dw, db = (RawTensor(x.array.astype(dtype)) for x in found)
        return dz, dh, dw, db

    @override
    def cross_entropy(
        self,
        logits: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> tuple[RawTensor, RawTensor]:
        check_losses(label_smoothing, reduction)
        self.check_labels(logits, labels)
        shifted, e, total = self._exponentials(logits, -1)
        rows = labels.array.reshape(-1)
        picked = shifted.reshape(rows.size, shifted.shape[-1])[self.xp.arange(rows.size), rows]
        e /= total
        losses = self.xp.log(total).reshape(labels.shape) - picked.reshape(labels.shape)
        if label_smoothing:
            classes = max(shifted.shape[-1], 1)
            uniform = self.xp.log(total)[..., 0] - summed(shifted, -1) / classes
            losses = losses * (1.0 - label_smoothing) + uniform * label_smoothing
        if reduction == "mean":
            losses = summed(losses) / rows.size if rows.size else self.xp.float32(math.nan)
        elif reduction == "sum":
            losses = summed(losses)
        dtype = logits.dtype
        return (
            RawTensor(self.xp.asarray(losses, dtype=dtype)),
            RawTensor(e.astype(dtype, copy=False)),
        )

    @override
    def cross_entropy_backward(
        self,
        g: RawTensor,
        probabilities: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> RawTensor:
        delta = probabilities.array.copy()
        classes = delta.shape[-1]
        rows = labels.array.reshape(-1)
        flat = delta.reshape(rows.size, classes)
        flat[self.xp.arange(rows.size), rows] -= 1.0 - label_smoothing
        if label_smoothing:
            delta -= delta.dtype.type(label_smoothing / classes)
        scale: Any = g.array
        if reduction == "mean":
            if is_half(scale.dtype):  # in which a count may be infinite
                scale, delta = scale.astype(float32), delta.astype(float32)
            scale = scale / scale.dtype.type(max(rows.size, 1))
        elif reduction == "none":
            scale = scale[..., None]
        delta *= scale
        return RawTensor(delta.astype(g.dtype, copy=False))

    layer_norm = halves_in_float32(Network.layer_norm)
    rms_norm = halves_in_float32(Network.rms_norm)
    batch_norm = halves_in_float32(Network.batch_norm)
    batch_norm_gradients = halves_in_float32(Network.batch_norm_gradients)

    @override
    def layer_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        if is_half(g.dtype):
            return super().layer_norm_backward(g, normal, scale, axes)
        trailing = trailing_axes(normal, axes)
        if not g.size:
            return self.copy(g)
        terms = math.prod(g.shape[axis] for axis in trailing)
        out = self.mul(g, normal).array
        along = summed(out, trailing, True) / terms
        self.xp.multiply(normal.array, along, out=out)
        self.xp.subtract(g.array, out, out=out)
        out -= summed(g.array, trailing, True) / terms
        out *= scale.array
        return RawTensor(out)

    @override
    def dropout(self, x: RawTensor, /, p: float) -> tuple[RawTensor, RawTensor]:
        check_probability(p)
        a = x.array
        self._require_floating("dropout", a)
        mask = (self.uniform(a.shape, "float32").array >= p).astype(a.dtype)
        mask *= a.dtype.type(0.0 if p == 1 else 1.0 / (1.0 - p))
        return self._wrap(a * mask), self._wrap(mask)


def _widened(x: RawTensor) -> RawTensor:
    """A tensor of halves in float32; another as it is."""
    return RawTensor(x.array.astype(float32)) if is_half(x.dtype) else x
