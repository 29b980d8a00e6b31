"""`DataLoader`: which batches, in which order, and that it goes on from where it was."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from born.backend import Backend
from born.data import DataLoader, prefetch
from born.data.containers import split
from born.errors import BornError, DataError, DomainError, OperandError, ShapeError, StateDictError
from born.raw import HostArray, RawTensor
from born_numpy import NumpyBackend
from tests.tools import python


class Pair(NamedTuple):
    image: Any
    label: Any


def rows(batch: Any) -> list[int]:
    return [int(row) for row in np.asarray(batch)]


def epochs(loader: DataLoader[Any], count: int) -> list[list[list[int]]]:
    return [[rows(batch) for batch in loader] for _ in range(count)]


LOADERS = st.builds(
    DataLoader,
    st.integers(1, 12).map(np.arange),
    batch_size=st.integers(1, 5),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
)


@given(LOADERS)
def test_epoch_takes_every_sample_once_in_batches_of_the_size(loader: DataLoader[Any]) -> None:
    for batches in epochs(loader, 3):
        assert sorted(itertools.chain(*batches)) == list(range(loader.size))
        assert len(batches) == len(loader)
        assert all(len(batch) == loader.batch_size for batch in batches[:-1])
    assert (loader.epoch, loader.batch) == (3, 0)


@given(LOADERS, st.integers(0, 30))
def test_goes_on_from_any_position(loader: DataLoader[Any], stop: int) -> None:
    data: Any = np.arange(loader.size)
    options: dict[str, Any] = {
        name: getattr(loader, name) for name in ("batch_size", "shuffle", "seed")
    }

    def stream(source: DataLoader[Any]) -> Any:
        return itertools.chain.from_iterable(itertools.repeat(source))

    straight = [rows(batch) for batch in itertools.islice(stream(loader), 60)]
    stopped = DataLoader(data, **options)
    before = [rows(batch) for batch in itertools.islice(stream(stopped), stop)]
    assert before == straight[:stop]
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = DataLoader(data, **options)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    after = [rows(batch) for batch in itertools.islice(stream(resumed), 60 - stop)]
    assert after == straight[stop:]


def test_last_batch_is_kept_or_dropped() -> None:
    assert epochs(DataLoader(np.arange(5), 2), 1) == [[[0, 1], [2, 3], [4]]]
    assert epochs(DataLoader(np.arange(5), 2, drop_last=True), 1) == [[[0, 1], [2, 3]]]
    assert epochs(DataLoader(np.arange(4), 2, drop_last=True), 1) == [[[0, 1], [2, 3]]]
    assert epochs(DataLoader(np.arange(2), 9), 1) == [[[0, 1]]]


ORDER = """
import numpy as np
from born.data import DataLoader
np.random.seed(5)
loader = DataLoader(np.arange(7), 7, shuffle=True, seed=3)
print([[row.tolist() for row in loader][0] for _ in range(3)])
"""

ORDERS = [[6, 1, 5, 2, 4, 3, 0], [3, 5, 6, 4, 0, 2, 1], [2, 4, 1, 3, 6, 5, 0]]
"""Of the first epochs of seven samples with seed 3, from now on."""


def test_order_is_of_the_seed_and_the_epoch_in_any_process() -> None:
    loader = DataLoader(np.arange(7), 7, shuffle=True, seed=3)
    assert [batches[0] for batches in epochs(loader, 3)] == ORDERS
    assert json.loads(python(ORDER)) == ORDERS
    other = DataLoader(np.arange(7), 7, shuffle=True, seed=4)
    assert [batches[0] for batches in epochs(other, 3)] != ORDERS


def test_orders_are_uniform() -> None:
    loader = DataLoader(np.arange(3), 3, shuffle=True, seed=1)
    counts: dict[tuple[int, ...], int] = {}
    for ((*order,),) in epochs(loader, 6000):
        counts[tuple(order)] = counts.get(tuple(order), 0) + 1
    # 1000 each; their standard deviation is 29.
    assert len(counts) == 6
    assert all(abs(count - 1000) < 150 for count in counts.values())


X, Y = np.arange(8.0).reshape(4, 2), np.arange(4)

CONTAINERS: list[Any] = [X, (X, Y), [X, Y], {"x": X, "y": Y}, Pair(X, Y), (X, {"y": [Y]})]


@pytest.mark.parametrize("data", CONTAINERS)
def test_batches_come_in_the_containers_of_the_data(data: Any) -> None:
    for batch, start in zip(DataLoader(data, 2), (0, 2), strict=True):
        assert type(batch) is type(data)
        for found, whole in zip(split(batch)[1], split(data)[1], strict=True):
            np.testing.assert_array_equal(found, whole[start : start + 2])
            assert not np.shares_memory(found, whole)


def test_rows_of_a_mapped_file_are_read_when_they_are_due(tmp_path: Path) -> None:
    stored = np.memmap(tmp_path / "x", np.float32, "w+", shape=(4, 3))
    loader = DataLoader(stored, 2)
    stored[:] = 7.0
    assert [float(batch.sum()) for batch in loader] == [42.0, 42.0]


# -- the position ---------------------------------------------------------------------------


def test_loop_that_was_left_goes_on() -> None:
    loader = DataLoader(np.arange(6), 2)
    for batch in loader:
        if rows(batch) == [2, 3]:
            break
    assert (loader.epoch, loader.batch) == (0, 2)
    assert epochs(loader, 2) == [[[4, 5]], [[0, 1], [2, 3], [4, 5]]]


def test_state_after_the_last_batch_ends_the_epoch_first() -> None:
    loader, other = DataLoader(np.arange(4), 2), DataLoader(np.arange(4), 2)
    states = [loader.state_dict() for _ in loader]
    assert [state["batch"] for state in states] == [1, 2]
    other.load_state_dict(states[-1])
    assert epochs(other, 2) == [[], [[0, 1], [2, 3]]]


def test_prefetched_batches_count_when_they_are_handed_out(backend: Backend) -> None:
    loader = DataLoader((np.arange(10.0), np.arange(10)), 2, shuffle=True, seed=1)
    plain = [rows(labels) for _ in range(2) for _, labels in loader]
    ahead = DataLoader((np.arange(10.0), np.arange(10)), 2, shuffle=True, seed=1)
    found: list[list[int]] = []
    for most in (3, 5, 5):  # batches of a loop, of which there are five
        for _, labels in itertools.islice(prefetch(ahead, backend), most):
            found.append(labels.numpy().tolist())
            assert (ahead.epoch, ahead.batch) == ((len(found) - 1) // 5, (len(found) - 1) % 5 + 1)
    assert found == plain
    assert (ahead.epoch, ahead.batch) == (1, 5), "islice did not ask for more"


class Ahead(NumpyBackend):
    """Makes all batches before it hands out the first."""

    made = 0

    @override
    def prefetch(self, batches: Iterable[Sequence[HostArray]]) -> Generator[list[RawTensor]]:
        made = list(super().prefetch(batches))
        self.made = len(made)
        yield from made


def test_prefetch_that_ran_ahead_is_not_in_the_position() -> None:
    """As on a GPU, where two batches are on their way while the program has none."""

    backend = Ahead()
    loader = DataLoader(np.arange(6), 2)
    loop = prefetch(loader, backend)
    assert next(loop).numpy().tolist() == [0, 1]
    assert backend.made == 3, "all batches of the epoch were made"
    assert (loader.epoch, loader.batch) == (0, 1)
    assert [x.numpy().tolist() for x in loop] == [[2, 3], [4, 5]]
    assert (loader.epoch, loader.batch) == (1, 0)


def test_position_moved_within_a_loop_is_refused() -> None:
    loader = DataLoader(np.arange(6), 2)
    state = loader.state_dict()
    outer = iter(loader)
    next(outer)
    loader.load_state_dict(state)
    with pytest.raises(DataError, match=r"epoch 0, batch 1, where .*got epoch 0, batch 0: .*leave"):
        next(outer)
    outer = iter(loader)
    next(outer)
    assert len(list(loader)) == 2
    with pytest.raises(DataError, match="got epoch 1, batch 0"):
        next(outer)
    ahead = prefetch(loader, NumpyBackend())
    next(loader_loop := iter(loader))
    with pytest.raises(DataError, match=r"epoch 1, batch 0, where .*got epoch 1, batch 1"):
        next(ahead)
    assert len(list(loader_loop)) == 2


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ((X, Y[:3]), {}, ShapeError, r"as many samples each .*got shapes \(4, 2\), \(3,\)"),
        ((X, np.array(3)), {}, ShapeError, r"got shapes \(4, 2\), \(\)"),
        (np.array(3), {}, ShapeError, r"expected at least one sample .*got shape \(\)"),
        (X[:0], {}, ShapeError, r"expected at least one sample .*got shape \(0, 2\)"),
        ((), {}, OperandError, "expected at least one array of samples, got none"),
        ([1, 2], {}, OperandError, "expected arrays of samples, got int; make it one"),
        ("images.npy", {}, OperandError, "expected arrays of samples, got str"),
        (X, {"batch_size": 0}, DomainError, "expected batch_size of at least 1, got 0"),
        (X, {"batch_size": 2.0}, DomainError, "expected batch_size as an integer, got 2.0"),
        (X, {"batch_size": 5, "drop_last": True}, DomainError, "at most the 4 samples.*got 5"),
        (X, {"shuffle": 1}, DomainError, "expected shuffle as True or False, got 1"),
        (X, {"drop_last": None}, DomainError, "expected drop_last as True or False"),
        (X, {"seed": -1}, DomainError, "expected seed of at least 0, got -1"),
        (X, {"seed": 2**64}, DomainError, r"expected seed below 2\*\*64"),
        (X, {"seed": None}, DomainError, "expected seed as an integer, got None"),
    ],
)
def test_wrong_arguments_are_refused(
    data: Any, options: dict[str, Any], error: type[BornError], message: str
) -> None:
    with pytest.raises(error, match=message):
        DataLoader(data, **options)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"batch_size": 3}, "'batch_size': expected 2, got 3"),
        ({"size": 4}, "'size': expected 6, got 4"),
        ({"seed": 1}, "'seed': expected 0, got 1"),
        ({"shuffle": 0}, "'shuffle': expected False, got 0"),
        ({"drop_last": True}, "'drop_last': expected False, got True"),
        ({"epoch": -1}, "'epoch': expected an integer from 0 to"),
        ({"epoch": "1"}, "'epoch': expected an integer from 0 to .*got '1'"),
        ({"batch": 4}, "'batch': expected an integer from 0 to 3, got 4"),
        ({"batch": True}, "'batch': expected an integer from 0 to 3, got True"),
        ({"extra": 1}, "'extra': unexpected"),
    ],
)
def test_state_of_another_loader_is_refused(change: dict[str, Any], line: str) -> None:
    loader = DataLoader(np.arange(6), 2)
    next(iter(loader))
    before = loader.state_dict()
    with pytest.raises(StateDictError, match=f"1 mismatch; make it with.*\n  {line}"):
        loader.load_state_dict(before | change)
    with pytest.raises(StateDictError, match="'epoch': missing"):
        loader.load_state_dict({})
    wrong: Any = 3
    with pytest.raises(StateDictError, match=r"expected a mapping .*got int"):
        loader.load_state_dict(wrong)
    assert loader.state_dict() == before
