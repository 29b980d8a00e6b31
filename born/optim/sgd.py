"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from born.backend import B
from born.errors import ConfigError
from born.fusion import V, sqrt, where
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, DecayRate, NonNegative, SlotDType, UnitInterval
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.transforms import decayed


@dataclass(frozen=True, slots=True, kw_only=True)
class SGDConfig(UpdateConfig):
    """The settings of `SGD`; nesterov needs momentum.

    >>> SGDConfig(lr=0.1, momentum=0.9)
    SGDConfig(lr=0.1, momentum=0.9)
    """

    presets: ClassVar[Presets] = {
        "torch": {"lr": 1e-3},
        "optax": {},
        "keras": {"lr_inside": True, "decay": "decoupled"},
        "mlx": {"damp_first": True},
        "burn": {"dampening": 0.1},
        "born-go": {},
        "autograd": {"lr_inside": True},
        "tiny-pytorch": {"dampening": None, "damp_first": True, "decay": "decoupled"},
        "gomlx": {"lr": 0.1, "inverse_sqrt": True},
        "dtorch": {"lr": 1e-3, "dampening": None, "damp_first": True},
    }

    lr: NonNegative = 0.01
    """The length of a step. Raise it until the loss turns unstable, then take a third; lower
    it towards the end of training."""
    momentum: DecayRate = 0.0
    """How much of the velocity is kept; with 0 there is none. 0.9 evens out noisy gradients
    and speeds up long narrow valleys; a step is then up to 1 / (1 - momentum) times as long,
    so lower lr."""
    dampening: UnitInterval | None = 0.0
    """How much of each later gradient is left out. None stands for `momentum`, which makes the
    velocity an average instead of a sum."""
    nesterov: bool = False
    """Take the gradient's own step on top of the velocity's. It often converges sooner where
    gradients have little noise. Needs momentum."""
    damp_first: bool = False
    """Dampen the first gradient too, as if the velocity began at 0."""
    lr_inside: bool = False
    """Multiply lr into the velocity instead of into the step, which differs when lr changes."""
    inverse_sqrt: bool = False
    """Divide lr by √t, so that steps grow shorter by themselves."""
    velocity_dtype: SlotDType = AUTO
    """The dtype of the velocity, such as `"bfloat16"`."""

    @override
    def check(self) -> None:
        if self.nesterov and self.momentum == 0.0:
            raise ConfigError(
                "SGDConfig.nesterov: expected momentum above 0, got momentum=0.0; set "
                "momentum=0.9, or nesterov=False"
            )


@rule
def sgd(
    p: V,
    g: V,
    velocity: V | None = None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    t: int,
    nesterov: bool = False,
    damp_first: bool = False,
    lr_inside: bool = False,
    inverse_sqrt: bool = False,
) -> tuple[V, V | None]:
    """A step against the gradient, or along the velocity, which starts with the first one.

    >>> sgd(1.0, 2.0, 4.0, lr=0.5, momentum=0.5, dampening=0.25, t=2)
    (-0.75, 3.5)
    """
    if inverse_sqrt:
        lr = lr / sqrt(t)
    if velocity is None:
        return p - lr * g, None
    if lr_inside:
        g, lr = lr * g, 1.0
    moving = momentum * velocity + (1 - dampening) * g
    velocity = moving if damp_first else where(t == 1, g, moving)
    step = g + momentum * velocity if nesterov else velocity
    return p - (step if lr_inside else lr * step), velocity


class SGD(Optimizer[B, SGDConfig]):
    """Stochastic gradient descent: a step against the gradient, or along a running sum of them.

    With the gradient g::

        velocity ← g                                              in the first update
        velocity ← momentum · velocity + (1 - dampening) · g      afterwards
        p        ← p - lr · velocity
        p        ← p - lr · (g + momentum · velocity)             with nesterov

    Without momentum, p ← p - lr · g and no state is kept.

    >>> p = nn.Parameter(born.tensor([1.0, -1.0], backend))
    >>> optimizer = optim.SGD([p], optim.SGDConfig(lr=0.1, momentum=0.9))
    >>> p.grad = born.tensor([1.0, 2.0], p.backend)
    >>> report = optimizer.step()
    >>> p.numpy()
    array([ 0.9, -1.2], dtype=float32)
    >>> report = optimizer.step()
    >>> p.numpy()
    array([ 0.71, -1.58], dtype=float32)

    Where other libraries differ: PyTorch computes the same. Keras, TensorFlow and itsubaki's
    autograd keep lr in the velocity (`lr_inside`). MLX dampens the first gradient too
    (`damp_first`); so do tiny-pytorch and dtorch, whose velocity is an average
    (`dampening=None`). Burn dampens by 0.1 unless told not to. GoMLX divides lr by √t
    (`inverse_sqrt`). Keras and tiny-pytorch decay weights beside the update. `SGDConfig.like`
    sets each of these.

    Source: Polyak (1964), "Some methods of speeding up the convergence of iteration methods";
    Sutskever, Martens, Dahl and Hinton (2013), "On the importance of initialization and
    momentum in deep learning", section 2.
    """

    config_type = SGDConfig

    @classmethod
    @override
    def rule(cls, config: SGDConfig) -> Rule:
        dampening = config.momentum if config.dampening is None else config.dampening
        keep = ("velocity",) if config.momentum != 0.0 else ()
        return decayed(Rule.from_config(sgd, config, keep=keep, dampening=dampening), config)
