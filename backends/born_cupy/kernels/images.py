"""Windows over images: cut out, added up, and their largest elements.

Each thread makes one element of the result and gathers what belongs there, in order, so the same
input gives the same bits, and sums have those of NumPy. Places are computed in integers of 32
bits where arrays are small enough: a division by those takes a fraction of the time.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from born_cupy.kernels.source import Source, head, types

_GEOMETRY: Final = (
    "I height, I width, I rows, I columns, I kh, I kw, I sh, I sw, I ph, I pw, I dh, I dw"
)
"""Parameters: the size of an image and how many windows it has, and of a window its kernel,
stride, padding and dilation."""

NARROW: Final = 1 << 30
"""Arrays of fewer elements take integers of 32 bits."""

_WINDOW_OF: Final = """\
// Which of `count` windows has its element `tap` at a place of the image; -1 if none has.
__device__ inline I window_of(I place, I tap, I stride, I padding, I dilation, I count) {
    I start = place + padding - tap * dilation;
    if (start < 0 || start % stride) return -1;
    return start / stride < count ? start / stride : -1;
}
"""

_IN_IMAGES: Final = """\
        I w = i % width, h = i / width % height, plane = i / width / height;
"""
_IN_WINDOWS: Final = """\
        I q = i % columns, r = i / columns % rows, plane = i / columns / rows;
"""
_IN_TAPS: Final = """\
        I q = i % columns, r = i / columns % rows, tap = i / columns / rows % (kh * kw);
        I plane = i / columns / rows / (kh * kw);
        I h = r * sh - ph + tap / kw * dh, w = q * sw - pw + tap % kw * dw;
"""
_INSIDE: Final = "h >= 0 && h < height && w >= 0 && w < width"


def _source(
    name: str,
    dtype: np.dtype[Any],
    narrow: bool,
    parameters: str,
    body: str,
    helpers: str = "",
    geometry: str = _GEOMETRY,
) -> Source:
    text = f"""{types(dtype)}typedef {"int" if narrow else "i64"} I;
{helpers}{head(f"born_{name}", f"{parameters}, I size, {geometry}")} {{
    I all = (I)gridDim.x * (I)blockDim.x;
    for (I i = (I)blockIdx.x * (I)blockDim.x + (I)threadIdx.x; i < size; i += all) {{
{body}    }}
}}
"""
    return Source(f"born_{name}", text)


@cache
def unfold(dtype: np.dtype[Any], narrow: bool) -> Source:
    """The windows of images: (images, taps, size, *geometry), zeros where they stick out."""
    body = f"""\
{_IN_TAPS}\
        put(taps[i], {_INSIDE} ? as<R>(xs[(plane * height + h) * width + w]) : (R)0);
"""
    return _source("unfold", dtype, narrow, "const T *xs, T *taps", body)


@cache
def columns(dtype: np.dtype[Any], narrow: bool) -> Source:
    """The same as a matrix (channels, taps, batch, windows), with a column for each window of the
    batch: (images, taps, size, *geometry, channels, batch).
    """
    body = f"""\
        I q = i % columns, r = i / columns % rows, n = i / columns / rows % batch;
        I tap = i / columns / rows / batch % (kh * kw);
        I plane = n * channels + i / columns / rows / batch / (kh * kw);
        I h = r * sh - ph + tap / kw * dh, w = q * sw - pw + tap % kw * dw;
        put(taps[i], {_INSIDE} ? as<R>(xs[(plane * height + h) * width + w]) : (R)0);
"""
    geometry = f"{_GEOMETRY}, I channels, I batch"
    parameters = "const T *xs, T *taps"
    return _source("columns", dtype, narrow, parameters, body, geometry=geometry)


@cache
def exchange(dtype: np.dtype[Any], narrow: bool, bias: bool) -> Source:
    """Swap the first two axes of (inner, outer, places) and add a bias along the second of the
    result: (xs, ys, [bias], size, inner, places).
    """
    body = f"""\
        I place = i % places, in = i / places % inner, out = i / places / inner;
        R x = as<R>(xs[(in * (size / places / inner) + out) * places + place]);
        put(ys[i], x{" + as<R>(bias[in])" * bias});
"""
    parameters = f"const T *xs, T *ys{', const T *bias' * bias}"
    return _source("exchange", dtype, narrow, parameters, body, geometry="I inner, I places")


@cache
def max_pool(dtype: np.dtype[Any], narrow: bool) -> Source:
    """The largest element of each window, and which it is: (images, ys, winners, size, *geometry).

    Of those that tie the first wins, and the first NaN before all.
    """
    body = f"""\
{_IN_WINDOWS}\
        R best = (R)float_of(0xff800000u);  // minus infinity
        I winner = 0;
        bool found = false;
        for (i64 tap = 0; tap < kh * kw && best == best; ++tap) {{
            I h = r * sh - ph + tap / kw * dh, w = q * sw - pw + tap % kw * dw;
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
    return _source("max_pool", dtype, narrow, "const T *xs, T *ys, i64 *winners", body)


def _gather(
    name: str, dtype: np.dtype[Any], narrow: bool, parameters: str, add: str, more: str = ""
) -> Source:
    """A kernel that adds up, for each element of an image, what windows hold of it."""
    body = f"""\
{_IN_IMAGES}\
        R sum = 0;
        for (I tap = 0; tap < kh * kw; ++tap) {{
            I r = window_of(h, tap / kw, sh, ph, dh, rows);
            I q = window_of(w, tap % kw, sw, pw, dw, columns);
            if (r < 0 || q < 0) continue;
            {add}
        }}
        put(xs[i], sum);
"""
    return _source(name, dtype, narrow, parameters, body, _WINDOW_OF, _GEOMETRY + more)


@cache
def fold(dtype: np.dtype[Any], narrow: bool) -> Source:
    """Windows added up into images: (taps, images, size, *geometry)."""
    add = "sum += as<R>(taps[((plane * kh * kw + tap) * rows + r) * columns + q]);"
    return _gather("fold", dtype, narrow, "const T *taps, T *xs", add)


@cache
def fold_columns(dtype: np.dtype[Any], narrow: bool) -> Source:
    """The same from a matrix as of `columns`: (taps, images, size, *geometry, channels, batch)."""
    add = """I row = (plane % channels * kh * kw + tap) * batch + plane / channels;
            sum += as<R>(taps[(row * rows + r) * columns + q]);"""
    more = ", I channels, I batch"
    return _gather("fold_columns", dtype, narrow, "const T *taps, T *xs", add, more)


@cache
def max_pool_backward(dtype: np.dtype[Any], narrow: bool) -> Source:
    """Each window's gradient to the element that won: (gs, winners, images, size, *geometry)."""
    add = """I window = (plane * rows + r) * columns + q;
            if (winners[window] == tap) sum += as<R>(gs[window]);"""
    parameters = "const T *gs, const i64 *winners, T *xs"
    return _gather("max_pool_backward", dtype, narrow, parameters, add)
