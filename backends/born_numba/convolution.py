"""Convolutions with a stride of one: no window is cut, as `kernels/convolution.py` says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from typing_extensions import override

from born.backend import Window
from born.backend.threads import POOL, taken
from born.backend.window import Size
from born.raw import HostArray
from born_numba.kernels.convolution import ROOM, SEGMENT, loops
from born_numba.tiles import Form, forms, vector_bytes
from born_numpy.arena import empty
from born_numpy.convolution import Convolution, Cutting, channel_sums, over_batch

_LEAST_SHARE: Final = 0.4
"""How many of a line's results must mean something: with fewer, BLAS is faster on windows."""
_PIECE: Final = 2_000_000
"""Multiplications of a piece of the work, which one thread takes."""
_PIECES: Final = 16
"""Into how many pieces the work is cut at most."""
_SUMS: Final = 8
"""Into how many pieces a batch is cut whose products are added up. That depends on sizes alone,
so that results do not depend on the number of threads."""
_LONG: Final = 64
"""Vectors of a line, of all images, that are worth a piece."""
_CACHED: Final = 98_304
"""Elements of the images and slopes that are multiplied at once: 384 KiB in float32."""

_Room = TypeVar("_Room")
_Unit = TypeVar("_Unit")


class Lines(NamedTuple):
    """How images are laid out as lines, and what a window sees of them.

    Attributes:
        counts: rows and columns of results.
        pitch: from row to row.
        lead: where an image begins.
        length: of a line.
        whole: results of a line, with those that mean nothing.
    """

    counts: Size
    pitch: int
    lead: int
    length: int
    whole: int

    @property
    def share(self) -> float:
        """How many of all results mean something."""
        return self.counts[0] * self.counts[1] / self.whole


@lru_cache(maxsize=256)
def _lines(size: Size, window: Window, lanes: int) -> Lines:
    """The lines of images (height, width), for vectors of some lanes."""
    width, (kh, kw) = size[1], window.kernel
    (ph, pw), (dh, dw) = window.padding, window.dilation
    rows, columns = window.counts(size)
    pitch = width + pw
    whole = _up((rows - 1) * pitch + columns, lanes)
    length = _up((kh - 1) * dh * pitch + (kw - 1) * dw + whole, lanes)
    return Lines((rows, columns), pitch, ph * pitch + pw, length, whole)


@lru_cache(maxsize=256)
def _places(lines: Lines, window: Window, channels: int, itemsize: int) -> HostArray:
    """Where the line begins that each element of the kernels sees, in bytes."""
    (kh, kw), (dh, dw) = window.kernel, window.dilation
    starts = (
        np.arange(channels)[:, None, None] * lines.length
        + np.arange(kh)[:, None] * (dh * lines.pitch)
        + np.arange(kw) * dw
    )
    places: HostArray = (starts * itemsize).reshape(-1)
    return places


def is_direct(size: Size, window: Window, dtype: np.dtype[Any]) -> bool:
    """Whether a convolution of images (height, width) is faster this way."""
    (kh, kw), (ph, pw), (dh, dw) = window.kernel, window.padding, window.dilation
    return (
        window.stride == (1, 1)
        and kh * kw > 1  # else it is a product of matrices, and theirs is BLAS
        and ph <= dh * (kh - 1)
        and pw <= dw * (kw - 1)
        and dtype.isnative
        and _lines(size, window, vector_bytes() // dtype.itemsize).share >= _LEAST_SHARE
    )


def writeable(array: HostArray) -> HostArray:
    """The array, or a copy as the compiled loops take it: contiguous, and not read-only."""
    return array if array.flags.carray else np.array(array, order="C")


class Part(NamedTuple):
    """Some outputs of every group, in blocks of as many as a form has rows."""

    form: Form
    begin: int
    outputs: int

    @property
    def padded(self) -> int:
        """How many outputs whole blocks have."""
        return _up(self.outputs, self.form.rows)


class Direct(Convolution):
    """A convolution with a stride of one; `width` is that of a vector in bytes."""

    def __init__(
        self,
        x: HostArray,
        weight: HostArray,
        window: Window,
        groups: int,
        cutting: Cutting,
        width: int | None = None,
    ) -> None:
        super().__init__(x, weight, window, groups, cutting)
        self._width = vector_bytes() if width is None else width
        self._lanes = self._width // x.dtype.itemsize

    @override
    def forward(self, bias: HostArray | None) -> HostArray:
        if bias is None:
            return self._correlated(self.x, self.kernels, _zeros((self.outputs,), self.x.dtype))
        return self._correlated(self.x, self.kernels, bias)

    @override
    def gradients(
        self, g: HostArray, of_x: bool, of_weight: bool, of_bias: bool
    ) -> tuple[HostArray | None, HostArray | None, HostArray | None]:
        g = writeable(g)
        dx = dw = db = None
        # Zeros of the padding times what is not finite would be NaN where there is nothing.
        if of_weight:
            dw, db = self._of_weight(g)
            if not np.isfinite(dw).all():
                _, dw, db = super().gradients(g, False, True, True)
        if of_x:
            finite = np.isfinite(self.kernels).all()
            dx = self._of_images(g) if finite else super().gradients(g, True, False, False)[0]
        if of_bias and db is None:
            db = channel_sums(g.reshape(self.batch, -1, self.places))
        return dx, dw, db if of_bias else None

    def _of_images(self, g: HostArray) -> HostArray:
        """The slopes, convolved with the kernels turned round."""
        (kh, kw), (dh, dw) = self.window.kernel, self.window.dilation
        (ph, pw), groups, channels = self.window.padding, self.groups, self.channels
        turned = self.kernels.reshape(groups, -1, channels // groups, kh, kw)[..., ::-1, ::-1]
        kernels = turned.swapaxes(1, 2).reshape(groups, channels // groups, -1)
        window = self.window._replace(padding=(dh * (kh - 1) - ph, dw * (kw - 1) - pw))
        return self._correlated(g, kernels, _zeros((channels,), g.dtype), window)

    def _correlated(
        self, x: HostArray, kernels: HostArray, shifts: HostArray, window: Window | None = None
    ) -> HostArray:
        """Images convolved with kernels (groups, outputs, taps), and a number added an output."""
        window = self.window if window is None else window
        batch, channels, dtype = len(x), x.shape[1] // self.groups, x.dtype
        groups, outputs = kernels.shape[:2]
        lines = _lines((x.shape[2], x.shape[3]), window, self._lanes)
        y = empty((batch, groups * outputs, *lines.counts), dtype)
        places = _places(lines, window, channels, dtype.itemsize)
        most = min(_up(ROOM, self._lanes), lines.whole)
        shifts = shifts.reshape(groups, outputs)
        pieces = max(1, min(batch * kernels.size * lines.whole // _PIECE, _PIECES))
        parts = [
            (part, _packed(kernels, part), _padded(shifts, part))
            for part in self._parts(outputs, -(-pieces // batch))
        ]

        def run(line: HostArray, part: Any, first: int, last: int) -> None:
            (form, begin, count), numbers, shift = part
            room = np.empty((form.rows, most), dtype)
            loops(form, dtype).correlate(
                x, numbers, shift, y, line, room, places,
                lines.pitch, lines.lead, begin, count, first, last,
            )  # fmt: skip

        ranges = _ranges(batch, pieces)
        units = [(part, *each) for each in ranges for part in parts]
        _shared(units, lambda: np.zeros((channels, lines.length), dtype), run)
        return y

    def _of_weight(self, g: HostArray) -> tuple[HostArray, HostArray]:
        """The gradient of the kernels, (groups, outputs, taps), and of what is added, in a row."""
        dtype, channels = g.dtype, self.channels // self.groups
        outputs = self.outputs // self.groups
        lines = _lines(self.size, self.window, self._lanes)
        places = _places(lines, self.window, channels, dtype.itemsize)
        pieces = max(1, min(self.batch * self.kernels.size * lines.whole // _PIECE, _SUMS))
        # What is added up in a piece should take longer than to add pieces up.
        vectors = self.batch * lines.whole // self._lanes
        ranges = _ranges(self.batch, max(1, min(vectors // _LONG, pieces)))
        longest = max(last - first for first, last in ranges)
        sums: dict[tuple[int, int], HostArray] = {}
        added = np.empty((self.batch, self.groups, outputs))

        def run(room: Any, part: Part, first: int, last: int) -> None:
            form, begin, count = part
            total = sums[begin, first] = np.zeros((self.groups, part.padded, self.taps))
            line, slopes = room(part)
            loops(form, dtype).slopes(
                self.x, g, total, added, line, slopes, places,
                lines.pitch, lines.lead, begin, count, first, last,
            )  # fmt: skip

        def room() -> Callable[[Part], tuple[HostArray, HostArray]]:
            made: dict[Part, tuple[HostArray, HostArray]] = {}

            def of(part: Part) -> tuple[HostArray, HostArray]:
                if part not in made:
                    image = channels * lines.length + part.padded * lines.whole
                    images = min(_CACHED // image, SEGMENT * self._lanes // lines.whole, longest)
                    made[part] = (
                        _zeros((max(images, 1), channels, lines.length), dtype),
                        _zeros((max(images, 1), part.padded, lines.whole), dtype),
                    )
                return made[part]

            return of

        parts = self._parts(outputs, -(-pieces // len(ranges)))
        _shared([(part, *each) for each in ranges for part in parts], room, run)
        total = np.zeros((self.groups, outputs, self.taps))
        for part in parts:
            there = total[:, part.begin : part.begin + part.outputs]
            for first, _ in ranges:
                there += sums[part.begin, first][:, : part.outputs]
        with np.errstate(over="ignore"):
            return total.astype(dtype), over_batch(added.reshape(self.batch, -1)).astype(dtype)

    def _parts(self, outputs: int, least: int) -> list[Part]:
        """The outputs of a group in parts, at least so many if there are enough."""
        tall, low = forms(self._width)
        whole = outputs // tall.rows * tall.rows
        if 2 * (outputs - whole) > tall.rows:
            whole = outputs
        step = tall.rows * max(1, -(-whole // tall.rows) // least)
        parts = [Part(tall, i, min(step, whole - i)) for i in range(0, whole, step)]
        return parts if whole == outputs else [*parts, Part(low, whole, outputs - whole)]


def _up(count: int, step: int) -> int:
    """The least multiple of `step` that is not less."""
    return -(-count // step) * step


def _ranges(count: int, pieces: int) -> list[tuple[int, int]]:
    """At most so many ranges that make up `range(count)`."""
    step = -(-count // pieces)
    return [(first, min(first + step, count)) for first in range(0, count, step)]


def _padded(numbers: HostArray, part: Part) -> HostArray:
    """The numbers (groups, outputs, ...) of a part, and zeros that fill its last block."""
    some = numbers[:, part.begin : part.begin + part.outputs]
    filled = np.zeros((len(numbers), part.padded, *numbers.shape[2:]), numbers.dtype)
    filled[:, : part.outputs] = some
    return filled


def _packed(kernels: HostArray, part: Part) -> HostArray:
    """Kernels as (groups, blocks, taps, outputs of a block)."""
    filled = _padded(kernels, part)
    groups, _, taps = filled.shape
    blocks = filled.reshape(groups, -1, part.form.rows, taps)
    return np.ascontiguousarray(blocks.swapaxes(2, 3))


def _zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray:
    """Zeros in memory of the arena, which begins where a vector does."""
    made = empty(shape, dtype)
    made[...] = 0
    return made


def _shared(
    units: Sequence[tuple[Any, ...]],
    room: Callable[[], _Room],
    run: Callable[..., None],
) -> None:
    """Run each unit, on several threads if there are many, each with some room of its own."""
    left = deque(units)

    def some() -> None:
        own = room()
        for unit in taken(left):
            run(own, *unit)

    if len(left) > 1:
        POOL.share(some)
    else:
        some()
