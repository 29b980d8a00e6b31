"""Softmax and its losses, normalisation, dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from born.backend import Backend, CellName, Reduction
from born.raw import HostArray, RawTensor, Shape
from tests.operations import naive
from tests.operations.drawing import Case, Draw
from tests.operations.row import Derivative, Table

ROWS: Final = Table()

REDUCTIONS: Final[tuple[Reduction, ...]] = ("mean", "sum", "none")
SEED: Final = 7
EPS: Final = 1e-2
"""Large, so that it shows when a normalisation forgets it."""


# -- softmax -------------------------------------------------------------------------------


def _softmax(name: str, function: Callable[..., Any], backward: Callable[..., Any]) -> None:
    @ROWS.row(name)
    def _(d: Draw) -> Case:
        x = d.uniform(d.shape(1))
        return d.call(function, x, axis=d.axis(x.ndim))

    @ROWS.row(f"{name}_backward", derivative=Derivative.COMPOSED)
    def _(d: Draw) -> Case:
        g = d.uniform(d.shape(1))
        axis = d.axis(g.ndim)
        return d.call(backward, g, function(d.uniform(g.shape), axis), axis=axis)


_softmax("softmax", naive.softmax, naive.softmax_backward)
_softmax("log_softmax", naive.log_softmax, naive.log_softmax_backward)


@ROWS.row("attention")
def _attention(d: Draw) -> Case:
    few = max(d.lengths) <= 4
    queries, keys, width = (min(d.choice(d.lengths), 300) for _ in range(3))
    depth = min(d.choice(d.lengths), 4)  # exp makes absolute errors of longer sums relative ones
    left, middle, right, over = d.broadcasting(4) if few else [(2,), (1,), (), (2,)]
    q, k = d.uniform((*left, queries, depth)), d.uniform((*middle, keys, depth))
    v = d.uniform((*right, keys, width))
    masks = (None, d.uniform((*over, queries, keys)), d.bools((*over, queries, keys)))
    return d.call(
        naive.attention, q, k, v, d.choice(masks), causal=d.flag(), scale=d.choice((1.0, 0.5))
    )


def _labelled(d: Draw) -> tuple[Shape, HostArray]:
    """A shape of logits, and labels for them."""
    *rows, classes = d.shape(1, most=3)
    labels = d.integers(tuple(rows), max(classes, 1), d.choice(("int64", "int32", "uint8")))
    return (*rows, max(classes, 1)), labels


@ROWS.row("cross_entropy")
def _cross_entropy(d: Draw) -> Case:
    shape, labels = _labelled(d)
    smoothing, reduction = d.choice((0.0, 0.1, 1.0)), d.choice(REDUCTIONS)
    return d.call(naive.cross_entropy, d.uniform(shape), labels, smoothing, reduction)


@ROWS.row("cross_entropy_backward", derivative=Derivative.COMPOSED)
def _cross_entropy_backward(d: Draw) -> Case:
    shape, labels = _labelled(d)
    smoothing, reduction = d.choice((0.0, 0.1, 1.0)), d.choice(REDUCTIONS)
    g = d.uniform(labels.shape if reduction == "none" else ())
    p = d.uniform(shape, 0.0, 1.0)
    return d.call(naive.cross_entropy_backward, g, p, labels, smoothing, reduction)


# -- normalisation -------------------------------------------------------------------------


def _normalised(d: Draw) -> tuple[HostArray, int]:
    """A tensor and over how many of its last axes to normalise."""
    shape = d.shape(1)
    return d.uniform(shape), d.integer(1, len(shape))


@ROWS.row("layer_norm")
def _layer_norm(d: Draw) -> Case:
    x, axes = _normalised(d)
    inner = x.shape[x.ndim - axes :]
    weight = d.uniform(inner, 0.5, 2.0) if d.flag() else None
    bias = d.uniform(inner) if d.flag() else None
    return d.call(naive.layer_norm, x, weight, bias, axes, EPS)


@ROWS.row("rms_norm")
def _rms_norm(d: Draw) -> Case:
    x, axes = _normalised(d)
    weight = d.uniform(x.shape[x.ndim - axes :], 0.5, 2.0) if d.flag() else None
    return d.call(naive.rms_norm, x, weight, axes, EPS)


def _norm_backward(name: str, function: Callable[..., Any]) -> None:
    @ROWS.row(name, derivative=Derivative.COMPOSED)
    def _(d: Draw) -> Case:
        normal, axes = _normalised(d)
        rows = (*normal.shape[: normal.ndim - axes], *(1,) * axes)
        return d.call(function, d.uniform(normal.shape), normal, d.uniform(rows), axes)


_norm_backward("layer_norm_backward", naive.layer_norm_backward)
_norm_backward("rms_norm_backward", naive.rms_norm_backward)


@ROWS.row("batch_norm")
def _batch_norm(d: Draw) -> Case:
    x = d.uniform(d.shape(2))
    weight = d.uniform(x.shape[1:2], 0.5, 2.0) if d.flag() else None
    bias = d.uniform(x.shape[1:2]) if d.flag() else None
    return d.call(naive.batch_norm, x, weight, bias, EPS)


CELLS: Final[dict[CellName, int]] = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}


@ROWS.row("recurrence")
def _recurrence(d: Draw) -> Case:
    cell = d.choice(tuple(CELLS))
    steps, batch, width = (min(d.choice(d.lengths), 40) for _ in range(3))
    gates = CELLS[cell] * width
    reach = 1 / max(width, 1)  # so that a long sum of one cell is no larger than another's
    return d.call(
        naive.recurrence,
        d.uniform((steps, batch, gates)),
        d.uniform((2 if cell == "lstm" else 1, batch, width), -1.0, 1.0),
        d.uniform((gates, width), -reach, reach),
        d.uniform((gates,)) if d.flag() else None,
        d.bools((steps, batch)) if d.flag() else None,
        cell=cell,
        reverse=d.flag(),
    )


@ROWS.row("dropout")
def _dropout(d: Draw) -> Case:
    shape, p = d.shape(), d.choice((0, 0.3, 0.5, 1))

    def apply(b: Backend, x: RawTensor) -> RawTensor:
        b.seed(SEED)
        return b.dropout(x, p)[0]

    return Case((d.uniform(shape),), apply)
