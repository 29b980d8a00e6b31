"""Coded slots and stochastic rounding in CUDA C: the steps of `born.backend.codecs`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np

from born.backend import codecs
from born.fusion.codec import BLOCK, SCALE
from born_cupy.kernels.source import EACH, Source, head

ROUNDING: Final = f"""\
__device__ inline u32 mixed(u32 word) {{
    word = (word ^ (word >> 16)) * 0x7feb352du;
    word = (word ^ (word >> 15)) * 0x846ca68bu;
    return word ^ (word >> 16);
}}

__device__ inline u32 key_of(double t, double number, double seed) {{
    const u32 key = mixed(mixed((u32)(i64)seed) ^ (u32)(i64)number);
    return mixed(key ^ (u32)(i64)t);
}}

// Of the distance of two codes, what an element has to be above the lower to go up.
__device__ inline float share(u32 at, u32 key) {{
    return (float)(mixed(at * {codecs.STRIDE}u ^ key) >> 8) * {codecs.SHARE!r}f;
}}

// One of the neighbours of x with fewer bits, the nearer more likely.
__device__ inline float rounded(float x, u32 at, u32 key, u32 dropped, float down, float up) {{
    const u32 word = mixed(at * {codecs.STRIDE}u ^ key) >> (32 - dropped);
    const u32 moved = (bits_of(x * down) + word) >> dropped << dropped;
    return x - x == 0.0f ? float_of(moved) * up : x;
}}
"""


def rounding(dtype: str, texts: Sequence[str]) -> str:
    """The text that rounds a value, given with what its key is made of, for element `at`."""
    dropped, down = codecs.DROPPED[dtype]
    x, *key = texts
    numbers = f"{dropped}u, {_float(down)}, {_float(1 / down)}"
    return f"(real)rounded((float){x}, at, key_of({', '.join(key)}), {numbers})"


CODECS: Final = f"""\
// The largest magnitude in a block, as bits, and whether an element is below 0: of all threads.
__device__ inline void share_extent(u32 &top, u32 &negative) {{
    __shared__ u32 tops[{BLOCK}], signs[{BLOCK}];
    const int own = threadIdx.x;
    tops[own] = top;
    signs[own] = negative;
    __syncthreads();
    for (int half = blockDim.x / 2; half; half /= 2) {{
        if (own < half) {{
            tops[own] = tops[own] > tops[own + half] ? tops[own] : tops[own + half];
            signs[own] |= signs[own + half];
        }}
        __syncthreads();
    }}
    top = tops[0];
    negative = signs[0];
    __syncthreads();
}}

struct Int8 {{
    static __device__ inline float decode(u8 code, float scale) {{
        const u8 mask = scale < 0.0f ? 255 : 127;
        float value = (float)(code & mask) * (mask == 255 ? {{}} : {{}});
        value *= value;
        value *= value;
        value *= fabsf(scale);
        return code > mask ? -value : value;
    }}
    static __device__ inline float factor(float inverse) {{ return inverse; }}
    static __device__ inline int below(float size, bool negative) {{
        const int code = (int)(sqrtf(sqrtf(size)) * (negative ? 127.0f : 255.0f));
        const int top = negative ? 126 : 254;
        return code < top ? code : top;
    }}
    static __device__ inline float kept(float scale, bool negative) {{
        return negative ? scale : -scale;
    }}
}};

template <int shift> struct Float8 {{
    static __device__ inline float wide() {{ return shift == 20 ? {{}} : {{}}; }}
    static __device__ inline float decode(u8 code, float scale) {{
        const float value = float_of((u32)(code & 127) << shift) * wide() *
                            (shift == 20 ? {{}} : {{}}) * fabsf(scale);
        return code > 127 ? -value : value;
    }}
    static __device__ inline float factor(float inverse) {{
        return inverse * (shift == 20 ? 448.0f : 57344.0f);
    }}
    static __device__ inline int below(float size, bool negative) {{
        const int code = bits_of(size * (shift == 20 ? {{}} : {{}})) >> shift;
        const int top = shift == 20 ? {codecs.FLOAT8["float8_e4m3fn"].top - 1}
                                    : {codecs.FLOAT8["float8_e5m2"].top - 1};
        return code < top ? code : top;
    }}
    static __device__ inline float kept(float scale, bool negative) {{ return scale; }}
}};

// Write what the threads of a block have kept of `count` elements, from number `at` on, as bytes.
template <class C>
__device__ inline void encode(u8 *block, const float *kept, int count, u32 at, u32 key,
                              bool nearest = false) {{
    u32 top = 0, negative = 0;
    for (int e = threadIdx.x; e < count; e += blockDim.x) {{
        const u32 bits = bits_of(kept[e]);
        const u32 size = bits & 0x7fffffffu;
        top = size > top ? size : top;
        negative |= bits > 0x80000000u;
    }}
    share_extent(top, negative);
    const bool usable = top != 0 && top < 0x7f800000u;
    const float scale = float_of(top);
    const float up = scale < {{}} ? {{}} : 1.0f;
    const float factor = usable ? C::factor(1.0f / (scale * up)) : 0.0f;
    const float stored = C::kept(scale, negative);
    for (int e = threadIdx.x; e < count; e += blockDim.x) {{
        const float x = kept[e], size = fabsf(x);
        int code = 0;
        if (usable) {{
            code = C::below(size * up * factor, negative);
            const float low = C::decode((u8)code, stored), high = C::decode((u8)(code + 1), stored);
            code += size - low > (nearest ? 0.5f : share(at + e, key)) * (high - low);
            code = (code == 0 && size > 0.0f ? 1 : code) | (x < 0.0f ? 128 : 0);
        }}
        block[{SCALE} + e] = (u8)code;
    }}
    if (threadIdx.x == 0) {{
        const u32 nan = 0x7fc00000u;
        *(float *)block = usable ? stored : top ? float_of(nan) : 0.0f;
    }}
}}
"""


def _float(x: float) -> str:
    """A number as a literal of float."""
    return f"{float(np.float32(x))!r}f"


def helpers() -> str:
    """The functions of codecs."""
    e4m3, e5m2 = (codecs.FLOAT8[name] for name in ("float8_e4m3fn", "float8_e5m2"))
    numbers = (
        *(1 / 255, 1 / 127),
        *(e4m3.up, e5m2.up),
        *(1 / e4m3.largest, 1 / e5m2.largest),
        *(1 / e4m3.up, 1 / e5m2.up),
        *(codecs.TINY, codecs.LIFT),
    )
    return CODECS.replace("{}", "%s") % tuple(map(_float, numbers))


NAMES: Final = {
    "int8": "Int8",
    "float8_e4m3fn": "Float8<20>",
    "float8_e5m2": "Float8<21>",
}
"""Codec -> its type in the text."""


@cache
def decode(codec: str) -> Source:
    """The numbers that bytes stand for: (codes, values, size)."""
    text = f"""{ROUNDING}
{helpers()}
{head("born_decode", "const u8 *codes, float *values, i64 size")} {{
    {EACH} {{
        const u8 *block = codes + i / {BLOCK} * {codecs.FULL};
        values[i] = {NAMES[codec]}::decode(block[{SCALE} + i % {BLOCK}], *(const float *)block);
    }}
}}
"""
    return Source("born_decode", text, exact=True)


@cache
def encode(codec: str) -> Source:
    """Numbers as bytes, a block of threads for each block of them: (values, codes, size, key, and
    whether to take the nearest)."""
    arguments = "const float *values, u8 *codes, i64 size, u32 key, int nearest"
    text = f"""{ROUNDING}
{helpers()}
{head("born_encode", arguments)} {{
    const i64 first = (i64)blockIdx.x * {BLOCK};
    const int count = (int)min(size - first, (i64){BLOCK});
    u8 *block = codes + (i64)blockIdx.x * {codecs.FULL};
    encode<{NAMES[codec]}>(block, values + first, count, (u32)first, key, nearest);
}}
"""
    return Source("born_encode", text, exact=True)


@cache
def round_stochastically(dtype: str) -> Source:
    """Each number as a neighbour in a dtype: (values, results, size, key)."""
    dropped, down = codecs.DROPPED[dtype]
    numbers = f"{dropped}u, {_float(down)}, {_float(1 / down)}"
    text = f"""{ROUNDING}
{head("born_round", "const float *values, float *results, i64 size, u32 key")} {{
    {EACH} results[i] = rounded(values[i], (u32)i, key, {numbers});
}}
"""
    return Source("born_round", text, exact=True)
