"""NAdam: Adam with Nesterov's momentum, which grows over the first updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from born.backend import B
from born.fusion import V, sqrt
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.scalars import Scalar, value_at
from born.optim.transforms import decayed


@dataclass(frozen=True, slots=True, kw_only=True)
class NAdamConfig(UpdateConfig):
    """The settings of `NAdam`.

    >>> NAdamConfig.like("keras").momentum_decay
    1.0
    """

    presets: ClassVar[Presets] = {
        "torch": {},
        "optax": {"warming": False},
        "keras": {"lr": 1e-3, "eps": 1e-7, "momentum_decay": 1.0, "decay": "decoupled"},
    }

    lr: NonNegative = 0.002
    """About the largest change of an element in a step."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """How much of the averages of g and of g² is kept."""
    eps: NonNegative = 1e-8
    """Bounds the step where gradients vanish."""
    warming: bool = True
    """Let the momentum grow from half of β1 to β1, as in the paper; or let it be β1 at once."""
    momentum_decay: NonNegative = 0.004
    """How fast it grows: 0.004 is the paper's, with half of the way after 4,250 updates."""
    m_dtype: SlotDType = AUTO
    """The dtype of the first average, such as `"bfloat16"`."""
    v_dtype: SlotDType = AUTO
    """The dtype of the second average."""


def momentum_at(beta1: float, momentum_decay: float, t: float) -> float:
    """μ of update t."""
    grown: float = 1 - 0.5 * 0.96 ** (t * momentum_decay)
    return beta1 * grown


@dataclass(frozen=True, slots=True)
class MomentumProduct:
    """The product of μ over the first t updates: a function of t, so it need not be saved.

    >>> MomentumProduct(0.5, 0.0)(2)
    0.0625
    """

    beta1: Scalar
    momentum_decay: Scalar

    _NEGLIGIBLE: ClassVar[float] = 1e-20  # which 1 less it does not see

    def __call__(self, t: int) -> float:
        """The product up to update t."""
        product = 1.0
        for i in range(1, t + 1):
            product *= momentum_at(value_at(self.beta1, i), value_at(self.momentum_decay, i), i)
            if product < self._NEGLIGIBLE:
                return 0.0
        return product


@rule
def nadam(
    p: V,
    g: V,
    m: V,
    v: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    momentum_decay: float,
    momentum_product: float,
    t: int,
    warming: bool = True,
) -> tuple[V, V, V]:
    """One update of NAdam.

    >>> scalars = {"beta1": 0.5, "beta2": 0.75, "eps": 0.0, "momentum_decay": 0.0}
    >>> nadam(1.0, 2.0, 0.0, 0.0, lr=0.9375, **scalars, momentum_product=0.25, t=1)
    (-0.0625, 1.0, 1.0)
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    now, ahead, product = beta1, beta1, beta1**t
    if warming:
        now = momentum_at(beta1, momentum_decay, t)
        ahead = momentum_at(beta1, momentum_decay, t + 1)
        product = momentum_product
    correction = 1 / sqrt(1 - beta2**t)
    step = lr * (1 - now) / (1 - product) * g + lr * ahead / (1 - product * ahead) * m
    return p - step / (correction * sqrt(v) + eps), m, v


class NAdam(Optimizer[B, NAdamConfig]):
    """NAdam: Adam that takes the next step's momentum already, and the gradient's own step.

    With m and v as in `Adam`, and the product of all μ so far, Πμ::

        μ_t = β1 · (1 - ½ · 0.96^(t · momentum_decay))
        m̂ = μ_{t+1} · m / (1 - Πμ · μ_{t+1}) + (1 - μ_t) · g / (1 - Πμ)
        p ← p - lr · m̂ / (√v̂ + eps)

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.NAdam([p], lr=0.1).step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(3)
    array([0.894, 0.894], dtype=float32)

    Where other libraries differ: PyTorch computes the same. Keras takes momentum_decay = 1, with
    which μ is nearly β1 after a hundred updates, and keeps one product of all μ for the optimizer,
    where here and in PyTorch a parameter that joins late has one of its own. Optax has no schedule
    (`warming=False`), nor has `Adam` with `nesterov`.

    Source: Dozat (2016), "Incorporating Nesterov momentum into Adam", algorithm 2.
    """

    config_type = NAdamConfig

    @classmethod
    @override
    def rule(cls, config: NAdamConfig) -> Rule:
        product = MomentumProduct(config.betas[0], config.momentum_decay)
        return decayed(Rule.from_config(nadam, config, momentum_product=product), config)
