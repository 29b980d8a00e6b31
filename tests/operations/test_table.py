"""The table of operations is complete, and says of each how it is differentiated."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from born.autodiff import Autodiff
from born.autodiff.derivatives import CONSTANT as WITHOUT_GRADIENT
from born.autodiff.derivatives import DERIVATIVES
from born.backend import OPERATIONS, Backend
from tests.operations.computing import computing
from tests.operations.row import Derivative
from tests.operations.table import CONSTANT, DIFFERENTIABLE, ROWS, calls


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    assert sorted(ROWS) == sorted(OPERATIONS)


def test_derivatives_are_of_operations_and_stand_in_one_place() -> None:
    assert set(DERIVATIVES) <= set(OPERATIONS)
    assert set(OPERATIONS) >= WITHOUT_GRADIENT
    assert not WITHOUT_GRADIENT & set(DERIVATIVES)


@pytest.mark.parametrize("name", OPERATIONS)
def test_row_says_how_the_operation_is_differentiated(name: str) -> None:
    if name in DERIVATIVES:
        derivative = Derivative.ROW
    elif name in WITHOUT_GRADIENT:
        derivative = Derivative.CONSTANT
    else:
        derivative = Derivative.COMPOSED
    assert ROWS[name].derivative is derivative


@pytest.mark.parametrize("name", OPERATIONS)
def test_only_an_operation_with_a_default_is_recorded_by_composition(name: str) -> None:
    required = OPERATIONS[name]
    assert not (required and ROWS[name].derivative is Derivative.COMPOSED)
    assert getattr(getattr(Backend, name), "__isabstractmethod__", False) is required


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@given(data=st.data())
@settings(max_examples=3)
def test_differentiable_operation_is_recorded(
    name: str, backend_name: str, data: st.DataObject
) -> None:
    case = data.draw(calls(name))
    autodiff = Autodiff(computing(backend_name))
    leaves = [autodiff.from_numpy(x) for x in case.inputs]
    case.results(autodiff, leaves)
    assert len(autodiff.tape) == 0, "nothing is recorded before the tape is started"
    for leaf in leaves:
        leaf.requires_grad = True
    with autodiff.tape:
        results = case.results(autodiff, leaves)
    assert results
    assert len(autodiff.tape) > 0


@pytest.mark.parametrize("name", CONSTANT)
@given(data=st.data())
@settings(max_examples=3)
def test_constant_operation_is_not_recorded(
    name: str, backend_name: str, data: st.DataObject
) -> None:
    case = data.draw(calls(name))
    autodiff = Autodiff(computing(backend_name))
    leaves = [autodiff.from_numpy(x) for x in case.inputs]
    for leaf in leaves:
        leaf.requires_grad = True
    with autodiff.tape:
        results = case.results(autodiff, leaves)
    assert len(autodiff.tape) == 0
    assert all(autodiff.tape.origin_of(result) is None for result in results)
