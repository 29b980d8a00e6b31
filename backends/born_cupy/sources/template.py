"""What the kernels of one dtype begin with, and the loop that most of them are."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from born_cupy.sources.source import ctype

EACH: Final = """\
for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < size; \
i += (i64)gridDim.x * blockDim.x)"""
"""A loop over `size` elements, shared out among all threads."""


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
