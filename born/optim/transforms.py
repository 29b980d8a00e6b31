"""From rule to rule: what is wrapped around a formula, and still runs in its one pass."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from born.errors import ConfigError
from born.fusion import V, all_finite, isfinite, maximum, mean, minimum, norm, where
from born.fusion.program import ELEMENT
from born.optim.config import Config, UpdateConfig, cached
from born.optim.fields import NonNegative as NonNegativeNumber
from born.optim.fields import checked_scalar
from born.optim.projections import Box, NonNegative, Projection, UnitNorm
from born.optim.rule import Rule, RuleFunction, free_name, from_rule
from born.optim.scalars import Scalar
from born.validation import integer


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
    wrapped = _DECAYS[config.decay]
    rule = _with_scalar(rule, wrapped, "weight_decay", config.weight_decay)
    return maximized(rule) if config.maximize else rule


@from_rule
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
    weight_decay = checked_scalar("l2.weight_decay", NonNegativeNumber, weight_decay)
    return _with_scalar(rule, _with_l2, "weight_decay", weight_decay)


@from_rule
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
    weight_decay = checked_scalar("decoupled.weight_decay", NonNegativeNumber, weight_decay)
    return _with_scalar(rule, _with_decoupled, "weight_decay", weight_decay)


@from_rule
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
    weight_decay = checked_scalar("independent.weight_decay", NonNegativeNumber, weight_decay)
    return _with_scalar(rule, _with_independent, "weight_decay", weight_decay)


@from_rule
def maximized(rule: Rule) -> Rule:
    """`rule` going up: g ← -g, before all else.

    >>> rising = maximized(Rule(lambda p, g: (p - g,), slots=(), scalars={}))
    >>> rising.function(4.0, 1.0, t=1)
    (5.0,)
    """
    return replace(rule, function=_with_negated_gradient(rule.function))


@from_rule
def centralized(rule: Rule) -> Rule:
    """`rule` with gradients whose mean over the inputs of each unit is taken off first.

    A unit is a row of a matrix, or of a kernel of more axes; vectors stay as they are.

    Source: Yong, Huang, Hua and Zhang (2020), "Gradient centralization: a new optimization
    technique for deep neural networks", equation 1.

    >>> centred = centralized(Rule(lambda p, g: (p - g,), slots=(), scalars={}))
    >>> centred.function(np.zeros((1, 2)), np.array([[1.0, 3.0]]), t=1)
    (array([[ 1., -1.]]),)
    """
    return replace(rule.by_units(), function=_with_centred_gradient(rule.function))


@from_rule
def warm_state(rule: Rule, steps: int) -> Rule:
    """`rule` that leaves p as it is in its first updates, in which only the state moves.

    Averages of gradients then begin with what many batches say. Updates count as such.

    Args:
        rule: what to begin with care.
        steps: how many updates leave p as it is.

    >>> careful = warm_state(Rule(lambda p, g, m: (p - g, m + g), slots=("m",), scalars={}), 2)
    >>> [careful.function(4.0, 1.0, 0.0, **careful.scalars, t=t) for t in (2, 3)]
    [(4.0, 1.0), (3.0, 1.0)]
    """
    name = free_name(rule, "warm_steps")
    count = integer("steps", steps, 0, ConfigError)
    function = _with_warm_state(rule.function, name)
    return replace(rule, function=function, scalars={**rule.scalars, name: count})


@from_rule
def projected(rule: Rule, projection: Projection) -> Rule:
    """`rule`, and p then moved to the nearest point that is allowed, in the same pass.

    Args:
        rule: what updates p.
        projection: `NonNegative`, `Box`, or `UnitNorm` along the last axis or the one before; its
            pattern does not matter, and parameters without that axis stay as they are. Others are
            no formulas: give them to the optimizer as
            `projections=[...]`.

    Raises:
        ConfigError: another projection.

    >>> held = projected(Rule(lambda p, g: (p - g,), slots=(), scalars={}), optim.NonNegative())
    >>> held.function(4.0, 5.0, t=1)
    (0.0,)
    """
    if isinstance(projection, UnitNorm) and projection.axis not in (-1, -2):
        raise ConfigError(
            f"expected a UnitNorm along axis -1 or -2 in a rule, got {projection}; give it to the "
            "optimizer as projections=[...]"
        )
    if not isinstance(projection, NonNegative | Box | UnitNorm):
        raise ConfigError(
            "expected NonNegative, Box or UnitNorm, which are formulas, to be in a rule, got "
            f"{projection!r}; give it to the optimizer as projections=[...]"
        )
    by_axis = rule.own_axes or isinstance(projection, UnitNorm)
    return replace(rule, function=_with_projection(rule.function, projection), own_axes=by_axis)


@from_rule
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


@from_rule
def finite_only(rule: Rule) -> Rule:
    """`rule`, changing nothing at all if any element of any parameter became NaN or infinite by it.

    The count of updates goes on, so that a rule whose first update is another, such as SGD with
    dampening, has had it then. With `nonfinite="skip"`, an optimizer does not count such steps.

    >>> safe = finite_only(Rule(lambda p, g: (p - g,), slots=(), scalars={}))
    >>> safe.function(4.0, float("nan"), t=1)
    (4.0,)
    """
    elements = (0, *(i for i, slot in enumerate(rule.slots, 1) if rule.kind(slot).rank == ELEMENT))
    return replace(rule, function=_if_finite(rule.function, elements))


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


_DECAYS = {"l2": _with_l2, "decoupled": _with_decoupled, "independent": _with_independent}


@cached
def _with_negated_gradient(function: RuleFunction) -> RuleFunction:
    @functools.wraps(function)
    def rising(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        outputs: tuple[V, ...] = function(p, -g, *slots, **scalars)
        return outputs

    return rising


@cached
def _with_centred_gradient(function: RuleFunction) -> RuleFunction:
    @functools.wraps(function)
    def centred(p: Any, g: Any, *slots: V, **scalars: float) -> tuple[V, ...]:
        if getattr(p, "ndim", 0) > 1:
            g = g - mean(g, axis=-1)
        outputs: tuple[V, ...] = function(p, g, *slots, **scalars)
        return outputs

    return centred


@cached
def _with_warm_state(function: RuleFunction, name: str) -> RuleFunction:
    @functools.wraps(function)
    def careful(p: Any, g: Any, *slots: Any, t: Any, **scalars: Any) -> tuple[Any, ...]:
        steps = scalars.pop(name)
        stepped, *state = function(p, g, *slots, t=t, **scalars)
        return where(t > steps, stepped, p), *state

    return careful


@cached
def _with_projection(function: RuleFunction, projection: Projection) -> RuleFunction:
    @functools.wraps(function)
    def held(p: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        stepped, *state = function(p, g, *slots, **scalars)
        if isinstance(projection, UnitNorm):
            if getattr(p, "ndim", 2) < -projection.axis:
                return stepped, *state
            size = norm(stepped, axis=projection.axis)
            count = getattr(p, "columns" if projection.axis == -1 else "rows", 1)
            none = where(size > 0, 0.0, 1.0)
            # Of all points, which are as near to 0 as each other, that of equal elements.
            return stepped / (size + none) + none * count**-0.5, *state
        low, high = (
            (projection.low, projection.high) if isinstance(projection, Box) else (0.0, None)
        )
        stepped = stepped if low is None else maximum(stepped, low)
        stepped = stepped if high is None else minimum(stepped, high)
        return stepped, *state

    return held


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
def _if_finite(function: RuleFunction, elements: tuple[int, ...]) -> RuleFunction:
    @functools.wraps(function)
    def safe(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        old, new = (p, *slots), function(p, g, *slots, **scalars)
        # One sum over all of them, so that parameters of different rules can share it.
        fine: Any = isfinite(new[0])
        for i in elements[1:]:
            fine = fine & isfinite(new[i])
        finite = all_finite(where(fine, 0.0, math.inf))
        pairs = zip(old, new, strict=True)
        return tuple([where(finite, after, before) for before, after in pairs])

    return safe
