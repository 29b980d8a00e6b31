"""Bounds of the variables of `least_squares`: points strictly inside, and steps that stay there."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from born.optim.solvers.robust import Array
from born.optim.solvers.steps import System

_NEAR: Final = 1e-4
"""How near to a bound a variable is at most that is held by it, as a part of its size."""


class Interior:
    """low < x < high for each variable, or x = low = high where the two are equal.

    Each variable is measured by the root of its distance to the bound that the gradient drives it
    to, so that steps bend away from bounds before they meet them; one that would leave all the same
    is cut short or reflected.

    Source: Branch, Coleman and Li (1999), "A subspace, interior, and conjugate gradient method for
    large-scale bound-constrained minimization problems", SIAM J. Sci. Comput. 21.
    """

    def __init__(self, low: Array, high: Array) -> None:
        self.low, self.high = low, high

    def inside(self, x: Array, part: float = 0.0) -> Array:
        """The nearest point inside, at a distance from the bounds of a part of their size."""
        low, high = np.nextafter(self.low, np.inf), np.nextafter(self.high, -np.inf)
        low = np.maximum(low, self.low + part * _size(self.low))
        high = np.minimum(high, self.high - part * _size(self.high))
        narrow = low > high
        middle = np.where(narrow, self.low, 0.0) / 2 + np.where(narrow, self.high, 0.0) / 2
        return np.where(narrow, middle, np.minimum(np.maximum(x, low), high))

    def distance(self, x: Array, gradient: Array) -> tuple[Array, Array]:
        """How far it is to the bound that descent leads to, or 1 without one; and its slope."""
        up, down = (gradient < 0) & (self.high < np.inf), (gradient > 0) & (self.low > -np.inf)
        far = np.where(up, self.high - x, np.where(down, x - self.low, 1.0))
        fixed = self.low == self.high
        return np.where(fixed, 0.0, far), np.where(fixed, 0.0, down * 1.0 - up)

    def longest(self, x: Array, p: Array) -> tuple[float, npt.NDArray[np.bool_]]:
        """How many times p the point can go before it meets a bound, and which variables do."""
        room = np.where(p > 0, self.high - x, np.where(p < 0, self.low - x, np.inf))
        times = np.where(p != 0, room / np.where(p != 0, p, 1.0), np.inf)
        least = float(np.min(times))
        return max(0.0, least), times == least

    def bent(self, x: Array, system: System, q: Array, radius: float, back: float) -> Array:
        """What is best of a step, itself reflected where it meets a bound, and the gradient.

        `back` is the part of the way to a bound that is not gone.
        """
        unit = system.unit
        stride, hits = self.longest(x, unit * q)
        if stride > 1.0:
            return q
        cut, mirrored = stride * q, np.where(hits, -q, q)
        candidates = [(1.0 - back) * cut]
        to_bound, _ = self.longest(x + unit * cut, unit * mirrored)
        to_radius = _to_sphere(cut, mirrored, radius)
        least = back * stride / min(to_bound, to_radius) if min(to_bound, to_radius) > 0 else 1.0
        most = to_radius if to_radius < to_bound else (1.0 - back) * to_bound
        if least <= most:
            candidates.append(system.least_along(cut, mirrored, least, most))
        downhill = -system.gradient
        to_bound, _ = self.longest(x, unit * downhill)
        size = float(np.linalg.norm(downhill))
        most = min((1.0 - back) * to_bound, radius / size if size > 0 else 0.0)
        candidates.append(system.least_along(np.zeros_like(q), downhill, 0.0, most))
        return max(candidates, key=system.promised)

    def active(self, x: Array, tolerance: float, push: Array) -> npt.NDArray[np.int64]:
        """-1 for each variable at its lower bound, 1 at the upper one, and 0 between them.

        At a bound is what lies within a tolerance of it, or near it if the step of -push, which
        the variable would take alone, leads past it: runs may end before the last is gone.
        """
        below, above = x - self.low, self.high - x
        low, high = _size(self.low), _size(self.high)
        held_low = (below <= tolerance * low) | ((below <= _NEAR * low) & (below < push))
        held_high = (above <= tolerance * high) | ((above <= _NEAR * high) & (above < -push))
        at_low = np.isfinite(self.low) & (below <= above) & held_low
        at_high = np.isfinite(self.high) & (above <= below) & held_high & ~at_low
        return at_high.astype(np.int64) - at_low


def _size(end: Array) -> Array:
    return np.where(np.isfinite(end), np.maximum(1.0, np.abs(end)), 0.0)


def _to_sphere(start: Array, direction: Array, radius: float) -> float:
    """How many times a direction it is from a point in a ball to its surface."""
    a, b = float(direction @ direction), float(start @ direction)
    c = float(start @ start) - radius**2
    root = np.sqrt(max(0.0, b * b - a * c))
    if a == 0.0 or c > 0.0:
        return 0.0
    return float(-c / (b + root) if b > 0 else (root - b) / a)
