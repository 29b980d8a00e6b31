"""The machine's limit: what moves the bytes that an optimizer's step moves, without its arithmetic.

On a CPU it is a loop with the same mix of reads and writes, on a GPU a copy.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, Final

import numpy as np

import born
from benchmarks.clocks import Step
from benchmarks.harness import Competitor, Entry
from benchmarks.jobs import EXACT, Arrays, Job
from benchmarks.libraries import Place, born_entries
from born import nn, optim
from born.backend import Backend
from born.fusion import V

TIMES_CACHE: Final = 4
"""How many times larger than the cache all buffers in use are together, on a GPU."""

_LOOPS: Final = "born numba"
"""Whose loop is a limit: NumPy's tiles go over the cache for every instruction."""


def part(job: Job, here: Place, parameters: Arrays, gradients: Arrays) -> list[Entry]:
    """The limit of a job at a place, where one can be measured."""
    if here.cupy is not None:
        return [Competitor("copy", copy_step(here.cupy, job.moved, here.cache))]
    loops = {name: make for name, make in here.backends.items() if name == _LOOPS}
    if job.tolerance != EXACT:
        return []  # rounding to half precision and back is no longer next to nothing
    found = born_entries(
        replace(here, backends=loops), functools.partial(loop_step, job, parameters, gradients)
    )
    # Where the backend is missing, its own line says so.
    return [Competitor("limit", each.step) for each in found if isinstance(each, Competitor)]


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


def loop_step(job: Job, parameters: Arrays, gradients: Arrays, backend: Backend) -> Step:
    """Update with additions where the optimizer has its formula."""
    held = [nn.Parameter(born.tensor(array, backend)) for array in parameters]
    grads = {p.raw: backend.from_numpy(g) for p, g in zip(held, gradients, strict=True)}
    return functools.partial(_Streams(held, _StreamsConfig(lr=0.0, slots=job.slots)).step, grads)


@dataclass(frozen=True, slots=True, kw_only=True)
class _StreamsConfig(optim.Config):
    slots: int


class _Streams(optim.Optimizer[Backend, _StreamsConfig]):
    """Reads and writes what an optimizer does, and adds instead of computing."""

    config_type = _StreamsConfig

    @classmethod
    def rule(cls, config: _StreamsConfig) -> optim.Rule:
        """As many slots as the config says."""
        if config.slots == 1:
            return optim.Rule(_one_slot, ("m",), {})
        return optim.Rule(_two_slots, ("m", "v"), {})


def _two_slots(p: V, g: V, m: V, v: V, *, t: int) -> tuple[V, V, V]:
    return p + g, m + g, v + g


def _one_slot(p: V, g: V, m: V, *, t: int) -> tuple[V, V]:
    return p + g, m + g
