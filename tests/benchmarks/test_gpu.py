"""The benchmarks for a GPU, run without one on the simulator, where every event is as late."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import footprint, libraries, limit, machine, optimizer_step, training_step
from benchmarks.classifier import Network
from benchmarks.clocks import device_time
from benchmarks.harness import Competitor, Settings, Skipped, run
from benchmarks.jobs import adam
from benchmarks.libraries import Place
from tests import simulator
from tests.benchmarks.world import World, without
from tests.simulator.host import NEEDS_COMPILER
from tests.tools import ROOT

ONCE = Settings(rounds=3, pause=0.0, settle=0.0, sample=0.0, warm_up=0.0)
SMALL = adam("Adam, a few", [(10,), (2, 3), (1,)])
CACHE = 512  # bytes: the buffers above are smaller, so that several sets are stepped over
MILLISECONDS = 2.0

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("c++") is None, reason=NEEDS_COMPILER
)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Generator[Any]:
    """The simulator, and what only benchmarks ask of CuPy."""
    with simulator.installed():
        module: Any = importlib.import_module("cupy")

        def elapsed(start: object, stop: object) -> float:
            return MILLISECONDS

        def properties(device: int) -> dict[str, bytes]:
            return {"name": b"Simulated GPU"}

        def copyto(target: Any, source: Any) -> None:
            target[...] = source

        attributes = {**module.cuda.Device().attributes, "L2CacheSize": CACHE}
        monkeypatch.setattr(module.cuda.Device, "attributes", attributes)
        monkeypatch.setattr(module.cuda, "get_elapsed_time", elapsed, raising=False)
        monkeypatch.setattr(module.cuda.runtime, "getDeviceProperties", properties, raising=False)
        monkeypatch.setattr(module, "copyto", copyto, raising=False)
        without(monkeypatch, {"torch"})
        yield module


@pytest.fixture
def here(cupy: Any) -> Place:
    """The simulator's device."""
    return libraries.gpu(cupy, importlib.import_module("born_cupy").CupyBackend)


@needs_compiler
def test_optimizer_steps_run_and_are_timed_by_events(here: Place) -> None:
    (work,) = optimizer_step.works(here, [SMALL])
    result = run(work, ONCE)
    assert list(result.samples) == ["born cupy", "born cupy, graphs", "copy"]
    assert result.ours == ["born cupy", "born cupy, graphs"]
    assert {second for samples in result.samples.values() for second in samples} == {2e-3}
    assert [each.name for each in result.skipped] == ["PyTorch"]


@needs_compiler
def test_host_time_is_the_hosts_own_clock(here: Place) -> None:
    (work,) = optimizer_step.host_works(here, SMALL)
    result = run(work, ONCE)
    assert list(result.samples) == ["born cupy", "born cupy, graphs"]
    assert all(second > 0 for samples in result.samples.values() for second in samples)


@needs_compiler
def test_training_steps_agree_with_and_without_graphs(here: Place) -> None:
    entries = training_step.entries(Network((3, 4, 2), batch=5), here)
    (absent,) = [each for each in entries if isinstance(each, Skipped)]
    assert absent.name == "PyTorch"
    competitors = [each for each in entries if isinstance(each, Competitor)]
    steps = [[_outcome(each) for _ in range(5)] for each in competitors]
    assert steps[0] == pytest.approx(steps[1], rel=1e-5)  # the order of sums may differ


def _outcome(competitor: Competitor) -> float:
    outcome = competitor.step()
    assert outcome is not None
    return outcome.item()


@needs_compiler
def test_footprint_counts_what_a_step_allocates_beside_what_it_holds(here: Place) -> None:
    found = footprint.measured(here, SMALL)
    assert [each.library for each in found if isinstance(each, footprint.Footprint)] == [
        "born cupy",
        "born cupy, graphs",
    ]
    beyond = [each.beyond for each in found if isinstance(each, footprint.Footprint)]
    assert all(0 <= each < 1_000_000 for each in beyond)
    assert isinstance(found[-1], Skipped)


def test_a_copy_reads_half_of_the_bytes_and_writes_the_other(cupy: Any) -> None:
    copies: list[tuple[int, int]] = []

    def copyto(target: Any, source: Any) -> None:
        copies.append((target.nbytes, id(target)))

    cupy.copyto = copyto
    step = limit.copy_step(cupy, moved=1000, cache=750)
    for _ in range(6):
        step()
    assert {size for size, _ in copies} == {500}
    # Three pairs of buffers hold four times the cache.
    assert len({target for _, target in copies}) == 3


def test_events_are_recorded_around_the_steps(cupy: Any) -> None:
    world = World()
    competitor = world.competitor("a", lambda: 1.0)
    assert device_time(cupy)(competitor.step, 3) == MILLISECONDS / 1000
    assert world.ran == ["a"] * 3


def test_facts_name_the_device(cupy: Any) -> None:
    facts = machine.facts(cupy)
    assert facts["gpu"]["name"] == "Simulated GPU"
    assert facts["gpu"]["cache"] == CACHE
    assert "born-optim" in facts["packages"]
    assert machine.described(facts).startswith("Simulated GPU, 0 MB of L2 cache, CUDA 12.9")


def test_pytorch_that_sees_no_gpu_is_skipped(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = ModuleType("torch")
    cuda = ModuleType("torch.cuda")
    vars(cuda)["is_available"] = lambda: False
    vars(torch).update(__version__="2.0+cpu", cuda=cuda)

    def find(name: str) -> ModuleType:
        assert name == "torch"
        return torch

    monkeypatch.setattr(importlib, "import_module", find)
    assert libraries.pytorch_entries(here, lambda torch, options: lambda: None) == [
        Skipped("PyTorch", "2.0+cpu sees no GPU; install a build with CUDA")
    ]


@needs_compiler
def test_command_runs_all_that_there_is_for_a_gpu(
    here: Place,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = footprint.measured
    small: command.Benchmarks = {
        "optimizer-step": lambda place: optimizer_step.works(place, [SMALL]),
        "host-time": lambda place: optimizer_step.host_works(place, SMALL),
    }

    def small_footprint(place: Place) -> list[footprint.Footprint | Skipped]:
        return measured(place, SMALL)

    def simulated(backend: str | None) -> Place:
        assert backend == "cupy"
        return here

    monkeypatch.setattr(command, "GPU_BENCHMARKS", small)
    monkeypatch.setattr(command, "GPU_SETTINGS", ONCE)
    monkeypatch.setattr(footprint, "measured", small_footprint)
    monkeypatch.setattr(libraries, "place", simulated)
    path = tmp_path / "gpu.json"
    assert command.main(["--backend", "cupy", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "over born cupy, graphs" in printed
    assert "Memory of steps beyond parameters, gradients and state:" in printed
    assert path.exists()


def test_the_one_command_says_that_there_is_no_gpu(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash to run benchmarks/gpu.sh with")
    # A path without nvidia-smi, whatever this machine has.
    dirname = shutil.which("dirname")
    assert dirname is not None
    (tmp_path / "dirname").symlink_to(dirname)
    done = subprocess.run(
        [bash, ROOT / "benchmarks" / "gpu.sh", tmp_path / "results"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == command.UNAVAILABLE
    assert "no NVIDIA GPU answers" in done.stderr
    assert not (tmp_path / "results").exists()
