"""Reductions on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

from typing_extensions import override

from born.backend import Axis
from born.backend.arguments import normal_axes
from born.backend.arrays.dispatch import declared_as
from born.backend.arrays.reduction import ArrayReductions
from born.backend.arrays.sums import long_sum
from born.dtypes import float32
from born.raw import Array, RawTensor
from born_cupy.launch import Launching

_Method = TypeVar("_Method", bound=Callable[..., Any])

_FEW: Final = 32  # columns, which would not fill a warp


def _with_bfloat16(method: _Method) -> _Method:
    """A reduction that CuPy has no bfloat16 for: in float32, which holds all its values."""

    def operation(self: Any, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> Any:
        if x.dtype.kind == "V":
            x = RawTensor(x.array.astype(float32))
        return method(self, x, axis, keepdims)

    return declared_as(method, operation)


class CupyReductions(ArrayReductions, Launching):
    """Reductions by CuPy, but for sums over leading axes."""

    @override
    def _long_sum(self, a: Array, axis: Axis, keepdims: bool) -> Array:
        axes = normal_axes(axis, a.ndim)
        lead = next((i for i in range(a.ndim) if i not in axes), a.ndim)
        inner = [i for i in axes if i >= lead]
        trailing = inner == list(range(a.ndim - len(inner), a.ndim))
        columns = math.prod(n for i, n in enumerate(a.shape) if i not in axes)
        if not (0 < lead < a.ndim and trailing and a.size) or (inner and a.dtype.itemsize < 4):
            return long_sum(a, axis, keepdims)
        if columns < _FEW:  # added up in double precision
            return long_sum(a, axis, keepdims)
        # What lies side by side first, then columns.
        left = long_sum(a, tuple(inner), False) if inner else a
        rows = left.reshape((-1, columns))
        shape = [1 if i in axes else n for i, n in enumerate(a.shape) if keepdims or i not in axes]
        return self._column_sums(RawTensor(rows)).array.reshape(shape)

    argmax = _with_bfloat16(ArrayReductions.argmax)
    argmin = _with_bfloat16(ArrayReductions.argmin)
    any = _with_bfloat16(ArrayReductions.any)
    all = _with_bfloat16(ArrayReductions.all)
