"""How much memory an optimizer's step takes beyond what has to be there."""

from __future__ import annotations

import functools
import gc
import importlib
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.harness import Competitor, Skipped
from benchmarks.jobs import GPU_JOBS, Job
from benchmarks.libraries import Place, pytorch_entries
from benchmarks.optimizer_step import make_optimizer, pytorch_step
from born.backend import Backend

_STEPS: Final = 3
"""The first step may make what the next ones find."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What was found of one library.

    Attributes:
        work: what was done.
        library: by whom.
        beyond: the most bytes that steps took beside parameters, gradients and state.
    """

    work: str
    library: str
    beyond: int


def measured(here: Place, job: Job = GPU_JOBS[0]) -> list[Footprint | Skipped]:
    """born, and then PyTorch with each way it has to step."""
    found: list[Footprint | Skipped] = [
        Footprint(job.title, name, _of_born(here.cupy, make(), job))
        for name, make in here.backends.items()
    ]
    make_step = functools.partial(
        pytorch_step, job, job.arrays(seed=0), job.arrays(seed=1), here.device
    )
    for each in pytorch_entries(here, make_step):
        if isinstance(each, Competitor):
            found.append(Footprint(job.title, each.name, _of_pytorch(each)))
        else:
            found.append(each)
    return found


def on_host(here: Place, jobs: Sequence[Job]) -> list[Footprint]:
    """born on a CPU, before anything else has run: what arrays take, kept or for a while."""
    tracemalloc.start()
    try:
        return [
            Footprint(job.title, name, _of_arrays(make(), job))
            for job in jobs
            for name, make in here.backends.items()
        ]
    finally:
        tracemalloc.stop()


def _of_arrays(backend: Backend, job: Job) -> int:
    """What there is more of behind some steps, and the most that one takes for a while."""
    gc.collect()
    before = _in_arrays()
    arrays = [np.ones(shape, np.float32) for shape in job.shapes]
    optimizer, gradients = make_optimizer(job, arrays, arrays, backend)
    del arrays
    optimizer.step(gradients)
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    optimizer.step(gradients)
    _, most = tracemalloc.get_traced_memory()
    return max(_in_arrays() - before - job.held, 0) + most - now


def _in_arrays() -> int:
    domain: Any = np.lib
    chosen = tracemalloc.DomainFilter(True, domain.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([chosen]).traces)


def _of_born(cupy: Any, backend: Backend, job: Job) -> int:
    """What CuPy's pool has grown by, which keeps whatever was in use at any time.

    Counted is all that the optimizer allocates on the device, also what it goes on to keep,
    such as its table of addresses.
    """
    gc.collect()  # what works before held in circles
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before: int = pool.total_bytes()
    optimizer, gradients = make_optimizer(job, job.arrays(seed=0), job.arrays(seed=1), backend)
    pool.free_all_blocks()
    for _ in range(_STEPS):
        optimizer.step(gradients)
    backend.synchronize()
    grown: int = pool.total_bytes() - before
    return grown - job.held


def _of_pytorch(competitor: Competitor) -> int:
    """The most in use during a step beyond what is in use before one, with its state made."""
    torch: Any = importlib.import_module("torch")
    competitor.step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before: int = torch.cuda.memory_allocated()
    competitor.step()
    torch.cuda.synchronize()
    beyond: int = torch.cuda.max_memory_allocated() - before
    return beyond
