"""The driver: which parameters change, how, and what is refused."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest

import born
from born import optim
from born.autodiff import backward
from born.backend import Backend
from born.errors import ConfigError, ConfigTypeError
from tests.optim.making import (
    assert_unchanged,
    contents,
    every_config,
    gradients,
    loss_of,
    make,
    make_model,
    parameter,
    step,
    two,
)


@every_config
def test_updates_in_place_and_counts_it(config: optim.Config, backend: Backend) -> None:
    parameters = two(backend)
    optimizer = make(config, parameters)
    before = [(p.raw, p.raw.array, p.numpy()) for p in parameters]
    for _ in range(2):  # the first of ADOPT moves nothing
        step(optimizer)
    for p, (raw_before, array, old) in zip(parameters, before, strict=True):
        assert (p.numpy() < old).all()  # the gradients are positive
        assert p.raw is raw_before
        assert p.raw.array is array
    assert optimizer.timestep == 2
    counts = {k: x.item() for k, x in optimizer.state_dict().items() if k.startswith("t.")}
    assert counts == {"t.0": 2, "t.1": 2}


@every_config
@pytest.mark.parametrize("frozen", [True, False])
def test_only_what_has_a_gradient_moves(config: Any, frozen: bool, backend: Backend) -> None:
    parameters = two(backend)
    optimizer = make(config, parameters)
    step(optimizer)
    parameters[1].requires_grad = not frozen
    before = contents(optimizer)
    optimizer.step(gradients(parameters if frozen else parameters[:1]))
    after = contents(optimizer)
    changed = {key for key in after if after[key].tobytes() != before[key].tobytes()}
    assert {"p.0", "t.0"} <= changed
    assert not any(key.endswith(".1") for key in changed)
    assert optimizer.timestep == 2


@every_config
def test_late_parameter_moves_as_if_it_were_alone(config: optim.Config, backend: Backend) -> None:
    if isinstance(config, optim.ProdigyConfig):
        pytest.skip("Prodigy's parameters share one estimate")
    parameters, alone = two(backend), [parameter(0.5, backend)]
    optimizer, optimizer_alone = make(config, parameters), make(config, alone)
    optimizer.step(gradients(parameters[:1]))
    for _ in range(3):
        step(optimizer)
        step(optimizer_alone)
    assert parameters[1].numpy().tobytes() == alone[0].numpy().tobytes()


@every_config
def test_no_gradient_at_all_changes_nothing(config: optim.Config, backend: Backend) -> None:
    optimizer = make(config, two(backend))
    before = contents(optimizer)
    optimizer.step()
    optimizer.step({})
    assert_unchanged(optimizer, before)


@every_config
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_state_is_at_least_float32(config: optim.Config, dtype: str, backend: Backend) -> None:
    p = parameter([1.0, 2.0], backend, dtype=dtype)
    optimizer = make(config, [p])
    for _ in range(2):
        step(optimizer, 0.5)
    assert p.dtype.name == dtype
    kept = dtype if dtype == "float64" else "float32"  # halves keep precise state
    state = {key: x.dtype.name for key, x in optimizer.state_dict().items()}
    own = {name for key, name in state.items() if not key.startswith("t.")}
    assert own <= {kept, "float64"}  # in which one number for a parameter is
    assert (p.numpy() < np.array([1.0, 2.0])).all()


@pytest.mark.parametrize(
    ("options", "most"),
    [({}, 60), ({"max_norm": 1.0}, 190)],
    ids=str,
)
@pytest.mark.parametrize("of_autodiff", [True, False])
def test_a_step_makes_few_calls(options: dict[str, Any], most: int, of_autodiff: bool) -> None:
    autodiff, model = make_model(born.get_backend("numpy"))
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig())

    def gradients() -> Any:
        with autodiff.tape:
            loss = loss_of(model, autodiff)
        return backward(loss) if of_autodiff else dict(backward(loss))

    optimizer.step(gradients(), **options)
    ready, calls = gradients(), list[str]()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call":  # of a function in Python
            calls.append(frame.f_code.co_qualname)

    sys.setprofile(count)
    try:
        optimizer.step(ready, **options)
    finally:
        sys.setprofile(None)
    assert len(optimizer.parameters) == 4
    assert len(calls) <= most, calls


@every_config
def test_map_and_accumulated_gradients_agree(config: optim.Config, backend: Backend) -> None:
    results: list[list[bytes]] = []
    for accumulate in (False, True):
        autodiff, model = make_model(backend)
        optimizer = make(config, model.parameters())
        for _ in range(3):
            with autodiff.tape:
                loss = loss_of(model, autodiff)
            if accumulate:
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            else:
                optimizer.step(backward(loss))
        results.append([p.numpy().tobytes() for p in model.parameters()])
    assert results[0] == results[1]


def test_retained_results_are_passed_over_and_steps_not_recorded(backend: Backend) -> None:
    autodiff, model = make_model(backend)
    optimizer = optim.SGD(model.parameters(), optim.SGDConfig())
    with autodiff.tape:
        hidden = model(born.ones((1, 3), autodiff))
        loss = hidden.sum()
    grads = backward(loss, retain=[hidden])
    with autodiff.tape:
        optimizer.step(grads)
        assert len(autodiff.tape) == 0
    assert optimizer.timestep == 1


def test_learning_rate_counts_from_the_next_step_in_double(backend: Backend) -> None:
    p = parameter(0.0, backend, dtype="float64")
    optimizer = optim.SGD([p], optim.SGDConfig(lr=0.1))
    step(optimizer)
    assert p.item() == -0.1  # not -0.10000000149, which 0.1 is in float32
    optimizer.lr = 0.5
    step(optimizer)
    assert p.item() == -0.6
    assert optimizer.lr == 0.5
    assert optimizer.config == optim.SGDConfig(lr=0.5)


@pytest.mark.parametrize("value", [-1.0, float("nan"), "x"])
def test_learning_rate_that_is_refused_leaves_the_old_one(value: Any, backend: Backend) -> None:
    optimizer = optim.Adam([parameter(1.0, backend)], optim.AdamConfig())
    error = {"x": ConfigTypeError}.get(value, ConfigError)
    with pytest.raises(error, match=r"AdamConfig\.lr"):
        optimizer.lr = value
    assert optimizer.lr == 0.001


def test_config_may_change_under_way_but_not_its_state(backend: Backend) -> None:
    optimizer = optim.SGD([parameter(1.0, backend)], optim.SGDConfig(momentum=0.9))
    optimizer.config = optim.SGDConfig(momentum=0.5, weight_decay=0.1)
    assert repr(optimizer).startswith(
        "SGD(1 parameter, SGDConfig(lr=0.01, weight_decay=0.1, momentum"
    )
    with pytest.raises(ConfigError, match=r"keeps velocity .* like .* got one that keeps no state"):
        optimizer.config = optim.SGDConfig()
    with pytest.raises(
        ConfigTypeError, match="expected a config of class SGDConfig for SGD, got AdamConfig"
    ):
        optimizer.config = optim.AdamConfig()
    assert optimizer.config.weight_decay == 0.1
