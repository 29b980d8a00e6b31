"""Picking elements out, and adding into them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from born.backend import B, Index, Scalar
from born.dtypes import DTypeLike
from born.errors import DomainError, DTypeError
from born.operands import backend_of, operand, raw_index, raw_operand
from born.ops.shape import expand_dims
from born.raw import RawTensor
from born.tensor import Tensor
from born.validation import integer

Side: TypeAlias = Literal["left", "right"]
"""On which side of equals to insert."""


def getitem(x: Tensor[B], index: Index) -> Tensor[B]:
    """`x[index]`: integers, slices, None, Ellipsis, and tensors of integers or bools.

    >>> ops.getitem(born.tensor([1.0, 2.0, 3.0], backend), slice(0, 2))
    Tensor([1., 2.], dtype=float32)
    """
    return x[index]


def index_add(x: Tensor[B], index: Index, y: Tensor[B]) -> Tensor[B]:
    """A copy of x with y added at `x[index]`; repeated indices add up.

    >>> ops.index_add(born.zeros(2, backend), [1, 1], born.ones(2, backend))
    Tensor([0., 2.], dtype=float32)
    """
    backend = backend_of("index_add", x)
    added = raw_operand("index_add", backend, y)
    return Tensor(backend.index_add(x.raw, raw_index(index, backend), added), backend)


def take(x: Tensor[B], index: Tensor[B], axis: int = 0) -> Tensor[B]:
    """The slices of x along an axis that an integer tensor names; a look-up of embeddings.

    >>> table = born.tensor([[1.0, 2.0], [3.0, 4.0]], backend)
    >>> ops.take(table, born.tensor([1], backend, dtype="int64"))
    Tensor([[3., 4.]], dtype=float32)
    """
    backend = backend_of("take", x)
    where = raw_operand("take", backend, index)
    return Tensor(backend.take(x.raw, where, axis), backend)


def one_hot(x: Tensor[B], classes: int, dtype: DTypeLike = "float32") -> Tensor[B]:
    """1 at the place that each integer names, along a new last axis, and 0 elsewhere.

    Args:
        x: integers from 0 to classes - 1, of any shape; of others all places are 0.
        classes: the length of the last axis.
        dtype: of the result.

    >>> ops.one_hot(born.tensor([2, 0], backend), 3)
    Tensor([[0., 0., 1.],
            [1., 0., 0.]], dtype=float32)
    """
    backend = backend_of("one_hot", x)
    count = integer("classes", classes, 0, DomainError)
    if x.dtype.kind not in "iu":
        raise DTypeError(
            f"expected integers from 0 to {count - 1} in one_hot, got {x.dtype}; convert them with "
            '.astype("int64")'
        )
    places = Tensor(backend.from_numpy(np.arange(count)), backend)
    return (expand_dims(x.astype("int64"), -1) == places).astype(dtype)


def gather(x: Tensor[B], index: Tensor[B], axis: int) -> Tensor[B]:
    """Along an axis, the elements of x that `index` names (`numpy.take_along_axis`).

        y[i, j] = x[i, index[i, j]]                                        for axis=1

    >>> x = born.tensor([[1.0, 2.0], [3.0, 4.0]], backend)
    >>> ops.gather(x, born.tensor([[1], [0]], backend, dtype="int64"), axis=1)
    Tensor([[2.],
            [3.]], dtype=float32)
    """
    backend = backend_of("gather", x)
    where = raw_operand("gather", backend, index)
    return Tensor(backend.gather(x.raw, where, axis), backend)


def scatter_add(x: Tensor[B], index: Tensor[B], y: Tensor[B], axis: int) -> Tensor[B]:
    """A copy of x with y added where `gather` would have read; repeated indices add up.

    >>> x = born.zeros((1, 2), backend)
    >>> index = born.tensor([[1, 1]], backend, dtype="int64")
    >>> ops.scatter_add(x, index, born.ones((1, 2), backend), axis=1)
    Tensor([[0., 2.]], dtype=float32)
    """
    backend = backend_of("scatter_add", x)
    where = raw_operand("scatter_add", backend, index)
    added = raw_operand("scatter_add", backend, y)
    return Tensor(backend.scatter_add(x.raw, where, added, axis), x.backend)


def searchsorted(x: Tensor[B], y: Tensor[B] | Scalar, side: Side = "left") -> Tensor[B]:
    """Where each of y would stand in a sorted vector, as int64.

    Args:
        x: a vector in ascending order.
        y: a number, or a tensor of any shape.
        side: before the elements that it equals, `"left"`; or after them, `"right"`.

    >>> ops.searchsorted(born.tensor([1.0, 2.0, 2.0], backend), born.tensor([2.0, 5.0], backend))
    Tensor([1, 3], dtype=int64)
    """
    backend = backend_of("searchsorted", x)
    if side not in ("left", "right"):
        raise DomainError(
            f'expected side "left" or "right" in searchsorted, got {side!r}; use one of them'
        )
    raw = operand(backend, y, "searchsorted")
    where = raw if isinstance(raw, RawTensor) else backend.full((), raw, x.dtype)
    return Tensor(backend.searchsorted(x.raw, where, side == "right"), backend)


def digitize(x: Tensor[B], bins: Tensor[B], right: bool = False) -> Tensor[B]:
    """The number of the bin of each element: i where bins[i - 1] <= x < bins[i].

    Args:
        x: a tensor of any shape.
        bins: the edges, in ascending order.
        right: whether it is the upper edge that belongs to a bin.

    >>> edges = born.tensor([0.0, 1.0], backend)
    >>> ops.digitize(born.tensor([-1.0, 0.0, 3.0], backend), edges)
    Tensor([0, 1, 2], dtype=int64)
    """
    return searchsorted(bins, x, "left" if right else "right")
