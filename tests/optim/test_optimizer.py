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
from born.errors import (
    ConfigError,
    ConfigTypeError,
)
from tests.optim.making import (
    CONFIGS,
    Parameter,
    assert_unchanged,
    contents,
    gradients,
    loss_of,
    make,
    make_model,
    parameter,
    raw,
    two,
)

every_config = pytest.mark.parametrize("config", CONFIGS, ids=repr)


def array_of(value: Parameter | born.Tensor[Any]) -> bytes:
    return value.numpy().tobytes()


# -- every optimizer, by table -------------------------------------------------------------


@every_config
def test_updates_where_there_is_a_gradient_and_counts_it(
    config: optim.Config, backend: Backend
) -> None:
    parameters = two(backend)
    optimizer = make(config, parameters)
    before = [p.numpy() for p in parameters]
    optimizer.step(gradients(parameters))
    for p, old in zip(parameters, before, strict=True):
        assert (p.numpy() < old).all()  # the gradients are positive
    assert optimizer.timestep == 1
    counts = {k: x.item() for k, x in optimizer.state_dict().items() if k.startswith("t.")}
    assert counts == {"t.0": 1, "t.1": 1}


@every_config
def test_updates_in_place(config: optim.Config, backend: Backend) -> None:
    parameters = two(backend)
    optimizer = make(config, parameters)
    storage = [(p.raw, p.raw.array) for p in parameters]
    optimizer.step(gradients(parameters))
    assert all(
        p.raw is r and p.raw.array is a for p, (r, a) in zip(parameters, storage, strict=True)
    )


@every_config
def test_parameter_without_a_gradient_is_left_alone(config: optim.Config, backend: Backend) -> None:
    parameters = two(backend)
    optimizer = make(config, parameters)
    optimizer.step(gradients(parameters))
    before = contents(optimizer)
    optimizer.step(gradients(parameters[:1]))
    after = contents(optimizer)
    changed = {key for key in after if after[key].tobytes() != before[key].tobytes()}
    assert {"p.0", "t.0"} <= changed
    assert not any(key.endswith(".1") for key in changed)
    assert optimizer.timestep == 2


@every_config
def test_late_parameter_moves_as_if_it_were_alone(config: optim.Config, backend: Backend) -> None:
    parameters = two(backend)
    optimizer = make(config, parameters)
    alone = parameter(0.5, backend)
    optimizer_alone = make(config, [alone])
    optimizer.step(gradients(parameters[:1]))
    for _ in range(3):
        optimizer.step(gradients(parameters))
        optimizer_alone.step(gradients([alone]))
    assert array_of(parameters[1]) == array_of(alone)


@every_config
def test_frozen_parameter_is_left_alone(config: optim.Config, backend: Backend) -> None:
    parameters = two(backend)
    parameters[1].requires_grad = False
    optimizer = make(config, parameters)
    before = contents(optimizer)
    optimizer.step(gradients(parameters))
    after = contents(optimizer)
    assert all(after[k].tobytes() == before[k].tobytes() for k in after if k.endswith(".1"))
    assert after["p.0"].tobytes() != before["p.0"].tobytes()


@every_config
def test_no_gradient_at_all_changes_nothing(config: optim.Config, backend: Backend) -> None:
    optimizer = make(config, two(backend))
    before = contents(optimizer)
    optimizer.step()
    optimizer.step({})
    assert_unchanged(optimizer, before)


@every_config
@pytest.mark.parametrize("shape", [(0,), (3, 0), (), (1,)])
def test_arrays_of_no_length_and_no_axes_are_welcome(
    config: optim.Config, shape: tuple[int, ...], backend: Backend
) -> None:
    p = parameter(np.ones(shape), backend)
    optimizer = make(config, [p])
    optimizer.step(gradients([p]))
    assert p.shape == shape
    assert optimizer.timestep == 1
    assert (p.numpy() < 1).all()


@every_config
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_update_keeps_the_dtype_and_state_is_at_least_float32(
    config: optim.Config, dtype: str, backend: Backend
) -> None:
    p = parameter([1.0, 2.0], backend, dtype=dtype)
    optimizer = make(config, [p])
    optimizer.step({p.raw: raw([0.5, 0.5], backend, dtype)})
    assert p.dtype.name == dtype
    kept = "float32" if dtype in ("float16", "bfloat16") else dtype  # halves keep precise state
    assert {
        x.dtype.name for key, x in optimizer.state_dict().items() if not key.startswith("t.")
    } <= {kept}
    assert (p.numpy() < np.array([1.0, 2.0])).all()


@every_config
def test_gradient_may_be_a_view(config: optim.Config, backend: Backend) -> None:
    first, second = (parameter(np.ones((2, 3)), backend) for _ in range(2))
    values = np.arange(6.0).reshape(3, 2)
    transposed = backend.transpose(raw(values, backend))
    make(config, [first]).step({first.raw: transposed})
    make(config, [second]).step({second.raw: raw(values.T, backend)})
    assert array_of(first) == array_of(second)


@every_config
def test_gradients_are_not_changed(config: optim.Config, backend: Backend) -> None:
    p = parameter([1.0, 2.0], backend)
    gradient = raw([3.0, 4.0], backend)
    optimizer = make(config, [p])
    for _ in range(2):
        optimizer.step({p.raw: gradient})
    assert backend.to_numpy(gradient).tolist() == [3.0, 4.0]


@every_config
def test_same_rule_on_one_tensor_or_many_small_ones(config: optim.Config, backend: Backend) -> None:
    whole = parameter([1.0, 2.0, 3.0], backend)
    parts = [parameter(x, backend) for x in (1.0, 2.0, 3.0)]
    one, many = make(config, [whole]), make(config, parts)
    for _ in range(3):
        one.step({whole.raw: raw([0.1, 0.2, -0.3], backend)})
        many.step({p.raw: raw(g, backend) for p, g in zip(parts, (0.1, 0.2, -0.3), strict=True)})
    assert whole.numpy().tolist() == [p.item() for p in parts]


# -- how little is called ------------------------------------------------------------------


@pytest.mark.parametrize(("options", "most"), [({}, 60), ({"max_norm": 1.0}, 80)], ids=str)
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


# -- where gradients come from -------------------------------------------------------------


@every_config
def test_map_and_accumulated_gradients_give_the_same_step(
    config: optim.Config, backend: Backend
) -> None:
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
        results.append([array_of(p) for p in model.parameters()])
    assert results[0] == results[1]


def test_step_is_not_recorded(backend: Backend) -> None:
    autodiff, model = make_model(backend)
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig())
    with autodiff.tape:
        loss = loss_of(model, autodiff)
    grads = backward(loss)
    with autodiff.tape:
        optimizer.step(grads)
        assert len(autodiff.tape) == 0


def test_retained_results_among_the_gradients_are_passed_over(backend: Backend) -> None:
    autodiff, model = make_model(backend)
    optimizer = optim.SGD(model.parameters(), optim.SGDConfig())
    with autodiff.tape:
        hidden = model(born.ones((1, 3), autodiff))
        loss = hidden.sum()
    optimizer.step(backward(loss, retain=[hidden]))
    assert optimizer.timestep == 1


def test_zero_grad_forgets_accumulated_gradients(backend: Backend) -> None:
    p = parameter([1.0], backend)
    optimizer = optim.SGD([p], optim.SGDConfig(lr=1.0))
    p.grad = born.ones((1,), backend)
    optimizer.zero_grad()
    optimizer.step()
    assert p.item() == 1.0
    assert p.raw.grad is None


# -- the learning rate and the config ------------------------------------------------------


def test_learning_rate_counts_from_the_next_step(backend: Backend) -> None:
    p = parameter(1.0, backend)
    optimizer = optim.SGD([p], optim.SGDConfig(lr=0.25))
    optimizer.step({p.raw: raw(1.0, backend)})
    optimizer.lr = 0.5
    optimizer.step({p.raw: raw(1.0, backend)})
    assert p.item() == 0.25
    assert optimizer.lr == 0.5
    assert optimizer.config == optim.SGDConfig(lr=0.5)


def test_learning_rate_is_used_in_double(backend: Backend) -> None:
    p = parameter(0.0, backend, dtype="float64")
    optimizer = optim.SGD([p], optim.SGDConfig(lr=0.1))
    optimizer.step({p.raw: raw(1.0, backend, "float64")})
    assert p.item() == -0.1  # not -0.10000000149, which 0.1 is in float32


@pytest.mark.parametrize(
    ("value", "error"), [(-1.0, ConfigError), (float("nan"), ConfigError), ("x", ConfigTypeError)]
)
def test_learning_rate_that_is_refused_leaves_the_old_one(
    value: Any, error: type[ConfigError], backend: Backend
) -> None:
    optimizer = optim.Adam([parameter(1.0, backend)], optim.AdamConfig())
    with pytest.raises(error, match=r"AdamConfig\.lr"):
        optimizer.lr = value
    assert optimizer.lr == 0.001


def test_config_may_change_under_way_but_not_its_state(backend: Backend) -> None:
    optimizer = optim.SGD([parameter(1.0, backend)], optim.SGDConfig(momentum=0.9))
    optimizer.config = optim.SGDConfig(momentum=0.5, weight_decay=0.1)
    assert optimizer.config.momentum == 0.5
    with pytest.raises(ConfigError, match=r"keeps velocity .* like .* got one that keeps no state"):
        optimizer.config = optim.SGDConfig()
    with pytest.raises(
        ConfigTypeError, match="expected a config of class SGDConfig for SGD, got AdamConfig"
    ):
        optimizer.config = optim.AdamConfig()
    assert optimizer.config.weight_decay == 0.1


def test_repr_shows_the_config(backend: Backend) -> None:
    optimizer = optim.SGD([parameter(1.0, backend)], optim.SGDConfig(lr=0.5))
    assert repr(optimizer).startswith("SGD(1 parameter, SGDConfig(lr=0.5,")
