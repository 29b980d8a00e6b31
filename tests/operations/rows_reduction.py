"""Reductions, and running sums and products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.backend import Axis
from born.raw import HostArray, Shape
from tests.operations.drawing import Case, Draw
from tests.operations.row import Derivative, Table

ROWS: Final = Table()


def _reduction(
    name: str,
    function: Callable[..., Any],
    derivative: Derivative = Derivative.ROW,
    *,
    filled: bool = False,
    integers: bool = False,
    result: str = "",
) -> None:
    """A reduction over any axes; `filled` where it is not defined over no elements."""

    @ROWS.row(name, derivative=derivative, integers=integers, result=result)
    def _(d: Draw) -> Case:
        shape = d.shape()
        axis, keepdims = d.axes(shape, filled=filled), d.flag()
        x = d.distinct(shape)
        return Case(
            (x,),
            lambda b, x: getattr(b, name)(x, axis, keepdims),
            lambda x: function(x, axis=axis, keepdims=keepdims),
        )


_reduction("sum", np.sum, integers=True, result="sum")
_reduction("mean", np.mean)
_reduction("max", np.max, filled=True, integers=True)
_reduction("min", np.min, filled=True, integers=True)
_reduction("any", np.any, Derivative.CONSTANT, integers=True, result="bool")
_reduction("all", np.all, Derivative.CONSTANT, integers=True, result="bool")


def _position(name: str, function: Callable[..., Any]) -> None:
    @ROWS.row(name, derivative=Derivative.CONSTANT, integers=True, result="int64")
    def _(d: Draw) -> Case:
        shape = d.shape()
        filled = [i for i, length in enumerate(shape) if length]
        everywhere = len(filled) == len(shape)
        if not filled and not everywhere:
            shape, filled = (*shape, 2), [len(shape)]
        axis = None if everywhere and (not shape or d.flag()) else d.choice(filled)
        keepdims = d.flag()
        return Case(
            (d.distinct(shape),),
            lambda b, x: getattr(b, name)(x, axis, keepdims),
            lambda x: function(x, axis=axis, keepdims=keepdims),
        )


_position("argmax", np.argmax)
_position("argmin", np.argmin)


@ROWS.row("prod", integers=True, result="sum")
def _prod(d: Draw) -> Case:
    shape = d.shape()
    axis, keepdims = d.axes(shape), d.flag()
    x = d.uniform(shape, -1.5, 1.5)
    for _ in range(d.integer(0, 2) if x.size else 0):
        x.flat[d.integer(0, x.size - 1)] = 0.0
    return Case(
        (x,),
        lambda b, x: b.prod(x, axis, keepdims),
        lambda x: np.prod(x, axis=axis, keepdims=keepdims),
    )


@ROWS.row("var")
def _var(d: Draw) -> Case:
    shape = d.shape()
    axis, keepdims = d.axes(shape), d.flag()
    ddof = d.integer(0, 1) if _count(shape, axis) > 1 else 0
    return Case(
        (d.uniform(shape),),
        lambda b, x: b.var(x, axis, ddof, keepdims),
        lambda x: np.var(x, axis=axis, ddof=ddof, keepdims=keepdims),
    )


def _count(shape: Shape, axis: Axis) -> int:
    if axis is None:
        return math.prod(shape)
    return math.prod(shape[i] for i in (axis if isinstance(axis, tuple) else (axis,)))


@ROWS.row("logsumexp")
def _logsumexp(d: Draw) -> Case:
    shape = d.shape()
    axis, keepdims = d.axes(shape), d.flag()
    return Case(
        (d.uniform(shape),),
        lambda b, x: b.logsumexp(x, axis, keepdims),
        lambda x: np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims)),
    )


@ROWS.row("norm")
def _norm(d: Draw) -> Case:
    shape, order = d.shape(), d.choice((1, 2, math.inf))
    axis, keepdims = d.axes(shape, filled=order == math.inf), d.flag()

    def reference(x: HostArray) -> Any:
        if order == math.inf:
            return np.max(np.abs(x), axis=axis, keepdims=keepdims)
        return np.sum(np.abs(x) ** order, axis=axis, keepdims=keepdims) ** (1 / order)

    return Case((d.distinct(shape),), lambda b, x: b.norm(x, axis, keepdims, order), reference)


@ROWS.row("cumsum", integers=True, result="sum")
def _cumsum(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    return Case(
        (d.uniform(shape),), lambda b, x: b.cumsum(x, axis), lambda x: np.cumsum(x, axis=axis)
    )


@ROWS.row("cumprod", derivative=Derivative.COMPOSED)
def _cumprod(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    x = d.uniform(shape)
    for _ in range(d.integer(0, 2) if x.size else 0):
        x.flat[d.integer(0, x.size - 1)] = 0.0
    return Case((x,), lambda b, x: b.cumprod(x, axis), lambda x: np.cumprod(x, axis=axis))
