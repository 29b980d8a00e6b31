"""How many threads BLAS takes while born's own threads share out many small products."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def find_libraries() -> list[Any]:
    """The BLAS libraries that are loaded, as threadpoolctl controls them; none without it."""
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        return []
    controller: Any = threadpoolctl.ThreadpoolController()
    return list(controller.select(user_api="blas").lib_controllers)


class _Limit:
    """One thread for BLAS as long as anybody wants it; what was there before, afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._restore: list[Callable[[], None]] = []

    @contextmanager
    def __call__(self) -> Generator[bool]:
        """Hold the limit inside the block; gives whether there was anything to limit."""
        libraries = find_libraries()
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._restore = [_limited(library) for library in libraries]
        try:
            yield bool(libraries)
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    for restore in self._restore:
                        restore()


def _limited(library: Any) -> Callable[[], None]:
    before = library.get_num_threads()
    _set(library, 1)
    return lambda: _set(library, before)


def _set(library: Any, threads: int) -> None:
    """Limit one library from any thread, and leave it to any thread to do so next.

    From threadpoolctl 3.8 on the first thread to set a limit is the only one that can, until it
    gives that up: others would change nothing, and a limit that one of them leaves last would stay.
    """
    clear = getattr(library, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)
    library.set_num_threads(threads)
    if clear is not None:
        clear()


one_thread = _Limit()
"""`with one_thread():` BLAS computes on the thread that calls it."""
