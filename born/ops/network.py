"""Softmax, losses, normalisation and dropout."""

from __future__ import annotations

from born.backend import B, Reduction
from born.errors import ShapeError
from born.operands import backend_of, optional_operand, raw_operand
from born.tensor import Tensor


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


def cross_entropy(
    logits: Tensor[B],
    labels: Tensor[B],
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor[B]:
    """The cross-entropy of integer class labels under softmax(logits).

        loss_n = -sum_c q_nc log(softmax(logits_n)_c)

    where q is 1 at the label, mixed with `label_smoothing` of the uniform distribution
    (Szegedy et al., 2016, arXiv:1512.00567, section 7).

    Args:
        logits: shape (..., classes), floating. The classes are the last axis; in
            PyTorch they are the second.
        labels: shape (...), integers from 0 to classes - 1.
        label_smoothing: from 0, the default, to 1. 0.1 keeps a classifier from becoming
            too sure.
        reduction: `"mean"` by default, `"sum"`, or `"none"` for one loss a label.

    Raises:
        DTypeError: labels that are not integers.
        IndexOutOfRangeError: a label that names no class.

    >>> logits = born.tensor([[0.0, 0.0]], backend)
    >>> ops.cross_entropy(logits, born.tensor([1], backend, dtype="int64"))
    Tensor(0.6931472, dtype=float32)
    """
    backend = backend_of("cross_entropy", logits)
    classes = raw_operand("cross_entropy", backend, labels)
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


def _check_trailing(x: Tensor[B], weight: Tensor[B] | None, axes: int) -> None:
    if weight is not None and weight.shape != x.shape[x.ndim - axes :]:
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
