"""What the examples in docstrings may use without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, ops, optim
from born_numpy import NumpyBackend

collect_ignore: list[str] = []

# What lies behind the door of the Numba backend imports Numba; without it there is nothing to
# collect.
if importlib.util.find_spec("numba") is None or importlib.util.find_spec("platformdirs") is None:
    collect_ignore += [
        str(path)
        for path in Path(__file__).parent.glob("backends/born_numba/**/*.py")
        if path.stem not in ("__init__", "entry")
    ]

# Nor without CuPy in the CuPy backend, apart from the texts of its kernels and their compiler.
if importlib.util.find_spec("cupy") is None:
    collect_ignore += [
        str(path)
        for path in Path(__file__).parent.glob("backends/born_cupy/*.py")
        if path.stem not in ("__init__", "entry", "nvrtc", "philox")
    ]


@pytest.fixture(autouse=True)
def names_in_examples(doctest_namespace: dict[str, Any]) -> None:
    """`born`, its parts, `np` and a `backend`."""
    parts = {"checkpoint": checkpoint, "nn": nn, "ops": ops, "optim": optim}
    parts |= {"projections": optim.projections, "schedules": optim.schedules}
    doctest_namespace.update(parts, born=born, np=np, backend=NumpyBackend())
