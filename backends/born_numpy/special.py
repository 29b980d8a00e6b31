"""The special functions: SciPy's, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from born.errors import MissingPackageError

_INSTALL: Final = 'pip install "born-optim[scipy]"'


@cache
def special(name: str) -> Callable[..., Any]:
    """A function of `scipy.special`; without SciPy, the error that says how to install it."""
    try:
        module = importlib.import_module("scipy.special")
    except ImportError as error:
        raise MissingPackageError(
            f"expected SciPy for the special function {name}, got none ({error}); "
            f"install it: {_INSTALL}"
        ) from error
    function: Callable[..., Any] = getattr(module, name)
    return function
