"""Where large arrays lie in memory, when one loop goes through several of them together.

Memory asked for in large pieces begins at the start of a page, and NumPy's arrays 16
bytes behind it. So element i of every array has the same last digits in its address, which
costs twice: a vector of 64 bytes crosses from one cache line into the next, and a load
looks to the processor as if it needed the store to another array just before it, as it
compares no more than the last 12 bits (Intel's optimization manual: 4K aliasing).
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
