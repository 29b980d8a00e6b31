"""What linear maps need beside matrix products: biases, relu, and the gradients of both."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from born_cupy.kernels.source import EACH, THREADS, Source, ctype, head, types

TILE: Final = 32
"""Columns that a block adds up: a warp reads as many neighbours at once."""

CHUNK: Final = 128
"""Rows that a block adds up."""

_AT_ONCE: Final = 4  # loads that a thread has under way for each array


@cache
def bias_relu(dtype: np.dtype[Any]) -> Source:
    """Add a bias to the rows of a matrix and rectify them, in place.

    (results, bias, columns, size)
    """
    parameters = "T *results, const T *bias, i64 columns, i64 size"
    text = f"""{types(dtype)}
{head("born_bias_relu", parameters)} {{
    {EACH} {{
        R x = as<R>(results[i]) + as<R>(bias[i % columns]);
        put(results[i], x < (R)0 ? (R)0 : x);  // NaN passes through
    }}
}}
"""
    return Source("born_bias_relu", text)


@cache
def column_sums(dtype: np.dtype[Any], into: np.dtype[Any], masked: bool) -> Source:
    """The sums of each `CHUNK` rows of a matrix, one row of sums for each chunk.

    (rows of g, [y, results], sums, rows, columns), a block of `THREADS` for each `TILE` columns
    of each chunk; its warps take turns at the rows. Where it is `masked`, g is zero where y is
    not positive, and the results are what is left of it. The order of additions depends on
    nothing but the shape, and no number goes through more than 19 of them.
    """
    load, value, store = "", "as<R>(g[k])", ""
    if masked:
        load = " y[k] = ys[first + (row + k * warps) * columns];"
        value = "as<R>(y[k]) > (R)0 ? as<R>(g[k]) : (R)0"
        store = " put(results[first + (row + k * warps) * columns], x);"
    parameters = (
        f"const T *__restrict__ gs, "
        f"{'const T *__restrict__ ys, T *__restrict__ results, ' * masked}"
        f"{ctype(into)} *__restrict__ sums, i64 rows, i64 columns"
    )
    text = f"""{types(dtype)}
{head("born_column_sums", parameters)} {{
    __shared__ R parts[{THREADS}];
    const int warps = {THREADS // TILE}, lane = threadIdx.x % {TILE}, warp = threadIdx.x / {TILE};
    const i64 tiles = (columns + {TILE - 1}) / {TILE};
    const i64 chunk = blockIdx.x / tiles, column = blockIdx.x % tiles * {TILE} + lane;
    const i64 first = chunk * {CHUNK} * columns + column, rest = rows - chunk * {CHUNK};
    const int count = column >= columns ? 0 : rest < {CHUNK} ? (int)rest : {CHUNK};
    R sum = 0;
    for (int row = warp; row < count; row += {_AT_ONCE} * warps) {{
        T g[{_AT_ONCE}]{f", y[{_AT_ONCE}]" * masked};
#pragma unroll
        for (int k = 0; k < {_AT_ONCE}; ++k) {{
            if (row + k * warps >= count) continue;
            g[k] = gs[first + (row + k * warps) * columns];{load}
        }}
#pragma unroll
        for (int k = 0; k < {_AT_ONCE}; ++k) {{
            if (row + k * warps >= count) continue;
            const R x = {value};
            sum += x;{store}
        }}
    }}
    parts[threadIdx.x] = sum;
    __syncthreads();
    for (int half = {THREADS // 2}; half >= {TILE}; half /= 2) {{
        if ((int)threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        __syncthreads();
    }}
    if (warp == 0 && count) put(sums[chunk * columns + column], parts[lane]);
}}
"""
    return Source("born_column_sums", text)
