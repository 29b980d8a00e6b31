"""What operations leave for their derivatives, and random numbers of dropout."""

from __future__ import annotations

import numpy as np
import pytest

from born.backend import Backend, Window
from tests.operations import naive
from tests.operations.test_values import with_default


def test_cross_entropy_leaves_the_probabilities(backend: Backend) -> None:
    x = np.linspace(-2.0, 2.0, 12).reshape(2, 2, 3)
    labels = backend.from_numpy(np.array([[0, 1], [2, 0]]))
    for each in (backend, with_default(backend, "cross_entropy")):
        _, probabilities = each.cross_entropy(each.from_numpy(x), labels)
        np.testing.assert_allclose(each.to_numpy(probabilities), naive.softmax(x), rtol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("classes", [0, 3])
def test_cross_entropy_of_no_rows(classes: int, smoothing: float, backend: Backend) -> None:
    labels = backend.zeros((0,), "int64")
    for each in (backend, with_default(backend, "cross_entropy")):
        logits = each.zeros((0, classes), "float32")
        assert np.isnan(each.cross_entropy(logits, labels, smoothing)[0].item())
        assert each.cross_entropy(logits, labels, smoothing, "sum")[0].item() == 0.0
        assert each.cross_entropy(logits, labels, smoothing, "none")[0].shape == (0,)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_normalisation_leaves_the_normalised_and_the_scale(name: str, backend: Backend) -> None:
    x = np.linspace(-2.0, 3.0, 12).reshape(2, 2, 3)
    raw = backend.from_numpy(x)
    if name == "layer_norm":
        y, normal, scale = backend.layer_norm(raw, None, None, 2, 0.25)
        expected = 1 / np.sqrt(x.var(axis=(1, 2), keepdims=True) + 0.25)
        centred = x - x.mean(axis=(1, 2), keepdims=True)
    else:
        y, normal, scale = backend.rms_norm(raw, None, 2, 0.25)
        expected = 1 / np.sqrt((x * x).mean(axis=(1, 2), keepdims=True) + 0.25)
        centred = x
    assert len({id(each) for each in (raw, y, normal, scale)}) == 4
    np.testing.assert_allclose(backend.to_numpy(scale), expected, rtol=1e-14)
    np.testing.assert_allclose(backend.to_numpy(normal), centred * expected, atol=1e-15)
    np.testing.assert_array_equal(backend.to_numpy(y), backend.to_numpy(normal))


def test_max_pool_leaves_the_winner_of_each_window(backend: Backend) -> None:
    x = np.array([[1.0, 9.0, 2.0, 3.0], [4.0, 5.0, 8.0, 7.0]]).reshape(1, 1, 2, 4)
    for each in (backend, with_default(backend, "max_pool2d")):
        y, winner = each.max_pool2d(each.from_numpy(x), Window.of(2, 2))
        assert each.to_numpy(y).ravel().tolist() == [9.0, 8.0]
        assert each.to_numpy(winner).ravel().tolist() == [1, 2]
        assert winner.dtype == np.int64


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_dropout_zeroes_and_scales(dtype: str, backend: Backend) -> None:
    ones = backend.ones((4000,), dtype)
    default = with_default(backend, "dropout")
    backend.seed(5)
    default.seed(5)
    y, mask = backend.dropout(ones, 0.25)
    other, _ = default.dropout(ones, 0.25)
    values = backend.to_numpy(y).astype(np.float64)
    kept = float(np.array(4 / 3).astype(y.dtype))
    assert set(values) == {0.0, kept}
    # The share kept has a standard deviation of 0.007; five of them.
    assert abs((values != 0).mean() - 0.75) < 0.035
    np.testing.assert_array_equal(values, backend.to_numpy(mask).astype(np.float64))
    np.testing.assert_array_equal(values, default.to_numpy(other).astype(np.float64))
    assert y is not mask


def test_dropout_at_its_ends(backend: Backend) -> None:
    x = backend.from_numpy(np.array([1.0, -2.0]))
    assert backend.to_numpy(backend.dropout(x, 0)[0]).tolist() == [1.0, -2.0]
    assert backend.to_numpy(backend.dropout(x, 1)[0]).tolist() == [0.0, 0.0]
