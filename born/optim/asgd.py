"""ASGD: stochastic gradient descent whose average over all steps is what one keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from born.backend import B
from born.fusion import V, maximum, where
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import rule
from born.optim.slot import UNSET, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class ASGDConfig(UpdateConfig):
    """The settings of `ASGD`.

    >>> ASGDConfig.like("torch") == ASGDConfig()
    True
    """

    presets: ClassVar[Presets] = {"torch": {}}

    lr: NonNegative = 0.01
    """The length of the first step."""
    shrink: NonNegative = 1e-4
    """How fast weights are pulled towards 0 and steps grow shorter: PyTorch's `lambd`."""
    power: NonNegative = 0.75
    """To which power steps grow shorter: PyTorch's `alpha`."""
    begin: NonNegative = 1e6
    """After how many updates averaging begins: PyTorch's `t0`."""
    average_dtype: SlotDType = AUTO
    """The dtype of the average, such as `"float32"`."""


@rule(average=Slot(exact=True), rate=Slot("tensor", start=UNSET))
def asgd(
    p: V,
    g: V,
    average: V,
    rate: V,
    *,
    lr: float,
    shrink: float,
    power: float,
    begin: float,
    t: int,
) -> tuple[V, V, V]:
    """One update of ASGD.

    >>> asgd(1.0, 2.0, 0.0, -1.0, lr=0.5, shrink=0.0, power=1.0, begin=0.0, t=1)
    (0.0, 0.0, 0.5)
    """
    begun = rate >= 0
    rate = where(begun, rate, lr)
    p = p * (1 - shrink * rate) - rate * g
    share = 1 / maximum(t - 1 - begin, 1.0)
    average = where(begun, average + (p - average) * share, p)
    # What torch keeps is the rate of the next update.
    return p, average, 0.0 * rate + lr / (1 + shrink * lr * t) ** power


class ASGD(Optimizer[B, ASGDConfig]):
    """ASGD: steps that grow shorter, and the average of what they pass, `average` of its state.

    With the gradient g, and the rate η = lr in the first update::

        p ← p · (1 - shrink · η) - η · g
        average ← average + (p - average) / max(1, t - 1 - begin)
        η ← lr / (1 + shrink · lr · t)^power          for the next update

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> optimizer = optim.ASGD([p], lr=0.1, begin=0)
    >>> for _ in range(3):
    ...     report = optimizer.step({p.raw: born.tensor([1.0, -1.0], p.backend).raw})
    >>> p.numpy().round(3), optimizer.state_dict()["average.0"].array.round(3)
    (array([0.7, 1.3], dtype=float32), array([0.75, 1.25], dtype=float32))

    Where other libraries differ: PyTorch computes the same; the ASGD of pytorch_optimizer is
    another algorithm, accelerated SGD. A new lr takes effect an update late,
    there and here.

    Source: Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging".
    """

    config_type = ASGDConfig
    formula = asgd
