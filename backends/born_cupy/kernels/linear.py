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


PLAIN: Final = ""
MASKED: Final = "masked"
PRODUCTS: Final = "products"
SUMS: Final = {PLAIN: 1, MASKED: 1, PRODUCTS: 2}
"""What `column_sums` adds up -> how many rows of sums that makes."""

_PARAMETERS: Final = {
    PLAIN: (),
    MASKED: ("const T *__restrict__ ys", "T *__restrict__ results"),
    PRODUCTS: ("const T *__restrict__ ys",),
}
_ADD: Final = {
    PLAIN: "sum += as<R>(g[k]);",
    MASKED: """\
const R x = as<R>(y[k]) > (R)0 ? as<R>(g[k]) : (R)0;
            sum += x;
            put(results[first + (row + k * warps) * columns], x);""",
    PRODUCTS: """\
sum += as<R>(g[k]);
            other += as<R>(g[k]) * as<R>(y[k]);""",
}


def _fold(number: str, into: str) -> str:
    """Add up what the warps of a block have, and write it."""
    return f"""\
    __syncthreads();
    parts[threadIdx.x] = {number};
    __syncthreads();
    for (int half = {THREADS // 2}; half >= {TILE}; half /= 2) {{
        if ((int)threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        __syncthreads();
    }}
    if (warp == 0 && count) put({into}[chunk * columns + column], parts[lane]);
"""


@cache
def column_sums(dtype: np.dtype[Any], into: np.dtype[Any], kind: str = PLAIN) -> Source:
    """The sums of each `CHUNK` rows of a matrix, one row of sums for each chunk.

    (rows of g, [y, results], sums, rows, columns), a block of `THREADS` for each `TILE` columns
    of each chunk; its warps take turns at the rows. Where it is `MASKED`, g is zero where y is
    not positive, and the results are what is left of it. With `PRODUCTS`, (rows of g, y, sums,
    sums of g y, rows, columns). The order of additions depends on nothing but the shape, and no
    number goes through more than 19 of them.
    """
    alone, products = kind == PLAIN, kind == PRODUCTS
    load = "" if alone else " y[k] = ys[first + (row + k * warps) * columns];"
    results = ("sums", "others")[: SUMS[kind]]
    parameters = ", ".join(
        [
            "const T *__restrict__ gs",
            *_PARAMETERS[kind],
            *(f"{ctype(into)} *__restrict__ {name}" for name in results),
            "i64 rows, i64 columns",
        ]
    )
    text = f"""{types(dtype)}
{head("born_column_sums", parameters)} {{
    __shared__ R parts[{THREADS}];
    const int warps = {THREADS // TILE}, lane = threadIdx.x % {TILE}, warp = threadIdx.x / {TILE};
    const i64 tiles = (columns + {TILE - 1}) / {TILE};
    const i64 chunk = blockIdx.x / tiles, column = blockIdx.x % tiles * {TILE} + lane;
    const i64 first = chunk * {CHUNK} * columns + column, rest = rows - chunk * {CHUNK};
    const int count = column >= columns ? 0 : rest < {CHUNK} ? (int)rest : {CHUNK};
    R sum = 0{", other = 0" * products};
    for (int row = warp; row < count; row += {_AT_ONCE} * warps) {{
        T g[{_AT_ONCE}]{"" if alone else f", y[{_AT_ONCE}]"};
#pragma unroll
        for (int k = 0; k < {_AT_ONCE}; ++k) {{
            if (row + k * warps >= count) continue;
            g[k] = gs[first + (row + k * warps) * columns];{load}
        }}
#pragma unroll
        for (int k = 0; k < {_AT_ONCE}; ++k) {{
            if (row + k * warps >= count) continue;
            {_ADD[kind]}
        }}
    }}
{_fold("sum", "sums")}{_fold("other", "others") * products}}}
"""
    return Source("born_column_sums", text)
