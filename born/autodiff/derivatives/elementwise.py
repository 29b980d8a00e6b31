"""The derivatives of arithmetic and of functions of each element."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, cast

from born.autodiff.derivatives.registrars import (
    Required,
    Rule,
    constant,
    of_input,
    of_result,
    pullback_of,
    shape_of,
    sum_to_shape,
)
from born.autodiff.derivatives.slopes import FLAT, slopes_of
from born.autodiff.pullback import Pullback
from born.backend import Backend, Operand
from born.raw import RawTensor

_ERF_FLAT: Final = 30.0  # exp(-x**2) is zero in float64, and so in every dtype, from here on
_ERF_SLOPE: Final = 2.0 / math.sqrt(math.pi)  # at zero

constant("floor_divide", "sign", "isfinite", "equal", "not_equal", "less", "less_equal", "greater")
constant("greater_equal", "logical_and", "logical_or", "logical_not")

# -- several tensors --

of_input("sub", lambda b, g, x_shape, y_shape: g, lambda b, g, x_shape, y_shape: b.neg(g))
of_input(
    "where",
    None,
    lambda b, g, condition, x_shape, y_shape: b.where(condition, g, 0),
    lambda b, g, condition, x_shape, y_shape: b.where(condition, 0, g),
)


# The two most frequent of all, written out: in small programs each Python call counts.


@pullback_of("add", 2, reads=[[], []])
def _add(b: Backend, out: RawTensor, required: Required, x: Operand, y: Operand) -> Pullback:
    for_x, for_y = required
    x_shape, y_shape = shape_of(x), shape_of(y)
    if x_shape == y_shape:
        return lambda g: (g if for_x else None, g if for_y else None)
    return lambda g: (
        sum_to_shape(b, g, x_shape) if for_x else None,
        sum_to_shape(b, g, y_shape) if for_y else None,
    )


@pullback_of("mul", 2, reads=[[1], [0]])
def _mul(b: Backend, out: RawTensor, required: Required, x: Operand, y: Operand) -> Pullback:
    x_shape, y_shape = shape_of(x), shape_of(y)
    for_x, for_y = y if required[0] else None, x if required[1] else None
    if x_shape == y_shape:
        return lambda g: (
            None if for_x is None else b.mul(g, for_x),
            None if for_y is None else b.mul(g, for_y),
        )
    return lambda g: (
        None if for_x is None else sum_to_shape(b, b.mul(g, for_x), x_shape),
        None if for_y is None else sum_to_shape(b, b.mul(g, for_y), y_shape),
    )


of_input(
    "remainder",
    lambda b, g, x_shape, y_shape: g,
    lambda b, g, x, y: b.neg(b.mul(g, b.floor_divide(x, y))),
)


@pullback_of("div", 2, keeps_result=True, reads=[[1], [1]])
def _div(b: Backend, out: RawTensor, required: Required, x: Operand, y: Operand) -> Pullback:
    for_x = required[0]
    quotient = out if required[1] else None
    x_shape, y_shape = shape_of(x), shape_of(y)

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        over_y = b.div(g, y)
        return (
            sum_to_shape(b, over_y, x_shape) if for_x else None,
            None if quotient is None else sum_to_shape(b, b.neg(b.mul(over_y, quotient)), y_shape),
        )

    return pullback


@pullback_of("pow", 2, keeps_result=True, reads=[[0, 1], [0]])
def _pow(b: Backend, out: RawTensor, required: Required, x: Operand, y: Operand) -> Pullback:
    for_x = required[0]
    power = out if required[1] else None
    x_shape, y_shape = shape_of(x), shape_of(y)

    def x_gradient(g: RawTensor, x: RawTensor) -> RawTensor:
        if isinstance(y, RawTensor):
            # x**0 is 1 for every x, though x**(0 - 1) is infinite at zero and NaN at NaN.
            is_one = b.logical_and(b.equal(y, 0), b.logical_not(b.greater(b.abs(x), 0)))
            slope = b.mul(y, b.pow(x, b.sub(b.where(is_one, 1, y), 1)))
        elif y == 0:
            return b.zeros(x_shape, g.dtype)
        else:
            slope = b.mul(b.pow(x, y - 1), y)
        return sum_to_shape(b, b.mul(g, slope), x_shape)

    def y_gradient(g: RawTensor, y: RawTensor, power: RawTensor) -> RawTensor:
        # 0**y is constant for y > 0, though log(0) is infinite.
        flat = b.greater_equal(y, 0)
        if isinstance(x, RawTensor):
            log = b.log(b.where(b.logical_and(b.equal(x, 0), flat), 1, x))
        elif x == 0:
            log = b.where(flat, b.zeros((), g.dtype), -math.inf)
        else:
            log = b.full((), math.log(x) if x > 0 else math.nan, g.dtype)
        return sum_to_shape(b, b.mul(b.mul(g, power), log), y_shape)

    return lambda g: (
        x_gradient(g, cast("RawTensor", x)) if for_x else None,
        None if power is None else y_gradient(g, cast("RawTensor", y), power),
    )


def _extremum(loses: str) -> Rule:
    """The rule of `maximum` or `minimum`: all to the winner, half to each of a tie.

    Where one of the two is NaN, so are both gradients: neither has won.
    """

    def rule(b: Backend, out: RawTensor, required: Required, x: Operand, y: Operand) -> Pullback:
        for_x, for_y = required
        x_shape, y_shape = shape_of(x), shape_of(y)
        x_loses, tie, known = getattr(b, loses)(x, y), b.equal(x, y), b.equal(out, out)

        def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
            g = b.where(known, g, math.nan)
            to_x = b.where(x_loses, 0, b.where(tie, b.mul(g, 0.5), g))
            return (
                sum_to_shape(b, to_x, x_shape) if for_x else None,
                sum_to_shape(b, b.sub(g, to_x), y_shape) if for_y else None,
            )

        return pullback

    return rule


pullback_of("maximum", 2)(_extremum("less"))
pullback_of("minimum", 2)(_extremum("greater"))


@pullback_of("ufunc", slice(1, 4), reads=[[0, 1, 2]] * 3)
def _ufunc(
    b: Backend, out: RawTensor, required: Required, name: str, *operands: RawTensor
) -> Pullback | None:
    if name in FLAT:
        return None
    slopes = slopes_of(name, required)
    if len(slopes) == 1:
        slope = cast("Callable[..., RawTensor]", slopes[0])
        return lambda g: slope(b, g, *operands)
    due = [
        (slope, x.shape) if slope is not None and wanted else None
        for slope, wanted, x in zip(slopes, required, operands, strict=True)
    ]
    return lambda g: [
        None if line is None else sum_to_shape(b, line[0](b, g, *operands), line[1]) for line in due
    ]


# -- one tensor --

of_input("neg", lambda b, g, x_shape: b.neg(g))
of_input("abs", lambda b, g, x: b.mul(g, b.sign(x)))
of_result("exp", lambda b, g, y: b.mul(g, y))
of_result("expm1", lambda b, g, y: b.mul(g, b.add(y, 1)))
of_input("log", lambda b, g, x: b.div(g, x))
of_input("log1p", lambda b, g, x: b.div(g, b.add(x, 1)))
of_result("sqrt", lambda b, g, y: b.div(b.mul(g, 0.5), y))
of_result("rsqrt", lambda b, g, y: b.mul(b.mul(g, -0.5), b.mul(y, b.mul(y, y))))
of_input("sin", lambda b, g, x: b.mul(g, b.cos(x)))
of_input("cos", lambda b, g, x: b.neg(b.mul(g, b.sin(x))))
of_result("tanh", lambda b, g, y: b.mul(g, b.sub(1.0, b.mul(y, y))))


def _erf(b: Backend, g: RawTensor, x: RawTensor) -> RawTensor:
    near = b.clamp(x, -_ERF_FLAT, _ERF_FLAT)  # or the square overflows in float16
    return b.mul(b.mul(g, _ERF_SLOPE), b.exp(b.neg(b.mul(near, near))))


def _clamp(
    b: Backend, g: RawTensor, x: RawTensor, low: float | None = None, high: float | None = None
) -> RawTensor:
    slope = b.where(b.equal(x, x), g, math.nan)  # or a NaN, which no comparison holds for, has none
    if low is not None:
        slope = b.where(b.less(x, low), 0, slope)
    if high is not None:
        slope = b.where(b.greater(x, high), 0, slope)
    return slope


of_input("erf", _erf)
of_input("clamp", _clamp)
