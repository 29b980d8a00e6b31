"""Elements read, or added to, where an index says.

An index of an axis of length n, in an array seen as (outer, n, inner), is of shape (m,),
one for all of `outer` and `inner`, or of shape (outer, m, inner), one for each element.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from born_cupy.kernels.device_errors import FAULT
from born_cupy.kernels.source import EACH, Source, head, types

ATOMIC: Final = ("float32", "float64", "int32", "int64")
"""The dtypes that a device adds to memory in one step."""

_BITS: Final = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}

_POSITION_OF: Final = f"""{FAULT}
// Where an index points on an axis; -1, and a report, if it points beside it.
__device__ inline i64 position_of(i64 index, i64 length, i64 *report, i64 operation) {{
    i64 position = index < 0 ? index + length : index;
    if (position >= 0 && position < length) return position;
    fault(report, operation, index, length);
    return -1;
}}
"""


@cache
def take(itemsize: int, each: bool) -> Source:
    """The elements that an index names, whatever their dtype; zero where it is out of range.

    (x, index, y, size, n, m, inner, report, operation); the index has one entry for
    `each` element, or is of shape (m,).
    """
    name = f"take_{'each' if each else 'slices'}"
    parameters = (
        "const Bits *xs, const i64 *index, Bits *ys, i64 size, i64 n, i64 m, i64 inner, "
        "i64 *report, i64 operation"
    )
    text = f"""{_POSITION_OF}
typedef {_BITS[itemsize]} Bits;
{head(f"born_{name}", parameters)} {{
    {EACH} {{
        i64 outer = i / inner / m;
        i64 position = position_of(index[{"i" if each else "i / inner % m"}], n, report, operation);
        ys[i] = position < 0 ? (Bits)0 : xs[(outer * n + position) * inner + i % inner];
    }}
}}
"""
    return Source(f"born_{name}", text)


@cache
def positions() -> Source:
    """Where in the array each entry of an index points, -1 where it is out of range.

    (index, positions, size, n, m, inner, report, operation) with an index of shape
    (outer, m, inner).
    """
    parameters = (
        "const i64 *index, i64 *positions, i64 size, i64 n, i64 m, i64 inner, "
        "i64 *report, i64 operation"
    )
    text = f"""{_POSITION_OF}
{head("born_positions", parameters)} {{
    {EACH} {{
        i64 outer = i / inner / m;
        i64 position = position_of(index[i], n, report, operation);
        positions[i] = position < 0 ? -1 : (outer * n + position) * inner + i % inner;
    }}
}}
"""
    return Source("born_positions", text)


@cache
def add_atomically(dtype: np.dtype[Any]) -> Source:
    """x += y at positions along an axis, in whatever order threads come.

    (y, positions, x, size, n, m, inner) with positions of shape (m,), of a dtype in `ATOMIC`.
    """
    # Of unsigned integers: that of signed ones has their bits, but not for 64 of them.
    unsigned = {"int32": "u32", "int64": "u64"}.get(dtype.name, "T")
    parameters = "const T *ys, const i64 *positions, T *xs, i64 size, i64 n, i64 m, i64 inner"
    text = f"""{types(dtype)}
{head("born_add_atomically", parameters)} {{
    {EACH} {{
        i64 outer = i / inner / m, position = positions[i / inner % m];
        if (position >= 0)
            atomicAdd(({unsigned} *)&xs[(outer * n + position) * inner + i % inner],
                      ({unsigned})ys[i]);
    }}
}}
"""
    return Source("born_add_atomically", text)


@cache
def add_in_order(dtype: np.dtype[Any]) -> Source:
    """x += y at positions along an axis, repeated ones in the order in which they are listed.

    (y, positions, order, x, size, n, m, inner) with positions of shape (m,), and the order that
    sorts them stably. Each sum is rounded before the next: the bits of `numpy.add.at`.
    """
    parameters = (
        "const T *ys, const i64 *positions, const i64 *order, T *xs, "
        "i64 size, i64 n, i64 m, i64 inner"
    )
    text = f"""{types(dtype)}
{head("born_add_in_order", parameters)} {{
    {EACH} {{
        // The thread of the first of equal positions adds for all of them.
        i64 outer = i / inner / m, k = i / inner % m, position = positions[order[k]];
        if (position < 0 || (k > 0 && positions[order[k - 1]] == position)) continue;
        T sum = xs[(outer * n + position) * inner + i % inner];
        for (; k < m && positions[order[k]] == position; ++k)
            put(sum, as<R>(sum) + as<R>(ys[(outer * m + order[k]) * inner + i % inner]));
        xs[(outer * n + position) * inner + i % inner] = sum;
    }}
}}
"""
    return Source("born_add_in_order", text)
