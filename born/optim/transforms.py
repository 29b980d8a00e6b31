"""From rule to rule: what is wrapped around a formula, and still runs in its one pass."""

from __future__ import annotations

import functools
from dataclasses import replace

from born.fusion import V
from born.optim.config import cached
from born.optim.rule import Rule, RuleFunction
from born.optim.scalars import Scalar


def l2(rule: Rule, weight_decay: Scalar) -> Rule:
    """`rule` with an L2 penalty: g ← g + weight_decay · p, before all else.

    Args:
        rule: what to decay.
        weight_decay: the factor; with 0 the rule is returned as it is, so that the update
            has no term to spare, and an infinite weight does not become NaN.

    >>> plain = Rule(lambda p, g: (p - g,), slots=(), scalars={})
    >>> decayed = l2(plain, 0.5)
    >>> decayed.function(4.0, 1.0, **decayed.scalars, t=1)
    (1.0,)
    """
    if weight_decay == 0.0:
        return rule
    name = "weight_decay"
    while name in (*rule.scalars, *rule.slots):
        name += "_"
    function = _with_l2(rule.function, name)
    return replace(rule, function=function, scalars={**rule.scalars, name: weight_decay})


@cached  # equal rules share one function, and so one program
def _with_l2(function: RuleFunction, name: str) -> RuleFunction:
    @functools.wraps(function)
    def decayed(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        weight_decay = scalars.pop(name)
        outputs: tuple[V, ...] = function(p, g + weight_decay * p, *slots, **scalars)
        return outputs

    return decayed
