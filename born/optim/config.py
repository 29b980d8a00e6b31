"""`Config`: what an optimizer is told, checked when it is made, and written to JSON."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Final,
    Self,
    TypeAlias,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from born.errors import ConfigError, ConfigTypeError


@dataclass(frozen=True, slots=True)
class Interval:
    """The range of a float field, written beside its type: `Annotated[float, Interval(0)]`.

    Args:
        low: the least value allowed.
        high: the bound above.
        open_at_high: whether `high` itself is refused.

    >>> Interval(0.0, 1.0, open_at_high=True)
    at least 0 and below 1
    """

    low: float = -math.inf
    high: float = math.inf
    open_at_high: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether `value` lies in the range."""
        below = value < self.high if self.open_at_high else value <= self.high
        return self.low <= value and below

    def __repr__(self) -> str:
        parts: list[str] = []
        if self.low > -math.inf:
            parts.append(f"at least {self.low:g}")
        if self.high < math.inf:
            parts.append(f"{'below' if self.open_at_high else 'at most'} {self.high:g}")
        return " and ".join(parts) or "of any size"


NonNegative: TypeAlias = Annotated[float, Interval(0.0)]
"""A float of at least 0."""

UnitInterval: TypeAlias = Annotated[float, Interval(0.0, 1.0)]
"""A float in [0, 1]."""

DecayRate: TypeAlias = Annotated[float, Interval(0.0, 1.0, open_at_high=True)]
"""A float in [0, 1): how much of a running average is kept. At 1 it would never forget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The base of every optimizer's config: frozen, keyword-only, checked when it is made.

    A subclass is a dataclass with the same three options. Its fields are floats,
    ints, bools, strings, or tuples of these; the type is checked, a float has to be
    finite, and `Annotated[float, Interval(...)]` bounds it. An int is taken for a
    float, a list for a tuple; a bool is not a number. Rules between fields go into
    `check`.

    Args:
        lr: the learning rate. Every optimizer has one, so that `Optimizer.lr` can
            change it.

    Raises:
        ConfigError: a value outside of its range, or not finite.
        ConfigTypeError: a value of the wrong type.

    >>> from typing import Annotated
    >>> @dataclass(frozen=True, slots=True, kw_only=True)
    ... class LionConfig(Config):
    ...     lr: Annotated[float, Interval(0.0)] = 1e-4
    ...     beta: float = 0.9
    >>> LionConfig(lr=1)
    LionConfig(lr=1.0, beta=0.9)
    >>> LionConfig(lr=-1)
    Traceback (most recent call last):
        ...
    born.errors.ConfigError: LionConfig.lr: expected a float that is at least 0, got -1.0; ...
    """

    lr: float

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            value = _checked(f"{type(self).__name__}.{name}", hint, getattr(self, name))
            # The one write to a frozen instance, before anybody else sees it.
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Rules between fields, each of them valid by itself; raise `ConfigError` to refuse."""

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like a new one.

        Raises:
            ConfigError: no such field, or a value that is refused.
        """
        _expect_fields(type(self), set(changes), may_be_missing=True)
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """The config as JSON types: its fields, and its class name under `"type"`.

        Floats keep all their digits: `from_json` gives back an equal config.
        """
        values: dict[str, Any] = {"type": type(self).__name__}
        for name in _hints(type(self)):
            value: object = getattr(self, name)
            values[name] = _listed(value)
        return values

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The config that `to_json` wrote; every field has to be there, and no other.

        Args:
            data: what `json.loads` gives for it.

        Raises:
            ConfigError: a key that is missing or unknown, another class's config, or a
                value that is refused.
        """
        if not isinstance(cast("object", data), Mapping):
            raise ConfigTypeError(
                f"{cls.__name__}.from_json: expected a mapping of field names to values, "
                f"got {_described(data)}; pass what json.loads returns"
            )
        values = dict(data)
        kind = values.pop("type", None)
        if kind != cls.__name__:
            raise ConfigError(
                f"{cls.__name__}.from_json: expected 'type' to be {cls.__name__!r}, got {kind!r}; "
                "read it with the class that wrote it"
            )
        _expect_fields(cls, set(values), may_be_missing=False)
        return cls(**values)


_hints_of: Final[dict[type[Config], dict[str, Any]]] = {}


def _hints(cls: type[Config]) -> dict[str, Any]:
    """The fields of a config class in order, each with its type, `Annotated` kept."""
    # Resolving them costs more than a small optimizer's step, and `Optimizer.lr` is set in each.
    if cls not in _hints_of:
        hints = get_type_hints(cls, include_extras=True)
        _hints_of[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return _hints_of[cls]


def _expect_fields(cls: type[Config], names: set[str], *, may_be_missing: bool) -> None:
    fields = set(_hints(cls))
    missing = set[str]() if may_be_missing else fields - names
    problems = [f"{name!r} is missing" for name in sorted(missing)]
    problems += [f"{name!r} is unknown" for name in sorted(names - fields, key=str)]
    if problems:
        raise ConfigError(
            f"{cls.__name__}: expected the fields {', '.join(_hints(cls))}, "
            f"but {'; '.join(problems)}; correct the names"
        )


def _listed(value: object) -> object:
    if isinstance(value, tuple):
        return [_listed(item) for item in cast("tuple[object, ...]", value)]
    return value


def _described(value: object) -> str:
    return f"{value!r} of type {type(value).__name__}"


def _checked(where: str, hint: Any, value: object) -> object:
    """`value` as the type that `hint` asks for, or an error that begins with `where`."""
    interval: Interval | None = None
    if get_origin(hint) is Annotated:
        hint, interval = get_args(hint)
    if get_origin(hint) is tuple:
        return _checked_tuple(where, get_args(hint), value)
    checker = _CHECKERS.get(hint)
    if checker is None:
        raise ConfigTypeError(
            f"{where}: expected the type of a field to be float, int, bool, str or a tuple of "
            f"these, got {hint!r}; born cannot check or save anything else"
        )
    return checker(where, interval, value)


def _checked_tuple(where: str, hints: tuple[Any, ...], value: object) -> tuple[object, ...]:
    if not isinstance(value, tuple | list):
        raise ConfigTypeError(
            f"{where}: expected {len(hints)} values in a tuple, got {_described(value)}; "
            "write them as (a, b)"
        )
    items = cast("tuple[object, ...] | list[object]", value)
    if len(items) != len(hints):
        raise ConfigError(
            f"{where}: expected {len(hints)} values, got {len(items)}: {items!r}; "
            f"pass exactly {len(hints)}"
        )
    pairs = zip(hints, items, strict=True)
    return tuple(_checked(f"{where}[{i}]", hint, item) for i, (hint, item) in enumerate(pairs))


def _checked_float(where: str, interval: Interval | None, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigTypeError(
            f"{where}: expected a number, got {_described(value)}; pass a Python float"
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{where}: expected a finite number, got {number}; pass a finite one")
    if interval is not None and number not in interval:
        raise ConfigError(
            f"{where}: expected a float that is {interval}, got {number!r}; "
            "choose a value in that range"
        )
    return number


def _checked_int(where: str, _: Interval | None, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ConfigTypeError(
            f"{where}: expected an int, got {_described(value)}; pass a whole one"
        )
    return int(value)


def _checked_bool(where: str, _: Interval | None, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigTypeError(
            f"{where}: expected a bool, got {_described(value)}; pass True or False"
        )
    return value


def _checked_str(where: str, _: Interval | None, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigTypeError(f"{where}: expected a str, got {_described(value)}; quote it")
    return value


_CHECKERS: Final[dict[object, Callable[[str, Interval | None, object], object]]] = {
    float: _checked_float,
    int: _checked_int,
    bool: _checked_bool,
    str: _checked_str,
}
