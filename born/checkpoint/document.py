"""What a checkpoint says beside its tensors: which models and optimizers it holds, and whose
each tensor is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from born.raw import Shape

_T = TypeVar("_T")

ONLY = ""
"""The name of a model or an optimizer that was handed over by itself, and not in a mapping."""


@dataclass(frozen=True, slots=True)
class SavedParameter:
    """A parameter of an optimizer. Version 1 told its name only, which may be empty."""

    name: str
    shape: Shape | None = None
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class SavedGroup:
    """A group of an optimizer: its settings as `Group.to_json` gave them, and the indices of its
    parameters."""

    settings: dict[str, Any]
    members: Sequence[int]

    @classmethod
    def from_json(cls, data: object, count: int) -> SavedGroup:
        """What the file says of a group, of an optimizer with so many parameters."""
        settings = _typed(data, dict[str, Any])
        members = [_typed(each, int) for each in _typed(settings.pop("members"), list[Any])]
        if not all(0 <= each < count for each in members):
            raise TypeError
        return cls(settings, members)


@dataclass(frozen=True, slots=True)
class SavedOptimizer:
    """An optimizer.

    Attributes:
        kind: the name of its class.
        config: as `Config.to_json` gave it.
        parameters: in its order.
        owners: key of its state dict -> the index of the parameter it belongs to; None for what
            belongs to all.
        groups: in its order; None in files from before there were any.
    """

    kind: str
    config: dict[str, Any]
    parameters: Sequence[SavedParameter]
    owners: Mapping[str, int | None]
    groups: Sequence[SavedGroup] | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "type": self.kind,
            "config": self.config,
            "parameters": [
                {"name": p.name, "shape": list(p.shape or ()), "dtype": p.dtype}
                for p in self.parameters
            ],
            "owners": dict(self.owners),
            "groups": [
                {**group.settings, "members": list(group.members)} for group in self.groups or ()
            ],
        }

    @classmethod
    def from_json(cls, data: object) -> SavedOptimizer:
        """What the file says; `TypeError` or `KeyError` if it is something else."""
        entries = _typed(data, dict[str, Any])
        parameters = [
            SavedParameter(
                _typed(p["name"], str),
                tuple(_typed(length, int) for length in _typed(p["shape"], list[Any])),
                _typed(p["dtype"], str),
            )
            for p in _typed(entries["parameters"], list[Any])
        ]
        owners = _typed(entries["owners"], dict[str, Any])
        for owner in owners.values():
            if owner is not None and not 0 <= _typed(owner, int) < len(parameters):
                raise TypeError
        config = _typed(entries["config"], dict[str, Any])
        kind, groups = _typed(entries["type"], str), entries.get("groups")
        if groups is not None:
            count = len(parameters)
            groups = [SavedGroup.from_json(each, count) for each in _typed(groups, list[Any])]
        return cls(kind, config, parameters, owners, groups)


@dataclass(frozen=True, slots=True)
class Document:
    """All that is said beside the tensors.

    Attributes:
        models: name -> the name of its class.
        optimizers: name -> what is known of it.
        random_state: of the backend, if there is one.
        metadata: the caller's own.
        data: the position in the data, if it was saved.
        number: of the save, counted by a `Store`; 0 without one.
    """

    models: Mapping[str, str]
    optimizers: Mapping[str, SavedOptimizer]
    random_state: dict[str, Any] | None
    metadata: dict[str, Any]
    data: dict[str, Any] | None = None
    number: int = 0

    def names(self, kind: str) -> Sequence[str]:
        """The names of the models, or of the optimizers."""
        return list(self.models if kind == "model" else self.optimizers)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "models": dict(self.models),
            "optimizers": {name: o.to_json() for name, o in self.optimizers.items()},
            "random_state": self.random_state,
            "metadata": self.metadata,
            "data": self.data,
            "number": self.number,
        }

    @classmethod
    def from_json(cls, version: int, data: Mapping[str, Any], tensors: Iterable[str]) -> Document:
        """What a file with these tensors says; `TypeError` or `KeyError` if it is something else.

        Of version 1 the keys of tensors say whose they are.
        """
        state, metadata = data["random_state"], _typed(data["metadata"], dict[str, Any])
        if state is not None:
            state = _typed(state, dict[str, Any])
        if version == 1:
            optimizers_1 = _optimizers_1(data["optimizer"], tensors)
            return cls(_models_1(data["model"]), optimizers_1, state, metadata)
        models = _typed(data["models"], dict[str, Any])
        position = data.get("data")
        optimizers = _typed(data["optimizers"], dict[str, Any])
        return cls(
            {name: _typed(kind, str) for name, kind in models.items()},
            {name: SavedOptimizer.from_json(each) for name, each in optimizers.items()},
            state,
            metadata,
            None if position is None else _typed(position, dict[str, Any]),
            _typed(data.get("number", 0), int),
        )


def _models_1(data: object) -> dict[str, str]:
    """The model of a file of version 1."""
    return {} if data is None else {ONLY: _typed(_typed(data, dict[str, Any])["type"], str)}


def _optimizers_1(data: object, tensors: Iterable[str]) -> dict[str, SavedOptimizer]:
    """The optimizer of a file of version 1, whose keys end in the index of their owner."""
    if data is None:
        return {}
    entries = _typed(data, dict[str, Any])
    names = [_typed(name, str) for name in _typed(entries["parameters"], list[Any])]
    config = _typed(entries["config"], dict[str, Any])
    parameters = [SavedParameter(name) for name in names]
    keys = [each.removeprefix(_STATE_1) for each in tensors if each.startswith(_STATE_1)]
    owners: dict[str, int | None] = {key: int(key.rpartition(".")[2]) for key in keys}
    if not all(owner in range(len(names)) for owner in owners.values()):
        raise TypeError
    return {ONLY: SavedOptimizer(_typed(entries["type"], str), config, parameters, owners)}


_STATE_1: Final = "optimizer."


def _typed(value: object, kind: type[_T]) -> _T:
    """`value`, which JSON gave as this type; a bool is not an int."""
    origin: type = getattr(kind, "__origin__", kind)
    if type(value) is not origin:
        raise TypeError
    return cast("_T", value)
