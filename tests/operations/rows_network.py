"""Matrix products, softmax and its company, normalisation, dropout."""

from __future__ import annotations

from typing import Final

import numpy as np

from born.backend import Backend, Reduction
from born.raw import HostArray, RawTensor, Shape
from tests.operations import naive
from tests.operations.drawing import Case, Draw
from tests.operations.row import Derivative, Table

ROWS: Final = Table()

REDUCTIONS: Final[tuple[Reduction, ...]] = ("mean", "sum", "none")
SEED: Final = 7
EPS: Final = 1e-2
"""Large, so that it shows when a normalisation forgets it."""


@ROWS.row("matmul", integers=True)
def _matmul(d: Draw) -> Case:
    m, k, n = (d.choice(d.lengths) for _ in range(3))
    left, right = d.broadcasting(2)
    x_shape: Shape = (k,) if d.flag() else (*left, m, k)
    y_shape: Shape = (k,) if d.flag() else (*right, k, n)
    return Case((d.uniform(x_shape), d.uniform(y_shape)), lambda b, x, y: b.matmul(x, y), np.matmul)


@ROWS.row("linear", integers=True)
def _linear(d: Draw) -> Case:
    x = d.uniform(d.shape(1))
    outputs = d.choice(d.lengths)
    weight, bias = d.uniform((outputs, x.shape[-1])), d.uniform((outputs,))
    if d.flag():
        return Case(
            (x, weight, bias), lambda b, x, w, c: b.linear(x, w, c), lambda x, w, c: x @ w.T + c
        )
    return Case((x, weight), lambda b, x, w: b.linear(x, w), lambda x, w: x @ w.T)


@ROWS.row("linear_relu", integers=True)
def _linear_relu(d: Draw) -> Case:
    x = d.uniform(d.shape(1))
    outputs = d.choice(d.lengths)
    weight, bias = d.uniform((outputs, x.shape[-1])), d.uniform((outputs,))
    if d.flag():
        return Case(
            (x, weight, bias),
            lambda b, x, w, c: b.linear_relu(x, w, c),
            lambda x, w, c: np.maximum(x @ w.T + c, 0),
        )
    return Case(
        (x, weight), lambda b, x, w: b.linear_relu(x, w), lambda x, w: np.maximum(x @ w.T, 0)
    )


@ROWS.row("softmax")
def _softmax(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    return Case(
        (d.uniform(shape),), lambda b, x: b.softmax(x, axis), lambda x: naive.softmax(x, axis)
    )


@ROWS.row("log_softmax")
def _log_softmax(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    return Case(
        (d.uniform(shape),),
        lambda b, x: b.log_softmax(x, axis),
        lambda x: np.log(naive.softmax(x, axis)),
    )


@ROWS.row("softmax_backward", derivative=Derivative.COMPOSED)
def _softmax_backward(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    return Case(
        (d.uniform(shape), d.uniform(shape, 0.0, 1.0)),
        lambda b, g, y: b.softmax_backward(g, y, axis),
        lambda g, y: y * (g - np.sum(g * y, axis=axis, keepdims=True)),
    )


@ROWS.row("log_softmax_backward", derivative=Derivative.COMPOSED)
def _log_softmax_backward(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    return Case(
        (d.uniform(shape), d.uniform(shape)),
        lambda b, g, y: b.log_softmax_backward(g, y, axis),
        lambda g, y: g - np.exp(y) * np.sum(g, axis=axis, keepdims=True),
    )


def _labelled(d: Draw) -> tuple[Shape, HostArray]:
    """A shape of logits, and labels for them."""
    classes = max(d.choice(d.lengths), 1)
    rows = d.shape(most=2)
    labels = d.integers(rows, classes, d.choice(("int64", "int32", "uint8")))
    return (*rows, classes), labels


@ROWS.row("cross_entropy")
def _cross_entropy(d: Draw) -> Case:
    shape, labels = _labelled(d)
    smoothing, reduction = d.choice((0.0, 0.1, 1.0)), d.choice(REDUCTIONS)
    return Case(
        (d.uniform(shape),),
        lambda b, x: b.cross_entropy(x, b.from_numpy(labels), smoothing, reduction)[0],
        lambda x: naive.cross_entropy(x, labels, smoothing, reduction),
    )


@ROWS.row("cross_entropy_backward", derivative=Derivative.COMPOSED)
def _cross_entropy_backward(d: Draw) -> Case:
    shape, labels = _labelled(d)
    smoothing, reduction = d.choice((0.0, 0.1, 1.0)), d.choice(REDUCTIONS)
    g = d.uniform(labels.shape if reduction == "none" else ())

    return Case(
        (g, d.uniform(shape, 0.0, 1.0)),
        lambda b, g, p: b.cross_entropy_backward(g, p, b.from_numpy(labels), smoothing, reduction),
        lambda g, p: naive.cross_entropy_backward(g, p, labels, smoothing, reduction),
    )


def _normalised(d: Draw) -> tuple[HostArray, int]:
    """A tensor and over how many of its last axes to normalise."""
    shape = d.shape(1)
    return d.uniform(shape), d.integer(1, len(shape))


@ROWS.row("layer_norm")
def _layer_norm(d: Draw) -> Case:
    x, axes = _normalised(d)
    inner = x.shape[x.ndim - axes :]
    weight, bias = d.uniform(inner, 0.5, 2.0), d.uniform(inner)
    form = d.choice(("plain", "weight", "bias", "both"))
    if form == "plain":
        return Case(
            (x,),
            lambda b, x: b.layer_norm(x, None, None, axes, EPS)[0],
            lambda x: naive.layer_norm(x, None, None, axes, EPS),
        )
    if form == "weight":
        return Case(
            (x, weight),
            lambda b, x, w: b.layer_norm(x, w, None, axes, EPS)[0],
            lambda x, w: naive.layer_norm(x, w, None, axes, EPS),
        )
    if form == "bias":
        return Case(
            (x, bias),
            lambda b, x, c: b.layer_norm(x, None, c, axes, EPS)[0],
            lambda x, c: naive.layer_norm(x, None, c, axes, EPS),
        )
    return Case(
        (x, weight, bias),
        lambda b, x, w, c: b.layer_norm(x, w, c, axes, EPS)[0],
        lambda x, w, c: naive.layer_norm(x, w, c, axes, EPS),
    )


@ROWS.row("rms_norm")
def _rms_norm(d: Draw) -> Case:
    x, axes = _normalised(d)
    if d.flag():
        weight = d.uniform(x.shape[x.ndim - axes :], 0.5, 2.0)
        return Case(
            (x, weight),
            lambda b, x, w: b.rms_norm(x, w, axes, EPS)[0],
            lambda x, w: naive.rms_norm(x, w, axes, EPS),
        )
    return Case(
        (x,),
        lambda b, x: b.rms_norm(x, None, axes, EPS)[0],
        lambda x: naive.rms_norm(x, None, axes, EPS),
    )


def _residuals(d: Draw) -> tuple[tuple[HostArray, HostArray, HostArray], int]:
    """A gradient, something normalised and a scale for each row, and the number of axes."""
    x, axes = _normalised(d)
    kept = (*x.shape[: x.ndim - axes], *(1,) * axes)
    return (d.uniform(x.shape), x, d.uniform(kept)), axes


@ROWS.row("layer_norm_backward", derivative=Derivative.COMPOSED)
def _layer_norm_backward(d: Draw) -> Case:
    inputs, axes = _residuals(d)
    return Case(
        inputs,
        lambda b, g, normal, scale: b.layer_norm_backward(g, normal, scale, axes),
        lambda g, normal, scale: naive.layer_norm_backward(g, normal, scale, axes),
    )


@ROWS.row("rms_norm_backward", derivative=Derivative.COMPOSED)
def _rms_norm_backward(d: Draw) -> Case:
    inputs, axes = _residuals(d)
    return Case(
        inputs,
        lambda b, g, normal, scale: b.rms_norm_backward(g, normal, scale, axes),
        lambda g, normal, scale: naive.rms_norm_backward(g, normal, scale, axes),
    )


@ROWS.row("dropout")
def _dropout(d: Draw) -> Case:
    shape, p = d.shape(), d.choice((0, 0.3, 0.5, 1))

    def apply(b: Backend, x: RawTensor) -> RawTensor:
        b.seed(SEED)
        return b.dropout(x, p)[0]

    return Case((d.uniform(shape),), apply)
