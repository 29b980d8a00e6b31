"""Accuracy does not depend on the axis, the layout or the dtype: sums, counts, scatters, draws.

References are computed in double, or exactly. Tolerances count units in the last place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import born
from born import nn, ops, optim
from born.autodiff import Autodiff, backward, grad
from born.backend import Backend
from born.dtypes import as_dtype
from born.raw import HostArray
from tests.operations.computing import computing
from tests.operations.drawing import place

T: TypeAlias = "born.Tensor[Any]"

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


# -- values and gradients of whatever adds up, along any axis, in any layout and size ------------

Slope: TypeAlias = Callable[[HostArray, Any], HostArray]


@dataclass(frozen=True)
class Sum:
    """An operation that adds up.

    Attributes:
        ours: the operation along axes.
        value: the same of long doubles.
        slope: the derivative of the sum of its results.
        sizes: whether it may be given numbers of any size.
        ulps: units in the last place, of the largest number in play, that it may be wrong by.
    """

    ours: Callable[[T, Any], T]
    value: Slope
    slope: Slope
    sizes: bool = True
    ulps: float = FEW


def _count(x: HostArray, axis: Any) -> float:
    return x.size / np.size(x.sum(axis=axis))


def _centred(x: HostArray, axis: Any) -> HostArray:
    return np.asarray(x - x.mean(axis=axis, keepdims=True))


def _length(x: HostArray, axis: Any, keepdims: bool = False) -> HostArray:
    largest = np.abs(x).max()
    squares = ((x / largest) ** 2).sum(axis=axis, keepdims=keepdims)
    return np.asarray(largest * np.sqrt(squares))


def _deviation(x: HostArray, axis: Any, keepdims: bool = False) -> HostArray:
    return np.asarray(_length(_centred(x, axis), axis, keepdims) / np.sqrt(_count(x, axis)))


def _logsumexp(x: HostArray, axis: Any, keepdims: bool = False) -> HostArray:
    largest = x.max()
    return np.asarray(largest + np.log(np.exp(x - largest).sum(axis=axis, keepdims=keepdims)))


def _ones(x: HostArray, axis: Any) -> HostArray:
    return np.ones_like(x)


SUMS: Final[dict[str, Sum]] = {
    "sum": Sum(ops.sum, lambda x, axis: x.sum(axis=axis), _ones),
    "mean": Sum(
        ops.mean,
        lambda x, axis: x.mean(axis=axis),
        lambda x, axis: 1 / (_count(x, axis) * np.ones_like(x)),
    ),
    "1-norm": Sum(
        lambda x, axis: ops.norm(x, axis, order=1), lambda x, axis: np.abs(x).sum(axis=axis), _ones
    ),
    "2-norm": Sum(ops.norm, _length, lambda x, axis: x / _length(x, axis, True)),
    "std": Sum(
        ops.std,
        _deviation,
        lambda x, axis: _centred(x, axis) / (_count(x, axis) * _deviation(x, axis, True)),
        ulps=64,
    ),
    "var": Sum(
        ops.var,
        lambda x, axis: _deviation(x, axis) ** 2,
        lambda x, axis: 2 * _centred(x, axis) / _count(x, axis),
        sizes=False,
        ulps=64,
    ),
    "logsumexp": Sum(
        ops.logsumexp,
        _logsumexp,
        lambda x, axis: np.exp(x - _logsumexp(x, axis, True)),
        sizes=False,
    ),
    "logsumexp of large numbers": Sum(
        lambda x, axis: ops.logsumexp(x * 1024.0, axis),
        lambda x, axis: _logsumexp(x * 1024, axis),
        lambda x, axis: 1024 * np.exp(x * 1024 - _logsumexp(x * 1024, axis, True)),
        sizes=False,
        ulps=64,
    ),
}

SIZES: Final = {
    "float64": (1.0, 1e-200, 1e200, 1e300),
    "float32": (1.0, 1e-30, 1e30),
    "bfloat16": (1.0, 1e-30, 1e30),
    "float16": (1.0,),
}


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("name", SUMS)
@given(data=st.data())
@settings(max_examples=12)
def test_what_adds_up(name: str, dtype: str, backend_name: str, data: st.DataObject) -> None:
    case = SUMS[name]
    lengths, axis = SHAPES[data.draw(st.sampled_from(list(SHAPES)))]
    layout = data.draw(st.sampled_from(LAYOUTS))
    size = data.draw(st.sampled_from(SIZES[dtype])) if case.sizes else 1.0
    array = (numbers(lengths, "float64", "C") * size).astype(as_dtype(dtype))
    if layout == "strided":
        array = np.repeat(array, 2, axis=0)[::2]
    autodiff = Autodiff(computing(backend_name))
    raw = place(autodiff, array, {"C": "contiguous", "F": "transposed"}.get(layout, layout))
    x = born.Tensor(raw, autodiff)
    x.requires_grad = True
    with autodiff.tape:
        y = case.ours(x, axis)
    seed = born.ones(y.shape, autodiff, dtype=dtype)
    slope = autodiff.to_numpy(backward(y, seed=seed)[x])
    exact = array.astype(np.longdouble)
    for got, expected in (
        (y.numpy(), case.value(exact, axis)),
        (slope, case.slope(exact, axis)),
    ):
        wrong = np.abs(got.astype(np.longdouble) - expected).max()
        assert wrong <= case.ulps * EPSILON[dtype] * np.abs(expected).max()


BATCH: Final = 5_000
WIDTH: Final = 3


def _eye(x: T) -> T:
    return born.eye(WIDTH, x.backend, dtype=str(x.dtype))


def _convolved(x: T, p: T) -> T:
    images, weight = x.reshape((BATCH, WIDTH, 1, 1)), _eye(x).reshape((WIDTH, WIDTH, 1, 1))
    return ops.conv2d(images, weight, p).reshape((BATCH, WIDTH))


OVER_ROWS: Final[dict[str, Callable[[T, T], T]]] = {
    "added": lambda x, p: x + p,
    "subtracted": lambda x, p: p - x,
    "multiplied": lambda x, p: (x + 1.0) * p,
    "broadcast": lambda x, p: ops.broadcast_to(p, (BATCH, WIDTH)),
    "rows of a table": lambda x, p: ops.take(
        p.reshape((1, WIDTH)), born.zeros(BATCH, x.backend, dtype="int64")
    ),
    "linear": lambda x, p: ops.linear(x, _eye(x), p),
    "linear and relu": lambda x, p: ops.linear(x + 1.0, _eye(x), p, activation="relu"),
    "product of matrices": lambda x, p: (x[:, :1] + 1.0) @ p.reshape((1, WIDTH)),
    "normalised": lambda x, p: ops.layer_norm(x, p * 0.0, p),
    "convolution": _convolved,
}
"""Maps of rows and a vector whose slope by the vector is one in each row."""


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("name", OVER_ROWS)
def test_gradients_that_add_up_over_rows(
    name: str, dtype: str, autodiff: Autodiff[Backend]
) -> None:
    if autodiff.name == "cupy" and name == "rows of a table":
        pytest.skip("a device adds rows of a table in any order, unless strict")
    x = born.zeros((BATCH, WIDTH), autodiff, dtype=dtype)
    p = born.ones(WIDTH, autodiff, dtype=dtype)
    p.requires_grad = True
    weights = numbers((BATCH, WIDTH), dtype, "C")
    with autodiff.tape:
        loss = (OVER_ROWS[name](x, p) * born.tensor(weights, autodiff)).sum()
    check(autodiff.to_numpy(backward(loss)[p]), exact(weights, 0), dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype", EPSILON)
def test_cross_entropy_of_many_rows(
    dtype: str, reduction: Any, smoothing: float, autodiff: Autodiff[Backend]
) -> None:
    logits = numbers((BATCH, WIDTH), dtype, "C")
    labels = np.arange(BATCH) % WIDTH
    x = born.tensor(logits, autodiff)
    x.requires_grad = True
    with autodiff.tape:
        loss = ops.cross_entropy(x, born.tensor(labels, autodiff), smoothing, reduction)
    slope = autodiff.to_numpy(backward(loss)[x]).astype(np.longdouble)
    wide = logits.astype(np.longdouble)
    log_p = wide - _logsumexp(wide, 1, keepdims=True)
    target = np.eye(WIDTH, dtype=np.longdouble)[labels] * (1 - smoothing) + smoothing / WIDTH
    count = BATCH if reduction == "mean" else 1
    check(loss.numpy(), -(target * log_p).sum() / count, dtype)
    expected = (np.exp(log_p) - target) / count
    assert np.abs(slope - expected).max() <= FEW * EPSILON[dtype] * np.abs(expected).max()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_ties_beyond_the_largest_half(dtype: str, autodiff: Autodiff[Backend]) -> None:
    x = born.ones(70_000, autodiff, dtype=dtype)
    x.requires_grad = True
    with autodiff.tape:
        loss = x.max()
    slope = autodiff.to_numpy(backward(loss)[x]).astype(np.float64)
    assert np.all(slope == float(as_dtype(dtype).type(1 / 70_000)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_nested_cross_entropy_counts_beyond_the_largest_half(dtype: str, backend: Backend) -> None:
    nested = Autodiff(Autodiff(backend))
    logits = born.zeros((70_000, 2), nested, dtype=dtype)
    labels = born.zeros(70_000, nested, dtype="int64")

    def loss(x: T) -> T:
        return ops.cross_entropy(x, labels)

    slope = grad(loss)(logits).numpy().astype(np.float64)
    assert np.all(np.abs(slope) == float(as_dtype(dtype).type(0.5 / 70_000)))


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_normalisation_of_numbers_of_any_size(name: str, dtype: str, backend: Backend) -> None:
    for size in SIZES[dtype]:
        if size < 1:
            continue  # eps decides
        array = (numbers((40, 33), "float64", "C") * size).astype(as_dtype(dtype))
        array[::2] *= -1
        wide = array.astype(np.longdouble)
        if name == "layer_norm":
            wide = _centred(wide, 1)
        scale = np.sqrt(((wide / np.longdouble(size)) ** 2).mean(1, keepdims=True))
        eps = 1e-5 if name == "layer_norm" else 1e-6
        expected = wide / np.longdouble(size) / np.sqrt(scale**2 + eps / np.longdouble(size) ** 2)
        got = getattr(ops, name)(born.tensor(array, backend)).numpy().astype(np.longdouble)
        # Each distance from the mean is itself rounded, and here thirty times smaller.
        ulps = 128 if name == "layer_norm" else FEW
        assert np.abs(got - expected).max() <= ulps * EPSILON[dtype] * np.abs(expected).max()
