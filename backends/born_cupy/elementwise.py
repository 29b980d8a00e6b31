"""Elementwise operations on the device."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from typing_extensions import override

from born.backend import Operand
from born.backend.arrays.dispatch import declared_as, weak_scalar
from born.backend.arrays.elementwise import ArrayElementwise
from born.dtypes import INTEGRAL, is_floating
from born.errors import MissingPackageError
from born.raw import RawTensor
from born_cupy.kernels import elementwise
from born_cupy.launch import Launching

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _kernel(declared: _Method) -> _Method:
    """A function of each element, by the kernel of its name."""
    name = declared.__name__

    def operation(self: Any, x: RawTensor, /) -> Any:
        return self._elementwise(name, x)

    return declared_as(declared, operation)


class CupyElementwise(ArrayElementwise, Launching):
    """Functions by one kernel each; halves are computed in float32 and rounded once."""

    def _elementwise(self, name: str, *operands: RawTensor) -> RawTensor:
        """A function of `kernels.elementwise`, of tensors of one shape and floating dtype."""
        x = operands[0]
        self._require_floating(name, x.array)
        if len(operands) > 1:
            self._check_alike(name, *operands)
        result = self.xp.empty(x.shape, x.dtype)
        source = elementwise.elementwise(name, x.dtype)
        self._launch(source, x.size, *operands, result, x.size)
        return RawTensor(result)

    # -- powers --

    @override
    def pow(self, x: Operand, y: Operand, /) -> RawTensor:
        # CUDA's pow is off by a unit in the last place even of (-3)^1. Quotients and square roots
        # are rounded as IEEE 754 says; NumPy takes the latter for powers of 1/2 since 2.1.
        if isinstance(x, RawTensor) and not isinstance(y, RawTensor) and is_floating(x.dtype):
            power = weak_scalar("power", y, x.dtype)
            if power == 1:
                return self.copy(x)
            if power == -1:
                return self.div(1.0, x)
            if power == 0.5:
                return self.sqrt(x)
        return super().pow(x, y)

    @override
    def _check_power(self, x: Operand, y: Operand) -> None:
        if not isinstance(y, RawTensor):
            super()._check_power(x, y)
        elif isinstance(x, RawTensor) and x.dtype.kind in INTEGRAL and y.dtype.kind == "i":
            self._check_range("pow", y, int(np.iinfo(np.int64).max))

    @override
    def _special(self, name: str) -> Callable[..., Any]:
        function = getattr(importlib.import_module("cupyx.scipy.special"), name, None)
        if function is None:
            raise MissingPackageError(
                f"expected CuPy to have the special function {name}, but it has not; compute it on "
                "the numpy backend: x.to(born.get_backend('numpy'))"
            )
        made: Callable[..., Any] = function
        return made

    # -- what CuPy has no bfloat16 for --

    @override
    def where(self, condition: RawTensor, x: Operand, y: Operand, /) -> RawTensor:
        a, b = self._operand_arrays("where", x, y)
        dtype = b.dtype if isinstance(y, RawTensor) else a.dtype
        if dtype.kind != "V":
            return super().where(condition, x, y)
        # CuPy would widen to float32; to choose between bits, no arithmetic is needed.
        chosen = super().where(condition, _bits(a), _bits(b))
        return RawTensor(chosen.array.view(dtype))

    @override
    def floor_divide(self, x: Operand, y: Operand, /) -> RawTensor:
        return self._in_float32("floor_divide", super().floor_divide, x, y)

    @override
    def remainder(self, x: Operand, y: Operand, /) -> RawTensor:
        return self._in_float32("remainder", super().remainder, x, y)

    def _in_float32(
        self, name: str, function: Callable[..., RawTensor], x: Operand, y: Operand
    ) -> RawTensor:
        """A function of two operands, of bfloat16 by way of float32."""
        a, b = self._operand_arrays(name, x, y)
        dtype = a.dtype if isinstance(x, RawTensor) else b.dtype
        if dtype.kind != "V":
            return function(x, y)
        wide = (
            RawTensor(part.astype(np.float32)) if isinstance(given, RawTensor) else given
            for given, part in ((x, a), (y, b))
        )
        return RawTensor(function(*wide).array.astype(dtype))

    @override
    def logical_not(self, x: RawTensor, /) -> RawTensor:
        return self.equal(x, 0) if x.dtype.kind == "V" else super().logical_not(x)

    # -- functions --

    sign = _kernel(ArrayElementwise.sign)
    rsqrt = _kernel(ArrayElementwise.rsqrt)
    erf = _kernel(ArrayElementwise.erf)


def _bits(part: Any) -> Operand:
    """The bits of a bfloat16 array or number."""
    bits = part.view(np.uint16)
    return int(bits) if isinstance(part, np.generic) else RawTensor(bits)
