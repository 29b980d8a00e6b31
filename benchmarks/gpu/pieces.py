"""The pieces: each runs in a process of its own, `python -m benchmarks.gpu.pieces NAME FOLDER`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import platform
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import born
from benchmarks import (
    footprint,
    libraries,
    limit,
    models,
    optimizer_step,
    training_step,
)
from benchmarks import optimizers as every
from benchmarks.classifier import Network
from benchmarks.gpu.figures import Recorder
from benchmarks.harness import Competitor, Settings, Work, run
from benchmarks.jobs import Job, Shape, adam, gpt2_shapes
from benchmarks.libraries import Place
from benchmarks.models import CnnSizes, GptSizes
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend

OURS: Final = "born cupy"
FUSED: Final = "PyTorch fused"
_KERNELS: Final = 14  # of a step, those that take longest


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large everything is: on a device, and in a rehearsal.

    Attributes:
        copied: bytes of the arrays that are copied to find the bandwidth.
        epochs: of the smoke test's training.
        large: elements of one large tensor.
        small: number of small tensors, and their elements.
        gpt2: shapes of GPT-2's parameters.
        rules: what is stepped with each optimizer.
        network: the dense network.
        gpt: the GPT.
        cnn: the convolutional network.
        settings: how thoroughly steps are timed.
        briefly: the same where there are many works.
    """

    copied: int
    epochs: int
    large: int
    small: tuple[int, int]
    gpt2: list[tuple[int, ...]]
    rules: Sequence[Job]
    network: Network
    gpt: GptSizes
    cnn: CnnSizes
    settings: Settings
    briefly: Settings


DEVICE: Final = Sizes(
    copied=2**31,
    epochs=5,
    large=100_000_000,
    small=(200, 10_000),
    gpt2=gpt2_shapes(),
    rules=every.JOBS,
    network=Network((784, 4096, 4096, 10), batch=1024),
    gpt=models.GPU_GPT,
    cnn=models.GPU_CNN,
    settings=Settings(rounds=12, pause=0.0, settle=0.02, sample=0.05, warm_up=0.15, budget=12.0),
    briefly=Settings(rounds=6, pause=0.0, settle=0.01, sample=0.02, warm_up=0.05, budget=3.0),
)


def _tiny(shapes: Sequence[Shape]) -> list[Shape]:
    """Two tensors at most, of two or three elements along each axis."""
    return [tuple(min(length, 3 - axis) for axis, length in enumerate(s)) for s in shapes[:2]]


def _staged(job: Job) -> bool:
    """Whether a job is of the few whose step is more than one pass over elements."""
    return len(job.shapes) > 1 or len(job.shapes[0]) > 1


_ONCE: Final = Settings(rounds=3, pause=0.0, settle=0.0, sample=0.0, warm_up=0.0)
REHEARSAL: Final = Sizes(
    copied=2**12,
    epochs=1,
    large=1_000,
    small=(3, 10),
    gpt2=gpt2_shapes(vocabulary=7, context=5, width=4, layers=1),
    rules=[replace(job, shapes=_tiny(job.shapes)) for job in every.JOBS if _staged(job)],
    network=Network((6, 8, 8, 3), batch=4),
    gpt=GptSizes(layers=1, width=8, heads=2, vocabulary=5, context=4, batch=2),
    cnn=CnnSizes(side=8, channels=(2, 3), hidden=5, batch=2),
    settings=_ONCE,
    briefly=_ONCE,
)


@dataclass(frozen=True, slots=True)
class Context:
    """What a piece works with.

    Attributes:
        here: the device.
        sizes: how large everything is.
        record: takes figures.
        failures: what could not be timed; the rest went on.
    """

    here: Place
    sizes: Sizes
    record: Recorder
    failures: list[str] = field(default_factory=list[str])

    @property
    def cupy(self) -> Any:
        """The module."""
        return self.here.cupy

    def time(self, work: Work, settings: Settings | None = None) -> None:
        """Time a work and record what each competitor took; a failure does not stop the next."""
        print(f"-- {work.name}", flush=True)
        try:
            result = run(work, settings or self.sizes.settings)
        except Exception as error:
            traceback.print_exc(file=sys.stdout)
            self.failures.append(f"{work.name}: {type(error).__name__}: {error}")
            return
        self.record.seconds(result)
        for target in _targets(result.work):
            self.record.ratio(result, target.against, OURS, target=target.least)
        if "copy" in result.samples and not any(t.against == "copy" for t in _targets(work.name)):
            self.record.ratio(result, "copy", OURS)


@dataclass(frozen=True, slots=True)
class _Target:
    against: str
    least: float | None


_HOST: Final = "host time of "


def _targets(work: str) -> list[_Target]:
    """What a work is held to, beside what it is only compared with."""
    if work.startswith(_HOST):
        return [_Target(FUSED, 1.0)]
    if work.startswith("training step"):
        return [_Target(FUSED, 1.0)]
    if "100M" in work:
        return [_Target("copy", 0.9), _Target(FUSED, 1.0)]
    if "200 tensors" in work:
        return [_Target(FUSED, 1.2)]
    if "GPT-2" in work:
        return [_Target(FUSED, 1.0)]
    return [_Target(f"PyTorch {way}", None) for way in ("fused", "foreach", "default")]


# -- the pieces ------------------------------------------------------------------------------


def device(context: Context) -> None:
    """Name the device and its software, and find out how fast it copies."""
    cupy, record = context.cupy, context.record
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    print(properties["name"].decode(), "compute capability", cupy.cuda.Device(0).compute_capability)
    print("Python", platform.python_version(), "NumPy", np.__version__, "born", born.__version__)
    for name in ("cupy", "torch", "numba", "jax"):
        try:
            print(name, importlib.import_module(name).__version__)
        except (ImportError, AttributeError) as error:
            print(name, "missing:", error)
    step = limit.copy_step(cupy, context.sizes.copied, 0)
    step()
    samples = sorted(context.here.stopwatch(step, 10) / 10 for _ in range(5))
    record.add("copy bandwidth", context.sizes.copied / samples[2] / 1e9, unit="GB/s")


def smoke(context: Context) -> None:
    """Train the digits network on the host and on the device, and compare the losses."""
    images, labels = _digits()
    on_host = _losses(born.get_backend("numpy"), images, labels, context.sizes.epochs)
    make = context.here.backends[OURS]
    start = time.perf_counter()
    on_device = _losses(make(), images, labels, context.sizes.epochs)
    took = time.perf_counter() - start
    apart = max(abs(a - b) / abs(b) for a, b in zip(on_device, on_host, strict=True))
    print(f"last loss on the device {on_device[-1]:.6f}, on the host {on_host[-1]:.6f}")
    context.record.add(
        "digits, loss of each step against the CPU's, relative",
        apart,
        unit="",
        target=1e-4,
        at_most=True,
    )
    context.record.add("digits, training with all that is compiled", took, unit="s")


def _digits() -> tuple[Any, Any]:
    datasets: Any = importlib.import_module("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    return (images / 16).astype(np.float32), labels.astype(np.int64)


def _losses(inner: Backend, images: Any, labels: Any, epochs: int) -> list[float]:
    backend = Autodiff(inner)
    backend.seed(0)
    model = nn.Sequential(nn.Linear(64, 32, backend), nn.ReLU(), nn.Linear(32, 10, backend))
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig(lr=1e-3))
    losses: list[float] = []
    for _ in range(epochs):
        for start in range(0, len(images), 128):
            x = born.tensor(images[start : start + 128], backend)
            y = born.tensor(labels[start : start + 128], backend)
            with backend.tape:
                loss = nn.cross_entropy(model(x), y)
            optimizer.step(backward(loss))
            losses.append(loss.item())
    return losses


def optimizers(context: Context) -> None:
    """Steps of Adam on one large tensor, many small ones and a GPT-2."""
    sizes = context.sizes
    count, elements = sizes.small
    jobs = [
        adam("Adam, 1 tensor of 100M", [(sizes.large,)]),
        adam("Adam, 200 tensors of 10k", count * [(elements,)]),
        adam("Adam, the 148 tensors of GPT-2 small", sizes.gpt2),
    ]
    for job in jobs:
        (work,) = optimizer_step.works(context.here, [job])
        context.time(work)
        _free(context.cupy)


def rules(context: Context) -> None:
    """A step of every optimizer."""
    for work in every.works(context.here, context.sizes.rules):
        context.time(work, context.sizes.briefly)
        _free(context.cupy)


def networks(context: Context) -> None:
    """Training steps of a dense network, a GPT and a convolutional network."""
    sizes, here = context.sizes, context.here
    (dense,) = training_step.works(here, [sizes.network])
    for work in (dense, models.gpt_work(sizes.gpt, here), models.cnn_work(sizes.cnn, here)):
        context.time(work)
        _profile(context, work)
        _free(context.cupy)


def host(context: Context) -> None:
    """How long a step keeps the host, how many kernels it launches, and the memory it takes."""
    here, record = context.here, context.record
    count, elements = context.sizes.small
    job = adam("Adam, 200 tensors of 10k", count * [(elements,)])
    (work,) = optimizer_step.host_works(here, job)
    context.time(work)
    _profile(context, work)
    large = adam("Adam, 1 tensor of 100M", [(context.sizes.large,)])
    for found in footprint.measured(here, large):
        if isinstance(found, footprint.Footprint):
            aim = {"target": 1.0, "at_most": True} if found.library == OURS else {}
            record.add(
                f"{found.work}: memory beside parameters, gradients, state, {found.library}",
                found.beyond / 1e6,
                unit="MB",
                **aim,
            )


def _profile(context: Context, work: Work) -> None:
    """Count the kernels and copies of a step, which only PyTorch's profiler sees, and time each."""
    try:
        profiler: Any = importlib.import_module("torch.profiler")
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        print(f"launches not counted: {error}")
        return
    if not torch.cuda.is_available():
        print("launches not counted: PyTorch sees no GPU")
        return
    synchronize = context.cupy.cuda.Device().synchronize
    for each in work.prepare():
        if not isinstance(each, Competitor) or each.name not in (OURS, FUSED):
            continue
        for _ in range(3):
            each.step()
        synchronize()
        with profiler.profile(activities=[profiler.ProfilerActivity.CUDA]) as profile:
            each.step()
            synchronize()
        spent: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        for event in profile.events():
            if str(event.device_type).endswith("CUDA"):
                spent[event.name] += event.time_range.elapsed_us()
                calls[event.name] += 1
        name = f"{work.name}, {each.name}"
        context.record.add(f"{name}: launches and copies", calls.total(), unit="")
        context.record.add(f"{name}: the device at work", spent.total(), unit="us")
        for kernel, microseconds in spent.most_common(_KERNELS):
            print(f"    {microseconds:10,.1f} us {calls[kernel]:5} x {kernel[:90]}")


def _use_full_precision() -> None:
    """Have PyTorch convolve in float32, as it multiplies, and not in TF32."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        return
    torch.backends.cudnn.allow_tf32 = False


def _free(cupy: Any) -> None:
    """Give memory back, so that another library finds it."""
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    with contextlib.suppress(ImportError):
        importlib.import_module("torch").cuda.empty_cache()


PIECES: Final[Mapping[str, Callable[[Context], None]]] = {
    "device": device,
    "smoke": smoke,
    "optimizers": optimizers,
    "rules": rules,
    "networks": networks,
    "host": host,
}


def main() -> None:
    """Run one piece."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.pieces")
    parser.add_argument("piece", choices=PIECES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rehearse", action="store_true", help="on the simulator, tiny")
    options = parser.parse_args()
    rehearse: bool = options.rehearse
    if rehearse:
        importlib.import_module("tests.simulator").install_for_good()
    here = libraries.place("cupy")
    record = Recorder(options.folder / f"{options.piece}.jsonl", judged=not rehearse)
    _use_full_precision()
    context = Context(here, REHEARSAL if rehearse else DEVICE, record)
    PIECES[options.piece](context)
    if context.failures:
        raise SystemExit("\n".join(context.failures))


if __name__ == "__main__":
    main()
