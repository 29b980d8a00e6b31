"""`prefetch`: the batches of a source as tensors, in its order and in its containers."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import pytest

import born
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.data import prefetch
from born.errors import BornError, DTypeError, OperandError
from born.raw import HostArray


class Pair(NamedTuple):
    image: Any
    label: Any


def numbers(count: int) -> Iterator[HostArray]:
    return (np.full(2, i, np.float32) for i in range(count))


def values(batch: Any) -> Any:
    """A batch with lists of numbers in place of tensors."""
    if isinstance(batch, born.Tensor):
        return cast("born.Tensor[Backend]", batch).numpy().tolist()
    if isinstance(batch, dict):
        return {key: values(item) for key, item in cast("dict[str, Any]", batch).items()}
    made = [values(item) for item in batch]
    return Pair(*made) if isinstance(batch, Pair) else type(batch)(made)


A, B = np.array([1.0, 2.0], np.float32), np.array(3)
AS, BS = [1.0, 2.0], 3


CONTAINERS: list[tuple[Any, Any]] = [
    (A, AS),
    ((A, B), (AS, BS)),
    ([A, B], [AS, BS]),
    ({"x": A, "y": B}, {"x": AS, "y": BS}),
    ((A, {"y": [B, (A,)]}), (AS, {"y": [BS, (AS,)]})),
    (Pair(A, B), Pair(AS, BS)),
    (OrderedDict(x=A), {"x": AS}),
    (UserDict(x=A), {"x": AS}),
    ((), ()),
    (np.float32(2.0), 2.0),
]
"""Batches, and what they hold."""


@pytest.mark.parametrize(("batch", "expected"), CONTAINERS)
def test_batches_keep_their_containers(backend: Backend, batch: Any, expected: Any) -> None:
    (found,) = prefetch([batch], backend)
    assert values(found) == expected
    assert type(values(found)) is type(expected)


def test_what_is_not_an_array_passes_through(backend: Backend) -> None:
    name = "seven"
    others = {"name": name, "index": 7, "weight": 0.5, "nothing": None, "set": {1}}
    untyped: Any = prefetch  # a set is no part of Batch
    (found,) = untyped([{"image": A, **others}], backend)
    assert found.pop("image").numpy().tolist() == AS
    assert found == others
    assert found["name"] is name


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_floats_are_converted_and_nothing_else_is(backend: Backend, dtype: str) -> None:
    wide, count, flag = np.array([0.1, 0.2]), np.arange(2), np.array([True])
    (found,) = prefetch([(wide, A, count, flag)], backend, dtype)
    assert [str(x.dtype) for x in found] == [dtype, dtype, "int64", "bool"]
    np.testing.assert_array_equal(found[0].numpy(), wide.astype(dtype))
    assert values(found)[2:] == ([0, 1], [True])
    with pytest.raises(DTypeError, match=r"expected a floating dtype .*got int64; integers"):
        prefetch([A], backend, "int64")


def test_tensors_are_constants_of_their_own_on_the_backend(autodiff: Autodiff[Backend]) -> None:
    array = np.arange(6, dtype=np.int64).reshape(2, 3).T
    with autodiff.tape:
        (found,) = prefetch([array], autodiff)
    assert found.backend is autodiff
    assert found.dtype == array.dtype
    array[:] = 0
    assert found.numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert not found.requires_grad


def test_source_may_use_its_memory_and_containers_again(backend: Backend) -> None:
    memory = np.zeros(2, np.float32)
    batch: dict[str, HostArray] = {}

    def source() -> Iterator[dict[str, HostArray]]:
        for i in range(4):
            memory[:] = i
            batch.clear()
            batch[str(i)] = memory
            yield batch

    found = [values(each) for each in prefetch(source(), backend)]
    assert found == [{str(i): [i, i]} for i in range(4)]


@pytest.mark.parametrize("count", [0, 5])
def test_batches_come_in_order_and_end(backend: Backend, count: int) -> None:
    assert [x.numpy()[0] for x in prefetch(numbers(count), backend)] == list(range(count))


def test_error_of_the_source_comes_after_the_batches_before_it(backend: Backend) -> None:
    def source() -> Iterator[HostArray]:
        yield from numbers(2)
        raise OSError("the disk is gone")

    loop = prefetch(source(), backend)
    assert [next(loop).numpy()[0], next(loop).numpy()[0]] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(loop)


def test_leaving_the_loop_closes_the_source(backend: Backend) -> None:
    closed: list[int] = []

    def source() -> Iterator[HostArray]:
        try:
            yield from numbers(100)
        finally:
            closed.append(1)

    loop = prefetch(source(), backend)
    next(loop)
    loop.close()
    assert closed == [1]
    with pytest.raises(StopIteration):
        next(loop)


def test_batches_train_a_model(autodiff: Autodiff[Backend]) -> None:
    model = nn.Linear(2, 1, autodiff)
    optimizer = optim.SGD(model.parameters(), optim.SGDConfig(lr=0.1))
    batches = [(np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32))] * 30
    losses: list[float] = []
    for x, y in prefetch(batches, autodiff):
        with autodiff.tape:
            loss = nn.mse_loss(model(x), y)
        losses.append(float(loss))
        optimizer.step(backward(loss))
    assert len(losses) == 30
    assert losses[-1] < losses[0]


def test_torch_batches_are_taken_from_the_host(backend: Backend) -> None:
    torch: Any = pytest.importorskip("torch")
    (found,) = prefetch([[torch.arange(2), torch.ones(1)]], backend)
    assert values(found) == [[0, 1], [1.0]]


class Device:
    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError("not implicitly")


REFUSED: list[tuple[Any, type[BornError], str]] = [
    (Device(), OperandError, r"arrays on the host .*got a Device .*not implicitly"),
    (np.zeros(2, np.complex64), DTypeError, r"expected one of the dtypes"),
]


@pytest.mark.parametrize(("leaf", "error", "message"), REFUSED)
def test_what_is_not_an_array_on_the_host_is_refused(
    backend: Backend, leaf: Any, error: type[BornError], message: str
) -> None:
    loop = prefetch([(A, leaf)], backend)
    with pytest.raises(error, match=message):
        next(loop)


def test_wrong_backend_is_refused_at_once() -> None:
    wrong: Any = "numpy"
    with pytest.raises(OperandError, match=r"expected a backend .*got 'numpy'; make one"):
        prefetch([A], wrong)
