"""The derivatives of arithmetic and of functions of each element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from born.autodiff.tape import Pullback
from born.autodiff.vjps.table import Needs, Rule, fit, row, several, shape_of
from born.backend import Approximation, Backend, Operand
from born.raw import DTypeLike, RawTensor, is_floating

_ERF_FLAT: Final = 30.0  # exp(-x**2) is zero in float64, and so in every dtype, from here on

# -- arithmetic --


@several("add", 2)
def _add(b: Backend, out: RawTensor, needs: Needs, x: Operand, y: Operand) -> Pullback:
    x_due, y_due = needs
    x_shape, y_shape = shape_of(x), shape_of(y)
    return lambda g: (
        fit(b, g, x_shape) if x_due else None,
        fit(b, g, y_shape) if y_due else None,
    )


@several("sub", 2)
def _sub(b: Backend, out: RawTensor, needs: Needs, x: Operand, y: Operand) -> Pullback:
    x_due, y_due = needs
    x_shape, y_shape = shape_of(x), shape_of(y)
    return lambda g: (
        fit(b, g, x_shape) if x_due else None,
        fit(b, b.neg(g), y_shape) if y_due else None,
    )


@several("mul", 2)
def _mul(b: Backend, out: RawTensor, needs: Needs, x: Operand, y: Operand) -> Pullback:
    for_x, for_y = y if needs[0] else None, x if needs[1] else None
    x_shape, y_shape = shape_of(x), shape_of(y)
    return lambda g: (
        None if for_x is None else fit(b, b.mul(g, for_x), x_shape),
        None if for_y is None else fit(b, b.mul(g, for_y), y_shape),
    )


@several("div", 2)
def _div(b: Backend, out: RawTensor, needs: Needs, x: Operand, y: Operand) -> Pullback:
    x_due = needs[0]
    quotient = out if needs[1] else None
    x_shape, y_shape = shape_of(x), shape_of(y)

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        over_y = b.div(g, y)
        return (
            fit(b, over_y, x_shape) if x_due else None,
            None if quotient is None else fit(b, b.neg(b.mul(over_y, quotient)), y_shape),
        )

    return pullback


@several("pow", 2)
def _pow(b: Backend, out: RawTensor, needs: Needs, x: Operand, y: Operand) -> Pullback:
    x_due = needs[0]
    power = out if needs[1] else None
    x_shape, y_shape = shape_of(x), shape_of(y)

    def for_x(g: RawTensor) -> RawTensor:
        if isinstance(y, RawTensor):
            # x**0 is constant, though x**(0 - 1) is infinite at zero.
            slope = b.mul(y, b.pow(x, b.sub(b.where(b.equal(y, 0), 1, y), 1)))
        else:
            slope = b.mul(b.pow(x, y - 1), y) if y != 0 else b.mul(b.add(x, 0), 0)
        return fit(b, b.mul(g, slope), x_shape)

    def for_y(g: RawTensor, power: RawTensor) -> RawTensor:
        if isinstance(x, RawTensor):
            # 0**y is constant for y > 0, though log(0) is infinite.
            log = b.log(b.where(b.equal(x, 0), 1, x))
        else:
            log = b.full((), math.log(x) if x > 0 else (0.0 if x == 0 else math.nan), g.dtype)
        return fit(b, b.mul(b.mul(g, power), log), y_shape)

    return lambda g: (
        for_x(g) if x_due else None,
        None if power is None else for_y(g, power),
    )


def _larger(greater: str) -> Rule:
    """The rule of `maximum`, or of `minimum`: all to the winner, half to each of a tie."""

    def rule(b: Backend, out: RawTensor, needs: Needs, x: Operand, y: Operand) -> Pullback:
        x_due, y_due = needs
        x_shape, y_shape = shape_of(x), shape_of(y)
        wins, tie = getattr(b, greater)(x, y), b.equal(x, y)

        def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
            to_x = b.where(tie, b.mul(g, 0.5), b.where(wins, g, 0))
            return (
                fit(b, to_x, x_shape) if x_due else None,
                fit(b, b.sub(g, to_x), y_shape) if y_due else None,
            )

        return pullback

    return rule


several("maximum", 2)(_larger("greater"))
several("minimum", 2)(_larger("less"))


@several("where", 3, first=1)
def _where(
    b: Backend, out: RawTensor, needs: Needs, condition: RawTensor, x: Operand, y: Operand
) -> Pullback:
    x_due, y_due = needs
    x_shape, y_shape = shape_of(x), shape_of(y)
    return lambda g: (
        fit(b, b.where(condition, g, 0), x_shape) if x_due else None,
        fit(b, b.where(condition, 0, g), y_shape) if y_due else None,
    )


# -- functions of one tensor --


@row("neg")
def _neg(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return b.neg


@row("abs")
def _abs(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.mul(g, b.sign(x))


@row("exp")
def _exp(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.mul(g, out)


@row("expm1")
def _expm1(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.mul(g, b.add(out, 1))


@row("log")
def _log(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.div(g, x)


@row("log1p")
def _log1p(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.div(g, b.add(x, 1))


@row("sqrt")
def _sqrt(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.div(b.mul(g, 0.5), out)


@row("rsqrt")
def _rsqrt(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.mul(b.mul(g, -0.5), b.mul(out, b.mul(out, out)))


@row("sin")
def _sin(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.mul(g, b.cos(x))


@row("cos")
def _cos(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.neg(b.mul(g, b.sin(x)))


@row("tanh")
def _tanh(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.mul(g, b.sub(1, b.mul(out, out)))


@row("erf")
def _erf(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    slope = 2.0 / math.sqrt(math.pi)

    def pullback(g: RawTensor) -> RawTensor:
        near = b.clamp(x, -_ERF_FLAT, _ERF_FLAT)  # or the square overflows in float16
        return b.mul(b.mul(g, slope), b.exp(b.neg(b.mul(near, near))))

    return pullback


@row("sigmoid")
def _sigmoid(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.mul(g, b.mul(out, b.sub(1, out)))


@row("relu")
def _relu(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.relu_backward(g, out)


@row("silu")
def _silu(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    def pullback(g: RawTensor) -> RawTensor:
        s = b.sigmoid(x)
        return b.mul(g, b.mul(s, b.add(b.mul(x, b.sub(1, s)), 1)))

    return pullback


@row("gelu")
def _gelu(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    approximate: Approximation = "none",
) -> Pullback:
    return lambda g: b.gelu_backward(g, x, approximate)


@row("softplus")
def _softplus(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: b.mul(g, b.sigmoid(x))


@row("clamp")
def _clamp(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    low: float | None = None,
    high: float | None = None,
) -> Pullback:
    def pullback(g: RawTensor) -> RawTensor:
        if low is not None:
            g = b.where(b.greater_equal(x, low), g, 0)
        if high is not None:
            g = b.where(b.less_equal(x, high), g, 0)
        return g

    return pullback


@row("astype")
def _astype(
    b: Backend, out: RawTensor, needs: Needs, x: RawTensor, dtype: DTypeLike
) -> Pullback | None:
    before = x.dtype
    if not (is_floating(before) and is_floating(out.dtype)):
        return None
    return lambda g: b.astype(g, before)


@row("copy")
def _copy(b: Backend, out: RawTensor, needs: Needs, x: RawTensor) -> Pullback:
    return lambda g: g
