"""Densities of one real variable."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Final

from typing_extensions import override

from born import ops
from born.backend import B, Scalar
from born.ops import special
from born.stats.arguments import LOG_2PI, as_tensors, inside
from born.tensor import Tensor


class Continuous(ABC):
    """A distribution with a density; its parameters follow x in every method."""

    @abstractmethod
    def logpdf(self, x: Tensor[B] | Scalar, *parameters: Any, **named: Any) -> Tensor[B]:
        """The logarithm of the density at x."""

    def pdf(self, x: Tensor[B] | Scalar, *parameters: Any, **named: Any) -> Tensor[B]:
        """The density at x."""
        logarithm: Tensor[B] = self.logpdf(x, *parameters, **named)
        return ops.exp(logarithm)


class Norm(Continuous):
    """The normal distribution: exp(-z^2 / 2) / (scale sqrt(2 pi)), z = (x - loc) / scale.

    >>> from born.stats import norm
    >>> norm.logpdf(born.tensor([0.0, 1.0], backend)).numpy().round(4)
    array([-0.9189, -1.4189], dtype=float32)
    """

    @override
    def logpdf(
        self,
        x: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        x, loc, scale = as_tensors("norm.logpdf", x, loc, scale)
        z = (x - loc) / scale
        return _where_positive(_normal(z) - ops.log(scale), scale)

    def cdf(
        self,
        x: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        """The probability of less than x."""
        x, loc, scale = as_tensors("norm.cdf", x, loc, scale)
        return _where_positive(special.ndtr((x - loc) / scale), scale)

    def logcdf(
        self,
        x: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        """Its logarithm, which does not underflow."""
        x, loc, scale = as_tensors("norm.logcdf", x, loc, scale)
        return _where_positive(special.log_ndtr((x - loc) / scale), scale)

    def sf(
        self,
        x: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        """The probability of more than x."""
        x, loc, scale = as_tensors("norm.sf", x, loc, scale)
        return _where_positive(special.ndtr((loc - x) / scale), scale)

    def logsf(
        self,
        x: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        """Its logarithm, which does not underflow."""
        x, loc, scale = as_tensors("norm.logsf", x, loc, scale)
        return _where_positive(special.log_ndtr((loc - x) / scale), scale)


class Laplace(Continuous):
    """The Laplace distribution: exp(-|z|) / (2 scale), z = (x - loc) / scale.

    >>> from born.stats import laplace
    >>> laplace.pdf(born.tensor([0.0], backend), scale=0.25)
    Tensor([2.], dtype=float32)
    """

    @override
    def logpdf(
        self,
        x: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        x, loc, scale = as_tensors("laplace.logpdf", x, loc, scale)
        return _where_positive(-ops.abs((x - loc) / scale) - ops.log(2.0 * scale), scale)


class Cauchy(Continuous):
    """The Cauchy distribution: 1 / (pi scale (1 + z^2)), z = (x - loc) / scale.

    >>> from born.stats import cauchy
    >>> cauchy.pdf(born.tensor([0.0], backend)).numpy().round(4)
    array([0.3183], dtype=float32)
    """

    @override
    def logpdf(
        self,
        x: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        x, loc, scale = as_tensors("cauchy.logpdf", x, loc, scale)
        z = (x - loc) / scale
        return _where_positive(-ops.log1p(z * z) - ops.log(math.pi * scale), scale)


class StudentT(Continuous):
    """Student's t with df degrees of freedom, of (x - loc) / scale; normal if df is inf.

    >>> from born.stats import t
    >>> t.pdf(born.tensor([0.0], backend), 1.0).numpy().round(4)
    array([0.3183], dtype=float32)
    """

    @override
    def logpdf(
        self,
        x: Tensor[B] | Scalar,
        df: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        x, df, loc, scale = as_tensors("t.logpdf", x, df, loc, scale)
        z, normal = (x - loc) / scale, df == math.inf
        n = ops.where(normal, 1.0, df)
        # Gamma(1/2) = sqrt(pi)
        constant = -special.betaln(0.5 * n, 0.5 + 0.0 * n) - 0.5 * ops.log(n)
        density = constant - 0.5 * (n + 1.0) * ops.log1p(z * z / n)
        density = ops.where(normal, _normal(z), density)
        return _where_positive(density - ops.log(scale), df, scale)


class Gamma(Continuous):
    """The gamma distribution of shape a: z^(a-1) exp(-z) / (Gamma(a) scale), z = (x - loc) / scale.

    >>> from born.stats import gamma
    >>> gamma.logpdf(born.tensor([2.0], backend), 1.0, scale=0.5).numpy().round(4)
    array([-3.3069], dtype=float32)
    """

    @override
    def logpdf(
        self,
        x: Tensor[B] | Scalar,
        a: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        x, a, loc, scale = as_tensors("gamma.logpdf", x, a, loc, scale)
        z = (x - loc) / scale
        z, outside = inside(~(z < 0.0), z, 1.0)
        density = special.xlogy(a - 1.0, z) - z - special.gammaln(a) - ops.log(scale)
        return _where_positive(outside(density), a, scale)


class Chi2(Continuous):
    """The chi-squared distribution of df degrees of freedom: gamma of df / 2, twice the scale.

    >>> from born.stats import chi2
    >>> chi2.pdf(born.tensor([2.0], backend), 2.0).numpy().round(4)
    array([0.1839], dtype=float32)
    """

    @override
    def logpdf(
        self,
        x: Tensor[B] | Scalar,
        df: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        x, df, loc, scale = as_tensors("chi2.logpdf", x, df, loc, scale)
        return gamma.logpdf(x, 0.5 * df, loc, 2.0 * scale)


class Expon(Continuous):
    """The exponential distribution: exp(-z) / scale, z = (x - loc) / scale.

    >>> from born.stats import expon
    >>> expon.logpdf(born.tensor([-1.0, 2.0], backend))
    Tensor([-inf,  -2.], dtype=float32)
    """

    @override
    def logpdf(
        self,
        x: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        x, loc, scale = as_tensors("expon.logpdf", x, loc, scale)
        z = (x - loc) / scale
        z, outside = inside(~(z < 0.0), z, 1.0)
        return _where_positive(outside(-z - ops.log(scale)), scale)


class Beta(Continuous):
    """The beta distribution: z^(a-1) (1-z)^(b-1) / (B(a, b) scale), z = (x - loc) / scale.

    >>> from born.stats import beta
    >>> beta.pdf(born.tensor([0.5], backend), 2.0, 2.0).numpy().round(4)
    array([1.5], dtype=float32)
    """

    @override
    def logpdf(
        self,
        x: Tensor[B] | Scalar,
        a: Tensor[B] | Scalar,
        b: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        x, a, b, loc, scale = as_tensors("beta.logpdf", x, a, b, loc, scale)
        z = (x - loc) / scale
        z, outside = inside(~((z < 0.0) | (z > 1.0)), z, 0.5)
        density = special.xlogy(a - 1.0, z) + special.xlog1py(b - 1.0, -z)
        density = density - special.betaln(a, b) - ops.log(scale)
        return _where_positive(outside(density), a, b, scale)


class Uniform(Continuous):
    """The uniform distribution from loc to loc + scale.

    >>> from born.stats import uniform
    >>> uniform.pdf(born.tensor([0.5, 3.0], backend), scale=2.0)
    Tensor([0.5, 0. ], dtype=float32)
    """

    @override
    def logpdf(
        self,
        x: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
        scale: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        x, loc, scale = as_tensors("uniform.logpdf", x, loc, scale)
        z = (x - loc) / scale
        z, outside = inside(~((z < 0.0) | (z > 1.0)), z, 0.5)
        return _where_positive(outside(0.0 * z - ops.log(scale)), scale)


def _normal(z: Tensor[B]) -> Tensor[B]:
    return -0.5 * (z * z) - 0.5 * LOG_2PI


def _where_positive(density: Tensor[B], *parameters: Tensor[B]) -> Tensor[B]:
    """A density, or NaN where a parameter is not positive."""
    for parameter in parameters:
        density = ops.where(parameter > 0.0, density, math.nan)
    return density


norm: Final = Norm()
laplace: Final = Laplace()
cauchy: Final = Cauchy()
t: Final = StudentT()
gamma: Final = Gamma()
chi2: Final = Chi2()
expon: Final = Expon()
beta: Final = Beta()
uniform: Final = Uniform()
