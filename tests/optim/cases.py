"""The trajectories that born's optimizers share with PyTorch's: configs, parameters, gradients.

Written with operators and `sin` alone, so that one formula serves NumPy and PyTorch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

RECORDED = Path(__file__).with_name("pytorch_trajectories.npz")
STEPS = 100

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (2, 2), (0, 2), (1, 2, 1))

Options = dict[str, Any]
"""Keyword arguments that a born config and a PyTorch optimizer have in common."""


def sgd_options() -> Iterator[Options]:
    """Every combination of SGD's options that both libraries allow."""
    for lr, momentum, dampening, nesterov, weight_decay in itertools.product(
        (0.01, 0.1), (0.0, 0.9), (0.0, 0.1), (False, True), (0.0, 0.01)
    ):
        if nesterov and (momentum == 0.0 or dampening != 0.0):
            continue  # both libraries refuse it
        yield {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
        }


def adam_options() -> Iterator[Options]:
    """Every combination of Adam's options.

    With learning rates that do not reach the minimum in time: there Adam jumps to and fro,
    and blows up rounding errors until no two libraries agree.
    """
    for lr, betas, eps, weight_decay in itertools.product(
        (0.001, 0.01), ((0.9, 0.999), (0.5, 0.9)), (1e-8, 1e-3), (0.0, 0.01)
    ):
        yield {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}


OPTIONS: dict[str, tuple[Options, ...]] = {
    "SGD": tuple(sgd_options()),
    "Adam": tuple(adam_options()),
}


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
