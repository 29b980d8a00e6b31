"""Numba and llvmlite, without their types.

What Numba compiles is not what its annotations, where it has any, say of it: an
intrinsic is declared with arguments that its callers do not pass. And checkers should
say the same whether Numba is installed or not.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

numba: Final[Any] = importlib.import_module("numba")
types: Final[Any] = importlib.import_module("numba.types")
configuration: Final[Any] = importlib.import_module("numba.core.config")
ir: Final[Any] = importlib.import_module("llvmlite.ir")


def intrinsic(function: Callable[..., Any]) -> Any:
    """`numba.extending.intrinsic`: a function that writes machine code where it is called."""
    return importlib.import_module("numba.extending").intrinsic(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A function that compiled loops may call, with IEEE division."""
    return numba.njit(**_OPTIONS)(function)


@dataclass(frozen=True, slots=True)
class Way:
    """What Numba may make of a function.

    Attributes:
        name: of the way.
        compile: a function, its signature, and whether to keep it on disk -> what is made.
        was_read: whether that came from disk.
        kept_in: the directory where it lies there.
    """

    name: str
    compile: Callable[[Callable[..., Any], Any, bool], Any]
    was_read: Callable[[Any], bool]
    kept_in: Callable[[Any], str]


# NUMBA_BOUNDSCHECK has no say in these: an entry cannot raise, and its arrays' shapes are not all
# known to it.
_OPTIONS: Final[dict[str, Any]] = {"error_model": "numpy", "boundscheck": False}

NJIT: Final = Way(
    "function",
    lambda function, signature, cache: numba.njit([signature], nogil=True, cache=cache, **_OPTIONS)(
        function
    ),
    lambda made: bool(made.stats.cache_hits),
    lambda made: str(made.stats.cache_path),
)
"""What Python calls."""

CFUNC: Final = Way(
    "entry",
    lambda function, signature, cache: numba.cfunc(
        signature, nopython=True, cache=cache, **_OPTIONS
    )(function),
    lambda made: bool(made.cache_hits),
    lambda made: str(made._cache.cache_path),  # of which Numba tells in no other way
)
"""What C calls, from any thread."""


class Entry:
    """A compiled function of one address, which C may call; it has nothing that changes.

    Attributes:
        address: of its machine code, which lives as long as the entry.
        call: run it, without the interpreter's lock.
    """

    def __init__(self, made: Any) -> None:
        self.address: Final[int] = made.address
        self.call: Final[Callable[[int], int]] = _ENTRY(made.address)
        self._made: Final = made

    def __deepcopy__(self, memo: object) -> Entry:
        return self


_ENTRY: Final = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64)
