"""Matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

from born.backend import B
from born.backend.arguments import normal_axis
from born.dtypes import is_floating
from born.errors import DomainError, ShapeError
from born.fusion.activations import BIASED
from born.operands import backend_of, optional_operand, raw_operand
from born.ops import reduction
from born.ops.elementwise import gelu, sigmoid, silu, softplus, tanh
from born.ops.shape import reshape, transpose
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


def dot(x: Tensor[B], y: Tensor[B]) -> Tensor[B]:
    """The sum of products over the last axis of x and the last but one of y, as `numpy.dot`.

    Of two vectors the inner product, of two matrices `matmul`. Where there are more axes, the
    result has all the others of x and then all the others of y.

    >>> ops.dot(born.tensor([1.0, 2.0], backend), born.tensor([3.0, 4.0], backend))
    Tensor(11., dtype=float32)
    """
    raw_operand("dot", backend_of("dot", x), y)
    if x.ndim == 0 or y.ndim == 0:
        return x * y
    if y.ndim <= 2:
        return matmul(x, y)
    return tensordot(x, y, ([-1], [-2]))


def vdot(x: Tensor[B], y: Tensor[B]) -> Tensor[B]:
    """The inner product of all elements, of tensors of as many of them.

    >>> x = born.ones((2, 2), backend)
    >>> ops.vdot(x, x)
    Tensor(4., dtype=float32)
    """
    return matmul(reshape(x, (-1,)), reshape(y, (-1,)))


def vecdot(x: Tensor[B], y: Tensor[B], *, axis: int = -1) -> Tensor[B]:
    """The inner products of vectors along an axis; the other axes broadcast.

    >>> x = born.tensor([[1.0, 2.0], [3.0, 4.0]], backend)
    >>> ops.vecdot(x, x)
    Tensor([ 5., 25.], dtype=float32)
    """
    return reduction.sum(x * y, axis=axis)


def inner(x: Tensor[B], y: Tensor[B]) -> Tensor[B]:
    """The sum of products over the last axis of both.

    >>> x = born.tensor([[1.0, 2.0], [3.0, 4.0]], backend)
    >>> ops.inner(x, born.tensor([1.0, 1.0], backend))
    Tensor([3., 7.], dtype=float32)
    """
    raw_operand("inner", backend_of("inner", x), y)
    return x * y if x.ndim == 0 or y.ndim == 0 else tensordot(x, y, ([-1], [-1]))


def outer(x: Tensor[B], y: Tensor[B]) -> Tensor[B]:
    """All products of an element of x with one of y, of shape (x.size, y.size).

    >>> ops.outer(born.tensor([1.0, 2.0], backend), born.tensor([3.0, 4.0], backend))
    Tensor([[3., 4.],
            [6., 8.]], dtype=float32)
    """
    raw_operand("outer", backend_of("outer", x), y)
    return reshape(x, (x.size, 1)) * reshape(y, (1, y.size))


def kron(x: Tensor[B], y: Tensor[B]) -> Tensor[B]:
    """The Kronecker product: y, times each element of x, in blocks.

    >>> ops.kron(born.tensor([1.0, 10.0], backend), born.tensor([1.0, 2.0], backend))
    Tensor([ 1.,  2., 10., 20.], dtype=float32)
    """
    raw_operand("kron", backend_of("kron", x), y)
    axes = max(x.ndim, y.ndim)
    a, b = ((1,) * (axes - each.ndim) + each.shape for each in (x, y))
    left = reshape(x, tuple(n for length in a for n in (length, 1)))
    right = reshape(y, tuple(n for length in b for n in (1, length)))
    return reshape(left * right, tuple(m * n for m, n in zip(a, b, strict=True)))


def tensordot(
    x: Tensor[B], y: Tensor[B], axes: int | Sequence[int | Sequence[int]] = 2
) -> Tensor[B]:
    """The sum of products over some axes of both, as `numpy.tensordot`.

    Args:
        x, y: tensors of one dtype.
        axes: which of x and which of y, as a pair of integers or of sequences; or a
            number n for the last n of x and the first n of y.

    Returns:
        the other axes of x, then those of y.

    >>> x, y = born.ones((2, 3, 4), backend), born.ones((4, 3, 5), backend)
    >>> ops.tensordot(x, y, ([1, 2], [1, 0])).shape
    (2, 5)
    """
    raw_operand("tensordot", backend_of("tensordot", x), y)
    if isinstance(axes, int):
        first: list[int] = list(range(x.ndim - axes, x.ndim))
        second = list(range(axes))
        if not 0 <= axes <= min(x.ndim, y.ndim):
            raise ShapeError(
                f"expected from 0 to {min(x.ndim, y.ndim)} axes in tensordot of shapes {x.shape} "
                f"and {y.shape}, got {axes}; sum over axes that both have"
            )
    else:
        first, second = (
            [normal_axis(i, each.ndim) for i in ([of] if isinstance(of, int) else of)]
            for of, each in zip(axes, (x, y), strict=True)
        )
    if [x.shape[i] for i in first] != [y.shape[i] for i in second]:
        raise ShapeError(
            f"expected axes of equal lengths in tensordot, got {first} of shape {x.shape} and "
            f"{second} of shape {y.shape}; name the axes in pairs"
        )
    rows = [i for i in range(x.ndim) if i not in first]
    columns = [i for i in range(y.ndim) if i not in second]
    size = math.prod(x.shape[i] for i in first)
    heights, widths = tuple(x.shape[i] for i in rows), tuple(y.shape[i] for i in columns)
    left = reshape(transpose(x, (*rows, *first)), (math.prod(heights), size))
    right = reshape(transpose(y, (*second, *columns)), (size, math.prod(widths)))
    return reshape(matmul(left, right), (*heights, *widths))


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
        activation: f by its name in `born.ops`; none by default. Bias and activation are
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
    b = optional_operand("linear", backend, bias)
    if activation is None:
        return Tensor(backend.linear(x.raw, w, b), backend)
    several = w.ndim == 2 and x.size > w.shape[1]  # rows, to which one call more is little
    if (
        b is None
        or not several
        or b.shape != w.shape[:1]
        or b.dtype != w.dtype
        or not is_floating(b.dtype)
    ):
        return _AFTERWARDS[activation](Tensor(backend.linear(x.raw, w, b), backend))
    # The bias is added in the pass over the product that the activation takes.
    return Tensor(backend.fused(BIASED[activation], (backend.linear(x.raw, w), b))[0], backend)


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
