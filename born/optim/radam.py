"""RAdam: Adam that waits to divide by v until enough gradients have gone into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from born.backend import B
from born.fusion import V, maximum, sqrt, where
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RAdamConfig(UpdateConfig):
    """The settings of `RAdam`.

    >>> RAdamConfig.like("optax").eps_uncorrected
    False
    """

    presets: ClassVar[Presets] = {"torch": {}, "optax": {"eps_uncorrected": False}}

    lr: NonNegative = 0.001
    """About the largest change of an element in a step."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """How much of the averages of g and of g² is kept."""
    eps: NonNegative = 1e-8
    """Bounds the step where gradients vanish."""
    eps_uncorrected: bool = True
    """Add eps to √v, before it is corrected, instead of to √v̂."""
    threshold: NonNegative = 5.0
    """The effective number of gradients in v, rho, above which the step is divided by it."""
    m_dtype: SlotDType = AUTO
    """The dtype of the first average, such as `"bfloat16"`."""
    v_dtype: SlotDType = AUTO
    """The dtype of the second average."""


@rule
def radam(
    p: V,
    g: V,
    m: V,
    v: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    threshold: float,
    t: int,
    eps_uncorrected: bool = True,
) -> tuple[V, V, V]:
    """One update of RAdam; what depends on t alone is computed on the host.

    >>> radam(1.0, 2.0, 0.0, 0.0, lr=0.5, beta1=0.5, beta2=0.75, eps=0.0, threshold=5.0, t=1)
    (0.0, 1.0, 1.0)
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    correction = 1 - beta2**t
    limit = 2 / (1 - beta2) - 1
    rho = limit - 2 * t * beta2**t / correction
    # Below the threshold these are not used, but have to be numbers.
    within = maximum(rho, 4.0)
    most = maximum((limit - 4) * (limit - 2), 1e-300)
    rectified = sqrt((within - 4) * (within - 2) * limit / (most * within))
    root = sqrt(v) if eps_uncorrected else sqrt(v) / sqrt(correction)
    scale = sqrt(correction) if eps_uncorrected else 1.0
    step = lr / (1 - beta1**t)
    adaptive = step * rectified * scale * m / (root + eps)
    return p - where(rho > threshold, adaptive, step * m), m, v


class RAdam(Optimizer[B, RAdamConfig]):
    """RAdam: Adam with a warm-up that follows from the variance of its own steps.

    With m, v, m̂ and v̂ as in `Adam`, ρ∞ = 2 / (1 - β2) - 1 and ρ = ρ∞ - 2 t β2ᵗ / (1 - β2ᵗ)::

        p ← p - lr · m̂                                                 while ρ ≤ threshold
        p ← p - lr · r · m̂ · √(1 - β2ᵗ) / (√v + eps)                    afterwards
        r = √((ρ - 4) (ρ - 2) ρ∞ / ((ρ∞ - 4) (ρ∞ - 2) ρ))

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.RAdam([p], lr=0.1).step({p.raw: born.tensor([0.01, 5.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.999, 0.5  ], dtype=float32)

    Where other libraries differ: PyTorch computes the same. Optax adds eps after v is corrected
    (`eps_uncorrected=False`). The paper's threshold is 4, and its authors' code takes 5;
    schedulefree's RAdam makes no step at all below it.

    Source: Liu, Jiang, He, Chen, Liu, Gao and Han (2020), "On the variance of the adaptive learning
    rate and beyond", algorithm 2.
    """

    config_type = RAdamConfig
    formula = radam
