"""The functions that make a tensor. The same seed gives the same random ones on every backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, cast, overload

import numpy as np

from born.backend import B, Backend, Scalar
from born.backend.arguments import normal_axis
from born.dtypes import DTypeLike, as_dtype, bool_, check_fits, convert_exactly, float32, int64
from born.errors import DomainError, OperandError, ShapeError
from born.operands import (
    ShapeLike,
    as_shape,
    check_backend,
    check_unmasked,
    check_unrecorded,
)
from born.raw import HostArray, RawTensor, Shape
from born.tensor import Tensor
from born.validation import integer, number

MOST_ELEMENTS: Final = 2**60 - 1
"""Of which 8 bytes each are still counted in 64 bits."""


def tensor(data: Any, backend: B, dtype: DTypeLike | None = None) -> Tensor[B]:
    """A tensor with a copy of some data.

    Args:
        data: an array or NumPy scalar, whose dtype is kept, in native byte order; or a
            Python number or nested sequence of numbers: floats, and integers beside floats,
            become float32, integers alone int64, as labels and indices are, and bools stay
            bool. An array on a device has to be on the backend's own.
        backend: where the tensor lives.
        dtype: another dtype than that. Each number is rounded to it once.

    Raises:
        DTypeError: the data has a dtype that born does not know, or a number that `dtype`
            does not hold: one too large, or a fraction in an integer dtype.
        ShapeError: nested sequences of unequal lengths.
        BackendMismatchError: an array on another device.

    >>> born.tensor([1.0, 2, 3], backend)
    Tensor([1., 2., 3.], dtype=float32)
    >>> born.tensor([1, 2, 3], backend)
    Tensor([1, 2, 3], dtype=int64)
    """
    return Tensor(_copied(data, check_backend(backend), dtype), backend)


def from_dlpack(data: Any, backend: B) -> Tensor[B]:
    """A tensor over the memory of another library's array, without a copy.

    What one of the two writes, the other sees. `torch.from_dlpack(tensor)`,
    `cupy.from_dlpack(tensor)` and their like go the other way.

    Args:
        data: an array with `__dlpack__`, on the backend's device; not one that requires
            a gradient elsewhere. A read-only one makes a constant that nothing can update.
        backend: where the tensor lives.

    Raises:
        OperandError: it is not such an array, or its library does not share it.
        BackendMismatchError: it is on another device; `born.tensor` copies one from the host.
        DTypeError: it has a dtype that born or the backend's library does not know.

    >>> array = np.zeros(2, np.float32)
    >>> shared = born.from_dlpack(array, backend)
    >>> array[0] = 7.0
    >>> shared
    Tensor([7., 0.], dtype=float32)
    """
    return Tensor(check_backend(backend).from_dlpack(data), backend)


def _copied(data: Any, backend: Backend, dtype: DTypeLike | None) -> RawTensor:
    wanted = None if dtype is None else as_dtype(dtype)
    if not hasattr(data, "__array__"):
        return backend.from_numpy(_numbers(data, wanted))
    check_unmasked(data)
    try:
        # NumPy's arrays and scalars, tensors, and the host arrays of other libraries.
        array = np.asarray(data)
    except TypeError:
        # An array on a device refuses, and so does one of a dtype that NumPy does not have.
        if not hasattr(data, "__dlpack__"):
            raise
        raw = backend.from_dlpack(data)
        return backend.copy(raw) if wanted is None else backend.astype(raw, wanted)
    known = as_dtype(array.dtype)
    if wanted is not None and wanted != known:
        array = convert_exactly(array, wanted)
    return backend.from_numpy(array)


def _numbers(data: Any, wanted: np.dtype[Any] | None) -> HostArray:
    """Python numbers, or nested sequences of them, in the dtype that is wanted, or as they are."""
    try:
        check_unrecorded(data)
        numbers: HostArray = np.asarray(data)
        if numbers.dtype.kind == "f" and wanted is not None and wanted.kind in "iu":
            # Large integers beside floats, or beyond 64 bits, would be rounded to double.
            for number in np.asarray(data, object).flat:
                check_fits(number, wanted)
            return np.asarray(data, object).astype(wanted)
        if numbers.dtype.kind == "O" and all(isinstance(n, int | float) for n in numbers.flat):
            integral = all(isinstance(n, int) for n in numbers.flat)
            wanted = wanted or (int64 if integral else float32)
            for number in numbers.flat:
                check_fits(number, wanted)
            numbers = numbers.astype(np.float64)
    except RecursionError as error:
        raise ShapeError(
            "expected nested sequences of numbers, got one that contains itself or is nested too "
            "deep; pass an array"
        ) from error
    except ValueError as error:
        raise ShapeError(
            f"expected nested sequences of equal lengths, got {data!r}; pad or split the rows"
        ) from error
    if numbers.dtype.kind not in "iufb":
        as_dtype(numbers.dtype)  # names the dtypes that there are
        return numbers
    if wanted is None and _is_of_arrays(data):
        wanted = as_dtype(numbers.dtype)
    if wanted is None:
        wanted = {"b": bool_, "i": int64, "u": int64}.get(numbers.dtype.kind, float32)
    return convert_exactly(numbers, wanted)


def _is_of_arrays(data: object) -> bool:
    """Whether nested sequences begin with an array or a tensor, which have dtypes, or a number."""
    while isinstance(data, list | tuple):
        items = cast("Sequence[object]", data)
        if not items:
            return False
        data = items[0]
    return hasattr(data, "__array__") and not isinstance(data, np.generic)


def zeros(shape: ShapeLike, backend: B, dtype: DTypeLike = "float32") -> Tensor[B]:
    """A tensor of zeros.

    >>> born.zeros(2, backend)
    Tensor([0., 0.], dtype=float32)
    """
    return Tensor(check_backend(backend).zeros(_lengths(shape), dtype), backend)


def ones(shape: ShapeLike, backend: B, dtype: DTypeLike = "float32") -> Tensor[B]:
    """A tensor of ones.

    >>> born.ones((1, 2), backend)
    Tensor([[1., 1.]], dtype=float32)
    """
    return Tensor(check_backend(backend).ones(_lengths(shape), dtype), backend)


def full(shape: ShapeLike, value: Scalar, backend: B, dtype: DTypeLike | None = None) -> Tensor[B]:
    """A tensor of one value; of a float in float32, of an integer in int64, of a bool in bool.

    >>> born.full(2, 7.0, backend)
    Tensor([7., 7.], dtype=float32)
    """
    lengths = _lengths(shape)
    dtype = _dtype_of(value) if dtype is None else dtype
    if isinstance(cast("object", value), int | float):
        check_fits(value, as_dtype(dtype))
    return Tensor(check_backend(backend).full(lengths, value, dtype), backend)


def randn(shape: ShapeLike, backend: B, dtype: DTypeLike = "float32") -> Tensor[B]:
    """Draws from the standard normal distribution, from the backend's generator.

    >>> born.randn((2, 3), backend).shape
    (2, 3)
    """
    return Tensor(check_backend(backend).normal(_lengths(shape), dtype), backend)


def rand(shape: ShapeLike, backend: B, dtype: DTypeLike = "float32") -> Tensor[B]:
    """Draws from the uniform distribution over [0, 1), from the backend's generator.

    >>> born.rand(3, backend).shape
    (3,)
    """
    return Tensor(check_backend(backend).uniform(_lengths(shape), dtype), backend)


def arange(
    start: Scalar,
    stop: Scalar | None = None,
    step: Scalar = 1,
    *,
    backend: B,
    dtype: DTypeLike | None = None,
) -> Tensor[B]:
    """`start, start + step, ...` up to but without `stop`; from zero if only one is given.

    Of integers it is int64, and float32 if one of them is a float.

    >>> born.arange(3, backend=backend)
    Tensor([0, 1, 2], dtype=int64)
    >>> born.arange(0.0, 1.0, 0.25, backend=backend)
    Tensor([0.  , 0.25, 0.5 , 0.75], dtype=float32)
    """
    first, last = (0, start) if stop is None else (start, stop)
    if not all(math.isfinite(number) for number in (first, last, step)):
        raise ShapeError(
            f"expected finite start, stop and step, got {first}, {last} and {step}; "
            "a tensor has finitely many elements"
        )
    if dtype is None:
        dtypes = [_dtype_of(number) for number in (first, last, step)]
        dtype = float32 if float32 in dtypes else int64
    if step and (last - first) / step > MOST_ELEMENTS:
        raise ShapeError(
            f"expected at most {MOST_ELEMENTS} steps from start to stop, got start {first}, stop "
            f"{last} and step {step}; no memory holds more"
        )
    check_fits(first, as_dtype(dtype))
    return Tensor(check_backend(backend).arange(first, last, step, dtype), backend)


@overload
def linspace(
    start: Tensor[B] | Scalar,
    stop: Tensor[B] | Scalar,
    num: int = 50,
    *,
    endpoint: bool = True,
    retstep: Literal[False] = False,
    axis: int = 0,
    backend: B | None = None,
    dtype: DTypeLike | None = None,
) -> Tensor[B]: ...
@overload
def linspace(
    start: Tensor[B] | Scalar,
    stop: Tensor[B] | Scalar,
    num: int = 50,
    *,
    endpoint: bool = True,
    retstep: Literal[True],
    axis: int = 0,
    backend: B | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Tensor[B], Tensor[B] | float]: ...
def linspace(
    start: Tensor[B] | Scalar,
    stop: Tensor[B] | Scalar,
    num: int = 50,
    *,
    endpoint: bool = True,
    retstep: bool = False,
    axis: int = 0,
    backend: B | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Numbers at equal distances, from start to stop.

    Args:
        start, stop: numbers; or tensors, through which gradients pass, and of which each element
            has numbers of its own, along a new axis.
        num: how many.
        endpoint: whether stop is the last of them.
        retstep: whether to return the distance too, as `(numbers, distance)`.
        axis: where the new axis is, in front by default.
        backend: where the tensor lives, if neither start nor stop is a tensor.
        dtype: float32 by default, or that of the tensors.

    >>> born.linspace(0.0, 1.0, 5, backend=backend)
    Tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    num = integer("num", num, None, ShapeError)
    for end in (start, stop):
        if not isinstance(end, Tensor):
            number("an end", end, error=DomainError)
    if num < 0:
        raise ShapeError(f"expected a number of points from 0 on, got {num}; pass how many")
    tensors = [each for each in (start, stop) if isinstance(each, Tensor)]
    if not tensors:
        if backend is None:
            raise OperandError(
                f"expected a backend to make a tensor on, got start={start!r}, stop={stop!r} and "
                "no backend; pass backend="
            )
        ends = cast("tuple[Scalar, Scalar]", (start, stop))
        points, step = np.linspace(*ends, num, endpoint, retstep=True)
        made = tensor(points, backend, float32 if dtype is None else dtype)
        return (made, float(step)) if retstep else made
    first = tensors[0]
    kind = np.float64 if first.dtype == np.float64 else np.float32
    steps = max(num - 1, 1) if endpoint else max(num, 1)
    try:
        shape = np.broadcast_shapes(*(each.shape for each in tensors))
    except ValueError as error:
        raise ShapeError(
            f"expected ends that broadcast in linspace, got shapes {tensors[0].shape} and "
            f"{tensors[1].shape}; reshape one of them"
        ) from error
    parts = (np.arange(num) / steps).astype(kind).reshape(num, *(1 for _ in shape))
    # Exact at both ends, whatever the numbers.
    after = Tensor(
        first.backend.astype(first.backend.from_numpy(parts), first.dtype), first.backend
    )
    made = start * (1 - after) + stop * after
    if axis:
        place = normal_axis(axis, made.ndim)
        order = [*range(1, place + 1), 0, *range(place + 1, made.ndim)]
        made = Tensor(made.backend.transpose(made.raw, order), made.backend)
    made = made if dtype is None else made.astype(dtype)
    if not retstep:
        return made
    intervals = num - 1 if endpoint else num
    distance = stop - start
    return made, distance / intervals if intervals else distance * math.nan


def logspace(
    start: Tensor[B] | Scalar,
    stop: Tensor[B] | Scalar,
    num: int = 50,
    *,
    endpoint: bool = True,
    base: float = 10.0,
    backend: B | None = None,
    dtype: DTypeLike | None = None,
) -> Tensor[B]:
    """Numbers at equal distances of their logarithms: base to the power of `linspace`.

    >>> born.logspace(0, 2, 3, backend=backend)
    Tensor([  1.,  10., 100.], dtype=float32)
    """
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        return base ** linspace(start, stop, num, endpoint=endpoint, dtype=dtype)
    powers = linspace(start, stop, num, endpoint=endpoint, backend=backend, dtype="float64")
    return (base**powers).astype(float32 if dtype is None else dtype)


def geomspace(
    start: Scalar,
    stop: Scalar,
    num: int = 50,
    *,
    endpoint: bool = True,
    backend: B,
    dtype: DTypeLike = "float32",
) -> Tensor[B]:
    """Numbers of equal ratios, from start to stop.

    >>> born.geomspace(1, 8, 4, backend=backend)
    Tensor([1., 2., 4., 8.], dtype=float32)
    """
    number("start", start, error=DomainError)
    number("stop", stop, error=DomainError)
    if start == 0 or stop == 0 or (start < 0) != (stop < 0):
        raise DomainError(
            f"expected start and stop of one sign, and not zero, got {start} and {stop}; "
            "use linspace"
        )
    return tensor(np.geomspace(start, stop, num, endpoint), backend, dtype)


def eye(
    rows: int, backend: B, columns: int | None = None, dtype: DTypeLike = "float32"
) -> Tensor[B]:
    """Ones on the main diagonal, zeros elsewhere; square unless `columns` is given.

    >>> born.eye(2, backend)
    Tensor([[1., 0.],
            [0., 1.]], dtype=float32)
    """
    rows, columns = _lengths((rows, rows if columns is None else columns))
    return Tensor(check_backend(backend).eye(rows, columns, dtype), backend)


def _dtype_of(value: object) -> np.dtype[Any]:
    """What a number has without a dtype."""
    if isinstance(value, bool | np.bool_):
        return bool_
    return int64 if isinstance(value, int | np.integer) else float32


def _lengths(shape: ShapeLike) -> Shape:
    lengths = as_shape(shape)
    if any(length < 0 for length in lengths):
        raise ShapeError(
            f"expected a shape of non-negative lengths, got {lengths}; "
            "a length that is to be worked out is for reshape"
        )
    if math.prod(lengths) > MOST_ELEMENTS:
        raise ShapeError(
            f"expected a shape of at most {MOST_ELEMENTS} elements, got {lengths}; "
            "no memory holds more"
        )
    return lengths
