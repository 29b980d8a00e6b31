"""More of the maths of formulas: what activations and losses are made of.

Each takes Python numbers and gives one, or asks anything like `Value`, as the functions of
`born.fusion.expression` do.
"""

from __future__ import annotations

import math
from typing import Any, Final, overload

from born.fusion.expression import V, exp, maximum, where


@overload
def expm1(x: float, /) -> float: ...
@overload
def expm1(x: V, /) -> V: ...
def expm1(x: Any, /) -> Any:
    """exp(x) - 1, exact near zero.

    >>> expm1(0.0)
    0.0
    """
    return math.expm1(x) if isinstance(x, (int, float)) else x.expm1()


@overload
def log1p(x: float, /) -> float: ...
@overload
def log1p(x: V, /) -> V: ...
def log1p(x: Any, /) -> Any:
    """log(1 + x), exact near zero.

    >>> log1p(0.0)
    0.0
    """
    return math.log1p(x) if isinstance(x, (int, float)) else x.log1p()


@overload
def sin(x: float, /) -> float: ...
@overload
def sin(x: V, /) -> V: ...
def sin(x: Any, /) -> Any:
    """The sine of x in radians.

    >>> sin(0.0)
    0.0
    """
    return math.sin(x) if isinstance(x, (int, float)) else x.sin()


@overload
def cos(x: float, /) -> float: ...
@overload
def cos(x: V, /) -> V: ...
def cos(x: Any, /) -> Any:
    """The cosine of x in radians.

    >>> cos(0.0)
    1.0
    """
    return math.cos(x) if isinstance(x, (int, float)) else x.cos()


@overload
def tanh(x: float, /) -> float: ...
@overload
def tanh(x: V, /) -> V: ...
def tanh(x: Any, /) -> Any:
    """The hyperbolic tangent.

    >>> tanh(0.0)
    0.0
    """
    return math.tanh(x) if isinstance(x, (int, float)) else x.tanh()


@overload
def erf(x: float, /) -> float: ...
@overload
def erf(x: V, /) -> V: ...
def erf(x: Any, /) -> Any:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    >>> erf(0.0)
    0.0
    """
    return math.erf(x) if isinstance(x, (int, float)) else x.erf()


@overload
def sigmoid(x: float, /) -> float: ...
@overload
def sigmoid(x: V, /) -> V: ...
def sigmoid(x: Any, /) -> Any:
    """The logistic function 1 / (1 + exp(-x)), without overflow on either side.

    >>> sigmoid(0.0)
    0.5
    """
    return _sigmoid(x) if isinstance(x, (int, float)) else x.sigmoid()


@overload
def softplus(x: float, /) -> float: ...
@overload
def softplus(x: V, /) -> V: ...
def softplus(x: Any, /) -> Any:
    """log(1 + exp(x)), without overflow.

    >>> softplus(1000.0)
    1000.0
    """
    return _softplus(x) if isinstance(x, (int, float)) else x.softplus()


@overload
def relu(x: float, /) -> float: ...
@overload
def relu(x: V, /) -> V: ...
def relu(x: Any, /) -> Any:
    """max(x, 0); its derivative at zero is zero.

    >>> relu(-2.0)
    0.0
    """
    return maximum(x, 0.0) if isinstance(x, (int, float)) else x.relu()


@overload
def clip(x: float, /, low: float | None = None, high: float | None = None) -> float: ...
@overload
def clip(x: V, /, low: V | float | None = None, high: V | float | None = None) -> V: ...
def clip(x: Any, /, low: Any = None, high: Any = None) -> Any:
    """x held between two bounds, of which None leaves a side open; NaN stays NaN.

    The derivative is one where low <= x <= high.

    >>> clip(5.0, 0.0, 1.0)
    1.0
    """
    if low is not None:
        x = where(x < low, low, x)
    return x if high is None else where(x > high, high, x)


@overload
def silu(x: float, /) -> float: ...
@overload
def silu(x: V, /) -> V: ...
def silu(x: Any, /) -> Any:
    """x sigmoid(x) (Elfwing et al., 2017, arXiv:1702.03118).

    >>> silu(0.0)
    0.0
    """
    return x * sigmoid(x)


@overload
def gelu(x: float, /) -> float: ...
@overload
def gelu(x: V, /) -> V: ...
def gelu(x: Any, /) -> Any:
    """x Phi(x), Phi the normal distribution function.

    Source: Hendrycks and Gimpel (2016), arXiv:1606.08415, section 2.

    >>> gelu(0.0)
    0.0
    """
    return 0.5 * x * (1 + erf(x * SQRT_HALF))


@overload
def gelu_tanh(x: float, /) -> float: ...
@overload
def gelu_tanh(x: V, /) -> V: ...
def gelu_tanh(x: Any, /) -> Any:
    """`gelu` with Phi approximated by a hyperbolic tangent, as the same section has it.

    >>> gelu_tanh(0.0)
    0.0
    """
    return 0.5 * x * (1 + tanh(SQRT_TWO_OVER_PI * x * (1 + GELU_CUBIC * x * x)))


SQRT_HALF: Final = math.sqrt(0.5)
SQRT_TWO_OVER_PI: Final = math.sqrt(2.0 / math.pi)
GELU_CUBIC: Final = 0.044715  # Hendrycks and Gimpel (2016), section 2


def _sigmoid(x: float) -> float:
    decay = exp(-math.fabs(x))
    return (1.0 if x >= 0 else decay) / (1.0 + decay)


def _softplus(x: float) -> float:
    return maximum(x, 0.0) + math.log1p(exp(-math.fabs(x)))
