"""Accuracy does not depend on the axis, the layout or the dtype: sums, counts, scatters, draws.

References are computed in double, or exactly. Tolerances count units in the last place.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

import born
from born import nn, ops, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.dtypes import as_dtype
from born.raw import HostArray

EPSILON: Final = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2**-7}
FEW: Final = 8
"""Units in the last place that a sum of numbers of one sign may be wrong by."""

ROWS: Final = 20_000
SHAPES: Final[dict[str, tuple[tuple[int, ...], Any]]] = {
    "leading": ((ROWS, 2), 0),
    "wide": ((5_000, 32), 0),
    "trailing": ((2, ROWS), 1),
    "all": ((ROWS, 2), None),
    "middle": ((2, ROWS, 3), 1),
    "outer": ((200, 3, 100), (0, 2)),
    "first two": ((200, 100, 3), (0, 1)),
}
LAYOUTS: Final = ("C", "F", "strided")


def numbers(shape: tuple[int, ...], dtype: str, layout: str) -> HostArray:
    """Numbers close to one, whose rounding errors in a long sum all point one way."""
    array = (1 + 0.1 * np.random.default_rng(0).random(shape)).astype(as_dtype(dtype))
    if layout == "strided":
        return np.repeat(array, 2, axis=0)[::2]
    return np.asarray(array, order="F" if layout == "F" else "C")


def exact(array: HostArray, axis: Any) -> HostArray:
    return np.asarray(array.astype(np.longdouble).sum(axis=axis))


def check(got: HostArray, expected: HostArray, dtype: str, ulps: float = FEW) -> None:
    np.testing.assert_allclose(
        got.astype(np.longdouble), expected, rtol=ulps * EPSILON[dtype], atol=0
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", EPSILON)
def test_sums_of_any_axes(dtype: str, shape: str, layout: str, backend: Backend) -> None:
    lengths, axis = SHAPES[shape]
    array = numbers(lengths, dtype, layout)
    raw = backend.from_numpy(array)
    raw.array = (
        backend.transpose(backend.copy(backend.transpose(raw))).array
        if (layout == "F")
        else raw.array
    )
    total = exact(array, axis)
    count = array.size / np.size(total)
    if dtype != "float16":  # whose largest number is 65,504
        check(backend.to_numpy(backend.sum(raw, axis)), total, dtype)
        kept = backend.sum(raw, axis, keepdims=True)
        assert kept.shape == np.sum(array.astype(np.float64), axis=axis, keepdims=True).shape
        norm = np.sqrt((array.astype(np.longdouble) ** 2).sum(axis=axis))
        check(backend.to_numpy(backend.norm(raw, axis)), norm, dtype)
    check(backend.to_numpy(backend.mean(raw, axis)), total / count, dtype)
    var = array.astype(np.longdouble).var(axis=axis)
    # Each distance from the mean is itself rounded.
    check(backend.to_numpy(backend.var(raw, axis)), var, dtype, 64)


def test_a_mean_of_a_million_rows(backend: Backend) -> None:
    x = born.tensor(np.full((1_000_000, 2), 1000.1, np.float32), backend)
    np.testing.assert_allclose(x.mean(axis=0).numpy(), 1000.1, rtol=2**-22)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_running_sum(dtype: str, backend: Backend) -> None:
    array = numbers((ROWS, 2), dtype, "C")
    got = backend.to_numpy(backend.cumsum(backend.from_numpy(array), 0))
    # In float64 the running sum is added up in float64, one number after the other.
    check(got, array.astype(np.longdouble).cumsum(axis=0), dtype, 2 if dtype == "float32" else 500)


@pytest.mark.parametrize("dtype", EPSILON)
def test_gradients_of_what_was_broadcast(dtype: str, autodiff: Autodiff[Backend]) -> None:
    rows = 5_000
    bias = born.zeros(3, autodiff, dtype=dtype)
    bias.requires_grad = True
    weights = numbers((rows, 3), dtype, "C")
    with autodiff.tape:
        loss = (
            (born.zeros((rows, 3), autodiff, dtype=dtype) + bias) * born.tensor(weights, autodiff)
        ).sum()
    check(autodiff.to_numpy(backward(loss)[bias]), exact(weights, 0), dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_counts_beyond_the_largest_half(dtype: str, autodiff: Autodiff[Backend]) -> None:
    count = 70_000
    x = born.tensor(numbers((count,), dtype, "C"), autodiff)
    x.requires_grad = True
    with autodiff.tape:
        loss = x.mean()
    slope = autodiff.to_numpy(backward(loss)[x]).astype(np.float64)
    assert np.all(slope == float(as_dtype(dtype).type(1 / count)))
    logits = born.zeros((count, 2), autodiff, dtype=dtype)
    logits.requires_grad = True
    labels = born.zeros(count, autodiff, dtype="int64")
    with autodiff.tape:
        loss = ops.cross_entropy(logits, labels)
    slope = autodiff.to_numpy(backward(loss)[logits]).astype(np.float64)
    assert np.all(np.abs(slope) == float(as_dtype(dtype).type(0.5 / count)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_scatters_of_one_row(dtype: str, autodiff: Autodiff[Backend]) -> None:
    table = born.zeros((3, 2), autodiff, dtype=dtype)
    table.requires_grad = True
    index = born.full(5_000, 1, autodiff, dtype="int64")
    with autodiff.tape:
        loss = (ops.take(table, index) * 1.0).sum()
    total = float(as_dtype(dtype).type(5_000))
    slope = autodiff.to_numpy(backward(loss)[table]).astype(np.float64)
    assert slope.tolist() == [[0, 0], [total, total], [0, 0]]
    column = born.full((5_000, 2), 1, autodiff, dtype="int64")
    ones = born.ones((5_000, 2), autodiff, dtype=dtype)
    added = ops.scatter_add(table, column, ones, axis=0).numpy().astype(np.float64)
    assert added.tolist() == [[0, 0], [total, total], [0, 0]]


@pytest.mark.parametrize("dtype", EPSILON)
def test_draws_stay_below_one(dtype: str, backend: Backend) -> None:
    drawn = born.rand(200_000, backend, dtype=dtype).numpy().astype(np.float64)
    assert drawn.min() >= 0
    assert drawn.max() < 1


def test_layer_norm_of_large_numbers(cpu_backend: Backend) -> None:
    x = born.tensor(np.array([[1e38, -1e38], [3e38, 2e38]], np.float32), cpu_backend)
    np.testing.assert_allclose(np.abs(ops.layer_norm(x).numpy()), 1, rtol=2**-22)
    weight, bias = born.ones(2, cpu_backend), born.zeros(2, cpu_backend)
    got = ops.layer_norm(x, weight, bias).numpy()
    np.testing.assert_allclose(np.abs(got), 1, rtol=2**-22)


@pytest.mark.parametrize("size", [1e10, 1e160, 1e300])
def test_a_norm_of_huge_gradients_clips(size: float, cpu_backend: Backend) -> None:
    autodiff = Autodiff(cpu_backend)
    p = nn.Parameter(born.zeros(2, autodiff, dtype="float64"))
    gradient = autodiff.from_numpy(np.array([3.0, 4.0]) * size)
    optim.SGD([p], optim.SGDConfig(lr=1.0)).step({p.raw: gradient}, max_norm=1.0)
    np.testing.assert_allclose(p.tensor.numpy(), [-0.6, -0.8], rtol=4e-16)
