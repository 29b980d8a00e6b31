"""`Config`: an optimizer's settings, checked when it is made, and written to JSON."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import (
    Any,
    ClassVar,
    Final,
    ParamSpec,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    get_type_hints,
)

from typing_extensions import override

from born.errors import ConfigError
from born.optim.fields import (
    AUTO,
    Decay,
    FieldDocs,
    NonNegative,
    SlotDType,
    checker,
)
from born.optim.scalars import Scalar, scalars_in
from born.validation import type_error

Presets: TypeAlias = Mapping[str, Mapping[str, Any]]
"""System -> the fields of a config that are not born's defaults there."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Settings:
    """The base of configs and schedules: a frozen dataclass, checked when it is made.

    A subclass is a dataclass with `frozen` and `slots`. Its fields are floats, ints, bools,
    strings, `Literal`s of strings, any of these or None, or tuples of these; a string below a field
    documents it, and `help` shows it. A value of the wrong type is a `ConfigTypeError`, one that is
    not finite or outside of `Annotated[float, Interval(...)]` a `ConfigError`: `born.optim.fields`
    names the usual ranges. An int is taken for a float, a list for a tuple; a bool is not a number.
    Rules between fields go into `check`.
    """

    __slots__: ClassVar[Iterable[str]] = ()  # subclasses have the fields' slots and their texts

    takes_schedules: ClassVar[bool] = False
    """Whether a field of type float takes a function of t as well."""

    def __init_subclass__(cls) -> None:
        slots: Iterable[str] | None = vars(cls).get("__slots__")
        if slots is not None:
            cls.__slots__ = FieldDocs(cls, slots)
        if "__repr__" not in vars(cls):  # or `dataclass` would write one that shows every field
            cls.__repr__ = Settings.__repr__  # type: ignore[method-assign]  # the same again

    @override
    def __repr__(self) -> str:
        """lr and what differs from its default."""
        fields = [
            (each, getattr(self, each.name)) for each in dataclasses.fields(cast("Any", self))
        ]
        shown = [
            f"{each.name}={value!r}"
            for each, value in fields
            if each.name == "lr" or value != each.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __post_init__(self) -> None:
        for name, check in _checkers(type(self)).items():
            object.__setattr__(self, name, check(getattr(self, name)))
        self.check()

    def check(self) -> None:
        """Rules between fields, each of them valid by itself; raise `ConfigError` to refuse."""

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like a new one."""
        check_names(type(self), changes, required=())
        return cast("Self", dataclasses.replace(cast("Any", self), **changes))

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types, and the name of the class under `"type"`.

        Floats keep all their digits: `from_json` gives back an equal object. Of a plain function
        of t only the name is written.
        """
        values = {name: value_as_json(getattr(self, name)) for name in field_types(type(self))}
        return {"type": type(self).__name__, **values}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], like: Self | None = None) -> Self:
        """What `to_json` wrote; a field that is not there takes its default.

        So a file reads the same after born has learned another field, whose default is what
        it did before.

        Args:
            data: what json.loads returns.
            like: where plain functions of t, of which JSON holds the names, are taken from.
        """
        if not isinstance(cast("object", data), Mapping):
            kind, remedy = "a mapping of field names to values", "pass what json.loads returns"
            raise type_error(f"{cls.__name__}.from_json", kind, data, remedy, ConfigError)
        values = dict(data)
        name = values.pop("type", None)
        if name != cls.__name__:
            raise ConfigError(
                f"{cls.__name__}.from_json: expected 'type' to be {cls.__name__!r}, got {name!r}; "
                "read it with the class that wrote it"
            )
        check_names(cls, values, required=required_fields(cls))
        return cls(
            **{
                name: value_from_json(f"{cls.__name__}.{name}", value, getattr(like, name, None))
                for name, value in values.items()
            }
        )


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """The base of every optimizer's config: frozen, keyword-only, checked when it is made.

    A subclass is a dataclass with `frozen`, `slots` and `kw_only`; `Settings` says what its
    fields may be. Where a float is asked for, a schedule or any other function of the number of
    the update will do: it is checked at its landmarks when the config is made, and again in
    each step. Printed are lr and the fields that are not as they would be by default.

    >>> @dataclass(frozen=True, slots=True, kw_only=True)
    ... class LionConfig(Config):
    ...     lr: float = 1e-4
    ...     beta: float = 0.9
    >>> LionConfig(lr=1, beta=0.5)
    LionConfig(lr=1.0, beta=0.5)
    >>> LionConfig(lr=True)
    Traceback (most recent call last):
        ...
    born.errors.ConfigTypeError: LionConfig.lr: expected a number, got True of type bool; ...
    """

    __slots__: ClassVar[Iterable[str]] = ()

    takes_schedules: ClassVar[bool] = True

    presets: ClassVar[Presets] = {}
    """System -> the fields with which its optimizer of this name computes what it does there."""

    lr: Scalar
    """The learning rate, which every optimizer has, so that `Optimizer.lr` can change it."""

    @classmethod
    def like(cls, system: str, **fields: Any) -> Self:
        """The defaults and the arithmetic of another system, so that its numbers come out.

        Args:
            system: `"torch"`, `"optax"`, `"keras"`, ...: a key of `presets`.
            fields: what is to differ from that system's defaults.

        Raises:
            ConfigError: a system that does not have this optimizer, or that born does not know.

        >>> optim.AdamConfig.like("keras", lr=0.01).eps
        1e-07
        """
        if system not in cls.presets:
            raise ConfigError(
                f"{cls.__name__}.like: expected one of the systems with this optimizer, "
                f"{', '.join(map(repr, cls.presets)) or 'of which none is known'}, got {system!r}; "
                f"write {cls.__name__}(...) with the fields that you need"
            )
        check_names(cls, fields, required=())
        return cls(**{**cls.presets[system], **fields})

    @property
    def scheduled(self) -> tuple[str, ...]:
        """The fields that hold a function of t, by name.

        >>> optim.AdamConfig(lr=lambda t: 1 / t).scheduled
        ('lr',)
        """
        return tuple(n for n in field_types(type(self)) if scalars_in(getattr(self, n)))

    def schedule_checks(self) -> list[tuple[Callable[[Any], object], Any]]:
        """For each of `scheduled`, what refuses a value that it cannot hold, and the field."""
        checkers = _checkers(type(self))
        return [(checkers[name], getattr(self, name)) for name in self.scheduled]

    def observed(self, metric: float, *, required: bool = True) -> Self:
        """The config after its schedules have seen a metric, such as a validation loss.

        It is an error if none of them looks at one, as `schedules.Plateau` does, unless it is not
        `required`.
        """
        observed = {name: observe(getattr(self, name), metric) for name in self.scheduled}
        if all(value is getattr(self, name) for name, value in observed.items()):
            if not required:
                return self
            raise ConfigError(
                f"{type(self).__name__}: expected a schedule that observes a metric, got none in "
                f"{self}; pass for example lr=schedules.Plateau(0.1)"
            )
        return self.replace(**observed)


@dataclass(frozen=True, kw_only=True)
class UpdateConfig(Config):
    """The base of born's own configs: what can be said of every optimizer.

    >>> optim.SGDConfig(weight_decay=0.1, decay="decoupled").to_json()["decay"]
    'decoupled'
    """

    __slots__: ClassVar[Iterable[str]] = ()  # as above

    weight_decay: NonNegative = 0.0
    """How fast weights are pulled towards 0, to fit noise less; `decay` says in which way."""
    decay: Decay = "l2"
    """`"l2"` adds weight_decay · p to the gradient, which is then scaled and averaged like the
    rest of it; `"decoupled"` takes lr · weight_decay · p from p beside the update; `"independent"`
    takes weight_decay · p, whatever lr is."""
    maximize: bool = False
    """Go up along the gradient instead of down."""
    state_dtype: SlotDType = AUTO
    """The dtype of all slots that have no field of their own, such as `"bfloat16"`."""


def cached(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`function`, called once for each argument, with room for 1,024 results."""
    return cast("Callable[_P, _R]", functools.lru_cache(maxsize=1024)(function))


@cached
def field_types(cls: type[Settings]) -> dict[str, Any]:
    """The fields of a config class in order, each with its type, `Annotated` kept."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in _fields(cls)}


@cached  # `lr` may be set before each step, and resolving types would cost more than the step
def _checkers(cls: type[Settings]) -> dict[str, Callable[[Any], Any]]:
    return {
        name: checker(f"{cls.__name__}.{name}", hint, scheduled=cls.takes_schedules)
        for name, hint in field_types(cls).items()
    }


def required_fields(cls: type[Settings]) -> list[str]:
    """The fields of a config class that have no default."""
    missing = dataclasses.MISSING
    fields = _fields(cls)
    return [f.name for f in fields if f.default is missing and f.default_factory is missing]


def _fields(cls: type[Settings]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cast("Any", cls))


def check_names(cls: type[Settings], names: Iterable[str], required: Iterable[str]) -> None:
    """Refuse names that are not fields of a config class, and required fields without one."""
    fields = field_types(cls)
    mismatches = [f"{name!r} is missing" for name in sorted(set(required) - set(names))]
    mismatches += [f"{name!r} is unknown" for name in sorted(set(names) - set(fields), key=str)]
    if mismatches:
        raise ConfigError(
            f"{cls.__name__}: expected the fields {', '.join(fields)}, "
            f"but {'; '.join(mismatches)}; correct the names"
        )


def observe(value: object, metric: float) -> object:
    """The value of a field after a metric was seen: the same object where none looks at it."""
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        observed = tuple(observe(item, metric) for item in items)
        same = all(new is old for new, old in zip(observed, items, strict=True))
        return items if same else observed
    successor = getattr(value, "observed", None)
    return value if successor is None else successor(metric)


def value_as_json(value: Any) -> object:
    """The value of a field as JSON types."""
    if isinstance(value, tuple):
        return [value_as_json(item) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, Settings):
        return value.to_json()
    if callable(value):
        return {"type": _FUNCTION, "name": _name_of(value)}
    return value


def value_from_json(where: str, value: Any, like: Any) -> Any:
    """What `value_as_json` made JSON of; plain functions of t are taken from `like`."""
    if isinstance(value, list):
        items = cast("list[object]", value)
        likes = cast("tuple[object, ...]", like) if isinstance(like, tuple) else ()
        return tuple(
            value_from_json(f"{where}[{i}]", item, likes[i] if i < len(likes) else None)
            for i, item in enumerate(items)
        )
    if not isinstance(value, dict):
        return value
    data = cast("dict[str, object]", value)
    kind: Any = data.get("type")
    if kind == _FUNCTION:
        if callable(like) and _name_of(like) == data.get("name"):
            return like
        raise ConfigError(
            f"{where}: expected {data.get('name')}, a function that JSON holds only the name of, "
            f"got {like!r} to take it from; make the optimizer with the function, or pass a config "
            "that has it as from_json(data, like=config)"
        )
    if kind not in KINDS:
        raise ConfigError(
            f"{where}: expected one of {', '.join(KINDS)}, got type {kind!r}; import the module "
            "that defines it first"
        )
    cls = KINDS[kind]
    return cls.from_json(data, like if isinstance(like, cls) else None)


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


_FUNCTION: Final = "function"

KINDS: Final[dict[str, type[Settings]]] = {}
"""What a field may hold besides numbers, by the name under `"type"`: the schedules."""
