"""Who shares a compiled loop: right after a matrix product the threads of BLAS, else the pool's.

A training step is matrix products with loops between them. OpenBLAS keeps its threads
awake for a while after each product, so that one waits on every core when a loop
begins. Threads of another pool come too late then, since they must first be given a
core. OpenBLAS also lends its threads, by a function that starts one thing on all of
them and waits for all (`gotoblas_pthread` in `driver/others/blas_server.c`, kept from
its ancestor GotoBLAS). When they sleep, they are left to: awake, one takes from the
caller what two halves of a core share.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from born.backend.threads import POOL
from born.raw import HostArray
from born_numba.compiler import Entry

LEAST_SHARED: Final = 65_536  # elements that two of BLAS's threads share while they are awake
_LARGE: Final = 524_288  # elements for which the pool's are woken; both: docs/performance.md
# Seconds after a product. OpenBLAS's threads wait for 2^28 cycles, a tenth of a second, unless
# OPENBLAS_THREAD_TIMEOUT says otherwise; an update follows the last product sooner.
_AWAKE: Final = 0.005

THREADED: Final = 262_144  # products of numbers from which OpenBLAS takes several threads
_PTHREADS: Final = 1  # what `openblas_get_parallel` says of threads that are not OpenMP's
_NAMES: Final = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")
"""How builds of OpenBLAS name their functions."""


class Blas:
    """The threads of an OpenBLAS.

    Args:
        library: what holds it.

    Raises:
        AttributeError: it is none that lends its threads.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        if _function(library, "get_parallel")() != _PTHREADS:
            raise AttributeError("its threads are not its own")
        self.workers: Final[Callable[[], int]] = _function(library, "get_num_threads")
        self._run: Final = library.gotoblas_pthread
        self._run.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int
        self._run.restype = ctypes.c_int

    def share(self, entry: Entry, arguments: HostArray, threads: int) -> None:
        """Run a function on as many threads, the caller's among them; at most `workers()`."""
        self._run(threads, entry.address, id(arguments), 0)


class Team:
    """BLAS's threads while they are awake, and those of the pool.

    Any number of Python threads may share out work at once, and `os.fork`, which waits until
    the threads are not lent; a fork in C that runs no hooks of Python's does not. Who finds
    BLAS's threads lent to another turns to the pool; who finds them at work on another
    thread's product waits until one is free, as for a product of its own.

    Args:
        blas: None where it lends no threads.
    """

    def __init__(self, blas: Blas | None) -> None:
        self._blas = blas
        self._products = _Products()
        self._lending: Final = threading.RLock()
        self._lent = False
        # OpenBLAS loses a thread that is at work while it shuts them all down for a fork. Who forks
        # owns the lock on both sides of it. The hooks are C's, which no signal interrupts.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lending.acquire,
                after_in_parent=self._lending.release,
                after_in_child=self._lending.release,
            )

    def note_product(self, size: int) -> None:
        """Say that this thread's matrix product has ended.

        Args:
            size: how many products of two numbers it was.
        """
        if size >= THREADED:
            self._products.ended = time.perf_counter()

    def share(self, entry: Entry, arguments: HostArray, size: int) -> None:
        """Run a function on one thread, or on several at once, until all have ended.

        Args:
            entry: takes pieces of something until none is left, as an atomic counter tells.
            arguments: an array that says where everything is.
            size: of the work, in elements of an update; at least `LEAST_SHARED`.
        """
        blas = self._blas
        threads = 0 if blas is None else self._awake(blas, size)
        if blas is not None and threads > 1:
            with self._lending:
                self._lent = True
                try:
                    blas.share(entry, arguments, threads)
                finally:
                    self._lent = False
        elif size >= _LARGE:
            POOL.share(partial(entry.call, id(arguments)))
        else:
            entry.call(id(arguments))

    def _awake(self, blas: Blas, size: int) -> int:
        """How many of BLAS's threads are awake, as far as we know, and worth borrowing."""
        if self._lent or time.perf_counter() - self._products.ended >= _AWAKE:
            return 0
        workers = blas.workers()
        if size >= _LARGE and workers < POOL.workers:
            return 0
        return min(workers, 2 * size // LEAST_SHARED)


class _Products(threading.local):
    """When a thread's last large product ended, on the clock of `time.perf_counter`."""

    ended = float("-inf")


def _function(library: ctypes.CDLL, name: str) -> Any:
    for pattern in _NAMES:
        if hasattr(library, pattern.format(name)):
            return getattr(library, pattern.format(name))
    raise AttributeError(f"no function {name}")


def _of_numpy() -> Blas | None:
    """The OpenBLAS that NumPy's compiled part is linked with, if that is what it is."""
    if sys.platform != "linux":  # where it was tried
        return None
    try:
        compiled: Any = importlib.import_module("numpy._core._multiarray_umath")
        return Blas(ctypes.CDLL(compiled.__file__))
    except (ImportError, OSError, AttributeError):
        return None


TEAM: Final = Team(_of_numpy())
"""The one team of this process."""
