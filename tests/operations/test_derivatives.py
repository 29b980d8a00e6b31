"""Every derivative agrees with central differences in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import born
from born.autodiff import Autodiff, backward, grad
from born.backend import Backend
from born.raw import HostArray, RawTensor
from tests.operations.computing import computing
from tests.operations.differences import TOLERANCE, Objective, central_difference
from tests.operations.drawing import LAYOUTS, Case, place
from tests.operations.table import DIFFERENTIABLE, calls, empty_calls, scalar_calls

SEEDS = st.integers(0, 2**32 - 1)


def check_gradients(case: Case, backend: Backend, data: st.DataObject) -> None:
    """The gradient of each tracked input is the slope of the objective, the others have none."""
    objective = Objective(case, backend, data.draw(SEEDS))
    autodiff = Autodiff(backend)
    leaves: list[RawTensor] = []
    for x in case.inputs:
        leaf = place(autodiff, x, data.draw(st.sampled_from(LAYOUTS)))
        leaf.requires_grad = data.draw(st.booleans())
        leaves.append(leaf)
    leaves[0].requires_grad |= not any(leaf.requires_grad for leaf in leaves)
    with autodiff.tape:
        loss = objective.value(*(born.Tensor(leaf, autodiff) for leaf in leaves))
    gradients = backward(loss)
    assert set(gradients) == {leaf for leaf in leaves if leaf.requires_grad}
    for i, (leaf, x) in enumerate(zip(leaves, case.inputs, strict=True)):
        if not leaf.requires_grad:
            continue
        gradient = gradients[leaf]
        assert gradient.shape == x.shape
        assert gradient.dtype == np.float64
        if x.size == 0:
            continue
        direction = objective.direction(i)
        found = backend.to_numpy(gradient) * direction
        expected = central_difference(objective.at, case.inputs, i, direction)
        scale = 1.0 + abs(found).sum() + abs(objective.at(case.inputs))
        assert abs(found.sum() - expected) <= TOLERANCE * scale


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@given(data=st.data())
@settings(max_examples=24)
def test_gradient_is_the_slope(name: str, backend_name: str, data: st.DataObject) -> None:
    case = data.draw(calls(name) | empty_calls(name) | scalar_calls(name))
    check_gradients(case, computing(backend_name), data)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@given(data=st.data())
@settings(max_examples=5)
def test_second_derivative_is_the_slope_of_the_first(
    name: str, backend_name: str, data: st.DataObject
) -> None:
    case, backend = data.draw(calls(name)), computing(backend_name)
    objective = Objective(case, backend, data.draw(SEEDS))
    directions = [objective.direction(i) for i in range(len(case.inputs))]

    def slopes(*tensors: born.Tensor[Any]) -> born.Tensor[Any]:
        return objective.slopes_along(directions, *tensors)

    way = data.draw(st.sampled_from(["one level", "two levels", "on a tape"]))
    autodiff: Autodiff[Any] = Autodiff(backend)
    autodiff = Autodiff(autodiff) if way == "two levels" else autodiff
    tensors = [born.Tensor(autodiff.from_numpy(x), autodiff) for x in case.inputs]
    for i in range(len(case.inputs)):
        gradient = grad(slopes, argnum=i)(*tensors)
        assert gradient.shape == case.inputs[i].shape
        if way == "on a tape":
            recorded = _recorded_gradient(slopes, tensors, i)
            np.testing.assert_array_equal(recorded, gradient.numpy())
        direction = objective.direction(i)
        found = gradient.numpy() * direction
        expected = central_difference(
            lambda xs: objective.slopes_at(directions, xs), case.inputs, i, direction
        )
        scale = 1.0 + abs(found).sum() + abs(objective.slopes_at(directions, case.inputs))
        assert abs(found.sum() - expected) <= TOLERANCE * scale


def _recorded_gradient(
    function: Callable[..., born.Tensor[Any]], tensors: Sequence[born.Tensor[Any]], position: int
) -> HostArray:
    """The gradient that `backward` finds of a function that calls `grad` itself."""
    copies = [x.detach() for x in tensors]
    copies[position].requires_grad = True
    autodiff = copies[0].backend
    with autodiff.tape:
        loss = function(*copies)
    if loss.raw.node is None:
        return np.zeros(copies[position].shape)
    gradient: HostArray = autodiff.to_numpy(backward(loss)[copies[position]])
    return gradient
