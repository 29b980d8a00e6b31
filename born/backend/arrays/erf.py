"""The error function for namespaces that have none, exact to double precision.

The rational approximations are those of FreeBSD's msun, `s_erf.c` (Sun Microsystems, 1993),
evaluated on every element and then selected. Where |x| is large the exponential is plain
`exp(-x**2)`: erf is one minus a small number there, whose rounding hides that of the exponential.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from born.raw import Array

_NEAR_P: Final = (
    1.28379167095512558561e-01,
    -3.25042107247001499370e-01,
    -2.84817495755985104766e-02,
    -5.77027029648944159157e-03,
    -2.37630166566501626084e-05,
)
_NEAR_Q: Final = (
    1.0,
    3.97917223959155352819e-01,
    6.50222499887672944485e-02,
    5.08130628187576562776e-03,
    1.32494738004321644526e-04,
    -3.96022827877536812320e-06,
)
_ONE_OFFSET: Final = 8.45062911510467529297e-01
_ONE_P: Final = (
    -2.36211856075265944077e-03,
    4.14856118683748331666e-01,
    -3.72207876035701323847e-01,
    3.18346619901161753674e-01,
    -1.10894694282396677476e-01,
    3.54783043256182359371e-02,
    -2.16637559486879084300e-03,
)
_ONE_Q: Final = (
    1.0,
    1.06420880400844228286e-01,
    5.40397917702171048937e-01,
    7.18286544141962662868e-02,
    1.26171219808761642112e-01,
    1.36370839120290507362e-02,
    1.19844998467991074170e-02,
)
_FAR_P: Final = (
    -9.86494403484714822705e-03,
    -6.93858572707181764372e-01,
    -1.05586262253232909814e01,
    -6.23753324503260060396e01,
    -1.62396669462573470355e02,
    -1.84605092906711035994e02,
    -8.12874355063065934246e01,
    -9.81432934416914548592e00,
)
_FAR_Q: Final = (
    1.0,
    1.96512716674392571292e01,
    1.37657754143519042600e02,
    4.34565877475229228821e02,
    6.45387271733267880336e02,
    4.29008140027567833386e02,
    1.08635005541779435134e02,
    6.57024977031928170135e00,
    -6.04244152148580987438e-02,
)
_NEAR_LIMIT: Final = 0.84375
_ONE_LIMIT: Final = 1.25
_FAR_LIMIT: Final = 1.0 / 0.35
_SATURATED: Final = 5.9215871957945083  # erf rounds to one in double beyond this
_TAIL_LIMIT: Final = 6.0
_TAIL_P: Final = (
    -9.86494292470009928597e-03,
    -7.99283237680523006574e-01,
    -1.77579549177547519889e01,
    -1.60636384855821916062e02,
    -6.37566443368389627722e02,
    -1.02509513161107724954e03,
    -4.83519191608651397019e02,
)
_TAIL_Q: Final = (
    1.0,
    3.03380607434824582924e01,
    3.25792512996573918826e02,
    1.53672958608443695994e03,
    3.19985821950859553908e03,
    2.55305040643316442583e03,
    4.74528541206955367215e02,
    -2.24409524465858183362e01,
)


def erf(xp: Any, x: Array) -> Array:
    """The error function of a float64 array, in the namespace `xp` (NumPy or one like it).

    Within one unit in the last place of double precision; odd, 1 at infinity, NaN at NaN.
    """
    a = xp.abs(x)
    near = xp.minimum(a, _NEAR_LIMIT)
    squared = near * near
    y = near + near * (_horner(squared, _NEAR_P) / _horner(squared, _NEAR_Q))
    if (a >= _NEAR_LIMIT).any():
        one = xp.clip(a, _NEAR_LIMIT, _ONE_LIMIT) - 1.0
        middle = _ONE_OFFSET + _horner(one, _ONE_P) / _horner(one, _ONE_Q)
        y = xp.where(a < _NEAR_LIMIT, y, middle)
        far = _complement(xp, xp.clip(a, _ONE_LIMIT, _FAR_LIMIT), _FAR_P, _FAR_Q)
        tail = _complement(xp, xp.clip(a, _FAR_LIMIT, _TAIL_LIMIT), _TAIL_P, _TAIL_Q)
        y = xp.where(a < _ONE_LIMIT, y, 1.0 - xp.where(a < _FAR_LIMIT, far, tail))
        y = xp.where(a < _SATURATED, y, xp.where(xp.isnan(a), a, 1.0))
    return xp.copysign(y, x)


def _complement(xp: Any, a: Array, p: Sequence[float], q: Sequence[float]) -> Array:
    """1 - erf(a) for `a` from 1.25 up."""
    inverse = 1.0 / (a * a)
    return xp.exp(-a * a - 0.5625 + _horner(inverse, p) / _horner(inverse, q)) / a


def _horner(x: Array, coefficients: Sequence[float]) -> Array:
    """The polynomial with these coefficients, the constant first."""
    y = x * coefficients[-1]
    for coefficient in reversed(coefficients[1:-1]):
        y += coefficient
        y *= x
    y += coefficients[0]
    return y


def erf_float32(xp: Any, x: Array) -> Array:
    """The error function of a float32 array in float32, within 1.5 units in the last place.

    The polynomials are N. Juffa's (stackoverflow.com/a/35148199).
    """
    a = xp.minimum(xp.abs(x), x.dtype.type(_FLAT_FLOAT32))
    squared = a * a
    near = _horner(squared, _NEAR_FLOAT32)
    near *= a
    near += a
    far = _horner(a, _FAR_FLOAT32)
    far *= a
    far -= a
    xp.exp(far, out=far)
    xp.subtract(1.0, far, out=far)
    xp.copyto(far, near, where=a <= _NEAR_LIMIT_FLOAT32)
    return xp.copysign(far, x)


_FLAT_FLOAT32: Final = 4.0  # erf rounds to one in float32 before
_NEAR_LIMIT_FLOAT32: Final = 0.927734375
_NEAR_FLOAT32: Final = (
    1.28379166e-1,
    -3.76125336e-1,
    1.12819925e-1,
    -2.67681349e-2,
    4.99119423e-3,
    -5.96761703e-4,
)
_FAR_FLOAT32: Final = (
    -1.28717512e-1,
    -6.34846687e-1,
    -1.06777877e-1,
    2.42546219e-2,
    -3.88396438e-3,
    3.83197126e-4,
    -1.72853470e-5,
)
