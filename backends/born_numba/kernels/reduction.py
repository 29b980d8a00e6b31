"""Sums."""

from __future__ import annotations

from typing import Any

from born_numba.compiler import types
from born_numba.kernels.kernel import kernel


@kernel(lambda t: types.void(t[:, ::1], t[::1]))
def sum_rows(x: Any, out: Any) -> None:
    """The sum over the first axis, row after row as NumPy adds them."""
    rows, columns = x.shape
    for j in range(columns):
        out[j] = x[0, j]
    for i in range(1, rows):
        for j in range(columns):
            out[j] += x[i, j]
