"""Sums and largest values over the threads of a block, in the order of `born.backend.lanes`."""

from __future__ import annotations

from typing import Final

from born.backend.lanes import LANES

LEAST: Final = "double_of(0xfff0000000000000ull)"
"""Less than any number, in C."""

BLOCK_SUMS: Final = f"""\
// The sum and the largest of a value over a block's first {LANES} threads, added in halves, for
// thread 0; where fewer have one, the others have zeros, or less than any number.
__device__ inline double larger(double x, double y) {{ return x > y || x != x ? x : y; }}
__device__ inline double block_sum(double x) {{
    __shared__ double sums[{LANES}];
    __syncthreads();
    if (threadIdx.x < {LANES}) sums[threadIdx.x] = x;
    __syncthreads();
    if (threadIdx.x < 32) {{
        const double *s = sums + threadIdx.x;
        x = ((s[0] + s[128]) + (s[64] + s[192])) + ((s[32] + s[160]) + (s[96] + s[224]));
        for (int half = 16; half; half /= 2) x += __shfl_down_sync(0xffffffffu, x, half);
    }}
    return x;
}}
__device__ inline double block_max(double x) {{
    __shared__ double most[{LANES}];
    __syncthreads();
    if (threadIdx.x < {LANES}) most[threadIdx.x] = x;
    __syncthreads();
    if (threadIdx.x < 32) {{
        for (int k = 32; k < {LANES}; k += 32) x = larger(x, most[threadIdx.x + k]);
        for (int half = 16; half; half /= 2)
            x = larger(x, __shfl_down_sync(0xffffffffu, x, half));
    }}
    return x;
}}
__device__ inline double sum_of(const double *x, i64 n) {{
    double sum = 0;
    if (threadIdx.x < {LANES}) {{
#pragma unroll 8
        for (i64 e = threadIdx.x; e < n; e += {LANES}) sum += x[e];
    }}
    return block_sum(sum);
}}
__device__ inline double max_of(const double *x, i64 n) {{
    double most = {LEAST};
    if (threadIdx.x < {LANES}) {{
#pragma unroll 8
        for (i64 e = threadIdx.x; e < n; e += {LANES}) most = larger(x[e], most);
    }}
    return block_max(most);
}}"""
