"""`Wrapping`: a backend that computes by another, and how such a class gets its methods."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from typing_extensions import override

from born.backend import Backend, RandomState

Operation: TypeAlias = Callable[..., Any]


class Wrapping(Backend):
    """A backend over another, whose generator and transfers are its own.

    Args:
        inner: what computes.
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.name = inner.name

    @property
    @override
    def innermost(self) -> Backend:
        return self.inner.innermost

    @property
    @override
    def random_state(self) -> RandomState:
        return self.inner.random_state


def passed_on(name: str) -> Operation:
    """A method that the backend beneath has."""

    def operation(self: Wrapping, /, *args: Any, **options: Any) -> Any:
        return getattr(self.inner, name)(*args, **options)

    return operation


def define(kind: type[Backend], names: Iterable[str], make: Callable[[str], Operation]) -> None:
    """Give a class methods of the contract, with its names and docstrings."""
    for name in names:
        method = make(name)
        method.__name__, method.__qualname__ = name, f"{kind.__name__}.{name}"
        method.__doc__ = getattr(Backend, name).__doc__
        setattr(kind, name, method)
    abc.update_abstractmethods(kind)


_PASSED_ON: Final = """
synchronize prefetch from_dlpack to_dlpack seed seeded drawn set_random_state check_random_state
"""

define(Wrapping, _PASSED_ON.split(), passed_on)
