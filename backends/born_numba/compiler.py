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
cgutils: Final[Any] = importlib.import_module("numba.core.cgutils")
ir: Final[Any] = importlib.import_module("llvmlite.ir")
binding: Final[Any] = importlib.import_module("llvmlite.binding")
models: Final[Any] = importlib.import_module("numba.extending").models
register_model: Final[Any] = importlib.import_module("numba.extending").register_model

# NUMBA_BOUNDSCHECK has no say in these: the shapes of their arrays are not all known to them.
_OPTIONS: Final[dict[str, Any]] = {"error_model": "numpy", "boundscheck": False}


_CONTRACT: Final = {"contract"}
_REASSOCIATE: Final = {"contract", "reassoc"}


def intrinsic(function: Callable[..., Any]) -> Any:
    """`numba.extending.intrinsic`: a function that writes machine code where it is called."""
    return importlib.import_module("numba.extending").intrinsic(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A function that compiled loops may call, with IEEE division."""
    return numba.njit(**_OPTIONS)(function)


def embedded(function: Callable[..., Any]) -> Any:
    """As `inlined`, whatever its length, so that the loop around it can be vectorised."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)


def contracted(function: Callable[..., Any]) -> Any:
    """As `inlined`, where LLVM may contract a product and a sum into one rounding."""
    return numba.njit(fastmath=_CONTRACT, forceinline=True, **_OPTIONS)(function)


def reassociated(function: Callable[..., Any]) -> Any:
    """As `contracted`, where sums may be added up in another order besides."""
    return numba.njit(fastmath=_REASSOCIATE, **_OPTIONS)(function)


def compiled(
    function: Callable[..., Any],
    signature: Any,
    cache: bool,
    contract: bool = False,
    reassociate: bool = False,
) -> Any:
    """A function compiled for one signature, which runs without the interpreter's lock.

    If it may `contract`, a product and a sum may be rounded once; if it may `reassociate`, sums
    may be added up in another order besides, as vectors do. NaN and infinity keep their meaning.
    """
    fast = _REASSOCIATE if reassociate else _CONTRACT if contract else False
    return numba.njit([signature], nogil=True, cache=cache, fastmath=fast, **_OPTIONS)(function)


def callback(function: Callable[..., Any], signature: Any, cache: bool) -> Any:
    """A function compiled for one signature, which compiled loops call at its address."""
    return numba.cfunc(signature, cache=cache, **_OPTIONS)(function)
