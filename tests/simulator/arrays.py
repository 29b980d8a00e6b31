"""The simulator's arrays: NumPy's, in a device's memory, with CuPy's manners.

Where CuPy 14 differs from NumPy, so do they: they never become NumPy arrays unasked, nor
mix with them; results of no axes stay arrays; an index that is out of range wraps around;
nothing warns of what overflows or divides by zero. Sums at repeated indices are added up
in another order every time, as a device's threads do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np

from born.dtypes import is_numpy_scalar
from born.raw import HostArray
from tests.simulator.machine import (
    Device,
    Memory,
    MemoryPointer,
    Stream,
    current_device,
    get_current_stream,
    memory_of,
    pool,
    waits,
)
from tests.tools import is_tuple

Axis = int | tuple[int, ...] | None

DLPACK_CUDA: Final = 2
"""What DLPack calls memory of an NVIDIA GPU."""

_CHARACTERS: Final = "?bhilqBHILQefdFD"
_ATOMIC: Final = ("int32", "int64", "float16", "float32", "float64", "uint32", "uint64")


def supported(dtype: Any) -> np.dtype[Any]:
    """A dtype that CuPy knows."""
    kind: np.dtype[Any] = np.dtype(dtype)
    if kind.char not in _CHARACTERS and kind.name != "bfloat16":
        raise ValueError(f"Unsupported dtype {kind}")
    return kind


def host_of(value: Any) -> Any:
    """What NumPy computes with in place of a device's array, or a scalar as it is."""
    if isinstance(value, ndarray):
        return value.reached()
    scalar: Any = value
    if value is None or isinstance(value, int | float) or is_numpy_scalar(value):
        return scalar
    raise TypeError(f"Unsupported type {type(value)}")


def on_device(result: Any) -> ndarray:
    """An array of the device: a view of its memory if NumPy has made one, else a copy."""
    host: HostArray = np.asarray(result)
    memory = memory_of(host)
    if memory is None:
        made = ndarray(host.shape, host.dtype, order="F" if _is_fortran(host) else "C")
        made.host[...] = host
        return made
    return _view(host, memory)


def _view(host: HostArray, memory: Memory) -> ndarray:
    made = ndarray.__new__(ndarray)
    made.host, made.memory = host, memory
    return made


def _is_fortran(host: HostArray) -> bool:
    return host.flags.f_contiguous and not host.flags.c_contiguous


def computed(function: Callable[..., Any], *arguments: Any, **options: Any) -> ndarray:
    """What a function of NumPy makes of arrays of the device, there."""
    hosts = [host_of(argument) for argument in arguments]
    with np.errstate(all="ignore"):
        return on_device(function(*hosts, **options))


# -- what an array has of NumPy's, with the parameters of CuPy's ---------------------------

_Method: TypeAlias = "Callable[..., ndarray]"


def _of_host(name: str) -> Any:
    """A property of the host's array."""

    def read(self: ndarray) -> Any:
        return getattr(self.host, name)

    return property(read)


def _sum_like(name: str) -> _Method:
    def method(
        self: ndarray, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False
    ) -> ndarray:
        return self.by_numpy(name, axis=axis, dtype=dtype, keepdims=keepdims)

    return method


def _max_like(name: str) -> _Method:
    def method(self: ndarray, axis: Axis = None, *, keepdims: bool = False) -> ndarray:
        return self.by_numpy(name, axis=axis, keepdims=keepdims)

    return method


def _argmax_like(name: str) -> _Method:
    def method(self: ndarray, axis: int | None = None, *, keepdims: bool = False) -> ndarray:
        return self.by_numpy(name, axis=axis, keepdims=keepdims)

    return method


def _cumsum_like(name: str) -> _Method:
    def method(self: ndarray, axis: int | None = None, dtype: Any = None) -> ndarray:
        return self.by_numpy(name, axis=axis, dtype=dtype)

    return method


class ndarray:  # noqa: N801  # CuPy's name
    """An array in a device's memory; `host` shows it to the simulator."""

    __array_priority__ = 100

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        *,
        order: str = "C",
    ) -> None:
        kind = supported(dtype)
        lengths = (shape,) if isinstance(shape, int) else tuple(shape)
        size = math.prod(lengths) * kind.itemsize
        place = memptr or pool.malloc(size)
        start = place.ptr - place.mem.ptr
        whole = place.mem.bytes[start : start + size]
        self.memory = place.mem
        self.host: Any = whole.view(kind).reshape(lengths, order="F" if order == "F" else "C")

    def reached(self) -> Any:
        """The array for what runs next on the current stream."""
        if self.memory.device_id != current_device():
            raise ValueError(
                f"The device where the array resides ({self.memory.device_id}) is different from "
                f"the current device ({current_device()}). Peer access is unavailable between "
                "these devices."
            )
        get_current_stream().catch_up()
        return self.host

    def by_numpy(self, name: str, *arguments: Any, **options: Any) -> ndarray:
        """What a method of NumPy's array makes of it."""
        with np.errstate(all="ignore"):
            return on_device(getattr(self.reached(), name)(*arguments, **options))

    # -- what it is --

    @property
    def data(self) -> MemoryPointer:
        return MemoryPointer(self.memory, self.host.ctypes.data - self.memory.ptr)

    @property
    def base(self) -> Memory:
        """What owns the elements: the same for all arrays that share them."""
        return self.memory

    @property
    def device(self) -> Device:
        return Device(self.memory.device_id)

    shape: tuple[int, ...] = _of_host("shape")
    strides: tuple[int, ...] = _of_host("strides")
    dtype: np.dtype[Any] = _of_host("dtype")
    ndim: int = _of_host("ndim")
    size: int = _of_host("size")
    itemsize: int = _of_host("itemsize")
    nbytes: int = _of_host("nbytes")
    flags: Any = _of_host("flags")

    @property
    def T(self) -> ndarray:  # CuPy's name
        return self.transpose()

    # -- to the host, and the ways there that are closed --

    def get(self, stream: Stream | None = None, order: str = "C") -> HostArray:
        (stream or get_current_stream()).catch_up()
        waits.append("ndarray.get")
        host: HostArray = np.array(self.host, order="F" if order == "F" else "C")
        return host

    def item(self) -> Any:
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return self.get(order=order).tobytes()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __array__(self, dtype: Any = None) -> HostArray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to "
            "construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            return NotImplemented
        return ufunc(function)(*inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"cupy.{function.__name__} is to be called, not NumPy's")

    def __dlpack_device__(self) -> tuple[int, int]:
        return DLPACK_CUDA, self.memory.device_id

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> ndarray:
        """Itself: only the simulator's own `from_dlpack` knows how to reach this memory."""
        return self

    # -- into it --

    def fill(self, value: Any) -> None:
        # As a ufunc would take it: a Python integer that does not fit is an error.
        self.reached()[...] = np.asarray(value, self.dtype) if isinstance(value, int) else value

    def __setitem__(self, slices: Any, value: Any) -> None:
        host = self.reached()
        with np.errstate(all="ignore"):
            host[wrapped_index(slices, self.shape)] = host_of(value)

    def __getitem__(self, slices: Any) -> ndarray:
        index = wrapped_index(slices, self.shape)
        view = np.asarray(self.host[index])  # which is not read yet, on whatever device it is
        return on_device(view if memory_of(view) is self.memory else self.reached()[index])

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    # -- in another form --

    def astype(self, dtype: Any, order: str = "K", *, copy: bool = True) -> ndarray:
        kind = supported(dtype)
        if not copy and kind == self.dtype:
            return self
        return self.by_numpy("astype", kind, order=order)

    def copy(self, order: str = "C") -> ndarray:
        return self.by_numpy("copy", order=order)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: object) -> ndarray:
        return self.copy()

    def view(self, dtype: Any = None) -> ndarray:
        return on_device(self.host.view() if dtype is None else self.host.view(supported(dtype)))

    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        view = self.host.reshape(*shape, order=order)
        if memory_of(view) is self.memory:
            return _view(view, self.memory)
        return self.by_numpy("reshape", *shape, order=order)

    def ravel(self, order: str = "C") -> ndarray:
        return self.by_numpy("ravel", order=order)

    def transpose(self, *axes: Any) -> ndarray:
        return on_device(self.host.transpose(*axes))

    def swapaxes(self, axis1: int, axis2: int) -> ndarray:
        return on_device(self.host.swapaxes(axis1, axis2))

    # -- reductions --

    sum, prod, mean = map(_sum_like, ("sum", "prod", "mean"))
    max, min, any, all = map(_max_like, ("max", "min", "any", "all"))
    argmax, argmin = map(_argmax_like, ("argmax", "argmin"))
    cumsum, cumprod = map(_cumsum_like, ("cumsum", "cumprod"))

    def argsort(self, axis: int = -1, kind: str | None = None) -> ndarray:
        return self.by_numpy("argsort", axis=axis, kind=kind or "stable")

    def dot(self, b: ndarray) -> ndarray:
        return computed(np.dot, self, b)


class ufunc:  # noqa: N801  # CuPy's name
    """A function of elements."""

    def __init__(self, function: Any, name: str | None = None) -> None:
        self._function = function
        self.name = self.__name__ = name or f"cupy_{function.__name__}"

    def __call__(
        self, *args: Any, out: ndarray | None = None, dtype: Any = None, casting: str = "same_kind"
    ) -> ndarray:
        if out is None:
            return computed(self._function, *args, dtype=dtype, casting=casting)
        hosts = [host_of(argument) for argument in args]
        with np.errstate(all="ignore"):
            self._function(*hosts, out=out.reached(), dtype=dtype, casting=casting)
        return out

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        if a.dtype.name not in _ATOMIC:
            raise TypeError(f"{self.name} only supports {', '.join(_ATOMIC)} as data type")
        places = np.arange(a.size).reshape(a.shape)[wrapped_index(indices, a.shape)]
        values = np.broadcast_to(host_of(b), places.shape).reshape(-1)
        order = np.random.default_rng(next(_turns)).permutation(values.size)
        where = np.unravel_index(places.reshape(-1)[order], a.shape)
        with np.errstate(all="ignore"):
            self._function.at(a.reached(), where, values[order])


_turns: Final = itertools.count()


def wrapped_index(slices: Any, shape: tuple[int, ...]) -> Any:
    """An index for NumPy, its arrays of integers within the axes that they index."""
    parts = list(slices) if is_tuple(slices) else [slices]
    used = sum(map(_axes, parts))
    axis = 0
    for place, part in enumerate(parts):
        if part is Ellipsis:
            axis += len(shape) - used
            continue
        if isinstance(part, list) or hasattr(part, "dtype"):
            parts[place] = _wrapped(part, shape[axis] if axis < len(shape) else 0)
        axis += _axes(part)
    return tuple(parts) if is_tuple(slices) else parts[0]


def _wrapped(part: Any, length: int) -> HostArray:
    """An array, or list, of indices within an axis of a length; a mask as it is."""
    host: HostArray = part.reached() if isinstance(part, ndarray) else np.asarray(part)
    if host.dtype.kind == "b" and isinstance(part, ndarray):
        waits.append("ndarray.__getitem__ of a mask")  # how many elements are there?
    return host % length if host.dtype.kind in "iu" and length else host


def _axes(part: Any) -> int:
    """How many axes a part of an index stands for."""
    if part is None or part is Ellipsis:
        return 0
    axes: int = part.ndim if getattr(part, "dtype", None) == np.bool_ else 1
    return axes


_BINARY: Final = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "pow": np.power,
    "matmul": np.matmul,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}
_COMPARING: Final = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_UNARY: Final = {"neg": np.negative, "invert": np.invert, "abs": np.absolute}


def _add_operators() -> None:
    def method(function: Any, turned: bool = False, inplace: bool = False) -> Callable[..., Any]:
        apply = ufunc(function)

        def operator(self: ndarray, *other: Any) -> ndarray:
            given = (*other, self) if turned else (self, *other)
            return apply(*given, out=self if inplace else None)

        return operator

    for name, function in (_BINARY | _COMPARING | _UNARY).items():
        setattr(ndarray, f"__{name}__", method(function))
    for name, function in _BINARY.items():
        setattr(ndarray, f"__r{name}__", method(function, turned=True))
        setattr(ndarray, f"__i{name}__", method(function, inplace=True))


_add_operators()
ndarray.__hash__ = None  # type: ignore[assignment]  # as an array that compares by elements
