"""A hyperparameter is a number, or a function of t: its value for one update."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

Scalar: TypeAlias = float | Callable[[int], float]
"""A number, or a function of the number of the update, which counts from 1: a schedule."""


def value_at(scalar: Scalar, t: int) -> float:
    """What a hyperparameter is in update number t."""
    return scalar(t) if callable(scalar) else scalar


def scalars_in(value: object) -> list[Callable[[int], float]]:
    """The functions of t in the value of a field: itself, or items of a tuple."""
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        return [function for item in items for function in scalars_in(item)]
    return [cast("Callable[[int], float]", value)] if callable(value) else []
