"""Matrix products that threads share: batches of small ones, and those of many rows."""

from __future__ import annotations

import numpy as np
import pytest

from born.backend import Backend
from born.backend.threads import Pool
from born.errors import ShapeError
from born.raw import HostArray, RawTensor
from born_numpy import products

BATCHES = {
    "alike": ((6, 4), (6, 4)),
    "one axis": ((40,), (40,)),
    "left repeated": ((1, 4), (6, 4)),
    "right repeated": ((6, 4), (4,)),
    "both repeated": ((6, 1), (1, 4)),
}


def _drawn(shape: tuple[int, ...], dtype: str) -> HostArray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turned", [False, True])
def test_products_are_numpys(name: str, dtype: str, turned: bool, cpu_backend: Backend) -> None:
    left, right = BATCHES[name]
    a = _drawn((*left, 64, 48), dtype)
    b = _drawn((*right, 56, 48), dtype).swapaxes(-1, -2)
    b = b if turned else np.ascontiguousarray(b)
    found = cpu_backend.matmul(RawTensor(a), RawTensor(b)).array
    np.testing.assert_allclose(found, a @ b, rtol=1e-4 if dtype == "float32" else 1e-12, atol=1e-4)
    assert found.flags.c_contiguous


def test_few_large_and_wrong_ones_are_left_to_numpy() -> None:
    assert products.shared(_drawn((4, 8, 8), "float32"), _drawn((4, 8, 8), "float32")) is None
    assert products.shared(_drawn((3, 8, 8), "float32"), _drawn((4, 8, 8), "float32")) is None
    large = np.zeros((2, 512, 512), np.float32)
    assert products.shared(large, large) is None


def test_nothing_is_said_of_infinite_products(cpu_backend: Backend) -> None:
    huge = np.full((32, 64, 64), 1e30, np.float32)
    assert np.isinf(cpu_backend.matmul(RawTensor(huge), RawTensor(huge)).array).all()


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_many_rows_are_numpys(
    workers: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "POOL", Pool(workers))
    x, weight, bias = _drawn((1025, 130), dtype), _drawn((140, 130), dtype), _drawn((140,), dtype)
    g = _drawn((1025, 140), dtype)
    rtol = 1e-4 if dtype == "float32" else 1e-12
    slope = products.product(g.T, x)
    for found, expected in (
        (products.product(x, weight.T, bias), x @ weight.T + bias),
        (products.product(g, weight), g @ weight),
        (slope, g.T @ x),
        (products.product(g.T, x, bias[:130]), g.T @ x + bias[:130]),
    ):
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-4)
    np.testing.assert_array_equal(products.product(g.T, x), slope)  # whichever thread is first


def test_a_product_of_many_rows_says_what_is_wrong(cpu_backend: Backend) -> None:
    with pytest.raises(ShapeError, match=r"\(1024, 200\) .*\(201, 8\)"):
        cpu_backend.matmul(
            RawTensor(_drawn((1024, 200), "float32")), RawTensor(_drawn((201, 8), "float32"))
        )
