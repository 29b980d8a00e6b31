"""Pullbacks, the derivatives of operations as a tape keeps them, and the gradients they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from born.backend import Backend, Index
from born.raw import RawTensor, Shape, memory_of

Pullback: TypeAlias = Callable[[RawTensor], "RawTensor | Sequence[RawTensor | Parts | None]"]
"""From the gradient of a result to those of its tensor arguments: one gradient for an
operation of one tensor; for others a sequence, with None for arguments that need none."""

JointPullback: TypeAlias = Callable[..., "RawTensor | Sequence[RawTensor | Parts | None]"]
"""The same from the gradients of several results, each an argument."""


class Parts:
    """A gradient of which some parts are known, all else being zero.

    Those of all the slices of a tensor are put together once, when the last has come.

    Args:
        shape: of the gradient.
        parts: each an index, and what is added there.
    """

    __slots__ = ("parts", "shape")

    def __init__(self, shape: Shape, parts: list[tuple[Index, RawTensor]]) -> None:
        self.shape = shape
        self.parts = parts

    def whole(self, backend: Backend) -> RawTensor:
        """The gradient as one tensor."""
        return backend.assembled(self.shape, self.parts[0][1].dtype, self.parts)


def whole(backend: Backend, g: RawTensor | Parts) -> RawTensor:
    """A gradient as one tensor."""
    return g.whole(backend) if isinstance(g, Parts) else g


def added(backend: Backend, a: RawTensor | Parts, b: RawTensor | Parts) -> RawTensor | Parts:
    """Two gradients of one tensor, added up."""
    if isinstance(a, Parts) and isinstance(b, Parts):
        return Parts(a.shape, [*a.parts, *b.parts])
    return backend.add(whole(backend, a), whole(backend, b))


def separate(backend: Backend, *maps: dict[RawTensor, RawTensor]) -> None:
    """Give each gradient memory that no other has, by copies of those that share it."""
    # Most often none do, which one look tells.
    arrays = [gradient.array for gradients in maps for gradient in gradients.values()]
    if len({id(a if a.base is None else a.base) for a in arrays}) == len(arrays):
        return
    owners: set[int] = set()
    for gradients in maps:
        for tensor, gradient in gradients.items():
            owner = id(memory_of(gradient.array))
            if owner in owners:
                gradients[tensor] = backend.copy(gradient)
            else:
                owners.add(owner)
