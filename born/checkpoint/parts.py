"""The models and optimizers of a checkpoint: one of each, or several by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, cast

from born.backend import B, Backend
from born.checkpoint.document import ONLY
from born.errors import BackendMismatchError, OperandError
from born.nn import Module
from born.optim import Optimizer
from born.raw import RawTensor
from born.tensor import Tensor

Models: TypeAlias = "Module[B] | Mapping[str, Module[B]]"
"""A model, or several by name."""

Optimizers: TypeAlias = "Optimizer[B] | Mapping[str, Optimizer[B]]"
"""An optimizer, or several by name."""


class Stateful(Protocol):
    """What knows a position, such as a `born.data.DataLoader`: its state is of JSON types.

    If it has a method `check_state_dict(state)`, which lists the reasons why a state cannot be
    loaded, it is asked before anything changes.
    """

    def state_dict(self) -> Mapping[str, Any]:
        """The state."""
        ...

    def load_state_dict(self, state: Any, /) -> object:
        """Go on from a state, or raise and change nothing."""
        ...


_KINDS: Final = {"model": Module, "optimizer": Optimizer}


class Parts:
    """What is to be saved or loaded, checked: models and optimizers by name, and their backend.

    Raises:
        OperandError: something that is neither a module nor an optimizer, nor a mapping of such.
        BackendMismatchError: they are on more than one backend.
    """

    models: dict[str, Module[Any]]
    optimizers: dict[str, Optimizer[Any]]

    def __init__(self, model: Models[Any] | None, optimizer: Optimizers[Any] | None) -> None:
        self.models = _by_name("model", model)
        self.optimizers = _by_name("optimizer", optimizer)
        self.backend = _common_backend(self.models.values(), self.optimizers.values())

    def all(self) -> list[tuple[str, str]]:
        """The kind and the name of each."""
        optimizers = [("optimizer", name) for name in self.optimizers]
        return [*(("model", name) for name in self.models), *optimizers]

    def parameter_names(self, optimizer: Optimizer[Any]) -> list[str]:
        """The path in its model of each parameter of an optimizer; its name if it has no path."""
        paths: dict[RawTensor, str] = {}
        for name, model in self.models.items():
            for path, parameter in model.named_parameters():
                paths.setdefault(parameter.raw, within(name) + path)
        return [paths.get(p.raw, p.name) for p in optimizer.parameters]


def within(name: str) -> str:
    """What goes before the names inside of a model or an optimizer of this name."""
    return "" if name == ONLY else f"{name}."


def prefix(kind: str, name: str) -> str:
    """What the names of a part's tensors begin with.

    >>> prefix("model", ""), prefix("optimizer", "generator")
    ('model.', 'optimizer.generator.')
    """
    return f"{kind}.{within(name)}"


def label(kind: str, name: str) -> str:
    """What messages call a part."""
    return kind if name == ONLY else f"{kind} {name!r}"


def check_data(data: object) -> None:
    """Refuse what has no state to save."""
    if data is None or (hasattr(data, "state_dict") and hasattr(data, "load_state_dict")):
        return
    raise OperandError(
        "expected data with state_dict and load_state_dict, such as a born.data.DataLoader, got "
        f"{type(data).__name__}; put other things into metadata"
    )


def as_path(path: object) -> Path:
    """The path of a file."""
    if not isinstance(path, str | os.PathLike):
        raise OperandError(
            f"expected the path of a checkpoint as a str or Path, got {path!r}; pass the file"
        )
    return Path(cast("str | os.PathLike[str]", path))


def _by_name(kind: str, given: object) -> dict[str, Any]:
    """What was handed over, by name, or refused before anything is read or written."""
    if given is None:
        return {}
    expected = _KINDS[kind]
    article = f"an {expected.__module__.split('.')[1]}.{expected.__name__}"
    if isinstance(given, expected):
        return {ONLY: given}
    if not isinstance(given, Mapping):
        raise OperandError(
            f"expected {kind} to be {article}, got {type(given).__name__}; pass the {kind} "
            "itself, or several in a dict by name"
        )
    named = cast("Mapping[object, object]", given)
    for name, each in named.items():
        if not isinstance(name, str) or not name or "." in name:
            raise OperandError(
                f"expected names of {kind}s as strings that are not empty and have no dot, got "
                f"{name!r}; choose one such as 'generator'"
            )
        if not isinstance(each, expected):
            raise OperandError(
                f"expected {label(kind, name)} to be {article}, got {type(each).__name__}; pass "
                f"the {kind} itself"
            )
    return cast("dict[str, Any]", dict(named))


def _common_backend(
    models: Iterable[Module[Any]], optimizers: Iterable[Optimizer[Any]]
) -> Backend | None:
    """The one backend that computes for all, or None if there are no parameters."""
    held: list[Tensor[Any]] = [each for model in models for _, each in model.named_state()]
    held += [parameter for optimizer in optimizers for parameter in optimizer.parameters]
    backends = {id(inner): inner for inner in (p.backend.innermost for p in held)}
    if len(backends) > 1:
        raise BackendMismatchError(
            f"expected the model and the optimizer on one backend, whose random state belongs to "
            f"the checkpoint, got {', '.join(map(repr, backends.values()))}; "
            "make them on the same backend object"
        )
    return next(iter(backends.values()), None)
