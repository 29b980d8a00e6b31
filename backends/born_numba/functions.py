"""The functions of formulas for compiled loops: polynomials that LLVM can vectorise.

Numba's own `exp`, `tanh` and `erf` are a call for each element. In float32 these are straight
lines without a branch or a table, but for the reduction of angles. In double, where they would
gain less, they are the C library's.

The bounds, in units in the last place of the exact result, were found over one float32 in seven,
with contraction of products and sums; that of `pow` over samples.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from born_numba import intrinsics
from born_numba.compiler import contracted, inlined

ULPS: Final = {
    "exp": 1.1,
    "expm1": 1.5,
    "log": 1.0,
    "log1p": 1.5,
    "tanh": 3.0,
    "sigmoid": 2.5,
    "softplus": 2.0,
    "erf": 1.5,
    "sin": 0.6,
    "cos": 0.6,
    "pow": 0.6,
}
"""Function -> how far its float32 result is at most from the exact one."""

_MAGIC: Final = np.float32(12582912.0)  # 1.5 * 2^23: adding it rounds to a whole number
_MAGIC_BITS: Final = np.int32(0x4B400000)
_LOG2_E: Final = np.float32(1.44269504088896341)
_LN2_HIGH: Final = np.float32(0.693359375)  # ln 2 in two parts, the first exact
_LN2_LOW: Final = np.float32(-2.12194440e-4)
_ZERO, _HALF, _ONE, _TWO = (np.float32(x) for x in (0.0, 0.5, 1.0, 2.0))


@contracted
def power_of_two(n: Any) -> Any:
    """2^n as a float32, for n from -126 to 127."""
    return intrinsics.float32_of_bits(np.uint32((np.int32(n) + np.int32(127)) << np.int32(23)))


@contracted
def whole(x: Any) -> Any:
    """The nearest whole number of a float32 of at most 2^22, as a float32 and as an integer."""
    shifted = x + _MAGIC
    n = np.int32(intrinsics.bits_of_float32(shifted)) - _MAGIC_BITS
    return shifted - _MAGIC, n


@contracted
def remainder(x: Any, n: Any) -> Any:
    """x - n ln 2."""
    return (x - n * _LN2_HIGH) - n * _LN2_LOW


@contracted
def exponential(r: Any) -> Any:
    """(e^r - 1 - r) / r^2 for |r| <= ln(2) / 2: Cephes' `expf` (Moshier, 1989)."""
    y = np.float32(1.9875691500e-4)
    y = y * r + np.float32(1.3981999507e-3)
    y = y * r + np.float32(8.3334519073e-3)
    y = y * r + np.float32(4.1665795894e-2)
    y = y * r + np.float32(1.6666665459e-1)
    return y * r + np.float32(5.0000001201e-1)


@contracted
def exp_float32(x: Any) -> Any:
    """e^x."""
    reduced = min(max(x, np.float32(-104.0)), np.float32(89.0))
    n, whole_n = whole(reduced * _LOG2_E)
    r = remainder(reduced, n)
    y = exponential(r) * (r * r) + r + _ONE
    half = whole_n >> np.int32(1)  # in two steps, as the result may be subnormal or infinite
    y = y * power_of_two(half) * power_of_two(whole_n - half)
    return y if x == x else x


@contracted
def expm1_float32(x: Any) -> Any:
    """e^x - 1."""
    reduced = min(max(x, np.float32(-20.0)), np.float32(89.0))
    n, whole_n = whole(reduced * _LOG2_E)
    r = remainder(reduced, n)
    y = exponential(r) * (r * r) + r
    scale = power_of_two(whole_n - np.int32(1))
    y = (scale * y + (scale - _HALF)) * _TWO
    return y if abs(x) > np.float32(1e-8) else x  # NaN as well


@contracted
def log_float32(x: Any) -> Any:
    """The natural logarithm: Cephes' `logf` (Moshier, 1989)."""
    tiny = x < np.float32(1.17549435e-38)
    scaled = x * np.float32(8388608.0) if tiny else x
    bits = np.int32(intrinsics.bits_of_float32(scaled))
    # The exponent for which the mantissa lies between the roots of 1/2 and 2.
    e = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    m = intrinsics.float32_of_bits(np.uint32(bits - (e << np.int32(23)))) - _ONE
    n = np.float32(e) - (np.float32(23.0) if tiny else _ZERO)
    z = m * m
    y = np.float32(7.0376836292e-2)
    y = y * m + np.float32(-1.1514610310e-1)
    y = y * m + np.float32(1.1676998740e-1)
    y = y * m + np.float32(-1.2420140846e-1)
    y = y * m + np.float32(1.4249322787e-1)
    y = y * m + np.float32(-1.6668057665e-1)
    y = y * m + np.float32(2.0000714765e-1)
    y = y * m + np.float32(-2.4999993993e-1)
    y = y * m + np.float32(3.3333331174e-1)
    y = y * m * z
    y = y + n * _LN2_LOW
    y = y - _HALF * z
    y = m + y
    y = y + n * _LN2_HIGH
    infinite = np.float32(np.inf)
    y = x if x == infinite else y
    y = -infinite if x == _ZERO else y
    return y if x >= _ZERO else np.float32(np.nan)


@contracted
def log1p_float32(x: Any) -> Any:
    """log(1 + x): the logarithm of the rounded sum, and what rounding took."""
    u = _ONE + x
    lost = x - (u - _ONE) if x < _ONE else _ONE - (u - x)
    y = log_float32(u)
    y = y + lost / u if abs(y) < np.float32(np.inf) else y
    return y if not abs(x) < np.float32(1e-8) else x


@contracted
def tanh_float32(x: Any) -> Any:
    """(e^2x - 1) / (e^2x + 1)."""
    a = min(abs(x), np.float32(10.0))
    e = expm1_float32(_TWO * a)
    share = _TWO / (e + _TWO)
    y = _ONE - share if a > np.float32(0.55) else e * (_HALF * share)
    y = -y if x < _ZERO else y
    return y if abs(x) > np.float32(1e-8) else x  # NaN as well


@contracted
def sigmoid_float32(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    decay = exp_float32(-abs(x))
    return (_ONE if x >= _ZERO else decay) / (_ONE + decay)


@contracted
def softplus_float32(x: Any) -> Any:
    """log(1 + e^x)."""
    return (x if x > _ZERO else _ZERO) + log1p_float32(exp_float32(-abs(x)))


@contracted
def erf_float32(x: Any) -> Any:
    """The error function, by two polynomials of N. Juffa's (stackoverflow.com/a/35148199)."""
    t = min(abs(x), np.float32(4.0))
    s = t * t
    far = np.float32(-1.72853470e-5) * t + np.float32(3.83197126e-4)
    u = np.float32(-3.88396438e-3) * t + np.float32(2.42546219e-2)
    far = far * s + u
    far = far * t + np.float32(-1.06777877e-1)
    far = far * t + np.float32(-6.34846687e-1)
    far = far * t + np.float32(-1.28717512e-1)
    far = far * t - t
    far = _ONE - exp_float32(far)
    near = np.float32(-5.96761703e-4)
    near = near * s + np.float32(4.99119423e-3)
    near = near * s + np.float32(-2.67681349e-2)
    near = near * s + np.float32(1.12819925e-1)
    near = near * s + np.float32(-3.76125336e-1)
    near = near * s + np.float32(1.28379166e-1)
    near = near * t + t
    y = far if t > np.float32(0.927734375) else near
    y = -y if x < _ZERO else y
    return y if abs(x) > _ZERO else x  # NaN as well


_TWO_OVER_PI: Final = int(
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e0", 16
)
"""2 / pi times 2^320, rounded down."""


def _quarter_turns() -> tuple[Any, Any]:
    """For each exponent of a float32, the quarter turns of its unit in the last place, modulo 4.

    In two parts, of which the first has so few bits that its product with a mantissa is exact.
    """
    high, low = np.zeros(256), np.zeros(256)
    # 2 / pi to 320 bits, as a fraction over 2^320.
    digits = 320
    two_over_pi = _TWO_OVER_PI
    for exponent in range(255):
        shift = max(exponent, 1) - 150  # the unit is 2^shift
        # (2/pi * 2^shift) mod 4 as an integer over 2^(digits - shift) where shift < 0
        if shift >= 0:
            numerator = (two_over_pi << shift) % (4 << digits)
            scale = digits
        else:
            numerator, scale = two_over_pi, digits - shift
        bits = numerator.bit_length()
        cut = max(bits - 29, 0)
        first = (numerator >> cut) << cut
        high[exponent] = math.ldexp(first >> cut, cut - scale)
        rest = numerator - first
        cut = max(rest.bit_length() - 53, 0)
        low[exponent] = math.ldexp(rest >> cut, cut - scale)
    return high, low


_TURNS_HIGH, _TURNS_LOW = _quarter_turns()


@contracted
def quarter_turn(x: Any) -> Any:
    """The whole quarter turns in |x|, and the rest in radians, in double."""
    bits = intrinsics.bits_of_float32(abs(x))
    exponent = np.int32(bits >> np.uint32(23))
    fraction = np.int32(bits & np.uint32(0x7FFFFF))
    mantissa = np.float64(fraction + (np.int32(0x800000) if exponent > 0 else np.int32(0)))
    turns = mantissa * _TURNS_HIGH[exponent]
    rest = mantissa * _TURNS_LOW[exponent]
    shifted = (turns + rest) + 6755399441055744.0  # 1.5 * 2^52
    n = shifted - 6755399441055744.0
    angle = ((turns - n) + rest) * 1.5707963267948966
    return np.int32(np.int64(n)) & np.int32(3), angle


@contracted
def circular(quarter: Any, r: Any) -> Any:
    """sin(r + quarter pi / 2), |r| <= pi / 4: the polynomials of musl's `__sindf` and `__cosdf`."""
    z = r * r
    s = r + r * z * (
        -0.16666666641626524
        + z * (0.008333329385889463 + z * (-0.00019839334836096632 + z * 2.718311493989822e-06))
    )
    c = (
        1.0
        + z * (-0.499999997251031)
        + z * z * (0.04166662332373906 + z * (-0.001388676377460993 + z * 2.439044879627741e-05))
    )
    y = np.float32(c if quarter & np.int32(1) else s)
    return -y if quarter & np.int32(2) else y


@contracted
def sin_float32(x: Any) -> Any:
    """The sine."""
    quarter, r = quarter_turn(x)
    y = circular(quarter, r)
    y = -y if x < _ZERO else y
    y = y if abs(x) < np.float32(np.inf) else np.float32(np.nan)
    return y if abs(x) > np.float32(1e-5) else x


@contracted
def cos_float32(x: Any) -> Any:
    """The cosine."""
    quarter, r = quarter_turn(x)
    y = circular((quarter + np.int32(1)) & np.int32(3), r)
    return y if abs(x) < np.float32(np.inf) else np.float32(np.nan)


@contracted
def pow_float32(x: Any, y: Any) -> Any:
    """x^y = 2^(y log2 x), in double."""
    base = abs(x)
    tiny = base < np.float32(1.17549435e-38)
    scaled = base * np.float32(8388608.0) if tiny else base
    bits = np.int32(intrinsics.bits_of_float32(scaled))
    e = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    m = np.float64(intrinsics.float32_of_bits(np.uint32(bits - (e << np.int32(23)))))
    # log2 m = 2 / ln 2 (s + s^3 / 3 + ...), s = (m - 1) / (m + 1)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = 2.0 / 15.0
    series = series * z + 2.0 / 13.0
    series = series * z + 2.0 / 11.0
    series = series * z + 2.0 / 9.0
    series = series * z + 2.0 / 7.0
    series = series * z + 2.0 / 5.0
    series = series * z + 2.0 / 3.0
    series = (series * z + 2.0) * s * 1.4426950408889634
    logarithm: Any = np.float64(e) - (23.0 if tiny else 0.0) + series
    logarithm = -np.inf if base == _ZERO else logarithm
    logarithm = np.inf if base == np.float32(np.inf) else logarithm
    exponent = np.float64(y) * logarithm
    reduced = min(max(exponent, -200.0), 200.0)
    n = (reduced + 6755399441055744.0) - 6755399441055744.0
    r = (reduced - n) * 0.6931471805599453
    power = 1.0 / 40320.0
    power = power * r + 1.0 / 5040.0
    power = power * r + 1.0 / 720.0
    power = power * r + 1.0 / 120.0
    power = power * r + 1.0 / 24.0
    power = power * r + 1.0 / 6.0
    power = power * r + 0.5
    power = power * r + 1.0
    power = power * r + 1.0
    scale = intrinsics.float64_of_bits(np.uint64((np.int64(n) + np.int64(1023)) << np.int64(52)))
    result = np.float32(power * scale)
    # NaN where an argument is; y that is whole, and odd, beside a negative base.
    result = np.float32(np.nan) if x != x or y != y else result
    half = np.float64(y) * 0.5
    is_whole = np.floor(y) == y
    is_odd = is_whole and np.floor(half) != half
    negative = intrinsics.bits_of_float32(x) >> np.uint32(31) == np.uint32(1)
    result = -result if negative and is_odd else result
    lost = x < _ZERO and base < np.float32(np.inf) and not is_whole
    result = np.float32(np.nan) if lost else result
    return (
        _ONE if y == _ZERO or x == _ONE or (x == -_ONE and abs(y) == np.float32(np.inf)) else result
    )


@inlined
def sigmoid_float64(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    decay = np.exp(-abs(x))
    return (1.0 if x >= 0 else decay) / (1.0 + decay)


@inlined
def softplus_float64(x: Any) -> Any:
    """log(1 + e^x)."""
    return (x if x > 0 else 0.0) + np.log1p(np.exp(-abs(x)))


@inlined
def erf_float64(x: Any) -> Any:
    """The error function, of the C library."""
    return math.erf(x)


@inlined
def pow_float64(x: Any, y: Any) -> Any:
    """The power, of the C library."""
    return x**y


FLOAT32: Final[dict[str, Any]] = {
    "exp": exp_float32,
    "expm1": expm1_float32,
    "log": log_float32,
    "log1p": log1p_float32,
    "sin": sin_float32,
    "cos": cos_float32,
    "tanh": tanh_float32,
    "erf": erf_float32,
    "sigmoid": sigmoid_float32,
    "softplus": softplus_float32,
    "pow": pow_float32,
}
"""Operation of a formula -> the function that computes it in float32."""

FLOAT64: Final[dict[str, Any]] = {
    **{name: getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh")},
    "erf": erf_float64,
    "sigmoid": sigmoid_float64,
    "softplus": softplus_float64,
    "pow": pow_float64,
}
"""The same in float64."""
