"""Adagrad and Adadelta: steps scaled by all gradients so far, or by those of late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from born.backend import B
from born.fusion import V, sqrt, where
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import rule
from born.optim.slot import Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class AdagradConfig(UpdateConfig):
    """The settings of `Adagrad`.

    >>> AdagradConfig.like("optax").start
    0.1
    """

    presets: ClassVar[Presets] = {
        "torch": {},
        "optax": {"start": 0.1, "eps": 1e-7, "eps_inside": True},
        "keras": {
            "lr": 1e-3,
            "start": 0.1,
            "eps": 1e-7,
            "eps_inside": True,
            "decay": "decoupled",
        },
        "mlx": {"eps": 1e-8},
        "burn": {"eps": 1e-5},
    }

    lr: NonNegative = 0.01
    """The first step of each element; later ones shrink by themselves."""
    lr_decay: NonNegative = 0.0
    """Divide lr by 1 + (t - 1) · lr_decay."""
    start: NonNegative = 0.0
    """The first value of the sum. Above 0 it keeps first steps short."""
    eps: NonNegative = 1e-10
    """Bounds the step where gradients vanish."""
    eps_inside: bool = False
    """Add eps to the sum under the root, instead of to the root."""
    total_dtype: SlotDType = AUTO
    """The dtype of the sum, such as `"float32"`; one with few digits stops growing early."""


@rule(total=Slot(start="start"))
def adagrad(
    p: V,
    g: V,
    total: V,
    *,
    lr: float,
    lr_decay: float,
    eps: float,
    t: int,
    eps_inside: bool = False,
) -> tuple[V, V]:
    """One update of Adagrad.

    >>> adagrad(1.0, 2.0, 0.0, lr=0.5, lr_decay=0.0, eps=0.0, t=1)
    (0.5, 4.0)
    """
    total = total + g * g
    step = lr / (1 + (t - 1) * lr_decay) * g
    if eps_inside:
        seen = total > 0  # where there was no gradient nothing moves, even if eps is 0
        return p - where(seen, step / sqrt(where(seen, total, 1.0) + eps), 0.0), total
    return p - step / (sqrt(total) + eps), total


class Adagrad(Optimizer[B, AdagradConfig]):
    """Adagrad: each element's step is divided by the root of the sum of its squares so far.

    With the gradient g, and total = start at first::

        total ← total + g²
        p     ← p - lr / (1 + (t - 1) · lr_decay) · g / (√total + eps)

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.Adagrad([p], lr=0.1).step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.9, 0.9], dtype=float32)

    Where other libraries differ: PyTorch computes the same. Optax and Keras begin with 0.1
    (`start`), and add eps = 1e-7 under the root (`eps_inside`). MLX has eps = 1e-8, Burn 1e-5.

    Source: Duchi, Hazan and Singer (2011), "Adaptive subgradient methods for online learning and
    stochastic optimization", figure 1, with diagonal matrices.
    """

    config_type = AdagradConfig
    formula = adagrad


@dataclass(frozen=True, slots=True, kw_only=True)
class AdadeltaConfig(UpdateConfig):
    """The settings of `Adadelta`.

    >>> AdadeltaConfig.like("keras").lr
    0.001
    """

    presets: ClassVar[Presets] = {
        "torch": {},
        "optax": {},
        "keras": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7, "decay": "decoupled"},
        "mlx": {},
    }

    lr: NonNegative = 1.0
    """What the step is multiplied by; 1 is the paper's, which has no learning rate."""
    rho: DecayRate = 0.9
    """How much of the averages is kept."""
    eps: NonNegative = 1e-6
    """Added under both roots. It also makes the first steps: they are about √eps long."""
    v_dtype: SlotDType = AUTO
    """The dtype of the average of g², such as `"bfloat16"`."""
    u_dtype: SlotDType = AUTO
    """The dtype of the average of squared steps."""


@rule
def adadelta(p: V, g: V, v: V, u: V, *, lr: float, rho: float, eps: float) -> tuple[V, V, V]:
    """One update of Adadelta.

    >>> adadelta(1.0, 2.0, 0.0, 1.0, lr=0.5, rho=0.75, eps=0.0)
    (0.0, 1.0, 1.75)
    """
    v = rho * v + (1 - rho) * g * g
    step = sqrt(u + eps) / sqrt(v + eps) * g
    return p - lr * step, v, rho * u + (1 - rho) * step * step


class Adadelta(Optimizer[B, AdadeltaConfig]):
    """Adadelta: the ratio of two running averages, of steps and of gradients, is the step size.

    With the gradient g::

        v ← ρ · v + (1 - ρ) · g²
        s = √(u + eps) / √(v + eps) · g
        u ← ρ · u + (1 - ρ) · s²
        p ← p - lr · s

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.Adadelta([p], lr=1.0).step({p.raw: born.tensor([-7.0, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([1.00316, 0.99684], dtype=float32)

    Where other libraries differ: PyTorch, Optax and MLX compute the same. Keras multiplies by
    lr = 0.001, with ρ = 0.95 and eps = 1e-7.

    Source: Zeiler (2012), "ADADELTA: an adaptive learning rate method", algorithm 1.
    """

    config_type = AdadeltaConfig
    formula = adadelta
