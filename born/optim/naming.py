"""Optimizers by name, for experiments that are described in files and on command lines."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from born.backend import B
from born.errors import ConfigError
from born.nn import Module, Parameter
from born.optim import (
    adafactor,
    adagrad,
    adam,
    adamax,
    adan,
    ademamix,
    adopt,
    asgd,
    belief,
    muon,
    nadam,
    prodigy,
    radam,
    rmsprop,
    schedule_free,
    sgd,
    sign,
    trust,
)
from born.optim.config import Config, check_names, field_types, required_fields
from born.optim.optimizer import Optimizer
from born.validation import type_error

_FAMILIES = (
    *(adafactor, adagrad, adam, adamax, adan, ademamix, adopt, asgd, belief),
    *(muon, nadam, prodigy, radam, rmsprop, schedule_free, sgd, sign, trust),
)


def _defined() -> Iterator[type[Optimizer[Any, Any]]]:
    for family in _FAMILIES:
        for value in vars(family).values():
            own = isinstance(value, type) and value.__module__ == family.__name__
            if own and issubclass(value, Optimizer):
                yield value


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


OPTIMIZERS: Mapping[str, type[Optimizer[Any, Any]]] = {
    _plain(each.__name__): each for each in sorted(_defined(), key=lambda c: _plain(c.__name__))
}
"""Name in lower case -> the optimizer."""


def names() -> list[str]:
    """The names of all optimizers, as `create` takes them.

    >>> optim.names()[:4]
    ['adabelief', 'adadelta', 'adafactor', 'adagrad']
    """
    return list(OPTIMIZERS)


def create(
    optimizer: str | Config, parameters: Module[B] | Iterable[Parameter[B]], **fields: Any
) -> Optimizer[B, Any]:
    """An optimizer by its name, or by its config.

    Args:
        optimizer: a name; upper case, hyphens and underscores do not matter; or a config.
        parameters: what to train: a model, or parameters.
        fields: of the config, its defaults where they are not given, or changes to the one given;
            and keywords of the optimizer, such as `groups`.

    Raises:
        ConfigError: no optimizer of that name, or a field that it does not have.

    >>> p = nn.Parameter(born.zeros(3, backend))
    >>> optim.create("adamw", [p], lr=0.01)
    AdamW(1 parameter, AdamWConfig(lr=0.01))
    >>> optim.create("adamv", [p])
    Traceback (most recent call last):
        ...
    born.errors.ConfigError: expected the name of an optimizer, got 'adamv'; did you mean adam...
    """
    if isinstance(optimizer, Config):
        own, others = _parted(type(optimizer), fields)
        made = _of_config(type(optimizer).__name__)
        return made(parameters, optimizer.replace(**own), **others)
    if not isinstance(cast("object", optimizer), str):
        raise type_error(
            "optimizer", "a name or a config", optimizer, '"adamw" is one', ConfigError
        )
    named = OPTIMIZERS.get(_plain(optimizer))
    if named is None:
        close = difflib.get_close_matches(_plain(optimizer), OPTIMIZERS)
        remedy = f"did you mean {' or '.join(close)}?" if close else f"one of {', '.join(names())}"
        raise ConfigError(f"expected the name of an optimizer, got {optimizer!r}; {remedy}")
    own, others = _parted(named.config_type, fields)
    check_names(named.config_type, own, required_fields(named.config_type))
    return named(parameters, named.config_type(**own), **others)


def _parted(config: type[Config], given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of an optimizer: the fields of its config, and the others."""
    fields = field_types(config)
    keywords = {name for name in given if name not in fields and name in _KEYWORDS}
    own = {name: value for name, value in given.items() if name not in keywords}
    return own, {name: given[name] for name in keywords}


_KEYWORDS = {
    name
    for name, each in inspect.signature(cast("Any", Optimizer).__init__).parameters.items()
    if each.kind is each.KEYWORD_ONLY
}


def from_config(data: Mapping[str, Any]) -> Config:
    """The config that `Config.to_json` has written, of any optimizer.

    Raises:
        ConfigError: no optimizer has a config of that type, or a field is wrong.

    >>> optim.from_config({"type": "LionConfig", "lr": 0.01})
    LionConfig(lr=0.01)
    """
    named: object = data.get("type") if isinstance(cast("object", data), Mapping) else None
    if not isinstance(named, str):
        raise ConfigError(
            f"expected a mapping with the name of a config under 'type', got {data!r}; pass what "
            "config.to_json() gave"
        )
    return _of_config(named).config_type.from_json(data)


def _of_config(name: str) -> type[Optimizer[Any, Any]]:
    """The optimizer that takes the config of this name."""
    made = OPTIMIZERS.get(_plain(name.removesuffix("Config")))
    if made is None or made.config_type.__name__ != name:
        raise ConfigError(
            f"expected the config of one of {', '.join(names())}, got a {name}; read and use it by "
            "the class that defines it"
        )
    return made
