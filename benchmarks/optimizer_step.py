"""An optimizer's step alone, on tensors of several sizes and numbers.

The gradients are made beforehand and stay the same. Beside the libraries runs a loop that
moves the same bytes and computes next to nothing: the machine's limit for that mix of reads
and writes.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import born
from benchmarks.harness import Competitor, Skipped, Work
from born import nn, optim
from born.backend import Backend
from born.fusion import V

_LEARNING_RATE: Final = 1e-3
_MOMENTUM: Final = 0.9
_EXACT: Final = 1e-4
"""Between float32 parameters after twenty steps: they differ by rounding only."""
_ROUNDED: Final = 1e-1
"""With a first moment in bfloat16, which has eight bits, and parameters not far from zero."""

_GPU_BACKENDS: Final = frozenset({"cupy"})
_FLOAT: Final = 4  # bytes
_HALF: Final = 2


@dataclass(frozen=True, slots=True)
class Job:
    """An optimizer and what it updates.

    Attributes:
        title: what the table calls it.
        tensors: how many parameters.
        size: how many elements each has.
        config: of born's optimizer.
        pytorch: the class and options of PyTorch's that does the same.
        bytes: how many bytes of memory an element's update reads and writes.
        tolerance: between the competitors' parameters.
    """

    title: str
    tensors: int
    size: int
    config: optim.Config
    pytorch: tuple[str, dict[str, float]]
    bytes: int
    tolerance: float = _EXACT


def _adam(title: str, tensors: int, size: int, m_dtype: str = "auto") -> Job:
    # Reads p, g, m and v, writes p, m and v.
    moved = 5 * _FLOAT + 2 * (_FLOAT if m_dtype == "auto" else _HALF)
    return Job(
        title=f"Adam, {title}",
        tensors=tensors,
        size=size,
        config=optim.AdamConfig(lr=_LEARNING_RATE, m_dtype=m_dtype),
        pytorch=("Adam", {"lr": _LEARNING_RATE}),
        bytes=moved,
        tolerance=_EXACT if m_dtype == "auto" else _ROUNDED,
    )


JOBS: Final = (
    _adam("1 tensor of 16M", 1, 16_000_000),
    _adam("200 tensors of 10k", 200, 10_000),
    _adam("200 tensors of 1k", 200, 1_000),
    _adam("4 tensors of 1k", 4, 1_000),
    _adam("1 tensor of 16M, first moment in bfloat16", 1, 16_000_000, "bfloat16"),
    Job(
        title="SGD with momentum, 1 tensor of 16M",
        tensors=1,
        size=16_000_000,
        config=optim.SGDConfig(lr=_LEARNING_RATE, momentum=_MOMENTUM),
        pytorch=("SGD", {"lr": _LEARNING_RATE, "momentum": _MOMENTUM}),
        bytes=5 * _FLOAT,  # reads p, g and the velocity, writes p and the velocity
    ),
)

Arrays = list[npt.NDArray[np.float32]]


def works() -> list[Work]:
    """The step of each job."""
    return [
        Work(
            job.title,
            functools.partial(competitors, job),
            tolerance=job.tolerance,
            bytes=job.bytes * job.tensors * job.size,
        )
        for job in JOBS
    ]


def competitors(job: Job) -> list[Competitor | Skipped]:
    """born on each CPU backend, PyTorch with each way it has to step, and the limit."""
    draw = np.random.default_rng(0)
    parameters = [draw.standard_normal(job.size, np.float32) for _ in range(job.tensors)]
    gradients = [draw.standard_normal(job.size, np.float32) for _ in range(job.tensors)]
    return [
        *_born(job, parameters, gradients),
        *_pytorch(job, parameters, gradients),
    ]


@dataclass(frozen=True, slots=True)
class _Probe:
    """The first element of a parameter, read when asked for."""

    array: Any

    def item(self) -> float:
        """The element as a Python number."""
        return float(self.array.reshape(-1)[0])


def _born(job: Job, parameters: Arrays, gradients: Arrays) -> list[Competitor | Skipped]:
    found: list[Competitor | Skipped] = []
    for name, availability in born.available_backends().items():
        if name in _GPU_BACKENDS:
            continue
        if not availability:
            found.append(Skipped(f"born {name}", availability.reason))
            continue
        backend = born.get_backend(name)
        step = _born_step(job.config, backend, parameters, gradients)
        found.append(Competitor(f"born {name}", step, ours=True))
        if name == "numba" and job.tolerance == _EXACT:
            found.append(Competitor("limit", _limit_step(job, backend, parameters, gradients)))
    return found


def _born_step(
    config: optim.Config, backend: Backend, parameters: Arrays, gradients: Arrays
) -> Callable[[], _Probe]:
    held = [nn.Parameter(born.tensor(array, backend)) for array in parameters]
    grads = {p.raw: backend.from_numpy(g) for p, g in zip(held, gradients, strict=True)}
    if isinstance(config, optim.AdamConfig):
        optimizer: optim.Optimizer[Backend, Any] = optim.Adam(held, config)
    else:
        assert isinstance(config, optim.SGDConfig)
        optimizer = optim.SGD(held, config)
    probe = _Probe(held[0].raw.array)

    def step() -> _Probe:
        optimizer.step(grads)
        return probe

    return step


class _Streams(optim.Optimizer[Backend, optim.Config]):
    """Reads and writes what an optimizer does, and adds instead of computing."""

    config_type = optim.Config

    @classmethod
    def rule(cls, config: optim.Config) -> optim.Rule:
        """As many slots as Adam has, or SGD where the learning rate says so."""
        return optim.Rule(_two_slots if config.lr > 0 else _one_slot, cls.slots(config), {})

    @staticmethod
    def slots(config: optim.Config) -> tuple[str, ...]:
        """The names of the slots."""
        return ("m", "v") if config.lr > 0 else ("m",)


def _two_slots(p: V, g: V, m: V, v: V, *, t: int) -> tuple[V, V, V]:
    return p + g, m + g, v + g


def _one_slot(p: V, g: V, m: V, *, t: int) -> tuple[V, V]:
    return p + g, m + g


def _limit_step(
    job: Job, backend: Backend, parameters: Arrays, gradients: Arrays
) -> Callable[[], None]:
    two = isinstance(job.config, optim.AdamConfig)
    held = [nn.Parameter(born.tensor(array, backend)) for array in parameters]
    grads = {p.raw: backend.from_numpy(g) for p, g in zip(held, gradients, strict=True)}
    optimizer = _Streams(held, optim.Config(lr=1.0 if two else 0.0))

    def step() -> None:
        optimizer.step(grads)

    return step


_PYTORCH_VARIANTS: Final[dict[str, dict[str, bool]]] = {
    "PyTorch default": {},
    "PyTorch foreach": {"foreach": True},
    "PyTorch fused": {"fused": True},
}


def _pytorch(job: Job, parameters: Arrays, gradients: Arrays) -> list[Competitor | Skipped]:
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        return [Skipped("PyTorch", f'{error}; run: pip install -e ".[parity]"')]
    found: list[Competitor | Skipped] = []
    for name, options in _PYTORCH_VARIANTS.items():
        held = [torch.nn.Parameter(torch.tensor(array)) for array in parameters]
        for parameter, gradient in zip(held, gradients, strict=True):
            parameter.grad = torch.tensor(gradient)
        kind, settings = job.pytorch
        optimizer = getattr(torch.optim, kind)(held, **settings, **options)
        found.append(Competitor(name, _pytorch_step(optimizer, _Probe(held[0].detach()))))
    return found


def _pytorch_step(optimizer: Any, probe: _Probe) -> Callable[[], _Probe]:
    def step() -> _Probe:
        optimizer.step()
        return probe

    return step
