"""Adan: Adam with Nesterov's momentum, from differences of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from born.backend import B
from born.fusion import V, sqrt, where
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, Decay, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.slot import UNSET, Slot
from born.optim.transforms import decayed


@dataclass(frozen=True, slots=True, kw_only=True)
class AdanConfig(UpdateConfig):
    """The settings of `Adan`.

    >>> AdanConfig.like("optax").complement
    True
    """

    presets: ClassVar[Presets] = {
        "optax": {"complement": True, "proximal": False, "eps_root": 1e-8},
    }

    lr: NonNegative = 0.001
    """About the largest change of an element in a step. It bears several times what Adam does."""
    weight_decay: NonNegative = 0.0
    """How fast weights are pulled towards 0; the paper's is 0.02."""
    decay: Decay = "decoupled"
    """`"decoupled"`, as in the paper; `"independent"` of lr; or `"l2"`, in the gradient."""
    proximal: bool = True
    """If the decay is decoupled, divide p by 1 + lr · weight_decay after the update, as the paper
    does, instead of taking lr · weight_decay · p beside it."""
    betas: tuple[DecayRate, DecayRate, DecayRate] = (0.98, 0.92, 0.99)
    """How much is kept of the averages of g, of its differences, and of its squares."""
    complement: bool = False
    """Weigh the differences by 1 - β2 in the update instead of by β2."""
    eps: NonNegative = 1e-8
    """Bounds the step where gradients vanish."""
    eps_root: NonNegative = 0.0
    """Added to n̂ under the root."""
    previous_dtype: SlotDType = AUTO
    """The dtype of the last gradient, such as `"bfloat16"`."""


@rule(n=Slot(start=UNSET))
def adan(
    p: V,
    g: V,
    m: V,
    v: V,
    n: V,
    previous: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    beta3: float,
    eps: float,
    eps_root: float,
    weight_decay: float,
    t: int,
    complement: bool = False,
    proximal: bool = False,
) -> tuple[V, V, V, V, V]:
    """One update of Adan.

    >>> scalars = {"beta1": 0.5, "beta2": 0.5, "beta3": 0.75, "eps": 0.0, "eps_root": 0.0}
    >>> adan(1.0, 2.0, 0.0, 0.0, -1.0, 0.0, lr=0.5, **scalars, weight_decay=0.0, t=1)
    (0.5, 1.0, 0.0, 1.0, 2.0)
    """
    share = 1 - beta2 if complement else beta2
    begun = n >= 0
    difference = where(begun, g - previous, 0.0)
    ahead = g + share * difference
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * difference
    n = beta3 * where(begun, n, 0.0) + (1 - beta3) * ahead * ahead
    step, step_ahead = lr / (1 - beta1**t), lr * share / (1 - beta2**t)
    root = sqrt(1 / (1 - beta3**t) * n + eps_root)
    p = p - (step * m + step_ahead * v) / (root + eps)
    if proximal:
        p = p / (1 + lr * weight_decay)
    return p, m, v, n, g


class Adan(Optimizer[B, AdanConfig]):
    """Adan: Adam, with the change of the gradient added to it, as a look one step ahead.

    With the gradient g, and d = g - previous, which is 0 in the first update::

        m ← β1 · m + (1 - β1) · g
        v ← β2 · v + (1 - β2) · d
        n ← β3 · n + (1 - β3) · (g + β2 · d)²
        p ← (p - lr · (m̂ + β2 · v̂) / (√n̂ + eps)) / (1 + lr · weight_decay)

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.Adan([p], lr=0.1).step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.9, 0.9], dtype=float32)

    Where other libraries differ: the authors' code and timm compute the same. Optax weighs
    differences by 1 - β2 (`complement`), where the paper's own β2 stands for 1 - β2 here; it
    decays beside the update (`proximal=False`), and adds eps_root = 1e-8 under the root.

    Source: Xie, Zhou, Li, Lin and Yan (2022), "Adan: adaptive Nesterov momentum algorithm for
    faster optimizing deep models", algorithm 1; its betas are 1 less those here.
    """

    config_type = AdanConfig

    @classmethod
    @override
    def rule(cls, config: AdanConfig) -> Rule:
        if config.proximal and config.decay == "decoupled" and config.weight_decay != 0.0:
            undecayed = config.replace(weight_decay=0.0)
            return decayed(Rule.from_config(adan, config), undecayed)
        return decayed(Rule.from_config(adan, config, proximal=False), config)
