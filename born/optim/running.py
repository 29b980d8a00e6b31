"""How an optimizer runs its rule: parameters in groups of one dtype, a kernel for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from born.backend import Backend
from born.backend.update import BoundUpdate
from born.optim.rule import Rule
from born.raw import RawTensor


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters whose arrays and slots have the same dtypes.

    Attributes:
        indices: which parameters of the optimizer they are.
        bound: the kernel over them.
    """

    indices: tuple[int, ...]
    bound: BoundUpdate


@dataclass(frozen=True, slots=True)
class Update:
    """What one step does to a group.

    Attributes:
        group: the group.
        numbers: which of the group's parameters have a gradient.
        indices: which of the optimizer's parameters these are.
        gradients: their gradients.
    """

    group: Group
    numbers: Sequence[int]
    indices: Sequence[int]
    gradients: list[RawTensor]

    @classmethod
    def of(cls, group: Group, gradients: Sequence[RawTensor | None]) -> Update | None:
        """The update of a group by the gradients of all parameters; None if none is its own."""
        own = [gradients[index] for index in group.indices]
        present = [gradient for gradient in own if gradient is not None]
        if len(present) == len(own):
            return cls(group, range(len(own)), group.indices, present)
        if not present:
            return None
        numbers = [number for number, gradient in enumerate(own) if gradient is not None]
        return cls(group, numbers, [group.indices[number] for number in numbers], present)


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
    groups: list[Group] = []
    for indices in members.values():
        p, *slots = targets[indices[0]]
        # A gradient has the dtype of its parameter.
        dtypes = (p.dtype, p.dtype, *(slot.dtype for slot in slots))
        kernel = backend.compile_update(rule.program, dtypes)
        bound = kernel.bind([targets[index] for index in indices])
        groups.append(Group(tuple(indices), bound))
    return groups
