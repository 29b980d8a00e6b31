"""The derivatives of reshaping, joining and indexing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from born.autodiff.tape import Pullback
from born.autodiff.vjps.table import Arguments, Needs, fit, row, several
from born.backend import Axis, Backend, Index
from born.backend.arguments import normal_axis
from born.raw import RawTensor, Shape

# -- shape --


def _reshaped(
    b: Backend, out: RawTensor, needs: Needs, x: RawTensor, *how: Any, **options: Any
) -> Pullback:
    shape = x.shape
    return lambda g: b.reshape(g, shape)


row("reshape")(_reshaped)
row("squeeze")(_reshaped)
row("expand_dims")(_reshaped)


@row("transpose")
def _transpose(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    axes: Sequence[int] | None = None,
) -> Pullback:
    if axes is None:
        return b.transpose
    order = [axis % x.ndim for axis in axes]
    inverse = [order.index(i) for i in range(len(order))]
    return lambda g: b.transpose(g, inverse)


@row("broadcast_to")
def _broadcast_to(b: Backend, out: RawTensor, needs: Needs, x: RawTensor, shape: Shape) -> Pullback:
    before = x.shape
    return lambda g: fit(b, g, before)


@row("concatenate", Arguments.SEQUENCE)
def _concatenate(
    b: Backend, out: RawTensor, needs: Needs, xs: Sequence[RawTensor], axis: int = 0
) -> Pullback:
    axis = normal_axis(axis, out.ndim)
    lengths = [x.shape[axis] for x in xs]

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        parts: list[RawTensor | None] = []
        start = 0
        for length, due in zip(lengths, needs, strict=True):
            index = (*(slice(None),) * axis, slice(start, start + length))
            parts.append(b.getitem(g, index) if due else None)
            start += length
        return parts

    return pullback


@row("stack", Arguments.SEQUENCE)
def _stack(
    b: Backend, out: RawTensor, needs: Needs, xs: Sequence[RawTensor], axis: int = 0
) -> Pullback:
    before = (slice(None),) * normal_axis(axis, out.ndim)
    return lambda g: [b.getitem(g, (*before, i)) if due else None for i, due in enumerate(needs)]


@row("flip")
def _flip(b: Backend, out: RawTensor, needs: Needs, x: RawTensor, axis: Axis = None) -> Pullback:
    return lambda g: b.flip(g, axis)


@row("pad")
def _pad(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    widths: Sequence[tuple[int, int]],
    value: float = 0,
) -> Pullback:
    inside = tuple(
        slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True)
    )
    return lambda g: b.getitem(g, inside)


# -- indexing --


@row("getitem")
def _getitem(b: Backend, out: RawTensor, needs: Needs, x: RawTensor, index: Index) -> Pullback:
    shape, dtype = x.shape, x.dtype
    return lambda g: b.index_add(b.zeros(shape, dtype), index, g)


@several("index_add", 3)
def _index_add(
    b: Backend, out: RawTensor, needs: Needs, x: RawTensor, index: Index, y: RawTensor
) -> Pullback:
    x_due, _, y_due = needs
    y_shape = y.shape
    return lambda g: (
        g if x_due else None,
        None,
        fit(b, b.getitem(g, index), y_shape) if y_due else None,
    )


@row("take")
def _take(
    b: Backend, out: RawTensor, needs: Needs, x: RawTensor, index: RawTensor, axis: int = 0
) -> Pullback:
    shape, dtype = x.shape, x.dtype
    where = (*(slice(None),) * normal_axis(axis, x.ndim), index)
    return lambda g: b.index_add(b.zeros(shape, dtype), where, g)


@row("gather")
def _gather(
    b: Backend, out: RawTensor, needs: Needs, x: RawTensor, index: RawTensor, axis: int
) -> Pullback:
    shape, dtype = x.shape, x.dtype
    return lambda g: b.scatter_add(b.zeros(shape, dtype), index, g, axis)


@several("scatter_add", 3)
def _scatter_add(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    index: RawTensor,
    y: RawTensor,
    axis: int,
) -> Pullback:
    x_due, _, y_due = needs
    return lambda g: (
        g if x_due else None,
        None,
        b.gather(g, index, axis) if y_due else None,
    )
