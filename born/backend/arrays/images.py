"""Windows over images, as arrays."""

from __future__ import annotations

import math

from typing_extensions import override

from born.backend.arrays.dispatch import Dispatch
from born.backend.contract.images import Images
from born.backend.window import Size, Window, image_shape
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
