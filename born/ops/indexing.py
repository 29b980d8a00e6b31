"""Picking elements out, and adding into them."""

from __future__ import annotations

from born.backend import B, Index
from born.operands import backend_of, raw_index, raw_operand
from born.tensor import Tensor


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
