"""Elementwise operations of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from typing_extensions import override

from born.backend.arguments import Operand
from born.backend.arrays.dispatch import Dispatch, declared_as, shape_mismatch
from born.backend.arrays.erf import erf
from born.backend.contract.elementwise import UFUNCS, Elementwise
from born.dtypes import INTEGRAL, bool_, is_half
from born.errors import DomainError, DTypeError, MissingPackageError, OperandError, ShapeError
from born.raw import RawTensor

_ERF_TILE: Final = 16_384  # elements; a tile's dozen temporaries of float64 stay in a 2 MB cache

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _binary(declared: _Method, name: str, alike: bool = True) -> _Method:
    """An operation of two operands: the function `name` of the namespace.

    Its result is `alike` if it has the dtype of the operands.
    """

    def operation(self: Any, x: Operand, y: Operand, /) -> RawTensor:
        a, b = self._operand_arrays(name, x, y)
        try:
            first = a if a.__class__ is self._ndarray else b
            out = (
                getattr(self.xp, name)(a, b)
                if first.nbytes < self.large or not alike
                else getattr(self.xp, name)(a, b, out=self._room_like(first, b))
            )
        except ValueError as error:
            raise shape_mismatch(name, a, b, error) from error
        except TypeError as error:
            raise DTypeError(
                f"expected numbers in {name}, got {getattr(a, 'dtype', a)}; "
                'convert with .astype("float32")'
            ) from error
        except OverflowError as error:
            raise DTypeError(
                f"expected a number that fits the tensor's dtype in {name}, got {x!r} and {y!r}; "
                "convert the tensor to a wider dtype"
            ) from error
        if out.__class__ is not self._ndarray:
            out = self.xp.asarray(out)
        return RawTensor(out)

    return declared_as(declared, operation)


def _whole(declared: _Method) -> _Method:
    """As `_binary`, of numbers: NumPy makes int8 of bools."""
    name = declared.__name__
    of_numbers = _binary(declared, name)

    def operation(self: Any, x: Operand, y: Operand, /) -> Any:
        tensor = x if isinstance(x, RawTensor) else y
        if isinstance(tensor, RawTensor) and tensor.array.dtype == bool_:
            raise DTypeError(
                f'expected numbers in {name}, got bool; convert with .astype("int64") or "float32"'
            )
        return of_numbers(self, x, y)

    return declared_as(declared, operation)


def _floating(declared: _Method) -> _Method:
    """A function of floating numbers: that of the same name in the namespace."""
    name = declared.__name__

    def operation(self: Any, x: RawTensor, /) -> RawTensor:
        a = x.array
        self._require_floating(name, a)
        out = (
            getattr(self.xp, name)(a)
            if a.nbytes < self.large
            else getattr(self.xp, name)(a, self._room_like(a))
        )
        if out.__class__ is not self._ndarray:
            out = self.xp.asarray(out)
        return RawTensor(out)

    return declared_as(declared, operation)


def _comparison(declared: _Method) -> _Method:
    """As `_binary`, but a float may stand beside integers: nothing is promoted."""
    name = declared.__name__
    of_tensors = _binary(declared, name, alike=False)

    def operation(self: Any, x: Operand, y: Operand, /) -> Any:
        if isinstance(x, RawTensor) and isinstance(y, int | float):
            return self._wrap(getattr(self.xp, name)(x.array, y))
        if isinstance(y, RawTensor) and isinstance(x, int | float):
            return self._wrap(getattr(self.xp, name)(x, y.array))
        return of_tensors(self, x, y)

    return declared_as(declared, operation)


class ArrayElementwise(Elementwise, Dispatch):
    """Elementwise operations by the namespace's functions."""

    # -- arithmetic --

    add = _binary(Elementwise.add, "add")
    sub = _binary(Elementwise.sub, "subtract")
    mul = _binary(Elementwise.mul, "multiply")
    maximum = _binary(Elementwise.maximum, "maximum")
    minimum = _binary(Elementwise.minimum, "minimum")
    floor_divide = _whole(Elementwise.floor_divide)
    remainder = _whole(Elementwise.remainder)
    _divide = _binary(Elementwise.div, "divide")
    _power = _binary(Elementwise.pow, "power")

    @override
    def div(self, x: Operand, y: Operand, /) -> RawTensor:
        for operand in (x, y):
            if isinstance(operand, RawTensor):
                self._require_floating("div", operand.array)
        return self._divide(x, y)

    @override
    def pow(self, x: Operand, y: Operand, /) -> RawTensor:
        if isinstance(x, RawTensor) and not isinstance(y, RawTensor) and y == 2:
            return self.mul(x, x)
        self._check_power(x, y)
        return self._power(x, y)

    def _check_power(self, x: Operand, y: Operand) -> None:
        """Refuse integers to negative powers, which are not integers."""
        integral = isinstance(x, RawTensor) and x.array.dtype.kind in INTEGRAL
        negative = (y.array < 0).any() if isinstance(y, RawTensor) else y < 0
        if integral and negative:
            raise DomainError(
                f"expected integers to non-negative powers, got a negative one: {y!r}; "
                'convert the base with .astype("float32")'
            )

    @override
    def neg(self, x: RawTensor, /) -> RawTensor:
        if x.array.dtype == bool_:
            raise DTypeError(
                "expected a tensor of numbers to negate, got bool; use ~x for the logical not"
            )
        return self._wrap(self.xp.negative(x.array))

    @override
    def abs(self, x: RawTensor, /) -> RawTensor:
        return self._wrap(self.xp.abs(x.array))

    # -- functions --

    sign = _floating(Elementwise.sign)
    exp = _floating(Elementwise.exp)
    expm1 = _floating(Elementwise.expm1)
    log = _floating(Elementwise.log)
    log1p = _floating(Elementwise.log1p)
    sqrt = _floating(Elementwise.sqrt)
    sin = _floating(Elementwise.sin)
    cos = _floating(Elementwise.cos)
    tanh = _floating(Elementwise.tanh)

    @override
    def erf(self, x: RawTensor, /) -> RawTensor:
        # In double, rounded once.
        a = x.array
        self._require_floating("erf", a)
        flat = a.reshape(-1)
        out = self.xp.empty_like(flat)
        for start in range(0, flat.size, _ERF_TILE):
            tile = slice(start, start + _ERF_TILE)
            out[tile] = erf(self.xp, flat[tile].astype(np.float64))
        return RawTensor(out.reshape(a.shape))

    @override
    def ufunc(self, name: str, /, *operands: RawTensor) -> RawTensor:
        known = UFUNCS.get(name)
        if known is None or known.operands != len(operands):
            raise OperandError(
                f"expected the name of a function and its operands in ufunc, got {name!r} of "
                f"{len(operands)}; the names are those of born.backend.contract.elementwise.UFUNCS"
            )
        self._check_dtypes(name, *operands)
        dtype = operands[0].dtype
        self._require_floating(name, operands[0].array)
        function = self._special(name) if known.special else getattr(self.xp, name)
        arrays = [x.array.astype(np.float32) if is_half(dtype) else x.array for x in operands]
        try:
            out = function(*arrays)
        except ValueError as error:
            shapes = " and ".join(str(x.shape) for x in operands)
            raise ShapeError(
                f"expected shapes that fit in {name}, got {shapes} ({error}); "
                "reshape, transpose or index one of them"
            ) from error
        return self._wrap(out if out.dtype == dtype else out.astype(dtype))

    def _special(self, name: str) -> Callable[..., Any]:
        """The function of this name in the namespace's counterpart of `scipy.special`."""
        raise MissingPackageError(
            f"expected a backend with special functions for {name}, got {self!r}; "
            "override _special, or compute it on the numpy backend"
        )

    @override
    def where(self, condition: RawTensor, x: Operand, y: Operand, /) -> RawTensor:
        if condition.dtype != bool_:
            raise DTypeError(
                f"expected a bool condition in where, got {condition.dtype}; "
                "compare it with something, for example x != 0"
            )
        a, b = self._operand_arrays("where", x, y)
        try:
            return self._wrap(self.xp.where(condition.array, a, b))
        except ValueError as error:
            shapes = [getattr(part, "shape", ()) for part in (condition, a, b)]
            raise ShapeError(
                "expected a condition and two operands that broadcast in where, got "
                f"{shapes[0]}, {shapes[1]} and {shapes[2]}; reshape or index one of them"
            ) from error

    # -- comparison and logic --

    equal = _comparison(Elementwise.equal)
    not_equal = _comparison(Elementwise.not_equal)
    less = _comparison(Elementwise.less)
    less_equal = _comparison(Elementwise.less_equal)
    greater = _comparison(Elementwise.greater)
    greater_equal = _comparison(Elementwise.greater_equal)
    logical_and = _comparison(Elementwise.logical_and)
    logical_or = _comparison(Elementwise.logical_or)

    @override
    def logical_not(self, x: RawTensor, /) -> RawTensor:
        return self._wrap(self.xp.logical_not(x.array))

    @override
    def isfinite(self, x: RawTensor, /) -> RawTensor:
        return self._wrap(self.xp.isfinite(x.array))
