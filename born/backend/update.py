"""Update kernels: what a backend makes of a traced rule, and the plain way to run one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from born.errors import ParameterError
from born.fusion import ARRAY, RESULT, SCALE, Program, Ref
from born.raw import RawTensor

if TYPE_CHECKING:
    from born.backend.fused import Backend

Scalars: TypeAlias = tuple[float, ...]
"""What `Program.host` gives: the scalars of one tensor's update."""

_SINGLE: Final = np.dtype(np.float32)
_DOUBLE: Final = np.dtype(np.float64)


def compute_dtype(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """The dtype an update computes in: float64 where any array has it, float32 otherwise.

    >>> compute_dtype([np.dtype("float16"), np.dtype("float16")])
    dtype('float32')
    """
    return _DOUBLE if _DOUBLE in dtypes else _SINGLE


class BoundUpdate(ABC):
    """A kernel with the tensors that it updates."""

    def fits(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> bool:
        """Whether gradients are known to be arrays of the right kind, shape and dtype.

        False says nothing: look at each one. A backend that can tell at once saves the
        optimizer from doing so in every step.
        """
        return False

    @abstractmethod
    def __call__(
        self,
        numbers: Sequence[int],
        gradients: Sequence[RawTensor],
        scalars: Sequence[Scalars],
        sets: Sequence[int],
        scale: RawTensor | None = None,
    ) -> None:
        """Update some of the tensors, in one pass over memory.

        Args:
            numbers: which of the bound tensors, each once.
            gradients: for each of them its gradient, of its shape and of the dtype that
                the kernel was compiled for.
            scalars: the sets of scalars in use, most often one.
            sets: for each of `numbers`, which of those sets is its own.
            scale: of shape () and the compute dtype, what all gradients are multiplied
                by; given if the program `has_scale`, and only then.

        Raises:
            ParameterError: the array of a bound tensor is not the one it had when bound.
        """


class UpdateKernel(ABC):
    """A compiled update rule for one combination of dtypes.

    Attributes:
        program: what it computes.
        dtypes: of each of the program's arrays.
        source: what was generated, as text.
    """

    def __init__(self, program: Program, dtypes: tuple[np.dtype[Any], ...], source: str) -> None:
        self.program = program
        self.dtypes = dtypes
        self.source = source

    @abstractmethod
    def bind(self, targets: Sequence[Sequence[RawTensor]]) -> BoundUpdate:
        """The kernel over these tensors: for each parameter, itself and then its slots."""

    def __call__(
        self,
        targets: Sequence[Sequence[RawTensor]],
        gradients: Sequence[RawTensor],
        scalars: Sequence[Scalars],
        scale: RawTensor | None = None,
    ) -> None:
        """Update all of `targets`, each with a gradient and a set of scalars of its own."""
        every = range(len(targets))
        self.bind(targets)(every, gradients, scalars, every, scale)


class PlainUpdate(UpdateKernel):
    """Instruction after instruction by a backend's operations: right everywhere, fused nowhere."""

    def __init__(
        self, backend: Backend, program: Program, dtypes: tuple[np.dtype[Any], ...]
    ) -> None:
        super().__init__(program, dtypes, str(program))
        self.backend = backend

    def bind(self, targets: Sequence[Sequence[RawTensor]]) -> BoundUpdate:
        """The kernel over these tensors."""
        return _BoundPlain(self, targets)


class _BoundPlain(BoundUpdate):
    def __init__(self, kernel: PlainUpdate, targets: Sequence[Sequence[RawTensor]]) -> None:
        self._kernel = kernel
        self._targets = targets
        self._arrays = [[raw.array for raw in target] for target in targets]

    def __call__(
        self,
        numbers: Sequence[int],
        gradients: Sequence[RawTensor],
        scalars: Sequence[Scalars],
        sets: Sequence[int],
        scale: RawTensor | None = None,
    ) -> None:
        for number, gradient, chosen in zip(numbers, gradients, sets, strict=True):
            check_same(self._targets[number], self._arrays[number])
            self._update(self._targets[number], gradient, scalars[chosen], scale)

    def _update(
        self,
        target: Sequence[RawTensor],
        gradient: RawTensor,
        values: Scalars,
        scale: RawTensor | None,
    ) -> None:
        backend, program = self._kernel.backend, self._kernel.program
        compute = compute_dtype(self._kernel.dtypes)
        inputs = [target[0], gradient, *target[1:]]
        widened = [x if x.dtype == compute else backend.astype(x, compute) for x in inputs]
        results: list[RawTensor] = []

        def value(ref: Ref) -> RawTensor | float:
            if ref.kind == ARRAY:
                return widened[ref.index]
            if ref.kind == SCALE and scale is not None:
                return scale
            return results[ref.index] if ref.kind == RESULT else values[ref.index]

        for op, args in program.instructions:
            results.append(_operation(backend, op, compute)(*map(value, args)))
        given_all: list[RawTensor] = []
        for raw, ref in zip(target, program.outputs, strict=True):
            output = value(ref)
            if not isinstance(output, RawTensor):
                output = backend.full(raw.shape, output, compute)
            elif output.shape != raw.shape:  # numbers alone went into it
                output = backend.broadcast_to(output, raw.shape)
            # An input given out again may be written before the output that it is.
            again = any(output is x for x in widened)
            given_all.append(backend.copy(output) if again else output)
        for raw, given in zip(target, given_all, strict=True):
            backend.assign(
                raw, given if given.dtype == raw.dtype else backend.astype(given, raw.dtype)
            )


_CONTRACT_NAMES: Final = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}


def _operation(backend: Backend, op: str, compute: np.dtype[Any]) -> Callable[..., RawTensor]:
    if op == "where":
        return partial(_select, backend, compute)
    if op.startswith("cast_"):
        return partial(_rounded, backend, op.removeprefix("cast_"))
    operation: Callable[..., RawTensor] = getattr(backend, _CONTRACT_NAMES.get(op, op))
    return operation


def _select(backend: Backend, compute: np.dtype[Any], condition: Any, x: Any, y: Any) -> RawTensor:
    """Of a condition on elements or on a scalar; numbers become tensors of one element."""
    x, y = (z if isinstance(z, RawTensor) else backend.full((), z, compute) for z in (x, y))
    if isinstance(condition, RawTensor):
        return backend.where(condition, x, y)
    chosen: RawTensor = x if condition else y
    return chosen


def _rounded(backend: Backend, dtype: str, x: RawTensor) -> RawTensor:
    return backend.astype(backend.astype(x, dtype), x.dtype)


def check_same(target: Sequence[RawTensor], arrays: Sequence[Any]) -> None:
    """Refuse a tensor whose array was replaced since it was bound.

    Raises:
        ParameterError: one was.
    """
    for raw, array in zip(target, arrays, strict=True):
        if raw.array is not array:
            raise ParameterError(
                f"expected the array that the optimizer was made with, of shape {array.shape}, "
                f"got another of shape {raw.shape} in its place; write into the array "
                "(backend.assign), or make a new optimizer"
            )
