"""Update kernels: what a backend makes of a traced rule.

A kernel is bound to tensors once. Each step prepares it, checking gradients, and runs it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from born.fusion import Program
from born.raw import RawTensor

Scalars: TypeAlias = tuple[float, ...]
"""What `Program.host` gives: the scalars of one tensor's update."""

Check: TypeAlias = Callable[[int, RawTensor], None]
"""Of a tensor's number and its gradient: raises an error if they do not match.

No gradient matches a tensor whose array has changed since it was bound.
"""

_SINGLE: Final = np.dtype(np.float32)
_DOUBLE: Final = np.dtype(np.float64)


def compute_dtype(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """The dtype an update computes in: float64 where any array has it, float32 otherwise."""
    return _DOUBLE if _DOUBLE in dtypes else _SINGLE


def accept(number: int, gradient: RawTensor) -> None:
    """The check of a caller who knows that every gradient is like its tensor."""


class PreparedStep(ABC):
    """An update by gradients that were checked, to be run once."""

    @abstractmethod
    def run(
        self,
        scalars: Sequence[Scalars],
        scale: RawTensor | None = None,
        sets: Sequence[int] | None = None,
    ) -> None:
        """Update the tensors, in one pass over memory.

        Args:
            scalars: the sets of scalars in use, most often one.
            scale: the factor of all gradients, shape (), if the program `has_scale`.
            sets: for each gradient, which set its tensor takes; the first by default.
        """


class BoundUpdate(ABC):
    """A kernel with the tensors that it updates."""

    @abstractmethod
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        """Check gradients, and find all that is needed to update by them.

        `numbers` says which of the bound tensors, each once, they belong to. What the check given
        to `bind` raises leaves every tensor as it was.
        """


class UpdateKernel(ABC):
    """A compiled update rule for one combination of dtypes; `source` is its generated text."""

    def __init__(self, program: Program, dtypes: tuple[np.dtype[Any], ...], source: str) -> None:
        self.program = program
        self.dtypes = dtypes
        self.source = source

    @abstractmethod
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        """The kernel over these targets, each a parameter and its slots.

        `check` is called for each gradient that the kernel does not know to be sound.
        """

    def __deepcopy__(self, memo: object) -> UpdateKernel:
        return self  # nothing in it changes

    def __call__(
        self,
        targets: Sequence[Sequence[RawTensor]],
        gradients: Sequence[RawTensor],
        scalars: Sequence[Scalars],
        scale: RawTensor | None = None,
    ) -> None:
        """Update all of `targets`, each with a gradient and a set of scalars."""
        every = range(len(targets))
        self.bind(targets).prepare(every, gradients).run(scalars, scale, every)
