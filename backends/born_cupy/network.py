"""`CupyNetwork`: activations, softmax, losses and normalisation, one kernel each way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from born.backend import Approximation, Reduction
from born.backend.arguments import (
    check_approximation,
    check_label_smoothing,
    check_probability,
    check_reduction,
    normal_axis,
    trailing_axes,
)
from born.backend.arrays.dispatch import dtype_mismatch
from born.errors import ShapeError
from born.raw import Array, RawTensor, int64, is_floating
from born_cupy.indexing import CupyIndexing
from born_cupy.sources import Source, linear, random, rows
from born_cupy.sources.template import real


class CupyNetwork(CupyIndexing):
    """What networks are made of. Halves are computed with in float32 and rounded once."""

    # -- functions of each element --

    def _function(self, name: str, x: RawTensor) -> RawTensor:
        self._require_floating(name, x.array)
        return self._elementwise(name, x)

    def _gradient(self, name: str, g: RawTensor, other: RawTensor) -> RawTensor:
        """A function of a gradient and of a tensor that was kept, of one shape and dtype."""
        self._check_gradient(name, g, other)
        return self._elementwise(name, g, other)

    def _check_gradient(self, name: str, g: RawTensor, other: RawTensor) -> None:
        if g.dtype != other.dtype:
            raise dtype_mismatch(name, g, other)
        if g.shape != other.shape:
            raise ShapeError(
                f"expected a gradient of shape {other.shape} in {name}, got {g.shape}; "
                "pass that of the result"
            )

    def rsqrt(self, x: RawTensor, /) -> RawTensor:
        """1 / sqrt(x)."""
        return self._function("rsqrt", x)

    def erf(self, x: RawTensor, /) -> RawTensor:
        """CUDA's error function, in double and rounded once."""
        return self._function("erf", x)

    def sigmoid(self, x: RawTensor, /) -> RawTensor:
        """1 / (1 + exp(-x))."""
        return self._function("sigmoid", x)

    def silu(self, x: RawTensor, /) -> RawTensor:
        """x sigmoid(x)."""
        return self._function("silu", x)

    def softplus(self, x: RawTensor, /) -> RawTensor:
        """log(1 + exp(x))."""
        return self._function("softplus", x)

    def relu(self, x: RawTensor, /) -> RawTensor:
        """max(x, 0)."""
        return self._elementwise("relu", x) if is_floating(x.dtype) else super().relu(x)

    def linear_relu(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        """max(x weight^T + bias, 0): the product, and one kernel for the rest."""
        if bias is None or not is_floating(x.dtype):
            return self.relu(self.linear(x, weight, bias))
        y = self.linear(x, weight)
        self._check_bias(x, weight, bias)
        a = self._flat(y.array)
        sizes = (np.int64(weight.shape[0]), np.int64(a.size))
        self.launcher.elements(linear.bias_relu(a.dtype), a.size, a, self._flat(bias.array), *sizes)
        return RawTensor(a)

    def linear_gradients(
        self,
        g: RawTensor,
        x: RawTensor | None,
        weight: RawTensor | None,
        bias: bool,
        y: RawTensor | None = None,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        """The gradients of `linear`; relu's and the bias's in one pass over memory."""
        if not bias or not g.size or not is_floating(g.dtype):
            return super().linear_gradients(g, x, weight, bias, y)
        rows = self._flat(g.array).reshape(-1, g.shape[-1])
        operands: list[Array] = []
        if y is not None:
            self._check_gradient("relu_backward", g, y)
            g = RawTensor(self.xp.empty(g.shape, g.dtype))
            operands = [self._flat(y.array), g.array]
        sums = self._column_sums(rows, g.dtype, *operands)
        return (*super().linear_gradients(g, x, weight, False)[:2], RawTensor(sums))

    def _column_sums(self, rows: Array, dtype: np.dtype[Any], *operands: Array) -> Array:
        """The sums of a matrix's columns, added up chunk by chunk until one chunk is left.

        Args:
            rows: the matrix.
            dtype: of the result.
            operands: the result of relu and where its gradient goes, if `rows` is to be masked.
        """
        chunks = -(-len(rows) // linear.CHUNK)
        into = dtype if chunks == 1 else real(dtype)
        sums = self.xp.empty((chunks, rows.shape[1]), into)
        source = linear.column_sums(rows.dtype, into, masked=bool(operands))
        self.launcher.columns(source, rows.shape, rows, *operands, sums)
        return sums[0] if chunks == 1 else self._column_sums(sums, dtype)

    def relu_backward(self, g: RawTensor, y: RawTensor, /) -> RawTensor:
        """The gradient of `relu`."""
        if not is_floating(g.dtype):
            return super().relu_backward(g, y)
        return self._gradient("relu_backward", g, y)

    def gelu(self, x: RawTensor, /, approximate: Approximation = "none") -> RawTensor:
        """x Phi(x)."""
        check_approximation(approximate)
        return self._function("gelu_tanh" if approximate == "tanh" else "gelu", x)

    def gelu_backward(
        self, g: RawTensor, x: RawTensor, /, approximate: Approximation = "none"
    ) -> RawTensor:
        """The gradient of `gelu`."""
        name = "gelu_tanh_backward" if approximate == "tanh" else "gelu_backward"
        return self._gradient(name, g, x)

    def dropout(self, x: RawTensor, /, p: float) -> tuple[RawTensor, RawTensor]:
        """Elements zeroed with probability `p`, and the mask, drawn as they are needed."""
        check_probability(p)
        self._require_floating("dropout", x.array)
        y, mask = self.xp.empty(x.shape, x.dtype), self.xp.empty(x.shape, x.dtype)
        scale = real(x.dtype).type(0.0 if p == 1 else 1.0 / (1.0 - p))
        arguments = (self._flat(x.array), y, mask, np.float32(p), scale)
        self._draw(random.dropout(x.dtype), y.size, False, *arguments)
        return RawTensor(y), RawTensor(mask)

    # -- softmax and its company --

    def _along(self, name: str, axis: int, *operands: RawTensor) -> RawTensor:
        """A kernel along an axis, of tensors of one shape and dtype."""
        x = operands[0]
        self._require_floating(name, x.array)
        for other in operands[1:]:
            if other.dtype != x.dtype:
                raise dtype_mismatch(name, x, other)
            if other.shape != x.shape:
                raise ShapeError(
                    f"expected tensors of one shape in {name}, got {x.shape} and {other.shape}; "
                    "pass a gradient of the result's shape"
                )
        axis = normal_axis(axis, x.ndim)
        result = self.xp.empty(x.shape, x.dtype)
        inner = math.prod(x.shape[axis + 1 :])
        outer = math.prod(x.shape[:axis])
        arrays = [self._flat(operand.array) for operand in operands]
        shape = (outer * inner, x.shape[axis], inner)
        self.launcher.rows(rows.along_axis(name, x.dtype), shape, *arrays, result)
        return RawTensor(result)

    def softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        """exp(x) / sum(exp(x))."""
        return self._along("softmax", axis, x)

    def softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        """The gradient of `softmax`."""
        return self._along("softmax_backward", axis, g, y)

    def log_softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        """log(softmax(x))."""
        return self._along("log_softmax", axis, x)

    def log_softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        """The gradient of `log_softmax`."""
        return self._along("log_softmax_backward", axis, g, y)

    def cross_entropy(
        self,
        logits: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> tuple[RawTensor, RawTensor]:
        """The cross-entropy and the probabilities, then one block to add up the losses."""
        check_label_smoothing(label_smoothing)
        check_reduction(reduction)
        self._require_floating("cross_entropy", logits.array)
        self.check_labels(logits, labels)
        dtype, count = logits.dtype, labels.size
        compute = real(dtype)
        reduced = reduction != "none"
        probabilities = self.xp.empty(logits.shape, dtype)
        losses = self.xp.empty(labels.shape, compute if reduced else dtype)
        self.launcher.rows(
            rows.cross_entropy(dtype, reduced),
            (count, logits.shape[-1], 1),
            self._flat(logits.array),
            self._flat(labels.array.astype(int64, copy=False)),
            probabilities,
            losses,
            compute.type(label_smoothing),
        )
        if reduced:
            divisor = compute.type(count if reduction == "mean" else 1)
            loss = self.xp.empty((), dtype)
            self.launcher.rows(rows.total(dtype), (1, count, 1), losses, loss, divisor)
            losses = loss
        return RawTensor(losses), RawTensor(probabilities)

    def cross_entropy_backward(
        self,
        g: RawTensor,
        probabilities: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> RawTensor:
        """The gradient of `cross_entropy`."""
        dtype = probabilities.dtype
        if g.dtype != dtype:
            raise dtype_mismatch("cross_entropy_backward", g, probabilities)
        compute = real(dtype)
        result = self.xp.empty(probabilities.shape, dtype)
        self.launcher.rows(
            rows.cross_entropy_backward(dtype, reduction != "none"),
            (labels.size, probabilities.shape[-1], 1),
            self._flat(probabilities.array),
            self._flat(labels.array.astype(int64, copy=False)),
            self._flat(g.array),
            result,
            compute.type(label_smoothing),
            compute.type(labels.size if reduction == "mean" else 1),
        )
        return RawTensor(result)

    # -- normalisation --

    def layer_norm(
        self,
        x: RawTensor,
        weight: RawTensor | None,
        bias: RawTensor | None,
        /,
        axes: int = 1,
        eps: float = 1e-5,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        """Zero mean and unit variance, scaled and shifted."""
        return self._norm("layer_norm", x, weight, bias, axes, eps)

    def layer_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        """The gradient of the normalisation inside `layer_norm`."""
        return self._norm_backward("layer_norm", g, normal, scale, axes)

    def rms_norm(
        self, x: RawTensor, weight: RawTensor | None, /, axes: int = 1, eps: float = 1e-6
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        """`x` over its root mean square, scaled."""
        return self._norm("rms_norm", x, weight, None, axes, eps)

    def rms_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        """The gradient of the normalisation inside `rms_norm`."""
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
                parts.append(self._flat(self.broadcast_to(part, x.shape[first:]).array))
        y, normal = self.xp.empty(x.shape, x.dtype), self.xp.empty(x.shape, x.dtype)
        scale = self.xp.empty((*x.shape[:first], *(1,) * axes), x.dtype)
        source = rows.norm(x.dtype, name == "layer_norm", weight is not None, bias is not None)
        arguments = (self._flat(x.array), *parts, y, normal, scale, real(x.dtype).type(eps))
        self._rows(source, scale, x, *arguments)
        return RawTensor(y), RawTensor(normal), RawTensor(scale)

    def _norm_backward(
        self, name: str, g: RawTensor, normal: RawTensor, scale: RawTensor, axes: int
    ) -> RawTensor:
        trailing_axes(normal, axes)
        self._check_dtypes(f"{name}_backward", g, normal, scale)
        result = self.xp.empty(g.shape, g.dtype)
        source = rows.norm_backward(g.dtype, name == "layer_norm")
        arrays = (self._flat(each.array) for each in (g, normal, scale))
        self._rows(source, scale.array, g, *arrays, result)
        return RawTensor(result)

    def _rows(self, source: Source, kept: Any, x: RawTensor, *arguments: Any) -> None:
        """Launch a kernel over the rows of `x`, of which each leaves one element in `kept`."""
        columns = x.size // kept.size if kept.size else 0
        self.launcher.rows(source, (kept.size, columns, 1), *arguments)
