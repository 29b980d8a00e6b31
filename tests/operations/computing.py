"""One computing backend of each kind for all examples, and waiting for what one computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import born
from born.backend import Backend


@cache
def computing(name: str) -> Backend:
    """The backend of this name, the same each time: finding one takes milliseconds."""
    return born.get_backend(name)


def awaited(backend: Backend, call: Callable[[], object]) -> None:
    """Call, and wait: a device tells what it could not compute with when somebody waits for it."""
    call()
    backend.synchronize()
