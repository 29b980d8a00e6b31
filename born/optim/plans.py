"""`Plans`: the plan of an optimizer's steps, and those of steps that scale their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from born.backend import Backend
from born.errors import RuleError
from born.fusion import Program
from born.optim.checks import StepChecks
from born.optim.clipping import scaled
from born.optim.plan import Plan, in_common
from born.optim.rule import Rule
from born.optim.scalars import Scalar
from born.optim.treatment import Treatment
from born.raw import RawTensor


class Plans:
    """What runs the steps of some parameters, compiled as it is needed.

    Args:
        backend: what computes.
        targets: each parameter with its slots.
        checks: those of every step.
        treatments: how each parameter is updated.
        looked_at: from rules to those that also tell of a step, the last thing around them.
        dtypes: of the gradients, if they are not the targets'.
        clips: whether all steps will be clipped: what cannot be is refused now, not in the first.

    Attributes:
        plain: for steps by gradients as they are.
    """

    def __init__(
        self,
        backend: Backend,
        targets: Sequence[Sequence[RawTensor]],
        checks: StepChecks,
        treatments: Sequence[Treatment],
        looked_at: Callable[[Rule], Rule] | None = None,
        dtypes: Sequence[np.dtype[Any]] | None = None,
        clips: bool = False,
    ) -> None:
        self._backend = backend
        self._looked_at = looked_at or _as_it_is
        self._dtypes = [each[0].dtype for each in targets] if dtypes is None else dtypes
        self._targets = targets
        self._checks = checks
        self._treatments, self._clips = treatments, clips
        self._check_clipped(treatments)
        self._variants: dict[tuple[str | None, bool], Plan] = {}
        plain = self._changed(treatments, self._looked_at)
        self.plain = self._planned(plain, self._programs(plain))

    def take(self, treatments: Sequence[Treatment]) -> None:
        """Update by these from now on; they keep the same slots."""
        plain = self._changed(treatments, self._looked_at)
        programs = self._programs(plain)
        if any(new is not old for new, old in zip(programs, self.plain.programs, strict=True)):
            self._check_clipped(treatments)
            self.plain = self._planned(plain, programs)
            self._variants = {}
        else:
            self.plain.take_scalars(plain)
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

    def _check_clipped(self, treatments: Sequence[Treatment]) -> None:
        if self._clips:
            self._programs(self._scaled(treatments, None, True))

    def _planned(self, treatments: Sequence[Treatment], programs: Sequence[Program]) -> Plan:
        check = self._checks.check_gradient
        return Plan(self._backend, treatments, programs, self._targets, self._dtypes, check)

    def _scaled(
        self, treatments: Sequence[Treatment], scale: str | None, clips: bool
    ) -> list[Treatment]:
        """The treatments with their gradients scaled first."""
        wide = any(dtype.itemsize > 4 for dtype in self._dtypes)
        return self._changed(
            treatments, lambda rule: self._looked_at(scaled(rule, scale, clips, wide))
        )

    def _changed(
        self, treatments: Sequence[Treatment], change: Callable[[Rule], Rule]
    ) -> list[Treatment]:
        """The treatments with other rules; equal ones stay one object."""
        made: dict[int, Rule] = {}
        for each in treatments:
            if id(each.rule) not in made:
                made[id(each.rule)] = change(each.rule)
        return [each._replace(rule=made[id(each.rule)]) for each in treatments]

    def _programs(self, treatments: Sequence[Treatment]) -> list[Program]:
        return programs([target[0] for target in self._targets], treatments, self._checks)


def _as_it_is(rule: Rule) -> Rule:
    return rule


def programs(
    raws: Sequence[RawTensor], treatments: Sequence[Treatment], checks: StepChecks
) -> list[Program]:
    """The program of each parameter; equal ones are one object."""
    varying = _varying(treatments)
    found: list[Program] = []
    for index, (raw, each) in enumerate(zip(raws, treatments, strict=True)):
        ndim, seen = len(raw.shape), each.rule.seen(raw.shape)
        try:
            each.rule.check_axes(raw.shape)
            square = ndim < 2 or seen[-1] == seen[-2]
            found.append(each.rule.program_for(ndim, varying, square=square))
        except RuleError as error:
            raise RuleError(f"{checks.label(index)}: {error}") from error
    in_common(found)
    if varying:
        _check_common(treatments, found, checks)
    return found


def _varying(treatments: Sequence[Treatment]) -> frozenset[str]:
    """The scalars by which rules that compute values of rank group differ."""
    rules = list({id(each.rule): each.rule for each in treatments}.values())
    if len(rules) == 1:
        return frozenset()
    first: dict[str, Scalar] = {}
    differing = set[str]()
    for rule in rules:
        if rule.program.group is None:
            continue
        for name, value in rule.scalars.items():
            if first.setdefault(name, value) != value:
                differing.add(name)
    return frozenset(differing)


def _check_common(
    treatments: Sequence[Treatment], programs: Sequence[Program], checks: StepChecks
) -> None:
    """Refuse scalars that differ although what all parameters have in common depends on them."""
    first: dict[str, tuple[int, Scalar]] = {}
    for index, (each, program) in enumerate(zip(treatments, programs, strict=True)):
        scalars = each.rule.scalars
        for name in sorted(program.group.reads & scalars.keys()) if program.group else ():
            other, value = first.setdefault(name, (index, scalars[name]))
            if scalars[name] != value:
                raise RuleError(
                    f"{program.name}: expected one {name} for all parameters, since what they have "
                    f"in common depends on it, got {value} for {checks.label(other)} and "
                    f"{scalars[name]} for {checks.label(index)}; leave it, and "
                    "what it follows from, out of the groups"
                )
