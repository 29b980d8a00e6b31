"""Each gradient owns its memory, and an update reads every gradient before it changes memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import nn, ops, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from tests.autodiff.leaf import T, leaf

SHARING: dict[str, Callable[[T, T], T]] = {
    "a sum": lambda p, q: ((p + q) ** 2).sum(),
    "a reshaped sum": lambda p, q: ((p.reshape((2, 1)) + q.reshape((2, 1))) ** 2).sum(),
    "a difference": lambda p, q: ((p - (q * -1.0)) ** 2).sum(),
    "a concatenation": lambda p, q: (ops.concatenate([p, q]) ** 2).sum(),
    "one tensor twice": lambda p, q: ((p + p + q) ** 2).sum(),
    "a transposition": lambda p, q: ((p.reshape((1, 2)).T + q.reshape((2, 1))) ** 2).sum(),
}


@pytest.mark.parametrize("name", SHARING)
def test_changing_one_gradient_changes_no_other(name: str, autodiff: Autodiff[Backend]) -> None:
    p, q = leaf(autodiff, 1.0, 2.0), leaf(autodiff, 3.0, 4.0)
    with autodiff.tape:
        loss = SHARING[name](p, q)
    gradients = backward(loss)
    before = autodiff.to_numpy(gradients[q])
    inner = autodiff.inner
    inner.assign(gradients[p], inner.mul(gradients[p], 0.5))
    np.testing.assert_array_equal(autodiff.to_numpy(gradients[q]), before)


def test_retained_gradients_own_their_memory_too(autodiff: Autodiff[Backend]) -> None:
    p = leaf(autodiff, 1.0, 2.0)
    with autodiff.tape:
        y = p + 0.0
        loss = (y * 3.0).sum()
    gradients = backward(loss, retain=[y])
    autodiff.inner.assign(gradients[y], autodiff.inner.zeros((2,), "float64"))
    assert autodiff.to_numpy(gradients[p]).tolist() == [3.0, 3.0]


def test_a_gradient_is_not_the_seed(autodiff: Autodiff[Backend]) -> None:
    p, seed = leaf(autodiff, 1.0, 2.0), autodiff.inner.from_numpy(np.array([3.0, 4.0]))
    with autodiff.tape:
        y = p + 0.0
    gradients = backward(y, seed=seed)
    autodiff.inner.assign(seed, autodiff.inner.zeros((2,), "float64"))
    assert autodiff.to_numpy(gradients[p]).tolist() == [3.0, 4.0]


def _view(q: nn.Parameter[Any]) -> Any:
    return q.raw.array.reshape(4)


def _part(q: nn.Parameter[Any]) -> Any:
    return q.raw.array.reshape(4)[:4]


@pytest.mark.parametrize("alias", [_view, _part])
@pytest.mark.parametrize("order", [1, -1])
def test_a_gradient_in_another_parameters_memory(
    alias: Callable[[nn.Parameter[Any]], Any], order: int, backend: Backend
) -> None:
    p = nn.Parameter(born.ones(4, backend))
    q = nn.Parameter(born.full((2, 2), 2.0, backend))
    optimizer = optim.SGD([p, q][::order], optim.SGDConfig(lr=1.0))
    gradients = {q.raw: born.full((2, 2), 5.0, backend).raw, p.raw: born.RawTensor(alias(q))}
    optimizer.step(gradients)
    assert p.numpy().tolist() == [-1.0] * 4
    assert q.numpy().tolist() == [[-3.0] * 2] * 2


def test_a_sum_of_gradients_owns_its_memory(autodiff: Autodiff[Backend]) -> None:
    p, q = leaf(autodiff, 1.0, 2.0), leaf(autodiff, 3.0, 4.0)
    with autodiff.tape:
        first, second = (p * 3.0).sum(), (q * 5.0).sum()
    one, other = backward(first), backward(second)
    total = one + other
    for parameter in (p, q):
        autodiff.inner.assign(total[parameter], autodiff.inner.zeros((2,), "float64"))
    assert autodiff.to_numpy(one[p]).tolist() == [3.0, 3.0]
    assert autodiff.to_numpy(other[q]).tolist() == [5.0, 5.0]
