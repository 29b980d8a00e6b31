"""Fit a Gaussian process to noisy samples of a curve, by the gradient of its evidence.

The evidence, the density of the samples under the process, is a multivariate normal (Rasmussen and
Williams, 2006, "Gaussian processes for machine learning").

    python examples/gaussian_process.py [--points 60] [--backend auto]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from arguments import parsed

import born
from born import ops, optim
from born.autodiff import Autodiff
from born.backend import B
from born.stats import multivariate_normal


def kernel(theta: born.Tensor[B], x: born.Tensor[B], z: born.Tensor[B]) -> born.Tensor[B]:
    """c exp(-(x - z)^2 / (2 l^2)) of points of shapes (n,) and (m,), as (n, m)."""
    apart = ops.expand_dims(x, 1) - ops.expand_dims(z, 0)
    return ops.exp(theta[0] - 0.5 * (apart * apart) * ops.exp(-2.0 * theta[1]))


def covariance(theta: born.Tensor[B], x: born.Tensor[B]) -> born.Tensor[B]:
    """That of samples: the kernel, and noise n on its diagonal."""
    return kernel(theta, x, x) + ops.exp(theta[2]) * born.eye(len(x), x.backend, dtype=x.dtype)


def evidence(theta: born.Tensor[B], x: born.Tensor[B], y: born.Tensor[B]) -> born.Tensor[B]:
    """The logarithm of the density of samples y at x; theta is (log c, log l, log n)."""
    return multivariate_normal.logpdf(y, 0.0, covariance(theta, x))


def predict(
    theta: born.Tensor[B], x: born.Tensor[B], y: born.Tensor[B], at: born.Tensor[B]
) -> tuple[born.Tensor[B], born.Tensor[B]]:
    """Mean and deviation of the curve at other points, given the samples."""
    factor = ops.linalg.cholesky(covariance(theta, x))
    across = kernel(theta, x, at)
    mean = ops.transpose(across) @ ops.linalg.cholesky_solve(factor, y)
    explained = ops.linalg.solve_triangular(factor, across, lower=True)
    return mean, ops.sqrt(ops.exp(theta[0]) - (explained * explained).sum(axis=0))


def fit(x: born.Tensor[B], y: born.Tensor[B]) -> Any:
    """The theta of the largest evidence, from (0, 0, -2) on."""

    def surprise(theta: born.Tensor[B]) -> born.Tensor[B]:
        return -evidence(theta, x, y)

    return optim.minimize(surprise, born.tensor(np.array([0.0, 0.0, -2.0]), x.backend))


def samples(points: int, seed: int = 0) -> tuple[Any, Any]:
    """Points on [0, 6], and sin(2 x) + x / 2 there with noise of standard deviation 0.2."""
    draw = np.random.default_rng(seed)
    x = np.sort(draw.uniform(0.0, 6.0, points))
    return x, np.sin(2 * x) + x / 2 + draw.normal(0.0, 0.2, points)


if __name__ == "__main__":
    options = parsed("Fit a Gaussian process to samples of a curve.", points=(60, "samples"))
    backend = Autodiff(options.backend)
    x, y = (born.tensor(each, backend) for each in samples(options.points))
    result = fit(x, y)
    _, length, n = np.exp(result.x.numpy())
    print(f"evidence {-result.fun:.3f}  length {length:.3f}  noise {n**0.5:.3f} (true: 0.2)")
    points = np.linspace(0.5, 5.5, 6)
    mean, deviation = predict(result.x, x, y, born.tensor(points, backend))
    for at, m, s in zip(points, mean.tolist(), deviation.tolist(), strict=True):
        print(f"x {at:.1f}  curve {np.sin(2 * at) + at / 2:6.3f}  found {m:6.3f} +- {2 * s:.3f}")
