"""Functions of each element on the device are NumPy's, to rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import pytest

from born.raw import HostArray, RawTensor, as_dtype
from born_cupy.sources.elementwise import FUNCTIONS, elementwise
from born_numpy import NumpyBackend
from tests.cupy.kernels import FLOATING, LAUNCHER, numbers
from tests.operations.test_values import EPSILON, assert_close

NUMPY: Final = NumpyBackend()

REFERENCES: Final[dict[str, Callable[..., RawTensor]]] = {
    "relu": NUMPY.relu,
    "relu_backward": NUMPY.relu_backward,
    "rsqrt": NUMPY.rsqrt,
    "sigmoid": NUMPY.sigmoid,
    "silu": NUMPY.silu,
    "softplus": NUMPY.softplus,
    "erf": NUMPY.erf,
    "gelu": NUMPY.gelu,
    "gelu_backward": NUMPY.gelu_backward,
    "gelu_tanh": partial(NUMPY.gelu, approximate="tanh"),
    "gelu_tanh_backward": partial(NUMPY.gelu_backward, approximate="tanh"),
}
"""Function -> the same on the CPU."""

POSITIVE: Final = ("rsqrt",)
"""Functions that are not defined below zero."""

SIZES: Final = (0, 1, 33, 1000, 20_000)
"""Of less than a block, of several, and of more than are launched at once."""


def computed(name: str, *operands: HostArray) -> HostArray:
    """The function on the host, by the device's kernel."""
    result = np.empty_like(operands[0])
    source = elementwise(name, result.dtype)
    LAUNCHER.elements(source, result.size, *operands, result, np.int64(result.size))
    return result


def expected(name: str, *operands: HostArray) -> HostArray:
    """The function in double."""
    with np.errstate(all="ignore"):
        wide = [RawTensor(operand.astype(np.float64)) for operand in operands]
        return NUMPY.to_numpy(REFERENCES[name](*wide))


def test_every_function_has_a_reference() -> None:
    assert sorted(REFERENCES) == sorted(FUNCTIONS)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name: str, dtype: str, size: int) -> None:
    operands = [numbers((size,), dtype, seed) for seed, _ in enumerate(FUNCTIONS[name].operands)]
    if name in POSITIVE:
        operands = [np.abs(operand) + operand.dtype.type(1) for operand in operands]
    found = computed(name, *operands)
    wide = [operand.astype(np.float64) for operand in operands]
    assert_close(found.astype(np.float64), expected(name, *operands), dtype, *wide)


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "gelu" not in name])
def test_what_is_not_finite(name: str, dtype: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0]).astype(as_dtype(dtype))
    operands = [x, x[::-1].copy()][: len(FUNCTIONS[name].operands)]
    found = computed(name, *operands).astype(np.float64)
    np.testing.assert_allclose(found, expected(name, *operands), rtol=2 * EPSILON[dtype])


def test_erf_of_single_is_rounded_once_from_double() -> None:
    x = np.random.default_rng(0).uniform(-4.0, 4.0, 5000).astype(np.float32)
    once = expected("erf", x).astype(np.float32)
    np.testing.assert_array_max_ulp(computed("erf", x), once, maxulp=1)
    assert (computed("erf", x) != once).mean() < 1e-3
