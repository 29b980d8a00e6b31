"""Finding the backend and storage of arguments, for `Tensor` and for functions alike.

What is neither a tensor nor, where that will do, a number is an `OperandError`; a tensor on
another backend than the first is a `BackendMismatchError`. As far as types go each argument
may be a number; at run time it may be anything at all.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Sequence
from typing import Any, Final, Generic, SupportsIndex, TypeAlias, TypeVar, cast

import numpy as np
from typing_extensions import TypeIs

from born.backend import B, Backend, Index, Operand, Scalar
from born.backend.arguments import is_tuple
from born.dtypes import is_numpy_scalar
from born.errors import BackendMismatchError, OperandError, ShapeError, TapeError
from born.raw import HostArray, RawTensor, Shape

B2 = TypeVar("B2", bound=Backend)

ShapeLike: TypeAlias = int | Sequence[int]


class TensorBase(Generic[B]):
    """Storage on a backend: all that operations need to know of a `Tensor`."""

    __slots__ = ("__weakref__", "backend", "raw")

    def __init__(self, raw: RawTensor, backend: B) -> None:
        self.raw = raw
        self.backend = backend


class _Held(threading.local):
    """Parameters that functions of this thread are being differentiated by: how many."""

    def __init__(self) -> None:
        self.counts: dict[RawTensor, int] = {}


HELD: Final = _Held()
"""What `check_stays` refuses besides what a tape has marked."""


def check_stays(raw: RawTensor, use: str) -> None:
    """Refuse to hand out values inside a function that `grad` differentiates."""
    node = raw.node
    if raw.requires_grad and HELD.counts.get(raw):
        raise _leaving(use)
    while node is not None:
        if node.tape.of_function and node.tape.depth:
            raise _leaving(use)
        node = node.below


def _leaving(use: str) -> TapeError:
    return TapeError(
        f"expected tensors to stay tensors in a function that grad differentiates, got "
        f"{use}, through which no gradient passes; use born.ops (ops.stack makes one "
        "tensor of several), or .detach() first if a constant is meant"
    )


def check_unrecorded(value: object) -> None:
    """Refuse to make a constant of recorded tensors, in lists at any depth too."""
    if isinstance(value, list | tuple):
        for each in cast("Sequence[object]", value):
            check_unrecorded(each)
    elif isinstance(value, TensorBase):
        raw: RawTensor = value.raw
        if raw.node is not None and raw.node.tape.depth:
            raise TapeError(
                "expected numbers to make a tensor of, got a tensor that a tape has recorded, "
                "through which no gradient would pass; join tensors with ops.stack, or use "
                ".detach() of it if a constant is meant"
            )


def backend_of(name: str, x: TensorBase[B] | Scalar) -> B:
    """The backend of an operation's first argument."""
    if not isinstance(x, TensorBase):
        raise _not_a_tensor(name, x)
    return x.backend


def operand(
    backend: Backend, value: TensorBase[Any] | Scalar | HostArray, name: str = "an operator"
) -> Operand:
    """What to hand `backend` for an operand."""
    if isinstance(value, TensorBase):
        if value.backend is not backend:
            raise backend_mismatch(backend, value.backend)
        return value.raw
    if isinstance(value, np.ndarray):
        check_unmasked(value)
        return backend.from_numpy(value)
    return as_number(name, value)


def raw_operand(name: str, backend: Backend, x: TensorBase[Any] | Scalar) -> RawTensor:
    """The storage of a further argument, which must be a tensor on `backend`."""
    if not isinstance(x, TensorBase):
        raise _not_a_tensor(name, x)
    if x.backend is not backend:
        raise backend_mismatch(backend, x.backend)
    return x.raw


def optional_operand(name: str, backend: Backend, x: TensorBase[Any] | None) -> RawTensor | None:
    """As `raw_operand`, for an argument that may be None."""
    return None if x is None else raw_operand(name, backend, x)


def raw_operands(name: str, xs: Sequence[TensorBase[B]]) -> tuple[B, list[RawTensor]]:
    """The backend and storage of a sequence of at least one tensor."""
    if len(xs) == 0:
        raise ShapeError(
            f"expected at least one tensor in {name}, got none; check what fills the list"
        )
    backend = backend_of(name, xs[0])
    return backend, [raw_operand(name, backend, x) for x in xs]


def raw_index(index: Index, backend: Backend) -> Index:
    """What stands in `x[...]`, with raw tensors in place of tensors, arrays and lists."""
    if is_tuple(index):
        return tuple([raw_index(part, backend) for part in index])
    if _is_tensor(index):
        return raw_operand("an index", backend, index)
    if _is_listed(index):
        try:
            array: HostArray = np.asarray(index)
        except (ValueError, RecursionError) as error:
            raise ShapeError(
                "expected an index whose lists have equal lengths, got a ragged one, or one that "
                "contains itself; make the lists of equal length"
            ) from error
        if isinstance(index, list) and not array.size and array.dtype.kind == "f":
            array = array.astype(np.int64)  # NumPy makes an empty list float64
        return backend.from_numpy(array)
    return index


def backend_mismatch(first: object, second: object) -> BackendMismatchError:
    """The error for tensors of two backends in one operation."""
    return BackendMismatchError(
        f"expected tensors of one backend object, got {first!r} and {second!r}; "
        "make both on the same backend, or move one with x.to(backend)"
    )


def check_unmasked(data: object) -> None:
    """Refuse a masked array some of whose elements are masked, as their values would count."""
    if not isinstance(data, np.ma.MaskedArray):
        return
    masked = int(np.sum(np.ma.getmaskarray(cast("Any", data))))
    if masked:
        raise OperandError(
            f"expected numbers, got a masked array with {masked} elements that have none; fill "
            "them with .filled(value), and weigh them 0 where they should not count"
        )


def check_backend(backend: B) -> B:
    """The backend itself."""
    if not isinstance(cast("object", backend), Backend):
        tuples = ", and write a shape as one tuple" if isinstance(backend, int) else ""
        raise OperandError(
            f"expected a backend to make a tensor on, got {backend!r}; "
            f'make one, as with born.get_backend("numpy"){tuples}'
        )
    return backend


def as_shape(shape: ShapeLike) -> Shape:
    """A shape as a tuple."""
    if type(shape) is int:
        return (shape,)
    try:
        if isinstance(shape, tuple):  # which to ask whether it can be an index would cost more
            return tuple(map(operator.index, shape))
        if isinstance(shape, SupportsIndex):
            return (operator.index(shape),)
        return tuple(operator.index(length) for length in shape)
    except TypeError as error:
        raise ShapeError(
            f"expected a shape as an integer or a tuple of integers, got {shape!r}; "
            "pass for example (2, 3)"
        ) from error


def as_number(name: str, value: Any) -> Scalar:
    """A Python number, of one or of NumPy's scalars."""
    if isinstance(value, int | float):
        return value
    if is_numpy_scalar(value):
        return as_number(name, value.item())
    raise OperandError(
        f"expected a tensor or a Python number in {name}, got {_kind(value)}; "
        "make it a tensor with born.tensor(value, backend)"
    )


def _not_a_tensor(name: str, value: object) -> OperandError:
    return OperandError(
        f"expected a tensor in {name}, got {_kind(value)}; "
        "make it a tensor with born.tensor(value, backend)"
    )


def _kind(value: object) -> str:
    """A type by its name, with the package of another library's `Tensor`."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return f"{package}.{kind.__name__}" if kind.__name__ == "Tensor" else kind.__name__


def _is_tensor(value: object) -> TypeIs[TensorBase[Any]]:
    return isinstance(value, TensorBase)


def _is_listed(index: object) -> TypeIs[HostArray | list[Any]]:
    return isinstance(index, np.ndarray | list)
