"""Operations as compiled loops, where one loop beats several of NumPy's.

Each is a plain function over contiguous arrays of one floating dtype, compiled for float32 and
float64 when first called. NumPy's own loops are vectorised by hand: what is here was measured to
win (docs/notes/performance.md). Only updates promise the bits of NumPy's result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.backend import CellName
from born_numba import functions, intrinsics
from born_numba.cache import compile_loop
from born_numba.compiler import contracted, inlined, numba, types

_LOG2_E: Final = 1.44269504088896341
_LN2_HIGH: Final = 0.693359375  # ln 2 in two parts, the first exact in float32
_LN2_LOW: Final = -2.12194440e-4
_LEAST: Final = -87.33654  # exp of less is not a normal float32


@inlined
def exp_of_nonpositive(x: Any) -> Any:
    """exp(x) of a float32 x <= 0, within one unit in the last place, fit to be vectorised.

    Numba's own exp is a call for each element. This is the polynomial of Cephes'
    `expf` (Moshier, 1989) after the usual reduction to |r| <= ln(2) / 2.
    """
    reduced = max(x, np.float32(_LEAST))
    n = np.floor(reduced * np.float32(_LOG2_E) + np.float32(0.5))
    r = reduced - n * np.float32(_LN2_HIGH) - n * np.float32(_LN2_LOW)
    y = np.float32(1.9875691500e-4)
    y = y * r + np.float32(1.3981999507e-3)
    y = y * r + np.float32(8.3334519073e-3)
    y = y * r + np.float32(4.1665795894e-2)
    y = y * r + np.float32(1.6666665459e-1)
    y = y * r + np.float32(5.0000001201e-1)
    y = y * (r * r) + r + np.float32(1.0)
    scale = (np.int32(n) + np.int32(127)) << np.int32(23)
    y *= intrinsics.float32_of_bits(np.uint32(scale))
    return y if x >= np.float32(_LEAST) else (x if x != x else np.float32(0.0))


# What kernels call by name. `Kernel` puts in what suits the dtype for `exp`, `sigmoid`, `tanh`,
# `real` and `zero`.
exp: Final[Any] = np.exp
inf: Final = np.inf
log: Final[Any] = np.log
sigmoid: Final[Any] = functions.sigmoid_float64
tanh: Final[Any] = np.tanh
real: Final[Any] = np.float64
sqrt: Final[Any] = np.sqrt
zero: Final = 0.0
least: Final = np.int64(-(2**63))
whole: Final[Any] = np.int64


@inlined
def ordered32(bits: Any) -> Any:
    """The bits of a float32 as an integer of the same order, and the other way round.

    LLVM vectorises the search for the largest of those. NaN is larger than all, or less.
    """
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@inlined
def ordered(bits: Any) -> Any:
    """The same for float64."""
    return np.int64(bits ^ ((bits >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF)))


@inlined
def float32_of(bits: Any) -> Any:
    """The float32 of signed bits."""
    return intrinsics.float32_of_bits(np.uint32(bits))


@inlined
def float_of(bits: Any) -> Any:
    """The float64 of signed bits."""
    return intrinsics.float64_of_bits(np.uint64(bits))


_IN_FLOAT32: Final = {
    "exp": exp_of_nonpositive,
    "float_of": float32_of,
    "least": np.int32(-(2**31)),
    "ordered": ordered32,
    "whole": np.int32,
}


class Kernel:
    """A loop compiled when first called: one machine code for each floating dtype.

    Args:
        function: the loop.
        signature: from a floating type to the loop's.
        reassociate: whether sums may be added up in another order.
        inner: a function that the loop calls as `inner`, compiled into it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Callable[[Any], Any],
        reassociate: bool,
        inner: Callable[..., Any] | None = None,
    ) -> None:
        self._function = function
        self._signature = signature
        self._reassociate = reassociate
        self._inner = inner
        self._compiled: dict[np.dtype[Any], Callable[..., Any]] = {}

    def __getitem__(self, dtype: np.dtype[Any]) -> Callable[..., Any]:
        compiled = self._compiled.get(dtype)
        if compiled is None:
            source = _text(self._function)
            if self._inner is not None:
                name = self._inner.__name__
                source = f"@inlined\n{_text(self._inner)}\ninner = {name}\n\n{source}"
            compiled = compile_loop(
                source,
                self._function.__name__,
                self._signature(numba.from_dtype(dtype)),
                {
                    **globals(),
                    "real": dtype.type,
                    **{name: _functions(dtype)[name] for name in ("sigmoid", "tanh")},
                    "zero": dtype.type(0),
                    **(_IN_FLOAT32 if dtype == np.float32 else {}),
                },
                reassociate=self._reassociate,
            )
            self._compiled[dtype] = compiled
        return compiled


def _text(function: Callable[..., Any]) -> str:
    source = inspect.getsource(function)
    return source[source.index("def ") :]


def _functions(dtype: np.dtype[Any]) -> dict[str, Any]:
    return functions.FLOAT32 if dtype == np.float32 else functions.FLOAT64


def kernel(
    signature: Callable[[Any], Any], *, reassociate: bool = False
) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a function a kernel, whose signature for a floating type is `signature(type)`.

    If it may `reassociate`, its sums are added up by vectors, in another order.
    """
    return lambda function: Kernel(function, signature, reassociate)


_INDEX: Final = types.int64
_PAIR: Final = types.UniTuple(types.int64, 2)
_WINDOW: Final = (_PAIR, _PAIR, _PAIR, _PAIR)


# -- reduction --


@kernel(lambda t: types.void(t[:, ::1], t[::1]))
def sum_rows(x: Any, out: Any) -> None:
    """The sum over the first axis, row after row as NumPy adds them."""
    rows, columns = x.shape
    for j in range(columns):
        out[j] = x[0, j]
    for i in range(1, rows):
        for j in range(columns):
            out[j] += x[i, j]


# -- indexing --


@kernel(lambda t: _INDEX(t[:, ::1], _INDEX[::1], t[:, ::1]))
def add_rows(target: Any, index: Any, values: Any) -> Any:
    """target[index[k]] += values[k] for every k; -1, or the first k whose index is out of range."""
    rows, columns = target.shape
    for k in range(len(index)):
        row = index[k]
        row = row + rows if row < 0 else row
        if row < 0 or row >= rows:
            return k
        for j in range(columns):
            target[row, j] += values[k, j]
    return -1


# -- linear --


@kernel(lambda t: types.void(t[:, ::1], t[::1]))
def bias_relu(x: Any, bias: Any) -> None:
    """max(x + bias, 0) in place, the bias added to each row, NaN kept."""
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            value = x[i, j] + bias[j]
            x[i, j] = zero if value <= 0 else value


@kernel(lambda t: types.void(t[:, ::1], t[:, ::1], t[:, ::1], t[::1]))
def bias_relu_backward(g: Any, y: Any, out: Any, total: Any) -> None:
    """g where y is positive, else y, zero or NaN; and the sum of that over the first axis."""
    rows, columns = g.shape
    for j in range(columns):
        total[j] = zero
    for i in range(rows):
        for j in range(columns):
            value = g[i, j] if y[i, j] > 0 else y[i, j]
            out[i, j] = value
            total[j] += value


# -- network --


@kernel(lambda t: types.float64(t[:, ::1], _INDEX[::1], t[:, ::1]))
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


@kernel(lambda t: types.boolean(t[:, ::1], _INDEX[::1], types.float64, t[:, ::1]))
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
        *[t[:, ::1], t[::1], t[::1], types.float64, t[:, ::1], t[:, ::1], t[::1]], *[_INDEX] * 2
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
        *[t[:, ::1], t[:, ::1], t[::1], t[::1], t[:, ::1], t[:, ::1], t[:, ::1]], *[_INDEX] * 3
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
    first: Any,
    last: Any,
    block: Any,
) -> None:
    """The gradients of some rows, and those of weight and bias, as far as they come from them."""
    columns = g.shape[1]
    for j in range(columns):
        along[block, j] = zero
        total[block, j] = zero
    for i in range(first, last):
        slopes = 0.0
        products = 0.0
        for j in range(columns):
            slope = g[i, j]
            product = slope * normal[i, j]
            total[block, j] += slope
            along[block, j] += product
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


@kernel(lambda t: types.void(t[:, ::1], types.float64, _INDEX, t[::1]), reassociate=True)
def attention_weights(s: Any, scale: Any, first: Any, total: Any) -> None:
    """Rows s become softmax(scale s) of the keys that each sees, one more than the one before."""
    rows, keys = s.shape
    bits = s.view(whole)
    factor = real(scale)
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
        total[i] = -inf if mass == 0 else shift + log(mass)


@kernel(
    lambda t: types.void(
        t[:, ::1], t[:, ::1], types.float64, types.float64, _INDEX, t[::1], t[::1]
    ),
    reassociate=True,
)
def attention_slopes(
    s: Any, of_weights: Any, scale: Any, factor: Any, first: Any, total: Any, along: Any
) -> None:
    """Rows s become their weights again; of_weights the gradient of scores, times factor."""
    rows, keys = s.shape
    by, times = real(scale), real(factor)
    for i in range(rows):
        seen = min(max(first + i, 0), keys)
        shift = zero if total[i] == -inf else total[i]
        less = along[i]
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
        *[_INDEX] * 2,
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
        *[_INDEX] * 2,
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


_RANGE: Final = (types.boolean, _INDEX, _INDEX)


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


# -- images --


@inlined
def inside(start: Any, stride: Any, length: Any, count: Any) -> Any:
    """The range of those q below count for which 0 <= q stride + start < length."""
    first = 0 if start >= 0 else (-start + stride - 1) // stride
    last = 0 if start >= length else (length - 1 - start) // stride + 1
    return min(first, count), max(min(last, count), min(first, count))


@kernel(lambda t: types.void(t[:, :, :, ::1], t[:, :, :, :, ::1], *_WINDOW))
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


@kernel(lambda t: types.void(t[:, :, :, :, ::1], t[:, :, :, ::1], *_WINDOW))
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
        t[:, :, ::1], t[:, :, ::1], _INDEX[:, :, ::1], *_WINDOW, types.int32[::1], *[_INDEX] * 2
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


@kernel(lambda t: types.boolean(t[:, :, :, ::1], _INDEX[:, :, :, ::1], t[:, :, :, ::1], *_WINDOW))
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
