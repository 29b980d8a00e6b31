"""What an optimizer holds: parameters, each once, with memory of their own, on one backend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from born.backend import Backend
from born.errors import BackendMismatchError, DTypeError, ParameterError
from born.nn import Parameter
from born.raw import Array, RawTensor, is_floating
from born.tensor import B, Tensor


def checked_parameters(parameters: Iterable[Parameter[B]]) -> tuple[Parameter[B], ...]:
    """The parameters as a tuple.

    Raises:
        ParameterError: none, something that is no parameter, or one twice.
        DTypeError: one that is not of a floating dtype.
        BackendMismatchError: parameters of two backends.
    """
    if isinstance(cast("object", parameters), Tensor) or not isinstance(
        cast("object", parameters), Iterable
    ):
        raise ParameterError(
            f"expected several parameters, got one {type(parameters).__name__}; "
            "pass model.parameters(), or a list"
        )
    held = tuple(parameters)
    if not held:
        raise ParameterError(
            "expected at least one parameter, got none; pass model.parameters(), "
            "of a model that has some"
        )
    first_with: dict[RawTensor, int] = {}
    for index, parameter in enumerate(held):
        _check_parameter(index, parameter, held[0])
        earlier = first_with.setdefault(parameter.raw, index)
        if earlier != index:
            raise ParameterError(
                f"expected every parameter once, got {called(earlier, held[earlier])} again as "
                f"{called(index, parameter)}; remove one of them"
            )
    return held


def _check_parameter(index: int, parameter: Parameter[B], first: Parameter[B]) -> None:
    if not isinstance(cast("object", parameter), Parameter):
        raise ParameterError(
            f"parameter {index}: expected a Parameter, got {type(parameter).__name__}; wrap a "
            "tensor as nn.Parameter(tensor), and pass model.parameters() without names"
        )
    if not is_floating(parameter.dtype):
        raise DTypeError(
            f"{called(index, parameter)}: expected a floating dtype, got {parameter.dtype}; "
            'convert it with .astype("float32")'
        )
    check_writeable(called(index, parameter), parameter.raw.array)
    if parameter.backend is not first.backend:
        raise BackendMismatchError(
            f"{called(index, parameter)}: expected a parameter on {first.backend!r} like "
            f"{called(0, first)}, got one on {parameter.backend!r}; "
            "make one optimizer for each backend"
        )


def check_writeable(name: str, array: Array) -> None:
    """Refuse an array that cannot be updated in place."""
    # CuPy's arrays are always writeable and say nothing of it.
    if not getattr(array.flags, "writeable", True):
        raise ParameterError(
            f"{name}: expected an array that can be written, got a read-only one; copy it"
        )


def called(index: int, parameter: Parameter[Any]) -> str:
    """How errors speak of a parameter."""
    name = f" ({parameter.name!r})" if parameter.name else ""
    return f"parameter {index}{name}"


def array_type(raw: RawTensor) -> str:
    """What errors call the type of a tensor's array."""
    kind = type(cast("object", raw.array))
    return f"{kind.__module__}.{kind.__qualname__}"


def check_memory(backend: Backend, parameters: Sequence[Parameter[Any]]) -> None:
    """Refuse parameters that share memory, which one update would change under another."""
    extents = [(backend.extent(p.raw), index) for index, p in enumerate(parameters)]
    placed = sorted((extent, index) for extent, index in extents if extent is not None)
    end, owner = 0, 0
    for (start, stop), index in placed:
        if start < end and stop > start:
            raise ParameterError(
                "expected parameters with memory of their own, got "
                f"{called(owner, parameters[owner])} and {called(index, parameters[index])}, "
                "which are views of one buffer; copy one of them"
            )
        if stop > end:
            end, owner = stop, index


def differences(ours: Sequence[Parameter[Any]], theirs: Sequence[Parameter[Any]]) -> list[str]:
    """What tells moved parameters from those that they should be, in words."""
    both = list(zip(ours, theirs, strict=False))
    found = [f"{called(i, ours[i])}: missing" for i in range(len(both), len(ours))]
    found += [f"{called(i, theirs[i])}: unexpected" for i in range(len(both), len(theirs))]
    for index, (here, there) in enumerate(both):
        if (here.shape, here.dtype) != (there.shape, there.dtype):
            found.append(
                f"{called(index, here)}: expected shape {here.shape} and dtype {here.dtype}, got "
                f"{there.shape} and {there.dtype}"
            )
        # Parameters without names, as those of no module, are known by their order alone.
        if here.name and there.name and here.name != there.name:
            found.append(f"{called(index, here)}: got one with the name {there.name!r}")
    return found
