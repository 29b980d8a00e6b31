"""Functions of each element, comparison and logic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.backend.contract.elementwise import UFUNCS
from born.raw import HostArray
from tests.operations import naive
from tests.operations.drawing import Case, Draw
from tests.operations.row import Derivative, Table

ROWS: Final = Table()

OTHER_OFFSET: Final = 0.08
"""A second grid of numbers, 0.05 away from those of the first."""


# -- two operands: tensors that broadcast, or a number on either side ----------------------


def _call_with_pair(d: Draw, function: Callable[..., Any], *operands: Any, number: Any) -> Case:
    """A call whose last two operands are tensors, or a number in place of one of them."""
    *before, x, y = operands
    pairs = {"tensors": (x, y), "number right": (x, number), "number left": (number, y)}
    return d.call(function, *before, *pairs[d.choice(tuple(pairs))])


def _binary(name: str, function: Callable[..., Any]) -> None:
    @ROWS.row(name, integers=True)
    def _(d: Draw) -> Case:
        x, y = map(d.uniform, d.broadcasting(2))
        number = d.choice((2, True) if name == "add" else (2, 3))
        return _call_with_pair(d, function, x, y, number=number)


_binary("add", np.add)
_binary("sub", np.subtract)
_binary("mul", np.multiply)


@ROWS.row("div")
def _div(d: Draw) -> Case:
    above, below = d.broadcasting(2)
    x, y = d.uniform(above), d.uniform(below, 0.5, 2.0) * (-1.0 if d.flag() else 1.0)
    return _call_with_pair(d, np.divide, x, y, number=1.5)


def _whole(name: str, function: Callable[..., Any], derivative: Derivative) -> None:
    @ROWS.row(name, derivative=derivative, integers=True)
    def _(d: Draw) -> Case:
        # Away from where the quotient is whole, and the result jumps.
        above, below = d.broadcasting(2)
        y = d.uniform(below, 1.0, 3.0) * (-1.0 if d.flag() else 1.0)
        quotient = np.floor(d.uniform(above, -3.0, 3.0)) + d.uniform(above, 0.3, 0.7)
        if d.flag() or above != below:
            return d.call(function, quotient * 2, 2)
        return d.call(function, quotient * y, y)


_whole("floor_divide", np.floor_divide, Derivative.CONSTANT)
_whole("remainder", np.remainder, Derivative.ROW)


@ROWS.row("pow")
def _pow(d: Draw) -> Case:
    base, exponent = d.broadcasting(2)
    x, y = d.uniform(base, 0.5, 2.0), d.uniform(exponent)
    return _call_with_pair(d, np.power, x, y, number=d.choice((0.5, 1, 2, 3, 2.5)))


def _extreme(name: str, function: Callable[..., Any]) -> None:
    @ROWS.row(name, integers=True)
    def _(d: Draw) -> Case:
        one, other = d.broadcasting(2)
        x, y = d.distinct(one), d.distinct(other, OTHER_OFFSET)
        return _call_with_pair(d, function, x, y, number=0)


_extreme("maximum", np.maximum)
_extreme("minimum", np.minimum)


@ROWS.row("where", integers=True)
def _where(d: Draw) -> Case:
    condition, x, y = d.broadcasting(3)
    operands = d.bools(condition), d.uniform(x), d.uniform(y)
    return _call_with_pair(d, np.where, *operands, number=1)


def _comparison(name: str, function: Callable[..., Any]) -> None:
    @ROWS.row(name, derivative=Derivative.CONSTANT, integers=True, result="bool")
    def _(d: Draw) -> Case:
        one, other = d.broadcasting(2)
        # Of three values, so that some are equal.
        x, y = np.sign(d.uniform(one)), np.sign(d.uniform(other))
        return _call_with_pair(d, function, x, y, number=1)


_comparison("equal", np.equal)
_comparison("not_equal", np.not_equal)
_comparison("less", np.less)
_comparison("less_equal", np.less_equal)
_comparison("greater", np.greater)
_comparison("greater_equal", np.greater_equal)
_comparison("logical_and", np.logical_and)
_comparison("logical_or", np.logical_or)


# -- one tensor ----------------------------------------------------------------------------


def _unary(
    name: str,
    function: Callable[[HostArray], Any],
    low: float = -2.0,
    high: float = 2.0,
    derivative: Derivative = Derivative.ROW,
    *,
    integers: bool = False,
) -> None:
    """A smooth function between two bounds."""

    @ROWS.row(name, derivative=derivative, integers=integers)
    def _(d: Draw) -> Case:
        return d.call(function, d.uniform(d.shape(), low, high))


def _kinked(
    name: str,
    function: Callable[[HostArray], Any],
    derivative: Derivative = Derivative.ROW,
    *,
    integers: bool = False,
    result: str = "",
) -> None:
    """A function with a kink at zero, from which the arguments keep away."""

    @ROWS.row(name, derivative=derivative, integers=integers, result=result)
    def _(d: Draw) -> Case:
        return d.call(function, d.distinct(d.shape()))


_unary("neg", np.negative, integers=True)
_unary("exp", np.exp)
_unary("expm1", np.expm1)
_unary("log", np.log, 0.3, 3.0)
_unary("log1p", np.log1p, -0.5, 3.0)
_unary("sqrt", np.sqrt, 0.3, 3.0)
_unary("rsqrt", lambda x: 1 / np.sqrt(x), 0.3, 3.0)
_unary("sin", np.sin)
_unary("cos", np.cos)
_unary("tanh", np.tanh)
_unary("erf", naive.erf)
_unary("sigmoid", lambda x: 1 / (1 + np.exp(-x)), derivative=Derivative.COMPOSED)
_unary("silu", lambda x: x / (1 + np.exp(-x)), derivative=Derivative.COMPOSED)
_unary("softplus", lambda x: np.log(1 + np.exp(x)), derivative=Derivative.COMPOSED)

_kinked("abs", np.abs, integers=True)
_kinked("relu", lambda x: np.maximum(x, 0), Derivative.COMPOSED, integers=True)
_kinked("sign", np.sign, Derivative.CONSTANT)
_kinked("logical_not", np.logical_not, Derivative.CONSTANT, integers=True, result="bool")
_kinked("isfinite", np.isfinite, Derivative.CONSTANT, integers=True, result="bool")


@ROWS.row("ufunc")
def _ufunc(d: Draw) -> Case:
    name = d.choice(("arctan", "arcsinh", "cosh", "arctan2", "hypot"))
    shapes = d.broadcasting(UFUNCS[name].operands)
    return d.call(_by_name, name, *(d.uniform(shape, 0.5, 2.0) for shape in shapes))


def _by_name(name: str, *xs: HostArray) -> Any:
    return getattr(np, name)(*xs)


@ROWS.row("gelu", derivative=Derivative.COMPOSED)
def _gelu(d: Draw) -> Case:
    return d.call(naive.gelu, d.uniform(d.shape()), *d.choice(((), ("tanh",))))


@ROWS.row("clamp", integers=True)
def _clamp(d: Draw) -> Case:
    low, high = d.choice((None, 0, 1)), d.choice((None, 1, 2))
    return d.call(_clamped, d.distinct(d.shape()), low, high)


def _clamped(x: HostArray, low: int | None, high: int | None) -> HostArray:
    least = -math.inf if low is None else low
    most = math.inf if high is None else high
    clamped: HostArray = np.minimum(np.maximum(x, least), most)
    return clamped
