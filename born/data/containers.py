"""Arrays in tuples, lists and mappings, however deep: taken apart and put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np

from born.backend import B
from born.dtypes import is_floating
from born.errors import OperandError
from born.raw import HostArray
from born.tensor import Tensor

Batch: TypeAlias = "HostArray | str | float | Sequence[Batch] | Mapping[Any, Batch] | None"
"""An array, or arrays and other values in tuples, lists and mappings, however deep."""

TensorBatch: TypeAlias = (
    "Tensor[B] | str | float | Sequence[TensorBatch[B]] | Mapping[Any, TensorBatch[B]] | None"
)
"""The same with a tensor in place of each array."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array of a batch is in the list of them."""

    at: int


def split(batch: object, dtype: np.dtype[Any] | None = None) -> tuple[object, list[HostArray]]:
    """A copy of a batch's containers, with places in a list for arrays, and that list."""
    arrays: list[HostArray] = []

    def place(leaf: object) -> object:
        if not hasattr(leaf, "__array__"):
            return leaf
        array = _host_array(leaf)
        if dtype is not None and is_floating(array.dtype):
            array = array.astype(dtype, copy=False)
        arrays.append(array)
        return Place(len(arrays) - 1)

    return mapped(batch, place), arrays


def joined(plan: object, values: Sequence[object]) -> object:
    """What `split` parted, with these values for the arrays."""
    return mapped(plan, lambda leaf: values[leaf.at] if type(leaf) is Place else leaf)


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
    try:
        return np.asarray(leaf)
    except TypeError as error:
        raise OperandError(
            f"expected arrays on the host in a batch, got a {type(leaf).__name__} that is "
            f"not ({error}); leave batches on the host, prefetch takes them to the device"
        ) from error
