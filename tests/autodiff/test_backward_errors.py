"""Gradients that cannot be had: each error says why, and leaves everything as it was."""

from __future__ import annotations

import threading
from typing import Any, TypeAlias

import numpy as np
import pytest

import born
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import BornError, GradientError, ShapeError, TapeError

T: TypeAlias = "born.Tensor[Autodiff[Backend]]"


@pytest.fixture
def x(autodiff: Autodiff[Backend]) -> T:
    """A leaf."""
    made = born.tensor(np.array([1.0, 2.0]), autodiff)
    made.requires_grad = True
    return made


def check_unharmed(x: T, loss: T) -> None:
    """The tape still gives the gradient of the sum of squares."""
    assert x.raw.grad is None
    gradients = backward(loss)
    assert x.backend.to_numpy(gradients[x]).tolist() == [2.0, 4.0]


@pytest.mark.parametrize("accumulate", [False, True])
def test_nothing_recorded(accumulate: bool, x: T) -> None:
    loss = (x * x).sum()
    with pytest.raises(TapeError, match=r"expected a recorded loss, but nothing is .*; compute"):
        loss.backward() if accumulate else backward(loss)


@pytest.mark.parametrize("accumulate", [False, True])
def test_loss_not_on_the_tape(accumulate: bool, x: T) -> None:
    with x.backend.tape:
        loss = (x * x).sum()
    stranger = loss.detach()
    with pytest.raises(TapeError, match=r"expected a loss on the tape, got one .* not; compute"):
        stranger.backward() if accumulate else backward(stranger)
    check_unharmed(x, loss)


@pytest.mark.parametrize("accumulate", [False, True])
def test_loss_that_is_no_scalar(accumulate: bool, x: T) -> None:
    with x.backend.tape:
        y = x * x
        loss = y.sum()
    message = r"expected a loss with one element, got shape \(2,\); reduce it .* or pass .* a seed"
    with pytest.raises(ShapeError, match=message):
        y.backward() if accumulate else backward(y)
    check_unharmed(x, loss)


def test_loss_of_no_elements(x: T) -> None:
    with x.backend.tape:
        y = x[:0]
    with pytest.raises(ShapeError, match=r"one element, got shape \(0,\)"):
        backward(y)


@pytest.mark.parametrize("accumulate", [False, True])
def test_consumed_tape(accumulate: bool, x: T) -> None:
    with x.backend.tape:
        loss = (x * x).sum()
    backward(loss)
    with pytest.raises(TapeError, match=r"a backward pass has consumed; pass keep_tape=True"):
        loss.backward() if accumulate else backward(loss)
    with x.backend.tape:
        again = (x * x).sum()
    with pytest.raises(TapeError, match="consumed"):
        backward(loss)
    check_unharmed(x, again)


def test_cleared_tape(x: T) -> None:
    with x.backend.tape:
        loss = (x * x).sum()
    x.backend.tape.clear()
    with pytest.raises(TapeError, match=r"expected a .*loss.*; compute"):
        backward(loss)


@pytest.mark.parametrize("accumulate", [False, True])
def test_loss_of_another_thread(accumulate: bool, x: T) -> None:
    with x.backend.tape:
        loss = (x * x).sum()
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            loss.backward() if accumulate else backward(loss)
        except TapeError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "recorded by this thread" in str(errors[0])
    assert "; call backward where the loss was computed" in str(errors[0])
    check_unharmed(x, loss)


@pytest.mark.parametrize("accumulate", [False, True])
def test_backend_that_records_nothing(accumulate: bool, backend: Backend) -> None:
    loss: Any = born.ones((), backend)
    message = r"expected a loss on .*Autodiff.*, got one on .*which records nothing; make"
    with pytest.raises(TapeError, match=message):
        loss.backward() if accumulate else backward(loss)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1,), "float64"), ((2, 1), "float64"), ((2,), "float32")]
)
def test_seed_that_does_not_fit(shape: tuple[int, ...], dtype: str, x: T) -> None:
    with x.backend.tape:
        y = x * x
        loss = y.sum()
    seed = born.ones(shape, x.backend, dtype)
    message = r"expected a seed of shape \(2,\) and dtype float64.*, got .* and .*; reshape"
    with pytest.raises(GradientError, match=message):
        backward(y, seed=seed)
    check_unharmed(x, loss)


def test_retained_tensor_that_is_not_on_the_tape(x: T) -> None:
    with x.backend.tape:
        loss = (x * x).sum()
    with pytest.raises(TapeError, match=r"expected .*got"):
        backward(loss, retain=[born.ones((), x.backend)])
    check_unharmed(x, loss)


@pytest.mark.parametrize("loss", [1.0, None, np.ones(())])
def test_loss_that_is_no_tensor(loss: Any) -> None:
    with pytest.raises(BornError, match=r"expected a .*tensor.*got.*; "):
        backward(loss)


def test_retained_thing_that_is_no_tensor(x: T) -> None:
    with x.backend.tape:
        loss = (x * x).sum()
    with pytest.raises(BornError, match=r"expected .*tensor.*got.*; "):
        backward(loss, retain=[1.0])  # type: ignore[list-item]  # wrong on purpose
    check_unharmed(x, loss)
