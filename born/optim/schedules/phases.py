"""Schedules of several phases: a rise, perhaps a plain, and a fall."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from typing_extensions import override

from born.errors import ConfigError
from born.optim.fields import Interval, OneOf
from born.optim.schedules.decay import Count, Factor, Steps
from born.optim.schedules.schedule import COSINE, LINEAR, Schedule, between, check_fits, warmed


@dataclass(frozen=True, slots=True)
class Cosine(Schedule):
    """A linear warm-up to a peak, and from there half a cosine down to a floor; then the floor.

    With s = max(warmup, 1), the update at the peak, and T = steps + 1, the first one at the floor::

        peak · t / warmup                                              while t ≤ warmup
        floor + (peak - floor) · (1 + cos(π · (t - s) / (T - s))) / 2  afterwards

    So neither the first nor the last of `steps` updates is wasted on a learning rate of 0.

    Without a warm-up it is PyTorch's CosineAnnealingLR and Optax's cosine_decay_schedule at
    t - 1; with one, Optax's warmup_cosine_decay_schedule and Hugging Face's for steps + 1 at t,
    which leaves out the update that theirs do at 0. With periods it is PyTorch's
    CosineAnnealingWarmRestarts at t - 1, where T_0 is steps / periods if period_factor is 1.

    Source: Loshchilov and Hutter (2017), "SGDR: Stochastic Gradient Descent with Warm Restarts",
    equation 5.

    >>> schedule = schedules.Cosine(1.0, steps=6, warmup=2)
    >>> [round(schedule(t), 3) for t in range(1, 9)]
    [0.5, 1.0, 0.905, 0.655, 0.345, 0.095, 0.0, 0.0]
    """

    peak: float
    """The largest value."""
    steps: Steps
    """How many updates there are, those of the warm-up among them."""
    warmup: Count = 0
    """How many updates it takes to rise to `peak`: a few hundred where Adam's averages, or a large
    batch, are not to be trusted at first."""
    floor: float = 0.0
    """The value after `steps`; a tenth of the peak is common."""
    periods: Steps = 1
    """How many times it falls, each from the peak again."""
    period_factor: Annotated[float, Interval(0.0)] = 1.0
    """How many times as long as the one before a period is."""
    peak_factor: Annotated[float, Interval(0.0)] = 1.0
    """How many times as high above the floor as the one before a period begins."""

    @override
    def check(self) -> None:
        check_fits(self, self.warmup, self.steps)

    @override
    def at(self, t: int) -> float:
        if t < self.warmup:
            return warmed(self.peak, t, self.warmup)
        start = max(self.warmup, 1)
        length = self.steps + 1 - start
        if t - start >= length:
            return self.floor
        height, part = self.peak - self.floor, 0.0
        if self.periods == 1:
            part = (t - start) / length
        else:
            period, part = self._period((t - start) * self._sum(self.periods) / length)
            height *= self.peak_factor**period
        return self.floor + height * (1.0 + math.cos(math.pi * part)) / 2.0

    def _sum(self, periods: int) -> float:
        """How long so many periods are, the first of them being 1."""
        if self.period_factor == 1.0:
            return float(periods)
        return (self.period_factor**periods - 1.0) / (self.period_factor - 1.0)

    def _period(self, time: float) -> tuple[int, float]:
        """The number of the period at a time, and how much of it has passed."""
        starts = [self._sum(number) for number in range(self.periods)]
        period = max(number for number, start in enumerate(starts) if start <= time)
        return period, (time - starts[period]) / self.period_factor**period

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        start = max(self.warmup, 1)
        return (1, start, self.steps, self.steps + 1)


@dataclass(frozen=True, slots=True)
class OneCycle(Schedule):
    """Up to a peak and down again far below where it began, in one go.

    It rises from peak / div_factor over about `rise` of the steps, and falls to
    peak / (div_factor · final_div_factor). Libraries put the turns at different updates:

    ========= ======================== =====================
    variant   the peak is at           the end is at
    ========= ======================== =====================
    "torch"   t = rise · steps         t = steps
    "optax"   t = ⌊rise · steps⌋ + 1   t = steps + 1
    ========= ======================== =====================

    PyTorch's OneCycleLR, and Optax's cosine_onecycle_schedule and linear_onecycle_schedule, at
    t - 1. For the momentum that goes with it, from 0.95 down to 0.85 and back:
    OneCycle(0.85, steps, div_factor=0.85 / 0.95, final_div_factor=1.0).

    Source: Smith and Topin (2018), "Super-Convergence: Very Fast Training of Neural Networks Using
    Large Learning Rates".

    >>> schedule = schedules.OneCycle(1.0, steps=10, rise=0.3)
    >>> [round(schedule(t), 3) for t in (1, 2, 3, 6, 10)]
    [0.04, 0.52, 1.0, 0.611, 0.0]
    """

    peak: float
    """The largest value."""
    steps: Steps
    """How many updates there are."""
    rise: Annotated[float, Interval(0.0, 1.0)] = 0.3
    """The part of them in which it rises."""
    div_factor: Factor = 25.0
    """How many times the first value the peak is."""
    final_div_factor: Factor = 1e4
    """How many times the last value the first is."""
    shape: Annotated[str, OneOf((COSINE, LINEAR))] = COSINE
    """`"cosine"` or `"linear"`."""
    three_phase: bool = False
    """Fall to the first value first, and from there to the last: in PyTorch's variant as fast as it
    rose, in Optax's by 0.85 of the steps."""
    variant: Annotated[str, OneOf(("torch", "optax"))] = "torch"
    """Whose turns to take: `"torch"` or `"optax"`."""

    @override
    def check(self) -> None:
        if 0.0 in (self.div_factor, self.final_div_factor):
            raise ConfigError(
                "OneCycle: expected div_factor and final_div_factor above 0, got "
                f"{self.div_factor} and {self.final_div_factor}; 25 and 1e4 are usual"
            )

    @override
    def at(self, t: int) -> float:
        times, values = self._turns()
        count = t - 1
        for number in range(1, len(times)):
            if count < times[number] or number == len(times) - 1:
                start, end = times[number - 1], times[number]
                part = (count - start) / (end - start) if end > start else 1.0
                return between(values[number - 1], values[number], part, self.shape)
        raise AssertionError  # there are two turns at least

    def _turns(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Where it turns, as a count from 0, and the values there."""
        start, last = self.peak / self.div_factor, float(self.steps)
        times: tuple[float, ...]
        values: tuple[float, ...] = (start, self.peak, start / self.final_div_factor)
        if self.variant == "torch":
            # The first phase may be shorter than an update: then the first is at the peak.
            times = (0.0, max(0.0, self.rise * self.steps - 1), last - 1)
            fallen = 2 * self.rise * self.steps - 2
        else:
            times = (0.0, float(int(self.rise * self.steps)), last)
            fallen = float(int(0.85 * self.steps))
        if self.three_phase:
            values = (start, self.peak, start, values[-1])
            times = (*times[:2], max(times[1], fallen), times[2])
        return times, values

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        turns = {math.floor(time) + 1 for time in self._turns()[0][1:-1]}
        return tuple(sorted({1, self.steps, *turns, *(t + 1 for t in turns if t < self.steps)}))


@dataclass(frozen=True, slots=True)
class WarmupStableDecay(Schedule):
    """A linear warm-up, a long plain, and a short fall to a floor; then the floor.

    The plain can be lengthened under way: the fall is what makes a run comparable with one of
    `Cosine`, and it may begin anywhere. With decay = steps - warmup there is no plain, and the
    schedule is a triangle.

    With S = steps - decay, the last update of the plain, and x = (t - S) / (decay + 1), the fall is
    from peak to floor along 1 - x ("linear"), half a cosine, or 1 - √x ("sqrt").

    Source: Hu et al. (2024), "MiniCPM: Unveiling the Potential of Small Language Models with
    Scalable Training Strategies", section 4; Hägele et al. (2024), "Scaling Laws and
    Compute-Optimal Training Beyond Fixed Training Durations", for the fall along 1 - √x.

    >>> schedule = schedules.WarmupStableDecay(1.0, steps=10, warmup=2, decay=3)
    >>> [schedule(t) for t in range(1, 12)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    peak: float
    """The value of the plain."""
    steps: Steps
    """How many updates there are, those of the warm-up and of the fall among them."""
    warmup: Count
    """How many updates it takes to rise to `peak`."""
    decay: Count
    """How many updates are left when it begins to fall; a tenth to a fifth of all is usual."""
    floor: float = 0.0
    """The value after `steps`."""
    shape: Annotated[str, OneOf((LINEAR, COSINE, "sqrt"))] = LINEAR
    """How it falls: `"linear"`, `"cosine"` or `"sqrt"`."""

    @override
    def check(self) -> None:
        check_fits(self, self.warmup + self.decay, self.steps)

    @override
    def at(self, t: int) -> float:
        if t < self.warmup:
            return warmed(self.peak, t, self.warmup)
        part = (t - (self.steps - self.decay)) / (self.decay + 1)
        if self.shape == "sqrt":
            return between(self.peak, self.floor, math.sqrt(max(0.0, part)))
        return between(self.peak, self.floor, part, self.shape)

    @property
    @override
    def landmarks(self) -> tuple[int, ...]:
        return (1, max(self.warmup, 1), max(self.steps - self.decay, 1), self.steps, self.steps + 1)
