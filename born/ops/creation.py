"""Copies of a tensor; `born.zeros` and the like make one from nothing."""

from __future__ import annotations

from born.backend import B
from born.dtypes import DTypeLike
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
