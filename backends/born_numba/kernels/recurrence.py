"""Recurrent layers as compiled loops: all steps of a cell for some rows of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from born.backend import CellName
from born_numba.compiler import contracted, types
from born_numba.kernels.kernel import INDEX, Kernel, sigmoid, tanh, zero

# -- recurrent cells: a step, as `born_numpy.recurrence.Step` says; t: which rows there are --

# Each loop writes one array and reads few: LLVM vectorises a loop if it needs few checks for
# overlap.


def tanh_cell(
    z: Any, q: Any, bias: Any, h0: Any, c0: Any, h: Any, c: Any, kept: Any, t: Any
) -> None:
    """h of a plain cell that bends by tanh."""
    rows, width = h.shape
    for n in range(rows):
        for j in range(width):
            h[n, j] = tanh(z[n, j] + q[n, j] + bias[j])
        if len(t) > 0 and not t[n]:
            h[n] = h0[n]


def relu_cell(
    z: Any, q: Any, bias: Any, h0: Any, c0: Any, h: Any, c: Any, kept: Any, t: Any
) -> None:
    """h of a plain cell that rectifies."""
    rows, width = h.shape
    for n in range(rows):
        for j in range(width):
            value = z[n, j] + q[n, j] + bias[j]
            h[n, j] = zero if value <= 0 else value
        if len(t) > 0 and not t[n]:
            h[n] = h0[n]


def tanh_cell_backward(
    gh: Any, gc: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any,
    dh: Any, dc: Any, rest: Any, dz: Any, dq: Any, t: Any,
) -> None:  # fmt: skip
    """The gradient of `tanh_cell`."""
    rows, width = h.shape
    for n in range(rows):
        if len(t) > 0 and not t[n]:
            for j in range(width):
                rest[n, j] += gh[n, j] + dh[n, j]
                dz[n, j] = zero
            continue
        for j in range(width):
            dz[n, j] = (gh[n, j] + dh[n, j] + rest[n, j]) * (1 - h[n, j] * h[n, j])
        for j in range(width):
            rest[n, j] = zero


def relu_cell_backward(
    gh: Any, gc: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any,
    dh: Any, dc: Any, rest: Any, dz: Any, dq: Any, t: Any,
) -> None:  # fmt: skip
    """The gradient of `relu_cell`."""
    rows, width = h.shape
    for n in range(rows):
        if len(t) > 0 and not t[n]:
            for j in range(width):
                rest[n, j] += gh[n, j] + dh[n, j]
                dz[n, j] = zero
            continue
        for j in range(width):
            slope = gh[n, j] + dh[n, j] + rest[n, j]
            dz[n, j] = slope if h[n, j] > 0 else zero
        for j in range(width):
            rest[n, j] = zero


def lstm_cell(
    z: Any, q: Any, bias: Any, h0: Any, c0: Any, h: Any, c: Any, kept: Any, t: Any
) -> None:
    """The gates i, f, g and o, c and h of a long short-term memory."""
    rows, width = h.shape
    for n in range(rows):
        for j in range(2 * width):
            kept[n, j] = sigmoid(z[n, j] + q[n, j] + bias[j])
        i, f = kept[n, :width], kept[n, width : 2 * width]
        g, o = kept[n, 2 * width : 3 * width], kept[n, 3 * width :]
        given, product, shift = z[n, 2 * width :], q[n, 2 * width :], bias[2 * width :]
        for j in range(width):
            g[j] = tanh(given[j] + product[j] + shift[j])
        given, product, shift = z[n, 3 * width :], q[n, 3 * width :], bias[3 * width :]
        for j in range(width):
            o[j] = sigmoid(given[j] + product[j] + shift[j])
        for j in range(width):
            c[n, j] = f[j] * c0[n, j] + i[j] * g[j]
        for j in range(width):
            h[n, j] = o[j] * tanh(c[n, j])
        if len(t) > 0 and not t[n]:
            h[n], c[n] = h0[n], c0[n]


def lstm_cell_backward(
    gh: Any, gc: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any,
    dh: Any, dc: Any, rest: Any, dz: Any, dq: Any, t: Any,
) -> None:  # fmt: skip
    """The gradient of `lstm_cell`."""
    rows, width = h.shape
    for n in range(rows):
        for j in range(width):
            dc[n, j] += gc[n, j]
        if len(t) > 0 and not t[n]:
            for j in range(width):
                rest[n, j] += gh[n, j] + dh[n, j]
            for j in range(4 * width):
                dz[n, j] = zero
            continue
        i, f = kept[n, :width], kept[n, width : 2 * width]
        g, o = kept[n, 2 * width : 3 * width], kept[n, 3 * width :]
        di, df = dz[n, :width], dz[n, width : 2 * width]
        dg, do = dz[n, 2 * width : 3 * width], dz[n, 3 * width :]
        for j in range(width):
            dh[n, j] += gh[n, j] + rest[n, j]
        for j in range(width):
            rest[n, j] = tanh(c[n, j])
        for j in range(width):
            do[j] = dh[n, j] * rest[n, j] * o[j] * (1 - o[j])
        for j in range(width):
            dc[n, j] += dh[n, j] * o[j] * (1 - rest[n, j] * rest[n, j])
        for j in range(width):
            di[j] = dc[n, j] * g[j] * i[j] * (1 - i[j])
        for j in range(width):
            df[j] = dc[n, j] * c0[n, j] * f[j] * (1 - f[j])
        for j in range(width):
            dg[j] = dc[n, j] * i[j] * (1 - g[j] * g[j])
        for j in range(width):
            dc[n, j] *= f[j]
        for j in range(width):
            rest[n, j] = zero


def gru_cell(
    z: Any, q: Any, bias: Any, h0: Any, c0: Any, h: Any, c: Any, kept: Any, t: Any
) -> None:
    """The gates r, u and n, what r multiplies, and h of a gated recurrent unit."""
    rows, width = h.shape
    for n in range(rows):
        for j in range(2 * width):
            kept[n, j] = sigmoid(z[n, j] + q[n, j] + bias[j])
        r, u = kept[n, :width], kept[n, width : 2 * width]
        new, reset = kept[n, 2 * width : 3 * width], kept[n, 3 * width :]
        given, product = z[n, 2 * width :], q[n, 2 * width :]
        shift = bias[2 * width :]
        for j in range(width):
            reset[j] = product[j] + shift[j]
        for j in range(width):
            new[j] = tanh(given[j] + r[j] * reset[j])
        for j in range(width):
            h[n, j] = new[j] + u[j] * (h0[n, j] - new[j])
        if len(t) > 0 and not t[n]:
            h[n] = h0[n]


def gru_cell_backward(
    gh: Any, gc: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any,
    dh: Any, dc: Any, rest: Any, dz: Any, dq: Any, t: Any,
) -> None:  # fmt: skip
    """The gradient of `gru_cell`."""
    rows, width = h.shape
    for n in range(rows):
        if len(t) > 0 and not t[n]:
            for j in range(width):
                rest[n, j] += gh[n, j] + dh[n, j]
            for j in range(3 * width):
                dz[n, j] = zero
            for j in range(3 * width):
                dq[n, j] = zero
            continue
        r, u = kept[n, :width], kept[n, width : 2 * width]
        new, reset = kept[n, 2 * width : 3 * width], kept[n, 3 * width :]
        dr, du, dn = dz[n, :width], dz[n, width : 2 * width], dz[n, 2 * width :]
        product = dq[n, 2 * width :]
        for j in range(width):
            rest[n, j] += gh[n, j] + dh[n, j]
        for j in range(width):
            dn[j] = rest[n, j] * (1 - u[j]) * (1 - new[j] * new[j])
        for j in range(width):
            du[j] = rest[n, j] * (h0[n, j] - new[j]) * u[j] * (1 - u[j])
        for j in range(width):
            dr[j] = dn[j] * reset[j] * r[j] * (1 - r[j])
        for j in range(width):
            rest[n, j] *= u[j]
        for j in range(2 * width):
            dq[n, j] = dz[n, j]
        for j in range(width):
            product[j] = dn[j] * r[j]


# -- recurrent layers: all steps of a cell, as `born_numpy.recurrence.Walk` says --

_STRIP: Final = 32  # rows of a matrix that stay in the nearest cache while all of x passes


@contracted
def product(x: Any, matrix: Any, out: Any) -> None:
    """x @ matrix, for a few rows x and a matrix that stays in the cache from call to call.

    BLAS lays a matrix out anew each time, which takes as long as a few rows do. Four rows by four
    rows fill the registers, and LLVM vectorises along the result.
    """
    count, depth = x.shape
    columns = matrix.shape[1]
    out[:] = 0
    for start in range(0, depth, _STRIP):
        stop = min(start + _STRIP, depth)
        whole_stop = start + (stop - start) // 4 * 4
        for r in range(0, count // 4 * 4, 4):
            o0, o1, o2, o3 = out[r], out[r + 1], out[r + 2], out[r + 3]
            for k in range(start, whole_stop, 4):
                m0, m1, m2, m3 = matrix[k], matrix[k + 1], matrix[k + 2], matrix[k + 3]
                x00, x01, x02, x03 = x[r, k], x[r, k + 1], x[r, k + 2], x[r, k + 3]
                x10, x11, x12, x13 = x[r + 1, k], x[r + 1, k + 1], x[r + 1, k + 2], x[r + 1, k + 3]
                x20, x21, x22, x23 = x[r + 2, k], x[r + 2, k + 1], x[r + 2, k + 2], x[r + 2, k + 3]
                x30, x31, x32, x33 = x[r + 3, k], x[r + 3, k + 1], x[r + 3, k + 2], x[r + 3, k + 3]
                for j in range(columns):
                    a, b, c, d = m0[j], m1[j], m2[j], m3[j]
                    o0[j] = o0[j] + x00 * a + x01 * b + x02 * c + x03 * d
                    o1[j] = o1[j] + x10 * a + x11 * b + x12 * c + x13 * d
                    o2[j] = o2[j] + x20 * a + x21 * b + x22 * c + x23 * d
                    o3[j] = o3[j] + x30 * a + x31 * b + x32 * c + x33 * d
            for k in range(whole_stop, stop):
                m0 = matrix[k]
                x00, x10, x20, x30 = x[r, k], x[r + 1, k], x[r + 2, k], x[r + 3, k]
                for j in range(columns):
                    o0[j] += x00 * m0[j]
                    o1[j] += x10 * m0[j]
                    o2[j] += x20 * m0[j]
                    o3[j] += x30 * m0[j]
        for r in range(count // 4 * 4, count):
            o0 = out[r]
            for k in range(start, whole_stop, 4):
                m0, m1, m2, m3 = matrix[k], matrix[k + 1], matrix[k + 2], matrix[k + 3]
                x00, x01, x02, x03 = x[r, k], x[r, k + 1], x[r, k + 2], x[r, k + 3]
                for j in range(columns):
                    o0[j] = o0[j] + x00 * m0[j] + x01 * m1[j] + x02 * m2[j] + x03 * m3[j]
            for k in range(whole_stop, stop):
                m0, x00 = matrix[k], x[r, k]
                for j in range(columns):
                    o0[j] += x00 * m0[j]


inner: Final[Any] = product  # what `Kernel` puts in is a cell


def _all_steps(
    z: Any, initial: Any, turned: Any, shift: Any, states: Any, kept: Any, mask: Any, q: Any,
    reverse: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """All states of a cell, `inner`, for some rows."""
    length, memory = z.shape[0], initial.shape[0] - 1
    h, c = initial[0, first:last], initial[memory, first:last]
    for place in range(length):
        t = length - 1 - place if reverse else place
        product(h, turned, q)
        h0, c0 = h, c
        h, c = states[0, t, first:last], states[memory, t, first:last]
        there, held = mask[t, first:last], kept[t, first:last]
        inner(z[t, first:last], q, shift, h0, c0, h, c, held, there)


def _all_steps_backward(
    g: Any, kept: Any, states: Any, initial: Any, weight: Any, mask: Any,
    dh: Any, dc: Any, rest: Any, of_z: Any, of_q: Any, reverse: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """The gradients of `_all_steps`."""
    length, memory = of_z.shape[0], initial.shape[0] - 1
    for place in range(length - 1, -1, -1):
        t = length - 1 - place if reverse else place
        h, c = states[0, t, first:last], states[memory, t, first:last]
        if place > 0:
            earlier = t + 1 if reverse else t - 1
            h0, c0 = states[0, earlier, first:last], states[memory, earlier, first:last]
        else:
            h0, c0 = initial[0, first:last], initial[memory, first:last]
        gh, gc = g[0, t, first:last], g[memory, t, first:last]
        dz, dq, there = of_z[t, first:last], of_q[t, first:last], mask[t, first:last]
        inner(gh, gc, kept[t, first:last], h0, c0, h, c, dh, dc, rest, dz, dq, there)
        product(dq, weight, dh)


_RANGE: Final = (types.boolean, INDEX, INDEX)


def _forward(t: Any) -> Any:
    two, three = t[:, ::1], t[:, :, ::1]
    arrays = three, three, two, t[::1], t[:, :, :, ::1], three, types.boolean[:, ::1], two
    return types.void(*arrays, *_RANGE)


def _backward(t: Any) -> Any:
    two, three, four = t[:, ::1], t[:, :, ::1], t[:, :, :, ::1]
    read = four, three, four, three, two, types.boolean[:, ::1]
    return types.void(*read, two, two, two, three, three, *_RANGE)


def _cell(forward: Callable[..., Any], backward: Callable[..., Any]) -> tuple[Kernel, Kernel]:
    return (
        Kernel(_all_steps, _forward, reassociate=False, inner=forward),
        Kernel(_all_steps_backward, _backward, reassociate=False, inner=backward),
    )


CELLS: Final[dict[CellName, tuple[Kernel, Kernel]]] = {
    "tanh": _cell(tanh_cell, tanh_cell_backward),
    "relu": _cell(relu_cell, relu_cell_backward),
    "lstm": _cell(lstm_cell, lstm_cell_backward),
    "gru": _cell(gru_cell, gru_cell_backward),
}
"""Cell -> all its steps, and their gradients."""
