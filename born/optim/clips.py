"""Rules whose gradients or steps are clipped first: from rule to rule."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from born.errors import ConfigError
from born.fusion import V, maximum, minimum, norm, sqrt, total
from born.optim.config import cached
from born.optim.fields import Positive, checked_scalar
from born.optim.rule import Rule, RuleFunction, free_name, from_rule
from born.optim.scalars import Scalar


@from_rule
def clipped(
    rule: Rule,
    *,
    max_norm: Scalar | None = None,
    tensor_norm: Scalar | None = None,
    value: Scalar | None = None,
    adaptive: Scalar | None = None,
) -> Rule:
    """`rule` with gradients that are clipped first, in one way of four.

    All limits are above 0: numbers, or schedules.

    Args:
        rule: what to clip the gradients of.
        max_norm: of all gradients together: g ← g · max_norm / max(|g|, max_norm).
        tensor_norm: of the gradient of each parameter, in the same way.
        value: of each element: to between -value and value.
        adaptive: of each unit, a row of a matrix or kernel, or a whole vector: to a norm of
            adaptive · max(|p|, 1e-3), p being the weights of the unit. Some 0.01.

    Raises:
        ConfigError: none of them, or two; a limit that is not above 0.

    Source: Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural
    networks", algorithm 1; Brock, De, Smith and Simonyan (2021), "High-performance large-scale
    image recognition without normalization", equation 3, for `adaptive`.

    >>> plain = Rule(lambda p, g: (p - g,), slots=(), scalars={})
    >>> limited = clipped(plain, value=0.5)
    >>> limited.function(4.0, 1.0, **limited.scalars, t=1)
    (3.5,)
    """
    given = {
        "max_norm": max_norm,
        "tensor_norm": tensor_norm,
        "value": value,
        "adaptive": adaptive,
    }
    return _limited("clipped", rule, _with_clipped_gradient, given)


@from_rule
def clip_step(
    rule: Rule,
    *,
    max_norm: Scalar | None = None,
    tensor_norm: Scalar | None = None,
    value: Scalar | None = None,
) -> Rule:
    """`rule` with steps that are clipped, in one way of three: p moves that far at most.

    All limits are above 0: numbers, or schedules.

    Args:
        rule: what to clip the steps of, with its learning rate and decay.
        max_norm: the norm of the steps of all parameters together.
        tensor_norm: of the step of each parameter.
        value: of each element: to between -value and value.

    Raises:
        ConfigError: none of them, or two; a limit that is not above 0.

    >>> plain = Rule(lambda p, g: (p - 3.0 * g,), slots=(), scalars={})
    >>> limited = clip_step(plain, value=0.5)
    >>> limited.function(4.0, 1.0, **limited.scalars, t=1)
    (3.5,)
    """
    given = {"max_norm": max_norm, "tensor_norm": tensor_norm, "value": value}
    return _limited("clip_step", rule, _with_clipped_step, given)


def _limited(
    owner: str,
    rule: Rule,
    wrapped: Callable[[RuleFunction, str, str], RuleFunction],
    given: dict[str, Scalar | None],
) -> Rule:
    chosen = {name: limit for name, limit in given.items() if limit is not None}
    if len(chosen) != 1:
        raise ConfigError(
            f"expected one of {', '.join(given)} to clip by, got {', '.join(chosen) or 'none'}; "
            "clip twice for two"
        )
    ((by, limit),) = chosen.items()
    limit = checked_scalar(f"{owner}.{by}", Positive, limit)
    scalar = free_name(rule, "limit")
    function = wrapped(rule.function, scalar, by)
    scalars = {**rule.scalars, scalar: limit}
    return replace(
        rule.by_units() if by == "adaptive" else rule, function=function, scalars=scalars
    )


@cached  # equal rules share one function, and so one program
def _with_clipped_gradient(function: RuleFunction, name: str, by: str) -> RuleFunction:
    @functools.wraps(function)
    def limited(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        limit = scalars.pop(name)
        if by == "adaptive":
            g = _clipped_by_unit(p, g, limit)
        else:
            g = _clipped(g, limit, by)
        outputs: tuple[V, ...] = function(p, g, *slots, **scalars)
        return outputs

    return limited


@cached
def _with_clipped_step(function: RuleFunction, name: str, by: str) -> RuleFunction:
    @functools.wraps(function)
    def limited(p: V, g: V, *slots: V, **scalars: float) -> tuple[V, ...]:
        limit = scalars.pop(name)
        stepped, *state = function(p, g, *slots, **scalars)
        return p - _clipped(p - stepped, limit, by), *state

    return limited


def _clipped(x: V, limit: float, by: str) -> V:
    if by == "value":
        return maximum(minimum(x, limit), -limit)
    square: V = total(x * x)
    alone: V = norm(x)
    size = sqrt(square) if by == "max_norm" else alone
    return x * (limit / maximum(size, limit))


def _clipped_by_unit(p: Any, g: Any, limit: float) -> Any:
    axis = -1 if getattr(p, "ndim", 0) > 1 else None
    largest = maximum(norm(p, axis), _LEAST_WEIGHTS) * limit
    return g * (largest / maximum(norm(g, axis), largest))


_LEAST_WEIGHTS = 1e-3
"""The norm that the weights of a unit are taken to have at least, so that zeros can be left."""
