"""A pool of threads for loops that release the interpreter's lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final


class Pool:
    """Threads made when first needed, and made again in a process that was forked.

    Any number of Python threads may run jobs on it at once: it only ever queues.

    >>> found = []
    >>> Pool().run([lambda: found.append(1), lambda: found.append(2)])
    >>> sorted(found)
    [1, 2]
    """

    def __init__(self) -> None:
        affinity = getattr(os, "sched_getaffinity", None)
        self.workers: Final[int] = len(affinity(0)) if affinity else os.cpu_count() or 1
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        # A forked child has the pool but none of its threads, and perhaps a held lock.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._executor = None

    def run(self, jobs: Sequence[Callable[[], object]]) -> None:
        """Run all jobs, the first on the calling thread, and wait for them.

        Raises:
            Exception: what the first job to fail has raised; all have ended by then.
        """
        if len(jobs) == 1:
            jobs[0]()
            return
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self.workers, "born")
            waiting = [self._executor.submit(job) for job in jobs[1:]]
        try:
            jobs[0]()
        finally:
            failures = [job.exception() for job in waiting]
        for failure in failures:
            if failure is not None:
                raise failure


POOL: Final = Pool()
"""The one pool of this process: two would fight for the same cores."""
