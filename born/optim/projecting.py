"""`Projecting`: holds parameters to their projections, between an update and what follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from born.backend import Backend
from born.dtypes import is_half
from born.nn import Parameter
from born.optim.around import Around
from born.optim.checks import StepChecks, quiet
from born.optim.following import APPLIED
from born.optim.plans import Plans
from born.optim.precision import MASTER
from born.optim.projections import Projection
from born.optim.report import Reporter
from born.optim.treatment import Treatment
from born.raw import RawTensor
from born.tensor import Tensor


class Projecting:
    """What is done to parameters with projections after each of their updates.

    Args:
        backend: what computes.
        parameters: of the optimizer.
        projected: the projections of each parameter that has some.
        treatments: of all parameters.
        buffers: their slots.
        around: what surrounds the updates.
        reporter: knows whether an update was skipped.
    """

    def __init__(
        self,
        backend: Backend,
        parameters: Sequence[Parameter[Any]],
        projected: Mapping[int, Sequence[Projection]],
        treatments: Sequence[Treatment],
        buffers: Sequence[Sequence[RawTensor]],
        around: Around,
        reporter: Reporter,
    ) -> None:
        self._backend, self._projected, self._reporter = backend, projected, reporter
        self._raws = [p.raw for p in parameters]
        # What is projected: the float32 master where there is one, of which p is the rounding.
        self._exact = {
            i: buffers[i][treatments[i].rule.own_slots.index(MASTER)]
            for i in projected
            if around.precision.parameters == MASTER and is_half(self._raws[i].dtype) and buffers[i]
        }
        self._places = [i for i in projected if treatments[i].after is not None and buffers[i]]
        self._plans: Plans | None = None
        self._targets = targets = list[tuple[RawTensor, ...]]()
        if self._places:
            for i in self._places:
                own, after = treatments[i].rule.own_slots, treatments[i].after
                slots = () if after is None else after.own_slots
                kept = [buffers[i][own.index(slot)] for slot in slots]
                targets.append((self._exact.get(i, self._raws[i]), *kept))
            subset = tuple(parameters[i] for i in self._places)
            dtypes = [self._raws[i].dtype for i in self._places]
            rules = self._rules(treatments)
            self._plans = Plans(backend, targets, StepChecks(subset), rules, None, dtypes)
        self._old: dict[int, RawTensor] = {}
        # With nonfinite="keep": which elements go on, in the step under way.
        self._finite: dict[int, RawTensor] = {}
        self._keeps = around.nonfinite == "keep"

    def _rules(self, treatments: Sequence[Treatment]) -> list[Treatment]:
        own = [treatments[i] for i in self._places]
        return [each if each.after is None else each._replace(rule=each.after) for each in own]

    def take(self, treatments: Sequence[Treatment]) -> None:
        """Follow these from now on; they keep the same slots."""
        if self._plans is not None:
            self._plans.take(self._rules(treatments))

    def keep(self, gradients: Sequence[RawTensor | None], counts: Sequence[int]) -> None:
        """Remember what those that will be updated are now, if something that follows asks.

        It begins with an allowed value, whatever the parameter begins with.
        """
        raws = self._raws
        self._old = {
            i: self._backend.copy(raws[i] if counts[i] else self.nearest(i, raws[i]))
            for i in self._places
            if gradients[i] is not None
        }
        if self._keeps:
            given = {i: gradients[i] for i in self._old}
            self._finite = {i: self._backend.isfinite(g) for i, g in given.items() if g is not None}

    def run(self, indices: Sequence[int], counts: Sequence[int]) -> None:
        """Project those of these that have a projection, and run what follows.

        Args:
            indices: of the parameters that were updated.
            counts: the number of updates of all parameters, this one among them.
        """
        now = [index for index in indices if index in self._projected]
        self._project(now)
        following = set(now) & set(self._old)
        if self._plans is None or not following:
            return
        places = self._places
        given = [self._old.pop(i) if i in following else None for i in places]
        before = [counts[i] - 1 for i in places]
        slots = {APPLIED: self._reporter.applied()} if self._reporter.skips else {}
        kept = self._copies(given, before) if self._keeps else []
        self._plans.plain.run(given, before, _nothing, slots, {})
        for raw, copy, finite in kept:
            self._backend.assign(raw, self._backend.where(finite, raw, copy))
        self._project([index for index in now if index in following])  # a step back moves p

    def _copies(
        self, old: Sequence[RawTensor | None], before: Sequence[int]
    ) -> list[tuple[RawTensor, RawTensor, RawTensor]]:
        """What may change in what follows, what it is now, and which elements of it go on.

        Before the first update the slots are to be copies of the parameter.
        """
        copies: list[tuple[RawTensor, RawTensor, RawTensor]] = []
        for i, value, count, target in zip(self._places, old, before, self._targets, strict=True):
            if value is not None:
                p, *slots = target
                copy, astype = self._backend.copy, self._backend.astype
                own = [copy(x) if count else astype(value, x.dtype) for x in slots]
                pairs = zip(target, (copy(p), *own), strict=True)
                copies += [(raw, kept, self._finite[i]) for raw, kept in pairs]
        return copies

    def _project(self, indices: Sequence[int]) -> None:
        backend, unless_skipped = self._backend, self._reporter.unless_skipped
        for index in indices:
            raw = self._raws[index]
            exact = self._exact.get(index, raw)
            backend.assign(exact, unless_skipped(self.nearest(index, exact), exact))
            if exact is not raw:
                with quiet():
                    rounded = backend.astype(exact, raw.dtype)
                backend.assign(raw, unless_skipped(rounded, raw))

    def nearest(self, index: int, raw: RawTensor) -> RawTensor:
        """The nearest value that a parameter may have."""
        value = Tensor(raw, self._backend)
        with quiet():
            for projection in self._projected.get(index, ()):
                value = projection(value)
        return value.raw


def _nothing(indices: Sequence[int]) -> None:
    """What follows an update is not counted."""
