"""The error function: exact to the precision of each dtype."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pytest

from born.backend import Backend
from born.raw import HostArray
from tests.operations import naive

SEAMS: Final = (0.84375, 1.25, 1 / 0.35, 6.0)
"""Where a usual implementation changes from one approximation to the next."""


def points() -> HostArray:
    """Numbers of all sizes, and those around the seams."""
    generator = np.random.default_rng(0)
    spread = generator.uniform(-7.0, 7.0, 20_000)
    small = np.exp(generator.uniform(math.log(1e-300), 0.0, 5_000))
    around = [
        np.nextafter(seam, side) for seam in SEAMS for side in (-np.inf, np.inf) for _ in range(2)
    ]
    return np.concatenate([spread, small, -small, around, np.linspace(-6.5, 6.5, 10_001)])


def test_double_is_within_one_ulp_of_the_c_library(backend: Backend) -> None:
    x = points()
    found = backend.to_numpy(backend.erf(backend.from_numpy(x)))
    expected = naive.erf(x)
    errors = np.abs(found - expected) / np.spacing(np.abs(expected))
    assert errors.max() <= 1.0


def test_single_is_rounded_once_from_double_or_within_the_bound_of_loops(backend: Backend) -> None:
    # Subnormal results have fewer bits, so stay above them.
    x = points().astype(np.float32)
    x = x[np.abs(x) > 1e-30]
    found = backend.to_numpy(backend.erf(backend.from_numpy(x)))
    exact = naive.erf(x)
    errors = np.abs(found.astype(np.float64) - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert found.dtype == np.float32
    # Half an ulp is the rounding itself; the rest leaves room for the double that was rounded.
    # Numba computes in float32, within what `born_numba.functions` promises.
    assert errors.max() <= (1.5 if backend.name == "numba" else 0.51)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_special_values(dtype: type[np.floating], backend: Backend) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 30.0, -30.0], dtype)
    found = backend.to_numpy(backend.erf(backend.from_numpy(x)))
    np.testing.assert_array_equal(found, np.array([0.0, -0.0, 1, -1, np.nan, 1, -1], dtype))
    assert np.signbit(found[1])
    assert not np.signbit(found[0])


def test_smallest_numbers_keep_their_slope(backend: Backend) -> None:
    x = np.array([5e-324, 1e-310, 2.3e-308, 1e-200])
    found = backend.to_numpy(backend.erf(backend.from_numpy(x)))
    np.testing.assert_array_max_ulp(found, naive.erf(x), maxulp=1)


def test_more_elements_than_a_tile_and_a_view(backend: Backend) -> None:
    x = np.linspace(-3.0, 3.0, 70_001)
    raw = backend.from_numpy(x)
    whole = backend.to_numpy(backend.erf(raw))
    # The seams between pieces computed apart must not show, nor may the order of elements.
    np.testing.assert_array_equal(whole[::7], naive_like(backend, x[::7]))
    view = backend.getitem(raw, slice(None, None, -3))
    np.testing.assert_array_equal(backend.to_numpy(backend.erf(view)), whole[::-3])


def naive_like(backend: Backend, x: HostArray) -> HostArray:
    """The backend's own values, a few hundred elements at a time."""
    parts = [backend.to_numpy(backend.erf(backend.from_numpy(p))) for p in np.array_split(x, 50)]
    return np.concatenate(parts)
