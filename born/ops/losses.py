"""What losses share: weights, labels that do not count, and reductions."""

from __future__ import annotations

import math
from typing import Any, get_args

from born.backend import B, Reduction
from born.backend.arguments import check_losses
from born.dtypes import is_floating, is_half
from born.errors import DomainError, DTypeError, ShapeError
from born.fusion import where
from born.operands import raw_operand
from born.ops import elementwise, indexing
from born.ops.fused import fused
from born.tensor import Tensor
from born.validation import choice


def counted(weight: Any, loss: Any) -> Any:
    """A loss times its weight, in a formula: what weighs 0 adds nothing, an infinite loss too."""
    return weight * where((loss != math.inf) | (weight != 0.0), loss, 0.0)


weighted = fused(counted)
"""Weights, and the losses that they stand for."""


@fused
def _expected(q: Any, weight: Any, log_p: Any, *, smoothing: float, classes: float) -> Any:
    return counted((q * (1.0 - smoothing) + smoothing / classes) * weight, -log_p)


@fused
def _mean(losses: Any, total: Any) -> Any:
    none = total == 0.0
    return where(none, math.nan, losses / where(none, 1.0, total))


def reduced(losses: Tensor[B], reduction: Reduction, total: Tensor[B] | None = None) -> Tensor[B]:
    """Losses as `reduction` says; a mean is over `total`, by default how many there are.

    A mean over a total of zero is NaN, whose gradient is zero, as where PyTorch ignores all labels.
    """
    if choice("reduction", reduction, get_args(Reduction), DomainError) == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.mean() if total is None else _mean(losses.sum(), total)


def composed_cross_entropy(
    logits: Tensor[B],
    labels: Tensor[B],
    smoothing: float,
    reduction: Reduction,
    ignored: int | None,
    weight: Tensor[B] | None,
) -> Tensor[B]:
    """`cross_entropy` of what backends do not know: weights, ignored labels and probabilities."""
    check_losses(smoothing, reduction)
    check_class_weight("cross_entropy", logits, weight)
    dtype = logits.dtype
    if is_half(dtype):  # computed in float32, and rounded once
        logits = logits.astype("float32")
        weight = None if weight is None else weight.astype("float32")
        labels = labels.astype("float32") if labels.dtype == dtype else labels
    if is_floating(labels.dtype) and labels.ndim == logits.ndim:
        losses, total = _of_probabilities(logits, labels, smoothing, ignored, weight), None
    else:
        losses, total = _of_labels(logits, labels, smoothing, ignored, weight)
    return reduced(losses, reduction, total).astype(dtype)


def _of_probabilities(
    logits: Tensor[B],
    q: Tensor[B],
    smoothing: float,
    ignored: int | None,
    weight: Tensor[B] | None,
) -> Tensor[B]:
    if q.shape != logits.shape or ignored is not None:
        got = "ignore_index beside them" if q.shape == logits.shape else f"{q.shape}"
        raise ShapeError(
            "expected probabilities of the logits' shape in cross_entropy, "
            f"{logits.shape}, and no ignore_index, got {got}; pass integer labels for that"
        )
    if q.dtype != logits.dtype:
        raise DTypeError(
            f"expected probabilities of one dtype with the logits in cross_entropy, "
            f'{logits.dtype}, got {q.dtype}; convert them with .astype("{logits.dtype}")'
        )
    return _expectation(q, weight, _log_softmax(logits), smoothing)


def _of_labels(
    logits: Tensor[B],
    labels: Tensor[B],
    smoothing: float,
    ignored: int | None,
    weight: Tensor[B] | None,
) -> tuple[Tensor[B], Tensor[B]]:
    """The losses, and what their mean divides by."""
    known, keep = known_labels(logits, labels, ignored)
    if keep is not None:  # what is ignored may be anything, NaN too
        logits = elementwise.where(keep.reshape(*keep.shape, 1), logits, 0.0)
    weights = label_weights(logits, known, keep, weight)
    if weight is None or not smoothing:
        raw, _ = logits.backend.cross_entropy(logits.raw, known.raw, smoothing, "none")
        return weighted(weights, Tensor(raw, logits.backend)), weights.sum()
    log_p = _log_softmax(logits)
    losses = weighted(weights, at_labels(log_p, known)) * (1.0 - smoothing)
    uniform = _expectation(0.0, weight, log_p, smoothing)
    losses = losses + (uniform if keep is None else elementwise.where(keep, uniform, 0.0))
    return losses, weights.sum()


def _log_softmax(logits: Tensor[B]) -> Tensor[B]:
    return Tensor(logits.backend.log_softmax(logits.raw, -1), logits.backend)


def _expectation(
    q: Tensor[B] | float, weight: Tensor[B] | None, log_p: Tensor[B], smoothing: float
) -> Tensor[B]:
    """-sum_c w_c q_c log p_c, of smoothed probabilities q."""
    classes, w = max(log_p.shape[-1], 1), 1.0 if weight is None else weight
    return _expected(q, w, log_p, smoothing=smoothing, classes=classes).sum(axis=-1)


def known_labels(
    logits: Tensor[B], labels: Tensor[B], ignored: int | None
) -> tuple[Tensor[B], Tensor[B] | None]:
    """Labels that name classes, checked, and which of them count; None if all do."""
    keep = None if ignored is None else labels != ignored
    known = labels if keep is None else elementwise.where(keep, labels, 0)
    logits.backend.check_labels(logits.raw, known.raw)
    return known, keep


def at_labels(log_p: Tensor[B], known: Tensor[B]) -> Tensor[B]:
    """-log p of each label."""
    rows = known.astype("int64").reshape(*known.shape, 1)
    return -indexing.gather(log_p, rows, axis=-1).reshape(known.shape)


def label_weights(
    log_p: Tensor[B], known: Tensor[B], keep: Tensor[B] | None, weight: Tensor[B] | None
) -> Tensor[B]:
    """The weight of each label's class, 1 by default, and 0 where it does not count."""
    backend = log_p.backend
    if weight is None:
        ones = Tensor(backend.ones(known.shape, log_p.dtype), backend)
        return ones if keep is None else keep.astype(log_p.dtype)
    weights = indexing.take(weight, known)
    return weights if keep is None else elementwise.where(keep, weights, 0.0)


def check_class_weight(name: str, x: Tensor[B], weight: Tensor[B] | None) -> None:
    """Refuse weights of another shape than that of the classes, x's last axis, or another dtype."""
    if weight is None:
        return
    raw_operand(name, x.backend, weight)
    if weight.shape != x.shape[-1:]:
        count = x.shape[-1] if x.ndim else 0
        raise ShapeError(
            f"expected a weight for each of the {count} classes in {name}, got shape "
            f"{weight.shape}; pass one of shape ({count},)"
        )
    check_weight_dtype(name, x, weight)


def check_weight_dtype(name: str, x: Tensor[B], weight: Tensor[B]) -> None:
    """Refuse weights of another dtype than the losses they stand for."""
    if weight.dtype != x.dtype:
        raise DTypeError(
            f"expected weights of one dtype with the predictions in {name}, {x.dtype}, got "
            f'{weight.dtype}; convert them with .astype("{x.dtype}")'
        )
