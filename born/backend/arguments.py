"""What operations take: the types of arguments, their checks and their normal forms."""

from __future__ import annotations

import math
import operator
from typing import Any, TypeAlias

from typing_extensions import TypeIs

from born.dtypes import INTEGRAL
from born.errors import DomainError, DTypeError, ShapeError
from born.raw import RawTensor, Shape
from born.validation import choice, number

Scalar: TypeAlias = bool | int | float
Operand: TypeAlias = RawTensor | Scalar
Axis: TypeAlias = int | tuple[int, ...] | None
Index: TypeAlias = Any
"""What may stand in `x[...]`: integers, slices, None, Ellipsis, raw tensors of integers
or bools, and tuples of them."""


def is_tuple(index: object) -> TypeIs[tuple[Any, ...]]:
    """Whether an index names several axes."""
    return isinstance(index, tuple)


def normal_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Axes as sorted, non-negative integers; None means all of them."""
    if axis is None:
        return tuple(range(ndim))
    named = axis if isinstance(axis, tuple) else (axis,)
    axes = sorted(normal_axis(one, ndim) for one in named)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"expected each axis once, got axis={axis}; drop the repeated one")
    return tuple(axes)


def normal_axis(axis: int, ndim: int) -> int:
    """One axis as a non-negative integer."""
    try:
        number = operator.index(axis)
    except TypeError as error:
        raise ShapeError(
            f"expected an axis as an integer, got {axis!r}; pass one integer, or a tuple of them "
            "where several axes are allowed"
        ) from error
    if ndim == 0:
        raise ShapeError(f"expected no axis of a tensor with 0 axes, got {axis}; leave it out")
    if not -ndim <= number < ndim:
        raise ShapeError(
            f"expected an axis from {-ndim} to {ndim - 1} of a tensor with {ndim} axes, "
            f"got {axis}; use an axis the tensor has"
        )
    return number % ndim


def check_floating(name: str, x: RawTensor) -> None:
    """Refuse integers and bools where real numbers are computed."""
    if x.dtype.kind in INTEGRAL:
        raise DTypeError(
            f'expected a floating dtype in {name}, got {x.dtype}; convert with .astype("float32")'
        )


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """The shape left when `axes` (in normal form) of `shape` are reduced."""
    if keepdims:
        return tuple(1 if i in axes else length for i, length in enumerate(shape))
    return tuple(length for i, length in enumerate(shape) if i not in axes)


def count(shape: Shape, axes: tuple[int, ...]) -> int:
    """How many elements a reduction over `axes` takes together."""
    return math.prod(shape[axis] for axis in axes)


def trailing_axes(x: RawTensor, axes: int) -> tuple[int, ...]:
    """The last `axes` axes of `x`."""
    if not 1 <= axes <= x.ndim:
        raise ShapeError(
            f"expected from 1 to {x.ndim} trailing axes of a tensor of shape {x.shape}, "
            f"got {axes}; normalise over axes the tensor has"
        )
    return tuple(range(x.ndim - axes, x.ndim))


def beside_channels(x: RawTensor) -> tuple[int, ...]:
    """All axes of `x` but the second, which is that of channels."""
    if x.ndim < 2:
        raise ShapeError(
            f"expected a tensor of shape (batch, channels, ...), got {x.shape}; "
            "add the missing axes with reshape or expand_dims"
        )
    return (0, *range(2, x.ndim))


def check_approximation(approximate: str) -> None:
    """Refuse anything but the two forms of GELU."""
    choice("approximate", approximate, ("none", "tanh"), DomainError)


def check_losses(label_smoothing: float, reduction: str) -> None:
    """Refuse a label smoothing outside of [0, 1], and another reduction than the three."""
    if label_smoothing != 0.0:
        number("label_smoothing", label_smoothing, 0, 1, DomainError)
    choice("reduction", reduction, ("mean", "sum", "none"), DomainError)


def check_probability(p: float) -> None:
    """Refuse a probability outside of [0, 1]."""
    number("p", p, 0, 1, DomainError)
