"""The derivatives of reshaping, joining and flipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from born.autodiff.derivatives.registrars import Required, of_input, pullback_of, sum_to_shape
from born.autodiff.pullback import Pullback
from born.backend import Backend
from born.backend.arguments import normal_axis
from born.raw import RawTensor, Shape


def _reshape(b: Backend, g: RawTensor, x_shape: Shape, *args: Any, **options: Any) -> RawTensor:
    return b.reshape(g, x_shape)


of_input("reshape", _reshape)
of_input("squeeze", _reshape)
of_input("expand_dims", _reshape)
of_input("broadcast_to", lambda b, g, x_shape, shape: sum_to_shape(b, g, x_shape))
of_input("flip", lambda b, g, x_shape, axis=None: b.flip(g, axis))


@pullback_of("transpose")
def _transpose(
    b: Backend, out: RawTensor, required: Required, x: RawTensor, axes: Sequence[int] | None = None
) -> Pullback:
    if axes is None:
        return b.transpose
    order = [axis % x.ndim for axis in axes]
    inverse = [order.index(i) for i in range(len(order))]
    return lambda g: b.transpose(g, inverse)


@pullback_of("concatenate", tensors=None)
def _concatenate(
    b: Backend, out: RawTensor, required: Required, xs: Sequence[RawTensor], axis: int = 0
) -> Pullback:
    axis = normal_axis(axis, out.ndim)
    lengths = [x.shape[axis] for x in xs]

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        parts: list[RawTensor | None] = []
        start = 0
        for length, wanted in zip(lengths, required, strict=True):
            index = (*(slice(None),) * axis, slice(start, start + length))
            parts.append(b.getitem(g, index) if wanted else None)
            start += length
        return parts

    return pullback


@pullback_of("stack", tensors=None)
def _stack(
    b: Backend, out: RawTensor, required: Required, xs: Sequence[RawTensor], axis: int = 0
) -> Pullback:
    before = (slice(None),) * normal_axis(axis, out.ndim)
    return lambda g: [b.getitem(g, (*before, i)) if due else None for i, due in enumerate(required)]


@pullback_of("pad")
def _pad(
    b: Backend,
    out: RawTensor,
    required: Required,
    x: RawTensor,
    widths: Sequence[tuple[int, int]],
    value: float = 0,
) -> Pullback:
    inside = tuple(
        slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True)
    )
    return lambda g: b.getitem(g, inside)
