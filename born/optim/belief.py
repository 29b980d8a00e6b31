"""AdaBelief and Yogi: Adam with another average in place of that of g²."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from born.backend import B
from born.fusion import V, sign, sqrt
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import rule
from born.optim.slot import Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaBeliefConfig(UpdateConfig):
    """The settings of `AdaBelief`.

    >>> AdaBeliefConfig.like("optax") == AdaBeliefConfig()
    True
    """

    presets: ClassVar[Presets] = {"optax": {}}

    lr: NonNegative = 0.001
    """About the largest change of an element in a step."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """How much is kept of the averages of g, and of its squared distance from that."""
    eps: NonNegative = 1e-16
    """Bounds the step where gradients are as expected. 1e-8 suits small convolutional networks."""
    eps_root: NonNegative = 1e-16
    """Added to s in each update."""
    m_dtype: SlotDType = AUTO
    """The dtype of the average of g, such as `"bfloat16"`."""
    s_dtype: SlotDType = AUTO
    """The dtype of the average of squared distances."""


@rule
def adabelief(
    p: V,
    g: V,
    m: V,
    s: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    eps_root: float,
    t: int,
) -> tuple[V, V, V]:
    """One update of AdaBelief.

    >>> adabelief(1.0, 2.0, 0.0, 0.0, lr=0.5, beta1=0.5, beta2=0.75, eps=0.0, eps_root=0.0, t=1)
    (0.0, 1.0, 0.25)
    """
    m = beta1 * m + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * (g - m) * (g - m) + eps_root
    correction = 1 / sqrt(1 - beta2**t)
    return p - lr / (1 - beta1**t) * m / (correction * sqrt(s) + eps), m, s


class AdaBelief(Optimizer[B, AdaBeliefConfig]):
    """AdaBelief: long steps where the gradient is what its average predicts, short ones elsewhere.

    With the gradient g::

        m ← β1 · m + (1 - β1) · g
        s ← β2 · s + (1 - β2) · (g - m)² + eps_root
        p ← p - lr · m̂ / (√ŝ + eps)      m̂ = m / (1 - β1ᵗ),  ŝ = s / (1 - β2ᵗ)

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.AdaBelief([p], lr=0.1).step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.88889, 0.88889], dtype=float32)

    Where other libraries differ: Optax computes the same. The authors' own package turns on
    `RAdam`'s rectification and decoupled decay unless told otherwise, and so does timm.

    Source: Zhuang, Tang, Ding, Tatikonda, Dvornek, Papademetris and Duncan (2020), "AdaBelief
    optimizer: adapting stepsizes by the belief in observed gradients", algorithm 2.
    """

    config_type = AdaBeliefConfig
    formula = adabelief


@dataclass(frozen=True, slots=True, kw_only=True)
class YogiConfig(UpdateConfig):
    """The settings of `Yogi`.

    >>> YogiConfig.like("optax").starts
    (1e-06, 1e-06)
    """

    presets: ClassVar[Presets] = {"optax": {"starts": (1e-6, 1e-6)}}

    lr: NonNegative = 0.01
    """About the largest change of an element in a step."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """How much of the average of g is kept, and by which share of g² the other one moves."""
    eps: NonNegative = 1e-3
    """Bounds the step where gradients vanish."""
    starts: tuple[NonNegative, NonNegative] = (0.0, 1e-6)
    """The first values of m and of v."""
    m_dtype: SlotDType = AUTO
    """The dtype of the average of g, such as `"bfloat16"`."""
    v_dtype: SlotDType = AUTO
    """The dtype of v."""


@rule(m=Slot(start="start1"), v=Slot(start="start2"))
def yogi(
    p: V,
    g: V,
    m: V,
    v: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: int,
) -> tuple[V, V, V]:
    """One update of Yogi.

    >>> yogi(1.0, 2.0, 0.0, 0.0, lr=0.5, beta1=0.5, beta2=0.75, eps=0.0, t=1)
    (0.5, 1.0, 1.0)
    """
    m = beta1 * m + (1 - beta1) * g
    v = v - (1 - beta2) * sign(v - g * g) * g * g
    correction = 1 / sqrt(1 - beta2**t)
    return p - lr / (1 - beta1**t) * m / (correction * sqrt(v) + eps), m, v


class Yogi(Optimizer[B, YogiConfig]):
    """Yogi: Adam with a v that cannot fall, or rise, faster than by (1 - β2) · g² a step.

    With the gradient g, and v = starts[1] at first::

        m ← β1 · m + (1 - β1) · g
        v ← v - (1 - β2) · sign(v - g²) · g²
        p ← p - lr · m̂ / (√v̂ + eps)      m̂ = m / (1 - β1ᵗ),  v̂ = v / (1 - β2ᵗ)

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.Yogi([p], lr=0.1).step({p.raw: born.tensor([1.0, 500.0], p.backend).raw})
    >>> p.numpy().round(3)
    array([0.9, 0.9], dtype=float32)

    Where other libraries differ: Optax begins m with 1e-6 as well (`starts`). The paper has no bias
    correction, and begins v with the square of a first gradient; both here are as in Optax and
    TensorFlow.

    Source: Zaheer, Reddi, Sachan, Kale and Kumar (2018), "Adaptive methods for nonconvex
    optimization", algorithm 2.
    """

    config_type = YogiConfig
    formula = yogi
