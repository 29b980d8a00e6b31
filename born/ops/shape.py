"""Shape, joining and splitting."""

from __future__ import annotations

from collections.abc import Sequence

from born.arguments import ShapeLike, as_shape
from born.backend import Axis, Scalar
from born.ops.common import B, on, sequence
from born.raw import DTypeLike
from born.tensor import Tensor


def astype(x: Tensor[B], dtype: DTypeLike) -> Tensor[B]:
    """x rounded to another dtype; a gradient passes between floating ones.

    >>> ops.astype(born.tensor([1.5], backend), "int64")
    Tensor([1], dtype=int64)
    """
    return Tensor(on("astype", x).astype(x.raw, dtype), x.backend)


def copy(x: Tensor[B]) -> Tensor[B]:
    """x in contiguous memory of its own; a gradient passes.

    >>> ops.copy(born.tensor([1.5], backend))
    Tensor([1.5], dtype=float32)
    """
    return Tensor(on("copy", x).copy(x.raw), x.backend)


def reshape(x: Tensor[B], shape: ShapeLike) -> Tensor[B]:
    """The same elements in another shape; one length may be -1.

    >>> ops.reshape(born.tensor([1, 2, 3, 4], backend), (2, -1)).shape
    (2, 2)
    """
    return Tensor(on("reshape", x).reshape(x.raw, as_shape(shape)), x.backend)


def transpose(x: Tensor[B], axes: Sequence[int] | None = None) -> Tensor[B]:
    """The axes in another order; reversed by default.

    >>> ops.transpose(born.zeros((2, 3, 4), backend), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return Tensor(on("transpose", x).transpose(x.raw, axes), x.backend)


def squeeze(x: Tensor[B], axis: Axis = None) -> Tensor[B]:
    """Without the axes of length one, or without those named.

    >>> ops.squeeze(born.zeros((1, 3, 1), backend)).shape
    (3,)
    """
    return Tensor(on("squeeze", x).squeeze(x.raw, axis), x.backend)


def expand_dims(x: Tensor[B], axis: int | tuple[int, ...]) -> Tensor[B]:
    """With axes of length one at these places of the result.

    >>> ops.expand_dims(born.zeros(3, backend), (0, 2)).shape
    (1, 3, 1)
    """
    return Tensor(on("expand_dims", x).expand_dims(x.raw, axis), x.backend)


def broadcast_to(x: Tensor[B], shape: ShapeLike) -> Tensor[B]:
    """x repeated to a shape it broadcasts to, without a copy.

    >>> ops.broadcast_to(born.tensor([1, 2], backend), (2, 2))
    Tensor([[1., 2.],
            [1., 2.]], dtype=float32)
    """
    return Tensor(on("broadcast_to", x).broadcast_to(x.raw, as_shape(shape)), x.backend)


def concatenate(tensors: Sequence[Tensor[B]], axis: int = 0) -> Tensor[B]:
    """Tensors joined along an axis they have.

    >>> ops.concatenate([born.ones(2, backend), born.zeros(1, backend)])
    Tensor([1., 1., 0.], dtype=float32)
    """
    backend, raw = sequence("concatenate", tensors)
    return Tensor(backend.concatenate(raw, axis), backend)


def stack(tensors: Sequence[Tensor[B]], axis: int = 0) -> Tensor[B]:
    """Tensors of one shape joined along a new axis.

    >>> ops.stack([born.ones(2, backend), born.zeros(2, backend)])
    Tensor([[1., 1.],
            [0., 0.]], dtype=float32)
    """
    backend, raw = sequence("stack", tensors)
    return Tensor(backend.stack(raw, axis), backend)


def split(x: Tensor[B], sections: int | Sequence[int], axis: int = 0) -> list[Tensor[B]]:
    """Parts along an axis: so many equal ones, or cut before each of these indices.

    Raises:
        ShapeError: the axis does not split into so many equal parts.

    >>> [part.shape for part in ops.split(born.zeros((5, 2), backend), [1, 3])]
    [(1, 2), (2, 2), (2, 2)]
    """
    parts = on("split", x).split(x.raw, sections, axis)
    return [Tensor(part, x.backend) for part in parts]


def flip(x: Tensor[B], axis: Axis = None) -> Tensor[B]:
    """The elements in reverse order along the axes; along all by default.

    >>> ops.flip(born.tensor([1, 2, 3], backend))
    Tensor([3., 2., 1.], dtype=float32)
    """
    return Tensor(on("flip", x).flip(x.raw, axis), x.backend)


def pad(x: Tensor[B], widths: Sequence[tuple[int, int]], value: Scalar = 0) -> Tensor[B]:
    """With `(before, after)` elements of one value added along each axis.

    >>> ops.pad(born.ones(2, backend), [(1, 2)])
    Tensor([0., 1., 1., 0., 0.], dtype=float32)
    """
    return Tensor(on("pad", x).pad(x.raw, widths, value), x.backend)
