"""Checks of the arguments that layers are made with."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import SupportsIndex, TypeAlias, cast

from born.errors import ConfigError, ConfigTypeError

Pair: TypeAlias = int | tuple[int, int]
"""A size for height and width: one integer for both, or two."""


def integer(name: str, value: object, least: int = 1) -> int:
    """`value`, an integer of at least `least`.

    Raises:
        ConfigTypeError: it is no integer.
        ConfigError: it is too small.

    >>> integer("groups", 2)
    2
    """
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise ConfigTypeError(
            f"expected {name} as an integer, got {value!r} of type {type(value).__name__}; "
            "convert it with int() first"
        )
    size = operator.index(value)
    if size < least:
        raise ConfigError(
            f"expected {name} of at least {least}, got {size}; "
            f"pass for example {name}={max(least, 1)}"
        )
    return size


def pair(name: str, value: object, least: int = 1) -> tuple[int, int]:
    """A size for height and width, from one integer for both or from two.

    Raises:
        ConfigTypeError: not integers.
        ConfigError: too small, or not one or two of them.

    >>> pair("stride", 2), pair("padding", (0, 1), least=0)
    ((2, 2), (0, 1))
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        size = integer(name, value, least)
        return size, size
    sizes = tuple(integer(name, one, least) for one in cast("Sequence[object]", value))
    if len(sizes) != 2:
        raise ConfigError(
            f"expected {name} as one integer or two (height, width), got {len(sizes)}: {sizes}; "
            "pass one to use it for both"
        )
    return sizes[0], sizes[1]


def shape(name: str, value: object) -> tuple[int, ...]:
    """A shape of at least one axis, from one length or several.

    Raises:
        ConfigTypeError: not integers.
        ConfigError: not positive, or none.

    >>> shape("normalized_shape", 8), shape("normalized_shape", [4, 8])
    ((8,), (4, 8))
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (integer(name, value),)
    lengths = tuple(integer(name, one) for one in cast("Sequence[object]", value))
    if not lengths:
        raise ConfigError(f"expected {name} with at least one axis, got {value!r}; pass a length")
    return lengths


def number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """`value`, a finite number from `low` to `high`.

    Raises:
        ConfigTypeError: it is no number.
        ConfigError: it is out of range or not finite.

    >>> number("p", 0.5, 0, 1)
    0.5
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigTypeError(
            f"expected {name} as a number, got {value!r} of type {type(value).__name__}; "
            "convert it with float() first"
        )
    chosen = float(value)
    if not (low <= chosen <= high and math.isfinite(chosen)):
        raise ConfigError(
            f"expected {name} as a finite number from {low} to {high}, got {chosen}; "
            "choose one inside of the range"
        )
    return chosen


def flag(name: str, value: object) -> bool:
    """`value`, a bool.

    Raises:
        ConfigTypeError: it is not.

    >>> flag("bias", False)
    False
    """
    if not isinstance(value, bool):
        raise ConfigTypeError(
            f"expected {name} as True or False, got {value!r} of type {type(value).__name__}; "
            "check the order of the arguments"
        )
    return value
