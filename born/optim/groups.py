"""How an optimizer runs its rule: parameters in groups of one dtype, each with a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from born.backend import Backend
from born.backend.update import BoundUpdate, Check, PreparedStep, Scalars, compute_dtype
from born.fusion import Program
from born.raw import RawTensor


class Group:
    """Parameters, by their `indices` in the optimizer, whose arrays and slots have equal dtypes."""

    def __init__(
        self,
        backend: Backend,
        program: Program,
        indices: tuple[int, ...],
        targets: Sequence[Sequence[RawTensor]],
        check: Check,
    ) -> None:
        def check_number(number: int, gradient: RawTensor) -> None:
            check(indices[number], gradient)

        p, *slots = targets[0]
        # A gradient has the dtype of its parameter.
        dtypes = (p.dtype, p.dtype, *(slot.dtype for slot in slots))
        self.indices = indices
        self.compute = compute_dtype(dtypes)
        self.kernel = backend.compile_update(program, dtypes)
        self._bound = self.kernel.bind(targets, check_number)
        self._bind_scaled: Callable[[], BoundUpdate] = lambda: backend.compile_update(
            program.scaled, dtypes
        ).bind(targets, check_number)
        self._scaled: BoundUpdate | None = None

    def prepare(self, gradients: Sequence[RawTensor | None], scaled: bool) -> GroupStep | None:
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
        bound = self._bound
        if scaled:
            # `cached_property` holds a lock in Python 3.11, which a forked child may find taken.
            if self._scaled is None:
                self._scaled = self._bind_scaled()
            bound = self._scaled
        return GroupStep(self, indices, bound.prepare(numbers, present))


class GroupStep(NamedTuple):
    """What one step does to a group."""

    group: Group
    indices: Sequence[int]  # of the optimizer's parameters that have a gradient
    prepared: PreparedStep

    def scalars(
        self, host: Callable[..., Scalars], counts: Sequence[int]
    ) -> tuple[list[Scalars], list[int] | None]:
        """The sets of scalars for these counts of updates, and which of them each parameter takes.

        If the counts agree, there is one set, and None in place of a choice.
        """
        own = [counts[index] for index in self.indices]
        if own.count(own[0]) == len(own):
            return [self._computed(host, own[0] + 1)], None
        # Parameters that joined late are at another count, and so at other scalars.
        distinct = sorted(set(own))
        sets = [self._computed(host, count + 1) for count in distinct]
        return sets, [distinct.index(count) for count in own]

    def _computed(self, host: Callable[..., Scalars], t: int) -> Scalars:
        try:
            return host(t=t)
        except Exception as error:
            name = self.group.kernel.program.name
            error.add_note(f"while computing the scalars of the rule {name} for update t = {t}")
            raise
