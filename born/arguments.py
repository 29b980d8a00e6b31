"""What people may pass where a shape or a backend is due."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex, TypeAlias, cast

from born.backend import B, Backend
from born.errors import OperandError, ShapeError
from born.raw import Shape

ShapeLike: TypeAlias = int | Sequence[int]


def as_shape(shape: ShapeLike) -> Shape:
    """A shape as a tuple.

    Raises:
        ShapeError: it is neither an integer nor a sequence of them.

    >>> as_shape(3)
    (3,)
    """
    try:
        if isinstance(shape, SupportsIndex):
            return (operator.index(shape),)
        return tuple(operator.index(length) for length in shape)
    except TypeError as error:
        raise ShapeError(
            f"expected a shape as an integer or a tuple of integers, got {shape!r}; "
            "pass for example (2, 3)"
        ) from error


def checked_backend(backend: B) -> B:
    """The backend itself.

    Raises:
        OperandError: it is none.
    """
    if not isinstance(cast("object", backend), Backend):
        raise OperandError(
            f"expected a backend to make a tensor on, got {backend!r}; "
            'make one, as with born.get_backend("numpy")'
        )
    return backend
