"""Reading and adding by index on the device: NumPy's results, and no memory but the array's."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

from born.raw import DTYPE_NAMES, HostArray, as_dtype
from born_cupy.sources import Source, faults, scatter
from tests.cupy.kernels import FLOATING, LAUNCHER, numbers, report
from tests.operations.test_values import EPSILON

OPERATION: Final = np.int64(3)

SHAPES: Final = ((1, 1, 1), (4, 5, 3), (1, 7, 1), (3, 2, 1), (1, 3, 500), (50, 4, 30))
"""What comes before the axis, its length, and what comes after it."""

EVERY_SHAPE: Final = pytest.mark.parametrize("shape", SHAPES)
EVERY_DTYPE: Final = pytest.mark.parametrize("dtype", DTYPE_NAMES)


def index_of(shape: tuple[int, ...], length: int) -> HostArray:
    """Indices in range, of either sign, some of them repeated."""
    return np.random.default_rng(2).integers(-length, length, shape)


def looked_up(
    source: Source, x: HostArray, index: HostArray, result: HostArray, m: int
) -> HostArray:
    """Launch a kernel that reads by index; the report that it writes."""
    written = report()
    sizes = map(np.int64, (result.size, x.shape[1], m, x.shape[2]))
    before = [] if source is scatter.places() else [x]
    LAUNCHER.elements(source, result.size, *before, index, result, *sizes, written, OPERATION)
    return written


@EVERY_DTYPE
@EVERY_SHAPE
def test_take_of_slices(shape: tuple[int, int, int], dtype: str) -> None:
    x = numbers(shape, dtype)
    index = index_of((6,), shape[1])
    y = np.empty((shape[0], 6, shape[2]), x.dtype)
    written = looked_up(scatter.take(x.itemsize, each=False), x, index, y, 6)
    assert y.tobytes() == x[:, index].tobytes()
    assert not written.any()


@EVERY_DTYPE
@EVERY_SHAPE
def test_take_of_each(shape: tuple[int, int, int], dtype: str) -> None:
    x = numbers(shape, dtype)
    index = index_of((shape[0], 4, shape[2]), shape[1])
    y = np.empty(index.shape, x.dtype)
    written = looked_up(scatter.take(x.itemsize, each=True), x, index, y, 4)
    assert y.tobytes() == np.take_along_axis(x, index, 1).tobytes()
    assert not written.any()


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("wrong", [-6, 5, 2**40, -(2**40)])
def test_index_out_of_range_reads_zero_and_is_reported(wrong: int, each: bool) -> None:
    x = numbers((2, 5, 3), "float32")
    index = np.array([0, wrong, -1])
    expected = np.stack([x[:, 0], np.zeros((2, 3)), x[:, 4]], 1)
    given = np.broadcast_to(index[:, None], (2, 3, 3)).copy() if each else index
    y = np.empty((2, 3, 3), x.dtype)
    written = looked_up(scatter.take(4, each), x, given, y, 3)
    np.testing.assert_array_equal(y, expected)
    assert written.tolist() == [6, OPERATION, wrong, 5]


def test_an_axis_of_no_elements_has_none_to_read() -> None:
    y = np.empty((2, 1, 3), np.float32)
    x = np.empty((2, 0, 3), np.float32)
    written = looked_up(scatter.take(4, each=False), x, np.zeros(1, np.int64), y, 1)
    assert not y.any()
    assert written.tolist() == [6, OPERATION, 0, 0]


@EVERY_SHAPE
def test_places_are_those_of_the_elements(shape: tuple[int, int, int]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    index = index_of((shape[0], 4, shape[2]), shape[1])
    found = np.empty_like(index)
    assert not looked_up(scatter.places(), x, index, found, 4).any()
    np.testing.assert_array_equal(found, np.take_along_axis(x, index, 1))


def test_places_out_of_range_are_marked_and_reported() -> None:
    found = np.empty((1, 3, 1), np.int64)
    index = np.array([1, 9, -9]).reshape(1, 3, 1)
    written = looked_up(scatter.places(), np.empty((1, 5, 1)), index, found, 3)
    assert found.ravel().tolist() == [1, -1, -1]
    assert written[0] == 2


def added(x: HostArray, places: HostArray, y: HostArray, in_order: bool) -> HostArray:
    """A copy of x with y added along its middle axis, by one of the two kernels."""
    out = x.copy()
    sizes = map(np.int64, (y.size, x.shape[1], places.size, x.shape[2]))
    arguments: list[Any] = [y, places]
    if in_order:
        arguments.append(np.argsort(places, kind="stable"))
        source = scatter.add_in_order(x.dtype)
    else:
        source = scatter.add_atomically(x.dtype)
    LAUNCHER.elements(source, y.size, *arguments, out, *sizes)
    return out


def added_by_numpy(x: HostArray, places: HostArray, y: HostArray) -> HostArray:
    """A copy of x with y added along its middle axis, term by term."""
    out = x.copy()
    index: Any = (slice(None), places)
    with np.errstate(all="ignore"):
        np.add.at(out, index, y)
    return out


@EVERY_SHAPE
@EVERY_DTYPE
def test_adding_in_order_gives_numpys_bits(dtype: str, shape: tuple[int, int, int]) -> None:
    x, y = numbers(shape, dtype), numbers((shape[0], 20, shape[2]), dtype, seed=1)
    places = np.random.default_rng(2).integers(0, shape[1], 20)
    expected = added_by_numpy(x, places, y)
    assert added(x, places, y, in_order=True).tobytes() == expected.tobytes()


@EVERY_SHAPE
@pytest.mark.parametrize("dtype", scatter.ATOMIC)
def test_adding_in_any_order(dtype: str, shape: tuple[int, int, int]) -> None:
    x, y = numbers(shape, dtype), numbers((shape[0], 20, shape[2]), dtype, seed=1)
    places = np.random.default_rng(2).integers(0, shape[1], 20)
    expected = added_by_numpy(x, places, y)
    found = added(x, places, y, in_order=False)
    if dtype in FLOATING:
        # Twenty terms of at most two, each sum rounded, in two orders.
        np.testing.assert_allclose(found, expected, atol=40 * 20 * EPSILON[dtype])
    else:
        np.testing.assert_array_equal(found, expected)


def test_integers_wrap_around() -> None:
    for dtype in ("uint8", "int32", "int64"):
        most = np.iinfo(dtype).max
        x, y = np.full((1, 1, 1), most, dtype), np.full((1, 2, 1), 3, dtype)
        for in_order in (True, *([False] if dtype in scatter.ATOMIC else [])):
            found = added(x, np.zeros(2, np.int64), y, in_order)
            assert found.ravel()[0] == np.array(most + 6).astype(np.uint64).astype(dtype)


@pytest.mark.parametrize("in_order", [False, True])
def test_places_that_are_none_get_nothing(in_order: bool) -> None:
    x, y = numbers((2, 3, 4), "float32"), numbers((2, 2, 4), "float32", seed=1)
    expected = x.copy()
    expected[:, 2] += y[:, 1]
    found = added(x, np.array([-1, 2]), y, in_order)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("values", [[0, 4], [], [-1, 2, 5], [2**62]])
def test_check_range(values: list[int]) -> None:
    written = report()
    given = np.array(values, as_dtype("int64"))
    sizes = np.int64(given.size), np.int64(5)
    LAUNCHER.elements(faults.check_range(), given.size, given, *sizes, written, OPERATION)
    wrong = [value for value in values if not 0 <= value < 5]
    assert written[0] == len(wrong)
    if wrong:
        assert written[2] in wrong
        assert (written[1], written[3]) == (OPERATION, 5)
