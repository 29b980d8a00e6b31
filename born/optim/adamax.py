"""Adamax: Adam with the largest gradient in place of the root of a mean square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from born.backend import B
from born.fusion import V, abs, maximum
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import rule


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamaxConfig(UpdateConfig):
    """The settings of `Adamax`.

    >>> AdamaxConfig.like("mlx").bias_correction
    False
    """

    presets: ClassVar[Presets] = {
        "torch": {},
        "optax": {},
        "keras": {"lr": 1e-3, "eps": 1e-7, "eps_outside": True, "decay": "decoupled"},
        "mlx": {"eps_outside": True, "bias_correction": False},
        "gomlx": {"lr": 1e-3, "eps": 1e-7, "eps_outside": True, "decay": "decoupled"},
    }

    lr: NonNegative = 0.002
    """About the largest change of an element in a step."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """How much is kept of the average of g, and of the largest |g|, which fades by it."""
    eps: NonNegative = 1e-8
    """Bounds the step where gradients vanish."""
    eps_outside: bool = False
    """Add eps to u in the division, instead of to |g| before the comparison."""
    bias_correction: bool = True
    """Divide m by 1 - β1ᵗ. Without, the first step is a tenth as long."""
    m_dtype: SlotDType = AUTO
    """The dtype of the average, such as `"bfloat16"`."""
    u_dtype: SlotDType = AUTO
    """The dtype of the largest |g|."""


@rule
def adamax(
    p: V,
    g: V,
    m: V,
    u: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: int,
    eps_outside: bool = False,
    bias_correction: bool = True,
) -> tuple[V, V, V]:
    """One update of Adamax.

    >>> adamax(1.0, 2.0, 0.0, 0.0, lr=0.5, beta1=0.5, beta2=0.75, eps=0.0, t=1)
    (0.5, 1.0, 2.0)
    """
    m = beta1 * m + (1 - beta1) * g
    u = maximum(beta2 * u, abs(g) if eps_outside else abs(g) + eps)
    step = lr / (1 - beta1**t) if bias_correction else lr
    return p - step * m / (u + eps if eps_outside else u), m, u


class Adamax(Optimizer[B, AdamaxConfig]):
    """Adamax: each element steps by about lr, and by less after a large gradient, for long.

    With the gradient g::

        m ← β1 · m + (1 - β1) · g
        u ← max(β2 · u, |g| + eps)
        p ← p - lr / (1 - β1ᵗ) · m / u

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.Adamax([p], lr=0.1).step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.9, 0.9], dtype=float32)

    Where other libraries differ: PyTorch and Optax compute the same. Keras, MLX and GoMLX add eps
    in the division (`eps_outside`), and MLX does not correct m (`bias_correction=False`).

    Source: Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", algorithm 2.
    """

    config_type = AdamaxConfig
    formula = adamax
