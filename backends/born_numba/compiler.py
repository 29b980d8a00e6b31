"""Numba and llvmlite, without their types.

An intrinsic is declared with arguments that its callers do not pass, and checkers should say the
same whether Numba is installed or not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

numba: Final[Any] = importlib.import_module("numba")
types: Final[Any] = importlib.import_module("numba.types")
configuration: Final[Any] = importlib.import_module("numba.core.config")
ir: Final[Any] = importlib.import_module("llvmlite.ir")

# NUMBA_BOUNDSCHECK has no say in these: the shapes of their arrays are not all known to them.
_OPTIONS: Final[dict[str, Any]] = {"error_model": "numpy", "boundscheck": False}


CONTRACT: Final = frozenset(("contract",))


def intrinsic(function: Callable[..., Any]) -> Any:
    """`numba.extending.intrinsic`: a function that writes machine code where it is called."""
    return importlib.import_module("numba.extending").intrinsic(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A function that compiled loops may call, with IEEE division."""
    return numba.njit(**_OPTIONS)(function)


def contracted(function: Callable[..., Any]) -> Any:
    """As `inlined`, where LLVM may contract a product and a sum into one rounding."""
    return numba.njit(fastmath=set(CONTRACT), forceinline=True, **_OPTIONS)(function)


def compiled(
    function: Callable[..., Any], signature: Any, cache: bool, freedoms: frozenset[str]
) -> Any:
    """A function compiled for one signature, which runs without the interpreter's lock.

    Its `freedoms` are LLVM's names of what may be otherwise than written: `contract` rounds a
    product and a sum once, `reassoc` adds up in any order.
    """
    fast = set(freedoms) or False
    return numba.njit([signature], nogil=True, cache=cache, fastmath=fast, **_OPTIONS)(function)
