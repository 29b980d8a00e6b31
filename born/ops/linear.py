"""Matrix products and indexing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from born.backend import Index
from born.errors import DomainError
from born.ops.common import B, on, optional_raw, raw_of, raws
from born.ops.elementwise import gelu, sigmoid, silu, softplus, tanh
from born.tensor import Tensor, raw_index

Activation: TypeAlias = Literal["relu", "gelu", "sigmoid", "silu", "softplus", "tanh"]
"""An activation by its name in `born.ops`."""

_AFTERWARDS: Final[dict[str, Callable[[Tensor[Any]], Tensor[Any]]]] = {
    "gelu": gelu,
    "sigmoid": sigmoid,
    "silu": silu,
    "softplus": softplus,
    "tanh": tanh,
}
"""The activations that no backend computes together with the product."""


def matmul(x: Tensor[B], y: Tensor[B]) -> Tensor[B]:
    """The matrix product of the last two axes; axes before them broadcast.

        z_ij = sum_k x_ik y_kj

    A vector on the left is a row, on the right a column. float16 and bfloat16 add up
    in float32.

    >>> ops.matmul(born.ones((2, 3), backend), born.ones((3, 4), backend)).shape
    (2, 4)
    """
    right = raw_of("matmul", on("matmul", x), y)
    return Tensor(on("matmul", x).matmul(x.raw, right), x.backend)


def linear(
    x: Tensor[B],
    weight: Tensor[B],
    bias: Tensor[B] | None = None,
    *,
    activation: Activation | None = None,
) -> Tensor[B]:
    """An affine map of the last axis, and an activation of the result.

        y = f(x W^T + b)

    Args:
        x: shape (..., in).
        weight: W, shape (out, in), of the dtype of `x`.
        bias: b, shape (out,); none by default.
        activation: f by its name in `born.ops`; none by default. `"relu"` is computed in
            one pass after the product.

    Returns:
        shape (..., out).

    Raises:
        DomainError: there is no such activation.

    >>> x, w = born.ones((1, 3), backend), born.tensor([[1, 1, 1], [-1, -1, -1]], backend)
    >>> ops.linear(x, w, activation="relu")
    Tensor([[3., 0.]], dtype=float32)
    """
    if activation == "relu":
        return linear_relu(x, weight, bias)
    if activation is not None and activation not in _AFTERWARDS:
        raise DomainError(
            f"expected an activation of relu, {', '.join(_AFTERWARDS)} or None, got "
            f"{activation!r}; apply another function to the result"
        )
    backend = on("linear", x)
    w = raw_of("linear", backend, weight)
    y = Tensor(backend.linear(x.raw, w, optional_raw("linear", backend, bias)), backend)
    return y if activation is None else _AFTERWARDS[activation](y)


def linear_relu(x: Tensor[B], weight: Tensor[B], bias: Tensor[B] | None = None) -> Tensor[B]:
    """`linear` with `activation="relu"`: the rectifier is one pass after the product.

        y = max(x W^T + b, 0)

    Args:
        x: shape (..., in).
        weight: W, shape (out, in), of the dtype of `x`.
        bias: b, shape (out,); none by default.

    Returns:
        shape (..., out).

    >>> x, w = born.ones((1, 3), backend), born.tensor([[1, 1, 1], [-1, -1, -1]], backend)
    >>> ops.linear_relu(x, w)
    Tensor([[3., 0.]], dtype=float32)
    """
    backend = on("linear_relu", x)
    w = raw_of("linear_relu", backend, weight)
    b = optional_raw("linear_relu", backend, bias)
    return Tensor(backend.linear_relu(x.raw, w, b), backend)


def getitem(x: Tensor[B], index: Index) -> Tensor[B]:
    """`x[index]`: integers, slices, None, Ellipsis, and tensors of integers or bools.

    >>> ops.getitem(born.tensor([1, 2, 3], backend), slice(0, 2))
    Tensor([1., 2.], dtype=float32)
    """
    return x[index]


def index_add(x: Tensor[B], index: Index, y: Tensor[B]) -> Tensor[B]:
    """A copy of x with y added at `x[index]`; repeated indices add up.

    >>> ops.index_add(born.zeros(2, backend), [1, 1], born.ones(2, backend))
    Tensor([0., 2.], dtype=float32)
    """
    backend = on("index_add", x)
    added = raw_of("index_add", backend, y)
    return Tensor(backend.index_add(x.raw, raw_index(index, backend), added), backend)


def take(x: Tensor[B], index: Tensor[B], axis: int = 0) -> Tensor[B]:
    """The slices of x along an axis that an integer tensor names; a look-up of embeddings.

    >>> table = born.tensor([[1, 2], [3, 4]], backend)
    >>> ops.take(table, born.tensor([1], backend, dtype="int64"))
    Tensor([[3., 4.]], dtype=float32)
    """
    where = raw_of("take", on("take", x), index)
    return Tensor(on("take", x).take(x.raw, where, axis), x.backend)


def gather(x: Tensor[B], index: Tensor[B], axis: int) -> Tensor[B]:
    """Along an axis, the elements of x that `index` names (`numpy.take_along_axis`).

        y[i, j] = x[i, index[i, j]]                                        for axis=1

    >>> x = born.tensor([[1, 2], [3, 4]], backend)
    >>> ops.gather(x, born.tensor([[1], [0]], backend, dtype="int64"), axis=1)
    Tensor([[2.],
            [3.]], dtype=float32)
    """
    where = raw_of("gather", on("gather", x), index)
    return Tensor(on("gather", x).gather(x.raw, where, axis), x.backend)


def scatter_add(x: Tensor[B], index: Tensor[B], y: Tensor[B], axis: int) -> Tensor[B]:
    """A copy of x with y added where `gather` would have read; repeated indices add up.

    >>> x = born.zeros((1, 2), backend)
    >>> index = born.tensor([[1, 1]], backend, dtype="int64")
    >>> ops.scatter_add(x, index, born.ones((1, 2), backend), axis=1)
    Tensor([[0., 2.]], dtype=float32)
    """
    where, added = raws("scatter_add", on("scatter_add", x), index, y)
    return Tensor(on("scatter_add", x).scatter_add(x.raw, where, added, axis), x.backend)
