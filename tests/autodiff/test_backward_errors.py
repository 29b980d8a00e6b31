"""Gradients that cannot be had: each error says why, and leaves everything as it was."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import born
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import BornError, GradientError, ShapeError, TapeError
from tests.autodiff.leaf import T, leaf


@pytest.fixture
def x(autodiff: Autodiff[Backend]) -> T:
    return leaf(autodiff, 1.0, 2.0)


def squares(x: T) -> T:
    with x.backend.tape:
        return (x * x).sum()


def check_unharmed(x: T, loss: T) -> None:
    """The tape still gives the gradient of the sum of squares."""
    assert x.raw.grad is None
    assert x.backend.to_numpy(backward(loss)[x]).tolist() == [2.0, 4.0]


def refused(loss: Any, error: type[BornError], message: str) -> None:
    """A loss without a gradient, in either way to ask for one."""
    ways: list[Callable[[Any], object]] = [backward, born.Tensor[Any].backward]
    for differentiate in ways:
        with pytest.raises(error, match=message):
            differentiate(loss)


def test_nothing_recorded(x: T) -> None:
    message = r"expected a recorded loss, but nothing is .*; compute"
    refused((x * x).sum(), TapeError, message)
    loss = squares(x)
    x.backend.tape.clear()
    refused(loss, TapeError, r"expected a .*loss.*; compute")


def test_loss_not_on_the_tape(x: T) -> None:
    loss = squares(x)
    message = r"expected a loss on the tape, got one .* not; compute"
    refused(loss.detach(), TapeError, message)
    check_unharmed(x, loss)


def test_loss_that_is_no_scalar(x: T) -> None:
    message = r"expected a loss with one element, got shape \({}\); reduce it .* or pass .* a seed"
    with x.backend.tape:
        y, nothing = x * x, x[:0]
        loss = y.sum()
    refused(y, ShapeError, message.format("2,"))
    refused(nothing, ShapeError, message.format("0,"))
    check_unharmed(x, loss)


def test_consumed_tape(x: T) -> None:
    loss = squares(x)
    backward(loss)
    message = r"a backward pass has consumed; pass keep_tape=True"
    refused(loss, TapeError, message)
    again = squares(x)
    refused(loss, TapeError, message)
    check_unharmed(x, again)


def test_loss_of_another_thread(x: T) -> None:
    loss = squares(x)
    message = r"recorded by this thread.*; call backward where the loss was computed"
    with ThreadPoolExecutor(1) as pool:
        pool.submit(refused, loss, TapeError, message).result()
    check_unharmed(x, loss)


def test_backend_that_records_nothing(backend: Backend) -> None:
    message = r"expected a loss on .*Autodiff.*, got one on .*which records nothing; make"
    refused(born.ones((), backend), TapeError, message)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1,), "float64"), ((2, 1), "float64"), ((2,), "float32")]
)
def test_seed_that_does_not_fit(shape: tuple[int, ...], dtype: str, x: T) -> None:
    with x.backend.tape:
        y = x * x
        loss = y.sum()
    message = r"expected a seed of shape \(2,\) and dtype float64.*, got .* and .*; reshape"
    with pytest.raises(GradientError, match=message):
        backward(y, seed=born.ones(shape, x.backend, dtype))
    check_unharmed(x, loss)


def test_retained_tensor_that_is_not_on_the_tape(x: T) -> None:
    loss = squares(x)
    with pytest.raises(TapeError, match=r"expected .*got"):
        backward(loss, retain=[born.ones((), x.backend)])
    with pytest.raises(BornError, match=r"expected .*tensor.*got.*; "):
        backward(loss, retain=[1.0])  # type: ignore[list-item]  # wrong on purpose
    check_unharmed(x, loss)


@pytest.mark.parametrize("loss", [1.0, None, np.ones(())])
def test_loss_that_is_no_tensor(loss: Any) -> None:
    with pytest.raises(BornError, match=r"expected a .*tensor.*got.*; "):
        backward(loss)
