"""From rule to rule: what is wrapped around a formula, and still runs in its one pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from born.fusion import V
from born.optim.config import Config, UpdateConfig, cached
from born.optim.rule import Rule, RuleFunction
from born.optim.scalars import Scalar


def decayed(rule: Rule, config: Config) -> Rule:
    """`rule` with what the fields of `UpdateConfig` ask for; any other config changes nothing.

    >>> plain = Rule(lambda p, g, *, lr: (p - lr * g,), slots=(), scalars={"lr": 0.5})
    >>> config = optim.SGDConfig(lr=0.5, weight_decay=0.5, maximize=True)
    >>> rule = decayed(plain, config)
    >>> rule.function(4.0, 1.0, **rule.scalars, t=1)
    (3.5,)
    """
    if not isinstance(config, UpdateConfig):
        return rule
    rule = _DECAYS[config.decay](rule, config.weight_decay)
    return maximized(rule) if config.maximize else rule


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
    return _with_scalar(rule, _with_l2, "weight_decay", weight_decay)


def decoupled(rule: Rule, weight_decay: Scalar) -> Rule:
    """`rule`, and lr · weight_decay · p taken from p beside its update, as in AdamW.

    The rule still sees p as it was. Its config has to have `lr`; with a weight_decay of 0 the
    rule is returned as it is.

    Source: Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 2.

    >>> plain = Rule(lambda p, g, *, lr: (p - lr * g,), slots=(), scalars={"lr": 0.5})
    >>> decayed = decoupled(plain, 0.5)
    >>> decayed.function(4.0, 1.0, **decayed.scalars, t=1)
    (2.5,)
    """
    return _with_scalar(rule, _with_decoupled, "weight_decay", weight_decay)


def independent(rule: Rule, weight_decay: Scalar) -> Rule:
    """`rule`, and weight_decay · p taken from p beside its update, whatever the learning rate.

    So the decay need not be tuned again with lr, and does not fade as a schedule lowers lr.

    Source: Wortsman et al. (2024), "Small-scale proxies for large-scale Transformer training
    instabilities", section 3.2.2.

    >>> plain = Rule(lambda p, g, *, lr: (p - lr * g,), slots=(), scalars={"lr": 0.5})
    >>> decayed = independent(plain, 0.25)
    >>> decayed.function(4.0, 1.0, **decayed.scalars, t=1)
    (2.5,)
    """
    return _with_scalar(rule, _with_independent, "weight_decay", weight_decay)


def maximized(rule: Rule) -> Rule:
    """`rule` going up: g ← -g, before all else.

    >>> rising = maximized(Rule(lambda p, g: (p - g,), slots=(), scalars={}))
    >>> rising.function(4.0, 1.0, t=1)
    (5.0,)
    """
    return replace(rule, function=_with_negated_gradient(rule.function))


_DECAYS = {"l2": l2, "decoupled": decoupled, "independent": independent}


def _with_scalar(
    rule: Rule, wrapped: Callable[[RuleFunction, str], RuleFunction], name: str, value: Scalar
) -> Rule:
    """`rule` in a wrapper that takes one more scalar, which does nothing if it is 0."""
    if value == 0.0:
        return rule
    while name in (*rule.scalars, *rule.slots):
        name += "_"
    return replace(
        rule, function=wrapped(rule.function, name), scalars={**rule.scalars, name: value}
    )


@cached  # equal rules share one function, and so one program
def _with_l2(function: RuleFunction, name: str) -> RuleFunction:
    @functools.wraps(function)
    def decayed(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        weight_decay = scalars.pop(name)
        outputs: tuple[V, ...] = function(p, g + weight_decay * p, *slots, **scalars)
        return outputs

    return decayed


@cached
def _with_decoupled(function: RuleFunction, name: str) -> RuleFunction:
    @functools.wraps(function)
    def decayed(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        weight_decay = scalars.pop(name)
        stepped, *state = function(p, g, *slots, **scalars)
        return stepped - scalars["lr"] * weight_decay * p, *state

    return decayed


@cached
def _with_independent(function: RuleFunction, name: str) -> RuleFunction:
    @functools.wraps(function)
    def decayed(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        weight_decay = scalars.pop(name)
        stepped, *state = function(p, g, *slots, **scalars)
        return stepped - weight_decay * p, *state

    return decayed


@cached
def _with_negated_gradient(function: RuleFunction) -> RuleFunction:
    @functools.wraps(function)
    def rising(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        outputs: tuple[V, ...] = function(p, -g, *slots, **scalars)
        return outputs

    return rising
