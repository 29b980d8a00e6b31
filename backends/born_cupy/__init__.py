"""The CuPy backend: born on NVIDIA GPUs. CuPy is imported with `CupyBackend`, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from born_cupy.backend import CupyBackend as CupyBackend
else:
    from born_cupy import entry

    def __getattr__(name: str) -> object:
        if name == "CupyBackend":
            return entry.load()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
