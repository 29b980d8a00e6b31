"""Adam and AdamW: steps scaled by running averages of the gradient and of its square."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from typing_extensions import override

from born.backend import B
from born.fusion import V, maximum, sqrt
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, Decay, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.transforms import decayed

_KERAS = {"eps": 1e-7, "eps_uncorrected": True, "decay": "decoupled"}


@dataclass(frozen=True, kw_only=True)
class _AdamFields(UpdateConfig):
    __slots__: ClassVar[Iterable[str]] = ()  # those of the classes below

    lr: NonNegative = 0.001
    """About the largest change of an element in a step: 3e-4 for large networks, 1e-2 for small."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """How much of the averages of g and of g² is kept. Lower the second to 0.99 or 0.95 where
    gradients change their size quickly, as they do with large batches."""
    eps: NonNegative = 1e-8
    """Bounds the step where gradients vanish. Raise it, up to 1, if elements with tiny
    gradients jump about."""
    eps_root: NonNegative = 0.0
    """Added to v̂ under the root, which keeps derivatives through the update finite."""
    eps_uncorrected: bool = False
    """Add eps to √v instead of √v̂, which makes it a larger one in early steps."""
    bias_correction: bool = True
    """Divide the averages by what they can have gathered by now. Without, the first steps are
    (1 - β1) / √(1 - β2) times as long, about 3."""
    amsgrad: bool = False
    """Divide by the largest v so far, so that steps never grow again."""
    max_of: Literal["v", "v_hat"] = "v"
    """Which of them `amsgrad` keeps the largest of."""
    nesterov: bool = False
    """Look one step ahead, by averaging g into m̂ once more: what Optax calls NAdam."""
    m_dtype: SlotDType = AUTO
    """The dtype of the first average, such as `"bfloat16"`."""
    v_dtype: SlotDType = AUTO
    """The dtype of the second average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamConfig(_AdamFields):
    """The settings of `Adam`.

    >>> AdamConfig.from_json(AdamConfig(lr=0.01).to_json()) == AdamConfig(lr=0.01)
    True
    """

    presets: ClassVar[Presets] = {
        "torch": {},
        "optax": {"max_of": "v_hat"},
        "keras": _KERAS,
        "mlx": {"bias_correction": False},
        "burn": {"eps": 1e-5},
        "born-go": {},
        "autograd": {"eps_uncorrected": True},
        "tiny-pytorch": {"lr": 0.01},
        "gomlx": {"eps": 1e-7, "decay": "decoupled"},
        "dtorch": {},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamWConfig(_AdamFields):
    """The settings of `AdamW`.

    >>> AdamWConfig().weight_decay, AdamWConfig.like("optax").weight_decay
    (0.01, 0.0001)
    """

    presets: ClassVar[Presets] = {
        "torch": {},
        "optax": {"weight_decay": 1e-4},
        "keras": {"weight_decay": 0.004, **_KERAS},
        "mlx": {"bias_correction": False},
        "burn": {"eps": 1e-5, "weight_decay": 1e-4},
        "autograd": {"eps_uncorrected": True, "decay_last": True},
        "gomlx": {"eps": 1e-7, "weight_decay": 0.004},
    }

    weight_decay: NonNegative = 0.01
    """How fast weights are pulled towards 0, beside the update: 0.01 to 0.1."""
    decay: Decay = "decoupled"
    """`"decoupled"`, which makes this AdamW; `"independent"` of lr; or `"l2"`, as in `Adam`."""
    decay_last: bool = False
    """Decay after the update instead of beside it, and at the bias-corrected rate,
    lr · √(1 - β2ᵗ) / (1 - β1ᵗ), in place of lr."""


@rule
def adam(
    p: V,
    g: V,
    m: V,
    v: V,
    v_max: V | None = None,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    eps_root: float,
    weight_decay: float,
    t: int,
    rooted: bool = False,
    eps_uncorrected: bool = False,
    bias_correction: bool = True,
    max_of: str = "v",
    nesterov: bool = False,
    decay_last: bool = False,
) -> tuple[V, V, V, V | None]:
    """One update of Adam, with the bias corrections in the scalars, where they cost nothing.

    >>> scalars = {"beta1": 0.5, "beta2": 0.75, "eps": 0.0, "eps_root": 0.0, "weight_decay": 0.0}
    >>> adam(1.0, 2.0, 0.0, 0.0, lr=0.5, **scalars, t=1)
    (0.5, 1.0, 1.0, None)
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    correction1, correction2 = (1 - beta1**t, 1 - beta2**t) if bias_correction else (1.0, 1.0)
    second, missing = v, correction2  # what second is still to be divided by
    if v_max is not None:  # amsgrad
        second = maximum(v_max, v / correction2 if max_of == "v_hat" else v)
        missing = 1.0 if max_of == "v_hat" else correction2
    # step · m is lr · m̂, and scale · √second is √v̂
    step, scale = lr / correction1, 1 / sqrt(missing)
    root = sqrt(second + eps_root / (scale * scale)) if rooted else sqrt(second)
    if eps_uncorrected:  # the same fraction without scale in its denominator, where eps comes
        step, scale = step / scale, 1.0
    denominator = (root if eps_uncorrected else scale * root) + eps
    if nesterov:  # m̂ one step ahead, with g in it once more
        ahead = (1 - beta1 ** (t + 1)) / (1 - beta1**t) if bias_correction else 1.0
        numerator = step * beta1 / ahead * m + step * (1 - beta1) * g
    else:
        numerator = step * m
    p = p - numerator / denominator
    if decay_last:
        p = p - lr / correction1 * sqrt(correction2) * weight_decay * p
    return p, m, v, None if v_max is None else second


def _rule(config: _AdamFields, *, decay_last: bool = False) -> Rule:
    keep = ("v_max",) if config.amsgrad else ()
    rooted = config.eps_root != 0.0
    undecayed = Rule.from_config(adam, config, keep=keep, rooted=rooted, decay_last=decay_last)
    return decayed(undecayed, config.replace(weight_decay=0.0) if decay_last else config)


class Adam(Optimizer[B, AdamConfig]):
    """Adam: each element steps by about lr, whatever the size of its gradient.

    With the gradient g, plus weight_decay · p where that is not 0::

        m ← β1 · m + (1 - β1) · g
        v ← β2 · v + (1 - β2) · g²
        p ← p - lr · m̂ / (√v̂ + eps)      m̂ = m / (1 - β1ᵗ),  v̂ = v / (1 - β2ᵗ)

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> optimizer = optim.Adam([p], optim.AdamConfig(lr=0.1))
    >>> report = optimizer.step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.9, 0.9], dtype=float32)

    Where other libraries differ: PyTorch and Optax compute the same up to rounding, and GoMLX and
    Burn with a larger eps (1e-7, 1e-5). Keras, TensorFlow and itsubaki's autograd add eps before v
    is corrected (`eps_uncorrected`), as section 2 of the paper does in its faster form. MLX
    corrects nothing unless asked (`bias_correction=False`). Corrections are computed in double here
    and in PyTorch, in float32 in Optax and Burn, in the dtype of the gradient in MLX and of the
    parameter in Keras: with bfloat16 theirs are off by a percent. Of `amsgrad`, PyTorch keeps the
    largest v, and Optax the largest v̂ (`max_of`). weight_decay is scaled by √v̂ like the rest of
    the gradient; the decay that is not is `AdamW`'s.

    Source: Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", algorithm 1;
    Reddi, Kale and Kumar (2018), "On the convergence of Adam and beyond", for `amsgrad`; Dozat
    (2016), "Incorporating Nesterov momentum into Adam", for `nesterov`.
    """

    config_type = AdamConfig

    @classmethod
    @override
    def rule(cls, config: AdamConfig) -> Rule:
        return _rule(config)


class AdamW(Optimizer[B, AdamWConfig]):
    """AdamW: Adam, with weights that decay beside the update instead of through the gradient.

    With m̂ and v̂ as in `Adam`::

        p ← p - lr · (m̂ / (√v̂ + eps) + weight_decay · p)

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> optimizer = optim.AdamW([p], lr=0.1, weight_decay=0.5)
    >>> report = optimizer.step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.85, 0.85], dtype=float32)

    Where other libraries differ: by their weight_decay: 0.01 in PyTorch and MLX, 0.004 in Keras and
    GoMLX, 1e-4 in Optax and Burn; and as `Adam` does in eps and bias correction. itsubaki's
    autograd decays after the update, at the corrected rate (`decay_last`). The paper's own
    algorithm multiplies the decay by a schedule but not by lr: `decay="independent"`.

    Source: Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 2.
    """

    config_type = AdamWConfig

    @classmethod
    @override
    def rule(cls, config: AdamWConfig) -> Rule:
        return _rule(config, decay_last=config.decay_last)
