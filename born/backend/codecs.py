"""What the bytes of coded slots mean, and stochastic rounding: arithmetic on any NumPy-like arrays.

Every step is one that IEEE 754 fixes to the last bit, so that compiled loops and CUDA kernels,
which write the same steps down, agree with it.

In a block the largest magnitude is the scale s, and elements are fractions of it:

- `int8`: a byte c stands for s · (c / 255)⁴ if no element is negative, which the scale's sign bit
  tells; otherwise the first bit is the sign, and seven are left: s · (c / 127)⁴. So fractions reach
  down to 2e-10 with relative steps like a float's, as those of Dettmers' dynamic map do.
- `float8_e4m3fn`, `float8_e5m2`: the bytes of these formats, for s · x / largest.

A number between two that bytes stand for becomes one of them: the nearer, or in updates by chance,
so that the mean of many is the number: an average that moves by less than half of their distance
would stay where it is otherwise. The chance is a function of the element, the slot, the parameter
and its count of updates.

A number that is not 0 never becomes 0, or a second moment might vanish below a first that does
not. What was decoded encodes to the same bytes. A block with NaN or an infinity becomes NaN.

Source: Dettmers, Lewis, Shleifer and Zettlemoyer (2022), "8-bit optimizers via block-wise
quantization", sections 2.1 and 2.2, for blocks; the map here needs no table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from born.fusion.codec import BLOCK, SCALE, coded_size

FULL: Final = SCALE + BLOCK
"""The bytes of a whole block."""

INT8: Final = "int8"


class Float8(NamedTuple):
    """A format of one byte whose bits are the upper ones of a float32, but for the exponent's bias.

    Attributes:
        shift: how far a float32's bits lie to the left of it.
        up: what its bits at that place, taken as a float32, are multiplied by.
        largest: its largest number.
    """

    shift: int
    up: float
    largest: float

    @property
    def top(self) -> int:
        """The byte of its largest number."""
        bits = np.float32(self.largest / self.up).view(np.uint32)
        return int(bits >> np.uint32(self.shift))


FLOAT8: Final = {
    "float8_e4m3fn": Float8(20, 2.0**120, 448.0),
    "float8_e5m2": Float8(21, 2.0**112, 57344.0),
}

TINY: Final = 2.0**-100
LIFT: Final = 2.0**64
"""What a block of a scale below TINY is multiplied by, so that one over its scale is finite."""

_SINGLE: Final = np.float32


_PIECE: Final = 1_024
"""Blocks that NumPy decodes or encodes at a time, so that what it computes stays in the cache."""


def decode(codes: Any, codec: str, values: Any, xp: Any) -> None:
    """Write the numbers that bytes stand for, flat and float32, to `values`."""
    with np.errstate(all="ignore"):
        for rows, out in _blocks(codes, values, xp):
            out[...] = _decoded(rows, codec, xp)


def encode(
    values: Any, codec: str, codes: Any, xp: Any, key: int | None = None, start: int = 0
) -> None:
    """Write flat float32 numbers to `codes` as bytes: the nearest, or with a key, of elements from
    `start` on, by chance."""
    with np.errstate(all="ignore"):
        for rows, x in _blocks(codes, values, xp):
            shares: Any = _SINGLE(0.5)
            if key is not None:
                words = random_words(start, x.size, key, xp) >> np.uint32(8)
                shares = (words.astype(np.float32) * _SINGLE(SHARE)).reshape(x.shape)
            _encode(x, codec, xp, rows, shares)
            start += x.size


def _blocks(codes: Any, values: Any, xp: Any) -> Iterator[tuple[Any, Any]]:
    """The bytes and the numbers of some blocks at a time, a block a row; the last may be short."""
    whole = values.size // BLOCK
    piece = _PIECE if xp is np else max(whole, 1)
    for start in range(0, whole, piece):
        stop = min(start + piece, whole)
        rows = codes[start * FULL : stop * FULL].reshape(-1, FULL)
        yield rows, values[start * BLOCK : stop * BLOCK].reshape(-1, BLOCK)
    if values.size > whole * BLOCK:
        rest = slice(whole * FULL, coded_size(values.size))
        yield codes[None, rest], values[None, whole * BLOCK :]


def _decoded(rows: Any, codec: str, xp: Any) -> Any:
    scale = xp.ascontiguousarray(rows[:, :SCALE]).view(np.float32)
    codes = rows[:, SCALE:]
    unsigned = scale < 0
    mask = xp.where(unsigned, 255, 127).astype(np.uint8) if codec == INT8 else np.uint8(127)
    values = _sizes(codes & mask, codec, unsigned, xp.abs(scale), xp)
    return xp.where(codes > mask, -values, values)


def _sizes(codes: Any, codec: str, unsigned: Any, scale: Any, xp: Any) -> Any:
    """What bytes without a sign stand for."""
    if codec == INT8:
        inverse = xp.where(unsigned, _SINGLE(1 / 255), _SINGLE(1 / 127)).astype(np.float32)
        fraction = codes.astype(np.float32) * inverse
        fraction *= fraction
        fraction *= fraction
    else:
        shift, up, largest = FLOAT8[codec]
        bits = codes.astype(np.uint32) << np.uint32(shift)
        fraction = bits.view(np.float32) * _SINGLE(up) * _SINGLE(1 / _SINGLE(largest))
    return fraction * scale


def _encode(x: Any, codec: str, xp: Any, rows: Any, shares: Any) -> None:
    """Encode whole blocks, one a row."""
    size = xp.abs(x)
    scale = size.max(axis=1, keepdims=True)
    usable = (scale > 0) & (scale < np.inf)
    negative = x < 0
    size = xp.where(usable, size, _SINGLE(0))
    up = xp.where(scale < TINY, _SINGLE(LIFT), _SINGLE(1))
    inverse = _SINGLE(1) / xp.where(usable, scale * up, _SINGLE(1))
    unsigned = ~negative.any(axis=1, keepdims=True)
    if codec == INT8:
        levels = xp.where(unsigned, _SINGLE(255), _SINGLE(127))
        fraction = xp.sqrt(xp.sqrt(size * up * inverse)) * levels
        magnitude, top = fraction.astype(np.uint8), levels.astype(np.uint8)
        stored = xp.where(unsigned & usable, -scale, scale)
    else:
        format = FLOAT8[codec]
        fraction = size * up * (inverse * _SINGLE(format.largest))
        bits = (fraction * _SINGLE(1 / format.up)).view(np.uint32)
        shift = np.uint32(format.shift)
        magnitude, top = (bits >> shift).astype(np.uint8), np.uint8(format.top)
        stored = scale
    # Compared as they are decoded, so that what was decoded is never between two.
    below = xp.minimum(magnitude, top - np.uint8(1))
    low = _sizes(below, codec, unsigned, scale, xp)
    high = _sizes(below + np.uint8(1), codec, unsigned, scale, xp)
    magnitude = below + (size - low > shares * (high - low)).astype(np.uint8)
    magnitude = xp.maximum(magnitude, (size > 0).astype(np.uint8))
    stored = xp.where(scale < np.inf, stored, _SINGLE(np.nan)).astype(np.float32)
    rows[:, :SCALE] = stored.view(np.uint8)
    codes = magnitude | (negative.astype(np.uint8) << np.uint8(7))
    rows[:, SCALE:] = xp.where(usable, codes, np.uint8(0))


# -- stochastic rounding --

DROPPED: Final = {"bfloat16": (16, 1.0), "float16": (13, 2.0**-112)}
"""Dtype -> the bits of a float32 that it has not, and the factor by which its subnormal numbers
become those of float32."""

_WORD: Final = 0xFFFF_FFFF
_MIX: Final = (16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)
STRIDE: Final = 0x9E3779B9


def mixed(word: int) -> int:
    """A word of 32 bits, every one of which depends on all of those given.

    Source: Wellons (2018), "Prospecting for hash functions", the function `lowbias32`.
    """
    for shift, factor in _MIX:
        word = ((word ^ (word >> shift)) * factor) & _WORD
    return word


def key_of(t: float, number: float, seed: float) -> int:
    """The key of the random bits of a parameter in one update."""
    return mixed(mixed(mixed(int(seed)) ^ int(number)) ^ int(t))


SLOTS: Final = 2**24
"""The seed of the first coded slot of a rule; that of a rule's own chance is below."""

SHARE: Final = 2.0**-24
"""The upper 24 bits of a word times this are a share of 1."""


def slot_key(chance: Sequence[float], place: int) -> int | None:
    """The key of a coded slot, by its place among those of a rule, for t and a parameter's number;
    of a program without them, None."""
    if not chance:
        return None
    t, number = chance
    return key_of(t, number, SLOTS + place)


def random_words(start: int, count: int, key: int, xp: Any) -> Any:
    """The random words of elements from `start` on: functions of their numbers and the key."""
    first = (start * STRIDE) & _WORD
    words = xp.arange(count, dtype=np.uint32) * np.uint32(STRIDE) + np.uint32(first)
    words ^= np.uint32(key)
    for shift, factor in _MIX:
        words ^= words >> np.uint32(shift)
        words *= np.uint32(factor)
    return words


def round_stochastically(x: Any, dtype: str, start: int, key: int, xp: Any) -> Any:
    """Flat float32 numbers, each as one of its two neighbours in `dtype`, the nearer more likely.

    The chance to be rounded up is the distance from the neighbour below, in units of the distance
    of the two: so the mean of many is the number itself.
    """
    dropped, down = DROPPED[dtype]
    with np.errstate(all="ignore"):
        bits = (x * _SINGLE(down)).view(np.uint32)
        words = random_words(start, x.size, key, xp) >> np.uint32(32 - dropped)
        moved = (bits + words) & np.uint32(_WORD ^ ((1 << dropped) - 1))
        rounded = moved.view(np.float32) * _SINGLE(1 / down)
    return xp.where(xp.isfinite(x), rounded, x)
