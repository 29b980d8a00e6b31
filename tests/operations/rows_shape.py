"""Shape, joining and splitting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.backend import Backend
from born.raw import HostArray, RawTensor, Shape
from tests.operations.drawing import Case, Draw
from tests.operations.row import Derivative, Table

ROWS: Final = Table()


@ROWS.row("reshape", integers=True)
def _reshape(d: Draw) -> Case:
    shape = d.shape()
    # Two neighbouring axes made one, all of them, or one of them left to be counted.
    targets: list[Shape] = [(math.prod(shape),), (1, *shape), (*shape, 1)]
    if len(shape) > 1:
        targets.append((shape[0] * shape[1], *shape[2:]))
    if math.prod(shape):
        targets.append((-1,))
    target = d.choice(targets)
    return d.call(np.reshape, d.uniform(shape), target)


@ROWS.row("transpose", integers=True)
def _transpose(d: Draw) -> Case:
    x = d.uniform(d.shape())
    order = list(range(x.ndim))
    for _ in order:
        order.append(order.pop(d.integer(0, x.ndim - 1)))
    axes = None if d.flag() else tuple(i - x.ndim if d.flag() else i for i in order)
    return d.call(np.transpose, x, axes)


@ROWS.row("squeeze", integers=True)
def _squeeze(d: Draw) -> Case:
    shape = tuple(1 if d.flag() else length for length in d.shape())
    ones = [i for i, length in enumerate(shape) if length == 1]
    chosen = tuple(i - len(shape) if d.flag() else i for i in ones if d.flag())
    return d.call(np.squeeze, d.uniform(shape), axis=d.choice((None, chosen, *chosen)))


@ROWS.row("expand_dims", integers=True)
def _expand_dims(d: Draw) -> Case:
    x = d.uniform(d.shape())
    places: tuple[int | tuple[int, ...], ...] = (0, -1, x.ndim, (0, -1), (0, 1))
    return d.call(np.expand_dims, x, axis=d.choice(places))


@ROWS.row("broadcast_to", integers=True)
def _broadcast_to(d: Draw) -> Case:
    whole = d.shape()
    return d.call(np.broadcast_to, d.uniform(d.stretched(whole)), whole)


@ROWS.row("concatenate", integers=True)
def _concatenate(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    shapes: list[Shape] = []
    for _ in range(d.choice((1, 2, 3, 3))):
        lengths = list(shape)
        lengths[axis] = d.choice(d.lengths)
        shapes.append(tuple(lengths))
    return _joined(d, shapes, np.concatenate, axis)


def _joined(d: Draw, shapes: list[Shape], function: Callable[..., Any], axis: int) -> Case:
    def apply(b: Backend, *xs: RawTensor) -> RawTensor:
        joined: RawTensor = getattr(b, d.name)(xs, axis)
        return joined

    def reference(*xs: HostArray) -> Any:
        return function(xs, axis)

    return Case(tuple(map(d.uniform, shapes)), apply, reference)


@ROWS.row("stack", integers=True)
def _stack(d: Draw) -> Case:
    shape = d.shape()
    axis = d.axis(len(shape) + 1)
    return _joined(d, [shape] * d.choice((1, 2, 3, 3)), np.stack, axis)


@ROWS.row("split", derivative=Derivative.COMPOSED, integers=True)
def _split(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    length = shape[axis]
    divisors = [n for n in range(1, max(length, 1) + 1) if length % n == 0]
    cuts = sorted(d.integer(0, length) for _ in range(d.integer(0, 2)))
    sections: Any = d.choice((*divisors, cuts, tuple(cuts)))
    return d.call(np.split, d.uniform(shape), sections, axis=axis)


@ROWS.row("flip", integers=True)
def _flip(d: Draw) -> Case:
    x = d.uniform(d.shape())
    return d.call(np.flip, x, axis=d.axes(x.shape))


@ROWS.row("pad", integers=True)
def _pad(d: Draw) -> Case:
    def reference(x: HostArray, widths: list[tuple[int, int]], value: int) -> HostArray:
        return np.pad(x, widths, constant_values=value) if x.ndim else x

    x = d.uniform(d.shape())
    widths = [(d.integer(0, 2), d.integer(0, 2)) for _ in range(x.ndim)]
    return d.call(reference, x, widths, d.integer(0, 3))
