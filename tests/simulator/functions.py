"""The simulator's functions, with CuPy's signatures."""

from __future__ import annotations

import builtins
import functools
import importlib.util
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from born.backend.contract.elementwise import UFUNCS as UFUNCS_OF_BORN
from born.raw import HostArray
from tests.simulator.arrays import (
    DLPACK_CUDA,
    Axis,
    computed,
    host_of,
    ndarray,
    on_device,
    supported,
    ufunc,
)
from tests.simulator.machine import Device

UFUNCS: Final = (
    "add",
    "subtract",
    "multiply",
    "divide",
    "power",
    "floor_divide",
    "remainder",
    "maximum",
    "minimum",
    "negative",
    "absolute",
    "sign",
    "exp",
    "expm1",
    "log",
    "log1p",
    "sqrt",
    "log2",
    "ceil",
    "sin",
    "cos",
    "tanh",
    "copysign",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_not",
    "isfinite",
    "isnan",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "cbrt",
    "cosh",
    "exp2",
    "floor",
    "fmod",
    "hypot",
    "log10",
    "rint",
    "sinh",
    "tan",
    "trunc",
)

_OTHER_NAMES: Final = {"divide": "cupy_true_divide"}
"""The ufuncs that CuPy calls otherwise."""


def namespace() -> dict[str, Any]:
    """The package's functions, by name."""
    named = {name: ufunc(getattr(np, name), _OTHER_NAMES.get(name)) for name in UFUNCS}
    own = {
        name: value
        for name, value in globals().items()
        if getattr(value, "__module__", None) == __name__ and not name.startswith("_")
    }
    del own["namespace"], own["special"]
    return own | named | {"abs": named["absolute"], "ogrid": _Grid()}


def special() -> dict[str, Any]:
    """The functions of `cupyx.scipy.special` that the backend calls, where SciPy is installed."""
    if importlib.util.find_spec("scipy") is None:
        return {}
    module = importlib.import_module("scipy.special")
    names = [name for name, known in UFUNCS_OF_BORN.items() if known.special]
    return {
        name: functools.partial(computed, getattr(module, name))
        for name in names
        if name not in ("iv", "ive", "jv")  # which CuPy does not have
    }


def copyto(dst: Any, src: Any) -> None:
    """Write one array into another."""
    dst[...] = src


# -- creation --


def array(obj: Any, dtype: Any = None, copy: bool | None = True, order: str = "K") -> ndarray:
    if isinstance(obj, ndarray):
        kind = obj.dtype if dtype is None else supported(dtype)
        return obj.astype(kind, order, copy=bool(copy))
    host: HostArray = np.array(obj, dtype, order="F" if order == "F" else "C")
    kind = supported(host.dtype)
    return on_device(host.astype(kind.newbyteorder("="), copy=False))


def asarray(
    a: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None
) -> ndarray:
    return array(a, dtype, copy, order or "K")


def ascontiguousarray(a: ndarray, dtype: Any = None) -> ndarray:
    same = dtype is None or np.dtype(dtype) == a.dtype
    if same and a.flags.c_contiguous:
        return a.ravel() if a.ndim == 0 else a
    return on_device(np.ascontiguousarray(a.reached(), dtype))


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def empty_like(prototype: ndarray, dtype: Any = None) -> ndarray:
    return ndarray(prototype.shape, prototype.dtype if dtype is None else dtype)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    if dtype is None:
        dtype = fill_value.dtype if isinstance(fill_value, ndarray) else np.array(fill_value).dtype
    made = ndarray(shape, dtype, order=order)
    made.fill(host_of(fill_value))
    return made


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype, order)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 1, dtype, order)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    first, last = (0, start) if stop is None else (start, stop)
    return on_device(np.arange(first, last, step, dtype=dtype))


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> ndarray:
    return on_device(np.eye(N, M, k, supported(dtype)))


class _Grid:
    def __getitem__(self, slices: Any) -> list[ndarray]:
        return [on_device(part) for part in np.ogrid[slices]]


def from_dlpack(array: Any) -> ndarray:
    kind, number = array.__dlpack_device__()
    if kind != DLPACK_CUDA:
        raise TypeError("CPU arrays cannot be directly imported to CuPy.")
    with Device(number):
        shared: ndarray = array.__dlpack__(stream=1, max_version=(1, 0))
    return shared.view()


# -- selection and shape --


def where(condition: ndarray, x: Any = None, y: Any = None) -> ndarray:
    chosen = computed(np.where, condition, x, y)
    # CuPy chooses between float32 numbers where NumPy chooses between bfloat16 ones.
    return chosen.astype(np.float32) if chosen.dtype.name == "bfloat16" else chosen


def clip(a: ndarray, a_min: Any, a_max: Any) -> ndarray:
    return computed(np.clip, a, a_min, a_max)


def concatenate(tup: Sequence[Any], axis: int | None = 0) -> ndarray:
    if builtins.any(not isinstance(part, ndarray) for part in tup):
        raise TypeError("Only cupy arrays can be concatenated")
    return on_device(np.concatenate([part.reached() for part in tup], axis=axis))


def broadcast_to(array: ndarray, shape: Any) -> ndarray:
    return on_device(np.broadcast_to(array.reached(), shape))


def tril(m: ndarray, k: int = 0) -> ndarray:
    return computed(np.tril, m, k)


def triu(m: ndarray, k: int = 0) -> ndarray:
    return computed(np.triu, m, k)


def flip(a: ndarray, axis: Axis = None) -> ndarray:
    return on_device(np.flip(a.reached(), axis))


def take_along_axis(a: ndarray, indices: ndarray, axis: int) -> ndarray:
    if indices.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    index = indices.reached() % max(a.shape[axis], 1)
    return on_device(np.take_along_axis(a.reached(), index, axis))


# -- products and reductions --


def matmul(x1: ndarray, x2: ndarray, /) -> ndarray:
    return computed(np.matmul, x1, x2)


def argmax(a: ndarray, axis: int | None = None, *, keepdims: bool = False) -> ndarray:
    return a.argmax(axis, keepdims=keepdims)


def argmin(a: ndarray, axis: int | None = None, *, keepdims: bool = False) -> ndarray:
    return a.argmin(axis, keepdims=keepdims)


def argsort(a: ndarray, axis: int = -1, kind: str | None = None) -> ndarray:
    if kind not in (None, "stable"):
        raise ValueError("unsupported kind")
    return computed(np.argsort, a, axis, kind="stable")


def searchsorted(a: ndarray, v: ndarray, side: str = "left", sorter: Any = None) -> ndarray:
    return computed(np.searchsorted, a, v, side=side, sorter=sorter)


def any(a: ndarray, axis: Axis = None, *, keepdims: bool = False) -> ndarray:
    return a.any(axis, keepdims=keepdims)


def all(a: ndarray, axis: Axis = None, *, keepdims: bool = False) -> ndarray:
    return a.all(axis, keepdims=keepdims)
