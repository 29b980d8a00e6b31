"""`PlainUpdate`: an update rule, run by a backend's own operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend.contract.primitives import Primitives
from born.backend.update import (
    BoundUpdate,
    Check,
    PreparedStep,
    Scalars,
    UpdateKernel,
    accept,
    compute_dtype,
)
from born.fusion import ARRAY, RESULT, SCALE, Program, Ref
from born.raw import RawTensor


class PlainUpdate(UpdateKernel):
    """Instruction after instruction by a backend's operations: right everywhere, fused nowhere."""

    def __init__(
        self, backend: Primitives, program: Program, dtypes: tuple[np.dtype[Any], ...]
    ) -> None:
        super().__init__(program, dtypes, str(program))
        self.backend = backend

    @override
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        return _Bound(self, targets, check)

    def update(
        self,
        target: Sequence[RawTensor],
        gradient: RawTensor,
        scalars: Scalars,
        scale: RawTensor | None,
    ) -> None:
        """Update one parameter and its slots."""
        backend, program = self.backend, self.program
        compute = compute_dtype(self.dtypes)
        inputs = [target[0], gradient, *target[1:]]
        widened = [x if x.dtype == compute else backend.astype(x, compute) for x in inputs]
        results: list[RawTensor] = []

        def value(ref: Ref) -> RawTensor | float:
            if ref.kind == ARRAY:
                return widened[ref.index]
            if ref.kind == SCALE and scale is not None:
                return scale
            return results[ref.index] if ref.kind == RESULT else scalars[ref.index]

        for op, args in program.instructions:
            results.append(operation(backend, op, compute)(*map(value, args)))
        outputs: list[RawTensor] = []
        for raw, ref in zip(target, program.outputs, strict=True):
            output = value(ref)
            if not isinstance(output, RawTensor):
                output = backend.full(raw.shape, output, compute)
            elif output.shape != raw.shape:  # numbers alone went into it
                output = backend.broadcast_to(output, raw.shape)
            # An input given out again may be written before the output that it is.
            again = any(output is x for x in widened)
            outputs.append(backend.copy(output) if again else output)
        for raw, output in zip(target, outputs, strict=True):
            same = output.dtype == raw.dtype
            backend.assign(raw, output if same else backend.astype(output, raw.dtype))


@dataclass(slots=True)
class _Bound(BoundUpdate):
    kernel: PlainUpdate
    targets: Sequence[Sequence[RawTensor]]
    check: Check

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        for number, gradient in zip(numbers, gradients, strict=True):
            self.check(number, gradient)
        return _Step(self.kernel, [self.targets[number] for number in numbers], gradients)


@dataclass(slots=True)
class _Step(PreparedStep):
    kernel: PlainUpdate
    targets: Sequence[Sequence[RawTensor]]
    gradients: Sequence[RawTensor]

    @override
    def run(
        self,
        scalars: Sequence[Scalars],
        scale: RawTensor | None = None,
        sets: Sequence[int] | None = None,
    ) -> None:
        chosen = sets or [0] * len(self.targets)
        for target, gradient, number in zip(self.targets, self.gradients, chosen, strict=True):
            self.kernel.update(target, gradient, scalars[number], scale)


COMPARISONS: Final = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
"""The comparisons of programs, by their names in the contract."""


def operation(backend: Primitives, op: str, compute: np.dtype[Any]) -> Callable[..., RawTensor]:
    """The function of a backend that computes an operation of programs."""
    if op == "where":
        return partial(_select, backend, compute)
    if op.startswith("cast_"):
        dtype = op.removeprefix("cast_")

        def rounded(x: RawTensor) -> RawTensor:
            return backend.astype(backend.astype(x, dtype), x.dtype)

        return rounded
    method: Callable[..., RawTensor] = getattr(backend, COMPARISONS.get(op, op))
    return method


def _select(
    backend: Primitives, compute: np.dtype[Any], condition: Any, x: Any, y: Any
) -> RawTensor:
    """Of a condition on elements or on a scalar; numbers become tensors of one element."""
    x, y = (z if isinstance(z, RawTensor) else backend.full((), z, compute) for z in (x, y))
    if isinstance(condition, RawTensor):
        return backend.where(condition, x, y)
    chosen: RawTensor = x if condition else y
    return chosen
