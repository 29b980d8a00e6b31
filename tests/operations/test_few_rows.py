"""An affine map of few rows by a large matrix, which backends may compute the other way round."""

from __future__ import annotations

import numpy as np
import pytest

from born.backend import Backend
from born.raw import HostArray, RawTensor

# (rows, inputs, outputs): beside and beyond where the CPU backends exchange the operands, with
# rows and outputs that no square of eight divides, and with axes of no elements.
SHAPES = (
    (2, 300, 501),
    (8, 64, 256),
    (17, 131, 77),
    (64, 37, 519),
    (65, 40, 520),
    (128, 784, 512),
    (129, 300, 600),
    (1, 600, 700),
    (0, 600, 700),
    (16, 0, 700),
)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["linear", "linear_relu"])
def test_products_of_few_rows(
    backend: Backend, shape: tuple[int, int, int], dtype: str, name: str
) -> None:
    rows, inputs, outputs = shape
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, inputs)).astype(dtype)
    weight = rng.normal(size=(outputs, inputs)).astype(dtype)
    bias = rng.normal(size=outputs).astype(dtype)

    wanted = x.astype(np.float64) @ weight.astype(np.float64).T + bias
    if name == "linear_relu":
        wanted = np.maximum(wanted, 0)

    operands = [backend.from_numpy(operand) for operand in (x, weight, bias)]
    given = backend.to_numpy(getattr(backend, name)(*operands))

    assert (given.shape, given.dtype) == (wanted.shape, np.dtype(dtype))
    np.testing.assert_allclose(given, wanted, atol=2e-4 if dtype == "float32" else 1e-11)


@pytest.mark.parametrize("name", ["linear", "linear_relu"])
@pytest.mark.parametrize("leading", [(), (3, 5), (0, 5)])
def test_an_input_that_is_no_matrix(backend: Backend, leading: tuple[int, ...], name: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*leading, 100)).astype(np.float32)
    weight = rng.normal(size=(256, 100)).astype(np.float32)
    bias = rng.normal(size=256).astype(np.float32)

    wanted = x @ weight.T + bias
    if name == "linear_relu":
        wanted = np.maximum(wanted, 0)

    operands = [backend.from_numpy(operand) for operand in (x, weight, bias)]
    given = backend.to_numpy(getattr(backend, name)(*operands))

    assert given.shape == wanted.shape
    np.testing.assert_allclose(given, wanted, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operands_with_gaps_in_memory(cpu_backend: Backend, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 34)).astype(dtype).T[::2]
    weight = rng.normal(size=(512, 1200)).astype(dtype)[:, ::2]

    given = cpu_backend.linear(RawTensor(x), RawTensor(weight)).array

    assert given.flags.c_contiguous
    np.testing.assert_allclose(given, x @ weight.T, atol=2e-4 if dtype == "float32" else 1e-11)


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "dtype", "turned"),
    [
        (8, 784, 512, "float32", True),
        (8, 784, 512, "float64", False),
        (1, 784, 512, "float32", False),
        (512, 784, 512, "float32", False),
        (2, 64, 256, "float32", False),
        (8, 8, 8192, "float32", False),
    ],
)
def test_operands_are_exchanged_where_it_was_measured_to_pay(
    cpu_backend: Backend,
    rows: int,
    inputs: int,
    outputs: int,
    dtype: str,
    turned: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[tuple[int, ...]] = []

    def spied(a: HostArray) -> HostArray:
        found.append(a.shape)
        return np.ascontiguousarray(a.T)

    monkeypatch.setattr(cpu_backend, "_transpose", spied)
    cpu_backend.linear(
        cpu_backend.ones((rows, inputs), dtype), cpu_backend.ones((outputs, inputs), dtype)
    )
    assert found == ([(outputs, rows)] if turned else [])


def test_operands_of_the_other_byte_order(cpu_backend: Backend) -> None:
    x, weight, bias = (np.ones(shape, ">f4") for shape in [(8, 64), (256, 64), (256,)])
    for name in ("linear", "linear_relu"):
        y = getattr(cpu_backend, name)(RawTensor(x), RawTensor(weight), RawTensor(bias))
        np.testing.assert_array_equal(y.array, 65)
