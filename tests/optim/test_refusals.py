"""What optimizers refuse: parameters, configs and gradients that do not fit."""

# Tables hold functions of whatever a test hands them.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest

import born
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import (
    BackendMismatchError,
    BornError,
    ConfigError,
    ConfigTypeError,
    DTypeError,
    GradientError,
    ParameterError,
)
from born.raw import RawTensor
from tests.optim.making import (
    Optimizer,
    Parameter,
    assert_unchanged,
    contents,
    every_config,
    gradients,
    loss_of,
    make,
    make_model,
    parameter,
    raw,
    two,
)


def _integers(backend: Backend) -> list[Any]:
    p = parameter(1.0, backend, "counts")
    p.raw.array = p.raw.array.astype(np.int64)
    return [p]


REFUSED_PARAMETERS: list[tuple[Callable[[Backend], Any], type[BornError], str]] = [
    (lambda b: [], ParameterError, "expected at least one parameter, got none; pass"),
    (
        lambda b: [*(both := two(b)), both[0]],
        ParameterError,
        r"got parameter 0 \('first'\) again as parameter 2 \('first'\); remove",
    ),
    (
        lambda b: [tied := parameter(1.0, b, "tied"), nn.Parameter(tied.tensor)],
        ParameterError,
        r"got parameter 0 \('tied'\) again as parameter 1; remove",
    ),
    (
        lambda b: [parameter(1.0, each, "x") for each in (b, Autodiff(b))],
        BackendMismatchError,
        r"parameter 1 \('x'\): expected a parameter on \w+Backend.* got one on Autodiff",
    ),
    (
        _integers,
        DTypeError,
        r"parameter 0 \('counts'\): expected a floating dtype, got int64; convert",
    ),
    (
        lambda b: [born.ones((1,), b)],
        ParameterError,
        "parameter 0: expected a Parameter, got Tensor; wrap",
    ),
    (
        lambda b: nn.Linear(1, 1, b).named_parameters(),
        ParameterError,
        "parameter 0: expected a Parameter, got tuple; .* without names",
    ),
    (
        lambda b: parameter([1.0], b),
        ParameterError,
        "expected several parameters, got one Parameter; pass",
    ),
    (
        lambda b: born.ones((1,), b),
        ParameterError,
        r"expected several parameters, got one Tensor; pass a model, or a list of parameters",
    ),
    *(
        (
            lambda b, kind=kind: kind(two(b)),
            ParameterError,
            f"in an order, .* got a {kind.__name__}, .*; pass a list",
        )
        for kind in (set, frozenset, WeakSet)
    ),
]


@pytest.mark.parametrize("case", REFUSED_PARAMETERS)
def test_parameters_that_cannot_be_trained_are_refused(case: Any, backend: Backend) -> None:
    build, error, message = case
    for config in (optim.SGDConfig(), optim.AdamConfig()):
        with pytest.raises(error, match=message):
            make(config, build(backend))


@pytest.mark.parametrize("config", [{"lr": 0.1}, optim.SGDConfig(), optim.AdamConfig])
def test_config_of_another_class_is_refused(config: Any, backend: Backend) -> None:
    with pytest.raises(
        ConfigTypeError, match=r"expected a config of class AdamConfig for Adam, got .*; write"
    ):
        optim.Adam([parameter(1.0, backend)], config)


class _Elsewhere:
    """An array of another library, on another device."""

    shape = (2, 2)
    dtype = np.dtype(np.float32)
    device = "gpu 0"


REFUSED_GRADIENTS: list[tuple[Callable[[Parameter, Parameter], Any], type[BornError], str]] = [
    (
        lambda p, q: {p.raw: raw([1.0, 2.0], p.backend)},
        GradientError,
        r"parameter 0 \('first'\): expected a gradient of shape \(2, 2\) and dtype float32, got "
        r"shape \(2,\) and dtype float32; a gradient has",
    ),
    (
        lambda p, q: {q.raw: raw(1.0, q.backend, "float64")},
        GradientError,
        r"parameter 1 \('second'\): .* dtype float32, got shape \(\) and dtype float64; a gradient",
    ),
    (
        lambda p, q: {raw(1.0, p.backend): raw(1.0, p.backend)},
        GradientError,
        r"expected gradients for the 2 tensors that this \w+ holds, got 1 for others, .*; use",
    ),
    (
        lambda p, q: {p: raw(np.ones((2, 2)), p.backend)},
        GradientError,
        r"got 1 for others, the first for Parameter\('first'.*; use parameter\.raw as the key",
    ),
    (
        lambda p, q: {p.raw: RawTensor(_Elsewhere())},
        BackendMismatchError,
        r"parameter 0 \('first'\): expected a gradient on \w+Backend\(.*\), an array of type "
        r".+\.ndarray on '.+', got .*_Elsewhere on 'gpu 0'; bring",
    ),
    (
        lambda p, q: {p.raw: born.ones((2, 2), p.backend)},
        GradientError,
        r"parameter 0 \('first'\): expected a gradient as a RawTensor, got Tensor; pass tensor",
    ),
    (lambda p, q: {p.raw: np.ones(2)}, GradientError, "gradient as a RawTensor, got ndarray; pass"),
    (lambda p, q: [p.raw], GradientError, "expected a mapping .* got list; write"),
]


@every_config
@pytest.mark.parametrize("case", REFUSED_GRADIENTS)
def test_refused_gradients_change_nothing(config: Any, case: Any, backend: Backend) -> None:
    build, error, message = case
    parameters = two(backend)
    optimizer = make(config, parameters)
    good = gradients(parameters)
    optimizer.step(good)
    before = contents(optimizer)
    bad = build(*parameters)
    with pytest.raises(error, match=message):
        optimizer.step(good | bad if isinstance(bad, dict) else bad)
    assert_unchanged(optimizer, before)


def test_accumulated_gradient_that_does_not_fit_is_refused(backend: Backend) -> None:
    parameters = two(backend)
    optimizer: Optimizer = optim.SGD(parameters, optim.SGDConfig())
    before = contents(optimizer)
    for p in parameters:
        p.raw.grad = raw(1.0, backend)
    with pytest.raises(GradientError, match=r"parameter 0 \('first'\): expected a gradient of sha"):
        optimizer.step()
    assert_unchanged(optimizer, before)


def test_gradients_computed_on_another_backend_are_refused(backend: Backend) -> None:
    _, model = make_model(backend)
    optimizer = optim.SGD(model.parameters(), optim.SGDConfig())
    other, twin = make_model(born.get_backend(backend.name))
    with other.tape:
        loss = loss_of(twin, other)
    with pytest.raises(BackendMismatchError, match="expected gradients on the parameters' backend"):
        optimizer.step(backward(loss))
    assert optimizer.timestep == 0


def test_gradients_of_another_model_are_refused(backend: Backend) -> None:
    autodiff, model = make_model(backend)
    optimizer = optim.SGD(model.parameters()[:2], optim.SGDConfig())
    with autodiff.tape:
        loss = loss_of(model, autodiff)
    grads = backward(loss)
    with pytest.raises(GradientError, match=r"got 2 for others.*what backward returns"):
        optimizer.step(grads.select(model.parameters()[2:]))
    with pytest.raises(GradientError, match=r"got 2 for others, the first for"):
        optimizer.step(dict(grads))
    assert optimizer.timestep == 0


def test_two_optimizers_follow_one_loss(backend: Backend) -> None:
    autodiff, model = make_model(backend)
    _, twin = make_model(backend)
    twin = twin.to(autodiff)
    parameters = model.parameters()
    first, second = optim.SGD(parameters[:2], lr=0.1), optim.Adam(parameters[2:], lr=0.1)
    alone = optim.SGD(twin.parameters()[:2], lr=0.1), optim.Adam(twin.parameters()[2:], lr=0.1)
    for _ in range(3):
        with autodiff.tape:
            loss = loss_of(model, autodiff)
        grads = backward(loss)
        first.step(grads)
        second.step(grads, max_norm=0.5)
        with autodiff.tape:
            loss = loss_of(twin, autodiff)
        grads = backward(loss)
        alone[0].step(grads.select(twin.parameters()[:2]))
        alone[1].step(grads.select(twin.parameters()[2:]), max_norm=0.5)
    for ours, theirs in zip(parameters, twin.parameters(), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert (first.timestep, second.timestep) == (3, 3)


def test_fields_of_the_config_are_taken_in_its_place(backend: Backend) -> None:
    p = parameter(1.0, backend)
    expected = optim.AdamConfig(lr=0.5, betas=(0.5, 0.75))
    assert optim.Adam([p], lr=0.5, betas=(0.5, 0.75)).config == expected
    assert optim.SGD([p], lr=1).config == optim.SGDConfig(lr=1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rate": 0.1}, ConfigError, "AdamConfig: expected the fields lr, .*'rate' is unknown"),
        ({"lr": "fast"}, ConfigTypeError, "AdamConfig.lr: expected a number, got 'fast'"),
        (
            {"config": optim.AdamConfig(), "lr": 0.1},
            ConfigTypeError,
            r"a config or its fields for Adam, got both AdamConfig.* and lr; write",
        ),
    ],
)
def test_fields_that_do_not_fit_are_refused(
    arguments: Any, error: type[BornError], message: str, backend: Backend
) -> None:
    with pytest.raises(error, match=message):
        optim.Adam([parameter(1.0, backend)], **arguments)
