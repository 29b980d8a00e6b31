"""Update kernels: what a backend makes of a traced rule.

A kernel is bound to tensors once. Each step prepares it, checking gradients, and runs it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from born.fusion import GroupProgram, Program
from born.fusion.host import Scalars as Scalars
from born.fusion.program import ELEMENT
from born.raw import RawTensor

Check: TypeAlias = Callable[[int, RawTensor], None]
"""Of a tensor's number and its gradient: raises an error if they do not match.

No gradient matches a tensor whose array has changed since it was bound.
"""

_SINGLE: Final = np.dtype(np.float32)
_DOUBLE: Final = np.dtype(np.float64)


def compute_dtype(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """The dtype an update computes in: float64 where any array has it, float32 otherwise."""
    return _DOUBLE if _DOUBLE in dtypes else _SINGLE


def element_dtype(program: Program, dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """The dtype that a program computes elements in: what is of a lower rank is double."""
    return compute_dtype([x for i, x in enumerate(dtypes) if program.rank(i) == ELEMENT])


def accept(number: int, gradient: RawTensor) -> None:
    """The check of a caller who knows that every gradient is like its tensor."""


class PreparedStep(ABC):
    """An update by gradients that were checked, to be run once."""

    @abstractmethod
    def run(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None = None,
        values: RawTensor | None = None,
        finished: int = 0,
    ) -> RawTensor | None:
        """Update the tensors; or, of a rule with totals, compute up to those of one round.

        Args:
            scalars: the sets of scalars in use, most often one.
            sets: for each gradient, which set its tensor takes; the first by default.
            values: those of the group that are known, float64; what is not yet known may be
                anything.
            finished: how many rounds of totals are over.

        Returns:
            what the totals of this round add up to over the kernel's tensors, float64, in order;
            None from the last run, which updates.
        """

    def run_all(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None,
        group: GroupUpdate,
    ) -> bool:
        """Run all rounds, and what is common between them, if that can be done at once.

        Whether it was done: otherwise nothing has changed, and `run` is called for each round.
        """
        return False


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
        group: GroupUpdate | None = None,
    ) -> None:
        """Update all of `targets`, each with a gradient and a set of scalars."""
        every = range(len(targets))
        run_together([self.bind(targets).prepare(every, gradients)], [(scalars, every)], group)


class GroupUpdate(ABC):
    """The values of rank group in one step, and the slots that keep some of them."""

    def __init__(self, program: GroupProgram) -> None:
        self.program = program

    @abstractmethod
    def values(self, totals: Sequence[RawTensor]) -> RawTensor:
        """What is known of the values, float64, given what each kernel's totals of the last round
        add up to; nothing before the first round."""

    @abstractmethod
    def finish(self) -> None:
        """Write the slots, after the last round."""


def run_together(
    steps: Sequence[PreparedStep],
    given: Sequence[tuple[Sequence[Scalars], Sequence[int] | None]],
    group: GroupUpdate | None,
) -> None:
    """Run the steps of several kernels, round by round where they have values in common.

    Args:
        steps: of each kernel.
        given: for each, its scalars and the sets that its tensors take.
        group: the values that they have in common.
    """
    values, rounds = None, 0
    if group is not None and len(steps) == 1 and steps[0].run_all(*given[0], group):
        return
    if group is not None:
        values, rounds = group.values([]), group.program.rounds
    for finished in range(rounds + 1):
        totals = [
            step.run(scalars, sets, values, finished)
            for step, (scalars, sets) in zip(steps, given, strict=True)
        ]
        if group is not None and finished < rounds:
            values = group.values([total for total in totals if total is not None])
    if group is not None:
        group.finish()
