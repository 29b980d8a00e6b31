"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from born.backend import B
from born.errors import ConfigError
from born.fusion import V, where
from born.optim.config import Config
from born.optim.fields import AUTO, DecayRate, NonNegative, SlotDType, UnitInterval
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.transforms import l2


@dataclass(frozen=True, slots=True, kw_only=True)
class SGDConfig(Config):
    """The settings of `SGD`; nesterov needs momentum and no dampening.

    >>> SGDConfig(lr=0.1, momentum=0.9).to_json()
    {'type': 'SGDConfig', 'lr': 0.1, 'momentum': 0.9, 'dampening': 0.0, 'nesterov': False,
     'weight_decay': 0.0, 'velocity_dtype': 'auto'}
    """

    lr: NonNegative = 0.01
    """The length of a step. Raise it until the loss turns unstable, then take a third; lower
    it towards the end of training."""
    momentum: DecayRate = 0.0
    """How much of the velocity is kept; with 0 there is none. 0.9 evens out noisy gradients
    and speeds up long narrow valleys; a step is then up to 1 / (1 - momentum) times as long,
    so lower lr."""
    dampening: UnitInterval = 0.0
    """How much of each later gradient is left out. Set it to `momentum` to make the velocity
    an average instead of a sum."""
    nesterov: bool = False
    """Take the gradient's own step on top of the velocity's. It often converges sooner where
    gradients have little noise. Needs momentum, and no dampening."""
    weight_decay: NonNegative = 0.0
    """The factor of an L2 term, which pulls weights towards 0 to fit noise less; 1e-4 is
    common."""
    velocity_dtype: SlotDType = AUTO
    """The dtype of the velocity, such as `"bfloat16"`."""

    @override
    def check(self) -> None:
        if self.nesterov and (self.momentum == 0.0 or self.dampening != 0.0):
            raise ConfigError(
                "SGDConfig.nesterov: expected momentum above 0 and dampening of 0, got "
                f"momentum={self.momentum} and dampening={self.dampening}; "
                "set momentum=0.9 and dampening=0, or nesterov=False"
            )


@rule
def sgd(p: V, g: V, *, lr: float) -> tuple[V]:
    """A step against the gradient.

    >>> sgd(1.0, 2.0, lr=0.25)
    (0.5,)
    """
    return (p - lr * g,)


@rule
def sgd_momentum(
    p: V, g: V, velocity: V, *, lr: float, momentum: float, dampening: float, t: int
) -> tuple[V, V]:
    """A step along the velocity, which starts with the first gradient, undamped.

    >>> sgd_momentum(1.0, 2.0, 4.0, lr=0.5, momentum=0.5, dampening=0.25, t=2)
    (-0.75, 3.5)
    """
    velocity = where(t == 1, g, momentum * velocity + (1 - dampening) * g)
    return p - lr * velocity, velocity


@rule
def sgd_nesterov(
    p: V, g: V, velocity: V, *, lr: float, momentum: float, dampening: float, t: int
) -> tuple[V, V]:
    """A step along the gradient and the velocity after it.

    >>> sgd_nesterov(1.0, 2.0, 0.0, lr=0.25, momentum=0.5, dampening=0.0, t=1)
    (0.25, 2.0)
    """
    velocity = where(t == 1, g, momentum * velocity + (1 - dampening) * g)
    return p - lr * (g + momentum * velocity), velocity


class SGD(Optimizer[B, SGDConfig]):
    """Stochastic gradient descent: a step against the gradient, or along a running sum of them.

    With the gradient g, plus weight_decay · p where that is not 0::

        velocity ← g                                              in the first update
        velocity ← momentum · velocity + (1 - dampening) · g      afterwards
        p        ← p - lr · velocity
        p        ← p - lr · (g + momentum · velocity)             with nesterov

    Without momentum, p ← p - lr · g and no state is kept.

    >>> p = nn.Parameter(born.tensor([1.0, -1.0], backend))
    >>> optimizer = optim.SGD([p], optim.SGDConfig(lr=0.1, momentum=0.9))
    >>> p.grad = born.tensor([1.0, 2.0], p.backend)
    >>> optimizer.step()
    >>> p.numpy()
    array([ 0.9, -1.2], dtype=float32)
    >>> optimizer.step()
    >>> p.numpy()
    array([ 0.71, -1.58], dtype=float32)

    Where other libraries differ: PyTorch computes the same. Optax's `sgd` and TensorFlow's
    start the velocity at 0, which is the same only without dampening; Sutskever et al. and
    TensorFlow multiply lr into the velocity, which differs when lr changes during training.
    weight_decay is an L2 term, not the decoupled decay of AdamW.

    Source: Polyak (1964), "Some methods of speeding up the convergence of iteration methods";
    Sutskever, Martens, Dahl and Hinton (2013), "On the importance of initialization and
    momentum in deep learning", section 2.
    """

    config_type = SGDConfig

    @classmethod
    @override
    def rule(cls, config: SGDConfig) -> Rule:
        formula = sgd_nesterov if config.nesterov else sgd_momentum if config.momentum else sgd
        return l2(Rule.from_config(formula, config), config.weight_decay)
