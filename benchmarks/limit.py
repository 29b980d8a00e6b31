"""The machine's limit: what moves the bytes that an optimizer's step moves, without its arithmetic.

On a CPU it is a bare loop over as many streams, read and written alike, in one piece each
however many tensors there are. It has nothing of born's in it: neither its table of chunks nor
its threads. On a GPU it is a copy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, pairwise
from typing import Any, Final

import numpy as np

from benchmarks import machine
from benchmarks.clocks import Step, wall_time
from benchmarks.harness import Competitor, Entry
from benchmarks.jobs import Arrays, Job
from benchmarks.libraries import Place, entry
from born.raw import HostArray

TIMES_CACHE: Final = 4
"""How many times larger than the cache all buffers in use are together, on a GPU."""

_PAGE: Final = 4096
_APART: Final = 1024  # bytes between the last digits of two streams' addresses
_TRIALS: Final = 5  # of one thread and of several, the best of which counts


def part(job: Job, here: Place, parameters: Arrays, gradients: Arrays) -> list[Entry]:
    """The limit of a job at a place; the values do not matter."""
    if here.cupy is not None:
        return [Competitor("copy", copy_step(here.cupy, job.moved, here.cache))]
    return [entry("limit", ["numba"], functools.partial(loop_step, job))]


def copy_step(cupy: Any, moved: int, cache: int) -> Step:
    """Copy within a GPU's memory: half of the bytes are read and half of them written."""
    half = moved // 2
    copies = math.ceil(TIMES_CACHE * cache / moved) or 1
    pairs = [(cupy.zeros(half, np.uint8), cupy.zeros(half, np.uint8)) for _ in range(copies)]
    due = cycle(pairs)

    def step() -> None:
        target, source = next(due)
        cupy.copyto(target, source)

    return step


def loop_step(job: Job, numba: Any) -> Step:
    """Read and write what an optimizer does, by one thread or one for each core.

    Two threads are not always faster: one may use all there is of a memory's bandwidth, and
    what is small is done before another thread wakes.
    """
    streams = streams_of(job)
    return fastest(*(loop_over(streams, numba, threads) for threads in {1, machine.cores()}))


def streams_of(job: Job) -> list[HostArray]:
    """The parameters, the gradients and each slot, each in one piece."""
    dtypes = [np.uint16 if size == 2 else np.float32 for size in (4, 4, *job.slot_bytes)]
    return [_stream(job.elements, np.dtype(dtype), i) for i, dtype in enumerate(dtypes)]


def loop_over(streams: Sequence[HostArray], numba: Any, threads: int) -> Step:
    """Read all streams and write all but the second, each thread its share."""
    loop: Callable[..., None] = numba.njit(nogil=True)(_LOOPS[len(streams) - 2])
    elements = len(streams[0])
    cuts = [elements * k // threads for k in range(threads + 1)]
    shares = [[stream[first:last] for stream in streams] for first, last in pairwise(cuts)]
    pool = ThreadPoolExecutor(threads, "limit")

    def step() -> None:
        others = [pool.submit(loop, *share) for share in shares[1:]]
        loop(*shares[0])
        for other in others:
            other.result()

    return step


def fastest(*steps: Step) -> Step:
    """The step that takes the least time, of several that do the same."""
    return min(steps, key=_seconds)


def _seconds(step: Step) -> float:
    step()  # compiles, and brings the memory in
    return min(wall_time(step, 1) for _ in range(_TRIALS))


def _stream(elements: int, dtype: np.dtype[Any], number: int) -> HostArray:
    """Ones that begin at a cache line, with other last digits than those of other streams."""
    size = elements * dtype.itemsize
    memory = np.empty(size + _PAGE, np.uint8)
    first = (number * _APART - memory.ctypes.data) % _PAGE
    stream = memory[first : first + size].view(dtype)
    stream[:] = 1  # pages that were never written are all one, which the cache would hold
    return stream


def _one_slot(p: Any, g: Any, m: Any) -> None:
    for i in range(len(p)):
        p[i] += g[i]
        m[i] = -m[i]


def _two_slots(p: Any, g: Any, m: Any, v: Any) -> None:
    for i in range(len(p)):
        p[i] += g[i]
        m[i] = -m[i]
        v[i] = -v[i]


def _no_slot(p: Any, g: Any) -> None:
    for i in range(len(p)):
        p[i] += g[i]


def _three_slots(p: Any, g: Any, m: Any, v: Any, n: Any) -> None:
    for i in range(len(p)):
        p[i] += g[i]
        m[i] = -m[i]
        v[i] = -v[i]
        n[i] = -n[i]


def _four_slots(p: Any, g: Any, m: Any, v: Any, n: Any, s: Any) -> None:
    for i in range(len(p)):
        p[i] += g[i]
        m[i] = -m[i]
        v[i] = -v[i]
        n[i] = -n[i]
        s[i] = -s[i]


_LOOPS: Final[dict[int, Callable[..., None]]] = {
    0: _no_slot,
    1: _one_slot,
    2: _two_slots,
    3: _three_slots,
    4: _four_slots,
}
"""Number of slots -> the loop. Additions and changes of sign take next to no time."""
