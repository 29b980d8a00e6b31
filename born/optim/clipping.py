"""What all gradients of a step are multiplied by, written as a rule around the optimizer's own.

Nothing here waits for the device: a norm stays where it was computed, as does its factor.
"""

from __future__ import annotations

import functools
import math
import numbers
import sys
from dataclasses import replace
from typing import Any, Final, TypeAlias

from born.backend import Backend
from born.dtypes import is_floating
from born.errors import BackendMismatchError, DomainError, OperandError
from born.fusion import abs, isfinite, maximum, sqrt, total, where
from born.optim.config import cached
from born.optim.rule import Rule, RuleFunction
from born.optim.slot import Slot
from born.raw import RawTensor
from born.tensor import Tensor
from born.validation import type_error

_LEAST: Final = sys.float_info.min
"""The least norm to clip to: a GPU may take a smaller number for 0, and divide 0 by 0."""

Scale: TypeAlias = float | RawTensor | Tensor[Any]
"""A number, or a floating tensor of one element on the parameters' device."""


def scaled(rule: Rule, scale: str | None, clips: bool, wide: bool) -> Rule:
    """`rule`, its gradient first multiplied by scale · max_norm / max(max_norm, |scale · g|).

    Args:
        rule: what to do with the gradient.
        scale: `"number"` if each step gives the scalar `SCALE`; `"tensor"` if a slot of rank
            group holds it, behind the rule's own; None if there is none.
        clips: whether each step gives the scalar `MAX_NORM`. Then the last slot, of rank group
            too, takes the norm.
        wide: whether there are gradients of float64, whose squares may be out of its range.
    """
    scalars = dict(rule.scalars)
    if clips:
        scalars[MAX_NORM] = 1.0
    if scale == "number":
        scalars[SCALE] = 1.0
    slots = ((SCALE,) if scale == "tensor" else ()) + ((NORM,) if clips else ())
    return replace(
        rule,
        function=_scaled(rule.function, scale, clips, wide),
        scalars=scalars,
        slots=(*rule.slots, *slots),
        slot_kinds={**rule.slot_kinds, **dict.fromkeys(slots, Slot("group"))},
    )


SCALE: Final = "step_scale"
MAX_NORM: Final = "step_max_norm"
NORM: Final = "step_norm"


@cached  # equal rules share one function, and so one program
def _scaled(function: RuleFunction, scale: str | None, clips: bool, wide: bool) -> RuleFunction:
    @functools.wraps(function)
    def stepped(p: Any, g: Any, *slots: Any, **scalars: Any) -> Any:
        factor: Any = scalars.pop(SCALE, None)
        max_norm: Any = scalars.pop(MAX_NORM, None)
        kept: tuple[Any, ...] = ()
        if clips:
            *slots, _ = slots  # type: ignore[assignment]  # a list is as good
        if scale == "tensor":
            *slots, factor = slots  # type: ignore[assignment]  # as above
            kept = (factor,)
        if clips:
            norm = _norm(g, wide)
            norm = norm if factor is None else norm * abs(factor)
            kept = (*kept, norm)
            allowed = maximum(max_norm, _LEAST)
            # Within bounds a number is divided by itself, which gives exactly 1.
            clip = allowed / maximum(norm, allowed)
            factor = clip if factor is None else clip * factor
        returned: Any = function(p, g * factor, *slots, **scalars)
        return (*returned, *kept) if kept else returned

    return stepped


def _norm(g: Any, wide: bool) -> Any:
    """The norm of all gradients; the squares of other dtypes than float64 fit in a double."""
    squares = total(g * g)
    if not wide:
        return sqrt(squares)
    small = g * _SHRINK
    return where(isfinite(squares), sqrt(squares), sqrt(total(small * small)) / _SHRINK)


_SHRINK: Final = 2.0**-530
"""The square of the largest double, times this twice, leaves room for 2^36 of them to add up."""


def scale_tensor(backend: Backend, like: RawTensor, scale: RawTensor | Tensor[Any]) -> RawTensor:
    """A scale on the device of `like`, as a float64 of shape ()."""
    raw = scale.raw if isinstance(scale, Tensor) else scale
    ours, theirs = like.array, raw.array
    if ours.__class__ is not theirs.__class__ or ours.device != theirs.device:
        raise BackendMismatchError(
            f"expected a scale on the gradients' device {like.device!r}, got a "
            f"{type(theirs).__name__} on {raw.device!r}; pass a float, or move it there"
        )
    if raw.size != 1 or not is_floating(raw.dtype):
        raise OperandError(
            "expected a scale of one element of a floating dtype, got shape "
            f"{raw.shape} and dtype {raw.dtype}; reduce it first"
        )
    # A scale that is a parameter must not change while the update goes on.
    return backend.copy(backend.astype(backend.reshape(raw, ()), "float64"))


def check_options(scale: object, max_norm: object) -> None:
    """Refuse a scale or norm of the wrong kind, whether or not there is a gradient for it."""
    scales = (float, RawTensor, Tensor, numbers.Real)
    if scale is not None and (isinstance(scale, bool) or not isinstance(scale, scales)):
        kind = "a number or a tensor of one element"
        raise type_error("scale", kind, scale, "pass a float", OperandError)
    if max_norm is None or (isinstance(max_norm, float) and 0 < max_norm < math.inf):
        return
    if isinstance(max_norm, bool) or not isinstance(max_norm, float | numbers.Real):
        raise type_error("max_norm", "a number", max_norm, "pass a float", OperandError)
    if not 0 < double(max_norm) < math.inf:
        raise DomainError(
            f"expected a finite max_norm above 0, got {max_norm!r}; 1.0 is a usual one, and None "
            "clips nothing"
        )


def double(number: Any) -> float:
    """A number as a double, infinite where it is too large for one."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
