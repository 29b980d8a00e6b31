"""`Rule`: what one update does to one parameter, kept apart from how it is run."""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import numpy as np

from born.errors import ConfigError, DTypeError, RuleError
from born.fusion import Program, trace
from born.fusion.expression import V
from born.raw import FLOATING_NAMES, DTypeLike, as_dtype, float32, is_floating

AUTO: Final = "auto"
"""The dtype of a slot where nobody has asked for another."""

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
        slot_dtypes: slot -> its dtype; `"auto"`, the default, is the parameter's own, or
            float32 for a parameter in float16 or bfloat16. The rule computes in float64
            for float64 parameters and in float32 for all others, and rounds on storing.
        scalars: keyword argument -> value; `t` is added by whoever runs the rule.

    Raises:
        RuleError: a scalar that is no number, or a dtype for what is no slot or that is
            not floating.

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
    slot_dtypes: Mapping[str, DTypeLike] = field(default_factory=dict[str, DTypeLike])

    def __post_init__(self) -> None:
        object.__setattr__(self, "slots", tuple(self.slots))
        scalars = {name: _number(name, value) for name, value in self.scalars.items()}
        object.__setattr__(self, "scalars", scalars)
        for slot, dtype in self.slot_dtypes.items():
            if slot not in self.slots:
                raise RuleError(
                    f"expected dtypes of the slots {', '.join(self.slots) or '(none)'}, got one "
                    f"of {slot!r}; correct its name"
                )
            if dtype != AUTO and not is_floating(as_dtype(dtype)):
                raise RuleError(
                    f"expected a floating dtype for the slot {slot!r}, got {dtype!r}; "
                    'use "auto", "float32" or "bfloat16"'
                )

    @property
    def program(self) -> Program:
        """The rule as backends compile it, traced once for each shape of config.

        Raises:
            RuleError: the function is no rule, as `born.optim.rule` says.
        """
        return _traced(self.function, self.slots, (*self.scalars, "t"))

    def bound_host(self) -> Callable[..., tuple[float, ...]]:
        """From `t` alone to what `Program.host` gives, with this rule's scalars."""
        return functools.partial(self.program.host, **self.scalars)

    def slot_dtype(self, slot: str, parameter: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of a slot: the one asked for, or the parameter's, but at least float32."""
        wanted = self.slot_dtypes.get(slot, AUTO)
        if wanted != AUTO:
            return as_dtype(wanted)
        return float32 if parameter.itemsize < float32.itemsize else parameter


def _number(name: str, value: object) -> float:
    """A scalar as Python's number: in NumPy's own precision, the host's maths would be too."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise RuleError(
        f"expected the scalar {name!r} to be a number, got {value!r} of type "
        f"{type(value).__name__}; arrays are slots"
    )


_traced = functools.lru_cache(maxsize=1024)(trace)  # a rule made anew for every step is let go


def check_slot_dtype(field: str, wanted: str) -> None:
    """Refuse a config's dtype of a slot that is neither `"auto"` nor a floating dtype.

    Raises:
        ConfigError: it is neither.
    """
    try:
        known = wanted == AUTO or is_floating(as_dtype(wanted))
    except DTypeError as error:
        if wanted in FLOATING_NAMES:  # only the package that defines it is missing
            raise ConfigError(f"{field}: {error}") from error
        known = False
    if not known:
        raise ConfigError(
            f'{field}: expected "auto" or the name of a floating dtype, got {wanted!r}; '
            'use "auto", "float32" or "bfloat16"'
        )


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


def rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check at its definition that a function can be a rule; it stays a plain function.

    Its positional parameters are `p`, `g` and the slots, its keyword-only ones the
    scalars, with `t` among them if it wants the number of the update.

    Raises:
        RuleError: it branches on a value, uses something that is not in `born.fusion`,
            keeps something from call to call, or returns the wrong number of values; the
            message names the line.

    >>> from born.fusion import sign
    >>> @rule
    ... def sign_descent(p, g, *, lr, t):
    ...     return (p - lr * sign(g),)
    """
    try:
        kinds = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise RuleError(f"expected a rule with a signature, got {function!r}: {error}") from error
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arrays = [each.name for each in kinds if each.kind in positional]
    scalars = [each.name for each in kinds if each.kind is each.KEYWORD_ONLY]
    if arrays[:2] != ["p", "g"] or "t" not in scalars:
        raise RuleError(
            f"{function!r}: expected a rule (p, g, *slots, *, scalars, t), got the "
            f"arguments {[each.name for each in kinds]}; name the parameter p, its gradient g, "
            "and take t, the number of the update, by keyword"
        )
    trace(function, tuple(arrays[2:]), tuple(scalars))
    return function
