"""How an optimizer runs its rule: parameters in groups of one dtype, a kernel for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from born.backend import Backend
from born.backend.update import BoundUpdate, Scalars, compute_dtype
from born.fusion import Program
from born.optim.rule import Rule
from born.raw import RawTensor


class Group:
    """Parameters whose arrays and slots have the same dtypes.

    Args:
        backend: what computes.
        program: their rule.
        indices: which parameters of the optimizer they are.
        targets: each of them with its slots.

    Attributes:
        indices: as given.
        numbers: each of them by its place in the group.
        compute: the dtype that the rule computes in.
        kernel: what computes it.
        bound: the kernel over them.
    """

    def __init__(
        self,
        backend: Backend,
        program: Program,
        indices: tuple[int, ...],
        targets: Sequence[Sequence[RawTensor]],
    ) -> None:
        p, *slots = targets[0]
        # A gradient has the dtype of its parameter.
        dtypes = (p.dtype, p.dtype, *(slot.dtype for slot in slots))
        self.indices = indices
        self.numbers = range(len(indices))
        self.compute = compute_dtype(dtypes)
        self.kernel = backend.compile_update(program, dtypes)
        self.bound = self.kernel.bind(targets)
        self._bind_scaled: Callable[[], BoundUpdate] = lambda: backend.compile_update(
            program.scaled, dtypes
        ).bind(targets)
        self._scaled: BoundUpdate | None = None

    @property
    def scaled(self) -> BoundUpdate:
        """The kernel that also scales gradients, compiled when it is first asked for."""
        # No `cached_property`: in Python 3.11 it holds one lock for all groups meanwhile, which
        # a child forked at that time would wait for in vain.
        if self._scaled is None:
            self._scaled = self._bind_scaled()
        return self._scaled


class Update(NamedTuple):
    """What one step does to a group.

    Attributes:
        group: the group.
        bound: its kernel, the plain or the scaled one.
        numbers: which of the group's parameters have a gradient.
        indices: which of the optimizer's parameters these are.
        gradients: their gradients.
    """

    group: Group
    bound: BoundUpdate
    numbers: Sequence[int]
    indices: Sequence[int]
    gradients: list[RawTensor]

    @classmethod
    def of(cls, group: Group, gradients: Sequence[RawTensor | None], scaled: bool) -> Update | None:
        """The update of a group by the gradients of all parameters; None if none is its own."""
        own = [gradients[index] for index in group.indices]
        present = [gradient for gradient in own if gradient is not None]
        if len(present) == len(own):
            bound = group.scaled if scaled else group.bound
            return cls(group, bound, group.numbers, group.indices, present)
        if not present:
            return None
        numbers = [number for number, gradient in enumerate(own) if gradient is not None]
        indices = [group.indices[number] for number in numbers]
        return cls(group, group.scaled if scaled else group.bound, numbers, indices, present)

    def scalars(
        self, host: Callable[..., Scalars], counts: Sequence[int]
    ) -> tuple[list[Scalars], list[int]]:
        """The sets of scalars for the update, and which of them each parameter takes.

        Args:
            host: the rule's, from `t` to the scalars.
            counts: how many updates each of the optimizer's parameters has had.
        """
        own = [counts[index] for index in self.indices]
        if own.count(own[0]) == len(own):
            return [self._computed(host, own[0] + 1)], [0] * len(own)
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


def groups_of(
    backend: Backend,
    rule: Rule,
    parameters: Sequence[RawTensor],
    buffers: Sequence[tuple[RawTensor, ...]],
) -> list[Group]:
    """The parameters by dtype, each group with a compiled kernel."""
    targets = [(raw, *slots) for raw, slots in zip(parameters, buffers, strict=True)]
    members: dict[tuple[object, ...], list[int]] = {}
    for index, target in enumerate(targets):
        members.setdefault(tuple(raw.dtype for raw in target), []).append(index)
    return [
        Group(backend, rule.program, tuple(indices), [targets[index] for index in indices])
        for indices in members.values()
    ]
