"""The derivatives of softmax, losses, normalisation and dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from born.autodiff.derivatives.registrars import Required, of_result, pullback_of, sum_to_shape
from born.autodiff.pullback import Pullback
from born.backend import Backend, CellName
from born.raw import RawTensor

_Normalised: TypeAlias = tuple[RawTensor, RawTensor, RawTensor]
"""The result, the normalised input, and the scale that normalised it."""

of_result("softmax", lambda b, g, y, axis=-1: b.softmax_backward(g, y, axis))
of_result("log_softmax", lambda b, g, y, axis=-1: b.log_softmax_backward(g, y, axis))
of_result("dropout", lambda b, g, mask, p: b.mul(g, mask), residual=1)
of_result(
    "cross_entropy",
    lambda b, g, probabilities, labels, label_smoothing=0.0, reduction="mean": (
        b.cross_entropy_backward(g, probabilities, labels, label_smoothing, reduction)
    ),
    residual=1,
)


@pullback_of("layer_norm", 3, residuals=True, reads=[[1], [], []])
def _layer_norm(
    b: Backend,
    out: _Normalised,
    required: Required,
    x: RawTensor,
    weight: RawTensor | None,
    bias: RawTensor | None,
    axes: int = 1,
    eps: float = 1e-5,
) -> Pullback:
    _, normal, scale = out
    if not any(required[1:]):
        of_scaled = _scaled(b, b.layer_norm_backward, out, required, weight, axes)
        return lambda g: (*of_scaled(g), None)

    def pullback(g: RawTensor) -> list[RawTensor | None]:
        found = b.layer_norm_gradients(g, normal, scale, weight, axes)
        return [each if wanted else None for each, wanted in zip(found, required, strict=True)]

    return pullback


@pullback_of("rms_norm", 2, residuals=True, reads=[[1], []])
def _rms_norm(
    b: Backend,
    out: _Normalised,
    required: Required,
    x: RawTensor,
    weight: RawTensor | None,
    axes: int = 1,
    eps: float = 1e-6,
) -> Pullback:
    return _scaled(b, b.rms_norm_backward, out, required, weight, axes)


@pullback_of("batch_norm", 3, residuals=True, reads=[[1], [], []])
def _batch_norm(
    b: Backend,
    out: tuple[RawTensor, RawTensor, RawTensor, RawTensor, RawTensor],
    required: Required,
    x: RawTensor,
    weight: RawTensor | None,
    bias: RawTensor | None,
    eps: float = 1e-5,
) -> Pullback:
    _, normal, scale, _, _ = out

    def pullback(g: RawTensor) -> list[RawTensor | None]:
        found = b.batch_norm_gradients(g, normal, scale, weight)
        return [each if wanted else None for each, wanted in zip(found, required, strict=True)]

    return pullback


@pullback_of("attention", 4, residuals=True, keeps_result=False, reads=[[0, 1, 2, 3]] * 4)
def _attention(
    b: Backend,
    out: tuple[RawTensor, RawTensor],
    required: Required,
    q: RawTensor,
    k: RawTensor,
    v: RawTensor,
    mask: RawTensor | None = None,
    causal: bool = False,
    scale: float = 1.0,
) -> Pullback:
    # Another tensor over the same memory: a record that led to its own result would keep both.
    y, total = out[0].alias(), out[1]
    tensors = (q, k, v, mask)[: len(required)]
    for_mask = len(required) > 3 and required[3]

    def pullback(g: RawTensor) -> list[RawTensor | None]:
        found = b.attention_gradients(g, q, k, v, mask, y, total, causal, scale, for_mask)
        return [
            sum_to_shape(b, gradient, x.shape) if wanted and x is not None and gradient else None
            for gradient, x, wanted in zip(found, tensors, required, strict=False)
        ]

    return pullback


@pullback_of("recurrence", 4, residuals=True, reads=[[0, 1, 2, 3]] * 4)
def _recurrence(
    b: Backend,
    out: tuple[RawTensor, RawTensor],
    required: Required,
    z: RawTensor,
    initial: RawTensor,
    weight: RawTensor,
    bias: RawTensor | None = None,
    mask: RawTensor | None = None,
    cell: CellName = "tanh",
    reverse: bool = False,
) -> Pullback:
    # Another tensor over the same memory: a record that led to its own result would keep both.
    states, kept = out[0].alias(), out[1]

    def pullback(g: RawTensor) -> list[RawTensor | None]:
        found = b.recurrence_gradients(
            g, z, initial, weight, bias, mask, states, kept, cell, reverse
        )
        return [each if wanted else None for each, wanted in zip(found, required, strict=False)]

    return pullback


def _scaled(
    b: Backend,
    backward: Callable[[RawTensor, RawTensor, RawTensor, int], RawTensor],
    out: _Normalised,
    required: Required,
    weight: RawTensor | None,
    axes: int,
) -> Callable[[RawTensor], tuple[RawTensor | None, RawTensor | None]]:
    """The gradients of what was normalised and of the weight that scaled it."""
    for_x, for_weight = required[:2]
    normal = out[1] if for_x or for_weight else None
    scale = out[2] if for_x else None
    gain = weight if for_x else None
    weight_shape = () if weight is None else weight.shape

    def pullback(g: RawTensor) -> tuple[RawTensor | None, RawTensor | None]:
        x_gradient = weight_gradient = None
        if normal is not None and scale is not None:
            inner = g if gain is None else b.mul(g, gain)
            x_gradient = backward(inner, normal, scale, axes)
        if normal is not None and for_weight:
            weight_gradient = sum_to_shape(b, b.mul(g, normal), weight_shape)
        return x_gradient, weight_gradient

    return pullback
