"""Updates of several stages on the host: tensor by tensor, or many tensors pass by pass.

What is of lower rank than element is computed by NumPy, in double. The passes over elements are
those of NumPy or of compiled loops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend import Backend
from born.backend.lanes import goes_by_rows
from born.backend.update import (
    BoundUpdate,
    Check,
    PreparedStep,
    Scalars,
    UpdateKernel,
    accept,
    element_dtype,
)
from born.fusion import RESULT, Program, Ref
from born.fusion.stages import Pass, Stages
from born.raw import RawTensor
from born_numpy import sums
from born_numpy.passes import Elementwise, PassKernel, Tiles
from born_numpy.update import NumpyUpdate
from born_numpy.waves import Plan, StagedProgram, Wave


def takes_codes(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> bool:
    """Whether coded slots may stay so: only passes that are updates of one stage touch them."""
    if goes_by_rows(program):
        return False
    works = [each.work for each in Stages(program, dtypes, element_dtype(program, dtypes)).stages]
    return not any(
        work.reductions and any(work.program.codec(i) for i in work.used)
        for work in works
        if work is not None
    )


_WAVE: Final = 1_048_576
"""Elements that go through all stages together, so that later ones find them in the cache."""

_MATRICES: Final = 349_525
"""Elements of matrices that go through all stages together: in float32 and with two work matrices
for each they take 4 MB."""


class StagedUpdate(UpdateKernel):
    """A program of several stages; a subclass says how a pass over the elements is run."""

    def __init__(
        self, backend: Backend, program: Program, dtypes: tuple[np.dtype[Any], ...]
    ) -> None:
        super().__init__(program, dtypes, "")
        self.staged = StagedProgram(backend, program, dtypes)
        stages = self.staged.stages
        self.passes = [
            None if stage.work is None else self.compile_pass(stage.work) for stage in stages.stages
        ]
        rounds = program.group.total_rounds if program.group else ()
        self.totals = [
            [ref for ref, number in zip(program.totals, rounds, strict=True) if number == finished]
            for finished in range(len(stages.starts) - 1)
        ]
        self.rounds = [range(start, stop) for start, stop in pairwise(stages.starts)]
        self.alone = self.staged.by_rows  # values of rows and columns are one tensor's
        self.matrices = any(stage.matrices for stage in stages.stages)
        self.returns = any(
            sum(work is not None for work in self.passes[start:stop]) > 1
            for start, stop in pairwise(stages.starts)
        )
        text = "".join(
            f"# stage {number}\n{work.source}\n"
            for number, work in enumerate(self.passes, 1)
            if work is not None
        )
        self.source = f"# {program.name}\n{self._small_text()}{text}"

    def _small_text(self) -> str:
        lines: list[str] = []
        for number, stage in enumerate(self.staged.stages.stages, 1):
            for place in (*stage.small, *stage.matrices):
                op, args = self.program.instructions[place]
                rank = self.staged.ranks[Ref(RESULT, place)]
                lines.append(
                    f"# stage {number}, {rank}: r{place} = {op}({', '.join(map(str, args))})\n"
                )
        return "".join(lines)

    def compile_pass(self, work: Pass) -> PassKernel:
        """What runs a pass."""
        if self.is_elementwise(work):
            return Elementwise(work, NumpyUpdate(work.program, work.dtypes))
        return Tiles(work)

    def is_elementwise(self, work: Pass) -> bool:
        """Whether a pass is an update of one stage."""
        return not work.reductions and not self.staged.by_rows

    def together(self, sizes: Sequence[int], gathered: Any) -> list[Sequence[int]]:
        """The places of tensors that go through the stages of a round together, by their sizes."""
        return self.in_waves(sizes, range(len(sizes)))

    def in_waves(self, sizes: Sequence[int], places: Sequence[int]) -> list[Sequence[int]]:
        """Some places parted where later stages would find the cache filled with others."""
        most = _WAVE if self.returns else math.inf
        if self.matrices:  # small ones together take no more memory than a large one
            most = max(_MATRICES, *sizes)
        starts: list[int] = []
        size = 0
        for number, place in enumerate(places):
            if not starts or self.alone or size + sizes[place] > most:
                starts.append(number)
                size = 0
            size += sizes[place]
        return [places[start:stop] for start, stop in pairwise([*starts, len(places)])]

    def go(self, wave: Wave, finished: int) -> None:
        """Take a wave through the stages of a round."""
        for number in self.rounds[finished]:
            own, chosen = wave.begin(number)
            work = self.passes[number]
            if work is not None:
                work.run(wave, own, chosen)
            wave.end(number)

    @override
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        return BoundStages(self, targets, check)


class BoundStages(BoundUpdate):
    """A staged kernel with its tensors; the plan of the latest step is kept."""

    def __init__(
        self, kernel: StagedUpdate, targets: Sequence[Sequence[RawTensor]], check: Check
    ) -> None:
        self.kernel = kernel
        self.targets = targets
        self._check = check
        self._shapes = [target[0].shape for target in targets]
        self._latest: tuple[tuple[Sequence[int], bool], list[Plan]] = ((), False), []

    def gathered(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> Any:
        """What passes want to know of all gradients, which are checked: here nothing."""
        dtype = self.kernel.dtypes[1]
        for number, gradient in zip(numbers, gradients, strict=True):
            p, g = self.targets[number][0].array, gradient.array
            if not (
                g.__class__ is p.__class__ is np.ndarray
                and g.shape == p.shape == self._shapes[number]
                and g.dtype is p.dtype is dtype
                and p.flags.writeable
            ):
                self._check(number, gradient)
        return None

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        return self.in_waves(numbers, gradients, self.gathered(numbers, gradients))

    def in_waves(
        self, numbers: Sequence[int], gradients: Sequence[RawTensor], gathered: Any
    ) -> PreparedStep:
        """A step by gradients that were checked, in waves."""
        latest, plans = self._latest
        present = numbers, gathered is None
        if latest != present:
            plans = self._planned(numbers, gathered)
            self._latest = present, plans
        return _Step(self.kernel, [Wave(plan, plan.own(gradients), gathered) for plan in plans])

    def _planned(self, numbers: Sequence[int], gathered: Any) -> list[Plan]:
        """Tensors that go through the stages of a round together."""
        plans: list[Plan] = []
        sizes = [self.targets[number][0].size for number in numbers]
        for places in self.kernel.together(sizes, gathered):
            own = [numbers[place] for place in places]
            targets = [self.targets[number] for number in own]
            is_all = list(places) == list(range(len(numbers)))
            plans.append(Plan(self.kernel.staged, targets, own, places, is_all))
        return plans


class _Step(PreparedStep):
    """An update in waves."""

    def __init__(self, kernel: StagedUpdate, waves: Sequence[Wave]) -> None:
        self._kernel = kernel
        self._waves = waves

    @override
    def run(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None = None,
        values: RawTensor | None = None,
        finished: int = 0,
    ) -> RawTensor | None:
        kernel = self._kernel
        is_last = finished == len(kernel.totals) - 1
        known = None if values is None else values.array.tolist()
        for wave in self._waves:
            wave.take(scalars, sets, known)
            kernel.go(wave, finished)
            if is_last:
                wave.store()
        return None if is_last else RawTensor(np.array(self._totals(finished)))

    def _totals(self, finished: int) -> list[float]:
        return [sums.sum_of_list(self._of_tensors(ref)) for ref in self._kernel.totals[finished]]

    def _of_tensors(self, ref: Ref) -> list[float]:
        """A value of each tensor, in the order of the tensors."""
        if len(self._waves) == 1:
            return self._waves[0].of_tensors(ref)
        pairs = [
            pair
            for wave in self._waves
            for pair in zip(wave.plan.places, wave.of_tensors(ref), strict=True)
        ]
        return [value for _, value in sorted(pairs)]
