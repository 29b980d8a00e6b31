"""Coded slots and stochastic rounding inside compiled loops: the steps of `born.backend.codecs`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from born.backend import codecs
from born.fusion import Program
from born.fusion.codec import BLOCK, SCALE
from born_numba.compiler import embedded, types
from born_numba.intrinsics import bits_of_float32, float32_of_bits, load_float32, store_uint8
from born_numba.shared import ADDRESS, COUNT, Shared

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_NAN: Final = np.float32(np.nan)
_SIGN: Final = np.uint32(0x8000_0000)
_MAGNITUDE: Final = np.uint32(0x7FFF_FFFF)
_INFINITY: Final = np.uint32(0x7F80_0000)
_255TH, _127TH = np.float32(1 / 255), np.float32(1 / 127)
_SHARE: Final = np.float32(codecs.SHARE)
_STRIDE: Final = np.uint32(codecs.STRIDE)


@embedded
def extent(x: Any, count: Any) -> Any:
    """The bits of the largest magnitude of a block at an address, and whether one is below 0.

    A NaN has larger bits than infinity.
    """
    most = np.uint32(0)
    negative = np.uint32(0)
    for j in range(count):
        # As integers, whose largest is found many at a time.
        bits = bits_of_float32(load_float32(x, j))
        most = max(most, np.uint32(bits & _MAGNITUDE))
        negative = max(negative, np.uint32(1) if bits > _SIGN else np.uint32(0))
    return most, negative != np.uint32(0)


@embedded
def lift(scale: Any) -> Any:
    """What a block is multiplied by first, so that one over its scale is finite."""
    return np.float32(codecs.LIFT) if scale < np.float32(codecs.TINY) else _ONE


@embedded
def mixed(word: Any) -> Any:
    """`born.backend.codecs.mixed`."""
    word = np.uint32(np.uint32(word ^ np.uint32(word >> np.uint32(16))) * np.uint32(0x7FEB352D))
    word = np.uint32(np.uint32(word ^ np.uint32(word >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(word ^ np.uint32(word >> np.uint32(16)))


@embedded
def key_of(t: Any, number: Any, seed: Any) -> Any:
    """`born.backend.codecs.key_of`."""
    key = mixed(np.uint32(np.int64(seed)))
    key = mixed(np.uint32(key ^ np.uint32(np.int64(number))))
    return mixed(np.uint32(key ^ np.uint32(np.int64(t))))


@embedded
def share(at: Any, j: Any, key: Any) -> Any:
    """Of the distance of two codes, what element at + j has to be above the lower to go up."""
    word = mixed(np.uint32(np.uint32(np.uint32(at + np.uint32(j)) * _STRIDE) ^ key))
    return np.float32(np.int32(word >> np.uint32(8))) * _SHARE


# -- int8 --


@embedded
def mask_of_int8(scale: Any) -> Any:
    """The bits of a magnitude in a block of this scale."""
    signed = bits_of_float32(scale) < _SIGN
    return np.uint8(127) if signed else np.uint8(255)


@embedded
def inverse_of_int8(scale: Any) -> Any:
    """One over the largest magnitude."""
    return _127TH if bits_of_float32(scale) < _SIGN else _255TH


@embedded
def size_of_int8(code: Any, inverse: Any, scale: Any) -> Any:
    """The number that a byte without a sign, as a float32, stands for."""
    fraction = code * inverse
    fraction *= fraction
    fraction *= fraction
    return fraction * scale


@embedded
def decode_int8(code: Any, mask: Any, inverse: Any, scale: Any) -> Any:
    """The number that a byte stands for; `scale` without its sign."""
    value = size_of_int8(np.float32(np.int32(code & mask)), inverse, scale)
    return -value if code > mask else value


def encode_int8(x: Any, codes: Any, count: Any, at: Any, key: Any) -> Any:
    """Write the bytes of a block, and return its scale."""
    bits, negative = extent(x, count)
    if bits == np.uint32(0) or bits >= _INFINITY:
        for j in range(count):
            store_uint8(codes, j, np.uint8(0))
        return _ZERO if bits == np.uint32(0) else _NAN
    scale = float32_of_bits(bits)
    up = lift(scale)
    inverse = _ONE / (scale * up)
    levels = np.float32(127.0) if negative else np.float32(255.0)
    level = _127TH if negative else _255TH
    top = np.float32(126.0) if negative else np.float32(254.0)
    for j in range(count):
        value = load_float32(x, j)
        size = abs(value)
        below = np.float32(np.int32(np.sqrt(np.sqrt(size * up * inverse)) * levels))
        below = min(below, top)
        low = size_of_int8(below, level, scale)
        high = size_of_int8(below + _ONE, level, scale)
        goes_up = size - low > share(at, j, key) * (high - low)
        magnitude = np.int32(below + (_ONE if goes_up else _ZERO))
        least = np.int32(1) if size > _ZERO else np.int32(0)
        sign = np.int32(128) if value < _ZERO else np.int32(0)
        store_uint8(codes, j, np.uint8(max(magnitude, least) | sign))
    return scale if negative else -scale


# -- float8 --


@embedded
def size_of_float8(code: Any, shift: Any, up: Any, inverse: Any, scale: Any) -> Any:
    """The number that a byte without a sign stands for."""
    bits = np.uint32(np.uint32(code) << shift)
    return float32_of_bits(bits) * up * inverse * scale


@embedded
def decode_float8(code: Any, shift: Any, up: Any, inverse: Any, scale: Any) -> Any:
    """The number that a byte stands for."""
    value = size_of_float8(code & np.uint8(127), shift, up, inverse, scale)
    return -value if code > np.uint8(127) else value


# What encodes in one of the formats is given the numbers of that one.
shift: Final = np.uint32(0)
wide, down, largest, part = _ONE, _ONE, _ONE, _ONE
top: Final = np.int32(0)


def encode_float8(x: Any, codes: Any, count: Any, at: Any, key: Any) -> Any:
    """Write the bytes of a block, and return its scale."""
    bits, _ = extent(x, count)
    if bits == np.uint32(0) or bits >= _INFINITY:
        for j in range(count):
            store_uint8(codes, j, np.uint8(0))
        return _ZERO if bits == np.uint32(0) else _NAN
    scale = float32_of_bits(bits)
    up = lift(scale)
    factor = _ONE / (scale * up) * largest
    for j in range(count):
        value = load_float32(x, j)
        size = abs(value)
        bits = bits_of_float32(size * up * factor * down)
        below = min(np.int32(np.uint32(bits >> shift)), top)
        low = size_of_float8(below, shift, wide, part, scale)
        high = size_of_float8(below + np.int32(1), shift, wide, part, scale)
        goes_up = size - low > share(at, j, key) * (high - low)
        magnitude = below + (np.int32(1) if goes_up else np.int32(0))
        least = np.int32(1) if size > _ZERO else np.int32(0)
        sign = np.int32(128) if value < _ZERO else np.int32(0)
        store_uint8(codes, j, np.uint8(max(magnitude, least) | sign))
    return scale


_ENCODES: Final = types.float32(ADDRESS, ADDRESS, COUNT, types.uint32, types.uint32)


def _encoder(codec: str) -> Shared:
    """What encodes blocks in one of the formats of float8."""
    format = codecs.FLOAT8[codec]
    bits, up, most = format
    names = {
        "shift": np.uint32(bits),
        "wide": np.float32(up),
        "down": np.float32(1 / up),
        "largest": np.float32(most),
        "part": np.float32(1 / most),
        "top": np.int32(format.top - 1),
    }
    return Shared(encode_float8, _ENCODES, names, codec.removeprefix("float8"))


SHARED: Final = {
    each.name: each for each in (Shared(encode_int8, _ENCODES), *map(_encoder, codecs.FLOAT8))
}
"""What the texts call by name."""

# -- the text of loops --


def load_text(codec: str, index: int) -> str:
    """The text that decodes element j of array `index`."""
    code = f"load_uint8(x{index}, j)"
    if codec == codecs.INT8:
        return f"decode_int8({code}, mask{index}, inverse{index}, unit{index})"
    shift, up, largest = codecs.FLOAT8[codec]
    numbers = f"np.uint32({shift}), np.float32({up}), np.float32(1 / {largest})"
    return f"decode_float8({code}, {numbers}, unit{index})"


def block_text(codec: str, index: int, address: str) -> list[str]:
    """The lines that find block `first // BLOCK` of the array `index` at an address."""
    lines = [
        f"block{index} = address_of({address}, first // {BLOCK}, {codecs.FULL})",
        f"x{index} = address_of(block{index}, {SCALE}, 1)",
        f"scale{index} = load_float32(block{index}, 0)",
        f"unit{index} = abs(scale{index})",
    ]
    if codec == codecs.INT8:
        lines.append(f"mask{index} = mask_of_int8(scale{index})")
        lines.append(f"inverse{index} = inverse_of_int8(scale{index})")
    return lines


def store_text(codec: str, index: int) -> str:
    """The line that encodes what was kept of a block."""
    block = f"kept{index}, x{index}, count, np.uint32(start), key{index}"
    return f"store_float32(block{index}, 0, encode_{codec}({block}))"


def key_text(program: Program, index: int) -> str:
    """The line that finds the key of the chance with which array `index` is encoded."""
    t, number = program.chance
    return f"key{index} = key_of({t}, {number}, {codecs.SLOTS + program.coded_place(index)})"


# -- stochastic rounding --


@embedded
def rounded(x: Any, at: Any, key: Any, dropped: Any, down: Any, up: Any) -> Any:
    """One of the neighbours of x with fewer bits; see `born.backend.codecs`."""
    single = np.float32(x)
    word = mixed(np.uint32(np.uint32(at * _STRIDE) ^ key))
    kept = np.uint32(32) - dropped
    moved = np.uint32(bits_of_float32(single * down) + np.uint32(word >> kept))
    moved = np.uint32(np.uint32(moved >> dropped) << dropped)
    value = float32_of_bits(moved) * up
    return value if np.isfinite(single) else single


def rounding_text(dtype: str, args: list[str]) -> str:
    """The text that rounds a value, given with what its key is made of, for element `at`."""
    dropped, down = codecs.DROPPED[dtype]
    x, *key = args
    numbers = f"np.uint32({dropped}), np.float32({down}), np.float32({1 / down})"
    return f"real(rounded({x}, at, key_of({', '.join(key)}), {numbers}))"
