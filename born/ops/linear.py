"""Matrix products and indexing."""

from __future__ import annotations

from born.backend import Index
from born.ops.common import B, optional_raw, raw_of, raws
from born.tensor import Tensor, raw_index


def matmul(x: Tensor[B], y: Tensor[B]) -> Tensor[B]:
    """The matrix product of the last two axes; axes before them broadcast.

        z_ij = sum_k x_ik y_kj

    A vector on the left is a row, on the right a column. float16 and bfloat16 add up
    in float32.

    >>> ops.matmul(born.ones((2, 3), backend), born.ones((3, 4), backend)).shape
    (2, 4)
    """
    right = raw_of("matmul", x.backend, y)
    return Tensor(x.backend.matmul(x.raw, right), x.backend)


def linear(x: Tensor[B], weight: Tensor[B], bias: Tensor[B] | None = None) -> Tensor[B]:
    """An affine map of the last axis.

        y = x W^T + b

    Args:
        x: shape (..., in).
        weight: W, shape (out, in), of the dtype of `x`.
        bias: b, shape (out,); none by default.

    Returns:
        shape (..., out).

    >>> ops.linear(born.ones((2, 3), backend), born.ones((4, 3), backend)).shape
    (2, 4)
    """
    backend = x.backend
    w = raw_of("linear", backend, weight)
    return Tensor(backend.linear(x.raw, w, optional_raw("linear", backend, bias)), backend)


def getitem(x: Tensor[B], index: Index) -> Tensor[B]:
    """`x[index]`: integers, slices, None, Ellipsis, and tensors of integers or bools.

    >>> ops.getitem(born.tensor([1, 2, 3], backend), slice(0, 2))
    Tensor([1., 2.], dtype=float32)
    """
    return x[index]


def index_add(x: Tensor[B], index: Index, y: Tensor[B]) -> Tensor[B]:
    """A copy of x with y added at `x[index]`; repeated indices add up.

    >>> ops.index_add(born.zeros(2, backend), [1, 1], born.ones(2, backend))
    Tensor([0., 2.], dtype=float32)
    """
    added = raw_of("index_add", x.backend, y)
    return Tensor(x.backend.index_add(x.raw, raw_index(index, x.backend), added), x.backend)


def take(x: Tensor[B], index: Tensor[B], axis: int = 0) -> Tensor[B]:
    """The slices of x along an axis that an integer tensor names; a look-up of embeddings.

    >>> table = born.tensor([[1, 2], [3, 4]], backend)
    >>> ops.take(table, born.tensor([1], backend, dtype="int64"))
    Tensor([[3., 4.]], dtype=float32)
    """
    where = raw_of("take", x.backend, index)
    return Tensor(x.backend.take(x.raw, where, axis), x.backend)


def gather(x: Tensor[B], index: Tensor[B], axis: int) -> Tensor[B]:
    """Along an axis, the elements of x that `index` names (`numpy.take_along_axis`).

        y[i, j] = x[i, index[i, j]]                                        for axis=1

    >>> x = born.tensor([[1, 2], [3, 4]], backend)
    >>> ops.gather(x, born.tensor([[1], [0]], backend, dtype="int64"), axis=1)
    Tensor([[2.],
            [3.]], dtype=float32)
    """
    where = raw_of("gather", x.backend, index)
    return Tensor(x.backend.gather(x.raw, where, axis), x.backend)


def scatter_add(x: Tensor[B], index: Tensor[B], y: Tensor[B], axis: int) -> Tensor[B]:
    """A copy of x with y added where `gather` would have read; repeated indices add up.

    >>> x = born.zeros((1, 2), backend)
    >>> index = born.tensor([[1, 1]], backend, dtype="int64")
    >>> ops.scatter_add(x, index, born.ones((1, 2), backend), axis=1)
    Tensor([[0., 2.]], dtype=float32)
    """
    where, added = raws("scatter_add", x.backend, index, y)
    return Tensor(x.backend.scatter_add(x.raw, where, added, axis), x.backend)
