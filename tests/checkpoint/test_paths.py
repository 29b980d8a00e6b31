"""Where a checkpoint may be written, and what metadata it may hold."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]  # its os.PathLike has no parameter
)

from born import checkpoint, nn, optim
from born.__main__ import main
from born.data import DataLoader
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


def _forge(path: Path, entry: Mapping[str, Any] | None = None, **changes: Any) -> None:
    """Change a checkpoint's document, or what it says of a tensor, and seal it again; an entry of
    `...` goes.
    """
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    fields = json.loads(data[8 : 8 + length])
    document = json.loads(fields["__metadata__"]["born"]) | changes | {"digest": "0" * 64}
    fields["__metadata__"]["born"] = json.dumps(_without_dots(document))
    fields["model.weight"] = _without_dots(fields["model.weight"] | dict(entry or {}))
    header = json.dumps(fields).encode()
    prefix = len(header).to_bytes(8, "little")
    digest = hashlib.sha256(prefix + header).hexdigest().encode()
    path.write_bytes(prefix + header.replace(b"0" * 64, digest) + data[8 + length :])


def _document(data: bytes) -> Any:
    """What a checkpoint says beside its tensors."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["born"])


def _without_dots(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if value is not ...}


FORGED: list[Any] = [
    *(..., None, True, 7, -1, 2**64, 0.5, "text", "\ud800", ","),
    *([], [1], [1, 2, 3], [-1, 23], [2**40, 2**40 + 24], {}, {"w": 1}, {"model.weight": {}}),
]


@pytest.mark.parametrize("value", FORGED, ids=repr)
def test_forged_entries_are_refused_or_mean_nothing(value: Any, tmp_path: Path) -> None:
    path, backend = tmp_path / "run.safetensors", NumpyBackend()
    model = nn.Linear(2, 3, backend)
    optimizer = optim.Adam(model.parameters(), lr=0.5)
    loader = DataLoader(np.arange(3))
    checkpoint.save(path, model=model, optimizer=optimizer, data=loader, metadata={"a": 1})
    _forge(path)
    sound = path.read_bytes()
    assert checkpoint.load(path, model=model, optimizer=optimizer, data=loader) == {"a": 1}
    saved = _document(sound)
    optimizers = saved["optimizers"]
    config = optimizers[""]["config"]

    def each(entries: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The entries with the value in the place of each in turn."""
        return [_without_dots({**entries, name: value}) for name in entries]

    changes: list[dict[str, Any]] = [{name: value} for name in saved]
    changes += [{"entry": {name: value}} for name in ("dtype", "shape", "data_offsets")]
    changes += [{"data": data} for data in each(saved["data"])]
    changes += [{"optimizers": {"": entries}} for entries in each(optimizers[""])]
    changes += [
        {"optimizers": {"": {**optimizers[""], "config": fields}}} for fields in each(config)
    ]
    uses: list[Callable[[], object]] = [
        lambda: checkpoint.load(path, model=model, optimizer=optimizer, data=loader),
        lambda: checkpoint.load(path, model=model, optimizer=optimizer, partial=True),
        lambda: main(["inspect", str(path)]),
    ]
    for change, use in zip(changes, itertools.cycle(uses), strict=False):
        path.write_bytes(sound)
        _forge(path, **change)
        with contextlib.suppress(BornError):
            use()


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
