"""Numbers reach their dtype in one step, in native byte order, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import born
from born import checkpoint, nn, ops, optim
from born.autodiff import Autodiff
from born.backend import Backend
from born.checkpoint.reading import open_file
from born.checkpoint.writing import Source, write
from born.dtypes import DTYPE_NAMES, FLOATING_NAMES, as_dtype, convert_exactly
from born.errors import DTypeError
from born.raw import HostArray, RawTensor

INTEGERS: Final = ("int32", "int64", "uint8")


def test_numbers_are_rounded_once(backend: Backend) -> None:
    assert born.tensor(0.1, backend, dtype="float64").item() == 0.1
    assert born.tensor([16777217], backend, dtype="int64").item() == 16777217
    assert born.tensor([2**53 + 1, 1.0], backend, dtype="int64").numpy()[0] == 2**53 + 1
    assert born.tensor([2**62 + 1], backend, dtype="int64").item() == 2**62 + 1
    assert born.tensor(2**70, backend, dtype="float64").item() == 2.0**70
    assert born.tensor([True, 2], backend, dtype="int32").numpy().tolist() == [1, 2]
    assert born.tensor([0, 2], backend, dtype="bool").numpy().tolist() == [False, True]
    just_above = 1 + 2**-8 + 2**-40  # half way between two numbers of bfloat16, and a little more
    assert born.tensor(just_above, backend, dtype="bfloat16").item() == 1 + 2**-7
    assert born.tensor(np.array(just_above), backend, dtype="bfloat16").item() == 1 + 2**-7


@pytest.mark.parametrize("dtype", FLOATING_NAMES)
@given(number=st.one_of(st.integers(-(2**60), 2**60), st.floats(-6e4, 6e4)))
def test_a_converted_number_is_the_nearest(dtype: str, number: float) -> None:
    known = as_dtype(dtype)
    assume(dtype != "float16" or abs(number) < 6e4)
    got = convert_exactly(np.array(number), known)
    error = abs(Fraction(float(got)) - Fraction(number))
    for to in (-np.inf, np.inf):
        near = float(np.nextafter(got, known.type(to)))
        assert error <= abs(Fraction(near) - Fraction(number))


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (300, "uint8"),
        (-1, "uint8"),
        ([2**31], "int32"),
        ([2**63], "int64"),
        ([-1, 2**63], "int64"),
        (2**64, "int64"),
        (1.5, "int32"),
        (float("nan"), "int64"),
        (float("inf"), "int64"),
        (1e39, "float32"),
        (1e39, None),
        (2**200, None),
        (2**2000, "float64"),
        (7e4, "float16"),
        (4e38, "bfloat16"),
        (np.array([1.5]), "int64"),
        (np.array([np.nan]), "int64"),
        (np.array([2.0**63]), "int64"),
        (np.array([300]), "uint8"),
        (np.array([1e39]), "float32"),
    ],
)
def test_a_number_that_does_not_fit_is_refused(data: Any, dtype: Any, backend: Backend) -> None:
    with pytest.raises(DTypeError, match=r"expected numbers that \w+ holds, got .*; use another"):
        born.tensor(data, backend, dtype=dtype)
    if isinstance(data, int | float):
        with pytest.raises(DTypeError, match="expected numbers that"):
            born.full(2, data, backend, dtype or "float32")


def test_a_range_that_does_not_fit_is_refused(backend: Backend) -> None:
    for start, stop, step in ((0, 300, 1), (-1, 3, 1), (0.5, 2, 1), (0, 2, 0.5)):
        with pytest.raises(DTypeError, match=r"expected numbers that u?int\d+ holds"):
            born.arange(start, stop, step, backend=backend, dtype="uint8")
    assert born.arange(250, 256, backend=backend, dtype="uint8").numpy()[-1] == 255


def test_not_finite_numbers_stay_so(backend: Backend) -> None:
    for dtype in FLOATING_NAMES:
        got = born.tensor([np.inf, -np.inf, np.nan], backend, dtype=dtype).numpy()
        np.testing.assert_array_equal(got.astype(np.float64), [np.inf, -np.inf, np.nan])


# -- byte order and layout -----------------------------------------------------------------

LAYOUTS: Final[dict[str, Callable[[HostArray], HostArray]]] = {
    "contiguous": lambda a: a,
    "Fortran": lambda a: np.asarray(a, order="F"),
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "empty": lambda a: a[:, :0],
}
ORDERS: Final = ("<", ">", "=")
KNOWN: Final = [(name, order) for name in DTYPE_NAMES for order in ORDERS if name != "bfloat16"]


def laid_out(name: str, order: Any, layout: str) -> HostArray:
    array = np.arange(6).reshape(2, 3).astype(as_dtype(name))
    return LAYOUTS[layout](array.astype(array.dtype.newbyteorder(order)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "order"), [*KNOWN, ("bfloat16", "=")])
def test_any_layout_comes_in_native_order(
    name: str, order: str, layout: str, backend: Backend, tmp_path: Path
) -> None:
    array = laid_out(name, order, layout)
    native = array.astype(as_dtype(name))
    for tensor in (
        born.tensor(array, backend),
        born.tensor(array, backend, dtype=array.dtype),
        born.tensor(native.astype(as_dtype("float64")), backend, dtype=array.dtype),
    ):
        assert tensor.dtype == as_dtype(name)
        assert tensor.dtype.isnative
        np.testing.assert_array_equal(tensor.numpy(), native)
    assert backend.zeros((2,), array.dtype).dtype.isnative
    assert backend.astype(backend.ones((2,), "float32"), array.dtype).dtype.isnative
    path = tmp_path / "a.safetensors"
    write(path, {"x": Source.of(array)}, {})
    with open_file(path) as file:
        read = file.read("x")
    assert read.dtype == native.dtype
    np.testing.assert_array_equal(read, native)
    if name not in FLOATING_NAMES:
        return
    model, other = _Holder(array, backend), _Holder(np.zeros_like(native), backend)
    checkpoint.save(tmp_path / "a.safetensors", model=model)
    checkpoint.load(tmp_path / "a.safetensors", model=other)
    np.testing.assert_array_equal(other.held.tensor.numpy(), native)


class _Holder(nn.Module[Backend]):
    """A model of one array."""

    def __init__(self, array: HostArray, backend: Backend) -> None:
        self.held = nn.Parameter(born.tensor(array, backend))


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">f2"])
def test_big_endian_data_trains(dtype: str, autodiff: Autodiff[Backend]) -> None:
    weight = nn.Parameter(born.tensor(np.ones(3, dtype), autodiff))
    optimizer = optim.SGD([weight], optim.SGDConfig(lr=0.5))
    with autodiff.tape:
        loss = (weight.tensor * born.tensor(np.ones(3, dtype), autodiff)).sum()
    loss.backward()
    optimizer.step()
    assert weight.tensor.numpy().tolist() == [0.5] * 3


def test_a_file_holds_numbers_in_one_byte_order(cpu_backend: Backend, tmp_path: Path) -> None:
    # An array that a program put into a tensor itself, past every door.
    model = _Holder(np.zeros(2, np.float32), cpu_backend)
    model.held.raw.array = np.array([1.0, 2.0], ">f4")
    checkpoint.save(tmp_path / "a.safetensors", model=model)
    other = _Holder(np.zeros(2, np.float32), cpu_backend)
    checkpoint.load(tmp_path / "a.safetensors", model=other)
    assert other.held.tensor.numpy().tolist() == [1.0, 2.0]


# -- indices keep their dtype --------------------------------------------------------------


EMPTY_INDICES: Final[list[tuple[tuple[int, ...], Any]]] = [
    ((0, 5), np.zeros((0, 5), bool)),
    ((0, 5), np.zeros(0, bool)),
    ((3, 5), np.zeros(0, np.int64)),
    ((3, 5), np.zeros((0, 2), np.int32)),
    ((3, 0), np.zeros((3, 0), bool)),
    ((3, 5), []),
    ((3, 5), [[]]),
    ((3, 5), (slice(None), np.zeros(0, np.int64))),
]


@pytest.mark.parametrize(("shape", "index"), EMPTY_INDICES)
def test_empty_indices_mean_what_they_mean_in_numpy(
    shape: tuple[int, ...], index: Any, backend: Backend
) -> None:
    tensor = born.zeros(shape, backend)
    expected = np.zeros(shape)[index]
    assert tensor[index].shape == expected.shape
    added = ops.index_add(tensor, index, born.zeros(expected.shape, backend))
    assert added.shape == shape


def test_an_empty_array_of_floats_is_not_an_index(cpu_backend: Backend) -> None:
    with pytest.raises((DTypeError, IndexError)):
        _ = born.zeros(3, cpu_backend)[np.zeros(0)]


@pytest.mark.parametrize("integer", INTEGERS)
def test_native_order_holds_for_what_a_backend_is_handed(integer: str, backend: Backend) -> None:
    raw = backend.from_numpy(np.arange(3).astype(as_dtype(integer).newbyteorder(">")))
    assert isinstance(raw, RawTensor)
    assert raw.dtype.isnative
    assert raw.array.tolist() == [0, 1, 2]
