"""Adam: steps scaled by running averages of the gradient and of its square."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from born.backend import B
from born.fusion import V, sqrt
from born.optim.config import Config
from born.optim.fields import AUTO, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.transforms import l2


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamConfig(Config):
    """The settings of `Adam`.

    >>> AdamConfig.from_json(AdamConfig(lr=0.01).to_json())
    AdamConfig(lr=0.01, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, m_dtype='auto',
        v_dtype='auto')
    """

    lr: NonNegative = 0.001
    """About the largest change of an element in a step: 3e-4 for large networks, 1e-2 for small."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """How much of the averages of g and of g² is kept. Lower the second to 0.99 or 0.95 where
    gradients change their size quickly, as they do with large batches."""
    eps: NonNegative = 1e-8
    """Bounds the step where gradients vanish. Raise it, up to 1, if elements with tiny
    gradients jump about."""
    weight_decay: NonNegative = 0.0
    """The factor of an L2 term in the gradient."""
    m_dtype: SlotDType = AUTO
    """The dtype of the first average, such as `"bfloat16"`."""
    v_dtype: SlotDType = AUTO
    """The dtype of the second average."""


@rule
def adam(
    p: V, g: V, m: V, v: V, *, lr: float, beta1: float, beta2: float, eps: float, t: int
) -> tuple[V, V, V]:
    """One update of Adam, with the bias corrections in the scalars, where they cost nothing.

    >>> adam(1.0, 2.0, 0.0, 0.0, lr=0.5, beta1=0.5, beta2=0.75, eps=0.0, t=1)
    (0.5, 1.0, 1.0)
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    step = lr / (1 - beta1**t)
    correction = 1 / sqrt(1 - beta2**t)
    return p - step * m / (correction * sqrt(v) + eps), m, v


class Adam(Optimizer[B, AdamConfig]):
    """Adam: each element steps by about lr, whatever the size of its gradient.

    With the gradient g, plus weight_decay · p where that is not 0::

        m ← β1 · m + (1 - β1) · g
        v ← β2 · v + (1 - β2) · g²
        p ← p - lr · m̂ / (√v̂ + eps)      m̂ = m / (1 - β1ᵗ),  v̂ = v / (1 - β2ᵗ)

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> optimizer = optim.Adam([p], optim.AdamConfig(lr=0.1))
    >>> optimizer.step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.9, 0.9], dtype=float32)

    Where other libraries differ: PyTorch and Optax compute the same up to rounding.
    TensorFlow and section 2 of the paper, in its faster form, add eps before v is
    corrected, which makes it a larger eps in early steps. weight_decay is scaled by
    √v̂ like the rest of the gradient; the decay that is not is called AdamW.

    Source: Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", algorithm 1.
    """

    config_type = AdamConfig
    formula = adam

    @classmethod
    @override
    def rule(cls, config: AdamConfig) -> Rule:
        return l2(super().rule(config), config.weight_decay)
