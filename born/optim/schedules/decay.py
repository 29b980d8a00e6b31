"""Schedules of one piece: constant, or falling by a simple law."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from typing_extensions import override

from born.errors import ConfigError
from born.optim.fields import Interval
from born.optim.schedules.schedule import Schedule, between, warmed

Count = Annotated[int, Interval(0)]
Steps = Annotated[int, Interval(1)]
Factor = Annotated[float, Interval(0.0)]


@dataclass(frozen=True, slots=True)
class Constant(Schedule):
    """The same value always; PyTorch's ConstantLR is a `Sequence` of two.

    >>> schedules.Constant(0.1)(1000)
    0.1
    """

    value: float
    """The value."""

    @override
    def at(self, t: int) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class Polynomial(Schedule):
    """From start to end along a power of the time that is left.

    With x = (t - 1) / steps, end + (start - end) · (1 - x)^power, and end from x = 1 on.

    PyTorch's PolynomialLR and Optax's polynomial_schedule at t - 1.

    >>> schedule = schedules.Polynomial(1.0, 0.0, steps=4, power=2.0)
    >>> [schedule(t) for t in range(1, 6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0]
    """

    start: float
    """The value of the first update."""
    end: float
    """The value of every update after `steps`."""
    steps: Steps
    """How many updates it takes; the one after them has the value `end`."""
    power: Factor = 1.0
    """1 for a straight line; above 1 it falls fast at first."""

    @override
    def at(self, t: int) -> float:
        left = 1.0 - (t - 1) / self.steps
        return (
            self.end
            if left <= 0.0
            else self.end + (self.start - self.end) * math.pow(left, self.power)
        )

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        return (1, self.steps, self.steps + 1)


@dataclass(frozen=True, slots=True)
class Linear(Schedule):
    """From start to end in a straight line: start + (end - start) · (t - 1) / steps, then end.

    PyTorch's LinearLR and Optax's linear_schedule at t - 1.

    >>> schedule = schedules.Linear(1.0, 0.0, steps=4)
    >>> [schedule(t) for t in range(1, 7)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    start: float
    """The value of the first update."""
    end: float
    """The value of every update after `steps`."""
    steps: Steps
    """How many updates it takes; the one after them has the value `end`."""

    @override
    def at(self, t: int) -> float:
        return between(self.start, self.end, (t - 1) / self.steps)

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        return (1, self.steps, self.steps + 1)


@dataclass(frozen=True, slots=True)
class Step(Schedule):
    """Multiplied by a factor after every so many updates: start · factor^⌊(t - 1) / every⌋.

    PyTorch's StepLR and Optax's staircase of exponential_decay at t - 1.

    >>> schedule = schedules.Step(0.8, every=2, factor=0.5)
    >>> [schedule(t) for t in range(1, 6)]
    [0.8, 0.8, 0.4, 0.4, 0.2]
    """

    start: float
    """The value of the first update."""
    every: Steps
    """How many updates share a value."""
    factor: Factor = 0.1
    """What the value is multiplied by."""

    @override
    def at(self, t: int) -> float:
        return self.start * self.factor ** ((t - 1) // self.every)

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        return (1, 4 * self.every)


@dataclass(frozen=True, slots=True)
class MultiStep(Schedule):
    """Multiplied by a factor after each of some updates: start · factor^(how many are before t).

    PyTorch's MultiStepLR, and Optax's piecewise_constant_schedule, at t - 1.

    >>> schedule = schedules.MultiStep(0.8, after=(2, 3), factor=0.5)
    >>> [schedule(t) for t in range(1, 6)]
    [0.8, 0.8, 0.4, 0.2, 0.2]
    """

    start: float
    """The value of the first update."""
    after: tuple[Count, ...]
    """The last update before each change, in order."""
    factor: Factor = 0.1
    """What the value is multiplied by."""

    @override
    def check(self) -> None:
        check_ascending(type(self).__name__ + ".after", self.after)

    @override
    def at(self, t: int) -> float:
        return self.start * self.factor ** bisect.bisect_left(self.after, t)

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        last = max(self.after, default=0)
        return (1, *(t + 1 for t in self.after), last + max(1, last // 4))


@dataclass(frozen=True, slots=True)
class Exponential(Schedule):
    """Multiplied by a factor over every so many updates, evenly: start · factor^((t - 1) / every).

    PyTorch's ExponentialLR and Optax's exponential_decay at t - 1.

    >>> schedule = schedules.Exponential(0.8, factor=0.25, every=2)
    >>> [round(schedule(t), 12) for t in range(1, 6)]
    [0.8, 0.4, 0.2, 0.1, 0.05]
    """

    start: float
    """The value of the first update."""
    factor: Factor
    """What the value is multiplied by over `every` updates."""
    every: Steps = 1
    """How many updates that takes."""
    floor: float = 0.0
    """The least value."""

    @override
    def at(self, t: int) -> float:
        return max(self.floor, self.start * math.pow(self.factor, (t - 1) / self.every))

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        if not 0.0 < self.factor < 1.0:
            return (1, 1 + 4 * self.every)
        # Until it has fallen to a hundredth.
        return (1, 1 + math.ceil(self.every * math.log(0.01) / math.log(self.factor)))


@dataclass(frozen=True, slots=True)
class InverseSqrt(Schedule):
    """A warm-up, and then falling as 1 / √t: peak · min(t / warmup, √(warmup / t)).

    The schedule of the first transformers, who wrote peak as 1 / √(width · warmup). Hugging Face's
    get_inverse_sqrt_schedule at t.

    Source: Vaswani et al. (2017), "Attention Is All You Need", section 5.3.

    >>> schedule = schedules.InverseSqrt(1.0, warmup=4)
    >>> [schedule(t) for t in (1, 2, 4, 16)]
    [0.25, 0.5, 1.0, 0.5]
    """

    peak: float
    """The value at the end of the warm-up."""
    warmup: Steps = 1
    """How many updates it takes to rise to `peak`; with 1 there is no rise."""

    @override
    def at(self, t: int) -> float:
        if t <= self.warmup:
            return warmed(self.peak, t, self.warmup)
        return self.peak * math.sqrt(self.warmup / t)

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        return (1, self.warmup, 16 * self.warmup)


def check_ascending(where: str, numbers: tuple[int, ...]) -> None:
    """Refuse numbers of updates that are not in order, or twice the same."""
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise ConfigError(
            f"{where}: expected numbers of updates in ascending order, each once, got {numbers}; "
            "sort them"
        )
