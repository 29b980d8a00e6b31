"""Where a checkpoint may be written, and what metadata it may hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]  # its os.PathLike has no parameter
)

from born import checkpoint, nn, optim
from born.errors import BornError, CheckpointError, CheckpointWriteError, OperandError
from born_numpy import NumpyBackend


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


def _forge(path: Path, **changes: Any) -> None:
    """Change a checkpoint's document and seal it again; an entry of `...` goes."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    fields = json.loads(data[8 : 8 + length])
    document = json.loads(fields["__metadata__"]["born"]) | changes | {"digest": "0" * 64}
    document = {name: value for name, value in document.items() if value is not ...}
    fields["__metadata__"]["born"] = json.dumps(document)
    header = json.dumps(fields).encode()
    prefix = len(header).to_bytes(8, "little")
    digest = hashlib.sha256(prefix + header).hexdigest().encode()
    path.write_bytes(prefix + header.replace(b"0" * 64, digest) + data[8 + length :])


@pytest.mark.parametrize("value", [..., 7, "text", [], [1], {"w": 1}, {"model.weight": {}}])
@pytest.mark.parametrize("name", ["version", "tensors", "model", "optimizer", "metadata"])
def test_forged_entries_are_refused_or_mean_nothing(name: str, value: Any, tmp_path: Path) -> None:
    path, backend = tmp_path / "run.safetensors", NumpyBackend()
    model = nn.Linear(2, 3, backend)
    optimizer = optim.Adam(model.parameters(), lr=0.5)
    checkpoint.save(path, model=model, optimizer=optimizer, metadata={"a": 1})
    _forge(path)
    assert checkpoint.load(path, model=model, optimizer=optimizer) == {"a": 1}
    _forge(path, **{name: value})
    with contextlib.suppress(BornError):
        checkpoint.load(path, model=model, optimizer=optimizer)


def test_a_file_of_another_library_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": np.zeros(3, np.float32)}, path, metadata)
        with pytest.raises(CheckpointError, match=r"without the entry 'born'.*load_weights"):
            checkpoint.load(path)


@pytest.mark.parametrize("path", [None, 7, ["run"]])
def test_what_is_not_a_path_is_refused(path: Any) -> None:
    for use in (checkpoint.save, checkpoint.load):
        with pytest.raises(OperandError, match="expected the path of a checkpoint"):
            use(path)
