"""How an optimizer runs its rules: parameters in groups, each with a kernel.

What all groups have in common, such as a norm over all gradients, they wait for together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from born.backend import Backend
from born.backend.update import Check, PreparedStep, Scalars, run_together
from born.errors import RuleError
from born.fusion import GroupProgram, Program
from born.optim.config import Config
from born.optim.rule import Rule
from born.raw import RawTensor, Shape


class Group:
    """Parameters, by their `indices` in the optimizer, that one kernel updates."""

    def __init__(
        self,
        backend: Backend,
        program: Program,
        rules: Sequence[Rule],
        indices: tuple[int, ...],
        targets: Sequence[Sequence[RawTensor]],
        check: Check,
        config: Config,
    ) -> None:
        def check_number(number: int, gradient: RawTensor) -> None:
            check(indices[number], gradient)

        p, *slots = targets[0]
        # A gradient has the dtype of its parameter.
        dtypes = (p.dtype, p.dtype, *(slot.dtype for slot in slots))
        self.program = program
        self.indices = indices
        self.kernel = backend.compile_update(program, dtypes)
        self._bound = self.kernel.bind(targets, check_number)
        self._sizes = [
            _sizes(program, target[0].shape, index)
            for index, target in zip(indices, targets, strict=True)
        ]
        self.take_scalars(rules, config)

    def take_scalars(self, rules: Sequence[Rule], config: Config) -> None:
        """Take the scalars of rules, one for each parameter of the optimizer."""
        own = [rules[index] for index in self.indices]
        distinct = list({id(rule): rule for rule in own}.values())
        places = {id(rule): place for place, rule in enumerate(distinct)}
        self.hosts = [rule.host(self.program.host, config) for rule in distinct]
        self._host_of = [places[id(rule)] for rule in own]
        self.is_uniform = len(distinct) == 1 and not self.program.sizes

    def prepare(self, gradients: Sequence[RawTensor | None]) -> GroupStep | None:
        """The step of those with a gradient among the optimizer's; None if there are none."""
        own = [gradients[index] for index in self.indices]
        present = [gradient for gradient in own if gradient is not None]
        if not present:
            return None
        numbers: Sequence[int] = range(len(own))
        indices: Sequence[int] = self.indices
        if len(present) < len(own):
            numbers = [number for number, gradient in enumerate(own) if gradient is not None]
            indices = [indices[number] for number in numbers]
        return GroupStep(self, numbers, indices, self._bound.prepare(numbers, present))

    def computed(self, host: Callable[..., Scalars], t: int, given: Mapping[str, Any]) -> Scalars:
        """The scalars of an update."""
        try:
            return host(t=t, **given)
        except Exception as error:
            error.add_note(
                f"while computing the scalars of the rule {self.program.name} for update t = {t}"
            )
            raise

    def set_of(self, number: int, count: int) -> tuple[int, int, tuple[int, ...]]:
        """What the scalars of a parameter depend on."""
        return self._host_of[number], count, self._sizes[number]


class GroupStep(NamedTuple):
    """What one step does to a group."""

    group: Group
    numbers: Sequence[int]  # of the group's parameters that have a gradient
    indices: Sequence[int]  # the same in the optimizer
    prepared: PreparedStep

    def scalars(
        self, counts: Sequence[int], given: Mapping[str, Any]
    ) -> tuple[list[Scalars], list[int] | None]:
        """The sets of scalars for these counts of updates, and which of them each parameter takes.

        If all take the same, there is one set, and None in place of a choice.
        """
        group = self.group
        own = [counts[index] for index in self.indices]
        if group.is_uniform and own.count(own[0]) == len(own):
            return [group.computed(group.hosts[0], own[0] + 1, given)], None
        # Parameters that joined late are at another count, and so at other scalars.
        wanted = [
            group.set_of(number, count) for number, count in zip(self.numbers, own, strict=True)
        ]
        distinct = {each: place for place, each in enumerate(dict.fromkeys(wanted))}
        sets: list[Scalars] = []
        for host, count, sizes in distinct:
            named = {
                f"__{name}": size for name, size in zip(group.program.sizes, sizes, strict=True)
            }
            sets.append(group.computed(group.hosts[host], count + 1, {**given, **named}))
        return sets, [distinct[each] for each in wanted]


class Plan:
    """The groups of an optimizer, and the program that they have in common."""

    def __init__(
        self,
        backend: Backend,
        rules: Sequence[Rule],
        programs: Sequence[Program],
        targets: Sequence[Sequence[RawTensor]],
        check: Check,
        config: Config,
    ) -> None:
        self.programs = programs
        self._backend = backend
        members: dict[tuple[object, ...], list[int]] = {}
        for index, (program, target) in enumerate(zip(programs, targets, strict=True)):
            key = (id(program), *(raw.dtype for raw in target))
            members.setdefault(key, []).append(index)
        self.groups = [
            Group(
                backend,
                programs[indices[0]],
                rules,
                tuple(indices),
                [targets[i] for i in indices],
                check,
                config,
            )
            for indices in members.values()
        ]
        shared = {
            id(group.program.group): group.program.group
            for group in self.groups
            if group.program.group is not None
        }
        self._commons = list(shared.values())
        if any(other != self._commons[0] for other in self._commons[1:]):
            names = ", ".join(
                dict.fromkeys(g.program.name for g in self.groups if g.program.group is not None)
            )
            raise RuleError(
                f"{names}: expected rules that compute the same values of rank group for all "
                "parameters, got different ones; take totals and slots of rank group in the same "
                "way whatever the parameter, before any branch on p.ndim"
            )
        self.take_scalars(rules, config)

    def take_scalars(self, rules: Sequence[Rule], config: Config) -> None:
        """Take the scalars of rules, one for each parameter."""
        for group in self.groups:
            group.take_scalars(rules, config)
        hosts = {
            (id(common), id(rule)): rule.host(common.host, config)
            for rule, program in zip(rules, self.programs, strict=True)
            if (common := program.group) is not None
        }
        self._common_hosts = list(hosts.values())

    @property
    def common(self) -> GroupProgram | None:
        """What is computed once for all groups."""
        return self._commons[0] if self._commons else None

    def run(
        self,
        gradients: Sequence[RawTensor | None],
        counts: list[int],
        updated: Callable[[Sequence[int]], None],
        slots: Mapping[str, RawTensor],
        given: Mapping[str, Any],
    ) -> None:
        """Update every parameter that has a gradient.

        Args:
            gradients: of each parameter, or None.
            counts: the number of updates of each parameter so far.
            updated: called with the indices of those that were updated.
            slots: those of rank group, by name.
            given: scalars of this step alone.
        """
        steps = [step for group in self.groups if (step := group.prepare(gradients)) is not None]
        ready = [(step.prepared, *step.scalars(counts, given)) for step in steps]
        if self.common is None:
            for step, (prepared, scalars, sets) in zip(steps, ready, strict=True):
                prepared.run(scalars, sets)
                updated(step.indices)
        elif ready:
            shared = self._common_scalars(max(counts) + 1, given)
            own = [slots[name] for name in self.common.slots]
            group = self._backend.begin_group(self.common, own, shared)
            run_together(
                [prepared for prepared, _, _ in ready],
                [(scalars, sets) for _, scalars, sets in ready],
                group,
            )
            for step in steps:
                updated(step.indices)

    def _common_scalars(self, t: int, given: Mapping[str, Any]) -> Scalars:
        values = [self.groups[0].computed(host, t, given) for host in self._common_hosts]
        if any(each != values[0] for each in values[1:]):
            raise RuleError(
                "expected rules whose values of rank group depend on the same numbers, got "
                f"{', '.join(map(str, values))}; give the parameters one config"
            )
        return values[0]


def _sizes(program: Program, shape: Shape, number: int) -> tuple[int, ...]:
    """What a program's host asks for of a parameter: sizes, those of an empty one as if it had one
    element, and its number."""
    if not program.sizes:
        return ()
    *before, rows, columns = (1, 1, *(max(length, 1) for length in shape))
    matrices = math.prod(before)
    known = {
        "size": matrices * rows * columns,
        "rows": rows,
        "columns": columns,
        "matrices": matrices,
        "number": number,
    }
    return tuple(known[name] for name in program.sizes)
