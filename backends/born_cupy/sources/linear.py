"""What linear maps need beside matrix products: biases, relu, and the gradients of both."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from born_cupy.sources.source import Source, ctype
from born_cupy.sources.template import EACH, types

TILE: Final = 32
"""Columns that a block adds up: a warp reads as many neighbours at once."""

CHUNK: Final = 128
"""Rows that a block adds up."""

THREADS: Final = 256
"""Threads of a block that adds up: 8 warps, which take turns at the rows of a chunk."""


@cache
def bias_relu(dtype: np.dtype[Any]) -> Source:
    """Add a bias to the rows of a matrix and rectify them, in place.

    (results, bias, columns, size)
    """
    text = f"""{types(dtype)}
extern "C" __global__ void born_bias_relu(T *results, const T *bias, i64 columns, i64 size) {{
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
    of each chunk. Where it is `masked`, g is zero where y is not positive, and the results are
    what is left of it. The order of additions depends on nothing but the shape, and no number
    goes through more than 19 of them.
    """
    mask = """\
            if (!(as<R>(ys[at]) > (R)0)) put(g, (R)0);
            results[at] = g;
"""
    text = f"""{types(dtype)}
extern "C" __global__ void born_column_sums(
    const T *__restrict__ gs, {"const T *__restrict__ ys, T *__restrict__ results, " * masked}
    {ctype(into)} *__restrict__ sums, i64 rows, i64 columns) {{
    __shared__ R parts[{THREADS}];
    const int warps = {THREADS // TILE}, lane = threadIdx.x % {TILE}, warp = threadIdx.x / {TILE};
    const i64 tiles = (columns + {TILE - 1}) / {TILE};
    const i64 chunk = blockIdx.x / tiles, column = blockIdx.x % tiles * {TILE} + lane;
    const i64 first = chunk * {CHUNK};
    const int count = rows - first < {CHUNK} ? (int)(rows - first) : {CHUNK};
    R sum = 0;
    if (column < columns) {{
#pragma unroll 4
        for (int row = warp; row < count; row += warps) {{
            const i64 at = (first + row) * columns + column;
            T g = gs[at];
{mask * masked}\
            sum += as<R>(g);
        }}
    }}
    parts[threadIdx.x] = sum;
    __syncthreads();
    for (int half = {THREADS // 2}; half >= {TILE}; half /= 2) {{
        if ((int)threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        __syncthreads();
    }}
    if (warp == 0 && column < columns) put(sums[chunk * columns + column], parts[lane]);
}}
"""
    return Source("born_column_sums", text)
