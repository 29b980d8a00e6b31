"""Windows over images, and pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from born_numba import pairs
from born_numba.compiler import inlined, types
from born_numba.kernels.kernel import INDEX, WINDOW, inf, kernel, zero
from born_numba.pairs import PAIRS


@inlined
def inside(start: Any, stride: Any, length: Any, count: Any) -> Any:
    """The range of those q below count for which 0 <= q stride + start < length."""
    first = 0 if start >= 0 else (-start + stride - 1) // stride
    last = 0 if start >= length else (length - 1 - start) // stride + 1
    return min(first, count), max(min(last, count), min(first, count))


@kernel(lambda t: types.void(t[:, :, :, ::1], t[:, :, :, :, ::1], *WINDOW))
def unfold(x: Any, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """The windows of images (N, C, H, W) as (N, C, kh kw, rows, columns), without padding first."""
    height, width = x.shape[2], x.shape[3]
    rows, columns = out.shape[3], out.shape[4]
    shifted = stride[0] == 1 and stride[1] == 1 and columns == width
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(kernel[0]):
                for j in range(kernel[1]):
                    begin = j * dilation[1] - padding[1]
                    first, last = inside(begin, stride[1], width, columns)
                    if shifted and last > first:
                        # The whole plane is moved, and what came from other rows blanked.
                        down = i * dilation[0] - padding[0]
                        top, bottom = inside(down, 1, height, rows)
                        plane = out[n, c, i * kernel[1] + j].reshape(rows * columns)
                        whole = x[n, c].reshape(height * width)
                        move = down * width + begin
                        least = max(top * columns, -move)
                        # Rows that all lie below the image leave less than nothing.
                        most = max(min(bottom * columns, height * width - move), least)
                        plane[:least] = 0
                        plane[most:] = 0
                        to, source = plane[least:most], whole[least + move :]
                        for q in range(len(to)):
                            to[q] = source[q]
                        for r in range(rows):
                            for q in range(first):
                                plane[r * columns + q] = 0
                            for q in range(last, columns):
                                plane[r * columns + q] = 0
                        continue
                    for r in range(rows):
                        h = r * stride[0] + i * dilation[0] - padding[0]
                        line = out[n, c, i * kernel[1] + j, r]
                        if h < 0 or h >= height or last <= first:
                            line[:] = 0
                            continue
                        for q in range(first):
                            line[q] = 0
                        for q in range(last, columns):
                            line[q] = 0
                        to = line[first:last]
                        source = x[n, c, h, begin + first * stride[1] :]
                        if stride[1] == 1:
                            for q in range(len(to)):
                                to[q] = source[q]
                        else:
                            for q in range(len(to)):
                                to[q] = source[q * stride[1]]


@kernel(lambda t: types.void(t[:, :, :, :, ::1], t[:, :, :, ::1], *WINDOW))
def fold(taps: Any, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """Windows added up into images, which start as zeros: the adjoint of `unfold`."""
    height, width = out.shape[2], out.shape[3]
    rows, columns = taps.shape[3], taps.shape[4]
    for n in range(out.shape[0]):
        for c in range(out.shape[1]):
            for i in range(kernel[0]):
                for j in range(kernel[1]):
                    begin = j * dilation[1] - padding[1]
                    first, last = inside(begin, stride[1], width, columns)
                    for r in range(rows):
                        h = r * stride[0] + i * dilation[0] - padding[0]
                        if h < 0 or h >= height or last <= first:
                            continue
                        given = taps[n, c, i * kernel[1] + j, r, first:last]
                        to = out[n, c, h, begin + first * stride[1] :]
                        if stride[1] == 1:
                            for q in range(len(given)):
                                to[q] += given[q]
                        else:
                            for q in range(len(given)):
                                to[q * stride[1]] += given[q]


@kernel(
    lambda t: types.void(
        t[:, :, ::1], t[:, :, ::1], INDEX[:, :, ::1], *WINDOW, types.int32[::1], *[INDEX] * 2
    )
)
def max_pool(
    x: Any,
    y: Any,
    winner: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    room: Any,
    start: Any,
    stop: Any,
) -> None:
    """The largest element of each window and which it was; the first of those that tie.

    Of planes from `start` to `stop`; room is as long as a row of y.
    """
    height, width = x.shape[1], x.shape[2]
    rows, columns = y.shape[1], y.shape[2]
    for plane in range(start, stop):
        for r in range(rows):
            best = y[plane, r]
            best[:] = -inf
            room[:] = -1
            for i in range(kernel[0]):
                h = r * stride[0] + i * dilation[0] - padding[0]
                if h < 0 or h >= height:
                    continue
                for j in range(kernel[1]):
                    begin = j * dilation[1] - padding[1]
                    first, last = inside(begin, stride[1], width, columns)
                    if last <= first:
                        continue
                    place = np.int32(i * kernel[1] + j)
                    source = x[plane, h, begin + first * stride[1] :]
                    to, which = best[first:last], room[first:last]
                    if stride[1] == 1:
                        for q in range(len(to)):
                            value, top = source[q], to[q]
                            # The first that lies inside, a larger one, or NaN.
                            won = (value > top) | (which[q] < 0) | ((value != value) & (top == top))
                            to[q] = value if won else top
                            which[q] = place if won else which[q]
                    elif stride[1] == 2:
                        for q in range(len(to)):
                            value, top = source[2 * q], to[q]
                            won = (value > top) | (which[q] < 0) | ((value != value) & (top == top))
                            to[q] = value if won else top
                            which[q] = place if won else which[q]
                    else:
                        for q in range(len(to)):
                            value, top = source[q * stride[1]], to[q]
                            won = (value > top) | (which[q] < 0) | ((value != value) & (top == top))
                            to[q] = value if won else top
                            which[q] = place if won else which[q]
            for q in range(columns):
                winner[plane, r, q] = max(room[q], 0)


@kernel(
    lambda t: types.boolean(t[:, :, ::1], INDEX[:, :, ::1], t[:, :, ::1], *WINDOW, *[INDEX] * 2)
)
def max_pool_backward(
    g: Any,
    winner: Any,
    out: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    start: Any,
    stop: Any,
) -> Any:
    """Each window's gradient added to the element that won; whether all winners were in range.

    Of planes from `start` to `stop`, which are written first.
    """
    height, width = out.shape[1], out.shape[2]
    for plane in range(start, stop):
        out[plane] = 0
        for r in range(g.shape[1]):
            for q in range(g.shape[2]):
                place = winner[plane, r, q]
                if place < 0 or place >= kernel[0] * kernel[1]:
                    return False
                i, j = divmod(place, kernel[1])
                h = r * stride[0] + i * dilation[0] - padding[0]
                w = q * stride[1] + j * dilation[1] - padding[1]
                if 0 <= h < height and 0 <= w < width:
                    out[plane, h, w] += g[plane, r, q]
    return True


# What the two loops below call by name, which `Kernel` puts in: see `born_numba.pairs`.
choose: Any = None
part: Any = None


@kernel(
    lambda t: types.void(t[:, :, ::1], t[:, :, ::1], INDEX[:, :, ::1], *[INDEX] * 2),
    names=pairs.operations,
)
def max_pool_by_two(x: Any, y: Any, winner: Any, start: Any, stop: Any) -> None:
    """`max_pool` of windows of two by two, side by side."""
    rows, columns = y.shape[1], y.shape[2]
    size, height, width = x.itemsize, x.shape[1], x.shape[2]
    end = stop * rows * columns
    for plane in range(start, stop):
        for r in range(rows):
            place = (plane * rows + r) * columns
            left = x.size - (plane * height + 2 * r + 1) * width
            above = x[plane, 2 * r].ctypes.data
            to, which = y[plane, r].ctypes.data, winner[plane, r].ctypes.data
            q = 0
            # What is written past a row is written again by the next: not so in the last ones.
            while q < columns and place + q + PAIRS <= end and 2 * (q + PAIRS) <= left:
                source = above + 2 * q * size
                choose(source, source + width * size, to + q * size, which + q * 8)
                q += PAIRS
            while q < columns:
                best, won = x[plane, 2 * r, 2 * q], 0
                for k in range(1, 4):
                    value = x[plane, 2 * r + k // 2, 2 * q + k % 2]
                    if value > best or (value != value and best == best):
                        best, won = value, k
                y[plane, r, q] = best
                winner[plane, r, q] = won
                q += 1


@kernel(
    lambda t: types.boolean(t[:, :, ::1], INDEX[:, :, ::1], t[:, :, ::1], *[INDEX] * 2),
    names=pairs.operations,
)
def max_pool_by_two_backward(g: Any, winner: Any, out: Any, start: Any, stop: Any) -> Any:
    """`max_pool_backward` of windows of two by two that leave no column over."""
    rows, columns = g.shape[1], g.shape[2]
    size, end, seen = g.itemsize, stop * g.shape[1] * g.shape[2], 0
    for plane in range(start, stop):
        for r in range(rows):
            place = (plane * rows + r) * columns
            slopes, which = g[plane, r].ctypes.data, winner[plane, r].ctypes.data
            for side in range(2):
                to = out[plane, 2 * r + side].ctypes.data
                q = 0
                while q < columns and place + q + PAIRS <= end:
                    seen |= part(slopes + q * size, which + q * 8, 2 * side, to + 2 * q * size)
                    q += PAIRS
                while q < columns:
                    won = winner[plane, r, q]
                    seen |= won
                    for k in range(2):
                        slope = g[plane, r, q]
                        out[plane, 2 * r + side, 2 * q + k] = slope if won == 2 * side + k else zero
                    q += 1
        for h in range(2 * rows, out.shape[1]):
            out[plane, h] = 0
    return 0 <= seen < 4
