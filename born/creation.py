"""The functions that make a tensor."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from born.backend import Backend, Scalar
from born.errors import OperandError, ShapeError
from born.raw import DTypeLike, HostArray, Shape
from born.tensor import B, ShapeLike, Tensor, as_shape


def tensor(data: Any, backend: B, dtype: DTypeLike | None = None) -> Tensor[B]:
    """A tensor with a copy of some data.

    Args:
        data: an array or NumPy scalar, whose dtype is kept; or a Python number or
            nested sequence of numbers, which become float32 (bools stay bool).
        backend: where the tensor lives.
        dtype: another dtype than that.

    Raises:
        DTypeError: the data has a dtype that born does not know.
        ShapeError: nested sequences of unequal lengths.

    >>> from born_numpy import NumpyBackend
    >>> tensor([1, 2, 3], NumpyBackend())
    Tensor([1., 2., 3.], dtype=float32)
    """
    # NumPy's arrays and scalars, tensors, and the host arrays of other libraries.
    if hasattr(data, "__array__"):
        array = np.asarray(data)
    else:
        array = _from_python(data)
    raw = _checked(backend).from_numpy(array)
    return Tensor(raw if dtype is None else backend.astype(raw, dtype), backend)


def _from_python(data: Any) -> HostArray:
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(
            f"expected nested sequences of equal lengths, got {data!r}; pad or split the rows"
        ) from error
    return array.astype(np.float32) if array.dtype.kind in "iuf" else array


def zeros(shape: ShapeLike, backend: B, dtype: DTypeLike = "float32") -> Tensor[B]:
    """A tensor of zeros.

    >>> from born_numpy import NumpyBackend
    >>> zeros(2, NumpyBackend())
    Tensor([0., 0.], dtype=float32)
    """
    return Tensor(_checked(backend).zeros(_lengths(shape), dtype), backend)


def ones(shape: ShapeLike, backend: B, dtype: DTypeLike = "float32") -> Tensor[B]:
    """A tensor of ones.

    >>> from born_numpy import NumpyBackend
    >>> ones((1, 2), NumpyBackend())
    Tensor([[1., 1.]], dtype=float32)
    """
    return Tensor(_checked(backend).ones(_lengths(shape), dtype), backend)


def full(shape: ShapeLike, value: Scalar, backend: B, dtype: DTypeLike = "float32") -> Tensor[B]:
    """A tensor of one value.

    >>> from born_numpy import NumpyBackend
    >>> full(2, 7, NumpyBackend())
    Tensor([7., 7.], dtype=float32)
    """
    return Tensor(_checked(backend).full(_lengths(shape), value, dtype), backend)


def randn(shape: ShapeLike, backend: B, dtype: DTypeLike = "float32") -> Tensor[B]:
    """Draws from the standard normal distribution, from the backend's generator.

    The same seed gives the same numbers on every backend.

    >>> from born_numpy import NumpyBackend
    >>> randn((2, 3), NumpyBackend(seed=0)).shape
    (2, 3)
    """
    return Tensor(_checked(backend).normal(_lengths(shape), dtype), backend)


def rand(shape: ShapeLike, backend: B, dtype: DTypeLike = "float32") -> Tensor[B]:
    """Draws from the uniform distribution over [0, 1), from the backend's generator.

    The same seed gives the same numbers on every backend.

    >>> from born_numpy import NumpyBackend
    >>> rand(3, NumpyBackend(seed=0)).shape
    (3,)
    """
    return Tensor(_checked(backend).uniform(_lengths(shape), dtype), backend)


def arange(
    start: Scalar,
    stop: Scalar | None = None,
    step: Scalar = 1,
    *,
    backend: B,
    dtype: DTypeLike = "float32",
) -> Tensor[B]:
    """`start, start + step, ...` up to but without `stop`; from zero if only one is given.

    >>> from born_numpy import NumpyBackend
    >>> arange(3, backend=NumpyBackend())
    Tensor([0., 1., 2.], dtype=float32)
    """
    first, last = (0, start) if stop is None else (start, stop)
    if not all(math.isfinite(number) for number in (first, last, step)):
        raise ShapeError(
            f"expected finite start, stop and step, got {first}, {last} and {step}; "
            "a tensor has finitely many elements"
        )
    return Tensor(_checked(backend).arange(first, last, step, dtype), backend)


def eye(
    rows: int, backend: B, columns: int | None = None, dtype: DTypeLike = "float32"
) -> Tensor[B]:
    """Ones on the main diagonal, zeros elsewhere; square unless `columns` is given.

    >>> from born_numpy import NumpyBackend
    >>> eye(2, NumpyBackend())
    Tensor([[1., 0.],
            [0., 1.]], dtype=float32)
    """
    return Tensor(_checked(backend).eye(rows, rows if columns is None else columns, dtype), backend)


def _lengths(shape: ShapeLike) -> Shape:
    lengths = as_shape(shape)
    if any(length < 0 for length in lengths):
        raise ShapeError(
            f"expected a shape of non-negative lengths, got {lengths}; "
            "a length that is to be worked out is for reshape"
        )
    return lengths


def _checked(backend: B) -> B:
    if not isinstance(cast("object", backend), Backend):
        raise OperandError(
            f"expected a backend to make a tensor on, got {backend!r}; "
            'make one, as with born.get_backend("numpy")'
        )
    return backend
