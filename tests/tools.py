"""What tests of several folders need: other programs, and types narrowed for the checkers."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typing_extensions import TypeIs

ROOT = Path(__file__).resolve().parent.parent
"""The root of the checkout."""

TIME_LIMIT = 240
"""Seconds after which a program is taken to hang; the slowest needs about a quarter of it."""


def run(command: Sequence[str | Path], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and keep what it prints, whatever its exit status."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )


def output_of(command: Sequence[str | Path], cwd: Path = ROOT) -> str:
    """What a program prints; the test fails, showing all of it, unless it exits with 0."""
    done = run(command, cwd)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def python(script: str, **environment: str) -> str:
    """What a script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, f"{script}\nfailed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def allocated(function: Callable[[], object]) -> int:
    """The most bytes of memory that a call held at any time beyond what it began with."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        function()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before


def unavailable(config: pytest.Config, reason: str) -> NoReturn:
    """Skip the test for want of a tool, or fail it under `--require-tools`."""
    if config.getoption("--require-tools"):
        pytest.fail(reason)
    pytest.skip(reason)


def is_tuple(value: object) -> TypeIs[tuple[Any, ...]]:
    """Whether a value is a tuple."""
    return isinstance(value, tuple)
