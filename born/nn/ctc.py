"""`ctc_loss`: how likely a sequence of labels is, whatever its alignment to the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from born import creation, ops
from born.backend import B, Reduction
from born.backend.arguments import check_floating
from born.errors import DomainError, DTypeError, ShapeError
from born.raw import HostArray
from born.tensor import Tensor
from born.validation import choice, integer

Integers: TypeAlias = Tensor[B] | HostArray | Sequence[int]

_NEVER: Final = -1e30  # a log-probability of nothing: finite, so that sums of it have slopes
_REDUCTIONS: Final = ("mean", "sum", "none")


def ctc_loss(
    log_probs: Tensor[B],
    targets: Tensor[B] | HostArray,
    input_lengths: Integers[B],
    target_lengths: Integers[B],
    *,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
) -> Tensor[B]:
    """Connectionist temporal classification: -log of the sum over all alignments.

    An alignment gives each frame a label or a blank; with repetitions merged, and blanks dropped
    after that, it is the target. A loss is infinite, and without a gradient, where there are fewer
    frames than the target takes. 16-bit inputs are computed with in float32.

    Args:
        log_probs: logarithms of probabilities, of shape (frames, batch, classes), as of
            `ops.log_softmax`.
        targets: classes, of shape (batch, longest); what is behind the length of a target may be
            anything.
        input_lengths: how many frames of each sequence count, of shape (batch,), at most `frames`.
        target_lengths: how many labels each target has, of shape (batch,), from 0 on.
        blank: the class of the blank.
        reduction: `"mean"` divides each loss by the length of its target, at least 1, and takes the
            mean over the batch, as PyTorch does; `"sum"`; or `"none"`, of shape (batch,).
        zero_infinity: let infinite losses count as 0.

    Raises:
        ShapeError: shapes that do not belong together.
        DTypeError: log_probs that are no floats, or targets and lengths that are no integers.
        DomainError: a length or a class out of range, a blank in a target, another reduction.

    Source: Graves, Fernández, Gomez and Schmidhuber (2006), "Connectionist temporal
    classification", section 4.1.

    >>> even = born.tensor(np.log(np.full((2, 1, 2), 0.5)), backend)
    >>> loss = ctc_loss(even, np.array([[1]]), [2], [1])  # of 11, 01 and 10
    >>> round(float(np.exp(-loss.item())), 6)
    0.75
    """
    choice("reduction", reduction, _REDUCTIONS, DomainError)
    if log_probs.ndim != 3:
        raise ShapeError(
            "expected log_probs of shape (frames, batch, classes) in ctc_loss, got "
            f"{log_probs.shape}; use ops.moveaxis"
        )
    check_floating("ctc_loss", log_probs.raw)
    frames, batch, classes = log_probs.shape
    integer("blank", blank, 0, DomainError)
    labels = _integers("targets", targets)
    if labels.ndim != 2 or len(labels) != batch:
        raise ShapeError(
            f"expected targets of shape ({batch}, longest) in ctc_loss, got {labels.shape}; pad "
            "them to one length"
        )
    spans = _lengths("input_lengths", input_lengths, batch, frames)
    sizes = _lengths("target_lengths", target_lengths, batch, labels.shape[1])
    held = np.less(np.arange(labels.shape[1], dtype=np.int64), sizes[:, None])
    labels = np.where(held, labels, blank)
    _check_classes(labels[held], blank, classes)
    losses = _losses(log_probs, labels, spans, sizes, blank)
    possible = losses < -_NEVER / 2
    losses = ops.where(possible, losses, 0.0 if zero_infinity else np.inf)
    if reduction == "mean":
        counts = np.maximum(sizes, 1).astype(str(losses.dtype))
        losses = (losses / creation.tensor(counts, losses.backend)).mean()
    elif reduction == "sum":
        losses = losses.sum()
    return losses if losses.dtype == log_probs.dtype else losses.astype(log_probs.dtype)


def _losses(
    log_probs: Tensor[B], labels: HostArray, spans: HostArray, sizes: HostArray, blank: int
) -> Tensor[B]:
    """The loss of each sequence; above 5e29 where there is no alignment."""
    backend = log_probs.backend
    frames, batch, _ = log_probs.shape
    states = 2 * labels.shape[1] + 1  # a blank before each label, and one at the end
    classes = np.full((batch, states), blank, np.int64)
    classes[:, 1::2] = labels
    # From two states before it may come what would not be merged.
    skips = np.zeros((batch, states), np.bool_)
    skips[:, 2:] = (classes[:, 2:] != blank) & (classes[:, 2:] != classes[:, :-2])

    def there(values: HostArray) -> Any:
        return creation.tensor(values, backend)

    if log_probs.dtype.itemsize < 4:
        log_probs = log_probs.astype("float32")
    index = np.broadcast_to(classes, (frames, batch, states))
    chances = ops.maximum(ops.gather(log_probs, there(np.ascontiguousarray(index)), 2), _NEVER)
    place = np.arange(states, dtype=np.int64)
    last = np.multiply(2, sizes[:, None])
    first = np.less_equal(place, np.minimum(last, 1))
    may_skip = there(skips)
    # What starts before the first frame, so that no frame is special: 0 in the blank alone.
    reached = there(np.where(first, 0.0, _NEVER).astype(str(log_probs.dtype)))
    for t in range(frames):
        after = reached
        if t:
            by_one = ops.pad(after[:, :-1], ((0, 0), (1, 0)), constant_values=_NEVER)
            by_two = ops.pad(after[:, :-2], ((0, 0), (2, 0)), constant_values=_NEVER)
            by_two = ops.where(may_skip, by_two[:, :states], _NEVER)
            after = ops.logaddexp(ops.logaddexp(after, by_one), by_two)
        after = after + chances[t]
        running = t < spans
        reached = after if running.all() else ops.where(there(running[:, None]), after, reached)
    begun = np.logical_or(np.greater(spans, 0)[:, None], np.equal(place, 0))
    ends = np.logical_or(np.equal(place, last), np.equal(place, np.subtract(last, 1)))
    return -ops.logsumexp(ops.where(there(np.logical_and(ends, begun)), reached, _NEVER), axis=-1)


def _integers(name: str, values: Any) -> HostArray:
    found: HostArray = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    if not found.size:
        found = found.astype(np.int64)
    if found.dtype.kind not in "iu":
        raise DTypeError(
            f'expected integer {name} in ctc_loss, got {found.dtype}; use .astype("int64")'
        )
    return found.astype(np.int64)


def _lengths(name: str, values: Any, batch: int, most: int) -> HostArray:
    found = _integers(name, values)
    if found.shape != (batch,):
        raise ShapeError(
            f"expected {name} of shape ({batch},) in ctc_loss, got {found.shape}; give one for "
            "each sequence"
        )
    if found.size and (found.min() < 0 or found.max() > most):
        raise DomainError(
            f"expected {name} from 0 to {most} in ctc_loss, got {found.tolist()}; correct them"
        )
    return found


def _check_classes(labels: HostArray, blank: int, classes: int) -> None:
    if blank >= classes:
        raise DomainError(f"expected blank below the {classes} classes in ctc_loss, got {blank}")
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = sorted({int(x) for x in labels if not 0 <= x < classes})
        raise DomainError(
            f"expected targets from 0 to {classes - 1} in ctc_loss, got {wrong}; leave what is "
            "padding to target_lengths"
        )
    if (labels == blank).any():
        raise DomainError(
            f"expected targets without the blank, {blank}, in ctc_loss, got one; choose another "
            "class as blank"
        )
