"""The norm of many tensors: a sum for each chunk, then one block adds up the sums.

The order of additions, in double, depends on the sizes alone: every run gives the same bits.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from born_cupy.kernels.source import THREADS, Source, ctype, head
from born_cupy.kernels.table import LOCATE

CHUNK: Final = 32_768
"""Elements whose squares one block adds up."""

_BLOCK_SUM: Final = f"""\
// The sum of a value over the block's threads, in the first of them.
__device__ inline double block_sum(double x) {{
    __shared__ double sums[{THREADS}];
    sums[threadIdx.x] = x;
    __syncthreads();
    for (int half = {THREADS} / 2; half; half /= 2) {{
        if ((int)threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }}
    return sums[0];
}}"""


@cache
def squares(dtype: np.dtype[Any]) -> Source:
    """Sums of squares, one a chunk, of one dtype; table rows: addresses, sizes, chunks."""
    text = f"""{LOCATE}

{_BLOCK_SUM}

{head("squares", "const u64 *table, i64 tensors, double *sums")} {{
    const u64 *first = table + 2 * tensors;
    const i64 chunks = (i64)first[tensors];
    for (i64 c = blockIdx.x; c < chunks; c += gridDim.x) {{
        const i64 i = locate(first, tensors, c);
        const i64 start = (c - (i64)first[i]) * {CHUNK};
        const i64 rest = (i64)table[tensors + i] - start;
        const i64 n = rest < {CHUNK} ? rest : {CHUNK};
        const {ctype(dtype)} *x = (const {ctype(dtype)} *)table[i] + start;
        double sum = 0;
#pragma unroll 8
        for (i64 j = threadIdx.x; j < n; j += {THREADS}) {{
            const double value = as<double>(x[j]);
            sum += value * value;
        }}
        sum = block_sum(sum);
        if (threadIdx.x == 0) sums[c] = sum;
        __syncthreads();
    }}
}}
"""
    return Source("squares", text, exact=True)


@cache
def root() -> Source:
    """The square root of the sum of all sums, by one block."""
    text = f"""{_BLOCK_SUM}

{head("root", "const double *sums, i64 n, double *norm")} {{
    double sum = 0;
    for (i64 j = threadIdx.x; j < n; j += {THREADS}) sum += sums[j];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *norm = sqrt(sum);
}}
"""
    return Source("root", text, exact=True)
