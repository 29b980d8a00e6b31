"""`cross_entropy` with weights, ignored labels and probabilities, beside PyTorch's."""

from __future__ import annotations

import math
import warnings
from typing import Any, Final

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, backward, check_gradients
from born.backend import Backend, Reduction
from born.errors import DTypeError, IndexOutOfRangeError, ShapeError

ROWS, CLASSES = 6, 4


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["labels", "ignored", "soft"])
def test_it_is_pytorchs(
    kind: str, weighted: bool, smoothing: float, reduction: Reduction, autodiff: Autodiff[Backend]
) -> None:
    torch: Any = pytest.importorskip("torch")
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(ROWS, CLASSES))
    weight = draw.uniform(0.5, 2.0, CLASSES) if weighted else None
    targets: Any = draw.integers(0, CLASSES, ROWS)
    if kind == "ignored":
        targets[1::2] = -100
    if kind == "soft":
        targets = draw.dirichlet(np.ones(CLASSES), ROWS)
    theirs = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        theirs,
        torch.tensor(targets),
        weight=None if weight is None else torch.tensor(weight),
        label_smoothing=smoothing,
        reduction=reduction,
    )
    expected.sum().backward()
    x = born.tensor(logits, autodiff)
    x.requires_grad = True
    with autodiff.tape:
        found = ops.cross_entropy(
            x,
            born.tensor(targets, autodiff),
            smoothing,
            reduction,
            ignore_index=-100 if kind == "ignored" else None,
            weight=None if weight is None else born.tensor(weight, autodiff),
        )
        loss = found.sum()
    np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=1e-12)
    gradient = autodiff.to_numpy(backward(loss)[x])
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_what_does_not_fit_is_refused(backend: Backend) -> None:
    if backend.name == "cupy":
        pytest.skip("a device tells of a label out of range when somebody waits")
    logits, labels = born.zeros((2, 3), backend), born.tensor([0, 2], backend)
    with pytest.raises(
        ShapeError, match=r"each of the 3 classes in cross_entropy, got shape \(2,\)"
    ):
        ops.cross_entropy(logits, labels, weight=born.ones(2, backend))
    with pytest.raises(ShapeError, match=r"logits' shape in cross_entropy, .2, 3..*got .2, 4."):
        ops.cross_entropy(logits, born.ones((2, 4), backend))
    with pytest.raises(DTypeError, match="expected integer class labels"):
        ops.cross_entropy(logits, born.ones(2, backend), ignore_index=0)
    with pytest.raises(ShapeError, match="ignore_index beside them"):
        ops.cross_entropy(logits, logits, ignore_index=0)
    with pytest.raises(IndexOutOfRangeError, match="labels from 0 to 2"):
        ops.cross_entropy(logits, born.tensor([0, 3], backend), ignore_index=-1)
    with pytest.raises(DTypeError, match=r"one dtype with the logits in cross_en.*float64"):
        ops.cross_entropy(logits, logits.astype("float64"))
    with pytest.raises(DTypeError, match=r"weights of one dtype with the predictions in cross_en"):
        ops.cross_entropy(logits, labels, weight=born.ones(3, backend, "float64"))


INF: Final = math.inf
WEIGHTS: Final = [0.0, 1.0, 2.0]
EDGES: dict[str, tuple[list[list[float]], list[Any], list[float] | None, float, list[float]]] = {
    "a label of weight 0": ([[1, 2, 3]], [0], WEIGHTS, 0.0, [0.0]),
    "its logit infinite": ([[-INF, 0, 0]], [0], WEIGHTS, 0.0, [0.0]),
    "another class of weight 0": ([[-INF, 0, 0]], [1], WEIGHTS, 0.3, [math.log(2)]),
    "a probability of 0": ([[-INF, 0, 0]], [[0.0, 0.5, 0.5]], None, 0.0, [math.log(2)]),
    "what is impossible": ([[-INF, 0, 0]], [0], [1.0, 1.0, 1.0], 0.0, [INF]),
    "ignored NaN": ([[math.nan] * 3, [0, 0, 0]], [-1, 0], None, 0.0, [0.0, math.log(3)]),
    "ignored infinity": ([[INF] * 3, [0, 0, 0]], [-1, 1], WEIGHTS, 0.5, [0.0, math.log(3)]),
}
"""Logits, labels, weights and smoothing, and the losses."""


@pytest.mark.parametrize("name", EDGES)
def test_what_weighs_nothing_adds_nothing(name: str, autodiff: Autodiff[Backend]) -> None:
    logits, labels, weight, smoothing, losses = EDGES[name]
    x = born.tensor(np.array(logits, np.float64), autodiff)
    x.requires_grad = True
    ignored = None if isinstance(labels[0], list) else -1
    w = None if weight is None else born.tensor(np.array(weight), autodiff)
    with autodiff.tape:
        found = ops.cross_entropy(
            x,
            born.tensor(np.array(labels), autodiff),
            smoothing,
            "none",
            ignore_index=ignored,
            weight=w,
        )
    np.testing.assert_allclose(found.numpy(), losses, rtol=1e-14)
    with autodiff.tape:
        total = found.sum()
    assert np.isfinite(autodiff.to_numpy(backward(total)[x])).all() or INF in losses


def test_the_mean_of_no_label_is_nan(backend: Backend) -> None:
    logits, labels = born.zeros((2, 3), backend), born.tensor([0, 0], backend)
    with np.errstate(invalid="ignore"), warnings.catch_warnings(action="ignore"):
        assert math.isnan(ops.cross_entropy(logits, labels, ignore_index=0).item())
        nothing = born.tensor([0.0, 1.0, 1.0], backend)
        assert math.isnan(ops.cross_entropy(logits, labels, weight=nothing).item())
    assert ops.cross_entropy(logits, labels, reduction="sum", ignore_index=0).item() == 0.0


@pytest.mark.parametrize("kind", ["labels", "probabilities"])
def test_second_derivatives_by_logits_and_weights(kind: str, autodiff: Autodiff[Backend]) -> None:
    draw = np.random.default_rng(4)
    x = born.tensor(draw.normal(size=(3, 4)), autodiff)
    w = born.tensor(draw.uniform(0.5, 2.0, 4), autodiff)
    drawn: Any = draw.dirichlet(np.ones(4), 3) if kind == "probabilities" else np.array([3, 0, -9])
    target = born.tensor(drawn, autodiff)
    ignored = -9 if kind == "labels" else None
    for smoothing in (0.0, 0.2):

        def loss(x: Any, w: Any, smoothing: float = smoothing) -> Any:
            return ops.cross_entropy(x, target, smoothing, ignore_index=ignored, weight=w)

        check_gradients(loss, x, w, order=2)


def test_halves_are_computed_in_float32(backend: Backend) -> None:
    x = born.tensor(np.linspace(-3, 3, 12).reshape(4, 3), backend)
    labels, weight = born.tensor([0, 1, 2, 0], backend), born.tensor([1.0, 2.0, 0.5], backend)
    half = ops.cross_entropy(x.astype("float16"), labels, weight=weight.astype("float16"))
    exact = ops.cross_entropy(x, labels, weight=weight.astype("float64"))
    assert half.dtype == np.float16
    np.testing.assert_allclose(float(half), float(exact), rtol=1e-3)
