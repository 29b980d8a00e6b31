"""Which libraries take part, on a CPU or on a GPU, and why one does not."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import born
from benchmarks.clocks import Step, Stopwatch, device_time, host_time, wall_time
from benchmarks.harness import Competitor, Entry, Skipped
from benchmarks.jobs import Options
from born.backend import Backend
from born.errors import BackendUnavailableError

INSTALL: Final = 'pip install -e ".[benchmarks]"'
"""What brings every other library along."""

GPU_BACKENDS: Final = frozenset({"cupy"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run computes.

    Attributes:
        backends: of born: what the table calls each -> what makes it.
        device: what PyTorch calls it.
        stopwatch: what times a step there.
        keeps_host: what times how long a step keeps the host.
        cache: bytes of the cache that buffers must be larger than, together, to be timed where
            they would be in training: in memory. A CPU's caches are left as they are found.
        draws: how many times a run makes its buffers anew, for where they lie matters.
        cupy: the module, on a GPU.
    """

    backends: Mapping[str, Callable[[], Backend]]
    device: str = "cpu"
    stopwatch: Stopwatch = wall_time
    keeps_host: Stopwatch = wall_time
    cache: int = 0
    draws: int = 6
    cupy: Any = None


def place(backend: str | None) -> Place:
    """Where to compare a backend of born with others; without a name, all that use the CPU.

    Raises:
        BackendUnavailableError: it does not exist, or cannot be used here; the message says
            why and what to do.
    """
    found = born.available_backends()
    if backend is None:
        named = [name for name in found if name not in GPU_BACKENDS]
        return Place({f"born {name}": partial(born.get_backend, name) for name in named})
    if backend not in found:
        raise BackendUnavailableError(f"expected one of {', '.join(found)}, got {backend!r}")
    if not found[backend]:
        raise BackendUnavailableError(
            f"expected a usable backend, got {backend!r}: {found[backend].reason}"
        )
    make = partial(born.get_backend, backend)
    if backend not in GPU_BACKENDS:
        return Place({f"born {backend}": make})
    return gpu(importlib.import_module("cupy"), make)


def gpu(cupy: Any, make: Callable[..., Backend]) -> Place:
    """The GPU that CuPy computes on.

    Args:
        cupy: the module.
        make: options -> the backend.
    """
    device = cupy.cuda.Device()

    return Place(
        {"born cupy": make},
        device=f"cuda:{device.id}",
        stopwatch=device_time(cupy),
        keeps_host=host_time(device.synchronize),
        cache=int(device.attributes["L2CacheSize"]),
        draws=1,
        cupy=cupy,
    )


def born_entries(here: Place, make: Callable[[Backend], Step]) -> list[Entry]:
    """born on each of a place's backends.

    Args:
        here: the place.
        make: a backend -> what does the work once.
    """
    found: list[Entry] = []
    for name, make_backend in here.backends.items():
        try:
            backend = make_backend()
        except BackendUnavailableError as error:
            found.append(Skipped(name, str(error)))
        else:
            found.append(Competitor(name, make(backend), ours=True))
    return found


PYTORCH_VARIANTS: Final[dict[str, Options]] = {
    # Neither option given: on a CPU the optimizer then loops over the parameters
    # (`_single_tensor_adam`), as with foreach=False; on a GPU it does as with foreach=True.
    "PyTorch default": {},
    "PyTorch foreach": {"foreach": True},
    "PyTorch fused": {"fused": True},
}
"""What the table calls each way that PyTorch has to run an optimizer -> the options for it."""


def pytorch_entries(here: Place, make: Callable[[Any, Options], Step]) -> list[Entry]:
    """PyTorch with each way it has to run an optimizer.

    Args:
        here: the place.
        make: the module, and options of the optimizer -> what does the work once.
    """
    torch = _torch(here)
    if isinstance(torch, Skipped):
        return [torch]
    found: list[Entry] = []
    for name, options in PYTORCH_VARIANTS.items():
        try:
            found.append(Competitor(name, make(torch, options)))
        except (TypeError, RuntimeError) as error:  # a version without the option
            found.append(Skipped(name, f"PyTorch {torch.__version__}: {error}"))
    return found


def pytorch_fastest(here: Place, make: Callable[[Any, Options], Step]) -> list[Entry]:
    """PyTorch with the fastest way that it has to run an optimizer: fused, or else foreach."""
    torch = _torch(here)
    if isinstance(torch, Skipped):
        return [torch]
    for name, options in reversed(PYTORCH_VARIANTS.items()):
        try:
            step = make(torch, options)
            step()
        except (TypeError, RuntimeError):  # an optimizer without the option
            continue
        return [Competitor(name, make(torch, options))]
    return [Skipped("PyTorch", f"PyTorch {torch.__version__} does not run it")]


def _torch(here: Place) -> Any:
    """PyTorch's module, or why it does not take part."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        return Skipped("PyTorch", f"{error}; run: {INSTALL}")
    if here.cupy is not None and not torch.cuda.is_available():
        return Skipped("PyTorch", f"{torch.__version__} sees no GPU; install a build with CUDA")
    return torch


def entry(name: str, modules: Sequence[str], make: Callable[..., Step]) -> Entry:
    """A library that takes part if its modules import.

    Args:
        name: what the table calls it.
        modules: what to import.
        make: those modules, one argument each -> what does the work once.
    """
    try:
        imported = [importlib.import_module(module) for module in modules]
    except ImportError as error:
        return Skipped(name, f"{error}; run: {INSTALL}")
    return Competitor(name, make(*imported))
