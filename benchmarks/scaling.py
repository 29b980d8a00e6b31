"""What a step of Adam costs against the size of one tensor, and against how many there are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks import machine
from benchmarks.harness import Entry, Point, Skipped, Work
from benchmarks.jobs import Job, adam
from benchmarks.libraries import Place
from benchmarks.optimizer_step import PARTS, Part, entries

SIZES: Final = tuple(10**power for power in range(3, 9))
"""Elements of the one tensor."""

NUMBERS: Final = tuple(10**power for power in range(5))
"""How many tensors there are."""

TOTAL: Final = 1_000_000
"""Elements of those tensors together: few enough that what a tensor costs by itself shows from
ten tensors on, and enough that ten thousand tensors still have a hundred elements each."""

BY_SIZE: Final = "Adam, one tensor"
BY_NUMBER: Final = f"Adam, {TOTAL:,} elements in several tensors"

_CHECKED_STEPS: Final = 3  # twenty steps of the largest size would take a minute

_TEMPORARIES: Final = 20
"""Bytes an element takes beside what is held: its first value and its gradient on the host, and
what a step of PyTorch's foreach makes while it runs."""

_GIGA: Final = 1e9

_ASSUMED_FREE: Final = 8 * 10**9
"""Bytes of memory to use at most where the system does not say how many are free."""


def works(here: Place, free: int | None = None) -> list[Work]:
    """Both curves, point by point.

    Args:
        here: the place.
        free: bytes of memory to use at most; unless told otherwise, what the system says.
    """
    free = free or machine.free_memory() or _ASSUMED_FREE
    points = [
        *((Point(BY_SIZE, "elements", size), [(size,)]) for size in SIZES),
        *(
            (Point(BY_NUMBER, "tensors", number), number * [(TOTAL // number,)])
            for number in NUMBERS
        ),
    ]
    return [
        work
        for point, shapes in points
        for work in _affordable(
            adam(f"{point.curve}; {point.axis}: {point.value:,}", shapes), here, point, free
        )
    ]


def _affordable(job: Job, here: Place, point: Point, free: int) -> list[Work]:
    """All libraries in turns if they fit into memory together, else one after the other."""
    if _needed(PARTS, job) <= free:
        return [_work(job, here, point, PARTS)]
    return [_work(job, here, point, [part], free) for part in PARTS]


def _needed(parts: Sequence[Part], job: Job) -> int:
    """Bytes of memory."""
    return sum(part.copies for part in parts) * job.held + _TEMPORARIES * job.elements


def _work(
    job: Job, here: Place, point: Point, parts: Sequence[Part], free: int | None = None
) -> Work:
    """A point of a curve, with the reason in place of a library that is too large."""
    needed = _needed(parts, job)
    if free is not None and needed > free:
        reason = f"takes {needed / _GIGA:.1f} GB of memory, and {free / _GIGA:.1f} are free"
        prepare: Callable[[], Sequence[Entry]] = functools.partial(_left_out, parts, reason)
    else:
        prepare = functools.partial(entries, job, here, parts)
    return Work(
        job.title,
        prepare,
        tolerance=job.tolerance,
        bytes=job.moved,
        stopwatch=here.stopwatch,
        checked=_CHECKED_STEPS,
        point=point,
    )


def _left_out(parts: Sequence[Part], reason: str) -> list[Entry]:
    return [Skipped(part.name, reason) for part in parts]
