"""`Rule`: what one update does to one parameter, kept apart from how it is run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from born.fusion.expression import V

RuleFunction: TypeAlias = Callable[..., tuple[Any, ...]]
"""`(p, g, *slots, **scalars, t) -> (p, *slots)`, elementwise and without side effects.

`p` is the parameter, `g` its gradient, `t` the number of this update, counted from 1 for
each parameter. It uses the operators and the functions of `born.fusion`, and never
branches on an element's value: use `where`.
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule function with the names of its state slots and the values of its scalars.

    Args:
        function: the formula, as `RuleFunction` says.
        slots: a name for each array that the function carries from update to update,
            in the order in which it takes and returns them. They start as zeros.
        scalars: keyword argument -> value; `t` is added by whoever runs the rule.

    >>> def signed(p, g, m, *, lr, beta, t):
    ...     m = beta * m + (1 - beta) * g
    ...     return p - lr * m, m
    >>> rule = Rule(signed, slots=("m",), scalars={"lr": 0.5, "beta": 0.0})
    >>> rule.function(1.0, 2.0, 0.0, **rule.scalars, t=1)
    (0.0, 2.0)
    """

    function: RuleFunction
    slots: tuple[str, ...]
    scalars: Mapping[str, float]


def with_l2(rule: Rule, weight_decay: float) -> Rule:
    """`rule` with the gradient of (weight_decay / 2) |p|² added to g before all else.

    Without weight decay it is the rule itself: an infinite weight stays infinite
    instead of becoming NaN, and no time is spent.

    >>> plain = Rule(lambda p, g, *, t: (p - g,), slots=(), scalars={})
    >>> decayed = with_l2(plain, 0.5)
    >>> decayed.function(4.0, 1.0, **decayed.scalars, t=1)
    (1.0,)
    """
    if weight_decay == 0.0:
        return rule
    scalars = {**rule.scalars, "weight_decay": weight_decay}
    return replace(rule, function=_l2(rule.function), scalars=scalars)


@functools.cache  # one wrapper a function, so that equal rules can be known by their function
def _l2(function: RuleFunction) -> RuleFunction:
    @functools.wraps(function)
    def decayed(p: V, g: V, *slots: V, weight_decay: float, **scalars: float) -> tuple[V, ...]:
        outputs: tuple[V, ...] = function(p, g + weight_decay * p, *slots, **scalars)
        return outputs

    return decayed
