"""ADOPT: Adam with each gradient divided by the v of those before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from born.backend import B
from born.fusion import V, maximum, minimum, sqrt, where
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.slot import UNSET, Slot
from born.optim.transforms import decayed


@dataclass(frozen=True, slots=True, kw_only=True)
class ADOPTConfig(UpdateConfig):
    """The settings of `ADOPT`.

    >>> ADOPTConfig().clip_power
    0.25
    """

    presets: ClassVar[Presets] = {"optax": {}}

    lr: NonNegative = 0.001
    """About the largest change of an element in a step."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.9999)
    """How much of the averages of the scaled gradient and of g² is kept."""
    eps: NonNegative = 1e-6
    """The least that a gradient is divided by."""
    clip_power: NonNegative | None = 0.25
    """Scaled gradients are clipped to ±(t - 1) to this power, which tames the first steps; None
    clips nothing."""
    nesterov: bool = False
    """Average the scaled gradient into the step once more."""
    m_dtype: SlotDType = AUTO
    """The dtype of the average of scaled gradients, such as `"bfloat16"`."""
    v_dtype: SlotDType = AUTO
    """The dtype of the average of g²."""


@rule(v=Slot(start=UNSET))
def adopt(
    p: V,
    g: V,
    m: V,
    v: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    clip_power: float,
    t: int,
    clipped: bool = True,
    nesterov: bool = False,
) -> tuple[V, V, V]:
    """One update of ADOPT; the first only begins v.

    >>> scalars = {"beta1": 0.5, "beta2": 0.75, "eps": 0.25, "clip_power": 1.0}
    >>> adopt(1.0, 2.0, 0.0, 4.0, lr=0.5, **scalars, t=2)
    (0.75, 0.5, 4.0)
    """
    begun = v >= 0
    scaled = g / maximum(sqrt(where(begun, v, 0.0)), eps)
    if clipped:
        most = (t - 1) ** clip_power
        scaled = maximum(minimum(scaled, most), -most)
    moved = beta1 * m + (1 - beta1) * scaled
    m = where(begun, moved, m)
    step = beta1 * moved + (1 - beta1) * scaled if nesterov else moved
    v = where(begun, beta2 * v + (1 - beta2) * g * g, g * g)
    return where(begun, p - lr * step, p), m, v


class ADOPT(Optimizer[B, ADOPTConfig]):
    """ADOPT: converges with any β2, as no gradient is divided by a v that contains it.

    With the gradient g; the first update sets v ← g² and no more::

        m ← β1 · m + (1 - β1) · clip(g / max(√v, eps), ±(t - 1)^clip_power)
        p ← p - lr · m
        v ← β2 · v + (1 - β2) · g²

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> optimizer = optim.ADOPT([p], lr=0.1)
    >>> for _ in range(2):
    ...     report = optimizer.step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.99, 0.99], dtype=float32)

    Where other libraries differ: Optax computes the same. timm clips to (t - 1) to the power of
    0.333, and decays no weights in the first update.

    Source: Taniguchi et al. (2024), "ADOPT: modified Adam can converge with any β2 with the optimal
    rate", algorithm 2.
    """

    config_type = ADOPTConfig

    @classmethod
    @override
    def rule(cls, config: ADOPTConfig) -> Rule:
        power = config.clip_power
        clipped = power is not None
        rule = Rule.from_config(adopt, config, clipped=clipped, clip_power=power or 0.0)
        return decayed(rule, config)
