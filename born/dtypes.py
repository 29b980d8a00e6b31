"""The dtypes that born knows."""

from __future__ import annotations

import importlib
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
    """Resolve `dtype` to one of born's dtypes.

    Args:
        dtype: a NumPy dtype, scalar type or name. `"bfloat16"` needs the package
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
    except TypeError as error:
        raise _unknown(dtype) from error
    if resolved.name not in DTYPE_NAMES:
        raise _unknown(dtype)
    return resolved


def _import_bfloat16() -> None:
    try:
        importlib.import_module("ml_dtypes")
    except ImportError as error:
        raise DTypeError(
            "expected the package ml_dtypes, which defines bfloat16, but it is not installed; "
            "run: pip install ml_dtypes"
        ) from error


def _unknown(dtype: object) -> DTypeError:
    return DTypeError(
        f"expected one of the dtypes {', '.join(DTYPE_NAMES)}, got {dtype!r}; "
        "convert the array with .astype first"
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
