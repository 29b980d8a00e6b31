"""The registrars: each form of derivative gives the gradient, and keeps alive what it names."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

import born
from born import RawTensor
from born.autodiff import Autodiff, backward
from born.autodiff.autodiff import recorded
from born.autodiff.derivatives import DERIVATIVES
from born.autodiff.derivatives.registrars import Required, of_input, of_result, pullback_of
from born.autodiff.tape import Pullback
from born.backend import Backend
from born.raw import HostArray
from tests.autodiff.leaf import leaf

Register: TypeAlias = Callable[[str], object]
Define: TypeAlias = Callable[[Callable[..., Any], Register], Callable[..., Any]]


@pytest.fixture
def define(autodiff: Autodiff[Backend], monkeypatch: pytest.MonkeyPatch) -> Define:
    """Adds an operation to the contract and its derivative to the table, for one test."""

    def define(compute: Callable[..., Any], register: Register) -> Callable[..., Any]:
        monkeypatch.setattr(Backend, "added", compute, raising=False)
        register("added")
        operation = recorded("added", DERIVATIVES.pop("added"))
        return partial(operation, autodiff)

    return define


def _pullback_of_square(name: str) -> None:
    @pullback_of(name)
    def _(b: Backend, out: RawTensor, required: Required, x: RawTensor) -> Pullback:
        double = b.mul(x, 2)
        return lambda g: b.mul(g, double)


Compute: TypeAlias = Callable[[Backend, RawTensor], Any]
Slope: TypeAlias = Callable[[HostArray], HostArray]

FORMS: Final[dict[str, tuple[Compute, Register, Slope, bool, bool]]] = {
    "input": (
        lambda b, x: b.mul(x, x),
        lambda name: of_input(name, lambda b, g, x: b.mul(g, b.mul(x, 2))),
        lambda x: 2 * x,
        True,
        False,
    ),
    "shape of the input": (
        lambda b, x: b.sum(x),
        lambda name: of_input(name, lambda b, g, x_shape: b.broadcast_to(g, x_shape)),
        np.ones_like,
        False,
        False,
    ),
    "result": (
        lambda b, x: b.exp(x),
        lambda name: of_result(name, lambda b, g, y: b.mul(g, y)),
        np.exp,
        False,
        True,
    ),
    "result and input": (
        lambda b, x: b.div(1, x),
        lambda name: of_result(name, lambda b, g, y, x: b.neg(b.mul(g, b.div(y, x)))),
        lambda x: -1 / x**2,
        True,
        True,
    ),
    "result and shape of the input": (
        lambda b, x: b.exp(b.sum(x)),
        lambda name: of_result(name, lambda b, g, y, x_shape: b.broadcast_to(b.mul(g, y), x_shape)),
        lambda x: np.full_like(x, np.exp(x.sum())),
        False,
        True,
    ),
    "residual": (
        lambda b, x: (b.mul(x, x), b.mul(x, 2)),
        lambda name: of_result(name, lambda b, g, double: b.mul(g, double), residual=1),
        lambda x: 2 * x,
        False,
        False,
    ),
    "pullback": (lambda b, x: b.mul(x, x), _pullback_of_square, lambda x: 2 * x, False, False),
}
"""What a derivative reads -> operation, registrar, derivative, is the input kept, the result."""


@pytest.mark.parametrize("reads", FORMS)
def test_derivative_of_one_tensor(reads: str, define: Define, autodiff: Autodiff[Backend]) -> None:
    compute, register, slope, *kept = FORMS[reads]
    operation = define(compute, register)
    values = [1.0, 2.0, 0.5]
    x = leaf(autodiff, *values)
    gc.disable()  # what is freed was freed because nothing refers to it
    try:
        with autodiff.tape:
            copied = x * 1.0
            result = operation(copied.raw)
            y = born.Tensor(result[0] if reads == "residual" else result, autodiff)
            loss = y.sum()
        alive = weakref.ref(copied.raw.array), weakref.ref(y.raw.array)
        del copied, result, y
        assert [each() is not None for each in alive] == kept
    finally:
        gc.enable()
    found = autodiff.to_numpy(backward(loss)[x])
    np.testing.assert_allclose(found, slope(np.array(values)), rtol=1e-14)


def _scaled_product(b: Backend, x: Any, note: str, y: Any, scale: float = 1.0) -> RawTensor:
    return b.mul(b.mul(x, y), scale)


def _scaled_product_gradients(name: str) -> None:
    of_input(
        name,
        lambda b, g, x_shape, note, y, scale=1.0: b.mul(b.mul(g, y), scale),
        None,
        lambda b, g, x, note, y_shape, scale=1.0: b.mul(b.mul(g, x), scale),
    )


@pytest.mark.parametrize("tracked", ["x", "y", "both"])
def test_derivative_of_several_tensors(
    tracked: str, define: Define, autodiff: Autodiff[Backend]
) -> None:
    product = define(_scaled_product, _scaled_product_gradients)
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


def test_number_among_several_tensors(define: Define, autodiff: Autodiff[Backend]) -> None:
    product = define(_scaled_product, _scaled_product_gradients)
    x = leaf(autodiff, 1.0, 2.0)
    with autodiff.tape:
        loss = born.Tensor(product(x.raw, "a note", 4.0, 0.5), autodiff).sum()
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [2.0, 2.0]
