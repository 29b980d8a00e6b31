"""`Source`, the text of one kernel, and what all texts begin with.

The text is CUDA C for NVRTC, without a single header: it compiles wherever the compiler
is, be the toolkit installed or not. Compiled by a C++ compiler for the host, with
`__CUDA_ARCH__` undefined and the launch's names supplied, it is the same arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

_CTYPES: Final = {
    "float32": "float",
    "float64": "double",
    "float16": "half_bits",
    "bfloat16": "bfloat_bits",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "bool": "bool",
}


def ctype(dtype: np.dtype[Any]) -> str:
    """What an element of a dtype is called in the text.

    >>> ctype(np.dtype("float16"))
    'half_bits'
    """
    return _CTYPES[dtype.name]


def real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that a kernel computes real numbers in: float32 for halves.

    >>> real(np.dtype("float16"))
    dtype('float32')
    """
    return np.dtype(np.float64) if dtype.itemsize == 8 else np.dtype(np.float32)


def types(dtype: np.dtype[Any]) -> str:
    """The text that names T, an element's type, and R, the type it is computed with in.

    Integers and bools are computed with in unsigned integers, which wrap around as
    NumPy's do; in C, signed ones must not.

    >>> types(np.dtype("float16"))
    'typedef half_bits T;\\ntypedef float R;\\n'
    """
    wide = "u64" if dtype.kind in "iub" else ctype(real(dtype))
    return f"typedef {ctype(dtype)} T;\ntypedef {wide} R;\n"


EACH: Final = """\
for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < size; \
i += (i64)gridDim.x * blockDim.x)"""
"""A loop over `size` elements, shared out among all threads."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one kernel.

    Attributes:
        name: what it is called; an `extern "C" __global__` function.
        text: its definition, and the helpers it needs.
        exact: whether every operation is rounded as IEEE 754 says, none of them
            contracted with the next: for what has to have the CPU's bits.
    """

    name: str
    text: str
    exact: bool = False

    @property
    def whole(self) -> str:
        """The text with what stands before every kernel."""
        return PRELUDE + self.text


PRELUDE: Final = """\
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

__device__ inline u32 bits_of(float x) { u32 b; memcpy(&b, &x, 4); return b; }
__device__ inline u64 bits_of(double x) { u64 b; memcpy(&b, &x, 8); return b; }
__device__ inline float float_of(u32 b) { float x; memcpy(&x, &b, 4); return x; }
__device__ inline double double_of(u64 b) { double x; memcpy(&x, &b, 8); return x; }

// The bits of a float16 as a float32, which holds every one of them.
__device__ inline float float_of_half(u16 h) {
#ifdef __CUDA_ARCH__
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
#else
    u32 sign = (u32)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, fraction = h & 1023u;
    if (exponent == 31u) return float_of(sign | 0x7f800000u | (fraction << 13));
    if (exponent) return float_of(sign | ((exponent + 112u) << 23) | (fraction << 13));
    float x = (float)fraction * 5.9604644775390625e-08f;  // 2^-24
    return sign ? -x : x;
#endif
}

// To float16, to nearest and to even, in one rounding.
__device__ inline u16 half_of(double x) {
#ifdef __CUDA_ARCH__
    u16 h;
    asm("cvt.rn.f16.f64 %0, %1;" : "=h"(h) : "d"(x));
    return h;
#else
    u64 bits = bits_of(x);
    u16 sign = (u16)((bits >> 48) & 0x8000u);
    u64 magnitude = bits & 0x7fffffffffffffffull;
    if (magnitude > 0x7ff0000000000000ull) return sign | 0x7e00u;
    double size = double_of(magnitude);
    if (size >= 65520.0) return sign | 0x7c00u;
    // Adding a power of two this large leaves the float16's last bit as the sum's own.
    int exponent = (int)(magnitude >> 52) - 1023;
    if (exponent < -14) exponent = -14;
    double shift = double_of((u64)(exponent - 10 + 52 + 1023) << 52);
    double rounded = (size + shift) - shift;
    u64 result = bits_of(rounded);
    if (rounded < 6.103515625e-05) return sign | (u16)(rounded * 16777216.0);  // 2^-14, 2^24
    return sign | (u16)((((result >> 52) - 1008u) << 10) | ((result >> 42) & 1023u));
#endif
}

__device__ inline u16 half_of(float x) {
#ifdef __CUDA_ARCH__
    u16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
#else
    return half_of((double)x);
#endif
}

__device__ inline float float_of_bfloat(u16 b) { return float_of((u32)b << 16); }

// To bfloat16, to nearest and to even; a double by way of a float, as ml_dtypes does it.
__device__ inline u16 bfloat_of(float x) {
    u32 bits = bits_of(x);
    if (x != x) return (u16)((bits >> 16) | 0x0040u);
    return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
__device__ inline u16 bfloat_of(double x) { return bfloat_of((float)x); }

// Elements of two bytes are types of their own, so that `as` and `put` can tell them apart.
struct half_bits { u16 bits; };
struct bfloat_bits { u16 bits; };

// An element in the type that a kernel computes in: as<float>(x).
template <class R> __device__ inline R as(float x) { return (R)x; }
template <class R> __device__ inline R as(double x) { return (R)x; }
template <class R> __device__ inline R as(half_bits x) { return (R)float_of_half(x.bits); }
template <class R> __device__ inline R as(bfloat_bits x) { return (R)float_of_bfloat(x.bits); }
template <class R> __device__ inline R as(int x) { return (R)x; }
template <class R> __device__ inline R as(i64 x) { return (R)x; }
template <class R> __device__ inline R as(u8 x) { return (R)x; }
template <class R> __device__ inline R as(bool x) { return (R)x; }

// A computed value rounded once into an element: put(place, value).
template <class R> __device__ inline void put(float &to, R x) { to = (float)x; }
template <class R> __device__ inline void put(double &to, R x) { to = (double)x; }
template <class R> __device__ inline void put(half_bits &to, R x) { to.bits = half_of(x); }
template <class R> __device__ inline void put(bfloat_bits &to, R x) { to.bits = bfloat_of(x); }
template <class R> __device__ inline void put(int &to, R x) { to = (int)x; }
template <class R> __device__ inline void put(i64 &to, R x) { to = (i64)x; }
template <class R> __device__ inline void put(u8 &to, R x) { to = (u8)x; }
template <class R> __device__ inline void put(bool &to, R x) { to = (bool)x; }
"""
