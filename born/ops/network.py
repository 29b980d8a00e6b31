"""Softmax, losses, normalisation and dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from born.backend import B, Backend, CellName, Reduction
from born.backend.arguments import check_floating
from born.dtypes import bool_, is_floating
from born.errors import DomainError, DTypeError, OperandError, ShapeError
from born.fusion import sqrt
from born.operands import backend_of, optional_operand, raw_operand
from born.ops.fused import fused
from born.ops.losses import composed_cross_entropy
from born.ops.windowed import windowed, with_dropout
from born.raw import RawTensor, Shape
from born.tensor import Tensor
from born.validation import integer


def softmax(x: Tensor[B], axis: int = -1) -> Tensor[B]:
    """Probabilities from logits, shifted so that nothing overflows.

        y_i = e^(x_i) / sum_j e^(x_j)

    >>> ops.softmax(born.tensor([1000.0, 1000.0], backend))
    Tensor([0.5, 0.5], dtype=float32)
    """
    return Tensor(backend_of("softmax", x).softmax(x.raw, axis), x.backend)


def log_softmax(x: Tensor[B], axis: int = -1) -> Tensor[B]:
    """Log-probabilities from logits, by the shifted log-sum-exp.

        y_i = x_i - log(sum_j e^(x_j))

    >>> ops.log_softmax(born.tensor([0.0, 1000.0], backend))
    Tensor([-1000.,     0.], dtype=float32)
    """
    return Tensor(backend_of("log_softmax", x).log_softmax(x.raw, axis), x.backend)


def attention(
    q: Tensor[B],
    k: Tensor[B],
    v: Tensor[B],
    mask: Tensor[B] | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    dropout: float = 0.0,
) -> Tensor[B]:
    """Scaled dot-product attention (Vaswani et al., 2017, arXiv:1706.03762, equation 1).

        y = softmax(scale q k^T + mask) v

    It never holds the scores of all heads at once on a CPU, and keeps none for the backward pass,
    unless there is dropout.

    Args:
        q: queries, shape (..., heads, T, D); leading axes broadcast.
        k: keys, shape (..., heads or a divisor of them, S, D). With fewer heads than q, each
            serves several of q's in turn (grouped queries).
        v: values, shape (..., as many heads as k, S, E).
        mask: shape (..., T, S), or one that broadcasts to it: of bools, True for what takes part,
            or of q's dtype, to be added.
        causal: whether the last query sees all keys, the one before all but the last, and so on.
            PyTorch aligns the first query with the first key, the same where T = S.
        scale: 1 / sqrt(D) by default.
        window: how far a query sees: its own key, at the place that `causal` gives it, and those
            less than this away (Beltagy, Peters and Cohan, 2020, arXiv:2004.05150, section 3.1).
            Time and memory of long sequences grow with T times this. All by default.
        dropout: the probability of zero for each weight, as `ops.dropout`; the weights of all
            heads are then held.

    Returns:
        shape (..., heads, T, E). A query that sees no key gets zeros.

    >>> x = born.tensor([[[1.0, 0.0], [0.0, 2.0]]], backend)
    >>> ops.attention(x, x, x, causal=True)[0, 0]
    Tensor([1., 0.], dtype=float32)
    """
    backend = backend_of("attention", q)
    queries, keys = q.raw, raw_operand("attention", backend, k)
    values = raw_operand("attention", backend, v)
    over = optional_operand("attention", backend, mask)
    _check_attention(q, k, v, mask)
    factor: float = max(queries.shape[-1], 1) ** -0.5 if scale is None else float(scale)
    if window is not None:
        reach = integer("window", window, error=DomainError)
        return windowed(attention, q, k, v, mask, causal, reach, scale=factor, dropout=dropout)
    if dropout:
        return with_dropout(q, k, v, mask, causal, factor, dropout)
    heads, groups = [shape[-3] if len(shape) > 2 else 1 for shape in (queries.shape, keys.shape)]
    if groups in (1, heads):
        y, _ = backend.attention(queries, keys, values, over, causal, factor)
        return Tensor(y, backend)
    # An axis for the queries that share a key.
    queries = _grouped(backend, queries, groups)
    keys, values = backend.expand_dims(keys, -3), backend.expand_dims(values, -3)
    if over is not None and over.ndim > 1:
        shared = over.ndim < 3 or over.shape[-3] == 1
        over = backend.expand_dims(over, -3) if shared else _grouped(backend, over, groups)
    y, _ = backend.attention(queries, keys, values, over, causal, factor)
    return Tensor(backend.reshape(y, (*y.shape[:-4], heads, *y.shape[-2:])), backend)


def _grouped(backend: Backend, x: RawTensor, groups: int) -> RawTensor:
    """(..., heads, n, m) as (..., groups, heads / groups, n, m)."""
    heads, *matrix = x.shape[-3:]
    return backend.reshape(x, (*x.shape[:-3], groups, heads // groups, *matrix))


def _check_attention(q: Tensor[B], k: Tensor[B], v: Tensor[B], mask: Tensor[B] | None) -> None:
    a, b, c = q.raw.shape, k.raw.shape, v.raw.shape
    if min(len(a), len(b), len(c)) < 2 or a[-1] != b[-1] or b[-2] != c[-2]:
        raise ShapeError(
            "expected queries (..., T, D), keys (..., S, D) and values (..., S, E) in attention, "
            f"got {a}, {b} and {c}; transpose or reshape them"
        )
    heads, groups, others = [shape[-3] if len(shape) > 2 else 1 for shape in (a, b, c)]
    if groups != others or (groups and heads % groups and heads != 1):
        raise ShapeError(
            "expected as many heads of keys as of values in attention, and a multiple of them of "
            f"queries, got {a}, {b} and {c}; the heads are the third axis from the end"
        )
    over = () if mask is None else mask.raw.shape
    if not _broadcast((a[:-3], b[:-3], c[:-3], over[:-3]), (over[-3:], (heads, a[-2], b[-2]))):
        raise ShapeError(
            "expected leading axes and a mask that broadcast to (..., heads, T, S) in attention, "
            f"got queries {a}, keys {b}, values {c} and a mask {over}; reshape or transpose them"
        )
    dtype = q.raw.dtype
    if mask is None and dtype == k.raw.dtype == v.raw.dtype:
        return
    for other in (k, v) if mask is None or mask.dtype == bool_ else (k, v, mask):
        if other.dtype != dtype:
            raise DTypeError(
                f"expected one dtype in attention, got {dtype} and {other.dtype}; convert one "
                f'with .astype("{dtype}")'
            )


def _broadcast(leading: Sequence[Shape], scores: tuple[Shape, Shape]) -> bool:
    """Whether leading axes broadcast, and a mask to the scores that follow; heads to any number."""
    mask, sizes = scores
    try:
        np.broadcast_shapes(*leading)
        whole = np.broadcast_shapes(mask, sizes)
    except ValueError:
        return False
    return whole[1:] == sizes[1:] and sizes[0] in (1, whole[0])


def recurrence(
    z: Tensor[B],
    initial: Tensor[B],
    weight: Tensor[B],
    bias: Tensor[B] | None = None,
    mask: Tensor[B] | None = None,
    *,
    cell: CellName = "tanh",
    reverse: bool = False,
) -> Tensor[B]:
    """All states of a recurrent cell, from what the inputs give to its gates.

        h_t = cell(z_t, h_(t-1) W^T + b)

    z of all steps is one product, `ops.linear(x, W_x, b_x)`, and this does the rest: `nn.LSTM` and
    its kind are made of it, and their docstrings hold the equations of the cells.

    Args:
        z: shape (steps, batch, gates width), for 4 gates of an LSTM, 3 of a GRU and one of others.
        initial: the states before the first step, shape (states, batch, width): h and c of an
            LSTM, h of others.
        weight: W, shape (gates width, width).
        bias: b, shape (gates width,); none by default.
        mask: bools of shape (steps, batch): at a step that is not there, the states stay.
        cell: `"tanh"` or `"relu"`, of a plain network, `"lstm"` or `"gru"`.
        reverse: whether the last step comes first.

    Returns:
        shape (states, steps, batch, width): the states after each step.

    >>> z, h = born.ones((3, 1, 1), backend), born.zeros((1, 1, 1), backend)
    >>> w = born.ones((1, 1), backend)
    >>> ops.recurrence(z, h, w, cell="relu").reshape(3)
    Tensor([1., 2., 3.], dtype=float32)
    """
    backend = backend_of("recurrence", z)
    h, w = raw_operand("recurrence", backend, initial), raw_operand("recurrence", backend, weight)
    b = optional_operand("recurrence", backend, bias)
    there = optional_operand("recurrence", backend, mask)
    states, _ = backend.recurrence(z.raw, h, w, b, there, cell, reverse)
    return Tensor(states, backend)


def cross_entropy(
    logits: Tensor[B],
    labels: Tensor[B],
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    *,
    ignore_index: int | None = None,
    weight: Tensor[B] | None = None,
) -> Tensor[B]:
    """The cross-entropy of class labels, or of probabilities, under softmax(logits).

        loss_n = -sum_c w_c q_nc log(softmax(logits_n)_c)

    where q is 1 at the label, mixed with `label_smoothing` of the uniform distribution
    (Szegedy et al., 2016, arXiv:1512.00567, section 7). With weights the mean is over the
    sum of the labels' weights, as in PyTorch. A class of weight or probability 0 adds nothing,
    even with a logit of -inf, for which PyTorch has NaN.

    Args:
        logits: shape (..., classes), floating. The classes are the last axis; in
            PyTorch they are the second.
        labels: shape (...), integers from 0 to classes - 1; or q itself, of the shape and
            dtype of `logits`, whose sums are not checked.
        label_smoothing: from 0, the default, to 1. 0.1 keeps a classifier from becoming
            too sure.
        reduction: `"mean"` by default, `"sum"`, or `"none"` for one loss a label.
        ignore_index: a label that stands for none, such as -100: its loss is 0, whatever its
            logits are, and the mean does not count it; that of no label is NaN. By default every
            label counts.
        weight: w, of shape (classes,), for classes that are rare or matter more; 1 by default.

    Raises:
        DTypeError: labels that are neither integers nor of the dtype of the logits.
        ShapeError: labels or weights of another shape.
        IndexOutOfRangeError: a label that names no class.

    >>> logits = born.tensor([[0.0, 0.0]], backend)
    >>> ops.cross_entropy(logits, born.tensor([1], backend, dtype="int64"))
    Tensor(0.6931472, dtype=float32)
    """
    backend = backend_of("cross_entropy", logits)
    classes = raw_operand("cross_entropy", backend, labels)
    soft = classes.array.ndim == logits.raw.array.ndim and is_floating(classes.array.dtype)
    if soft or ignore_index is not None or weight is not None:
        check_floating("cross_entropy", logits.raw)
        return composed_cross_entropy(
            logits, labels, label_smoothing, reduction, ignore_index, weight
        )
    loss, _ = backend.cross_entropy(logits.raw, classes, label_smoothing, reduction)
    return Tensor(loss, backend)


def layer_norm(
    x: Tensor[B],
    weight: Tensor[B] | None = None,
    bias: Tensor[B] | None = None,
    *,
    axes: int = 1,
    eps: float = 1e-5,
) -> Tensor[B]:
    """Layer normalisation (Ba et al., 2016, arXiv:1607.06450).

        y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias

    Args:
        x: a floating tensor.
        weight: of the shape of the last `axes` axes of `x`; 1 by default.
        bias: of that shape; 0 by default.
        axes: how many trailing axes to normalise over, 1 by default.
        eps: keeps the root away from zero; 1e-5 by default.

    >>> ops.layer_norm(born.tensor([[1.0, 1.0]], backend))
    Tensor([[0., 0.]], dtype=float32)
    """
    backend = backend_of("layer_norm", x)
    w, b = (
        optional_operand("layer_norm", backend, weight),
        optional_operand("layer_norm", backend, bias),
    )
    _check_trailing(x, weight, axes)
    _check_trailing(x, bias, axes)
    return Tensor(backend.layer_norm(x.raw, w, b, axes, eps)[0], backend)


def rms_norm(
    x: Tensor[B], weight: Tensor[B] | None = None, *, axes: int = 1, eps: float = 1e-6
) -> Tensor[B]:
    """Root-mean-square normalisation (Zhang and Sennrich, 2019, arXiv:1910.07467).

        y = x / sqrt(mean(x^2) + eps) * weight                 arguments as for `layer_norm`

    >>> ops.rms_norm(born.tensor([[2.0, -2.0]], backend))
    Tensor([[ 0.9999999, -0.9999999]], dtype=float32)
    """
    backend = backend_of("rms_norm", x)
    w = optional_operand("rms_norm", backend, weight)
    _check_trailing(x, weight, axes)
    return Tensor(backend.rms_norm(x.raw, w, axes, eps)[0], backend)


def batch_norm(
    x: Tensor[B],
    weight: Tensor[B] | None = None,
    bias: Tensor[B] | None = None,
    *,
    mean: Tensor[B] | None = None,
    variance: Tensor[B] | None = None,
    eps: float = 1e-5,
) -> Tensor[B]:
    """Batch normalisation (Ioffe and Szegedy, 2015, arXiv:1502.03167, algorithms 1 and 2).

        y = (x - mean) / sqrt(variance + eps) * weight + bias

    Args:
        x: shape (batch, channels, ...), floating.
        weight: shape (channels,); 1 by default.
        bias: shape (channels,); 0 by default.
        mean: shape (channels,), such as a running mean; by default that of `x` over all axes but
            the second.
        variance: the same, given together with `mean`; by default that of `x`, which divides by
            the number of elements.
        eps: keeps the root away from zero; 1e-5 by default.

    >>> ops.batch_norm(born.tensor([[1.0, 5.0], [3.0, 5.0]], backend)).numpy().round(3)
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """
    backend = backend_of("batch_norm", x)
    for each in (weight, bias, mean, variance):
        _check_channels("batch_norm", x, each)
    if (mean is None) != (variance is None):
        raise OperandError(
            "expected a mean and a variance in batch_norm, or neither, got one of them; pass both, "
            "or none for those of x"
        )
    if mean is not None and variance is not None:
        ndim, one = x.ndim, 1.0 if weight is None else weight
        scale = _of_channels(_gain(one, variance, eps=eps), ndim)
        shift = 0.0 if bias is None else _of_channels(bias, ndim)
        return _shifted(x, _of_channels(mean, ndim), scale, shift)
    w = optional_operand("batch_norm", backend, weight)
    b = optional_operand("batch_norm", backend, bias)
    return Tensor(backend.batch_norm(x.raw, w, b, eps)[0], backend)


def group_norm(
    x: Tensor[B],
    groups: int,
    weight: Tensor[B] | None = None,
    bias: Tensor[B] | None = None,
    *,
    eps: float = 1e-5,
) -> Tensor[B]:
    """Group normalisation (Wu and He, 2018, arXiv:1803.08494): layer normalisation in groups.

        y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias

    with mean and variance over each group of channels of each element of the batch.

    Args:
        x: shape (batch, channels, ...), floating.
        groups: a divisor of the number of channels. As many groups as channels is instance
            normalisation; one group normalises over all channels.
        weight: shape (channels,); 1 by default.
        bias: shape (channels,); 0 by default.
        eps: keeps the root away from zero; 1e-5 by default.

    >>> ops.group_norm(born.tensor([[1.0, 3.0, 5.0, 9.0]], backend), 2).numpy().round(3)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    for each in (weight, bias):
        _check_channels("group_norm", x, each)
    channels = x.shape[1] if x.ndim > 1 else 0
    if x.ndim < 2 or groups < 1 or channels % groups:
        raise ShapeError(
            f"expected a tensor of shape (batch, channels, ...) in group_norm, whose channels "
            f"{groups} divides, got {x.shape}; change the groups or the shape"
        )
    width = x.size // max(x.shape[0] * groups, 1) if x.size else 0
    normal = layer_norm(x.reshape(x.shape[0], groups, width), eps=eps) if x.size else x
    y = normal.reshape(*x.shape)
    if weight is None and bias is None:
        return y
    gain = 1.0 if weight is None else _of_channels(weight, x.ndim)
    return _affine(y, gain, 0.0 if bias is None else _of_channels(bias, x.ndim))


@fused
def _gain(weight: Any, variance: Any, *, eps: float) -> Any:
    return weight / sqrt(variance + eps)


@fused
def _shifted(x: Any, mean: Any, scale: Any, shift: Any) -> Any:
    return (x - mean) * scale + shift


@fused
def _affine(x: Any, scale: Any, shift: Any) -> Any:
    return x * scale + shift


def _of_channels(x: Tensor[B], ndim: int) -> Tensor[B]:
    """One element for each channel, to broadcast with a tensor of `ndim` axes."""
    return x.reshape(x.size, *(1,) * (ndim - 2))


def _check_channels(name: str, x: Tensor[B], each: Tensor[B] | None) -> None:
    optional_operand(name, backend_of(name, x), each)
    if x.ndim < 2 or (each is not None and each.shape != x.shape[1:2]):
        raise ShapeError(
            f"expected a tensor of shape (batch, channels, ...) in {name}, and one number for each "
            f"channel, got {x.shape}{'' if each is None else f' and {each.shape}'}; reshape them"
        )


def _check_trailing(x: Tensor[B], weight: Tensor[B] | None, axes: int) -> None:
    if weight is None:
        return
    shape = x.raw.shape
    if weight.raw.shape != shape[len(shape) - axes :]:
        raise ShapeError(
            f"expected a weight and bias of shape {x.shape[x.ndim - axes :]}, the last {axes} "
            f"axes of {x.shape}, got {weight.shape}; reshape them or change axes"
        )


def dropout(x: Tensor[B], p: float) -> Tensor[B]:
    """Each element zeroed with probability p, the others over 1 - p (Srivastava et al., 2014).

    It draws from the backend's generator. `born.nn.Dropout` does this in training only.

    >>> ops.dropout(born.ones(3, backend), 0.0)
    Tensor([1., 1., 1.], dtype=float32)
    """
    return Tensor(backend_of("dropout", x).dropout(x.raw, p)[0], x.backend)
