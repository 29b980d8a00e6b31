"""Batches of host arrays, copied to a backend ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeAlias, TypeVar, cast, overload

import numpy as np

from born.backend import B, Backend
from born.errors import OperandError
from born.operands import check_backend
from born.raw import HostArray
from born.tensor import Tensor

_Key = TypeVar("_Key")

Batch: TypeAlias = "HostArray | Sequence[Batch] | Mapping[Any, Batch]"
"""An array, or arrays in tuples, lists and mappings, however deep."""

TensorBatch: TypeAlias = "Tensor[B] | Sequence[TensorBatch[B]] | Mapping[Any, TensorBatch[B]]"
"""The same with a tensor in place of each array."""


@overload
def prefetch(batches: Iterable[HostArray], backend: B) -> Generator[Tensor[B]]: ...


@overload
def prefetch(
    batches: Iterable[tuple[HostArray, HostArray]], backend: B
) -> Generator[tuple[Tensor[B], Tensor[B]]]: ...


@overload
def prefetch(
    batches: Iterable[tuple[HostArray, ...]], backend: B
) -> Generator[tuple[Tensor[B], ...]]: ...


@overload
def prefetch(batches: Iterable[list[HostArray]], backend: B) -> Generator[list[Tensor[B]]]: ...


@overload
def prefetch(
    batches: Iterable[dict[_Key, HostArray]], backend: B
) -> Generator[dict[_Key, Tensor[B]]]: ...


@overload
def prefetch(batches: Iterable[Batch], backend: B) -> Generator[TensorBatch[B]]: ...


def prefetch(batches: Iterable[Any], backend: Backend) -> Generator[Any]:
    """Batches as tensors, each copied to the device before its turn comes.

    While the program computes with one batch, a GPU copies the next from pinned memory.
    On the CPU this is `born.tensor` for each array.

    Args:
        batches: arrays, or arrays in tuples, lists and mappings, however deep: what a loop
            over NumPy arrays or a PyTorch `DataLoader` on the CPU gives. They may reuse
            their memory from one batch to the next.
        backend: where the tensors live.

    Returns:
        A generator of the same batches, with tensors for arrays and dicts for mappings.
        An error in `batches` is raised after the batches before it. Closing the generator,
        as leaving the loop does, leaves nothing running.

    Raises:
        OperandError: something in a batch is not a host array.
        DTypeError: an array has a dtype that born does not know.

    >>> import numpy as np
    >>> from born_numpy import NumpyBackend
    >>> batches = ((np.full(2, i, np.float32), np.arange(i)) for i in range(1, 3))
    >>> for images, labels in prefetch(batches, NumpyBackend()):
    ...     print(images, labels)
    Tensor([1., 1.], dtype=float32) Tensor([0], dtype=int64)
    Tensor([2., 2.], dtype=float32) Tensor([0, 1], dtype=int64)
    """
    # The check happens here rather than in the generator, which starts with the loop.
    return _prefetched(iter(batches), check_backend(backend))


def _prefetched(batches: Iterator[object], backend: Backend) -> Generator[Any]:
    plans: deque[object] = deque()  # of the batches under way, see `_split`

    def flat() -> Iterator[list[HostArray]]:
        for batch in batches:
            plan, arrays = _split(batch)
            plans.append(plan)
            yield arrays

    with closing(backend.prefetch(flat())) as arrived:
        for raws in arrived:
            tensors = [Tensor(raw, backend) for raw in raws]
            yield _mapped(plans.popleft(), tensors.__getitem__)


def _split(batch: object) -> tuple[object, list[HostArray]]:
    """A copy of a batch's containers, with places in a list for arrays, and that list."""
    arrays: list[HostArray] = []

    def place(leaf: object) -> int:
        arrays.append(_host_array(leaf))
        return len(arrays) - 1

    return _mapped(batch, place), arrays


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
    if not hasattr(leaf, "__array__"):
        raise OperandError(
            f"expected arrays in a batch, got {type(leaf).__name__}; make it one with np.asarray"
        )
    try:
        return np.asarray(leaf)
    except TypeError as error:
        raise OperandError(
            f"expected arrays on the host in a batch, got a {type(leaf).__name__} that is "
            f"not ({error}); leave batches on the host, prefetch takes them to the device"
        ) from error
