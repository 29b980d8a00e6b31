"""Sums."""

from __future__ import annotations

from typing import Any

from born_numba.compiler import types
from born_numba.kernels.kernel import INDEX, kernel


@kernel(lambda t: types.void(t[:, ::1], t[::1]))
def sum_rows(x: Any, out: Any) -> None:
    """The sum over the first axis, row after row as NumPy adds them."""
    rows, columns = x.shape
    for j in range(columns):
        out[j] = x[0, j]
    for i in range(1, rows):
        for j in range(columns):
            out[j] += x[i, j]


@kernel(lambda t: types.void(*[t[:, ::1]] * 2, *[INDEX] * 3))
def sum_blocks(x: Any, sums: Any, block: Any, first: Any, last: Any) -> None:
    """The sum of each block of some rows, as `sum_rows` adds them."""
    columns = x.shape[1]
    for start in range(first, last, block):
        out = sums[start // block]
        for j in range(columns):
            out[j] = x[start, j]
        for i in range(start + 1, min(start + block, last)):
            for j in range(columns):
                out[j] += x[i, j]
