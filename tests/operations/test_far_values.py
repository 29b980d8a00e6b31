"""Elements that are infinite or weigh nothing stay where they are."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import born
from born import nn, ops
from born.backend import Backend
from born.errors import DomainError, LinAlgError


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("width", [(0, 1), (3, 3), (4, 1), (9, 11)])
def test_odd_padding_leaves_others_alone(
    mode: Any, width: tuple[int, int], cpu_backend: Backend
) -> None:
    x = np.array([np.inf, 1.0, 2.0, 3.0])
    found = ops.pad(born.tensor(x, cpu_backend), width, mode=mode, reflect_type="odd").numpy()
    with np.errstate(invalid="ignore"):
        expected = np.pad(x, width, mode, reflect_type="odd")
    own = slice(width[0], width[0] + 4)
    np.testing.assert_array_equal(found[own], x)
    if max(width) < 4:
        known = ~np.isnan(expected)  # NumPy has NaN for twice the edge less the edge
        np.testing.assert_array_equal(found[known], expected[known])


def test_weights_of_quantiles_are_checked(cpu_backend: Backend) -> None:
    x = born.tensor([1.0, 2.0], cpu_backend)
    for weights, words in (
        ([0.0, 0.0], "above 0"),
        ([np.nan, 1.0], "or NaN"),
        ([-1.0, 2.0], "one below"),
    ):
        with pytest.raises(DomainError, match=words):
            ops.quantile(x, 0.5, method="inverted_cdf", weights=born.tensor(weights, cpu_backend))


def test_a_singular_matrix_is_said_once(cpu_backend: Backend) -> None:
    for n in (3, 80):
        singular = born.tensor(np.diag(np.arange(float(n))), cpu_backend)
        with pytest.raises(LinAlgError) as caught:
            ops.linalg.solve_triangular(singular, born.ones(n, cpu_backend, "float64"))
        assert str(caught.value).count("expected") == 1


@pytest.mark.parametrize("shape", [(), (7,), (5, 7), (1, 5, 7), (4, 5, 7)])
def test_masks_of_grouped_heads_broadcast(shape: tuple[int, ...], backend: Backend) -> None:
    draw = np.random.default_rng(0)
    q, k, v = (
        born.tensor(draw.normal(size=(2, h, n, 8)), backend) for h, n in ((4, 5), (2, 7), (2, 7))
    )
    mask = draw.random(shape) < 0.7 if shape else np.array(True)
    full = np.broadcast_to(mask, (2, 4, 5, 7))
    found = ops.attention(q, k, v, born.tensor(mask, backend))
    expected = ops.attention(q, k, v, born.tensor(np.ascontiguousarray(full), backend))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)


def test_a_copy_of_a_cache_goes_its_own_way(backend: Backend) -> None:
    k = born.ones((1, 1, 2, 4), backend)
    cache = nn.KeyValueCache()
    cache.extended(k, k)
    branch = copy.copy(cache)
    held, _ = branch.extended(k * 2.0, k * 2.0)
    before = held.numpy().copy()
    cache.extended(k * 3.0, k * 3.0)
    np.testing.assert_array_equal(held.numpy(), before)
    assert (branch.length, cache.length) == (4, 4)
