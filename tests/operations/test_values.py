"""What operations compute: against NumPy in float64, and against their own defaults."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from born.backend import OPERATIONS, Backend
from born.dtypes import as_dtype
from born.errors import DTypeError
from born.raw import HostArray, RawTensor
from tests.operations.computing import computing
from tests.operations.drawing import LAYOUTS, Case, place
from tests.operations.table import LARGE, ROWS, calls, empty_calls, large_calls, scalar_calls

EPSILON: Final = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}
"""The distance from one to the next number."""

ROUNDINGS: Final = 8
"""Errors are below this many epsilons of the largest number in play: an operation rounds a few
times, a sum of sixty numbers of either sign a few times more. The largest seen is 3."""

FLOATING: Final = tuple(EPSILON)
INTEGRAL: Final = ("int32", "int64", "uint8")

COMPARED: Final = [name for name, row in ROWS.items() if row.result != "any"]
"""The operations on tensors: all but those that create."""

REFUSING: Final = [
    name
    for name in COMPARED
    if not ROWS[name].integers
    and name not in ("astype", "norm", "pow")
    and not name.endswith("_backward")
]
"""Those that take no integers. Some norms and powers of integers are integers; a gradient's
dtype was checked when its operation ran forward."""


def result_dtype(name: str, dtype: str) -> str:
    """The dtype that the row promises."""
    promised = ROWS[name].result
    if promised == "sum":
        return dtype if dtype in EPSILON else "int64"
    return promised or dtype


def rounded(array: HostArray, dtype: str) -> HostArray:
    """The nearest values of another dtype."""
    if dtype == "uint8":
        array = np.abs(array)
    return np.asarray(array).astype(as_dtype(dtype))


def assert_close(found: HostArray, expected: HostArray, dtype: str, *others: HostArray) -> None:
    """Equal to within a few roundings of the largest of all these numbers."""
    numbers = np.concatenate([np.abs(x).ravel() for x in (found, expected, *others)])
    largest = max([1.0, *numbers[np.isfinite(numbers)]])
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=ROUNDINGS * EPSILON[dtype] * largest)


def check_values(name: str, case: Case, backend: Backend, dtype: str, layout: str) -> None:
    """The results have the promised dtype, the reference's shapes and, to rounding, its values."""
    inputs = [rounded(x, dtype) for x in case.inputs]
    results = case.results(backend, [place(backend, x, layout) for x in inputs])
    assert {str(result.dtype) for result in results} <= {result_dtype(name, dtype)}
    # NumPy has scalars beside its arrays of no axes; they lack methods that arrays have.
    kind = backend.zeros((), "float32").array.__class__
    assert all(result.array.__class__ is kind for result in results)
    if case.reference is None:
        return
    exact = [x.astype(np.float64) for x in inputs] if dtype in EPSILON else inputs
    expected = case.expected(exact)
    assert [result.shape for result in results] == [each.shape for each in expected]
    for result, each in zip(results, expected, strict=True):
        found = backend.to_numpy(result)
        if dtype not in EPSILON or result.dtype == np.bool_:
            np.testing.assert_array_equal(found, each)
        else:
            assert_close(found.astype(np.float64), each, dtype, *exact)


@pytest.mark.parametrize("name", COMPARED)
@given(data=st.data(), dtype=st.sampled_from(FLOATING))
@settings(max_examples=32)
def test_values_are_those_of_numpy_in_double(
    name: str, dtype: str, backend_name: str, data: st.DataObject
) -> None:
    layout = data.draw(st.sampled_from(LAYOUTS))
    case = data.draw(calls(name) | empty_calls(name) | scalar_calls(name))
    check_values(name, case, computing(backend_name), dtype, layout)


@pytest.mark.parametrize("name", LARGE)
@given(data=st.data(), dtype=st.sampled_from(FLOATING))
@settings(max_examples=8)
def test_values_of_many_elements(
    name: str, dtype: str, backend_name: str, data: st.DataObject
) -> None:
    layout = data.draw(st.sampled_from(LAYOUTS))
    check_values(name, data.draw(large_calls(name)), computing(backend_name), dtype, layout)


@pytest.mark.parametrize("name", [name for name in COMPARED if ROWS[name].integers])
@given(data=st.data(), dtype=st.sampled_from(INTEGRAL))
@settings(max_examples=8)
def test_integers_are_those_of_numpy(
    name: str, dtype: str, backend_name: str, data: st.DataObject
) -> None:
    case = data.draw(calls(name) | empty_calls(name))
    with np.errstate(over="ignore"):  # of uint8, differences wrap around, here and there
        check_values(name, case, computing(backend_name), dtype, "contiguous")


@pytest.mark.parametrize("name", REFUSING)
@given(data=st.data())
@settings(max_examples=2)
def test_operation_on_real_numbers_refuses_integers(
    name: str, backend_name: str, data: st.DataObject
) -> None:
    case, backend = data.draw(calls(name)), computing(backend_name)
    raws = [backend.from_numpy(rounded(x, "int64")) for x in case.inputs]
    # In its own name, not that of an operation inside.
    with pytest.raises(DTypeError, match=r"^expected .*got .*; ") as caught:
        case.results(backend, raws)
    # Which speak of labels, of the singular values, and of the function.
    if name not in ("cross_entropy", "pinv", "ufunc"):
        assert f" in {name}, got " in str(caught.value)


# -- creation ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.result == "any"])
@given(data=st.data())
@settings(max_examples=15)
def test_created_values(name: str, backend_name: str, data: st.DataObject) -> None:
    case, backend = data.draw(calls(name) | empty_calls(name)), computing(backend_name)
    (result,) = case.results(backend, [])
    if case.reference is not None:
        (expected,) = case.expected([])
        np.testing.assert_array_equal(backend.to_numpy(result).astype(np.float64), expected)
    assert np.isfinite(backend.to_numpy(result).astype(np.float64)).all()


# -- an operation that a backend overrides gives what its default gives --------------------


def with_default(backend: Backend, name: str) -> Backend:
    """A backend like this one, but with the composed default of one operation."""
    kind = type(backend)
    composed = type(f"{kind.__name__}With{name}", (kind,), {name: getattr(Backend, name)})
    made: Backend = composed()
    return made


@pytest.mark.parametrize("name", [name for name, required in OPERATIONS.items() if not required])
@given(data=st.data(), dtype=st.sampled_from(FLOATING))
@settings(max_examples=15)
def test_default_gives_what_the_backend_gives(
    name: str, dtype: str, backend_name: str, data: st.DataObject
) -> None:
    backend = computing(backend_name)
    default = with_default(backend, name)
    case = data.draw(calls(name) | empty_calls(name))
    inputs = [rounded(x, dtype) for x in case.inputs]
    pairs = zip(
        case.results(backend, [backend.from_numpy(x) for x in inputs]),
        case.results(default, [default.from_numpy(x) for x in inputs]),
        strict=True,
    )
    for one, other in pairs:
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        found = backend.to_numpy(one).astype(np.float64)
        expected = default.to_numpy(other).astype(np.float64)
        assert_close(found, expected, dtype, *case.inputs)


# -- results are new tensors ---------------------------------------------------------------


@pytest.mark.parametrize("name", COMPARED)
@given(data=st.data())
@settings(max_examples=5)
def test_result_is_a_new_tensor_and_arguments_are_left_alone(
    name: str, backend_name: str, data: st.DataObject
) -> None:
    case, backend = data.draw(calls(name) | empty_calls(name)), computing(backend_name)
    raws: list[RawTensor] = [backend.from_numpy(x) for x in case.inputs]
    results = case.results(backend, raws)
    assert not {id(result) for result in results} & {id(raw) for raw in raws}
    for raw, x in zip(raws, case.inputs, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(raw), x)
