"""The small classifier that is trained: its sizes, its first weights, and its batches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

LEARNING_RATE: Final = 1e-3
_IMAGES: Final = 8  # different arrays of images
_BATCHES: Final = 32  # each with labels of its own

Images: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Network:
    """Linear layers with ReLU in between, and how many images they are given at once.

    Attributes:
        widths: of the input, of each hidden layer, and of the output.
        batch: images in a batch.
    """

    widths: tuple[int, ...]
    batch: int

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.widths))}, batch {self.batch}"

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each linear layer."""
        return list(pairwise(self.widths))


@dataclass(frozen=True, slots=True)
class Problem:
    """What every competitor is given.

    Attributes:
        network: the sizes.
        weights: path of a parameter in PyTorch's `Sequential` -> its first value: the weight
            (outputs, inputs) and the bias (outputs,) of the first linear layer, of the second,
            ... born lists them in the same order and shapes.
        batches: images (batch, inputs) and labels (batch,).
    """

    network: Network
    weights: dict[str, npt.NDArray[np.float32]]
    batches: list[tuple[Images, Labels]]


def make_problem(network: Network) -> Problem:
    """Draw weights and batches, the same each time.

    No number may become subnormal over thousands of steps: processors are slow with those, and
    JAX alone takes them for zeros. So labels are noise, and each array of images comes with
    several sets of them: no network can learn them by heart, after which gradients would fall.
    And images are centred: with positive ones most hidden units are soon off for all of them,
    their gradients zero, and Adam's moments of those halve every seventh step.
    """
    draw = np.random.default_rng(0)

    def uniform(fan_in: int, *shape: int) -> npt.NDArray[np.float32]:
        bound = fan_in**-0.5
        return draw.uniform(-bound, bound, shape).astype(np.float32)

    inputs, outputs = network.widths[0], network.widths[-1]
    images = [draw.standard_normal((network.batch, inputs), np.float32) for _ in range(_IMAGES)]
    weights: dict[str, npt.NDArray[np.float32]] = {}
    for index, (fan_in, fan_out) in enumerate(network.layers):
        place = 2 * index  # in between stand the ReLUs
        weights[f"{place}.weight"] = uniform(fan_in, fan_out, fan_in)
        weights[f"{place}.bias"] = uniform(fan_in, fan_out)
    return Problem(
        network,
        weights,
        [(images[i % _IMAGES], draw.integers(0, outputs, network.batch)) for i in range(_BATCHES)],
    )
