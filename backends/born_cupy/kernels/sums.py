"""Sums and largest values over the threads of a block, in the order of `born.backend.lanes`."""

from __future__ import annotations

from typing import Final

from born.backend.lanes import LANES

LEAST: Final = "double_of(0xfff0000000000000ull)"
"""Less than any number, in C."""

BLOCK_SUMS: Final = f"""\
// The sum and the largest of a value over the block's threads, added in halves; only the first n
// have one, and the others zeros, or less than any number.
__device__ inline double larger(double x, double y) {{ return x > y || x != x ? x : y; }}
__device__ inline double block_sum(double x, i64 n) {{
    __shared__ double sums[{LANES}];
    __syncthreads();
    sums[threadIdx.x] = x;
    for (int half = {LANES} / 2; half; half /= 2) {{
        if (half >= n) continue;
        __syncthreads();
        if ((int)threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }}
    __syncthreads();
    return sums[0];
}}
__device__ inline double block_max(double x, i64 n) {{
    __shared__ double most[{LANES}];
    __syncthreads();
    most[threadIdx.x] = x;
    for (int half = {LANES} / 2; half; half /= 2) {{
        if (half >= n) continue;
        __syncthreads();
        if ((int)threadIdx.x < half)
            most[threadIdx.x] = larger(most[threadIdx.x], most[threadIdx.x + half]);
    }}
    __syncthreads();
    return most[0];
}}
__device__ inline double sum_of(const double *x, i64 n) {{
    double sum = 0;
    for (i64 e = threadIdx.x; e < n; e += {LANES}) sum += x[e];
    return block_sum(sum, n);
}}
__device__ inline double max_of(const double *x, i64 n) {{
    double most = {LEAST};
    for (i64 e = threadIdx.x; e < n; e += {LANES}) most = larger(x[e], most);
    return block_max(most, n);
}}"""
