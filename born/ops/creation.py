"""Copies of a tensor; `born.zeros` and the like make one from nothing."""

from __future__ import annotations

from born.backend import B, Scalar
from born.dtypes import DTypeLike, as_dtype, check_fits
from born.operands import backend_of
from born.tensor import Tensor


def astype(x: Tensor[B], dtype: DTypeLike) -> Tensor[B]:
    """x rounded to another dtype; a gradient passes between floating ones.

    >>> ops.astype(born.tensor([1.5], backend), "int64")
    Tensor([1], dtype=int64)
    """
    return Tensor(backend_of("astype", x).astype(x.raw, dtype), x.backend)


def copy(x: Tensor[B]) -> Tensor[B]:
    """A copy of x in contiguous memory; a gradient passes.

    >>> ops.copy(born.tensor([1.5], backend))
    Tensor([1.5], dtype=float32)
    """
    return Tensor(backend_of("copy", x).copy(x.raw), x.backend)


def zeros_like(x: Tensor[B], dtype: DTypeLike | None = None) -> Tensor[B]:
    """Zeros of the shape, dtype and backend of x.

    >>> ops.zeros_like(born.ones(2, backend))
    Tensor([0., 0.], dtype=float32)
    """
    backend = backend_of("zeros_like", x)
    return Tensor(backend.zeros(x.shape, x.dtype if dtype is None else dtype), backend)


def ones_like(x: Tensor[B], dtype: DTypeLike | None = None) -> Tensor[B]:
    """Ones of the shape, dtype and backend of x.

    >>> ops.ones_like(born.zeros(2, backend))
    Tensor([1., 1.], dtype=float32)
    """
    backend = backend_of("ones_like", x)
    return Tensor(backend.ones(x.shape, x.dtype if dtype is None else dtype), backend)


def full_like(x: Tensor[B], value: Scalar, dtype: DTypeLike | None = None) -> Tensor[B]:
    """One value in the shape, dtype and backend of x.

    >>> ops.full_like(born.zeros(2, backend), 7)
    Tensor([7., 7.], dtype=float32)
    """
    backend = backend_of("full_like", x)
    kind = as_dtype(x.dtype if dtype is None else dtype)
    check_fits(value, kind)
    return Tensor(backend.full(x.shape, value, kind), backend)
