"""One computing backend of each kind for all examples: finding one takes milliseconds."""

from __future__ import annotations

from functools import cache

import born
from born.backend import Backend


@cache
def computing(name: str) -> Backend:
    """The backend of this name."""
    return born.get_backend(name)
