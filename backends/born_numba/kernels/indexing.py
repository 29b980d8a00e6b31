"""Rows added to a table."""

from __future__ import annotations

from typing import Any

from born_numba.kernels.kernel import INDEX, kernel


@kernel(lambda t: INDEX(t[:, ::1], INDEX[::1], t[:, ::1]))
def add_rows(target: Any, index: Any, values: Any) -> Any:
    """target[index[k]] += values[k] for every k; -1, or the first k whose index is out of range."""
    rows, columns = target.shape
    for k in range(len(index)):
        row = index[k]
        row = row + rows if row < 0 else row
        if row < 0 or row >= rows:
            return k
        for j in range(columns):
            target[row, j] += values[k, j]
    return -1
