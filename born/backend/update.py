"""Update kernels: what a backend makes of a traced rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from born.errors import ParameterError
from born.fusion import Program
from born.raw import RawTensor

Scalars: TypeAlias = tuple[float, ...]
"""What `Program.host` gives: the scalars of one tensor's update."""

_SINGLE: Final = np.dtype(np.float32)
_DOUBLE: Final = np.dtype(np.float64)


def compute_dtype(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """The dtype an update computes in: float64 where any array has it, float32 otherwise.

    >>> compute_dtype([np.dtype("float16"), np.dtype("float16")])
    dtype('float32')
    """
    return _DOUBLE if _DOUBLE in dtypes else _SINGLE


class BoundUpdate(ABC):
    """A kernel with the tensors that it updates."""

    def fits(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> bool:
        """Whether gradients are known to be arrays of the right kind, shape and dtype.

        False says nothing: look at each one. A backend that can tell at once saves the
        optimizer from doing so in every step.
        """
        return False

    @abstractmethod
    def __call__(
        self,
        numbers: Sequence[int],
        gradients: Sequence[RawTensor],
        scalars: Sequence[Scalars],
        sets: Sequence[int],
        scale: RawTensor | None = None,
    ) -> None:
        """Update some of the tensors, in one pass over memory.

        Args:
            numbers: which of the bound tensors, each once.
            gradients: for each of them its gradient, of its shape and of the dtype that
                the kernel was compiled for.
            scalars: the sets of scalars in use, most often one.
            sets: for each of `numbers`, which of those sets is its own.
            scale: of shape () and the compute dtype, what all gradients are multiplied
                by; given if the program `has_scale`, and only then.

        Raises:
            ParameterError: the array of a bound tensor is not the one it had when bound.
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
    def bind(self, targets: Sequence[Sequence[RawTensor]]) -> BoundUpdate:
        """The kernel over these tensors: for each parameter, itself and then its slots."""

    def __call__(
        self,
        targets: Sequence[Sequence[RawTensor]],
        gradients: Sequence[RawTensor],
        scalars: Sequence[Scalars],
        scale: RawTensor | None = None,
    ) -> None:
        """Update all of `targets`, each with a gradient and a set of scalars of its own."""
        every = range(len(targets))
        self.bind(targets)(every, gradients, scalars, every, scale)


def check_same(target: Sequence[RawTensor], arrays: Sequence[Any]) -> None:
    """Refuse a tensor whose array was replaced since it was bound.

    Raises:
        ParameterError: one was.
    """
    for raw, array in zip(target, arrays, strict=True):
        if raw.array is not array:
            raise ParameterError(
                f"expected the array that the optimizer was made with, of shape {array.shape}, "
                f"got another of shape {raw.shape} in its place; write into the array "
                "(backend.assign), or make a new optimizer"
            )
