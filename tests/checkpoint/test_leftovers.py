"""What killed writers leave behind goes with the next save; what is being written stays."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from born import checkpoint
from born.checkpoint import durable
from born.checkpoint.durable import remove_leftovers, replacement
from born.errors import CheckpointError, CheckpointWriteError
from tests.tools import ROOT

KILLED = """
import os, signal, sys
from born import checkpoint
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save(sys.argv[1], metadata={"number": 1})
"""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends")])}


def test_the_next_save_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, metadata={"number": 0})
    command = [sys.executable, "-c", KILLED, str(path)]
    killed = subprocess.run(command, env=_environment(), capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = {each.name for each in tmp_path.iterdir()} - {path.name}
    assert left.startswith(durable.PREFIX)
    assert left.endswith(durable.SUFFIX)
    assert checkpoint.load(path) == {"number": 0}
    checkpoint.save(tmp_path / "other.safetensors")
    assert {each.name for each in tmp_path.iterdir()} == {path.name, "other.safetensors"}


def test_a_file_that_is_being_written_stays(tmp_path: Path) -> None:
    with replacement(tmp_path / "slow") as file:
        file.write(b"half")
        assert remove_leftovers(tmp_path) == []
        checkpoint.save(tmp_path / "fast", metadata={})
        file.write(b" and half")
    assert (tmp_path / "slow").read_bytes() == b"half and half"
    assert {each.name for each in tmp_path.iterdir()} == {"slow", "fast"}


def test_a_writer_whose_file_was_taken_for_a_leftover_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    taken: list[Path] = []

    def clean_up_first(descriptor: int, how: int) -> None:
        if not taken:  # between the making of the file and its locking
            monkeypatch.setattr(fcntl, "flock", flock)
            taken.extend(remove_leftovers(tmp_path))
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", clean_up_first)
    checkpoint.save(tmp_path / "run", metadata={"a": 1})
    assert len(taken) == 1
    assert checkpoint.load(tmp_path / "run") == {"a": 1}
    assert os.listdir(tmp_path) == ["run"]


def test_files_of_others_stay(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in (".born-notes", "x.tmp", "run.safetensors")]
    for path in kept:
        path.write_text("mine")
    link = tmp_path / ".born-1-link.tmp"
    link.symlink_to(kept[0])
    folder = tmp_path / ".born-1-folder.tmp"
    folder.mkdir()
    assert remove_leftovers(tmp_path) == []
    assert all(path.read_text() == "mine" for path in kept)
    assert link.is_symlink()
    assert folder.is_dir()
    assert remove_leftovers(tmp_path / "nowhere") == []


def _save_often(path: Path, writer: int, times: int) -> None:
    for number in range(times):
        checkpoint.save(path, metadata={"writer": writer, "number": number, "text": "x" * 10_000})


def test_processes_that_write_one_path_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "run"
    _save_often(path, 0, 1)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_save_often, args=(path, n, 40)) for n in (1, 2)]
    for writer in writers:
        writer.start()
    seen: set[Any] = set()
    while any(writer.is_alive() for writer in writers):
        metadata = checkpoint.load(path)
        seen.add(metadata["writer"])
        assert metadata["text"] == "x" * 10_000
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert os.listdir(tmp_path) == ["run"]
    assert seen & {1, 2}


def test_threads_that_write_one_path_do_not_disturb_each_other(tmp_path: Path) -> None:
    threads = [threading.Thread(target=_save_often, args=(tmp_path / "run", n, 20)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert checkpoint.load(tmp_path / "run")["number"] == 19
    assert os.listdir(tmp_path) == ["run"]


def test_a_folder_that_is_not_flushed_for_another_reason_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointWriteError, match="it is in place, but may not survive a power"):
        checkpoint.save(tmp_path / "run", metadata={"a": 1})
    assert checkpoint.load(tmp_path / "run") == {"a": 1}


def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CheckpointWriteError, match="Permission denied"):
            checkpoint.save(tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="expected a regular file, got a pipe"):
        checkpoint.load(tmp_path / "pipe")
