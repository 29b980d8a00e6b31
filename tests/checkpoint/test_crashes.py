"""A store whose writer is killed, or whose disk fails, at any moment."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from born import checkpoint
from born.checkpoint import Store
from born.errors import CheckpointWriteError
from tests.checkpoint.crashes import (
    CALLS,
    Training,
    When,
    check,
    die,
    failing,
    kill_at_random,
    leftovers,
    process,
    run,
)
from tests.tools import python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FUNCTIONS = [name for _, name in CALLS]
SAVED = 2
"""The steps that are saved before the one that fails; the next one deletes the first."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    training, store = Training(), Store(folder, keep_last=1)
    for step in range(1, SAVED + 1):
        training.step(step)
        training.save(store, step)
    return folder


def save(folder: Path, step: int = SAVED + 1) -> None:
    training = Training()
    for each in range(1, step + 1):
        training.step(each)
    training.save(Store(folder, keep_last=1), step)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done, _, most = kill_at_random(folder, 12, seed=1)
    assert most <= 1, "each save removes what the one before it has left"
    if done:
        save(folder, done + 1)
        assert leftovers(folder) == []


@pytest.mark.parametrize("when", ["before", "half", "after"])
def test_killed_at_each_call_that_changes_the_disk(when: When, folder: Path) -> None:
    died: list[str] = []
    for number in itertools.count():
        before = check(folder, 0)

        def work(report: Callable[[int], object], at: int = number) -> None:
            def fail(name: str, original: Any, given: Any) -> None:
                report(FUNCTIONS.index(name))
                die(when, name, original, given)

            with failing(at, fail):
                save(folder)

        with process(work, wait=True) as reports:
            pass
        if not reports:
            break
        died.append(FUNCTIONS[reports[0]])
        check(folder, before)
        assert len(leftovers(folder)) <= 1
    assert {"open", "pwrite", "fsync", "replace", "unlink"} <= set(died), died
    assert died.count("pwrite") >= 8, "a write for each tensor, and one for the header"
    assert leftovers(folder) == []
    assert check(folder, SAVED + 1) == SAVED + 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_error_at_each_call_that_changes_the_disk(code: int, folder: Path) -> None:
    failed: list[str] = []

    def fail(name: str, original: Callable[..., Any], given: Any) -> None:
        failed.append(name)
        raise OSError(code, os.strerror(code))

    for number in itertools.count():
        count = len(failed)
        before = check(folder, 0)
        text, saved = "", True
        with failing(number, fail):
            try:
                save(folder)
            except CheckpointWriteError as error:
                text, saved = str(error), False
        assert saved or os.strerror(code) in text
        if len(failed) == count:
            break
        check(folder, SAVED + 1 if saved else before)
        assert leftovers(folder) == [] or failed[-1] == "unlink"
    assert {"open", "pwrite", "fsync", "replace", "unlink"} <= set(failed), failed
    assert check(folder, SAVED + 1) == SAVED + 1


def test_processes_share_a_directory(folder: Path) -> None:
    """Every file is whole, and of one of them; then both are killed."""
    one, other = (partial(run, folder, background) for background in (False, True))
    restored = Training()
    with process(one) as first, process(other) as second:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            assert restored.restored(Store(folder)) >= SAVED
    assert min(len(first), len(second)) > 0
    save(folder, 1 + max(*first, *second))
    assert leftovers(folder) == []
    checkpoint.verify(folder / f"step-{1 + max(*first, *second):08d}.safetensors")


# -- a program that ends while it writes in the background -----------------------------------

ENDING = """
import time
from born.checkpoint import Store, saving
write = saving.write
def slow(*arguments):
    time.sleep(0.2)
    {action}
saving.write = slow
Store({folder!r}).save(7, background=True)
{end}
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)"])
def test_program_waits_for_the_writer_before_it_ends(end: str, tmp_path: Path) -> None:
    python(ENDING.format(action="write(*arguments)", folder=str(tmp_path), end=end))
    assert Store(tmp_path).restore() == {"step": 7}


def test_failure_that_no_call_has_raised_is_shown_at_the_end(tmp_path: Path) -> None:
    action = "raise OSError(28, 'No space left on device')"
    end = "import sys; sys.stderr = sys.stdout"
    script = ENDING.format(action=action, folder=str(tmp_path), end=end)
    assert "step 7 to be written in the background, got OSError: [Errno 28]" in python(script)
