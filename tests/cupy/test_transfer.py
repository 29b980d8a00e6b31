"""Uploading batches: the right numbers whatever runs when, and no wait that is not needed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from born.dtypes import as_dtype
from born.errors import DTypeError, OutOfMemoryError
from born.raw import HostArray, RawTensor
from tests.simulator.streams import Device

Prefetch = Callable[[Any, Iterable[Sequence[HostArray]]], Generator[list[RawTensor]]]

SEEDS = range(40)
NEVER, SELDOM, OFTEN = 0, 2, 100
"""How eagerly the device works while the host goes on."""


@pytest.fixture
def prefetch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Device], Prefetch]]:
    """`born_cupy.transfer.prefetch`, over a model of a device in place of CuPy."""
    names = ("cupy", "born_cupy.device", "born_cupy.transfer")
    before = {name: sys.modules.pop(name, None) for name in names}

    def over(device: Device) -> Prefetch:
        sys.modules["cupy"] = device.cupy
        module: Any = importlib.import_module("born_cupy.transfer")
        monkeypatch.setattr(module, "cupy", device.cupy)
        found: Prefetch = module.prefetch
        return found

    yield over
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


def batches(count: int) -> list[list[HostArray]]:
    """Batches of several arrays, of sizes that change, each with numbers of its own."""
    return [
        [
            np.full((2, 3), i + 1, np.float32),
            np.arange(i % 3, dtype=np.int64) + 10 * i,
            np.array(i, np.uint8),
            np.arange(12.0).reshape(3, 4).T + i,
        ]
        for i in range(count)
    ]


def step(device: Device, batch: Sequence[RawTensor], read: list[HostArray]) -> None:
    """Queue kernels that read a batch."""
    for raw in batch:
        raw.array.read_on(device.compute, read)


def assert_same(found: Sequence[HostArray], expected: Sequence[HostArray]) -> None:
    for left, right in zip(found, expected, strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("pace", [NEVER, SELDOM, OFTEN])
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_runs_when_each_step_reads_its_batch(
    prefetch: Callable[[Device], Prefetch], seed: int, pace: int
) -> None:
    device = Device(seed, pace)
    read: list[HostArray] = []
    for batch in prefetch(device)(device, batches(7)):
        step(device, batch, read)
        step(device, batch, read)  # a longer one
        del batch  # its memory is free while the device has yet to read it
    device.compute.synchronize()
    assert_same(read, [array for batch in batches(7) for array in [*batch, *batch]])


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_of_the_source_may_be_used_again(
    prefetch: Callable[[Device], Prefetch], seed: int
) -> None:
    device = Device(seed, SELDOM)
    memory = np.zeros(4, np.float32)

    def one_buffer() -> Iterator[list[HostArray]]:
        for i in range(5):
            memory[:] = i
            yield [memory]

    read: list[HostArray] = []
    for batch in prefetch(device)(device, one_buffer()):
        step(device, batch, read)
    device.compute.synchronize()
    assert [array.tolist() for array in read] == [[i] * 4 for i in range(5)]


@pytest.mark.parametrize("seed", SEEDS)
def test_leaving_the_loop_leaves_nothing_on_its_way(
    prefetch: Callable[[Device], Prefetch], seed: int
) -> None:
    device = Device(seed, NEVER)
    read: list[HostArray] = []
    loop = prefetch(device)(device, batches(5))
    first = next(loop)
    loop.close()
    copying = next(stream for stream in device.streams if stream is not device.compute)
    assert not copying.queue
    # The memory of the batch that was never handed out is free for other work.
    taken = device.cupy.empty((4, 3), np.dtype(np.float64))
    taken.read_on(device.compute, read)
    first[0].array.read_on(device.compute, read)
    device.compute.synchronize()
    np.testing.assert_array_equal(read[1], batches(1)[0][0])


def test_next_batch_is_on_its_way_before_one_is_handed_out(
    prefetch: Callable[[Device], Prefetch],
) -> None:
    asked: list[int] = []

    def source() -> Iterator[list[HostArray]]:
        for i, batch in enumerate(batches(4)):
            asked.append(i)
            yield batch

    device = Device(0, OFTEN)
    handed_out = [len(asked) for _ in prefetch(device)(device, source())]
    assert handed_out == [2, 3, 4, 4]


def test_host_waits_only_for_page_locked_memory(prefetch: Callable[[Device], Prefetch]) -> None:
    device = Device(0, NEVER)
    waits = [device.waits for _ in prefetch(device)(device, batches(5))]
    # Two batches are on their way when the first is handed out; each one more needs a buffer.
    assert waits == [0, 1, 2, 3, 3]
    assert device.waits == 4  # and one at the end


def test_error_of_the_source_comes_in_its_turn(prefetch: Callable[[Device], Prefetch]) -> None:
    def source() -> Iterator[list[HostArray]]:
        yield from batches(2)
        raise RuntimeError("the disk is gone")

    device = Device(0, SELDOM)
    loop = prefetch(device)(device, source())
    assert len(next(loop)) == len(next(loop)) == 4
    with pytest.raises(RuntimeError, match="the disk is gone"):
        next(loop)
    assert list(prefetch(device)(device, [])) == []


def test_batch_without_room_is_told_of_in_its_turn(
    prefetch: Callable[[Device], Prefetch],
) -> None:
    device = Device(0, SELDOM, room=100)
    small, large = [np.zeros(100, np.uint8)], [np.zeros(101, np.uint8)]
    loop = prefetch(device)(device, [small, large, small])
    assert len(next(loop)) == 1
    with pytest.raises(OutOfMemoryError, match="no room for 101 bytes"):
        next(loop)


def test_dtypes_are_those_of_the_device(prefetch: Callable[[Device], Prefetch]) -> None:
    device = Device(0, OFTEN)
    swapped = np.array([1.0, 2.0], ">f4")
    halves = np.array([1.0, 2.0], as_dtype("bfloat16"))
    read: list[HostArray] = []
    for batch in prefetch(device)(device, [[swapped, halves]]):
        step(device, batch, read)
    device.compute.synchronize()
    assert [array.dtype for array in read] == [np.dtype("=f4"), halves.dtype]
    assert [array.tolist() for array in read] == [[1.0, 2.0]] * 2
    with pytest.raises(DTypeError, match="expected one of the dtypes"):
        next(prefetch(device)(device, [[np.zeros(2, np.complex64)]]))
