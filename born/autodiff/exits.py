"""Contexts that end for certain, wherever Ctrl-C comes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any, Protocol, TypeVar, cast

_Method = TypeVar("_Method", bound=Callable[..., Any])


class Abandoned(Protocol):
    """A context that can tell what it has done by the exit that was to undo it."""

    opening: weakref.ref[Any] | None
    """The exit of a `with` statement that has looked it up and not entered yet."""

    def abandon(self, exit: weakref.ref[Any], /) -> None:
        """Undo what a `with` statement did that is over and has not called its exit."""


class _CertainExit:
    """An `__exit__` that is made up for where an interrupt keeps it from being run.

    Ctrl-C may come when `__enter__` has done its work but the block has not begun, and when the
    block has ended but `__exit__` has not begun. A `with` statement looks up `__exit__` first, and
    lets go of what it found when it is over, however it ends. So each statement finds a
    function made for it; if that goes before it has done its work, `abandon` is called.
    """

    def __init__(self, method: Callable[..., None]) -> None:
        self._method = method

    def __get__(self, context: Abandoned | None, owner: type[Any]) -> Callable[..., None]:
        if context is None:
            return self._method
        made = MethodType(self._method, context)
        context.opening = weakref.ref(made, context.abandon)
        return made


def certain_exit(method: _Method) -> _Method:
    """`_CertainExit`, typed as the method."""
    return cast("_Method", _CertainExit(method))
