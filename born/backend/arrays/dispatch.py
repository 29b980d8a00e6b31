"""How operands reach the functions of a NumPy-like namespace: checked, converted, and wrapped."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np

from born.backend.arguments import Operand, is_tuple
from born.dtypes import INTEGRAL, bool_, float32, is_half, is_numpy_scalar
from born.errors import DTypeError, OperandError, ShapeError
from born.raw import Array, RawTensor, Shape

_Method = TypeVar("_Method", bound=Callable[..., Any])


class Dispatch:
    """A namespace `xp` of arrays, and what every operation does with its operands and result."""

    def __init__(self, xp: Any) -> None:
        self.xp: Final = xp
        self._ndarray: Final = xp.ndarray

    large: int = sys.maxsize
    """Bytes of a result from which `_room` is asked where to write it."""

    def _room(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """An array of any content, for a result."""
        return self.xp.empty(shape, dtype)

    def _room_like(self, a: Any, b: Any = None) -> Array | None:
        """Where to write a result of the shape of a, computed with a number or array b, if it has
        that shape and can be told; else None, for anywhere."""
        if a.dtype.char not in "fd" or not a.flags.c_contiguous:
            return None
        if b.__class__ is self._ndarray and b.shape != a.shape:
            fits = b.ndim <= a.ndim and all(
                n in (1, m) for n, m in zip(b.shape[::-1], a.shape[::-1], strict=False)
            )
            if not fits:
                return None
        return self._room(a.shape, a.dtype)

    def _wrap(self, array: Array) -> RawTensor:
        """Hold a result; NumPy returns scalars where it should return arrays of no axes."""
        if array.__class__ is not self._ndarray:
            array = self.xp.asarray(array)
        return RawTensor(array)

    def _operand_arrays(self, name: str, x: Operand, y: Operand) -> tuple[Any, Any]:
        """Two operands ready for a function of the namespace, their dtypes checked."""
        if isinstance(x, RawTensor):
            a = x.array
            if isinstance(y, RawTensor):
                b = y.array
                if a.dtype != b.dtype:
                    raise dtype_mismatch(name, x, y)
                return a, b
            return a, y if y.__class__ is float and a.dtype.kind == "f" else weak_scalar(
                name, y, a.dtype
            )
        if isinstance(y, RawTensor):
            b = y.array
            weak = x.__class__ is float and b.dtype.kind == "f"
            return x if weak else weak_scalar(name, x, b.dtype), b
        raise OperandError(
            f"expected at least one tensor in {name}, got {x!r} and {y!r}; "
            "use Python's own arithmetic for numbers"
        )

    def _require_floating(self, name: str, array: Array) -> None:
        if array.dtype.kind in INTEGRAL:
            raise DTypeError(
                f"expected a floating dtype in {name}, got {array.dtype}; "
                'convert with .astype("float32")'
            )

    def _check_dtypes(self, name: str, x: RawTensor, *others: RawTensor | None) -> None:
        for other in others:
            if other is not None and other.dtype != x.dtype:
                raise dtype_mismatch(name, x, other)


def weak_scalar(name: str, value: object, dtype: np.dtype[Any]) -> Any:
    """A Python number (or NumPy scalar) as an operand that cannot promote `dtype`."""
    if is_numpy_scalar(value):
        value = value.item()
    if not isinstance(value, bool | int | float):
        raise OperandError(
            f"expected a tensor or a Python number in {name}, got {type(value).__name__}; "
            "make it a tensor with born.tensor(value, backend)"
        )
    if dtype.kind in INTEGRAL and (
        isinstance(value, float) or (dtype == bool_ and not isinstance(value, bool))
    ):
        raise DTypeError(
            f"expected a number that {dtype} holds in {name}, got {value!r}; "
            'convert the tensor first, for example with .astype("float32")'
        )
    # NumPy's rule for weak scalars does not know bfloat16, which would become float32.
    return dtype.type(value) if dtype.kind == "V" else value


def dtype_mismatch(name: str, x: RawTensor, y: RawTensor) -> DTypeError:
    """The error for tensors of two dtypes."""
    return DTypeError(
        f"expected one dtype in {name}, got {x.dtype} and {y.dtype}; "
        f'convert one with .astype("{x.dtype}") or .astype("{y.dtype}")'
    )


def shape_mismatch(name: str, a: Any, b: Any, error: Exception) -> ShapeError:
    """The error for operands whose shapes do not broadcast or multiply."""
    shapes = f"{getattr(a, 'shape', ())} and {getattr(b, 'shape', ())}"
    return ShapeError(
        f"expected shapes that fit in {name}, got {shapes} ({error}); "
        "reshape, transpose or index one of them"
    )


def declared_as(declared: _Method, operation: Callable[..., Any]) -> _Method:
    """`operation`, typed and documented as the contract declares it."""
    return cast("_Method", functools.update_wrapper(operation, declared, updated=()))


def halves_in_float32(method: _Method) -> _Method:
    """`method` with float16 and bfloat16, told by its first tensor, computed in float32."""
    name = method.__name__

    @functools.wraps(method)
    def operation(self: Any, x: RawTensor, /, *args: Any, **options: Any) -> Any:
        dtype = x.array.dtype
        if not is_half(dtype):
            return method(self, x, *args, **options)
        tensors = [arg for arg in args if isinstance(arg, RawTensor)]
        self._check_dtypes(name, x, *tensors)
        wide = [_convert(arg, float32) for arg in args]
        results = method(self, _convert(x, float32), *wide, **options)
        if is_tuple(results):
            return tuple(_convert(result, dtype) for result in results)
        return _convert(results, dtype)

    return cast("_Method", operation)


def _convert(value: Any, dtype: np.dtype[Any]) -> Any:
    return RawTensor(value.array.astype(dtype)) if isinstance(value, RawTensor) else value
