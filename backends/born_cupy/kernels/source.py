"""`Source`, the text of one kernel, and what all texts begin with.

The text is CUDA C for NVRTC, without a single header: it compiles wherever the compiler
is, be the toolkit installed or not. A C++ compiler for the host takes it too, given the
names of a launch and the conversions that are a device's own instructions.
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


THREADS: Final = 256
"""Threads of a block, except where rows need more."""


def head(name: str, parameters: str, threads: int = THREADS) -> str:
    """What stands before a kernel's body.

    The compiler learns how many threads a block has at most, and so gives each no more
    registers than that many can have.

    >>> head("born_relu", "T *xs")
    'extern "C" __global__ void __launch_bounds__(256) born_relu(T *xs)'
    """
    return f'extern "C" __global__ void __launch_bounds__({threads}) {name}({parameters})'


WORDS: Final = 480
"""Words that a launch can take along: of the 4 KiB of its parameters, some are for others."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one kernel.

    Attributes:
        name: what it is called; a function with a `head`.
        text: its definition, and the helpers it needs.
        exact: whether every operation is rounded as IEEE 754 says, none of them
            contracted with the next: for what has to have the CPU's bits.
        shared: bytes of the array that it declares as `DYNAMIC_SHARED`.
    """

    name: str
    text: str
    exact: bool = False
    shared: int = 0

    @property
    def whole(self) -> str:
        """The text with what stands before every kernel."""
        return PRELUDE + self.text


PRELUDE: Final = (
    """\
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

__device__ inline u32 bits_of(float x) { u32 b; memcpy(&b, &x, 4); return b; }
__device__ inline u64 bits_of(double x) { u64 b; memcpy(&b, &x, 8); return b; }
__device__ inline float float_of(u32 b) { float x; memcpy(&x, &b, 4); return x; }
__device__ inline double double_of(u64 b) { double x; memcpy(&x, &b, 8); return x; }

#ifdef __CUDA_ARCH__
// An array that a block's threads share, as large as the launch says: it may be beyond 48 kB.
#define DYNAMIC_SHARED(type, name, count) extern __shared__ __align__(16) type name[]

// The bits of a float16 as a float32, which holds every one of them.
__device__ inline float float_of_half(u16 h) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}
// To float16, to nearest and to even, in one rounding.
__device__ inline u16 half_of(double x) {
    u16 h;
    asm("cvt.rn.f16.f64 %0, %1;" : "=h"(h) : "d"(x));
    return h;
}
__device__ inline u16 half_of(float x) {
    u16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
#endif

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
    + f"""
// A short table, which a launch takes along.
struct near_words {{ u64 at[{WORDS}]; }};
"""
)
