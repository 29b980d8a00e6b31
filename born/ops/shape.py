"""Shape, joining and splitting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from born.backend import Axis, B, Scalar
from born.backend.arguments import normal_axis
from born.operands import ShapeLike, as_shape, backend_of, raw_operands
from born.raw import Shape
from born.tensor import Tensor, is_tensor


def reshape(x: Tensor[B], shape: ShapeLike) -> Tensor[B]:
    """The same elements in another shape; one length may be -1.

    >>> ops.reshape(born.tensor([1.0, 2.0, 3.0, 4.0], backend), (2, -1)).shape
    (2, 2)
    """
    return Tensor(backend_of("reshape", x).reshape(x.raw, as_shape(shape)), x.backend)


def transpose(x: Tensor[B], axes: Sequence[int] | None = None) -> Tensor[B]:
    """The axes in another order; reversed by default.

    >>> ops.transpose(born.zeros((2, 3, 4), backend), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return Tensor(backend_of("transpose", x).transpose(x.raw, axes), x.backend)


def squeeze(x: Tensor[B], axis: Axis = None) -> Tensor[B]:
    """Without the axes of length one, or without those named.

    >>> ops.squeeze(born.zeros((1, 3, 1), backend)).shape
    (3,)
    """
    return Tensor(backend_of("squeeze", x).squeeze(x.raw, axis), x.backend)


def expand_dims(x: Tensor[B], axis: int | tuple[int, ...]) -> Tensor[B]:
    """With axes of length one at these places of the result.

    >>> ops.expand_dims(born.zeros(3, backend), (0, 2)).shape
    (1, 3, 1)
    """
    return Tensor(backend_of("expand_dims", x).expand_dims(x.raw, axis), x.backend)


def broadcast_to(x: Tensor[B], shape: ShapeLike) -> Tensor[B]:
    """x repeated to a shape it broadcasts to, without a copy.

    >>> ops.broadcast_to(born.tensor([1.0, 2.0], backend), (2, 2))
    Tensor([[1., 2.],
            [1., 2.]], dtype=float32)
    """
    return Tensor(backend_of("broadcast_to", x).broadcast_to(x.raw, as_shape(shape)), x.backend)


def concatenate(tensors: Sequence[Tensor[B] | Scalar], axis: int = 0) -> Tensor[B]:
    """Tensors joined along an axis they have; a number fills one more place on it.

    >>> ops.concatenate([born.ones(2, backend), born.zeros(1, backend)])
    Tensor([1., 1., 0.], dtype=float32)
    """
    filled = _filled(tensors, lambda shape: _one_place(shape, axis))
    backend, raw = raw_operands("concatenate", filled)
    return Tensor(backend.concatenate(raw, axis), backend)


def stack(tensors: Sequence[Tensor[B] | Scalar], axis: int = 0) -> Tensor[B]:
    """Tensors of one shape joined along a new axis; a number fills a tensor of that shape.

    >>> ops.stack([born.ones(2, backend), born.zeros(2, backend)])
    Tensor([[1., 1.],
            [0., 0.]], dtype=float32)
    """
    backend, raw = raw_operands("stack", _filled(tensors, lambda shape: shape))
    return Tensor(backend.stack(raw, axis), backend)


def _filled(
    tensors: Sequence[Tensor[B] | Scalar], shape_beside: Callable[[Shape], Shape]
) -> Sequence[Tensor[B]]:
    """The tensors, with one full of it in place of each number; its dtype is the first's."""
    first: Tensor[B] | None = next(filter(is_tensor, tensors), None)
    if first is None:
        return cast("Sequence[Tensor[B]]", tensors)  # refused by those who look at them
    zeros = None
    filled: list[Tensor[B]] = []
    for value in tensors:
        if isinstance(value, int | float):
            if zeros is None:
                raw = first.backend.zeros(shape_beside(first.shape), first.dtype)
                zeros = Tensor(raw, first.backend)
            filled.append(zeros + value)  # which checks that the number fits the dtype
        else:
            filled.append(value)
    return filled


def _one_place(shape: Shape, axis: int) -> Shape:
    axis = normal_axis(axis, len(shape))
    return (*shape[:axis], 1, *shape[axis + 1 :])


def split(x: Tensor[B], sections: int | Sequence[int], axis: int = 0) -> list[Tensor[B]]:
    """Parts along an axis: a number of equal ones, or cut before each of some indices.

    >>> [part.shape for part in ops.split(born.zeros((5, 2), backend), [1, 3])]
    [(1, 2), (2, 2), (2, 2)]
    """
    parts = backend_of("split", x).split(x.raw, sections, axis)
    return [Tensor(part, x.backend) for part in parts]


def flip(x: Tensor[B], axis: Axis = None) -> Tensor[B]:
    """The elements in reverse order along the axes; along all by default.

    >>> ops.flip(born.tensor([1.0, 2.0, 3.0], backend))
    Tensor([3., 2., 1.], dtype=float32)
    """
    return Tensor(backend_of("flip", x).flip(x.raw, axis), x.backend)


def pad(x: Tensor[B], widths: Sequence[tuple[int, int]], value: Scalar = 0) -> Tensor[B]:
    """With `(before, after)` elements of one value added along each axis.

    >>> ops.pad(born.ones(2, backend), [(1, 2)])
    Tensor([0., 1., 1., 0., 0.], dtype=float32)
    """
    return Tensor(backend_of("pad", x).pad(x.raw, widths, value), x.backend)
