"""The backend beyond the contract: what waits, what is refused, and what it promises if strict."""

from __future__ import annotations

import gc
import inspect
import sys
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import born
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.dtypes import as_dtype
from born.errors import (
    BackendMismatchError,
    BackendUnavailableError,
    DomainError,
    DTypeError,
    IndexOutOfRangeError,
    OperandError,
    OutOfMemoryError,
)
from born.raw import HostArray, RawTensor
from tests import simulator
from tests.operations.table import ROWS, calls
from tests.optim.making import CONFIGS, assert_unchanged, contents, make, parameter
from tests.simulator import CupyBackend

LEARNING: Final = optim.SGDConfig(lr=0.5)


# -- waiting --


WAITING: Final = {"to_numpy", "expm"}
"""What asks for values: a copy to the host, and how often a matrix has to be squared."""


@pytest.mark.parametrize("name", [name for name in ROWS if name not in WAITING])
@given(data=st.data())
@settings(max_examples=5)
def test_operations_do_not_wait_for_the_device(name: str, data: st.DataObject) -> None:
    case = data.draw(calls(name))
    with simulator.installed():
        backend = CupyBackend()
        raws = [backend.from_numpy(x.astype(np.float32)) for x in case.inputs]
        with simulator.waiting() as waits:
            case.results(backend, raws)
        # How many elements a mask selects is known only when it has been computed.
        assert [wait for wait in waits if not wait.endswith("of a mask")] == []


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_training_steps_do_not_wait_for_the_device(
    config: optim.Config, backend: CupyBackend
) -> None:
    autodiff = Autodiff(backend)
    model = nn.Sequential(nn.Linear(4, 8, autodiff), nn.GELU(), nn.Linear(8, 3, autodiff))
    optimizer = make(config, model.parameters())
    inputs = born.tensor(np.ones((5, 4), np.float32), autodiff)
    labels = born.tensor(np.arange(5) % 3, autodiff)

    def step() -> born.Tensor[Any]:
        with autodiff.tape:
            loss = nn.cross_entropy(model(inputs), labels)
        optimizer.step(backward(loss), max_norm=1.0)
        return loss

    with simulator.waiting() as waits:
        losses = [step() for _ in range(40)]
    assert waits == []
    with simulator.waiting() as waits:
        assert losses[-1].item() > 0
    assert waits == ["ndarray.get", "ndarray.get"]  # the value, and the report of faults


def test_steps_that_may_be_skipped_do_not_wait_for_the_device(backend: CupyBackend) -> None:
    p = nn.Parameter(born.tensor(np.ones(4, np.float32), backend), "p")
    optimizer = optim.Adam([p], lr=0.1, nonfinite="skip", watch=("update_ratio",))
    values = (1.0, np.nan, 1.0, np.inf, 1.0)
    gradients = [born.tensor(np.full(4, value, np.float32), backend).raw for value in values]
    with simulator.waiting() as waits:
        reports = [optimizer.step({p.raw: gradient}, max_norm=1.0) for gradient in gradients]
        assert [report.lr for report in reports] == [0.1] * 5
    assert waits == []
    assert [report.applied for report in reports] == [True, False, True, False, True]
    assert optimizer.timestep == 3


# -- faults that are seen later --


WAITS: Final[dict[str, Callable[[CupyBackend, RawTensor], object]]] = {
    "to_numpy": lambda backend, y: backend.to_numpy(y),
    "synchronize": lambda backend, y: backend.synchronize(),
    "numpy": lambda backend, y: born.Tensor(y, backend).numpy(),
    "item": lambda backend, y: born.Tensor(backend.sum(y), backend).item(),
}
"""Ways to wait for the device."""


@pytest.mark.parametrize("way", WAITS)
def test_an_index_out_of_range_is_told_to_who_waits(way: str, backend: CupyBackend) -> None:
    x = backend.from_numpy(np.ones(3, np.float32))
    far = backend.from_numpy(np.array([1, 3]))
    y = backend.getitem(x, far)
    with pytest.raises(IndexOutOfRangeError, match="axis of 3 elements, got 3"):
        WAITS[way](backend, y)
    assert backend.to_numpy(y).tolist() == [1, 0], "it is told once"


def test_a_strict_backend_tells_at_once(cupy: Any) -> None:
    backend = CupyBackend(strict=True)
    x = backend.from_numpy(np.ones(3, np.float32))
    with pytest.raises(IndexOutOfRangeError, match="axis of 3 elements, got 3"):
        backend.getitem(x, backend.from_numpy(np.array([1, 3])))


# -- what is refused --


def test_arrays_of_elsewhere_are_refused(cupy: Any, backend: CupyBackend) -> None:
    x = backend.from_numpy(np.ones(3, np.float32))
    with cupy.cuda.Device(1):
        far = RawTensor(cupy.ones(3, np.float32))
    with pytest.raises(BackendMismatchError, match=r"on device 0 in add, got one on device 1; "):
        backend.add(x, far)
    host = RawTensor(np.ones(3, np.float32))
    with pytest.raises(BackendMismatchError, match=r"in add, got a numpy\.ndarray; copy it"):
        backend.add(x, host)


ELSEWHERE: Final = {"accumulate", "begin_group", "cholesky_inverse", "slot"}
"""Methods that take tensors and leave what is done to operations, or to an object of theirs."""


def test_methods_that_take_tensors_run_on_the_device(cupy: Any, backend: CupyBackend) -> None:
    host = RawTensor(np.ones(3, np.float32))
    found = 0
    for name, method in inspect.getmembers(backend, inspect.ismethod):
        every = inspect.signature(method).parameters.values()
        given = [each for each in every if each.default is each.empty]
        if name.startswith("_") or name in ELSEWHERE:
            continue
        arguments = [host if "RawTensor" in str(each.annotation) else None for each in given]
        if not any(each is host for each in arguments):
            continue
        with pytest.raises(BackendMismatchError, match=f"on device 0 in {name}, got a numpy"):
            method(*arguments)
        found += 1
    assert found > 100


BYTES: Final = optim.Precision(slots="int8")
MADE: Final[dict[str, Callable[[Any], Any]]] = {
    "stacks": lambda parameters: optim.Muon(parameters, lr=0.1),
    "bytes": lambda parameters: optim.Adam(parameters, lr=0.1, precision=BYTES),
    "bytes in stages": lambda parameters: optim.LAMB(parameters, lr=0.1, precision=BYTES),
}


@pytest.mark.parametrize("made", MADE)
def test_a_device_that_is_not_current_computes_the_same(made: str, cupy: Any) -> None:
    def trained(backend: CupyBackend) -> list[bytes]:
        autodiff = Autodiff(backend)
        model = nn.Sequential(nn.Linear(4, 300, autodiff), nn.LayerNorm(300, autodiff))
        optimizer = MADE[made](model.parameters())
        inputs = born.tensor(np.ones((5, 4), np.float32), autodiff)
        for _ in range(2):
            with autodiff.tape:
                y = model(inputs)
                loss = (y[:2] * y[1:3]).sum() + y[3:].mean()
            optimizer.step(backward(loss))
        return [x.tobytes() for x in contents(optimizer).values()]

    assert trained(CupyBackend(device=1)) == trained(CupyBackend())


def test_parameters_and_gradients_of_elsewhere_are_refused(cupy: Any, backend: CupyBackend) -> None:
    p = parameter([1.0, 2.0], backend)
    optimizer = optim.SGD([p], LEARNING)
    before = contents(optimizer)
    with cupy.cuda.Device(1):
        far = RawTensor(cupy.ones(2, np.float32))
    for gradient in (far, RawTensor(np.ones(2, np.float32))):
        with pytest.raises(BackendMismatchError, match="expected a gradient on CupyBackend"):
            optimizer.step({p.raw: gradient})
        assert_unchanged(optimizer, before)
    p.raw.array = np.ones(2, np.float32)
    with pytest.raises(BackendMismatchError, match="expected"):
        optim.SGD([p], LEARNING)


def test_devices_that_are_not_there_are_refused(cupy: Any) -> None:
    with pytest.raises(BackendUnavailableError, match="no device 7, the devices are from 0 to 1"):
        CupyBackend(device=7)
    with pytest.raises(DomainError, match="expected the number of a CUDA device, got -1"):
        CupyBackend(device=-1)


def test_a_second_device_computes_there(cupy: Any) -> None:
    backend = CupyBackend(device=1)
    x = backend.add(backend.zeros((3,), "float32"), 1.0)
    assert x.array.data.device_id == 1
    assert cupy.cuda.Device().id == 0
    assert backend.to_numpy(x).tolist() == [1, 1, 1]


@contextmanager
def room_for(cupy: Any, size: int) -> Generator[None]:
    """A device with so many bytes free."""
    gc.collect()  # so that nothing is given back meanwhile
    pool = cupy.get_default_memory_pool()
    pool.set_limit(size=pool.used_bytes() + size)
    try:
        yield
    finally:
        pool.set_limit(size=0)


def test_a_lack_of_memory_says_what_there_was(cupy: Any, backend: CupyBackend) -> None:
    x = backend.ones((100, 100), "float32")
    with (
        room_for(cupy, 4096),
        pytest.raises(OutOfMemoryError, match="room for 40,448 bytes on device 0") as error,
    ):
        backend.mul(x, 2.0)
    assert (error.value.requested, error.value.free) == (40_448, 4096)


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_a_step_without_memory_changes_nothing(
    config: optim.Config, cupy: Any, backend: CupyBackend
) -> None:
    p = parameter(np.ones((4, 3)), backend)
    optimizer = make(config, [p])
    gradients = {p.raw: backend.ones((4, 3), "float32")}
    optimizer.step(gradients)
    before = contents(optimizer)
    # Contiguous copies and a norm are what a step needs memory for after the first.
    turned = {p.raw: RawTensor(backend.ones((3, 4), "float32").array.T)}
    for given_gradients, max_norm in ((turned, None), (gradients, 1.0)):
        with room_for(cupy, 0), pytest.raises(OutOfMemoryError, match="on device 0"):
            optimizer.step(given_gradients, max_norm=max_norm)
        assert_unchanged(optimizer, before)


# -- what the garbage collector finds --


def test_a_suspended_loop_in_a_cycle_waits_before_its_stream_is_destroyed(
    cupy: Any, backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    # Older than the loop, the stream would be finalised before it.
    streams = [cupy.cuda.Stream(non_blocking=True)]
    alive = weakref.ref(streams[0])

    def older(non_blocking: bool) -> object:
        return streams.pop()

    monkeypatch.setattr(cupy.cuda, "Stream", older)
    loop = backend.prefetch([np.ones(3)] for _ in range(3))
    next(loop)
    cycle: list[object] = [loop]
    cycle.append(cycle)
    with simulator.waiting() as waits:
        del loop, cycle
        gc.collect()
    assert not errors
    assert waits == ["Stream.synchronize"]
    assert alive() is None, "and nothing holds it after that"


# -- powers --


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_powers_of_one_two_and_minus_one_are_exact(
    dtype: str, cupy: Any, backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inexact(*operands: Any) -> Any:
        raise AssertionError("CUDA's pow is off by a unit in the last place")

    monkeypatch.setattr(cupy, "power", inexact)
    x = np.array([-3.0, 0.1, -0.0, np.inf, -np.inf, np.nan]).astype(as_dtype(dtype))
    with np.errstate(divide="ignore"):
        cases: list[tuple[Any, HostArray]] = [(1, x), (2.0, x * x), (-1, x.dtype.type(1) / x)]
        cases += [(np.float32(power), expected) for power, expected in cases]
        for power, expected in cases:
            found = backend.to_numpy(backend.pow(backend.from_numpy(x), power))
            assert found.dtype == x.dtype
            assert_same_bits(found.astype(np.float64), expected.astype(np.float64))


def assert_same_bits(found: HostArray, expected: HostArray) -> None:
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found[:-1]), np.signbit(expected[:-1]))


def test_a_power_of_one_is_in_memory_of_its_own(backend: CupyBackend) -> None:
    x = backend.ones((2,), "float32")
    assert backend.pow(x, 1).array.data.ptr != x.array.data.ptr


def test_powers_that_do_not_fit_are_refused(backend: CupyBackend) -> None:
    integers, floats = backend.ones((2,), "int64"), backend.ones((2,), "float32")
    for x, y, error in ((integers, -1, DomainError), (integers, 1.0, DTypeError)):
        with pytest.raises(error, match="expected"):
            backend.pow(x, y)
    power: Any = "1"
    with pytest.raises(OperandError, match="expected a tensor or a Python number in power"):
        backend.pow(floats, power)


# -- strict, and on streams --


def scattered(backend: CupyBackend) -> HostArray:
    """A sum of many numbers at one index."""
    values = np.random.default_rng(0).normal(size=500).astype(np.float32)
    index = backend.from_numpy(np.zeros(500, np.int64))
    x = backend.zeros((1,), "float32")
    return backend.to_numpy(backend.index_add(x, index, backend.from_numpy(values)))


def test_only_a_strict_backend_adds_in_order(cupy: Any) -> None:
    strict, other = CupyBackend(strict=True), CupyBackend()
    assert len({scattered(strict).tobytes() for _ in range(9)}) == 1
    assert len({scattered(other).tobytes() for _ in range(9)}) > 1


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_steps_on_a_stream_are_those_on_the_default_one(config: optim.Config, cupy: Any) -> None:
    def trained(backend: CupyBackend) -> dict[str, HostArray]:
        parameters = [parameter(np.ones(shape), backend) for shape in ((3, 5), (7,), ())]
        optimizer = make(config, parameters)
        for step in range(5):
            kept = parameters[: 2 + step % 2]  # and now and then one has no gradient
            gradients = {p.raw: backend.full(p.shape, 0.5 - step, "float32") for p in kept}
            optimizer.step(gradients, max_norm=2.0 if step > 2 else None)
        return contents(optimizer)

    here, there = trained(CupyBackend()), trained(CupyBackend(stream=cupy.cuda.Stream()))
    assert {key: x.tobytes() for key, x in here.items()} == {
        key: x.tobytes() for key, x in there.items()
    }


def test_norms_on_two_streams_do_not_mix(cupy: Any, backend: CupyBackend) -> None:
    results: dict[float, RawTensor] = {}
    for value, stream in ((3.0, cupy.cuda.Stream()), (4.0, cupy.cuda.Stream())):
        with stream:
            results[value] = backend.global_norm([backend.full((), value, "float32")])
    backend.synchronize()
    assert {value: norm.item() for value, norm in results.items()} == {3.0: 3.0, 4.0: 4.0}


def test_numpy_gets_no_array_of_a_device(backend: CupyBackend) -> None:
    x = backend.ones((2,), "float32")
    message = "expected an array on the host, got one on <CUDA Device 0>; copy it with"
    for each in (x, born.Tensor(x, backend)):
        with pytest.raises(OperandError, match=message):
            np.asarray(each)
