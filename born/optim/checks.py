"""What is checked of an optimizer's parameters, when it is made and in each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast
from weakref import WeakSet

import numpy as np

from born.backend import B, Backend
from born.dtypes import is_floating
from born.errors import BackendMismatchError, DTypeError, GradientError, ParameterError
from born.nn import Module, Parameter
from born.raw import Array, RawTensor
from born.tensor import Tensor


def checked_parameters(
    parameters: Module[B] | Iterable[Parameter[B]],
) -> tuple[Parameter[B], ...]:
    """The parameters as a tuple: each once, of a floating dtype, all on one backend."""
    several = several_parameters(parameters)
    if not several:
        raise ParameterError(
            "expected at least one parameter, got none; pass a model that has some"
        )
    indices: dict[RawTensor, int] = {}
    for index, parameter in enumerate(several):
        _check_parameter(index, parameter, several[0])
        earlier = indices.setdefault(parameter.raw, index)
        if earlier != index:
            raise ParameterError(
                f"expected every parameter once, got {label(earlier, several[earlier])} again as "
                f"{label(index, parameter)}; remove one of them"
            )
    return several


def several_parameters(
    parameters: Module[B] | Iterable[Parameter[B]],
) -> tuple[Parameter[B], ...]:
    """The parameters of a model, or of a list, as a tuple; anything else is refused."""
    if isinstance(parameters, Module):
        return tuple(parameters.parameters())
    if isinstance(cast("object", parameters), Tensor | str) or not isinstance(
        cast("object", parameters), Iterable
    ):
        raise ParameterError(
            f"expected several parameters, got one {type(parameters).__name__}; "
            "pass a model, or a list of parameters"
        )
    if isinstance(parameters, set | frozenset | WeakSet):
        raise ParameterError(
            f"expected parameters in an order, which the state is saved by, got a "
            f"{type(parameters).__name__}, whose order changes from run to run; pass a list"
        )
    several = tuple(parameters)
    for index, parameter in enumerate(several):
        if not isinstance(cast("object", parameter), Parameter):
            remedy = "wrap a tensor as nn.Parameter(tensor), and pass model.parameters() "
            remedy += "without names"
            if isinstance(cast("object", parameter), dict):
                remedy = "pass all parameters, and groups=[optim.Group(some of them, lr=...)]"
            raise ParameterError(
                f"parameter {index}: expected a Parameter, got {type(parameter).__name__}; {remedy}"
            )
    return several


def _check_parameter(index: int, parameter: Parameter[B], first: Parameter[B]) -> None:
    if not is_floating(parameter.dtype):
        raise DTypeError(
            f"{label(index, parameter)}: expected a floating dtype, got {parameter.dtype}; "
            'convert it with .astype("float32")'
        )
    _check_writeable(index, parameter)
    _check_overlap(index, parameter)
    if parameter.backend is not first.backend:
        raise BackendMismatchError(
            f"{label(index, parameter)}: expected a parameter on {first.backend!r} like "
            f"{label(0, first)}, got one on {parameter.backend!r}; "
            "make one optimizer for each backend"
        )


def _check_writeable(index: int, parameter: Parameter[Any]) -> None:
    # CuPy's arrays are always writeable and say nothing of it.
    if not getattr(parameter.raw.array.flags, "writeable", True):
        raise ParameterError(
            f"{label(index, parameter)}: expected an array that can be written, got a read-only "
            "one; copy it"
        )


def _check_overlap(index: int, parameter: Parameter[Any]) -> None:
    array: Any = parameter.raw.array
    if not array.size:
        return
    lengths, reach = zip(array.shape, getattr(array, "strides", array.shape), strict=True), 0
    # By falling strides no view of separate elements comes back to what is before it.
    for stride, length in sorted((abs(step), length) for length, step in lengths if length > 1):
        if stride <= reach:
            raise ParameterError(
                f"{label(index, parameter)}: expected elements that do not share memory, got "
                f"strides {array.strides} for the shape {array.shape}, as broadcasting makes them; "
                "copy it"
            )
        reach += stride * (length - 1)


def label(index: int, parameter: Parameter[Any]) -> str:
    """What errors call a parameter."""
    name = f" ({parameter.name!r})" if parameter.name else ""
    return f"parameter {index}{name}"


def check_memory(backend: Backend, parameters: Sequence[Parameter[Any]]) -> None:
    """Refuse parameters that share memory, which one update would change under another."""
    extents = [(backend.extent(p.raw), index) for index, p in enumerate(parameters)]
    placed = sorted((extent, index) for extent, index in extents if extent is not None)
    end, owner = 0, 0
    for (start, stop), index in placed:
        if start < end and stop > start:
            raise ParameterError(
                "expected parameters that do not share memory, got "
                f"{label(owner, parameters[owner])} and {label(index, parameters[index])}, "
                "which are views of one buffer; copy one of them"
            )
        if stop > end:
            end, owner = stop, index


def pattern_remedy(select: object, parameters: Sequence[Parameter[Any]]) -> str:
    """What to do about a pattern that matches none of these."""
    if isinstance(select, str):
        parts = select.split(".")
        for place in range(1, len(parts)):
            shorter = ".".join(parts[place:])
            if shorter.strip("*?.") and any(fnmatchcase(p.name, shorter) for p in parameters):
                return (
                    "names begin at the module whose parameters() were taken first; write "
                    f"{shorter!r}, or take those of the whole model first"
                )
        if not any(p.name for p in parameters):
            return "they have no names before they are in a module; pass the model, or a list"
    return "correct what it selects"


def distinct_names(parameters: Sequence[Parameter[Any]]) -> list[str]:
    """What to call each parameter: its name; its number where it has none, and beside a name that
    several have, as those of layers that are in no model together."""
    names = [p.name or str(index) for index, p in enumerate(parameters)]
    counts = Counter(names)
    return [f"{name} ({i})" if counts[name] > 1 else name for i, name in enumerate(names)]


def quiet() -> np.errstate:
    """A context without NumPy's warnings, as updates are: what is not finite has a policy."""
    return np.errstate(all="ignore")


class StepChecks:
    """What every step checks of parameters and their gradients.

    Kernels keep it, so it does not know the optimizer, whose state a circle would keep alive.
    """

    def __init__(self, parameters: Sequence[Parameter[Any]]) -> None:
        self._parameters = parameters
        self._raws = [p.raw for p in parameters]
        self._arrays = [raw.array for raw in self._raws]
        self._kinds = [(raw.shape, raw.dtype) for raw in self._raws]

    def check_arrays(self) -> None:
        """Refuse a parameter whose array was replaced."""
        for index, (raw, array) in enumerate(zip(self._raws, self._arrays, strict=True)):
            if raw.array is not array:
                raise ParameterError(
                    f"{self.label(index)}: expected the array that the optimizer was made with, "
                    f"got another of shape {raw.shape}; write into the array with "
                    "load_state_dict or backend.assign, or make a new optimizer"
                )

    def check_gradient(self, index: int, gradient: RawTensor) -> None:
        """Refuse a parameter whose array was changed, and a gradient that is not like it."""
        parameter, (shape, dtype) = self._parameters[index], self._kinds[index]
        ours, theirs = parameter.raw.array, gradient.array
        if (ours.shape, ours.dtype) != (shape, dtype):
            raise ParameterError(
                f"{self.label(index)}: expected the array as the optimizer was made with it, of "
                f"shape {shape} and dtype {dtype}, got {ours.shape} and {ours.dtype}; "
                "make a new optimizer for the changed array"
            )
        _check_writeable(index, parameter)
        if ours.__class__ is not theirs.__class__ or ours.device != theirs.device:
            raise BackendMismatchError(
                f"{self.label(index)}: expected a gradient on {parameter.backend!r}, an array of "
                f"type {_array_type(ours)} on {parameter.raw.device!r}, got {_array_type(theirs)} "
                f"on {gradient.device!r}; bring it over with backend.from_numpy"
            )
        if (theirs.shape, theirs.dtype) != (shape, dtype):
            raise GradientError(
                f"{self.label(index)}: expected a gradient of shape {shape} and dtype {dtype}, got "
                f"shape {gradient.shape} and dtype {gradient.dtype}; a gradient has the shape and "
                "the dtype of its parameter"
            )

    def label(self, index: int) -> str:
        """What errors call the parameter."""
        return label(index, self._parameters[index])


def _array_type(array: Array) -> str:
    kind = type(cast("object", array))
    return f"{kind.__module__}.{kind.__qualname__}"


def mismatches(ours: Sequence[Parameter[Any]], theirs: Sequence[Parameter[Any]]) -> list[str]:
    """Where moved parameters do not match the originals, in words."""
    pairs = list(zip(ours, theirs, strict=False))
    lines = [f"{label(i, ours[i])}: missing" for i in range(len(pairs), len(ours))]
    lines += [f"{label(i, theirs[i])}: unexpected" for i in range(len(pairs), len(theirs))]
    for index, (here, there) in enumerate(pairs):
        if (here.shape, here.dtype) != (there.shape, there.dtype):
            lines.append(
                f"{label(index, here)}: expected shape {here.shape} and dtype {here.dtype}, got "
                f"{there.shape} and {there.dtype}"
            )
        # Parameters of no module have no names, only an order.
        if here.name and there.name and here.name != there.name:
            lines.append(f"{label(index, here)}: got one with the name {there.name!r}")
    return lines
