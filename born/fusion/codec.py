"""Slots in one byte an element: names and layout of codecs, which load and store around a rule.

An array of a codec is flat: blocks of `BLOCK` elements, each its scale, four bytes of a float32,
and then a byte an element. `born.backend.codecs` says what the bytes mean.
"""

from __future__ import annotations

from typing import Final

BLOCK: Final = 256
"""Elements that share a scale (Dettmers et al., 2022)."""

SCALE: Final = 4
"""Bytes of a scale, which stand before those of the elements."""

CODECS: Final = ("int8", "float8_e4m3fn", "float8_e5m2")
"""What a slot may be kept as."""


def kept_as(name: str) -> str | None:
    """The codec in the name of an entry of state, such as `m.int8.0`, if there is one.

    >>> kept_as("m.int8.0"), kept_as("m.0")
    ('int8', None)
    """
    *_, codec, _ = ("", *name.split("."))
    return codec if codec in CODECS else None


def coded_size(count: int) -> int:
    """The bytes of so many elements, from a boundary of blocks on.

    >>> coded_size(256), coded_size(257)
    (260, 265)
    """
    return count + SCALE * -(-count // BLOCK)
