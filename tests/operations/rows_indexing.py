"""Indexing."""

from __future__ import annotations

import operator
from typing import Any, Final

import numpy as np

from born.raw import HostArray, Shape
from tests.operations.drawing import Case, Draw
from tests.operations.row import Derivative, Table

ROWS: Final = Table()


def _drawn_index(d: Draw, shape: Shape) -> tuple[Any, ...]:
    """An index into a shape: basic, advanced, or both; arrays stand for raw tensors."""
    if shape and d.flag():
        return (d.bools(shape),)
    parts: list[Any] = []
    for length in shape[: d.integer(0, len(shape))]:
        kinds = ["slice", "reversed"]
        if length:
            kinds += ["integer", "integers"]
        kind = d.choice(kinds)
        if kind == "slice":
            parts.append(slice(d.integer(-1, 2), d.choice((None, 2, -1, length)), d.integer(1, 2)))
        elif kind == "reversed":
            parts.append(slice(None, None, -1))
        elif kind == "integer":
            parts.append(d.integer(-length, length - 1))
        else:
            # Repeated, negative and few enough to broadcast together.
            parts.append(d.integers((d.choice((1, 3)),), 2 * length) - length)
    if d.flag():
        parts.insert(d.integer(0, len(parts)), None)
    if d.flag():
        parts.append(...)
    return tuple(parts)


@ROWS.row("getitem", integers=True)
def _getitem(d: Draw) -> Case:
    shape = d.shape()
    return d.call(operator.getitem, d.uniform(shape), _drawn_index(d, shape))


@ROWS.row("index_add", integers=True)
def _index_add(d: Draw) -> Case:
    def reference(x: HostArray, index: Any, y: HostArray) -> HostArray:
        out = x.copy()
        np.add.at(out, index, y)
        return out

    shape = d.shape()
    index = _drawn_index(d, shape)
    selected = np.empty(shape)[index].shape
    return d.call(reference, d.uniform(shape), index, d.uniform(d.stretched(selected)))


@ROWS.row("take", integers=True)
def _take(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    named = d.shape(most=2)
    if not shape[axis]:
        named = (*named, 0)
    index = d.integers(named, max(shape[axis], 1), d.choice(("int64", "int32", "uint8")))
    return d.call(np.take, d.uniform(shape), index, axis=axis)


def _along(d: Draw) -> tuple[Shape, int, HostArray]:
    """A shape, an axis, and an index along it as `gather` takes."""
    shape = d.shape(1)
    axis = d.axis(len(shape))
    lengths = list(shape)
    lengths[axis] = d.choice(d.lengths) if shape[axis] else 0
    return shape, axis, d.integers(tuple(lengths), max(shape[axis], 1))


@ROWS.row("gather", integers=True)
def _gather(d: Draw) -> Case:
    shape, axis, index = _along(d)
    return d.call(np.take_along_axis, d.uniform(shape), index, axis=axis)


@ROWS.row("scatter_add", integers=True)
def _scatter_add(d: Draw) -> Case:
    def reference(x: HostArray, index: HostArray, y: HostArray, axis: int) -> HostArray:
        out = x.copy()
        target: list[Any] = [*np.indices(index.shape)]
        target[axis] = index
        np.add.at(out, tuple(target), y)
        return out

    shape, axis, index = _along(d)
    return d.call(reference, d.uniform(shape), index, d.uniform(index.shape), axis=axis)


@ROWS.row("searchsorted", derivative=Derivative.CONSTANT, integers=True, result="int64")
def _searchsorted(d: Draw) -> Case:
    def reference(x: HostArray, y: HostArray, right: bool) -> Any:
        return np.searchsorted(x, y, "right" if right else "left")

    shape = d.shape(1, 1)
    return d.call(reference, np.sort(d.uniform(shape)), d.uniform(d.shape()), right=d.flag())
