"""Batches of host arrays, copied to a backend ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
<<<<<<< HEAD:born/data/prefetch.py
from typing import Any, TypeVar, overload

from born.backend import B, Backend
from born.data.containers import Batch, TensorBatch, mapped, split
from born.data.loader import DataLoader, Loop
=======
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast, overload

import numpy as np

from born.backend import B, Backend
from born.dtypes import DTypeLike, as_dtype, is_floating
from born.errors import DTypeError, OperandError
>>>>>>> main:born/data.py
from born.operands import check_backend
from born.raw import HostArray
from born.tensor import Tensor

_Key = TypeVar("_Key")

<<<<<<< HEAD:born/data/prefetch.py
=======
Batch: TypeAlias = "HostArray | str | float | Sequence[Batch] | Mapping[Any, Batch] | None"
"""An array, or arrays and other values in tuples, lists and mappings, however deep."""

TensorBatch: TypeAlias = (
    "Tensor[B] | str | float | Sequence[TensorBatch[B]] | Mapping[Any, TensorBatch[B]] | None"
)
"""The same with a tensor in place of each array."""

>>>>>>> main:born/data.py

@overload
def prefetch(
    batches: Iterable[HostArray], backend: B, dtype: DTypeLike | None = None
) -> Generator[Tensor[B]]: ...


@overload
def prefetch(
    batches: Iterable[tuple[HostArray, HostArray]], backend: B, dtype: DTypeLike | None = None
) -> Generator[tuple[Tensor[B], Tensor[B]]]: ...


@overload
def prefetch(
    batches: Iterable[tuple[HostArray, ...]], backend: B, dtype: DTypeLike | None = None
) -> Generator[tuple[Tensor[B], ...]]: ...


@overload
def prefetch(
    batches: Iterable[list[HostArray]], backend: B, dtype: DTypeLike | None = None
) -> Generator[list[Tensor[B]]]: ...


@overload
def prefetch(
    batches: Iterable[dict[_Key, HostArray]], backend: B, dtype: DTypeLike | None = None
) -> Generator[dict[_Key, Tensor[B]]]: ...


@overload
def prefetch(
    batches: Iterable[Batch], backend: B, dtype: DTypeLike | None = None
) -> Generator[TensorBatch[B]]: ...


def prefetch(
    batches: Iterable[Any], backend: Backend, dtype: DTypeLike | None = None
) -> Generator[Any]:
    """Batches as tensors, each copied to the device before its turn comes.

    While the program computes with one batch, a GPU copies the next from pinned memory.
    On the CPU this is `born.tensor` for each array.

    Args:
        batches: arrays, or arrays in tuples, lists and mappings, however deep: what a loop
            over NumPy arrays or a PyTorch `DataLoader` on the CPU gives. They may reuse
<<<<<<< HEAD:born/data/prefetch.py
            their memory from one batch to the next. The position of a `born.data.DataLoader`
            counts the batches that were handed out, not those on their way.
=======
            their memory from one batch to the next. Strings, Python numbers, None and what
            else is not an array are passed through as they are.
>>>>>>> main:born/data.py
        backend: where the tensors live.
        dtype: what floating arrays are converted to on the host, for a data set that gives
            float64; by default they keep their dtype, as integers and bools always do.

    Returns:
        A generator of the same batches, with tensors for arrays and dicts for mappings.
        An error in `batches` is raised after the batches before it. Closing the generator,
        as leaving the loop does, leaves nothing running.

    Raises:
        OperandError: an array in a batch is on a device.
        DTypeError: an array has a dtype that born does not know, or `dtype` is not floating.

    >>> import numpy as np
    >>> from born_numpy import NumpyBackend
    >>> batches = ((np.full(2, i, np.float32), np.arange(i)) for i in range(1, 3))
    >>> for images, labels in prefetch(batches, NumpyBackend()):
    ...     print(images, labels)
    Tensor([1., 1.], dtype=float32) Tensor([0], dtype=int64)
    Tensor([2., 2.], dtype=float32) Tensor([0, 1], dtype=int64)
    """
    # The check happens here rather than in the generator, which starts with the loop.
<<<<<<< HEAD:born/data/prefetch.py
    home = check_backend(backend)
    loop = Loop(batches) if isinstance(batches, DataLoader) else None
    return _prefetched(iter(batches) if loop is None else loop.batches(), home, loop)


def _prefetched(
    batches: Iterator[object], backend: Backend, loop: Loop[Any] | None
) -> Generator[Any]:
    plans: deque[object] = deque()  # of the batches under way, see `split`

    def flat() -> Iterator[list[HostArray]]:
        for batch in batches:
            plan, arrays = split(batch)
=======
    wanted = None if dtype is None else as_dtype(dtype)
    if wanted is not None and not is_floating(wanted):
        raise DTypeError(
            f"expected a floating dtype for the floats of batches, got {wanted}; "
            "integers and bools keep theirs"
        )
    return _prefetched(iter(batches), check_backend(backend), wanted)


def _prefetched(
    batches: Iterator[object], backend: Backend, dtype: np.dtype[Any] | None
) -> Generator[Any]:
    plans: deque[object] = deque()  # of the batches under way, see `_split`

    def flat() -> Iterator[list[HostArray]]:
        for batch in batches:
            plan, arrays = _split(batch, dtype)
>>>>>>> main:born/data.py
            plans.append(plan)
            yield arrays

    with closing(backend.prefetch(flat())) as arrived:
        for raws in arrived:
<<<<<<< HEAD:born/data/prefetch.py
            tensors = [Tensor(raw, backend) for raw in raws]
            batch = mapped(plans.popleft(), tensors.__getitem__)
            if loop is not None:
                loop.take()
            yield batch
    if loop is not None:
        loop.end()
=======
            yield _joined(plans.popleft(), [Tensor(raw, backend) for raw in raws])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an array of a batch is in the list of them."""

    at: int


def _split(batch: object, dtype: np.dtype[Any] | None) -> tuple[object, list[HostArray]]:
    """A copy of a batch's containers, with places in a list for arrays, and that list."""
    arrays: list[HostArray] = []

    def place(leaf: object) -> object:
        if not hasattr(leaf, "__array__"):
            return leaf
        array = _host_array(leaf)
        if dtype is not None and is_floating(array.dtype):
            array = array.astype(dtype, copy=False)
        arrays.append(array)
        return _Place(len(arrays) - 1)

    return _mapped(batch, place), arrays


def _joined(plan: object, tensors: Sequence[Tensor[Any]]) -> object:
    """What `_split` parted, with tensors for the arrays."""
    return _mapped(plan, lambda leaf: tensors[leaf.at] if type(leaf) is _Place else leaf)


def _mapped(batch: object, function: Callable[[Any], object]) -> object:
    """The same tuples, lists and mappings, with `function` applied to everything in them."""
    if isinstance(batch, Mapping):
        items = cast("Mapping[object, object]", batch).items()
        return {key: _mapped(item, function) for key, item in items}
    if isinstance(batch, list | tuple):
        sequence = cast("list[object] | tuple[object, ...]", batch)
        mapped = [_mapped(item, function) for item in sequence]
        kind: Any = type(sequence)
        return kind(*mapped) if hasattr(kind, "_fields") else kind(mapped)
    return function(batch)


def _host_array(leaf: object) -> HostArray:
    try:
        return np.asarray(leaf)
    except TypeError as error:
        raise OperandError(
            f"expected arrays on the host in a batch, got a {type(leaf).__name__} that is "
            f"not ({error}); leave batches on the host, prefetch takes them to the device"
        ) from error
>>>>>>> main:born/data.py
