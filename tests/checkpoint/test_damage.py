"""A file that is not, to the byte, what was saved is refused, and nothing is changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]  # its os.PathLike has no parameter
)

import born
from born import checkpoint, nn, optim
from born.backend import Backend
from born.checkpoint import format as file_format
from born.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointVersionError,
)
from tests.checkpoint.runs import Run, make_run

MASKS = (*(1 << bit for bit in range(8)), 0xFF)
"""Each bit alone, and all of them."""


class Small:
    """As small a run as there is, since each byte of its file is a test."""

    def __init__(self, seed: int) -> None:
        self.backend = born.get_backend("numpy", seed=seed)
        self.model: nn.Linear[Backend] = nn.Linear(1, 2, self.backend, bias=False)
        self.optimizer = optim.SGD(self.model.parameters(), optim.SGDConfig(momentum=0.5))

    def load(self, path: Path) -> dict[str, Any]:
        return checkpoint.load(path, model=self.model, optimizer=self.optimizer)

    def everything(self) -> tuple[Any, ...]:
        state = {**self.model.state_dict(), **self.optimizer.state_dict()}
        arrays = {key: x.array.tobytes() for key, x in state.items()}
        return arrays, self.optimizer.config, dict(self.backend.random_state)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    small = Small(seed=0)
    path = tmp_path / "small.safetensors"
    checkpoint.save(path, model=small.model, optimizer=small.optimizer, metadata={"n": [1, "é"]})
    return path


@pytest.mark.parametrize("mask", MASKS, ids=hex)
def test_any_byte_flipped_is_refused(mask: int, saved: Path) -> None:
    whole = saved.read_bytes()
    other = Small(seed=1)
    before = other.everything()
    with saved.open("r+b", buffering=0) as file:
        for position, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ mask]), position)
            with pytest.raises(CheckpointCorruptError, match=r"expected .*, got .*; use another"):
                other.load(saved)
            os.pwrite(file.fileno(), bytes([byte]), position)
    assert other.everything() == before
    assert other.load(saved) == {"n": [1, "é"]}


def test_truncation_at_any_length_is_refused(saved: Path) -> None:
    other = Small(seed=1)
    before = other.everything()
    for length in reversed(range(saved.stat().st_size)):
        os.truncate(saved, length)
        with pytest.raises(CheckpointCorruptError, match=r"expected .*, got .*; use another"):
            other.load(saved)
    assert other.everything() == before


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 8, b" ", b"more"])
def test_bytes_added_are_refused(extra: bytes, saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + extra)
    with pytest.raises(CheckpointCorruptError, match="bytes of elements in place of"):
        checkpoint.load(saved)


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Run, Path]:
    """A run after one step, and its checkpoint."""
    run = make_run(optim.AdamConfig())
    run.step(0)
    run.save(tmp_path / "run")
    return run, tmp_path / "run"


def test_two_tensors_exchanged_are_refused(trained: tuple[Run, Path]) -> None:
    run, path = trained
    m, v = (run.optimizer.state_dict()[key].array.tobytes() for key in ("m.1", "v.1"))
    data = path.read_bytes()
    assert data.count(m) == data.count(v) == 1
    path.write_bytes(data.replace(m, b"?" * len(m)).replace(v, m).replace(b"?" * len(m), v))
    with pytest.raises(CheckpointCorruptError, match=r"2 tensors that do not .*m\.1.*v\.1"):
        checkpoint.load(path, optimizer=run.optimizer)


def test_damage_to_what_is_not_asked_for_is_found_by_verify(trained: tuple[Run, Path]) -> None:
    run, path = trained
    checkpoint.verify(path)
    moment = run.optimizer.state_dict()["m.1"].array.tobytes()
    path.write_bytes(path.read_bytes().replace(moment, moment[::-1]))
    checkpoint.load(path, model=run.model)  # reads nothing of it
    for call in (checkpoint.verify, run.load):
        with pytest.raises(CheckpointCorruptError, match=r"a tensor 'optimizer\.m\.1' that does"):
            call(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"nowhere: expected a checkpoint .*; check"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="Is a directory"):
        checkpoint.load(str(tmp_path))


OTHER_FILES = [
    b"",
    b"\0" * 8,
    b"\xff" * 100,
    b"PK\x03\x04 a zip file, and more than eight bytes of it",
    *(len(header).to_bytes(8, "little") + header for header in (b"{}", b"[]", b"7", b"[" * 10**5)),
    {"format": "np"},
    None,
    {"born": json.dumps({"version": 1})},
    {"born": "[]"},
]
"""Bytes, or metadata for safetensors to write: of others, none, without digest, of another type."""


@pytest.mark.parametrize("content", OTHER_FILES)
def test_other_files_are_refused(content: bytes | dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "other"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_file({"weight": np.zeros(3, np.float32)}, path, content)
    with pytest.raises(CheckpointCorruptError, match="other: expected a checkpoint as it was wri"):
        checkpoint.load(path)
    assert issubclass(CheckpointCorruptError, CheckpointError)
    assert issubclass(CheckpointError, ValueError)


def test_newer_version_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Run = make_run(optim.AdamConfig())
    path = tmp_path / "run"
    with monkeypatch.context() as later:
        later.setattr(file_format, "VERSION", file_format.VERSION + 1)
        run.save(path)
    other = make_run(optim.AdamConfig(), seed=1)
    before = other.everything()
    with pytest.raises(
        CheckpointVersionError, match="expected format version 2 or older, got 3; update born"
    ):
        other.load(path)
    assert other.everything() == before
