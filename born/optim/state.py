"""The state of an optimizer as a flat dict: taken, checked, and written back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeGuard, cast

import numpy as np

from born.backend import Backend
from born.nn.state import StateValue, mismatches
from born.raw import RawTensor, int64
from born.tensor import Tensor

Buffers: TypeAlias = Mapping[str, RawTensor]
"""`{slot}.{index}` -> the live buffer of that slot of that parameter."""

OptimizerState: TypeAlias = Mapping[str, StateValue | int]
"""What may be loaded: arrays of any kind, and plain integers for the counts."""

_COUNT: Final = "t.{}"  # the entry every parameter has: how many updates it has had


def snapshot(backend: Backend, buffers: Buffers, counts: Sequence[int]) -> dict[str, RawTensor]:
    """Name -> a copy of each buffer, then each count as an int64 of shape ()."""
    state = {name: backend.copy(buffer) for name, buffer in buffers.items()}
    for index, count in enumerate(counts):
        state[_COUNT.format(index)] = backend.from_numpy(np.array(count, int64))
    return state


def misfits(
    backend: Backend, buffers: Buffers, counts: Sequence[int], state: OptimizerState
) -> list[str]:
    """Every reason why `state` does not fit, in words."""
    live: list[tuple[str, Tensor[Any]]] = [
        (name, Tensor(buffer, backend)) for name, buffer in buffers.items()
    ]
    live += [
        (_COUNT.format(index), Tensor(backend.from_numpy(np.array(count, int64)), backend))
        for index, count in enumerate(counts)
    ]
    if not isinstance(cast("object", state), Mapping):
        return [f"expected a mapping from name to array, got {type(state).__name__}"]
    arrived = {name: _as_array(value) for name, value in state.items()}
    found = mismatches(live, arrived)
    for index in range(len(counts)):
        name = _COUNT.format(index)
        value = arrived.get(name)
        if _is_count(value) and _as_count(value) < 0:
            found.append(
                f"{name!r}: expected a number of updates, at least 0, got {_as_count(value)}"
            )
    return found


def write(
    backend: Backend, buffers: Buffers, counts: Sequence[int], state: OptimizerState
) -> list[int]:
    """Write a state without `misfits` into the buffers.

    Returns:
        The counts, which have no buffer.
    """
    # Read before anything is written: what can still fail, fails here.
    arrived = [_as_count(_as_array(state[_COUNT.format(i)])) for i in range(len(counts))]
    for name, buffer in buffers.items():
        backend.assign(buffer, _on_backend(backend, buffer, _as_array(state[name])))
    return arrived


def _as_array(value: StateValue | int) -> StateValue:
    """An integer as the array that stands for it; anything else as it is."""
    number: object = value  # it may be a bool or a NumPy scalar, whatever its annotation says
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        return cast("StateValue", value)
    limits = np.iinfo(int64)
    if not limits.min <= number <= limits.max:
        return cast("StateValue", value)  # no array holds it: refused by its type
    return np.array(int(number), int64)


def _is_count(value: StateValue | None) -> TypeGuard[StateValue]:
    return isinstance(value, RawTensor | Tensor | np.ndarray) and (
        value.shape == () and value.dtype == int64
    )


def _as_count(value: StateValue) -> int:
    return int(value.item())


def _on_backend(backend: Backend, buffer: RawTensor, value: StateValue) -> RawTensor:
    if isinstance(value, Tensor):
        if value.backend.innermost is backend:
            return value.raw
        return backend.from_numpy(value.numpy())
    if not isinstance(value, RawTensor):
        return backend.from_numpy(value)
    if isinstance(value.array, type(buffer.array)):
        return value
    return backend.from_numpy(value.array)
