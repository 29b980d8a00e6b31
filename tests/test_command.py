"""`python -m born`: what it prints for people and for programs, and how it exits."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, optim
from born.__main__ import main
from born.autodiff import Autodiff
from born.checkpoint import format as file_format
from born.data import DataLoader
from born_numpy import NumpyBackend
from tests.tools import ROOT, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    backend = Autodiff(NumpyBackend())
    model = nn.Linear(2, 3, backend)
    optimizer = optim.Adam(model.parameters(), lr=0.5)
    model.weight.grad = born.ones((3, 2), backend)
    path = tmp_path / "run.safetensors"
    data = DataLoader(np.arange(4), 2)
    metadata = {"step": 7, "note": "é\x1b[31m", "losses": list(range(500))}
    checkpoint.save(path, model=model, optimizer=optimizer, data=data, metadata=metadata)
    return path


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


TABLE = """
name           shape   dtype    bytes  of parameter  checksum
optimizer.t.0  ()      int64        8  weight        holds
optimizer.t.1  ()      int64        8  bias          holds
model.weight   (3, 2)  float32     24                holds
model.bias     (3,)    float32     12                holds
optimizer.m.0  (3, 2)  float32     24  weight        holds
optimizer.m.1  (3,)    float32     12  bias          holds
optimizer.v.0  (3, 2)  float32     24  weight        holds
optimizer.v.1  (3,)    float32     12  bias          holds
gradient.0     (3, 2)  float32     24  weight        holds
checked    9 tensors, every checksum holds
"""


def test_checkpoint_is_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    head, table = printed.split("\nname ")
    assert f"\nname {table}" == TABLE
    lines = dict(line.split(maxsplit=1) for line in head.splitlines())
    assert list(lines) == ["file", "model", "optimizer", "step", "metadata", "data", "random"]
    assert lines["file"].startswith(f"{path}, ")
    assert lines["model"] == "Linear"
    assert lines["optimizer"].startswith("Adam(lr=0.5, ")
    assert "betas=[0.9, 0.999], eps=1e-08, " in lines["optimizer"]
    assert lines["step"] == "7"
    assert lines["metadata"].startswith(r'{"step": 7, "note": "é\u001b[31m", "losses": [0, 1, 2')
    assert lines["metadata"].endswith("... (--json shows all)")
    assert lines["data"].startswith('{"epoch": 0, "batch": 0, "size": 4,')
    assert lines["random"] == "state saved"


def test_checkpoint_is_shown_to_programs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", str(path)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["sound"], facts["step"], facts["models"]) == (True, 7, {"": "Linear"})
    assert facts["bytes"] == path.stat().st_size
    assert facts["optimizers"][""]["config"]["lr"] == 0.5
    assert facts["metadata"]["losses"] == list(range(500))
    assert facts["tensors"][-1] == {
        "name": "gradient.0",
        "shape": [3, 2],
        "dtype": "float32",
        "bytes": 24,
        "owner": "weight",
        "sound": True,
    }


def test_damaged_tensor_is_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(path, -30)  # before the 24 bytes of the gradient
    assert main(["inspect", str(path)]) == 1
    printed = capsys.readouterr().out
    assert "optimizer.v.1  (3,)    float32     12  bias          DAMAGED\n" in printed
    assert printed.endswith("checked    1 of 9 tensors DAMAGED: optimizer.v.1\n")
    assert main(["inspect", "--json", str(path)]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert [t["name"] for t in facts["tensors"] if not t["sound"]] == ["optimizer.v.1"]
    assert facts["sound"] is False


def test_damaged_header_is_reported(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(path, 300)
    assert main(["inspect", str(path)]) == 1
    assert "expected a checkpoint as it was written" in capsys.readouterr().err
    assert main(["inspect", "--json", str(path)]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["sound"] is False
    assert "expected a checkpoint as it was written" in facts["error"]


@pytest.mark.parametrize("name", ["none", ".", "run.safetensors/x", "a\0b"])
def test_what_is_not_there_has_another_status(
    name: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(path.parent / name)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "expected a checkpoint file" in printed.err


def test_a_folder_is_told_what_is_in_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(path.parent)]) == 2
    assert f"the last by name is {path}\n" in capsys.readouterr().err


def test_names_of_tensors_cannot_steer_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Net(nn.Module[Any]):
        def __init__(self) -> None:
            self.parts = {"\x1b[2J\n[bold]ü\ud800": nn.Parameter(born.ones((), NumpyBackend()))}

    checkpoint.save(tmp_path / "run", model=Net())
    assert main(["inspect", str(tmp_path / "run")]) == 0
    assert r"model.parts.\x1b[2J\n[bold]ü\ud800" in capsys.readouterr().out


def test_newer_format_is_not_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(file_format, "VERSION", file_format.VERSION - 1)
    assert main(["inspect", str(path)]) == 2
    assert "update born" in capsys.readouterr().err


def test_backends_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    found = born.available_backends()
    assert main(["backends"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines == {name: each.reason or "usable" for name, each in found.items()}
    assert main(["backends", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["numpy"] == {"usable": True, "reason": ""}
    assert listed.keys() == found.keys()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["inspect"], "the following arguments are required: FILE"),
        (["look"], "invalid choice: 'look'"),
        (["inspect", "a", "b"], "unrecognized arguments: b"),
        (["backends", "--speed"], "unrecognized arguments: --speed"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_interrupt_has_the_status_of_shells(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(born, "available_backends", interrupt)
    assert main(["backends"]) == 130


COMMAND = [sys.executable, "-W", "error", "-m", "born"]


def test_program_exits_with_the_status(path: Path) -> None:
    damage(path, -20)
    assert run([*COMMAND, "inspect", path]).returncode == 1
    done = run([*COMMAND, "--version"])
    assert (done.returncode, done.stdout) == (0, f"born {born.__version__}\n")


def test_reader_that_stops_reading(path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "inspect", path],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


def on_terminal(command: list[Any], columns: int, **environment: str) -> list[str]:
    """The lines that a program prints on a terminal of so many columns."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    names = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", **environment}
    for name in ("COLUMNS", "LINES"):
        names.pop(name, None)
    process = subprocess.Popen(command, cwd=ROOT, stdout=there, stderr=there, env=names)
    os.close(there)
    data = b""
    while True:
        try:
            part = os.read(here, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        data += part
    os.close(here)
    assert process.wait() == 0, data
    return re.sub(r"\x1b\[[0-9;]*m", "", data.decode()).splitlines()


def test_lines_fit_a_terminal(path: Path) -> None:
    long = path.with_name("a" * 100 + ".safetensors")
    shutil.copy(path, long)
    # Without rich a table is as wide as what is in it.
    for columns in (80, 40) if find_spec("rich") else (80,):
        lines = on_terminal([*COMMAND, "inspect", str(long)], columns)
        assert max(map(len, lines)) <= columns
        assert " ".join(map(str.strip, lines)).endswith("every checksum holds")
    lines = on_terminal([*COMMAND, "backends"], 80)
    assert max(map(len, lines)) <= 80


def test_table_on_a_terminal_is_richs_if_it_is_there(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("rich")
    lines = on_terminal([*COMMAND, "inspect", str(path)], 80)
    assert any(line.startswith("│ model.weight  ") for line in lines)
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("raise ModuleNotFoundError('no rich here')\n")
    lines = on_terminal([*COMMAND, "inspect", str(path)], 80, PYTHONPATH=str(tmp_path))
    assert TABLE.splitlines()[3] in lines
