"""What optimizers are given to do: which rule, on tensors of which shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from born import optim

Shape: TypeAlias = tuple[int, ...]
Arrays: TypeAlias = Sequence[npt.NDArray[np.float32]]
Options: TypeAlias = dict[str, Any]

_LEARNING_RATE: Final = 1e-3
_MOMENTUM: Final = 0.9
_FLOAT: Final = 4  # bytes
_HALF: Final = 2

EXACT: Final = 1e-4
"""Between float32 parameters after twenty steps: they differ by rounding only."""

ROUNDED: Final = 1e-1
"""With a first moment in bfloat16, which has eight bits, and parameters not far from zero."""


@dataclass(frozen=True, slots=True)
class Job:
    """An optimizer and what it updates.

    Attributes:
        title: what the table calls it.
        shapes: of the parameters.
        config: of born's optimizer.
        pytorch: the class and options of PyTorch's that does the same.
        optax: the function and options of Optax's that does the same.
        slot_bytes: of an element, in each array of state.
        tolerance: between the competitors' parameters.
        max_norm: what all gradients are clipped to, by their global norm.
    """

    title: str
    shapes: Sequence[Shape]
    config: optim.Config
    pytorch: tuple[str, Options]
    optax: tuple[str, Options]
    slot_bytes: tuple[int, ...]
    tolerance: float = EXACT
    max_norm: float | None = None

    @property
    def elements(self) -> int:
        """Of all parameters together."""
        return sum(map(math.prod, self.shapes))

    @property
    def moved(self) -> int:
        """How many bytes of memory a step moves: it writes all that it reads but the gradient."""
        return 2 * self.held - _FLOAT * self.elements

    @property
    def held(self) -> int:
        """How many bytes parameters, gradients and state take."""
        return (2 * _FLOAT + sum(self.slot_bytes)) * self.elements

    def arrays(self, seed: int) -> Arrays:
        """Normal draws of the job's shapes, the same for a seed."""
        draw = np.random.default_rng(seed)
        return [draw.standard_normal(shape, np.float32) for shape in self.shapes]


def adam(title: str, shapes: Sequence[Shape]) -> Job:
    """Adam on parameters of these shapes."""
    return Job(
        title=title,
        shapes=shapes,
        config=optim.AdamConfig(lr=_LEARNING_RATE),
        pytorch=("Adam", {"lr": _LEARNING_RATE}),
        optax=("adam", {"learning_rate": _LEARNING_RATE}),
        slot_bytes=(_FLOAT, _FLOAT),
    )


def sgd(title: str, shapes: Sequence[Shape]) -> Job:
    """SGD with momentum on parameters of these shapes."""
    return Job(
        title=title,
        shapes=shapes,
        config=optim.SGDConfig(lr=_LEARNING_RATE, momentum=_MOMENTUM),
        pytorch=("SGD", {"lr": _LEARNING_RATE, "momentum": _MOMENTUM}),
        optax=("sgd", {"learning_rate": _LEARNING_RATE, "momentum": _MOMENTUM}),
        slot_bytes=(_FLOAT,),
    )


JOBS: Final = (
    adam("Adam, 1 tensor of 16M", [(16_000_000,)]),
    adam("Adam, 200 tensors of 10k", 200 * [(10_000,)]),
    adam("Adam, 200 tensors of 1k", 200 * [(1_000,)]),
    adam("Adam, 4 tensors of 1k", 4 * [(1_000,)]),
    Job(
        # PyTorch has no such state: it runs in float32.
        title="Adam, 1 tensor of 16M, first moment in bfloat16",
        shapes=[(16_000_000,)],
        config=optim.AdamConfig(lr=_LEARNING_RATE, m_dtype="bfloat16"),
        pytorch=("Adam", {"lr": _LEARNING_RATE}),
        optax=("adam", {"learning_rate": _LEARNING_RATE, "mu_dtype": "bfloat16"}),
        slot_bytes=(_HALF, _FLOAT),
        tolerance=ROUNDED,
    ),
    sgd("SGD with momentum, 1 tensor of 16M", [(16_000_000,)]),
)
"""What is worth a look on a CPU."""


def gpt2_shapes(
    vocabulary: int = 50_257, context: int = 1_024, width: int = 768, layers: int = 12
) -> list[Shape]:
    """The shapes of GPT-2's parameters, the small model's unless told otherwise.

    Args:
        vocabulary: how many tokens there are.
        context: how many of them the model sees at once.
        width: of the stream of activations.
        layers: how many blocks of attention and a perceptron.

    Source: A. Radford et al., Language Models are Unsupervised Multitask Learners (2019), in
    the layout of the published weights, whose output layer is the embedding of tokens again.
    """
    norm = [(width,), (width,)]
    attention = [(width, 3 * width), (3 * width,), (width, width), (width,)]
    perceptron = [(width, 4 * width), (4 * width,), (4 * width, width), (width,)]
    block = [*norm, *attention, *norm, *perceptron]
    return [(vocabulary, width), (context, width), *(layers * block), *norm]


SMALL_TENSORS: Final = adam("Adam, 200 tensors of 10k", 200 * [(10_000,)])

GPU_JOBS: Final = (
    adam("Adam, 1 tensor of 100M", [(100_000_000,)]),
    SMALL_TENSORS,
    adam("Adam, the 148 tensors of GPT-2 small", gpt2_shapes()),
)
"""What is worth a look on a GPU."""
