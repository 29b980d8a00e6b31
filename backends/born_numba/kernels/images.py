"""Windows over images, and pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from born_numba.compiler import inlined, types
from born_numba.kernels.kernel import INDEX, WINDOW, inf, kernel


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
                        most = min(bottom * columns, height * width - move)
                        plane[:least] = 0
                        plane[max(most, least) :] = 0
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
    halved = kernel == (2, 2) and stride == (2, 2) and padding == (0, 0) and dilation == (1, 1)
    for plane in range(start, stop):
        for r in range(rows):
            best = y[plane, r]
            if halved:  # the most frequent, in one loop
                above, below, which = x[plane, 2 * r], x[plane, 2 * r + 1], winner[plane, r]
                for q in range(columns):
                    top, place = above[2 * q], np.int32(0)
                    value = above[2 * q + 1]
                    won = (value > top) | ((value != value) & (top == top))
                    top, place = value if won else top, np.int32(1) if won else place
                    value = below[2 * q]
                    won = (value > top) | ((value != value) & (top == top))
                    top, place = value if won else top, np.int32(2) if won else place
                    value = below[2 * q + 1]
                    won = (value > top) | ((value != value) & (top == top))
                    best[q] = value if won else top
                    which[q] = np.int32(3) if won else place
                continue
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


@kernel(lambda t: types.boolean(t[:, :, :, ::1], INDEX[:, :, :, ::1], t[:, :, :, ::1], *WINDOW))
def max_pool_backward(
    g: Any, winner: Any, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    """Each window's gradient added to the element that won; whether all winners were in range."""
    for n in range(g.shape[0]):
        for c in range(g.shape[1]):
            for r in range(g.shape[2]):
                for q in range(g.shape[3]):
                    place = winner[n, c, r, q]
                    if place < 0 or place >= kernel[0] * kernel[1]:
                        return False
                    i, j = divmod(place, kernel[1])
                    h = r * stride[0] + i * dilation[0] - padding[0]
                    w = q * stride[1] + j * dilation[1] - padding[1]
                    if 0 <= h < out.shape[2] and 0 <= w < out.shape[3]:
                        out[n, c, h, w] += g[n, c, r, q]
    return True
