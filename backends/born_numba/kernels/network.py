"""Losses, normalisation, attention and recurrent cells."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from born_numba.compiler import numba, types
from born_numba.intrinsics import DATA, pointer, read64
from born_numba.kernels.kernel import (
    INDEX,
    exp,
    float_of,
    inf,
    kernel,
    least,
    log,
    ordered,
    real,
    sigmoid,
    sqrt,
    tanh,
    whole,
    zero,
)

carray: Final[Any] = numba.carray


@kernel(lambda t: types.float64(t[:, ::1], INDEX[::1], t[:, ::1]))
def cross_entropy(x: Any, labels: Any, p: Any) -> Any:
    """Write the probabilities of logits x to p; the mean loss, or -1 for a label out of range."""
    rows, classes = x.shape
    total = 0.0
    for i in range(rows):
        label = labels[i]
        if label < 0 or label >= classes:
            return -1.0
        top = x[i, 0]
        for j in range(1, classes):
            top = max(top, x[i, j])
        for j in range(classes):
            p[i, j] = exp(x[i, j] - top)
        mass = p[i, 0]
        for j in range(1, classes):
            mass += p[i, j]
        share = 1 / mass
        for j in range(classes):
            p[i, j] *= share
        total += log(mass) - (x[i, label] - top)
    return total / rows


@kernel(lambda t: types.boolean(t[:, ::1], INDEX[::1], types.float64, t[:, ::1]))
def cross_entropy_backward(p: Any, labels: Any, g: Any, out: Any) -> Any:
    """Write the gradient of the mean loss, times g; whether all labels were in range."""
    rows, classes = p.shape
    scale = real(g) / real(rows)
    for i in range(rows):
        if labels[i] < 0 or labels[i] >= classes:
            return False
        for j in range(classes):
            out[i, j] = p[i, j] * scale
        out[i, labels[i]] -= scale
    return True


@kernel(
    lambda t: types.boolean(
        *[t[:, ::1], t[::1], t[::1], types.float64, t[:, ::1], t[:, ::1], t[::1]], *[INDEX] * 2
    ),
    reassociate=True,
)
def layer_norm(
    x: Any,
    weight: Any,
    bias: Any,
    eps: Any,
    y: Any,
    normal: Any,
    scale: Any,
    first: Any,
    last: Any,
) -> Any:
    """Normalise rows from `first` to `last`, scale and shift them; keep what the gradient reads.

    Whether that is the result: squares may be infinite in double, too.
    """
    columns = x.shape[1]
    for i in range(first, last):
        total = 0.0
        for j in range(columns):
            total += x[i, j]
        mean = total / columns
        squares = 0.0
        for j in range(columns):
            squares += (x[i, j] - mean) ** 2
        if not squares < inf:
            return False
        factor = 1.0 / sqrt(squares / columns + eps)
        scale[i] = factor
        for j in range(columns):
            value = real((x[i, j] - mean) * factor)
            normal[i, j] = value
            y[i, j] = value * weight[j] + bias[j]
    return True


@kernel(
    lambda t: types.void(
        *[t[:, ::1], t[:, ::1], t[::1], t[::1], t[:, ::1], t[:, ::1], t[:, ::1]], *[INDEX] * 3
    ),
    reassociate=True,
)
def layer_norm_gradients(
    g: Any,
    normal: Any,
    scale: Any,
    weight: Any,
    out: Any,
    along: Any,
    total: Any,
    block: Any,
    first: Any,
    last: Any,
) -> None:
    """The gradients of some rows, and what each block of them adds to those of weight and bias."""
    columns = g.shape[1]
    for i in range(first, last):
        b = i // block
        if i % block == 0:
            for j in range(columns):
                along[b, j] = zero
                total[b, j] = zero
        slopes = 0.0
        products = 0.0
        for j in range(columns):
            slope = g[i, j]
            product = slope * normal[i, j]
            total[b, j] += slope
            along[b, j] += product
            slopes += slope * weight[j]
            products += product * weight[j]
        mean, share = real(slopes / columns), real(products / columns)
        factor = scale[i]
        for j in range(columns):
            out[i, j] = factor * (g[i, j] * weight[j] - mean - normal[i, j] * share)


@kernel(lambda t: types.void(t[:, ::1], t[:, ::1], t[::1], t[:, ::1]), reassociate=True)
def layer_norm_backward(g: Any, normal: Any, scale: Any, out: Any) -> None:
    """The gradient of the normalisation of each row."""
    rows, columns = g.shape
    for i in range(rows):
        total = 0.0
        along = 0.0
        for j in range(columns):
            total += g[i, j]
            along += g[i, j] * normal[i, j]
        mean = total / columns
        along /= columns
        for j in range(columns):
            out[i, j] = scale[i] * (g[i, j] - mean - normal[i, j] * along)


@kernel(lambda t: types.void(t[:, :, ::1], types.float64, INDEX, t[:, :]), reassociate=True)
def attention_weights(scores: Any, scale: Any, first: Any, total: Any) -> None:
    """Rows become softmax(scale scores) of the keys that each sees, one more than the last."""
    heads, rows, keys = scores.shape
    factor = real(scale)
    for h in range(heads):
        s = scores[h]
        bits = s.view(whole)
        for i in range(rows):
            seen = min(max(first + i, 0), keys)
            for j in range(seen):
                s[i, j] *= factor
            # The largest by the order of the bits, which LLVM vectorises, and where NaN is.
            top = least
            for j in range(seen):
                top = max(top, ordered(bits[i, j]))
            shift = float_of(ordered(top))
            if not shift > -inf and shift == shift:
                shift = zero
            mass = zero
            for j in range(seen):
                e = exp(s[i, j] - shift)
                s[i, j] = e
                mass += e
            for j in range(seen, keys):
                s[i, j] = zero
            share = zero if mass == 0 else 1 / mass
            for j in range(seen):
                s[i, j] *= share
            total[h, i] = -inf if mass == 0 else shift + log(mass)


@kernel(
    lambda t: types.void(
        *[types.uint64] * 3,
        *[types.UniTuple(INDEX, 4)] * 4,
        types.float64,
        t[::1],
        t[:, :, ::1],
        t[:, ::1],
    ),
    reassociate=True,
)
def attention_of_one(
    q_: Any,
    k_: Any,
    v_: Any,
    shape: Any,
    q_strides: Any,
    k_strides: Any,
    v_strides: Any,
    scale: Any,
    s: Any,
    y: Any,
    total: Any,
) -> None:
    """Attention of one query for each matrix of keys, in arrays at addresses; k of a shape."""
    batch, heads, keys, depth = shape
    width = y.shape[2]
    factor = real(scale)
    bits = s.view(whole)
    for b in range(batch):
        for h in range(heads):
            at = read64(q_ + DATA) + np.uint64(b * q_strides[0] + h * q_strides[1])
            q = carray(pointer(at), (depth,), real)
            at = read64(k_ + DATA) + np.uint64(b * k_strides[0] + h * k_strides[1])
            top = least
            for j in range(keys):
                k = carray(pointer(at + np.uint64(j * k_strides[2])), (depth,), real)
                product = zero
                for d in range(depth):
                    product += q[d] * k[d]
                s[j] = product * factor
            for j in range(keys):
                top = max(top, ordered(bits[j]))
            shift = float_of(ordered(top))
            if not shift > -inf and shift == shift:
                shift = zero
            mass = zero
            for j in range(keys):
                weight = exp(s[j] - shift)
                s[j] = weight
                mass += weight
            share = zero if mass == 0 else 1 / mass
            total[b, h] = -inf if mass == 0 else shift + log(mass)
            out = y[b, h]
            for d in range(width):
                out[d] = zero
            at = read64(v_ + DATA) + np.uint64(b * v_strides[0] + h * v_strides[1])
            for j in range(keys):
                v = carray(pointer(at + np.uint64(j * v_strides[2])), (width,), real)
                weight = s[j] * share
                for d in range(width):
                    out[d] += weight * v[d]


@kernel(
    lambda t: types.void(*[t[:, :, ::1]] * 2, types.float64, types.float64, INDEX, *[t[:, :]] * 2),
    reassociate=True,
)
def attention_slopes(
    scores: Any, slopes: Any, scale: Any, factor: Any, first: Any, total: Any, along: Any
) -> None:
    """Scores become their weights again; slopes, of these, the scores' gradient times factor."""
    heads, rows, keys = scores.shape
    by, times = real(scale), real(factor)
    for h in range(heads):
        s, of_weights = scores[h], slopes[h]
        for i in range(rows):
            seen = min(max(first + i, 0), keys)
            shift = zero if total[h, i] == -inf else total[h, i]
            less = along[h, i]
            for j in range(seen):
                p = exp(s[i, j] * by - shift)
                s[i, j] = p
                of_weights[i, j] = p * (of_weights[i, j] - less) * times
            for j in range(seen, keys):
                s[i, j] = zero
                of_weights[i, j] = zero


@kernel(
    lambda t: types.void(
        t[:, ::1],
        t[::1],
        t[::1],
        types.float64,
        t[:, ::1],
        t[:, ::1],
        t[::1],
        *[types.float64[::1]] * 2,
    )
)
def batch_norm_rows(
    x: Any,
    weight: Any,
    bias: Any,
    eps: Any,
    y: Any,
    normal: Any,
    scale: Any,
    mean: Any,
    variance: Any,
) -> None:
    """Normalise each column of x, scale and shift it."""
    rows, columns = x.shape
    mean[:] = 0.0
    variance[:] = 0.0
    for i in range(rows):
        for j in range(columns):
            mean[j] += x[i, j]
    for j in range(columns):
        mean[j] /= rows
    for i in range(rows):
        for j in range(columns):
            variance[j] += (x[i, j] - mean[j]) ** 2
    for j in range(columns):
        variance[j] /= rows
        scale[j] = 1.0 / sqrt(variance[j] + eps)
    for i in range(rows):
        for j in range(columns):
            normal[i, j] = real(x[i, j] - mean[j]) * scale[j]
            y[i, j] = normal[i, j] * weight[j] + bias[j]


@kernel(lambda t: types.void(*[t[:, ::1]] * 2, *[t[::1]] * 2, t[:, ::1], *[types.float64[::1]] * 2))
def batch_norm_rows_backward(
    g: Any, normal: Any, scale: Any, weight: Any, out: Any, along: Any, total: Any
) -> None:
    """The gradient of `batch_norm_rows` for x, and for weight and bias."""
    rows, columns = g.shape
    along[:] = 0.0
    total[:] = 0.0
    for i in range(rows):
        for j in range(columns):
            total[j] += g[i, j]
            along[j] += g[i, j] * normal[i, j]
    for i in range(rows):
        for j in range(columns):
            inner = g[i, j] - real(total[j] / rows) - normal[i, j] * real(along[j] / rows)
            out[i, j] = scale[j] * weight[j] * inner


@kernel(
    lambda t: types.void(
        t[:, :, ::1],
        *[t[::1]] * 2,
        types.float64,
        *[t[:, :, ::1]] * 2,
        t[::1],
        *[types.float64[::1]] * 2,
        *[INDEX] * 2,
    ),
    reassociate=True,
)
def batch_norm_planes(
    x: Any,
    weight: Any,
    bias: Any,
    eps: Any,
    y: Any,
    normal: Any,
    scale: Any,
    mean: Any,
    variance: Any,
    first: Any,
    last: Any,
) -> None:
    """Normalise channels from `first` to `last` of x, of shape (batch, channels, places)."""
    batch, _, places = x.shape
    for c in range(first, last):
        total = 0.0
        for n in range(batch):
            plane = x[n, c]
            for j in range(places):
                total += plane[j]
        centre = total / (batch * places)
        squares = 0.0
        for n in range(batch):
            plane = x[n, c]
            for j in range(places):
                squares += (plane[j] - centre) ** 2
        mean[c] = centre
        variance[c] = squares / (batch * places)
        scale[c] = 1.0 / sqrt(variance[c] + eps)
        gain, shift = weight[c], bias[c]
        for n in range(batch):
            plane, z, out = x[n, c], normal[n, c], y[n, c]
            for j in range(places):
                value = real(plane[j] - centre) * scale[c]
                z[j] = value
                out[j] = value * gain + shift


@kernel(
    lambda t: types.void(
        *[t[:, :, ::1]] * 2,
        *[t[::1]] * 2,
        t[:, :, ::1],
        *[types.float64[::1]] * 2,
        *[INDEX] * 2,
    ),
    reassociate=True,
)
def batch_norm_planes_backward(
    g: Any,
    normal: Any,
    scale: Any,
    weight: Any,
    out: Any,
    along: Any,
    total: Any,
    first: Any,
    last: Any,
) -> None:
    """The gradient of `batch_norm_planes`."""
    batch, _, places = g.shape
    for c in range(first, last):
        sums = 0.0
        products = 0.0
        for n in range(batch):
            slope, z = g[n, c], normal[n, c]
            for j in range(places):
                sums += slope[j]
                products += slope[j] * z[j]
        total[c] = sums
        along[c] = products
        mean = real(sums / (batch * places))
        share = real(products / (batch * places))
        factor = scale[c] * weight[c]
        for n in range(batch):
            slope, z, result = g[n, c], normal[n, c], out[n, c]
            for j in range(places):
                result[j] = factor * (slope[j] - mean - z[j] * share)


# -- recurrent cells: a step, as `born_numpy.recurrence.Step` says; t: which rows there are --

# Each loop writes one array and reads few: LLVM vectorises a loop if it needs few checks for
# overlap.


def _forward(t: Any) -> Any:
    return types.void(*[t[:, ::1]] * 2, t[::1], *[t[:, ::1]] * 5, types.boolean[::1])


def _backward(t: Any) -> Any:
    return types.void(*[t[:, ::1]] * 12, types.boolean[::1])


@kernel(_forward)
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


@kernel(_forward)
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


@kernel(_backward)
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


@kernel(_backward)
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


@kernel(_forward)
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


@kernel(_backward)
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


@kernel(_forward)
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


@kernel(_backward)
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
