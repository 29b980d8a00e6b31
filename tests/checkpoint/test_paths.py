"""Where a checkpoint may be written, and what metadata it may hold."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from born import checkpoint
from born.errors import CheckpointError, CheckpointWriteError


def _deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def test_what_is_not_a_regular_file_is_not_replaced(tmp_path: Path) -> None:
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for path in (pipe, loop, Path("/dev/null"), "a\0b"):
        with pytest.raises(CheckpointWriteError, match="choose another path"):
            checkpoint.save(path, metadata={})
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert loop.is_symlink()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_mode_of_a_file_is_kept(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, metadata={})
    path.chmod(mode)
    checkpoint.save(path, metadata={"a": 1})
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert checkpoint.load(path) == {"a": 1}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": math.inf}, "finite numbers in metadata.*str"),
        ({"a": [math.nan]}, "finite numbers in metadata.*str"),
        (_deep(100_000), "nested too deeply"),
    ],
    ids=["inf", "nan", "deep"],
)
def test_metadata_that_json_does_not_have(metadata: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        checkpoint.save(tmp_path / "run.safetensors", metadata=metadata)
    assert not any(tmp_path.iterdir())
