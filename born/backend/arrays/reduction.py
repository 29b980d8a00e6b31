"""Reductions of arrays, and running sums and products.

Halves add up and multiply in float32, integers in int64.
"""

from __future__ import annotations

from typing_extensions import override

from born.backend.arguments import Axis, normal_axis
from born.backend.arrays.dispatch import Dispatch, halves_in_float32
from born.backend.contract.reduction import Reductions
from born.dtypes import INTEGRAL, float32, int64, is_half
from born.errors import ShapeError
from born.raw import Array, RawTensor


class ArrayReductions(Reductions, Dispatch):
    """Reductions by the namespace's functions."""

    def _accumulate(self, name: str, x: RawTensor, axis: Axis, keepdims: bool) -> RawTensor:
        """A reduction that adds up or multiplies."""
        a = x.array
        kind = a.dtype.kind
        function = getattr(a, name)
        try:
            if kind in INTEGRAL:
                out = function(axis=axis, keepdims=keepdims, dtype=int64)
            elif is_half(a.dtype):
                out = function(axis=axis, keepdims=keepdims, dtype=float32).astype(a.dtype)
            else:
                out = function(axis=axis, keepdims=keepdims)
        except (ValueError, TypeError) as error:
            raise axis_error(name, axis, a, error) from error
        if out.__class__ is not self._ndarray:
            out = self.xp.asarray(out)
        return RawTensor(out)

    @override
    def sum(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        return self._accumulate("sum", x, axis, keepdims)

    @override
    def prod(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        return self._accumulate("prod", x, axis, keepdims)

    def _select(self, name: str, x: RawTensor, axis: Axis, keepdims: bool) -> RawTensor:
        """A reduction that chooses among the elements, or asks something of them."""
        try:
            return self._wrap(getattr(x.array, name)(axis=axis, keepdims=keepdims))
        except (ValueError, TypeError) as error:
            raise axis_error(name, axis, x.array, error) from error

    @override
    def max(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        return self._select("max", x, axis, keepdims)

    @override
    def min(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        return self._select("min", x, axis, keepdims)

    @override
    def argmax(self, x: RawTensor, /, axis: int | None = None, keepdims: bool = False) -> RawTensor:
        return self._select("argmax", x, axis, keepdims)

    @override
    def argmin(self, x: RawTensor, /, axis: int | None = None, keepdims: bool = False) -> RawTensor:
        return self._select("argmin", x, axis, keepdims)

    @override
    def any(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        return self._select("any", x, axis, keepdims)

    @override
    def all(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        return self._select("all", x, axis, keepdims)

    mean = halves_in_float32(Reductions.mean)
    var = halves_in_float32(Reductions.var)
    norm = halves_in_float32(Reductions.norm)

    @override
    def cumsum(self, x: RawTensor, /, axis: int) -> RawTensor:
        a = x.array
        axis = normal_axis(axis, a.ndim)
        if a.dtype.kind in INTEGRAL:
            return RawTensor(a.cumsum(axis=axis, dtype=int64))
        if is_half(a.dtype):
            return RawTensor(a.cumsum(axis=axis, dtype=float32).astype(a.dtype))
        return RawTensor(a.cumsum(axis=axis))

    @override
    def cumprod(self, x: RawTensor, /, axis: int) -> RawTensor:
        a = x.array
        axis = normal_axis(axis, a.ndim)
        self._require_floating("cumprod", a)
        if is_half(a.dtype):
            return RawTensor(a.cumprod(axis=axis, dtype=float32).astype(a.dtype))
        return RawTensor(a.cumprod(axis=axis))


def axis_error(name: str, axis: Axis, array: Array, error: Exception) -> ShapeError:
    """The error for axes that a reduction cannot take."""
    return ShapeError(
        f"expected axes of a tensor of shape {array.shape} with elements to take the {name} of, "
        f"got axis={axis} ({error}); use axes it has, each once"
    )
