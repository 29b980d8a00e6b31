"""Batches of host arrays, copied to a backend ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, TypeVar, overload

import numpy as np

from born.backend import B, Backend
from born.data.containers import Batch, TensorBatch, joined, split
from born.data.loader import DataLoader, Loop
from born.dtypes import DTypeLike, as_dtype, is_floating
from born.errors import DTypeError
from born.operands import check_backend
from born.raw import HostArray
from born.tensor import Tensor

_Key = TypeVar("_Key")


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
            their memory from one batch to the next. The position of a `born.data.DataLoader`
            counts the batches that were handed out, not those on their way. Strings, Python
            numbers, None and what else is not an array are passed through as they are.
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
    wanted = None if dtype is None else as_dtype(dtype)
    if wanted is not None and not is_floating(wanted):
        raise DTypeError(
            f"expected a floating dtype for the floats of batches, got {wanted}; "
            "integers and bools keep theirs"
        )
    home = check_backend(backend)
    loop = Loop(batches) if isinstance(batches, DataLoader) else None
    return _prefetched(iter(batches) if loop is None else loop.batches(), home, wanted, loop)


def _prefetched(
    batches: Iterator[object],
    backend: Backend,
    dtype: np.dtype[Any] | None,
    loop: Loop[Any] | None,
) -> Generator[Any]:
    plans: deque[object] = deque()  # of the batches under way, see `split`

    def flat() -> Iterator[list[HostArray]]:
        for batch in batches:
            plan, arrays = split(batch, dtype)
            plans.append(plan)
            yield arrays

    with closing(backend.prefetch(flat())) as arrived:
        for raws in arrived:
            batch = joined(plans.popleft(), [Tensor(raw, backend) for raw in raws])
            if loop is not None:
                loop.take()
            yield batch
    if loop is not None:
        loop.end()
