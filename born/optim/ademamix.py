"""AdEMAMix: Adam with a second, much slower average of the gradient beside the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from typing_extensions import override

from born.backend import B
from born.errors import ConfigError
from born.fusion import V, exp, log, minimum, sqrt
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, Decay, DecayRate, Interval, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.transforms import decayed


@dataclass(frozen=True, slots=True, kw_only=True)
class AdEMAMixConfig(UpdateConfig):
    """The settings of `AdEMAMix`; a warm-up needs betas above 0.

    >>> AdEMAMixConfig(warmup=1000).betas
    (0.9, 0.999, 0.9999)
    """

    presets: ClassVar[Presets] = {"optax": {}}

    lr: NonNegative = 0.001
    """About the largest change of an element in a step, of the fast average alone."""
    decay: Decay = "decoupled"
    """`"decoupled"`, as in the paper; `"independent"` of lr; or `"l2"`, in the gradient."""
    betas: tuple[DecayRate, DecayRate, DecayRate] = (0.9, 0.999, 0.9999)
    """How much is kept of the fast average of g, of that of g², and of the slow one of g."""
    alpha: NonNegative = 5.0
    """How much the slow average counts beside the fast one: 4 to 10."""
    warmup: Annotated[int, Interval(0)] = 0
    """Over so many updates alpha rises from 0, and β3 from β1: as many as there are in all, or
    training may diverge early."""
    eps: NonNegative = 1e-8
    """Bounds the step where gradients vanish."""
    m_dtype: SlotDType = AUTO
    """The dtype of the fast average, such as `"bfloat16"`."""
    slow_dtype: SlotDType = AUTO
    """The dtype of the slow average; with few digits it would not move."""
    v_dtype: SlotDType = AUTO
    """The dtype of the average of g²."""

    @override
    def check(self) -> None:
        if self.warmup and not (self.betas[0] and self.betas[2]):
            raise ConfigError(
                "AdEMAMixConfig.warmup: expected first and third betas above 0 to warm up between, "
                f"got betas={self.betas}; set warmup=0"
            )


@rule
def ademamix(
    p: V,
    g: V,
    m: V,
    slow: V,
    v: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    beta3: float,
    alpha: float,
    warmup: float,
    eps: float,
    t: int,
    warming: bool = False,
) -> tuple[V, V, V, V]:
    """One update of AdEMAMix; what warms up is computed on the host.

    >>> scalars = {"beta1": 0.5, "beta2": 0.75, "beta3": 0.5, "alpha": 1.0, "warmup": 0, "eps": 0.0}
    >>> ademamix(1.0, 2.0, 0.0, 0.0, 0.0, lr=0.5, **scalars, t=1)
    (0.25, 1.0, 1.0, 1.0)
    """
    if warming:
        done = minimum(t / warmup, 1.0)
        fast, full = log(beta1), log(beta3)
        alpha = alpha * done
        beta3 = minimum(exp(fast * full / ((1 - done) * full + done * fast)), beta3)
    m = beta1 * m + (1 - beta1) * g
    slow = beta3 * slow + (1 - beta3) * g
    v = beta2 * v + (1 - beta2) * g * g
    correction = 1 / sqrt(1 - beta2**t)
    update = lr / (1 - beta1**t) * m + lr * alpha * slow
    return p - update / (correction * sqrt(v) + eps), m, slow, v


class AdEMAMix(Optimizer[B, AdEMAMixConfig]):
    """AdEMAMix: old gradients, of tens of thousands of steps, still count beside new ones.

    With the gradient g::

        m    ← β1 · m + (1 - β1) · g
        slow ← β3 · slow + (1 - β3) · g
        v    ← β2 · v + (1 - β2) · g²
        p    ← p - lr · (m̂ + α · slow) / (√v̂ + eps)

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.AdEMAMix([p], lr=0.1).step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.89995, 0.89995], dtype=float32)

    Where other libraries differ: Optax computes the same, and takes schedules for alpha and β3 in
    place of `warmup`.

    Source: Pagliardini, Ablin and Grangier (2024), "The AdEMAMix optimizer: better, faster, older",
    algorithm 1 and equation 10.
    """

    config_type = AdEMAMixConfig

    @classmethod
    @override
    def rule(cls, config: AdEMAMixConfig) -> Rule:
        return decayed(Rule.from_config(ademamix, config, warming=config.warmup > 0), config)
