"""Reductions on the device."""

from __future__ import annotations

from typing import Final

from typing_extensions import override

from born.backend import Axis
from born.backend.arrays.reduction import ArrayReductions
from born.dtypes import float32
from born.raw import RawTensor

_WITHOUT_BFLOAT16: Final = ("argmax", "argmin", "any", "all")
"""What CuPy does not reduce bfloat16 by."""


class CupyReductions(ArrayReductions):
    """Reductions by CuPy; of bfloat16 by way of float32, which holds all its values."""

    @override
    def _select(self, name: str, x: RawTensor, axis: Axis, keepdims: bool) -> RawTensor:
        if x.dtype.kind == "V" and name in _WITHOUT_BFLOAT16:
            x = RawTensor(x.array.astype(float32))
        return super()._select(name, x, axis, keepdims)
