"""Losses, normalisation and attention."""

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
    sqrt,
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
