"""Windows over images: cut out, added up, and their largest elements.

Each thread makes one element of the result and gathers what belongs there, in order, so the same
input gives the same bits, and sums have those of NumPy.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from born_cupy.kernels.source import EACH, Source, head, types

_GEOMETRY: Final = (
    "i64 height, i64 width, i64 rows, i64 columns, i64 kh, i64 kw, i64 sh, i64 sw, "
    "i64 ph, i64 pw, i64 dh, i64 dw"
)
"""Parameters: the size of an image and how many windows it has, and of a window its kernel,
stride, padding and dilation."""

_WINDOW_OF: Final = """\
// Which of `count` windows has its element `tap` at a place of the image; -1 if none has.
__device__ inline i64 window_of(i64 place, i64 tap, i64 stride, i64 padding, i64 dilation,
                                i64 count) {
    i64 start = place + padding - tap * dilation;
    if (start < 0 || start % stride) return -1;
    return start / stride < count ? start / stride : -1;
}
"""

_IN_IMAGES: Final = """\
        i64 w = i % width, h = i / width % height, plane = i / width / height;
"""
_IN_WINDOWS: Final = """\
        i64 q = i % columns, r = i / columns % rows, plane = i / columns / rows;
"""
_IN_TAPS: Final = """\
        i64 q = i % columns, r = i / columns % rows, tap = i / columns / rows % (kh * kw);
        i64 plane = i / columns / rows / (kh * kw);
        i64 h = r * sh - ph + tap / kw * dh, w = q * sw - pw + tap % kw * dw;
"""
_INSIDE: Final = "h >= 0 && h < height && w >= 0 && w < width"


def _source(
    name: str, dtype: np.dtype[Any], parameters: str, body: str, helpers: str = ""
) -> Source:
    text = f"""{types(dtype)}{helpers}
{head(f"born_{name}", f"{parameters}, i64 size, {_GEOMETRY}")} {{
    {EACH} {{
{body}    }}
}}
"""
    return Source(f"born_{name}", text)


@cache
def unfold(dtype: np.dtype[Any]) -> Source:
    """The windows of images: (images, taps, size, *geometry), zeros where they stick out."""
    body = f"""\
{_IN_TAPS}\
        put(taps[i], {_INSIDE} ? as<R>(xs[(plane * height + h) * width + w]) : (R)0);
"""
    return _source("unfold", dtype, "const T *xs, T *taps", body)


@cache
def max_pool(dtype: np.dtype[Any]) -> Source:
    """The largest element of each window, and which it is: (images, ys, winners, size, *geometry).

    Of those that tie the first wins, and the first NaN before all.
    """
    body = f"""\
{_IN_WINDOWS}\
        R best = (R)float_of(0xff800000u);  // minus infinity
        i64 winner = 0;
        bool found = false;
        for (i64 tap = 0; tap < kh * kw && best == best; ++tap) {{
            i64 h = r * sh - ph + tap / kw * dh, w = q * sw - pw + tap % kw * dw;
            if (!({_INSIDE})) continue;
            R x = as<R>(xs[(plane * height + h) * width + w]);
            if (found && !(x > best) && x == x) continue;
            found = true;
            best = x;
            winner = tap;
        }}
        put(ys[i], best);
        winners[i] = winner;
"""
    return _source("max_pool", dtype, "const T *xs, T *ys, i64 *winners", body)


def _gather(name: str, dtype: np.dtype[Any], parameters: str, add: str) -> Source:
    """A kernel that adds up, for each element of an image, what windows hold of it."""
    body = f"""\
{_IN_IMAGES}\
        R sum = 0;
        for (i64 tap = 0; tap < kh * kw; ++tap) {{
            i64 r = window_of(h, tap / kw, sh, ph, dh, rows);
            i64 q = window_of(w, tap % kw, sw, pw, dw, columns);
            if (r < 0 || q < 0) continue;
            {add}
        }}
        put(xs[i], sum);
"""
    return _source(name, dtype, parameters, body, _WINDOW_OF)


@cache
def fold(dtype: np.dtype[Any]) -> Source:
    """Windows added up into images: (taps, images, size, *geometry)."""
    add = "sum += as<R>(taps[((plane * kh * kw + tap) * rows + r) * columns + q]);"
    return _gather("fold", dtype, "const T *taps, T *xs", add)


@cache
def max_pool_backward(dtype: np.dtype[Any]) -> Source:
    """Each window's gradient to the element that won: (gs, winners, images, size, *geometry)."""
    add = """i64 window = (plane * rows + r) * columns + q;
            if (winners[window] == tap) sum += as<R>(gs[window]);"""
    return _gather("max_pool_backward", dtype, "const T *gs, const i64 *winners, T *xs", add)
