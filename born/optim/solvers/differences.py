"""Derivatives by differences, for functions of NumPy arrays without any of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from born.optim.solvers.robust import Array

Limits: TypeAlias = tuple[Array, Array]
"""The least and the largest value of each variable."""

_EPS: Final = float(np.finfo(np.float64).eps)
ONE_SIDED: Final = _EPS ** (1 / 2)
"""The step of a difference, relative to the size of what changes: truncation equals rounding."""
_CENTRAL: Final = _EPS ** (1 / 3)


def differences(
    fun: Callable[[Array], Array], x: Array, base: Array, limits: Limits | None, *, central: bool
) -> Array:
    """The Jacobian, of shape (m, n), of a function of n variables that returns base at x.

    No variable leaves its limits; one that cannot change has a derivative of 0.

    Args:
        fun: returns m numbers.
        x: where, n variables.
        base: what fun returns there.
        limits: of the variables.
        central: take three points for each variable rather than two.
    """
    low, high = (np.full(x.size, end) for end in (-np.inf, np.inf)) if limits is None else limits
    columns: list[Array] = []

    def at(i: int, value: float) -> Array:
        there = x.copy()
        there[i] = value
        return fun(there)

    for i, (a, least, most) in enumerate(zip(x.tolist(), low.tolist(), high.tolist(), strict=True)):
        size = max(1.0, abs(a))
        b, c = _around(a, _CENTRAL * size, least, most) if central else (a, a)
        if c != a:
            # Of the parabola through three points; where they are even, the middle one has no part.
            f, g = (at(i, b) - base) / (b - a), (at(i, c) - base) / (c - a)
            columns.append((f * (c - a) - g * (b - a)) / (c - b))
            continue
        b = _beside(a, math.copysign(ONE_SIDED, a) * size, least, most)
        columns.append(np.zeros_like(base) if b == a else (at(i, b) - base) / (b - a))
    return np.stack(columns, axis=1)


def _beside(a: float, h: float, low: float, high: float) -> float:
    """A number near a and within limits: a + h, or a - h, or the limit that is further off."""
    for b in (a + h, a - h):
        if low <= b <= high:
            return b
    return high if high - a >= a - low else low


def _around(a: float, h: float, low: float, high: float) -> tuple[float, float]:
    """Two numbers near a and within limits, on both sides or one; a twice where there are none."""
    for b, c in ((a - h, a + h), (a + h, a + 2 * h), (a - h, a - 2 * h)):
        if low <= min(b, c) and max(b, c) <= high:
            return b, c
    return a, a
