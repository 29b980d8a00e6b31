"""First values: their distributions, and the same from the same seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from born import nn
from born.autodiff import Autodiff
from born.backend import Backend
from born.errors import ConfigError, ConfigTypeError, DTypeError, OperandError, ShapeError
from born.nn import init

SHAPE = (400, 300)
FAN_IN, FAN_OUT = 300, 400

# Of n = 120,000 draws the mean strays by std / sqrt(n) and the standard deviation by
# std / sqrt(2 n), 0.3% and 0.2% of the standard deviation; five of them.
SPREAD = 0.015


def check_moments(draws: Any, std: float, mean: float = 0.0) -> None:
    assert draws.mean() == pytest.approx(mean, abs=SPREAD * std)
    assert draws.std() == pytest.approx(std, rel=SPREAD)


def check_uniform(draws: Any, bound: float) -> None:
    check_moments(draws, bound / math.sqrt(3.0))
    assert abs(draws).max() <= bound * (1.0 + 1e-6)  # float32 rounds the bound
    assert abs(draws).max() > 0.999 * bound


def check_normal(draws: Any, std: float) -> None:
    check_moments(draws, std)
    # 0.27% of a normal distribution lies beyond three standard deviations; none of a uniform one.
    assert (abs(draws) > 3.0 * std).mean() == pytest.approx(0.0027, abs=0.0008)


@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_xavier(backend: Backend, gain: float) -> None:
    std = gain * math.sqrt(2.0 / (FAN_IN + FAN_OUT))
    check_uniform(init.xavier_uniform(SHAPE, backend, gain).numpy(), std * math.sqrt(3.0))
    check_normal(init.xavier_normal(SHAPE, backend, gain).numpy(), std)


GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "leaky_relu": math.sqrt(1.6),  # at a slope of 0.5
    "selu": 0.75,
}


@pytest.mark.parametrize("nonlinearity", GAINS)
@pytest.mark.parametrize(("fan", "size"), [("fan_in", FAN_IN), ("fan_out", FAN_OUT)])
def test_kaiming(backend: Backend, nonlinearity: Any, fan: Any, size: int) -> None:
    gain, slope = GAINS[nonlinearity], 0.5
    assert init.gain(nonlinearity, slope) == pytest.approx(gain, rel=1e-15)
    std = gain / math.sqrt(size)
    uniform = init.kaiming_uniform(SHAPE, backend, nonlinearity, slope, fan)
    check_uniform(uniform.numpy(), std * math.sqrt(3.0))
    check_normal(init.kaiming_normal(SHAPE, backend, nonlinearity, slope, fan).numpy(), std)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 2, 3), (2, 4, 3, 3)])
def test_orthogonal(backend: Backend, shape: tuple[int, ...]) -> None:
    matrix = init.orthogonal(shape, backend, 1.5, "float64").numpy().reshape(shape[0], -1)
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(values, np.full(min(matrix.shape), 1.5), rtol=1e-13)
    assert init.orthogonal(shape, backend).dtype == np.float32


def test_orthogonal_prefers_no_direction(backend: Backend) -> None:
    draws = np.stack([init.orthogonal((2, 2), backend).numpy() for _ in range(400)])
    # Means of 400 numbers between -1 and 1, of standard deviation 0.71: four of theirs.
    assert abs(draws.mean(axis=0)).max() < 4 * 0.71 / 20
    assert 150 < (np.linalg.det(draws) > 0).sum() < 250
    with pytest.raises(ConfigError, match="gain as a finite number from 0"):
        init.orthogonal((2, 2), backend, -1.0)
    with pytest.raises(DTypeError, match="a floating dtype in orthogonal, got int64; convert"):
        init.orthogonal((2, 2), backend, dtype="int64")


def test_truncated_normal(backend: Backend) -> None:
    draws = init.truncated_normal(SHAPE, backend, 1.0, 0.5).numpy()
    assert abs(draws - 1.0).max() <= 1.0
    assert abs(draws - 1.0).max() > 0.999
    check_moments(draws, 0.5 * 0.8796, 1.0)  # sqrt(1 - 4 phi(2) / (2 Phi(2) - 1))
    with pytest.raises(ConfigError, match=r"bound as a finite number from 0\.1"):
        init.truncated_normal((2, 2), backend, bound=0.0)
    wrong: Any = "numpy"
    for draw in (init.orthogonal, init.truncated_normal):
        with pytest.raises(OperandError, match="expected a backend to make a tensor on, got"):
            draw((2, 2), wrong)


def test_fans_count_the_kernel() -> None:
    assert init.fans((5, 3)) == (3, 5)
    assert init.fans((16, 3, 5, 2)) == (30, 160)
    with pytest.raises(ShapeError, match=r"a weight of shape \(out, in, ...\), got \(3,\)"):
        init.fans((3,))


def test_layers_start_like_pytorch(backend: Backend) -> None:
    linear = nn.Linear(FAN_IN, FAN_OUT, backend)
    check_uniform(linear.weight.numpy(), 1.0 / math.sqrt(FAN_IN))
    conv = nn.Conv2d(64, 128, (3, 5), backend, groups=2)
    bound = 1.0 / math.sqrt(32 * 15)
    check_uniform(conv.weight.numpy(), bound)
    for bias, limit in ((linear.bias, 1.0 / math.sqrt(FAN_IN)), (conv.bias, bound)):
        assert bias is not None
        assert 0.9 * limit < abs(bias.numpy()).max() <= limit * (1.0 + 1e-6)
    check_normal(nn.Embedding(*SHAPE, backend).weight.numpy(), 1.0)


def test_uniform_and_normal_are_scaled(backend: Backend) -> None:
    draws = init.uniform(SHAPE, backend, 2.0, 5.0).numpy()
    check_moments(draws, 3.0 / math.sqrt(12.0), 3.5)
    assert draws.min() >= 2.0
    assert draws.max() <= 5.0
    check_moments(init.normal(SHAPE, backend, 2.0, 0.5, "float64").numpy(), 0.5, 2.0)
    with pytest.raises(DTypeError, match="float"):
        nn.Linear(2, 2, backend, dtype="int64")


def test_same_seed_gives_the_same_weights_recorded_or_not(backend: Backend) -> None:
    autodiff = Autodiff(backend)
    weights: list[Any] = []
    for where in (backend, autodiff):
        where.seed(5)
        with autodiff.tape:
            weights.append(nn.Linear(7, 5, where).weight.numpy())
            assert len(autodiff.tape) == 0
    np.testing.assert_array_equal(weights[0], weights[1])
    backend.seed(6)
    assert (nn.Linear(7, 5, backend).weight.numpy() != weights[0]).any()


REFUSED: list[tuple[tuple[Any, ...], type[Exception], str]] = [
    (("xavier", -1.0), ConfigError, "gain as a finite number from 0"),
    (("xavier", "relu"), ConfigTypeError, "gain as a number, got 'relu'"),
    (("kaiming", "gelu"), ConfigError, "expected one of the nonlinearities linear.*got 'gelu'"),
    (("kaiming", "relu", 0.01, "both"), ConfigError, "fan_in.*got 'both'"),
]


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused(backend: Backend, distribution: str, case: Any) -> None:
    (name, *others), error, words = case
    draw = getattr(init, f"{name}_{distribution}")
    with pytest.raises(error, match=words):
        draw((2, 2), backend, *others)
    with pytest.raises(ShapeError, match="out, in"):
        draw((2,), backend)


def test_weights_of_no_elements(backend: Backend) -> None:
    assert init.xavier_uniform((0, 0), backend).shape == (0, 0)
    assert init.kaiming_normal((0, 3), backend).shape == (0, 3)
