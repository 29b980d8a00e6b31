"""LAMB, LARS and NovoGrad: steps that follow from norms of whole parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from born.backend import B
from born.fusion import V, norm, sqrt, sum, where
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, Decay, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.slot import UNSET, Slot
from born.optim.transforms import decayed


@dataclass(frozen=True, slots=True, kw_only=True)
class LAMBConfig(UpdateConfig):
    """The settings of `LAMB`.

    >>> LAMBConfig.like("keras").decay_in_update
    False
    """

    presets: ClassVar[Presets] = {
        "optax": {},
        "keras": {"eps": 1e-7, "decay_in_update": False},
    }

    lr: NonNegative = 0.001
    """How far a parameter moves in a step, as a share of its norm."""
    weight_decay: NonNegative = 0.0
    """How fast weights are pulled towards 0; 0.01 is the paper's."""
    decay: Decay = "decoupled"
    """`"decoupled"`, as in the paper; `"independent"` of lr; or `"l2"`, in the gradient."""
    decay_in_update: bool = True
    """Whether a decoupled decay is a part of the update, whose norm counts, as in the paper; else
    weights decay before the norm of the parameter is taken."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """How much of the averages of g and of g² is kept."""
    eps: NonNegative = 1e-6
    """Bounds the step where gradients vanish."""
    m_dtype: SlotDType = AUTO
    """The dtype of the first average, such as `"bfloat16"`."""
    v_dtype: SlotDType = AUTO
    """The dtype of the second average."""


def trusted(p: V, update: V, trust: float = 1.0, eps: float = 0.0) -> V:
    """What brings an update to the norm of its parameter; 1 where either is 0."""
    ratio: V = trust * norm(p) / (norm(update) + eps)
    both: V = where(norm(p) > 0, where(norm(update) > 0, ratio, 1.0), 1.0)
    return both


@rule
def lamb(
    p: V,
    g: V,
    m: V,
    v: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    t: int,
    decay_with: str = "nothing",
) -> tuple[V, V, V]:
    """One update of LAMB.

    >>> scalars = {"beta1": 0.5, "beta2": 0.75, "eps": 0.0, "weight_decay": 0.0}
    >>> lamb(4.0, 2.0, 0.0, 0.0, lr=0.25, **scalars, t=1)
    (3.0, 1.0, 1.0)
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    if decay_with == "parameter":
        p = (1 - lr * weight_decay) * p
    correction = 1 / sqrt(1 - beta2**t)
    update = 1 / (1 - beta1**t) * m / (correction * sqrt(v) + eps)
    if decay_with == "update":
        update = update + weight_decay * p
    return p - lr * trusted(p, update) * update, m, v


class LAMB(Optimizer[B, LAMBConfig]):
    """LAMB: Adam whose step is a share of the norm of each parameter, for very large batches.

    With m̂ and v̂ as in `Adam`, and norms over a whole parameter::

        u = m̂ / (√v̂ + eps) + weight_decay · p
        p ← p - lr · |p| / |u| · u              with 1 for |p| / |u| where either is 0

    >>> p = nn.Parameter(born.tensor([3.0, 4.0], backend))
    >>> _ = optim.LAMB([p], lr=0.1).step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(3)
    array([2.646, 3.646], dtype=float32)

    Where other libraries differ: Optax computes the same. Keras decays weights beside the update,
    before the norm is taken (`decay_in_update=False`). timm clips the global norm to 1 first, and
    leaves the ratio out where there is no decay.

    Source: You et al. (2020), "Large batch optimization for deep learning: training BERT in 76
    minutes", algorithm 2.
    """

    config_type = LAMBConfig

    @classmethod
    @override
    def rule(cls, config: LAMBConfig) -> Rule:
        if config.decay != "decoupled" or config.weight_decay == 0.0:
            return decayed(Rule.from_config(lamb, config, decay_with="nothing"), config)
        where_to = "update" if config.decay_in_update else "parameter"
        undecayed = config.replace(weight_decay=0.0)
        return decayed(Rule.from_config(lamb, config, decay_with=where_to), undecayed)


@dataclass(frozen=True, slots=True, kw_only=True)
class LARSConfig(UpdateConfig):
    """The settings of `LARS`.

    >>> LARSConfig(lr=1.0, weight_decay=1e-4).trust
    0.001
    """

    presets: ClassVar[Presets] = {"optax": {}}

    lr: NonNegative = 1.0
    """What the step is multiplied by; it is warmed up, and large with large batches."""
    momentum: DecayRate = 0.9
    """How much of the velocity is kept; with 0 there is none."""
    nesterov: bool = False
    """Take the gradient's own step on top of the velocity's."""
    trust: NonNegative = 0.001
    """The length of a step as a share of the parameter's norm, with an lr of 1."""
    eps: NonNegative = 0.0
    """Added to the norm of the gradient."""
    velocity_dtype: SlotDType = AUTO
    """The dtype of the velocity, such as `"bfloat16"`."""


@rule
def lars(
    p: V,
    g: V,
    velocity: V | None = None,
    *,
    lr: float,
    momentum: float,
    trust: float,
    eps: float,
    nesterov: bool = False,
) -> tuple[V, V | None]:
    """One update of LARS.

    >>> lars(4.0, 2.0, 0.5, lr=1.0, momentum=0.5, trust=0.25, eps=0.0)
    (2.75, 1.25)
    """
    step = lr * trusted(p, g, trust, eps) * g
    if velocity is None:
        return p - step, None
    velocity = momentum * velocity + step
    return p - (step + momentum * velocity if nesterov else velocity), velocity


class LARS(Optimizer[B, LARSConfig]):
    """LARS: gradient descent whose step is a share of the norm of each parameter.

    With the gradient g, plus weight_decay · p, and norms over a whole parameter::

        velocity ← momentum · velocity + lr · trust · |p| / (|g| + eps) · g
        p ← p - velocity

    Where |p| or |g| is 0, it is lr · g that goes into the velocity.

    >>> p = nn.Parameter(born.tensor([3.0, 4.0], backend))
    >>> _ = optim.LARS([p], lr=100.0).step({p.raw: born.tensor([0.6, 0.8], p.backend).raw})
    >>> p.numpy().round(3)
    array([2.7, 3.6], dtype=float32)

    Where other libraries differ: Optax computes the same. timm adds |g| and weight_decay · |p|
    instead of g and weight_decay · p, and multiplies by lr after the momentum.

    Source: You, Gitman and Ginsburg (2017), "Large batch training of convolutional networks",
    algorithm 1.
    """

    config_type = LARSConfig

    @classmethod
    @override
    def rule(cls, config: LARSConfig) -> Rule:
        keep = ("velocity",) if config.momentum != 0.0 else ()
        return decayed(Rule.from_config(lars, config, keep=keep), config)


@dataclass(frozen=True, slots=True, kw_only=True)
class NovoGradConfig(UpdateConfig):
    """The settings of `NovoGrad`.

    >>> NovoGradConfig.like("optax") == NovoGradConfig()
    True
    """

    presets: ClassVar[Presets] = {"optax": {}}

    lr: NonNegative = 0.001
    """How far a parameter moves in a step, by its norm, without momentum."""
    weight_decay: NonNegative = 0.0
    """How fast weights are pulled towards 0; 0.001 is the paper's."""
    decay: Decay = "decoupled"
    """`"decoupled"`: lr · weight_decay · p, which goes into the average as in the paper;
    `"independent"` of lr; or `"l2"`, in the gradient."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.25)
    """How much of the sum of scaled gradients is kept, and of the average of squared norms."""
    eps: NonNegative = 1e-6
    """Added to the norm of the gradient."""
    m_dtype: SlotDType = AUTO
    """The dtype of the sum of scaled gradients, such as `"bfloat16"`."""


@rule(v=Slot("tensor", start=UNSET))
def novograd(
    p: V,
    g: V,
    m: V,
    v: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decays: bool = False,
) -> tuple[V, V, V]:
    """One update of NovoGrad.

    >>> scalars = {"beta1": 0.5, "beta2": 0.75, "eps": 0.0, "weight_decay": 0.0}
    >>> novograd(1.0, 2.0, 0.0, -1.0, lr=0.5, **scalars)
    (0.5, 1.0, 4.0)
    """
    square: V = sum(g * g)
    v = where(v < 0, square, beta2 * v + (1 - beta2) * square)
    scaled = g / (sqrt(v) + eps)
    if decays:
        scaled = scaled + weight_decay * p
    m = beta1 * m + scaled
    return p - lr * m, m, v


class NovoGrad(Optimizer[B, NovoGradConfig]):
    """NovoGrad: momentum over gradients that are divided by the norm of their whole parameter.

    With the gradient g, |g|² over a whole parameter, and v = |g|² in the first update::

        v ← β2 · v + (1 - β2) · |g|²
        m ← β1 · m + g / (√v + eps) + weight_decay · p
        p ← p - lr · m

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.NovoGrad([p], lr=0.1).step({p.raw: born.tensor([3.0, -4.0], p.backend).raw})
    >>> p.numpy().round(3)
    array([0.94, 1.08], dtype=float32)

    Where other libraries differ: Optax computes the same. timm takes β = (0.95, 0.98), as the paper
    does with an average in place of the sum.

    Source: Ginsburg et al. (2019), "Stochastic gradient methods with layer-wise adaptive moments
    for training of deep networks", algorithm 1.
    """

    config_type = NovoGradConfig

    @classmethod
    @override
    def rule(cls, config: NovoGradConfig) -> Rule:
        if config.decay == "decoupled" and config.weight_decay != 0.0:
            undecayed = config.replace(weight_decay=0.0)
            return decayed(Rule.from_config(novograd, config, decays=True), undecayed)
        return decayed(Rule.from_config(novograd, config, decays=False), config)
