"""Every optimizer solves a table of problems to a stated value in a stated number of steps.

The bounds are two to three times what is reached, so that they notice a rule that is broken
and not one that rounds otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pytest

import born
from born import nn, optim
from born.optim.naming import OPTIMIZERS

Gradient = Callable[[Any], Any]


@dataclass(frozen=True)
class Problem:
    """What is to be made small, from where, in how many steps."""

    start: Any
    value: Callable[[Any], float]
    gradient: Gradient
    steps: int
    reached: float


def _rosenbrock() -> Problem:
    def gradient(p: Any) -> Any:
        x, y = p[0]
        return np.array([[-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)]])

    def value(p: Any) -> float:
        x, y = p[0]
        return float((1 - x) ** 2 + 100 * (y - x * x) ** 2)

    return Problem(np.array([[-1.2, 1.0]]), value, gradient, 1500, 1.5)


def _quadratic() -> Problem:
    scales = np.array([[100.0, 10.0], [1.0, 0.1]])
    goal = np.array([[1.0, -2.0], [0.5, 3.0]])
    return Problem(
        np.zeros((2, 2)),
        lambda p: float((scales * (p - goal) ** 2).sum() / 2),
        lambda p: scales * (p - goal),
        600,
        0.25,
    )


def _logistic() -> Problem:
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x = np.c_[(x - x.mean(0)) / x.std(0), np.ones(len(x))]
    sign = 2.0 * y - 1.0

    def value(p: Any) -> float:
        return float(np.logaddexp(0.0, -sign * (x @ p[:, 0])).mean())

    def gradient(p: Any) -> Any:
        margins = sign * (x @ p[:, 0])
        chance = 1.0 / (1.0 + np.exp(np.minimum(margins, 700.0)))  # of the other class
        return -(x.T @ (sign * chance) / len(x))[:, None]

    return Problem(np.zeros((x.shape[1], 1)), value, gradient, 150, 0.12)


def _digits() -> Problem:
    """A network of one hidden layer on the digits that scikit-learn ships, as one matrix."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    images, labels = datasets.load_digits(return_X_y=True)
    x = np.c_[images / 16.0, np.ones(len(images))][::3]
    target = np.eye(10)[labels[::3]]
    rng = np.random.default_rng(0)
    start = rng.normal(size=(65 + 17, 16)) * 0.2
    start[65:, 10:] = 0.0  # the second layer's transpose is smaller than the place it has

    def layers(p: Any) -> tuple[Any, Any, Any]:
        hidden = np.tanh(x @ p[:65])
        scores = np.c_[hidden, np.ones(len(x))] @ p[65:, :10]
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return hidden, scores / scores.sum(1, keepdims=True), p[65:81, :10]

    def value(p: Any) -> float:
        _, chances, _ = layers(p)
        return float(-np.log(np.maximum((chances * target).sum(1), 1e-300)).mean())

    def gradient(p: Any) -> Any:
        hidden, chances, second = layers(p)
        slope = (chances - target) / len(x)
        g = np.zeros_like(p)
        g[65:, :10] = np.c_[hidden, np.ones(len(x))].T @ slope
        g[:65] = x.T @ (slope @ second.T * (1 - hidden * hidden))
        return g

    return Problem(start, value, gradient, 100, 0.4)


PROBLEMS: Final = {
    "rosenbrock": _rosenbrock,
    "quadratic": _quadratic,
    "logistic": _logistic,
    "digits": _digits,
}

RATES: Final[dict[str, tuple[float, float, float, float]]] = {
    "adabelief": (0.02, 0.1, 0.1, 0.1),
    "adadelta": (5.0, 20.0, 20.0, 20.0),
    "adafactor": (0.05, 0.1, 0.3, 0.3),
    "adagrad": (0.5, 1.0, 0.5, 0.15),
    "adam": (0.02, 0.1, 0.1, 0.1),
    "adamax": (0.05, 0.1, 0.1, 0.1),
    "adamw": (0.02, 0.1, 0.1, 0.1),
    "adan": (0.02, 0.1, 0.1, 0.1),
    "ademamix": (0.005, 0.02, 0.05, 0.05),
    "adopt": (0.1, 0.1, 0.1, 0.1),
    "asgd": (1e-3, 0.015, 1.0, 1.0),
    "lamb": (0.01, 0.03, 0.05, 0.015),
    "lars": (1.0, 10.0, 5.0, 5.0),
    "lion": (0.005, 0.02, 0.02, 0.02),
    "muon": (0.01, 0.05, 0.1, 0.1),
    "nadam": (0.02, 0.1, 0.1, 0.1),
    "novograd": (0.01, 0.05, 0.05, 0.05),
    "prodigy": (1.0, 1.0, 1.0, 1.0),
    "radam": (0.005, 0.015, 0.1, 0.1),
    "rmsprop": (0.01, 0.02, 0.05, 0.015),
    "rprop": (0.01, 0.01, 0.01, 0.01),
    "schedulefreeadamw": (0.05, 0.2, 0.1, 0.1),
    "schedulefreesgd": (1e-3, 0.01, 5.0, 5.0),
    "sgd": (1e-3, 0.015, 1.0, 1.0),
    "signum": (0.003, 0.01, 0.02, 0.02),
    "yogi": (0.02, 0.1, 0.1, 0.1),
}
"""Optimizer -> its learning rate for each of the problems."""


def solve(name: str, problem: Problem, lr: float) -> float:
    p = nn.Parameter(born.tensor(problem.start, born.get_backend("numpy")))
    fields: dict[str, Any] = {"lr": lr, "weight_decay": 0.0}
    optimizer = optim.create(name, [p], **fields)
    for _ in range(problem.steps):
        g = problem.gradient(p.numpy())
        optimizer.step({p.raw: born.tensor(np.asarray(g), p.backend).raw})
    return problem.value(p.numpy())


@pytest.mark.parametrize("name", optim.names())
@pytest.mark.parametrize("number", range(len(PROBLEMS)), ids=list(PROBLEMS))
def test_solves(name: str, number: int) -> None:
    problem = list(PROBLEMS.values())[number]()
    assert solve(name, problem, RATES[name][number]) < problem.reached


def test_table_has_every_optimizer() -> None:
    assert list(RATES) == list(OPTIMIZERS)
