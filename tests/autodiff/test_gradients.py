"""`backward` and `Gradients`: the map from tensor to gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import born
from born import nn, ops
from born.autodiff import Autodiff, Gradients, backward
from born.backend import Backend
from born.errors import BackendMismatchError, BornError, MissingGradientError
from tests.autodiff.leaf import AD, T, leaf


def values(gradients: Gradients, key: born.RawTensor | T) -> list[float]:
    found: list[float] = gradients.backend.to_numpy(gradients[key]).tolist()
    return found


def squares(*tensors: T) -> Gradients:
    with tensors[0].backend.tape:
        loss = (tensors[0] * tensors[0]).sum()
        for tensor in tensors[1:]:
            loss = loss + (tensor * tensor).sum()
    return backward(loss)


def test_lookup_by_raw_tensor_tensor_and_parameter(autodiff: AD) -> None:
    parameter = nn.Parameter(born.tensor(np.array([1.0, 2.0]), autodiff), "w")
    gradients = squares(parameter)
    assert isinstance(gradients, Mapping)
    for key in (parameter, parameter.raw, parameter.tensor):
        assert values(gradients, key) == [2.0, 4.0]
        assert key in gradients
        assert gradients.get(key) is gradients[key]
    assert list(gradients) == [parameter.raw]
    assert list(gradients.items()) == [(parameter.raw, gradients[parameter])]
    assert len(gradients) == 1
    assert gradients.leaves == {parameter.raw}
    assert gradients.backend is autodiff.inner
    assert repr(gradients) == "Gradients of 1 tensors of shapes (2,)"


def test_missing_gradient(autodiff: AD) -> None:
    x, other = leaf(autodiff, 1.0), leaf(autodiff, 2.0)
    gradients = squares(x)
    assert other not in gradients
    assert gradients.get(other) is None
    assert gradients.get(other, "none") == "none"
    with pytest.raises(MissingGradientError, match=r"^expected a tensor .*got Tensor\(.*; set"):
        gradients[other]
    with pytest.raises(KeyError):
        gradients[other.raw]


def test_sum_counts_missing_as_zero(autodiff: AD, backend_name: str) -> None:
    x, y, z = leaf(autodiff, 1.0), leaf(autodiff, 2.0), leaf(autodiff, 3.0)
    one, other = squares(x, y), squares(y, z)
    total = one + other
    assert [values(total, each) for each in (x, y, z)] == [[2.0], [8.0], [6.0]]
    assert total.leaves == {x.raw, y.raw, z.raw}
    assert values(one, y) == [4.0], "the terms are what they were"
    stranger = squares(leaf(Autodiff(born.get_backend(backend_name)), 1.0))
    with pytest.raises(BackendMismatchError, match=r"expected gradients of one backend, got .*; "):
        one.__add__(stranger)
    assert z not in one


def test_scaling_and_averaging(autodiff: AD) -> None:
    x = leaf(autodiff, 1.0, 2.0)
    gradients = squares(x)
    assert values(gradients * 0.5, x) == [1.0, 2.0]
    assert values(0.5 * gradients, x) == [1.0, 2.0]
    assert values(gradients / 4, x) == [0.5, 1.0]
    assert values(gradients, x) == [2.0, 4.0]
    assert (gradients * 2).leaves == gradients.leaves
    total = sum((squares(x) for _ in range(3)), gradients)
    assert values(total / 4, x) == [2.0, 4.0]


def test_select_keeps_what_there_is(autodiff: AD) -> None:
    x, y, z = leaf(autodiff, 1.0), leaf(autodiff, 2.0), leaf(autodiff, 3.0)
    chosen = squares(x, y).select([y, z])
    assert list(chosen) == [y.raw]
    assert chosen.leaves == {y.raw}
    assert values(chosen, y) == [4.0]


def test_map_of_ones_own(backend: Backend) -> None:
    x = backend.zeros((2,), "float32")
    gradients = Gradients({x: backend.ones((2,), "float32")}, backend)
    assert values(gradients + gradients, x) == [2.0, 2.0]
    assert gradients.leaves == {x}
    assert repr(Gradients({}, backend)) == "Gradients of 0 tensors of shapes none"


def test_retained_results(autodiff: AD) -> None:
    x = leaf(autodiff, 1.0, 2.0)
    with autodiff.tape:
        y = x * 2
        z = y * y
        loss = z.sum()
        after = z * 3
    assert list(backward(loss, keep_tape=True)) == [x.raw], "leaves only, unless asked"
    gradients = backward(loss, retain=[y, z.raw, loss, x, after])
    assert values(gradients, x) == [8.0, 16.0]
    assert values(gradients, y) == [4.0, 8.0]
    assert values(gradients, z) == [1.0, 1.0]
    assert gradients[loss].item() == 1.0
    assert after not in gradients, "the loss does not depend on it"
    assert gradients.leaves == {x.raw}
    with autodiff.tape:
        y = x * 1.0
        loss = (y * y + y).sum()
    assert values(backward(loss, retain=[y]), y) == [3.0, 5.0], "both uses of it count"


@pytest.mark.parametrize("as_raw", [False, True])
def test_seed(as_raw: bool, autodiff: AD) -> None:
    x = leaf(autodiff, 1.0, 2.0)
    with autodiff.tape:
        y = x * x
    seed = born.tensor(np.array([10.0, 1.0]), autodiff)
    gradients = backward(y, seed=seed.raw if as_raw else seed)
    assert values(gradients, x) == [20.0, 4.0]


def test_losses_of_no_elements_and_of_several_axes(autodiff: AD) -> None:
    nothing, x = leaf(autodiff), leaf(autodiff, 3.0)
    with autodiff.tape:
        y, loss = nothing * nothing, (x * x).reshape(1, 1)
    seed = born.zeros(0, autodiff, "float64")
    assert backward(y, seed=seed, keep_tape=True)[nothing].shape == (0,)
    assert values(backward(loss), x) == [6.0]


def test_keep_tape_leaves_it_as_it_was(autodiff: AD) -> None:
    x = leaf(autodiff, 1.0, 2.0)
    with autodiff.tape:
        loss = (ops.exp(x) * x).sum()
    recorded = len(autodiff.tape)
    first = backward(loss, keep_tape=True)
    assert len(autodiff.tape) == recorded
    second = backward(loss)
    assert values(first, x) == values(second, x)
    assert len(autodiff.tape) == 0


def test_gradient_has_the_dtype_of_its_tensor(autodiff: AD) -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        x = born.ones((2, 2), autodiff, dtype)
        x.requires_grad = True
        with autodiff.tape:
            y = ops.gelu(ops.layer_norm(x @ x)).astype("float32")
            loss = (y * y).mean()
        assert backward(loss)[x].dtype == x.dtype


def test_loss_backward_adds_up_in_the_leaves(autodiff: AD) -> None:
    x, untouched = leaf(autodiff, 1.0, 2.0), leaf(autodiff, 1.0)
    for times in (1, 2, 3):
        with autodiff.tape:
            loss = (x * x).sum()
        gradient = backward(loss, keep_tape=True)[x]
        loss.backward()
        assert x.raw.grad is not None
        assert autodiff.to_numpy(x.raw.grad).tolist() == [2.0 * times, 4.0 * times]
        assert autodiff.to_numpy(gradient).tolist() == [2.0, 4.0], "the map counts one pass"
    assert untouched.raw.grad is None
    assert len(autodiff.tape) == 0


def test_accumulated_gradients_do_not_share_what_they_add_up(autodiff: AD) -> None:
    x, y = leaf(autodiff, 1.0, 2.0), leaf(autodiff, 3.0, 4.0)
    with autodiff.tape:
        loss = (x + y).sum()
    loss.backward()
    with autodiff.tape:
        loss = (x * 10.0).sum()
    loss.backward()
    assert x.raw.grad is not None
    assert y.raw.grad is not None
    assert autodiff.to_numpy(x.raw.grad).tolist() == [11.0, 11.0]
    assert autodiff.to_numpy(y.raw.grad).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("seed", [2.0, np.ones(()), [1.0], "stranger"])
def test_seed_that_is_no_tensor_of_this_backend(seed: Any, autodiff: AD, backend_name: str) -> None:
    x = leaf(autodiff, 1.0)
    with autodiff.tape:
        loss = (x * x).sum()
    recorded = len(autodiff.tape)
    if seed == "stranger":
        seed = born.ones((), born.get_backend(backend_name), "float64")
    with pytest.raises(BornError, match=r"expected a seed .*got.*; "):
        backward(loss, seed=seed)
    assert len(autodiff.tape) == recorded
    assert values(backward(loss), x) == [2.0]
