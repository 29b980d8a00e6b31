"""References in NumPy, written to be read rather than to be fast."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from born.backend import Window
from born.raw import HostArray

Pair = tuple[int, int]

GELU_SCALE: Final = math.sqrt(2 / math.pi)
GELU_CUBIC: Final = 0.044715


# -- elementwise ---------------------------------------------------------------------------


def erf(x: HostArray) -> HostArray:
    """The C library's error function of each element."""
    return np.array([math.erf(value) for value in np.ravel(x)]).reshape(np.shape(x))


def gelu(x: HostArray, approximate: str = "none") -> HostArray:
    """x Phi(x), or its approximation by tanh."""
    inner = erf(x / math.sqrt(2)) if approximate == "none" else np.tanh(_gelu_inner(x))
    y: HostArray = 0.5 * x * (1 + inner)
    return y


def _gelu_inner(x: HostArray) -> Any:
    return GELU_SCALE * (x + GELU_CUBIC * x**3)


# -- softmax and normalisation -------------------------------------------------------------


def softmax(x: HostArray, axis: int = -1) -> HostArray:
    """Exponentials over their sum."""
    e = np.exp(x)
    y: HostArray = e / e.sum(axis=axis, keepdims=True)
    return y


def log_softmax(x: HostArray, axis: int = -1) -> HostArray:
    """Logarithms of `softmax`."""
    y: HostArray = np.log(softmax(x, axis))
    return y


def softmax_backward(g: HostArray, y: HostArray, axis: int) -> HostArray:
    """The gradient of `softmax`, given its result."""
    x: HostArray = y * (g - np.sum(g * y, axis=axis, keepdims=True))
    return x


def log_softmax_backward(g: HostArray, y: HostArray, axis: int) -> HostArray:
    """The gradient of `log_softmax`, given its result."""
    x: HostArray = g - np.exp(y) * np.sum(g, axis=axis, keepdims=True)
    return x


def attention(
    q: HostArray, k: HostArray, v: HostArray, mask: HostArray | None, causal: bool, scale: float
) -> HostArray:
    """Values, weighted by the softmax of products of queries and keys."""
    scores: Any = scale * (q @ k.swapaxes(-1, -2))
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    queries, keys = scores.shape[-2:]
    if causal:
        scores = np.where(np.tri(queries, keys, keys - queries, dtype=bool), scores, -np.inf)
    e = np.exp(scores)
    total = e.sum(axis=-1, keepdims=True)
    y: HostArray = (e / np.where(total == 0, 1, total)) @ v
    return y


def cross_entropy(x: HostArray, labels: HostArray, smoothing: float, reduction: str) -> Any:
    """The cross-entropy of smoothed labels."""
    classes = x.shape[-1]
    target = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
    losses = -(target * np.log(softmax(x))).sum(axis=-1)
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def cross_entropy_backward(
    g: HostArray, p: HostArray, labels: HostArray, smoothing: float, reduction: str
) -> HostArray:
    """The gradient of `cross_entropy`, given its probabilities."""
    classes = p.shape[-1]
    target = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
    scale = g[..., None] if reduction == "none" else g
    x: HostArray = (p - target) * scale / (max(labels.size, 1) if reduction == "mean" else 1)
    return x


def _over(x: HostArray, axes: int) -> tuple[int, ...]:
    """The last axes."""
    return tuple(range(x.ndim - axes, x.ndim))


def layer_norm(
    x: HostArray, weight: HostArray | None, bias: HostArray | None, axes: int, eps: float
) -> HostArray:
    """Zero mean and unit variance, scaled and shifted."""
    over = _over(x, axes)
    centred = x - x.mean(axis=over, keepdims=True)
    y: HostArray = centred / np.sqrt(x.var(axis=over, keepdims=True) + eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def layer_norm_backward(g: HostArray, normal: HostArray, scale: HostArray, axes: int) -> HostArray:
    """The gradient of the normalisation."""
    over = _over(g, axes)
    mean = g.mean(axis=over, keepdims=True)
    x: HostArray = scale * (g - mean - normal * (g * normal).mean(axis=over, keepdims=True))
    return x


def rms_norm(x: HostArray, weight: HostArray | None, axes: int, eps: float) -> HostArray:
    """Unit root mean square, scaled."""
    square = (x * x).mean(axis=_over(x, axes), keepdims=True)
    y: HostArray = x / np.sqrt(square + eps)
    return y if weight is None else y * weight


def rms_norm_backward(g: HostArray, normal: HostArray, scale: HostArray, axes: int) -> HostArray:
    """The gradient of the normalisation."""
    along = (g * normal).mean(axis=_over(g, axes), keepdims=True)
    x: HostArray = scale * (g - normal * along)
    return x


def batch_norm(
    x: HostArray, weight: HostArray | None, bias: HostArray | None, eps: float
) -> HostArray:
    """Zero mean and unit variance of each channel, scaled and shifted."""
    over = (0, *range(2, x.ndim))
    centred = x - x.mean(axis=over, keepdims=True)
    y: HostArray = centred / np.sqrt(x.var(axis=over, keepdims=True) + eps)
    gain, shift = (
        start if each is None else each.reshape(-1, *(1,) * (x.ndim - 2))
        for each, start in ((weight, 1), (bias, 0))
    )
    return y * gain + shift


def recurrence(
    z: HostArray,
    initial: HostArray,
    weight: HostArray,
    bias: HostArray | None,
    mask: HostArray | None,
    cell: str,
    reverse: bool,
) -> HostArray:
    """Step after step, as the equations say."""
    shift: Any = 0 if bias is None else bias
    out = np.empty((len(initial), len(z), *initial.shape[1:]), z.dtype)
    state: Any = initial
    there: Any = np.ones(z.shape[:2], bool) if mask is None else mask
    for t in range(len(z))[:: -1 if reverse else 1]:
        state = _chosen(there[t], _cell(cell, z[t], state[0] @ weight.T + shift, state), state)
        out[:, t] = state
    return out


def _chosen(there: Any, after: Any, before: Any) -> Any:
    return there[:, None] * after + ~there[:, None] * before


def _cell(cell: str, z: Any, q: Any, state: Any) -> Any:
    if cell == "lstm":
        i, f, g, o = _split(z + q, 4)
        c = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
        return np.stack([_sigmoid(o) * np.tanh(c), c])
    if cell == "gru":
        (zr, zu, zn), (qr, qu, qn) = _split(z, 3), _split(q, 3)
        u, n = _sigmoid(zu + qu), np.tanh(zn + _sigmoid(zr + qr) * qn)
        return np.stack([(1 - u) * n + u * state[0]])
    return np.stack([np.tanh(z + q) if cell == "tanh" else np.maximum(z + q, 0)])


def _split(x: Any, count: int) -> Any:
    return np.split(x, count, axis=-1)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


# -- images --------------------------------------------------------------------------------


def _padded(x: HostArray, padding: Pair, value: float = 0.0) -> HostArray:
    (ph, pw) = padding
    return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=value)


def _places(size: tuple[int, ...], window: Window) -> list[range]:
    """The first element of each window, along height and width of a padded image."""
    return [
        range(0, n - d * (k - 1), s)
        for n, k, s, d in zip(size, window.kernel, window.stride, window.dilation, strict=True)
    ]


def _patches(x: HostArray, window: Window, value: float = 0.0) -> HostArray:
    """Every window, shape (N, C, kernel height, kernel width, rows, columns)."""
    padded = _padded(x, window.padding, value)
    rows, columns = _places(padded.shape[2:], window)
    (kh, kw), (dh, dw) = window.kernel, window.dilation
    out = np.empty((*x.shape[:2], kh, kw, len(rows), len(columns)), x.dtype)
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            patch = padded[:, :, top : top + dh * kh : dh, left : left + dw * kw : dw]
            out[..., i, j] = patch[:, :, :kh, :kw]
    return out


def unfold(x: HostArray, window: Window) -> HostArray:
    """The windows as columns."""
    patches = _patches(x, window)
    n, c, kh, kw, rows, columns = patches.shape
    return patches.reshape(n, c, kh * kw, rows * columns)


def fold(columns: HostArray, size: Pair, window: Window) -> HostArray:
    """Columns added up where their windows were."""
    (kh, kw), _, (ph, pw), (dh, dw) = window
    n, c = columns.shape[:2]
    padded = np.zeros((n, c, size[0] + 2 * ph, size[1] + 2 * pw), columns.dtype)
    rows, cols = _places(padded.shape[2:], window)
    taps = columns.reshape(n, c, kh, kw, len(rows), len(cols))
    for i, top in enumerate(rows):
        for j, left in enumerate(cols):
            for k in range(kh):
                for m in range(kw):
                    padded[:, :, top + k * dh, left + m * dw] += taps[:, :, k, m, i, j]
    return padded[:, :, ph : ph + size[0], pw : pw + size[1]]


def conv2d(
    x: HostArray,
    weight: HostArray,
    bias: HostArray | None,
    window: Window,
    groups: int,
) -> HostArray:
    """Each window times each filter of its group."""
    patches = _patches(x, window)
    outputs, inputs = weight.shape[0] // groups, x.shape[1] // groups
    out = np.zeros((x.shape[0], weight.shape[0], *patches.shape[4:]), x.dtype)
    for o in range(weight.shape[0]):
        first = o // outputs * inputs
        group = patches[:, first : first + inputs]
        out[:, o] = (group * weight[o][None, ..., None, None]).sum(axis=(1, 2, 3))
    return out if bias is None else out + bias[:, None, None]


def max_pool2d(x: HostArray, window: Window) -> HostArray:
    """The largest element of each window."""
    patches = _patches(x, window, -math.inf)
    largest: HostArray = patches.max(axis=(2, 3))
    return largest


def max_pool2d_backward(g: HostArray, x: HostArray, window: Window) -> HostArray:
    """The gradient of each window, given to its largest element."""
    patches = _patches(x, window, -math.inf)
    chosen = patches == patches.max(axis=(2, 3), keepdims=True)
    n, c, kh, kw, rows, columns = patches.shape
    taps = (chosen * g[:, :, None, None]).reshape(n, c, kh * kw, rows * columns)
    return fold(taps, (x.shape[2], x.shape[3]), window)


def avg_pool2d(x: HostArray, window: Window) -> HostArray:
    """The mean of each window, zeros of the padding counted."""
    mean: HostArray = _patches(x, window).mean(axis=(2, 3))
    return mean
