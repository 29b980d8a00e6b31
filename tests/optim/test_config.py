"""Configs check themselves, and go to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from born import optim
from born.errors import BornError, ConfigError, ConfigTypeError
from born.optim import AdamConfig, Config, SGDConfig

RATES = st.floats(0.0, 1.0, exclude_max=True)
SIZES = st.floats(0.0, allow_infinity=False, allow_nan=False)

SGD_CONFIGS = st.builds(
    SGDConfig, lr=SIZES, momentum=RATES, dampening=st.floats(0.0, 1.0), weight_decay=SIZES
) | st.builds(
    SGDConfig,
    lr=SIZES,
    momentum=st.floats(0.0, 1.0, exclude_min=True, exclude_max=True),
    nesterov=st.just(True),
)
ADAM_CONFIGS = st.builds(
    AdamConfig,
    lr=SIZES,
    betas=st.tuples(RATES, RATES),
    eps=SIZES,
    weight_decay=SIZES,
    m_dtype=st.sampled_from(["auto", "float32", "bfloat16"]),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryKind(Config):
    lr: float = 1.0
    count: int = 2
    label: str = "a"
    flag: bool = False
    nested: tuple[tuple[float, int], str] = ((0.5, 1), "b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported(Config):
    lr: float = 1.0
    table: dict[str, float] = dataclasses.field(default_factory=dict[str, float])


# -- what is refused -----------------------------------------------------------------------

OUT_OF_RANGE: list[tuple[type[Config], dict[str, Any], str]] = [
    (SGDConfig, {"lr": -0.1}, r"SGDConfig\.lr: expected a float that is at least 0, got -0\.1"),
    (SGDConfig, {"momentum": -0.1}, r"SGDConfig\.momentum: .* at least 0 and below 1, got -0\.1"),
    (SGDConfig, {"momentum": 1.0}, r"SGDConfig\.momentum: .* at least 0 and below 1, got 1\.0"),
    (SGDConfig, {"dampening": 1.5}, r"SGDConfig\.dampening: .* at most 1, got 1\.5"),
    (SGDConfig, {"weight_decay": -1.0}, r"SGDConfig\.weight_decay: .* got -1\.0"),
    (AdamConfig, {"lr": -1e-3}, r"AdamConfig\.lr: .* got -0\.001"),
    (AdamConfig, {"betas": (1.0, 0.9)}, r"AdamConfig\.betas\[0\]: .* below 1, got 1\.0"),
    (AdamConfig, {"betas": (0.9, -0.1)}, r"AdamConfig\.betas\[1\]: .* got -0\.1"),
    (AdamConfig, {"betas": (0.9,)}, r"AdamConfig\.betas: expected 2 values, got 1"),
    (AdamConfig, {"betas": (0.9, 0.99, 0.999)}, r"AdamConfig\.betas: expected 2 values, got 3"),
    (AdamConfig, {"eps": -1e-8}, r"AdamConfig\.eps: .* got -1e-08"),
    (AdamConfig, {"weight_decay": -1e-9}, r"AdamConfig\.weight_decay: .* got -1e-09"),
    (
        SGDConfig,
        {"nesterov": True},
        r"nesterov: expected momentum above 0 .* got momentum=0\.0 and dampening=0\.0; set",
    ),
    (
        SGDConfig,
        {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
        r"nesterov: .* dampening of 0, got momentum=0\.9 and dampening=0\.1; set",
    ),
]

WRONG_TYPE: list[tuple[type[Config], dict[str, Any], str]] = [
    (SGDConfig, {"lr": "0.1"}, r"SGDConfig\.lr: expected a number, got '0\.1' of type str"),
    (SGDConfig, {"lr": True}, r"SGDConfig\.lr: expected a number, got True of type bool"),
    (SGDConfig, {"lr": None}, r"SGDConfig\.lr: expected a number, got None"),
    (SGDConfig, {"lr": 1j}, r"SGDConfig\.lr: expected a number, got 1j"),
    (SGDConfig, {"lr": np.zeros(2)}, r"SGDConfig\.lr: expected a number, got array"),
    (SGDConfig, {"nesterov": 1}, r"SGDConfig\.nesterov: expected a bool, got 1 of type int"),
    (AdamConfig, {"betas": 0.9}, r"AdamConfig\.betas: expected 2 values in a tuple, got 0\.9"),
    (AdamConfig, {"betas": "ab"}, r"AdamConfig\.betas: expected 2 values in a tuple, got 'ab'"),
    (AdamConfig, {"betas": (0.9, False)}, r"AdamConfig\.betas\[1\]: expected a number, got False"),
    (EveryKind, {"count": 2.0}, r"EveryKind\.count: expected an int, got 2\.0"),
    (EveryKind, {"count": True}, r"EveryKind\.count: expected an int, got True"),
    (EveryKind, {"label": 3}, r"EveryKind\.label: expected a str, got 3"),
    (EveryKind, {"nested": ((0.5, 1.5), "b")}, r"EveryKind\.nested\[0\]\[1\]: expected an int"),
    (Unsupported, {}, r"Unsupported\.table: expected the type of a field to be float"),
]


@pytest.mark.parametrize(("config", "values", "message"), OUT_OF_RANGE)
def test_value_out_of_range_is_refused(
    config: type[Config], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config(**values)
    assert not isinstance(caught.value, ConfigTypeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("config", "values", "message"), WRONG_TYPE)
def test_value_of_the_wrong_type_is_refused(
    config: type[Config], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigTypeError, match=message) as caught:
        config(**values)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
@pytest.mark.parametrize("config", [SGDConfig, AdamConfig])
def test_number_that_is_not_finite_is_refused_in_every_field(
    config: type[Config], value: float
) -> None:
    numbers = [f.name for f in dataclasses.fields(config) if f.type not in ("bool", "SlotDType")]
    assert numbers
    for name in numbers:
        values: dict[str, Any] = {name: (value, 0.9) if name == "betas" else value}
        with pytest.raises(ConfigError, match=rf"{name}.*: expected a finite number, got -?\w+;"):
            config(**values)


def test_every_message_says_what_to_do() -> None:
    for config, values, _ in OUT_OF_RANGE + WRONG_TYPE:
        with pytest.raises(BornError, match=r"expected .*got .*; \w+"):
            config(**values)


# -- what is taken -------------------------------------------------------------------------


def test_defaults_are_those_of_pytorch() -> None:
    assert SGDConfig() == SGDConfig(
        lr=0.01, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0
    )
    assert AdamConfig() == AdamConfig(lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)


@pytest.mark.parametrize("lr", [1, np.float32(1.0), np.float64(1.0), np.int64(1)])
def test_number_of_another_kind_becomes_a_float(lr: Any) -> None:
    taken = SGDConfig(lr=lr).lr
    assert taken == 1.0
    assert type(taken) is float


def test_list_becomes_a_tuple() -> None:
    betas: Any = [0, 0.5]
    assert AdamConfig(betas=betas).betas == (0.0, 0.5)


def test_config_is_frozen_slotted_and_keyword_only() -> None:
    config: Any = SGDConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.lr = 1.0
    assert not hasattr(config, "__dict__")
    positional: Any = SGDConfig
    with pytest.raises(TypeError, match="positional"):
        positional(0.1)


def test_equal_configs_have_equal_hashes() -> None:
    assert hash(AdamConfig(lr=1)) == hash(AdamConfig(lr=1.0))
    assert AdamConfig(lr=1.0) != AdamConfig(lr=2.0)


def test_replace_checks_what_it_changes() -> None:
    config = SGDConfig(momentum=0.9)
    assert config.replace(lr=1) == SGDConfig(lr=1.0, momentum=0.9)
    with pytest.raises(ConfigError, match=r"SGDConfig\.lr"):
        config.replace(lr=-1)
    with pytest.raises(ConfigError, match="'rate' is unknown"):
        config.replace(rate=1)


# -- JSON ----------------------------------------------------------------------------------


@given(SGD_CONFIGS | ADAM_CONFIGS)
def test_json_gives_back_the_same_config(config: Config) -> None:
    text = json.dumps(config.to_json(), allow_nan=False)
    assert type(config).from_json(json.loads(text)) == config


def test_json_gives_back_every_kind_of_field() -> None:
    config = EveryKind(lr=0.1, count=7, label="é", flag=True, nested=((0.1, 3), "c"))
    assert EveryKind.from_json(json.loads(json.dumps(config.to_json()))) == config


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
def test_json_that_does_not_fit_is_refused(
    data: Any, error: type[ConfigError], message: str
) -> None:
    with pytest.raises(error, match=message):
        SGDConfig.from_json(data)


def test_every_config_is_public() -> None:
    configs = {name for name in optim.__all__ if name.endswith("Config")}
    assert configs == {"Config", "SGDConfig", "AdamConfig"}
