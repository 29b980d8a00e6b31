"""Configs check themselves, and go to JSON and back."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import pydoc
import sys
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from born.errors import ConfigError, ConfigTypeError
from born.optim import AdamConfig, Config, Interval, SGDConfig
from born.optim.config import field_types
from born.optim.scalars import Scalar
from tests.optim.making import CONFIGS

OPTIONS: dict[str, Any] = {"frozen": True, "slots": True, "kw_only": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryKind(Config):
    lr: float = 1.0
    count: int = 2
    bounded: Annotated[int, Interval(1)] = 1
    label: str = "a"
    flag: bool = False
    nested: tuple[tuple[float, int], str] = ((0.5, 1), "b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported(Config):
    lr: float = 1.0
    table: dict[str, float] = dataclasses.field(default_factory=dict[str, float])


CONFIG_TYPES = tuple(dict.fromkeys(map(type, CONFIGS)))


def split(hint: Any) -> tuple[Any, Any]:
    """The type of a field without `Annotated`, and what bounds it, or None."""
    kind, *constraints = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    kind = float if kind == Scalar else kind
    return kind, next(iter(constraints), Interval() if kind in (int, float) else None)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """What a field of this type may hold."""
    kind, bounds = split(hint)
    if get_origin(kind) is tuple:
        return st.tuples(*map(values, get_args(kind)))
    if kind is float:
        low, high = max(bounds.low, -sys.float_info.max), min(bounds.high, sys.float_info.max)
        return st.floats(low, high, exclude_max=bounds.open_at_high)
    if kind is int:
        return st.integers(None if bounds.low == -math.inf else int(bounds.low))
    if kind is str:
        return st.sampled_from(["auto", "float32", "bfloat16"]) if bounds else st.text()
    return st.booleans()


@st.composite
def configs(draw: st.DrawFn) -> Config:
    config: Any = draw(st.sampled_from([*CONFIG_TYPES, EveryKind]))
    try:
        made: Config = config(**{name: draw(values(h)) for name, h in field_types(config).items()})
    except ConfigError:  # fields that do not go together
        reject()
    return made


@pytest.mark.parametrize("config", CONFIG_TYPES)
def test_every_number_is_finite_and_within_its_bounds(config: Any) -> None:
    for name, hint in field_types(config).items():
        default: Any = getattr(config(), name)
        items = get_args(hint) if get_origin(hint) is tuple else (hint,)
        for i, item in enumerate(items):
            kind, bounds = split(item)
            if kind is not float:
                continue
            outside = {bounds.low - 0.1, bounds.high + 0.1, bounds.high}
            outside -= {bounds.high} if not bounds.open_at_high else set()
            for value in (math.nan, math.inf, -math.inf, 10**400, *outside):
                chosen = (*default[:i], value, *default[i + 1 :]) if len(items) > 1 else value
                place = rf"{name}\[{i}\]" if len(items) > 1 else name
                message = rf"^{config.__name__}\.{place}: expected .* got -?[\w.]+; choose"
                with pytest.raises(ConfigError, match=message):
                    config(**{name: chosen})


REFUSED: list[tuple[type[Config], dict[str, Any], str]] = [
    (SGDConfig, {"lr": -0.1}, r"SGDConfig\.lr: expected a float that is at least 0, got -0\.1"),
    (SGDConfig, {"momentum": 1.0}, r"SGDConfig\.momentum: .* at least 0 and below 1, got 1\.0"),
    (SGDConfig, {"dampening": 1.5}, r"SGDConfig\.dampening: .* at most 1, got 1\.5"),
    (AdamConfig, {"betas": (0.9,)}, r"\.betas: expected 2 values in a tuple, got \(0\.9,\)"),
    (AdamConfig, {"betas": (0.9, 0.99, 0.999)}, r"\.betas: expected 2 .* \(0\.9, 0\.99, 0\.999\)"),
    (AdamConfig, {"m_dtype": "int32"}, r"AdamConfig\.m_dtype: expected \"auto\" or .* got 'int32'"),
    (EveryKind, {"bounded": 0}, r"\.bounded: expected an integer that is at least 1, got 0"),
    (
        SGDConfig,
        {"nesterov": True},
        r"nesterov: expected momentum above 0 .* got momentum=0\.0 and dampening=0\.0",
    ),
    (
        SGDConfig,
        {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
        r"nesterov: .* dampening of 0, got momentum=0\.9 and dampening=0\.1",
    ),
]

WRONG_TYPE: list[tuple[type[Config], dict[str, Any], str]] = [
    (SGDConfig, {"lr": "0.1"}, r"SGDConfig\.lr: expected a number, got '0\.1' of type str"),
    (SGDConfig, {"lr": True}, r"SGDConfig\.lr: expected a number, got True of type bool"),
    (SGDConfig, {"lr": None}, r"SGDConfig\.lr: expected a number, got None"),
    (SGDConfig, {"lr": 1j}, r"SGDConfig\.lr: expected a number, got 1j"),
    (SGDConfig, {"lr": np.zeros(2)}, r"SGDConfig\.lr: expected a number, got array"),
    (SGDConfig, {"nesterov": 1}, r"SGDConfig\.nesterov: expected True or False, got 1 of type int"),
    (AdamConfig, {"betas": 0.9}, r"AdamConfig\.betas: expected 2 values in a tuple, got 0\.9"),
    (AdamConfig, {"betas": "ab"}, r"AdamConfig\.betas: expected 2 values in a tuple, got 'ab'"),
    (AdamConfig, {"betas": (0.9, False)}, r"AdamConfig\.betas\[1\]: expected a number, got False"),
    (AdamConfig, {"m_dtype": 32}, r"AdamConfig\.m_dtype: expected a str, got 32"),
    (EveryKind, {"count": 2.0}, r"EveryKind\.count: expected an integer, got 2\.0"),
    (EveryKind, {"count": True}, r"EveryKind\.count: expected an integer, got True"),
    (EveryKind, {"label": 3}, r"EveryKind\.label: expected a str, got 3"),
    (EveryKind, {"nested": ((0.5, 1.5), "b")}, r"EveryKind\.nested\[0\]\[1\]: expected an integer"),
    (Unsupported, {}, r"Unsupported\.table: expected the type of a field to be float"),
]


@pytest.mark.parametrize(
    "case",
    [(ConfigError, *row) for row in REFUSED] + [(ConfigTypeError, *row) for row in WRONG_TYPE],
)
def test_what_a_field_cannot_hold_is_refused(case: Any) -> None:
    error, config, values, message = case
    with pytest.raises(ConfigError, match=rf"{message}.*; \w+") as caught:
        config(**values)
    assert type(caught.value) is error


def test_defaults_are_those_of_pytorch() -> None:
    assert SGDConfig() == SGDConfig(
        lr=0.01, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0
    )
    assert AdamConfig() == AdamConfig(lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)


@pytest.mark.parametrize("lr", [1, np.float32(1.0), np.float64(1.0), np.int64(1)])
def test_number_of_another_kind_becomes_a_float(lr: Any) -> None:
    taken = AdamConfig(lr=lr, betas=[0, 0.5])  # type: ignore[arg-type]  # and a list a tuple
    assert taken == AdamConfig(lr=1.0, betas=(0.0, 0.5))
    assert hash(taken) == hash(AdamConfig(lr=1.0, betas=(0.0, 0.5)))
    assert taken != AdamConfig(lr=2.0, betas=(0.0, 0.5))
    assert type(taken.lr) is float


def test_config_is_frozen_slotted_and_keyword_only() -> None:
    config: Any = SGDConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.lr = 1.0
    assert not hasattr(config, "__dict__")
    positional: Any = SGDConfig
    with pytest.raises(TypeError, match="positional"):
        positional(0.1)


def test_replace_checks_what_it_changes() -> None:
    config = SGDConfig(momentum=0.9)
    assert config.replace(lr=1) == SGDConfig(lr=1.0, momentum=0.9)
    with pytest.raises(ConfigError, match=r"SGDConfig\.lr"):
        config.replace(lr=-1)
    with pytest.raises(ConfigError, match="'rate' is unknown"):
        config.replace(rate=1)


@given(configs())
def test_json_gives_back_the_same_config(config: Config) -> None:
    text = json.dumps(config.to_json(), allow_nan=False)
    assert type(config).from_json(json.loads(text)) == config


def test_json_names_the_type_and_every_field() -> None:
    assert AdamConfig(lr=0.1).to_json() == {
        "type": "AdamConfig",
        "lr": 0.1,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.0,
        "m_dtype": "auto",
        "v_dtype": "auto",
    }


REFUSED_JSON: list[tuple[Any, type[ConfigError], str]] = [
    ([1, 2], ConfigTypeError, "expected a mapping of field names to values, got"),
    ({}, ConfigError, "expected 'type' to be 'SGDConfig', got None"),
    (AdamConfig().to_json(), ConfigError, "expected 'type' to be 'SGDConfig', got 'AdamConfig'"),
    ({"type": "SGDConfig", "lr": 0.1}, ConfigError, "'dampening' is missing; 'momentum' is miss"),
    (SGDConfig().to_json() | {"extra": 1}, ConfigError, "'extra' is unknown"),
    (SGDConfig().to_json() | {3: 1}, ConfigError, "3 is unknown"),
    (SGDConfig().to_json() | {"lr": "x"}, ConfigTypeError, r"SGDConfig\.lr: expected a number"),
    (SGDConfig().to_json() | {"lr": -1}, ConfigError, r"SGDConfig\.lr: expected a float"),
]


@pytest.mark.parametrize(("data", "error", "message"), REFUSED_JSON)
def test_json_that_does_not_fit(data: Any, error: type[ConfigError], message: str) -> None:
    with pytest.raises(error, match=message):
        SGDConfig.from_json(data)


@pytest.mark.parametrize("config", CONFIG_TYPES)
def test_every_field_is_documented_where_help_looks(config: type[Config]) -> None:
    shown = pydoc.plain(pydoc.render_doc(config)).replace(" |      ", "")
    for name in field_types(config):
        text = inspect.getdoc(getattr(config, name))
        assert text, name
        assert text in shown


def test_field_without_a_text_or_a_source_has_none() -> None:
    made = dataclasses.make_dataclass("Made", [("lr", float)], bases=(Config,), **OPTIONS)
    for config, field in ((EveryKind, "label"), (made, "lr")):
        assert inspect.getdoc(getattr(config, field)) == ""
