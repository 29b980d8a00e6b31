"""Convolutions, a few images after the other, shared among threads.

The windows of a block of images are cut, multiplied and let go before those of the next: they
stay in the cache, and no array of all windows is ever made.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from born.backend import Window
from born.backend.threads import POOL, taken
from born.backend.window import Size
from born.raw import HostArray, RawTensor
from born_numpy.arena import empty
from born_numpy.blas import one_thread

_BLOCK: Final = 131_072
"""Elements of the windows of a block of images: 512 KiB in float32, which a core's cache holds."""
_PIECE: Final = 2_000_000
"""Multiplications of a piece of the batch, which one thread takes: fewer cost more to hand over."""
_PIECES: Final = 16
"""Into how many pieces a batch is cut at most. Sums do not depend on the number of threads."""


class Cutting(NamedTuple):
    """How windows are cut out of images and added up into them.

    Attributes:
        cut: called with images (N, C, H, W), the array (N, C, kernel elements, rows, columns) to
            write, and the window.
        add: called with such an array, the images to add it to, and the window.
    """

    cut: Callable[[HostArray, HostArray, Window], object]
    add: Callable[[HostArray, HostArray, Window], object]


def is_known(*tensors: RawTensor | None) -> bool:
    """Whether all tensors are float32 or all float64, in native order, and none empty."""
    dtypes = {x.dtype for x in tensors if x is not None}
    sizes = (x.size for x in tensors if x is not None)
    return dtypes in ({np.dtype(np.float32)}, {np.dtype(np.float64)}) and all(sizes)


class Convolution:
    """Images of one shape and the kernels that slide over them.

    Args:
        x: images (N, C, H, W).
        weight: kernels (out, C / groups, kernel height, kernel width).
        window: what slides.
        groups: of channels that do not mix.
        cutting: how windows are cut.
    """

    def __init__(
        self, x: HostArray, weight: HostArray, window: Window, groups: int, cutting: Cutting
    ) -> None:
        self.x = np.ascontiguousarray(x)
        self.window, self.groups, self.cutting = window, groups, cutting
        self.batch, self.channels = x.shape[:2]
        self.size: Size = x.shape[2], x.shape[3]
        self.counts = window.counts(self.size)
        self.places = math.prod(self.counts)
        self.outputs = len(weight)
        self.taps = weight.size // self.outputs
        self.kernels = np.ascontiguousarray(weight).reshape(groups, -1, self.taps)
        elements = math.prod(window.kernel)
        self._windows = (self.channels, elements, *self.counts)
        self._block = max(1, _BLOCK // max(math.prod(self._windows), 1))
        self._whole = elements == 1 and window == Window((1, 1), (1, 1), (0, 0), (1, 1))
        work = self.batch * self.outputs * self.taps * self.places
        self._pieces = min(max(work // _PIECE, 1), _PIECES, self.batch)

    def each(self, run: Callable[[int, list[slice]], None]) -> None:
        """Run for pieces of the batch, each some blocks, on several threads if it is enough."""
        step, block = -(-self.batch // self._pieces), self._block
        pieces = deque(
            (start // step, _blocks(start, min(start + step, self.batch), block))
            for start in range(0, self.batch, step)
        )

        def some() -> None:
            with np.errstate(all="ignore"):
                for piece in taken(pieces):
                    run(*piece)

        if len(pieces) < 2:
            some()
            return
        with one_thread() as limited:
            # Threads whose products take BLAS's threads as well would wait for each other.
            POOL.share(some, None if limited else 1)

    def forward(self, bias: HostArray | None) -> HostArray:
        """The images that come out."""
        y = empty((self.batch, self.groups, self.outputs // self.groups, self.places), self.x.dtype)
        shift = None if bias is None else bias.reshape(self.groups, -1, 1)

        def run(piece: int, blocks: list[slice]) -> None:
            windows = self._room()
            for images in blocks:
                out = y[images]
                np.matmul(self.kernels, self._cut(images, windows), out=out)
                if shift is not None:
                    out += shift

        self.each(run)
        return y.reshape(self.batch, self.outputs, *self.counts)

    def gradients(
        self, g: HostArray, of_x: bool, of_weight: bool, of_bias: bool
    ) -> tuple[HostArray | None, HostArray | None, HostArray | None]:
        """The gradients of the images, of the kernels and of what is added, each if wanted."""
        g = np.ascontiguousarray(g).reshape(self.batch, self.groups, -1, self.places)
        dx = empty(self.x.shape, g.dtype) if of_x else None
        turned = np.ascontiguousarray(self.kernels.transpose(0, 2, 1))
        sums: dict[int, HostArray] = {}

        def run(piece: int, blocks: list[slice]) -> None:
            windows = self._room()
            total = sums[piece] = np.zeros(self.kernels.shape, g.dtype)
            for images in blocks:
                slopes = g[images]
                if of_weight:
                    columns = self._cut(images, windows)
                    total += np.matmul(slopes, columns.transpose(0, 1, 3, 2)).sum(axis=0)
                if dx is not None:
                    self._add(turned, slopes, dx[images], windows)

        if of_x or of_weight:
            self.each(run)
        for piece in sorted(sums)[1:]:
            sums[0] += sums[piece]
        return dx, sums[0] if of_weight else None, channel_sums(g) if of_bias else None

    def _room(self) -> HostArray:
        """Memory for the windows of a block."""
        images = min(self._block, -(-self.batch // self._pieces))
        return np.empty((images, *self._windows), self.x.dtype)

    def _matrices(self, windows: HostArray) -> HostArray:
        """Windows of images, as one matrix for each image and group."""
        return windows.reshape(len(windows), self.groups, self.taps, self.places)

    def _cut(self, images: slice, windows: HostArray) -> HostArray:
        """The windows of a block of images, as matrices."""
        x = self.x[images]
        if self._whole:
            return self._matrices(x)
        windows = windows[: len(x)]
        self.cutting.cut(x, windows, self.window)
        return self._matrices(windows)

    def _add(self, turned: HostArray, g: HostArray, images: HostArray, windows: HostArray) -> None:
        """Write the gradients of a block of images."""
        if self._whole:
            np.matmul(turned, g, out=self._matrices(images))
            return
        windows = windows[: len(images)]
        np.matmul(turned, g, out=self._matrices(windows))
        images[...] = 0
        self.cutting.add(windows, images, self.window)


def channel_sums(g: HostArray) -> HostArray:
    """The sum of images (N, ..., places) over the batch and the places, in one axis."""
    with np.errstate(all="ignore"):
        return over_batch(np.add.reduce(g, axis=-1).reshape(len(g), -1)).astype(g.dtype)


def over_batch(sums: HostArray) -> HostArray:
    """The sum over the first of two axes, in double and by halves, as NumPy adds up a row."""
    total: HostArray = np.ascontiguousarray(sums.T, np.float64).sum(axis=1)
    return total


def _blocks(start: int, stop: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, stop)) for first in range(start, stop, step)]


def _cut(x: HostArray, out: HostArray, window: Window) -> None:
    """Cut the windows of images into columns."""
    (kh, kw), (ph, pw) = window.kernel, window.padding
    n, c, h, w = x.shape
    padded = x
    if ph or pw:
        padded = np.zeros((n, c, h + 2 * ph, w + 2 * pw), x.dtype)
        padded[:, :, ph : ph + h, pw : pw + w] = x
    counts = (out.shape[3], out.shape[4])
    for i in range(kh):
        for j in range(kw):
            out[:, :, i * kw + j] = padded[(..., *window.slices(i, j, counts))]


def _add(windows: HostArray, image: HostArray, window: Window) -> None:
    """Add windows up into images."""
    (kh, kw), (ph, pw) = window.kernel, window.padding
    n, c, h, w = image.shape
    padded = np.zeros((n, c, h + 2 * ph, w + 2 * pw), image.dtype) if ph or pw else image
    counts = (windows.shape[3], windows.shape[4])
    for i in range(kh):
        for j in range(kw):
            padded[(..., *window.slices(i, j, counts))] += windows[:, :, i * kw + j]
    if padded is not image:
        image[...] = padded[..., ph : ph + h, pw : pw + w]


CUTTING: Final = Cutting(_cut, _add)
"""By strided copies of NumPy."""
