"""Rules that keep an average of the parameters, or step towards one: from rule to rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from born.errors import ConfigError
from born.fusion import where
from born.optim.fields import DecayRate, UnitInterval, checked_scalar
from born.optim.following import followed
from born.optim.rule import Rule, free_name, from_rule
from born.optim.scalars import Scalar
from born.validation import integer

Average: TypeAlias = Scalar | Literal["uniform"]
"""How much of a running average is kept in an update, or `"uniform"`: all values count alike."""


@from_rule
def averaged(rule: Rule, decay: Average = 0.999) -> Rule:
    """`rule`, and an average of the parameter over its updates, in the slot `average`.

    average ← decay · average + (1 - decay) · p, from the value of p before its first update on.
    With `"uniform"` it is the mean of p after each update. `optimizer.weights("average")` shows it.

    Args:
        rule: what updates p.
        decay: from 0 to below 1, a schedule of such, or `"uniform"`.

    Source: Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging";
    Izmailov et al. (2018), "Averaging weights leads to wider optima and better generalization".

    >>> kept = averaged(Rule(lambda p, g: (p - g,), slots=(), scalars={}), 0.5)
    >>> kept.function(4.0, 1.0, 4.0, **kept.scalars, t=1)
    (3.0, 3.5)
    """
    slot, checked = free_name(rule, "average"), checked_average(decay)
    if isinstance(checked, str):
        return followed(rule, _with_mean, slot, {}, meaning=checked)
    return followed(rule, _with_average, slot, {free_name(rule, "average_decay"): checked})


@from_rule
def lookahead(rule: Rule, k: int = 5, alpha: Scalar = 0.5) -> Rule:
    """`rule`, whose parameter is taken back every k updates, part of the way to where it was.

    In the slot `slow` is where it was; in updates k, 2k, ... : slow ← slow + alpha · (p - slow),
    p ← slow. The state of the rule goes on.

    Args:
        rule: what takes the k steps.
        k: how many there are.
        alpha: how far of the way they count, from 0 to 1.

    Source: Zhang, Lucas, Hinton and Ba (2019), "Lookahead optimizer: k steps forward, 1 step back",
    algorithm 1.

    >>> slowed = lookahead(Rule(lambda p, g: (p - g,), slots=(), scalars={}), k=2)
    >>> slowed.function(4.0, 1.0, 8.0, **{**slowed.scalars, "lookahead_now": 1.0}, t=2)
    (5.5, 5.5)
    """
    slot, share, now = (
        free_name(rule, name) for name in ("slow", "lookahead_alpha", "lookahead_now")
    )
    every = Every(integer("k", k, 1, ConfigError))
    alpha = checked_scalar("lookahead.alpha", UnitInterval, alpha)
    return followed(rule, _with_lookahead, slot, {share: alpha, now: every})


@dataclass(frozen=True, slots=True)
class Every:
    """1 in every k-th update, and 0 in the others.

    >>> [Every(2)(t) for t in (1, 2, 3, 4)]
    [0.0, 1.0, 0.0, 1.0]
    """

    k: int

    def __call__(self, t: int) -> float:
        """What it is in update t."""
        return 0.0 if t % self.k else 1.0


def checked_average(decay: Any) -> Average:
    """A decay that `averaged` takes."""
    if isinstance(decay, str):
        if decay != "uniform":
            raise ConfigError(
                f'average: expected a decay from 0 to below 1, or "uniform", got {decay!r}; 0.999 '
                "is usual"
            )
        return "uniform"
    return checked_scalar("average", DecayRate, decay)


def _with_average(p: Any, stepped: Any, average: Any, t: Any, decay: Any) -> tuple[Any, Any]:
    # Not from what the slot was made with: p may have been loaded since.
    average = where(t == 1, p, average)
    return stepped, decay * average + (1 - decay) * stepped


def _with_mean(p: Any, stepped: Any, average: Any, t: Any) -> tuple[Any, Any]:
    return _with_average(p, stepped, average, t, 1 - 1 / t)


def _with_lookahead(
    p: Any, stepped: Any, slow: Any, t: Any, alpha: Any, now: Any
) -> tuple[Any, Any]:
    slow = where(t == 1, p, slow)
    moved = where(now > 0, slow + alpha * (stepped - slow), slow)
    return where(now > 0, moved, stepped), moved
