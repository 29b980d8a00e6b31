"""Where a function that is traced comes from: what errors say of it."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import Any, Final

_HERE: Final = os.path.dirname(__file__)  # pathlib would add 4 ms to import born


def line_of(function: Callable[..., Any], error: Exception) -> str:
    """Where in a function an error arose: its own last line, or that of what it called."""
    every = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in every if not frame.filename.startswith(_HERE)]
    code = _code(function)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    if not frames:
        return definition_of(function)
    last = (own or frames)[-1]
    return f"{last.filename}, line {last.lineno} ({last.line})"


def definition_of(function: Callable[..., Any]) -> str:
    """Where a function is defined."""
    code = _code(function)
    if code is None:
        return name_of(function)
    return f"{code.co_filename}, line {code.co_firstlineno} ({name_of(function)})"


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, or of an object's class."""
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def _code(function: Callable[..., Any]) -> CodeType | None:
    """The code of a function, or of what a `functools.partial` is of; an object's call has none."""
    inner = inspect.unwrap(function)
    while isinstance(inner, partial):
        inner = inspect.unwrap(inner.func)
    code: CodeType | None = getattr(inner, "__code__", None)
    return code
