"""Softmax, losses and normalisation on the device are those of the CPU, to rounding."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

from born.backend import Reduction
from born.raw import HostArray, RawTensor, as_dtype
from born_cupy.sources import rows
from born_cupy.sources.template import real
from born_numpy import NumpyBackend
from tests.cupy.kernels import FLOATING, LAUNCHER, numbers
from tests.operations.test_values import EPSILON, assert_close

NUMPY: Final = NumpyBackend()

SHAPES: Final = ((1, 1), (3, 1), (9, 10), (2, 33), (5, 257), (150, 3), (2, 5000), (0, 4), (3, 0))
"""Rows of one element, of less than a warp, of more than it, of more than a block's threads."""

BLOCKS: Final = ((1, 3, 2), (2, 5, 7), (3, 300, 2), (2, 0, 3))
"""Shapes in which the rows lie along the axis in the middle."""


def wide(array: HostArray) -> RawTensor:
    """An array in double, for NumPy to compute with."""
    return RawTensor(array.astype(np.float64))


def assert_rounded(found: HostArray, expected: RawTensor, *inputs: HostArray) -> None:
    """Equal to within a few roundings of the largest number in play."""
    doubles = [each.astype(np.float64) for each in (found, *inputs)]
    assert_close(doubles[0], NUMPY.to_numpy(expected), found.dtype.name, *doubles[1:])


def along(name: str, axis_from: int, *operands: HostArray) -> HostArray:
    """A kernel along an axis, launched as the backend does."""
    shape = operands[0].shape
    outer, inner = (int(np.prod(part)) for part in (shape[:axis_from], shape[axis_from + 1 :]))
    result = np.empty_like(operands[0])
    source = rows.along_axis(name, result.dtype)
    LAUNCHER.rows(source, (outer * inner, shape[axis_from], inner), *operands, result)
    return result


@pytest.mark.parametrize("shape", [*SHAPES, *BLOCKS])
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    x = numbers(shape, dtype)
    assert_rounded(along(name, 1, x), getattr(NUMPY, name)(wide(x), axis=1), x)


@pytest.mark.parametrize("shape", [*SHAPES, *BLOCKS])
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("name", ["softmax_backward", "log_softmax_backward"])
def test_softmax_backward(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    g, y = numbers(shape, dtype), -np.abs(numbers(shape, dtype, seed=1))
    y = y if name.startswith("log") else np.exp(y)
    scale = np.abs(g.astype(np.float64)).sum(1).max(initial=0.0)  # of the sums that are taken
    expected = getattr(NUMPY, name)(wide(g), wide(y), axis=1)
    assert_rounded(along(name, 1, g, y), expected, g, np.array([scale]))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rows_that_are_not_finite(name: str) -> None:
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, -inf], [-inf, 1.0], [nan, 0.0], [-1e38, 1e38]], np.float32)
    with np.errstate(all="ignore"):
        expected = NUMPY.to_numpy(getattr(NUMPY, name)(wide(x)))
    found = along(name, 1, x)
    np.testing.assert_allclose(found, expected, rtol=2 * EPSILON["float32"])


def test_log_softmax_of_an_infinite_number() -> None:
    x = np.array([[np.inf, 0.0, np.inf]], np.float64)
    found = along("log_softmax", 1, x)
    np.testing.assert_array_equal(found, [[np.nan, -np.inf, np.nan]])


def entropy(
    x: HostArray, labels: HostArray, smoothing: float, reduction: str
) -> tuple[HostArray, HostArray]:
    """The loss and the probabilities, as the backend launches them."""
    compute = real(x.dtype)
    reduced = reduction != "none"
    p = np.empty_like(x)
    losses = np.empty(labels.shape, compute if reduced else x.dtype)
    shape = (labels.size, x.shape[-1], 1)
    source = rows.cross_entropy(x.dtype, reduced)
    LAUNCHER.rows(source, shape, x, labels, p, losses, compute.type(smoothing))
    if not reduced:
        return losses, p
    loss = np.empty((), x.dtype)
    divisor = compute.type(labels.size if reduction == "mean" else 1)
    LAUNCHER.rows(rows.total(x.dtype), (1, labels.size, 1), losses, loss, divisor)
    return loss, p


LABELLED: Final = ((1, 1), (9, 10), (5, 257), (3000, 3), (2, 5000))
REDUCTIONS: Final[tuple[Reduction, ...]] = ("mean", "sum", "none")


@pytest.mark.parametrize("shape", LABELLED)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", FLOATING)
def test_cross_entropy(
    dtype: str, smoothing: float, reduction: Reduction, shape: tuple[int, int]
) -> None:
    x = numbers(shape, dtype)
    labels = np.random.default_rng(1).integers(0, shape[1], shape[0])
    loss, p = entropy(x, labels, smoothing, reduction)
    expected = NUMPY.cross_entropy(wide(x), RawTensor(labels), smoothing, reduction)
    assert_rounded(loss, expected[0], np.array(shape[0] if reduction == "sum" else 1.0))
    assert_rounded(p, expected[1])


@pytest.mark.parametrize("shape", [(9, 10), (5, 257)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", FLOATING)
def test_cross_entropy_backward(
    dtype: str, smoothing: float, reduction: Reduction, shape: tuple[int, int]
) -> None:
    p = np.abs(numbers(shape, dtype))
    g = numbers((shape[0],) if reduction == "none" else (), dtype, seed=1)
    labels = np.random.default_rng(1).integers(0, shape[1], shape[0])
    compute = real(p.dtype)
    divisor = compute.type(labels.size if reduction == "mean" else 1)
    result = np.empty_like(p)
    source = rows.cross_entropy_backward(p.dtype, reduction != "none")
    arguments = (p, labels, g, result, compute.type(smoothing), divisor)
    LAUNCHER.rows(source, (*shape, 1), *arguments)
    expected = NUMPY.cross_entropy_backward(
        wide(g), wide(p), RawTensor(labels), smoothing, reduction
    )
    assert_rounded(result, expected, p)


def test_labels_that_name_no_class_touch_no_memory() -> None:
    x = numbers((4, 3), "float32")
    labels = np.array([-1, 3, 2**40, 1])
    loss, p = entropy(x, labels, 0.0, "none")
    assert loss[:3].tolist() == [0.0, 0.0, 0.0]
    assert np.isfinite(loss[3])
    assert np.isfinite(p).all()


def test_losses_of_no_rows() -> None:
    nothing = np.empty((0, 3), np.float32), np.empty(0, np.int64)
    assert np.isnan(entropy(*nothing, 0.0, "mean")[0])
    assert entropy(*nothing, 0.0, "sum")[0] == 0.0


def normalised(
    x: HostArray, weight: HostArray | None, bias: HostArray | None, centred: bool, eps: float
) -> list[HostArray]:
    """The result and the residuals, as the backend launches them."""
    parts = [part for part in (weight, bias) if part is not None]
    results = [np.empty_like(x), np.empty_like(x), np.empty((x.shape[0], 1), x.dtype)]
    source = rows.norm(x.dtype, centred, weight is not None, bias is not None)
    arguments: list[Any] = [x, *parts, *results, real(x.dtype).type(eps)]
    LAUNCHER.rows(source, (*x.shape, 1), *arguments)
    return results


@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_weight", [False, True])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("dtype", FLOATING)
def test_norm(
    dtype: str, centred: bool, with_weight: bool, with_bias: bool, shape: tuple[int, int]
) -> None:
    x = numbers(shape, dtype)
    weight = np.abs(numbers(shape[1:], dtype, seed=1)) if with_weight else None
    bias = numbers(shape[1:], dtype, seed=2) if with_bias else None
    found = normalised(x, weight, bias, centred, 1e-2)
    gain = None if weight is None else wide(weight)
    if centred:
        shift = None if bias is None else wide(bias)
        expected = NUMPY.layer_norm(wide(x), gain, shift, 1, 1e-2)
    else:
        expected = NUMPY.rms_norm(wide(x), gain, 1, 1e-2)
        if bias is not None:
            expected = (NUMPY.add(expected[0], wide(bias)), *expected[1:])
    for one, other in zip(found, expected, strict=True):
        assert_rounded(one, other, x)


@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("dtype", FLOATING)
def test_norm_backward(dtype: str, centred: bool, shape: tuple[int, int]) -> None:
    g, normal = numbers(shape, dtype), numbers(shape, dtype, seed=1)
    scale = np.abs(numbers((shape[0], 1), dtype, seed=2))
    result = np.empty_like(g)
    source = rows.norm_backward(g.dtype, centred)
    LAUNCHER.rows(source, (*shape, 1), g, normal, scale, result)
    backward = NUMPY.layer_norm_backward if centred else NUMPY.rms_norm_backward
    assert_rounded(result, backward(wide(g), wide(normal), wide(scale)), g, normal)


def test_squares_of_halves_that_overflow() -> None:
    x = np.array([[-300.0, 300.0], [3e4, -3e4]]).astype(as_dtype("float16"))
    for centred in (False, True):
        y = normalised(x, None, None, centred, 1e-5)[0]
        np.testing.assert_array_equal(y, np.sign(x))


def test_the_same_input_gives_the_same_bits() -> None:
    x = numbers((7, 3000), "float32")
    # Threads run in another order in a grid of another size; who adds what must not change.
    alone = np.concatenate([along("softmax", 1, row[None]) for row in x])
    assert along("softmax", 1, x).tobytes() == alone.tobytes()
