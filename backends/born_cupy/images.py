"""Windows over images, on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from typing_extensions import override

from born.backend.arrays.images import ArrayImages
from born.backend.window import Size, Window, check_convolution, image_shape
from born.dtypes import int64
from born.raw import Array, RawTensor
from born_cupy.kernels import Source, images
from born_cupy.launch import Launching, int64_of


class CupyImages(ArrayImages, Launching):
    """Windows cut out, added up, and their largest elements, by one kernel each way.

    A convolution is one product with a matrix that has a column for each window of the batch.
    """

    @override
    def unfold(self, x: RawTensor, window: Window, /) -> RawTensor:
        n, c, h, w = image_shape(x)
        counts = window.counts((h, w))
        taps = self.xp.empty((n, c, math.prod(window.kernel), math.prod(counts)), x.dtype)
        self._launch_windows(images.unfold, taps, (h, w), window, x, taps)
        return RawTensor(taps)

    @override
    def fold(self, columns: RawTensor, size: Size, window: Window, /) -> RawTensor:
        n, c = columns.shape[:2]
        # A view in the shape that the kernel takes it to have, so that another is refused.
        taps = self.reshape(columns, (n, c, *window.kernel, *window.counts(size)))
        image = self.xp.empty((n, c, *size), columns.dtype)
        self._launch_windows(images.fold, image, size, window, taps, image)
        return RawTensor(image)

    # -- convolution --

    @override
    def conv2d(
        self,
        x: RawTensor,
        weight: RawTensor,
        bias: RawTensor | None,
        window: Window,
        /,
        groups: int = 1,
    ) -> RawTensor:
        check_convolution(x, weight, bias, window, groups)
        self._check_dtypes("conv2d", x, weight, bias)
        n, _, h, w = image_shape(x)
        size = window.counts((h, w))
        filters = self._grouped(weight, groups)
        products = self.matmul(filters, self._grouped(self._columns(x, window), groups))
        shape = (n, len(weight.array), *size)
        return self._exchanged(products, shape, *([] if bias is None else [bias]))

    @override
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
        n, out, *size = g.shape
        rows = self.reshape(self._exchanged(g, (out, n, *size)), (out, n * math.prod(size)))
        grouped = self._grouped(rows, groups)
        x_gradient = weight_gradient = None
        if of_x:
            taps = self.matmul(self._turned(self._grouped(weight, groups)), grouped)
            image = self.xp.empty(x.shape, x.dtype)
            _, channels, h, w = image_shape(x)
            kernel = images.fold_columns
            self._launch_windows(kernel, image, (h, w), window, taps, image, sizes=(channels, n))
            x_gradient = RawTensor(image)
        if of_weight:
            # The windows are cut again: keeping them would take kh kw times the image's memory.
            taps = self._turned(self._grouped(self._columns(x, window), groups))
            weight_gradient = self.reshape(self.matmul(grouped, taps), weight.shape)
        return x_gradient, weight_gradient, self.sum(rows, 1) if of_bias else None

    def _columns(self, x: RawTensor, window: Window) -> RawTensor:
        """The windows of images as a matrix (channels taps, batch windows)."""
        n, c, h, w = x.shape
        places = n * math.prod(window.counts((h, w)))
        taps = self.xp.empty((c * math.prod(window.kernel), places), x.dtype)
        self._launch_windows(images.columns, taps, (h, w), window, x, taps, sizes=(c, n))
        return RawTensor(taps)

    def _exchanged(self, x: RawTensor, shape: tuple[int, ...], *bias: RawTensor) -> RawTensor:
        """(b, a, ...) as (a, b, ...) of a shape, and a bias added along b."""
        result = self.xp.empty(shape, x.dtype)
        inner, places = shape[1], math.prod(shape[2:])
        narrow = max(result.size, inner, places) < images.NARROW
        source = images.exchange(x.dtype, narrow, bool(bias))
        sizes = _integers(narrow, result.size, inner, places)
        self._launch(source, result.size, x, result, *bias, *sizes)
        return RawTensor(result)

    def _grouped(self, x: RawTensor, groups: int) -> RawTensor:
        """Rows as a matrix, or a stack of a matrix for each group."""
        rows, *rest = x.shape
        lead = (rows,) if groups == 1 else (groups, rows // groups)
        return self.reshape(x, (*lead, math.prod(rest)))

    def _turned(self, x: RawTensor) -> RawTensor:
        return RawTensor(x.array.swapaxes(-1, -2))

    # -- pools --

    @override
    def max_pool2d(self, x: RawTensor, window: Window, /) -> tuple[RawTensor, RawTensor]:
        self._require_floating("max_pool2d", x.array)
        window.check_pool()
        n, c, h, w = image_shape(x)
        y = self.xp.empty((n, c, *window.counts((h, w))), x.dtype)
        winner = self.xp.empty(y.shape, int64)
        self._launch_windows(images.max_pool, y, (h, w), window, x, y, winner)
        return RawTensor(y), RawTensor(winner)

    @override
    def max_pool2d_backward(
        self, g: RawTensor, winner: RawTensor, size: Size, window: Window, /
    ) -> RawTensor:
        # Each element gathers the gradients of the windows that it won.
        self._require_floating("max_pool2d_backward", g.array)
        grid = (*g.shape[:2], *window.counts(size))  # as in `fold`
        operands = self.reshape(g, grid), self.reshape(int64_of(winner), grid)
        image = self.xp.empty((*g.shape[:2], *size), g.dtype)
        self._launch_windows(images.max_pool_backward, image, size, window, *operands, image)
        return RawTensor(image)

    def _launch_windows(
        self,
        kernel: Callable[[np.dtype[Any], bool], Source],
        result: Array,
        size: Size,
        window: Window,
        *arguments: Any,
        sizes: tuple[int, ...] = (),
    ) -> None:
        """Launch a kernel that makes a result, with the geometry that it takes."""
        most = max(argument.size for argument in arguments)
        geometry = (*size, *window.counts(size), *(n for pair in window for n in pair), *sizes)
        # Places in padded images and taps are counted as well.
        padded = (length + 2 * pad for length, pad in zip(size, window.padding, strict=True))
        narrow = max(most, math.prod(window.kernel), *padded, *geometry) < images.NARROW
        given = _integers(narrow, result.size, *geometry)
        self._launch(kernel(result.dtype, narrow), result.size, *arguments, *given)


def _integers(narrow: bool, *numbers: int) -> list[Any]:
    """As a kernel takes them."""
    return list(map(np.int32 if narrow else np.int64, numbers))
