"""Where large arrays lie in memory, when one loop goes through several of them together.

NumPy's large arrays begin 16 bytes behind the start of a page, so element i of each has the same
last digits in its address. A vector of 64 bytes then crosses cache lines, and a load seems to the
processor to need the store just before it (Intel's optimization manual: 4K aliasing).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from born.raw import HostArray, RawTensor

LINE: Final = 64  # bytes of a cache line, and of the widest vector
_PAGE: Final = 4096
_LARGE: Final = 2**20  # bytes from which it matters, measured: docs/notes/performance.md
_APART: Final = 1024  # bytes between the last digits of two addresses


def to_line(array: HostArray) -> int:
    """How many elements of a contiguous array lie before its first whole cache line."""
    return (-array.ctypes.data % LINE) // array.itemsize


def slot(parameter: HostArray, dtype: np.dtype[Any], number: int) -> RawTensor:
    """Zeros like a parameter, whose cache lines begin at the same element as the parameter's."""
    size = parameter.size * dtype.itemsize
    if size < _LARGE or not parameter.flags.c_contiguous:
        return RawTensor(np.zeros(parameter.shape, dtype))
    memory = np.zeros(size + _PAGE, np.uint8)
    digits = number * _APART - to_line(parameter) * dtype.itemsize
    first = (digits - memory.ctypes.data) % _PAGE
    return RawTensor(memory[first : first + size].view(dtype).reshape(parameter.shape))
