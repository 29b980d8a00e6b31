"""Conversions of two-byte floats, as every kernel shares them, against NumPy and ml_dtypes."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np
import pytest

from born.raw import HostArray
from born_cupy.kernels import Source, ctype
from tests.simulator import host

HALF: Final = np.dtype(np.float16)
BFLOAT: Final = np.dtype(ml_dtypes.bfloat16)
SINGLE: Final = np.dtype(np.float32)
DOUBLE: Final = np.dtype(np.float64)


def converting(start: np.dtype[Any], end: np.dtype[Any]) -> Source:
    """A kernel that reads elements as they are computed with, or rounds such into elements."""
    wide = ctype(max(start, end, key=lambda dtype: dtype.itemsize))
    return Source(
        "converting",
        f'extern "C" __global__ void converting(const {ctype(start)} *x, {ctype(end)} *y, i64 n) {{'
        "for (i64 i = threadIdx.x; i < n; i += blockDim.x) "
        f"put(y[i], as<{wide}>(x[i]));}}",
    )


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:  # pyright: ignore[reportUnusedFunction]  # pytest calls it
    pairs = [(narrow, wide) for narrow in (HALF, BFLOAT) for wide in (SINGLE, DOUBLE)]
    host.build(converting(*pair) for both in pairs for pair in (both, both[::-1]))


def converted(x: HostArray, dtype: np.dtype[Any]) -> HostArray:
    y = np.zeros(x.shape, dtype)
    host.launch(converting(x.dtype, dtype), 1, 64, [x, y, np.int64(x.size)])
    return y


def every(dtype: np.dtype[Any]) -> HostArray:
    """Every number of a two-byte type."""
    return np.arange(2**16, dtype=np.uint16).view(dtype)


def hard_to_round(narrow: np.dtype[Any], wide: np.dtype[Any]) -> HostArray:
    """Every finite number of `narrow`, the ties between neighbours, and next to all of those."""
    with np.errstate(all="ignore"):
        numbers = every(narrow).astype(wide)
        numbers = np.sort(numbers[np.isfinite(numbers)])
        ties = numbers[:-1] + (numbers[1:] - numbers[:-1]) / 2
        beyond = np.array([numbers[-1] * 2, 1.00195 * numbers[-1], np.inf, np.nan], wide)
        exact = np.concatenate([numbers, ties, beyond, -beyond, wide.type([1e-45, 0.0, -0.0])])
        return np.concatenate(
            [exact, np.nextafter(exact, wide.type(np.inf)), np.nextafter(exact, wide.type(-np.inf))]
        )


def assert_same_numbers(got: HostArray, expected: HostArray) -> None:
    """Equal bits; a NaN for a NaN, whose sign and payload are nobody's concern."""
    nan = np.isnan(expected)
    assert np.isnan(got[nan]).all()
    unsigned = np.dtype(f"u{got.itemsize}")
    wrong = (got.view(unsigned) != expected.view(unsigned)) & ~nan
    assert not wrong.any(), (got[wrong][:5], expected[wrong][:5])


@pytest.mark.parametrize("wide", [SINGLE, DOUBLE], ids=str)
@pytest.mark.parametrize("narrow", [HALF, BFLOAT], ids=str)
def test_every_two_byte_number_is_widened_exactly(
    narrow: np.dtype[Any], wide: np.dtype[Any]
) -> None:
    numbers = every(narrow)
    with np.errstate(invalid="ignore"):  # of NaNs that signal
        expected = numbers.astype(wide)
    assert_same_numbers(converted(numbers, wide), expected)


@pytest.mark.parametrize("wide", [SINGLE, DOUBLE], ids=str)
@pytest.mark.parametrize("narrow", [HALF, BFLOAT], ids=str)
def test_numbers_are_rounded_to_nearest_and_to_even(
    narrow: np.dtype[Any], wide: np.dtype[Any]
) -> None:
    numbers = hard_to_round(narrow, wide)
    with np.errstate(all="ignore"):
        expected = numbers.astype(narrow)
    assert_same_numbers(converted(numbers, narrow), expected)
