"""Losses beside `ops.cross_entropy`, and the accuracy of a classifier.

Predictions come first, then targets of the same shape and dtype: nothing is broadcast.
`reduction` says what becomes of the losses of the elements: `"mean"` (the default) and `"sum"`
give a scalar, `"none"` leaves them as they are, and another is a `DomainError`.
"""

from __future__ import annotations

import math
from typing import get_args

from born import ops
from born.backend import B, Reduction
from born.backend.arguments import check_floating
from born.errors import DomainError, DTypeError, ShapeError
from born.tensor import Tensor
from born.validation import choice, number


def mse_loss(
    predictions: Tensor[B], targets: Tensor[B], reduction: Reduction = "mean"
) -> Tensor[B]:
    """(prediction - target)^2.

    >>> mse_loss(born.tensor([1.0, 2.0], backend), born.tensor([1.0, 4.0], backend)).item()
    2.0
    """
    residuals = _residuals("mse_loss", predictions, targets)
    return _reduced(residuals * residuals, reduction)


def l1_loss(predictions: Tensor[B], targets: Tensor[B], reduction: Reduction = "mean") -> Tensor[B]:
    """|prediction - target|.

    >>> l1_loss(born.tensor([1.0, 2.0], backend), born.tensor([1.0, 4.0], backend)).item()
    1.0
    """
    return _reduced(ops.abs(_residuals("l1_loss", predictions, targets)), reduction)


def huber_loss(
    predictions: Tensor[B], targets: Tensor[B], delta: float = 1.0, reduction: Reduction = "mean"
) -> Tensor[B]:
    """r^2/2 where |r| <= delta, delta (|r| - delta/2) beyond, r = prediction - target.

    A square for small errors and a line for large ones, so that outliers pull less.

    Args:
        predictions: of any shape.
        targets: of that shape.
        delta: where the line begins, a positive number in the units of r.
        reduction: as for every loss.

    Source: Huber (1964), "Robust Estimation of a Location Parameter".

    >>> targets = born.zeros((2,), backend)
    >>> huber_loss(born.tensor([1.0, 4.0], backend), targets, reduction="none").numpy().tolist()
    [0.5, 3.5]
    """
    number("delta", delta, low=math.ulp(0.0))
    distance = ops.abs(_residuals("huber_loss", predictions, targets))
    # Both branches at once: c (|r| - c/2) with c = min(|r|, delta).
    near = ops.clamp(distance, high=delta)
    return _reduced(near * (distance - near * 0.5), reduction)


def binary_cross_entropy_with_logits(
    logits: Tensor[B], targets: Tensor[B], reduction: Reduction = "mean"
) -> Tensor[B]:
    """-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)).

    It is computed as t softplus(-x) + (1 - t) softplus(x), which neither overflows nor loses
    the small losses of confident predictions.

    Args:
        logits: x, of any shape, unnormalised.
        targets: t, probabilities from 0 to 1; their range is not checked.
        reduction: as for every loss.

    >>> logits, targets = born.tensor([0.0, 100.0], backend), born.tensor([1.0, 1.0], backend)
    >>> binary_cross_entropy_with_logits(logits, targets, reduction="sum").item()
    0.693...
    """
    _check_alike("binary_cross_entropy_with_logits", logits, targets)
    positive = targets * ops.softplus(-logits)
    return _reduced(positive + (1.0 - targets) * ops.softplus(logits), reduction)


def accuracy(logits: Tensor[B], labels: Tensor[B]) -> float:
    """The share, from 0 to 1, of rows whose largest logit is the label's; NaN without rows.

    Args:
        logits: of shape `(..., classes)`; probabilities work as well.
        labels: integers of shape `(...)`.

    >>> logits = born.tensor([[0.1, 0.9], [0.8, 0.2]], backend)
    >>> accuracy(logits, born.tensor(np.array([1, 1]), backend))
    0.5
    """
    if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
        raise ShapeError(
            f"expected labels of shape {logits.shape[:-1]} for logits of shape {logits.shape} "
            f"(classes last), got {labels.shape}; pass one label for each row of logits"
        )
    if labels.dtype.kind not in "iu":
        raise DTypeError(
            f'expected integer class labels, got {labels.dtype}; convert them with .astype("int64")'
        )
    if labels.size == 0:
        return math.nan
    hits = ops.argmax(logits, axis=-1) == labels.astype("int64")
    return hits.astype("int64").sum().item() / labels.size


def _residuals(name: str, predictions: Tensor[B], targets: Tensor[B]) -> Tensor[B]:
    _check_alike(name, predictions, targets)
    return predictions - targets


def _check_alike(name: str, predictions: Tensor[B], targets: Tensor[B]) -> None:
    # (n,) and (n, 1) would broadcast to (n, n), the classic silent mistake.
    if predictions.shape != targets.shape:
        raise ShapeError(
            f"expected targets of the shape of the predictions, {predictions.shape}, got "
            f"{targets.shape}; reshape one of them"
        )
    for tensor in (predictions, targets):
        check_floating(name, tensor.raw)


def _reduced(losses: Tensor[B], reduction: Reduction) -> Tensor[B]:
    if choice("reduction", reduction, get_args(Reduction), DomainError) == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()
