"""An affine map of few rows by a large matrix, which backends may compute the other way round."""

from __future__ import annotations

import numpy as np
import pytest

from born.backend import Backend
from born.raw import RawTensor

# (leading axes, inputs, outputs): beside and beyond where the CPU backends exchange the operands,
# with rows and outputs that no square of eight divides, inputs that are not matrices, and axes of
# no elements.
SHAPES = (
    ((2,), 300, 501),
    ((8,), 64, 256),
    ((17,), 131, 77),
    ((64,), 37, 519),
    ((65,), 40, 520),
    ((128,), 784, 512),
    ((129,), 300, 600),
    ((1,), 600, 700),
    ((0,), 600, 700),
    ((16,), 0, 700),
    ((), 100, 256),
    ((3, 5), 100, 256),
    ((0, 5), 100, 256),
)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["linear", "linear_relu"])
def test_products_of_few_rows(
    backend: Backend, shape: tuple[tuple[int, ...], int, int], dtype: str, name: str
) -> None:
    leading, inputs, outputs = shape
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*leading, inputs)).astype(dtype)
    weight = rng.normal(size=(outputs, inputs)).astype(dtype)
    bias = rng.normal(size=outputs).astype(dtype)

    wanted = x.astype(np.float64) @ weight.astype(np.float64).T + bias
    if name == "linear_relu":
        wanted = np.maximum(wanted, 0)

    operands = [backend.from_numpy(operand) for operand in (x, weight, bias)]
    given = backend.to_numpy(getattr(backend, name)(*operands))

    assert (given.shape, given.dtype) == (wanted.shape, np.dtype(dtype))
    np.testing.assert_allclose(given, wanted, atol=2e-4 if dtype == "float32" else 1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operands_with_gaps_in_memory(cpu_backend: Backend, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 34)).astype(dtype).T[::2]
    weight = rng.normal(size=(512, 1200)).astype(dtype)[:, ::2]

    given = cpu_backend.linear(RawTensor(x), RawTensor(weight)).array

    assert given.flags.c_contiguous
    np.testing.assert_allclose(given, x @ weight.T, atol=2e-4 if dtype == "float32" else 1e-11)


def test_operands_of_the_other_byte_order(cpu_backend: Backend) -> None:
    x, weight, bias = (np.ones(shape, ">f4") for shape in [(8, 64), (256, 64), (256,)])
    for name in ("linear", "linear_relu"):
        y = getattr(cpu_backend, name)(RawTensor(x), RawTensor(weight), RawTensor(bias))
        np.testing.assert_array_equal(y.array, 65)
