"""Windows over images, on the device."""

from __future__ import annotations

import math
from typing import Any

from typing_extensions import override

from born.backend.arrays.images import ArrayImages
from born.backend.window import Size, Window, image_shape
from born.dtypes import int64
from born.raw import Array, RawTensor
from born_cupy.kernels import Source, images
from born_cupy.launch import Launching, int64_of


class CupyImages(ArrayImages, Launching):
    """Windows cut out, added up, and their largest elements, by one kernel each way."""

    @override
    def unfold(self, x: RawTensor, window: Window, /) -> RawTensor:
        n, c, h, w = image_shape(x)
        counts = window.counts((h, w))
        taps = self.xp.empty((n, c, math.prod(window.kernel), math.prod(counts)), x.dtype)
        self._launch_windows(images.unfold(x.dtype), taps, (h, w), window, x, taps)
        return RawTensor(taps)

    @override
    def fold(self, columns: RawTensor, size: Size, window: Window, /) -> RawTensor:
        n, c = columns.shape[:2]
        # A view in the shape that the kernel takes it to have, so that another is refused.
        taps = self.reshape(columns, (n, c, *window.kernel, *window.counts(size)))
        image = self.xp.empty((n, c, *size), columns.dtype)
        self._launch_windows(images.fold(columns.dtype), image, size, window, taps, image)
        return RawTensor(image)

    @override
    def max_pool2d(self, x: RawTensor, window: Window, /) -> tuple[RawTensor, RawTensor]:
        self._require_floating("max_pool2d", x.array)
        window.check_pool()
        n, c, h, w = image_shape(x)
        y = self.xp.empty((n, c, *window.counts((h, w))), x.dtype)
        winner = self.xp.empty(y.shape, int64)
        self._launch_windows(images.max_pool(x.dtype), y, (h, w), window, x, y, winner)
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
        source = images.max_pool_backward(g.dtype)
        self._launch_windows(source, image, size, window, *operands, image)
        return RawTensor(image)

    def _launch_windows(
        self, source: Source, result: Array, size: Size, window: Window, *arguments: Any
    ) -> None:
        """Launch a kernel that makes a result, with the geometry that it takes."""
        geometry = (*size, *window.counts(size), *(n for pair in window for n in pair))
        self._launch(source, result.size, *arguments, result.size, *geometry)
