"""`PlainUpdate`: an update rule run by a backend's own operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from born.backend.contract.primitives import Primitives
from born.backend.update import BoundUpdate, Scalars, UpdateKernel, check_same, compute_dtype
from born.fusion import ARRAY, RESULT, SCALE, Program, Ref
from born.raw import RawTensor


class PlainUpdate(UpdateKernel):
    """Instruction after instruction by a backend's operations: right everywhere, fused nowhere."""

    def __init__(
        self, backend: Primitives, program: Program, dtypes: tuple[np.dtype[Any], ...]
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


def _operation(backend: Primitives, op: str, compute: np.dtype[Any]) -> Callable[..., RawTensor]:
    if op == "where":
        return partial(_select, backend, compute)
    if op.startswith("cast_"):
        return partial(_rounded, backend, op.removeprefix("cast_"))
    operation: Callable[..., RawTensor] = getattr(backend, _CONTRACT_NAMES.get(op, op))
    return operation


def _select(
    backend: Primitives, compute: np.dtype[Any], condition: Any, x: Any, y: Any
) -> RawTensor:
    """Of a condition on elements or on a scalar; numbers become tensors of one element."""
    x, y = (z if isinstance(z, RawTensor) else backend.full((), z, compute) for z in (x, y))
    if isinstance(condition, RawTensor):
        return backend.where(condition, x, y)
    chosen: RawTensor = x if condition else y
    return chosen


def _rounded(backend: Primitives, dtype: str, x: RawTensor) -> RawTensor:
    return backend.astype(backend.astype(x, dtype), x.dtype)
