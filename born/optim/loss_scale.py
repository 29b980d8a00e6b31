"""`LossScale`: gradients of float16 lifted out of where they vanish, and let down in the step.

The scale is state of the optimizer, on the device: nothing waits to hear whether a step was left
out, and a checkpoint holds it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import numpy as np

from born.backend import Backend
from born.errors import ConfigTypeError
from born.fusion import all_finite, maximum, minimum, where
from born.fusion.program import GROUP
from born.optim.config import Settings, cached
from born.optim.fields import Interval
from born.optim.rule import Rule, RuleFunction
from born.optim.slot import Slot
from born.raw import RawTensor
from born.validation import type_error

LOSS_SCALE: Final = "loss_scale"
GOOD_STEPS: Final = "loss_scale_steps"
_LEAST: Final = 2.0**-24
_MOST: Final = 2.0**40


@dataclass(frozen=True, slots=True, kw_only=True)
class LossScale(Settings):
    """What the loss is multiplied by before the backward pass, and gradients divided by after it.

    float16 holds nothing below 6e-8, where many gradients are; bfloat16 reaches as far down as
    float32 and needs no scale. `optimizer.scale_loss(loss)` multiplies, `step` divides, before it
    clips or reports anything. A step whose gradients are not finite is left out, as by
    `nonfinite="skip"`, and the scale shrinks; after `interval` steps that were not, it grows.
    Powers of two keep every bit of a gradient.

    Source: Micikevicius et al. (2018), "Mixed precision training", section 3.2.

    >>> p = nn.Parameter(born.ones(1, backend, "float16"))
    >>> optimizer = optim.SGD([p], lr=0.5, loss_scale=optim.LossScale(start=1024.0))
    >>> loss = (born.ones(1, backend, "float16") * 3.0).sum()
    >>> optimizer.scale_loss(loss).item()
    3072.0
    >>> for gradient in (1024.0, float("inf")):
    ...     report = optimizer.step({p.raw: born.full(1, gradient, backend, "float16").raw})
    >>> p.numpy().item(), optimizer.loss_scale
    (0.5, 512.0)
    """

    start: Annotated[float, Interval(_LEAST, _MOST)] = 2.0**15
    """The first scale."""
    growth: Annotated[float, Interval(1.0)] = 2.0
    """What it is multiplied by after `interval` steps whose gradients were finite."""
    backoff: Annotated[float, Interval(0.0, 1.0)] = 0.5
    """What it is multiplied by where some were not."""
    interval: Annotated[int, Interval(1)] = 2000
    """How many such steps in a row make it grow."""

    def applied(self, rule: Rule) -> Rule:
        """`rule` for gradients of a scaled loss: the outermost thing around it.

        >>> plain = optim.Rule(lambda p, g: (p - g,), slots=(), scalars={})
        >>> unscaled = optim.LossScale(start=4.0, interval=2).applied(plain)
        >>> unscaled.function(4.0, 8.0, 4.0, 1.0, t=1)
        (2.0, 8.0, 0.0)
        """
        settings = self.growth, self.backoff, float(self.interval)
        return replace(
            rule,
            function=_unscaled(rule.function, *settings),
            slots=(*rule.slots, LOSS_SCALE, GOOD_STEPS),
            slot_kinds={**rule.slot_kinds, LOSS_SCALE: Slot(GROUP), GOOD_STEPS: Slot(GROUP)},
        )

    def slots(self, backend: Backend) -> dict[str, RawTensor]:
        """The state, as it starts."""
        return {
            LOSS_SCALE: backend.full((), self.start, "float64"),
            GOOD_STEPS: backend.full((), 0.0, "float64"),
        }


def as_factor(backend: Backend, scale: RawTensor, dtype: np.dtype[Any]) -> RawTensor:
    """A copy of the scale in the dtype of a loss; infinite where that does not hold it.

    Then the gradients are not finite, and the step makes the scale smaller.
    """
    with np.errstate(over="ignore"):
        return backend.astype(backend.copy(scale), dtype)


def check_loss_scale(loss_scale: object) -> None:
    """Refuse what is no `LossScale`."""
    if loss_scale is not None and not isinstance(loss_scale, LossScale):
        raise type_error(
            "loss_scale",
            "an optim.LossScale",
            loss_scale,
            "write optim.LossScale(start=1024.0)",
            ConfigTypeError,
        )


@cached  # equal rules share one function, and so one program
def _unscaled(
    function: RuleFunction, growth: float, backoff: float, interval: float
) -> RuleFunction:
    def unscaled(p: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        *own, scale, steps = slots
        g = g * (1.0 / scale)
        returned = function(p, g, *own, **scalars)
        finite, steps = all_finite(g), steps + 1.0
        grown = where(steps >= interval, minimum(scale * growth, _MOST), scale)
        scale = where(finite, grown, maximum(scale * backoff, _LEAST))
        steps = where(finite, where(steps >= interval, 0.0, steps), 0.0)
        return *returned, scale, steps

    unscaled.__name__ = getattr(function, "__name__", "rule")
    return unscaled
