"""Formulas run by a backend's own operations, and the checks of their operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from born.backend.contract.primitives import Primitives
from born.backend.plain_update import operation
from born.backend.update import compute_dtype
from born.dtypes import is_floating
from born.errors import DTypeError, ShapeError
from born.fusion import ARRAY, CONSTANT, RESULT, Formula, Ref
from born.raw import RawTensor, Shape


def run_plain(
    backend: Primitives, formula: Formula, arrays: Sequence[RawTensor], scalars: Sequence[float]
) -> tuple[RawTensor, ...]:
    """Instruction after instruction by a backend's operations: right everywhere, fused nowhere."""
    shape, dtype = check_operands(formula, arrays)
    compute = compute_dtype([dtype])
    widened = [
        x if truth or x.dtype == compute else backend.astype(x, compute)
        for x, truth in zip(arrays, formula.truths, strict=True)
    ]
    results: list[RawTensor] = []

    def value(ref: Ref) -> RawTensor | float:
        if ref.kind == ARRAY:
            return widened[ref.index]
        if ref.kind == CONSTANT:
            return formula.constants[ref.index]
        return results[ref.index] if ref.kind == RESULT else scalars[ref.index]

    for op, args in formula.instructions:
        composed = _COMPOSED.get(op)
        if composed is not None:
            results.append(composed(backend, *map(value, args)))
        else:
            results.append(operation(backend, op, compute)(*map(value, args)))
    outputs: list[RawTensor] = []
    for ref in formula.outputs:
        output = value(ref)
        if not isinstance(output, RawTensor):
            output = backend.full(shape, output, compute)
        elif output.shape != shape:
            output = backend.copy(backend.broadcast_to(output, shape))
        elif ref.kind == ARRAY and output.dtype == dtype:
            output = backend.copy(output)
        outputs.append(output if output.dtype == dtype else backend.astype(output, dtype))
    return tuple(outputs)


def _sigmoid(backend: Primitives, x: RawTensor) -> RawTensor:
    decay = backend.exp(backend.neg(backend.abs(x)))
    one = backend.full((), 1.0, x.dtype)
    numerator = backend.where(backend.greater_equal(x, 0.0), one, decay)
    return backend.div(numerator, backend.add(decay, 1.0))


def _softplus(backend: Primitives, x: RawTensor) -> RawTensor:
    decay = backend.exp(backend.neg(backend.abs(x)))
    return backend.add(backend.maximum(x, 0.0), backend.log1p(decay))


def _relu(backend: Primitives, x: RawTensor) -> RawTensor:
    return backend.maximum(x, 0.0)


_COMPOSED: Final[dict[str, Callable[..., RawTensor]]] = {
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "relu": _relu,
}
"""The operations of formulas that are no required ones of the contract, composed from those."""


def check_operands(formula: Formula, arrays: Sequence[RawTensor]) -> tuple[Shape, np.dtype[Any]]:
    """The shape and dtype of the results of a formula.

    Raises:
        DTypeError: arrays that are not of one floating dtype, bool for truth values.
        ShapeError: shapes that do not broadcast.
    """
    dtype: np.dtype[Any] | None = None
    first = ""
    for x, name, truth in zip(arrays, formula.arrays, formula.truths, strict=True):
        if truth and x.dtype.kind == "b":
            continue
        if truth or not is_floating(x.dtype):
            wanted = "a bool tensor" if truth else "a floating or bool tensor"
            raise DTypeError(
                f"expected {wanted} as {name} of {formula.name}, got {x.dtype}; "
                'convert it with .astype("float32"), or compare it with something'
            )
        if dtype is not None and x.dtype != dtype:
            raise DTypeError(
                f"expected one dtype in {formula.name}, got {dtype} ({first}) and {x.dtype} "
                f'({name}); convert one with .astype("{dtype}") or .astype("{x.dtype}")'
            )
        dtype, first = x.dtype, name
    if dtype is None:
        raise DTypeError(
            f"expected at least one floating tensor in {formula.name}, whose dtype the result has, "
            "got none; convert one with .astype"
        )
    shapes = [x.shape for x in arrays]
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0], dtype
    try:
        return np.broadcast_shapes(*shapes), dtype
    except ValueError as error:
        shown = ", ".join(f"{n} {s}" for n, s in zip(formula.arrays, shapes, strict=True))
        raise ShapeError(
            f"expected shapes that broadcast in {formula.name}, got {shown}; "
            "reshape, transpose or index one of them"
        ) from error
