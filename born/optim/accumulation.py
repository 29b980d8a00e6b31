"""Gradients of several batches, added up for one update: as a rule, and for an optimizer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from born.errors import ConfigError
from born.fusion import where
from born.optim.averaging import Every
from born.optim.config import cached
from born.optim.rule import Rule, RuleFunction, free_name, wrapping
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
