"""Backends by name, found through the entry-point group `born.backends`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from born.backend.backend import Backend
from born.errors import BackendUnavailableError

GROUP: Final = "born.backends"

_AUTO: Final = ("cupy", "numba", "numpy")
"""What `"auto"` tries, fastest first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What an entry point may name in place of a backend's class, if that takes long to import."""

    unavailable_reason: Callable[[], str | None]
    load: Callable[[], type[Backend]]

    def __call__(self, **options: Any) -> Backend:
        """Make the backend."""
        return self.load()(**options)


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend can be used here; true or false as such.

    Attributes:
        usable: whether `get_backend` would succeed.
        reason: why not and what to do about it; empty where it is usable.

    >>> bool(Availability(False, "no device"))
    False
    """

    usable: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.usable


def available_backends() -> dict[str, Availability]:
    """Every backend that is installed, and whether it can be used.

    >>> bool(available_backends()["numpy"])
    True
    """
    names = sorted({*_entry_points(), "numpy"})
    return {name: _availability(name) for name in names}


def get_backend(name: str = "auto", **options: Any) -> Backend:
    """Make a backend by name.

    Args:
        name: `"numpy"`, `"numba"`, `"cupy"`, the name of an installed third-party
            backend, or `"auto"`: the GPU if one answers, else numba if it is
            installed, else numpy.
        **options: handed to the backend's class, such as `seed=0`.

    Raises:
        BackendUnavailableError: no backend has this name, or it cannot be used here; the
            message says why and what to install.

    >>> get_backend("numpy", seed=1)
    NumpyBackend()
    """
    if name != "auto":
        return _made(name, options)
    for each in _AUTO:
        try:
            return _made(each, options)
        except BackendUnavailableError:  # the next one may be
            continue
    return _made("numpy", options)


def _made(name: str, options: dict[str, Any]) -> Backend:
    availability = _availability(name)
    if not availability:
        raise BackendUnavailableError(
            f"expected a usable backend, got {name!r}: {availability.reason}"
        )
    return _load(name)(**options)


def _availability(name: str) -> Availability:
    try:
        reason = _load(name).unavailable_reason()
    except BackendUnavailableError as error:
        return Availability(False, str(error))
    except ImportError as error:
        return Availability(False, f"its package does not import ({error}); reinstall it")
    return Availability(reason is None, reason or "")


def _load(name: str) -> type[Backend] | Entry:
    entries = _entry_points()
    if name in entries:
        entry: type[Backend] | Entry = entries[name].load()
        return entry
    raise BackendUnavailableError(
        f"no package provides it; installed are {', '.join(sorted(entries)) or 'none'}, "
        'and "auto" picks the fastest of them'
    )


def _entry_points() -> dict[str, Any]:
    # Costs tens of milliseconds to import, and few programs ask for a backend by name.
    metadata = importlib.import_module("importlib.metadata")
    return {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
