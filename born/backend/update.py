"""Update kernels: what a backend makes of a traced rule.

A kernel is bound to the tensors that it updates, once. In each step it is prepared for
their gradients, which checks these, and then run.
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
    """The dtype an update computes in: float64 where any array has it, float32 otherwise.

    >>> compute_dtype([np.dtype("float16"), np.dtype("float16")])
    dtype('float32')
    """
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
            scale: of shape () and the compute dtype, what all gradients are multiplied
                by; given if the program `has_scale`, and only then.
            sets: for each gradient, which set its tensor takes; the first by default.
        """


class BoundUpdate(ABC):
    """A kernel with the tensors that it updates."""

    @abstractmethod
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        """Check gradients, and find all that is needed to update by them.

        Args:
            numbers: which of the bound tensors, each once.
            gradients: for each of them its gradient, of its shape and of the dtype that
                the kernel was compiled for.

        Raises:
            BornError: what the check given to `bind` raises; no tensor has changed.
        """


class UpdateKernel(ABC):
    """A compiled update rule for one combination of dtypes.

    Attributes:
        program: what it computes.
        dtypes: of each of the program's arrays.
        source: what was generated, as text.
    """

    def __init__(self, program: Program, dtypes: tuple[np.dtype[Any], ...], source: str) -> None:
        self.program = program
        self.dtypes = dtypes
        self.source = source

    @abstractmethod
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        """The kernel over these tensors.

        Args:
            targets: for each parameter, itself and then its slots.
            check: called for each gradient that the kernel does not know to be sound.
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
