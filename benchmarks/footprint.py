"""How much memory of a GPU an optimizer's step takes beyond what has to be there."""

from __future__ import annotations

import functools
import gc
import importlib
from dataclasses import dataclass
from typing import Any, Final

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
