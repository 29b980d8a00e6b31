"""Every optimizer's step on 16M parameters, beside PyTorch's and the limit for as many streams.

And the steps of several stages: clipping, LAMB, Adafactor and Muon on the shapes that they meet.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from benchmarks import limit
from benchmarks.clocks import Step
from benchmarks.footprint import Footprint
from benchmarks.harness import Entry, Result, Settings, Skipped, Work
from benchmarks.jobs import EXACT, Job, Options, Shape
from benchmarks.libraries import Place, pytorch_fastest
from benchmarks.optimizer_step import born_part, in_turn, pytorch_step
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
    max_norm: float | None = None,
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
        max_norm=max_norm,
    )


CLIPPED: Final = _job(
    optim.AdamConfig(lr=_LR),
    2,
    "Adam",
    shapes=_FIFTY,
    title="Adam with max_norm, 50 tensors of 320k",
    max_norm=1.0,
)
"""Beside PyTorch's clip_grad_norm_ and its fused step."""

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
    CLIPPED,
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


def settings(given: Settings) -> Settings:
    """For so many works: fewer and shorter rounds."""
    return replace(
        given,
        rounds=min(given.rounds, _ROUNDS),
        settle=_SETTLE,
        warm_up=min(given.warm_up, _SETTLE),
        budget=min(given.budget, _BUDGET),
    )


def place(here: Place) -> Place:
    """Where it is measured: on the backend that compiles, if there is one."""
    chosen = {name: make for name, make in here.backends.items() if name == _COMPILED}
    return replace(here, backends=chosen) if chosen else here


def works(here: Place, jobs: Sequence[Job] = JOBS) -> list[Work]:
    """A step of each job."""
    here = place(here)
    return [
        Work(
            job.title,
            functools.partial(entries, job, here),
            tolerance=job.tolerance,
            bytes=job.moved,
            stopwatch=here.stopwatch,
            checked=_CHECKED,
            draws=min(here.draws, 1 if job.shapes == _MATRICES else _DRAWS),
        )
        for job in jobs
    ]


def entries(job: Job, here: Place) -> list[Entry]:
    """born, PyTorch where it has the optimizer, and the limit."""
    parameters, gradients = job.arrays(seed=0), job.arrays(seed=1)
    make = functools.partial(pytorch_step, job, parameters, gradients, here.device)

    def step(torch: Any, options: Options) -> Step:
        return in_turn(job, here, functools.partial(make, torch, options))

    beside = pytorch_fastest(here, step) if job.pytorch[0] else []
    ours = born_part(job, here, parameters, gradients)
    return [*ours, *beside, *limit.part(job, here, parameters, gradients)]


def overview(
    results: Sequence[Result], footprints: Sequence[Footprint | Skipped]
) -> list[dict[str, Any]]:
    """For each optimizer, in JSON's types: its share of the limit and how many times faster than
    PyTorch's fastest it is, as spreads; and the bytes that a step takes beyond what is held.
    """
    beyond = {
        (each.work, each.library): each.beyond for each in footprints if isinstance(each, Footprint)
    }
    rows: list[dict[str, Any]] = []
    for result in results:
        for mine in result.ours:
            others = [name for name in result.samples if name.startswith("PyTorch")]
            beside = others[0] if others else None
            rows.append(
                {
                    "work": result.work,
                    "ours": mine,
                    "seconds": asdict(result.seconds(mine)),
                    "limit": asdict(result.ratio(_LIMIT, mine))
                    if _LIMIT in result.samples
                    else None,
                    "beside": beside,
                    "ratio": asdict(result.ratio(beside, mine)) if beside else None,
                    "beyond": beyond.get((result.work, mine)),
                }
            )
    return rows


def overview_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The overview as text."""
    width = max((len(row["work"]) for row in rows), default=0)
    lines = [f"{'optimizer':{width}}  {'a step':>9}  of limit  over PyTorch's       beyond"]
    for row in rows:
        share = f"{row['limit']['median']:.2f}" if row["limit"] else "-"
        beside = ""
        if row["ratio"]:
            beside = f"{row['ratio']['median']:5.2f} {row['beside'].removeprefix('PyTorch ')}"
        beyond = "" if row["beyond"] is None else f"{row['beyond'] / 1e6:.2f} MB"
        lines.append(
            f"{row['work']:{width}}  {row['seconds']['median'] * 1e3:6.1f} ms  {share:>8}  "
            f"{beside:14}  {beyond:>11}"
        )
    return "\n".join([*lines, LEGEND])


LEGEND: Final = (
    "The limit moves every stream once: a rule of several passes takes longer. Beyond: memory of "
    "a step\nbeside parameters, gradients and state. Over PyTorch's: its time over born's, fused "
    "or else foreach;\nMuon's products are of float32 on both sides."
)
_COMPILED: Final = "born numba"
_LIMIT: Final = "limit"
_ROUNDS: Final = 6
_DRAWS: Final = 2
_CHECKED: Final = 3  # steps
_SETTLE: Final = 0.1  # seconds
_BUDGET: Final = 8.0  # seconds
