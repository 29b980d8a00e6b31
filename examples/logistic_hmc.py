"""Bayesian logistic regression by Hamiltonian Monte Carlo.

Forty people were given a dose, and some responded. The posterior of the weights is sampled: a
particle rolls over the negative log-density, by leapfrog steps along its gradient, and the end of
its path is taken or refused (Neal, 2011, "MCMC using Hamiltonian dynamics").

    python examples/logistic_hmc.py [--draws 500] [--chains 20] [--backend auto]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from arguments import parsed

import born
import born.random
from born import ops
from born.autodiff import Autodiff, grad
from born.backend import B, Backend
from born.stats import norm

PRIOR, STEP, PATH = 3.0, 0.15, 12
"""The deviation of a weight before the data, a leapfrog step, and how many make a path."""


def data(seed: int = 0) -> tuple[Any, Any]:
    """Doses with a column of ones before them, and the responses."""
    draw = np.random.default_rng(seed)
    dose = draw.uniform(-2.0, 2.0, 40)
    response = draw.random(40) < 1 / (1 + np.exp(-(0.5 + 1.5 * dose)))
    return np.stack([np.ones(40), dose], axis=1), response.astype(np.float64)


def log_posterior(w: born.Tensor[B], x: born.Tensor[B], y: born.Tensor[B]) -> born.Tensor[B]:
    """Of weights (chains, 2), up to a constant."""
    logits = w @ ops.transpose(x)
    likelihood = (y * logits - ops.softplus(logits)).sum(axis=1)
    return likelihood + norm.logpdf(w, 0.0, PRIOR).sum(axis=1)


def sample(backend: Backend, draws: int, chains: int) -> tuple[Any, float]:
    """Draws of the weights, of shape (draws * chains, 2), and how many paths were taken."""
    autodiff = Autodiff(backend)
    x, y = (born.tensor(each, autodiff) for each in data())
    slope = grad(lambda w: log_posterior(w, x, y).sum())
    w = born.random.normal(shape=(chains, 2), scale=born.ones((), autodiff, "float64"))
    kept: list[Any] = []
    taken = 0.0
    for number in range(draws + draws // 5):  # the first are thrown away
        start, momentum = w, born.randn((chains, 2), autodiff, "float64")
        before = log_posterior(start, x, y) - 0.5 * (momentum * momentum).sum(axis=1)
        momentum = momentum + 0.5 * STEP * slope(w)
        for leap in range(PATH):
            w = w + STEP * momentum
            momentum = momentum + (STEP if leap < PATH - 1 else 0.5 * STEP) * slope(w)
        after = log_posterior(w, x, y) - 0.5 * (momentum * momentum).sum(axis=1)
        accept = ops.log(born.rand(chains, autodiff, "float64")) < after - before
        w = ops.where(ops.expand_dims(accept, 1), w, start)
        if number >= draws // 5:
            kept.append(w.numpy())
            taken += accept.astype("float64").mean().item() / draws
    return np.concatenate(kept), taken


if __name__ == "__main__":
    options = parsed(
        "Sample the posterior of a logistic regression.",
        draws=(500, "of each chain"),
        chains=(20, "how many run at once"),
    )
    weights, taken = sample(options.backend, options.draws, options.chains)
    print(f"{len(weights)} draws, of which {100 * taken:.0f}% of the paths were taken")
    for name, column, true in zip(("intercept", "slope"), weights.T, (0.5, 1.5), strict=True):
        low, high = np.quantile(column, [0.025, 0.975])
        print(
            f"{name:10} mean {column.mean():.3f}  95% from {low:.2f} to {high:.2f} (true: {true})"
        )
