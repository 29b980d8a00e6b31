"""What goes wrong while a checkpoint is written leaves the previous one as it was."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]  # its os.PathLike has no parameter
)

import born
from born import checkpoint, nn, optim
from born.checkpoint.reading import open_file
from born.checkpoint.writing import Source, write
from born.errors import CheckpointError, CheckpointWriteError
from tests.checkpoint.runs import Run, make_run
from tests.tools import ROOT


@pytest.fixture
def run() -> Run:
    return make_run(optim.AdamConfig())


@pytest.fixture
def old(run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "run.safetensors"
    run.save(path, metadata={"old": True})
    return path


def assert_untouched(old: Path, before: bytes) -> None:
    assert old.read_bytes() == before
    assert os.listdir(old.parent) == [old.name]


@contextmanager
def largest_file(size: int) -> Generator[None]:
    """Let the system refuse to write files beyond a size, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [0, 1, 1000, 3500])
def test_full_disk_leaves_the_old_file(size: int, run: Run, old: Path) -> None:
    before = old.read_bytes()
    assert size < len(before)
    with (
        largest_file(size),
        pytest.raises(CheckpointWriteError, match=r"run\.safetensors: expected to write .*; free"),
    ):
        run.save(old)
    assert_untouched(old, before)


@pytest.mark.parametrize("function", ["replace", "fsync", "chmod", "pwrite"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), MemoryError()]
)
def test_failure_before_the_renaming_leaves_the_old_file(
    function: str, error: BaseException, run: Run, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = old.read_bytes()

    def fail(first: Any, *_: Any) -> None:
        if function == "pwrite":
            os.write(first, b"half of it")
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(os, function, fail)
        with pytest.raises(CheckpointWriteError if isinstance(error, OSError) else type(error)):
            run.save(old)
    assert_untouched(old, before)


CRASH = """
import os, signal, sys
import born
from born import checkpoint, nn
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
model = nn.Linear(2, 2, born.get_backend("numpy"))
checkpoint.save(sys.argv[1], model=model)
"""


def test_process_killed_before_the_renaming_leaves_the_old_file(run: Run, old: Path) -> None:
    before = old.read_bytes()
    paths = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    killed = subprocess.run(
        [sys.executable, "-c", CRASH, old],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert old.read_bytes() == before
    assert run.load(old) == {"old": True}
    # Nobody was left to clean up; the name says whose file it is.
    (left,) = set(os.listdir(old.parent)) - {old.name}
    assert left.startswith(".born-")


def test_file_is_flushed_before_the_renaming_and_the_folder_after(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    replace, fsync = os.replace, os.fsync

    def noted_replace(source: Any, target: Any) -> None:
        events.append("rename")
        replace(source, target)

    def noted_fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("folder flushed" if folder else "file flushed")
        fsync(descriptor)
        if folder:  # Windows and some network drives refuse this; that is not an error.
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    checkpoint.save(tmp_path / "run", model=run.model, metadata={"a": 1})
    assert events == ["file flushed", "rename", "folder flushed"]
    assert checkpoint.load(tmp_path / "run") == {"a": 1}


@pytest.mark.parametrize("path", ["missing/run", "file/run", "folder", "long" * 100])
def test_path_that_cannot_be_written_is_refused(path: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointWriteError, match="or choose another path") as caught:
        checkpoint.save(tmp_path / path, model=run.model)
    assert isinstance(caught.value, OSError)
    assert sorted(tmp_path.rglob("*")) == before


def test_path_may_be_a_string_and_relative_and_a_link(
    run: Run, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = old.with_name("latest")
    link.symlink_to(old.name)
    monkeypatch.chdir(old.parent)
    checkpoint.save("latest", model=run.model)
    assert link.is_symlink()
    assert checkpoint.load("latest") == {}
    assert checkpoint.load(old) == {}


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_file_is_as_readable_as_the_umask_says(umask: int, run: Run, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        checkpoint.save(tmp_path / "run", model=run.model)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o666 & ~umask


CIRCLE: dict[str, Any] = {}
CIRCLE["itself"] = CIRCLE


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (CIRCLE, "something else: Circular reference"),
        ({"when": object()}, "something else: Object of type object is not JSON serializable; "),
        ({"loss": float("nan")}, "expected finite numbers in metadata"),
        ({"loss": np.float32(1)}, r"Object of type float32 is not JSON serializable; .*\.item\(\)"),
        ({"losses": np.zeros(2)}, r"Object of type ndarray .*\.tolist\(\)"),
        ({"a": {"b": [{1: 2}]}}, r"strings as the keys of metadata, got metadata\['a'\]\['b'\]\[0"),
        ({None: 1}, r"got metadata\[None\], which JSON would turn into a string; use str\(key\)"),
        ([], "expected metadata as a mapping of JSON types, got list; pass a dict"),
    ],
)
def test_metadata_that_is_not_json_is_refused(
    metadata: Any, message: str, run: Run, old: Path
) -> None:
    before = old.read_bytes()
    with pytest.raises(CheckpointError, match=message):
        checkpoint.save(old, model=run.model, metadata=metadata)
    assert_untouched(old, before)


def test_safetensors_reads_the_file(run: Run, old: Path) -> None:
    tensors = load_file(old)
    everything = run.everything()
    del everything["config"], everything["random"]
    assert {key: array.tobytes() for key, array in tensors.items()} == everything


def test_same_state_makes_the_same_file(run: Run, old: Path) -> None:
    again = old.with_name("again")
    run.save(again, metadata={"old": True})
    assert again.read_bytes() == old.read_bytes()


def test_arrays_that_do_not_lie_in_order_are_saved_right(tmp_path: Path) -> None:
    backend = born.get_backend("numpy")
    values = np.arange(24.0, dtype=np.float32).reshape(4, 6).T[:, ::2]
    model = nn.Linear(2, 6, backend)
    model.weight.raw.array = values
    checkpoint.save(tmp_path / "run", model=model)
    np.testing.assert_array_equal(load_file(tmp_path / "run")["model.weight"], values)
    write(tmp_path / "run", {"x": Source.of(values)}, {})
    with open_file(tmp_path / "run") as file:
        np.testing.assert_array_equal(file.read("x"), values)
