"""The benchmarks for a GPU, run without one on the simulator, where every event is as late."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import born
from benchmarks import __main__ as command
from benchmarks import footprint, libraries, limit, machine, optimizer_step, training_step
from benchmarks.classifier import Network
from benchmarks.clocks import device_time
from benchmarks.gpu import __main__ as gpu_command
from benchmarks.gpu.figures import Figure, Recorder, line, read, table
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

        attributes = {**module.cuda.Device().attributes, "L2CacheSize": CACHE}
        monkeypatch.setattr(module.cuda.Device, "attributes", attributes)
        monkeypatch.setattr(module.cuda, "get_elapsed_time", elapsed)
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
    assert list(result.samples) == ["born cupy", "copy"]
    assert result.ours == ["born cupy"]
    assert {second for samples in result.samples.values() for second in samples} == {2e-3}
    assert [each.name for each in result.skipped] == ["PyTorch"]


@needs_compiler
def test_host_time_is_the_hosts_own_clock(here: Place) -> None:
    (work,) = optimizer_step.host_works(here, SMALL)
    result = run(work, ONCE)
    assert list(result.samples) == ["born cupy"]
    assert all(second > 0 for samples in result.samples.values() for second in samples)


@needs_compiler
def test_training_steps_agree_with_the_hosts(here: Place) -> None:
    network = Network((3, 4, 2), batch=5)
    steps = [
        [_outcome(each) for _ in range(5)]
        for place in (here, Place({"born numpy": lambda: born.get_backend("numpy")}))
        for each in training_step.entries(network, place)
        if isinstance(each, Competitor) and each.ours
    ]
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
    assert "over born cupy" in printed
    assert "Memory of steps beyond parameters, gradients and state:" in printed
    assert path.exists()


def test_the_one_command_says_that_there_is_no_gpu(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash to run benchmarks/gpu.sh with")
    # A path without nvidia-smi, whatever this machine has.
    for name in ("dirname", "mktemp", "rm"):
        command_path = shutil.which(name)
        assert command_path is not None
        (tmp_path / name).symlink_to(command_path)
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


def test_a_figure_is_met_or_short_of_its_target() -> None:
    assert Figure(name="a ratio", value=1.0, target=1.0).met
    assert Figure(name="a ratio", value=0.99, target=1.0).met is False
    assert Figure(name="a bound", value=0.99, target=1.0, at_most=True).met
    assert Figure(name="a bound", value=1.01, target=1.0, at_most=True).met is False
    assert Figure(name="only looked at", value=1.0).met is None
    assert line(Figure(name="a ratio", value=0.5, target=1.0)).endswith("SHORT")


def test_figures_of_a_piece_that_was_stopped_are_read(tmp_path: Path) -> None:
    record = Recorder(tmp_path / "piece.jsonl")
    record.add("first", 1.0, target=2.0)
    record.add("second", 2.0, low=1.0, high=3.0)
    with record.path.open("a", encoding="utf-8") as file:
        file.write('{"name": "cut of')
    assert read(record.path) == record.figures
    assert read(tmp_path / "never written") == []


def test_the_table_shows_targets_first_and_says_what_it_leaves_out() -> None:
    others = [Figure(name=f"other {i}", value=1.0) for i in range(5)]
    shown = table([*others, Figure(name="aimed", value=1.0, target=1.0)], most=3)
    assert shown[0].startswith("aimed")
    assert shown[1].startswith("other 0")
    assert shown[2] == "... and 4 more in the JSON"


def test_the_pieces_are_bounded_and_a_failing_one_stops_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def command(piece: str, out: Path, rehearse: bool) -> list[str]:
        program = {
            "device": "print('named'); raise SystemExit(3)",
            "smoke": "import time; print('asleep', flush=True); time.sleep(60)",
            "host": "print('done')",
        }[piece]
        return [sys.executable, "-c", program]

    monkeypatch.setattr(gpu_command, "piece_command", command)
    monkeypatch.setattr(gpu_command, "SECONDS", {"device": 20, "smoke": 1.0, "host": 20})
    arguments = ["--out", str(tmp_path), "--only", "device", "smoke", "host"]
    assert gpu_command.main(arguments) == 1
    summary = (tmp_path / "table.txt").read_text().splitlines()
    assert summary[0].startswith("device: ended with 3")
    assert summary[1].startswith("smoke: ran out of time")
    assert summary[2].startswith("host: ended with 0")
    assert "asleep" in (tmp_path / "smoke.txt").read_text()
    assert "asleep" in capfd.readouterr().out
