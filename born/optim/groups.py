"""`Group`: settings of their own for some of an optimizer's parameters."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from typing_extensions import override

from born import validation
from born.errors import ConfigError, ConfigTypeError, ParameterError
from born.nn import Module, Parameter
from born.optim.checks import label, pattern_remedy
from born.optim.config import Config, observe, value_as_json, value_from_json
from born.optim.fields import NonNegative, checker
from born.optim.scalars import Scalar
from born.optim.schedules import Product
from born.validation import flag, takes, type_error

Select: TypeAlias = (
    str | Callable[[str, Parameter[Any]], bool] | Parameter[Any] | Sequence[Parameter[Any]]
)
"""A pattern for names, a function of name and parameter, or the parameters themselves."""


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Group:
    """Parameters of an optimizer with settings of their own: `groups=[...]` in its constructor.

    A parameter belongs to one group at most; those in none follow the optimizer's config. State
    belongs to the parameter: it stays when the groups change. Groups whose settings are other
    numbers, or schedules, are updated by one kernel in one launch; others, such as SGD with
    momentum beside SGD without, have one each.

    Args:
        select: which parameters: a pattern for their names as of `fnmatch`, such as `"*.bias"`; a
            function of a name and a parameter; or a parameter, or a list of them. Names begin at
            the module whose `parameters()` were taken first: after `model.encoder.parameters()`
            they are without `encoder.`, also in an optimizer of the model.
        lr_scale: what their learning rate is multiplied by, a number or a schedule; it goes along
            when the optimizer's learning rate is set or scheduled.
        freeze: leave them as they are. Their gradients are checked, their state and their count of
            updates stay; `parameter.requires_grad = False` spares the gradients as well.
            State is there from the start, and saved, so that files fit frozen or thawed;
            `explain()` tells its memory. To spare it, leave them out, and `add_group` them later.
        config: the config of another optimizer, whose rule they follow: one optimizer, with one
            state.
        fields: of the optimizer's config, other values: `weight_decay=0.0`. Where an optimizer has
            a second config for some parameters, as `Muon` has, these are fields of it.

    Raises:
        ConfigTypeError: both a config and fields, or something that selects nothing.
        ConfigError: a scale below 0.

    An optimizer refuses a group that matches none of its parameters (`ParameterError`), two that
    match the same one, and fields that its config does not have or accept (`ConfigError`).

    >>> model = nn.Sequential(nn.Linear(3, 4, backend), nn.Linear(4, 2, backend))
    >>> slow, bare = optim.Group("0.weight", lr_scale=0.1), optim.Group("*.bias", weight_decay=0.0)
    >>> optimizer = optim.AdamW(model, lr=1e-3, groups=[slow, bare])
    >>> [optimizer.config_of(p).lr for p in model.parameters()]
    [0.0001, 0.001, 0.001, 0.001]
    """

    select: Select
    lr_scale: Scalar
    freeze: bool
    config: Config | None
    fields: Mapping[str, Any]

    def __init__(
        self,
        select: Select,
        *,
        lr_scale: Scalar = 1.0,
        freeze: bool = False,
        config: Config | None = None,
        **fields: Any,
    ) -> None:
        if config is not None and not isinstance(cast("object", config), Config):
            raise type_error(
                "Group.config", "a config", config, "write optim.AdamConfig(...)", ConfigError
            )
        if config is not None and fields:
            raise ConfigTypeError(
                f"expected a config or fields for a group, got both {config} and "
                f"{', '.join(fields)}; write config.replace({next(iter(fields))}=...)"
            )
        scale = _check_scale(lr_scale)
        values = (_selection(select), scale, flag("Group.freeze", freeze), config, dict(fields))
        for name, value in zip(_FIELDS, values, strict=True):
            object.__setattr__(self, name, value)

    def replace(self, **changes: Any) -> Group:
        """A copy with some of its settings changed.

        >>> optim.Group("head.*", freeze=True).replace(freeze=False, lr=0.1)
        Group('head.*', lr=0.1)
        """
        own = {name: getattr(self, name) for name in _FIELDS[:-1]}
        return Group(**{**own, **self.fields, **changes})

    def holds(self, name: str, parameter: Parameter[Any]) -> bool:
        """Whether a parameter is selected.

        >>> optim.Group("*.bias").holds("0.bias", nn.Parameter(born.zeros(3, backend)))
        True
        """
        if isinstance(self.select, str):
            return fnmatch.fnmatchcase(name, self.select)
        if self.listed:
            return any(each.raw is parameter.raw for each in self.listed)
        chosen: Any = self.select
        return bool(chosen(name, parameter))

    def applied(self, config: Config) -> Config:
        """A config with the fields of the group.

        >>> optim.Group("*", lr_scale=0.5, momentum=0.9).applied(optim.SGDConfig(lr=0.1))
        SGDConfig(lr=0.05, momentum=0.9)
        """
        changes = dict(self.fields)
        try:
            if self.lr_scale != 1.0:
                changes["lr"] = scaled(changes.get("lr", config.lr), self.lr_scale)
            return config.replace(**changes) if changes else config
        except ConfigError as error:
            error.add_note(f"from {self}")
            raise

    def moved(self, old: Sequence[Parameter[Any]], new: Sequence[Parameter[Any]]) -> Group:
        """The group for parameters that others, in the same order, have become."""
        if not isinstance(self.select, tuple):
            return self
        places = {p.raw: i for i, p in enumerate(old)}
        found = [places[p.raw] for p in self.listed]
        return self.replace(select=[new[i] for i in found if i < len(new)] or self.listed)

    def observed(self, metric: float) -> Group:
        """The group after its schedules have seen a metric; itself if none looks at one."""
        own: dict[str, Any] = {"lr_scale": self.lr_scale, **self.fields}
        if self.config is not None:
            own["config"] = self.config
        seen = {
            name: value.observed(metric, required=False)
            if isinstance(value, Config)
            else observe(value, metric)
            for name, value in own.items()
        }
        return self if all(seen[name] is own[name] for name in own) else self.replace(**seen)

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Group):
            return NotImplemented
        if any(getattr(self, name) != getattr(other, name) for name in _FIELDS[1:]):
            return False
        if self.listed or other.listed:  # parameters compare by element
            return [id(p.raw) for p in self.listed] == [id(p.raw) for p in other.listed]
        return bool(self.select == other.select)

    __hash__ = None  # type: ignore[assignment]  # it holds parameters, which have none

    @override
    def __repr__(self) -> str:
        shown = [self.selection]
        if self.lr_scale != 1.0:
            shown.append(f"lr_scale={self.lr_scale!r}")
        if self.freeze:
            shown.append("freeze=True")
        if self.config is not None:
            shown.append(f"config={self.config!r}")
        shown += [f"{name}={value!r}" for name, value in self.fields.items()]
        return f"Group({', '.join(shown)})"

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON types; of `select` only a pattern.

        >>> optim.Group("*.bias", weight_decay=0.0).to_json()["fields"]
        {'weight_decay': 0.0}
        """
        own = {
            name: value_as_json(getattr(self, name)) for name in ("lr_scale", "freeze", "config")
        }
        own["select"] = self.select if isinstance(self.select, str) else None
        return {**own, "fields": {n: value_as_json(value) for n, value in self.fields.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], select: Select, like: Group | None = None) -> Group:
        """The group of what `to_json` gave, and what it selects.

        Args:
            data: what json.loads returns.
            select: the parameters.
            like: where plain functions of t, of which JSON holds the names, are taken from.
        """
        near: dict[str, Any] = {}
        if like is not None:
            near = {"lr_scale": like.lr_scale, "config": like.config, **like.fields}
        fields: dict[str, Any] = {**data["fields"], "lr_scale": data["lr_scale"]}
        values = {n: value_from_json(f"Group.{n}", x, near.get(n)) for n, x in fields.items()}
        if data["config"] is not None:
            values["config"] = value_from_json("Group.config", data["config"], near.get("config"))
        return cls(select, freeze=data["freeze"], **values)

    @property
    def listed(self) -> tuple[Parameter[Any], ...]:
        """The parameters that it lists, if it selects by a list."""
        select: object = self.select
        return cast("tuple[Parameter[Any], ...]", select) if isinstance(select, tuple) else ()

    @property
    def selection(self) -> str:
        """What it selects, in words.

        >>> optim.Group("*.bias").selection
        "'*.bias'"
        """
        if isinstance(self.select, str):
            return repr(self.select)
        if isinstance(self.select, tuple):
            names = [each.name or "unnamed" for each in self.listed]
            return f"[{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}]"
        return getattr(self.select, "__qualname__", type(self.select).__qualname__)


_FIELDS: Final = ("select", "lr_scale", "freeze", "config", "fields")
_check_scale: Final = checker("Group.lr_scale", NonNegative)


def scaled(lr: Scalar, scale: Scalar) -> Scalar:
    """The product of two numbers or schedules."""
    if callable(lr) or callable(scale):
        return Product((lr, scale))
    return lr * scale


def checked_groups(groups: Iterable[Group]) -> tuple[Group, ...]:
    """The groups as a tuple; anything else is a `ConfigTypeError`."""
    if isinstance(cast("object", groups), Group | str) or not isinstance(
        cast("object", groups), Iterable
    ):
        raise ConfigTypeError(f"expected a list of groups, got {groups!r}; write groups=[...]")
    several = tuple(groups)
    for group in several:
        if not isinstance(cast("object", group), Group):
            raise ConfigTypeError(
                f"expected groups such as optim.Group('*.bias', weight_decay=0.0), got {group!r}; "
                "pass a list of them"
            )
    return several


def group_numbers(
    groups: Sequence[Group], parameters: Sequence[Parameter[Any]]
) -> list[int | None]:
    """The number of each parameter's group, or None.

    Raises:
        ParameterError: a group without parameters, or two with the same one.
    """
    numbers: list[int | None] = [None] * len(parameters)
    for number, group in enumerate(groups):
        _check_held(group, parameters)
        held = [i for i, p in enumerate(parameters) if group.holds(p.name, p)]
        if not held:
            raise ParameterError(
                f"expected {group} to match a parameter, got none among "
                f"{_listed(range(len(parameters)), parameters)}; "
                f"{pattern_remedy(group.select, parameters)}"
            )
        twice = [i for i in held if numbers[i] is not None]
        if twice:
            other = groups[cast("int", numbers[twice[0]])]
            both = [i for i in twice if groups[cast("int", numbers[i])] is other]
            raise ParameterError(
                f"expected every parameter in one group at most, got {other} and {group}, which "
                f"both match {_listed(both, parameters)}; narrow one of them, or make one group "
                "of what they have in common"
            )
        for i in held:
            numbers[i] = number
    return numbers


def _check_held(group: Group, parameters: Sequence[Parameter[Any]]) -> None:
    """Refuse a group that lists a parameter that is not there."""
    raws = {p.raw for p in parameters}
    for place, parameter in enumerate(group.listed):
        if parameter.raw not in raws:
            raise ParameterError(
                f"{group}: expected parameters of the optimizer, got {label(place, parameter)} of "
                "the list, which it does not hold; leave it out, or add it with add_group"
            )


def _listed(indices: Sequence[int], parameters: Sequence[Parameter[Any]]) -> str:
    named = ", ".join(
        repr(parameters[i].name) if parameters[i].name else label(i, parameters[i])
        for i in indices[:10]
    )
    return f"{named}, ..." if len(indices) > 10 else named


def _selection(select: object) -> Any:
    """What a group may select by; lists become tuples."""
    if isinstance(select, str):
        return select
    several = isinstance(select, list | tuple)
    items = cast("Sequence[object]", select) if several else [select]
    if items and all(isinstance(each, Parameter) for each in items):
        return tuple(cast("Sequence[Parameter[Any]]", items))
    kind = "a pattern, a function of (name, parameter), or a list of parameters"
    if isinstance(select, Module):
        remedy, module = "write Group(model.head.parameters())", cast("object", select)
        raise type_error("Group.select", kind, module, remedy, ConfigError)
    if callable(select) and not isinstance(select, type):
        if not takes(select, 2):
            remedy = "write lambda name, parameter: parameter.ndim < 2"
            raise type_error("Group.select", kind, select, remedy, ConfigError)
        return select
    raise type_error("Group.select", kind, select, "'*.bias' is a pattern", ConfigError)


def layerwise(model: Module[Any], decay: float = 0.8, groups: Sequence[Group] = ()) -> list[Group]:
    """Groups for fine-tuning: learning rates that shrink from the last layer to the first.

    The last layer has the scale 1, the one before `decay`, then `decay` squared, and so on. A layer
    is what lies under a number in the path of its parameters, as `blocks.0`, or where there is
    none, under the first name; layers come in the order in which the model lists them.

    Args:
        model: whose layers they are.
        decay: the factor from layer to layer, above 0 and at most 1.
        groups: settings that some parameters have besides; each is parted by layers, and its own
            `lr_scale` multiplied.

    Raises:
        ConfigError: a decay out of range.
        ParameterError: a group that matches nothing, or two that match the same parameter.

    Source: Clark, Luong, Le and Manning (2020), "ELECTRA: pre-training text encoders as
    discriminators rather than generators", appendix A.2.

    >>> model = nn.Sequential(nn.Linear(3, 4, backend), nn.Linear(4, 2, backend))
    >>> bare = optim.Group("*.bias", weight_decay=0.0)
    >>> for group in optim.layerwise(model, decay=0.5, groups=[bare]):
    ...     print(group)
    Group([0.weight], lr_scale=0.5)
    Group([0.bias], lr_scale=0.5, weight_decay=0.0)
    Group([1.weight])
    Group([1.bias], weight_decay=0.0)
    """
    decay = validation.number("decay", decay, low=0.0, high=1.0)
    if decay == 0.0:
        raise ConfigError("expected a decay above 0, got 0; freeze=True leaves layers as they are")
    if not isinstance(cast("object", model), Module):
        raise type_error(
            "model", "a module", model, "its paths tell layers apart; pass the model", ConfigError
        )
    named = model.named_parameters()
    parameters = [parameter for _, parameter in named]
    checked = checked_groups(groups)
    own = group_numbers(checked, parameters)
    layers = [_layer(path) for path, _ in named]
    order = {layer: depth for depth, layer in enumerate(dict.fromkeys(layers))}
    members: dict[tuple[int, int | None], list[Parameter[Any]]] = {}
    for layer, other, parameter in zip(layers, own, parameters, strict=True):
        members.setdefault((order[layer], other), []).append(parameter)
    made: list[Group] = []
    for (depth, other), held in members.items():
        scale = decay ** (len(order) - 1 - depth)
        if other is None:
            made.append(Group(held, lr_scale=scale))
        else:
            base = checked[other]
            made.append(base.replace(select=held, lr_scale=scaled(base.lr_scale, scale)))
    return made


def _layer(path: str) -> str:
    """The part of a parameter's path that names its layer."""
    parts = path.split(".")
    numbered = [place for place, part in enumerate(parts[:-1]) if part.isdigit()]
    return ".".join(parts[: numbered[0] + 1]) if numbered else parts[0]
