"""Attention in tiles: the values and gradients of products, at the edges of tiles and beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import born
from born.backend import Backend
from born.errors import DTypeError, ShapeError
from born.raw import HostArray
from tests.simulator import CupyBackend

TOLERANCE = {"float64": 1e-13, "float32": 3e-6, "float16": 4e-3, "bfloat16": 3e-2}
"""Of the largest element: a few roundings of numbers near one, and the last one to the dtype."""


def computed(
    backend: Backend, arrays: list[HostArray], mask: HostArray | None, causal: bool
) -> list[HostArray]:
    """The result and the gradients of q, k and v, as doubles."""
    q, k, v, g = (backend.from_numpy(x) for x in arrays)
    over = None if mask is None else backend.from_numpy(mask)
    y, total = backend.attention(q, k, v, over, causal=causal, scale=0.3)
    slopes = backend.attention_gradients(g, q, k, v, over, y, total, causal, 0.3, False)
    return [backend.to_numpy(x).astype(np.float64) for x in (y, *slopes[:3])]


def drawn(lead: tuple[int, ...], *sizes: int, dtype: str = "float32") -> list[HostArray]:
    """Queries, keys, values and a gradient; the sizes are T, S, D, E."""
    t, s, d, e = sizes
    rng = np.random.default_rng(t + s)
    made = [rng.standard_normal((*lead, *shape)) for shape in ((t, d), (s, d), (s, e), (t, e))]
    return [np.asarray(x, np.dtype(born.dtypes.as_dtype(dtype))) for x in made]


def compare(found: list[HostArray], expected: list[HostArray], dtype: str = "float32") -> None:
    """Hold each to the other within the dtype's tolerance."""
    assert len(found) == len(expected) == 4
    for mine, other in zip(found, expected, strict=True):
        assert mine.shape == other.shape
        scale = max(1.0, float(np.abs(other).max(initial=0)))
        np.testing.assert_allclose(mine, other, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("mask", ["", "bool", "number", "row"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [(16, 1, 1, 1), (63, 65, 16, 5), (64, 64, 64, 32), (130, 70, 3, 64), (17, 130, 33, 128)],
)
def test_values_and_gradients(
    cupy: Any, sizes: tuple[int, int, int, int], causal: bool, mask: str
) -> None:
    arrays = drawn((2, 2), *sizes)
    rng = np.random.default_rng(0)
    queries, keys = sizes[:2]
    over = {
        "": None,
        "bool": rng.random((2, 1, queries, keys)) < 0.7,
        "number": rng.standard_normal((queries, keys)).astype(np.float32),
        "row": rng.random(keys) < 0.7,
    }[mask]
    exact = [x.astype(np.float64) for x in arrays]
    wide = over.astype(np.float64) if mask == "number" and over is not None else over
    expected = computed(born.get_backend("numpy"), exact, wide, causal)
    compare(computed(CupyBackend(), arrays, over, causal), expected)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lead", [(), (3,), (2, 1, 2)])
def test_dtypes_and_leading_axes(cupy: Any, dtype: str, lead: tuple[int, ...]) -> None:
    arrays = drawn(lead, 19, 70, 20, 24, dtype=dtype)
    exact = [x.astype(np.float64) for x in arrays]
    expected = computed(born.get_backend("numpy"), exact, None, True)
    compare(computed(CupyBackend(), arrays, None, True), expected, dtype)


def test_heads_that_share_keys_and_lie_among_tokens(cupy: Any) -> None:
    backend = CupyBackend()
    q, k, v, g = drawn((2, 3), 20, 70, 16, 8)
    arrays = [q, k[:, :1], v[:1, :1], g]
    wide = [np.broadcast_to(x, (2, 3, *x.shape[2:])).astype(np.float64) for x in arrays]
    expected = computed(born.get_backend("numpy"), wide, None, False)
    # (batch, tokens, heads, depth), turned, as layers make it.
    turned = [np.ascontiguousarray(x.swapaxes(1, 2)) for x in arrays]
    a, b, c, h = (backend.transpose(backend.from_numpy(x), (0, 2, 1, 3)) for x in turned)
    y, total = backend.attention(a, b, c, causal=False, scale=0.3)
    slopes = backend.attention_gradients(h, a, b, c, None, y, total, False, 0.3, False)
    found = [backend.to_numpy(x).astype(np.float64) for x in (y, *slopes[:3])]
    compare(found, expected)
    assert y.array.strides[1] < y.array.strides[2]  # in the order of the queries


def test_a_query_that_sees_nothing_and_numbers_that_are_not_finite(cupy: Any) -> None:
    arrays = drawn((1, 1), 20, 17, 4, 4)
    found = computed(CupyBackend(), arrays, None, True)
    assert (found[0][0, 0, :3] == 0).all()
    assert (found[1][0, 0, :3] == 0).all()
    arrays[0][0, 0, 18, 1] = np.nan
    with np.errstate(all="ignore"):
        spoiled = computed(CupyBackend(), arrays, None, True)[0]
    rows = np.isnan(spoiled[0, 0]).all(axis=-1)
    assert rows.tolist() == [False] * 18 + [True, False]


@pytest.mark.parametrize("sizes", [(20, 7, 130, 4), (2, 7, 3, 4)])
def test_long_rows_and_few_queries_take_products(
    cupy: Any, sizes: tuple[int, int, int, int]
) -> None:
    arrays = drawn((2,), *sizes)
    exact = [x.astype(np.float64) for x in arrays]
    expected = computed(born.get_backend("numpy"), exact, None, False)
    compare(computed(CupyBackend(), arrays, None, False), expected)


OF: dict[str, tuple[Any, ...]] = {
    "depths": ((2, 20, 8), (2, 5, 7), (2, 5, 8), None),
    "keys": ((2, 20, 8), (2, 5, 8), (2, 4, 8), None),
    "leading axes": ((2, 20, 8), (3, 5, 8), (3, 5, 8), None),
    "mask": ((2, 20, 8), (2, 5, 8), (2, 5, 8), (20, 6)),
}


@pytest.mark.parametrize("what", OF)
def test_shapes_that_do_not_fit_are_refused_before_memory_is_read(cupy: Any, what: str) -> None:
    backend = CupyBackend()
    q, k, v, mask = (shape and backend.ones(shape, "float32") for shape in OF[what])
    with pytest.raises(ShapeError, match="expected shapes that fit in"):
        backend.attention(q, k, v, mask)
    total = backend.ones((2, 20, 1), "float32")
    with pytest.raises(ShapeError, match="expected shapes that fit in"):
        backend.attention_gradients(q, q, k, v, mask, q, total, False, 1.0, False)


def test_gradients_of_other_shapes_and_masks_of_other_dtypes_are_refused(cupy: Any) -> None:
    backend = CupyBackend()
    q, k, g = (backend.ones((2, n, d), "float32") for n, d in ((20, 8), (5, 8), (20, 7)))
    y, total = backend.attention(q, k, k)
    with pytest.raises(ShapeError, match="expected shapes that fit in"):
        backend.attention_gradients(g, q, k, k, None, y, total, False, 1.0, False)
    mask = backend.ones((20, 5), "float64")
    with pytest.raises(DTypeError, match="one dtype in attention, got float32 and float64"):
        backend.attention(q, k, k, mask)
    with pytest.raises(DTypeError, match="one dtype in attention_gradients, got float32 and float"):
        backend.attention_gradients(y, q, k, k, mask, y, total, False, 1.0, False)
