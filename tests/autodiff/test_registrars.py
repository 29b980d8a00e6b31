"""A derivative of several tensors: it gives the gradients, and keeps alive what it names."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import born
from born import RawTensor
from born.autodiff import backward
from born.autodiff.autodiff import recorded
from born.autodiff.derivatives import DERIVATIVES
from born.autodiff.derivatives.registrars import of_input
from born.backend import Backend
from tests.autodiff.leaf import AD, leaf


def _scaled_product(b: Backend, x: Any, note: str, y: Any, scale: float = 1.0) -> RawTensor:
    return b.mul(b.mul(x, y), scale)


@pytest.fixture
def product(autodiff: AD, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RawTensor]:
    """`_scaled_product`, for one test an operation of the contract with a derivative."""
    monkeypatch.setattr(Backend, "added", _scaled_product, raising=False)
    of_input(
        "added",
        lambda b, g, x_shape, note, y, scale=1.0: b.mul(b.mul(g, y), scale),
        None,
        lambda b, g, x, note, y_shape, scale=1.0: b.mul(b.mul(g, x), scale),
    )
    return partial(recorded("added", DERIVATIVES.pop("added")), autodiff)


@pytest.mark.parametrize("tracked", ["x", "y", "both"])
def test_derivative_of_several_tensors(
    tracked: str, product: Callable[..., RawTensor], autodiff: AD
) -> None:
    x, y = leaf(autodiff, 1.0, 2.0), leaf(autodiff, 3.0)
    x.requires_grad, y.requires_grad = tracked != "y", tracked != "x"
    with autodiff.tape:
        a, c = x * 1.0, y * 1.0
        z = born.Tensor(product(a.raw, "a note", c.raw, scale=10.0), autodiff)
        loss = z.sum()
    alive = weakref.ref(a.raw), weakref.ref(c.raw)
    del a, c, z
    assert [each() is not None for each in alive] == [tracked != "x", tracked != "y"]
    gradients = backward(loss)
    if tracked != "y":
        assert autodiff.to_numpy(gradients[x]).tolist() == [30.0, 30.0]
    if tracked != "x":
        assert autodiff.to_numpy(gradients[y]).tolist() == [30.0], "summed over what was broadcast"


def test_number_among_several_tensors(product: Callable[..., RawTensor], autodiff: AD) -> None:
    x = leaf(autodiff, 1.0, 2.0)
    with autodiff.tape:
        loss = born.Tensor(product(x.raw, "a note", 4.0, 0.5), autodiff).sum()
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [2.0, 2.0]
