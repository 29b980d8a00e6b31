"""`Backend.linear_gradients`, which the derivative of an affine map is computed by."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import DTypeError, ShapeError
from born.raw import HostArray
from born.tensor import Tensor


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("leading", [(5,), (2, 3), (1,), (0,), ()])
@pytest.mark.parametrize("rectified", [False, True])
def test_what_is_due_and_nothing_else(
    backend: Backend, leading: tuple[int, ...], rectified: bool, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*leading, 4)).astype(dtype)
    weight = rng.normal(size=(3, 4)).astype(dtype)
    g = rng.normal(size=(*leading, 3)).astype(dtype)
    y = np.maximum(x @ weight.T, 0)
    passed = np.where(y > 0, g, 0) if rectified else g
    rows = passed.reshape(-1, 3)
    expected = (passed @ weight, rows.T @ x.reshape(-1, 4), rows.sum(axis=0))
    result = backend.from_numpy(y) if rectified else None

    for input_due, weight_due, bias_due in itertools.product([False, True], repeat=3):
        given = backend.linear_gradients(
            backend.from_numpy(g),
            backend.from_numpy(x) if weight_due else None,
            backend.from_numpy(weight) if input_due else None,
            bias_due,
            result,
        )

        for due, wanted, got in zip(
            (input_due, weight_due, bias_due), expected, given, strict=True
        ):
            assert (got is not None) == due
            if got is not None:
                assert_close(backend.to_numpy(got), wanted)


@pytest.mark.parametrize(
    ("shapes", "dtypes", "error"),
    [
        (((8, 5), (7, 64), (5, 64)), ("float32",) * 3, ShapeError),
        (((8, 5), (8, 64), (6, 64)), ("float32",) * 3, ShapeError),
        (((8, 5), (8, 64), (5, 64)), ("float64", "float32", "float32"), DTypeError),
        (((8, 5), (8, 64), (5, 64)), ("float32", "float64", "float32"), DTypeError),
        (((8, 5), (8, 64), (5, 64)), ("float32", "float32", "float64"), DTypeError),
    ],
)
def test_operands_that_do_not_fit_are_refused(
    backend: Backend,
    shapes: tuple[tuple[int, ...], ...],
    dtypes: tuple[str, ...],
    error: type[Exception],
) -> None:
    g, x, weight = (backend.zeros(*each) for each in zip(shapes, dtypes, strict=True))
    for y in (None, g):
        with pytest.raises(error):
            backend.linear_gradients(g, x, weight, True, y)


@pytest.mark.parametrize("leading", [(2, 3), (2, 0), (2, 4, 3)])
@pytest.mark.parametrize("columns", [(6,), ()])
def test_one_matrix_multiplies_a_batch_as_rows(
    backend: Backend, leading: tuple[int, ...], columns: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(*leading, 5)), rng.normal(size=(5, *columns))
    g = rng.normal(size=(*leading, *columns))
    recording = Autodiff(backend)
    raw_x, raw_y = recording.from_numpy(x), recording.from_numpy(y)
    raw_x.requires_grad = raw_y.requires_grad = True
    with recording.tape:
        product = recording.matmul(raw_x, raw_y)

    gradients = backward(Tensor(product, recording), seed=backend.from_numpy(g))

    matrix, of_product = (y, g) if columns else (y[:, None], g[..., None])
    assert_close(backend.to_numpy(product), x @ y)
    assert_close(backend.to_numpy(gradients[raw_x]), of_product @ matrix.T)
    of_matrix = x.reshape(-1, 5).T @ of_product.reshape(-1, matrix.shape[1])
    assert_close(backend.to_numpy(gradients[raw_y]), of_matrix.reshape(y.shape))


def assert_close(given: HostArray, wanted: HostArray) -> None:
    assert (given.shape, given.dtype) == (wanted.shape, wanted.dtype)
    tolerance = 1e-5 if given.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(given, wanted, rtol=tolerance, atol=tolerance)
