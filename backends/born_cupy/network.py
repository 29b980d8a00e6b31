"""Softmax, cross-entropy, normalisation and dropout on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from typing_extensions import override

from born.backend import Reduction
from born.backend.arguments import check_losses, check_probability, normal_axis, trailing_axes
from born.backend.arrays.dispatch import declared_as
from born.backend.arrays.network import ArrayNetwork
from born.raw import RawTensor
from born_cupy.attention import Tiled
from born_cupy.kernels import network
from born_cupy.kernels.source import real
from born_cupy.launch import int64_of

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _along_axis(declared: _Method) -> _Method:
    """An operation along an axis, of tensors of one shape and dtype, by the kernel of its name."""
    name = declared.__name__

    def operation(self: Any, /, *operands: Any, axis: int = -1) -> RawTensor:
        *tensors, axis = (*operands, axis) if isinstance(operands[-1], RawTensor) else operands
        x: RawTensor = tensors[0]
        self._require_floating(name, x.array)
        self._check_alike(name, *tensors)
        axis = normal_axis(axis, x.ndim)
        result = self.xp.empty(x.shape, x.dtype)
        outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
        shape = (outer * inner, x.shape[axis], inner)
        self._launch_rows(network.along_axis(name, x.dtype), shape, *tensors, result)
        return RawTensor(result)

    return declared_as(declared, operation)


class CupyNetwork(ArrayNetwork, Tiled):
    """One kernel each way; halves are computed in float32 and rounded once."""

    @override
    def dropout(self, x: RawTensor, /, p: float) -> tuple[RawTensor, RawTensor]:
        check_probability(p)
        self._require_floating("dropout", x.array)
        y, mask = self.xp.empty(x.shape, x.dtype), self.xp.empty(x.shape, x.dtype)
        scale = real(x.dtype).type(0.0 if p == 1 else 1.0 / (1.0 - p))
        self._draw(network.dropout(x.dtype), x.size, False, x, y, mask, np.float32(p), scale)
        return RawTensor(y), RawTensor(mask)

    # -- softmax and its company --

    softmax = _along_axis(ArrayNetwork.softmax)
    log_softmax = _along_axis(ArrayNetwork.log_softmax)
    softmax_backward = _along_axis(ArrayNetwork.softmax_backward)
    log_softmax_backward = _along_axis(ArrayNetwork.log_softmax_backward)

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
        self._require_floating("cross_entropy", logits.array)
        self.check_labels(logits, labels)
        dtype, count = logits.dtype, labels.size
        compute = real(dtype)
        reduced = reduction != "none"
        p = self.xp.empty(logits.shape, dtype)
        losses = self.xp.empty(labels.shape, compute if reduced else dtype)
        self._launch_rows(
            network.cross_entropy(dtype, reduced),
            (count, logits.shape[-1], 1),
            logits,
            int64_of(labels),
            p,
            losses,
            compute.type(label_smoothing),
        )
        if reduced:
            divisor = compute.type(count if reduction == "mean" else 1)
            loss = self.xp.empty((), dtype)
            self._launch_rows(network.reduce_losses(dtype), (1, count, 1), losses, loss, divisor)
            losses = loss
        return RawTensor(losses), RawTensor(p)

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
        dtype = probabilities.dtype
        self._check_dtypes("cross_entropy_backward", g, probabilities)
        compute = real(dtype)
        result = self.xp.empty(probabilities.shape, dtype)
        self._launch_rows(
            network.cross_entropy_backward(dtype, reduction != "none"),
            (labels.size, probabilities.shape[-1], 1),
            probabilities,
            int64_of(labels),
            g,
            result,
            compute.type(label_smoothing),
            compute.type(labels.size if reduction == "mean" else 1),
        )
        return RawTensor(result)

    # -- attention --

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
        self._check_dtypes("attention", q, k, v, _added(mask))
        self._require_floating("attention", q.array)
        found = self._attended(q, k, v, mask, causal, scale)
        return found or super().attention(q, k, v, mask, causal, scale)

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
        self._check_dtypes("attention_gradients", g, q, k, v, y, _added(mask))
        found = None
        if not for_mask:
            found = self._attention_slopes(g, q, k, v, mask, y, total, causal, scale)
        if found is None:
            return super().attention_gradients(g, q, k, v, mask, y, total, causal, scale, for_mask)
        return *found, None

    # -- normalisation --

    @override
    def check_label_range(self, labels: RawTensor, classes: int) -> None:
        self._check_range("labels", labels, classes)

    @override
    def layer_norm(
        self,
        x: RawTensor,
        weight: RawTensor | None,
        bias: RawTensor | None,
        /,
        axes: int = 1,
        eps: float = 1e-5,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        return self._norm("layer_norm", x, axes, eps, weight, bias)

    @override
    def layer_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        return self._norm_backward("layer_norm", g, normal, scale, axes)

    @override
    def layer_norm_gradients(
        self,
        g: RawTensor,
        normal: RawTensor,
        scale: RawTensor,
        weight: RawTensor | None,
        axes: int,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        # The gradients of weight and bias in one pass over memory.
        shape = g.shape[g.ndim - axes :]
        if not g.size:
            return super().layer_norm_gradients(g, normal, scale, weight, axes)
        over = None if weight is None else self.broadcast_to(weight, shape)
        matrices = (self.reshape(x, (scale.size, -1)) for x in (g, normal))
        total, along = (self.reshape(x, shape) for x in self._column_products(*matrices))
        return self._norm_backward("layer_norm", g, normal, scale, axes, over), along, total

    @override
    def rms_norm(
        self, x: RawTensor, weight: RawTensor | None, /, axes: int = 1, eps: float = 1e-6
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        return self._norm("rms_norm", x, axes, eps, weight, None)

    @override
    def rms_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        return self._norm_backward("rms_norm", g, normal, scale, axes)

    def _norm(
        self, name: str, x: RawTensor, axes: int, eps: float, *affine: RawTensor | None
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        self._require_floating(name, x.array)
        self._check_dtypes(name, x, *affine)
        first = trailing_axes(x, axes)[0]
        parts = [self.broadcast_to(part, x.shape[first:]) for part in affine if part is not None]
        y, normal = self.xp.empty(x.shape, x.dtype), self.xp.empty(x.shape, x.dtype)
        scale = self.xp.empty((*x.shape[:first], *(1,) * axes), x.dtype)
        given = (part is not None for part in affine)
        source = network.norm(x.dtype, name == "layer_norm", *given)
        arguments = (x, *parts, y, normal, scale, real(x.dtype).type(eps))
        self._launch_rows(source, _rows(x, scale.size), *arguments)
        return RawTensor(y), RawTensor(normal), RawTensor(scale)

    def _norm_backward(
        self,
        name: str,
        g: RawTensor,
        normal: RawTensor,
        scale: RawTensor,
        axes: int,
        weight: RawTensor | None = None,
    ) -> RawTensor:
        trailing_axes(normal, axes)
        self._check_dtypes(f"{name}_backward", g, normal, scale, weight)
        result = self.xp.empty(g.shape, g.dtype)
        weights = () if weight is None else (weight,)
        source = network.norm_backward(g.dtype, name == "layer_norm", bool(weights))
        arguments = (g, *weights, normal, scale, result)
        self._launch_rows(source, _rows(g, scale.size), *arguments)
        return RawTensor(result)


def _rows(x: RawTensor, count: int) -> tuple[int, int, int]:
    """The shape of `count` contiguous rows that a tensor consists of, for `_launch_rows`."""
    return count, x.size // count if count else 0, 1


def _added(mask: RawTensor | None) -> RawTensor | None:
    """A mask whose numbers are added to scores, and have their dtype."""
    return None if mask is None or mask.dtype.kind == "b" else mask
