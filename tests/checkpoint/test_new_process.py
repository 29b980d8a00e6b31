"""A new process goes on to the bit, whatever was under way when the old one saved."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from born.optim import schedules
from tests.checkpoint import resuming
from tests.tools import output_of


def test_new_process_goes_on_to_the_bit_from_any_batch(
    backend_name: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def flush(descriptor: int) -> None:
        """Nothing: hundreds of files do not have to survive a power failure."""

    monkeypatch.setattr(os, "fsync", flush)
    resuming.leave(tmp_path, backend_name)
    command = [sys.executable, "-m", "tests.checkpoint.resuming", str(tmp_path), backend_name]
    if request.config.getoption("--simulator"):
        command.append("--simulator")
    assert output_of(command) == ""


def test_contract_is_of_every_schedule() -> None:
    kinds = {each for each in vars(schedules).values() if isinstance(each, type)}
    kinds = {each for each in kinds if issubclass(each, schedules.Schedule)}
    assert {type(each) for each in resuming.SCHEDULES} == kinds - {schedules.Schedule}


def test_contract_can_be_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "CASES", resuming.CASES[:1])
    resuming.leave(tmp_path, "numpy")
    (expected,) = json.loads((tmp_path / "expected.json").read_text())
    other = [{**expected, "optimizer.t.0": "another count"}]
    (tmp_path / "expected.json").write_text(json.dumps(other))
    lines = resuming.differences(tmp_path, "numpy")
    assert [line.rpartition(", ")[2] for line in lines] == [
        f"after {stop} batches: optimizer.t.0" for stop in range(resuming.BATCHES + 1)
    ]
