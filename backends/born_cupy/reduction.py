"""Reductions on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from born.backend import Axis
from born.backend.arrays.dispatch import declared_as
from born.backend.arrays.reduction import ArrayReductions
from born.dtypes import float32
from born.raw import RawTensor

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _with_bfloat16(method: _Method) -> _Method:
    """A reduction that CuPy has no bfloat16 for: in float32, which holds all its values."""

    def operation(self: Any, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> Any:
        if x.dtype.kind == "V":
            x = RawTensor(x.array.astype(float32))
        return method(self, x, axis, keepdims)

    return declared_as(method, operation)


class CupyReductions(ArrayReductions):
    """Reductions by CuPy."""

    argmax = _with_bfloat16(ArrayReductions.argmax)
    argmin = _with_bfloat16(ArrayReductions.argmin)
    any = _with_bfloat16(ArrayReductions.any)
    all = _with_bfloat16(ArrayReductions.all)
