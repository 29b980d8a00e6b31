"""From rule to rule: what is wrapped around a formula, and still runs in its one pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from born.errors import ConfigError
from born.fusion import V, all_finite, maximum, mean, minimum, norm, sqrt, total, where
from born.fusion.program import ELEMENT
from born.optim.config import Config, UpdateConfig, cached
from born.optim.rule import Rule, RuleFunction, free_name
from born.optim.scalars import Scalar
from born.optim.slot import PARAMETER, Slot


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


def clipped(
    rule: Rule,
    *,
    max_norm: Scalar | None = None,
    tensor_norm: Scalar | None = None,
    value: Scalar | None = None,
) -> Rule:
    """`rule` with gradients that are clipped first, in one way of three.

    Args:
        rule: what to clip the gradients of.
        max_norm: of all gradients together: g ← g · max_norm / max(|g|, max_norm).
        tensor_norm: of the gradient of each parameter, in the same way.
        value: of each element: to between -value and value.

    Raises:
        ConfigError: none of them, or two.

    >>> plain = Rule(lambda p, g: (p - g,), slots=(), scalars={})
    >>> limited = clipped(plain, value=0.5)
    >>> limited.function(4.0, 1.0, **limited.scalars, t=1)
    (3.5,)
    """
    given = {"max_norm": max_norm, "tensor_norm": tensor_norm, "value": value}
    chosen = {name: limit for name, limit in given.items() if limit is not None}
    if len(chosen) != 1:
        raise ConfigError(
            f"expected one of {', '.join(given)} to clip by, got {', '.join(chosen) or 'none'}; "
            "clip twice for two"
        )
    ((name, limit),) = chosen.items()
    scalar = free_name(rule, "limit")
    function = _with_clipping(rule.function, scalar, name)
    return replace(rule, function=function, scalars={**rule.scalars, scalar: limit})


def cautious(rule: Rule) -> Rule:
    """`rule`, moving only elements whose update has the sign of a step against the gradient.

    The others' share is given to those that move: the update is divided by the share that does,
    or by 1e-3 where that is less.

    Source: Liang, Chen, Liu and Liu (2024), "Cautious optimizers: improving training with one line
    of code", algorithm 1.

    >>> careful = cautious(Rule(lambda p, g: (p - g,), slots=(), scalars={}))
    >>> careful.function(4.0, 1.0, t=1)
    (3.0,)
    """
    return replace(rule, function=_with_caution(rule.function))


def averaged(rule: Rule, decay: Scalar = 0.999) -> Rule:
    """`rule`, and an average of the parameter over its updates, in the slot `average`.

    average ← decay · average + (1 - decay) · p, from the first value of p on.
    `optimizer.weights("average")` shows it.

    >>> kept = averaged(Rule(lambda p, g: (p - g,), slots=(), scalars={}), 0.5)
    >>> kept.function(4.0, 1.0, 4.0, **kept.scalars, t=1)
    (3.0, 3.5)
    """
    slot, scalar = free_name(rule, "average"), free_name(rule, "average_decay")
    return replace(
        rule,
        function=_with_average(rule.function, scalar),
        slots=(*rule.slots, slot),
        slot_kinds={**rule.slot_kinds, slot: Slot(start=PARAMETER)},
        scalars={**rule.scalars, scalar: decay},
    )


def finite_only(rule: Rule) -> Rule:
    """`rule`, changing nothing at all if any element of any parameter became NaN or infinite by it.

    The count of updates goes on.

    >>> safe = finite_only(Rule(lambda p, g: (p - g,), slots=(), scalars={}))
    >>> safe.function(4.0, float("nan"), t=1)
    (4.0,)
    """
    elements = (0, *(i for i, slot in enumerate(rule.slots, 1) if rule.kind(slot).rank == ELEMENT))
    return replace(rule, function=_if_finite(rule.function, elements))


_DECAYS = {"l2": l2, "decoupled": decoupled, "independent": independent}


_LEAST_SHARE = 1e-3


def _with_scalar(
    rule: Rule, wrapped: Callable[[RuleFunction, str], RuleFunction], name: str, value: Scalar
) -> Rule:
    """`rule` in a wrapper that takes one more scalar, which does nothing if it is 0."""
    if value == 0.0:
        return rule
    name = free_name(rule, name)
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


@cached
def _with_clipping(function: RuleFunction, name: str, by: str) -> RuleFunction:
    @functools.wraps(function)
    def limited(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        limit = scalars.pop(name)
        if by == "value":
            g = maximum(minimum(g, limit), -limit)
        else:
            square: V = total(g * g)
            alone: V = norm(g)
            size = sqrt(square) if by == "max_norm" else alone
            g = g * (limit / maximum(size, limit))
        outputs: tuple[V, ...] = function(p, g, *slots, **scalars)
        return outputs

    return limited


@cached
def _with_caution(function: RuleFunction) -> RuleFunction:
    @functools.wraps(function)
    def careful(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        stepped, *state = function(p, g, *slots, **scalars)
        update = p - stepped
        agrees = where(update * g > 0, 1.0, 0.0)
        share = maximum(mean(agrees), _LEAST_SHARE)
        return p - update * agrees / share, *state

    return careful


@cached
def _with_average(function: RuleFunction, name: str) -> RuleFunction:
    @functools.wraps(function)
    def kept(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        decay = scalars.pop(name)
        stepped, *state = function(p, g, *slots[:-1], **scalars)
        return stepped, *state, decay * slots[-1] + (1 - decay) * stepped

    vars(kept).pop("__signature__", None)  # which knows one slot less
    return kept


@cached
def _if_finite(function: RuleFunction, elements: tuple[int, ...]) -> RuleFunction:
    @functools.wraps(function)
    def safe(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        old, new = (p, *slots), function(p, g, *slots, **scalars)
        finite = [all_finite(new[i]) for i in elements]

        def kept(before: Any, after: Any) -> Any:
            for each in finite:
                after = where(each, after, before)
            return after

        return tuple([kept(before, after) for before, after in zip(old, new, strict=True)])

    return safe
