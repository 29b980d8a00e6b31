"""A pool of threads for loops that release the interpreter's lock."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")
Work: TypeAlias = Callable[[], object]
"""Takes pieces of something until none is left; several threads may run it at once."""


class Pool:
    """Threads made when first needed, and made again in a process that was forked.

    Any number of Python threads may share out work at once. Who finds all helpers taken
    does its work alone.

    >>> pieces = deque(range(10))
    >>> squares = []
    >>> Pool().share(lambda: squares.extend(x * x for x in taken(pieces)))
    >>> sorted(squares)
    [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    """

    def __init__(self, workers: int | None = None) -> None:
        """A pool that keeps so many threads busy, the caller's among them.

        Args:
            workers: how many; as many as the process may use processors if None.
        """
        self.workers: Final[int] = _processors() if workers is None else workers
        self._forget()
        # A forked child has the pool but none of its threads.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._idle: deque[_Helper] = deque()
        # One taken off stands for a helper that may yet be made.
        self._unmade = deque(range(1, self.workers))

    def share(self, work: Work, threads: int | None = None) -> None:
        """Run work on the calling thread and at the same time on helpers that are idle.

        Waits for all that have begun. Those that were woken too late to begin before the
        caller was done are not waited for: nothing is left to do for them.

        Args:
            work: takes pieces of something until none is left.
            threads: how many may do so, the caller among them; all if None.

        Raises:
            BaseException: what the work has raised, once all have ended; the caller's
                before a helper's. So is a KeyboardInterrupt that comes while waiting.
        """
        if threads is None:
            threads = self.workers
        if threads <= 1:
            work()
            return
        calls = [_Call(work)]
        interrupts: list[BaseException] = []
        try:
            for helper in islice(self._helpers(), threads - 1):
                calls.append(helper.start(work))
            calls[0].run()
        finally:
            for call in calls[1:]:
                interrupts += call.finish()
        for failure in [*interrupts, *(call.failure for call in calls)]:
            if failure is not None:
                raise failure

    def _helpers(self) -> Iterator[_Helper]:
        """Those that have nothing to do, each taken off the list of those."""
        yield from taken(self._idle)
        for number in taken(self._unmade):
            try:
                helper = _Helper(self._idle, number)
            except RuntimeError:  # no more threads are to be had
                self._unmade.append(number)
                return
            yield helper


def taken(pieces: deque[T]) -> Iterator[T]:
    """Take pieces from the left until none is left, which any number of threads may do at once.

    >>> list(taken(deque("abc")))
    ['a', 'b', 'c']
    """
    while True:
        try:
            piece = pieces.popleft()
        except IndexError:
            return
        yield piece


class _Call:
    """Work handed to a thread, to be done once or not at all."""

    def __init__(self, work: Work) -> None:
        self.failure: BaseException | None = None
        self._work: Work | None = work
        self._claim: Final = threading.Lock()
        self._ended: Final = threading.Lock()
        self._ended.acquire()

    def run(self) -> None:
        """Do the work, unless it was taken back."""
        work, self._work = self._work, None
        if work is None or not self._claim.acquire(blocking=False):
            return
        try:
            work()
        except BaseException as error:  # whoever shared the work out raises it
            self.failure = error

    def end(self) -> None:
        """Let go whoever waits."""
        self._ended.release()

    def finish(self) -> list[BaseException]:
        """Take the work back, or wait until it has ended; returns the interrupts meanwhile.

        Not even Ctrl-C ends the wait: memory that a thread still writes to must not be
        read or freed.
        """
        interrupts: list[BaseException] = []
        while not self._claim.acquire(blocking=False):
            try:
                self._ended.acquire()
                break
            except KeyboardInterrupt as interrupt:
                interrupts.append(interrupt)
        return interrupts


class _Helper:
    """A thread that waits for work.

    Plain locks wake it in a third of the time that the queue of an executor takes.
    """

    def __init__(self, idle: deque[_Helper], number: int) -> None:
        self._idle = idle
        self._due = threading.Lock()
        self._due.acquire()
        self._call: _Call | None = None
        threading.Thread(target=self._serve, name=f"born-{number}", daemon=True).start()

    def start(self, work: Work) -> _Call:
        """Hand over work; only to a helper that was taken off the list of idle ones."""
        call = self._call = _Call(work)
        self._due.release()
        return call

    def _serve(self) -> None:
        while True:
            self._due.acquire()
            call, self._call = self._call, None
            assert call is not None  # set before the lock was released
            call.run()
            self._idle.append(self)
            call.end()
            del call  # or it would live until the next one


def _processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


POOL: Final = Pool()
"""The one pool of this process: two would fight for the same cores."""
