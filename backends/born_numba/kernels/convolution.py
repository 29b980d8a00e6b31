"""Convolutions with a stride of one, as sums in registers over shifted images.

Images are laid out with their padding in between, a row behind the other: row r of an image begins
at r times the *pitch*, its width and the padding between it and the next. Then what an element of
the kernel sees of all windows is one line, some places further for each, and a convolution is
sums of such lines times numbers: no window is ever cut out. A line runs on from row to row through
the padding, where what comes out means nothing, and is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from born_numba.compiler import inlined, reassociated, types
from born_numba.intrinsics import copy
from born_numba.kernels.kernel import INDEX, compile_kernel
from born_numba.tiles import Form, operations

ROOM = 1024
"""Places of a line for which results are kept until they are dropped or written."""
SEGMENT = 128
"""Vectors of a line, of all images, whose products are added up one after the other."""
BLOCK = 2048
"""Elements of a line that are added up by vectors."""

# What the kernels call by name; `loops` puts in what suits a form.
products: Any = None
column_products: Any = None
dots: Any = None
column_dots: Any = None
line_sum: Any = None
rows: int = 1
columns: int = 1
lanes: int = 1
size: int = 4


@inlined
def lay(images: Any, out: Any, pitch: Any, lead: Any) -> None:
    """Write the rows of planes (C, H, W) into lines, the first at `lead`."""
    channels, height, width = images.shape
    size = images.itemsize
    for c in range(channels):
        source, to = images[c].ctypes.data, out[c, lead:].ctypes.data
        for _ in range(height):
            copy(to, source, width * size)
            source += width * size
            to += pitch * size


def _correlate(
    x: Any,
    weight: Any,
    bias: Any,
    y: Any,
    lines: Any,
    room: Any,
    places: Any,
    pitch: Any,
    lead: Any,
    begin: Any,
    count: Any,
    first: Any,
    last: Any,
) -> None:
    """y[n, o, i, j] = bias[o] + sum_{c, k, l} weight[o, c, k, l] x[n, c, i + d k, j + d l]

    Of images from `first` to `last`, and of each group's outputs `count` from `begin` on.

    Args:
        x: images (N, C, H, W).
        weight: (groups, blocks, taps, outputs of a block).
        bias: (groups, outputs of all blocks).
        y: what comes out, (N, O, rows, columns).
        lines: zeros, (C / groups, length of a line with its padding).
        room: (outputs of a block, places) for lines of results.
        places: where in `lines` each tap begins, in bytes.
        pitch: from row to row.
        lead: where an image begins in a line.
        begin: the first output of each group.
        count: outputs of each group.
        first: the first image.
        last: the one after the last image.
    """
    groups, blocks, taps = weight.shape[:3]
    channels, outputs = len(lines), y.shape[1] // groups
    height, width = y.shape[2], y.shape[3]
    whole = (height - 1) * pitch + width
    most = room.shape[1]
    for n in range(first, last):
        for g in range(groups):
            lay(x[n, g * channels : (g + 1) * channels], lines, pitch, lead)
            for start in range(0, whole, most):
                stop = min(start + most, whole)
                for b in range(blocks):
                    numbers = weight[g, b].ctypes.data
                    shift = bias[g, b * rows :].ctypes.data
                    q = start
                    while q < stop:
                        source = lines.ctypes.data + q * size
                        to = room.ctypes.data + (q - start) * size
                        if q + columns * lanes < stop + lanes:
                            products(source, places.ctypes.data, taps, numbers, shift, to, most)
                            q += columns * lanes
                        else:
                            column_products(
                                source, places.ctypes.data, taps, numbers, shift, to, most
                            )
                            q += lanes
                    for o in range(min(rows, count - b * rows)):
                        plane = y[n, g * outputs + begin + b * rows + o]
                        for r in range(start // pitch, (stop - 1) // pitch + 1):
                            left = max(r * pitch, start)
                            right = min(r * pitch + width, stop)
                            if left < right:
                                to = plane[r, left - r * pitch :].ctypes.data
                                source = room[o, left - start :].ctypes.data
                                copy(to, source, (right - left) * size)


def _slopes(
    x: Any,
    g: Any,
    total: Any,
    added: Any,
    lines: Any,
    slopes: Any,
    places: Any,
    pitch: Any,
    lead: Any,
    begin: Any,
    count: Any,
    first: Any,
    last: Any,
) -> None:
    """total[o, c, k, l] += sum_{n, i, j} g[n, o, i, j] x[n, c, i + d k, j + d l]

    Args as for `_correlate`, besides:
        g: the gradient of what came out, (N, O, rows, columns).
        total: (groups, outputs of all blocks, taps).
        added: for the sums of g over places, (N, groups, outputs).
        lines: zeros, (images at a time, C / groups, length of a line).
        slopes: zeros, (images at a time, outputs of all blocks, length of a line), the length some
            vectors.
    """
    groups, outputs, taps = total.shape
    most, channels, length = lines.shape
    each = g.shape[1] // groups
    vectors = slopes.shape[2] // lanes
    pitches = slopes.shape[2] * size
    for start in range(first, last, most):
        images = min(most, last - start)
        segment = max(SEGMENT // images, 1)
        for group in range(groups):
            for n in range(images):
                of_x = x[start + n, group * channels : (group + 1) * channels]
                lay(of_x, lines[n], pitch, lead)
                place = group * each + begin
                lay(g[start + n, place : place + count], slopes[n], pitch, 0)
                for o in range(count):
                    added[start + n, group, begin + o] = line_sum(slopes[n, o])
            for v in range(0, vectors, segment):
                steps = min(segment, vectors - v)
                for o in range(0, outputs, rows):
                    left = slopes[0, o].ctypes.data + v * lanes * size
                    right = lines.ctypes.data + v * lanes * size
                    between = outputs * pitches, channels * length * size
                    t = 0
                    while t < taps:
                        there = places[t:].ctypes.data
                        to = total[group, o, t:].ctypes.data
                        if t + columns <= taps:
                            dots(left, pitches, right, there, steps, images, between, to, taps)
                            t += columns
                        else:
                            column_dots(
                                left, pitches, right, there, steps, images, between, to, taps
                            )
                            t += 1


def _line_sum(line: Any) -> Any:
    """The sum of a line, in blocks whose elements are added up by vectors."""
    total = 0.0
    for start in range(0, len(line), BLOCK):
        block = line[start : start + BLOCK]
        some = block[0]
        for q in range(1, len(block)):
            some += block[q]
        total += some
    return total


class Loops(NamedTuple):
    """The compiled loops of a form."""

    correlate: Callable[..., None]
    slopes: Callable[..., None]


@cache
def loops(form: Form, dtype: np.dtype[Any]) -> Loops:
    """Loops that keep tiles of a form in registers, for one dtype."""
    one = form._replace(columns=1)
    names = {
        "products": _products(form, dtype),
        "column_products": _products(one, dtype),
        "dots": _dots(form, dtype),
        "column_dots": _dots(one, dtype),
        "line_sum": reassociated(_line_sum),
        "rows": form.rows,
        "columns": form.columns,
        "lanes": form.bytes // dtype.itemsize,
        "size": dtype.itemsize,
    }
    suffix = _suffix(form, dtype)
    return Loops(
        compile_kernel(_correlate, _correlate_types, dtype, names, suffix=suffix),
        compile_kernel(_slopes, _slopes_types, dtype, names, suffix=suffix),
    )


def _correlate_types(t: Any) -> Any:
    images, lines = t[:, :, :, ::1], t[:, ::1]
    arrays = images, images, lines, images, lines, lines, INDEX[::1]
    return types.void(*arrays, *[INDEX] * 6)


def _slopes_types(t: Any) -> Any:
    images, lines = t[:, :, :, ::1], t[:, :, ::1]
    double = types.float64[:, :, ::1]
    arrays = images, images, double, double, lines, lines, INDEX[::1]
    return types.void(*arrays, *[INDEX] * 6)


def _suffix(form: Form, dtype: np.dtype[Any]) -> str:
    """What tells functions of one text by name, which Numba links machine code by."""
    return f"_{form.rows}_{form.columns}_{form.bytes}_{dtype.name}"


def _products(form: Form, dtype: np.dtype[Any]) -> Any:
    """A tile of sums over taps, of numbers times lines, written to rows."""
    do = operations(form, dtype)
    spread, add_products, write = do["spread"], do["add_products"], do["write"]
    size = dtype.itemsize
    step = form.rows * size

    def run(
        lines: Any, places: Any, taps: Any, numbers: Any, shift: Any, out: Any, pitch: Any
    ) -> None:
        sums = spread(shift)
        for t in range(taps):
            sums = add_products(sums, numbers + t * step, lines, places + t * 8)
        write(sums, out, pitch * size)

    run.__qualname__ = run.__name__ = "products" + _suffix(form, dtype)
    return inlined(run)


def _dots(form: Form, dtype: np.dtype[Any]) -> Any:
    """A tile of sums over places and images, of lines times lines, added to rows of numbers."""
    do = operations(form, dtype)
    nothing, add_rows, add_totals = do["nothing"], do["add_rows"], do["add_totals"]
    width = form.bytes

    def run(
        left: Any, pitch: Any, right: Any, places: Any, steps: Any, images: Any,
        between: Any, out: Any, taps: Any,
    ) -> None:  # fmt: skip
        sums = nothing()
        for n in range(images):
            a, b = left + n * between[0], right + n * between[1]
            for s in range(steps):
                sums = add_rows(sums, a + s * width, pitch, b + s * width, places)
        add_totals(sums, out, taps * 8)

    run.__qualname__ = run.__name__ = "dots" + _suffix(form, dtype)
    return inlined(run)
