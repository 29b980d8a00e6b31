"""Elementwise operations: arithmetic, functions, activations, comparison and logic."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from born.backend.arguments import Operand, Scalar, check_approximation, check_floating
from born.backend.contract.operation import absent, like, optional, required
from born.backend.contract.primitives import Primitives
from born.dtypes import INTEGRAL
from born.fusion import activations
from born.raw import RawTensor

Approximation: TypeAlias = Literal["none", "tanh"]


class Ufunc(NamedTuple):
    """A function of each element that other libraries compute.

    Attributes:
        operands: how many it takes.
        special: whether it is one of `scipy.special`, not of NumPy.
    """

    operands: int
    special: bool = False


_NUMPY_1: Final = """
arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil cosh exp2 floor log10 log2 rint sinh tan
trunc
"""
_NUMPY_2: Final = "arctan2 copysign fmod hypot"
_SPECIAL_1: Final = """
digamma erfc erfcinv erfcx erfinv exp1 expi gamma gammaln gammasgn i0 i0e i1 i1e j0 j1 k0 k0e k1
k1e log_ndtr ndtr ndtri rgamma y0 y1
"""
_SPECIAL_2: Final = "beta betaln gammainc gammaincc iv ive jv yn zeta"
_SPECIAL_3: Final = "betainc"

UFUNCS: Final[dict[str, Ufunc]] = {
    **dict.fromkeys(_NUMPY_1.split(), Ufunc(1)),
    **dict.fromkeys(_NUMPY_2.split(), Ufunc(2)),
    **dict.fromkeys(_SPECIAL_1.split(), Ufunc(1, special=True)),
    **dict.fromkeys(_SPECIAL_2.split(), Ufunc(2, special=True)),
    **dict.fromkeys(_SPECIAL_3.split(), Ufunc(3, special=True)),
}
"""The functions of `ufunc`, by their names in NumPy or in `scipy.special`."""


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
    floor_divide = like(add, "floor_divide", "The largest integer that is not above x / y.")
    remainder = like(add, "remainder", "x - y floor(x / y), which has the sign of y.")
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
        check_floating("rsqrt", x)
        return self.div(1.0, self.sqrt(x))

    @required
    def ufunc(self, name: str, /, *operands: RawTensor) -> RawTensor:
        """The function of this name in `UFUNCS`, of floating tensors that broadcast."""
        absent()

    @required
    def where(self, condition: RawTensor, x: Operand, y: Operand, /) -> RawTensor:
        """x where the condition holds, y elsewhere; at least one of the two is a tensor."""
        absent()

    @optional
    def clamp(
        self, x: RawTensor, /, low: Scalar | None = None, high: Scalar | None = None
    ) -> RawTensor:
        """x held between two numbers; None leaves that side open."""
        if isinstance(low, float) or isinstance(high, float):
            check_floating("clamp", x)
        if low is not None:
            x = self.maximum(x, low)
        if high is not None:
            return self.minimum(x, high)
        return x if low is not None else self.reshape(x, x.shape)

    @optional
    def sigmoid(self, x: RawTensor, /) -> RawTensor:
        """1 / (1 + exp(-x)), without overflow on either side."""
        check_floating("sigmoid", x)
        return self.fused(activations.SIGMOID, (x,))[0]

    @optional
    def relu(self, x: RawTensor, /) -> RawTensor:
        """max(x, 0)."""
        if x.array.dtype.kind in INTEGRAL:
            return self.maximum(x, 0)
        return self.fused(activations.RELU, (x,))[0]

    @optional
    def silu(self, x: RawTensor, /) -> RawTensor:
        """x sigmoid(x)."""
        check_floating("silu", x)
        return self.fused(activations.SILU, (x,))[0]

    @optional
    def gelu(self, x: RawTensor, /, approximate: Approximation = "none") -> RawTensor:
        """x Phi(x), Phi the normal distribution function, exact or by its tanh approximation."""
        check_floating("gelu", x)
        check_approximation(approximate)
        formula = activations.GELU if approximate == "none" else activations.GELU_TANH
        return self.fused(formula, (x,))[0]

    @optional
    def softplus(self, x: RawTensor, /) -> RawTensor:
        """log(1 + exp(x)), without overflow."""
        check_floating("softplus", x)
        return self.fused(activations.SOFTPLUS, (x,))[0]

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
