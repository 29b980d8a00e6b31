"""What times a step: the wall clock, a GPU's own events, or how long the host is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import repeat
from typing import Any, Final, Protocol, TypeAlias


class Outcome(Protocol):
    """A tensor of one element, of any library."""

    def item(self) -> float:
        """The element as a Python number."""
        ...


Step: TypeAlias = Callable[[], Outcome | None]
"""Does some work once."""

Stopwatch: TypeAlias = Callable[[Step, int], float]
"""Calls a step so many times, and returns the seconds that this took in all."""


def wall_time(step: Step, steps: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Time work that is done when the step returns."""
    start = clock()
    for _ in repeat(None, steps):
        step()
    return clock() - start


_MILLI: Final = 1e-3  # CUDA measures in milliseconds


def device_time(cupy: Any) -> Stopwatch:
    """Time what a GPU does, from before the first step to after the last, by events.

    The events go to the default stream, which waits for the streams of CuPy and PyTorch.
    Where the host is slower than the device, it is the host that is timed: no queue is
    filled beforehand, because in training it is not either.
    """
    stream = cupy.cuda.Stream.null

    def stopwatch(step: Step, steps: int) -> float:
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record(stream)
        for _ in repeat(None, steps):
            step()
        stop.record(stream)
        stop.synchronize()
        milliseconds: float = cupy.cuda.get_elapsed_time(start, stop)
        return milliseconds * _MILLI

    return stopwatch


_QUEUED: Final = 8
"""Steps between two waits for the device. A queue that is full, at about a thousand launches,
would keep the host until the device is done with one."""


def host_time(
    synchronize: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> Stopwatch:
    """Time how long a step keeps the host, which need not wait for the device.

    Args:
        synchronize: waits until the device is done; that is not timed.
        clock: returns seconds since some fixed moment.
    """

    def stopwatch(step: Step, steps: int) -> float:
        seconds = 0.0
        for done in range(0, steps, _QUEUED):
            synchronize()
            seconds += wall_time(step, min(_QUEUED, steps - done), clock)
        synchronize()
        return seconds

    return stopwatch
