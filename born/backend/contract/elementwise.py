"""Elementwise operations: arithmetic, functions, activations, comparison and logic."""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias

from born.backend.arguments import Operand, Scalar, check_approximation
from born.backend.contract.operation import absent, like, optional, required
from born.backend.contract.primitives import Primitives
from born.raw import RawTensor

Approximation: TypeAlias = Literal["none", "tanh"]

SQRT_HALF: Final = math.sqrt(0.5)
SQRT_TWO_OVER_PI: Final = math.sqrt(2.0 / math.pi)
GELU_CUBIC: Final = 0.044715  # Hendrycks and Gimpel (2016), arXiv:1606.08415, section 2


class Elementwise(Primitives):
    """Operations on each element, whose operands broadcast as in NumPy."""

    @required
    def add(self, x: Operand, y: Operand, /) -> RawTensor:
        """x + y."""
        absent()

    sub = like(add, "sub", "x - y.")
    mul = like(add, "mul", "x y.")
    div = like(add, "div", "x / y, of floating dtypes.")
    pow = like(add, "pow", "x to the power of y.")
    maximum = like(add, "maximum", "The larger of x and y; NaN where either is.")
    minimum = like(add, "minimum", "The smaller of x and y; NaN where either is.")

    @required
    def neg(self, x: RawTensor, /) -> RawTensor:
        """-x."""
        absent()

    abs = like(neg, "abs", "|x|.")
    sign = like(neg, "sign", "-1, 0 or 1.")
    exp = like(neg, "exp", "e to the x.")
    expm1 = like(neg, "expm1", "exp(x) - 1, exact near zero.")
    log = like(neg, "log", "The natural logarithm.")
    log1p = like(neg, "log1p", "log(1 + x), exact near zero.")
    sqrt = like(neg, "sqrt", "The square root.")
    sin = like(neg, "sin", "The sine of x in radians.")
    cos = like(neg, "cos", "The cosine of x in radians.")
    tanh = like(neg, "tanh", "The hyperbolic tangent.")
    erf = like(neg, "erf", "The error function, exact to the dtype's precision.")

    @optional
    def rsqrt(self, x: RawTensor, /) -> RawTensor:
        """1 / sqrt(x)."""
        return self.div(1.0, self.sqrt(x))

    @required
    def where(self, condition: RawTensor, x: Operand, y: Operand, /) -> RawTensor:
        """x where the condition holds, y elsewhere; at least one of the two is a tensor."""
        absent()

    @optional
    def clamp(
        self, x: RawTensor, /, low: Scalar | None = None, high: Scalar | None = None
    ) -> RawTensor:
        """x held between two numbers; None leaves that side open."""
        if low is not None:
            x = self.maximum(x, low)
        if high is not None:
            return self.minimum(x, high)
        return x if low is not None else self.reshape(x, x.shape)

    @optional
    def sigmoid(self, x: RawTensor, /) -> RawTensor:
        """1 / (1 + exp(-x)), without overflow on either side."""
        decay = self.exp(self.neg(self.abs(x)))
        numerator = self.where(self.greater_equal(x, 0.0), 1.0, decay)
        return self.div(numerator, self.add(decay, 1.0))

    @optional
    def relu(self, x: RawTensor, /) -> RawTensor:
        """max(x, 0)."""
        return self.maximum(x, 0)

    @optional
    def relu_backward(self, g: RawTensor, y: RawTensor, /) -> RawTensor:
        """The gradient of `relu` where its result is `y`, times `g`; NaN where that is NaN."""
        # Where it is not positive, a result of relu is zero or NaN.
        return self.where(self.greater(y, 0), g, y)

    @optional
    def silu(self, x: RawTensor, /) -> RawTensor:
        """x sigmoid(x)."""
        return self.mul(x, self.sigmoid(x))

    @optional
    def gelu(self, x: RawTensor, /, approximate: Approximation = "none") -> RawTensor:
        """x Phi(x), Phi the normal distribution function, exact or by its tanh approximation."""
        check_approximation(approximate)
        if approximate == "none":
            twice_phi = self.add(self.erf(self.mul(x, SQRT_HALF)), 1.0)
        else:
            cubed = self.mul(self.mul(x, x), x)
            inner = self.mul(self.add(x, self.mul(cubed, GELU_CUBIC)), SQRT_TWO_OVER_PI)
            twice_phi = self.add(self.tanh(inner), 1.0)
        return self.mul(self.mul(x, 0.5), twice_phi)

    @optional
    def gelu_backward(
        self, g: RawTensor, x: RawTensor, /, approximate: Approximation = "none"
    ) -> RawTensor:
        """The gradient of `gelu` at `x`, times `g`."""
        squared = self.mul(x, x)
        if approximate == "none":
            phi = self.mul(self.add(self.erf(self.mul(x, SQRT_HALF)), 1.0), 0.5)
            density = self.mul(self.exp(self.mul(squared, -0.5)), 1.0 / math.sqrt(2.0 * math.pi))
            return self.mul(g, self.add(phi, self.mul(x, density)))
        inner = self.mul(
            self.mul(x, self.add(self.mul(squared, GELU_CUBIC), 1.0)), SQRT_TWO_OVER_PI
        )
        t = self.tanh(inner)
        phi = self.mul(self.add(t, 1.0), 0.5)
        inner_slope = self.mul(
            self.add(self.mul(squared, 3.0 * GELU_CUBIC), 1.0), 0.5 * SQRT_TWO_OVER_PI
        )
        slope = self.mul(self.sub(1.0, self.mul(t, t)), inner_slope)
        return self.mul(g, self.add(phi, self.mul(x, slope)))

    @optional
    def softplus(self, x: RawTensor, /) -> RawTensor:
        """log(1 + exp(x)), without overflow."""
        return self.add(self.maximum(x, 0.0), self.log1p(self.exp(self.neg(self.abs(x)))))

    equal = like(add, "equal", "x == y.")
    not_equal = like(add, "not_equal", "x != y.")
    less = like(add, "less", "x < y.")
    less_equal = like(add, "less_equal", "x <= y.")
    greater = like(add, "greater", "x > y.")
    greater_equal = like(add, "greater_equal", "x >= y.")
    logical_and = like(add, "logical_and", "Whether both are non-zero.")
    logical_or = like(add, "logical_or", "Whether either is non-zero.")
    logical_not = like(neg, "logical_not", "Whether x is zero.")
    isfinite = like(neg, "isfinite", "Whether x is neither infinite nor NaN.")
