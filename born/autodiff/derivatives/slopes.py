"""The slopes of `ufunc`'s functions: a line for each, of a formula or of a backend's operations.

A formula of `born.fusion` takes the operands to the slope, and passes a gradient back in one loop.
What such a formula cannot say takes a backend, the gradient of the result and the operands to the
gradient. Either has derivatives of all orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from born.autodiff.derivatives.registrars import Required
from born.backend import Backend
from born.errors import TapeError
from born.fusion import Formula, abs, exp, sqrt, trace_formula
from born.raw import RawTensor

Slope: TypeAlias = (
    Callable[[Backend, RawTensor, RawTensor], RawTensor]
    | Callable[[Backend, RawTensor, RawTensor, RawTensor], RawTensor]
    | Callable[[Backend, RawTensor, RawTensor, RawTensor, RawTensor], RawTensor]
)
"""From a backend, the gradient of the result and the operands to the gradient of one of them."""

_AnySlope: TypeAlias = Callable[..., RawTensor]

FLAT: Final = frozenset(("ceil", "floor", "gammasgn", "rint", "trunc"))
"""The functions of steps, whose slope is zero wherever they have one."""

SLOPES: Final[dict[str, tuple[Slope | None, ...]]] = {}
"""Function -> its slope by each operand, None where no closed form is known."""

_LN_2: Final = math.log(2.0)
_LN_10: Final = math.log(10.0)
_TWO_OVER_ROOT_PI: Final = 2.0 / math.sqrt(math.pi)
_ROOT_TWO_PI: Final = math.sqrt(2.0 * math.pi)


def slopes_of(name: str, required: Required) -> Sequence[_AnySlope | None]:
    """The slopes of a function, of which those that are required are known."""
    slopes: Sequence[_AnySlope | None] = SLOPES[name]
    for place, wanted in enumerate(required):
        if wanted and slopes[place] is None:
            raise TapeError(
                f"expected a constant as operand {place} of {name}, by which no derivative is "
                "known in closed form, got a tensor that requires a gradient; use .detach()"
            )
    return slopes


def _of_formula(
    slope: Callable[[Any], Any] | Callable[[Any, Any], Any], count: int = 1
) -> _AnySlope:
    """The gradient times a formula of the operands."""

    of: Callable[..., Any] = slope

    @cache
    def formula() -> Formula:
        def gradient(g: Any, *xs: Any) -> Any:
            return g * of(*xs)

        return trace_formula(gradient, dict.fromkeys(("g", "x", "y")[: count + 1], False))

    def gradient_of(b: Backend, g: RawTensor, *xs: RawTensor) -> RawTensor:
        return b.fused(formula(), (g, *xs))[0]

    return gradient_of


def _zero(b: Backend, g: RawTensor, *operands: RawTensor) -> RawTensor:
    return b.zeros(g.shape, g.dtype)


# -- NumPy's -------------------------------------------------------------------------------

_FORMULAS: Final[dict[str, Callable[[Any], Any]]] = {
    "arccos": lambda x: -1.0 / sqrt((1.0 - x) * (1.0 + x)),
    "arccosh": lambda x: 1.0 / (sqrt(x - 1.0) * sqrt(x + 1.0)),
    "arcsin": lambda x: 1.0 / sqrt((1.0 - x) * (1.0 + x)),
    "arcsinh": lambda x: 1.0 / sqrt(1.0 + x * x),
    "arctan": lambda x: 1.0 / (1.0 + x * x),
    "arctanh": lambda x: 1.0 / ((1.0 - x) * (1.0 + x)),
    "cbrt": lambda x: abs(x) ** (-2.0 / 3.0) / 3.0,
    "erfc": lambda x: -_TWO_OVER_ROOT_PI * exp(-(x * x)),
    "exp1": lambda x: -exp(-x) / x,
    "expi": lambda x: exp(x) / x,
    "log10": lambda x: 1.0 / (_LN_10 * x),
    "log2": lambda x: 1.0 / (_LN_2 * x),
    "ndtr": lambda x: exp(-0.5 * x * x) / _ROOT_TWO_PI,
}
SLOPES.update({name: (_of_formula(slope),) for name, slope in _FORMULAS.items()})


def _times(name: str, factor: float = 1.0) -> _AnySlope:
    """The slope that is another function of the same operands."""

    def slope(b: Backend, g: RawTensor, *xs: RawTensor) -> RawTensor:
        y = b.ufunc(name, *xs)
        return b.mul(g, y if factor == 1.0 else b.mul(y, factor))

    return slope


def _tan(b: Backend, g: RawTensor, x: RawTensor) -> RawTensor:
    y = b.ufunc("tan", x)
    return b.mul(g, b.add(b.mul(y, y), 1.0))


def _hypot(b: Backend, g: RawTensor, x: RawTensor, y: RawTensor) -> RawTensor:
    """Zero where both are, as that of `norm`, and NaN for the second derivative there."""
    length = b.ufunc("hypot", x, y)
    zero = b.equal(length, 0)
    unit = b.div(x, b.where(zero, 1, length))
    return b.mul(g, b.mul(unit, b.where(zero, b.sqrt(length), 1)))


def _copysign(b: Backend, g: RawTensor, x: RawTensor, y: RawTensor) -> RawTensor:
    one = b.full((), 1.0, x.dtype)
    return b.mul(g, b.mul(b.sign(x), b.ufunc("copysign", one, y)))


SLOPES.update(
    {
        "arctan2": (
            _of_formula(lambda y, x: x / (x * x + y * y), 2),
            _of_formula(lambda y, x: -y / (x * x + y * y), 2),
        ),
        "copysign": (_copysign, _zero),
        "cosh": (_times("sinh"),),
        "exp2": (_times("exp2", _LN_2),),
        "fmod": (
            lambda b, g, x, y: g,
            lambda b, g, x, y: b.neg(b.mul(g, b.ufunc("trunc", b.div(x, y)))),
        ),
        "hypot": (_hypot, lambda b, g, x, y: _hypot(b, g, y, x)),
        "sinh": (_times("cosh"),),
        "tan": (_tan,),
    }
)

# -- SciPy's -------------------------------------------------------------------------------


def _inverse(name: str, factor: float, power: float) -> Slope:
    """The slope of an inverse y of a normal integral: factor exp(power y^2)."""

    def slope(b: Backend, g: RawTensor, x: RawTensor) -> RawTensor:
        y = b.ufunc(name, x)
        return b.mul(g, b.mul(b.exp(b.mul(b.mul(y, y), power)), factor))

    return slope


def _zeta(b: Backend, g: RawTensor, s: RawTensor, q: RawTensor) -> RawTensor:
    return b.neg(b.mul(g, b.mul(s, b.ufunc("zeta", b.add(s, 1.0), q))))


def _digamma(b: Backend, g: RawTensor, x: RawTensor) -> RawTensor:
    return b.mul(g, b.ufunc("zeta", b.full((), 2.0, x.dtype), x))


def _through_digamma(name: str, factor: float) -> Slope:
    return lambda b, g, x: b.mul(g, b.mul(b.mul(b.ufunc(name, x), b.ufunc("digamma", x)), factor))


def _betaln(b: Backend, g: RawTensor, x: RawTensor, y: RawTensor) -> RawTensor:
    return b.mul(g, b.sub(b.ufunc("digamma", x), b.ufunc("digamma", b.add(x, y))))


def _beta(b: Backend, g: RawTensor, x: RawTensor, y: RawTensor) -> RawTensor:
    return b.mul(_betaln(b, g, x, y), b.ufunc("beta", x, y))


def _xlogy(b: Backend, x: RawTensor, log_y: RawTensor) -> RawTensor:
    """x times a logarithm, zero where x is."""
    zero = b.equal(x, 0)
    return b.where(zero, 0, b.mul(x, b.where(zero, 0, log_y)))


def _gammainc(sign: float) -> Slope:
    def slope(b: Backend, g: RawTensor, a: RawTensor, x: RawTensor) -> RawTensor:
        power = _xlogy(b, b.sub(a, 1.0), b.log(x))
        density = b.exp(b.sub(b.sub(power, x), b.ufunc("gammaln", a)))
        return b.mul(g, b.mul(density, sign))

    return slope


def _betainc(b: Backend, g: RawTensor, p: RawTensor, q: RawTensor, x: RawTensor) -> RawTensor:
    powers = b.add(_xlogy(b, b.sub(p, 1.0), b.log(x)), _xlogy(b, b.sub(q, 1.0), b.log1p(b.neg(x))))
    return b.mul(g, b.exp(b.sub(powers, b.ufunc("betaln", p, q))))


def _erfcx(b: Backend, g: RawTensor, x: RawTensor) -> RawTensor:
    twice = b.mul(b.mul(x, b.ufunc("erfcx", x)), 2.0)
    return b.mul(g, b.sub(twice, _TWO_OVER_ROOT_PI))


def _log_ndtr(b: Backend, g: RawTensor, x: RawTensor) -> RawTensor:
    """The normal density over the distribution, which the scaled erfc does not lose far out."""
    scaled = b.ufunc("erfcx", b.mul(x, -math.sqrt(0.5)))
    return b.mul(g, b.div(math.sqrt(2.0 / math.pi), scaled))


def _first_order(zeroth: str, first: str, decay: float = 0.0) -> Slope:
    """The slope of a Bessel function of order 1: that of order 0 less itself over x, 1/2 at 0."""

    def slope(b: Backend, g: RawTensor, x: RawTensor) -> RawTensor:
        zero, y = b.equal(x, 0), b.ufunc(first, x)
        over = b.where(zero, 0.5, b.div(y, b.where(zero, 1, x)))
        found = b.sub(b.ufunc(zeroth, x), over)
        return b.mul(g, b.sub(found, b.mul(b.sign(x), y)) if decay else found)

    return slope


def _macdonald(b: Backend, g: RawTensor, x: RawTensor, scaled: str = "") -> RawTensor:
    """The slope of k1, or of k1 exp(x)."""
    y = b.ufunc(f"k1{scaled}", x)
    found = b.neg(b.add(b.ufunc(f"k0{scaled}", x), b.div(y, x)))
    return b.mul(g, b.add(found, y) if scaled else found)


def _order(name: str, sign: float, scaled: bool = False) -> Slope:
    """The slope of a Bessel function by its argument: half of those of neighbouring orders."""

    def slope(b: Backend, g: RawTensor, v: RawTensor, x: RawTensor) -> RawTensor:
        before, after = (b.ufunc(name, b.add(v, step), x) for step in (-1.0, 1.0))
        found = b.mul(b.add(before, b.mul(after, sign)), 0.5)
        if scaled:
            found = b.sub(found, b.mul(b.sign(x), b.ufunc(name, v, x)))
        return b.mul(g, found)

    return slope


SLOPES.update(
    {
        "beta": (_beta, lambda b, g, x, y: _beta(b, g, y, x)),
        "betainc": (None, None, _betainc),
        "betaln": (_betaln, lambda b, g, x, y: _betaln(b, g, y, x)),
        "digamma": (_digamma,),
        "erfcinv": (_inverse("erfcinv", -1.0 / _TWO_OVER_ROOT_PI, 1.0),),
        "erfcx": (_erfcx,),
        "erfinv": (_inverse("erfinv", 1.0 / _TWO_OVER_ROOT_PI, 1.0),),
        "gamma": (_through_digamma("gamma", 1.0),),
        "gammainc": (None, _gammainc(1.0)),
        "gammaincc": (None, _gammainc(-1.0)),
        "gammaln": (_times("digamma"),),
        "i0": (_times("i1"),),
        "i0e": (
            lambda b, g, x: b.mul(g, b.sub(b.ufunc("i1e", x), b.mul(b.sign(x), b.ufunc("i0e", x)))),
        ),
        "i1": (_first_order("i0", "i1"),),
        "i1e": (_first_order("i0e", "i1e", decay=1.0),),
        "iv": (None, _order("iv", 1.0)),
        "ive": (None, _order("ive", 1.0, scaled=True)),
        "j0": (_times("j1", -1.0),),
        "j1": (_first_order("j0", "j1"),),
        "jv": (None, _order("jv", -1.0)),
        "k0": (_times("k1", -1.0),),
        "k0e": (lambda b, g, x: b.mul(g, b.sub(b.ufunc("k0e", x), b.ufunc("k1e", x))),),
        "k1": (_macdonald,),
        "k1e": (lambda b, g, x: _macdonald(b, g, x, "e"),),
        "log_ndtr": (_log_ndtr,),
        "ndtri": (_inverse("ndtri", _ROOT_TWO_PI, 0.5),),
        "rgamma": (_through_digamma("rgamma", -1.0),),
        "y0": (_times("y1", -1.0),),
        "y1": (_first_order("y0", "y1"),),
        "yn": (None, _order("yn", -1.0)),
        "zeta": (None, _zeta),
    }
)
