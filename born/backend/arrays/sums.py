"""Sums that lose nothing: a namespace like NumPy's adds pairwise only along the nearest axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.backend.arguments import Axis, count, normal_axes
from born.dtypes import INTEGRAL, float32, int64, is_half
from born.raw import Array


def accumulator(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """What elements are added up or multiplied in, if it is not their own dtype."""
    if dtype.kind in INTEGRAL:
        return int64
    return float32 if is_half(dtype) else None


SHORT: Final = 256
"""The most elements that are added up one after the other: sums over a batch, where each
microsecond counts. Their error is below half as many units in the last place."""


def accumulation(name: str) -> Callable[..., Array]:
    """The method `a.sum` or `a.prod` of arrays, as a function of array, axis, keepdims and dtype.

    NumPy's method warns of infinities in the name of NumPy; its function does in that of its
    caller, which is born here.
    """
    reduce: Any = {"sum": np.add, "prod": np.multiply}[name].reduce

    def accumulated(
        a: Array, axis: Axis = None, keepdims: bool = False, dtype: np.dtype[Any] | None = None
    ) -> Array:
        if isinstance(a, np.ndarray):
            return reduce(a, axis, dtype, None, keepdims)
        return getattr(a, name)(axis=axis, dtype=dtype, keepdims=keepdims)

    return accumulated


summed: Final = accumulation("sum")


def long_sum(a: Array, axis: Axis, keepdims: bool) -> Array:
    """The sum of a floating array, in its dtype or a wider one, to a few units in the last place.

    So it is for numbers of one sign; where they cancel, in those of the sum of magnitudes.
    """
    axes = normal_axes(axis, a.ndim)
    terms = count(a.shape, axes)
    if terms <= SHORT:
        return summed(a, axis, keepdims, accumulator(a.dtype))
    trailing = a.flags.c_contiguous and axes[0] == a.ndim - len(axes)
    if a.dtype.itemsize > 2 and (trailing or (len(axes) == a.ndim and a.flags.f_contiguous)):
        return summed(a, axis, keepdims)  # pairwise
    if a.dtype.itemsize < 4 or (a.dtype.itemsize == 4 and a.shape[-1] < _BLOCK):
        return summed(a, axis, keepdims, _DOUBLE)
    for one in sorted(axes, key=lambda i: a.shape[i]):
        a = _sum_of_blocks(a, one)
    return (
        a
        if keepdims
        else a.reshape(tuple(length for i, length in enumerate(a.shape) if i not in axes))
    )


def _sum_of_blocks(a: Array, axis: int) -> Array:
    """The sum along one axis, kept, of blocks of `_BLOCK` and then of their sums."""
    while a.shape[axis] > _BLOCK:
        before, length, after = a.shape[:axis], a.shape[axis], a.shape[axis + 1 :]
        blocks, rest = divmod(length, _BLOCK)
        lead = (slice(None),) * axis
        whole = a[(*lead, slice(0, blocks * _BLOCK))]
        sums = summed(whole.reshape(*before, blocks, _BLOCK, *after), axis + 1)
        if rest:
            # The last sum takes what is left over.
            sums[(*lead, slice(-1, None))] += summed(a[(*lead, slice(-rest, None))], axis, True)
        a = sums
    return summed(a, axis, True)


_DOUBLE: Final = np.dtype(np.float64)
_BLOCK: Final = 32  # terms added up one after the other
