"""`Treatment`: how one parameter is updated, found from an optimizer's config and its groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypeAlias

from born.nn import Parameter
from born.optim.config import Config, UpdateConfig
from born.optim.groups import Group
from born.optim.rule import Rule


class Treatment(NamedTuple):
    """How one parameter is updated.

    Attributes:
        config: the settings that it follows, with those of its group.
        rule: what follows from them; equal ones are one object.
        group: the number of its group, or None.
        frozen: whether it stays as it is.
        after: what follows the rule once the parameter is projected.
    """

    config: Config
    rule: Rule
    group: int | None
    frozen: bool
    after: Rule | None = None


class Kind(Protocol):
    """What an optimizer's class says of its parameters."""

    def config_for(self, config: Any, parameter: Parameter[Any], /) -> Config:
        """The config that a parameter follows."""
        ...

    def rule_for(self, config: Any, parameter: Parameter[Any], /) -> Rule:
        """The rule of a parameter."""
        ...

    def has_one_rule(self) -> bool:
        """Whether a config gives all parameters the same rule."""
        ...


KindOf: TypeAlias = Callable[[Config], Kind]
"""The class of the optimizer that takes a config."""


def treatments(
    kind_of: KindOf,
    config: Config,
    groups: Sequence[Group],
    numbers: Sequence[int | None],
    parameters: Sequence[Parameter[Any]],
) -> list[Treatment]:
    """The treatment of each parameter, given the number of its group."""
    configs = _configs(kind_of, config, groups, numbers, parameters)
    rules = _Rules(kind_of, configs)
    return [
        Treatment(own, rules.of(own, p), number, number is not None and groups[number].freeze)
        for own, number, p in zip(configs, numbers, parameters, strict=True)
    ]


def _configs(
    kind_of: KindOf,
    config: Config,
    groups: Sequence[Group],
    numbers: Sequence[int | None],
    parameters: Sequence[Parameter[Any]],
) -> list[Config]:
    """The config of each parameter; where they come from the same, they are one object."""
    applied: dict[tuple[int | None, int], tuple[Config, Config]] = {}
    configs: list[Config] = []
    for number, parameter in zip(numbers, parameters, strict=True):
        group = None if number is None else groups[number]
        base = config if group is None or group.config is None else group.config
        chosen = kind_of(base).config_for(base, parameter)
        key = number, id(chosen)
        if key not in applied:
            applied[key] = chosen, chosen if group is None else group.applied(chosen)
        configs.append(applied[key][1])
    return configs


class _Rules:
    """The rules of configs, as few as they can be: those that are equal share their scalars."""

    def __init__(self, kind_of: KindOf, configs: Sequence[Config]) -> None:
        self._kind_of = kind_of
        self._found: list[Rule] = []
        self._of_all: dict[int, Rule] = {}
        distinct = {id(each): each for each in configs}.values()
        self._decays = {
            (type(each), each.decay): each.weight_decay
            for each in distinct
            if isinstance(each, UpdateConfig) and each.weight_decay != 0.0
        }

    def of(self, config: Config, parameter: Parameter[Any]) -> Rule:
        """The rule of a parameter with this config."""
        rule = self._of_all.get(id(config))
        if rule is None:
            kind = self._kind_of(config)
            rule = self._shared(self._made(kind, config, parameter))
            if kind.has_one_rule():
                self._of_all[id(config)] = rule
        return rule

    def _shared(self, rule: Rule) -> Rule:
        for other in self._found:
            if other == rule:
                return other
        self._found.append(rule)
        return rule

    def _made(self, kind: Kind, config: Config, parameter: Parameter[Any]) -> Rule:
        rule = kind.rule_for(config, parameter)
        if not isinstance(config, UpdateConfig) or config.weight_decay != 0.0:
            return rule
        decay = self._decays.get((type(config), config.decay))
        if decay is None:
            return rule
        # Beside parameters that decay: with their formula, and a decay of 0, one kernel does both.
        decaying = kind.rule_for(config.replace(weight_decay=decay), parameter)
        if decaying.slots != rule.slots:
            return rule
        scalars = {name: rule.scalars.get(name, 0.0) for name in decaying.scalars}
        return replace(decaying, scalars=scalars)
