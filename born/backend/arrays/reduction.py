"""Reductions and running sums of arrays: halves accumulate in float32, integers in int64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from typing_extensions import override

from born.backend.arguments import Axis, normal_axis
from born.backend.arrays.dispatch import Dispatch, declared_as, halves_in_float32
from born.backend.contract.reduction import Reductions
from born.dtypes import INTEGRAL, float32, int64, is_half
from born.errors import ShapeError
from born.raw import Array, RawTensor

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _accumulation(declared: _Method) -> _Method:
    """A reduction that adds up or multiplies, by the array's method of the same name."""
    name = declared.__name__

    def operation(
        self: Any, x: RawTensor, /, axis: Axis = None, keepdims: bool = False
    ) -> RawTensor:
        a = x.array
        wide = _accumulator(a.dtype)
        try:
            out = getattr(a, name)(axis=axis, keepdims=keepdims, dtype=wide)
        except (ValueError, TypeError) as error:
            raise axis_error(name, axis, a, error) from error
        if wide is float32:
            out = out.astype(a.dtype)
        if out.__class__ is not self._ndarray:
            out = self.xp.asarray(out)
        return RawTensor(out)

    return declared_as(declared, operation)


def _selection(declared: _Method) -> _Method:
    """A reduction that chooses among elements, by the array's method of the same name."""
    name = declared.__name__

    def operation(self: Any, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> Any:
        try:
            return self._wrap(getattr(x.array, name)(axis=axis, keepdims=keepdims))
        except (ValueError, TypeError) as error:
            raise axis_error(name, axis, x.array, error) from error

    return declared_as(declared, operation)


def _accumulator(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """What elements are added up or multiplied in, if it is not their own dtype."""
    if dtype.kind in INTEGRAL:
        return int64
    return float32 if is_half(dtype) else None


class ArrayReductions(Reductions, Dispatch):
    """Reductions by the methods of arrays."""

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
    norm = halves_in_float32(Reductions.norm)

    @override
    def cumsum(self, x: RawTensor, /, axis: int) -> RawTensor:
        a = x.array
        sums = a.cumsum(axis=normal_axis(axis, a.ndim), dtype=_accumulator(a.dtype))
        return RawTensor(sums.astype(a.dtype) if is_half(a.dtype) else sums)

    @override
    def cumprod(self, x: RawTensor, /, axis: int) -> RawTensor:
        a = x.array
        axis = normal_axis(axis, a.ndim)
        self._require_floating("cumprod", a)
        products = a.cumprod(axis=axis, dtype=_accumulator(a.dtype))
        return RawTensor(products.astype(a.dtype, copy=False))


def axis_error(name: str, axis: Axis, array: Array, error: Exception) -> ShapeError:
    """The error for axes that a reduction cannot take."""
    return ShapeError(
        f"expected axes of a tensor of shape {array.shape} with elements to take the {name} of, "
        f"got axis={axis} ({error}); use axes it has, each once"
    )
