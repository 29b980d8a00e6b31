"""Solve Poisson's equation in one dimension by a small network.

    -u''(x) = pi^2 sin(pi x) on (0, 1),    u(0) = u(1) = 0,    whose solution is u(x) = sin(pi x)

The network N gives u(x) = x (1 - x) N(x), which is zero at both ends whatever the weights. Training
makes the mean square of u'' + pi^2 sin(pi x) small at random points: u'' is taken by `grad`
twice, inside of the recorded loss, and `backward` differentiates it by the weights
(Lagaris et al., 1998, "Artificial neural networks for solving ordinary and partial differential
equations").

    python examples/poisson.py [--steps 1500] [--backend auto]
"""

from __future__ import annotations

import math

import numpy as np
from arguments import parsed

import born
from born import nn, ops, optim
from born.autodiff import Autodiff, backward, grad
from born.backend import B, Backend

POINTS = 32
"""Where the equation is asked to hold, in each step."""


def make_solution(model: nn.Sequential[B], x: born.Tensor[B]) -> born.Tensor[B]:
    """u at points of shape (n, 1)."""
    return x * (1.0 - x) * model(x)


def residual(model: nn.Sequential[B], x: born.Tensor[B]) -> born.Tensor[B]:
    """u'' + pi^2 sin(pi x), which is zero for the solution."""

    # The points are independent: the derivative of the sum by one of them is that of its own u.
    def total(x: born.Tensor[B]) -> born.Tensor[B]:
        return make_solution(model, x).sum()

    def slope(x: born.Tensor[B]) -> born.Tensor[B]:
        return grad(total)(x).sum()

    return grad(slope)(x) + math.pi**2 * ops.sin(math.pi * x)


def solve(backend: Backend, steps: int) -> float:
    """Train a network, and return the largest error of u on a grid."""
    autodiff = Autodiff(backend)
    hidden = nn.Sequential(nn.Linear(1, 24, autodiff), nn.Tanh(), nn.Linear(24, 24, autodiff))
    model = nn.Sequential(hidden, nn.Tanh(), nn.Linear(24, 1, autodiff))
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    for step in range(1, steps + 1):
        optimizer.lr = 5e-3 * 0.5 * (1 + math.cos(math.pi * step / (steps + 1)))
        x = born.rand((POINTS, 1), autodiff)
        with autodiff.tape:
            loss = (residual(model, x) ** 2).mean()
        optimizer.step(backward(loss))
        if step % 250 == 0 or step == steps:
            print(f"step {step:5}  mean square of the residual {loss.item():.2e}")
    grid = np.linspace(0, 1, 101, dtype=np.float32)[:, None]
    found = make_solution(model, born.tensor(grid, autodiff)).numpy()
    return float(np.abs(found - np.sin(np.pi * grid)).max())


if __name__ == "__main__":
    options = parsed("Solve -u'' = pi^2 sin(pi x) by a network.", steps=(1500, "updates"))
    error = solve(options.backend, options.steps)
    print(f"largest error of u against sin(pi x): {error:.1e}")
