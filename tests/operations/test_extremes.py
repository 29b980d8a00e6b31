"""Careful forms: no overflow, no warning and no NaN where the result is an ordinary number.

A warning of NumPy is an error in these tests.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.dtypes import as_dtype
from born.fusion.activations import RELU_GRADIENT
from born.raw import HostArray

LARGE: Final = {"float64": 1e300, "float32": 1e38, "float16": 3e4, "bfloat16": 1e38}
"""Near the largest number of each dtype, with room for a difference of two."""


def value_and_slope(
    name: str, backend: Backend, x: HostArray, **options: Any
) -> tuple[HostArray, HostArray]:
    """A function of one tensor, and its derivative where each result depends on one element."""
    autodiff = Autodiff(backend)
    tensor = born.tensor(x, autodiff)
    tensor.requires_grad = True
    with autodiff.tape:
        y = getattr(ops, name)(tensor, **options)
        loss = ops.sum(y * 1.0) if y.ndim else y
    slope = autodiff.to_numpy(backward(loss)[tensor])
    return y.numpy().astype(np.float64), slope.astype(np.float64)


@pytest.mark.parametrize("dtype", LARGE)
@pytest.mark.parametrize(
    ("name", "left", "right"),
    [
        ("sigmoid", 0.0, 1.0),
        ("tanh", -1.0, 1.0),
        ("softplus", 0.0, LARGE),
        ("silu", 0.0, LARGE),
        ("relu", 0.0, LARGE),
    ],
)
def test_activation_at_both_ends(
    name: str, left: float, right: float | dict[str, float], dtype: str, backend: Backend
) -> None:
    large, at = both_ends(LARGE[dtype], dtype)
    values, slopes = value_and_slope(name, backend, at)
    grows = isinstance(right, dict)
    assert values.tolist() == [left, large if grows else right]
    assert slopes.tolist() == [0.0, 1.0 if grows else 0.0]


def both_ends(size: float, dtype: str) -> tuple[float, HostArray]:
    """The nearest number of a dtype, and an array of it with either sign."""
    at = np.array([-size, size]).astype(as_dtype(dtype))
    return float(at[1]), at


FAR: Final = [
    *(("float16", size) for size in (50.0, 300.0, 6e4)),
    *(
        (dtype, size)
        for dtype in ("bfloat16", "float32", "float64")
        for size in (50.0, 300.0, 1e12)
    ),
]
"""Numbers whose squares or cubes float16 does not hold, though it holds them; in the wider dtypes,
numbers that a network that has not diverged does not reach."""


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize(("dtype", "size"), FAR)
def test_gelu_far_from_zero(dtype: str, size: float, approximate: str, backend: Backend) -> None:
    large, at = both_ends(size, dtype)
    values, slopes = value_and_slope("gelu", backend, at, approximate=approximate)
    assert values.tolist() == [0.0, large]
    assert slopes.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("dtype", "size"), FAR)
def test_erf_far_from_zero(dtype: str, size: float, backend: Backend) -> None:
    _, at = both_ends(size, dtype)
    values, slopes = value_and_slope("erf", backend, at)
    assert values.tolist() == [-1.0, 1.0]
    assert slopes.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", LARGE)
def test_softmax_and_its_company_with_far_logits(dtype: str, backend: Backend) -> None:
    large = LARGE[dtype] / 2
    x = np.array([-large, 0.0, large]).astype(as_dtype(dtype))
    values, slopes = value_and_slope("softmax", backend, x)
    assert values.tolist() == [0.0, 0.0, 1.0]
    assert slopes.tolist() == [0.0, 0.0, 0.0]
    values, _ = value_and_slope("logsumexp", backend, x)
    assert values == x.astype(np.float64)[2]
    values, _ = value_and_slope("log_softmax", backend, x)
    assert values[2] == 0.0
    assert values[1] == -x.astype(np.float64)[2]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", LARGE)
def test_cross_entropy_with_far_logits(dtype: str, smoothing: float, backend: Backend) -> None:
    far = 0.1 * LARGE[dtype]
    x = np.array([[far, -far], [far, -far]]).astype(as_dtype(dtype))
    autodiff = Autodiff(backend)
    logits = born.tensor(x, autodiff)
    logits.requires_grad = True
    labels = born.tensor(np.array([0, 1]), autodiff)
    with autodiff.tape:
        losses = ops.cross_entropy(logits, labels, smoothing, reduction="none")
        loss = ops.sum(losses * 0.5)
    found = losses.numpy().astype(np.float64) / (2 * far)
    # A right label costs nothing but smoothing, a wrong one the distance; to the dtype's epsilon.
    epsilon = 2.0**-6 if dtype == "bfloat16" else 2.0**-9
    np.testing.assert_allclose(found, [smoothing / 2, 1 - smoothing / 2], rtol=0, atol=epsilon)
    slope = autodiff.to_numpy(backward(loss)[logits]).astype(np.float64)
    half = smoothing / 4
    np.testing.assert_allclose(slope, [[half, -half], [0.5 - half, half - 0.5]], atol=epsilon)


def test_rows_of_minus_infinity(backend: Backend) -> None:
    x = np.array([[-math.inf, -math.inf], [-math.inf, 1.0]])
    values, slopes = value_and_slope("logsumexp", backend, x, axis=1)
    assert values.tolist() == [-math.inf, 1.0]
    assert slopes.tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_a_masked_class_has_probability_zero(backend: Backend) -> None:
    x = np.array([-math.inf, 0.0, 0.0])
    values, slopes = value_and_slope("softmax", backend, x)
    assert values.tolist() == [0.0, 0.5, 0.5]
    assert slopes.tolist() == [0.0, 0.0, 0.0]
    values, _ = value_and_slope("log_softmax", backend, x)
    assert values.tolist() == [-math.inf, -math.log(2), -math.log(2)]


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_logsumexp_of_what_is_not_finite_says_so_in_silence(bad: float, backend: Backend) -> None:
    raw = backend.from_numpy(np.array([bad, 1000.0]))
    np.testing.assert_array_equal(backend.to_numpy(backend.logsumexp(raw)), bad)


def test_relu_passes_no_gradient_below_zero_however_large(backend: Backend) -> None:
    g = backend.from_numpy(np.array([math.inf, -math.inf, math.nan, 2.0]))
    y = backend.from_numpy(np.array([0.0, 0.0, 0.0, 3.0]))
    (passed,) = backend.fused(RELU_GRADIENT, (g, y))
    assert backend.to_numpy(passed).tolist() == [0.0, 0.0, 0.0, 2.0]


# -- halves add up and square in float32 ---------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_of_halves_are_added_up_in_single_precision(dtype: str, backend: Backend) -> None:
    # In half precision the sum would stop growing at 2048, or at 256.
    ones = backend.ones((4096,), dtype)
    assert backend.sum(ones).item() == 4096.0
    assert backend.to_numpy(backend.cumsum(ones, 0))[-1] == 4096.0
    assert backend.mean(ones).item() == 1.0
    assert backend.matmul(ones, ones).item() == 4096.0
    row = backend.reshape(ones, (1, 4096))
    assert backend.linear(row, row).item() == 4096.0


def test_mean_of_halves_whose_sum_overflows(backend: Backend) -> None:
    assert backend.mean(backend.full((1000,), 100.0, "float16")).item() == 100.0


def test_norm_of_halves_whose_squares_overflow(backend: Backend) -> None:
    raw = backend.from_numpy(np.array([300.0, 400.0], np.float16))
    assert backend.norm(raw).item() == 500.0


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_normalisation_of_halves_whose_squares_overflow(name: str, backend: Backend) -> None:
    x = np.array([[-300.0, 300.0], [3e4, -3e4]], np.float16)
    values, slopes = value_and_slope(name, backend, x)
    np.testing.assert_array_equal(values, np.sign(x))
    assert np.isfinite(slopes).all()
