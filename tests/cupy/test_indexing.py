"""Indices on the device: whatever is out of range is reported, and does no harm meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from born.errors import DomainError, IndexOutOfRangeError
from born.operands import raw_index
from born.raw import HostArray, RawTensor
from born_numpy import NumpyBackend
from tests.simulator import CupyBackend

Call = Callable[[Any, Callable[[Any], RawTensor], RawTensor], RawTensor]
"""Calls an operation: backend, how to make a tensor, and a tensor of shape (2, 3)."""

WRONG: Final[dict[str, Call]] = {
    "getitem": lambda b, t, x: b.getitem(x, t([0, 2])),
    "getitem of columns": lambda b, t, x: b.getitem(x, (slice(None), t([[3], [0]]))),
    "getitem below": lambda b, t, x: b.getitem(x, t(-3)),
    "getitem of two": lambda b, t, x: b.getitem(x, (t([0, 1]), t([0, 9]))),
    "getitem beside a slice": lambda b, t, x: b.getitem(x, (slice(0, 1), None, t([5]))),
    "getitem beside an integer": lambda b, t, x: b.getitem(x, (1, t([7]))),
    "take": lambda b, t, x: b.take(x, t([[1, 2**40]]), 1),
    "gather": lambda b, t, x: b.gather(x, t([[0, 1, 2]]), 0),
    "scatter_add": lambda b, t, x: b.scatter_add(x, t([[2, 0, 0]]), t([[1.0, 2.0, 3.0]]), 0),
    "index_add": lambda b, t, x: b.index_add(x, t([-3, 0]), t([[1.0] * 3] * 2)),
    "index_add of two": lambda b, t, x: b.index_add(x, (t([0]), t([3])), t([1.0])),
}

AT_ONCE: Final[dict[str, tuple[Any, str]]] = {
    "integer": (2, "out of bounds"),
    "fraction": (1.5, r"1\.5 is no integer, slice, None, Ellipsis or tensor"),
    "bool": (True, "True is no integer"),
    "too many": ((0, 0, 0), "it names 3 axes"),
    "mask of another shape": (np.ones((2, 2), bool), r"a mask of shape \(2, 2\) stands at axis 0"),
    "mask that stands elsewhere": ((slice(None), np.ones(2, bool)), "stands at axis 1"),
    "arrays that do not broadcast": ((np.zeros(2, int), np.zeros(3, int)), "broadcast"),
}


def placing(backend: CupyBackend) -> Callable[[Any], RawTensor]:
    """How to make a tensor of numbers."""
    return lambda numbers: backend.from_numpy(np.array(numbers))


@pytest.mark.parametrize("case", WRONG)
def test_an_index_out_of_range_is_reported(case: str, backend: CupyBackend) -> None:
    x = backend.from_numpy(np.arange(6.0).reshape(2, 3))
    y = WRONG[case](backend, placing(backend), x)
    operation = "getitem" if case == "take" else case.split()[0]
    message = rf"^expected an index within an axis of [23] elements, got .*; .*seen by {operation}"
    with pytest.raises(IndexOutOfRangeError, match=message):
        backend.synchronize()
    backend.synchronize()
    assert np.isfinite(backend.to_numpy(y)).all()


@pytest.mark.parametrize("case", AT_ONCE)
def test_what_the_host_knows_is_refused_at_once(case: str, backend: CupyBackend) -> None:
    index, what = AT_ONCE[case]
    x = backend.from_numpy(np.zeros((2, 3)))
    with pytest.raises(IndexOutOfRangeError, match=rf"^expected an index within .*{what}.*; check"):
        backend.getitem(x, raw_index(index, backend))


@pytest.mark.parametrize("index", [1.5, True, "1"])
def test_index_add_refuses_what_is_no_index(index: Any, backend: CupyBackend) -> None:
    x = backend.from_numpy(np.zeros((2, 3)))
    with pytest.raises(IndexOutOfRangeError, match="is no integer, slice"):
        backend.index_add(x, index, x)


def test_the_first_fault_is_told_and_the_rest_counted(backend: CupyBackend) -> None:
    t = placing(backend)
    x = backend.from_numpy(np.zeros(3))
    backend.getitem(x, t([8, 9]))
    backend.gather(x, t([7]), 0)
    with pytest.raises(IndexOutOfRangeError, match=r"seen by getitem, for 3 values"):
        backend.to_numpy(x)


def test_powers_of_integers(
    cupy: Any, backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = placing(backend)
    with monkeypatch.context() as patch:
        # CuPy makes something of negative powers of integers too; NumPy, below, raises an error.
        patch.setattr(cupy, "power", cupy.add)
        backend.pow(t([2, 3]), t([1, -1]))
    with pytest.raises(DomainError, match=r"^expected integers to non-negative powers, .*: -1; "):
        backend.synchronize()
    assert backend.to_numpy(backend.pow(t([2, 3]), t([3, 2]))).tolist() == [8, 9]
    assert backend.to_numpy(backend.pow(t([2.0]), t([-1.0]))).tolist() == [0.5]


def test_labels(backend: CupyBackend) -> None:
    t = placing(backend)
    logits = t([[1.0, 2.0, 3.0]] * 2)
    loss, _ = backend.cross_entropy(logits, t([3, 1]))
    with pytest.raises(IndexOutOfRangeError, match=r"^expected labels from 0 to 2, got .*as 3; "):
        backend.to_numpy(loss)
    with pytest.raises(IndexOutOfRangeError, match="as -1; "):
        CupyBackend(strict=True).check_labels(logits, t([0, -1]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "uint8", "bool"])
def test_strict_scatters_have_numpys_bits(dtype: str, cupy: Any) -> None:
    generator = np.random.default_rng(0)
    x: HostArray = generator.uniform(0, 2, (4, 5)).astype(dtype)
    y: HostArray = generator.uniform(0, 2, (30, 5)).astype(dtype)
    index = generator.integers(-4, 4, 30)
    columns = generator.integers(-5, 5, (4, 9))
    found = [
        scattered(CupyBackend(strict=True), x, y, index, columns),
        scattered(NumpyBackend(), x, y, index, columns),
    ]
    assert found[0] == found[1]


def scattered(
    backend: CupyBackend | NumpyBackend,
    x: HostArray,
    y: HostArray,
    index: HostArray,
    columns: HostArray,
) -> list[bytes]:
    """The bits of what several scatters give."""
    t = backend.from_numpy
    results = (
        backend.index_add(t(x), t(index), t(y)),
        backend.index_add(t(x), (t(index), t(index)), t(y[:, 0].copy())),
        backend.scatter_add(t(x), t(columns), t(np.resize(y, columns.shape)), 1),
    )
    return [backend.to_numpy(result).tobytes() for result in results]
