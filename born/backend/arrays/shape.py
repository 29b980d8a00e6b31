"""Shapes of arrays."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from typing_extensions import override

from born.backend.arguments import Axis, Scalar, normal_axes
from born.backend.arrays.dispatch import Dispatch, dtype_mismatch, weak_scalar
from born.backend.contract.shape import Shapes
from born.errors import ShapeError
from born.raw import RawTensor, Shape


class ArrayShapes(Shapes, Dispatch):
    """Shapes by the namespace's functions, most of them views."""

    @override
    def reshape(self, x: RawTensor, /, shape: Shape) -> RawTensor:
        try:
            return RawTensor(x.array.reshape(shape))
        except (ValueError, TypeError) as error:
            raise ShapeError(
                f"expected a shape for {x.size} elements, got {shape} for a tensor of shape "
                f"{x.shape}; the lengths must multiply to {x.size}, and one may be -1"
            ) from error

    @override
    def transpose(self, x: RawTensor, /, axes: Sequence[int] | None = None) -> RawTensor:
        try:
            return RawTensor(x.array.transpose(axes))
        except ValueError as error:
            raise ShapeError(
                f"expected each of the {x.ndim} axes once, got {axes}; "
                f"pass for example {tuple(reversed(range(x.ndim)))}"
            ) from error

    @override
    def broadcast_to(self, x: RawTensor, /, shape: Shape) -> RawTensor:
        try:
            return RawTensor(self.xp.broadcast_to(x.array, shape))
        except ValueError as error:
            raise ShapeError(
                f"expected a shape that {x.shape} broadcasts to, got {shape}; "
                "its last axes must be those of the tensor, or stand where the tensor has 1"
            ) from error

    @override
    def concatenate(self, xs: Sequence[RawTensor], /, axis: int = 0) -> RawTensor:
        for x in xs[1:]:
            if x.dtype != xs[0].dtype:
                raise dtype_mismatch("concatenate", xs[0], x)
        try:
            arrays = [x.array for x in xs]
            if sum(a.nbytes for a in arrays) < self.large:
                return RawTensor(self.xp.concatenate(arrays, axis=axis))
            shape = list(arrays[0].shape)
            shape[axis] = sum(a.shape[axis] for a in arrays)
            room = self._room(tuple(shape), arrays[0].dtype)
            return RawTensor(self.xp.concatenate(arrays, axis, room))
        except (ValueError, TypeError, IndexError) as error:
            raise ShapeError(
                f"expected one or more tensors that agree on every axis but axis {axis}, "
                f"got shapes {[x.shape for x in xs]}; reshape or pad them first"
            ) from error

    @override
    def flip(self, x: RawTensor, /, axis: Axis = None) -> RawTensor:
        return self._wrap(self.xp.flip(x.array, normal_axes(axis, x.ndim)))

    @override
    def pad(
        self, x: RawTensor, /, widths: Sequence[tuple[int, int]], value: Scalar = 0
    ) -> RawTensor:
        a = x.array
        widths = [(operator.index(before), operator.index(after)) for before, after in widths]
        if len(widths) != a.ndim or any(before < 0 or after < 0 for before, after in widths):
            raise ShapeError(
                f"expected a pair (before, after) of non-negative widths for each of the "
                f"{a.ndim} axes, got {list(widths)}; pass (0, 0) for an axis to leave alone"
            )
        lengths = zip(a.shape, widths, strict=True)
        shape = tuple(length + before + after for length, (before, after) in lengths)
        filler = weak_scalar("pad", value, a.dtype)
        try:
            out = self.xp.full(shape, filler, a.dtype)
        except (ValueError, OverflowError) as error:
            raise ShapeError(
                f"expected widths that memory holds, got {list(widths)}; pad by less"
            ) from error
        starts = zip(a.shape, widths, strict=True)
        out[tuple(slice(before, before + length) for length, (before, _) in starts)] = a
        return RawTensor(out)
