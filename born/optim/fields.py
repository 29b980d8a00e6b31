"""What a field of a config may hold, and how `help` finds its documentation."""

from __future__ import annotations

import ast
import inspect
import itertools
import math
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, cast, get_args, get_origin

from typing_extensions import override

from born.dtypes import FLOATING_NAMES, as_dtype, is_floating
from born.errors import ConfigError, ConfigTypeError, DTypeError
from born.optim.scalars import Scalar, value_at
from born.validation import flag, integer, number, takes, type_error

AUTO: Final = "auto"
"""The dtype of a slot that follows its parameter's."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The range of a number, written beside its type: `Annotated[float, Interval(0)]`.

    It contains `low` unless `open_at_low`, and `high` unless `open_at_high`.

    >>> Interval(0.0, 1.0, open_at_high=True)
    at least 0 and below 1
    """

    low: float = -math.inf
    high: float = math.inf
    open_at_high: bool = False
    open_at_low: bool = False

    def __contains__(self, value: float) -> bool:
        is_left_out = (self.open_at_high and value == self.high) or (
            self.open_at_low and value == self.low
        )
        return self.low <= value <= self.high and not is_left_out

    def __repr__(self) -> str:
        parts: list[str] = []
        if self.low > -math.inf:
            parts.append(f"{'above' if self.open_at_low else 'at least'} {self.low:g}")
        if self.high < math.inf:
            parts.append(f"{'below' if self.open_at_high else 'at most'} {self.high:g}")
        return " and ".join(parts) or "of any size"

    def check(self, where: str, value: float) -> None:
        """Refuse a value outside; the error begins with `where`."""
        if value not in self:
            kind = "an integer" if isinstance(value, int) else "a float"
            raise ConfigError(
                f"{where}: expected {kind} that is {self}, got {value!r}; "
                "choose a value in that range"
            )


@dataclass(frozen=True, slots=True)
class OneOf:
    """The strings that a field may hold: `Annotated[str, OneOf(("cosine", "linear"))]`.

    >>> OneOf(("cosine", "linear"))
    "cosine" or "linear"
    """

    options: tuple[str, ...]

    def __repr__(self) -> str:
        *others, last = (f'"{option}"' for option in self.options)
        return f"{', '.join(others)} or {last}" if others else last

    def check(self, where: str, value: str) -> None:
        """Refuse any other string; the error begins with `where`."""
        if value not in self.options:
            raise ConfigError(
                f'{where}: expected {self}, got {value!r}; "{self.options[0]}" is usual'
            )


class _FloatingDType:
    def check(self, where: str, value: str) -> None:
        try:
            if value == AUTO or is_floating(as_dtype(value)):
                return
        except DTypeError as error:
            if value in FLOATING_NAMES:  # the package that defines it is missing
                raise ConfigError(f"{where}: {error}") from error
        raise ConfigError(
            f'{where}: expected "auto" or the name of a floating dtype, got {value!r}; '
            'use "auto", "float32" or "bfloat16"'
        )


NonNegative: TypeAlias = Annotated[Scalar, Interval(0.0)]
"""A float of at least 0, or a schedule of such."""

Positive: TypeAlias = Annotated[Scalar, Interval(0.0, open_at_low=True)]
"""A float above 0, or a schedule of such."""

UnitInterval: TypeAlias = Annotated[Scalar, Interval(0.0, 1.0)]
"""A float in [0, 1], or a schedule of such."""

DecayRate: TypeAlias = Annotated[Scalar, Interval(0.0, 1.0, open_at_high=True)]
"""A float in [0, 1), or a schedule of such: how much of a running average is kept. At 1 it would
never forget."""

SlotDType: TypeAlias = Annotated[str, _FloatingDType()]
"""The dtype of a state slot: `"auto"`, or the name of a floating one."""

Decay: TypeAlias = Literal["l2", "decoupled", "independent"]
"""How weights decay: by the gradient, by lr · weight_decay, or by weight_decay alone."""


class FieldDocs(dict[str, str]):
    """The `__slots__` of a config, where `help` looks: each field's text, read when asked for."""

    def __init__(self, cls: type, fields: Iterable[str]) -> None:
        super().__init__(dict.fromkeys(fields, ""))
        self._cls = cls

    @override
    def __getitem__(self, name: str) -> str:
        return next(filter(None, (_text_below(name, cls) for cls in self._cls.__mro__)), "")


def _text_below(name: str, cls: type) -> str:
    """The string below a field in the body of a class, or nothing."""
    try:
        source = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, SyntaxError, TypeError):  # as for a class typed at a prompt
        return ""
    for field, below in itertools.pairwise(cast("ast.ClassDef", source.body[0]).body):
        if isinstance(field, ast.AnnAssign) and ast.unparse(field.target) == name:
            text = getattr(getattr(below, "value", None), "value", "")
            return inspect.cleandoc(text) if isinstance(text, str) else ""
    return ""


def checker(where: str, hint: Any, *, scheduled: bool = False) -> Callable[[Any], Any]:
    """From a value to what a field of this type holds; its errors begin with `where`.

    A field of type `Scalar` takes functions of t as well, as does one of type float if `scheduled`.
    """
    kind, *constraints = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(kind) is Literal:
        return partial(_checked_choice, where, get_args(kind))
    if get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind):
        other: Any = Union[tuple(each for each in get_args(kind) if each is not NoneType)]  # noqa: UP007  # of a tuple
        return partial(_checked_optional, checker(where, other, scheduled=scheduled))
    if hasattr(kind, "from_json"):
        return partial(_checked_instance, where, kind)
    if get_origin(kind) is tuple:
        item, *rest = get_args(kind)
        if rest == [Ellipsis]:
            return partial(_checked_items, where, item, scheduled)
        hints = enumerate((item, *rest))
        items = [checker(f"{where}[{i}]", each, scheduled=scheduled) for i, each in hints]
        return partial(_checked_tuple, where, items)
    takes_functions = kind == Scalar or (scheduled and kind is float)
    kind = float if kind == Scalar else kind
    if kind not in _CHECKS:
        raise ConfigTypeError(
            f"{where}: expected the type of a field to be float, int, bool, str, a Literal of "
            f"strings, one of these or None, or a tuple of these, got {kind!r}; born cannot check "
            "or save anything else"
        )

    def checked(value: object) -> object:
        if takes_functions and callable(value):
            return _checked_function(where, value, checked)
        result = _CHECKS[kind](where, value)
        for constraint in constraints:
            constraint.check(where, result)
        return result

    return checked


def _checked_function(where: str, function: Any, check: Callable[[Any], Any]) -> Any:
    """A function of t whose values a field may hold, as far as can be told beforehand."""
    if isinstance(function, type):
        raise ConfigTypeError(
            f"{where}: expected a number or a function of t, got the class {function.__name__}; "
            "make an object of it"
        )
    if not takes(function, 1):
        raise ConfigTypeError(
            f"{where}: expected a number or a function of t, got {function!r}, which cannot be "
            "called with one argument; write lambda t: ..."
        )
    for t in getattr(function, "landmarks", (1,)):
        checked_at(check, function, t)
    return function


def checked_at(
    check: Callable[[Any], Any], value: Any, t: int, at: Callable[[Any, int], Any] = value_at
) -> Any:
    """The value of a field in update number t, checked; items of a tuple each for itself.

    What a scalar is in that update, `at` knows.
    """
    try:
        if isinstance(value, tuple):
            return check(tuple(at(item, t) for item in cast("tuple[object, ...]", value)))
        return check(at(value, t))
    except Exception as error:
        error.add_note(f"from {value!r} in update t = {t}")
        raise


@dataclass(frozen=True, slots=True)
class _CheckedFunction:
    """A function of t whose every value is checked."""

    where: str
    hint: Any
    function: Callable[[int], float]

    def __call__(self, t: int) -> float:
        value: float = checked_at(checker(self.where, self.hint), self.function, t)
        return value


def checked_scalar(where: str, hint: Any, value: Any) -> Scalar:
    """A number of this type, or a schedule, which is checked in every update.

    The schedules of a config are checked by the config.
    """
    checked: Scalar = checker(where, hint)(value)
    return _CheckedFunction(where, hint, checked) if callable(checked) else checked


def _checked_items(where: str, hint: Any, scheduled: bool, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, tuple | list):
        raise type_error(where, "a tuple", values, "write it as (a, b, ...)", ConfigError)
    items = enumerate(cast("list[object]", values))
    return tuple(checker(f"{where}[{i}]", hint, scheduled=scheduled)(item) for i, item in items)


def _checked_tuple(where: str, items: list[Callable[[Any], Any]], values: Any) -> tuple[Any, ...]:
    is_sequence = isinstance(cast("object", values), tuple | list)
    if not is_sequence or len(values) != len(items):
        error = ConfigError if is_sequence else ConfigTypeError
        raise error(
            f"{where}: expected {len(items)} values in a tuple, got {values!r} of type "
            f"{type(values).__name__}; write them as (a, b)"
        )
    return tuple([check(item) for check, item in zip(items, values, strict=True)])


def _checked_choice(where: str, choices: tuple[object, ...], value: object) -> object:
    is_named = isinstance(value, str)
    if not is_named or value not in choices:
        listed = ", ".join(map(repr, choices))
        if not is_named:
            raise type_error(where, f"one of {listed}", value, "choose one", ConfigError)
        raise ConfigError(f"{where}: expected one of {listed}, got {value!r}; choose one of them")
    return value


def _checked_instance(where: str, kind: type, value: object) -> object:
    if not isinstance(value, kind):
        what, remedy = f"a {kind.__name__}", f"write {kind.__name__}(...)"
        raise type_error(where, what, value, remedy, ConfigError)
    return value


def _checked_optional(check: Callable[[Any], Any], value: object) -> object:
    return None if value is None else check(value)


def _text(where: str, value: object) -> str:
    if not isinstance(value, str):
        raise type_error(where, "a str", value, "quote it", ConfigError)
    return value


_CHECKS: Final[dict[object, Callable[[str, object], object]]] = {
    float: number,
    int: partial(integer, least=None),
    bool: flag,
    str: _text,
}
