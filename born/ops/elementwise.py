"""Arithmetic, functions, comparison and logic of each element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from born import fusion
from born.backend import Approximation, B, Scalar
from born.backend.arguments import check_floating
from born.dtypes import INTEGRAL
from born.errors import DomainError, OperandError
from born.operands import as_number, backend_of, operand
from born.ops.fused import fused_as
from born.raw import RawTensor
from born.tensor import Tensor
from born.validation import integer


def _apply(name: str, x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """An operation of two operands, one of which is a tensor."""
    if isinstance(x, Tensor):
        backend = x.backend
        return Tensor(getattr(backend, name)(x.raw, operand(backend, y, name)), backend)
    if isinstance(y, Tensor):
        return Tensor(getattr(y.backend, name)(as_number(name, x), y.raw), y.backend)
    raise OperandError(
        f"expected at least one tensor in {name}, got {x!r} and {y!r}; "
        "make one with born.tensor(value, backend)"
    )


def call_ufunc(name: str, *operands: Tensor[B] | Scalar) -> Tensor[B]:
    """The backend's function of this name, of tensors and numbers, at least one a tensor."""
    first: Tensor[B] | None = None
    for each in operands:
        if isinstance(each, Tensor):
            first = each
            break
    if first is None:
        raise OperandError(
            f"expected at least one tensor in {name}, got {', '.join(map(repr, operands))}; "
            "make one with born.tensor(value, backend)"
        )
    backend = first.backend
    check_floating(name, first.raw)
    raws: list[RawTensor] = []
    for each in operands:
        raw = operand(backend, each, name)
        raws.append(raw if isinstance(raw, RawTensor) else backend.full((), raw, first.dtype))
    return Tensor(backend.ufunc(name, *raws), backend)


def add(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """The sum, x + y; the tensors broadcast, and a number takes the tensor's dtype.

    >>> ops.add(born.tensor([1.0, 2.0], backend), 10)
    Tensor([11., 12.], dtype=float32)
    """
    return _apply("add", x, y)


def sub(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """The difference, x - y.

    >>> ops.sub(born.tensor([1.0, 2.0], backend), 1)
    Tensor([0., 1.], dtype=float32)
    """
    return _apply("sub", x, y)


def mul(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """The product of each two elements, x y.

    >>> ops.mul(born.tensor([1.0, 2.0], backend), 3)
    Tensor([3., 6.], dtype=float32)
    """
    return _apply("mul", x, y)


def div(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """The quotient of floating tensors, x / y.

    >>> ops.div(born.tensor([1.0, 2.0], backend), 2)
    Tensor([0.5, 1. ], dtype=float32)
    """
    return _apply("div", x, y)


def pow(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """The power, x^y.

    >>> ops.pow(born.tensor([1.0, 3.0], backend), 2)
    Tensor([1., 9.], dtype=float32)
    """
    return _apply("pow", x, y)


def floor_divide(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """floor(x / y), the quotient rounded down, as Python's `//`; its gradient is zero.

    Of integers it is an integer, and 0 where y is 0, as in NumPy.

    >>> ops.floor_divide(born.tensor([7, -7], backend), 2)
    Tensor([ 3, -4], dtype=int64)
    """
    return _apply("floor_divide", x, y)


def remainder(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """x - y floor(x / y), which has the sign of y, as Python's `%`.

    Its gradient is 1 by x and -floor(x / y) by y, also where it jumps.

    >>> ops.remainder(born.tensor([7, -7], backend), 3)
    Tensor([1, 2], dtype=int64)
    """
    return _apply("remainder", x, y)


def maximum(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """max(x, y) of each two elements; NaN where either is, half of the gradient for each of a tie.

    >>> ops.maximum(born.tensor([-1.0, 2.0], backend), 0)
    Tensor([0., 2.], dtype=float32)
    """
    return _apply("maximum", x, y)


def minimum(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """min(x, y) of each two elements; NaN where either is, half of the gradient for each of a tie.

    >>> ops.minimum(born.tensor([-1.0, 2.0], backend), 0)
    Tensor([-1.,  0.], dtype=float32)
    """
    return _apply("minimum", x, y)


def where(condition: Tensor[B], x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """x where a bool tensor holds, y elsewhere; the three broadcast.

    >>> x = born.tensor([-1.0, 2.0], backend)
    >>> ops.where(x > 0, x, 0)
    Tensor([0., 2.], dtype=float32)
    """
    backend = backend_of("where", condition)
    a, b = operand(backend, x, "where"), operand(backend, y, "where")
    return Tensor(backend.where(condition.raw, a, b), backend)


def clamp(x: Tensor[B], low: Scalar | None = None, high: Scalar | None = None) -> Tensor[B]:
    """x held between two numbers; None leaves that side open.

        min(max(x, low), high)

    The gradient passes where low <= x <= high.

    >>> ops.clamp(born.tensor([-2, 0.5, 2], backend), -1, 1)
    Tensor([-1. ,  0.5,  1. ], dtype=float32)
    """
    return Tensor(backend_of("clamp", x).clamp(x.raw, low, high), x.backend)


def neg(x: Tensor[B]) -> Tensor[B]:
    """The negative, -x.

    >>> ops.neg(born.tensor([1.0, -2.0], backend))
    Tensor([-1.,  2.], dtype=float32)
    """
    return Tensor(backend_of("neg", x).neg(x.raw), x.backend)


def abs(x: Tensor[B]) -> Tensor[B]:
    """The absolute value, |x|.

    >>> ops.abs(born.tensor([1.0, -2.0], backend))
    Tensor([1., 2.], dtype=float32)
    """
    return Tensor(backend_of("abs", x).abs(x.raw), x.backend)


def sign(x: Tensor[B]) -> Tensor[B]:
    """The sign, -1, 0 or 1; its gradient is zero.

    >>> ops.sign(born.tensor([3.0, 0.0, -2.0], backend))
    Tensor([ 1.,  0., -1.], dtype=float32)
    """
    return Tensor(backend_of("sign", x).sign(x.raw), x.backend)


def exp(x: Tensor[B]) -> Tensor[B]:
    """The exponential, e^x.

    >>> ops.exp(born.tensor([0.0], backend))
    Tensor([1.], dtype=float32)
    """
    return Tensor(backend_of("exp", x).exp(x.raw), x.backend)


def expm1(x: Tensor[B]) -> Tensor[B]:
    """e^x - 1, exact near zero.

    >>> ops.expm1(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return Tensor(backend_of("expm1", x).expm1(x.raw), x.backend)


def log(x: Tensor[B]) -> Tensor[B]:
    """The natural logarithm, log(x).

    >>> ops.log(born.tensor([1.0], backend))
    Tensor([0.], dtype=float32)
    """
    return Tensor(backend_of("log", x).log(x.raw), x.backend)


def log1p(x: Tensor[B]) -> Tensor[B]:
    """log(1 + x), exact near zero.

    >>> ops.log1p(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return Tensor(backend_of("log1p", x).log1p(x.raw), x.backend)


def sqrt(x: Tensor[B]) -> Tensor[B]:
    """The square root, sqrt(x); its gradient at zero is infinite.

    >>> ops.sqrt(born.tensor([4.0], backend))
    Tensor([2.], dtype=float32)
    """
    return Tensor(backend_of("sqrt", x).sqrt(x.raw), x.backend)


def rsqrt(x: Tensor[B]) -> Tensor[B]:
    """The reciprocal of the square root, 1 / sqrt(x).

    >>> ops.rsqrt(born.tensor([4.0], backend))
    Tensor([0.5], dtype=float32)
    """
    return Tensor(backend_of("rsqrt", x).rsqrt(x.raw), x.backend)


def sin(x: Tensor[B]) -> Tensor[B]:
    """sin(x), of x in radians.

    >>> ops.sin(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return Tensor(backend_of("sin", x).sin(x.raw), x.backend)


def cos(x: Tensor[B]) -> Tensor[B]:
    """cos(x), of x in radians.

    >>> ops.cos(born.tensor([0.0], backend))
    Tensor([1.], dtype=float32)
    """
    return Tensor(backend_of("cos", x).cos(x.raw), x.backend)


def tanh(x: Tensor[B]) -> Tensor[B]:
    """The hyperbolic tangent, (e^x - e^-x) / (e^x + e^-x).

    >>> ops.tanh(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return Tensor(backend_of("tanh", x).tanh(x.raw), x.backend)


def erf(x: Tensor[B]) -> Tensor[B]:
    """The error function, 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.

    >>> ops.erf(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return Tensor(backend_of("erf", x).erf(x.raw), x.backend)


def sigmoid(x: Tensor[B]) -> Tensor[B]:
    """The logistic function, 1 / (1 + e^-x), stable on both sides.

    >>> ops.sigmoid(born.tensor([0.0], backend))
    Tensor([0.5], dtype=float32)
    """
    return Tensor(backend_of("sigmoid", x).sigmoid(x.raw), x.backend)


def relu(x: Tensor[B]) -> Tensor[B]:
    """The rectifier, max(x, 0); its gradient at zero is zero.

    >>> ops.relu(born.tensor([-1.0, 2.0], backend))
    Tensor([0., 2.], dtype=float32)
    """
    return Tensor(backend_of("relu", x).relu(x.raw), x.backend)


def silu(x: Tensor[B]) -> Tensor[B]:
    """x sigmoid(x), also called swish (Elfwing et al., 2017, arXiv:1702.03118).

    >>> ops.silu(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return Tensor(backend_of("silu", x).silu(x.raw), x.backend)


def softplus(x: Tensor[B]) -> Tensor[B]:
    """A smooth rectifier, log(1 + e^x), without overflow.

    >>> ops.softplus(born.tensor([-1000.0, 1000.0], backend))
    Tensor([   0., 1000.], dtype=float32)
    """
    return Tensor(backend_of("softplus", x).softplus(x.raw), x.backend)


def gelu(x: Tensor[B], approximate: Approximation = "none") -> Tensor[B]:
    """The Gaussian error linear unit (Hendrycks and Gimpel, 2016, arXiv:1606.08415).

        x Phi(x) = x / 2 * (1 + erf(x / sqrt(2)))                                  "none"
        x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))                      "tanh"

    Args:
        x: a floating tensor.
        approximate: the exact form, `"none"`, by default; or `"tanh"`, as GPT-2 uses.

    >>> ops.gelu(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return Tensor(backend_of("gelu", x).gelu(x.raw, approximate), x.backend)


def equal(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether x == y, element by element.

    >>> ops.equal(born.tensor([1.0, 2.0], backend), 2)
    Tensor([False,  True], dtype=bool)
    """
    return _apply("equal", x, y)


def not_equal(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether x != y, element by element.

    >>> ops.not_equal(born.tensor([1.0, 2.0], backend), 2)
    Tensor([ True, False], dtype=bool)
    """
    return _apply("not_equal", x, y)


def less(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether x < y, element by element.

    >>> ops.less(born.tensor([1.0, 2.0], backend), 2)
    Tensor([ True, False], dtype=bool)
    """
    return _apply("less", x, y)


def less_equal(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether x <= y, element by element.

    >>> ops.less_equal(born.tensor([1.0, 2.0], backend), 2)
    Tensor([ True,  True], dtype=bool)
    """
    return _apply("less_equal", x, y)


def greater(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether x > y, element by element.

    >>> ops.greater(born.tensor([1.0, 2.0], backend), 2)
    Tensor([False, False], dtype=bool)
    """
    return _apply("greater", x, y)


def greater_equal(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether x >= y, element by element.

    >>> ops.greater_equal(born.tensor([1.0, 2.0], backend), 2)
    Tensor([False,  True], dtype=bool)
    """
    return _apply("greater_equal", x, y)


def logical_and(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether both elements are non-zero.

    >>> ops.logical_and(born.tensor([0.0, 2.0], backend), 1)
    Tensor([False,  True], dtype=bool)
    """
    return _apply("logical_and", x, y)


def logical_or(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether either element is non-zero.

    >>> ops.logical_or(born.tensor([0.0, 2.0], backend), 0)
    Tensor([False,  True], dtype=bool)
    """
    return _apply("logical_or", x, y)


def logical_not(x: Tensor[B]) -> Tensor[B]:
    """Whether each element is zero.

    >>> ops.logical_not(born.tensor([0.0, 2.0], backend))
    Tensor([ True, False], dtype=bool)
    """
    return Tensor(backend_of("logical_not", x).logical_not(x.raw), x.backend)


def isfinite(x: Tensor[B]) -> Tensor[B]:
    """Whether each element is neither infinite nor NaN.

    >>> ops.isfinite(born.tensor([1.0, float('inf')], backend))
    Tensor([ True, False], dtype=bool)
    """
    return Tensor(backend_of("isfinite", x).isfinite(x.raw), x.backend)


# -- more functions of one number ----------------------------------------------------------


def tan(x: Tensor[B]) -> Tensor[B]:
    """The tangent of x in radians.

    >>> ops.tan(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return call_ufunc("tan", x)


def arcsin(x: Tensor[B]) -> Tensor[B]:
    """The angle in [-pi/2, pi/2] whose sine is x, for x in [-1, 1].

    >>> ops.arcsin(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return call_ufunc("arcsin", x)


def arccos(x: Tensor[B]) -> Tensor[B]:
    """The angle in [0, pi] whose cosine is x, for x in [-1, 1].

    >>> ops.arccos(born.tensor([1.0], backend))
    Tensor([0.], dtype=float32)
    """
    return call_ufunc("arccos", x)


def arctan(x: Tensor[B]) -> Tensor[B]:
    """The angle in (-pi/2, pi/2) whose tangent is x.

    >>> ops.arctan(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return call_ufunc("arctan", x)


def sinh(x: Tensor[B]) -> Tensor[B]:
    """The hyperbolic sine, (e^x - e^-x) / 2.

    >>> ops.sinh(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return call_ufunc("sinh", x)


def cosh(x: Tensor[B]) -> Tensor[B]:
    """The hyperbolic cosine, (e^x + e^-x) / 2.

    >>> ops.cosh(born.tensor([0.0], backend))
    Tensor([1.], dtype=float32)
    """
    return call_ufunc("cosh", x)


def arcsinh(x: Tensor[B]) -> Tensor[B]:
    """The number whose hyperbolic sine is x.

    >>> ops.arcsinh(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return call_ufunc("arcsinh", x)


def arccosh(x: Tensor[B]) -> Tensor[B]:
    """The number, not negative, whose hyperbolic cosine is x, for x >= 1.

    >>> ops.arccosh(born.tensor([1.0], backend))
    Tensor([0.], dtype=float32)
    """
    return call_ufunc("arccosh", x)


def arctanh(x: Tensor[B]) -> Tensor[B]:
    """The number whose hyperbolic tangent is x, for x in [-1, 1].

    >>> ops.arctanh(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    return call_ufunc("arctanh", x)


def exp2(x: Tensor[B]) -> Tensor[B]:
    """2 to the power of x.

    >>> ops.exp2(born.tensor([3.0], backend))
    Tensor([8.], dtype=float32)
    """
    return call_ufunc("exp2", x)


def log2(x: Tensor[B]) -> Tensor[B]:
    """The logarithm to base 2.

    >>> ops.log2(born.tensor([8.0], backend))
    Tensor([3.], dtype=float32)
    """
    return call_ufunc("log2", x)


def log10(x: Tensor[B]) -> Tensor[B]:
    """The logarithm to base 10.

    >>> ops.log10(born.tensor([1.0], backend))
    Tensor([0.], dtype=float32)
    """
    return call_ufunc("log10", x)


def cbrt(x: Tensor[B]) -> Tensor[B]:
    """The cube root, of negative numbers too.

    >>> ops.cbrt(born.tensor([8.0, -1.0], backend))
    Tensor([ 2., -1.], dtype=float32)
    """
    return call_ufunc("cbrt", x)


def floor(x: Tensor[B]) -> Tensor[B]:
    """The largest integer that is not above x; its gradient is zero.

    >>> ops.floor(born.tensor([1.5, -1.5], backend))
    Tensor([ 1., -2.], dtype=float32)
    """
    return call_ufunc("floor", x)


def ceil(x: Tensor[B]) -> Tensor[B]:
    """The smallest integer that is not below x; its gradient is zero.

    >>> ops.ceil(born.tensor([1.5, -1.5], backend))
    Tensor([ 2., -1.], dtype=float32)
    """
    return call_ufunc("ceil", x)


def trunc(x: Tensor[B]) -> Tensor[B]:
    """The nearest integer towards zero; its gradient is zero.

    >>> ops.trunc(born.tensor([1.5, -1.5], backend))
    Tensor([ 1., -1.], dtype=float32)
    """
    return call_ufunc("trunc", x)


def rint(x: Tensor[B]) -> Tensor[B]:
    """The nearest integer, an even one of two; its gradient is zero.

    >>> ops.rint(born.tensor([1.5, 2.5], backend))
    Tensor([2., 2.], dtype=float32)
    """
    return call_ufunc("rint", x)


_MOST_DECIMALS: Final = 300  # 10 to this power is in range


def round(x: Tensor[B], decimals: int = 0) -> Tensor[B]:
    """x rounded to so many decimals, to even where two are as near; its gradient is zero.

    Args:
        x: a floating tensor.
        decimals: 0 by default; negative to round to tens, hundreds and so on.

    >>> ops.round(born.tensor([1.25, 2.5], backend), 1)
    Tensor([1.2, 2.5], dtype=float32)
    """
    backend_of("round", x)
    decimals = integer("decimals", decimals, None, DomainError)
    if decimals == 0:
        return rint(x)
    if not -_MOST_DECIMALS <= decimals <= _MOST_DECIMALS:
        raise DomainError(
            f"expected decimals from {-_MOST_DECIMALS} to {_MOST_DECIMALS} in round, got "
            f"{decimals}; no number has as many"
        )
    scale = 10.0 ** (decimals if decimals > 0 else -decimals)
    return rint(x * scale) / scale if decimals > 0 else rint(x / scale) * scale


def square(x: Tensor[B]) -> Tensor[B]:
    """x^2.

    >>> ops.square(born.tensor([3, -2], backend))
    Tensor([9, 4], dtype=int64)
    """
    backend = backend_of("square", x)
    return Tensor(backend.mul(x.raw, x.raw), backend)


def reciprocal(x: Tensor[B]) -> Tensor[B]:
    """1 / x, of a floating tensor.

    >>> ops.reciprocal(born.tensor([2.0, -4.0], backend))
    Tensor([ 0.5 , -0.25], dtype=float32)
    """
    backend = backend_of("reciprocal", x)
    check_floating("reciprocal", x.raw)
    return Tensor(backend.div(1.0, x.raw), backend)


def deg2rad(x: Tensor[B]) -> Tensor[B]:
    """Degrees as radians, x pi / 180.

    >>> ops.deg2rad(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    backend = backend_of("deg2rad", x)
    check_floating("deg2rad", x.raw)
    return Tensor(backend.mul(x.raw, math.pi / 180.0), backend)


def rad2deg(x: Tensor[B]) -> Tensor[B]:
    """Radians as degrees, x 180 / pi.

    >>> ops.rad2deg(born.tensor([0.0], backend))
    Tensor([0.], dtype=float32)
    """
    backend = backend_of("rad2deg", x)
    check_floating("rad2deg", x.raw)
    return Tensor(backend.mul(x.raw, 180.0 / math.pi), backend)


_SINC_TERMS: Final = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(9))
_SINC_RADIUS: Final = 0.5
"""Up to which the series of nine terms is exact, and so are its first derivatives: the terms
left out are below 0.5^18 / 19!, 3e-23."""


@fused_as("sinc")
def _sinc(x: Any) -> Any:
    z = math.pi * x
    near = fusion.abs(z) < _SINC_RADIUS
    squared = fusion.where(near, z * z, 0.0)
    series: Any = _SINC_TERMS[-1]
    for term in reversed(_SINC_TERMS[:-1]):
        series = series * squared + term
    far = fusion.where(near, 1.0, z)
    return fusion.where(near, series, fusion.sin(far) / far)


def sinc(x: Tensor[B]) -> Tensor[B]:
    """sin(pi x) / (pi x), 1 at zero; its derivatives do not lose digits near zero.

    >>> ops.sinc(born.tensor([0.0], backend))
    Tensor([1.], dtype=float32)
    """
    return _sinc(x)


def positive(x: Tensor[B]) -> Tensor[B]:
    """+x, a new tensor of the same numbers.

    >>> ops.positive(born.tensor([1.0, -2.0], backend))
    Tensor([ 1., -2.], dtype=float32)
    """
    return Tensor(backend_of("positive", x).copy(x.raw), x.backend)


def modf(x: Tensor[B]) -> tuple[Tensor[B], Tensor[B]]:
    """The fractional and the whole part, both with the sign of x.

    >>> ops.modf(born.tensor([1.5, -2.25], backend))
    (Tensor([ 0.5 , -0.25], dtype=float32), Tensor([ 1., -2.], dtype=float32))
    """
    whole = trunc(x)
    return where(isinf(x), copysign(0.0, x), x - whole), whole


# -- more functions of two numbers ---------------------------------------------------------


def arctan2(y: Tensor[B] | Scalar, x: Tensor[B] | Scalar) -> Tensor[B]:
    """The angle in [-pi, pi] of the point (x, y), the arctangent of y / x in its quadrant.

    >>> ops.arctan2(born.tensor([0.0], backend), 1.0)
    Tensor([0.], dtype=float32)
    """
    return call_ufunc("arctan2", y, x)


def hypot(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """sqrt(x^2 + y^2) without overflow; its gradient at (0, 0) is zero, as that of `norm`.

    >>> ops.hypot(born.tensor([3.0], backend), 4.0)
    Tensor([5.], dtype=float32)
    """
    return call_ufunc("hypot", x, y)


def fmod(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """x - y trunc(x / y), which has the sign of x, as C's remainder.

    >>> ops.fmod(born.tensor([7.0, -7.0], backend), 3.0)
    Tensor([ 1., -1.], dtype=float32)
    """
    first = x if isinstance(x, Tensor) else y
    if not isinstance(first, Tensor) or first.dtype.kind not in "iu":
        return call_ufunc("fmod", x, y)
    # Of integers: the remainder with the sign of y, less y where the signs differ.
    other = remainder(x, y)
    return where((other != 0) & ((other < 0) != (x < 0)), other - y, other)


def copysign(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """|x| with the sign of y.

    >>> ops.copysign(born.tensor([1.0, 2.0], backend), -0.0)
    Tensor([-1., -2.], dtype=float32)
    """
    return call_ufunc("copysign", x, y)


def _distance(x: Any, y: Any) -> Any:
    """y - x, and NaN only where one of them is: equal infinities have none."""
    return fusion.where(fusion.isfinite(x), y - x, fusion.where(x == y, 0.0, y - x))


def _unless_equal_infinities(x: Any, y: Any, result: Any) -> Any:
    """The result, but the infinity, which is constant, of two equal ones."""
    infinite = fusion.where(x > 0, math.inf, -math.inf)
    same = fusion.where(x == y, infinite, result)
    return fusion.where(fusion.isfinite(x), result, same)


@fused_as("logaddexp")
def _logaddexp(x: Any, y: Any) -> Any:
    distance = _distance(x, y)
    below, above = x + fusion.softplus(distance), y + fusion.softplus(-distance)
    return _unless_equal_infinities(x, y, fusion.where(distance < 0, below, above))


def logaddexp(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """log(e^x + e^y), without overflow; the gradient of two equal infinities is zero.

    >>> ops.logaddexp(born.tensor([1000.0], backend), -1000.0)
    Tensor([1000.], dtype=float32)
    """
    return _logaddexp(x, y)


def logaddexp2(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """log2(2^x + 2^y), without overflow.

    >>> ops.logaddexp2(born.tensor([3.0], backend), 3.0).numpy().round(5)
    array([4.], dtype=float32)
    """
    return _logaddexp2(x, y)


@fused_as("logaddexp2")
def _logaddexp2(x: Any, y: Any) -> Any:
    distance = math.log(2.0) * _distance(x, y)
    below = x + fusion.softplus(distance) / math.log(2.0)
    above = y + fusion.softplus(-distance) / math.log(2.0)
    return _unless_equal_infinities(x, y, fusion.where(distance < 0, below, above))


def fmax(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """The larger of x and y; of NaN and a number, the number.

    >>> ops.fmax(born.tensor([float("nan"), 2.0], backend), 1.0)
    Tensor([1., 2.], dtype=float32)
    """
    return _of_numbers(maximum, *_tensors("fmax", x, y))


def fmin(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """The smaller of x and y; of NaN and a number, the number.

    >>> ops.fmin(born.tensor([float("nan"), 2.0], backend), 1.0)
    Tensor([1., 1.], dtype=float32)
    """
    return _of_numbers(minimum, *_tensors("fmin", x, y))


def _of_numbers(
    function: Callable[[Tensor[B], Tensor[B]], Tensor[B]], x: Tensor[B], y: Tensor[B]
) -> Tensor[B]:
    """A function of two, of the other one twice where one is NaN."""
    return function(where(isnan(x), y, x), where(isnan(y), x, y))


def _tensors(
    name: str, x: Tensor[B] | Scalar, y: Tensor[B] | Scalar
) -> tuple[Tensor[B], Tensor[B]]:
    """Two operands, a number among them as a tensor of no axes."""
    if isinstance(x, Tensor):
        right = operand(x.backend, y, name)
        if not isinstance(right, RawTensor):
            right = x.backend.full((), right, x.dtype)
        return x, Tensor(right, x.backend)
    if isinstance(y, Tensor):
        return Tensor(y.backend.full((), as_number(name, x), y.dtype), y.backend), y
    raise OperandError(
        f"expected at least one tensor in {name}, got {x!r} and {y!r}; "
        "make one with born.tensor(value, backend)"
    )


def heaviside(x: Tensor[B], y: Tensor[B] | Scalar) -> Tensor[B]:
    """0 for x < 0, y for x = 0, 1 for x > 0; its gradient by x is zero.

    >>> ops.heaviside(born.tensor([-2.0, 0.0, 2.0], backend), 0.5)
    Tensor([0. , 0.5, 1. ], dtype=float32)
    """
    x, y = _tensors("heaviside", x, y)
    step = (sign(x) + 1.0) * 0.5
    return where(x == 0, y, step)


def divmod(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> tuple[Tensor[B], Tensor[B]]:
    """`floor_divide` and `remainder` together.

    >>> ops.divmod(born.tensor([7, -7], backend), 3)
    (Tensor([ 2, -3], dtype=int64), Tensor([1, 2], dtype=int64))
    """
    return floor_divide(x, y), remainder(x, y)


# -- tests of each element ------------------------------------------------------------------


def isnan(x: Tensor[B]) -> Tensor[B]:
    """Whether each element is not a number.

    >>> ops.isnan(born.tensor([1.0, float("nan")], backend))
    Tensor([False,  True], dtype=bool)
    """
    backend = backend_of("isnan", x)
    return Tensor(backend.not_equal(x.raw, x.raw), backend)


def isinf(x: Tensor[B]) -> Tensor[B]:
    """Whether each element is infinite, of either sign.

    >>> ops.isinf(born.tensor([1.0, float("-inf")], backend))
    Tensor([False,  True], dtype=bool)
    """
    return abs(x) == math.inf


def isposinf(x: Tensor[B]) -> Tensor[B]:
    """Whether each element is positive infinity.

    >>> ops.isposinf(born.tensor([float("inf"), float("-inf")], backend))
    Tensor([ True, False], dtype=bool)
    """
    return equal(x, math.inf)


def isneginf(x: Tensor[B]) -> Tensor[B]:
    """Whether each element is negative infinity.

    >>> ops.isneginf(born.tensor([float("inf"), float("-inf")], backend))
    Tensor([False,  True], dtype=bool)
    """
    return equal(x, -math.inf)


def signbit(x: Tensor[B]) -> Tensor[B]:
    """Whether each element is negative, -0.0 too.

    >>> ops.signbit(born.tensor([-0.0, 0.0], backend))
    Tensor([ True, False], dtype=bool)
    """
    return copysign(1.0, x) < 0


def logical_xor(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether one of two elements is non-zero, and the other is zero.

    >>> ops.logical_xor(born.tensor([0.0, 2.0], backend), 1)
    Tensor([ True, False], dtype=bool)
    """
    return logical_and(logical_or(x, y), logical_not(logical_and(x, y)))


def isclose(
    x: Tensor[B],
    y: Tensor[B] | Scalar,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> Tensor[B]:
    """Whether |x - y| <= atol + rtol |y|, element by element; equal infinities are close.

    Args:
        x, y: what to compare; they broadcast.
        rtol, atol: the tolerances, NumPy's by default.
        equal_nan: whether NaN is close to NaN.

    >>> ops.isclose(born.tensor([1.0, 2.0], backend), 1.000001)
    Tensor([ True, False], dtype=bool)
    """
    x, y = _tensors("isclose", x, y)
    if x.dtype.kind in INTEGRAL:
        x, y = x.astype("float64"), y.astype("float64")
    near = logical_and(abs(x - y) <= abs(y) * rtol + atol, isfinite(y))
    near = logical_or(near, equal(x, y))
    return logical_or(near, logical_and(isnan(x), isnan(y))) if equal_nan else near


def allclose(
    x: Tensor[B],
    y: Tensor[B] | Scalar,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> Tensor[B]:
    """Whether all elements are close, as `isclose` has it; a tensor of no axes, as `if` takes it.

    >>> ops.allclose(born.tensor([1.0, 2.0], backend), born.tensor([1.0, 2.0], backend))
    Tensor(True, dtype=bool)
    """
    close = isclose(x, y, rtol, atol, equal_nan)
    return Tensor(close.backend.all(close.raw), close.backend)


def array_equal(x: Tensor[B], y: Tensor[B]) -> bool:
    """Whether two tensors have one shape and equal elements.

    >>> ops.array_equal(born.zeros(2, backend), born.zeros(3, backend))
    False
    """
    if x.shape != y.shape:
        return False
    same = equal(x, y)
    return bool(Tensor(same.backend.all(same.raw), same.backend))


_LARGEST: Final = {
    "float64": 1.7976931348623157e308,
    "float32": 3.4028234663852886e38,
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
}


def nan_to_num(
    x: Tensor[B], nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor[B]:
    """x with NaN and infinities replaced by numbers, to which no gradient goes.

    Args:
        x: a tensor; of integers it is a copy.
        nan: what stands for NaN, 0 by default.
        posinf, neginf: what stands for infinities; the dtype's largest number by default.

    >>> ops.nan_to_num(born.tensor([float("nan"), float("inf"), 1.0], backend), posinf=9.0)
    Tensor([0., 9., 1.], dtype=float32)
    """
    backend_of("nan_to_num", x)
    if x.dtype.kind in INTEGRAL:
        return positive(x)
    largest = _LARGEST[x.dtype.name]
    x = where(isnan(x), nan, x)
    x = where(isposinf(x), largest if posinf is None else posinf, x)
    return where(isneginf(x), -largest if neginf is None else neginf, x)
