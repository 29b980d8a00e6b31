"""`Stepping`: a step of an optimizer, from the gradients that it is given to its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from born.backend import B
from born.errors import OperandError
from born.optim.accumulation import Accumulation
from born.optim.clipping import (
    MAX_NORM,
    NORM,
    SCALE,
    Scale,
    check_options,
    double,
    scale_tensor,
)
from born.optim.holding import C_co, Holding
from born.optim.loss_scale import LOSS_SCALE, as_factor
from born.optim.plan import Plan
from born.optim.report import Fault, StepReport
from born.raw import RawTensor
from born.tensor import Tensor
from born.validation import type_error


class Stepping(Holding[B, C_co]):
    """The steps of an optimizer, and what it tells of them."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Which gradients were not finite, each with the first step of it, the earliest first.

        With `nonfinite="ignore"` nobody looks, and there are none.

        >>> p = nn.Parameter(born.zeros(2, backend), "p")
        >>> optimizer = optim.SGD([p], lr=0.1, nonfinite="skip")
        >>> for value in (1.0, np.inf, np.nan):
        ...     report = optimizer.step({p.raw: born.full(2, value, p.backend).raw})
        >>> optimizer.faults, optimizer.timestep
        ((Fault(parameter='p', step=2, elements=2),), 1)
        """
        if self._reporter.pending is not None:
            self._reporter.settle(self._updates)
        return self._reporter.faults

    def step(
        self,
        grads: Mapping[RawTensor, RawTensor] | None = None,
        *,
        scale: Scale | None = None,
        max_norm: float | None = None,
    ) -> StepReport:
        """Update every parameter that has a gradient, in place.

        A parameter without one is left alone: not updated, not decayed, its count of
        updates not advanced. So is one whose `requires_grad` is False.

        Args:
            grads: raw tensor of a parameter -> its gradient, of the same shape and
                dtype, from `born.autodiff.backward` or from anywhere else. Without it,
                the gradients that `Tensor.backward` has accumulated in the parameters.
            scale: what gradients are multiplied by first, 1 by default: one over a loss
                scale, or over the number of batches that were added up. A number, or a
                tensor of one element, which is not waited for.
            max_norm: clip by global norm: where the square root of the sum of the
                squares of all gradients, scaled, is larger than this, all are
                multiplied by max_norm over it. Neither costs a pass over the
                parameters; the norm takes one over the gradients.

        Returns:
            what the step did; whatever a device has to be asked for is read when it is used.

        Raises:
            OperandError: a scale or norm of the wrong type.
            DomainError: a norm that is not above 0.
            GradientError: a gradient of another shape or dtype, or for a tensor that
                this optimizer does not hold.
            BackendMismatchError: a gradient or scale on another backend.

            Every gradient is checked before the first parameter changes. A step that is
            interrupted, as by Ctrl-C, may leave some elements updated and others not: go
            on from a checkpoint.
        """
        self._check_own_values("to step", "the step would be lost")
        gradients = self._incoming.gradients(grads)
        self._checks.check_arrays()
        if max_norm is None:
            max_norm = self._around.max_norm
        if self._accumulation is not None:
            return self._gather(self._accumulation, gradients, scale, max_norm)
        return self._updated(gradients, scale, max_norm)

    def _updated(
        self,
        gradients: Sequence[RawTensor | None],
        scale: Scale | None,
        max_norm: float | None,
    ) -> StepReport:
        """An update by gradients that were checked."""
        if scale is None and max_norm is None:
            return self._run(self._plans.plain, gradients, {}, {})
        kind, slots, given = self._options(gradients, scale, max_norm)
        plan = self._plans.plain
        if kind is not None or max_norm is not None:  # not a tensor as the scale of no gradients
            plan = self._plans.scaled(kind, max_norm is not None)
        return self._run(plan, gradients, slots, given)

    def _options(
        self,
        gradients: Sequence[RawTensor | None],
        scale: Scale | None,
        max_norm: float | None,
    ) -> tuple[str | None, dict[str, RawTensor], dict[str, float]]:
        """The options of a step, checked: the kind of scale, and slots and scalars of this step."""
        check_options(scale, max_norm)
        given: dict[str, float] = {}
        kind, slots = None, dict[str, RawTensor]()
        if scale is None:
            pass
        elif isinstance(scale, RawTensor | Tensor):
            like = next((gradient for gradient in gradients if gradient is not None), None)
            if like is not None:
                kind = "tensor"
                slots[SCALE] = scale_tensor(self._inner, like, scale)
        else:
            kind, given[SCALE] = "number", double(scale)
        if max_norm is not None:
            given[MAX_NORM] = double(max_norm)
            slots[NORM] = self._inner.zeros((), "float64")
        return kind, slots, given

    def _gather(
        self,
        accumulation: Accumulation,
        gradients: Sequence[RawTensor | None],
        scale: Scale | None,
        max_norm: float | None,
    ) -> StepReport:
        """A step that adds gradients up, and updates by their mean if it is due."""
        share = 1 / accumulation.k  # in the sums, which 16 bits could not hold
        kind, slots, given = self._options(gradients, share if scale is None else scale, None)
        if kind == "tensor":
            slots[SCALE] = self._inner.mul(slots[SCALE], share)
        elif scale is not None and kind == "number":
            given[SCALE] *= share
        check_options(None, max_norm)
        accumulation.add(gradients, kind, slots, given)
        if accumulation.is_due:
            means = accumulation.taken()
            for index, raw in enumerate(self._raws):  # what was frozen meanwhile
                if index in self._incoming.frozen or not raw.requires_grad:
                    means[index] = None
            return self._updated(means, None, max_norm)
        report = StepReport(self._reporter, self._config, self._treatments, self._counts)
        report.with_missing([index for index, g in enumerate(gradients) if g is None])
        report.as_gathered()
        return report

    def _run(
        self,
        plan: Plan,
        gradients: Sequence[RawTensor | None],
        slots: Mapping[str, RawTensor],
        given: Mapping[str, float],
    ) -> StepReport:
        reporter, counts = self._reporter, self._updates
        if reporter.pending is not None:
            reporter.settle(counts)
        report = StepReport(reporter, self._config, self._treatments, counts)
        if None in gradients:
            report.with_missing([index for index, g in enumerate(gradients) if g is None])
        if slots or given:
            report.with_options(slots, given)
            slots = {**self._shared, **slots}
        if self._projected:
            self._projecting.keep(gradients, counts)
        if not reporter.rows:
            plan.run(gradients, counts, self._count, slots or self._shared, given)
            return report
        reporter.check()
        updated: list[int] = []
        plan.run(gradients, counts, updated.extend, slots or self._shared, given)
        outcome = reporter.seen(updated, report.step)
        if not outcome.is_left_out:
            self._count(updated)
        reporter.check()
        report.with_outcome(outcome)
        return report

    def _count(self, indices: Sequence[int]) -> None:
        """Count an update of each of some parameters, and hold them to their projections."""
        counts, raws = self._updates, self._raws
        for index in indices:
            counts[index] += 1
            changes = raws[index].changes
            if changes is None:
                raws[index].touch()
            else:
                changes[0] += 1  # which is what it does, without a call for each
        if self._projected:
            self._projecting.run(indices, counts)

    def scale_loss(self, loss: Tensor[B]) -> Tensor[B]:
        """A loss times the present `loss_scale`, for the backward pass; without one, as it is."""
        if not isinstance(cast("object", loss), Tensor):
            raise type_error(
                "loss", "a tensor", loss, "pass it as it is, not loss.item()", OperandError
            )
        scale = self._shared.get(LOSS_SCALE)
        if scale is None:
            return loss
        return loss * Tensor(as_factor(self._inner, scale, loss.dtype), loss.backend)

    @property
    def loss_scale(self) -> float:
        """The present loss scale, 1 without one; it waits for the device."""
        scale = self._shared.get(LOSS_SCALE)
        return 1.0 if scale is None else float(self._inner.to_numpy(scale))

    def zero_grad(self) -> None:
        """Forget the gradients that `Tensor.backward` has accumulated in the parameters."""
        for parameter in self._parameters:
            parameter.zero_grad()
