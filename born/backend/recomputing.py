"""Whether this thread computes a second time what it has computed before."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager


class _Thread(threading.local):
    again = False


_thread = _Thread()


def is_recomputing() -> bool:
    """Whether what a computation changes in place has been changed by it before."""
    return _thread.again


@contextmanager
def recomputing() -> Generator[None]:
    """In the block, parameters and buffers stay as the first computation left them."""
    before, _thread.again = _thread.again, True
    try:
        yield
    finally:
        _thread.again = before
