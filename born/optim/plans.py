"""`Plans`: the plan of an optimizer's steps, and those of steps that scale their gradients."""

from __future__ import annotations

from collections.abc import Sequence

from born.backend import Backend
from born.errors import RuleError
from born.fusion import Program
from born.optim.checks import StepChecks
from born.optim.clipping import scaled
from born.optim.plan import Plan
from born.optim.rule import Rule
from born.optim.treatment import Treatment
from born.raw import RawTensor


class Plans:
    """What runs the steps of some parameters, compiled as it is needed.

    Args:
        backend: what computes.
        targets: each parameter with its slots.
        checks: those of every step.
        treatments: how each parameter is updated.

    Attributes:
        plain: for steps by gradients as they are.
    """

    def __init__(
        self,
        backend: Backend,
        targets: Sequence[Sequence[RawTensor]],
        checks: StepChecks,
        treatments: Sequence[Treatment],
    ) -> None:
        self._backend = backend
        self._targets = targets
        self._checks = checks
        self._treatments = treatments
        self._variants: dict[tuple[str | None, bool], Plan] = {}
        self.plain = self._planned(treatments, self._programs(treatments))

    def take(self, treatments: Sequence[Treatment]) -> None:
        """Update by these from now on; they keep the same slots."""
        programs = self._programs(treatments)
        if any(new is not old for new, old in zip(programs, self.plain.programs, strict=True)):
            self.plain = self._planned(treatments, programs)
            self._variants = {}
        else:
            self.plain.take_scalars(treatments)
            for (scale, clips), plan in self._variants.items():
                plan.take_scalars(self._scaled(treatments, scale, clips))
        self._treatments = treatments

    def scaled(self, scale: str | None, clips: bool) -> Plan:
        """For steps whose gradients are scaled first, as `clipping.scaled` says."""
        plan = self._variants.get((scale, clips))
        if plan is None:
            treatments = self._scaled(self._treatments, scale, clips)
            plan = self._planned(treatments, self._programs(treatments))
            self._variants[scale, clips] = plan
        return plan

    def _planned(self, treatments: Sequence[Treatment], programs: Sequence[Program]) -> Plan:
        check = self._checks.check_gradient
        return Plan(self._backend, treatments, programs, self._targets, check)

    def _scaled(
        self, treatments: Sequence[Treatment], scale: str | None, clips: bool
    ) -> list[Treatment]:
        """The treatments with their gradients scaled first; equal rules stay one object."""
        wide = any(target[0].dtype.itemsize > 4 for target in self._targets)
        made: dict[int, Rule] = {}
        for each in treatments:
            made.setdefault(id(each.rule), scaled(each.rule, scale, clips, wide))
        return [each._replace(rule=made[id(each.rule)]) for each in treatments]

    def _programs(self, treatments: Sequence[Treatment]) -> list[Program]:
        return programs([target[0] for target in self._targets], treatments, self._checks)


def programs(
    raws: Sequence[RawTensor], treatments: Sequence[Treatment], checks: StepChecks
) -> list[Program]:
    """The program of each parameter; equal ones are one object."""
    found: list[Program] = []
    for index, (raw, each) in enumerate(zip(raws, treatments, strict=True)):
        try:
            found.append(each.rule.program_for(len(raw.shape)))
        except RuleError as error:
            raise RuleError(f"{checks.label(index)}: {error}") from error
    return found
