"""A training that saves into a store and is killed, and what the store restores after that.

`python -m tests.checkpoint.crashes 300` kills it so many times, at random moments.
"""

from __future__ import annotations

import builtins
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from born import nn, optim
from born.backend import Backend
from born.checkpoint import Store
from born_numpy import NumpyBackend

WIDTH: Final = 150
"""Of the model: a checkpoint has about 300 kB, so that there is time to be killed in."""

LONGEST: Final = 0.2
"""Seconds before a training is killed, at most: a few saves."""

When = Literal["before", "after", "half"]
"""Where in a call the process ends; `half` has a write write the first half."""

CALLS: Final = (
    (builtins, "open"),
    *((os, n) for n in ("open", "pwrite", "write", "fsync", "chmod", "replace", "unlink", "mkdir")),
)
"""The functions by which anything is changed on a disk."""


class Training:
    """A model whose numbers all tell the step, so that a mixture of two steps shows."""

    def __init__(self) -> None:
        self.backend = NumpyBackend()
        self.model: nn.Linear[Backend] = nn.Linear(WIDTH, WIDTH, self.backend)
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.1)
        self._gradients = {
            p.raw: self.backend.zeros(p.shape, "float32") for p in self.model.parameters()
        }

    def step(self, number: int) -> None:
        """Train: the parameters become the number of the step."""
        self.optimizer.step(self._gradients)
        for parameter in self.model.parameters():
            parameter.assign(np.full(parameter.shape, number, np.float32))

    def save(self, store: Store, step: int, background: bool = False) -> None:
        """Save the step."""
        parts: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer}
        store.save(step, **parts, background=background, metadata={"loss": 1.0 / step})

    def restored(self, store: Store) -> int:
        """The step that is restored, all of it."""
        step: int = store.restore(model=self.model, optimizer=self.optimizer)["step"]
        assert self.optimizer.timestep == step
        for parameter in self.model.parameters():
            assert (parameter.numpy() == step).all()
        return step


def run(folder: Path, background: bool, report: Callable[[int], object]) -> None:
    """Go on training for ever, and report each step that is saved."""
    training, store = Training(), Store(folder, keep_last=2)
    done = training.restored(store) if store.latest() else 0
    while True:
        training.step(done + 1)
        training.save(store, done + 1, background)
        # In the background, a save has waited for the one before it.
        report(done if background else done + 1)
        done += 1


@contextmanager
def process(
    work: Callable[[Callable[[int], object]], object], wait: bool = False
) -> Generator[list[int]]:
    """A process that does some work; its reports, after the block, at whose end it is killed.

    With `wait`, it comes to its own end, which is an error unless it is that or a kill.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Threads that earlier tests have left are idle, and the child does not need them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            work(lambda step: os.write(writing, step.to_bytes(8, "little")))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    reports: list[int] = []
    try:
        yield reports
    finally:
        if not wait:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
        with open(reading, "rb") as pipe:
            data = pipe.read()
    reports += [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]


def check(folder: Path, reported: int) -> int:
    """The step that is restored, which is not older than the last one reported."""
    store = Store(folder, keep_last=2)
    step = Training().restored(store) if store.latest() or reported else 0
    assert step >= reported, f"step {reported} was reported saved, got {step}"
    return step


def leftovers(folder: Path) -> list[str]:
    """What lies beside the checkpoints."""
    names = os.listdir(folder) if folder.exists() else []
    return [name for name in names if not name.startswith("step-")]


def kill_at_random(folder: Path, times: int, seed: int) -> tuple[int, int, int]:
    """Kill a training again and again; the steps it made, the kills that left a file, its size."""
    chance = random.Random(seed)
    done = left = largest = 0
    for _ in range(times):
        background = chance.random() < 0.5
        with process(partial(run, folder, background)) as reports:
            time.sleep(chance.random() * LONGEST)
        left += bool(leftovers(folder))
        largest = max(largest, len(leftovers(folder)))
        done = check(folder, max([done, *reports]))
    return done, left, largest


@contextmanager
def failing(
    number: int, fail: Callable[[str, Callable[..., Any], Any], Any]
) -> Generator[list[str]]:
    """Let one call that changes the disk fail, the one of this number; gives all calls so far."""
    calls: list[str] = []

    def replaced(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == number + 1:
                return fail(name, original, (arguments, options))
            return original(*arguments, **options)

        return call

    with ExitStack() as stack:
        for module, name in CALLS:
            original = getattr(module, name)
            setattr(module, name, replaced(name, original))
            stack.callback(setattr, module, name, original)
        yield calls


def die(when: When, name: str, original: Callable[..., Any], given: Any) -> None:
    """End the process before, after or in the midst of a call."""
    arguments, options = given
    if when == "half" and name in ("write", "pwrite"):
        part = memoryview(arguments[1]).cast("B")
        original(arguments[0], part[: len(part) // 2], *arguments[2:])
    if when == "after":
        original(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)


def main(times: int) -> None:
    """Kill a training, and say what came of it."""
    seed = random.SystemRandom().randrange(2**32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        began = time.monotonic()
        done, left, largest = kill_at_random(folder, times, seed)
        seconds = time.monotonic() - began
        training = Training()
        store = Store(folder)
        training.restored(store)
        training.save(store, done + 1)
        sys.stdout.write(
            f"killed {times} times in {seconds:.0f} s (seed {seed}); step {done} is reached, and "
            f"no step that was reported saved was lost; {left} kills left a temporary file, at "
            f"most {largest} at a time; after the next save: {leftovers(folder)}\n"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
