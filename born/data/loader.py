"""`DataLoader`: batches in an order that a seed decides, and a position that can be saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from born.data.containers import Place, joined, mapped, split
from born.errors import DataError, DomainError, OperandError, ShapeError, StateDictError
from born.raw import HostArray
from born.validation import flag, integer, mismatch_text

T = TypeVar("T")

_WORD: Final = 2**64  # seeds and epochs are below it: the two are the key of the generator


class Position(NamedTuple):
    """Where in the stream of batches: the epochs finished, and the batches taken of the next."""

    epoch: int
    batch: int


class DataLoader(Generic[T]):
    """Arrays in batches, epoch after epoch, from a position that is saved and restored.

    A loop runs to the end of an epoch and leaves the position at the start of the next. A loop
    that was left early, or a loader whose state was loaded, goes on where it was. The position
    counts the batches that a loop has been given, also under `prefetch`.

    The order depends on the seed, the epoch and the number of samples, and on nothing else: not
    on the backend, the process, NumPy's version or what else draws random numbers. Epoch e sorts
    the samples by the first words of a Philox generator whose key is (seed, e).

    Args:
        data: arrays of one length along their first axis, the samples: an array, or arrays in
            tuples, lists and mappings; batches come in the same. Rows are read when their turn
            comes, as from an `np.memmap`, and a batch owns its memory.
        batch_size: the samples in a batch.
        shuffle: whether each epoch has an order of its own; else samples come as they lie.
        seed: of the order, from 0 to 2**64 - 1. Another seed for another run.
        drop_last: whether the samples that are left over at the end of an epoch, fewer than
            `batch_size`, are dropped; else they are a smaller batch.

    Attributes:
        size: the number of samples.

    Raises:
        OperandError: something in `data` is not an array on the host, or there is no array.
        ShapeError: the arrays differ in length, have no axes, or hold no sample.
        DomainError: a size or seed out of range, or no whole batch where the last is dropped.

    >>> images, labels = np.arange(20.0).reshape(5, 4), np.arange(5)
    >>> loader = DataLoader((images, labels), batch_size=2, shuffle=True, seed=1)
    >>> len(loader)
    3
    >>> for epoch in range(2):
    ...     print([labels.tolist() for images, labels in loader])
    [[3, 2], [0, 1], [4]]
    [[0, 3], [4, 2], [1]]

    To stop in the middle of an epoch and to go on from there, in this process or another:

    >>> first = next(iter(loader))
    >>> state = loader.state_dict()
    >>> other = DataLoader((images, labels), batch_size=2, shuffle=True, seed=1)
    >>> other.load_state_dict(state)
    >>> other.epoch, other.batch, len(list(other))
    (2, 1, 2)
    """

    def __init__(
        self,
        data: T,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self._plan, self._arrays = split(data)
        mapped(self._plan, _check_place)
        self.size: Final = _common_length(self._arrays)
        self.batch_size: Final = integer("batch_size", batch_size, error=DomainError)
        self.shuffle: Final = flag("shuffle", shuffle, DomainError)
        self.seed: Final = _word("seed", seed)
        self.drop_last: Final = flag("drop_last", drop_last, DomainError)
        if not len(self):
            raise DomainError(
                f"expected a batch_size of at most the {self.size} samples, as drop_last drops "
                f"smaller batches, got {self.batch_size}; use a smaller one or drop_last=False"
            )
        self._position = Position(0, 0)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, left_over = divmod(self.size, self.batch_size)
        return whole + (left_over > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[T]:
        """What is left of the epoch; one loop at a time, as there is one position."""
        loop = Loop(self)
        for batch in loop.batches():
            loop.take()
            yield batch
        loop.end()

    def __repr__(self) -> str:
        options = f"batch_size={self.batch_size}, shuffle={self.shuffle}, seed={self.seed}"
        return f"DataLoader({self.size} samples, {options}, drop_last={self.drop_last})"

    @property
    def epoch(self) -> int:
        """The epochs that loops have finished."""
        return self._position.epoch

    @property
    def batch(self) -> int:
        """The batches of the present epoch that loops have been given."""
        return self._position.batch

    # -- loops, for `Loop` -----------------------------------------------------------------------

    def batches_from(self, position: Position) -> Iterator[T]:
        """The batches of an epoch from a position on; that of the loader stays as it is."""
        size = self.batch_size
        order = _order(self.size, self.seed, position.epoch) if self.shuffle else None
        for start in range(position.batch * size, len(self) * size, size):
            stop = min(start + size, self.size)
            rows = np.arange(start, stop) if order is None else order[start:stop]
            arrays = [array[rows] for array in self._arrays]
            yield cast("T", joined(self._plan, arrays))

    def move(self, before: Position, position: Position) -> None:
        """Set the position, which a loop left at `before`; `DataError` if it is not there."""
        if self._position != before:
            raise DataError(
                f"expected epoch {before.epoch}, batch {before.batch}, where this loop over a "
                f"DataLoader was, got epoch {self.epoch}, batch {self.batch}: another loop or "
                "load_state_dict has moved it; leave this loop, and begin a new one"
            )
        self._position = position

    # -- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, int | bool]:
        """The position, and what the order depends on; JSON can hold it.

        >>> DataLoader(np.zeros(6), batch_size=4).state_dict()  # doctest: +NORMALIZE_WHITESPACE
        {'epoch': 0, 'batch': 0,
         'size': 6, 'batch_size': 4, 'shuffle': False, 'seed': 0, 'drop_last': False}
        """
        return {**self._position._asdict(), **self._order_state()}

    def check_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Every reason why `state` could not be loaded, in words; changes nothing."""
        if not isinstance(cast("object", state), Mapping):
            return [f"expected a mapping from name to number, got {type(state).__name__}"]
        here = self.state_dict()
        lines = [f"{name!r}: missing" for name in here if name not in state]
        lines += [f"{name!r}: unexpected" for name in state if name not in here]
        # The position means nothing in another order.
        lines += [
            f"{name!r}: expected {value}, got {state[name]!r}"
            for name, value in self._order_state().items()
            if name in state and (type(state[name]), state[name]) != (type(value), value)
        ]
        for name, most in (("epoch", _WORD - 1), ("batch", len(self))):
            value = state.get(name, 0)
            if type(value) is not int or not 0 <= value <= most:
                lines.append(f"{name!r}: expected an integer from 0 to {most}, got {value!r}")
        return lines

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state` was taken; a loop that is running has to be left.

        Raises:
            StateDictError: the state is of other data, another batch size, order or seed; the
                message lists every mismatch, and nothing was changed.
        """
        lines = self.check_state_dict(state)
        if lines:
            expected = "the state of a DataLoader of the same samples, in the same order"
            remedy = "make it with the data and the arguments that it was saved with"
            raise StateDictError(mismatch_text(expected, lines, remedy))
        self._position = Position(state["epoch"], state["batch"])

    def _order_state(self) -> dict[str, int | bool]:
        """What the order of the batches depends on."""
        return {
            "size": self.size,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "drop_last": self.drop_last,
        }


class Loop(Generic[T]):
    """A loop over what is left of an epoch: batches made ahead, and counted when they are taken."""

    def __init__(self, loader: DataLoader[T]) -> None:
        self._loader = loader
        self._position = Position(loader.epoch, loader.batch)

    def batches(self) -> Iterator[T]:
        """The batches from the position on, which stays as it is."""
        return self._loader.batches_from(self._position)

    def take(self) -> None:
        """Count a batch that is about to be handed out."""
        self._move(Position(self._position.epoch, self._position.batch + 1))

    def end(self) -> None:
        """Go on to the next epoch, after the last batch."""
        self._move(Position(self._position.epoch + 1, 0))

    def _move(self, position: Position) -> None:
        self._loader.move(self._position, position)
        self._position = position


def _order(size: int, seed: int, epoch: int) -> npt.NDArray[np.intp]:
    """The samples as an epoch takes them.

    NumPy promises the words of a bit generator, but not what `Generator.permutation` makes of them.
    """
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(size)
    return np.argsort(words, kind="stable")


def _check_place(leaf: object) -> None:
    if not isinstance(leaf, Place):
        raise OperandError(
            f"expected arrays of samples, got {type(leaf).__name__}; make it one with np.asarray"
        )


def _common_length(arrays: list[HostArray]) -> int:
    if not arrays:
        raise OperandError("expected at least one array of samples, got none; pass an array")
    for array in arrays:
        if array.shape[:1] != arrays[0].shape[:1]:
            shapes = ", ".join(str(each.shape) for each in arrays)
            raise ShapeError(
                f"expected arrays with as many samples each along their first axis, got shapes "
                f"{shapes}; a sample is a row of every array"
            )
    if not arrays[0].shape[:1] or not len(arrays[0]):
        raise ShapeError(
            f"expected at least one sample along the first axis, got shape {arrays[0].shape}; "
            "a sample is a row of every array"
        )
    return len(arrays[0])


def _word(name: str, value: object) -> int:
    number = integer(name, value, 0, DomainError)
    if number >= _WORD:
        raise DomainError(f"expected {name} below 2**64, got {number}; use a smaller one")
    return number
