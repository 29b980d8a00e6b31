"""The whole contract: the core, and the operations composed from it by default.

A backend overrides one of these only to be faster. Where an operation leaves
something that its derivative reads (the probabilities of a cross-entropy, the
mask of a dropout), it returns a tuple: the result first, the residuals after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from born.backend.arguments import normal_axis
from born.backend.checks import (
    Pair,
    check_convolution,
    check_pool_padding,
    check_probability,
    check_reduction,
    check_smoothing,
    image_shape,
    taps_at,
    trailing_axes,
    window,
    window_counts,
)
from born.backend.composed import Composed
from born.backend.plain_update import PlainUpdate
from born.backend.protocol import optional
from born.backend.update import UpdateKernel
from born.errors import DTypeError, IndexOutOfRangeError, ShapeError
from born.fusion import Program
from born.raw import DTypeLike, RawTensor

Reduction: TypeAlias = Literal["mean", "sum", "none"]


class Backend(Composed):
    """What born computes with: the contract every backend meets.

    Subclass it, or better `ArrayBackend`, to add a backend; name it in the
    entry-point group `born.backends` for `born.get_backend` to find it.

    >>> import born
    >>> isinstance(born.get_backend("numpy"), Backend)
    True
    """

    @property
    def innermost(self) -> Backend:
        """The backend that computes: `self`, unless it wraps another."""
        return self

    def extent(self, x: RawTensor) -> tuple[int, int] | None:
        """The first address of a tensor's memory and the first after it, if the backend knows."""
        return None

    def compile_update(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> UpdateKernel:
        """Compile a traced update rule for one combination of dtypes.

        Args:
            program: from `born.fusion.trace`.
            dtypes: of the parameter, the gradient and the slots, in the program's order.

        Returns:
            a kernel that updates all parameters of an optimizer in one call; by
            default one that runs instruction by instruction.
        """
        return PlainUpdate(self, program, dtypes)

    def slot(self, x: RawTensor, dtype: DTypeLike, number: int) -> RawTensor:
        """Zeros of the shape of `x`, for an optimizer to carry from update to update.

        An update reads and writes it together with `x`: a backend may choose its place
        in memory accordingly.

        Args:
            x: the parameter.
            dtype: of the slot.
            number: which of the parameter's slots it is, counted from 1.
        """
        return self.zeros(x.shape, dtype)

    def global_norm(self, xs: Sequence[RawTensor]) -> RawTensor:
        """The square root of the sum of the squares of all elements, float64 of shape ().

        It is added up in double, and stays on the device.

        Args:
            xs: tensors of floating dtypes.
        """
        total = self.zeros((), "float64")
        for x in xs:
            wide = self.astype(x, "float64")
            total = self.add(total, self.sum(self.mul(wide, wide)))
        return self.sqrt(total)

    # -- softmax and its company --

    @optional
    def softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        """exp(x) / sum(exp(x)), shifted by the largest element."""
        if x.shape[normal_axis(axis, x.ndim)] == 0:
            return self.copy(x)
        e = self.exp(self.sub(x, self.max(x, axis, keepdims=True)))
        return self.div(e, self.sum(e, axis, keepdims=True))

    @optional
    def softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        """The gradient of `softmax` where its result is `y`, times `g`."""
        weighted = self.sum(self.mul(g, y), axis, keepdims=True)
        return self.mul(y, self.sub(g, weighted))

    @optional
    def log_softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        """log(softmax(x)), by the shifted log-sum-exp."""
        return self.sub(x, self.logsumexp(x, axis, keepdims=True))

    @optional
    def log_softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        """The gradient of `log_softmax` where its result is `y`, times `g`."""
        return self.sub(g, self.mul(self.exp(y), self.sum(g, axis, keepdims=True)))

    def check_labels(self, logits: RawTensor, labels: RawTensor) -> None:
        """Refuse labels that do not name a class of `logits` (..., classes) each.

        Raises:
            DTypeError: the labels are not integers.
            ShapeError: their shape is not that of the logits without its last axis.
            IndexOutOfRangeError: a label is negative or not below the number of classes.
        """
        if labels.dtype.kind not in "iu":
            raise DTypeError(
                f"expected integer class labels, got {labels.dtype}; "
                'convert them with .astype("int64")'
            )
        if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
            raise ShapeError(
                f"expected labels of shape {logits.shape[:-1]} for logits of shape "
                f"{logits.shape} (classes last), got {labels.shape}; "
                "pass one integer label for each row of logits"
            )
        self._check_label_range(labels, logits.shape[-1])

    def check_rows(self, index: RawTensor, rows: int) -> None:
        """Refuse integers that name no row of a table: negative ones do not count from its end.

        Raises:
            IndexOutOfRangeError: one does; a device may say so later, when somebody waits.
        """
        if index.size == 0:
            return
        least, most = self.min(index).item(), self.max(index).item()
        if least < 0 or most >= rows:
            raise IndexOutOfRangeError(
                f"expected integers from 0 to {rows - 1}, got integers from {least} to {most}; "
                "check them, or make the table larger"
            )

    def _check_label_range(self, labels: RawTensor, classes: int) -> None:
        if labels.size == 0:
            return
        least, most = self.min(labels).item(), self.max(labels).item()
        if least < 0 or most >= classes:
            raise IndexOutOfRangeError(
                f"expected labels from 0 to {classes - 1}, got labels from {least} to {most}; "
                "check the labels or the number of classes"
            )

    @optional
    def cross_entropy(
        self,
        logits: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> tuple[RawTensor, RawTensor]:
        """The cross-entropy of integer labels under softmax(logits), and those probabilities."""
        check_smoothing(label_smoothing)
        check_reduction(reduction)
        self.check_labels(logits, labels)
        log_p = self.log_softmax(logits)
        picked = self.squeeze(self.gather(log_p, self.expand_dims(labels, -1), axis=-1), -1)
        losses = self.neg(picked)
        if label_smoothing:
            uniform = self.neg(self.mean(log_p, -1))
            losses = self.add(
                self.mul(losses, 1.0 - label_smoothing), self.mul(uniform, label_smoothing)
            )
        return self._reduced(losses, reduction), self.exp(log_p)

    def _reduced(self, losses: RawTensor, reduction: Reduction) -> RawTensor:
        if reduction == "mean":
            return self.mean(losses)
        return self.sum(losses) if reduction == "sum" else losses

    @optional
    def cross_entropy_backward(
        self,
        g: RawTensor,
        probabilities: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> RawTensor:
        """The gradient of `cross_entropy` with respect to its logits, times `g`."""
        rows = self.expand_dims(labels, -1)
        hit = self.full(rows.shape, label_smoothing - 1.0, probabilities.dtype)
        delta = self.scatter_add(probabilities, rows, hit, axis=-1)
        if label_smoothing:
            delta = self.sub(delta, label_smoothing / probabilities.shape[-1])
        if reduction == "mean":
            g = self.div(g, max(labels.size, 1))
        elif reduction == "none":
            g = self.expand_dims(g, -1)
        return self.mul(delta, g)

    # -- normalisation --

    @optional
    def layer_norm(
        self,
        x: RawTensor,
        weight: RawTensor | None,
        bias: RawTensor | None,
        /,
        axes: int = 1,
        eps: float = 1e-5,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        """Zero mean and unit variance over the last `axes` axes, then scaled and shifted.

        The residuals are the normalised `x` and one over its standard deviation.
        """
        trailing = trailing_axes(x, axes)
        centred = self.sub(x, self.mean(x, trailing, keepdims=True))
        variance = self.mean(self.mul(centred, centred), trailing, keepdims=True)
        scale = self.rsqrt(self.add(variance, eps))
        normal = self.mul(centred, scale)
        y = normal if weight is None else self.mul(normal, weight)
        y = y if bias is None else self.add(y, bias)
        return (self.reshape(y, y.shape) if y is normal else y), normal, scale

    @optional
    def layer_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        """The gradient of the normalisation inside `layer_norm`, times `g`."""
        trailing = trailing_axes(normal, axes)
        mean = self.mean(g, trailing, keepdims=True)
        along = self.mean(self.mul(g, normal), trailing, keepdims=True)
        return self.mul(scale, self.sub(self.sub(g, mean), self.mul(normal, along)))

    @optional
    def rms_norm(
        self, x: RawTensor, weight: RawTensor | None, /, axes: int = 1, eps: float = 1e-6
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        """`x` over its root mean square along the last `axes` axes, then scaled.

        The residuals are as in `layer_norm`.
        """
        square = self.mean(self.mul(x, x), trailing_axes(x, axes), keepdims=True)
        scale = self.rsqrt(self.add(square, eps))
        normal = self.mul(x, scale)
        y = self.reshape(normal, x.shape) if weight is None else self.mul(normal, weight)
        return y, normal, scale

    @optional
    def rms_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        """The gradient of the normalisation inside `rms_norm`, times `g`."""
        along = self.mean(self.mul(g, normal), trailing_axes(normal, axes), keepdims=True)
        return self.mul(scale, self.sub(g, self.mul(normal, along)))

    # -- layers --

    @optional
    def linear(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        """x weight^T + bias, with weight of shape (out, in)."""
        y = self.matmul(x, self.transpose(weight))
        return y if bias is None else self.add(y, bias)

    @optional
    def linear_relu(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        """max(x weight^T + bias, 0)."""
        return self.relu(self.linear(x, weight, bias))

    def linear_gradients(
        self,
        g: RawTensor,
        x: RawTensor | None,
        weight: RawTensor | None,
        bias: bool,
        y: RawTensor | None = None,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        """The gradients of `linear`, or of `linear_relu`, with respect to its operands.

            dx = g W,    dW = sum_n g_n x_n^T,    db = sum_n g_n

        with g zero where y is not positive, for `linear_relu`. What is not due is not
        asked for, and None in its place.

        Args:
            g: the gradient of the result, shape (..., out).
            x: the input, shape (..., in), if the weight's gradient is due.
            weight: W, shape (out, in), if the input's gradient is due.
            bias: whether the bias's gradient is due.
            y: the result of `linear_relu`; None for `linear`.

        Returns:
            the gradients of input, weight and bias.

        Raises:
            DTypeError: not all are of one dtype.
            ShapeError: shapes that do not fit each other.
        """
        g = g if y is None else self.relu_backward(g, y)
        x_grad = None if weight is None else self.matmul(g, weight)
        rows = g if g.ndim == 2 else self.reshape(g, (math.prod(g.shape[:-1]), g.shape[-1]))
        weight_grad = None
        if x is not None:
            flat = x if x.ndim == 2 else self.reshape(x, (rows.shape[0], x.shape[-1]))
            weight_grad = self.matmul(self.transpose(rows), flat)
        return x_grad, weight_grad, self.sum(rows, 0) if bias else None

    @optional
    def unfold(
        self, x: RawTensor, /, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
    ) -> RawTensor:
        """The windows of images (N, C, H, W) as (N, C, kernel elements, windows): im2col."""
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = window(kernel, stride, padding, dilation)
        n, c, h, w = image_shape(x)
        rows, columns = window_counts((h, w), ((kh, kw), (sh, sw), (ph, pw), (dh, dw)))
        padded = self.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        taps = [
            self.getitem(padded, (..., *taps_at(i, j, (rows, columns), (sh, sw), (dh, dw))))
            for i in range(kh)
            for j in range(kw)
        ]
        return self.reshape(self.stack(taps, axis=2), (n, c, kh * kw, rows * columns))

    @optional
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
        """The adjoint of `unfold`: windows added up into images of (height, width) `size`."""
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = window(kernel, stride, padding, dilation)
        h, w = size
        n, c = columns.shape[:2]
        rows, cols = window_counts((h, w), ((kh, kw), (sh, sw), (ph, pw), (dh, dw)))
        taps = self.reshape(columns, (n, c, kh, kw, rows, cols))
        image = self.zeros((n, c, h + 2 * ph, w + 2 * pw), columns.dtype)
        for i in range(kh):
            for j in range(kw):
                place = taps_at(i, j, (rows, cols), (sh, sw), (dh, dw))
                image = self.index_add(
                    image, (..., *place), self.getitem(taps, (slice(None), slice(None), i, j))
                )
        return self.getitem(image, (..., slice(ph, ph + h), slice(pw, pw + w)))

    @optional
    def conv2d(
        self,
        x: RawTensor,
        weight: RawTensor,
        bias: RawTensor | None = None,
        /,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
    ) -> RawTensor:
        """The cross-correlation of images (N, C, H, W) with a weight (out, C / groups, kh, kw)."""
        kernel = check_convolution(x, weight, bias, groups)
        _, strides, paddings, dilations = window(kernel, stride, padding, dilation)
        n, c, h, w = x.shape
        out = weight.shape[0]
        size = window_counts((h, w), (kernel, strides, paddings, dilations))
        columns = self.unfold(x, kernel, stride, padding, dilation)
        taps = (c // groups) * kernel[0] * kernel[1]
        columns = self.reshape(columns, (n, groups, taps, size[0] * size[1]))
        y = self.matmul(self.reshape(weight, (groups, out // groups, taps)), columns)
        y = self.reshape(y, (n, out, *size))
        return y if bias is None else self.add(y, self.reshape(bias, (out, 1, 1)))

    @optional
    def max_pool2d(
        self, x: RawTensor, /, kernel: Pair, stride: Pair, padding: Pair = 0, dilation: Pair = 1
    ) -> tuple[RawTensor, RawTensor]:
        """The largest element of each window, and which of its elements that was."""
        kernels, strides, paddings, dilations = window(kernel, stride, padding, dilation)
        check_pool_padding(kernels, paddings)
        n, c, h, w = image_shape(x)
        size = window_counts((h, w), (kernels, strides, paddings, dilations))
        ph, pw = paddings
        padded = self.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), -math.inf)
        taps = self.unfold(padded, kernel, stride, 0, dilation)
        winner = self.argmax(taps, axis=2, keepdims=True)
        return (
            self.reshape(self.gather(taps, winner, axis=2), (n, c, *size)),
            self.reshape(winner, (n, c, *size)),
        )

    @optional
    def max_pool2d_backward(
        self,
        g: RawTensor,
        winner: RawTensor,
        /,
        size: tuple[int, int],
        kernel: Pair,
        stride: Pair,
        padding: Pair = 0,
        dilation: Pair = 1,
    ) -> RawTensor:
        """The gradient of `max_pool2d` for images of (height, width) `size`, times `g`."""
        (kh, kw), *_ = window(kernel, stride, padding, dilation)
        n, c, rows, columns = g.shape
        flat = (n, c, 1, rows * columns)
        taps = self.scatter_add(
            self.zeros((n, c, kh * kw, rows * columns), g.dtype),
            self.reshape(winner, flat),
            self.reshape(g, flat),
            axis=2,
        )
        return self.fold(taps, size, kernel, stride, padding, dilation)

    @optional
    def avg_pool2d(
        self, x: RawTensor, /, kernel: Pair, stride: Pair, padding: Pair = 0
    ) -> RawTensor:
        """The mean of each window, zeros of the padding counted."""
        kernels, strides, paddings, dilations = window(kernel, stride, padding, 1)
        check_pool_padding(kernels, paddings)
        n, c, h, w = image_shape(x)
        size = window_counts((h, w), (kernels, strides, paddings, dilations))
        means = self.mean(self.unfold(x, kernel, stride, padding, 1), 2)
        return self.reshape(means, (n, c, *size))

    @optional
    def dropout(self, x: RawTensor, /, p: float) -> tuple[RawTensor, RawTensor]:
        """Each element zeroed with probability `p`, the others over 1 - p; and the mask."""
        check_probability(p)
        kept = self.greater_equal(self.uniform(x.shape, "float32"), p)
        mask = self.mul(self.astype(kept, x.dtype), 0.0 if p == 1 else 1.0 / (1.0 - p))
        return self.mul(x, mask), mask
