"""`Plateau`: the schedule that looks at a metric."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Self

from typing_extensions import override

from born.errors import ConfigError
from born.optim.fields import Interval
from born.optim.schedules.decay import Count, Factor
from born.optim.schedules.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Plateau(Schedule):
    """A value that is lowered whenever a metric has not become better for some time.

    Show it the metric with `optimizer.observe(metric)`, say after each epoch. It is frozen like
    every schedule: an observation puts its successor in its place, and what has been seen is in the
    last fields, so that a checkpoint holds it. A metric that is NaN or infinite is not better.

    PyTorch's ReduceLROnPlateau, with eps of 0. Its relative threshold takes metrics to be above 0.

    >>> schedule = schedules.Plateau(1.0, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.5, 2.0):
    ...     schedule = schedule.observed(loss)
    >>> schedule(1), schedule.best
    (0.5, (2.0,))
    """

    value: float
    """The present value."""
    factor: Annotated[float, Interval(0.0, 1.0)] = 0.1
    """What it is multiplied by when it is lowered."""
    patience: Count = 10
    """How many observations that are not better to bear before that."""
    threshold: Factor = 1e-4
    """By how much a metric must be better to count."""
    relative: bool = True
    """Whether `threshold` is a part of the best metric so far, instead of a difference to it."""
    maximize: bool = False
    """Whether larger is better, as of an accuracy."""
    cooldown: Count = 0
    """How many observations after it was lowered to pass over."""
    floor: float = 0.0
    """The least value."""
    best: tuple[float, ...] = ()
    """The best metric so far; nothing before the first."""
    bad: Count = 0
    """How many observations in a row were not better."""
    cooling: Count = 0
    """How many observations there are still to pass over."""

    @override
    def at(self, t: int) -> float:
        return self.value

    @override
    def observed(self, metric: float) -> Self:
        """The schedule after it has seen a metric."""
        number = self._as_number(metric)
        better = self._is_better(number)
        bad = 0 if better or self.cooling else self.bad + 1
        cooling = max(0, self.cooling - 1)
        value = self.value
        if bad > self.patience:
            value = max(value * self.factor, self.floor)
            bad, cooling = 0, self.cooldown
        best = (number,) if better else self.best
        return self.replace(value=value, best=best, bad=bad, cooling=cooling)

    @staticmethod
    def _as_number(metric: Any) -> float:
        try:
            return float(metric)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"expected a metric that is a number, got {metric!r} of type "
                f"{type(metric).__name__}; pass for example loss.item()"
            ) from error

    def _is_better(self, metric: float) -> bool:
        if not math.isfinite(metric):
            return False
        if not self.best:
            return True
        sign = 1.0 if self.maximize else -1.0
        if self.relative:
            bound = self.best[0] * (1.0 + sign * self.threshold)
        else:
            bound = self.best[0] + sign * self.threshold
        return metric > bound if self.maximize else metric < bound
