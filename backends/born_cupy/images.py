"""`CupyImages`: windows over images, one kernel each way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from born.backend.checks import Pair, check_pool_padding, image_shape, window, window_counts
from born.raw import RawTensor, Shape, int64
from born_cupy.network import CupyNetwork
from born_cupy.sources import Source, images


class CupyImages(CupyNetwork):
    """Windows cut out, added up, and their largest elements."""

    def unfold(
        self, x: RawTensor, /, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
    ) -> RawTensor:
        """The windows of images, without a padded copy of them."""
        sizes = window(kernel, stride, padding, dilation)
        n, c, h, w = image_shape(x)
        (kh, kw), *_ = sizes
        rows, columns = window_counts((h, w), sizes)
        taps = self.xp.empty((n, c, kh * kw, rows * columns), x.dtype)
        self._windows(images.unfold(x.dtype), taps.size, (h, w), sizes, self._flat(x.array), taps)
        return RawTensor(taps)

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
        """Windows added up into images, each element by one thread."""
        sizes = window(kernel, stride, padding, dilation)
        n, c = columns.shape[:2]
        # A view in the shape that the kernel takes it to have, so that another is refused.
        (kh, kw), *_ = sizes
        taps = columns.array.reshape(n, c, kh, kw, *window_counts(size, sizes))
        image = self.xp.empty((n, c, *size), columns.dtype)
        source = images.fold(columns.dtype)
        self._windows(source, image.size, size, sizes, self._flat(taps), image)
        return RawTensor(image)

    def max_pool2d(
        self, x: RawTensor, /, kernel: Pair, stride: Pair, padding: Pair = 0, dilation: Pair = 1
    ) -> tuple[RawTensor, RawTensor]:
        """The largest element of each window, without cutting the windows out."""
        self._require_floating("max_pool2d", x.array)
        sizes = window(kernel, stride, padding, dilation)
        check_pool_padding(sizes[0], sizes[2])
        n, c, h, w = image_shape(x)
        y = self.xp.empty((n, c, *window_counts((h, w), sizes)), x.dtype)
        winner = self.xp.empty(y.shape, int64)
        arrays = (self._flat(x.array), y, winner)
        self._windows(images.max_pool(x.dtype), y.size, (h, w), sizes, *arrays)
        return RawTensor(y), RawTensor(winner)

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
        """The gradient of `max_pool2d`, gathered by each element from the windows it won."""
        self._require_floating("max_pool2d_backward", g.array)
        sizes = window(kernel, stride, padding, dilation)
        # As in `fold`.
        grid = (*g.shape[:2], *window_counts(size, sizes))
        gradients = self._flat(g.array.reshape(grid))
        winners = self._flat(winner.array.astype(int64, copy=False).reshape(grid))
        image = self.xp.empty((*g.shape[:2], *size), g.dtype)
        source = images.max_pool_backward(g.dtype)
        self._windows(source, image.size, size, sizes, gradients, winners, image)
        return RawTensor(image)

    def _windows(
        self,
        source: Source,
        count: int,
        size: tuple[int, int],
        sizes: Sequence[tuple[int, int]],
        *arrays: Any,
    ) -> None:
        """Launch a kernel that makes `count` elements, with the geometry that it takes."""
        geometry: Shape = (*size, *window_counts(size, sizes), *(n for pair in sizes for n in pair))
        self.launcher.elements(source, count, *arrays, np.int64(count), *map(np.int64, geometry))
