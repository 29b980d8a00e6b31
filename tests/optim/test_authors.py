"""Rules as an author writes them from `docs/howto/optimizer.md`: short, with the same bits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.fusion import abs, maximum, mean, minimum, norm, sign, sqrt, where

MOST_LINES = 25


@optim.rule
def yogi(p: Any, g: Any, m: Any, v: Any, *, lr: float, beta1: float, beta2: float, t: int) -> Any:
    m = beta1 * m + (1 - beta1) * g
    v = v - (1 - beta2) * sign(v - g * g) * g * g
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + 1e-3), m, v


@optim.rule
def lamb(p: Any, g: Any, m: Any, v: Any, *, lr: float, beta1: float, beta2: float, t: int) -> Any:
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + 1e-6) + 0.01 * p
    ratio = where(norm(p) > 0, where(norm(u) > 0, norm(p) / norm(u), 1.0), 1.0)
    return p - lr * ratio * u, m, v


@optim.rule(row=optim.Slot("rows"), column=optim.Slot("columns"))
def adafactor(p: Any, g: Any, row: Any, column: Any, *, lr: float, t: int) -> Any:
    new = t**-0.8
    row = (1 - new) * row + new * mean(g * g, axis=-1)
    column = (1 - new) * column + new * mean(g * g, axis=-2)
    u = g / sqrt(maximum(row * column / maximum(mean(row), 1e-7), 1e-14))
    step = minimum(lr, 1 / sqrt(t)) * maximum(sqrt(mean(p * p)), 1e-3)
    return p - step * u / maximum(sqrt(mean(u * u)), 1.0), row, column


@optim.rule
def scaled_sign(p: Any, g: Any, m: Any, *, lr: float, beta1: float) -> Any:
    m = beta1 * m + (1 - beta1) * g
    return p - lr * mean(abs(g)) * sign(m), m


RULES: list[Callable[..., Any]] = [yogi, lamb, adafactor, scaled_sign]
every_rule = pytest.mark.parametrize("formula", RULES, ids=lambda f: f.__name__)


def run(formula: Callable[..., Any], backend_name: str, dtype: str = "float32") -> list[Any]:
    class Own(optim.Optimizer[Any, Any]):
        """A rule of one's own over Adam's fields."""

        config_type = optim.AdamConfig

    Own.formula = formula
    backend = born.get_backend(backend_name)
    values = [np.linspace(-1.0, 2.0, size * 6).reshape(size, 6) for size in (3, 40)]
    parameters = [nn.Parameter(born.tensor(x, backend, dtype)) for x in values]
    optimizer = Own(parameters, optim.AdamConfig(lr=0.1))
    for t in range(8):
        given = [np.cos(x * (t + 1)) for x in values]
        raws = [born.tensor(g, backend, dtype).raw for g in given]
        optimizer.step({p.raw: g for p, g in zip(parameters, raws, strict=True)})
    return [p.numpy() for p in parameters]


@every_rule
def test_rule_is_short(formula: Callable[..., Any]) -> None:
    assert len(inspect.getsource(formula).splitlines()) <= MOST_LINES


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cpu_backends_give_it_the_same_bits(formula: Callable[..., Any], dtype: str) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    ours, theirs = (run(formula, name, dtype) for name in ("numpy", "numba"))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))
    assert all(np.isfinite(a).all() for a in ours)
