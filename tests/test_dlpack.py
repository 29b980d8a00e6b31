"""Arrays shared with other libraries through DLPack, without a copy, in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.dtypes import DTYPE_NAMES, as_dtype
from born.errors import BackendMismatchError, DTypeError, OperandError, ParameterError
from born_numpy import NumpyBackend

SHARED = [name for name in DTYPE_NAMES if name != "bfloat16"]
"""The dtypes that NumPy shares."""

CPU, CUDA, CUDA_HOST = 1, 2, 3
"""DLPack's numbers."""


class Elsewhere:
    """An array that says it is on some device, and is on the host."""

    dtype = np.dtype(np.float32)

    def __init__(self, kind: int, index: int = 0) -> None:
        self._array = np.ones(2, np.float32)
        self._device = kind, index

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)


@pytest.fixture
def host() -> NumpyBackend:
    return NumpyBackend()


SHARES_READ_ONLY = np.lib.NumpyVersion(np.__version__) >= "2.1.0"
"""NumPy 2.0 does not say through DLPack whether an array may be written."""


@pytest.mark.skipif(not SHARES_READ_ONLY, reason="NumPy 2.0 shares no read-only array")
@pytest.mark.parametrize("dtype", SHARED)
def test_numpy_array_and_tensor_are_one_memory(host: NumpyBackend, dtype: str) -> None:
    array = np.zeros((2, 3), dtype)
    shared = born.from_dlpack(array, host)
    array[1, 2] = 1
    assert shared.dtype == array.dtype
    assert shared.numpy().tolist() == array.tolist()
    back = np.from_dlpack(shared)
    assert np.shares_memory(back, array)
    assert back.flags.writeable == SHARES_READ_ONLY


@pytest.mark.parametrize("dtype", SHARED)
def test_torch_shares_memory_both_ways(host: NumpyBackend, dtype: str) -> None:
    torch: Any = pytest.importorskip("torch")
    mine = born.zeros((2, 3), host, dtype)
    theirs = torch.from_dlpack(mine)
    theirs[1, 2] = 1
    assert mine.numpy()[1, 2] == 1
    back = born.from_dlpack(theirs, host)
    assert back.raw.array.ctypes.data == theirs.data_ptr() == mine.raw.array.ctypes.data
    assert back.raw.array.flags.writeable


def test_strides_are_kept(host: NumpyBackend) -> None:
    torch: Any = pytest.importorskip("torch")
    theirs = torch.arange(6).reshape(2, 3).T[::2]
    mine = born.from_dlpack(theirs, host)
    assert mine.numpy().tolist() == theirs.tolist()
    assert torch.from_dlpack(mine.T).tolist() == theirs.T.tolist()


def test_training_updates_what_torch_sees(host: NumpyBackend) -> None:
    torch: Any = pytest.importorskip("torch")
    backend = Autodiff(host)
    theirs = torch.ones(3)
    weight = nn.Parameter(born.from_dlpack(theirs, backend))
    optimizer = optim.SGD([weight], optim.SGDConfig(lr=0.5))
    with backend.tape:
        loss = (weight * 2.0).sum()
    optimizer.step(backward(loss))
    assert theirs.tolist() == [0.0, 0.0, 0.0]
    assert torch.from_dlpack(weight).data_ptr() == theirs.data_ptr()


def test_bfloat16_is_shared_by_its_bits(host: NumpyBackend) -> None:
    torch: Any = pytest.importorskip("torch")
    bfloat16 = as_dtype("bfloat16")
    theirs = torch.tensor([1.0, -2.5], dtype=torch.bfloat16)
    with pytest.raises(DTypeError, match=r"got torch.bfloat16 .*share an int16 view"):
        born.from_dlpack(theirs, host)
    with pytest.raises(DTypeError, match=r"got torch.bfloat16"):
        born.tensor(theirs, host)
    bits = np.from_dlpack(theirs.view(torch.int16))
    mine = born.Tensor(born.RawTensor(bits.view(bfloat16)), host)
    assert mine.astype("float32").numpy().tolist() == [1.0, -2.5]
    with pytest.raises(BufferError, match=r"got bfloat16; share raw.array.view\(\"int16\"\)"):
        torch.from_dlpack(mine)
    back = torch.from_dlpack(mine.raw.array.view("int16")).view(torch.bfloat16)
    assert back.data_ptr() == theirs.data_ptr()


def test_jax_arrays_are_constants(host: NumpyBackend) -> None:
    jax: Any = pytest.importorskip("jax.numpy")
    array = jax.arange(3.0)
    shared = born.from_dlpack(array, host)
    assert (shared * 2.0).numpy().tolist() == [0.0, 2.0, 4.0]
    with pytest.raises(ParameterError, match="can be written, got a read-only one"):
        optim.SGD([nn.Parameter(shared)], optim.SGDConfig())


@pytest.mark.skipif(not SHARES_READ_ONLY, reason="NumPy 2.0 shares no read-only array")
def test_read_only_array_is_shared_and_not_updated(host: NumpyBackend) -> None:
    array = np.ones(2, np.float32)
    array.flags.writeable = False
    shared = born.from_dlpack(array, host)
    assert np.shares_memory(shared.raw.array, array)
    assert shared.sum().item() == 2.0
    with pytest.raises(ParameterError, match="can be written, got a read-only one"):
        optim.SGD([nn.Parameter(shared)], optim.SGDConfig())


def test_tensors_of_one_device_share_memory(backend: Backend) -> None:
    tensor = born.zeros((2, 2), backend)
    shared = born.from_dlpack(tensor, Autodiff(backend))
    assert shared.raw is not tensor.raw
    backend.assign(tensor.raw, born.full((2, 2), 3.0, backend).raw)
    assert shared.numpy().tolist() == [[3.0, 3.0], [3.0, 3.0]]
    raw = born.from_dlpack(tensor.raw, backend)
    assert (raw + tensor).numpy().tolist() == [[6.0, 6.0], [6.0, 6.0]]


def test_sharing_is_not_recorded(autodiff: Autodiff[Backend]) -> None:
    weight = nn.Parameter(born.ones((2,), autodiff))
    with autodiff.tape:
        shared = born.from_dlpack(weight, autodiff)
        assert not shared.requires_grad
        assert len(autodiff.tape) == 0


@pytest.mark.parametrize("kind", [CUDA, 8, 99])
def test_array_of_another_device_is_refused(host: NumpyBackend, kind: int) -> None:
    with pytest.raises(
        BackendMismatchError, match=r"expected an array on cpu:0, .*got one on .*:1"
    ):
        born.from_dlpack(Elsewhere(kind, 1), host)


def test_host_memory_that_a_device_reads_is_host_memory(host: NumpyBackend) -> None:
    # NumPy asks the array itself where it is, and refuses pinned memory that is not.
    assert born.from_dlpack(Elsewhere(CPU), host).numpy().tolist() == [1.0, 1.0]
    assert born.from_dlpack(Elsewhere(CUDA_HOST), host).numpy().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("value", [[1.0, 2.0], 3, None, "text", object()])
def test_what_is_no_array_is_refused(host: NumpyBackend, value: Any) -> None:
    with pytest.raises(OperandError, match=r"expected an array with __dlpack__, got .*; copy it"):
        born.from_dlpack(value, host)


def test_array_that_its_library_keeps_is_refused(host: NumpyBackend) -> None:
    torch: Any = pytest.importorskip("torch")
    with pytest.raises(OperandError, match=r"its library shares, got a Tensor .*; detach or copy"):
        born.from_dlpack(torch.zeros(2, requires_grad=True), host)


@pytest.mark.parametrize("dtype", [np.uint16, np.complex64])
def test_dtype_that_born_does_not_know_is_refused(host: NumpyBackend, dtype: Any) -> None:
    with pytest.raises(DTypeError, match=r"expected one of the dtypes float32.*got dtype"):
        born.from_dlpack(np.zeros(2, dtype), host)


def test_no_backend_where_one_is_due() -> None:
    wrong: Any = "numpy"
    with pytest.raises(OperandError, match=r"expected a backend .*got 'numpy'; make one"):
        born.from_dlpack(np.zeros(2), wrong)


def test_tensor_copies_what_only_dlpack_gives(host: NumpyBackend) -> None:
    class Device(Elsewhere):
        def __array__(self, *args: Any, **options: Any) -> Any:
            raise TypeError("not implicitly")

    copied = born.tensor(Device(CPU), host)
    assert copied.numpy().tolist() == [1.0, 1.0]
    assert copied.raw.array.flags.owndata
    with pytest.raises(
        BackendMismatchError, match=r"on cpu:0, where NumpyBackend\(\) computes, got"
    ):
        born.tensor(Device(CUDA), host)
