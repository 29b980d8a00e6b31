"""Losses beside `ops.cross_entropy`, and the accuracy of a classifier.

Predictions come first, then targets of the same shape and dtype: nothing is broadcast.
`reduction` says what becomes of the losses of the elements: `"mean"` (the default) and `"sum"`
give a scalar, `"none"` leaves them as they are, and another is a `DomainError`.

`weight` of a loss of elements has a shape that broadcasts to that of the predictions, and their
dtype; the mean is then over the sum of the weights. What weighs 0 adds nothing, even if its loss
is infinite.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import numpy as np

from born import ops
from born.backend import B, Reduction
from born.backend.arguments import check_floating
from born.errors import DomainError, DTypeError, ShapeError
from born.fusion import abs, exp, log, minimum, relu, softplus, sqrt, where
from born.operands import backend_of, raw_operand
from born.ops.fused import fused, fused_as
from born.ops.losses import (
    at_labels,
    check_class_weight,
    check_weight_dtype,
    counted,
    known_labels,
    label_weights,
    reduced,
    weighted,
)
from born.raw import Shape
from born.tensor import Tensor
from born.validation import choice, flag, number

_LEAST_SQUARE: Final = 1e-24  # of a distance: nothing beside others, and its root has a slope


@fused_as("mse_loss")
def _squared(x: Any, target: Any) -> Any:
    return (x - target) * (x - target)


@fused_as("l1_loss")
def _absolute(x: Any, target: Any) -> Any:
    return abs(x - target)


@fused_as("huber_loss")
def _huber(x: Any, target: Any, *, delta: float) -> Any:
    # Both branches at once: c (|r| - c/2) with c = min(|r|, delta).
    distance = abs(x - target)
    near = minimum(distance, delta)
    return near * (distance - 0.5 * near)


@fused_as("smooth_l1_loss")
def _smooth(x: Any, target: Any, *, beta: float) -> Any:
    distance = abs(x - target)
    near = minimum(distance, beta)
    return near / beta * (distance - 0.5 * near)


@fused_as("binary_cross_entropy_with_logits")
def _logistic(x: Any, target: Any, weight: Any, pos_weight: Any) -> Any:
    # What an infinite logit is sure of costs nothing: 0 inf is 0 here.
    ones, zeros = counted(target, softplus(-x)), counted(1.0 - target, softplus(x))
    return counted(weight, pos_weight * ones + zeros)


def _logarithm(p: Any) -> Any:
    least = math.exp(-100.0)
    return where(p > least, log(where(p > least, p, 1.0)), -100.0 + 0.0 * p)


@fused_as("binary_cross_entropy")
def _entropy(p: Any, target: Any, weight: Any) -> Any:
    # PyTorch holds logarithms at -100, and so do we: a sure mistake costs 100.
    there, not_there = _logarithm(p), _logarithm(1.0 - p)
    return weight * (-target * there - (1.0 - target) * not_there)


@fused_as("gaussian_nll_loss")
def _gaussian(x: Any, target: Any, variance: Any, *, eps: float, constant: float) -> Any:
    held = where(variance > eps, variance, 0.0 * variance + eps)
    return 0.5 * (log(held) + (x - target) * (x - target) / held) + constant


@fused_as("poisson_nll_loss")
def _poisson_of_log(x: Any, target: Any) -> Any:
    return exp(x) - target * x


@fused_as("poisson_nll_loss")
def _poisson(x: Any, target: Any, *, eps: float) -> Any:
    return x - target * log(x + eps)


@fused_as("poisson_nll_loss")
def _stirling(target: Any) -> Any:
    many = where(target > 1.0, target, 1.0)
    return where(
        target > 1.0, many * log(many) - many + 0.5 * log(2.0 * math.pi * many), 0.0 * target
    )


@fused_as("margin_ranking_loss")
def _ranking(x: Any, y: Any, target: Any, *, margin: float) -> Any:
    return relu(-target * (x - y) + margin)


@fused_as("cosine_embedding_loss")
def _embedding(cosine: Any, target: Any, *, margin: float) -> Any:
    return where(target > 0.0, 1.0 - cosine, relu(cosine - margin))


@fused_as("kl_div")
def _divergence(log_q: Any, p: Any) -> Any:
    # Where p is 0, so is p log p; its logarithm is taken of 1 there.
    there = p > 0
    return where(there, p * (log(where(there, p, 1.0)) - log_q), 0.0 * p)


@fused_as("kl_div")
def _divergence_of_logs(log_q: Any, log_p: Any) -> Any:
    none = log_p <= -math.inf
    known = where(none, 0.0, log_p)
    return where(none, 0.0, exp(known) * (known - log_q))


def mse_loss(
    predictions: Tensor[B],
    targets: Tensor[B],
    reduction: Reduction = "mean",
    *,
    weight: Tensor[B] | None = None,
) -> Tensor[B]:
    """(prediction - target)^2.

    >>> mse_loss(born.tensor([1.0, 2.0], backend), born.tensor([1.0, 4.0], backend)).item()
    2.0
    """
    _check_alike("mse_loss", predictions, targets)
    return _averaged("mse_loss", _squared(predictions, targets), reduction, weight)


def l1_loss(
    predictions: Tensor[B],
    targets: Tensor[B],
    reduction: Reduction = "mean",
    *,
    weight: Tensor[B] | None = None,
) -> Tensor[B]:
    """|prediction - target|.

    >>> l1_loss(born.tensor([1.0, 2.0], backend), born.tensor([1.0, 4.0], backend)).item()
    1.0
    """
    _check_alike("l1_loss", predictions, targets)
    return _averaged("l1_loss", _absolute(predictions, targets), reduction, weight)


def huber_loss(
    predictions: Tensor[B],
    targets: Tensor[B],
    delta: float = 1.0,
    reduction: Reduction = "mean",
    *,
    weight: Tensor[B] | None = None,
) -> Tensor[B]:
    """r^2/2 where |r| <= delta, delta (|r| - delta/2) beyond, r = prediction - target.

    A square for small errors and a line for large ones, so that outliers pull less.

    Args:
        predictions: of any shape.
        targets: of that shape.
        delta: where the line begins, a positive number in the units of r.
        reduction: as for every loss.
        weight: as for every loss of elements; PyTorch's mean is over the number of elements here.

    Source: Huber (1964), "Robust Estimation of a Location Parameter".

    >>> targets = born.zeros((2,), backend)
    >>> huber_loss(born.tensor([1.0, 4.0], backend), targets, reduction="none").numpy().tolist()
    [0.5, 3.5]
    """
    number("delta", delta, low=math.ulp(0.0))
    _check_alike("huber_loss", predictions, targets)
    losses = _huber(predictions, targets, delta=float(delta))
    return _averaged("huber_loss", losses, reduction, weight)


def smooth_l1_loss(
    predictions: Tensor[B],
    targets: Tensor[B],
    beta: float = 1.0,
    reduction: Reduction = "mean",
    *,
    weight: Tensor[B] | None = None,
) -> Tensor[B]:
    """r^2 / (2 beta) where |r| < beta, |r| - beta/2 beyond: `huber_loss` over its delta.

    Its slope far out is 1 for any beta.

    Args:
        predictions: of any shape.
        targets: of that shape.
        beta: where the line begins, in the units of r; at 0 this is `l1_loss`.
        reduction: as for every loss.
        weight: as for every loss of elements.

    Source: Girshick (2015), "Fast R-CNN", arXiv:1504.08083, equation 3.

    >>> targets = born.zeros((2,), backend)
    >>> x = born.tensor([1.0, 4.0], backend)
    >>> smooth_l1_loss(x, targets, 2.0, reduction="none").numpy().tolist()
    [0.25, 3.0]
    """
    number("beta", beta, low=0.0)
    _check_alike("smooth_l1_loss", predictions, targets)
    smooth = _smooth(predictions, targets, beta=float(beta)) if beta else None
    losses = _absolute(predictions, targets) if smooth is None else smooth
    return _averaged("smooth_l1_loss", losses, reduction, weight)


def binary_cross_entropy_with_logits(
    logits: Tensor[B],
    targets: Tensor[B],
    reduction: Reduction = "mean",
    *,
    weight: Tensor[B] | None = None,
    pos_weight: Tensor[B] | None = None,
) -> Tensor[B]:
    """-w (p t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))).

    It is computed by softplus, which neither overflows nor loses the small losses of confident
    predictions.

    Args:
        logits: x, of any shape, unnormalised.
        targets: t, probabilities from 0 to 1; their range is not checked.
        reduction: as for every loss; the mean is over the number of elements, weighted or not.
        weight: w, of a shape that broadcasts to that of x; 1 by default.
        pos_weight: p, of such a shape as well, how much more what is there counts than what is
            not: that of a class is often how many examples are without it over how many with; 1
            by default.

    >>> logits, targets = born.tensor([0.0, 100.0], backend), born.tensor([1.0, 1.0], backend)
    >>> binary_cross_entropy_with_logits(logits, targets, reduction="sum").item()
    0.693...
    """
    name = "binary_cross_entropy_with_logits"
    _check_alike(name, logits, targets)
    weights: list[Tensor[B] | float] = []
    for argument, given in (("weight", weight), ("pos_weight", pos_weight)):
        if given is not None:
            _check_weight(name, argument, logits, given)
        weights.append(1.0 if given is None else given)
    return reduced(_logistic(logits, targets, *weights), reduction)


def binary_cross_entropy(
    probabilities: Tensor[B],
    targets: Tensor[B],
    reduction: Reduction = "mean",
    *,
    weight: Tensor[B] | None = None,
) -> Tensor[B]:
    """-w (t log p + (1 - t) log(1 - p)), of probabilities.

    Train on logits with `binary_cross_entropy_with_logits` where you can: near 0 and 1 it tells
    numbers apart that are one probability.

    Args:
        probabilities: p, of any shape, from 0 to 1, which is not checked. Logarithms below -100
            count as that, and have no gradient there.
        targets: t, of that shape, from 0 to 1.
        reduction: as for every loss; the mean is over the number of elements, weighted or not.
        weight: w, of a shape that broadcasts to that of p; 1 by default.

    >>> p, t = born.tensor([0.5, 0.0], backend), born.tensor([1.0, 1.0], backend)
    >>> binary_cross_entropy(p, t, "none").numpy().round(4).tolist()
    [0.693..., 100.0]
    """
    name = "binary_cross_entropy"
    _check_alike(name, probabilities, targets)
    if weight is not None:
        _check_weight(name, "weight", probabilities, weight)
    return reduced(_entropy(probabilities, targets, 1.0 if weight is None else weight), reduction)


def gaussian_nll_loss(
    predictions: Tensor[B],
    targets: Tensor[B],
    variances: Tensor[B],
    reduction: Reduction = "mean",
    *,
    full: bool = False,
    eps: float = 1e-6,
) -> Tensor[B]:
    """(log v + (x - t)^2 / v) / 2: minus the log-density of targets that a network is unsure of.

    Args:
        predictions: x, the means, of any shape.
        targets: t, of that shape.
        variances: v, of a shape that broadcasts to that, and their dtype; below eps they count as
            eps, and have no gradient.
        reduction: as for every loss.
        full: whether to add the constant log(2 pi) / 2.
        eps: the least variance, above 0.

    Source: Nix and Weigend (1994), "Estimating the mean and variance of the target probability
    distribution", equation 6.

    >>> x, v = born.tensor([1.0, 3.0], backend), born.tensor([1.0, 4.0], backend)
    >>> gaussian_nll_loss(x, x + 2.0, v, "none").numpy().round(3).tolist()
    [2.0, 1.19...]
    """
    number("eps", eps, low=math.ulp(0.0))
    _check_alike("gaussian_nll_loss", predictions, targets)
    _check_weight("gaussian_nll_loss", "variances", predictions, variances)
    constant = 0.5 * math.log(2.0 * math.pi) if flag("full", full) else 0.0
    losses = _gaussian(predictions, targets, variances, eps=float(eps), constant=constant)
    return reduced(losses, reduction)


def poisson_nll_loss(
    predictions: Tensor[B],
    targets: Tensor[B],
    reduction: Reduction = "mean",
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
) -> Tensor[B]:
    """e^x - t x: minus the log-probability of counts, less log t!, where x is the log of a rate.

    Args:
        predictions: x, of any shape.
        targets: t, of that shape and dtype, counts from 0 on.
        reduction: as for every loss.
        log_input: whether x is the logarithm of the rate; else the loss is x - t log(x + eps).
        full: whether to add Stirling's approximation of log t! where t is above 1.
        eps: keeps the logarithm of a rate from 0; at least 0.

    >>> x, t = born.tensor([0.0, 0.0], backend), born.tensor([0.0, 3.0], backend)
    >>> poisson_nll_loss(x, t, "none").numpy().tolist()
    [1.0, 1.0]
    """
    number("eps", eps, low=0.0)
    _check_alike("poisson_nll_loss", predictions, targets)
    if flag("log_input", log_input):
        losses = _poisson_of_log(predictions, targets)
    else:
        losses = _poisson(predictions, targets, eps=float(eps))
    if flag("full", full):
        losses = losses + _stirling(targets)
    return reduced(losses, reduction)


def margin_ranking_loss(
    x: Tensor[B],
    y: Tensor[B],
    targets: Tensor[B],
    margin: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor[B]:
    """max(0, -t (x - y) + margin): x is to be above y where t is 1, below where it is -1.

    Args:
        x: scores, of any shape.
        y: other scores, of that shape.
        targets: t, of that shape and dtype, 1 or -1.
        margin: by how much; 0 by default.
        reduction: as for every loss.

    Source: Herbrich, Graepel and Obermayer (2000), "Large Margin Rank Boundaries for Ordinal
    Regression".

    >>> x, y = born.tensor([2.0, 2.0], backend), born.tensor([1.0, 1.0], backend)
    >>> margin_ranking_loss(x, y, born.tensor([1.0, -1.0], backend), 0.5, "none").numpy().tolist()
    [0.0, 1.5]
    """
    number("margin", margin)
    for other in (y, targets):
        _check_alike("margin_ranking_loss", x, other)
    return reduced(_ranking(x, y, targets, margin=float(margin)), reduction)


def cosine_embedding_loss(
    x: Tensor[B],
    y: Tensor[B],
    targets: Tensor[B],
    margin: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor[B]:
    """1 - cos(x, y) where t is 1, max(0, cos(x, y) - margin) where it is -1.

    Args:
        x: vectors, shape (..., width).
        y: others, of that shape.
        targets: t, shape (...), of their dtype, 1 for what is alike and -1 for what is not.
        margin: how alike those that are not may be, from -1 to 1.
        reduction: as for every loss.

    >>> x, y = born.tensor([[1.0, 0.0]], backend), born.tensor([[3.0, 4.0]], backend)
    >>> round(cosine_embedding_loss(x, y, born.ones(1, backend)).item(), 4)
    0.4
    """
    number("margin", margin, -1.0, 1.0)
    _check_alike("cosine_embedding_loss", x, y)
    cosine = cosine_similarity(x, y)
    _check_alike("cosine_embedding_loss", cosine, targets)
    return reduced(_embedding(cosine, targets, margin=float(margin)), reduction)


def nll_loss(
    log_probabilities: Tensor[B],
    labels: Tensor[B],
    reduction: Reduction = "mean",
    *,
    ignore_index: int | None = None,
    weight: Tensor[B] | None = None,
) -> Tensor[B]:
    """-log p at the label, of log-probabilities: what `nn.cross_entropy` is of logits.

    `ops.log_softmax` first and this after is `nn.cross_entropy`, which is one pass.

    Args:
        log_probabilities: log p, shape (..., classes), floating. The classes are the last axis;
            in PyTorch they are the second.
        labels: shape (...), integers from 0 to classes - 1.
        reduction: as for every loss; the mean is over the sum of the labels' weights.
        ignore_index: a label that stands for none, such as -100: its loss is 0, and the mean
            does not count it. By default every label counts.
        weight: shape (classes,), for classes that are rare or matter more; 1 by default.

    >>> log_p = born.tensor([[-0.5, -1.0], [-2.0, -0.25]], backend)
    >>> nll_loss(log_p, born.tensor([0, 1], backend), "none").numpy().tolist()
    [0.5, 0.25]
    """
    raw_operand("nll_loss", backend_of("nll_loss", log_probabilities), labels)
    check_floating("nll_loss", log_probabilities.raw)
    check_class_weight("nll_loss", log_probabilities, weight)
    known, keep = known_labels(log_probabilities, labels, ignore_index)
    losses = at_labels(log_probabilities, known)
    if keep is None and weight is None:
        return reduced(losses, reduction)
    weights = label_weights(losses, known, keep, weight)
    losses = losses if keep is None else ops.where(keep, losses, 0.0)
    return reduced(weighted(weights, losses), reduction, weights.sum())


def kl_div(
    log_probabilities: Tensor[B],
    targets: Tensor[B],
    reduction: Reduction | Literal["batchmean"] = "mean",
    *,
    log_target: bool = False,
) -> Tensor[B]:
    """p (log p - log q), the terms of the divergence of q from p (Kullback and Leibler, 1951).

    Args:
        log_probabilities: log q, of any shape.
        targets: p, of that shape, at least 0; or log p with `log_target`.
        reduction: as for every loss; the divergence itself is `"sum"`, and `"batchmean"` is the
            sum over the length of the first axis.
        log_target: whether targets are logarithms.

    >>> log_q = ops.log(born.tensor([0.5, 0.5], backend))
    >>> kl_div(log_q, born.tensor([1.0, 0.0], backend), "sum").item()
    0.693...
    """
    _check_alike("kl_div", log_probabilities, targets)
    terms = (_divergence_of_logs if log_target else _divergence)(log_probabilities, targets)
    if reduction == "batchmean":
        return terms.sum() / max(terms.shape[0] if terms.ndim else 1, 1)
    choice("reduction", reduction, ("mean", "sum", "none", "batchmean"), DomainError)
    return reduced(terms, reduction)


def cosine_similarity(x: Tensor[B], y: Tensor[B], axis: int = -1, eps: float = 1e-8) -> Tensor[B]:
    """x · y / (max(|x|, eps) max(|y|, eps)) along an axis: 1 for one direction, -1 for opposites.

    Args:
        x: of any shape with that axis.
        y: of a shape that broadcasts with that of x.
        axis: along which the vectors lie.
        eps: keeps the norms away from zero; at least 0.

    >>> x, y = born.tensor([3.0, 4.0], backend), born.tensor([4.0, 3.0], backend)
    >>> round(cosine_similarity(x, y).item(), 4)
    0.96
    """
    number("eps", eps, low=0.0)
    backend = backend_of("cosine_similarity", x)
    for tensor in (x, y):
        check_floating("cosine_similarity", raw_operand("cosine_similarity", backend, tensor))

    whole = _common("cosine_similarity", x.shape, y.shape)
    x, y = ops.broadcast_to(x, whole), ops.broadcast_to(y, whole)

    def norm(v: Tensor[B]) -> Tensor[B]:
        return _root((v * v).sum(axis=axis), least=eps * eps)

    return (x * y).sum(axis=axis) / (norm(x) * norm(y))


def _common(name: str, *shapes: Shape) -> Shape:
    """The shape that shapes broadcast to."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ShapeError(
            f"expected shapes that broadcast in {name}, got {' and '.join(map(str, shapes))}; "
            "reshape one of them"
        ) from error


@fused
def _root(x: Any, *, least: float) -> Any:
    # Constant where it is held, so that zero vectors have a gradient of zero.
    return sqrt(where(x > least, x, 0.0 * x + least))


def triplet_margin_loss(
    anchors: Tensor[B],
    positives: Tensor[B],
    negatives: Tensor[B],
    margin: float = 1.0,
    reduction: Reduction = "mean",
    *,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
) -> Tensor[B]:
    """max(d(a, p) - d(a, n) + margin, 0): like things near, others a margin further.

        d(x, y) = (sum_i |x_i - y_i + eps|^p)^(1/p)

    Args:
        anchors: a, shape (..., width).
        positives: p, of that shape, each to be near its anchor.
        negatives: n, of that shape, each to be far from it.
        margin: how much farther, at least 0.
        reduction: as for every loss.
        p: of the norm, at least 1; 2 by default, `math.inf` for the largest difference.
        eps: added to every difference, so that the norm has a slope at zero; at least 0.
        swap: whether d(p, n) stands for d(a, n) where it is less: negatives are to be far from
            both.

    Source: Balntas et al. (2016), "Learning local feature descriptors with triplets and shallow
    convolutional neural networks", section 3, of which `swap` is; the loss is older.

    >>> a, p = born.tensor([[0.0, 0.0]], backend), born.tensor([[3.0, 4.0]], backend)
    >>> triplet_margin_loss(a, p, p * 2.0, margin=7.0).item()
    2.0...
    """
    number("margin", margin, low=0.0)
    number("eps", eps, low=0.0)
    if p != math.inf:
        number("p", p, low=1.0)
    flag("swap", swap)
    for other in (positives, negatives):
        _check_alike("triplet_margin_loss", anchors, other)
    if not anchors.ndim:
        raise ShapeError("expected vectors in triplet_margin_loss, got numbers; stack them")

    def distance(x: Tensor[B], y: Tensor[B]) -> Tensor[B]:
        return _length(x - y + eps, p)

    far = distance(anchors, negatives)
    if swap:
        far = ops.minimum(far, distance(positives, negatives))
    return reduced(ops.relu(distance(anchors, positives) - far + margin), reduction)


def _length(gap: Tensor[B], p: float) -> Tensor[B]:
    """The norms of vectors along the last axis, whose gradient is zero at zero."""
    if p == math.inf:
        return ops.abs(gap).max(axis=-1)
    if p == 1.0:
        return ops.abs(gap).sum(axis=-1)
    if p == 2.0:
        return _root((gap * gap).sum(axis=-1), least=_LEAST_SQUARE)
    # Of what is scaled to 1, so that no power overflows or vanishes.
    largest = ops.abs(gap.detach()).max(axis=-1, keepdims=True)
    scale = ops.where(largest > 0.0, largest, 1.0)
    total = _power(gap, scale, p=float(p)).sum(axis=-1)
    return _power_root(total, scale.reshape(total.shape), p=float(p))


@fused
def _power(x: Any, scale: Any, *, p: float) -> Any:
    return (abs(x) / scale) ** p


@fused
def _power_root(x: Any, scale: Any, *, p: float) -> Any:
    there = x > 0.0
    return where(there, scale * where(there, x, 1.0) ** (1.0 / p), 0.0 * x)


def accuracy(logits: Tensor[B], labels: Tensor[B]) -> float:
    """The share, from 0 to 1, of rows whose largest logit is the label's; NaN without rows.

    Args:
        logits: of shape `(..., classes)`; probabilities work as well.
        labels: integers of shape `(...)`.

    >>> logits = born.tensor([[0.1, 0.9], [0.8, 0.2]], backend)
    >>> accuracy(logits, born.tensor(np.array([1, 1]), backend))
    0.5
    """
    raw_operand("accuracy", backend_of("accuracy", logits), labels)
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


def _check_alike(name: str, predictions: Tensor[B], targets: Tensor[B]) -> None:
    raw_operand(name, backend_of(name, predictions), targets)
    # (n,) and (n, 1) would broadcast to (n, n), the classic silent mistake.
    if predictions.shape != targets.shape:
        raise ShapeError(
            f"expected targets of the shape of the predictions in {name}, {predictions.shape}, "
            f"got {targets.shape}; reshape one of them"
        )
    for tensor in (predictions, targets):
        check_floating(name, tensor.raw)


def _averaged(
    name: str, losses: Tensor[B], reduction: Reduction, weight: Tensor[B] | None
) -> Tensor[B]:
    """Losses of elements, weighted, as `reduction` says."""
    if weight is None:
        return reduced(losses, reduction)
    _check_weight(name, "weight", losses, weight)
    whole = ops.broadcast_to(weight, losses.shape)
    return reduced(weighted(whole, losses), reduction, whole.sum())


def _check_weight(name: str, argument: str, x: Tensor[B], weight: Tensor[B]) -> None:
    raw_operand(name, x.backend, weight)
    if _common(name, x.shape, weight.shape) != x.shape:
        raise ShapeError(
            f"expected {argument} in {name} to broadcast to the shape {x.shape} of the "
            f"predictions, got {weight.shape}; reshape it"
        )
    check_weight_dtype(name, x, weight)
