"""What the examples in docstrings may use without importing it."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import born
from born import ops
from born_numpy import NumpyBackend

# The modules behind the Numba backend import Numba; without it there is nothing to collect.
if importlib.util.find_spec("numba") is None or importlib.util.find_spec("platformdirs") is None:
    collect_ignore = [
        f"backends/born_numba/{name}.py"
        for name in ("cache", "compiler", "loops", "memory", "update")
    ]


@pytest.fixture(autouse=True)
def names_in_examples(doctest_namespace: dict[str, Any]) -> None:
    """`born`, `ops`, `np` and a `backend`; an example that says where they come from may not."""
    doctest_namespace.update(born=born, ops=ops, np=np, backend=NumpyBackend())
