"""`cross_entropy` with weights, ignored labels and probabilities, beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, backward
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
    with pytest.raises(ShapeError, match=r"a weight for each of the 3 classes, got shape \(2,\)"):
        ops.cross_entropy(logits, labels, weight=born.ones(2, backend))
    with pytest.raises(ShapeError, match=r"of the logits' shape .2, 3..*got .2, 4."):
        ops.cross_entropy(logits, born.ones((2, 4), backend))
    with pytest.raises(DTypeError, match="expected integer class labels"):
        ops.cross_entropy(logits, born.ones(2, backend), ignore_index=0)
    with pytest.raises(ShapeError, match="ignore_index beside them"):
        ops.cross_entropy(logits, logits, ignore_index=0)
    with pytest.raises(IndexOutOfRangeError, match="labels from 0 to 2"):
        ops.cross_entropy(logits, born.tensor([0, 3], backend), ignore_index=-1)
    with pytest.raises(DTypeError, match=r"one dtype in .*float64"):
        ops.cross_entropy(logits, logits.astype("float64"))


def test_ignored_rows_get_no_gradient_even_where_they_are_infinite(
    autodiff: Autodiff[Backend],
) -> None:
    x = born.tensor([[0.0, 1.0], [-np.inf, 0.0]], autodiff, "float32")
    x.requires_grad = True
    with autodiff.tape:
        loss = ops.cross_entropy(x, born.tensor([0, -1], autodiff), ignore_index=-1)
    gradient = autodiff.to_numpy(backward(loss)[x])
    assert gradient[1].tolist() == [0.0, 0.0]
    assert np.isfinite(gradient).all()


def test_halves_are_computed_in_float32(backend: Backend) -> None:
    x = born.tensor(np.linspace(-3, 3, 12).reshape(4, 3), backend)
    labels, weight = born.tensor([0, 1, 2, 0], backend), born.tensor([1.0, 2.0, 0.5], backend)
    half = ops.cross_entropy(x.astype("float16"), labels, weight=weight.astype("float16"))
    exact = ops.cross_entropy(x, labels, weight=weight.astype("float64"))
    assert half.dtype == np.float16
    np.testing.assert_allclose(float(half), float(exact), rtol=1e-3)
