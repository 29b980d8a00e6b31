"""What every trajectory runs over: parameters, gradients and learning rates, the same anywhere.

The data separates what libraries do alike under one name and what they do not:

- (a) some elements never have a gradient, others none in some steps;
- (b) the gradient of some elements changes its sign in every step;
- (c) and (d) cases set eps and weight_decay to 0.1, so that their place shows;
- (e) the learning rate changes in each step;
- (f) one parameter joins in step 3;
- (g) one parameter is all zeros;
- (h) there are 12 steps, which crosses RAdam's threshold;
- (i) parameters have none to four axes, one matrix is tall, and of more axes the longest are not
  always the last;
- (j) they have names, as some libraries go by these.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

STEPS: Final = 12
KEPT: Final = (1, 2, 3, 4, 7, 12)
"""The steps after which parameters are recorded."""

SHAPES: Final = ((3, 4), (5,), (2, 3), (4,), (5, 2), (), (2, 3, 2), (3, 2, 1, 2))
NAMES: Final = (
    *("hidden.weight", "hidden.bias", "embedding.weight", "embedding.bias"),
    *("head.weight", "head.scale", "layers.kernel", "image.kernel"),
)
ZERO: Final = 3
"""The parameter that is all zeros."""
JOINED: Final = (1, 1, 3, 1, 1, 1, 1, 1)
"""The step in which each parameter gets its first gradient."""

_GOLDEN: Final = 0.6180339887498949


def spread(count: int, seed: float) -> Array:
    """Numbers in (-1, 1) that any machine computes alike: multiples of the golden ratio."""
    numbers = np.arange(1, count + 1).astype(np.float64)
    return 2.0 * ((numbers * _GOLDEN + seed * 0.37) % 1.0) - 1.0


def start() -> list[Array]:
    """The first value of each parameter, between 1 and 3 in size, but for all zeros."""
    values = [spread(int(np.prod(shape)), seed) for seed, shape in enumerate(SHAPES, 1)]
    values = [np.sign(x) + 2.0 * x for x in values]
    values[ZERO] *= 0.0
    return [x.reshape(shape) for x, shape in zip(values, SHAPES, strict=True)]


def gradient(index: int, t: int, together: bool = False, pulled: bool = False) -> Array | None:
    """The gradient of a parameter in step t, from 1; None before it joins. `pulled` takes all of
    them the same way in each step, from where they start towards 0 and beyond."""
    if t < JOINED[index] and not together:
        return None
    shape = SHAPES[index]
    g = spread(int(np.prod(shape)), 10.0 * index + t) * (1.0 + index)
    if pulled:
        return g.reshape(shape) + 3.0 * (1.0 + index) * np.sign(start()[index])
    if g.size < 3:
        return g.reshape(shape)
    g[0] = 0.0  # never
    g[1] *= t % 3 == 0  # sometimes
    g[2] = (-1.0) ** t * (0.5 + abs(g[2]))  # a change of sign in each step
    return g.reshape(shape)


def rate(lr: float, t: int) -> float:
    """The learning rate of step t: between lr and one and a half times as much."""
    return lr * (1.0 + 0.5 * ((t * _GOLDEN) % 1.0))
