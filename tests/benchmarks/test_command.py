"""The command line of `benchmarks/`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.harness import Result, Settings, Work
from benchmarks.libraries import INSTALL, Place
from born_numpy import NumpyBackend
from tests.benchmarks.world import without

HERE = Place({"born numpy": NumpyBackend})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of every work that would have been timed; nothing is."""
    done: list[Settings] = []

    def measured(work: Work, settings: Settings) -> Result:
        done.append(settings)
        return Result(work.name, {"born numpy": [1e-4]}, ["born numpy"], [], point=work.point)

    monkeypatch.setattr(command, "run", measured)
    without(monkeypatch, {"torch", "matplotlib"})
    return done


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ([], "training step 64-32-10, batch 32"),
        (["training-step"], "training step 784-512-10, batch 128"),
        (["optimizer-step", "optimizer-step"], "Adam, 1 tensor of 16M"),
        (["scaling"], "Adam, one tensor: µs a step"),
    ],
)
def test_command_prints_tables_and_writes_json(
    names: Sequence[str],
    first: str,
    asked: list[Settings],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "new" / "figures.json"
    assert command.main([*names, "--quick", "--rounds", "3", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert first in printed
    assert str(path) in printed
    assert "No picture: No module named 'matplotlib.figure'" in printed
    works = {name: len(make(HERE)) for name, make in command.CPU_BENCHMARKS.items()}
    expected = [3] * sum(works[name] for name in dict.fromkeys(names))
    if not names:
        curves = works.pop("scaling")
        del works["optimizers"]  # which has to be asked for
        expected = [3] * sum(works.values()) + [1] * curves
    assert [settings.rounds for settings in asked] == expected
    assert len(json.loads(path.read_text(encoding="utf-8"))["works"]) == len(expected)


def test_files_are_named_for_what_was_asked(
    asked: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    command.main(["training-step", "--backend", "numpy"])
    command.main(["digits", "training-step"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "latest-digits-training-step.json",
        "latest-numpy-training-step.json",
    ]
    assert {settings.rounds for settings in asked} == {Settings().rounds}


@pytest.mark.parametrize("benchmarks", [command.CPU_BENCHMARKS, command.GPU_BENCHMARKS])
def test_every_benchmark_has_work(benchmarks: command.Benchmarks) -> None:
    names = [work.name for works in benchmarks.values() for work in works(HERE)]
    assert len(names) == len(set(names)) >= len(benchmarks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sorting"], "digits, functions, scaling, optimizers"),
        (["host-time"], "got 'host-time'"),
        (["--rounds", "0"], "expected at least 1, got 0"),
    ],
)
def test_command_refuses_what_it_does_not_know(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == command.UNAVAILABLE
    assert message in capsys.readouterr().err


def test_command_says_what_a_backend_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--backend", "abacus"]) == command.UNAVAILABLE
    assert "got 'abacus'" in capsys.readouterr().err


def test_help_says_how_to_read_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "A ratio over 1 means born is faster" in printed
    assert INSTALL in printed
    assert all(name in printed for name in command.CPU_BENCHMARKS)
    assert all(name in printed for name in command.GPU_BENCHMARKS)


@pytest.mark.parametrize("place", ["file/figures.json", "."])
def test_place_that_cannot_be_written_is_refused_before_anything_is_timed(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(SystemExit):
        command.main(["digits", "--json", str(tmp_path / place)])
    assert "expected a place to write figures to" in capsys.readouterr().err
