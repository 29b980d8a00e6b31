"""The arguments of densities: numbers and tensors of one backend and dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from born import ops
from born.backend import B, Scalar
from born.creation import full
from born.dtypes import is_floating
from born.errors import OperandError
from born.operands import as_number
from born.tensor import Tensor, is_tensor

Value: TypeAlias = Tensor[B] | Scalar
"""A tensor, or a number."""

LOG_2PI: Final = math.log(2 * math.pi)


def as_tensors(name: str, *values: Tensor[B] | Scalar) -> Sequence[Tensor[B]]:
    """All as tensors of the floating dtype that one of them has; counts may be integers.

    Raises:
        OperandError: none of them is a tensor.
    """
    tensors: list[Tensor[Any]] = [value for value in values if is_tensor(value)]
    if not tensors:
        raise OperandError(
            f"expected at least one tensor in {name}, got numbers alone; make one with born.tensor"
        )
    floating = [x.dtype for x in tensors if is_floating(x.dtype)]
    backend, dtype = tensors[0].backend, floating[0] if floating else "float32"
    made: list[Tensor[Any]] = []
    for value in values:
        if not is_tensor(value):
            made.append(full((), float(as_number(name, value)), backend, dtype))
        else:
            made.append(value if is_floating(value.dtype) else value.astype(dtype))
    return made


def inside(
    support: Tensor[B], x: Tensor[B], safe: float, outside: float = -math.inf
) -> tuple[Tensor[B], Any]:
    """x, or `safe` where it is outside of the support, and what puts `outside` there at the end."""

    def put(value: Tensor[B]) -> Tensor[B]:
        return ops.where(support, value, outside)

    return ops.where(support, x, safe), put
