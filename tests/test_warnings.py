"""NumPy's warnings: none from inside of born, as ever from the caller's own NumPy."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import warnings

import numpy as np

import born
from born import ops
from born.autodiff import Autodiff, backward

backend = Autodiff(born.get_backend({name!r}))
x = born.tensor(np.array([-1.0, 0.0, 1e200, np.inf]), backend)
x.requires_grad = True
with backend.tape:
    y = ops.log(x) + x / 0.0 + x * x - x + ops.sqrt(x) + ops.exp(x)
    y = y + x.astype("float16").astype("float64")
    y = y + y.sum() + ops.mean(y, axis=0) + ops.prod(x) + ops.max(x) + ops.cumsum(x, 0) + ops.std(x)
    y = y + ops.layer_norm(x) + ops.norm(x) + (x @ x) + ops.median(x) + ops.quantile(x, 0.3)
    loss = (y + ops.softmax(x) + ops.var(x) + x ** 0.5).sum()
assert np.isnan(backend.to_numpy(backward(loss)[x])).any()
with warnings.catch_warnings(record=True) as caught:
    np.log(np.array([-1.0]))
print(len(caught))
"""


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_only_the_callers_own_numpy_warns(name: str) -> None:
    if name == "numba":
        pytest.importorskip("numba", reason="Numba is not installed")
    command = [sys.executable, "-W", "default", "-c", PROGRAM.format(name=name)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "1"
    assert "RuntimeWarning" not in run.stderr
