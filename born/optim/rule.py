"""`Rule`: what one update does to one parameter, apart from how it is run."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Self, TypeAlias, cast

import numpy as np

from born.dtypes import DTypeLike, as_dtype, float32, is_floating
from born.errors import RuleError
from born.fusion import Program, trace
from born.optim.config import Config, cached, field_types
from born.optim.fields import AUTO
from born.optim.scalars import Scalar
from born.validation import type_error

RuleFunction: TypeAlias = Callable[..., Any]
"""The formula `(p, g, *slots, *, scalars, t) -> (p, *slots)`, elementwise, without side effects.

`p` is the parameter, `g` its gradient. The keyword `t`, which a formula may leave out, is the
number of this update, counted from 1 for each parameter. A formula uses the operators and the
functions of `born.fusion`, and never branches on an element's value: use `where`.
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """A formula with the names of its state slots and the values of its scalars.

    Args:
        function: the formula, as `RuleFunction` says; it may be called with `t` always.
        slots: a name for each array that the function carries from update to update,
            in the order in which it takes and returns them. They start as zeros.
        slot_dtypes: slot -> its dtype; `"auto"`, the default, is the parameter's own, or
            float32 for a parameter in float16 or bfloat16. The rule computes in float64
            for float64 parameters and in float32 for all others, and rounds on storing.
        scalars: keyword argument -> value, or a function of `t`, for all but `t`.

    Raises:
        RuleError: a scalar that is not a number, or a dtype that is not floating or not of
            a slot.

    >>> def signed(p, g, m, *, lr, beta):
    ...     m = beta * m + (1 - beta) * g
    ...     return p - lr * m, m
    >>> rule = Rule(signed, slots=("m",), scalars={"lr": 0.5, "beta": 0.0})
    >>> rule.function(1.0, 2.0, 0.0, **rule.scalars, t=1)
    (0.0, 2.0)
    """

    function: RuleFunction
    slots: tuple[str, ...]
    scalars: Mapping[str, Scalar]
    slot_dtypes: Mapping[str, DTypeLike] = field(default_factory=dict[str, DTypeLike])

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", _taking_t(self.function))
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

    @classmethod
    def from_config(cls, formula: RuleFunction, config: Config) -> Self:
        """The rule of a formula whose arguments are bound by their names.

        Its positional parameters after `p` and `g` are the slots. Each keyword is a field of
        the config, or an item of a tuple: `betas` gives `beta1` and `beta2`. A field
        `<slot>_dtype` is the dtype of that slot.

        Raises:
            RuleError: not the signature of a rule, or a scalar that the config does not have.

        >>> def descend(p, g, *, lr):
        ...     return (p - lr * g,)
        >>> Rule.from_config(descend, optim.SGDConfig(lr=0.5)).scalars
        {'lr': 0.5}
        """
        slots, scalars = _arguments(formula)
        values = _named_values(config)
        for scalar in scalars:
            if scalar not in values:
                raise RuleError(
                    f"{getattr(formula, '__name__', formula)}: expected each scalar to be a field "
                    f"of {type(config).__name__}, or an item of one as beta1 is of betas, got "
                    f"{scalar!r} beside the fields {', '.join(field_types(type(config)))}; correct "
                    "the name, or add the field"
                )
        return cls(
            formula,
            slots=slots,
            scalars={scalar: values[scalar] for scalar in scalars},
            slot_dtypes={slot: values.get(f"{slot}_dtype", AUTO) for slot in slots},
        )

    @property
    def program(self) -> Program:
        """The rule as backends compile it, traced once for each shape of config."""
        return _traced(self.function, self.slots, (*self.scalars, "t"))

    def host(self, config: Config) -> Callable[..., Any]:
        """From `t` to what the program needs of the scalars; the config's schedules are checked.

        Functions of t are called in each update, and their values used as Python's numbers, in
        double.
        """
        checks = config.schedule_checks()
        if not checks and not any(map(callable, self.scalars.values())):
            return partial(self.program.host, **self.scalars)

        def host(*, t: int) -> Any:
            for check in checks:
                check(t)
            return self.program.host(**self.scalars_at(t))

        return host

    def scalars_at(self, t: int) -> dict[str, float]:
        """The values of the scalars in update t, and `t` itself."""
        values: dict[str, float] = {"t": t}
        for name, value in self.scalars.items():
            values[name] = cast("float", _number(name, value(t) if callable(value) else value))
        return values

    def slot_dtype(self, slot: str, parameter: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of a slot: the one asked for, or the parameter's, but at least float32."""
        wanted = self.slot_dtypes.get(slot, AUTO)
        if wanted != AUTO:
            return as_dtype(wanted)
        return float32 if parameter.itemsize < float32.itemsize else parameter


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
    ... def sign_descent(p, g, *, lr):
    ...     return (p - lr * sign(g),)
    """
    slots, scalars = _arguments(function)
    _traced(_taking_t(function), slots, (*scalars, "t"))
    return function


_traced = cached(trace)


def _number(name: str, value: object) -> Scalar:
    """A scalar as Python's number; with NumPy's, the host would compute in their precision."""
    if callable(value):
        return cast("Scalar", value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise type_error(f"the scalar {name!r}", "a number", value, "arrays are slots", RuleError)


def _signature(function: RuleFunction, *, follow_wrapped: bool = True) -> inspect.Signature:
    try:
        return inspect.signature(function, follow_wrapped=follow_wrapped)
    except (TypeError, ValueError) as error:
        raise RuleError(f"expected a rule with a signature, got {function!r}: {error}") from error


@cached
def _arguments(function: RuleFunction) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a rule's slots, and of its scalars without `t`."""
    parameters = _signature(function).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arrays = [each.name for each in parameters if each.kind in positional]
    scalars = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    if arrays[:2] != ["p", "g"] or "t" in arrays:
        raise RuleError(
            f"{function!r}: expected a rule (p, g, *slots, *, scalars, t), got the "
            f"arguments {[each.name for each in parameters]}; name the parameter p, its gradient "
            "g, and take scalars by keyword, t, the number of the update, among them"
        )
    return tuple(arrays[2:]), tuple(name for name in scalars if name != "t")


@cached
def _taking_t(function: RuleFunction) -> RuleFunction:
    """`function`, or if it takes no `t`, a wrapper that drops it."""
    signature = _signature(function, follow_wrapped=False)
    parameters = signature.parameters.values()
    if any(each.name == "t" or each.kind is each.VAR_KEYWORD for each in parameters):
        return function

    @wraps(function)
    def formula(*arrays: Any, t: Any, **scalars: Any) -> Any:
        return function(*arrays, **scalars)

    t = inspect.Parameter("t", inspect.Parameter.KEYWORD_ONLY)
    vars(formula)["__signature__"] = signature.replace(parameters=[*parameters, t])
    return formula


def _named_values(config: Config) -> dict[str, Any]:
    """The fields of a config by name, and the items of tuples: of `betas`, `beta1` and `beta2`."""
    fields = {name: getattr(config, name) for name in field_types(type(config))}
    items: dict[str, Any] = {}
    for name, value in fields.items():
        for number, item in enumerate(cast("Any", value) if isinstance(value, tuple) else (), 1):
            items[f"{name}{number}"] = items[f"{name.removesuffix('s')}{number}"] = item
    return items | fields
