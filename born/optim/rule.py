"""`Rule`: what one update does to one parameter, apart from how it is run."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Final, NamedTuple, Self, TypeAlias, TypeVar, cast, overload

import numpy as np

from born.backend import Backend
from born.backend.codecs import mixed
from born.dtypes import DTypeLike, as_dtype, float32, is_floating
from born.errors import RuleError
from born.fusion import Program, trace
from born.fusion.origin import definition_of
from born.fusion.program import COLUMNS, GROUP, REDUCTIONS, ROWS, TENSOR, matrix_function
from born.optim.config import Config, cached, field_types
from born.optim.fields import AUTO
from born.optim.scalars import Scalar, value_at
from born.optim.slot import PARAMETER, Slot
from born.raw import RawTensor, Shape
from born.validation import type_error

RuleFunction: TypeAlias = Callable[..., Any]
"""The formula `(p, g, *slots, *, scalars, t) -> (p, *slots)`, without side effects.

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
        slot_kinds: slot -> its `Slot`, for those that are not arrays of the parameter's shape
            that start as zeros.
        scalars: keyword argument -> value, or a function of `t`, for all but `t`.
        slot_codecs: slot -> what it is kept as, of `born.fusion.codec.CODECS`, one byte an element.
        slot_seed: of the chance by which those are rounded.
        carried: from a parameter and its slots to the number that it stands for, where that is not
            the parameter as it is computed: what it is rounded to, or kept exact in a slot.
        by_unit: whether it takes parameters of more than two axes, such as kernels of a
            convolution, as matrices with a row for each unit: their first axis.
        order: in which order the formula sees the axes of a parameter, if not in their own.
        own_axes: whether a part of it asks for the parameter's own rows or columns, so that it
            cannot take one that it would see otherwise.

    Raises:
        RuleError: a scalar that is not a number, a dtype that is not floating, or a dtype or
            kind of something that is not a slot.

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
    slot_kinds: Mapping[str, Slot] = field(default_factory=dict[str, Slot])
    slot_codecs: Mapping[str, str] = field(default_factory=dict[str, str])
    slot_seed: int = 0
    by_unit: bool = False
    order: tuple[int, ...] | None = None
    own_axes: bool = False
    carried: Callable[[Any, Sequence[Any]], Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", _taking_t(self.function))
        object.__setattr__(self, "slots", tuple(self.slots))
        scalars = {name: _number(name, value) for name, value in self.scalars.items()}
        object.__setattr__(self, "scalars", scalars)
        for what, named in (
            ("dtypes", self.slot_dtypes),
            ("kinds", self.slot_kinds),
            ("codecs", self.slot_codecs),
        ):
            _check_slots(what, named, self.slots)
        for slot, dtype in self.slot_dtypes.items():
            if dtype != AUTO and not is_floating(as_dtype(dtype)):
                raise RuleError(
                    f"expected a floating dtype for the slot {slot!r}, got {dtype!r}; "
                    'use "auto", "float32" or "bfloat16"'
                )

    @classmethod
    def from_config(
        cls, formula: RuleFunction, config: Config, *, keep: Iterable[str] = (), **values: Any
    ) -> Self:
        """The rule of a formula whose arguments are bound by their names.

        Its positional parameters after `p` and `g` are the slots. Each keyword is a field of
        the config, or an item of a tuple: `betas` gives `beta1` and `beta2`. A field
        `<slot>_dtype` is the dtype of that slot, and `state_dtype` that of the others.

        Args:
            formula: the function.
            config: where its keywords are found.
            keep: which of its optional slots, those with None as default, there are. The others
                are None when the formula is called, and so is what it returns for them.
            values: keywords that are no field, or another value for one that is.

        Raises:
            RuleError: not the signature of a rule, or a scalar that the config does not have.

        >>> def descend(p, g, *, lr):
        ...     return (p - lr * g,)
        >>> Rule.from_config(descend, optim.SGDConfig(lr=0.5)).scalars
        {'lr': 0.5}
        """
        names = _arguments(formula)
        kinds: Mapping[str, Slot] = getattr(formula, _KINDS, {})
        values = {"state_dtype": AUTO, **_named_values(config), **values}
        for scalar in (*names.scalars, *(name for name, _ in names.choices)):
            if scalar not in values:
                raise RuleError(
                    f"{getattr(formula, '__name__', formula)}: expected each scalar to be a field "
                    f"of {type(config).__name__}, or an item of one as beta1 is of betas, got "
                    f"{scalar!r} beside the fields {', '.join(field_types(type(config)))}; correct "
                    "the name, or add the field"
                )
        slots = tuple(slot for slot in names.slots if slot not in names.optional or slot in keep)
        dtypes = {slot: values.get(f"{slot}_dtype", AUTO) for slot in slots}
        single = [slot for slot, kind in kinds.items() if kind.rank in (TENSOR, GROUP)]
        return cls(
            _variant(formula, slots, tuple((name, values[name]) for name, _ in names.choices)),
            slots=slots,
            scalars={scalar: values[scalar] for scalar in names.scalars},
            slot_dtypes={
                slot: values["state_dtype"] if dtype == AUTO and slot not in single else dtype
                for slot, dtype in dtypes.items()
            },
            slot_kinds={
                slot: Slot(kind.rank, _start(slot, kind, values, config), kind.exact)
                for slot, kind in kinds.items()
                if slot in slots
            },
        )

    @property
    def program(self) -> Program:
        """The rule as backends compile it, for a matrix; traced once for each shape of config."""
        return self.program_for(2)

    def program_for(
        self, ndim: int, varying: Iterable[str] = (), *, square: bool = True
    ) -> Program:
        """The program for parameters of so many axes; most rules have one for all.

        Args:
            ndim: how many.
            varying: the scalars that are not the same for all parameters of an optimizer.
            square: whether they have as many rows as columns.

        Raises:
            RuleError: the rule needs more axes, or square matrices.
        """
        if self.by_unit:
            ndim = min(ndim, 2)
        ranks = tuple((name, kind.rank) for name, kind in self.slot_kinds.items())
        own = tuple(name for name in self.scalars if name in varying)
        arguments = self.function, self.slots, (*self.scalars, "t"), ranks, own
        program = _traced(*arguments, 2)
        if ndim != 2 and (program.by_ndim or ndim < program.least_ndim):
            program = _traced(*arguments, ndim)
        else:
            ndim = 2
        if program.by_square and not square:
            _traced(*arguments, ndim, square=False)  # raises, and names the line
        if not self.slot_codecs:
            return program
        return _coded(*arguments, ndim, self._codecs, self.slot_seed)

    @property
    def _codecs(self) -> tuple[str, ...]:
        """The codec of each array of the program."""
        return ("", "", *(self.slot_codecs.get(slot, "") for slot in self.own_slots))

    def by_units(self) -> Rule:
        """The rule for what is to be around it and takes kernels as matrices."""
        own = self.own_axes or (not self.by_unit and self._asks_for_axes())
        return replace(self, by_unit=True, own_axes=own)

    def _asks_for_axes(self) -> bool:
        """Whether the formula reduces over rows or columns, or takes matrices."""
        if self.order is not None or any(
            x.rank in (ROWS, COLUMNS) for x in self.slot_kinds.values()
        ):
            return True
        try:
            operations = [op for op, _ in self.program.instructions]
        except RuleError:
            return False  # which is told of the parameter that it is for
        over = [op for op in operations if op in REDUCTIONS and REDUCTIONS[op][1] is not None]
        return bool(over) or any(matrix_function(op) for op in operations)

    def check_axes(self, shape: Shape) -> None:
        """Refuse a parameter of a shape that two parts of the rule would see in two ways.

        >>> held = optim.projected(optim.SGD.rule(optim.SGDConfig()), optim.UnitNorm())
        >>> optim.centralized(held).check_axes((8, 75))
        >>> optim.centralized(held).check_axes((8, 3, 5, 5))
        Traceback (most recent call last):
            ...
        born.errors.RuleError: expected a parameter of at most two axes, got the shape ...
        """
        if self.own_axes and len(shape) > 2 and (self.by_unit or self.order is not None):
            raise RuleError(
                "expected a parameter of at most two axes, got the shape "
                f"{shape}: a part of its rule sees that as a matrix, as centralized and "
                "clipped(adaptive=) do, or its axes in another order, and another part is about "
                "its own rows or columns, as UnitNorm and Adafactor are; leave one of them out, "
                "give UnitNorm as projections=[...], or make an optimizer for such parameters"
            )

    def seen(self, shape: Shape) -> Shape:
        """The shape of a parameter as the formula sees it.

        >>> plain = Rule(lambda p, g: (p - g,), slots=(), scalars={}, by_unit=True)
        >>> plain.seen((8, 3, 5, 5)), plain.seen((4,))
        ((8, 75), (4,))
        """
        if self.by_unit and len(shape) > 2:
            return shape[0], math.prod(shape[1:])
        return shape if self.order is None else tuple(shape[axis] for axis in self.order)

    def view(self, backend: Backend, raw: RawTensor) -> RawTensor:
        """A parameter, or an array of its shape, as the formula sees it: in the same memory."""
        if self.by_unit:
            return backend.reshape(raw, self.seen(raw.shape))
        return raw if self.order is None else backend.transpose(raw, self.order)

    def kind(self, slot: str) -> Slot:
        """The rank and the start of a slot."""
        return self.slot_kinds.get(slot, _PLAIN)

    @property
    def own_slots(self) -> tuple[str, ...]:
        """The slots that each parameter has for itself."""
        return tuple(slot for slot in self.slots if self.kind(slot).rank != GROUP)

    @property
    def group_slots(self) -> tuple[str, ...]:
        """The slots that all parameters share."""
        return tuple(slot for slot in self.slots if self.kind(slot).rank == GROUP)

    def scalars_at(self, t: int) -> dict[str, float]:
        """The values of the scalars in update t, and `t` itself."""
        values: dict[str, float] = {"t": t}
        for name, value in self.scalars.items():
            values[name] = number_of(name, value(t) if callable(value) else value)
        return values

    def slot_dtype(self, slot: str, parameter: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of a slot: the one asked for, or the parameter's, but at least float32.

        One number for a parameter or for all of them is float64, and what is coded, bytes.
        """
        if slot in self.slot_codecs:
            return as_dtype("uint8")
        wanted = self.slot_dtypes.get(slot, AUTO)
        if wanted != AUTO:
            return as_dtype(wanted)
        if self.kind(slot).rank in (TENSOR, GROUP):
            return as_dtype("float64")
        return float32 if parameter.itemsize < float32.itemsize else parameter


_Wrapper = TypeVar("_Wrapper", bound=Callable[..., Rule])


def from_rule(wrapper: _Wrapper) -> _Wrapper:
    """`wrapper`, a function from rule to rule, which refuses all but a rule."""

    @wraps(wrapper)
    def checked(rule: Rule, *args: Any, **options: Any) -> Rule:
        if not isinstance(cast("object", rule), Rule):
            name = getattr(wrapper, "__name__", "wrapper")
            raise type_error(
                "rule",
                "the rule of an optimizer",
                rule,
                f"give {name} to the optimizer: Adam(model, wrappers=[lambda rule: optim.{name}"
                "(rule, ...)])",
                RuleError,
            )
        return wrapper(rule, *args, **options)

    return cast("_Wrapper", checked)


def free_name(rule: Rule, name: str) -> str:
    """A name that neither a scalar nor a slot of a rule has: this one, or a longer one."""
    while name in (*rule.scalars, *rule.slots):
        name += "_"
    return name


def wrapping(function: RuleFunction, inner: RuleFunction) -> RuleFunction:
    """`function`, with other slots than the formula that it goes around, under its name."""
    named: Any = function
    named.__name__, named.__wrapped__ = getattr(inner, "__name__", "rule"), inner
    return function


_PLAIN: Final = Slot()
_KINDS: Final = "slot_kinds"  # the attribute of a formula that holds what its decorator was given


@overload
def rule(function: Callable[..., Any], /) -> Callable[..., Any]: ...
@overload
def rule(**kinds: Slot) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
def rule(function: Any = None, /, **kinds: Slot) -> Any:
    """Check at its definition that a function can be a rule; it stays a plain function.

    Its positional parameters are `p`, `g` and the slots, its keyword-only ones the
    scalars, with `t` among them if it wants the number of the update. A keyword whose default is
    a bool or a str is a *choice*, on which the formula may branch, and a slot whose default is
    None is *optional*: `Rule.from_config` takes the one from the config, and is told of the other.

    Args:
        function: the formula.
        kinds: slot -> its `Slot`, for those that are not arrays of the parameter's shape that
            start as zeros: `@optim.rule(row=optim.Slot("rows"))`.

    Raises:
        RuleError: it branches on a value, uses something that is not in `born.fusion`,
            keeps something from call to call, or returns the wrong number of values; the
            message names the line.

    >>> from born.fusion import sign
    >>> @rule
    ... def sign_descent(p, g, *, lr):
    ...     return (p - lr * sign(g),)
    """

    def checked(function: Callable[..., Any]) -> Callable[..., Any]:
        names = _arguments(function)
        _check_slots("kinds", kinds, names.slots)
        formula = _taking_t(_variant(function, names.slots, names.choices))
        ranks = tuple((name, kind.rank) for name, kind in kinds.items())
        _traced(formula, names.slots, (*names.scalars, "t"), ranks, (), 2)
        vars(function)[_KINDS] = dict(kinds)
        return function

    return checked if function is None else checked(function)


@cached
def _traced(
    function: RuleFunction,
    slots: tuple[str, ...],
    scalars: tuple[str, ...],
    ranks: tuple[tuple[str, str], ...],
    varying: tuple[str, ...],
    ndim: int,
    *,
    square: bool = True,
) -> Program:
    return trace(function, slots, scalars, dict(ranks), ndim, varying, square=square)


@cached
def _coded(
    function: RuleFunction,
    slots: tuple[str, ...],
    scalars: tuple[str, ...],
    ranks: tuple[tuple[str, str], ...],
    varying: tuple[str, ...],
    ndim: int,
    codecs: tuple[str, ...],
    seed: int,
) -> Program:
    # Numbers of parameters and the shift, scalars of a kernel, stay exact in float32.
    shift = mixed(seed) % _NUMBERS
    return _traced(function, slots, scalars, ranks, varying, ndim).with_codecs(codecs, shift)


_NUMBERS: Final = 2**23


def _check_slots(what: str, named: Mapping[str, Any], slots: tuple[str, ...]) -> None:
    for name, kind in named.items():
        if what == "kinds" and not isinstance(kind, Slot):
            raise type_error(
                f"the slot {name!r}", "a Slot", kind, f"write {name}=optim.Slot(...)", RuleError
            )
        if name not in slots:
            raise RuleError(
                f"expected {what} of the slots {', '.join(slots) or '(none)'}, got one "
                f"of {name!r}; correct its name"
            )


def _start(slot: str, kind: Slot, values: Mapping[str, Any], config: Config) -> float | str:
    """Where a slot starts, in numbers if a config gives them."""
    if not isinstance(kind.start, str) or kind.start == PARAMETER:
        return kind.start
    if kind.start not in values:
        raise RuleError(
            f"the slot {slot!r}: expected its start to be a number, 'p' or a field of "
            f"{type(config).__name__}, got {kind.start!r} beside the fields "
            f"{', '.join(field_types(type(config)))}; correct the name, or add the field"
        )
    return cast("float", _number(kind.start, value_at(values[kind.start], 1)))


def _number(name: str, value: object) -> Scalar:
    """A scalar as Python's number; with NumPy's, the host would compute in their precision."""
    if callable(value):
        return cast("Scalar", value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise type_error(f"the scalar {name!r}", "a number", value, "arrays are slots", RuleError)


def number_of(name: str, value: object) -> float:
    """The value of a scalar in one update, as Python's number."""
    return cast("float", _number(name, value))


def _signature(function: RuleFunction, *, follow_wrapped: bool = True) -> inspect.Signature:
    try:
        return inspect.signature(function, follow_wrapped=follow_wrapped)
    except (TypeError, ValueError) as error:
        raise RuleError(f"expected a rule with a signature, got {function!r}: {error}") from error


class _Arguments(NamedTuple):
    """The names of a rule's arguments: slots, those that are optional, scalars without `t`, and
    its choices, each with its default."""

    slots: tuple[str, ...]
    optional: tuple[str, ...]
    scalars: tuple[str, ...]
    choices: tuple[tuple[str, bool | str], ...]


@cached
def _arguments(function: RuleFunction) -> _Arguments:
    parameters = _signature(function).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arrays = [each.name for each in parameters if each.kind in positional]
    keywords = [each for each in parameters if each.kind is each.KEYWORD_ONLY]
    choices = [
        (each.name, each.default) for each in keywords if isinstance(each.default, bool | str)
    ]
    scalars = [each.name for each in keywords if not isinstance(each.default, bool | str)]
    optional = [
        each.name for each in parameters if each.kind in positional and each.default is None
    ]
    for each in parameters:
        if each.kind in positional and each.default not in (each.empty, None):
            raise RuleError(
                f"{definition_of(function)}: expected a slot without a default, or with None, got "
                f"{each.name}={each.default!r}; where a slot starts is said by "
                f"@optim.rule({each.name}=optim.Slot(start=...)), and a scalar comes after *"
            )
    if arrays[:2] != ["p", "g"] or "t" in arrays:
        raise RuleError(
            f"{definition_of(function)}: expected a rule (p, g, *slots, *, scalars, t), got the "
            f"arguments {[each.name for each in parameters]}; name the parameter p, its gradient "
            "g, and take scalars by keyword, t, the number of the update, among them"
        )
    return _Arguments(
        slots=tuple(arrays[2:]),
        optional=tuple(optional),
        scalars=tuple(name for name in scalars if name != "t"),
        choices=tuple(choices),
    )


@cached  # so that equal configs share one function, and so one program
def _variant(
    function: RuleFunction, slots: tuple[str, ...], choices: tuple[tuple[str, bool | str], ...]
) -> RuleFunction:
    """`function` with these slots alone and its choices made."""
    names, made = _arguments(function), dict(choices)
    if slots == names.slots and not made:
        return function

    @wraps(function)
    def formula(p: Any, g: Any, *arrays: Any, **scalars: Any) -> tuple[Any, ...]:
        given = dict(zip(slots, arrays, strict=True))
        outputs = function(p, g, *map(given.get, names.slots), **scalars, **made)
        return tuple([output for output in outputs if output is not None])

    signature = _signature(function)
    dropped = {*names.slots, *made} - {*slots}
    kept = [each for name, each in signature.parameters.items() if name not in dropped]
    kept = [each.replace(default=each.empty) for each in kept]
    vars(formula)["__signature__"] = signature.replace(parameters=kept)
    return formula


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
