"""Sharpness-aware gradients: those at the worst point nearby, and nothing left behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import ConfigError, OperandError, TapeError


def _model(backend: Backend) -> tuple[Autodiff[Backend], nn.Module[Any], Any]:
    home = Autodiff(backend)
    draw = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 8, home, activation="relu"), nn.Linear(8, 2, home))
    x = born.tensor(draw.normal(size=(16, 3)).astype(np.float32), home)
    y = born.tensor(draw.integers(0, 2, 16), home)

    def loss() -> Any:
        with home.tape:
            return nn.cross_entropy(model(x), y)

    return home, model, loss


@pytest.mark.parametrize("adaptive", [False, True])
def test_gradients_are_those_at_the_worst_point(backend: Backend, adaptive: bool) -> None:
    _, model, loss = _model(backend)
    parameters = model.parameters()
    before = [p.numpy().copy() for p in parameters]
    plain = backward(loss())
    g = [np.asarray(backend.to_numpy(plain[p]), np.float64) for p in parameters]
    found = optim.sharpness_aware(loss, rho=0.1, adaptive=adaptive)
    for p, value in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(p.numpy(), value)
    scaled = [v * each for v, each in zip(before, g, strict=True)] if adaptive else g
    norm = np.sqrt(sum((each**2).sum() for each in scaled))
    for p, value, each in zip(parameters, before, scaled, strict=True):
        step = 0.1 * (value * each if adaptive else each) / norm
        p.assign((value + step).astype(np.float32))
    expected = backward(loss())
    for p in parameters:
        ours, theirs = (backend.to_numpy(grads[p]) for grads in (found, expected))
        # The point differs by the rounding of a step in float32.
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        assert not np.allclose(ours, backend.to_numpy(plain[p]), rtol=1e-3, atol=1e-6)


def test_rho_of_zero_gives_the_plain_gradients(backend: Backend) -> None:
    _, model, loss = _model(backend)
    plain, found = backward(loss()), optim.sharpness_aware(loss, rho=0.0)
    for p in model.parameters():
        np.testing.assert_array_equal(backend.to_numpy(found[p]), backend.to_numpy(plain[p]))


def test_an_optimizer_takes_them(backend: Backend) -> None:
    _, model, loss = _model(backend)
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    first = loss().item()
    for _ in range(30):
        optimizer.step(optim.sharpness_aware(loss))
    assert loss().item() < 0.8 * first


def test_gradients_of_zero_move_nothing(backend: Backend) -> None:
    home = Autodiff(backend)
    p = nn.Parameter(born.tensor([1.0, 2.0], home))

    def loss() -> Any:
        with home.tape:
            return (p * 0.0).sum()

    found = optim.sharpness_aware(loss)
    np.testing.assert_array_equal(backend.to_numpy(found[p]), [0, 0])


def test_an_error_in_the_second_pass_leaves_the_parameters(backend: Backend) -> None:
    home = Autodiff(backend)
    p = nn.Parameter(born.tensor([1.0, 2.0], home))
    calls = 0

    def loss() -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            assert p.numpy()[0] != 1.0
            raise KeyboardInterrupt
        with home.tape:
            return (p * p).sum()

    with pytest.raises(KeyboardInterrupt):
        optim.sharpness_aware(loss)
    np.testing.assert_array_equal(p.numpy(), [1.0, 2.0])


def test_what_it_refuses(backend: Backend) -> None:
    home, _, loss = _model(backend)
    with pytest.raises(ConfigError, match=r"expected rho as a finite number from 0, got -1\.0"):
        optim.sharpness_aware(loss, rho=-1.0)
    with pytest.raises(OperandError, match=r"expected a function that computes .*, got Tensor"):
        optim.sharpness_aware(loss())
    with pytest.raises(TapeError):
        optim.sharpness_aware(lambda: born.ones((), home))
