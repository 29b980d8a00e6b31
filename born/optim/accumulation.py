"""Gradients of several batches, added up for one update: as a rule, and for an optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from born.backend import Backend
from born.errors import ConfigError
from born.fusion import where
from born.optim.averaging import Every
from born.optim.checks import StepChecks
from born.optim.config import Config, cached
from born.optim.plan import Plan
from born.optim.plans import Plans
from born.optim.rule import Rule, RuleFunction, free_name, wrapping
from born.optim.treatment import Treatment
from born.raw import RawTensor
from born.validation import integer


def accumulated(rule: Rule, k: int) -> Rule:
    """`rule` in every k-th update, by the mean of the last k gradients; the others only add.

    The sum is in the slot `sum`. Schedules, and the t of the rule, count its own updates. Every
    update passes over all the state: an optimizer with `accumulate=k` does not, and its
    `timestep` counts as the schedules do.

    Args:
        rule: what to do with the mean.
        k: how many gradients there are in it.

    >>> plain = Rule(lambda p, g: (p - g,), slots=(), scalars={})
    >>> rule = accumulated(plain, 2)
    >>> p, total = 4.0, 0.0
    >>> for t in (1, 2):
    ...     now = {name: value(t) for name, value in rule.scalars.items()}
    ...     p, total = rule.function(p, float(t), total, **now, t=t)
    >>> p, total
    (2.5, 0.0)
    """
    k = integer("k", k, 1, ConfigError)
    slot, due, number = (free_name(rule, x) for x in ("sum", "sum_due", "update_number"))
    scalars = {
        name: Counting(k, value) if callable(value) else value
        for name, value in rule.scalars.items()
    }
    return replace(
        rule,
        function=_every_kth(rule.function, k, due, number),
        slots=(*rule.slots, slot),
        scalars={**scalars, due: Every(k), number: Counting(k, _itself)},
    )


def gathered(rule: Rule, k: int) -> Rule:
    """`rule` by the mean of k gradients, of which the first k - 1 have been added up in a slot.

    >>> rule = gathered(Rule(lambda p, g: (p - g,), slots=(), scalars={}), 2)
    >>> rule.function(4.0, 2.0, 1.0, t=1)
    (2.5, 0.0)
    """
    slot = free_name(rule, SUM)
    return replace(rule, function=_of_mean(rule.function, k), slots=(*rule.slots, slot))


SUM: Final = "sum"
"""The slot of `gathered`, where the rule has none of that name."""


@dataclass(frozen=True, slots=True)
class Counting:
    """A function of the number of the update, as one of the number of the gradient: k to one.

    >>> [Counting(2, float)(t) for t in (1, 2, 3, 4)]
    [1.0, 1.0, 2.0, 2.0]
    """

    k: int
    function: Any

    def __call__(self, t: int) -> float:
        """What it is for gradient t."""
        value: float = self.function((t + self.k - 1) // self.k)
        return value


def _itself(t: int) -> float:
    return t


@cached  # equal rules share one function, and so one program
def _every_kth(function: RuleFunction, k: int, due: str, number: str) -> RuleFunction:
    def kth(p: Any, g: Any, *slots: Any, t: Any, **scalars: Any) -> tuple[Any, ...]:
        now, update = scalars.pop(due) > 0, scalars.pop(number)
        *own, total = slots
        total = total + g
        new = function(p, total / k, *own, t=update, **scalars)
        kept = [where(now, after, before) for after, before in zip(new, (p, *own), strict=True)]
        return *kept, where(now, 0.0, total)

    return wrapping(kth, function)


@cached
def _of_mean(function: RuleFunction, k: int) -> RuleFunction:
    def of_mean(p: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        *own, total = slots
        outputs = function(p, (total + g) / k, *own, **scalars)
        # Not 0 · total, which would keep what is not finite.
        return *outputs, where(total == total, 0.0, 0.0)

    return wrapping(of_mean, function)


def _gather(p: Any, g: Any) -> tuple[Any]:
    return (p + g,)


class Accumulation:
    """The gradients that an optimizer gathers until an update is due.

    Args:
        k: how many batches there are to an update.
        backend: what computes.
        sums: of each parameter, where its gradients are added up.
        checks: those of every step.
        config: of the optimizer.

    Attributes:
        batches: how many there were since the last update.
        gathered: how many of them gave each parameter a gradient.
    """

    def __init__(
        self,
        k: int,
        backend: Backend,
        sums: Sequence[RawTensor],
        checks: StepChecks,
        config: Config,
    ) -> None:
        self._k = k
        self._backend = backend
        self._checks = checks
        rule = Rule(_gather, slots=(), scalars={})
        treatments = [Treatment(config, rule, None, False)] * len(sums)
        self._plans = Plans(backend, [(raw,) for raw in sums], checks, treatments)
        self.batches = 0
        self.gathered = [0] * len(sums)

    @property
    def is_due(self) -> bool:
        """Whether the next batch is the last before an update."""
        return self.batches == self._k - 1

    def plan(self, scale: str | None) -> Plan:
        """What adds gradients up, scaled first if they are to be."""
        return self._plans.plain if scale is None else self._plans.scaled(scale, False)

    def add(
        self,
        plan: Plan,
        gradients: Sequence[RawTensor | None],
        slots: Mapping[str, RawTensor],
        given: Mapping[str, float],
    ) -> None:
        """Add up the gradients of a batch."""
        plan.run(gradients, [0] * len(gradients), self._count, slots, given)
        self.batches += 1

    def _count(self, indices: Sequence[int]) -> None:
        for index in indices:
            self.gathered[index] += 1

    def completed(self, gradients: Sequence[RawTensor | None]) -> list[RawTensor | None]:
        """The gradients of the last batch, 0 where only earlier ones have given any."""
        return [
            self._checks.zero_gradient(self._backend, index)
            if gradient is None and self.gathered[index]
            else gradient
            for index, gradient in enumerate(gradients)
        ]

    def begin(self) -> None:
        """Begin anew, after an update."""
        self.batches = 0
        self.gathered = [0] * len(self.gathered)
