"""Softmax, cross-entropy, normalisation and dropout on the device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from typing_extensions import override

from born.backend import Reduction
from born.backend.arguments import (
    check_label_smoothing,
    check_probability,
    check_reduction,
    normal_axis,
    trailing_axes,
)
from born.backend.arrays.dispatch import dtype_mismatch
from born.backend.arrays.network import ArrayNetwork
from born.dtypes import int64
from born.raw import RawTensor
from born_cupy.kernels import Source, network
from born_cupy.kernels.source import real
from born_cupy.launch import Launching


class CupyNetwork(ArrayNetwork, Launching):
    """One kernel each way; halves are computed in float32 and rounded once."""

    @override
    def dropout(self, x: RawTensor, /, p: float) -> tuple[RawTensor, RawTensor]:
        check_probability(p)
        self._require_floating("dropout", x.array)
        y, mask = self.xp.empty(x.shape, x.dtype), self.xp.empty(x.shape, x.dtype)
        scale = real(x.dtype).type(0.0 if p == 1 else 1.0 / (1.0 - p))
        arguments = (self._contiguous(x.array), y, mask, np.float32(p), scale)
        self._draw(network.dropout(x.dtype), y.size, False, *arguments)
        return RawTensor(y), RawTensor(mask)

    # -- softmax and its company --

    def _along_axis(self, name: str, axis: int, *operands: RawTensor) -> RawTensor:
        """A kernel along an axis, of tensors of one shape and dtype."""
        x = operands[0]
        self._require_floating(name, x.array)
        self._check_alike(name, *operands)
        axis = normal_axis(axis, x.ndim)
        result = self.xp.empty(x.shape, x.dtype)
        inner = math.prod(x.shape[axis + 1 :])
        outer = math.prod(x.shape[:axis])
        arrays = [self._contiguous(operand.array) for operand in operands]
        shape = (outer * inner, x.shape[axis], inner)
        self._launch_rows(network.along_axis(name, x.dtype), shape, *arrays, result)
        return RawTensor(result)

    @override
    def softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        return self._along_axis("softmax", axis, x)

    @override
    def softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        return self._along_axis("softmax_backward", axis, g, y)

    @override
    def log_softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        return self._along_axis("log_softmax", axis, x)

    @override
    def log_softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        return self._along_axis("log_softmax_backward", axis, g, y)

    @override
    def cross_entropy(
        self,
        logits: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> tuple[RawTensor, RawTensor]:
        check_label_smoothing(label_smoothing)
        check_reduction(reduction)
        self._require_floating("cross_entropy", logits.array)
        self.check_labels(logits, labels)
        dtype, count = logits.dtype, labels.size
        compute = real(dtype)
        reduced = reduction != "none"
        probabilities = self.xp.empty(logits.shape, dtype)
        losses = self.xp.empty(labels.shape, compute if reduced else dtype)
        self._launch_rows(
            network.cross_entropy(dtype, reduced),
            (count, logits.shape[-1], 1),
            self._contiguous(logits.array),
            self._contiguous(labels.array.astype(int64, copy=False)),
            probabilities,
            losses,
            compute.type(label_smoothing),
        )
        if reduced:
            divisor = compute.type(count if reduction == "mean" else 1)
            loss = self.xp.empty((), dtype)
            self._launch_rows(network.reduce_losses(dtype), (1, count, 1), losses, loss, divisor)
            losses = loss
        return RawTensor(losses), RawTensor(probabilities)

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
        if g.dtype != dtype:
            raise dtype_mismatch("cross_entropy_backward", g, probabilities)
        compute = real(dtype)
        result = self.xp.empty(probabilities.shape, dtype)
        self._launch_rows(
            network.cross_entropy_backward(dtype, reduction != "none"),
            (labels.size, probabilities.shape[-1], 1),
            self._contiguous(probabilities.array),
            self._contiguous(labels.array.astype(int64, copy=False)),
            self._contiguous(g.array),
            result,
            compute.type(label_smoothing),
            compute.type(labels.size if reduction == "mean" else 1),
        )
        return RawTensor(result)

    # -- normalisation --

    @override
    def check_label_range(self, labels: RawTensor, classes: int) -> None:
        self._check_range("labels", labels.array, classes)

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
        return self._norm("layer_norm", x, weight, bias, axes, eps)

    @override
    def layer_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        return self._norm_backward("layer_norm", g, normal, scale, axes)

    @override
    def rms_norm(
        self, x: RawTensor, weight: RawTensor | None, /, axes: int = 1, eps: float = 1e-6
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        return self._norm("rms_norm", x, weight, None, axes, eps)

    @override
    def rms_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        return self._norm_backward("rms_norm", g, normal, scale, axes)

    def _norm(
        self,
        name: str,
        x: RawTensor,
        weight: RawTensor | None,
        bias: RawTensor | None,
        axes: int,
        eps: float,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        self._require_floating(name, x.array)
        self._check_dtypes(name, x, weight, bias)
        first = trailing_axes(x, axes)[0]
        parts: list[Any] = []
        for part in (weight, bias):
            if part is not None:
                parts.append(self._contiguous(self.broadcast_to(part, x.shape[first:]).array))
        y, normal = self.xp.empty(x.shape, x.dtype), self.xp.empty(x.shape, x.dtype)
        scale = self.xp.empty((*x.shape[:first], *(1,) * axes), x.dtype)
        source = network.norm(x.dtype, name == "layer_norm", weight is not None, bias is not None)
        arguments = (self._contiguous(x.array), *parts, y, normal, scale, real(x.dtype).type(eps))
        self._rows(source, scale, x, *arguments)
        return RawTensor(y), RawTensor(normal), RawTensor(scale)

    def _norm_backward(
        self, name: str, g: RawTensor, normal: RawTensor, scale: RawTensor, axes: int
    ) -> RawTensor:
        trailing_axes(normal, axes)
        self._check_dtypes(f"{name}_backward", g, normal, scale)
        result = self.xp.empty(g.shape, g.dtype)
        source = network.norm_backward(g.dtype, name == "layer_norm")
        arrays = (self._contiguous(each.array) for each in (g, normal, scale))
        self._rows(source, scale.array, g, *arrays, result)
        return RawTensor(result)

    def _rows(self, source: Source, kept: Any, x: RawTensor, *arguments: Any) -> None:
        """Launch a kernel over the rows of `x`, of which each leaves one element in `kept`."""
        columns = x.size // kept.size if kept.size else 0
        self._launch_rows(source, (kept.size, columns, 1), *arguments)
