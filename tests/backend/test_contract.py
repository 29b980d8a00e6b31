"""The contract: what a backend must supply, and what it promises of memory and dtypes."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import born
from born.autodiff import Autodiff
from born.backend import OPERATIONS, ArrayBackend, Backend
from born.dtypes import DTYPE_NAMES, as_dtype
from born.errors import BornError, DTypeError, ShapeError, TapeError
from born.raw import RawTensor


def test_backend_must_supply_the_required_operations() -> None:
    abstract: Any = Backend
    with pytest.raises(TypeError, match="abstract"):
        abstract()
    missing = {name for name, required in OPERATIONS.items() if required}
    assert abstract.__abstractmethods__ == missing


def test_required_operation_has_no_default_to_fall_back_on(backend: Backend) -> None:
    with pytest.raises(BornError, match=r"expected a backend's own operation, .*; do not call"):
        Backend.add(backend, 1.0, 2.0)


def test_array_backend_needs_a_namespace_only() -> None:
    backend = ArrayBackend(np, seed=4)
    x = backend.from_numpy(np.array([1.0, 2.0]))
    assert backend.to_numpy(backend.mul(x, x)).tolist() == [1.0, 4.0]


def test_backend_alone_accumulates_nothing(backend: Backend) -> None:
    with pytest.raises(TapeError, match=r"expected a loss on an Autodiff backend, got .*; make"):
        backend.accumulate(backend.ones((), "float32"))


@pytest.mark.parametrize("name", DTYPE_NAMES)
def test_dtypes_go_to_the_backend_and_come_back(name: str, backend: Backend) -> None:
    array = np.array([[0, 1], [1, 0]]).astype(as_dtype(name))
    raw = backend.from_numpy(array)
    assert raw.dtype == array.dtype
    back = backend.to_numpy(raw)
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()
    assert backend.astype(backend.astype(raw, "float64"), name).dtype == array.dtype
    assert backend.zeros((2,), name).dtype == array.dtype
    assert backend.ones((), name).item() == 1


def test_bfloat16_without_its_package(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    monkeypatch.setattr("born.dtypes._RESOLVED", {})
    with pytest.raises(DTypeError, match=r"expected the package ml_dtypes.*; run: pip install"):
        backend.zeros((2,), "bfloat16")
    assert backend.zeros((2,), "float16").dtype == np.float16


def test_transfers_copy(backend: Backend) -> None:
    array = np.array([1.0, 2.0])
    raw = backend.from_numpy(array)
    array[0] = backend.to_numpy(raw)[1] = 9.0
    assert backend.to_numpy(raw).tolist() == [1.0, 2.0]


def test_transfers_are_contiguous(backend: Backend) -> None:
    array = np.arange(6.0).reshape(2, 3)
    for raw in (backend.from_numpy(array.T), backend.transpose(backend.from_numpy(array))):
        host = backend.to_numpy(raw)
        assert host.flags.c_contiguous
        np.testing.assert_array_equal(host, array.T)
    view = backend.broadcast_to(backend.from_numpy(array), (4, 2, 3))
    assert backend.to_numpy(view).flags.writeable
    copied = backend.copy(view)
    assert backend.to_numpy(copied).shape == (4, 2, 3)


@pytest.mark.parametrize("shape", [(2, 3), (), (0,), (2, 0, 3)])
def test_assign_writes_into_memory_that_exists(shape: tuple[int, ...], backend: Backend) -> None:
    target = backend.zeros(shape, "float32")
    view = backend.reshape(target, (-1,)) if shape == (2, 3) else target
    backend.assign(target, backend.ones(shape, "float32"))
    for raw in (target, view):  # views of the memory see it
        np.testing.assert_array_equal(backend.to_numpy(raw), np.ones(raw.shape))


def test_assign_refuses_another_shape_or_dtype(backend: Backend) -> None:
    target = backend.zeros((2, 3), "float32")
    with pytest.raises(ShapeError, match=r"expected a value of shape \(2, 3\) .*got \(3,\); "):
        backend.assign(target, backend.ones((3,), "float32"))
    with pytest.raises(DTypeError, match=r"expected one dtype in assign, got float32 and float64"):
        backend.assign(target, backend.ones((2, 3), "float64"))
    assert backend.to_numpy(target).tolist() == [[0.0] * 3] * 2


def test_raw_tensors_compare_by_identity(backend: Backend) -> None:
    x, y = backend.zeros((2,), "float32"), backend.zeros((2,), "float32")
    assert x != y
    assert len({x, y, x}) == 2
    assert (x.shape, x.ndim, x.size, x.nbytes) == ((2,), 1, 2, 8)
    assert repr(x) == f"RawTensor(shape=(2,), dtype=float32, device={x.device!r})"
    assert (x.requires_grad, x.grad, x.node) == (False, None, None)


def test_operations_without_a_leaf_leave_no_mark(autodiff: Autodiff[Backend]) -> None:
    x = autodiff.ones((2,), "float32")
    with autodiff.tape:
        y = autodiff.exp(x)
    assert isinstance(y, RawTensor)
    assert y.node is None


def test_two_backends_of_one_kind_have_their_own_random_numbers(backend_name: str) -> None:
    one, other = born.get_backend(backend_name), born.get_backend(backend_name)
    one.normal((3,), "float32")
    assert other.random_state == born.get_backend(backend_name).random_state


@pytest.mark.parametrize("name", OPERATIONS)
def test_arrays_meet_an_operation_where_the_contract_declares_it(name: str) -> None:
    declared, met = (
        getattr(kind, name).__module__.rpartition(".")[2] for kind in (Backend, ArrayBackend)
    )
    assert met in (declared, "random")
