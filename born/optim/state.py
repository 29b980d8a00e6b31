"""The state of an optimizer as a flat dict: taken, checked, and written back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeGuard, cast

import numpy as np

from born.backend import Backend
from born.dtypes import int64
from born.nn import state as parameters
from born.nn.state import StateValue, StoredTensor
from born.raw import HostArray, RawTensor
from born.tensor import Tensor

Buffers: TypeAlias = Mapping[str, RawTensor]
"""`{slot}.{index}` -> the live buffer of that slot of that parameter."""

OptimizerState: TypeAlias = Mapping[str, StateValue | int]
"""What may be loaded: arrays of any kind, and plain integers for the counts."""


def mismatches(
    backend: Backend, buffers: Buffers, counts: Mapping[str, int], state: OptimizerState
) -> list[str]:
    """Every reason why `state` cannot be loaded, in words."""
    if not isinstance(cast("object", state), Mapping):
        return [f"expected a mapping from name to array, got {type(state).__name__}"]
    live = {**buffers, **counts_as_tensors(backend, counts)}
    arrived = {name: _as_array(value) for name, value in state.items()}
    named = [(name, Tensor(raw, backend)) for name, raw in live.items()]
    lines = parameters.mismatches(named, arrived)
    for name in counts:
        count = arrived.get(name)
        if _is_count(count) and count.item() < 0:
            lines.append(f"{name!r}: expected a number of updates, at least 0, got {count.item()}")
    return lines


def write(
    backend: Backend, buffers: Buffers, counts: Mapping[str, int], state: OptimizerState
) -> dict[str, int]:
    """Write a state without `mismatches` into the buffers; returns the counts."""
    # Read before anything is written: what can still fail, fails here.
    values = {name: _as_array(state[name]) for name in counts}
    arrived = {name: int(value.item()) for name, value in values.items() if _is_count(value)}
    for name, buffer in buffers.items():
        value = parameters.prepared(backend, buffer, _as_array(state[name]))
        parameters.write(backend, buffer, value)
    return arrived


def counts_as_tensors(backend: Backend, counts: Mapping[str, int]) -> dict[str, RawTensor]:
    """Name -> each count, as an int64 of shape ()."""
    return {name: backend.from_numpy(np.array(count, int64)) for name, count in counts.items()}


def _as_array(value: StateValue | int) -> StateValue:
    """An integer, or one that is stored, as the array that stands for it; else what it is."""
    if isinstance(value, StoredTensor) and value.shape == () and value.dtype == int64:
        count = np.zeros((), int64)
        value.read_into(count)
        return count
    number: object = value  # it may be a bool or a NumPy scalar all the same
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        return cast("StateValue", value)
    if not -(2**63) <= int(number) < 2**63:  # no array holds it: it is refused by its type
        return cast("StateValue", value)
    return np.array(int(number), int64)


def _is_count(value: StateValue | None) -> TypeGuard[RawTensor | Tensor[Any] | HostArray]:
    return isinstance(value, RawTensor | Tensor | np.ndarray) and (
        value.shape == () and value.dtype == int64
    )
