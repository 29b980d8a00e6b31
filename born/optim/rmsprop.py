"""RMSprop: steps scaled by a running average of the squared gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from born.backend import B
from born.fusion import V, maximum, sqrt
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, DecayRate, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.slot import Slot
from born.optim.transforms import decayed


@dataclass(frozen=True, slots=True, kw_only=True)
class RMSpropConfig(UpdateConfig):
    """The settings of `RMSprop`.

    >>> RMSpropConfig.like("keras").eps_inside
    True
    """

    presets: ClassVar[Presets] = {
        "torch": {},
        "optax": {"alpha": 0.9, "eps_inside": True, "lr_inside": True},
        "keras": {
            "lr": 1e-3,
            "alpha": 0.9,
            "eps": 1e-7,
            "eps_inside": True,
            "lr_inside": True,
            "decay": "decoupled",
        },
        "mlx": {},
        "burn": {"eps": 1e-5, "momentum": 0.9},
        "gomlx": {
            "lr": 1e-3,
            "alpha": 0.999,
            "eps": 1e-7,
            "bias_correction": True,
            "decay": "decoupled",
        },
    }

    lr: NonNegative = 0.01
    """About the largest change of an element in a step."""
    alpha: DecayRate = 0.99
    """How much of the average of g² is kept."""
    eps: NonNegative = 1e-8
    """Bounds the step where gradients vanish."""
    eps_inside: bool = False
    """Add eps to v under the root, instead of to the root, where it bounds the step less."""
    centered: bool = False
    """Divide by the standard deviation: the square of the average of g is taken from v."""
    momentum: DecayRate = 0.0
    """How much of the sum of scaled gradients is kept; with 0 there is none."""
    nesterov: bool = False
    """Take the gradient's own step on top of that of the sum."""
    lr_inside: bool = False
    """Multiply lr into the sum instead of into the step, which differs when lr changes."""
    bias_correction: bool = False
    """Divide the averages by 1 - αᵗ, what they can have gathered by now, as Adam does."""
    start: NonNegative = 0.0
    """The first value of v. 1 keeps first steps short, as TensorFlow's did."""
    v_dtype: SlotDType = AUTO
    """The dtype of the average of g², such as `"bfloat16"`."""
    mean_dtype: SlotDType = AUTO
    """The dtype of the average of g."""
    buffer_dtype: SlotDType = AUTO
    """The dtype of the sum of scaled gradients."""


@rule(v=Slot(start="start"))
def rmsprop(
    p: V,
    g: V,
    v: V,
    mean: V | None = None,
    buffer: V | None = None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    t: int,
    eps_inside: bool = False,
    nesterov: bool = False,
    lr_inside: bool = False,
    bias_correction: bool = False,
) -> tuple[V, V, V | None, V | None]:
    """One update of RMSprop.

    >>> rmsprop(1.0, 2.0, 0.0, lr=0.5, alpha=0.75, eps=0.0, momentum=0.0, t=1)
    (0.0, 1.0, None, None)
    """
    v = alpha * v + (1 - alpha) * g * g
    correction = 1 / (1 - alpha**t) if bias_correction else 1.0
    spread = correction * v if bias_correction else v
    if mean is not None:
        mean = alpha * mean + (1 - alpha) * g
        centre = correction * mean if bias_correction else mean
        spread = maximum(spread - centre * centre, 0.0)
    step = g / (sqrt(spread + eps) if eps_inside else sqrt(spread) + eps)
    if lr_inside:
        step, lr = lr * step, 1.0
    if buffer is not None:
        buffer = momentum * buffer + step
        step = step + momentum * buffer if nesterov else buffer
    return p - (step if lr_inside else lr * step), v, mean, buffer


class RMSprop(Optimizer[B, RMSpropConfig]):
    """RMSprop: each element's step is divided by the root of the average of its squares.

    With the gradient g::

        v ← α · v + (1 - α) · g²
        s = g / (√v + eps)
        p ← p - lr · s

    With `momentum`, buffer ← momentum · buffer + s takes the place of s; with `centered`,
    v - mean² that of v, where mean ← α · mean + (1 - α) · g.

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.RMSprop([p], lr=0.01).step({p.raw: born.tensor([0.01, 500.0], p.backend).raw})
    >>> p.numpy().round(5)
    array([0.9, 0.9], dtype=float32)

    Where other libraries differ: PyTorch computes the same, but NaN where rounding makes v - mean²
    negative. Optax and Keras add eps under the root (`eps_inside`), keep lr in the buffer
    (`lr_inside`) and take α = 0.9. GoMLX corrects v as Adam does, with α = 0.999,
    and decays weights beside the update. Burn has
    eps = 1e-5 and momentum = 0.9. TensorFlow's began with v = 1 (`start`).

    Source: Tieleman and Hinton (2012), "Lecture 6.5: rmsprop"; Graves (2013), "Generating
    sequences with recurrent neural networks", equation 38, for `centered`.
    """

    config_type = RMSpropConfig

    @classmethod
    @override
    def rule(cls, config: RMSpropConfig) -> Rule:
        kept = {"mean": config.centered, "buffer": config.momentum != 0.0}
        keep = [slot for slot, there in kept.items() if there]
        return decayed(Rule.from_config(rmsprop, config, keep=keep), config)
