"""A pool of threads for loops that release the interpreter's lock."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")
Work: TypeAlias = Callable[[], object]
"""Takes pieces of something until none is left; several threads may run it at once."""


class Pool:
    """Threads made when first needed, and made again in a process that was forked.

    Any number of Python threads may share out work at once. If all helpers are busy, the
    caller does its work alone.

    >>> pieces = deque(range(10))
    >>> squares = []
    >>> Pool().share(lambda: squares.extend(x * x for x in taken(pieces)))
    >>> sorted(squares)
    [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers: Final[int] = _processors() if workers is None else workers
        self._forget()
        # A forked child has the pool but none of its threads.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._making = threading.Lock()
        self._made = 0
        self._calls: SimpleQueue[_Call] = SimpleQueue()

    def share(self, work: Work, threads: int | None = None) -> None:
        """Run work on the calling thread and on idle helpers: on `threads`, or all of the pool.

        It waits for all that have begun, even if a signal's handler raises meanwhile: memory that
        a thread still writes to must not be read or freed. Those that woke too late have nothing
        left to do. Then it raises the first of what interrupted the caller and the work raised.
        """
        helpers = self.workers - 1 if threads is None else min(threads, self.workers) - 1
        if helpers < 1:
            work()
            return
        calls: list[_Call] = []
        raised: list[BaseException] = []
        try:
            self._make(helpers)
            for _ in range(helpers):
                calls.append(_Call(work))  # known before it can begin
                self._calls.put(calls[-1])
            work()
        except BaseException as error:
            raised.append(error)
        while True:
            try:
                for call in calls:
                    call.finish()
                break
            except BaseException as error:  # a signal's handler has raised it
                raised.append(error)
        raised += [call.failure for call in calls if call.failure is not None]
        try:
            if raised:
                raise raised[0]
        finally:
            del calls, raised  # or they would hold each other, and the work its arrays

    def _make(self, helpers: int) -> None:
        """Start helpers until there are enough, or the system gives no more threads."""
        if self._made >= helpers or sys.is_finalizing():
            return
        with self._making:
            while self._made < helpers:
                name = f"born-{self._made + 1}"
                try:
                    threading.Thread(
                        target=_serve, args=(self._calls,), name=name, daemon=True
                    ).start()
                except RuntimeError:  # the system has no more
                    return
                self._made += 1


def taken(pieces: deque[T]) -> Iterator[T]:
    """Take pieces from the left until none is left; any number of threads may do so at once."""
    while True:
        try:
            piece = pieces.popleft()
        except IndexError:
            return
        yield piece


class _Call:
    """Work handed to a helper, to be done once or not at all.

    A signal's handler may interrupt the caller anywhere, so each of its steps can be repeated.
    """

    def __init__(self, work: Work) -> None:
        self.failure: BaseException | None = None
        self._work: Work | None = work
        self._owner: Final[dict[str, str]] = {}
        self._done = False
        self._ended: Final = threading.Lock()
        self._ended.acquire()

    def _claimed(self, by: str) -> bool:
        """Whether the work belongs to the one who asks; the first to ask gets it."""
        return self._owner.setdefault("owner", by) == by

    def run(self) -> None:
        """On a helper: do the work, unless it was taken back."""
        work, self._work = self._work, None
        try:
            if work is not None and self._claimed("helper"):
                work()
        except BaseException as error:  # `share` raises it
            self.failure = error
        del work  # so that its arrays may go
        self._done = True
        self._ended.release()

    def finish(self) -> None:
        """On the caller: take the work back, or wait until it has ended."""
        while not self._done and not self._claimed("caller"):
            self._ended.acquire()
        self._work = None


def _serve(calls: SimpleQueue[_Call]) -> None:
    """On a helper: run call after call, as long as the process lives."""
    while True:
        call = calls.get()
        call.run()
        del call  # or it would live until the next one


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


POOL: Final = Pool()
"""The one pool of this process: two would fight for the same cores."""
