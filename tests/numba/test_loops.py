"""Compiled loops give what NumPy's operations give, whatever they are handed."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from born.backend import Backend, Window
from born.errors import BornError, IndexOutOfRangeError
from born.fusion.activations import RELU, RELU_GRADIENT
from born.nn import Parameter
from born.optim import SGD, SGDConfig
from born.raw import HostArray, RawTensor
from born.tensor import Tensor
from born_numpy import NumpyBackend
from born_numpy.update import NumpyUpdate
from tests.fusion.kernels import NEEDS_NUMBA, assert_same_bits, numba_backend

pytest.importorskip("numba", reason=NEEDS_NUMBA)

NUMPY = NumpyBackend()

# Sums of up to a few hundred terms in another order, in units of the largest term.
TOLERANCE = {"float32": 2e-6, "float64": 4e-15}

floating = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(scope="module")
def numba() -> Backend:
    return numba_backend()


def draw(shape: tuple[int, ...], dtype: str, seed: int = 0, special: bool = False) -> HostArray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    if special:
        odd = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], size=shape)
        values = np.where(rng.random(shape) < 0.2, odd, values)
    return np.asarray(values, dtype)


def apart(array: HostArray) -> HostArray:
    return np.repeat(array, 2, axis=-1)[..., ::2]


def call(backend: Backend, name: str, *args: Any, **keywords: Any) -> list[HostArray]:
    """An operation on raw tensors of these arrays."""
    raws = [RawTensor(x) if isinstance(x, np.ndarray) else x for x in args]
    with np.errstate(all="ignore"):
        out: RawTensor | tuple[RawTensor, ...] = getattr(backend, name)(*raws, **keywords)
    return [x.array for x in ((out,) if isinstance(out, RawTensor) else out)]


def _copy(x: Any) -> Any:
    return x.copy() if hasattr(x, "copy") else x


def assert_alike(numba: Backend, name: str, *args: Any, **keywords: Any) -> None:
    """Both backends give the same, up to the order of sums, and leave what they take alone."""
    copies = [_copy(x) for x in args]
    got = call(numba, name, *args, **keywords)
    expected = call(NUMPY, name, *copies, **keywords)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(
            a, b, rtol=TOLERANCE.get(a.dtype.name, 0), atol=TOLERANCE.get(a.dtype.name, 0)
        )
    for x, copy in zip(args, copies, strict=True):
        np.testing.assert_array_equal(x, copy)


@floating
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (7,), (4, 5)], ids=str)
@pytest.mark.parametrize("layout", [np.ascontiguousarray, apart], ids=["dense", "apart"])
def test_relu(
    numba: Backend, layout: Callable[[HostArray], HostArray], shape: tuple[int, ...], dtype: str
) -> None:
    x = draw(shape, dtype, special=True)
    x = layout(x) if shape else x
    g = draw(shape, dtype, 1, special=True)
    y = np.asarray(np.maximum(x, 0))
    for formula, args in ((RELU, (x,)), (RELU_GRADIENT, (g, y))):
        got, expected = (
            each.fused(formula, tuple(map(RawTensor, args)))[0].array for each in (numba, NUMPY)
        )
        # The sign of zero is nobody's concern here.
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


@floating
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 4), (300, 5)], ids=str)
def test_sum_over_rows(numba: Backend, shape: tuple[int, ...], dtype: str) -> None:
    for x in (draw(shape, dtype), draw(shape, dtype, special=True), apart(draw(shape, dtype))):
        assert_alike(numba, "sum", x, axis=0)
        assert_alike(numba, "sum", x, axis=1)
        assert_alike(numba, "sum", x, axis=0, keepdims=True)


@floating
@pytest.mark.parametrize("shape", [(4, 7), (1, 1), (0, 3), (2, 3, 5), (6,), (2, 0)], ids=str)
def test_layer_norm(numba: Backend, shape: tuple[int, ...], dtype: str) -> None:
    w, b = draw(shape[-1:], dtype, 1), draw(shape[-1:], dtype, 2)
    for x in (draw(shape, dtype), apart(draw(shape, dtype)), draw(shape, dtype, special=True)):
        assert_alike(numba, "layer_norm", x, w, b)
        with np.errstate(all="ignore"):
            _, normal, scale = call(NUMPY, "layer_norm", x, w, b)
        assert_alike(numba, "layer_norm_backward", draw(shape, dtype, 3), normal, scale)
    assert_alike(numba, "layer_norm", draw(shape, dtype), None, None)


@floating
@pytest.mark.parametrize("integer", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (64, 10)], ids=str)
def test_cross_entropy(numba: Backend, shape: tuple[int, int], integer: str, dtype: str) -> None:
    labels = (np.arange(shape[0]) % shape[1]).astype(integer)
    x = draw(shape, dtype) * 30
    masked = x.copy()  # classes that cannot be: the first, the last, and sometimes the label
    masked[: shape[0] // 2, 0] = masked[shape[0] // 2 :, -1] = -np.inf
    for logits in (x, apart(x), x - 1e4, masked):
        assert_alike(numba, "cross_entropy", logits, labels)
        _, p = call(NUMPY, "cross_entropy", logits, labels)
        for g in (np.array(1.0, dtype), np.array(-0.5, dtype)):
            assert_alike(numba, "cross_entropy_backward", g, p, labels)


@floating
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_cross_entropy_of_broken_logits_is_nan(numba: Backend, value: float, dtype: str) -> None:
    for place in ((1, 0), (1, 2)):
        x = draw((3, 4), dtype)
        x[place] = value
        loss, p = call(numba, "cross_entropy", x, np.array([0, 1, 2]))
        expected, q = call(NUMPY, "cross_entropy", x, np.array([0, 1, 2]))
        assert np.isnan(loss)
        assert np.isnan(expected)
        np.testing.assert_allclose(p, q, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("label", [-1, 3, 2**62, -(2**62)])
def test_label_out_of_range_is_refused(numba: Backend, label: int) -> None:
    labels = np.array([0, label])
    with pytest.raises(IndexOutOfRangeError, match="expected labels from 0 to 2, got labels"):
        call(numba, "cross_entropy", draw((2, 3), "float32"), labels)


@pytest.mark.parametrize("labels", [np.array([0, 5]), np.array([0, -9]), np.array([0])], ids=str)
def test_gradient_of_cross_entropy_stays_in_its_memory(numba: Backend, labels: HostArray) -> None:
    p = np.full((2, 3), 1 / 3, np.float32)
    with pytest.raises((BornError, IndexError, ValueError)):
        call(numba, "cross_entropy_backward", np.array(1.0, np.float32), p, labels)


WINDOWS: list[tuple[Any, ...]] = [
    # kernel, stride, padding, dilation
    (1, 1, 0, 1),
    ((2, 3), (1, 2), 0, 1),
    (3, 2, 1, 1),
    ((3, 2), 1, 1, (2, 1)),
]


@floating
@pytest.mark.parametrize("sizes", WINDOWS, ids=str)
@pytest.mark.parametrize("batch", [(2, 3), (0, 3), (2, 0)], ids=str)
def test_windows_of_images(numba: Backend, batch: tuple[int, int], sizes: Any, dtype: str) -> None:
    shape, window = (*batch, 6, 7), Window.of(*sizes)
    for special in (False, True):
        x = draw(shape, dtype, 1, special)
        for image in (x, apart(x)):
            assert_alike(numba, "unfold", image, window)
            assert_alike(numba, "max_pool2d", image, window)
    (columns,) = call(NUMPY, "unfold", draw(shape, dtype), window)
    assert_alike(numba, "fold", np.ascontiguousarray(columns), (6, 7), window)
    y, winner = call(NUMPY, "max_pool2d", draw(shape, dtype), window)
    g = draw(y.shape, dtype, 2)
    assert_alike(numba, "max_pool2d_backward", g, winner, (6, 7), window)


def test_windows_that_see_less_than_nothing(numba: Backend) -> None:
    # Those that keep the width are cut plane by plane: of rows that all lie beside the image, too.
    for height, rate, far in itertools.product((1, 2, 4), (1, 2, 3), (1, 2, 3)):
        for down in range(far * 2 + 1):
            window = Window.of((3, 3), 1, (down, rate), (far, rate))
            image = draw((2, 2, height, 5), "float32", 1)
            if height + 2 * down > 2 * far:
                assert_alike(numba, "unfold", image, window)


@floating
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 2, 2), (3, 2, 7, 9), (2, 3, 4, 6), (2, 2, 6, 16), (1, 3, 5, 34), (41, 4, 30, 28)],
)
def test_pooling_by_two(numba: Backend, shape: tuple[int, ...], dtype: str) -> None:
    window, rng = Window.of(2, 2), np.random.default_rng(0)
    for x in (
        draw(shape, dtype, 1, special=True),
        rng.integers(0, 2, shape).astype(dtype),  # many tie
    ):
        assert_alike(numba, "max_pool2d", x, window)
        y, winner = call(NUMPY, "max_pool2d", x, window)
        g = draw(y.shape, dtype, 2)
        assert_alike(numba, "max_pool2d_backward", g, winner, shape[2:], window)


def test_first_of_equal_elements_wins(numba: Backend) -> None:
    x = np.array([[[[1, 1], [1, 1]]], [[[np.nan, 2], [np.nan, 3]]]], np.float32)
    assert_alike(numba, "max_pool2d", x, Window.of(2, 2))
    assert_alike(numba, "max_pool2d", np.full_like(x, -np.inf), Window.of(2, 2))


def test_window_all_in_the_border(numba: Backend) -> None:
    # Taps at -1 and 1 of an image that is one high and wide: nothing but padding.
    x = np.full((1, 1, 1, 1), 5.0, np.float32)
    assert_alike(numba, "max_pool2d", x, Window.of(2, 1, 1, 2))
    _, winner = call(numba, "max_pool2d", x, Window.of(2, 1, 1, 2))
    assert (winner >= 0).all()  # or the gradient would be added outside its memory


@floating
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 2), (5, 0)], ids=str)
def test_add_at_rows(numba: Backend, shape: tuple[int, ...], dtype: str) -> None:
    target = draw(shape, dtype)
    for rows in (np.array([0, 4, 0, -1]), np.array([[1, 2], [2, 2]]), np.zeros(0, np.int64)):
        values = draw((*rows.shape, *shape[1:]), dtype, 1)
        for index in (RawTensor(rows), (RawTensor(rows),)):
            expected = target.copy()
            np.add.at(expected, rows, values)
            got = index_add(numba, target, index, values)
            assert_same_bits(got, expected)


def index_add(backend: Backend, target: HostArray, index: Any, values: HostArray) -> HostArray:
    out: HostArray = backend.index_add(RawTensor(target), index, RawTensor(values)).array
    return out


@pytest.mark.parametrize("place", [4, -5, 2**62])
def test_winner_outside_its_window_is_refused(numba: Backend, place: int) -> None:
    g, winner = RawTensor(draw((1, 1, 1, 1), "float32")), RawTensor(np.full((1, 1, 1, 1), place))
    for backend in (NUMPY, numba):
        with pytest.raises(IndexOutOfRangeError, match=f"index {place} is out of bounds"):
            backend.max_pool2d_backward(g, winner, (2, 2), Window.of(2, 2))


@pytest.mark.parametrize("row", [5, -6, 2**62])
def test_row_out_of_range_is_refused(numba: Backend, row: int) -> None:
    target = draw((5, 3), "float32")
    before = target.copy()
    for backend in (NUMPY, numba):
        with pytest.raises(IndexOutOfRangeError, match=f"{row} is out of bounds"):
            index_add(backend, target, RawTensor(np.array([0, row])), draw((2, 3), "float32", 1))
    assert_same_bits(target, before)


def test_arrays_laid_out_otherwise_are_left_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    update = importlib.import_module("born_numba.update")
    monkeypatch.setattr(update.intrinsics, "layout_holds", lambda: False)
    backend = numba_backend()
    p = Parameter(Tensor(RawTensor(np.ones(3, np.float32)), backend))
    g = RawTensor(np.full(3, 2.0, np.float32))
    optimizer = SGD([p], SGDConfig(lr=0.25))

    def unused(*_: object) -> None:
        raise AssertionError("a compiled loop was given addresses")

    monkeypatch.setattr(update, "add_squares", unused)
    optimizer.step({p.raw: g}, max_norm=100.0)

    assert [type(kernel) for kernel in optimizer.kernels] == [NumpyUpdate]
    np.testing.assert_array_equal(p.numpy(), [0.5, 0.5, 0.5])


@floating
@pytest.mark.parametrize("shape", [(5, 3), (1, 1), (33, 130)])
def test_gradients_of_a_rectified_map(numba: Backend, shape: tuple[int, int], dtype: str) -> None:
    g, y = draw(shape, dtype), draw(shape, dtype, 1, special=True)
    x, weight = draw((shape[0], 4), dtype, 2), draw((shape[1], 4), dtype, 3)
    assert_alike(numba, "linear_gradients", g, x, weight, True, y)
    assert_alike(numba, "linear_gradients", apart(g), x, weight, True, y)


@floating
@pytest.mark.parametrize("reverse", [False, True])
def test_recurrent_products_of_any_size(numba: Backend, dtype: str, reverse: bool) -> None:
    # Rows and depths beyond multiples of the four by four, and of the strips, of the loop.
    steps, batch, width = 3, 6, 37
    z, initial, weight, bias, g = (
        draw(shape, dtype, seed) * 0.3
        for seed, shape in enumerate(
            [
                (steps, batch, 3 * width),
                (1, batch, width),
                (3 * width, width),
                (3 * width,),
                (1, steps, batch, width),
            ]
        )
    )
    ours, theirs = (
        call(backend, "recurrence", z, initial, weight, bias, cell="gru", reverse=reverse)
        for backend in (numba, NUMPY)
    )
    np.testing.assert_allclose(ours[0], theirs[0], 0, 20 * TOLERANCE[dtype])
    gradients = [
        call(
            *(backend, "recurrence_gradients", g, z, initial, weight, bias, None),
            *(*found, "gru", reverse),
        )
        for backend, found in ((numba, ours), (NUMPY, theirs))
    ]
    for got, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(got, expected, 0, 50 * TOLERANCE[dtype])
