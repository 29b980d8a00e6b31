"""Checks and normal forms of the arguments that several operations share."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from typing_extensions import TypeIs

from born.backend.protocol import Axis
from born.errors import ShapeError
from born.raw import Shape


def is_tuple(index: object) -> TypeIs[tuple[Any, ...]]:
    """Whether an index names several axes."""
    return isinstance(index, tuple)


def normal_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Axes as sorted, non-negative integers; None means all of them.

    Raises:
        ShapeError: an axis is out of range or named twice.

    >>> normal_axes((-1, 0), 3)
    (0, 2)
    """
    if axis is None:
        return tuple(range(ndim))
    named = axis if isinstance(axis, tuple) else (axis,)
    axes = sorted(normal_axis(one, ndim) for one in named)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"expected each axis once, got axis={axis}; drop the repeated one")
    return tuple(axes)


def normal_axis(axis: int, ndim: int) -> int:
    """One axis as a non-negative integer.

    Raises:
        ShapeError: the axis is out of range.

    >>> normal_axis(-1, 3)
    2
    """
    try:
        number = operator.index(axis)
    except TypeError as error:
        raise ShapeError(
            f"expected an axis as an integer, got {axis!r}; pass one integer, or a tuple of them "
            "where several axes are allowed"
        ) from error
    if not -ndim <= number < ndim:
        raise ShapeError(
            f"expected an axis from {-ndim} to {ndim - 1} of a tensor with {ndim} axes, "
            f"got {axis}; use an axis the tensor has"
        )
    return number % ndim


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """The shape left when `axes` (in normal form) of `shape` are reduced.

    >>> reduced_shape((2, 3, 4), (1,), keepdims=True)
    (2, 1, 4)
    """
    if keepdims:
        return tuple(1 if i in axes else length for i, length in enumerate(shape))
    return tuple(length for i, length in enumerate(shape) if i not in axes)


def count(shape: Shape, axes: tuple[int, ...]) -> int:
    """How many elements a reduction over `axes` takes together.

    >>> count((2, 3, 4), (0, 2))
    8
    """
    return math.prod(shape[axis] for axis in axes)


def pair(value: int | Sequence[int], name: str, least: int) -> tuple[int, int]:
    """A size for height and width, given as one integer or two.

    Raises:
        ShapeError: not one or two integers of at least `least`.

    >>> pair(3, "stride", least=1)
    (3, 3)
    """
    sizes = (value, value) if isinstance(value, int) else tuple(value)
    if len(sizes) != 2 or min(sizes) < least:
        raise ShapeError(
            f"expected {name} as an integer of at least {least} or two of them "
            f"(height, width), got {value!r}; pass for example {name}={max(least, 1)}"
        )
    return sizes


def windows(length: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows fit along one axis.

    Raises:
        ShapeError: not even one does.

    >>> windows(8, kernel=3, stride=2, padding=1, dilation=1)
    4
    """
    span = dilation * (kernel - 1) + 1
    padded = length + 2 * padding
    if padded < span:
        raise ShapeError(
            f"expected an axis of at least {span} elements for a window of {kernel} "
            f"with dilation {dilation}, got {length} with padding {padding}; "
            "use a smaller kernel or more padding"
        )
    return (padded - span) // stride + 1
