"""Windows over images, as arrays."""

from __future__ import annotations

import math

from typing_extensions import override

from born.backend.arrays.dispatch import Dispatch
from born.backend.contract.images import Images
from born.backend.window import Size, Window, image_shape
from born.dtypes import int64
from born.raw import RawTensor


class ArrayImages(Images, Dispatch):
    """Windows cut out and added up by strided copies, one for each element of the kernel."""

    @override
    def unfold(self, x: RawTensor, window: Window, /) -> RawTensor:
        n, c, h, w = image_shape(x)
        counts = window.counts((h, w))
        (kh, kw), (ph, pw) = window.kernel, window.padding
        padded = self.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw))) if ph or pw else x
        out = self.xp.empty((n, c, kh, kw, *counts), x.dtype)
        for i in range(kh):
            for j in range(kw):
                out[:, :, i, j] = padded.array[(..., *window.slices(i, j, counts))]
        return RawTensor(out.reshape(n, c, kh * kw, math.prod(counts)))

    @override
    def max_pool2d(self, x: RawTensor, window: Window, /) -> tuple[RawTensor, RawTensor]:
        self._require_floating("max_pool2d", x.array)
        window.check_pool()
        n, c, h, w = image_shape(x)
        counts = window.counts((h, w))
        (kh, kw), (ph, pw) = window.kernel, window.padding
        widths = ((0, 0), (0, 0), (ph, ph), (pw, pw))
        padded = self.pad(x, widths, -math.inf).array if ph or pw else x.array
        # Of minus infinities the first element wins that lies inside, and not the padding.
        outside = None
        if ph or pw:
            outside = self.pad(self.full((1, 1, h, w), False, "bool"), widths, True).array
        best = self.xp.full((n, c, *counts), -math.inf, x.dtype)
        winner = self.xp.full((n, c, *counts), -1, int64)
        for i in range(kh):
            for j in range(kw):
                place = (..., *window.slices(i, j, counts))
                tap = padded[place]
                won = (tap > best) | ((tap != tap) & (best == best))
                first = winner < 0
                won |= first if outside is None else first & ~outside[place]
                self.xp.copyto(best, tap, where=won)
                self.xp.copyto(winner, i * kw + j, where=won)
        return RawTensor(best), RawTensor(self.xp.maximum(winner, 0))

    @override
    def max_pool2d_backward(
        self, g: RawTensor, winner: RawTensor, size: Size, window: Window, /
    ) -> RawTensor:
        a, places = g.array, winner.array
        taps = math.prod(window.kernel)
        counts = window.counts(size)
        if a.shape[2:] != counts or not a.size or places.min() < 0 or places.max() >= taps:
            return super().max_pool2d_backward(g, winner, size, window)
        (h, w), (kh, kw), (ph, pw) = size, window.kernel, window.padding
        image = self.xp.zeros((*a.shape[:2], h + 2 * ph, w + 2 * pw), a.dtype)
        none = a.dtype.type(0)
        for i in range(kh):
            for j in range(kw):
                won = self.xp.where(places == i * kw + j, a, none)
                image[(..., *window.slices(i, j, counts))] += won
        return RawTensor(image[..., ph : ph + h, pw : pw + w])

    @override
    def fold(self, columns: RawTensor, size: Size, window: Window, /) -> RawTensor:
        n, c = columns.shape[:2]
        counts = window.counts(size)
        (h, w), (kh, kw), (ph, pw) = size, window.kernel, window.padding
        taps = columns.array.reshape(n, c, kh, kw, *counts)
        image = self.xp.zeros((n, c, h + 2 * ph, w + 2 * pw), columns.dtype)
        for i in range(kh):
            for j in range(kw):
                image[(..., *window.slices(i, j, counts))] += taps[:, :, i, j]
        return RawTensor(image[..., ph : ph + h, pw : pw + w])
