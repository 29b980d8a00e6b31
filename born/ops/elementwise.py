"""Arithmetic, functions, comparison and logic of each element."""

from __future__ import annotations

from born.backend import Approximation, B, Scalar
from born.errors import OperandError
from born.operands import as_number, backend_of, operand
from born.tensor import Tensor


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
