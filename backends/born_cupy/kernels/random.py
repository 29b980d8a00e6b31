"""Uniform random numbers: NumPy's Philox generator, a block of words to a thread.

Philox4x64-10 (Salmon, Moraes, Dror and Shaw, 2011, "Parallel random numbers: as easy as 1, 2,
3") makes four words of 64 bits from a counter and a key, so a thread can start anywhere. As in
NumPy, a double takes a word, a float half of one, the lower half first.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from born_cupy.kernels.source import Source, head, types

BLOCK: Final = 4
"""Words in a block of the stream."""

_PHILOX: Final = """\
// The block of words that a counter stands for.
__device__ inline void philox(u64 *c, u64 key0, u64 key1) {
    for (int round = 0; round < 10; ++round) {
        u64 high0 = __umul64hi(0xd2e7470ee14c6c93ull, c[0]), low0 = 0xd2e7470ee14c6c93ull * c[0];
        u64 high1 = __umul64hi(0xca5a826395121157ull, c[2]), low1 = 0xca5a826395121157ull * c[2];
        c[0] = high1 ^ c[1] ^ key0;
        c[1] = low1;
        c[2] = high0 ^ c[3] ^ key1;
        c[3] = low0;
        key0 += 0x9e3779b97f4a7c15ull;
        key1 += 0xbb67ae8584caa73bull;
    }
}
"""

_PARAMETERS: Final = """\
i64 size, i64 blocks,
    u64 counter0, u64 counter1, u64 counter2, u64 counter3, u64 key0, u64 key1,
    u64 word0, u64 word1, u64 word2, u64 word3, i64 used, i64 halves, u32 half"""
"""How many numbers, and blocks of words; then the generator's state: its counter, key, the block
it is in and how many words of that are used up, and half a word that is left, if any."""

_DOUBLE: Final = """\
        for (int k = 0; k < 4; ++k) {
            i64 i = block * 4 + k - used;
            if (i >= 0 && i < size) {
                double u = (double)(words[k] >> 11) * (1.0 / 9007199254740992.0);
                EMIT
            }
        }
"""

SINGLE: Final = """\
        for (int k = 0; k < 8; ++k) {
            i64 i = (block * 4 - used) * 2 + k + halves;
            if (i >= halves && i < size) {
                float u = (float)((u32)(words[k / 2] >> (k % 2 * 32)) >> 8) * (1.0f / 16777216.0f);
                EMIT
            }
        }
        if (block == 0 && halves && size > 0) {
            i64 i = 0;
            float u = (float)(half >> 8) * (1.0f / 16777216.0f);
            EMIT
        }
"""


def drawing(name: str, dtype: np.dtype[Any], parameters: str, numbers: str, emit: str) -> Source:
    """A kernel that draws and does `emit` with number `i`, called `u`.

    (*parameters, size, blocks, *state); `numbers` is `SINGLE` for floats, else doubles.
    """
    text = f"""{types(dtype)}{_PHILOX}
#define EMIT {emit}
{head(f"born_{name}", f"{parameters}, {_PARAMETERS}")} {{
    for (i64 block = (i64)blockIdx.x * blockDim.x + threadIdx.x; block < blocks;
         block += (i64)gridDim.x * blockDim.x) {{
        u64 words[4] = {{counter0 + (u64)block, counter1, counter2, counter3}};
        if (words[0] < counter0 && ++words[1] == 0 && ++words[2] == 0) ++words[3];
        philox(words, key0, key1);
        if (block == 0) {{
            words[0] = word0, words[1] = word1, words[2] = word2, words[3] = word3;
        }}
{numbers}    }}
}}
"""
    return Source(f"born_{name}", text)


@cache
def uniform(dtype: np.dtype[Any]) -> Source:
    """Numbers from [0, 1): (results, size, blocks, *state)."""
    numbers = _DOUBLE if dtype.itemsize == 8 else SINGLE
    return drawing("uniform", dtype, "T *results", numbers, "put(results[i], u);")
