"""State dicts of parameters: taken, checked, and loaded whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from born.backend import Backend
from born.errors import StateDictError
from born.raw import HostArray, RawTensor
from born.tensor import B, Tensor

StateValue: TypeAlias = RawTensor | Tensor[Any] | HostArray
"""What a state dict to be loaded may hold; a tensor of any backend will do."""

_Named: TypeAlias = Sequence[tuple[str, Tensor[B]]]


def snapshot(named: _Named[B]) -> dict[str, RawTensor]:
    """Path -> a copy of each parameter's value."""
    # The computing backend, since a copy that a tape recorded would keep the tape alive.
    return {path: p.backend.innermost.copy(p.raw) for path, p in named}


def problems(named: _Named[B], state: Mapping[str, StateValue]) -> list[str]:
    """Every reason why `state` cannot be loaded into the parameters."""
    if not _is_mapping(state):
        return [f"expected a mapping from path to tensor, got {type(state).__name__}"]
    expected = dict(named)
    found = [
        f"{path!r}: missing, expected shape {p.shape} and dtype {p.dtype}"
        for path, p in named
        if path not in state
    ]
    found += [f"{path!r}: unexpected" for path in state if path not in expected]
    for path, parameter in named:
        if path in state:
            found += (f"{path!r}: {reason}" for reason in _misfits(parameter, state[path]))
    return found


def load(named: _Named[B], state: Mapping[str, StateValue], owner: str) -> None:
    """Write `state` into the parameters, all of it or nothing.

    Raises:
        StateDictError: it does not fit; nothing was changed.
    """
    found = problems(named, state)
    if found:
        raise StateDictError(
            f"expected a state dict that fits {owner}, got {len(found)} "
            f"problem{'s' if len(found) > 1 else ''}; load one of the same model, "
            "nothing was changed:\n" + _listed(found)
        )
    # Copied before the first write: an arriving tensor may be another parameter's own storage.
    arrived = [(p, _on_backend(p, state[path])) for path, p in named]
    for parameter, value in arrived:
        parameter.backend.innermost.assign(parameter.raw, value)


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _misfits(parameter: Tensor[B], value: StateValue) -> list[str]:
    if not _is_state_value(value):
        return [f"expected a RawTensor, Tensor or NumPy array, got {type(value).__name__}"]
    found: list[str] = []
    if value.shape != parameter.shape:
        found.append(f"expected shape {parameter.shape}, got {value.shape}")
    if value.dtype != parameter.dtype:
        found.append(f"expected dtype {parameter.dtype}, got {value.dtype}")
    if not getattr(parameter.raw.array.flags, "writeable", True):
        found.append("expected an array that can be written, got a read-only one; copy it")
    if isinstance(value, RawTensor) and not _is_readable(parameter, value):
        found.append(
            f"expected an array of {type(parameter.raw.array).__module__} or NumPy, got one of "
            f"{type(value.array).__module__}; hand over the Tensor, which knows its backend"
        )
    return found


def _is_readable(parameter: Tensor[B], value: RawTensor) -> bool:
    return isinstance(value.array, (np.ndarray, type(parameter.raw.array)))


def _on_backend(parameter: Tensor[B], value: StateValue) -> RawTensor:
    """`value` in new memory of the parameter's backend."""
    backend: Backend = parameter.backend.innermost
    if isinstance(value, Tensor):
        home: Backend = value.backend.innermost
        return backend.copy(value.raw) if home is backend else backend.from_numpy(value.numpy())
    if isinstance(value, RawTensor) and not isinstance(value.array, np.ndarray):
        return backend.copy(value)
    return backend.from_numpy(np.asarray(value))


def _is_mapping(state: object) -> bool:
    # Annotations do not hold callers back at run time; a checker would call these tests needless.
    return isinstance(state, Mapping)


def _is_state_value(value: object) -> bool:
    return isinstance(value, (RawTensor, Tensor, np.ndarray))
