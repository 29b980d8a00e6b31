"""An optimizer's step alone, on tensors of several sizes and numbers.

The gradients are made beforehand and stay the same. Beside the libraries runs the machine's
limit for moving as many bytes.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

import born
from benchmarks import limit
from benchmarks.clocks import Step
from benchmarks.harness import Entry, Skipped, Work
from benchmarks.jobs import GPU_JOBS, JOBS, SMALL_TENSORS, Arrays, Job, Options
from benchmarks.libraries import (
    PYTORCH_VARIANTS,
    Place,
    born_entries,
    entry,
    pytorch_entries,
)
from born import nn, optim
from born.backend import Backend
from born.raw import RawTensor

_JAX_TENSORS: Final = 1_000
"""Compiling an update takes JAX 0.10 about 9 ms for each tensor."""


def works(here: Place, jobs: Sequence[Job] | None = None) -> list[Work]:
    """The step of each job; unless told otherwise, of those worth a look at a place."""
    if jobs is None:
        jobs = JOBS if here.cupy is None else GPU_JOBS
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


def host_works(here: Place, job: Job = SMALL_TENSORS) -> list[Work]:
    """How long a step keeps the host, which need not wait for a GPU.

    Args:
        here: the place.
        job: what is done; many small tensors, so that the device keeps up.
    """
    return [
        Work(
            f"host time of {job.title}",
            functools.partial(entries, job, here, PARTS[:-1]),  # the limit is the device's
            tolerance=job.tolerance,
            stopwatch=here.keeps_host,
        )
    ]


def born_part(job: Job, here: Place, parameters: Arrays, gradients: Arrays) -> list[Entry]:
    """born on each backend."""
    return born_entries(
        here,
        lambda backend: in_turn(job, here, lambda: born_step(job, parameters, gradients, backend)),
    )


def pytorch_part(job: Job, here: Place, parameters: Arrays, gradients: Arrays) -> list[Entry]:
    """PyTorch with each way it has to step."""
    return pytorch_entries(
        here,
        lambda torch, options: in_turn(
            job,
            here,
            lambda: pytorch_step(job, parameters, gradients, here.device, torch, options),
        ),
    )


def jax_part(job: Job, here: Place, parameters: Arrays, gradients: Arrays) -> list[Entry]:
    """JAX with Optax, on a CPU."""
    if here.cupy is not None:
        return []
    if len(job.shapes) > _JAX_TENSORS:
        reason = f"compiling a step of more than {_JAX_TENSORS:,} tensors takes minutes"
        return [Skipped("JAX jit", reason)]
    make = functools.partial(jax_step, job, parameters, gradients)
    return [entry("JAX jit", ["jax", "optax"], make)]


@dataclass(frozen=True, slots=True)
class Part:
    """Competitors that are made together.

    Attributes:
        name: of the library.
        copies: how many sets of parameters, gradients and state they hold between them.
        make: a job, the place, first values and gradients -> the competitors.
    """

    name: str
    copies: int
    make: Callable[[Job, Place, Arrays, Arrays], list[Entry]]


PARTS: Final = (
    Part("born", 2, born_part),
    Part("PyTorch", len(PYTORCH_VARIANTS), pytorch_part),
    Part("JAX jit", 1, jax_part),
    Part("limit", 1, limit.part),
)


def entries(job: Job, here: Place, parts: Sequence[Part] = PARTS) -> list[Entry]:
    """Who takes part, each with buffers of its own and the same values in them."""
    parameters, gradients = job.arrays(seed=0), job.arrays(seed=1)
    return [each for part in parts for each in part.make(job, here, parameters, gradients)]


def in_turn(job: Job, here: Place, make: Callable[[], Step]) -> Step:
    """Step over several sets of buffers in turn, so that none is in a cache when it is due."""
    copies = math.ceil(limit.TIMES_CACHE * here.cache / job.held) or 1
    if copies == 1:
        return make()
    due = cycle([make() for _ in range(copies)])
    return lambda: next(due)()


@dataclass(frozen=True, slots=True)
class _Probe:
    """The first element of a parameter, read when asked for."""

    array: Any

    def item(self) -> float:
        """The element as a Python number."""
        return float(self.array.reshape(-1)[0])


def make_optimizer(
    job: Job, parameters: Arrays, gradients: Arrays, backend: Backend
) -> tuple[optim.Optimizer[Backend, Any], dict[RawTensor, RawTensor]]:
    """born's optimizer of a job over copies of arrays, and their gradients."""
    held = [nn.Parameter(born.tensor(array, backend)) for array in parameters]
    grads = {p.raw: backend.from_numpy(g) for p, g in zip(held, gradients, strict=True)}
    return optim.create(job.config, held, max_norm=job.max_norm), grads


def born_step(job: Job, parameters: Arrays, gradients: Arrays, backend: Backend) -> Step:
    """An update with the same gradients each time."""
    optimizer, grads = make_optimizer(job, parameters, gradients, backend)
    probe = _Probe(optimizer.parameters[0].raw.array)

    def step() -> _Probe:
        optimizer.step(grads)
        return probe

    return step


def pytorch_step(
    job: Job, parameters: Arrays, gradients: Arrays, device: str, torch: Any, options: Options
) -> Step:
    """The same in PyTorch.

    Args:
        job: names the optimizer.
        parameters: their first values.
        gradients: for each parameter.
        device: where.
        torch: the module.
        options: of the optimizer, beside the job's.
    """
    held = [torch.nn.Parameter(torch.tensor(array, device=device)) for array in parameters]
    for parameter, gradient in zip(held, gradients, strict=True):
        parameter.grad = torch.tensor(gradient, device=device)
    name, settings = job.pytorch
    optimizer = getattr(torch.optim, name)(held, **settings, **options)
    probe = _Probe(held[0].detach())

    def step() -> _Probe:
        if job.max_norm is not None:
            torch.nn.utils.clip_grad_norm_(held, job.max_norm, foreach=True)
        optimizer.step()
        return probe

    return step if name != "Muon" else _in_float32(torch, step)


def _in_float32(torch: Any, step: Step) -> Step:
    """Steps of PyTorch's Muon whose products are of float32, as born's: its own are of bfloat16."""
    module = importlib.import_module("torch.optim._muon")
    function = "_zeropower_via_newtonschulz"
    own = getattr(module, function)

    def orthogonalized(
        x: Any, coefficients: tuple[float, float, float], steps: int, eps: float
    ) -> Any:
        a, b, c = coefficients
        tall = x.size(0) > x.size(1)
        x = x.T if tall else x
        x = x / x.norm().clamp(min=eps)
        for _ in range(steps):
            gram = x @ x.T
            x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.T if tall else x

    def wide() -> Any:
        setattr(module, function, orthogonalized)
        try:
            return step()
        finally:
            setattr(module, function, own)

    return wide


def jax_step(job: Job, parameters: Arrays, gradients: Arrays, jax: Any, optax: Any) -> Step:
    """The same in JAX with Optax: one jitted call, the old parameters and state given away."""
    name, settings = job.optax
    rule = getattr(optax, name)(**settings)
    # On a CPU, `asarray` may share the host's memory, which others train in turn.
    held = [jax.numpy.array(array, copy=True) for array in parameters]
    grads = [jax.numpy.array(array, copy=True) for array in gradients]
    state = rule.init(held)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(values: Any, moments: Any, given: Any) -> Any:
        changes, moments = rule.update(given, moments, values)
        return optax.apply_updates(values, changes), moments

    def step() -> _Probe:
        nonlocal held, state
        held, state = update(held, state, grads)
        # What one call computes is ready at once.
        return _Probe(held[0].block_until_ready())

    return step
