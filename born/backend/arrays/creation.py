"""Making arrays, and writing into them."""

from __future__ import annotations

from typing_extensions import override

from born.backend.arguments import Scalar
from born.backend.arrays.dispatch import Dispatch, dtype_mismatch
from born.backend.contract.creation import Creation
from born.dtypes import DTypeLike, as_dtype, check_fits, int64
from born.errors import DomainError, DTypeError, ShapeError
from born.raw import RawTensor, Shape


class ArrayCreation(Creation, Dispatch):
    """Arrays made in the namespace."""

    @override
    def full(self, shape: Shape, value: Scalar, dtype: DTypeLike) -> RawTensor:
        wanted = as_dtype(dtype)
        try:
            if wanted.kind in "iu" and value != int(value):
                raise ValueError("not a whole number")
            return RawTensor(self.xp.full(shape, value, wanted))
        except (OverflowError, ValueError) as error:
            raise DTypeError(
                f"expected a value that {wanted} holds, got {value!r}; use another value or dtype"
            ) from error

    @override
    def zeros(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        return RawTensor(self.xp.zeros(shape, as_dtype(dtype)))

    @override
    def ones(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        array = self._room(shape, as_dtype(dtype)) if shape else self.xp.empty((), as_dtype(dtype))
        array.fill(1)  # half a microsecond sooner than the namespace's `ones`
        return RawTensor(array)

    @override
    def arange(self, start: Scalar, stop: Scalar, step: Scalar, dtype: DTypeLike) -> RawTensor:
        if step == 0:
            raise DomainError("expected a step other than 0, got 0; use step=1")
        wanted, numbers = as_dtype(dtype), self.xp.arange(start, stop, step)
        if wanted.kind in "iu" and numbers.size:
            check_fits(step, int64)
            check_fits(start, wanted)
            check_fits(start + (numbers.size - 1) * step, wanted)
        return RawTensor(numbers.astype(wanted))

    @override
    def eye(self, rows: int, columns: int, dtype: DTypeLike) -> RawTensor:
        return RawTensor(self.xp.eye(int(rows), int(columns), dtype=as_dtype(dtype)))

    @override
    def astype(self, x: RawTensor, /, dtype: DTypeLike) -> RawTensor:
        return RawTensor(x.array.astype(as_dtype(dtype)))

    @override
    def copy(self, x: RawTensor, /) -> RawTensor:
        a = x.array
        if a.nbytes < self.large:
            return RawTensor(a.copy(order="C"))
        copy = self._room(a.shape, a.dtype)
        copy[...] = a
        return RawTensor(copy)

    @override
    def assign(self, target: RawTensor, value: RawTensor, /) -> None:
        if target.shape != value.shape:
            raise ShapeError(
                f"expected a value of shape {target.shape} to assign, got {value.shape}; "
                "reshape it first"
            )
        if target.dtype != value.dtype:
            raise dtype_mismatch("assign", target, value)
        target.array[...] = value.array
        target.touch()
