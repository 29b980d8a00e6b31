"""Shapes: the same elements arranged in another way."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, cast

from born.backend.arguments import Axis, Scalar, normal_axes, normal_axis
from born.backend.contract.operation import absent, optional, required
from born.backend.contract.primitives import Primitives
from born.errors import ShapeError
from born.raw import RawTensor, Shape


class Shapes(Primitives):
    """Operations that arrange, join, split and pad."""

    @required
    def reshape(self, x: RawTensor, /, shape: Shape) -> RawTensor:
        """The same elements in another shape; one length may be -1."""
        absent()

    @required
    def transpose(self, x: RawTensor, /, axes: Sequence[int] | None = None) -> RawTensor:
        """The axes in another order; reversed by default."""
        absent()

    @required
    def broadcast_to(self, x: RawTensor, /, shape: Shape) -> RawTensor:
        """`x` repeated to a shape it broadcasts to, without a copy."""
        absent()

    @optional
    def squeeze(self, x: RawTensor, /, axis: Axis = None) -> RawTensor:
        """Without the axes of length one, or without those named."""
        shape = x.shape
        if axis is None:
            return self.reshape(x, tuple(length for length in shape if length != 1))
        axes = normal_axes(axis, x.ndim)
        if any(shape[i] != 1 for i in axes):
            raise ShapeError(
                f"expected axes of length 1 to squeeze, got axis={axis} of shape {shape}; "
                "index or reduce the longer ones"
            )
        return self.reshape(x, tuple(n for i, n in enumerate(shape) if i not in axes))

    @optional
    def expand_dims(self, x: RawTensor, /, axis: Axis = 0) -> RawTensor:
        """With axes of length one inserted at these places of the result."""
        added = axis if isinstance(axis, tuple) else (0 if axis is None else axis,)
        axes = normal_axes(added, x.ndim + len(added))
        lengths = iter(x.shape)
        ndim = x.ndim + len(axes)
        return self.reshape(x, tuple(1 if i in axes else next(lengths) for i in range(ndim)))

    @required
    def concatenate(self, xs: Sequence[RawTensor], /, axis: int = 0) -> RawTensor:
        """Tensors joined along an axis they have."""
        absent()

    @optional
    def stack(self, xs: Sequence[RawTensor], /, axis: int = 0) -> RawTensor:
        """Tensors of one shape joined along a new axis."""
        shapes = {x.shape for x in xs}
        if len(shapes) != 1:
            raise ShapeError(
                f"expected one or more tensors of one shape to stack, got {sorted(shapes)}; "
                "reshape or broadcast them first"
            )
        return self.concatenate([self.expand_dims(x, axis) for x in xs], axis)

    @optional
    def split(
        self, x: RawTensor, /, sections: int | Sequence[int], axis: int = 0
    ) -> list[RawTensor]:
        """Parts along an axis: `sections` equal ones, or cut before each of these indices."""
        axis = normal_axis(axis, x.ndim)
        length = x.shape[axis]
        sections = _equal_sections(sections)
        if isinstance(sections, int):
            if sections < 1 or length % sections:
                raise ShapeError(
                    f"expected an axis that splits into {sections} equal sections, "
                    f"got length {length}; pass the indices to cut before instead"
                )
            step = length // sections
            cuts = [step * i for i in range(1, sections)]
        else:
            cuts = list(sections)
        before = (slice(None),) * axis
        bounds = zip([0, *cuts], [*cuts, length], strict=True)
        return [self.getitem(x, (*before, slice(start, stop))) for start, stop in bounds]

    @required
    def flip(self, x: RawTensor, /, axis: Axis = None) -> RawTensor:
        """The elements in reverse order along the axes; all of them by default."""
        absent()

    @required
    def pad(
        self, x: RawTensor, /, widths: Sequence[tuple[int, int]], value: Scalar = 0
    ) -> RawTensor:
        """`x` with `(before, after)` elements of one value added along each axis."""
        absent()


def _equal_sections(sections: object) -> int | Sequence[int]:
    """How many equal sections to cut, or the indices to cut before, as Python's integers."""
    try:
        return operator.index(cast("Any", sections))
    except TypeError:
        pass
    try:
        return [operator.index(cut) for cut in cast("Any", sections)]
    except TypeError as error:
        raise ShapeError(
            f"expected sections as an integer or a sequence of integers, got {sections!r}; "
            "pass how many equal ones, or the indices to cut before"
        ) from error
