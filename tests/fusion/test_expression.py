"""The maths of rules means the same for numbers on the host and for tensors."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import born
from born import fusion
from born.backend import Backend
from born.dtypes import as_dtype
from born.fusion import expression

BACKEND = born.get_backend("numpy")

# Values that float32 holds exactly, so that the host's double computes with the same numbers.
NUMBERS = st.floats(0.125, 64.0, width=32)

UNARY: dict[str, Callable[[Any], Any]] = {
    "sqrt": fusion.sqrt,
    "exp": fusion.exp,
    "log": fusion.log,
    "abs": fusion.abs,
    "sign": fusion.sign,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "maximum": fusion.maximum,
    "minimum": fusion.minimum,
}

# float32 rounds to 6e-8; exp and log of NumPy's float32 err by up to two of its units.
FLOAT32 = 3e-7


def test_tables_have_every_function() -> None:
    functions = {name for name, value in vars(expression).items() if inspect.isfunction(value)}
    public = {name for name in functions if not name.startswith("_") and name != "overload"}
    assert {*UNARY, *BINARY, "cast", "isfinite", "where"} == public
    assert all(getattr(fusion, name) is getattr(expression, name) for name in public)


EDGES = (0.0, -0.0, 65519.0, 65520.0, 3.4e38, 3.5e38, -1e300, 1e-8, 5.9e-8, 1e-46, np.inf, np.nan)


@pytest.mark.parametrize("dtype", expression.CASTS)
@given(x=st.floats(width=64) | st.sampled_from(EDGES))
def test_number_is_rounded_like_an_array(dtype: str, x: float) -> None:
    with np.errstate(all="ignore"):
        expected = np.float64(x).astype(as_dtype(dtype)).astype(np.float64)
        tensor = expression.cast(born.tensor(np.array(x), BACKEND), dtype)
    assert tensor.dtype == np.float64
    for got in (expression.cast(x, dtype), tensor.item()):
        np.testing.assert_array_equal(got, expected)
        assert np.isnan(x) or np.signbit(got) == np.signbit(expected)


def test_only_narrower_floating_dtypes_are_cast_to() -> None:
    with pytest.raises(TypeError, match="cast rounds to float16, bfloat16, float32, not to 'int8'"):
        expression.cast(1.0, "int8")


def test_truth_value_is_not_cast() -> None:
    with pytest.raises(TypeError, match=r"becomes a number by where\(condition, 1.0, 0.0\)"):
        expression.cast(True, "float16")


@pytest.mark.parametrize("name", UNARY)
@given(x=NUMBERS)
def test_number_and_tensor_agree(name: str, x: float) -> None:
    for value in (x, -x) if name in ("abs", "sign") else (x,):
        tensor = UNARY[name](born.tensor(value, BACKEND))
        assert tensor.dtype == np.float32
        assert tensor.item() == pytest.approx(UNARY[name](value), rel=FLOAT32)


@pytest.mark.parametrize("name", BINARY)
@given(x=NUMBERS, y=NUMBERS)
def test_numbers_and_tensors_agree_in_every_order(name: str, x: float, y: float) -> None:
    function = BINARY[name]
    a, b = born.tensor(x, BACKEND), born.tensor(y, BACKEND)
    expected = function(x, y)
    assert expected in (x, y)
    for result in (function(a, b), function(a, y), function(x, b)):
        assert result.item() == expected


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(("x", "y"), [(math.nan, 1.0), (1.0, math.nan)])
def test_nan_prevails(name: str, x: float, y: float) -> None:
    assert math.isnan(BINARY[name](x, y))


@pytest.mark.parametrize(("x", "expected"), [(-2.0, -1.0), (0.0, 0.0), (3, 1.0)])
def test_sign_of_numbers(x: float, expected: float) -> None:
    assert fusion.sign(x) == expected


def test_where_picks_by_a_condition_on_the_host(backend: Backend) -> None:
    x, y = born.tensor([1.0], backend), born.tensor([2.0], backend)
    assert fusion.where(True, x, y) is x
    assert fusion.where(False, x, y) is y
    assert fusion.where(2 > 1, 3.0, 4.0) == 3.0


def test_where_picks_by_element(backend: Backend) -> None:
    x = born.tensor([1.0, -2.0], backend)
    assert fusion.where(x > 0.0, x, 0.0).numpy().tolist() == [1.0, 0.0]
    assert fusion.where(x > 0.0, x, -x).numpy().tolist() == [1.0, 2.0]


def test_isfinite_of_numbers_and_elements(backend: Backend) -> None:
    assert fusion.isfinite(1.0)
    assert not fusion.isfinite(math.nan)
    assert not fusion.isfinite(-math.inf)
    x = born.tensor([1.0, math.nan, math.inf, -math.inf], backend)
    assert fusion.isfinite(x).numpy().tolist() == [True, False, False, False]
