"""Every layer against its operation with its parameters: values, gradients, bad arguments."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np
import pytest

import born
from born import nn, ops
from born.autodiff import Autodiff, backward, check_gradients
from born.backend import Backend
from born.errors import (
    ConfigError,
    ConfigTypeError,
    DomainError,
    DTypeError,
    IndexOutOfRangeError,
    OperandError,
    ShapeError,
)
from tests.operations.computing import awaited

AnyLayer: TypeAlias = Any  # one table holds layers of every signature and backend
Parameters: TypeAlias = dict[str, Any]
Formula: TypeAlias = Callable[[Any, Parameters], Any]


@dataclass
class Row:
    """A layer, the shape it takes, its operation, and its parameters' shapes."""

    make: Callable[[Any], AnyLayer]
    shape: tuple[int, ...]
    formula: Formula
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])


F64 = "float64"
IMAGE = (2, 4, 7, 6)


def linear(x: Any, p: Parameters) -> Any:
    return ops.linear(x, p["weight"], p.get("bias"))


def activation(
    make: Callable[[], AnyLayer], formula: Callable[[Any], Any], shape: tuple[int, ...] = (3, 4)
) -> Row:
    return Row(lambda b: make(), shape, lambda x, p: formula(x))


def images(make: Callable[[], AnyLayer], formula: Callable[[Any], Any]) -> Row:
    return activation(make, formula, IMAGE)


def flatten(axis: int, shape: tuple[int, ...], flat: tuple[int, ...]) -> Row:
    return activation(lambda: nn.Flatten(axis), lambda x: x.reshape(flat), shape)


def heads(x: Any, p: Parameters, prefix: str = "") -> Any:
    """Attention in two heads of two."""
    y = ops.linear(x, p[f"{prefix}project.weight"], p[f"{prefix}project.bias"])
    q, k, v = (
        y[..., 4 * i : 4 * i + 4].reshape(2, 3, 2, 2).transpose(0, 2, 1, 3) for i in range(3)
    )
    joined = ops.attention(q, k, v).transpose(0, 2, 1, 3).reshape(2, 3, 4)
    return ops.linear(joined, p[f"{prefix}out.weight"], p[f"{prefix}out.bias"])


def block(x: Any, p: Parameters) -> Any:
    def norm(x: Any, name: str) -> Any:
        return ops.layer_norm(x, p[f"{name}.weight"], p[f"{name}.bias"])

    x = x + heads(norm(x, "norm_1"), p, "attention.")
    up = ops.tanh(ops.linear(norm(x, "norm_2"), p["up.weight"], p["up.bias"]))
    return x + ops.linear(up, p["down.weight"], p["down.bias"])


def parity(name: str, *args: Any) -> tuple[Callable[[], AnyLayer], Callable[[Any], Any]]:
    """A layer twice: its values are compared with PyTorch's below."""

    def make() -> AnyLayer:
        return getattr(nn, name)(*args)

    return make, lambda x: make()(x)


ACTIVATIONS = {
    "ELU": parity("ELU", 0.7),
    "SELU": parity("SELU"),
    "Mish": parity("Mish"),
    "GLU": parity("GLU"),
    "GLU along axis 0": parity("GLU", 0),
    "LogSigmoid": parity("LogSigmoid"),
    "Softsign": parity("Softsign"),
    "Hardtanh": parity("Hardtanh", -0.3, 0.8),
    "Hardsigmoid": parity("Hardsigmoid"),
    "Hardswish": parity("Hardswish"),
}
"""Activations that are formulas of their own, as PyTorch calls them."""

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
        lambda x, p: ops.tanh(linear(x, p)),
        {"weight": (5, 3), "bias": (5,)},
    ),
    "Conv2d": Row(
        lambda b: nn.Conv2d(4, 6, 3, b, dtype=F64),
        IMAGE,
        lambda x, p: ops.conv2d(x, p["weight"], p["bias"]),
        {"weight": (6, 4, 3, 3), "bias": (6,)},
    ),
    "Conv2d with every option": Row(
        lambda b: nn.Conv2d(
            4, 6, (3, 2), b, stride=2, padding=3, dilation=4, groups=2, bias=False, dtype=F64
        ),
        (2, 4, 9, 8),
        lambda x, p: ops.conv2d(x, p["weight"], None, stride=2, padding=3, dilation=4, groups=2),
        {"weight": (6, 2, 3, 2)},
    ),
    "Conv2d of the same size": Row(
        lambda b: nn.Conv2d(4, 6, (3, 2), b, padding="same", dtype=F64),
        IMAGE,
        lambda x, p: ops.conv2d(x, p["weight"], p["bias"], padding="same"),
        {"weight": (6, 4, 3, 2), "bias": (6,)},
    ),
    "Conv1d": Row(
        lambda b: nn.Conv1d(4, 6, 3, b, stride=2, padding=1, dilation=2, groups=2, dtype=F64),
        (2, 4, 9),
        lambda x, p: ops.conv1d(x, p["weight"], p["bias"], 2, 1, 2, 2),
        {"weight": (6, 2, 3), "bias": (6,)},
    ),
    "ConvTranspose2d": Row(
        lambda b: nn.ConvTranspose2d(4, 6, (3, 2), b, 2, 1, (1, 0), 2, dtype=F64),
        IMAGE,
        lambda x, p: ops.conv_transpose2d(x, p["weight"], p["bias"], 2, 1, (1, 0), 2),
        {"weight": (4, 3, 3, 2), "bias": (6,)},
    ),
    "ConvTranspose2d without bias": Row(
        lambda b: nn.ConvTranspose2d(4, 2, 2, b, bias=False, dilation=3, dtype=F64),
        IMAGE,
        lambda x, p: ops.conv_transpose2d(x, p["weight"], dilation=3),
        {"weight": (4, 2, 2, 2)},
    ),
    "Conv2d in a circle": Row(
        lambda b: nn.Conv2d(
            4, 6, (3, 2), b, padding="same", dilation=2, padding_mode="circular", dtype=F64
        ),
        IMAGE,
        lambda x, p: ops.conv2d(
            ops.pad(x, [(0, 0), (0, 0), (2, 2), (1, 1)], mode="wrap"),
            p["weight"],
            p["bias"],
            dilation=2,
        ),
        {"weight": (6, 4, 3, 2), "bias": (6,)},
    ),
    "Conv1d of a mirrored line": Row(
        lambda b: nn.Conv1d(4, 6, 3, b, padding=2, padding_mode="reflect", bias=False, dtype=F64),
        (2, 4, 9),
        lambda x, p: ops.conv1d(ops.pad(x, [(0, 0), (0, 0), (2, 2)], mode="reflect"), p["weight"]),
        {"weight": (6, 4, 3)},
    ),
    "ConvTranspose1d": Row(
        lambda b: nn.ConvTranspose1d(4, 6, 3, b, 2, 1, 1, 2, dtype=F64),
        (2, 4, 7),
        lambda x, p: ops.conv_transpose1d(x, p["weight"], p["bias"], 2, 1, 1, 2),
        {"weight": (4, 3, 3), "bias": (6,)},
    ),
    "MaxPool1d": activation(
        lambda: nn.MaxPool1d(3, 2, 1), lambda x: ops.max_pool1d(x, 3, 2, 1), (2, 3, 7)
    ),
    "AvgPool1d": activation(lambda: nn.AvgPool1d(2), lambda x: ops.avg_pool1d(x, 2), (2, 3, 7)),
    "AdaptiveAvgPool1d": activation(
        lambda: nn.AdaptiveAvgPool1d(3), lambda x: ops.adaptive_avg_pool1d(x, 3), (2, 3, 7)
    ),
    "AdaptiveAvgPool2d": images(
        lambda: nn.AdaptiveAvgPool2d((3, 2)), lambda x: ops.adaptive_avg_pool2d(x, (3, 2))
    ),
    "AdaptiveMaxPool1d": activation(
        lambda: nn.AdaptiveMaxPool1d(3), lambda x: ops.adaptive_max_pool1d(x, 3), (2, 3, 7)
    ),
    "AdaptiveMaxPool2d": images(
        lambda: nn.AdaptiveMaxPool2d((3, 2)), lambda x: ops.adaptive_max_pool2d(x, (3, 2))
    ),
    "AvgPool1d of what is there": activation(
        lambda: nn.AvgPool1d(3, 2, 1, count_include_pad=False),
        lambda x: ops.avg_pool1d(x, 3, 2, 1, count_include_pad=False),
        (2, 3, 7),
    ),
    "AvgPool2d of what is there": images(
        lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        lambda x: ops.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    "PixelShuffle": images(lambda: nn.PixelShuffle(2), lambda x: ops.pixel_shuffle(x, 2)),
    "PixelUnshuffle": activation(
        lambda: nn.PixelUnshuffle(2), lambda x: ops.pixel_unshuffle(x, 2), (2, 3, 4, 6)
    ),
    "Upsample": images(
        lambda: nn.Upsample(scale_factor=2), lambda x: ops.upsample(x, scale_factor=2)
    ),
    "Upsample by lines": images(
        lambda: nn.Upsample((9, 5), mode="bilinear", align_corners=True),
        lambda x: ops.upsample(x, (9, 5), mode="bilinear", align_corners=True),
    ),
    "MaxPool2d": images(lambda: nn.MaxPool2d(2), lambda x: ops.max_pool2d(x, 2, 2)),
    "MaxPool2d with every option": images(
        lambda: nn.MaxPool2d(2, stride=3, padding=1, dilation=4),
        lambda x: ops.max_pool2d(x, 2, stride=3, padding=1, dilation=4),
    ),
    "AvgPool2d": images(lambda: nn.AvgPool2d(2), lambda x: ops.avg_pool2d(x, 2, 2)),
    "AvgPool2d with every option": images(
        lambda: nn.AvgPool2d(3, stride=2, padding=1),
        lambda x: ops.avg_pool2d(x, 3, stride=2, padding=1),
    ),
    "Flatten": flatten(1, (2, 3, 4), (2, 12)),
    "Flatten from axis 0": flatten(0, (2, 3), (6,)),
    "Flatten no elements": flatten(1, (0, 3, 4), (0, 12)),
    "Flatten a vector": flatten(1, (3,), (3, 1)),
    "Unflatten": activation(
        lambda: nn.Unflatten(-2, (2, 3)), lambda x: x.reshape(2, 2, 3, 4), (2, 6, 4)
    ),
    "Identity": activation(nn.Identity, lambda x: x),
    "Lambda": activation(lambda: nn.Lambda(ops.square), ops.square),
    "Dropout": activation(lambda: nn.Dropout(0.5).eval(), lambda x: x),
    "Dropout1d": activation(lambda: nn.Dropout1d(0.5).eval(), lambda x: x, (2, 3, 4)),
    "Dropout2d": images(lambda: nn.Dropout2d(0.0), lambda x: x),
    "LayerNorm": Row(
        lambda b: nn.LayerNorm(5, b, dtype=F64),
        (2, 3, 5),
        lambda x, p: ops.layer_norm(x, p["weight"], p["bias"], axes=1, eps=1e-5),
        {"weight": (5,), "bias": (5,)},
    ),
    "LayerNorm over two axes": Row(
        lambda b: nn.LayerNorm((3, 5), b, eps=0.1, bias=False, dtype=F64),
        (2, 3, 5),
        lambda x, p: ops.layer_norm(x, p["weight"], axes=2, eps=0.1),
        {"weight": (3, 5)},
    ),
    "RMSNorm": Row(
        lambda b: nn.RMSNorm(5, b, dtype=F64),
        (2, 3, 5),
        lambda x, p: ops.rms_norm(x, p["weight"], axes=1, eps=1e-6),
        {"weight": (5,)},
    ),
    "RMSNorm over two axes": Row(
        lambda b: nn.RMSNorm([3, 5], b, eps=0.1, dtype=F64),
        (3, 5),
        lambda x, p: ops.rms_norm(x, p["weight"], axes=2, eps=0.1),
        {"weight": (3, 5)},
    ),
    "BatchNorm1d": Row(
        lambda b: nn.BatchNorm1d(4, b, track_running_stats=False, dtype=F64),
        (3, 4),
        lambda x, p: ops.batch_norm(x, p["weight"], p["bias"], eps=1e-5),
        {"weight": (4,), "bias": (4,)},
    ),
    "BatchNorm2d": Row(
        lambda b: nn.BatchNorm2d(4, b, eps=0.1, affine=False, track_running_stats=False, dtype=F64),
        IMAGE,
        lambda x, p: ops.batch_norm(x, eps=0.1),
    ),
    "BatchNorm2d in use": Row(
        lambda b: nn.BatchNorm2d(4, b, dtype=F64).eval(),
        IMAGE,
        lambda x, p: ops.batch_norm(
            x, p["weight"], p["bias"], mean=p["running_mean"], variance=p["running_var"]
        ),
        {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,)},
    ),
    "GroupNorm": Row(
        lambda b: nn.GroupNorm(2, 4, b, eps=0.1, dtype=F64),
        IMAGE,
        lambda x, p: ops.group_norm(x, 2, p["weight"], p["bias"], eps=0.1),
        {"weight": (4,), "bias": (4,)},
    ),
    "GroupNorm without weight": Row(
        lambda b: nn.GroupNorm(2, 4, b, affine=False, dtype=F64),
        (3, 4, 5),
        lambda x, p: ops.group_norm(x, 2),
    ),
    "InstanceNorm1d": Row(
        lambda b: nn.InstanceNorm1d(4, b, dtype=F64), (2, 4, 5), lambda x, p: ops.group_norm(x, 4)
    ),
    "InstanceNorm2d": Row(
        lambda b: nn.InstanceNorm2d(4, b, dtype=F64), IMAGE, lambda x, p: ops.group_norm(x, 4)
    ),
    "InstanceNorm2d with weight": Row(
        lambda b: nn.InstanceNorm2d(4, b, affine=True, dtype=F64),
        IMAGE,
        lambda x, p: ops.group_norm(x, 4, p["weight"], p["bias"]),
        {"weight": (4,), "bias": (4,)},
    ),
    "ReLU": activation(nn.ReLU, lambda x: x.relu()),
    "LeakyReLU": activation(lambda: nn.LeakyReLU(0.2), lambda x: ops.maximum(x, x * 0.2)),
    "GELU": activation(nn.GELU, lambda x: ops.gelu(x, "none")),
    "GELU by tanh": activation(lambda: nn.GELU("tanh"), lambda x: ops.gelu(x, "tanh")),
    "SiLU": activation(nn.SiLU, ops.silu),
    "Sigmoid": activation(nn.Sigmoid, ops.sigmoid),
    "Tanh": activation(nn.Tanh, ops.tanh),
    "Softplus": activation(nn.Softplus, ops.softplus),
    "Softmax": activation(nn.Softmax, lambda x: ops.softmax(x, -1)),
    "Softmax along axis 0": activation(lambda: nn.Softmax(0), lambda x: ops.softmax(x, 0)),
    "LogSoftmax": activation(nn.LogSoftmax, lambda x: ops.log_softmax(x, -1)),
    "Sequential": Row(
        lambda b: nn.Sequential(nn.Linear(3, 2, b, bias=False, dtype=F64), nn.ReLU()),
        (4, 3),
        lambda x, p: ops.relu(ops.linear(x, p["0.weight"])),
        {"0.weight": (2, 3)},
    ),
    "PReLU": Row(
        lambda b: nn.PReLU(b, dtype=F64),
        (2, 3),
        lambda x, p: ops.where(x > 0.0, x, x * p["weight"]),
        {"weight": (1,)},
    ),
    "PReLU of channels": Row(
        lambda b: nn.PReLU(b, 4, dtype=F64),
        IMAGE,
        lambda x, p: ops.where(x > 0.0, x, x * p["weight"].reshape(4, 1, 1)),
        {"weight": (4,)},
    ),
    "MultiHeadAttention": Row(
        lambda b: nn.MultiHeadAttention(4, 2, b, dtype=F64),
        (2, 3, 4),
        lambda x, p: heads(x, p),
        {"project.weight": (12, 4), "project.bias": (12,), "out.weight": (4, 4), "out.bias": (4,)},
    ),
    "TransformerBlock": Row(
        lambda b: nn.TransformerBlock(4, 2, b, hidden=5, activation="tanh", dtype=F64),
        (2, 3, 4),
        lambda x, p: block(x, p),
        {
            **{f"norm_{i}.{name}": (4,) for i in (1, 2) for name in ("weight", "bias")},
            "attention.project.weight": (12, 4),
            "attention.project.bias": (12,),
            "attention.out.weight": (4, 4),
            "attention.out.bias": (4,),
            "up.weight": (5, 4),
            "up.bias": (5,),
            "down.weight": (4, 5),
            "down.bias": (4,),
        },
    ),
    **{name: activation(*each, (4, 6)) for name, each in ACTIVATIONS.items()},
    # Embedding takes integers and has tests of its own below; those of recurrent layers, which
    # return states beside their result, are in test_recurrent.py.
}
"""Layers; that operations compute their formulas, tests/operations checks."""


def values(shape: tuple[int, ...], seed: int = 0) -> Any:
    """Distinct values of both signs, none near a kink or another one."""
    count = math.prod(shape)
    order = np.random.default_rng(seed).permutation(count).reshape(shape)
    return (order - count // 2 + 0.25) / max(count // 4, 1)


def test_every_layer_has_a_row() -> None:
    layers = {
        name
        for name, value in vars(nn).items()
        if inspect.isclass(value) and issubclass(value, nn.Layer)
    }
    elsewhere = {"Embedding", "GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"}
    tested = {row.split(" ")[0] for row in ROWS} | elsewhere
    assert layers - {"Layer", "Module", "Stateless"} == tested


@pytest.mark.parametrize("name", ROWS)
def test_layer_is_its_operation_with_its_parameters(autodiff: Autodiff[Backend], name: str) -> None:
    row = ROWS[name]
    layer = row.make(autodiff)
    state: Parameters = layer.state_dict() if row.parameters else {}
    count = state.pop("num_batches_tracked", None)
    assert {path: raw.shape for path, raw in state.items()} == row.parameters
    if state:
        drawn: Parameters = {path: values(raw.shape, 1) for path, raw in state.items()}
        drawn |= {path: abs(x) for path, x in drawn.items() if "running" in path}
        drawn |= {} if count is None else {"num_batches_tracked": count}
        layer.load_state_dict(drawn)
    held = dict(layer.named_state()) if state else {}
    parameters = dict(layer.named_parameters()) if state else {}
    assert all(parameter.requires_grad for parameter in parameters.values())
    x = nn.Parameter(born.tensor(values(row.shape), autodiff))
    found: list[list[Any]] = []

    def operation(x: Any) -> Any:
        return row.formula(x, held)

    for compute in (layer, operation):
        with autodiff.tape:
            y = compute(x)
            # Weights that differ, so that no two elements can be mixed up unseen.
            loss = (y * born.tensor(values(y.shape, 2), autodiff)).sum()
        gradients = backward(loss)
        leaves = [x, *parameters.values()]
        found.append([y.numpy(), *[autodiff.to_numpy(gradients[leaf]) for leaf in leaves]])
    # Compiled loops and devices have functions of their own for formulas.
    ulps = 0 if autodiff.name == "numpy" else 64
    for got, expected in zip(*found, strict=True):
        assert got.dtype == np.float64
        size = np.abs(expected).max(initial=0.0)
        assert np.abs(got - expected).max(initial=0.0) <= ulps * np.spacing(size)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_pytorch(name: str, autodiff: Autodiff[Backend]) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: the parity extra")
    layer = ACTIVATIONS[name][0]()
    settings = cast("Parameters", vars(layer))
    theirs = getattr(torch.nn, name.partition(" ")[0])(*settings.values())
    array = np.linspace(-8.0, 8.0, 54).reshape(6, 9)[:, :8].copy()
    leaf = torch.tensor(array, requires_grad=True)
    expected = theirs(leaf)
    expected.sum().backward()
    x = nn.Parameter(born.tensor(array, autodiff))
    with autodiff.tape:
        y = layer(x)
        loss = y.sum()
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-15)
    # PyTorch's slope of Hardsigmoid is 1/6 in float32.
    rtol = 1e-7 if name == "Hardsigmoid" else 1e-12
    slopes = autodiff.to_numpy(backward(loss)[x])
    np.testing.assert_allclose(slopes, leaf.grad.numpy(), rtol=rtol, atol=1e-15)
    check_gradients(layer, born.tensor(array[:, ::2] + 0.1, autodiff), order=2)
    wrong: Any = np.ones(4)
    with pytest.raises(OperandError, match=f"expected a tensor.* in .*{type(layer).__name__}"):
        layer(wrong)


def test_channels_are_dropped_whole(autodiff: Autodiff[Backend]) -> None:
    autodiff.seed(0)
    for layer, shape in ((nn.Dropout1d(0.5), (8, 4, 5)), (nn.Dropout2d(0.5), (8, 4, 2, 3))):
        y = layer(born.ones(shape, autodiff)).numpy().reshape(8, 4, -1)
        assert set(np.unique(y)) == {0.0, 2.0}
        assert (y == y[..., :1]).all()


def test_padding_of_an_embedding_is_not_trained(autodiff: Autodiff[Backend]) -> None:
    layer = nn.Embedding(4, 3, autodiff, padding_idx=-2)
    assert layer.padding_idx == 2
    assert not layer.weight.numpy()[2].any()
    assert layer.weight.numpy()[[0, 1, 3]].all()
    layer.weight.assign(layer.weight + 1.0)
    with autodiff.tape:
        y = layer(born.tensor(np.array([2, 0, 2]), autodiff))
        loss = y.sum()
    np.testing.assert_array_equal(y.numpy(), layer.weight.numpy()[[2, 0, 2]])
    slopes = autodiff.to_numpy(backward(loss)[layer.weight])
    np.testing.assert_array_equal(slopes, np.outer([1, 0, 0, 0], np.ones(3)))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("Linear", 2),
        ("Conv2d", 3),
        ("LayerNorm", 1),
        ("RMSNorm", 1),
        ("Embedding", 2),
        ("BatchNorm2d", 1),
        ("GroupNorm", 2),
    ],
)
def test_parameters_have_their_dtype(backend: Backend, kind: str, sizes: int, dtype: str) -> None:
    layer = getattr(nn, kind)(*[2] * sizes, backend, dtype=dtype)
    assert {p.dtype.name for p in layer.parameters()} == {dtype}


def test_norms_begin_as_bare_normalisation(backend: Backend) -> None:
    layer, rms = nn.LayerNorm((2, 3), backend), nn.RMSNorm(3, backend)
    assert layer.bias is not None
    for parameter, expected in ((layer.weight, 1.0), (layer.bias, 0.0), (rms.weight, 1.0)):
        np.testing.assert_array_equal(parameter.numpy(), np.full(parameter.shape, expected))


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


def test_dropout_in_training_draws_anew(autodiff: Autodiff[Backend]) -> None:
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
    (lambda b: nn.Conv1d(4, 6, 3, b, groups=4), ConfigError, "groups=4, got 4 and 6; change"),
    (lambda b: nn.Conv1d(1, 1, 3, b, 2, "same"), ConfigError, "a stride of 1 with padding"),
    (lambda b: loose.Conv2d(1, 1, 3, b, padding="full"), ConfigError, 'padding="same" or "valid"'),
    (lambda b: nn.ConvTranspose2d(1, 1, 0, b), ConfigError, "kernel_size of at least 1"),
    (lambda b: nn.Upsample(), ConfigError, "a size or a scale_factor, got None and None"),
    (lambda b: loose.Upsample(2, mode="cubic"), DomainError, 'mode="nearest" or "bilinear"'),
    (lambda b: nn.AdaptiveAvgPool2d(0), ConfigError, "output_size of at least 1"),
    (lambda b: nn.MaxPool2d(0), ConfigError, "kernel_size of at least 1"),
    (lambda b: loose.AvgPool2d("2"), ConfigTypeError, "kernel_size as an integer, got '2'"),
    (lambda b: nn.Flatten(-1), ConfigError, "start_axis of at least 0, got -1"),
    (lambda b: nn.Dropout(1.5), ConfigError, "p as a finite number from 0"),
    (lambda b: nn.Dropout(math.nan), ConfigError, "got nan"),
    (lambda b: loose.Dropout("0.5"), ConfigTypeError, r"convert it with float\(\)"),
    (lambda b: nn.LayerNorm(3, b, eps=-1.0), ConfigError, "eps as a finite"),
    (lambda b: nn.LayerNorm((), b), ConfigError, "with at least one axis"),
    (lambda b: nn.BatchNorm1d(3, b, momentum=2.0), ConfigError, "momentum as a finite number from"),
    (lambda b: nn.GroupNorm(2, 3, b), ConfigError, "num_groups=2, got 3; change"),
    (lambda b: nn.RMSNorm((3, 0), b), ConfigError, "normalized_shape of at least"),
    (lambda b: nn.Embedding(0, 3, b), ConfigError, "num_embeddings of at least"),
    (lambda b: nn.Embedding(2, 3, b, padding_idx=2), ConfigError, "padding_idx from -2 to 1, got"),
    (lambda b: loose.Conv2d(1, 1, 3, b, padding_mode="wrap"), ConfigError, '"circular", got'),
    (lambda b: nn.ConvTranspose1d(1, 1, 2, b, 0), ConfigError, "stride of at least"),
    (lambda b: nn.Hardtanh(1.0, 1.0), ConfigError, "low below high, got 1.0 and 1.0; swap"),
    (lambda b: loose.Lambda(nn.ReLU()), ConfigTypeError, "a function of a tensor, got ReLU; pass"),
    (lambda b: nn.Unflatten(1, ()), ConfigError, "lengths with at least one axis"),
    (lambda b: nn.PixelShuffle(0), ConfigError, "factor of at least 1"),
    (lambda b: nn.LeakyReLU(math.inf), ConfigError, "slope as a finite number"),
    (lambda b: loose.GELU("fast"), DomainError, 'approximate="none" or "tanh", got \'fast\''),
    (lambda b: loose.Softmax((0, 1)), ConfigTypeError, r"axis as an integer, got \(0, 1\)"),
]


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings_are_refused(backend: Backend, case: Any) -> None:
    make, error, words = case
    with pytest.raises(error, match=words):
        make(backend)


BAD_INPUT: dict[str, tuple[Callable[[Any], AnyLayer], tuple[int, ...], str]] = {
    "Linear": (lambda b: nn.Linear(3, 2, b), (4, 5), "3"),
    "Conv2d: channels": (lambda b: nn.Conv2d(3, 2, 1, b), (1, 4, 5, 5), "channels"),
    "Conv2d: axes": (lambda b: nn.Conv2d(3, 2, 1, b), (3, 5, 5), "batch, channels, height, width"),
    "Conv2d: small": (lambda b: nn.Conv2d(1, 2, 5, b), (1, 1, 4, 9), "at least 5"),
    "MaxPool2d": (lambda b: nn.MaxPool2d(3), (1, 1, 2, 2), "at least 3"),
    "AvgPool2d": (lambda b: nn.AvgPool2d(3), (4, 4), "batch, channels, height, width"),
    "Conv1d": (lambda b: nn.Conv1d(3, 2, 1, b), (1, 3, 5, 5), r"lines of shape .* in conv1d"),
    "MaxPool1d": (lambda b: nn.MaxPool1d(3), (1, 1), "in max_pool1d, got"),
    "ConvTranspose2d": (lambda b: nn.ConvTranspose2d(3, 2, 1, b), (1, 4, 5, 5), "for 4 channels"),
    "ConvTranspose2d: output padding": (
        lambda b: nn.ConvTranspose2d(1, 1, 3, b, output_padding=1),
        (1, 1, 4, 4),
        r"output_padding less than the stride \(1, 1\)",
    ),
    "ConvTranspose2d: small": (
        lambda b: nn.ConvTranspose2d(1, 1, 1, b, padding=1),
        (1, 1, 2, 2),
        "a result with pixels in conv_transpose2d, got one of 0 by 0",
    ),
    "AdaptiveAvgPool2d": (lambda b: nn.AdaptiveAvgPool2d(1), (1, 3, 0, 2), "with pixels in"),
    "Upsample": (lambda b: nn.Upsample(2), (1, 3, 2), "with pixels in upsample"),
    "Flatten": (lambda b: nn.Flatten(2), (3,), r"at least 2 axes .* got shape \(3,\)"),
    "LayerNorm": (lambda b: nn.LayerNorm(3, b), (2, 1), r"last axes have shape \(3,\), got .*2, 1"),
    "LayerNorm: axes": (lambda b: nn.LayerNorm((2, 3), b), (3,), r"last axes have shape \(2, 3\)"),
    "RMSNorm": (lambda b: nn.RMSNorm(1, b), (2, 3), r"last axes have shape \(1,\)"),
    "BatchNorm1d": (lambda b: nn.BatchNorm1d(3, b), (2, 4), r"\(batch, channels\) or .* with 3"),
    "BatchNorm1d: axes": (lambda b: nn.BatchNorm1d(3, b), (2, 3, 4, 5), "with 3 channels"),
    "BatchNorm1d: one value": (lambda b: nn.BatchNorm1d(3, b), (1, 3), "more than one value"),
    "BatchNorm2d": (lambda b: nn.BatchNorm2d(3, b), (2, 3), "height, width.* with 3 channels"),
    "GroupNorm": (lambda b: nn.GroupNorm(2, 4, b), (2, 3), r"\(batch, 4, ...\), got \(2, 3\)"),
    "InstanceNorm2d": (lambda b: nn.InstanceNorm2d(4, b), (2, 4), "images of shape"),
    "InstanceNorm1d": (lambda b: nn.InstanceNorm1d(4, b), (2, 3, 5), r"lines of shape \(batch, 4"),
    "Dropout2d": (lambda b: nn.Dropout2d(), (2, 3, 4), "channels, height, width.*, got"),
    "Dropout1d": (lambda b: nn.Dropout1d(), (2, 3), r"channels, length\), got \(2, 3\); reshape"),
    "ConvTranspose1d": (lambda b: nn.ConvTranspose1d(3, 2, 1, b), (1, 3), "in conv_transpose1d"),
    "Conv2d: circular": (
        lambda b: nn.Conv2d(3, 2, 3, b, padding=1, padding_mode="circular"),
        (3, 5, 5),
        "batch, channels, height, width",
    ),
    "AdaptiveMaxPool2d": (lambda b: nn.AdaptiveMaxPool2d(1), (1, 3, 0, 2), "with pixels in"),
    "PixelShuffle": (lambda b: nn.PixelShuffle(2), (1, 3, 4, 4), "4, the square of the factor"),
    "PixelUnshuffle": (lambda b: nn.PixelUnshuffle(2), (1, 3, 5, 4), "whose sides 2 divides, got"),
    "Unflatten": (lambda b: nn.Unflatten(1, (2, 2)), (3, 5), "4 elements along axis 1"),
    "GLU": (lambda b: nn.GLU(), (2, 3), "an even length along axis -1"),
    "PReLU": (lambda b: nn.PReLU(b, 3), (2, 4), r"\(batch, 3, ...\), got \(2, 4\)"),
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
    assert layer(born.zeros((1, 3), backend)).shape == (1, 3)
