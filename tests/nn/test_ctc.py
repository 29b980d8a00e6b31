"""`nn.ctc_loss` against PyTorch's, and against the sum over all alignments."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import born
from born import nn, ops
from born.autodiff import Autodiff, backward, check_gradients
from born.backend import Backend
from born.errors import DomainError, DTypeError, ShapeError
from born.raw import HostArray

AD = Autodiff[Backend]
FRAMES, BATCH, CLASSES = 9, 5, 4
TARGETS = np.array([[1, 2, 3, 1], [1, 1, 1, -7], [2, 99, 0, 0], [3, 3, 2, 2], [0, 0, 0, 0]])
TARGET_LENGTHS = np.array([4, 3, 1, 4, 0])
INPUT_LENGTHS = np.array([9, 7, 4, 8, 3])
KEPT = np.where(np.arange(4) < TARGET_LENGTHS[:, None], TARGETS, 1)


def logits() -> HostArray:
    return np.random.default_rng(0).normal(size=(FRAMES, BATCH, CLASSES))


def likelihood(probabilities: HostArray, target: tuple[int, ...], blank: int) -> float:
    """The sum over all alignments, one after the other."""
    total = 0.0
    for path in itertools.product(range(probabilities.shape[1]), repeat=len(probabilities)):
        merged = [label for label, _ in itertools.groupby(path)]
        if tuple(label for label in merged if label != blank) == target:
            total += float(np.prod([probabilities[t, label] for t, label in enumerate(path)]))
    return total


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("target", [(), (1,), (1, 1), (1, 3, 1)])
def test_it_sums_over_all_alignments(
    target: tuple[int, ...], blank: int, cpu_backend: Backend
) -> None:
    x = np.random.default_rng(1).dirichlet(np.ones(4), size=5)
    log_probs = born.tensor(np.log(x)[:, None], cpu_backend)
    given = np.array([[*target, 0, 0]])
    loss = nn.ctc_loss(log_probs, given, [5], [len(target)], blank=blank, reduction="sum")
    np.testing.assert_allclose(np.exp(-loss.item()), likelihood(x, target, blank), rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_values_and_gradients_are_those_of_pytorch(
    reduction: Any, zero_infinity: bool, autodiff: AD
) -> None:
    torch: Any = pytest.importorskip("torch")
    spans = INPUT_LENGTHS.copy()
    if zero_infinity:
        spans[1] = 4  # three equal labels take five frames
    theirs = torch.tensor(logits(), requires_grad=True)
    expected = torch.nn.functional.ctc_loss(
        theirs.log_softmax(-1),
        torch.tensor(KEPT),
        torch.tensor(spans),
        torch.tensor(TARGET_LENGTHS),
        reduction=reduction,
        zero_infinity=zero_infinity,
    )
    expected.sum().backward()
    ours = nn.Parameter(born.tensor(logits(), autodiff))
    with autodiff.tape:
        found = nn.ctc_loss(
            ops.log_softmax(ours, -1),
            TARGETS,
            born.tensor(spans, autodiff),
            TARGET_LENGTHS.tolist(),
            reduction=reduction,
            zero_infinity=zero_infinity,
        )
        total = found.sum()
    slope = autodiff.to_numpy(backward(total)[ours])
    np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=1e-11)
    np.testing.assert_allclose(slope, theirs.grad.numpy(), rtol=1e-10, atol=1e-13)


def test_gradients_are_slopes(autodiff: AD) -> None:
    def loss(x: Any) -> Any:
        return nn.ctc_loss(
            ops.log_softmax(x, -1), TARGETS[:2, :2], INPUT_LENGTHS[:2], np.array([2, 2])
        )

    check_gradients(loss, born.tensor(logits()[:, :2], autodiff))


def test_too_few_frames_are_infinitely_unlikely(autodiff: AD) -> None:
    x = nn.Parameter(born.tensor(logits(), autodiff))
    spans = np.array([3, 4, 0, 9, 0])  # the third has a label and no frame, the last has neither
    with autodiff.tape:
        losses = nn.ctc_loss(x, TARGETS, spans, TARGET_LENGTHS, reduction="none")
        finite = ops.where(ops.isfinite(losses), losses, 0.0).sum()
    assert np.isposinf(losses.numpy()).tolist() == [True, True, True, False, False]
    assert losses.numpy()[-1] == 0.0
    slope = autodiff.to_numpy(backward(finite)[x])
    assert np.isfinite(slope).all()
    assert not slope[:, [0, 1, 2, 4]].any()


def test_a_probability_of_zero_is_no_nan(autodiff: AD) -> None:
    certain = np.full((3, 1, 2), -np.inf)
    certain[:, 0, 1] = 0.0
    x = nn.Parameter(born.tensor(certain, autodiff))
    with autodiff.tape:
        loss = nn.ctc_loss(x, np.array([[1]]), [3], [1])
    assert loss.item() == 0.0
    assert autodiff.to_numpy(backward(loss)[x])[:, 0, 1].tolist() == [-1.0] * 3


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_dtype(dtype: str, backend: Backend) -> None:
    x = born.tensor(logits(), backend, dtype=dtype)
    given = TARGETS, INPUT_LENGTHS, TARGET_LENGTHS
    found = nn.ctc_loss(ops.log_softmax(x, -1), *given)
    exact = nn.ctc_loss(ops.log_softmax(x.astype("float64"), -1), *given).item()
    assert str(found.dtype) == dtype
    tolerance = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}[dtype]
    assert abs(found.astype("float64").item() - exact) <= tolerance * abs(exact)


def test_nothing_at_all(backend: Backend) -> None:
    none = born.zeros((4, 0, 3), backend)
    losses = nn.ctc_loss(none, np.zeros((0, 2), int), [], [], reduction="none")
    assert losses.shape == (0,)
    no_labels = nn.ctc_loss(born.zeros((2, 1, 3), backend), np.zeros((1, 0), int), [2], [0])
    assert no_labels.item() == 0.0


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"targets": TARGETS[:2]}, ShapeError, r"targets of shape \(5, longest\)"),
    ({"targets": TARGETS + 0.5}, DTypeError, "integer targets in ctc_loss, got float64"),
    ({"targets": TARGETS * 0 + 7}, DomainError, r"targets from 0 to 3 in ctc_loss, got \[7\]"),
    ({"targets": TARGETS * 0}, DomainError, "without the blank, 0"),
    ({"input_lengths": INPUT_LENGTHS[:1]}, ShapeError, r"input_lengths of shape \(5,\)"),
    ({"input_lengths": INPUT_LENGTHS + 9}, DomainError, "input_lengths from 0 to 9"),
    ({"target_lengths": TARGET_LENGTHS - 1}, DomainError, "target_lengths from 0 to 4"),
    ({"blank": 9}, DomainError, "blank below the 4 classes"),
    ({"reduction": "most"}, DomainError, "reduction"),
    ({"log_probs": np.zeros((3, 4))}, ShapeError, "log_probs of shape"),
    ({"log_probs": np.zeros((9, 5, 4), int)}, DTypeError, "a floating dtype in ctc_loss"),
]


@pytest.mark.parametrize(("change", "error", "words"), REFUSED, ids=lambda x: str(x)[:20])
def test_what_it_refuses(
    change: dict[str, Any], error: type[Exception], words: str, cpu_backend: Backend
) -> None:
    given: dict[str, Any] = {
        "log_probs": logits(),
        "targets": TARGETS,
        "input_lengths": INPUT_LENGTHS,
        "target_lengths": TARGET_LENGTHS,
        **change,
    }
    given["log_probs"] = born.tensor(given["log_probs"], cpu_backend)
    with pytest.raises(error, match=words):
        nn.ctc_loss(**given)
