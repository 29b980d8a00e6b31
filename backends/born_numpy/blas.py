"""How many threads BLAS takes while born's own threads share out many small products."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def _libraries() -> list[Any]:
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
        libraries = _libraries()
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
    library.set_num_threads(1)
    return lambda: library.set_num_threads(before)


one_thread = _Limit()
"""`with one_thread():` BLAS computes on the thread that calls it."""
