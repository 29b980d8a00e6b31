"""Windows over images on the device are those of the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pytest

from born.backend import Window
from born.raw import HostArray, RawTensor
from born_cupy.sources import Source, images
from born_numpy import NumpyBackend
from tests.cupy.kernels import FLOATING, INTEGRAL, LAUNCHER, numbers
from tests.operations.test_values import assert_close

NUMPY: Final = NumpyBackend()


@dataclass(frozen=True)
class Geometry:
    """Images of a size, and windows over them.

    Attributes:
        planes: batch and channels.
        size: height and width.
        window: what slides over them.
    """

    planes: tuple[int, int]
    size: tuple[int, int]
    window: Window

    @property
    def places(self) -> tuple[int, int]:
        """How many windows fit along height and width."""
        return self.window.counts(self.size)

    def launch(self, source: Source, count: int, *arrays: HostArray) -> None:
        """What the backend does."""
        numbers = (*self.size, *self.places, *(n for pair in self.window for n in pair))
        LAUNCHER.elements(source, count, *arrays, np.int64(count), *map(np.int64, numbers))


GEOMETRIES: Final = {
    "one element": Geometry((1, 1), (1, 1), Window((1, 1), (1, 1), (0, 0), (1, 1))),
    "three by three": Geometry((2, 3), (8, 9), Window((3, 3), (1, 1), (1, 1), (1, 1))),
    "apart": Geometry((2, 2), (9, 8), Window((2, 2), (2, 2), (0, 0), (1, 1))),
    "overlapping": Geometry((1, 2), (11, 7), Window((3, 2), (2, 1), (1, 1), (1, 1))),
    "stepped over": Geometry((2, 1), (10, 10), Window((2, 2), (3, 4), (0, 1), (1, 1))),
    "dilated": Geometry((1, 3), (9, 12), Window((3, 2), (2, 3), (1, 1), (2, 3))),
    "no images": Geometry((0, 2), (4, 4), Window((2, 2), (2, 2), (0, 0), (1, 1))),
    "more than a grid": Geometry((4, 4), (40, 41), Window((2, 2), (1, 1), (1, 0), (1, 1))),
}

EVERY: Final = pytest.mark.parametrize("case", GEOMETRIES)


def unfolded(x: HostArray, geometry: Geometry) -> HostArray:
    """The windows, by the kernel."""
    taps = int(np.prod(geometry.window[0]))
    result = np.empty((*x.shape[:2], taps, int(np.prod(geometry.places))), x.dtype)
    geometry.launch(images.unfold(x.dtype), result.size, x, result)
    return result


def folded(taps: HostArray, geometry: Geometry) -> HostArray:
    """The windows added up, by the kernel."""
    result = np.empty((*taps.shape[:2], *geometry.size), taps.dtype)
    geometry.launch(images.fold(taps.dtype), result.size, taps, result)
    return result


def pooled(x: HostArray, geometry: Geometry) -> tuple[HostArray, HostArray]:
    """The largest elements and which they are, by the kernel."""
    y = np.empty((*x.shape[:2], *geometry.places), x.dtype)
    winners = np.empty(y.shape, np.int64)
    geometry.launch(images.max_pool(x.dtype), y.size, x, y, winners)
    return y, winners


@EVERY
@pytest.mark.parametrize("dtype", [*FLOATING, *INTEGRAL])
def test_unfold(dtype: str, case: str) -> None:
    geometry = GEOMETRIES[case]
    x = numbers((*geometry.planes, *geometry.size), dtype)
    whole = x.astype(np.uint8) if dtype == "bool" else x  # bools have no zero to pad with
    expected = NUMPY.to_numpy(NUMPY.unfold(RawTensor(whole), geometry.window)).astype(x.dtype)
    assert unfolded(x, geometry).tobytes() == expected.tobytes()


@EVERY
@pytest.mark.parametrize("dtype", [*FLOATING, *INTEGRAL])
def test_fold(dtype: str, case: str) -> None:
    geometry = GEOMETRIES[case]
    count = int(np.prod(geometry.window[0])), int(np.prod(geometry.places))
    taps = numbers((*geometry.planes, *count), dtype)
    found = folded(taps, geometry)
    if dtype in ("float16", "bfloat16"):  # added up in single, and not in halves as on the CPU
        wide = NUMPY.fold(RawTensor(taps.astype(np.float64)), geometry.size, geometry.window)
        assert_close(found.astype(np.float64), NUMPY.to_numpy(wide), dtype)
    else:
        expected = NUMPY.to_numpy(NUMPY.fold(RawTensor(taps), geometry.size, geometry.window))
        np.testing.assert_array_equal(found, expected)


def test_integers_that_overflow_wrap_around() -> None:
    geometry = GEOMETRIES["three by three"]
    taps = np.full((1, 1, 9, 72), 200, np.uint8)
    expected = NUMPY.to_numpy(NUMPY.fold(RawTensor(taps), geometry.size, geometry.window))
    np.testing.assert_array_equal(folded(taps, geometry), expected)


@EVERY
@pytest.mark.parametrize("dtype", FLOATING)
def test_max_pool(dtype: str, case: str) -> None:
    geometry = GEOMETRIES[case]
    x = numbers((*geometry.planes, *geometry.size), dtype)
    expected = NUMPY.max_pool2d(RawTensor(x), geometry.window)
    for found, each in zip(pooled(x, geometry), expected, strict=True):
        np.testing.assert_array_equal(found, NUMPY.to_numpy(each))


def test_pool_of_ties_and_of_what_is_not_finite() -> None:
    geometry = Geometry((1, 1), (1, 8), Window((1, 2), (1, 2), (0, 0), (1, 1)))
    x = np.array([1.0, 1.0, -np.inf, -np.inf, 5.0, np.nan, np.nan, 7.0]).reshape(1, 1, 1, 8)
    y, winners = pooled(x, geometry)
    np.testing.assert_array_equal(y.ravel(), [1.0, -np.inf, np.nan, np.nan])
    assert winners.ravel().tolist() == [0, 0, 1, 0]


@EVERY
@pytest.mark.parametrize("dtype", FLOATING)
def test_max_pool_backward(dtype: str, case: str) -> None:
    geometry = GEOMETRIES[case]
    x = numbers((*geometry.planes, *geometry.size), dtype)
    winners = pooled(x, geometry)[1]
    g = numbers(winners.shape, dtype, seed=1)
    image = np.empty_like(x)
    geometry.launch(images.max_pool_backward(g.dtype), image.size, g, winners, image)
    wide = RawTensor(g.astype(np.float64)), RawTensor(winners)
    expected = NUMPY.max_pool2d_backward(*wide, geometry.size, geometry.window)
    assert_close(image.astype(np.float64), NUMPY.to_numpy(expected), dtype)
