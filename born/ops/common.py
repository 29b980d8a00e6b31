"""What the functions of tensors share: finding the backend of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from born.backend import B as B
from born.backend import Backend, Operand, Scalar
from born.errors import OperandError, ShapeError
from born.raw import RawTensor
from born.tensor import Tensor, is_tensor, mixed_backends


def on(name: str, x: Tensor[B]) -> B:
    """The backend of an operation's first argument.

    Raises:
        OperandError: it is no tensor, as a NumPy array is none.
    """
    if not is_tensor(x):
        raise OperandError(
            f"expected a tensor in {name}, got {type(x).__name__}; "
            "make it a tensor with born.tensor(value, backend)"
        )
    return x.backend


def both(name: str, x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> tuple[B, Operand, Operand]:
    """The backend of two operands, and what to hand it.

    Raises:
        OperandError: neither is a tensor, or one is neither a tensor nor a number.
        BackendMismatchError: they are tensors of two backends.
    """
    if isinstance(x, Tensor):
        if isinstance(y, Tensor):
            if x.backend is not y.backend:
                raise mixed_backends(x.backend, y.backend)
            return x.backend, x.raw, y.raw
        return x.backend, x.raw, _number(name, y)
    if isinstance(y, Tensor):
        return y.backend, _number(name, x), y.raw
    raise OperandError(
        f"expected at least one tensor in {name}, got {x!r} and {y!r}; "
        "make one with born.tensor(value, backend)"
    )


def _number(name: str, value: Any) -> Scalar:
    if isinstance(value, int | float | np.generic):
        number: Scalar = value  # type: ignore[assignment]  # backends take NumPy's scalars as weak
        return number
    raise OperandError(
        f"expected a tensor or a Python number in {name}, got {type(value).__name__}; "
        "make it a tensor with born.tensor(value, backend)"
    )


def raw_of(name: str, backend: Backend, tensor: object) -> RawTensor:
    """The raw tensor of a further argument, which must be on `backend`.

    Raises:
        OperandError: it is not a tensor.
        BackendMismatchError: it is on another backend.
    """
    if not is_tensor(tensor):
        raise OperandError(
            f"expected a tensor in {name}, got {type(tensor).__name__}; "
            "make it a tensor with born.tensor(value, backend)"
        )
    if tensor.backend is not backend:
        raise mixed_backends(backend, tensor.backend)
    return tensor.raw


def raws(name: str, backend: Backend, *tensors: object) -> list[RawTensor]:
    """As `raw_of`, of several arguments."""
    return [raw_of(name, backend, tensor) for tensor in tensors]


def optional_raw(name: str, backend: Backend, tensor: Tensor[Any] | None) -> RawTensor | None:
    """As `raw_of`, of an argument that may be None."""
    return None if tensor is None else raw_of(name, backend, tensor)


def sequence(name: str, tensors: Sequence[Tensor[B]]) -> tuple[B, list[RawTensor]]:
    """The backend and raw tensors of a sequence of at least one tensor.

    Raises:
        ShapeError: the sequence is empty.
    """
    if len(tensors) == 0:
        raise ShapeError(
            f"expected at least one tensor in {name}, got none; check what fills the list"
        )
    backend = tensors[0].backend
    return backend, raws(name, backend, *tensors)
