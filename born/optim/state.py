"""The state of an optimizer as a flat dict: taken, checked, and written back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, TypeAlias, TypeGuard, cast

import numpy as np

from born.backend import Backend
from born.dtypes import float32, int64, is_floating
from born.fusion.codec import coded_size, kept_as
from born.nn import state as parameters
from born.nn.state import StateValue, StoredTensor
from born.optim.accumulation import ACCUMULATE, BATCHES
from born.optim.slots import Coded
from born.raw import HostArray, RawTensor
from born.tensor import Tensor

Buffers: TypeAlias = Mapping[str, RawTensor]
"""`{slot}.{index}` -> the live buffer of that slot of that parameter."""

OptimizerState: TypeAlias = Mapping[str, StateValue | int]
"""What may be loaded: arrays of any kind, and plain integers for the counts."""


def adapted(state: OptimizerState, counts: Mapping[str, int], buffers: Buffers) -> OptimizerState:
    """A state with those of `RECORDS` and `GATHERED` that an optimizer with these counts and
    buffers keeps, and no others.

    Where it has none, as one that was saved with other policies, nothing was recorded or gathered.
    """
    if not isinstance(cast("object", state), Mapping):
        return state  # which is refused
    ours: dict[str, StateValue | int] = {**buffers, **counts}
    kept = {name: x for name, x in state.items() if name in ours or not has_kind(name, OPTIONAL)}
    absent = RECORDS if BATCHES in state else OPTIONAL
    for name, value in ours.items():
        if name not in kept and has_kind(name, absent):
            kept[name] = 0 if name in counts and name != ACCUMULATE else value
    return kept


def has_kind(name: str, kinds: Collection[str]) -> bool:
    """Whether an entry is of one of these slots."""
    return name.rpartition(".")[0] in kinds


def amid(counts: Mapping[str, int], state: OptimizerState) -> list[str]:
    """Why a state, amid batches for an update of another number of them, cannot be loaded."""
    if not isinstance(cast("object", state), Mapping):
        return []  # which is refused
    ours = counts.get(ACCUMULATE, 1)
    values = [_as_array(state.get(*each)) for each in ((ACCUMULATE, ours), (BATCHES, 0))]
    theirs, batches = (int(value.item()) if _is_count(value) else 0 for value in values)
    if not batches or (theirs == ours and batches < ours):
        return []
    return [
        f"{ACCUMULATE!r}: expected gradients for accumulate={ours}, got {batches} of "
        f"{theirs} that were added up for accumulate={theirs}; save after an update, or go on with "
        f"accumulate={theirs}"
    ]


RECORDS: Final = ("skipped", "fault_step", "fault_elements", "accumulate")
"""Entries that a state may lack, or have without need."""
GATHERED: Final = ("gradient_sum", "gathered", "batches")
"""Entries that, between two updates, a state may have without need, or lack all of."""
OPTIONAL: Final = (*RECORDS, *GATHERED)


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


def copied(backend: Backend, buffers: Buffers, coded: Mapping[str, Coded]) -> dict[str, RawTensor]:
    """Copies of buffers, those that are `coded` as numbers."""
    state: dict[str, RawTensor] = {}
    for name, buffer in buffers.items():
        each = coded.get(name)
        if each is None:
            state[name] = backend.copy(buffer)
        else:
            state[each.name] = backend.zeros(each.shape, float32)
            backend.decode_slot(buffer, each.codec, state[each.name])
    return state


def remedy(coded: Mapping[str, Coded], state: OptimizerState) -> str:
    """What to do about a state that does not fit slots of which some are `coded`."""
    names = set(state) if isinstance(cast("object", state), Mapping) else set[str]()
    if any(name not in names and each.name in names for name, each in coded.items()):
        return "its slots are numbers; round them by load_state_dict(state, encode=True)"
    if any(kept_as(name) is not None and name not in coded for name in names):
        return (
            "its slots are kept in another way; load it with the precision that it was saved with, "
            "and take state_dict(decoded=True)"
        )
    return "make the optimizer with the parameters and the config that it was saved with"


def encoded(
    backend: Backend, coded: Mapping[str, Coded], state: OptimizerState
) -> dict[str, StateValue | int]:
    """A state with the numbers for coded slots as bytes; what does not fit stays as it is."""
    result = dict(state)
    for name, each in coded.items():
        value = _as_array(state[each.name]) if each.name in state else None
        if (
            isinstance(value, RawTensor | Tensor | np.ndarray | StoredTensor)
            and value.shape == each.shape
            and is_floating(value.dtype)
        ):
            x = parameters.copy_to(backend, value)
            x = x if x.dtype == float32 else backend.astype(x, float32)
            codes = backend.zeros((coded_size(x.size),), "uint8")
            backend.encode_slot(x, each.codec, codes)
            result[name] = codes
            del result[each.name]
    return result


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
