"""`ArrayBackend`: the fused operations where writing into one's own temporaries pays."""

from __future__ import annotations

import math
from typing import Any

from born.backend.arguments import normal_axis
from born.backend.array import ArrayCore
from born.backend.array_base import is_half
from born.backend.checks import (
    Pair,
    check_probability,
    check_reduction,
    check_smoothing,
    image_shape,
    taps_at,
    trailing_axes,
    window,
    window_counts,
)
from born.backend.composed import Approximation
from born.backend.fused import Reduction
from born.backend.protocol import Axis
from born.errors import ShapeError
from born.raw import Array, RawTensor, float32


class ArrayBackend(ArrayCore):
    """The whole contract over a namespace `xp` like NumPy's.

    NumPy and CuPy differ only in what they override. The fused operations here
    give what their defaults give, to rounding, with fewer passes over memory;
    in float16 and bfloat16 they compute in float32 and round once.

    Args:
        xp: the namespace, such as the module numpy.
        seed: where the random generator starts; 0 by default.

    >>> class Plain(ArrayBackend):
    ...     name = "plain"
    >>> backend = Plain(np)
    >>> backend.relu(backend.from_numpy(np.array([-1.0, 2.0]))).array
    array([0., 2.])
    """

    def sigmoid(self, x: RawTensor, /) -> RawTensor:
        """1 / (1 + exp(-x))."""
        a = x.array
        self._require_floating("sigmoid", a)
        xp = self.xp
        decay = xp.exp(-xp.abs(a))
        numerator = xp.where(a >= 0, a.dtype.type(1), decay)
        return self._wrap(numerator / (decay + a.dtype.type(1)))

    def relu_backward(self, g: RawTensor, y: RawTensor, /) -> RawTensor:
        """The gradient of `relu`."""
        # Not a product with the mask: an infinite gradient times zero is NaN.
        return self._wrap(self.xp.where(y.array > 0, g.array, g.dtype.type(0)))

    def _widened(self, x: RawTensor) -> RawTensor:
        return RawTensor(x.array.astype(float32))

    def _widened_or_none(self, x: RawTensor | None) -> RawTensor | None:
        return None if x is None else self._widened(x)

    def gelu(self, x: RawTensor, /, approximate: Approximation = "none") -> RawTensor:
        """x Phi(x); halves in float32."""
        if not is_half(x.dtype):
            return super().gelu(x, approximate)
        return self.astype(super().gelu(self._widened(x), approximate), x.dtype)

    def gelu_backward(
        self, g: RawTensor, x: RawTensor, /, approximate: Approximation = "none"
    ) -> RawTensor:
        """The gradient of `gelu`; halves in float32."""
        if not is_half(x.dtype):
            return super().gelu_backward(g, x, approximate)
        wide = super().gelu_backward(self._widened(g), self._widened(x), approximate)
        return self.astype(wide, x.dtype)

    def mean(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The arithmetic mean; halves in float32."""
        if not is_half(x.dtype):
            return super().mean(x, axis, keepdims)
        return self.astype(super().mean(self._widened(x), axis, keepdims), x.dtype)

    def var(
        self, x: RawTensor, /, axis: Axis = None, ddof: int = 0, keepdims: bool = False
    ) -> RawTensor:
        """The variance; halves in float32."""
        if not is_half(x.dtype):
            return super().var(x, axis, ddof, keepdims)
        return self.astype(super().var(self._widened(x), axis, ddof, keepdims), x.dtype)

    def norm(
        self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False, order: float = 2
    ) -> RawTensor:
        """The norm; halves in float32."""
        if not is_half(x.dtype):
            return super().norm(x, axis, keepdims, order)
        return self.astype(super().norm(self._widened(x), axis, keepdims, order), x.dtype)

    def cumprod(self, x: RawTensor, /, axis: int) -> RawTensor:
        """The running product; halves multiply in float32."""
        a = x.array
        axis = normal_axis(axis, a.ndim)
        self._require_floating("cumprod", a)
        if is_half(a.dtype):
            return RawTensor(a.cumprod(axis=axis, dtype=float32).astype(a.dtype))
        return RawTensor(a.cumprod(axis=axis))

    def linear(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        """x weight^T + bias, the bias added in place."""
        a, w = x.array, weight.array
        if a.dtype != w.dtype:
            raise self._mixed("linear", x, weight)
        if w.ndim != 2 or a.ndim == 0 or a.shape[-1] != w.shape[1]:
            raise ShapeError(
                f"expected an input (..., in) and a weight (out, in) in linear, got {a.shape} "
                f"and {w.shape}; the last axes must be equal"
            )
        # One large product: matmul of (..., m, in) would run many small ones.
        flat = a.reshape(math.prod(a.shape[:-1]), a.shape[-1]) if a.ndim > 2 else a
        out = self._turned_product(flat, w)
        if bias is not None:
            self._check_bias(x, weight, bias)
            self._add_bias(out, bias.array)
        return RawTensor(out.reshape(*a.shape[:-1], w.shape[0]) if a.ndim > 2 else out)

    def _turned_product(self, a: Array, b: Array) -> Array:
        """a b^T, of two matrices."""
        return self._product(a, b.T)

    def _add_bias(self, out: Array, bias: Array) -> None:
        """Add a bias to each row of a matrix, in place."""
        out += bias

    def _check_bias(self, x: RawTensor, weight: RawTensor, bias: RawTensor) -> None:
        """Refuse a bias of another dtype than the input, or not of an element an output."""
        b, outputs = bias.array, weight.array.shape[:1]
        if b.dtype != x.array.dtype:
            raise self._mixed("linear", x, bias)
        if b.shape != outputs:
            raise ShapeError(
                f"expected a bias of shape {outputs} in linear, got {b.shape}; "
                "pass one element for each output"
            )

    def linear_relu(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        """max(x weight^T + bias, 0), in the memory of the product."""
        y = self.linear(x, weight, bias)
        self.xp.maximum(y.array, y.dtype.type(0), out=y.array)
        return y

    # -- softmax and its company --

    def _exponentials(self, x: RawTensor, axis: int) -> tuple[Array, Array, Array]:
        """x - max, its exponentials and their sum along an axis, in float32 at least."""
        a = x.array
        self._require_floating("softmax", a)
        axis = normal_axis(axis, a.ndim)
        if is_half(a.dtype):
            a = a.astype(float32)
        shifted = a - a.max(axis=axis, keepdims=True, initial=-math.inf)
        e = self.xp.exp(shifted)
        return shifted, e, e.sum(axis=axis, keepdims=True)

    def softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        """exp(x) / sum(exp(x))."""
        _, e, total = self._exponentials(x, axis)
        e /= total
        return RawTensor(e.astype(x.dtype, copy=False))

    def softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        """The gradient of `softmax`."""
        weighted = g.array * y.array
        weighted -= y.array * self._total(weighted, axis)
        return RawTensor(weighted)

    def log_softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        """The gradient of `log_softmax`."""
        out = self.xp.exp(y.array)
        out *= self._total(g.array, axis)
        return RawTensor(self.xp.subtract(g.array, out, out=out))

    def _total(self, a: Array, axis: int) -> Array:
        """The sum along an axis, kept; halves add up in float32."""
        if is_half(a.dtype):
            return a.sum(axis=axis, keepdims=True, dtype=float32).astype(a.dtype)
        return a.sum(axis=axis, keepdims=True)

    def cross_entropy(
        self,
        logits: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> tuple[RawTensor, RawTensor]:
        """The cross-entropy, and the probabilities in the memory of the exponentials."""
        if label_smoothing:
            check_smoothing(label_smoothing)
        check_reduction(reduction)
        self.check_labels(logits, labels)
        shifted, e, total = self._exponentials(logits, -1)
        rows = labels.array.reshape(-1)
        picked = shifted.reshape(rows.size, shifted.shape[-1])[self.xp.arange(rows.size), rows]
        e /= total
        losses = self.xp.log(total).reshape(labels.shape) - picked.reshape(labels.shape)
        if label_smoothing:
            classes = max(shifted.shape[-1], 1)
            uniform = self.xp.log(total)[..., 0] - shifted.sum(axis=-1) / classes
            losses = losses * (1.0 - label_smoothing) + uniform * label_smoothing
        if reduction == "mean":
            losses = losses.sum() / rows.size if rows.size else self.xp.float32(math.nan)
        elif reduction == "sum":
            losses = losses.sum()
        dtype = logits.dtype
        return (
            RawTensor(self.xp.asarray(losses, dtype=dtype)),
            RawTensor(e.astype(dtype, copy=False)),
        )

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
        delta = probabilities.array.copy()
        classes = delta.shape[-1]
        rows = labels.array.reshape(-1)
        flat = delta.reshape(rows.size, classes)
        flat[self.xp.arange(rows.size), rows] -= 1.0 - label_smoothing
        if label_smoothing:
            delta -= delta.dtype.type(label_smoothing / classes)
        scale: Any = g.array
        if reduction == "mean":
            scale = scale / scale.dtype.type(max(rows.size, 1))
        elif reduction == "none":
            scale = scale[..., None]
        delta *= scale
        return RawTensor(delta)

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
        """Layer normalisation; halves in float32."""
        if not is_half(x.dtype):
            return super().layer_norm(x, weight, bias, axes, eps)
        self._check_parts("layer_norm", x, weight, bias)
        gain, shift = self._widened_or_none(weight), self._widened_or_none(bias)
        y, normal, scale = super().layer_norm(self._widened(x), gain, shift, axes, eps)
        return self.astype(y, x.dtype), self.astype(normal, x.dtype), self.astype(scale, x.dtype)

    def rms_norm(
        self, x: RawTensor, weight: RawTensor | None, /, axes: int = 1, eps: float = 1e-6
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        """Root-mean-square normalisation; halves in float32."""
        if not is_half(x.dtype):
            return super().rms_norm(x, weight, axes, eps)
        self._check_parts("rms_norm", x, weight)
        gain = self._widened_or_none(weight)
        y, normal, scale = super().rms_norm(self._widened(x), gain, axes, eps)
        return self.astype(y, x.dtype), self.astype(normal, x.dtype), self.astype(scale, x.dtype)

    def _check_parts(self, name: str, x: RawTensor, *parts: RawTensor | None) -> None:
        """Refuse a weight or bias of another dtype, which widening would hide."""
        for part in parts:
            if part is not None and part.dtype != x.dtype:
                raise self._mixed(name, x, part)

    def layer_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        """The gradient of the normalisation."""
        if is_half(g.dtype):
            return super().layer_norm_backward(g, normal, scale, axes)
        trailing = trailing_axes(normal, axes)
        if not g.size:
            return self.copy(g)
        out = g.array * normal.array
        along = out.mean(axis=trailing, keepdims=True)
        self.xp.multiply(normal.array, along, out=out)
        self.xp.subtract(g.array, out, out=out)
        out -= g.array.mean(axis=trailing, keepdims=True)
        out *= scale.array
        return RawTensor(out)

    # -- layers --

    def unfold(
        self, x: RawTensor, /, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
    ) -> RawTensor:
        """The windows of images, one strided copy for each element of the kernel."""
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = window(kernel, stride, padding, dilation)
        n, c, h, w = image_shape(x)
        rows, columns = window_counts((h, w), ((kh, kw), (sh, sw), (ph, pw), (dh, dw)))
        padded = x
        if ph or pw:
            padded = self.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        out = self.xp.empty((n, c, kh, kw, rows, columns), x.dtype)
        for i in range(kh):
            for j in range(kw):
                place = taps_at(i, j, (rows, columns), (sh, sw), (dh, dw))
                out[:, :, i, j] = padded.array[(..., *place)]
        return RawTensor(out.reshape(n, c, kh * kw, rows * columns))

    def fold(
        self,
        columns: RawTensor,
        /,
        size: tuple[int, int],
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
    ) -> RawTensor:
        """Windows added up into images, in place."""
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = window(kernel, stride, padding, dilation)
        h, w = size
        n, c = columns.shape[:2]
        rows, cols = window_counts((h, w), ((kh, kw), (sh, sw), (ph, pw), (dh, dw)))
        taps = columns.array.reshape(n, c, kh, kw, rows, cols)
        image = self.xp.zeros((n, c, h + 2 * ph, w + 2 * pw), columns.dtype)
        for i in range(kh):
            for j in range(kw):
                place = taps_at(i, j, (rows, cols), (sh, sw), (dh, dw))
                image[(..., *place)] += taps[:, :, i, j]
        return RawTensor(image[..., ph : ph + h, pw : pw + w])

    def dropout(self, x: RawTensor, /, p: float) -> tuple[RawTensor, RawTensor]:
        """Elements zeroed with probability `p`, and the mask."""
        check_probability(p)
        a = x.array
        self._require_floating("dropout", a)
        mask = (self.uniform(a.shape, "float32").array >= p).astype(a.dtype)
        mask *= a.dtype.type(0.0 if p == 1 else 1.0 / (1.0 - p))
        return self._wrap(a * mask), self._wrap(mask)
