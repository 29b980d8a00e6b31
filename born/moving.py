"""Storage from one backend to another."""

from __future__ import annotations

from born.backend import Backend
from born.raw import RawTensor


def moved(raw: RawTensor, home: Backend, target: Backend) -> RawTensor:
    """A copy on another backend, or on the same, with its gradient, off every tape.

    Args:
        raw: the storage.
        home: the innermost backend that it is on.
        target: the innermost backend to copy it to.
    """
    made = home.copy(raw) if home is target else target.from_numpy(home.to_numpy(raw))
    made.requires_grad = raw.requires_grad
    if raw.grad is not None:
        made.grad = moved(raw.grad, home, target)
    return made
