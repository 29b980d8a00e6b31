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
        return d.call(function, d.distinct(shape), axis=axis, keepdims=keepdims)


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
        return d.call(function, d.distinct(shape), axis=axis, keepdims=d.flag())


_position("argmax", np.argmax)
_position("argmin", np.argmin)


def _with_zeros(d: Draw, x: HostArray) -> HostArray:
    """An array, at most two of its elements set to zero."""
    for _ in range(d.integer(0, 2) if x.size else 0):
        x.flat[d.integer(0, x.size - 1)] = 0.0
    return x


@ROWS.row("prod", integers=True, result="sum")
def _prod(d: Draw) -> Case:
    x = _with_zeros(d, d.uniform(d.shape(), -1.5, 1.5))
    return d.call(np.prod, x, axis=d.axes(x.shape), keepdims=d.flag())


def _spread(name: str, function: Callable[..., Any], least: int = 0) -> None:
    """Of at least so many numbers, none of them equal: a deviation of zero has a kink."""

    @ROWS.row(name)
    def _(d: Draw) -> Case:
        shape = d.shape()
        axis = d.axes(shape)
        if _count(shape, axis) < least:
            shape, axis = (*shape, 3), len(shape)
        ddof = d.integer(0, 1) if _count(shape, axis) > 1 else 0
        return d.call(function, d.distinct(shape), axis=axis, ddof=ddof, keepdims=d.flag())


_spread("var", np.var)
_spread("std", np.std, 2)


def _count(shape: Shape, axis: Axis) -> int:
    if axis is None:
        return math.prod(shape)
    return math.prod(shape[i] for i in (axis if isinstance(axis, tuple) else (axis,)))


@ROWS.row("logsumexp")
def _logsumexp(d: Draw) -> Case:
    def reference(x: HostArray, **options: Any) -> Any:
        return np.log(np.sum(np.exp(x), **options))

    shape = d.shape()
    return d.call(reference, d.uniform(shape), axis=d.axes(shape), keepdims=d.flag())


@ROWS.row("norm")
def _norm(d: Draw) -> Case:
    def reference(x: HostArray, order: float, **options: Any) -> Any:
        if order == math.inf:
            return np.max(np.abs(x), **options)
        return np.sum(np.abs(x) ** order, **options) ** (1 / order)

    shape, order = d.shape(), d.choice((1, 2, math.inf))
    axis = d.axes(shape, filled=order == math.inf)
    return d.call(reference, d.distinct(shape), axis=axis, keepdims=d.flag(), order=order)


@ROWS.row("cumsum", integers=True, result="sum")
def _cumsum(d: Draw) -> Case:
    shape = d.shape(1)
    return d.call(np.cumsum, d.uniform(shape), axis=d.axis(len(shape)))


@ROWS.row("cumprod", derivative=Derivative.COMPOSED, integers=True, result="sum")
def _cumprod(d: Draw) -> Case:
    x = _with_zeros(d, d.uniform(d.shape(1)))
    return d.call(np.cumprod, x, axis=d.axis(x.ndim))


@ROWS.row("argsort", derivative=Derivative.CONSTANT, integers=True, result="int64")
def _argsort(d: Draw) -> Case:
    def reference(x: HostArray, axis: int) -> HostArray:
        return np.argsort(x, axis, kind="stable")

    shape = d.shape(1)
    return d.call(reference, d.distinct(shape), axis=d.axis(len(shape)))
