"""Prodigy: Adam that estimates its own learning rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from typing_extensions import override

from born.backend import B
from born.fusion import V, abs, maximum, minimum, sqrt, total, where
from born.optim.config import Presets, UpdateConfig, cached
from born.optim.fields import AUTO, Decay, DecayRate, Interval, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.slot import Slot
from born.optim.transforms import decayed


@dataclass(frozen=True, slots=True, kw_only=True)
class ProdigyConfig(UpdateConfig):
    """The settings of `Prodigy`.

    >>> ProdigyConfig.like("optax").bias_correction
    True
    """

    presets: ClassVar[Presets] = {"optax": {"bias_correction": True}}

    lr: NonNegative = 1.0
    """What the estimated rate is multiplied by: leave it at 1, or let a schedule lower it."""
    decay: Decay = "decoupled"
    """`"decoupled"`: at the estimated rate times lr; `"independent"` of both; or `"l2"`, in the
    gradient."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """How much of the averages of g and of g² is kept."""
    beta3: DecayRate | None = None
    """How much is kept of what the estimate is made from; None stands for √β2."""
    eps: NonNegative = 1e-8
    """Bounds the step where gradients vanish."""
    d0: NonNegative = 1e-6
    """The first estimate. It should be too small; with transfer learning 1e-8 may be."""
    d_coef: NonNegative = 1.0
    """What estimates are multiplied by: 0.5 or 2 make training more careful or bolder."""
    growth_rate: Annotated[float, Interval(1.0)] | None = None
    """By how much the estimate may grow in an update, once it has grown at all: 1.02 is a kind of
    warm-up; None bounds nothing."""
    bias_correction: bool = False
    """Multiply steps by √(1 - β2ᵗ) / (1 - β1ᵗ)."""
    safeguard_warmup: bool = False
    """Leave lr out of the denominator of the estimate, which a long warm-up would distort."""
    m_dtype: SlotDType = AUTO
    """The dtype of the first average, such as `"bfloat16"`."""
    v_dtype: SlotDType = AUTO
    """The dtype of the second average."""
    s_dtype: SlotDType = AUTO
    """The dtype of the sum of gradients."""
    origin_dtype: SlotDType = AUTO
    """The dtype of the first value of the parameter."""


@cached  # equal schedules have equal roots, which groups may share
def _root_of(schedule: Callable[[int], float]) -> Callable[[int], float]:
    def root(t: int) -> float:
        return sqrt(schedule(t))

    return root


@rule(
    s=Slot(exact=True),
    origin=Slot(start="p"),
    d=Slot("group", start="d0"),
    numerator=Slot("group"),
    most=Slot("group", start="d0"),
)
def prodigy(
    p: V,
    g: V,
    m: V,
    v: V,
    s: V,
    origin: V,
    d: V,
    numerator: V,
    most: V | None = None,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    beta3: float,
    eps: float,
    d0: float,
    d_coef: float,
    growth_rate: float,
    weight_decay: float,
    t: int,
    bias_correction: bool = False,
    safeguard_warmup: bool = False,
    decays: bool = False,
) -> tuple[V, V, V, V, V, V, V, V | None]:
    """One update of Prodigy.

    >>> scalars = {"beta1": 0.5, "beta2": 0.75, "beta3": 0.5, "eps": 0.0, "d0": 0.5, "d_coef": 1.0}
    >>> scalars |= {"growth_rate": 1.0, "weight_decay": 0.0}
    >>> prodigy(1.0, 2.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.0, lr=1.0, **scalars, t=1)
    (0.5, 0.5, 0.25, 1.0, 1.0, 0.5, 0.0, None)
    """
    correction = sqrt(1 - beta2**t) / (1 - beta1**t) if bias_correction else 1.0
    rate = lr * correction
    step = rate * d
    m = beta1 * m + (1 - beta1) * d * g
    v = beta2 * v + (1 - beta2) * d * d * g * g
    weight = d / d0 * (where(lr > 0, d, 0.0) if safeguard_warmup else step)
    s = beta3 * s + weight * g
    numerator = beta3 * numerator + d / d0 * d * total(rate * g * (origin - p))
    length = total(abs(s))
    estimate = d_coef * numerator / where(length > 0, length, 1.0)
    estimate = where(length > 0, estimate, 0.0)
    if most is None:
        d = maximum(d, estimate)
    else:
        grown = where(d > d0, d, maximum(d, estimate)) * growth_rate
        most = maximum(most, estimate)
        d = where(length > 0, minimum(most, grown), d)
    update = step * m / (sqrt(v) + d * eps)
    if decays:
        update = update + step * weight_decay * p
    return p - update, m, v, s, origin, d, numerator, most


class Prodigy(Optimizer[B, ProdigyConfig]):
    """Prodigy: Adam whose rate d grows to the distance from the start to the solution.

    With the gradient g, the first value p₀ of a parameter, sums over all parameters, and
    s ← β3 · s + d² · lr / d0 · g::

        m ← β1 · m + (1 - β1) · d · g
        v ← β2 · v + (1 - β2) · d² · g²
        r ← β3 · r + d² · lr / d0 · Σ g · (p₀ - p)
        p ← p - lr · d · m / (√v + d⁺ · eps)        d⁺ = max(d, d_coef · r / Σ|s|)
        d ← d⁺

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> optimizer = optim.Prodigy([p], d0=0.1)
    >>> report = optimizer.step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(3)
    array([0.684, 0.684], dtype=float32)

    Where other libraries differ: prodigyopt computes the same, and Optax with the bias correction.
    All parameters share one d: a learning rate of a group's own multiplies it.

    Source: Mishchenko and Defazio (2024), "Prodigy: an expeditiously adaptive parameter-free
    learner", algorithm 4.
    """

    config_type = ProdigyConfig

    @classmethod
    @override
    def rule(cls, config: ProdigyConfig) -> Rule:
        beta2 = config.betas[1]
        root = _root_of(beta2) if callable(beta2) else sqrt(beta2)
        beta3 = root if config.beta3 is None else config.beta3
        decays = config.decay == "decoupled" and config.weight_decay != 0.0
        keep = () if config.growth_rate is None else ("most",)
        growth = config.growth_rate or 1.0
        undecayed = Rule.from_config(
            prodigy, config, keep=keep, beta3=beta3, growth_rate=growth, decays=decays
        )
        return decayed(undecayed, config.replace(weight_decay=0.0) if decays else config)
