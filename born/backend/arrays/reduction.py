"""Reductions and running sums of arrays: halves accumulate in float32, integers in int64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from typing_extensions import override

from born.backend.arguments import Axis, normal_axes, normal_axis
from born.backend.arrays.dispatch import Dispatch, declared_as, halves_in_float32
from born.backend.arrays.sums import SHORT, accumulation, accumulator, long_sum
from born.backend.contract.reduction import Reductions
from born.dtypes import INTEGRAL, bool_, float32, is_half
from born.errors import ShapeError
from born.raw import Array, RawTensor

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _accumulation(declared: _Method) -> _Method:
    """A reduction that adds up or multiplies, by the array's method of the same name."""
    name = declared.__name__
    compute = accumulation(name)

    def operation(
        self: Any, x: RawTensor, /, axis: Axis = None, keepdims: bool = False
    ) -> RawTensor:
        a = x.array
        if axis is not None and not a.ndim:
            normal_axes(axis, 0)  # NumPy takes 0 and -1 for axes of a number
        wide = accumulator(a.dtype)
        try:
            # The sum of a batch's rows, as of the gradients of a bias, is the most frequent.
            short = a.size <= SHORT or (axis == 0 and len(a) <= SHORT)
            if not short and name == "sum" and a.dtype.kind in "fV":
                out = self._long_sum(a, axis, keepdims)
            else:
                out = compute(a, axis, keepdims, wide)
        except (ValueError, TypeError, OverflowError) as error:
            raise axis_error(name, axis, a, error) from error
        if out.dtype != a.dtype and a.dtype.kind not in INTEGRAL:
            out = out.astype(a.dtype)
        if out.__class__ is not self._ndarray:
            out = self.xp.asarray(out)
        return RawTensor(out)

    return declared_as(declared, operation)


def _selection(declared: _Method) -> _Method:
    """A reduction that chooses among elements, by the array's method of the same name."""
    name = declared.__name__

    def operation(self: Any, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> Any:
        if axis is not None and not x.array.ndim:
            normal_axes(axis, 0)
        try:
            return self._wrap(getattr(x.array, name)(axis=axis, keepdims=keepdims))
        except (ValueError, TypeError, OverflowError) as error:
            raise axis_error(name, axis, x.array, error) from error

    return declared_as(declared, operation)


class ArrayReductions(Reductions, Dispatch):
    """Reductions by the methods of arrays."""

    _long_sum = staticmethod(long_sum)

    sum = _accumulation(Reductions.sum)
    prod = _accumulation(Reductions.prod)
    max = _selection(Reductions.max)
    min = _selection(Reductions.min)
    argmax = _selection(Reductions.argmax)
    argmin = _selection(Reductions.argmin)
    any = _selection(Reductions.any)
    all = _selection(Reductions.all)
    mean = halves_in_float32(Reductions.mean)
    var = halves_in_float32(Reductions.var)
    std = halves_in_float32(Reductions.std)
    norm = halves_in_float32(Reductions.norm)

    @override
    def _euclidean_norm(self, x: RawTensor, axis: Axis, keepdims: bool) -> RawTensor:
        if x.dtype != float32:
            return super()._euclidean_norm(x, axis, keepdims)
        wide = x.array.astype(np.float64)  # which holds the square of every float32
        wide *= wide
        return self.astype(self.sqrt(self.sum(RawTensor(wide), axis, keepdims)), float32)

    @override
    def argsort(self, x: RawTensor, /, axis: int) -> RawTensor:
        a = x.array
        axis = normal_axis(axis, a.ndim)
        if is_half(a.dtype) or a.dtype == bool_:  # which not every namespace sorts
            a = a.astype(float32 if is_half(a.dtype) else np.uint8)
        return RawTensor(self.xp.argsort(a, axis=axis, kind="stable"))

    @override
    def cumsum(self, x: RawTensor, /, axis: int) -> RawTensor:
        a = x.array
        axis = normal_axis(axis, a.ndim)
        wide = accumulator(a.dtype)
        if a.dtype.kind not in INTEGRAL and a.dtype.itemsize < 8 and a.shape[axis] > SHORT:
            wide = np.dtype(np.float64)
        sums = a.cumsum(axis=axis, dtype=wide)
        return RawTensor(sums if a.dtype.kind in INTEGRAL else sums.astype(a.dtype, copy=False))

    @override
    def cumprod(self, x: RawTensor, /, axis: int) -> RawTensor:
        a = x.array
        axis = normal_axis(axis, a.ndim)
        products = a.cumprod(axis=axis, dtype=accumulator(a.dtype))
        return RawTensor(products.astype(a.dtype) if is_half(a.dtype) else products)


def axis_error(name: str, axis: Axis, array: Array, error: Exception) -> ShapeError:
    """The error for axes that a reduction cannot take."""
    return ShapeError(
        f"expected axes of a tensor of shape {array.shape} with elements to take the {name} of, "
        f"got axis={axis} ({error}); use axes it has, each once"
    )
