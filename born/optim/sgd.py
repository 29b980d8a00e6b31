"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from dataclasses import dataclass

from born.errors import ConfigError
from born.fusion import where
from born.fusion.expression import V
from born.optim.config import Config, DecayRate, NonNegative, UnitInterval
from born.optim.optimizer import Optimizer
from born.optim.rule import AUTO, Rule, check_slot_dtype, rule, with_l2
from born.tensor import B


@dataclass(frozen=True, slots=True, kw_only=True)
class SGDConfig(Config):
    """What `SGD` is told; what each value does is said there.

    Args:
        lr: learning rate, at least 0.
        momentum: in [0, 1); 0 keeps no velocity.
        dampening: in [0, 1].
        nesterov: look ahead along the velocity; needs momentum and no dampening.
        weight_decay: factor of the L2 term, at least 0.
        velocity_dtype: the dtype of the velocity, such as `"bfloat16"`.

    Raises:
        ConfigError: a value out of range, or nesterov without momentum or with
            dampening.
        ConfigTypeError: a value of the wrong type.

    >>> SGDConfig(lr=0.1, momentum=0.9).to_json()
    {'type': 'SGDConfig', 'lr': 0.1, 'momentum': 0.9, 'dampening': 0.0, 'nesterov': False,
     'weight_decay': 0.0, 'velocity_dtype': 'auto'}
    """

    lr: NonNegative = 0.01
    momentum: DecayRate = 0.0
    dampening: UnitInterval = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0
    velocity_dtype: str = AUTO

    def check(self) -> None:
        """Refuse nesterov without an undamped velocity, and a dtype that no state can have."""
        check_slot_dtype("SGDConfig.velocity_dtype", self.velocity_dtype)
        if self.nesterov and (self.momentum == 0.0 or self.dampening != 0.0):
            raise ConfigError(
                "SGDConfig.nesterov: expected momentum above 0 and dampening of 0, got "
                f"momentum={self.momentum} and dampening={self.dampening}; "
                "set momentum=0.9 and dampening=0, or nesterov=False"
            )


class SGD(Optimizer[B, SGDConfig]):
    """Stochastic gradient descent: a step against the gradient, or along a running sum of them.

    With the gradient g, plus weight_decay · p where that is not 0::

        velocity ← g                                              in the first update
        velocity ← momentum · velocity + (1 - dampening) · g      afterwards
        p        ← p - lr · velocity
        p        ← p - lr · (g + momentum · velocity)             with nesterov

    Without momentum, p ← p - lr · g and no state is kept.

    Args:
        parameters: what to train, each once, all on one backend.
        config: an `SGDConfig`:

            - lr (0.01): the length of a step. Raise it until the loss turns unstable,
              then take a third; lower it towards the end of training.
            - momentum (0.0): how much of the velocity is kept. 0.9 evens out noisy
              gradients and speeds up long narrow valleys; a step is then up to
              1 / (1 - momentum) times as long, so lower lr.
            - dampening (0.0): how much of each later gradient is left out. Set it to
              `momentum` to make the velocity an average instead of a sum.
            - nesterov (False): take the gradient's own step on top of the velocity's.
              It often converges sooner where gradients have little noise.
            - weight_decay (0.0): pulls weights towards 0 to fit noise less; 1e-4 is
              common.

    Raises:
        ParameterError: no parameters, one twice, or parameters of two backends.
        ConfigTypeError: not an `SGDConfig`.

    >>> import born
    >>> from born import nn, optim
    >>> p = nn.Parameter(born.tensor([1.0, -1.0], born.get_backend("numpy")))
    >>> optimizer = optim.SGD([p], optim.SGDConfig(lr=0.1, momentum=0.9))
    >>> p.grad = born.tensor([1.0, 2.0], p.backend)
    >>> optimizer.step()
    >>> p.numpy()
    array([ 0.9, -1.2], dtype=float32)
    >>> optimizer.step()
    >>> p.numpy()
    array([ 0.71, -1.58], dtype=float32)

    Where other libraries differ: PyTorch computes the same. Optax's `sgd` and
    TensorFlow's start the velocity at 0, which is the same only without dampening;
    Sutskever et al. and TensorFlow multiply lr into the velocity, which differs when lr
    changes during training. weight_decay is an L2 term, not the decoupled decay of AdamW.

    Source: Polyak (1964), "Some methods of speeding up the convergence of iteration
    methods"; Sutskever, Martens, Dahl and Hinton (2013), "On the importance of
    initialization and momentum in deep learning", section 2.
    """

    config_type = SGDConfig

    @classmethod
    def rule(cls, config: SGDConfig) -> Rule:
        """The formula for this config: with a velocity only where there is momentum."""
        if config.momentum == 0.0:
            plain = Rule(sgd, slots=(), scalars={"lr": config.lr})
            return with_l2(plain, config.weight_decay)
        moving = Rule(
            sgd_nesterov if config.nesterov else sgd_momentum,
            slots=("velocity",),
            scalars={
                "lr": config.lr,
                "momentum": config.momentum,
                "dampening": config.dampening,
            },
            slot_dtypes={"velocity": config.velocity_dtype},
        )
        return with_l2(moving, config.weight_decay)


@rule
def sgd(p: V, g: V, *, lr: float, t: int) -> tuple[V]:
    """A step against the gradient.

    >>> sgd(1.0, 2.0, lr=0.25, t=1)
    (0.5,)
    """
    return (p - lr * g,)


def next_velocity(g: V, velocity: V, *, momentum: float, dampening: float, t: int) -> V:
    """The running sum of gradients, which starts with the first gradient, undamped.

    >>> next_velocity(2.0, 4.0, momentum=0.5, dampening=0.25, t=2)
    3.5
    """
    return where(t == 1, g, momentum * velocity + (1 - dampening) * g)


@rule
def sgd_momentum(
    p: V, g: V, velocity: V, *, lr: float, momentum: float, dampening: float, t: int
) -> tuple[V, V]:
    """A step along the velocity.

    >>> sgd_momentum(1.0, 2.0, 0.0, lr=0.25, momentum=0.5, dampening=0.0, t=1)
    (0.5, 2.0)
    """
    velocity = next_velocity(g, velocity, momentum=momentum, dampening=dampening, t=t)
    return p - lr * velocity, velocity


@rule
def sgd_nesterov(
    p: V, g: V, velocity: V, *, lr: float, momentum: float, dampening: float, t: int
) -> tuple[V, V]:
    """A step along the gradient and the velocity after it.

    >>> sgd_nesterov(1.0, 2.0, 0.0, lr=0.25, momentum=0.5, dampening=0.0, t=1)
    (0.25, 2.0)
    """
    velocity = next_velocity(g, velocity, momentum=momentum, dampening=dampening, t=t)
    return p - lr * (g + momentum * velocity), velocity
