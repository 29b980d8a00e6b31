"""`Plan`: how an optimizer runs its rules, by a kernel for all parameters that are updated alike.

What all kernels have in common, such as a norm over all gradients, they wait for together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from born.backend import Backend
from born.backend.update import Check, PreparedStep, Scalars, run_together
from born.errors import RuleError
from born.fusion import Program
from born.fusion.program import GroupProgram
from born.optim.rows import Rows
from born.optim.rule import Rule
from born.optim.treatment import Treatment
from born.raw import RawTensor, Shape


class Bundle:
    """Parameters, by their `indices` in the optimizer, that one kernel updates.

    In an update of the same number they take one of `rows` of scalars each, the one that `row_of`
    says.
    """

    def __init__(
        self,
        backend: Backend,
        program: Program,
        treatments: Sequence[Treatment],
        indices: tuple[int, ...],
        targets: Sequence[Sequence[RawTensor]],
        gradient: np.dtype[Any],
        check: Check,
    ) -> None:
        def check_number(number: int, gradient: RawTensor) -> None:
            if number not in self._seen:  # those were checked in their own shape
                check(indices[number], gradient)

        # By the number in here: the rule that sees a gradient in another shape than its own.
        self._seen: dict[int, Rule] = {}
        rules = [treatments[index].rule for index in indices]
        if any(rule.by_unit or rule.order is not None for rule in rules):
            self._seen = {
                number: rule
                for number, (rule, each) in enumerate(zip(rules, targets, strict=True))
                if rule.order is not None or rule.seen(each[0].shape) != each[0].shape
            }
            targets = [
                _seen(backend, each, self._seen[number]) if number in self._seen else each
                for number, each in enumerate(targets)
            ]
        self._backend, self._check = backend, check
        p, *slots = targets[0]
        dtypes = (p.dtype, gradient, *(slot.dtype for slot in slots))
        self.program = program
        self.indices = indices
        self._numbers = range(len(indices))
        self.kernel = backend.compile_update(program, dtypes)
        self._bound = self.kernel.bind(targets, check_number)
        self._sizes = [
            _sizes(program, target[0].shape, index)
            for index, target in zip(indices, targets, strict=True)
        ]
        self.take_scalars(treatments)

    def take_scalars(self, treatments: Sequence[Treatment]) -> None:
        """Take the scalars of rules, one for each parameter of the optimizer."""
        own = [treatments[index] for index in self.indices]
        distinct = {id(each.rule): each for each in own}
        places = {rule: place for place, rule in enumerate(distinct)}
        rules = list(distinct.values())
        wanted = [(places[id(each.rule)], x) for each, x in zip(own, self._sizes, strict=True)]
        rows = {each: row for row, each in enumerate(dict.fromkeys(wanted))}
        names = [f"__{name}" for name in self.program.sizes]
        self.rows = Rows(
            self.program.host,
            [
                (rules[place].rule, rules[place].config, dict(zip(names, sizes, strict=True)))
                for place, sizes in rows
            ],
        )
        self.row_of = tuple(rows[each] for each in wanted)

    def prepare(self, gradients: Sequence[RawTensor | None]) -> BundleStep | None:
        """The step of those with a gradient among the optimizer's; None if there are none."""
        own = [gradients[index] for index in self.indices]
        for number, rule in self._seen.items():
            gradient = own[number]
            if gradient is not None:
                self._check(self.indices[number], gradient)
                own[number] = rule.view(self._backend, gradient)
        numbers: Sequence[int] = self._numbers
        indices: Sequence[int] = self.indices
        if None in own:
            numbers = [number for number, gradient in enumerate(own) if gradient is not None]
            indices = [indices[number] for number in numbers]
            own = [gradient for gradient in own if gradient is not None]
            if not own:
                return None
        present = cast("list[RawTensor]", own)
        return BundleStep(self, numbers, indices, self._bound.prepare(numbers, present))

    def scalars(
        self,
        rows: Rows,
        t: int,
        given: Mapping[str, Any],
        chosen: Sequence[int] | None = None,
    ) -> list[Scalars]:
        """The scalars of an update, of some rows."""
        try:
            return rows.at(t, given, chosen)
        except Exception as error:
            error.add_note(
                f"while computing the scalars of the rule {self.program.name} for update t = {t}"
            )
            raise


class BundleStep(NamedTuple):
    """What one step does to a bundle."""

    bundle: Bundle
    numbers: Sequence[int]  # of the bundle's parameters that have a gradient
    indices: Sequence[int]  # the same in the optimizer
    prepared: PreparedStep

    def scalars(
        self, counts: Sequence[int], given: Mapping[str, Any]
    ) -> tuple[list[Scalars], Sequence[int] | None]:
        """The sets of scalars for these counts of updates, and which of them each parameter takes.

        If all take the same, there is one set, and None in place of a choice.
        """
        bundle = self.bundle
        own = [counts[index] for index in self.indices]
        first = own[0]
        if own.count(first) == len(own):
            sets = bundle.scalars(bundle.rows, first + 1, given)
            if len(sets) == 1:
                return sets, None
            if len(self.numbers) == len(bundle.row_of):
                return sets, bundle.row_of
            return sets, [bundle.row_of[number] for number in self.numbers]
        # Parameters that joined late are at another count, and so at other scalars.
        wanted = [(count, bundle.row_of[n]) for n, count in zip(self.numbers, own, strict=True)]
        needed: dict[int, dict[int, None]] = {}
        for count, row in wanted:
            needed.setdefault(count, {})[row] = None
        sets, places = list[Scalars](), dict[tuple[int, int], int]()
        for count, rows in needed.items():
            places |= {(count, row): place for place, row in enumerate(rows, len(sets))}
            sets += bundle.scalars(bundle.rows, count + 1, given, list(rows))
        return sets, [places[each] for each in wanted]


class Plan:
    """The bundles of an optimizer, and the program that they have in common."""

    def __init__(
        self,
        backend: Backend,
        treatments: Sequence[Treatment],
        programs: Sequence[Program],
        targets: Sequence[Sequence[RawTensor]],
        dtypes: Sequence[np.dtype[Any]],
        check: Check,
    ) -> None:
        self.programs = programs
        self._backend = backend
        members: dict[tuple[object, ...], list[int]] = {}
        for index, (program, target) in enumerate(zip(programs, targets, strict=True)):
            key = (id(program), dtypes[index], *(raw.dtype for raw in target))
            members.setdefault(key, []).append(index)
        self.bundles = [
            Bundle(
                backend,
                programs[indices[0]],
                treatments,
                tuple(indices),
                [targets[i] for i in indices],
                dtypes[indices[0]],
                check,
            )
            for indices in members.values()
        ]
        self._commons = in_common([bundle.program for bundle in self.bundles])
        self.take_scalars(treatments)

    def take_scalars(self, treatments: Sequence[Treatment]) -> None:
        """Take the scalars of rules, one for each parameter."""
        for bundle in self.bundles:
            bundle.take_scalars(treatments)
        self._common: Rows | None = None
        for each, program in zip(treatments, self.programs, strict=True):
            if program.group is not None:  # of all alike
                self._common = Rows(program.group.host, [(each.rule, each.config, {})])
                break

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
        ready: list[tuple[BundleStep, list[Scalars], Sequence[int] | None]] = []
        for bundle in self.bundles:
            step = bundle.prepare(gradients)
            if step is not None:
                ready.append((step, *step.scalars(counts, given)))
        if not self._commons:
            for step, scalars, sets in ready:
                step.prepared.run(scalars, sets)
                updated(step.indices)
            return
        joined: list[tuple[PreparedStep, tuple[list[Scalars], Sequence[int] | None]]] = []
        shared = self._common_scalars(max(counts) + 1, given)
        for step, scalars, sets in ready:
            if step.bundle.program.group is None:
                step.prepared.run(scalars, sets)
            else:
                joined.append((step.prepared, (scalars, sets)))
        if joined:
            common = self._commons[0]
            own = [slots[name] for name in common.slots]
            group = self._backend.begin_group(common, own, shared)
            run_together([each for each, _ in joined], [each for _, each in joined], group)
        for step, _, _ in ready:
            updated(step.indices)

    def _common_scalars(self, t: int, given: Mapping[str, Any]) -> Scalars:
        assert self._common is not None, "a plan without values of rank group has none"
        (scalars,) = self.bundles[0].scalars(self._common, t, given)
        return scalars


def in_common(programs: Iterable[Program]) -> list[GroupProgram]:
    """What programs compute for all parameters together: the same, or it is a `RuleError`."""
    named = {id(each.group): (each.name, each.group) for each in programs if each.group is not None}
    commons = [common for _, common in named.values()]
    if all(other == commons[0] for other in commons[1:]):
        return commons
    names = list(dict.fromkeys(name for name, _ in named.values()))
    remedy = (
        "take totals and slots of rank group in the same way whatever the parameter, before any "
        "branch on p.ndim"
    )
    if len(names) > 1:
        remedy = (
            "max_norm, a policy for what is not finite and a loss scale are of all gradients "
            "together, beside which none of these rules may have values of its own for all "
            "parameters: make an optimizer for each"
        )
    raise RuleError(
        f"{', '.join(names)}: expected rules that compute the same values of rank group for all "
        f"parameters, got different ones; {remedy}"
    )


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


def _seen(backend: Backend, target: Sequence[RawTensor], rule: Rule) -> Sequence[RawTensor]:
    """A parameter and its slots as a rule sees them, in the same memory."""
    size, seen = target[0].shape, list[RawTensor]()
    for raw in target:
        view = rule.view(backend, raw) if raw.shape == size else raw
        if backend.extent(view) != backend.extent(raw):
            raise RuleError(
                f"expected a parameter of shape {size} in one piece of memory, to be seen as "
                f"{rule.seen(size)}, got one with gaps or another order; copy it"
            )
        seen.append(view)
    return seen
