"""Errors name the function or the layer that was called, whatever it is composed of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

import born
from born import nn, ops, stats
from born.backend import Backend
from born.errors import BackendMismatchError, BornError, DTypeError, OperandError
from tests.operations.functions import FUNCTIONS

F: Final[Any] = ops
N: Final[Any] = nn
Shape: TypeAlias = tuple[int, ...]

# A shape stands for floating elements, what begins with None for labels, all zero.
CALLS: Final[dict[Callable[..., Any], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    F.matmul: (((2, 3), (3, 4)), {}),
    F.linear: (((2, 3), (4, 3), (4,)), {}),
    F.einsum: (("ij,jk->ik", (2, 3), (3, 4)), {}),
    F.tensordot: (((2, 3), (3, 4), 1), {}),
    F.inner: (((3,), (3,)), {}),
    F.outer: (((3,), (3,)), {}),
    F.kron: (((2, 3), (3, 4)), {}),
    F.linalg.lstsq: (((3, 3), (3, 2)), {}),
    F.linalg.solve_triangular: (((3, 3), (3, 2)), {}),
    F.linalg.cross: (((3,), (3,)), {}),
    F.conv1d: (((1, 2, 5), (3, 2, 3), (3,)), {}),
    F.conv2d: (((1, 2, 5, 5), (3, 2, 3, 3), (3,)), {}),
    F.conv_transpose2d: (((1, 2, 5, 5), (2, 3, 3, 3), (3,)), {}),
    F.conv_transpose1d: (((1, 2, 5), (2, 3, 3), (3,)), {}),
    F.max_pool2d: (((1, 2, 4, 4), 2), {}),
    F.avg_pool2d: (((1, 2, 4, 4), 2), {}),
    F.attention: (((2, 3, 4), (2, 5, 4), (2, 5, 6)), {}),
    F.recurrence: (((3, 2, 4), (1, 2, 4), (4, 4), (4,)), {}),
    F.layer_norm: (((2, 3), (3,), (3,)), {}),
    F.rms_norm: (((2, 3), (3,)), {}),
    F.batch_norm: (((2, 3), (3,), (3,)), {}),
    F.group_norm: (((2, 4), 2, (4,), (4,)), {}),
    F.softmax: (((2, 3),), {}),
    F.concatenate: (([(2, 3), (2, 3)],), {}),
    F.stack: (([(2, 3), (2, 3)],), {}),
    F.cross_entropy: (((2, 3), (None, 2)), {"weight": (3,)}),
    N.nll_loss: (((2, 3), (None, 2)), {"weight": (3,)}),
    N.mse_loss: (((2, 3), (2, 3)), {"weight": (3,)}),
    N.l1_loss: (((2, 3), (2, 3)), {"weight": (3,)}),
    N.huber_loss: (((2, 3), (2, 3)), {"weight": (3,)}),
    N.smooth_l1_loss: (((2, 3), (2, 3)), {"weight": (3,)}),
    N.kl_div: (((2, 3), (2, 3)), {}),
    N.binary_cross_entropy_with_logits: (((2, 3), (2, 3)), {"weight": (3,), "pos_weight": (3,)}),
    N.binary_cross_entropy: (((2, 3), (2, 3)), {"weight": (3,)}),
    N.gaussian_nll_loss: (((2, 3), (2, 3), (2, 3)), {}),
    N.poisson_nll_loss: (((2, 3), (2, 3)), {}),
    N.margin_ranking_loss: (((2, 3), (2, 3), (2, 3)), {}),
    N.cosine_embedding_loss: (((2, 3), (2, 3), (2,)), {}),
    N.cosine_similarity: (((2, 3), (2, 3)), {}),
    N.triplet_margin_loss: (((2, 3), (2, 3), (2, 3)), {}),
    N.accuracy: (((2, 3), (None, 2)), {}),
    stats.norm.logpdf: (((3,), (3,), (3,)), {}),
    stats.gamma.logpdf: (((3,), (3,)), {}),
}
"""Function -> its arguments, where shapes stand for tensors."""

ALONE: Final = (F.max_pool2d, F.avg_pool2d, F.softmax)
"""Functions of one tensor, which is on the right backend."""

LAYERS: Final[dict[str, tuple[Callable[[Backend], Any], Shape]]] = {
    "Linear": (lambda b: nn.Linear(3, 4, b), (2, 3)),
    "Conv1d": (lambda b: nn.Conv1d(2, 3, 3, b), (1, 2, 5)),
    "Conv2d": (lambda b: nn.Conv2d(2, 3, 3, b), (1, 2, 5, 5)),
    "ConvTranspose1d": (lambda b: nn.ConvTranspose1d(2, 3, 3, b), (1, 2, 5)),
    "GRUCell": (lambda b: nn.GRUCell(3, 4, b), (2, 3)),
    "PReLU": (lambda b: nn.PReLU(b), (2, 3)),
    "ConvTranspose2d": (lambda b: nn.ConvTranspose2d(2, 3, 3, b), (1, 2, 5, 5)),
    "MultiHeadAttention": (lambda b: nn.MultiHeadAttention(4, 2, b), (1, 3, 4)),
    "TransformerBlock": (lambda b: nn.TransformerBlock(4, 2, b), (1, 3, 4)),
    "LayerNorm": (lambda b: nn.LayerNorm(3, b), (2, 3)),
    "RMSNorm": (lambda b: nn.RMSNorm(3, b), (2, 3)),
    "BatchNorm2d": (lambda b: nn.BatchNorm2d(3, b), (2, 3, 4, 4)),
    "GroupNorm": (lambda b: nn.GroupNorm(2, 4, b), (2, 4, 3)),
    "RNN": (lambda b: nn.RNN(3, 4, b), (2, 5, 3)),
    "LSTM": (lambda b: nn.LSTM(3, 4, b), (2, 5, 3)),
    "GRU": (lambda b: nn.GRU(3, 4, b), (2, 5, 3)),
}
"""Layer -> how to make it, and the shape of its input."""

ELSEWHERE: Final = ("broadcast_arrays", "meshgrid", "block", "gradient", "eigh", "ix_", "cov")
"""Functions whose calls in the table call others, or join what they return."""


@pytest.fixture
def other(backend: Backend) -> Backend:
    """Another backend object of the same kind."""
    return type(backend)()


def wrong(x: Any, other: Backend) -> Iterator[tuple[type[BornError], Any]]:
    """What may stand in place of a tensor by mistake, and the error that it may be."""
    floating = x.dtype.kind == "f"
    yield BackendMismatchError, born.tensor(x.numpy(), other, dtype=str(x.dtype))
    yield OperandError, "x"
    yield BornError, x.astype("float64" if floating else "float32")
    yield BornError, x.reshape((1, 1, *x.shape))
    if x.size:
        yield BornError, x.reshape(-1)[0]


def check(
    name: str,
    function: Callable[..., Any],
    args: list[Any],
    named: dict[str, Any],
    error: type[BornError],
) -> None:
    """Whatever is raised names the function; another backend or a text is refused."""
    caught: BornError | None = None
    try:
        function(*args, **named)
    except BornError as raised:
        caught = raised
    if caught is None:
        assert error is BornError
    else:
        assert isinstance(caught, error)
        assert re.search(rf"\b{name}\b", str(caught)), str(caught)


def filled(shape: Any, backend: Backend) -> Any:
    """A tensor in place of a shape, in lists too."""
    kind = type(shape).__name__
    if kind == "list":
        return [filled(each, backend) for each in shape]
    if kind != "tuple":
        return shape
    if shape[0] is None:
        return born.zeros(shape[1:], backend, dtype="int64")
    return born.ones(shape, backend)


@pytest.mark.parametrize("function", CALLS, ids=lambda each: each.__name__)
def test_functions_are_named(
    function: Callable[..., Any], backend: Backend, other: Backend
) -> None:
    shapes, keywords = CALLS[function]

    def arguments() -> tuple[list[Any], dict[str, Any]]:
        named = {key: filled(shape, backend) for key, shape in keywords.items()}
        return [filled(shape, backend) for shape in shapes], named

    args, named = arguments()
    function(*args, **named)
    for place in (*range(len(shapes)), *keywords):
        args, named = arguments()
        holder: Any = args if isinstance(place, int) else named
        key: Any = place
        if isinstance(holder[key], list):
            holder, key = holder[key], 1
        if not isinstance(holder[key], born.Tensor):
            continue
        for error, value in wrong(holder[key], other):
            if error is not BackendMismatchError or function not in ALONE:
                holder[key] = value
                check(function.__name__, function, args, named, error)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_named(name: str, backend: Backend, other: Backend) -> None:
    make, shape = LAYERS[name]
    layer, x = make(backend), born.ones(shape, backend)
    layer(x)
    for error, value in wrong(x, other):
        check(name, layer, [value], {}, error)


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n.partition(":")[0] not in ELSEWHERE])
def test_functions_of_the_table_are_named(name: str, backend: Backend, other: Backend) -> None:
    function = FUNCTIONS[name]
    inputs = [born.tensor(np.asarray(x), backend, dtype="float32") for x in function.inputs]
    with np.errstate(all="ignore"):
        for place, x in enumerate(inputs):
            for error, value in wrong(x, other):
                if error is OperandError or (error is BackendMismatchError and len(inputs) == 1):
                    continue  # by whom a text is refused depends on the call
                args = [*inputs[:place], value, *inputs[place + 1 :]]
                check(name.partition(":")[0], function.ours, args, {}, error)


def test_a_name_is_added_once_and_for_what_was_called_from_outside(backend: Backend) -> None:
    x, y = born.ones((2, 3), backend), born.ones((3, 2), backend, dtype="float64")
    with pytest.raises(DTypeError, match=r"one dtype in matmul, .*\)$") as plain:
        ops.matmul(x, y)
    assert "(in " not in str(plain.value)

    class Model(nn.Module[Backend]):
        def __init__(self) -> None:
            self.layer = nn.Linear(2, 3, backend)

        def forward(self, x: Any, /) -> Any:
            return self.layer(ops.var(x, (0, 2)))

    with pytest.raises(BornError, match=r"\(in var\)$"):
        Model()(x)


@pytest.mark.parametrize("name", ["Linear[int]", "Linear(2"])
def test_layers_of_any_name_are_named(name: str, backend: Backend) -> None:
    layer: Any = type(name, (nn.Linear,), {})(2, 3, backend)
    with pytest.raises(BornError, match=rf"\(in {re.escape(name)}\)$"):
        layer(born.ones((2, 3), backend))


def test_code_without_a_module_gets_the_error_itself(backend: Backend) -> None:
    x, y = born.ones((2, 3), backend), born.ones((2, 3), backend)
    with pytest.raises(BornError, match="in matmul"):
        exec("matmul(x, y)", {"__name__": None, "matmul": ops.matmul, "x": x, "y": y})
