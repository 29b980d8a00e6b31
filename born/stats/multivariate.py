"""Densities of vectors, which lie along the last axis."""

from __future__ import annotations

import math
from typing import Final

from born import ops
from born.backend import B, Scalar
from born.errors import ShapeError
from born.ops import special
from born.stats.arguments import LOG_2PI, as_tensors, inside
from born.tensor import Tensor


class MultivariateNormal:
    """The normal distribution of vectors, with a mean and a covariance.

    >>> from born.stats import multivariate_normal
    >>> x = born.zeros((3, 2), backend)
    >>> multivariate_normal.logpdf(x, cov=born.eye(2, backend)).numpy().round(4)
    array([-1.8379, -1.8379, -1.8379], dtype=float32)
    """

    def logpdf(
        self,
        x: Tensor[B],
        mean: Tensor[B] | Scalar = 0.0,
        cov: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        """The logarithm of the density at x, of shape (..., d).

        Args:
            x: where; a number alone is a vector of one.
            mean: of shape (d,), or anything that broadcasts against x.
            cov: of shape (d, d), positive definite; of shape (d,) its diagonal, or a number that
                all of that is.

        Raises:
            ShapeError: a covariance of another shape.
            LinAlgError: it is not positive definite.
        """
        x, mean, cov = as_tensors("multivariate_normal.logpdf", x, mean, cov)
        rest = x - mean
        rest = rest if rest.ndim else rest.reshape(1)
        size = rest.shape[-1]
        constant = 0.5 * size * LOG_2PI
        if cov.ndim < 2:
            variances = ops.broadcast_to(_checked(cov, size), (size,))
            return -0.5 * (rest * rest / variances + ops.log(variances)).sum(axis=-1) - constant
        columns = ops.transpose(rest.reshape(-1, size))
        density, *_ = rest.backend.gaussian(_checked(cov, size).raw, columns.raw)
        return Tensor(density, rest.backend).reshape(rest.shape[:-1]) - constant

    def pdf(
        self,
        x: Tensor[B],
        mean: Tensor[B] | Scalar = 0.0,
        cov: Tensor[B] | Scalar = 1.0,
    ) -> Tensor[B]:
        """The density at x; arguments as for `logpdf`."""
        return ops.exp(self.logpdf(x, mean, cov))

    def entropy(self, cov: Tensor[B]) -> Tensor[B]:
        """The entropy in nats, of a covariance of shape (d, d), or (d,) for its diagonal."""
        size = cov.shape[-1]
        if cov.ndim < 2:
            return 0.5 * (ops.log(cov).sum() + size * (1.0 + LOG_2PI))
        factor = ops.linalg.cholesky(_checked(cov, size))
        return ops.log(ops.diagonal(factor)).sum() + 0.5 * size * (1.0 + LOG_2PI)


class Dirichlet:
    """The Dirichlet distribution, of probabilities x: prod x_i^(alpha_i - 1) / B(alpha).

    >>> from born.stats import dirichlet
    >>> round(dirichlet.pdf(born.tensor([0.25, 0.75], backend), born.ones(2, backend)), 4)
    1.0
    """

    def logpdf(self, x: Tensor[B], alpha: Tensor[B]) -> Tensor[B]:
        """The logarithm of the density at x; both of shape (..., k).

        It does not check that x adds up to one, which a rounded one hardly ever does.
        """
        x, alpha = as_tensors("dirichlet.logpdf", x, alpha)
        x, outside = inside(~((x < 0.0) | (x > 1.0)), x, 0.5)
        terms = outside(special.xlogy(alpha - 1.0, x))
        total = special.gammaln(alpha.sum(axis=-1)) - special.gammaln(alpha).sum(axis=-1)
        density = terms.sum(axis=-1) + total
        return ops.where(ops.all(alpha > 0.0, axis=-1), density, math.nan)

    def pdf(self, x: Tensor[B], alpha: Tensor[B]) -> Tensor[B]:
        """The density at x; arguments as for `logpdf`."""
        return ops.exp(self.logpdf(x, alpha))


def _checked(cov: Tensor[B], size: int) -> Tensor[B]:
    if cov.shape not in ((), (1,), (size,), (size, size)):
        raise ShapeError(
            f"expected a covariance of shape ({size}, {size}), its diagonal or a number, got shape "
            f"{cov.shape}; the vectors have {size} elements"
        )
    return cov


multivariate_normal: Final = MultivariateNormal()
dirichlet: Final = Dirichlet()
