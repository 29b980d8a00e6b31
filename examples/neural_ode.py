"""Learn a differential equation x'(t) = N(x) from its solution, where N is a small network.

The samples are of x' = A x^3 (Chen and others, 2018, "Neural ordinary differential equations").

    python examples/neural_ode.py [--steps 400] [--backend auto]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from arguments import parsed

import born
from born import nn, ops, optim
from born.autodiff import Autodiff, scan, value_and_grad
from born.backend import B, Backend

SPIRAL = np.array([[-0.1, 2.0], [-2.0, -0.1]])
STEP, LENGTH, PIECE = 0.02, 250, 8  # of the integrator; how many in all, and from a sample on


def integrate(field: Callable[..., Any], x: born.Tensor[B], steps: int) -> born.Tensor[B]:
    """x after each step of the classical Runge-Kutta method, of shape (steps, *x.shape)."""

    def step(x: born.Tensor[B], _: None) -> tuple[born.Tensor[B], born.Tensor[B]]:
        b = field(x + (a := field(x)) * (STEP / 2))
        c = field(x + b * (STEP / 2))
        return (x := x + (a + 2.0 * (b + c) + field(x + c * STEP)) * (STEP / 6)), x

    return scan(step, x, length=steps)[1]


class Field(nn.Module[B]):
    """N(x), of one hidden layer, which is given x^3 as in the paper."""

    def __init__(self, backend: B) -> None:
        self.hidden = nn.Linear(2, 64, backend, dtype="float64", activation="tanh")
        self.last = nn.Linear(64, 2, backend, dtype="float64")

    def forward(self, x: born.Tensor[B]) -> born.Tensor[B]:
        """x'."""
        return 4.0 * self.last(self.hidden(x * x * x / 8.0))


def train(backend: Backend, updates: int) -> tuple[Field[Any], float]:
    """A network fitted to pieces of the spiral, and its largest error along all of it."""
    autodiff = Autodiff(backend)
    matrix, start = (born.tensor(x, autodiff) for x in (SPIRAL.T, np.array([[2.0, 0.0]])))

    def spiral(x: born.Tensor[Any]) -> born.Tensor[Any]:
        return (x * x * x) @ matrix

    truth = ops.concatenate([start, integrate(spiral, start, LENGTH)[:, 0]])
    optimizer = optim.Adam((model := Field(autodiff)).parameters(), lr=3e-2)
    for update in range(1, updates + 1):
        optimizer.lr = 1.5e-2 * (1 + np.cos(np.pi * update / (updates + 1)))
        index = np.random.default_rng(update).integers(0, LENGTH - PIECE, 32)

        def loss(model: Field[Any], at: Any) -> born.Tensor[Any]:
            miss = integrate(model, truth[at], PIECE)[-1] - truth[at + PIECE]
            return (miss * miss).mean() / STEP**2

        value, gradients = value_and_grad(loss)(model, index)
        optimizer.step(gradients)
        if update % 100 == 0:
            print(f"update {update:4}  loss {value.item():.2e}")
    return model, float(ops.max(ops.abs(integrate(model, start, LENGTH)[:, 0] - truth[1:])).item())


if __name__ == "__main__":
    options = parsed("Learn a differential equation.", steps=(400, "updates"))
    error = train(options.backend, options.steps)[1]
    print(f"largest error along the spiral, of radius 2: {error:.3f}")
