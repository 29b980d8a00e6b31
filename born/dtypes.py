"""The dtypes that born knows."""

from __future__ import annotations

import importlib
import math
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeIs

from born.errors import DTypeError

DTypeLike: TypeAlias = npt.DTypeLike
"""A NumPy dtype, a scalar type such as `numpy.float32`, or a name such as `"bfloat16"`."""

INTEGRAL: Final = "iub"
"""The kinds of dtypes that no gradient flows through."""

float32: Final = np.dtype(np.float32)
int64: Final = np.dtype(np.int64)
bool_: Final = np.dtype(np.bool_)

FLOATING_NAMES: Final = ("float32", "float64", "float16", "bfloat16")
DTYPE_NAMES: Final = (*FLOATING_NAMES, "int32", "int64", "uint8", "bool")


def as_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Resolve `dtype` to one of born's dtypes, all of them in native byte order.

    Args:
        dtype: a NumPy dtype, in any byte order, scalar type or name. `"bfloat16"` needs the package
            ml_dtypes.

    Raises:
        DTypeError: born has no such dtype, or ml_dtypes is missing.

    >>> as_dtype("float32")
    dtype('float32')
    """
    try:
        # Resolving costs a microsecond and happens in every creation.
        return _RESOLVED[dtype]
    except (KeyError, TypeError):
        resolved = _resolve(dtype)
    if isinstance(dtype, np.dtype | type | str):
        _RESOLVED[dtype] = resolved
    return resolved


_RESOLVED: Final[dict[Any, np.dtype[Any]]] = {}


def _resolve(dtype: DTypeLike | None) -> np.dtype[Any]:
    if dtype is None:  # to NumPy, None is float64
        raise _unknown(dtype)
    if isinstance(dtype, str) and dtype == "bfloat16":
        _import_bfloat16()
    try:
        resolved = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:  # "1f,", ",": NumPy parses lists
        raise _unknown(dtype) from error
    if resolved.name not in DTYPE_NAMES:
        raise _unknown(dtype, _REMEDIES.get(resolved.kind, _CONVERT))
    return resolved if resolved.isnative else resolved.newbyteorder("=")


def _import_bfloat16() -> None:
    try:
        importlib.import_module("ml_dtypes")
    except ImportError as error:
        raise DTypeError(
            "expected the package ml_dtypes, which defines bfloat16, but it is not installed; "
            "run: pip install ml_dtypes"
        ) from error


_CONVERT: Final = "convert the array with .astype first"
_TEXTS: Final = "number texts first, as np.unique(texts, return_inverse=True)[1] does"
_REMEDIES: Final = {
    "c": "there are no complex numbers: keep real and imaginary parts as two arrays",
    "O": "it holds other things than numbers of one kind: choose the columns that are numbers, and "
    'convert them with .astype("float64")',
    "S": _TEXTS,
    "U": _TEXTS,
    "M": "subtract a first date, and divide by a unit, as np.timedelta64(1, 's')",
    "m": "divide by a unit, as np.timedelta64(1, 's')",
}
"""Kind of a dtype that born does not have -> what to do."""


def _unknown(dtype: object, remedy: str = _CONVERT) -> DTypeError:
    return DTypeError(
        f"expected one of the dtypes {', '.join(DTYPE_NAMES)}, got {dtype!r}; {remedy}"
    )


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether values of `dtype` can carry a gradient.

    >>> is_floating(as_dtype("int64"))
    False
    """
    # kind "f" first: reading a dtype's name costs a microsecond, and bfloat16 has kind "V".
    return dtype.kind == "f" or dtype.name in FLOATING_NAMES


def is_half(dtype: np.dtype[Any]) -> bool:
    """Whether a floating dtype has two bytes, so that sums and products want float32."""
    return dtype.itemsize == 2


def is_numpy_scalar(value: object) -> TypeIs[np.generic[Any]]:
    """Whether a value is one of NumPy's scalars, which count as Python numbers."""
    return isinstance(value, np.generic)


def convert_exactly(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """A host array in another dtype, each number rounded once; bool is whether it is not 0.

    Raises:
        DTypeError: a number does not fit: too large, or not a whole number for integers.
    """
    if dtype.kind in "iu":
        _check_whole(array, dtype)
        return array.astype(dtype)
    # ml_dtypes rounds to float32 first, and then again.
    twice = dtype.kind == "V" and array.dtype.kind in "iuf" and array.dtype.itemsize > 2
    with np.errstate(over="ignore"):
        converted = (_odd_float32(array) if twice else array).astype(dtype)
    if array.dtype.kind not in "bV" and dtype.kind != "b":
        infinite = np.isinf(converted)
        if infinite.any():
            _refuse(array, infinite & np.isfinite(array), dtype)
    return converted


def check_fits(number: float, dtype: np.dtype[Any]) -> None:
    """Refuse a Python number that `dtype` does not hold.

    Raises:
        DTypeError: it is too large, or not a whole number for integers.

    >>> check_fits(300, as_dtype("uint8"))
    Traceback (most recent call last):
    born.errors.DTypeError: expected numbers that uint8 holds, got 300; use another dtype
    """
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        held = limits.min <= number <= limits.max and number == int(number)
    elif dtype.kind == "b" or (isinstance(number, float) and not math.isfinite(number)):
        held = True
    else:
        try:
            with np.errstate(over="ignore"):
                held = bool(np.isfinite(dtype.type(number)))
        except OverflowError:
            held = False
    if not held:
        raise _does_not_fit(number, dtype)


def _check_whole(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    kind = array.dtype.kind
    if kind == "b" or np.can_cast(array.dtype, dtype):
        return
    limits = np.iinfo(dtype)
    if kind == "V":
        array = array.astype(np.float32)
    if kind in "fV":
        # The bounds as powers of two, which every dtype that has them holds exactly.
        wrong = ~((array >= float(limits.min)) & (array < float(limits.max + 1)))
        wrong |= array != np.trunc(array)
    else:
        wrong = (array < limits.min) | (array > limits.max)
    _refuse(array, wrong, dtype)


def _refuse(array: npt.NDArray[Any], wrong: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Raise if a number is marked as wrong, and name the first."""
    if wrong.any():
        raise _does_not_fit(array[wrong].flat[0].item(), dtype)


def _does_not_fit(number: object, dtype: np.dtype[Any]) -> DTypeError:
    return DTypeError(f"expected numbers that {dtype} holds, got {number!r}; use another dtype")


def _odd_float32(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers in float32, rounded to odd, so that rounding them to fewer digits rounds but once.

    Source: Boldo and Melquiond (2008), "Emulation of FMA and correctly rounded sums: proved
    algorithms using rounding to odd", section 3.
    """
    with np.errstate(over="ignore"):
        near = np.atleast_1d(array.astype(np.float32))
    back = near.astype(array.dtype if array.dtype.kind == "f" else np.float64)
    wide = np.atleast_1d(array).astype(back.dtype)
    bits = near.view(np.uint32)
    inexact = np.isfinite(near) & (back != wide)
    bits -= (inexact & (np.abs(back) > np.abs(wide))).astype(np.uint32)
    bits |= inexact.astype(np.uint32)
    return near.reshape(array.shape)
