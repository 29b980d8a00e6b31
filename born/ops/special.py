"""Special functions, with the names of `scipy.special`.

`expit`, `logit`, `xlogy` and what is composed of them and of `born.ops` are formulas of born's own.
The others are SciPy's on a CPU (`pip install "born-optim[scipy]"`) and CuPy's on a GPU; where that
package is missing, or has no such function, calling one is a `MissingPackageError`. All are
differentiable, of any order, by the arguments whose derivatives have a closed form: not by the
order of a Bessel function, nor by the parameters of an incomplete integral, which is a `TapeError`.
"""

from __future__ import annotations

import math
from typing import Any

from born import fusion, operands, validation
from born.backend import B, Scalar
from born.errors import DomainError
from born.ops.elementwise import call_ufunc, neg, sigmoid, softplus, where
from born.ops.elementwise import erf as erf
from born.ops.elementwise import exp2 as exp2
from born.ops.elementwise import expm1 as expm1
from born.ops.elementwise import log1p as log1p
from born.ops.fused import fused_as
from born.ops.network import log_softmax as log_softmax
from born.ops.network import softmax as softmax
from born.ops.reduction import logsumexp as logsumexp
from born.tensor import Tensor

# -- logarithms and entropies ---------------------------------------------------------------


def expit(x: Tensor[B]) -> Tensor[B]:
    """The logistic function, 1 / (1 + e^-x); `ops.sigmoid`.

    >>> ops.special.expit(born.tensor([0.0], backend))
    Tensor([0.5], dtype=float32)
    """
    return sigmoid(x)


def log_expit(x: Tensor[B]) -> Tensor[B]:
    """log(1 / (1 + e^-x)), which does not underflow.

    >>> ops.special.log_expit(born.tensor([-1000.0], backend))
    Tensor([-1000.], dtype=float32)
    """
    return neg(softplus(neg(x)))


@fused_as("logit")
def _logit(x: Any) -> Any:
    # Near 1/2, where the logarithms cancel, by the distance, which is exact.
    near = fusion.abs(x - 0.5) < 0.25
    twice = fusion.where(near, 2.0 * x - 1.0, 0.0)
    close = fusion.log1p(twice) - fusion.log1p(-twice)
    return fusion.where(near, close, fusion.log(x) - fusion.log1p(-x))


def logit(x: Tensor[B]) -> Tensor[B]:
    """log(x / (1 - x)), the inverse of `expit`.

    >>> ops.special.logit(born.tensor([0.0, 0.5, 1.0], backend))
    Tensor([-inf,   0.,  inf], dtype=float32)
    """
    return _logit(x)


@fused_as("xlogy")
def _xlogy(x: Any, y: Any) -> Any:
    flat = fusion.where(y == y, 1.0, y)
    inside = fusion.where(y > 0, fusion.where(y < math.inf, y, flat), flat)
    return x * fusion.log(fusion.where(x == 0, inside, y))


def xlogy(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """x log(y), and 0 where x is 0, whatever y, but for NaN.

    >>> ops.special.xlogy(born.tensor([0.0, 2.0], backend), born.tensor([0.0, 1.0], backend))
    Tensor([0., 0.], dtype=float32)
    """
    return _xlogy(x, y)


@fused_as("xlog1py")
def _xlog1py(x: Any, y: Any) -> Any:
    flat = fusion.where(y == y, 0.0, y)
    inside = fusion.where(y > -1, fusion.where(y < math.inf, y, flat), flat)
    return x * fusion.log1p(fusion.where(x == 0, inside, y))


def xlog1py(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """x log(1 + y), and 0 where x is 0, whatever y, but for NaN.

    >>> ops.special.xlog1py(born.tensor([0.0, 2.0], backend), born.tensor([-1.0, 0.0], backend))
    Tensor([0., 0.], dtype=float32)
    """
    return _xlog1py(x, y)


@fused_as("entr")
def _entr(x: Any) -> Any:
    inside = fusion.where(x > 0, x, 1.0)
    outside = fusion.where(x == 0, 0.0, fusion.where(x < 0, -math.inf, x))
    return fusion.where(x > 0, -inside * fusion.log(inside), outside)


def entr(x: Tensor[B]) -> Tensor[B]:
    """-x log(x), 0 at 0 and -infinity below: a part of an entropy.

    >>> ops.special.entr(born.tensor([0.0, 1.0, -1.0], backend))
    Tensor([  0.,  -0., -inf], dtype=float32)
    """
    return _entr(x)


def _divergence(x: Any, y: Any, at_zero: Any, rest: Any) -> Any:
    """x log(x / y) and the rest, for positive x and y; infinite where either is negative."""
    inside = fusion.where(x > 0, y, 0.0) > 0
    p, q = fusion.where(inside, x, 1.0), fusion.where(inside, y, 1.0)
    outside = fusion.where(x == 0, fusion.where(y >= 0, at_zero, math.inf), math.inf)
    known = fusion.where(x == x, fusion.where(y == y, outside, y), x)
    return fusion.where(inside, p * fusion.log(p / q) + rest, known)


@fused_as("rel_entr")
def _rel_entr(x: Any, y: Any) -> Any:
    return _divergence(x, y, 0.0, 0.0)


@fused_as("kl_div")
def _kl_div(x: Any, y: Any) -> Any:
    return _divergence(x, y, y, y - x)


def rel_entr(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """x log(x / y), 0 where x is 0: a part of a Kullback-Leibler divergence.

    >>> ops.special.rel_entr(born.tensor([1.0], backend), born.tensor([1.0], backend))
    Tensor([0.], dtype=float32)
    """
    return _rel_entr(x, y)


def kl_div(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """x log(x / y) - x + y, which is convex in both.

    >>> ops.special.kl_div(born.tensor([1.0], backend), born.tensor([1.0], backend))
    Tensor([0.], dtype=float32)
    """
    return _kl_div(x, y)


# -- the gamma function and its kin ----------------------------------------------------------


def gamma(x: Tensor[B]) -> Tensor[B]:
    """The gamma function, (x - 1)! of integers.

    >>> ops.special.gamma(born.tensor([5.0], backend)).numpy().round(4)
    array([24.], dtype=float32)
    """
    return call_ufunc("gamma", x)


def gammaln(x: Tensor[B]) -> Tensor[B]:
    """log |gamma(x)|.

    >>> ops.special.gammaln(born.tensor([1.0, 3.0], backend)).numpy().round(4)
    array([0.    , 0.6931], dtype=float32)
    """
    return call_ufunc("gammaln", x)


def gammasgn(x: Tensor[B]) -> Tensor[B]:
    """The sign of gamma(x); its gradient is zero.

    >>> ops.special.gammasgn(born.tensor([-0.5, 1.0], backend)).numpy().round(4)
    array([-1.,  1.], dtype=float32)
    """
    return call_ufunc("gammasgn", x)


def rgamma(x: Tensor[B]) -> Tensor[B]:
    """1 / gamma(x), 0 at its poles.

    >>> ops.special.rgamma(born.tensor([3.0], backend)).numpy().round(4)
    array([0.5], dtype=float32)
    """
    return call_ufunc("rgamma", x)


def digamma(x: Tensor[B]) -> Tensor[B]:
    """The derivative of `gammaln`.

    >>> ops.special.digamma(born.tensor([1.0], backend)).numpy().round(4)
    array([-0.5772], dtype=float32)
    """
    return call_ufunc("digamma", x)


def polygamma(n: int, x: Tensor[B]) -> Tensor[B]:
    """The n-th derivative of `digamma`, (-1)^(n + 1) n! zeta(n + 1, x).

    Args:
        n: an integer from 0 on.
        x: a floating tensor.

    >>> ops.special.polygamma(1, born.tensor([1.0], backend)).numpy().round(4)
    array([1.6449], dtype=float32)
    """
    if not isinstance(n, int) or n < 0:  # pyright: ignore[reportUnnecessaryIsInstance]  # from untyped code
        raise DomainError(f"expected an order from 0 on in polygamma, got {n!r}; pass an integer")
    if n == 0:
        return digamma(x)
    return zeta(n + 1.0, x) * ((-1.0) ** (n + 1) * math.factorial(n))


def multigammaln(a: Tensor[B], d: int) -> Tensor[B]:
    """The logarithm of the multivariate gamma function of dimension d.

        d (d - 1) / 4 log(pi) + sum_j gammaln(a - j / 2)                    j = 0, ..., d - 1

    Args:
        a: a floating tensor, above (d - 1) / 2; NaN elsewhere, where SciPy raises an error.
        d: an integer from 1 on.

    >>> ops.special.multigammaln(born.tensor([1.0], backend), 1).numpy().round(4)
    array([0.], dtype=float32)
    """
    operands.backend_of("multigammaln", a)
    d = validation.integer("d", d, 1, DomainError)
    total = where(a > 0.5 * (d - 1), gammaln(a), math.nan)
    for j in range(1, d):
        total = total + gammaln(a - 0.5 * j)
    return total + 0.25 * d * (d - 1) * math.log(math.pi)


def zeta(s: Tensor[B] | Scalar, q: Tensor[B] | Scalar) -> Tensor[B]:
    """Hurwitz's zeta function, sum_k 1 / (q + k)^s for k = 0, 1, ...; no derivative by s.

    >>> ops.special.zeta(2.0, born.tensor([1.0], backend)).numpy().round(4)
    array([1.6449], dtype=float32)
    """
    return call_ufunc("zeta", s, q)


def beta(a: Tensor[B] | Scalar, b: Tensor[B] | Scalar) -> Tensor[B]:
    """The beta function, gamma(a) gamma(b) / gamma(a + b).

    >>> ops.special.beta(2.0, born.tensor([3.0], backend)).numpy().round(4)
    array([0.0833], dtype=float32)
    """
    return call_ufunc("beta", a, b)


def betaln(a: Tensor[B] | Scalar, b: Tensor[B] | Scalar) -> Tensor[B]:
    """log |beta(a, b)|.

    >>> ops.special.betaln(1.0, born.tensor([2.0], backend)).numpy().round(4)
    array([-0.6931], dtype=float32)
    """
    return call_ufunc("betaln", a, b)


def gammainc(a: Tensor[B] | Scalar, x: Tensor[B] | Scalar) -> Tensor[B]:
    """The regularised lower incomplete gamma function; no derivative by a.

    >>> ops.special.gammainc(1.0, born.tensor([1.0], backend)).numpy().round(4)
    array([0.6321], dtype=float32)
    """
    return call_ufunc("gammainc", a, x)


def gammaincc(a: Tensor[B] | Scalar, x: Tensor[B] | Scalar) -> Tensor[B]:
    """The regularised upper incomplete gamma function; no derivative by a.

    >>> ops.special.gammaincc(1.0, born.tensor([1.0], backend)).numpy().round(4)
    array([0.3679], dtype=float32)
    """
    return call_ufunc("gammaincc", a, x)


def betainc(a: Tensor[B] | Scalar, b: Tensor[B] | Scalar, x: Tensor[B] | Scalar) -> Tensor[B]:
    """The regularised incomplete beta function; no derivative by a and b.

    >>> ops.special.betainc(1.0, 1.0, born.tensor([0.5], backend)).numpy().round(4)
    array([0.5], dtype=float32)
    """
    return call_ufunc("betainc", a, b, x)


# -- normal integrals -----------------------------------------------------------------------


def erfc(x: Tensor[B]) -> Tensor[B]:
    """1 - erf(x), exact where that is small.

    >>> ops.special.erfc(born.tensor([0.0], backend)).numpy().round(4)
    array([1.], dtype=float32)
    """
    return call_ufunc("erfc", x)


def erfcx(x: Tensor[B]) -> Tensor[B]:
    """e^(x^2) erfc(x), which neither overflows nor vanishes for large x.

    >>> ops.special.erfcx(born.tensor([0.0], backend)).numpy().round(4)
    array([1.], dtype=float32)
    """
    return call_ufunc("erfcx", x)


def erfinv(x: Tensor[B]) -> Tensor[B]:
    """The x whose `erf` it is, for arguments in [-1, 1].

    >>> ops.special.erfinv(born.tensor([0.0], backend)).numpy().round(4)
    array([0.], dtype=float32)
    """
    return call_ufunc("erfinv", x)


def erfcinv(x: Tensor[B]) -> Tensor[B]:
    """The x whose `erfc` it is, for arguments in [0, 2].

    >>> ops.special.erfcinv(born.tensor([0.5], backend)).numpy().round(4)
    array([0.4769], dtype=float32)
    """
    return call_ufunc("erfcinv", x)


def ndtr(x: Tensor[B]) -> Tensor[B]:
    """The normal distribution function, erfc(-x / sqrt(2)) / 2.

    >>> ops.special.ndtr(born.tensor([0.0], backend)).numpy().round(4)
    array([0.5], dtype=float32)
    """
    return call_ufunc("ndtr", x)


def log_ndtr(x: Tensor[B]) -> Tensor[B]:
    """log(ndtr(x)), which does not underflow.

    >>> ops.special.log_ndtr(born.tensor([0.0], backend)).numpy().round(4)
    array([-0.6931], dtype=float32)
    """
    return call_ufunc("log_ndtr", x)


def ndtri(x: Tensor[B]) -> Tensor[B]:
    """The x whose `ndtr` it is: quantiles of the normal distribution.

    >>> ops.special.ndtri(born.tensor([0.5], backend)).numpy().round(4)
    array([0.], dtype=float32)
    """
    return call_ufunc("ndtri", x)


def exp1(x: Tensor[B]) -> Tensor[B]:
    """The exponential integral E1, that of e^-t / t from x to infinity.

    >>> ops.special.exp1(born.tensor([1.0], backend)).numpy().round(4)
    array([0.2194], dtype=float32)
    """
    return call_ufunc("exp1", x)


def expi(x: Tensor[B]) -> Tensor[B]:
    """The exponential integral Ei, the principal value of that of e^t / t up to x.

    >>> ops.special.expi(born.tensor([1.0], backend)).numpy().round(4)
    array([1.8951], dtype=float32)
    """
    return call_ufunc("expi", x)


# -- Bessel functions -----------------------------------------------------------------------


def j0(x: Tensor[B]) -> Tensor[B]:
    """The Bessel function of the first kind, of order 0.

    >>> ops.special.j0(born.tensor([0.0], backend)).numpy().round(4)
    array([1.], dtype=float32)
    """
    return call_ufunc("j0", x)


def j1(x: Tensor[B]) -> Tensor[B]:
    """The Bessel function of the first kind, of order 1.

    >>> ops.special.j1(born.tensor([0.0], backend)).numpy().round(4)
    array([0.], dtype=float32)
    """
    return call_ufunc("j1", x)


def y0(x: Tensor[B]) -> Tensor[B]:
    """The Bessel function of the second kind, of order 0.

    >>> ops.special.y0(born.tensor([1.0], backend)).numpy().round(4)
    array([0.0883], dtype=float32)
    """
    return call_ufunc("y0", x)


def y1(x: Tensor[B]) -> Tensor[B]:
    """The Bessel function of the second kind, of order 1.

    >>> ops.special.y1(born.tensor([1.0], backend)).numpy().round(4)
    array([-0.7812], dtype=float32)
    """
    return call_ufunc("y1", x)


def i0(x: Tensor[B]) -> Tensor[B]:
    """The modified Bessel function of the first kind, of order 0.

    >>> ops.special.i0(born.tensor([0.0], backend)).numpy().round(4)
    array([1.], dtype=float32)
    """
    return call_ufunc("i0", x)


def i1(x: Tensor[B]) -> Tensor[B]:
    """The modified Bessel function of the first kind, of order 1.

    >>> ops.special.i1(born.tensor([0.0], backend)).numpy().round(4)
    array([0.], dtype=float32)
    """
    return call_ufunc("i1", x)


def i0e(x: Tensor[B]) -> Tensor[B]:
    """e^-|x| i0(x), which does not overflow.

    >>> ops.special.i0e(born.tensor([0.0], backend)).numpy().round(4)
    array([1.], dtype=float32)
    """
    return call_ufunc("i0e", x)


def i1e(x: Tensor[B]) -> Tensor[B]:
    """e^-|x| i1(x), which does not overflow.

    >>> ops.special.i1e(born.tensor([0.0], backend)).numpy().round(4)
    array([0.], dtype=float32)
    """
    return call_ufunc("i1e", x)


def k0(x: Tensor[B]) -> Tensor[B]:
    """The modified Bessel function of the second kind, of order 0.

    >>> ops.special.k0(born.tensor([1.0], backend)).numpy().round(4)
    array([0.421], dtype=float32)
    """
    return call_ufunc("k0", x)


def k1(x: Tensor[B]) -> Tensor[B]:
    """The modified Bessel function of the second kind, of order 1.

    >>> ops.special.k1(born.tensor([1.0], backend)).numpy().round(4)
    array([0.6019], dtype=float32)
    """
    return call_ufunc("k1", x)


def k0e(x: Tensor[B]) -> Tensor[B]:
    """e^x k0(x).

    >>> ops.special.k0e(born.tensor([1.0], backend)).numpy().round(4)
    array([1.1445], dtype=float32)
    """
    return call_ufunc("k0e", x)


def k1e(x: Tensor[B]) -> Tensor[B]:
    """e^x k1(x).

    >>> ops.special.k1e(born.tensor([1.0], backend)).numpy().round(4)
    array([1.6362], dtype=float32)
    """
    return call_ufunc("k1e", x)


def jv(v: Tensor[B] | Scalar, x: Tensor[B] | Scalar) -> Tensor[B]:
    """The Bessel function of the first kind, of real order v; no derivative by v.

    >>> ops.special.jv(2.0, born.tensor([1.0], backend)).numpy().round(4)
    array([0.1149], dtype=float32)
    """
    return call_ufunc("jv", v, x)


def yn(n: Tensor[B] | Scalar, x: Tensor[B] | Scalar) -> Tensor[B]:
    """The Bessel function of the second kind, of integer order n.

    >>> ops.special.yn(2.0, born.tensor([1.0], backend)).numpy().round(4)
    array([-1.6507], dtype=float32)
    """
    return call_ufunc("yn", n, x)


def iv(v: Tensor[B] | Scalar, x: Tensor[B] | Scalar) -> Tensor[B]:
    """The modified Bessel function of the first kind, of real order v; no derivative by v.

    >>> ops.special.iv(2.0, born.tensor([1.0], backend)).numpy().round(4)
    array([0.1357], dtype=float32)
    """
    return call_ufunc("iv", v, x)


def ive(v: Tensor[B] | Scalar, x: Tensor[B] | Scalar) -> Tensor[B]:
    """e^-|x| iv(v, x), which does not overflow.

    >>> ops.special.ive(2.0, born.tensor([1.0], backend)).numpy().round(4)
    array([0.0499], dtype=float32)
    """
    return call_ufunc("ive", v, x)


# SciPy's other names for the same functions.
jn = jv
psi = digamma
