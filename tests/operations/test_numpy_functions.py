"""NumPy's functions of tensors: born's own and recorded, or an error, never a silent constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import born
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import OperandError, TapeError
from tests.autodiff.leaf import leaf

_round: Callable[..., Any] = np.round


RECORDED: Final[dict[str, Callable[[Any], Any]]] = {
    "exp": np.exp,
    "sum": np.sum,
    "sum along an axis": lambda x: np.sum(x, axis=0),
    "mean": lambda x: np.mean(x, 0, keepdims=True),
    "max": np.max,
    "amax": np.amax,
    "var": lambda x: np.var(x, axis=0),
    "stack": lambda x: np.stack([x, x]),
    "concatenate": lambda x: np.concatenate((x, x), axis=0),
    "where": lambda x: np.where(np.greater(x, 1.5), x, 0.0),
    "clip": lambda x: np.clip(x, 0.5, 1.5),
    "reshape": lambda x: np.reshape(x, (1, 3)),
    "transpose": np.transpose,
    "maximum": lambda x: np.maximum(x, 2.0),
    "array on the left": lambda x: np.array([1.0, 2.0, 3.0]) * x,
    "number on the left": lambda x: np.float64(2.0) * x,
    "array to the power": lambda x: np.array([1.0, 2.0, 3.0]) ** x,
    "remainder": lambda x: np.remainder(x, 0.7),
    "absolute": np.absolute,
    "arctan": np.arctan,
    "hypot": lambda x: np.hypot(np.float64(3.0), x),
    "fmod": lambda x: np.fmod(x, 0.7),
    "round": lambda x: x - _round(x * 0.3, 1),
    "sinc": lambda x: np.sinc(x * 0.3),
    "nan_to_num": lambda x: np.nan_to_num(x, nan=1.0),
    "matmul": lambda x: np.matmul(x, x),
    "array at a tensor": lambda x: np.eye(3) @ x,
}


@pytest.mark.parametrize("name", RECORDED)
def test_they_are_borns_own(name: str, autodiff: Autodiff[Backend]) -> None:
    function = RECORDED[name]
    x = leaf(autodiff, 1.0, 2.0, 3.0)
    with autodiff.tape:
        y = function(x)
        loss = (y * y).sum()
    assert isinstance(y, born.Tensor)
    np.testing.assert_allclose(y.numpy(), function(x.numpy()), rtol=1e-15)
    assert x in backward(loss)


REFUSED: Final[dict[str, Callable[[Any], Any]]] = {
    "spacing": np.spacing,
    "reduce": np.add.reduce,
    "out": lambda x: np.multiply(x, 2.0, out=np.ones(3)),
    "dtype": lambda x: np.sum(x, dtype="float32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_born_does_not_have_is_refused(name: str, autodiff: Autodiff[Backend]) -> None:
    with pytest.raises(OperandError, match=r"^expected .*got .*; use born\.ops"):
        REFUSED[name](leaf(autodiff, 1.0, 2.0, 3.0))


def test_functions_of_arrays_alone_get_arrays(autodiff: Autodiff[Backend]) -> None:
    if autodiff.name == "cupy":
        pytest.skip("NumPy's functions are handed no array of a device")
    x: Any = leaf(autodiff, 1.0, 2.0, 2.0)
    assert np.polyval(x, 1.0) == 5.0
    assert np.shape(x) == (3,)
    assert np.allclose(x, [1.0, 2.0, 2.0])
    assert np.count_nonzero(x) == 3
    with autodiff.tape:
        y: Any = x * 2.0
        assert np.size(y) == 3
        with pytest.raises(TapeError, match=r"that a tape has recorded.*\.detach\(\)"):
            np.polyval(y, 1.0)
        assert np.polyval(y.detach(), 1.0) == 10.0


LINALG: Final[Any] = np.linalg
PRODUCTS: Final[list[Callable[[Any, Any], Any]]] = [
    np.dot,
    np.inner,
    np.outer,
    np.kron,
    np.vdot,
    lambda x, y: np.tensordot(x, y, 1),
    lambda x, y: np.einsum("ij,jk->ik", x, y),
    lambda x, y: LINALG.solve(x, y),
    lambda x, y: LINALG.norm(x, axis=0) + LINALG.norm(y),
    lambda x, y: LINALG.det(x) * LINALG.inv(y),
    lambda x, y: LINALG.cholesky(x @ x.T + y @ y.T),
    lambda x, y: LINALG.matrix_power(x, 2) @ LINALG.pinv(y),
    lambda x, y: LINALG.slogdet(x)[1] * y,
]


@pytest.mark.parametrize("number", range(len(PRODUCTS)))
def test_products_and_linear_algebra_are_numpys(number: int, autodiff: Autodiff[Backend]) -> None:
    x, y = np.array([[2.0, 1.0], [0.5, 3.0]]), np.array([[1.0, -1.0], [2.0, 0.25]])
    expected = PRODUCTS[number](x, y)
    tensors: Any = born.tensor(x, autodiff), born.tensor(y, autodiff)
    found = PRODUCTS[number](*tensors)
    assert isinstance(found, born.Tensor)
    np.testing.assert_allclose(found.tolist(), expected, rtol=1e-12)
    if number != len(PRODUCTS) - 3:  # there an array and a tensor would meet in the array's @
        beside = PRODUCTS[number](x, tensors[1])  # an array on the left
        np.testing.assert_allclose(beside.tolist(), expected, rtol=1e-12)


def test_what_is_no_tensors_kind_stays_with_numpy(autodiff: Autodiff[Backend]) -> None:
    if autodiff.name == "cupy":
        pytest.skip("NumPy's functions are handed no array of a device")
    x: Any = leaf(autodiff, 1.0, 2.0)
    names, heights = np.broadcast_arrays(np.array(["a", "b"]), x)  # as matplotlib's bar does
    assert names.tolist() == ["a", "b"]
    assert heights.tolist() == [1.0, 2.0]
