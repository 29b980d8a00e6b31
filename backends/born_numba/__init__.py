"""The Numba backend. Numba is imported with `NumbaBackend`, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from born_numba.backend import NumbaBackend as NumbaBackend
else:
    from born_numba import entry

    def __getattr__(name: str) -> object:
        if name == "NumbaBackend":
            return entry.load()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
