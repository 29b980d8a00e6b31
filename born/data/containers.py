"""Arrays in tuples, lists and mappings, however deep: taken apart and put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np

from born.backend import B
from born.errors import OperandError
from born.raw import HostArray
from born.tensor import Tensor

Batch: TypeAlias = "HostArray | Sequence[Batch] | Mapping[Any, Batch]"
"""An array, or arrays in tuples, lists and mappings, however deep."""

TensorBatch: TypeAlias = "Tensor[B] | Sequence[TensorBatch[B]] | Mapping[Any, TensorBatch[B]]"
"""The same with a tensor in place of each array."""


def split(batch: object) -> tuple[object, list[HostArray]]:
    """A copy of a batch's containers, with places in a list for arrays, and that list."""
    arrays: list[HostArray] = []

    def place(leaf: object) -> int:
        arrays.append(_host_array(leaf))
        return len(arrays) - 1

    return mapped(batch, place), arrays


def mapped(batch: object, function: Callable[[Any], object]) -> object:
    """The same tuples, lists and mappings, with `function` applied to everything in them."""
    if isinstance(batch, Mapping):
        items = cast("Mapping[object, object]", batch).items()
        return {key: mapped(item, function) for key, item in items}
    if isinstance(batch, list | tuple):
        sequence = cast("list[object] | tuple[object, ...]", batch)
        made = [mapped(item, function) for item in sequence]
        kind: Any = type(sequence)
        return kind(*made) if hasattr(kind, "_fields") else kind(made)
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
