"""The door of the Numba backend. Behind it, everything imports Numba at its top."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Final

from born.backend import Backend
from born.backend.registry import Entry
from born.errors import BackendUnavailableError


def unavailable_reason() -> str | None:
    """Why the backend cannot be used here and what to do about it, or None if it can."""
    missing = [name for name in ("numba", "platformdirs") if not _is_installed(name)]
    if missing:
        return f'{" and ".join(missing)} not installed; run: pip install "born-optim[numba]"'
    return None


def load() -> type[Backend]:
    """The class `NumbaBackend`, for which Numba is imported."""
    reason = unavailable_reason()
    if reason is not None:
        raise BackendUnavailableError(f"expected the package numba, got none: {reason}")
    try:
        backend: type[Backend] = importlib.import_module("born_numba.backend").NumbaBackend
    except Exception as error:  # a library that is broken or missing may raise anything
        raise BackendUnavailableError(
            f"expected a numba that imports, got one that does not: {error}; install the "
            'versions that go together, as pip install "born-optim[numba]" does'
        ) from error
    return backend


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


ENTRY: Final = Entry(unavailable_reason, load)
