"""Every optimizer's step on 16M parameters, beside PyTorch's and the limit for as many streams.

And the steps of several stages: clipping, LAMB, Adafactor and Muon on the shapes that they meet.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Final

from benchmarks import limit
from benchmarks.harness import Entry, Work
from benchmarks.jobs import EXACT, Job, Options, Shape
from benchmarks.libraries import Place
from benchmarks.optimizer_step import born_part, pytorch_part
from born import optim

_FLOAT: Final = 4
_LR: Final = 1e-3
_ONE: Final[Sequence[Shape]] = [(16_000_000,)]
_FIFTY: Final[Sequence[Shape]] = 50 * [(320_000,)]
_MATRIX: Final[Sequence[Shape]] = [(4_096, 4_096)]
_MATRICES: Final[Sequence[Shape]] = 50 * [(512, 512)]
_LOOSE: Final = math.inf  # after steps whose first is a sign, or by other products


def _job(
    config: optim.Config,
    slots: int,
    pytorch: str = "",
    options: Options | None = None,
    *,
    shapes: Sequence[Shape] = _ONE,
    title: str = "",
    tolerance: float = EXACT,
) -> Job:
    name = type(config).__name__.removesuffix("Config")
    settings = {"lr": config.lr, **(options or {})}
    return Job(
        title=title or f"{name}, 16M",
        shapes=shapes,
        config=config,
        pytorch=(pytorch, settings),
        optax=("", {}),
        slot_bytes=(_FLOAT,) * slots,
        tolerance=tolerance,
    )


JOBS: Final = (
    _job(optim.SGDConfig(lr=_LR, momentum=0.9), 1, "SGD", {"momentum": 0.9}),
    _job(optim.AdamConfig(lr=_LR), 2, "Adam"),
    _job(optim.AdamWConfig(lr=_LR), 2, "AdamW"),
    _job(optim.AdamaxConfig(lr=_LR), 2, "Adamax"),
    _job(optim.NAdamConfig(lr=_LR), 2, "NAdam"),
    _job(optim.RAdamConfig(lr=_LR), 2, "RAdam"),
    _job(optim.RMSpropConfig(lr=_LR), 1, "RMSprop"),
    _job(optim.AdagradConfig(lr=_LR), 1, "Adagrad"),
    _job(optim.AdadeltaConfig(lr=_LR), 2, "Adadelta"),
    _job(optim.RpropConfig(lr=_LR), 2, "Rprop"),
    _job(optim.ASGDConfig(lr=_LR), 1, "ASGD"),
    _job(optim.LionConfig(lr=_LR), 1),
    _job(optim.SignumConfig(lr=_LR), 1),
    _job(optim.AdaBeliefConfig(lr=_LR), 2),
    _job(optim.YogiConfig(lr=_LR), 2),
    _job(optim.AdanConfig(lr=_LR), 4),
    _job(optim.ADOPTConfig(lr=_LR), 2),
    _job(optim.AdEMAMixConfig(lr=_LR), 3),
    _job(optim.LARSConfig(lr=_LR), 1),
    _job(optim.NovoGradConfig(lr=_LR), 1),
    _job(optim.ProdigyConfig(lr=1.0), 4),
    _job(optim.ScheduleFreeSGDConfig(lr=_LR), 1),
    _job(optim.ScheduleFreeAdamWConfig(lr=_LR), 2),
    _job(optim.AdamConfig(lr=_LR), 2, "Adam", shapes=_FIFTY, title="Adam, 50 tensors of 320k"),
    _job(optim.LAMBConfig(lr=_LR), 2, shapes=_FIFTY, title="LAMB, 50 tensors of 320k"),
    _job(
        optim.AdafactorConfig(lr=_LR),
        0,
        "Adafactor",
        shapes=_MATRIX,
        title="Adafactor, 4096 x 4096",
        tolerance=_LOOSE,
    ),
    _job(
        optim.MuonConfig(lr=_LR),
        1,
        "Muon",
        {"weight_decay": 0.0},
        shapes=_MATRICES,
        title="Muon, 50 matrices of 512 x 512",
        tolerance=_LOOSE,
    ),
)
"""What is timed, in the order of the table."""


def works(here: Place, jobs: Sequence[Job] = JOBS) -> list[Work]:
    """A step of each job."""
    return [
        Work(
            job.title,
            functools.partial(entries, job, here),
            tolerance=job.tolerance,
            bytes=job.moved,
            stopwatch=here.stopwatch,
            draws=here.draws,
        )
        for job in jobs
    ]


def entries(job: Job, here: Place) -> list[Entry]:
    """born, PyTorch where it has the optimizer, and the limit."""
    parameters, gradients = job.arrays(seed=0), job.arrays(seed=1)
    beside = pytorch_part(job, here, parameters, gradients) if job.pytorch[0] else []
    ours = born_part(job, here, parameters, gradients)
    return [*ours, *beside, *limit.part(job, here, parameters, gradients)]
