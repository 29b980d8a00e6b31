"""Probabilities of counts and classes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born import ops
from born.backend import B, Scalar
from born.errors import OperandError
from born.ops import special
from born.stats.arguments import as_tensors, inside
from born.tensor import Tensor


class Discrete(ABC):
    """A distribution of integers; its parameters follow k in every method.

    k is a tensor of integers, or of floats, of which fractions have probability zero.
    """

    @abstractmethod
    def logpmf(self, k: Tensor[B] | Scalar, *parameters: Any, **named: Any) -> Tensor[B]:
        """The logarithm of the probability of k."""

    def pmf(self, k: Tensor[B] | Scalar, *parameters: Any, **named: Any) -> Tensor[B]:
        """The probability of k."""
        logarithm: Tensor[B] = self.logpmf(k, *parameters, **named)
        return ops.exp(logarithm)


class Bernoulli(Discrete):
    """One with probability p, or zero.

    >>> from born.stats import bernoulli
    >>> bernoulli.pmf(born.tensor([0, 1, 2], backend), 0.25)
    Tensor([0.75, 0.25, 0.  ], dtype=float32)
    """

    @override
    def logpmf(
        self, k: Tensor[B] | Scalar, p: Tensor[B] | Scalar, loc: Tensor[B] | Scalar = 0.0
    ) -> Tensor[B]:
        k, p, loc = as_tensors("bernoulli.logpmf", k, p, loc)
        k, outside = _counts(k - loc, 1.0)
        return _where(
            _is_probability(p), outside(special.xlogy(k, p) + special.xlog1py(1.0 - k, -p))
        )


class Binom(Discrete):
    """How many of n are one, each with probability p.

    >>> from born.stats import binom
    >>> binom.pmf(born.tensor([1], backend), 2, 0.5).numpy().round(4)
    array([0.5], dtype=float32)
    """

    @override
    def logpmf(
        self,
        k: Tensor[B] | Scalar,
        n: Tensor[B] | Scalar,
        p: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
    ) -> Tensor[B]:
        k, n, p, loc = as_tensors("binom.logpmf", k, n, p, loc)
        k, outside = _counts(k - loc, n)
        ways = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
        density = ways + special.xlogy(k, p) + special.xlog1py(n - k, -p)
        return _where(_is_probability(p) & _is_count(n), outside(density))


class Poisson(Discrete):
    """mu^k exp(-mu) / k!, the number of events of which mu are expected.

    >>> from born.stats import poisson
    >>> poisson.logpmf(born.tensor([0, 1], backend), 1.0).numpy().round(4)
    array([-1., -1.], dtype=float32)
    """

    @override
    def logpmf(
        self, k: Tensor[B] | Scalar, mu: Tensor[B] | Scalar, loc: Tensor[B] | Scalar = 0.0
    ) -> Tensor[B]:
        k, mu, loc = as_tensors("poisson.logpmf", k, mu, loc)
        k, outside = _counts(k - loc)
        density = special.xlogy(k, mu) - mu - special.gammaln(k + 1.0)
        return _where(mu >= 0.0, outside(density))


class NegativeBinomial(Discrete):
    """How many fail before the n-th that succeeds, each with probability p; n need not be whole.

    >>> from born.stats import nbinom
    >>> nbinom.pmf(born.tensor([1], backend), 1.0, 0.5).numpy().round(4)
    array([0.25], dtype=float32)
    """

    @override
    def logpmf(
        self,
        k: Tensor[B] | Scalar,
        n: Tensor[B] | Scalar,
        p: Tensor[B] | Scalar,
        loc: Tensor[B] | Scalar = 0.0,
    ) -> Tensor[B]:
        k, n, p, loc = as_tensors("nbinom.logpmf", k, n, p, loc)
        k, outside = _counts(k - loc)
        ways = special.gammaln(k + n) - special.gammaln(k + 1.0) - special.gammaln(n)
        density = ways + n * ops.log(p) + special.xlog1py(k, -p)
        return _where(_is_probability(p) & (p > 0.0) & (n > 0.0), outside(density))


class Categorical(Discrete):
    """Class k with probability p[k], along the last axis; SciPy has it as a multinomial of one.

    >>> from born.stats import categorical
    >>> categorical.pmf(born.tensor([2, 0], backend), born.tensor([0.5, 0.25, 0.25], backend))
    Tensor([0.25, 0.5 ], dtype=float32)
    """

    @override
    def logpmf(  # type: ignore[override]  # classes are tensors
        self,
        k: Tensor[B],
        p: Tensor[B] | None = None,
        *,
        logits: Tensor[B] | None = None,
    ) -> Tensor[B]:
        """The logarithm of the probability of class k.

        Args:
            k: integers.
            p: of shape (..., classes), up to a factor, as in `born.random.categorical`; where some
                are negative, or all zero, the result is NaN.
            logits: their logarithms, up to a constant, in place of p.
        """
        if (p is None) == (logits is None):
            raise OperandError(
                "expected either p or logits in categorical.logpmf, got "
                f"{'neither' if p is None else 'both'}; pass one of them"
            )
        table = _logarithms(p) if p is not None else ops.log_softmax(logits)  # type: ignore[arg-type]  # one is there
        shape = np.broadcast_shapes(k.shape, table.shape[:-1])
        chosen = ops.expand_dims(ops.broadcast_to(k, shape), -1)
        whole = ops.broadcast_to(table, (*shape, table.shape[-1]))
        return ops.squeeze(ops.gather(whole, chosen, axis=-1), -1)


class Multinomial(Discrete):
    """How many of n fall into each class, with probabilities p, along the last axis.

    >>> from born.stats import multinomial
    >>> counts = born.tensor([1, 1], backend)
    >>> round(multinomial.pmf(counts, 2, born.tensor([0.5, 0.5], backend)), 4)
    0.5
    """

    @override
    def logpmf(  # type: ignore[override]  # of vectors, which are tensors
        self, x: Tensor[B], n: Tensor[B] | Scalar, p: Tensor[B]
    ) -> Tensor[B]:
        """The logarithm of the probability of counts x.

        It is NaN where n is not a count, and where p has a negative one, or they add up to
        another number than one, by more than a thousandth.
        """
        x, n, p = as_tensors("multinomial.logpmf", x, n, p)
        k, outside = _counts(x)
        density = (special.xlogy(k, p) - special.gammaln(k + 1.0)).sum(axis=-1)
        fits = (x.sum(axis=-1) == n) & ops.all(outside(0.0 * k) == 0.0, axis=-1)
        density = ops.where(fits, special.gammaln(n + 1.0) + density, -math.inf)
        whole = ops.abs(p.sum(axis=-1) - 1.0) <= _ROUNDED
        return _where(ops.all(p >= 0.0, axis=-1) & whole & _is_count(n), density)


_ROUNDED: Final = 1e-3  # what rounding may add, of halves too, and steps of finite differences


def _logarithms(p: Tensor[B]) -> Tensor[B]:
    """Of probabilities, given up to a factor."""
    valid = ops.all(p >= 0.0, axis=-1, keepdims=True)
    return _where(valid, ops.log(p) - ops.log(p.sum(axis=-1, keepdims=True)))


def _counts(k: Tensor[B], most: Tensor[B] | Scalar = math.inf) -> tuple[Tensor[B], Any]:
    """k where it is a count up to `most`, and what puts -inf elsewhere."""
    return inside(~((k < 0.0) | (k > most) | (k % 1.0 > 0.0)), k, 0.0)


def _is_probability(p: Tensor[B]) -> Tensor[B]:
    return (p >= 0.0) & (p <= 1.0)


def _is_count(n: Tensor[B]) -> Tensor[B]:
    return (n >= 0.0) & (n % 1.0 == 0.0)


def _where(valid: Tensor[B], density: Tensor[B]) -> Tensor[B]:
    return ops.where(valid, density, math.nan)


bernoulli: Final = Bernoulli()
binom: Final = Binom()
poisson: Final = Poisson()
nbinom: Final = NegativeBinomial()
categorical: Final = Categorical()
multinomial: Final = Multinomial()
