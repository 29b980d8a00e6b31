"""The pool of threads: everything is done once, and nobody leaves before it is done."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter, deque
from contextlib import nullcontext
from functools import partial

import pytest

from born.backend.threads import POOL, Pool, taken
from tests.tools import TIME_LIMIT

PATIENCE = 10.0  # seconds after which something that ought to happen has not


def _collect(pieces: deque[int], found: list[int]) -> None:
    found.extend(taken(pieces))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_piece_is_taken_once_whoever_shares_at_the_same_time(workers: int) -> None:
    pool = Pool(workers)
    seen = [Counter[int]() for _ in range(8)]

    def train(mine: Counter[int]) -> None:
        for _ in range(50):
            pieces = deque(range(20))
            found: list[int] = []
            pool.share(partial(_collect, pieces, found))
            assert not pieces
            mine.update(found)

    threads = [threading.Thread(target=train, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == 8 * [Counter(dict.fromkeys(range(20), 50))]


def test_as_many_threads_work_at_once_as_asked_for() -> None:
    pool = Pool(4)
    for asked, expected in [(1, 1), (2, 2), (3, 3), (4, 4), (9, 4), (None, 4)]:
        meeting = threading.Barrier(expected)
        present: set[int] = set()

        def work(meeting: threading.Barrier = meeting, present: set[int] = present) -> None:
            present.add(threading.get_ident())
            meeting.wait(PATIENCE)

        pool.share(work, asked)
        assert len(present) == expected
        assert threading.get_ident() in present


def test_no_thread_is_made_for_one() -> None:
    before = threading.active_count()
    Pool(4).share(lambda: None, threads=1)
    Pool(1).share(lambda: None)
    assert threading.active_count() == before


def test_waits_for_a_helper_that_has_begun() -> None:
    caller = threading.get_ident()
    begun, done = threading.Event(), threading.Event()

    def work() -> None:
        if threading.get_ident() == caller:
            assert begun.wait(PATIENCE)
            return
        begun.set()
        time.sleep(0.05)
        done.set()

    Pool(2).share(work)
    assert done.is_set()


def test_does_not_wait_for_a_helper_that_has_not_begun() -> None:
    pool = Pool(2)
    meeting = threading.Barrier(2)
    pool.share(lambda: meeting.wait(PATIENCE))  # makes the helper
    turns: list[int] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(PATIENCE)  # the caller keeps the interpreter's lock until it waits
    try:
        for _ in range(3):  # in the second turn, the helper is still to wake from the first
            pool.share(lambda: turns.append(threading.get_ident()))
    finally:
        sys.setswitchinterval(interval)
    assert turns == 3 * [threading.get_ident()]
    time.sleep(0.05)  # now it wakes, and finds that there is nothing to do
    assert turns == 3 * [threading.get_ident()]
    pool.share(lambda: meeting.wait(PATIENCE))  # and is there again


@pytest.mark.parametrize("failing", ["caller", "helper", "both"])
def test_failure_is_raised_when_all_have_ended(failing: str) -> None:
    pool = Pool(2)
    caller = threading.get_ident()
    together = threading.Barrier(2)
    ended: list[str] = []

    def work() -> None:
        together.wait(PATIENCE)
        mine = "caller" if threading.get_ident() == caller else "helper"
        if mine == "helper":
            time.sleep(0.02)
        ended.append(mine)
        if failing in (mine, "both"):
            raise ValueError(mine)

    with pytest.raises(ValueError, match="helper" if failing == "helper" else "caller"):
        pool.share(work)
    assert sorted(ended) == ["caller", "helper"]
    pool.share(lambda: None)  # and the pool is none the worse for it


class Late(Exception):  # noqa: N818  # a signal's handler raises it, as a test's time limit does
    """What a signal's handler raises."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_nothing_that_a_handler_raises_ends_the_wait() -> None:
    pool = Pool(2)
    caller = threading.get_ident()
    together = threading.Barrier(2)
    ended = threading.Event()
    calls: list[int] = []

    def expire(*_: object) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise Late

    def work() -> None:
        together.wait(PATIENCE)
        if threading.get_ident() != caller:
            time.sleep(0.3)
            ended.set()

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.05)
    try:
        with pytest.raises(Late):
            pool.share(work)
        assert ended.is_set()
        assert len(calls) >= 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


STORM = """
import signal, threading, time
from born.backend.threads import Pool

pool, caller, inside = Pool(3), threading.get_ident(), set()
left, raised = 0, 0

def expire(*_):
    global left, raised
    if left:
        left, raised = left - 1, raised + 1
        raise TimeoutError

def work():
    me = threading.get_ident()
    inside.add(me)
    time.sleep(2e-4)
    inside.discard(me)

def attempt():
    global left
    try:
        try:
            left = 3  # times that a share may be interrupted
            pool.share(work)
            left = 0
        except TimeoutError:
            left = 0
    except TimeoutError:
        left = 0

signal.signal(signal.SIGALRM, expire)
signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    attempt()
    inside.discard(caller)
    assert not inside, "left while a helper was at work"
signal.setitimer(signal.ITIMER_REAL, 0.0)
assert raised > 20, raised
meeting = threading.Barrier(3)
pool.share(lambda: meeting.wait(10.0))
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_storm_of_interrupts_loses_no_thread_and_leaves_none_at_work() -> None:
    subprocess.run([sys.executable, "-c", STORM], check=True, timeout=TIME_LIMIT)


@pytest.mark.parametrize("failing", [True, False])
def test_what_was_worked_on_is_let_go(failing: bool) -> None:
    class Arrays:
        """Something that would be missed."""

    pool = Pool(2)
    arrays = Arrays()
    gone = weakref.ref(arrays)
    meeting = threading.Barrier(2)

    def work(held: Arrays = arrays) -> None:
        if failing:
            raise ValueError("mine")
        meeting.wait(PATIENCE)

    gc.disable()
    try:
        with pytest.raises(ValueError, match="mine") if failing else nullcontext():
            pool.share(work)
        del work, arrays
        end = time.monotonic() + PATIENCE
        while gone() is not None:  # the helper may still be about to let go
            assert time.monotonic() < end
            time.sleep(1e-4)
    finally:
        gc.enable()


def test_work_alone_where_no_thread_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = Pool(3)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        found: list[int] = []
        pieces = deque(range(5))
        pool.share(lambda: found.extend(taken(pieces)))
    assert found == list(range(5))
    meeting = threading.Barrier(3)
    pool.share(lambda: meeting.wait(PATIENCE))  # later they can


FORK = """
import os, sys, threading
from born.backend.threads import Pool

pool = Pool(2)
meeting = threading.Barrier(2)
pool.share(lambda: meeting.wait(10.0))
child = os.fork()
again = threading.Barrier(2)
pool.share(lambda: again.wait(10.0))
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_makes_threads_of_its_own() -> None:
    # In a process of its own: libraries that other tests import warn of a fork.
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=TIME_LIMIT)


def test_the_pool_knows_how_many_processors_the_process_may_use() -> None:
    if hasattr(os, "sched_getaffinity"):
        assert POOL.workers == len(os.sched_getaffinity(0))
    assert POOL.workers >= 1
