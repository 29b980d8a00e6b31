"""What all gradients of a step are multiplied by, as one more scalar of the update.

Nothing here waits for the device: a norm stays where it was computed, as does its factor.
"""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from born.backend import Backend
from born.dtypes import is_floating
from born.errors import BackendMismatchError, DomainError, OperandError
from born.raw import RawTensor
from born.tensor import Tensor
from born.validation import type_error

_LEAST: Final = sys.float_info.min
"""The least norm to clip to: a GPU may take a smaller number for 0, and divide 0 by 0."""

Scale: TypeAlias = float | RawTensor | Tensor[Any]
"""A number, or a floating tensor of one element on the parameters' device."""


def factor_of(
    backend: Backend,
    gradients: Sequence[RawTensor | None],
    scale: Scale | None,
    max_norm: float | None,
) -> RawTensor | None:
    """scale · max_norm / max(max_norm, |scale · g|), of shape (), where one is given, else None."""
    _check_kinds(scale, max_norm)
    present = [gradient for gradient in gradients if gradient is not None]
    if not present:
        return None
    factor = None if scale is None else _scale_tensor(backend, present[0], scale)
    if max_norm is None:
        return factor
    norm = backend.global_norm(present)
    if factor is not None:
        factor = rounded(backend, factor, norm.dtype)
        norm = backend.mul(norm, backend.abs(factor))
    allowed = max(float(max_norm), _LEAST)
    # Within bounds a number is divided by itself, which gives exactly 1.
    clip = backend.div(allowed, backend.maximum(norm, allowed))
    return clip if factor is None else backend.mul(clip, factor)


def rounded(backend: Backend, factor: RawTensor, dtype: Any) -> RawTensor:
    """The factor in the dtype that a kernel computes in; what is too large for it is infinite."""
    with np.errstate(over="ignore"):
        return factor if factor.array.dtype == dtype else backend.astype(factor, dtype)


def _scale_tensor(backend: Backend, gradient: RawTensor, scale: Scale) -> RawTensor:
    if not isinstance(scale, RawTensor | Tensor):
        return backend.full((), _double(scale), "float64")
    raw = scale.raw if isinstance(scale, Tensor) else scale
    ours, theirs = gradient.array, raw.array
    if ours.__class__ is not theirs.__class__ or ours.device != theirs.device:
        raise BackendMismatchError(
            f"expected a scale on the gradients' device {gradient.device!r}, got a "
            f"{type(theirs).__name__} on {raw.device!r}; pass a float, or move it there"
        )
    if raw.size != 1 or not is_floating(raw.dtype):
        raise OperandError(
            "expected a scale of one element of a floating dtype, got shape "
            f"{raw.shape} and dtype {raw.dtype}; reduce it first"
        )
    # A scale that is a parameter must not change while the update goes on.
    return backend.copy(backend.reshape(raw, ()))


def _check_kinds(scale: object, max_norm: object) -> None:
    """Refuse a scale or norm of the wrong kind, whether or not there is a gradient for it."""
    scales = (numbers.Real, RawTensor, Tensor, type(None))
    if isinstance(scale, bool) or not isinstance(scale, scales):
        kind = "a number or a tensor of one element"
        raise type_error("scale", kind, scale, "pass a float", OperandError)
    if max_norm is None:
        return
    if isinstance(max_norm, bool) or not isinstance(max_norm, numbers.Real):
        raise type_error("max_norm", "a number", max_norm, "pass a float", OperandError)
    if not 0 < _double(max_norm) < math.inf:
        raise DomainError(
            f"expected a finite max_norm above 0, got {max_norm!r}; 1.0 is a usual one, and None "
            "clips nothing"
        )


def _double(number: Any) -> float:
    """A number as a double, infinite where it is too large for one."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
