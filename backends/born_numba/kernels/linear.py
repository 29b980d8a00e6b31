"""What follows a matrix product."""

from __future__ import annotations

from typing import Any

from born_numba.compiler import types
from born_numba.kernels.kernel import kernel, zero


@kernel(lambda t: types.void(t[:, ::1], t[::1]))
def bias_relu(x: Any, bias: Any) -> None:
    """max(x + bias, 0) in place, the bias added to each row, NaN kept."""
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            value = x[i, j] + bias[j]
            x[i, j] = zero if value <= 0 else value


@kernel(lambda t: types.void(t[:, ::1], t[:, ::1], t[:, ::1], t[::1]))
def bias_relu_backward(g: Any, y: Any, out: Any, total: Any) -> None:
    """g where y is positive, else y, zero or NaN; and the sum of that over the first axis."""
    rows, columns = g.shape
    for j in range(columns):
        total[j] = zero
    for i in range(rows):
        for j in range(columns):
            value = g[i, j] if y[i, j] > 0 else y[i, j]
            out[i, j] = value
            total[j] += value
