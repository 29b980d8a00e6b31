"""The table of optimizers: what each keeps, and the trajectories it shares with a reference.

A new optimizer is a row in `SLOTS` for each set of state it may keep, and one in `OPTIONS`.
The reference is PyTorch's optimizer of that name, recorded by `record_pytorch.py`, or else a
row in `REFERENCES`. Gradients are written with operators and `sin` alone, so that one formula
serves NumPy and PyTorch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from born import optim
from born.errors import ConfigError

RECORDED = Path(__file__).with_name("pytorch_trajectories.npz")
STEPS = 100

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (2, 2), (0, 2), (1, 2, 1))

Options = dict[str, Any]
"""Keyword arguments that a born config and its reference have in common."""

Reference = Callable[..., Any]
"""One update as the paper writes it, in NumPy: `(p, g, state, t, **options) -> p`, where `state`
is a dict that starts empty."""


def grid(config: type[optim.Config], **values: tuple[Any, ...]) -> tuple[Options, ...]:
    """Every combination of options that the config allows."""
    allowed: list[Options] = []
    for combination in itertools.product(*values.values()):
        options = dict(zip(values, combination, strict=True))
        try:
            config(**options)
        except ConfigError:
            continue  # PyTorch refuses it too: the recording has as many as this gives
        allowed.append(options)
    return tuple(allowed)


SLOTS: dict[optim.Config, list[str]] = {
    optim.SGDConfig(lr=0.1): [],
    optim.SGDConfig(lr=0.1, weight_decay=0.01): [],
    optim.SGDConfig(lr=0.1, momentum=0.9, dampening=0.1): ["velocity"],
    optim.SGDConfig(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01): ["velocity"],
    optim.AdamConfig(lr=0.1): ["m", "v"],
    optim.AdamConfig(lr=0.1, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.01): ["m", "v"],
}
"""Configs of every optimizer, for each of its formulas -> the slots it keeps."""

OPTIONS: dict[str, tuple[Options, ...]] = {
    "SGD": grid(
        optim.SGDConfig,
        lr=(0.01, 0.1),
        momentum=(0.0, 0.9),
        dampening=(0.0, 0.1),
        nesterov=(False, True),
        weight_decay=(0.0, 0.01),
    ),
    # With learning rates that do not reach the minimum in time: there Adam jumps to and fro,
    # and blows up rounding errors until no two libraries agree.
    "Adam": grid(
        optim.AdamConfig,
        lr=(0.001, 0.01),
        betas=((0.9, 0.999), (0.5, 0.9)),
        eps=(1e-8, 1e-3),
        weight_decay=(0.0, 0.01),
    ),
}
"""Optimizer -> the options it follows its reference with."""


def _adam(
    p: Any,
    g: Any,
    state: dict[str, Any],
    t: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> Any:
    g = g + weight_decay * p
    m = state["m"] = betas[0] * state.get("m", 0.0) + (1 - betas[0]) * g
    v = state["v"] = betas[1] * state.get("v", 0.0) + (1 - betas[1]) * g**2
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps)


REFERENCES: dict[str, Reference] = {"Adam": _adam}
"""Optimizer -> its reference; PyTorch's, where there is one, has to agree with it."""


def start() -> list[npt.NDArray[np.float64]]:
    """The first value of each parameter, between 1 and 2."""
    return [1.0 + _spread(shape, seed) for seed, shape in enumerate(SHAPES)]


def gradient(p: Any, index: int, sin: Callable[[Any], Any]) -> Any:
    """The gradient at `p` of (p - c)^2 / 2 - cos(3 p) / 6, c the position of the parameter.

    It bends, so that an error made in one step is not merely carried along, and its
    minima lie away from 0, where relative errors would mean nothing.
    """
    return (p - (1.5 + 0.25 * index)) + 0.5 * sin(3.0 * p)


def _spread(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float64]:
    """Numbers in (0, 1) that any machine computes alike: multiples of the golden ratio."""
    size = int(np.prod(shape, dtype=np.int64))
    golden = 0.6180339887498949
    values = [((seed + 1) * 0.37 + (i + 1) * golden) % 1.0 for i in range(size)]
    return np.array(values, np.float64).reshape(shape)
