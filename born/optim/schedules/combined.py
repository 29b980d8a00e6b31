"""Schedules made of others, or of points."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from typing_extensions import override

from born.errors import ConfigError
from born.optim.fields import OneOf
from born.optim.scalars import Scalar, value_at
from born.optim.schedules.decay import Count, Steps, check_ascending
from born.optim.schedules.schedule import COSINE, LINEAR, Schedule, between


@dataclass(frozen=True, slots=True)
class Piecewise(Schedule):
    """Through points (t, value): constant from each to the next, or interpolated.

    Before the first point it has the value of the first, and after the last that of the last.
    Optax's piecewise_constant_schedule and piecewise_interpolate_schedule at t - 1: the points
    are at boundary + 1 and their values the products of the scales.

    >>> steps = schedules.Piecewise(((1, 0.1), (4, 0.01)))
    >>> [steps(t) for t in (1, 3, 4, 9)]
    [0.1, 0.1, 0.01, 0.01]
    >>> schedules.Piecewise(((1, 0.0), (5, 1.0)), shape="linear")(2)
    0.25
    """

    points: tuple[tuple[Steps, float], ...]
    """The updates, in ascending order, each with the value that it has."""
    shape: Annotated[str, OneOf(("constant", LINEAR, COSINE))] = "constant"
    """What is between two points: `"constant"`, `"linear"` or `"cosine"`."""

    @override
    def check(self) -> None:
        if not self.points:
            raise ConfigError(
                "Piecewise.points: expected at least one point (t, value), got none; "
                "write ((1, value),) for a constant"
            )
        check_ascending("Piecewise.points", tuple(t for t, _ in self.points))

    @override
    def at(self, t: int) -> float:
        number = bisect.bisect_right([each for each, _ in self.points], t)
        before, value = self.points[max(number - 1, 0)]
        if self.shape == "constant" or number in (0, len(self.points)):
            return value
        after, next_value = self.points[number]
        return between(value, next_value, (t - before) / (after - before), self.shape)

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        last = self.points[-1][0]
        return (1, *(t for t, _ in self.points), last + max(1, last // 4))


@dataclass(frozen=True, slots=True)
class Sequence(Schedule):
    """One schedule after another, each counting its own updates from 1.

    PyTorch's SequentialLR and Optax's join_schedules, whose boundaries are `after`.

    >>> rise = schedules.Linear(0.0, 1.0, steps=2)
    >>> schedule = schedules.Sequence((rise, schedules.Exponential(1.0, 0.5)), after=(2,))
    >>> [schedule(t) for t in range(1, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.25]
    """

    schedules: tuple[Scalar, ...]
    """The schedules in order; a number is a constant."""
    after: tuple[Count, ...]
    """The last update of each of them but the last."""

    @override
    def check(self) -> None:
        if not self.schedules or len(self.after) != len(self.schedules) - 1:
            raise ConfigError(
                f"Sequence.after: expected the last update of each schedule but the last, got "
                f"{len(self.after)} of them for {len(self.schedules)} schedules; two schedules are "
                "Sequence((first, second), after=(100,))"
            )
        check_ascending("Sequence.after", self.after)

    @override
    def at(self, t: int) -> float:
        number = bisect.bisect_left(self.after, t)
        return value_at(self.schedules[number], t - (self.after[number - 1] if number else 0))

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        starts, ends = (0, *self.after), (*self.after, math.inf)
        marks = {t for t in self.after if t > 0}
        for start, end, schedule in zip(starts, ends, self.schedules, strict=True):
            marks |= {start + t for t in landmarks_of(schedule) if start + t <= end}
        return tuple(sorted(marks))


@dataclass(frozen=True, slots=True)
class Product(Schedule):
    """The product of schedules and numbers: `Product((schedule, 0.1))` is a tenth of it.

    >>> schedule = schedules.Product((schedules.Linear(1.0, 0.0, steps=4), 0.5))
    >>> [schedule(t) for t in range(1, 6)]
    [0.5, 0.375, 0.25, 0.125, 0.0]
    """

    factors: tuple[Scalar, ...]
    """What is multiplied."""

    @override
    def check(self) -> None:
        if not self.factors:
            raise ConfigError(
                "Product.factors: expected at least one factor, got none; "
                "write Product((schedule, 0.1))"
            )

    @override
    def at(self, t: int) -> float:
        return self.of(value_at, t)

    def of(self, at: Callable[[Scalar, int], float], t: int) -> float:
        """The product in update t of what its factors are then, which `at` knows."""
        return math.prod(at(factor, t) for factor in self.factors)

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        return tuple(sorted({t for factor in self.factors for t in landmarks_of(factor)}))


def landmarks_of(scalar: Scalar) -> tuple[int, ...]:
    """The landmarks of a schedule; of any other function, the first update."""
    return scalar.landmarks if isinstance(scalar, Schedule) else (1,)
