"""`Config`: an optimizer's settings, checked when it is made, and written to JSON."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import numbers
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    ParamSpec,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from typing_extensions import override

from born.errors import ConfigError, ConfigTypeError, DTypeError
from born.raw import FLOATING_NAMES, as_dtype, is_floating

P = ParamSpec("P")
R = TypeVar("R")

AUTO: Final = "auto"
"""The dtype of a slot that follows its parameter's."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The range of a number, written beside its type: `Annotated[float, Interval(0)]`.

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
        return self.low <= value <= self.high and not (self.open_at_high and value == self.high)

    def __repr__(self) -> str:
        parts: list[str] = []
        if self.low > -math.inf:
            parts.append(f"at least {self.low:g}")
        if self.high < math.inf:
            parts.append(f"{'below' if self.open_at_high else 'at most'} {self.high:g}")
        return " and ".join(parts) or "of any size"

    def check(self, where: str, value: float) -> None:
        """Refuse a value outside; the error begins with `where`."""
        if value not in self:
            raise ConfigError(
                f"{where}: expected {'an int' if isinstance(value, int) else 'a float'} that is "
                f"{self}, got {value!r}; choose a value in that range"
            )


class FloatingDType:
    """`"auto"`, or the name of a floating dtype; written beside `str`, as `Interval` is."""

    def check(self, where: str, value: str) -> None:
        """Refuse any other string; the error begins with `where`."""
        try:
            if value == AUTO or is_floating(as_dtype(value)):
                return
        except DTypeError as error:
            if value in FLOATING_NAMES:  # only the package that defines it is missing
                raise ConfigError(f"{where}: {error}") from error
        raise ConfigError(
            f'{where}: expected "auto" or the name of a floating dtype, got {value!r}; '
            'use "auto", "float32" or "bfloat16"'
        )


NonNegative: TypeAlias = Annotated[float, Interval(0.0)]
"""A float of at least 0."""

UnitInterval: TypeAlias = Annotated[float, Interval(0.0, 1.0)]
"""A float in [0, 1]."""

DecayRate: TypeAlias = Annotated[float, Interval(0.0, 1.0, open_at_high=True)]
"""A float in [0, 1): how much of a running average is kept. At 1 it would never forget."""

SlotDType: TypeAlias = Annotated[str, FloatingDType()]
"""The dtype of a state slot: `"auto"`, or a name such as `"bfloat16"`."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The base of every optimizer's config: frozen, keyword-only, checked when it is made.

    A subclass is a dataclass with `frozen`, `slots` and `kw_only`. Its fields are floats,
    ints, bools, strings, or tuples of these; a string below a field documents it, and
    `help` shows it. The type is checked, a float has to be finite, and
    `Annotated[float, Interval(...)]` bounds it. An int is taken for a float, a list for a
    tuple; a bool is not a number. Rules between fields go into `check`.

    Every optimizer has a learning rate `lr`, so that `Optimizer.lr` can change it.

    Raises:
        ConfigError: a value outside its range, or not finite.
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

    __slots__: ClassVar[Iterable[str]] = ()  # a field's slot is the subclass's, as its text is

    lr: float

    def __init_subclass__(cls) -> None:
        slots: Iterable[str] | None = vars(cls).get("__slots__")
        if slots is not None:
            cls.__slots__ = _FieldDocs(cls, slots)

    def __post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
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
        _check_names(type(self), changes, required=())
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """The config as JSON types: its fields, and its class name under `"type"`.

        Floats keep all their digits: `from_json` gives back an equal config.
        """
        values = {name: _as_json(getattr(self, name)) for name in field_types(type(self))}
        return {"type": type(self).__name__, **values}

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
        _check_names(cls, values, required=field_types(cls))
        return cls(**values)


def cached(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, called once for each argument; what was made for one step only is let go."""
    return cast("Callable[P, R]", functools.lru_cache(maxsize=1024)(function))


@cached  # resolving them costs more than a small step, before which `lr` may be set
def field_types(cls: type[Config]) -> dict[str, Any]:
    """The fields of a config class in order, each with its type, `Annotated` kept."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


class _FieldDocs(dict[str, str]):
    """Field -> the string below it in the class; read from the source when it is asked for.

    As the `__slots__` of a class it is where `help` and `inspect.getdoc` look.
    """

    def __init__(self, cls: type[Config], fields: Iterable[str]) -> None:
        super().__init__(dict.fromkeys(fields, ""))
        self._cls = cls

    @override
    def __getitem__(self, name: str) -> str:
        source = ast.parse(textwrap.dedent(inspect.getsource(self._cls)))
        for field, below in itertools.pairwise(cast("ast.ClassDef", source.body[0]).body):
            if isinstance(field, ast.AnnAssign) and ast.unparse(field.target) == name:
                text = ast.literal_eval(below.value) if isinstance(below, ast.Expr) else ""
                return inspect.cleandoc(text)
        return ""


def _check_names(cls: type[Config], names: Iterable[str], required: Iterable[str]) -> None:
    fields = field_types(cls)
    mismatches = [f"{name!r} is missing" for name in sorted(set(required) - set(names))]
    mismatches += [f"{name!r} is unknown" for name in sorted(set(names) - set(fields), key=str)]
    if mismatches:
        raise ConfigError(
            f"{cls.__name__}: expected the fields {', '.join(fields)}, "
            f"but {'; '.join(mismatches)}; correct the names"
        )


def _as_json(value: object) -> object:
    if isinstance(value, tuple):
        return [_as_json(item) for item in cast("tuple[object, ...]", value)]
    return value


def _described(value: object) -> str:
    return f"{value!r} of type {type(value).__name__}"


_KINDS: Final[dict[object, tuple[Any, str, str]]] = {
    float: (numbers.Real, "a number", "pass a Python float"),
    int: (numbers.Integral, "an int", "pass a whole one"),
    bool: (bool, "a bool", "pass True or False"),
    str: (str, "a str", "quote it"),
}
"""The type of a field -> what is taken for it, what an error calls that, and its advice."""


def _checked(where: str, hint: Any, value: Any) -> Any:
    """`value` as the type that `hint` asks for, or an error that begins with `where`."""
    constraints: list[Any] = []
    if get_origin(hint) is Annotated:
        hint, *constraints = get_args(hint)
    if get_origin(hint) is tuple:
        return _checked_tuple(where, get_args(hint), value)
    if hint not in _KINDS:
        raise ConfigTypeError(
            f"{where}: expected the type of a field to be float, int, bool, str or a tuple of "
            f"these, got {hint!r}; born cannot check or save anything else"
        )
    kind, expected, advice = _KINDS[hint]
    if not isinstance(value, kind) or (isinstance(value, bool) and hint is not bool):
        raise ConfigTypeError(f"{where}: expected {expected}, got {_described(value)}; {advice}")
    value = _finite(where, value) if hint is float else int(value) if hint is int else value
    for constraint in constraints:
        constraint.check(where, value)
    return value


def _finite(where: str, value: Any) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{where}: expected a finite number, got {number}; pass a finite one")
    return number


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
