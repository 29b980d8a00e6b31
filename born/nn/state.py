"""What state dicts may hold, why one cannot be loaded, and copies of its values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np

from born.backend import Backend
from born.raw import HostArray, RawTensor, Shape
from born.tensor import Tensor


class StoredTensor(ABC):
    """A tensor that is elsewhere, such as in a file, and is read when it is loaded.

    Attributes:
        shape: of the tensor.
        dtype: what it is read as.
    """

    shape: Shape
    dtype: np.dtype[Any]

    @abstractmethod
    def read_into(self, target: HostArray) -> None:
        """Write the elements into an array in C order, of this shape and dtype."""


StateValue: TypeAlias = RawTensor | Tensor[Any] | HostArray | StoredTensor
"""What a state dict to be loaded may hold; a tensor of any backend will do."""


def mismatches(
    named: Sequence[tuple[str, Tensor[Any]]], state: Mapping[str, StateValue]
) -> list[str]:
    """Every reason why `state` cannot be loaded into the parameters."""
    if not isinstance(cast("object", state), Mapping):
        return [f"expected a mapping from path to tensor, got {type(state).__name__}"]
    expected = dict(named)
    lines = [
        f"{path!r}: missing, expected shape {p.shape} and dtype {p.dtype}"
        for path, p in named
        if path not in state
    ]
    lines += [f"{path!r}: unexpected" for path in state if path not in expected]
    for path, parameter in named:
        if path in state:
            lines += [f"{path!r}: {line}" for line in value_mismatches(parameter, state[path])]
    return lines


def value_mismatches(parameter: Tensor[Any], value: StateValue) -> list[str]:
    """Every reason why `value` cannot be loaded into one parameter."""
    if not isinstance(cast("object", value), (RawTensor, Tensor, np.ndarray, StoredTensor)):
        return [f"expected a RawTensor, Tensor or NumPy array, got {type(value).__name__}"]
    live = parameter.raw.array
    lines: list[str] = []
    if value.shape != parameter.shape:
        lines.append(f"expected shape {parameter.shape}, got {value.shape}")
    if value.dtype != parameter.dtype:
        lines.append(f"expected dtype {parameter.dtype}, got {value.dtype}")
    if not getattr(live.flags, "writeable", True):
        lines.append("expected an array that can be written, got a read-only one; copy it")
    if isinstance(value, RawTensor) and not isinstance(value.array, (np.ndarray, type(live))):
        lines.append(
            f"expected an array of {type(live).__module__} or NumPy, got one of "
            f"{type(value.array).__module__}; hand over the Tensor, which knows its backend"
        )
    return lines


def prepared(backend: Backend, target: RawTensor, value: StateValue) -> RawTensor | StoredTensor:
    """What `write` takes: a value that no write into the live state changes any more."""
    if value is target:
        return target
    return value if isinstance(value, StoredTensor) else copy_to(backend, value)


def write(backend: Backend, target: RawTensor, value: RawTensor | StoredTensor) -> None:
    """Write a value without mismatches into the memory of `target`."""
    if value is target:
        return
    if isinstance(value, StoredTensor):
        array: object = target.array
        if isinstance(array, np.ndarray) and array.flags.c_contiguous:
            value.read_into(cast("HostArray", array))  # with no second copy in memory
            target.touch()
            return
        value = copy_to(backend, value)
    backend.assign(target, value)


def copy_to(backend: Backend, value: StateValue) -> RawTensor:
    """`value` in new memory of the backend."""
    if isinstance(value, StoredTensor):
        array = np.empty(value.shape, value.dtype)
        value.read_into(array)
        return backend.from_numpy(array)
    if isinstance(value, Tensor):
        home: Backend = value.backend.innermost
        return backend.copy(value.raw) if home is backend else backend.from_numpy(value.numpy())
    if isinstance(value, RawTensor) and not isinstance(value.array, np.ndarray):
        return backend.copy(value)
    return backend.from_numpy(np.asarray(value))
