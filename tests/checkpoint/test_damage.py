"""A file that is not, to the byte, what was saved is refused, and nothing is changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
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


def test_two_tensors_exchanged_are_refused(tmp_path: Path) -> None:
    run = make_run(optim.AdamConfig())
    run.step(0)
    path = tmp_path / "run"
    checkpoint.save(path, optimizer=run.optimizer)
    m, v = (run.optimizer.state_dict()[key].array.tobytes() for key in ("m.1", "v.1"))
    data = path.read_bytes()
    assert data.count(m) == data.count(v) == 1
    path.write_bytes(data.replace(m, b"?" * len(m)).replace(v, m).replace(b"?" * len(m), v))
    with pytest.raises(CheckpointCorruptError, match=r"tensor '.*' that does not match its check"):
        checkpoint.load(path, optimizer=run.optimizer)


def test_damage_to_what_was_not_asked_for_is_refused_too(tmp_path: Path) -> None:
    run = make_run(optim.AdamConfig())
    run.step(0)
    path = tmp_path / "run"
    checkpoint.save(path, model=run.model, optimizer=run.optimizer)
    moment = run.optimizer.state_dict()["m.1"].array.tobytes()
    path.write_bytes(path.read_bytes().replace(moment, moment[::-1]))
    with pytest.raises(CheckpointCorruptError, match=r"optimizer\.m\.1"):
        checkpoint.load(path, model=run.model)


# -- no checkpoint at all --------------------------------------------------------------------


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"nowhere: expected a checkpoint .*; check"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        checkpoint.load(str(tmp_path / "nowhere"))


def test_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="Is a directory"):
        checkpoint.load(tmp_path)


def _safetensors_of_others(path: Path) -> None:
    save_file({"weight": np.zeros(3, np.float32)}, path, {"format": "np"})


def _safetensors_without_metadata(path: Path) -> None:
    save_file({"weight": np.zeros(3, np.float32)}, path)


def _document_without_digest(path: Path) -> None:
    save_file({}, path, {"born": json.dumps({"version": 1})})


def _document_of_another_type(path: Path) -> None:
    save_file({}, path, {"born": "[]"})


def _deeply_nested(path: Path) -> None:
    header = b"[" * 100_000
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    "make",
    [
        _bytes(b""),
        _bytes(b"\0" * 8),
        _bytes(b"\xff" * 100),
        _bytes(b"PK\x03\x04 a zip file, and more than eight bytes of it"),
        _bytes((2).to_bytes(8, "little") + b"{}"),
        _bytes((2).to_bytes(8, "little") + b"[]"),
        _bytes((1).to_bytes(8, "little") + b"7"),
        _safetensors_of_others,
        _safetensors_without_metadata,
        _document_without_digest,
        _document_of_another_type,
        _deeply_nested,
    ],
)
def test_other_files_are_no_checkpoints(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "other"
    make(path)
    with pytest.raises(CheckpointCorruptError, match="other: expected a checkpoint as it was wri"):
        checkpoint.load(path)


# -- a newer version ---------------------------------------------------------------------------


def test_newer_version_is_refused_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Run = make_run(optim.AdamConfig())
    path = tmp_path / "run"
    with monkeypatch.context() as later:
        later.setattr(file_format, "VERSION", file_format.VERSION + 1)
        checkpoint.save(path, model=run.model, optimizer=run.optimizer)
    other = make_run(optim.AdamConfig(), seed=1)
    before = other.everything()
    with pytest.raises(
        CheckpointVersionError, match="expected format version 1 or older, got 2; update born"
    ):
        checkpoint.load(path, model=other.model, optimizer=other.optimizer)
    assert other.everything() == before


def test_errors_can_be_caught_together_and_as_values(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "other")
    with pytest.raises(ValueError, match="expected a checkpoint"):
        checkpoint.load(tmp_path / "other")
