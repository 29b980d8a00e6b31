"""Operations on a simulated device: of many elements, and to the bit where that is promised."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import born
from born import ops
from born.autodiff import Autodiff, backward
from born.backend import Backend, Window
from born.dtypes import as_dtype
from born.raw import HostArray, RawTensor
from born_numpy import NumpyBackend
from tests import simulator
from tests.operations.drawing import LAYOUTS
from tests.operations.table import LARGE, ROWS, large_calls
from tests.operations.test_values import EPSILON, FLOATING, INTEGRAL, check_values
from tests.simulator import CupyBackend
from tests.simulator.host import is_host_array


@pytest.fixture
def backends(cupy: Any) -> tuple[CupyBackend, NumpyBackend]:
    """The simulated device, and NumPy, of one seed."""
    return CupyBackend(seed=3), NumpyBackend(seed=3)


def computed(backend: Backend, name: str, *operands: Any, **options: Any) -> HostArray:
    """An operation's result, some of whose operands are arrays."""
    given = [backend.from_numpy(x) if is_host_array(x) else x for x in operands]
    result = getattr(backend, name)(*given, **options)
    with np.errstate(all="ignore"):
        return backend.to_numpy(result if isinstance(result, RawTensor) else result[0])


@pytest.mark.parametrize("name", LARGE)
@given(data=st.data())
@settings(max_examples=10)
def test_values_of_many_elements(name: str, data: st.DataObject) -> None:
    dtypes = FLOATING + INTEGRAL if ROWS[name].integers else FLOATING
    dtype, layout = data.draw(st.sampled_from(dtypes)), data.draw(st.sampled_from(LAYOUTS))
    case = data.draw(large_calls(name))
    with simulator.installed(), np.errstate(over="ignore"):
        check_values(name, case, CupyBackend(), dtype, layout)


# -- what is not finite, and integers that overflow ----------------------------------------

SPECIAL: Final = {
    "sign": 1,
    "relu": 1,
    "rsqrt": 1,
    "sigmoid": 1,
    "silu": 1,
    "softplus": 1,
    "erf": 1,
    "softmax": 1,
    "log_softmax": 1,
}
"""Operation -> how many operands it has."""


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("name", SPECIAL)
def test_what_is_not_finite(
    name: str, dtype: str, backends: tuple[CupyBackend, NumpyBackend]
) -> None:
    ours, theirs = backends
    inf, nan = np.inf, np.nan
    x = np.array([[nan, 0.0, -0.0], [-inf, 1.0, 0.0], [-inf, -inf, -inf], [inf, 0.0, inf]])
    operands = [x, x[::-1].copy()][: SPECIAL[name]]
    with np.errstate(all="ignore"):
        expected = computed(theirs, name, *operands)
    found = computed(ours, name, *(each.astype(as_dtype(dtype)) for each in operands))
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=2 * EPSILON[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_normalisation_of_huge_numbers(
    name: str, dtype: str, backends: tuple[CupyBackend, NumpyBackend]
) -> None:
    size = 1e300 if dtype == "float64" else 1e38
    rows = np.array([[1, -1, 1.5], [2.5, 1.5, 1], [1, 1, 1], [1, 0, 0]]) * size
    x = np.concatenate([rows, [[1.0, 2.0, 3.0]]])
    given, eps = ((None, None), 1e-5) if name == "layer_norm" else ((None,), 1e-6)
    exact = x / np.array([size] * 4 + [1.0])[:, None]
    if name == "layer_norm":
        exact -= exact.mean(1, keepdims=True)
    # Beside huge numbers eps is nothing, but where they are equal it is all there is.
    least = np.where((np.arange(5) == 4) | (exact == 0).all(1), eps, 0.0)
    exact /= np.sqrt((exact**2).mean(1) + least)[:, None]
    for backend in backends:
        found = computed(backend, name, x.astype(as_dtype(dtype)), *given)
        wide = found.astype(np.float64)
        np.testing.assert_allclose(wide, exact, rtol=0, atol=4 * EPSILON[dtype])


def test_pool_of_ties_and_of_what_is_not_finite(cupy: Any) -> None:
    backend = Autodiff(CupyBackend())
    x = born.tensor([[[[1.0, 1.0, -np.inf, -np.inf, 5.0, np.nan, np.nan, 7.0]]]], backend)
    x.requires_grad = True
    with backend.tape:
        y = ops.max_pool2d(x, (1, 2))
        loss = y.sum()
    np.testing.assert_array_equal(y.numpy().ravel(), [1.0, -np.inf, np.nan, np.nan])
    winners = backend.to_numpy(backward(loss)[x]).ravel()
    assert winners.tolist() == [1, 0, 1, 0, 0, 1, 1, 0]


def test_places_far_outside_of_an_image_and_batches_of_none(cupy: Any) -> None:
    # Each length fits into 32 bits, and what is computed of them does not.
    window = Window.of(1, stride=(2**29, 1), padding=(2**30 - 1, 0))
    empty = np.ones((0, 1, 65536, 65536), np.float32)
    for each in (CupyBackend(), NumpyBackend()):
        x, weight = (each.ones((1, 1, n, 1), "float32") for n in (3, 1))
        y = each.conv2d(x, weight, None, window)
        assert each.to_numpy(y).ravel().tolist() == [0, 0, 1, 0, 0]
        y = each.conv2d(
            each.from_numpy(empty), each.ones((2, 1, 1, 1), "float32"), None, Window.of(1)
        )
        assert y.shape == (0, 2, 65536, 65536)


def test_integers_that_overflow_wrap_around(backends: tuple[CupyBackend, NumpyBackend]) -> None:
    taps = np.full((1, 1, 9, 72), 200, np.uint8)
    images = [ops.fold(born.tensor(taps, each), (8, 9), 3, padding=1) for each in backends]
    assert images[0].numpy().tolist() == images[1].numpy().tolist()
    for dtype in ("uint8", "int32", "int64"):
        most = np.iinfo(dtype).max
        for backend in (backends[0], CupyBackend(strict=True)):
            x, y = np.array([most], dtype), np.full(2, 3, dtype)
            total = computed(backend, "index_add", x, np.zeros(2, np.int64), y)
            assert total[0] == np.array(most + 6).astype(np.uint64).astype(dtype)


def test_the_same_row_gives_the_same_bits_in_any_grid(cupy: Any) -> None:
    x = np.random.default_rng(0).uniform(-2.0, 2.0, (7, 3000)).astype(np.float32)
    backend = CupyBackend()
    alone = np.concatenate([computed(backend, "softmax", row[None]) for row in x])
    assert computed(backend, "softmax", x).tobytes() == alone.tobytes()


# -- random numbers are those of NumPy's generator, from wherever it stands -----------------

COUNTS: Final = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 1000, 80_001)
BEFORE: Final = [(0, 0), (0, 1), (1, 0), (2, 1), (3, 0), (3, 1), (4, 0), (5, 3), (7, 2)]
"""How many doubles and then how many floats were drawn before."""

STATES: Final[dict[str, Any]] = {
    "a counter that is soon to carry": {
        "state": {"counter": [2**64 - 2, 2**64 - 1, 2**64 - 1, 5], "key": [1, 2]},
    },
    "a buffer that the counter does not stand for": {
        "buffer": [i << 40 for i in range(4)],
        "buffer_pos": 1,
    },
}


def assert_same_draws(
    backends: tuple[CupyBackend, NumpyBackend], shape: tuple[int, ...], dtype: str
) -> None:
    """Equal bits, and generators that stand at the same place."""
    found, expected = (each.to_numpy(each.uniform(shape, dtype)) for each in backends)
    assert found.tobytes() == expected.tobytes()
    assert backends[0].random_state == backends[1].random_state


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("dtype", FLOATING)
def test_numbers_and_state_are_numpys(
    dtype: str, before: tuple[int, int], backends: tuple[CupyBackend, NumpyBackend]
) -> None:
    for count in COUNTS:
        for backend in backends:
            backend.seed(3)
            backend.uniform((before[0],), "float64")
            backend.uniform((before[1],), "float32")
        for _ in range(2):
            assert_same_draws(backends, (count,), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", STATES)
def test_any_state_is_continued(
    case: str, dtype: str, backends: tuple[CupyBackend, NumpyBackend]
) -> None:
    for backend in backends:
        backend.set_random_state({**backend.random_state, **STATES[case]})
    assert_same_draws(backends, (50,), dtype)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("dtype", FLOATING)
def test_dropout_draws_the_mask_of_the_cpu(
    dtype: str, p: float, backends: tuple[CupyBackend, NumpyBackend]
) -> None:
    x = np.random.default_rng(0).uniform(-2.0, 2.0, 777).astype(as_dtype(dtype))
    drawn = [
        [each.to_numpy(raw).tobytes() for raw in each.dropout(each.from_numpy(x), p)]
        for each in backends
    ]
    assert drawn[0] == drawn[1]
    assert backends[0].random_state == backends[1].random_state
