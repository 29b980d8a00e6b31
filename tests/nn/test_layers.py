"""Every layer against its formula in plain NumPy: values, gradients, parameters, bad arguments."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pytest

import born
from born import nn
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import (
    ConfigError,
    ConfigTypeError,
    DomainError,
    DTypeError,
    IndexOutOfRangeError,
    ShapeError,
)
from born.tensor import Tensor
from tests.operations.computing import awaited

AnyLayer: TypeAlias = Any  # one table holds layers of every signature and backend
Parameters: TypeAlias = dict[str, Any]
Formula: TypeAlias = Callable[[Any, Parameters], Any]

# The results are sums of at most a hundred float64 terms of order one.
TOLERANCE = 1e-12


def erf(x: Any) -> Any:
    return np.vectorize(math.erf)(x)


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def conv2d(
    x: Any, w: Any, b: Any, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> Any:
    """The formula of the docstring, one element (u, v) of the windows after the other."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    out, per_group, kh, kw = w.shape
    rows = (x.shape[2] - dilation * (kh - 1) - 1) // stride + 1
    columns = (x.shape[3] - dilation * (kw - 1) - 1) // stride + 1
    y = np.zeros((x.shape[0], out, rows, columns))
    for o, u, v in np.ndindex(out, kh, kw):
        first = (o // (out // groups)) * per_group
        down, right = dilation * u, dilation * v
        pixels = x[:, first : first + per_group, down:, right:][:, :, ::stride, ::stride]
        y[:, o] += np.einsum("c,ncij->nij", w[o, :, u, v], pixels[:, :, :rows, :columns])
    return y + (0.0 if b is None else b[:, None, None])


def pool(x: Any, kernel: int, stride: int, padding: int, fill: float, summary: Any) -> Any:
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    return summary(windows[:, :, ::stride, ::stride], axis=(-2, -1))


def layer_norm(x: Any, p: Parameters, axes: tuple[int, ...], eps: float = 1e-5) -> Any:
    scale = np.sqrt(x.var(axes, keepdims=True) + eps)
    return (x - x.mean(axes, keepdims=True)) / scale * p["weight"] + p.get("bias", 0.0)


def rms_norm(x: Any, p: Parameters, axes: tuple[int, ...], eps: float = 1e-6) -> Any:
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps) * p["weight"]


@dataclass
class Row:
    """A layer, the shape it takes, its formula, and its parameters' shapes."""

    make: Callable[[Any], AnyLayer]
    shape: tuple[int, ...]
    formula: Formula
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])


F64 = "float64"
IMAGE = (2, 4, 7, 6)


def linear(x: Any, p: Parameters) -> Any:
    return x @ p["weight"].T + p.get("bias", 0.0)


def activation(make: Callable[[], AnyLayer], formula: Callable[[Any], Any]) -> Row:
    return Row(lambda b: make(), (3, 4), lambda x, p: formula(x))


def pooling(make: Callable[[], AnyLayer], *window: Any) -> Row:
    return Row(lambda b: make(), IMAGE, lambda x, p: pool(x, *window))


def flatten(axis: int, shape: tuple[int, ...], flat: tuple[int, ...]) -> Row:
    return Row(lambda b: nn.Flatten(axis), shape, lambda x, p: x.reshape(flat))


MAX = (-np.inf, np.max)
MEAN = (0.0, np.mean)

ROWS = {
    "Linear": Row(
        lambda b: nn.Linear(3, 5, b, dtype=F64), (2, 4, 3), linear, {"weight": (5, 3), "bias": (5,)}
    ),
    "Linear without bias": Row(
        lambda b: nn.Linear(3, 5, b, bias=False, dtype=F64), (2, 3), linear, {"weight": (5, 3)}
    ),
    "Linear with an activation": Row(
        lambda b: nn.Linear(3, 5, b, dtype=F64, activation="tanh"),
        (2, 3),
        lambda x, p: np.tanh(linear(x, p)),
        {"weight": (5, 3), "bias": (5,)},
    ),
    "Conv2d": Row(
        lambda b: nn.Conv2d(4, 6, 3, b, dtype=F64),
        IMAGE,
        lambda x, p: conv2d(x, p["weight"], p["bias"]),
        {"weight": (6, 4, 3, 3), "bias": (6,)},
    ),
    "Conv2d with every option": Row(
        lambda b: nn.Conv2d(
            4, 6, (3, 2), b, stride=2, padding=2, dilation=2, groups=2, bias=False, dtype=F64
        ),
        IMAGE,
        lambda x, p: conv2d(x, p["weight"], None, stride=2, padding=2, dilation=2, groups=2),
        {"weight": (6, 2, 3, 2)},
    ),
    "MaxPool2d": pooling(lambda: nn.MaxPool2d(2), 2, 2, 0, *MAX),
    "MaxPool2d with options": pooling(lambda: nn.MaxPool2d(3, stride=2, padding=1), 3, 2, 1, *MAX),
    "MaxPool2d with dilation": Row(
        lambda b: nn.MaxPool2d(2, stride=1, dilation=3),
        IMAGE,
        lambda x, p: np.maximum(
            np.maximum(x[:, :, :-3, :-3], x[:, :, 3:, :-3]),
            np.maximum(x[:, :, :-3, 3:], x[:, :, 3:, 3:]),
        ),
    ),
    "AvgPool2d": pooling(lambda: nn.AvgPool2d(2), 2, 2, 0, *MEAN),
    "AvgPool2d with options": pooling(lambda: nn.AvgPool2d(3, stride=2, padding=1), 3, 2, 1, *MEAN),
    "Flatten": flatten(1, (2, 3, 4), (2, 12)),
    "Flatten from axis 0": flatten(0, (2, 3), (6,)),
    "Flatten no elements": flatten(1, (0, 3, 4), (0, 12)),
    "Flatten a vector": flatten(1, (3,), (3, 1)),
    "Dropout": activation(lambda: nn.Dropout(0.5).eval(), lambda x: x),
    "LayerNorm": Row(
        lambda b: nn.LayerNorm(5, b, dtype=F64),
        (2, 3, 5),
        lambda x, p: layer_norm(x, p, (-1,)),
        {"weight": (5,), "bias": (5,)},
    ),
    "LayerNorm over two axes": Row(
        lambda b: nn.LayerNorm((3, 5), b, eps=0.1, bias=False, dtype=F64),
        (2, 3, 5),
        lambda x, p: layer_norm(x, p, (-2, -1), eps=0.1),
        {"weight": (3, 5)},
    ),
    "RMSNorm": Row(
        lambda b: nn.RMSNorm(5, b, dtype=F64),
        (2, 3, 5),
        lambda x, p: rms_norm(x, p, (-1,)),
        {"weight": (5,)},
    ),
    "RMSNorm over two axes": Row(
        lambda b: nn.RMSNorm([3, 5], b, eps=0.1, dtype=F64),
        (3, 5),
        lambda x, p: rms_norm(x, p, (-2, -1), eps=0.1),
        {"weight": (3, 5)},
    ),
    "ReLU": activation(nn.ReLU, lambda x: np.maximum(x, 0.0)),
    "LeakyReLU": activation(lambda: nn.LeakyReLU(0.2), lambda x: np.maximum(x, 0.2 * x)),
    "GELU": activation(nn.GELU, lambda x: 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))),
    "GELU by tanh": activation(
        lambda: nn.GELU("tanh"),
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    "SiLU": activation(nn.SiLU, lambda x: x * sigmoid(x)),
    "Sigmoid": activation(nn.Sigmoid, sigmoid),
    "Tanh": activation(nn.Tanh, np.tanh),
    "Softplus": activation(nn.Softplus, lambda x: np.log1p(np.exp(x))),
    "Softmax": activation(nn.Softmax, softmax),
    "Softmax along axis 0": activation(lambda: nn.Softmax(0), lambda x: softmax(x, 0)),
    "LogSoftmax": activation(nn.LogSoftmax, lambda x: np.log(softmax(x))),
    "Sequential": Row(
        lambda b: nn.Sequential(nn.Linear(3, 2, b, bias=False, dtype=F64), nn.ReLU()),
        (4, 3),
        lambda x, p: np.maximum(x @ p["0.weight"].T, 0.0),
        {"0.weight": (2, 3)},
    ),
    # Embedding takes integers and has tests of its own below.
}


def values(shape: tuple[int, ...], seed: int = 0) -> Any:
    """Distinct values of both signs, none near a kink or another one."""
    count = math.prod(shape)
    order = np.random.default_rng(seed).permutation(count).reshape(shape)
    return (order - count // 2 + 0.25) / max(count // 4, 1)


def ready(row: Row, backend: Any) -> tuple[AnyLayer, Parameters]:
    """The layer with known parameters, and those."""
    layer = row.make(backend)
    known = {path: values(shape, 1) for path, shape in row.parameters.items()}
    if known:
        layer.load_state_dict(known)
    return layer, known


def test_every_layer_has_a_row() -> None:
    layers = {
        name
        for name, value in vars(nn).items()
        if inspect.isclass(value) and issubclass(value, nn.Layer)
    }
    tested = {row.split(" ")[0] for row in ROWS} | {"Embedding"}
    assert layers - {"Layer", "Module", "Stateless"} == tested


@pytest.mark.parametrize("name", ROWS)
def test_layer_computes_its_formula(backend: Backend, name: str) -> None:
    row = ROWS[name]
    layer, known = ready(row, backend)
    x = values(row.shape)
    y = layer(born.tensor(x, backend))
    expected = row.formula(x, known)
    assert y.shape == expected.shape
    assert y.dtype == np.float64
    np.testing.assert_allclose(y.numpy(), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.parameters])
def test_state_paths_and_shapes(backend: Backend, name: str) -> None:
    layer = ROWS[name].make(backend)
    shapes = {path: raw.shape for path, raw in layer.state_dict().items()}
    assert shapes == ROWS[name].parameters
    assert all(parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize("name", ROWS)
def test_gradients_agree_with_central_differences(autodiff: Autodiff[Backend], name: str) -> None:
    row = ROWS[name]
    layer, known = ready(row, autodiff)
    x = nn.Parameter(born.tensor(values(row.shape), autodiff))
    with autodiff.tape:
        y = layer(x)
        # Weights that differ, so that no two elements can be mixed up unseen.
        weights = values(y.shape, 2)
        loss = (y * born.tensor(weights, autodiff)).sum()
    gradients = backward(loss)

    inputs = {"": values(row.shape), **known}

    def value(arrays: Parameters) -> float:
        return float((row.formula(arrays[""], arrays) * weights).sum())

    differences = {path: central_differences(value, inputs, path) for path in inputs}
    leaves = {"": x, **dict(layer.named_parameters() if known else [])}
    assert leaves.keys() == differences.keys()
    for path, leaf in leaves.items():
        # A step of 1e-5 leaves errors of about 1e-10 from the third derivative and from rounding,
        # times the size of the values.
        found = autodiff.to_numpy(gradients[leaf])
        np.testing.assert_allclose(found, differences[path], rtol=1e-6, atol=1e-7, err_msg=path)


def central_differences(
    function: Callable[[Parameters], float], at: Parameters, path: str, step: float = 1e-5
) -> Any:
    """The slope of `function` in each element of one of its arrays."""
    result = np.zeros_like(at[path])
    for index in np.ndindex(result.shape):
        for sign in (1.0, -1.0):
            moved = at[path].copy()
            moved[index] += sign * step
            result[index] += sign * function({**at, path: moved}) / (2.0 * step)
    return result


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("Linear", 2), ("Conv2d", 3), ("LayerNorm", 1), ("RMSNorm", 1), ("Embedding", 2)],
)
def test_parameters_have_the_dtype_asked_for(
    backend: Backend, kind: str, sizes: int, dtype: str
) -> None:
    layer = getattr(nn, kind)(*[2] * sizes, backend, dtype=dtype)
    assert {p.dtype.name for p in layer.parameters()} == {dtype}


def test_norms_begin_as_bare_normalisation(backend: Backend) -> None:
    layer, rms = nn.LayerNorm((2, 3), backend), nn.RMSNorm(3, backend)
    assert layer.bias is not None
    for parameter, expected in ((layer.weight, 1.0), (layer.bias, 0.0), (rms.weight, 1.0)):
        np.testing.assert_array_equal(parameter.numpy(), np.full(parameter.shape, expected))


# -- embedding -----------------------------------------------------------------------------


def test_embedding_picks_rows(backend: Backend) -> None:
    layer = nn.Embedding(5, 3, backend)
    index = np.array([[4, 0, 4], [1, 2, 3]])
    expected = layer.weight.numpy()[index]
    np.testing.assert_array_equal(layer(born.tensor(index, backend)).numpy(), expected)
    assert layer(born.tensor(np.zeros((0, 2), np.int64), backend)).shape == (0, 2, 3)


@pytest.mark.parametrize("index", [5, -1])
def test_embedding_refuses_rows_it_does_not_have(backend: Backend, index: int) -> None:
    layer = nn.Embedding(5, 3, backend)
    rows = born.tensor(np.array([0, index]), backend)
    found = f"from {min(0, index)} to {max(0, index)}|such as {index}"
    with pytest.raises(IndexOutOfRangeError, match=f"from 0 to 4, got integers ({found}); check"):
        awaited(backend, lambda: layer(rows))


def test_embedding_refuses_what_is_not_an_integer(backend: Backend) -> None:
    with pytest.raises(DTypeError, match="integers from 0 to 4, got float32"):
        nn.Embedding(5, 3, backend)(born.zeros((2,), backend))


# -- dropout ---------------------------------------------------------------------------------


def test_dropout_in_training_draws_anew_and_repeats_with_the_seed(
    autodiff: Autodiff[Backend],
) -> None:
    layer, x = nn.Dropout(0.25), nn.Parameter(born.ones((64,), autodiff))
    autodiff.seed(3)
    with autodiff.tape:
        y = layer(x)
        loss = y.sum()
    first, second = y.numpy(), layer(x).numpy()
    assert set(np.unique(first)) == {np.float32(0.0), np.float32(1.0 / 0.75)}
    assert (first != second).any()
    # The gradient passes where the value did.
    np.testing.assert_array_equal(autodiff.to_numpy(backward(loss)[x]), first)
    autodiff.seed(3)
    np.testing.assert_array_equal(layer(x).numpy(), first)


def test_dropout_in_use_draws_nothing(backend: Backend) -> None:
    before = backend.random_state
    x = born.ones((4,), backend)
    assert nn.Dropout(0.5).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x
    assert backend.random_state == before


# -- bad arguments ---------------------------------------------------------------------------

loose: Any = nn  # callers pass what no type allows

BAD_SETTINGS: list[tuple[Callable[[Any], object], type[Exception], str]] = [
    (lambda b: nn.Linear(0, 3, b), ConfigError, "in_features of at least 1, got 0"),
    (lambda b: nn.Linear(3, -1, b), ConfigError, "out_features of at least 1"),
    (
        lambda b: loose.Linear(3.0, 1, b),
        ConfigTypeError,
        r"in_features as an integer, got 3\.0 of type float; convert it with int\(\)",
    ),
    (lambda b: nn.Linear(True, 1, b), ConfigTypeError, "got True of type bool"),
    (lambda b: loose.Linear(3, 1, b, F64), ConfigTypeError, "bias as True or False, got 'float64'"),
    (lambda b: nn.Conv2d(4, 6, 3, b, groups=4), ConfigError, "groups=4, got 4 and 6; change"),
    (lambda b: nn.Conv2d(1, 1, 3, b, stride=0), ConfigError, "stride of at least"),
    (lambda b: nn.Conv2d(1, 1, 3, b, padding=(0, -1)), ConfigError, "at least 0, got -1"),
    (lambda b: loose.Conv2d(1, 1, (3, 3, 3), b), ConfigError, r"or two \(height, width\), got 3"),
    (lambda b: nn.MaxPool2d(0), ConfigError, "kernel_size of at least 1"),
    (lambda b: loose.AvgPool2d("2"), ConfigTypeError, "kernel_size as an integer, got '2'"),
    (lambda b: nn.Flatten(-1), ConfigError, "start_axis of at least 0, got -1"),
    (lambda b: nn.Dropout(1.5), ConfigError, "p as a finite number from 0"),
    (lambda b: nn.Dropout(math.nan), ConfigError, "got nan"),
    (lambda b: loose.Dropout("0.5"), ConfigTypeError, r"convert it with float\(\)"),
    (lambda b: nn.LayerNorm(3, b, eps=-1.0), ConfigError, "eps as a finite"),
    (lambda b: nn.LayerNorm((), b), ConfigError, "with at least one axis"),
    (lambda b: nn.RMSNorm((3, 0), b), ConfigError, "normalized_shape of at least"),
    (lambda b: nn.Embedding(0, 3, b), ConfigError, "num_embeddings of at least"),
    (lambda b: nn.LeakyReLU(math.inf), ConfigError, "slope as a finite number"),
    (lambda b: loose.GELU("fast"), DomainError, 'approximate="none" or "tanh", got \'fast\''),
    (lambda b: loose.Softmax((0, 1)), ConfigTypeError, r"axis as an integer, got \(0, 1\)"),
]


@pytest.mark.parametrize(("make", "error", "words"), BAD_SETTINGS)
def test_bad_settings_are_refused(
    backend: Backend, make: Callable[[Any], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make(backend)


BAD_INPUT: dict[str, tuple[Callable[[Any], AnyLayer], tuple[int, ...], str]] = {
    "Linear": (lambda b: nn.Linear(3, 2, b), (4, 5), "3"),
    "Conv2d: channels": (lambda b: nn.Conv2d(3, 2, 1, b), (1, 4, 5, 5), "channels"),
    "Conv2d: axes": (lambda b: nn.Conv2d(3, 2, 1, b), (3, 5, 5), "batch, channels, height, width"),
    "Conv2d: small": (lambda b: nn.Conv2d(1, 2, 5, b), (1, 1, 4, 9), "at least 5"),
    "MaxPool2d": (lambda b: nn.MaxPool2d(3), (1, 1, 2, 2), "at least 3"),
    "AvgPool2d": (lambda b: nn.AvgPool2d(3), (4, 4), "batch, channels, height, width"),
    "Flatten": (lambda b: nn.Flatten(2), (3,), r"at least 2 axes .* got shape \(3,\)"),
    "LayerNorm": (lambda b: nn.LayerNorm(3, b), (2, 1), r"last axes have shape \(3,\), got .*2, 1"),
    "LayerNorm: axes": (lambda b: nn.LayerNorm((2, 3), b), (3,), r"last axes have shape \(2, 3\)"),
    "RMSNorm": (lambda b: nn.RMSNorm(1, b), (2, 3), r"last axes have shape \(1,\)"),
    "Softmax": (lambda b: nn.Softmax(2), (2, 2), "axis"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_shapes_are_refused(backend: Backend, name: str) -> None:
    make, shape, words = BAD_INPUT[name]
    layer, x = make(backend), born.zeros(shape, backend)
    with pytest.raises(ShapeError, match=words):
        layer(x)


def test_sizes_may_be_numpy_integers(backend: Backend) -> None:
    size: Any = np.int64(3)
    layer: nn.Linear[Backend] = nn.Linear(size, size, backend)
    output: Tensor[Backend] = layer(born.zeros((1, 3), backend))
    assert output.shape == (1, 3)
