"""The gradients of a linear map: relu's mask and the bias's sums, in one pass."""

from __future__ import annotations

import numpy as np
import pytest

from born.dtypes import as_dtype
from born.errors import DTypeError, ShapeError
from born.raw import HostArray
from tests.operations.test_values import EPSILON
from tests.simulator import CupyBackend

SHAPES = ((1, 1), (3, 7), (128, 32), (129, 33), (130, 2, 65), (17_000, 3))
"""Less than a warp and more, one chunk of rows and more, and chunks of chunks."""


def gradients(
    backend: CupyBackend, g: HostArray, y: HostArray | None
) -> tuple[HostArray, HostArray]:
    """The gradients of the input and the bias, with the identity for a weight."""
    weight = backend.eye(g.shape[-1], g.shape[-1], g.dtype)
    result = None if y is None else backend.from_numpy(y)
    x, w, b = backend.linear_gradients(backend.from_numpy(g), None, weight, True, result)
    assert w is None
    assert x is not None
    assert b is not None
    assert x.dtype == b.dtype == g.dtype
    return backend.to_numpy(x), backend.to_numpy(b)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("rectified", [False, True])
def test_masks_and_sums(
    rectified: bool, dtype: str, shape: tuple[int, ...], backend: CupyBackend
) -> None:
    rng = np.random.default_rng(0)
    g = rng.normal(size=shape).astype(as_dtype(dtype))
    y = np.maximum(rng.normal(size=shape), 0.0).astype(as_dtype(dtype)) if rectified else None
    mask = np.ones(shape, bool) if y is None else y > 0
    masked = np.where(mask, g.astype(np.float64), 0.0)

    x, bias = gradients(backend, g, y)

    np.testing.assert_array_equal(x.astype(np.float64), masked)
    # Fewer than 40 additions deep, in float32 at least; then one rounding of the result.
    total, reach = (each.reshape(-1, shape[-1]).sum(0) for each in (masked, abs(masked)))
    bound = 40 * min(EPSILON[dtype], EPSILON["float32"]) * reach + EPSILON[dtype] * abs(total)
    assert (abs(bias.astype(np.float64) - total) <= bound).all()


def test_many_equal_numbers_add_up_as_by_pairs(backend: CupyBackend) -> None:
    g = np.full((300_000, 1), 0.1, np.float32)
    bias = gradients(backend, g, None)[1]
    assert abs(bias[0] / g.sum(dtype=np.float64) - 1) < 4 * EPSILON["float32"]


def test_what_is_not_finite_is_masked_or_added(backend: CupyBackend) -> None:
    g = np.array([[np.nan, np.inf, np.nan, 1.0], [1.0, 2.0, 3.0, -np.inf]], np.float32)
    y = np.array([[0.0, -1.0, 1.0, np.nan], [1.0, 1.0, 1.0, np.inf]], np.float32)
    x, bias = gradients(backend, g[:, :2], y[:, :2])
    assert x.tolist() == [[0.0, 0.0], [1.0, 2.0]]
    assert bias.tolist() == [1.0, 2.0]
    # The identity's zeros times what is not finite are NaN: look at the sums alone.
    np.testing.assert_array_equal(gradients(backend, g, y)[1], [1.0, 2.0, np.nan, -np.inf])


@pytest.mark.parametrize("columns", [1, 40])
def test_bits_depend_on_the_shape_alone(columns: int, backend: CupyBackend) -> None:
    g = np.random.default_rng(0).normal(size=(1000, columns)).astype(np.float32)
    y = np.ones_like(g)
    layouts = (g, np.asfortranarray(g), np.repeat(g, 2, axis=0)[::2])
    found = {gradients(backend, each, mask)[1].tobytes() for each in layouts for mask in (None, y)}
    assert len(found) == 1, "though blocks and threads run in another order each time"


def test_a_layer_takes_one_pass_and_one_more_over_its_chunks(
    backend: CupyBackend, launches: list[str]
) -> None:
    g, x, weight = (backend.ones(n, "float32") for n in ((1000, 6), (1000, 5), (6, 5)))
    backend.linear_gradients(g, x, weight, True, g)
    assert launches == ["born_column_sums"] * 2


def test_gradients_own_their_memory(backend: CupyBackend) -> None:
    g = backend.ones((1, 4), "float32")
    bias = backend.linear_gradients(g, None, None, True)[2]
    assert bias is not None
    backend.assign(bias, backend.zeros((4,), "float32"))
    assert backend.to_numpy(g).tolist() == [[1.0] * 4]


def test_a_result_that_does_not_go_with_the_gradient_is_refused(backend: CupyBackend) -> None:
    g = backend.ones((3, 4), "float32")
    with pytest.raises(ShapeError, match=r"one shape in relu_backward, got \(3, 4\) and \(4, 3\)"):
        backend.linear_gradients(g, None, None, True, backend.ones((4, 3), "float32"))
    with pytest.raises(DTypeError, match="float32 and float64"):
        backend.linear_gradients(g, None, None, True, backend.ones((3, 4), "float64"))
