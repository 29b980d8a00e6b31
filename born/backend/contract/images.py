"""Convolution, pooling, and the windows they look through."""

from __future__ import annotations

import math

from born.backend.arguments import check_floating
from born.backend.contract.operation import optional
from born.backend.contract.primitives import Primitives
from born.backend.window import Size, Window, check_convolution, image_shape
from born.raw import RawTensor


class Images(Primitives):
    """Operations on images of shape (batch, channels, height, width)."""

    @optional
    def unfold(self, x: RawTensor, window: Window, /) -> RawTensor:
        """The windows of images (N, C, H, W) as (N, C, kernel elements, windows): im2col."""
        n, c, h, w = image_shape(x)
        counts = window.counts((h, w))
        (kh, kw), (ph, pw) = window.kernel, window.padding
        padded = self.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        taps = [
            self.getitem(padded, (..., *window.slices(i, j, counts)))
            for i in range(kh)
            for j in range(kw)
        ]
        return self.reshape(self.stack(taps, axis=2), (n, c, kh * kw, math.prod(counts)))

    @optional
    def fold(self, columns: RawTensor, size: Size, window: Window, /) -> RawTensor:
        """The adjoint of `unfold`: windows added up into images of (height, width) `size`."""
        n, c = columns.shape[:2]
        counts = window.counts(size)
        (h, w), (kh, kw), (ph, pw) = size, window.kernel, window.padding
        taps = self.reshape(columns, (n, c, kh, kw, *counts))
        image = self.zeros((n, c, h + 2 * ph, w + 2 * pw), columns.dtype)
        for i in range(kh):
            for j in range(kw):
                tap = self.getitem(taps, (slice(None), slice(None), i, j))
                image = self.index_add(image, (..., *window.slices(i, j, counts)), tap)
        return self.getitem(image, (..., slice(ph, ph + h), slice(pw, pw + w)))

    @optional
    def conv2d(
        self,
        x: RawTensor,
        weight: RawTensor,
        bias: RawTensor | None,
        window: Window,
        /,
        groups: int = 1,
    ) -> RawTensor:
        """The cross-correlation of images (N, C, H, W) with a weight (out, C / groups, kh, kw)."""
        check_convolution(x, weight, bias, window, groups)
        n, c, h, w = x.shape
        out = weight.shape[0]
        size = window.counts((h, w))
        taps = (c // groups) * math.prod(window.kernel)
        columns = self.reshape(self.unfold(x, window), (n, groups, taps, math.prod(size)))
        y = self.matmul(self.reshape(weight, (groups, out // groups, taps)), columns)
        y = self.reshape(y, (n, out, *size))
        return y if bias is None else self.add(y, self.reshape(bias, (out, 1, 1)))

    def conv2d_gradients(
        self,
        g: RawTensor,
        x: RawTensor,
        weight: RawTensor,
        window: Window,
        groups: int,
        of_x: bool,
        of_weight: bool,
        of_bias: bool,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        """The gradients of `conv2d` for its images, its weight and its bias, each if wanted."""
        n, channels, height, width = x.shape
        outputs, _, kh, kw = shape = weight.shape
        places, taps = g.shape[2] * g.shape[3], channels // groups * kh * kw
        grouped = self.reshape(g, (n, groups, outputs // groups, places))
        x_gradient = weight_gradient = None
        if of_x:
            filters = self.reshape(weight, (groups, outputs // groups, taps))
            columns = self.matmul(self.transpose(filters, (0, 2, 1)), grouped)
            columns = self.reshape(columns, (n, channels, kh * kw, places))
            x_gradient = self.fold(columns, (height, width), window)
        if of_weight:
            # The windows are cut again: keeping them would take kh kw times the image's memory.
            columns = self.reshape(self.unfold(x, window), (n, groups, taps, places))
            products = self.matmul(grouped, self.transpose(columns, (0, 1, 3, 2)))
            weight_gradient = self.reshape(self.sum(products, 0), shape)
        return x_gradient, weight_gradient, self.sum(g, (0, 2, 3)) if of_bias else None

    @optional
    def max_pool2d(self, x: RawTensor, window: Window, /) -> tuple[RawTensor, RawTensor]:
        """The largest element of each window, and which of its elements that was."""
        check_floating("max_pool2d", x)
        window.check_pool()
        n, c, h, w = image_shape(x)
        size = window.counts((h, w))
        ph, pw = window.padding
        padded = self.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), -math.inf)
        taps = self.unfold(padded, window._replace(padding=(0, 0)))
        winner = self.argmax(taps, axis=2, keepdims=True)
        best = self.gather(taps, winner, axis=2)
        if ph or pw:
            # Of -infinity the first element wins that lies inside, and not the padding.
            inside = self.unfold(self.full((1, 1, h, w), 1, x.dtype), window)
            first = self.argmax(inside, axis=2, keepdims=True)
            winner = self.where(self.equal(best, -math.inf), first, winner)
        return (
            self.reshape(best, (n, c, *size)),
            self.reshape(winner, (n, c, *size)),
        )

    @optional
    def max_pool2d_backward(
        self, g: RawTensor, winner: RawTensor, size: Size, window: Window, /
    ) -> RawTensor:
        """The gradient of `max_pool2d` for images of (height, width) `size`, times `g`."""
        n, c, rows, columns = g.shape
        flat = (n, c, 1, rows * columns)
        taps = self.scatter_add(
            self.zeros((n, c, math.prod(window.kernel), rows * columns), g.dtype),
            self.reshape(winner, flat),
            self.reshape(g, flat),
            axis=2,
        )
        return self.fold(taps, size, window)

    @optional
    def avg_pool2d(self, x: RawTensor, window: Window, /) -> RawTensor:
        """The mean of each window, zeros of the padding counted."""
        check_floating("avg_pool2d", x)
        window.check_pool()
        n, c, h, w = image_shape(x)
        means = self.mean(self.unfold(x, window), 2)
        return self.reshape(means, (n, c, *window.counts((h, w))))
