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
    return Case((d.uniform(shape),), lambda b, x: b.reshape(x, target), lambda x: x.reshape(target))


@ROWS.row("transpose", integers=True)
def _transpose(d: Draw) -> Case:
    x = d.uniform(d.shape())
    order = list(range(x.ndim))
    for _ in order:
        order.append(order.pop(d.integer(0, x.ndim - 1)))
    axes = None if d.flag() else tuple(i - x.ndim if d.flag() else i for i in order)
    return Case((x,), lambda b, x: b.transpose(x, axes), lambda x: np.transpose(x, axes))


@ROWS.row("squeeze", integers=True)
def _squeeze(d: Draw) -> Case:
    shape = tuple(1 if d.flag() else length for length in d.shape())
    ones = [i for i, length in enumerate(shape) if length == 1]
    chosen = tuple(i - len(shape) if d.flag() else i for i in ones if d.flag())
    axis = d.choice((None, chosen, *chosen))
    return Case((d.uniform(shape),), lambda b, x: b.squeeze(x, axis), lambda x: np.squeeze(x, axis))


@ROWS.row("expand_dims", integers=True)
def _expand_dims(d: Draw) -> Case:
    x = d.uniform(d.shape())
    places: tuple[int | tuple[int, ...], ...] = (0, -1, x.ndim, (0, -1), (0, 1))
    axis = d.choice(places)
    return Case((x,), lambda b, x: b.expand_dims(x, axis), lambda x: np.expand_dims(x, axis))


@ROWS.row("broadcast_to", integers=True)
def _broadcast_to(d: Draw) -> Case:
    whole = d.shape()
    x = d.uniform(d.stretched(whole))
    return Case((x,), lambda b, x: b.broadcast_to(x, whole), lambda x: np.broadcast_to(x, whole))


@ROWS.row("concatenate", integers=True)
def _concatenate(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    shapes: list[Shape] = []
    for _ in range(d.choice((1, 2, 3, 3))):
        lengths = list(shape)
        lengths[axis] = d.choice(d.lengths)
        shapes.append(tuple(lengths))
    return _joined(tuple(map(d.uniform, shapes)), "concatenate", np.concatenate, axis)


def _joined(
    inputs: tuple[HostArray, ...], name: str, function: Callable[..., Any], axis: int
) -> Case:
    def apply(b: Backend, *xs: RawTensor) -> RawTensor:
        joined: RawTensor = getattr(b, name)(xs, axis)
        return joined

    def reference(*xs: HostArray) -> HostArray:
        joined: HostArray = function(xs, axis)
        return joined

    return Case(inputs, apply, reference)


@ROWS.row("stack", integers=True)
def _stack(d: Draw) -> Case:
    shape = d.shape()
    axis = d.axis(len(shape) + 1)
    inputs = tuple(d.uniform(shape) for _ in range(d.choice((1, 2, 3, 3))))
    return _joined(inputs, "stack", np.stack, axis)


@ROWS.row("split", derivative=Derivative.COMPOSED, integers=True)
def _split(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    length = shape[axis]
    divisors = [n for n in range(1, max(length, 1) + 1) if length % n == 0]
    cuts = sorted(d.integer(0, length) for _ in range(d.integer(0, 2)))
    sections: Any = d.choice((*divisors, cuts, tuple(cuts)))
    return Case(
        (d.uniform(shape),),
        lambda b, x: b.split(x, sections, axis),
        lambda x: np.split(x, sections, axis),
    )


@ROWS.row("flip", integers=True)
def _flip(d: Draw) -> Case:
    x = d.uniform(d.shape())
    axis = d.axes(x.shape)
    return Case((x,), lambda b, x: b.flip(x, axis), lambda x: _flipped(x, axis))


def _flipped(x: HostArray, axis: Any) -> HostArray:
    flipped: HostArray = np.flip(x, axis)
    return flipped


@ROWS.row("pad", integers=True)
def _pad(d: Draw) -> Case:
    x = d.uniform(d.shape())
    widths = [(d.integer(0, 2), d.integer(0, 2)) for _ in range(x.ndim)]
    value = d.integer(0, 3)

    def reference(x: HostArray) -> HostArray:
        return np.pad(x, widths, constant_values=value) if x.ndim else x

    return Case((x,), lambda b, x: b.pad(x, widths, value), reference)
