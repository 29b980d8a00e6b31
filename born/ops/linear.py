"""Matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from born.backend import B
from born.errors import DomainError
from born.operands import backend_of, optional_operand, raw_operand
from born.ops.elementwise import gelu, sigmoid, silu, softplus, tanh
from born.tensor import Tensor

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
    backend = backend_of("matmul", x)
    right = raw_operand("matmul", backend, y)
    return Tensor(backend.matmul(x.raw, right), backend)


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

    >>> w = born.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]], backend)
    >>> x = born.ones((1, 3), backend)
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
    backend = backend_of("linear", x)
    w = raw_operand("linear", backend, weight)
    y = Tensor(backend.linear(x.raw, w, optional_operand("linear", backend, bias)), backend)
    return y if activation is None else _AFTERWARDS[activation](y)


def linear_relu(x: Tensor[B], weight: Tensor[B], bias: Tensor[B] | None = None) -> Tensor[B]:
    """`linear` with `activation="relu"`: the rectifier is one pass after the product.

        y = max(x W^T + b, 0)

    >>> w = born.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]], backend)
    >>> x = born.ones((1, 3), backend)
    >>> ops.linear_relu(x, w)
    Tensor([[3., 0.]], dtype=float32)
    """
    backend = backend_of("linear_relu", x)
    w = raw_operand("linear_relu", backend, weight)
    b = optional_operand("linear_relu", backend, bias)
    return Tensor(backend.linear_relu(x.raw, w, b), backend)
