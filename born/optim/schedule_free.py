"""Schedule-free SGD and AdamW: an average of all steps in place of a schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from typing_extensions import override

from born.backend import B, Backend
from born.errors import ConfigError
from born.fusion import V, maximum, minimum, sqrt, where
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, Decay, DecayRate, Interval, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.scalars import value_at
from born.optim.slot import Slot
from born.optim.transforms import decayed
from born.raw import RawTensor


def averaged_step(
    p: V,
    z: V,
    update: V,
    weights: V,
    most: V,
    *,
    lr: float,
    beta: float,
    warmup: float,
    weight_power: float,
    r: float,
    t: int,
    from_zero: bool = False,
) -> tuple[V, V, V, V]:
    """From y and z to the next, and what the weights of the average are made from.

    The steps of z are plain ones; x is their weighted average, and y, where gradients are
    taken, lies between: y = (1 - β) z + β x. x need not be stored.
    """
    rate = lr * minimum(t / maximum(warmup, 1.0), 1.0)
    most = maximum(most, rate)
    if from_zero:
        rate = lr * minimum((t - 1) / warmup, 1.0)
    weight = t**r * most**weight_power
    weights = weights + weight
    share = where(weights > 0, weight / where(weights > 0, weights, 1.0), 0.0)
    p = p + share * (z - p) - rate * (1 - beta * (1 - share)) * update
    return p, z - rate * update, weights, most


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFreeSGDConfig(UpdateConfig):
    """The settings of `ScheduleFreeSGD`; momentum is above 0.

    >>> ScheduleFreeSGDConfig(momentum=0.0)
    Traceback (most recent call last):
        ...
    born.errors.ConfigError: ScheduleFreeSGDConfig.momentum: expected a float above 0, got 0.0; ...
    """

    presets: ClassVar[Presets] = {"optax": {"warmup_from_zero": True}}

    lr: NonNegative = 1.0
    """The length of a step: 10 to 50 times that of SGD with momentum and a schedule."""
    momentum: DecayRate = 0.9
    """How far towards the average gradients are taken. It is not a momentum: 0.9 is usual."""
    warmup: Annotated[int, Interval(0)] = 0
    """Over so many updates lr rises to its full value, from 1 / warmup in the first."""
    warmup_from_zero: bool = False
    """Let the step rise from 0, an update later than its weight in the average, so that the first
    moves nothing."""
    weight_power: NonNegative = 2.0
    """To which power of the largest lr so far a step counts in the average."""
    r: NonNegative = 0.0
    """To which power of its number a step counts in the average."""
    z_dtype: SlotDType = AUTO
    """The dtype of z, such as `"float32"`."""

    @override
    def check(self) -> None:
        _check_above_zero(f"{type(self).__name__}.momentum", self.momentum)


@rule(z=Slot(start="p"), weights=Slot("tensor"), most=Slot("tensor"))
def schedule_free_sgd(
    p: V,
    g: V,
    z: V,
    weights: V,
    most: V,
    *,
    lr: float,
    momentum: float,
    warmup: float,
    weight_power: float,
    r: float,
    t: int,
    from_zero: bool = False,
) -> tuple[V, V, V, V]:
    """One update of schedule-free SGD.

    >>> scalars = {"momentum": 0.5, "warmup": 0, "weight_power": 2.0, "r": 0.0}
    >>> schedule_free_sgd(1.0, 2.0, 1.0, 0.0, 0.0, lr=0.5, **scalars, t=1)
    (0.0, 0.0, 0.25, 0.5)
    """
    return averaged_step(
        p,
        z,
        g,
        weights,
        most,
        lr=lr,
        beta=momentum,
        warmup=warmup,
        weight_power=weight_power,
        r=r,
        t=t,
        from_zero=from_zero,
    )


class ScheduleFreeSGD(Optimizer[B, ScheduleFreeSGDConfig]):
    """Schedule-free SGD: no schedule and no end of training to know in advance.

    Parameters are y, where gradients are taken; `optimizer.weights("x")` is the average, for
    evaluation and for files. With the gradient g at y, the largest lr so far η̂, and η̂₁² + ... + η̂ₜ²
    as W::

        z ← z - lr · g
        x ← (1 - c) · x + c · z         c = η̂² / W
        y = (1 - momentum) · z + momentum · x

    >>> p = nn.Parameter(born.tensor([4.0, -2.0], backend))
    >>> optimizer = optim.ScheduleFreeSGD([p], lr=0.5)
    >>> for _ in range(20):
    ...     report = optimizer.step({p.raw: p.tensor.raw})
    >>> with optimizer.weights("x"):
    ...     print(p.numpy().round(2))
    [-0.14  0.07]

    Where other libraries differ: schedulefree computes the same, with a train and an eval mode in
    place of `weights`. In Optax a warm-up is a schedule of the base: its first step moves nothing
    (`warmup_from_zero`).

    Source: Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky (2024), "The road less scheduled",
    algorithm 1.
    """

    config_type = ScheduleFreeSGDConfig
    made_weights = ("x",)

    @classmethod
    @override
    def rule(cls, config: ScheduleFreeSGDConfig) -> Rule:
        from_zero = config.warmup_from_zero and config.warmup > 0
        return decayed(Rule.from_config(schedule_free_sgd, config, from_zero=from_zero), config)

    @classmethod
    @override
    def weights_from(
        cls,
        name: str,
        config: ScheduleFreeSGDConfig,
        t: int,
        p: RawTensor,
        slot: Callable[[str], RawTensor],
        backend: Backend,
    ) -> RawTensor | None:
        return _x(p, slot("z"), value_at(config.momentum, t), backend) if name == "x" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFreeAdamWConfig(UpdateConfig):
    """The settings of `ScheduleFreeAdamW`; the first of the betas is above 0.

    >>> ScheduleFreeAdamWConfig.like("keras").weight_power
    0.0
    """

    presets: ClassVar[Presets] = {
        "optax": {"warmup_from_zero": True},
        "keras": {"weight_power": 0.0, "decay_first": True},
    }

    lr: NonNegative = 0.0025
    """About the largest change of an element in a step: one to ten times that of AdamW."""
    weight_decay: NonNegative = 0.0
    """How fast weights are pulled towards 0, at y."""
    decay: Decay = "decoupled"
    """`"decoupled"`, a part of the step of z; `"independent"` of lr, of y alone; or `"l2"`, in the
    gradient."""
    decay_first: bool = False
    """Let a decoupled decay shrink y before the step, instead of being a part of it."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """How far towards the average gradients are taken, and how much is kept of that of g²."""
    eps: NonNegative = 1e-8
    """Bounds the step where gradients vanish."""
    warmup: Annotated[int, Interval(0)] = 0
    """Over so many updates lr rises to its full value, from 1 / warmup in the first."""
    warmup_from_zero: bool = False
    """Let the step rise from 0, an update later than its weight in the average, so that the first
    moves nothing."""
    weight_power: NonNegative = 2.0
    """To which power of the largest lr so far a step counts in the average."""
    r: NonNegative = 0.0
    """To which power of its number a step counts in the average."""
    z_dtype: SlotDType = AUTO
    """The dtype of z, such as `"float32"`."""
    v_dtype: SlotDType = AUTO
    """The dtype of the average of g²."""

    @override
    def check(self) -> None:
        _check_above_zero(f"{type(self).__name__}.betas[0]", self.betas[0])


@rule(z=Slot(start="p"), weights=Slot("tensor"), most=Slot("tensor"))
def schedule_free_adamw(
    p: V,
    g: V,
    z: V,
    v: V,
    weights: V,
    most: V,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    warmup: float,
    weight_power: float,
    r: float,
    weight_decay: float,
    t: int,
    from_zero: bool = False,
    decay_with: str = "nothing",
) -> tuple[V, V, V, V, V]:
    """One update of schedule-free AdamW.

    >>> scalars = {"beta1": 0.5, "beta2": 0.75, "eps": 0.0, "warmup": 0, "weight_power": 2.0}
    >>> scalars |= {"r": 0.0, "weight_decay": 0.0}
    >>> schedule_free_adamw(1.0, 2.0, 1.0, 0.0, 0.0, 0.0, lr=0.5, **scalars, t=1)
    (0.5, 0.5, 1.0, 0.25, 0.5)
    """
    v = beta2 * v + (1 - beta2) * g * g
    update = g / (1 / sqrt(1 - beta2**t) * sqrt(v) + eps)
    if decay_with == "update":
        update = update + weight_decay * p
    if decay_with == "parameter":
        p = (1 - lr * weight_decay) * p
    p, z, weights, most = averaged_step(
        p,
        z,
        update,
        weights,
        most,
        lr=lr,
        beta=beta1,
        warmup=warmup,
        weight_power=weight_power,
        r=r,
        t=t,
        from_zero=from_zero,
    )
    return p, z, v, weights, most


class ScheduleFreeAdamW(Optimizer[B, ScheduleFreeAdamWConfig]):
    """Schedule-free AdamW: steps of RMSprop, averaged in place of a schedule.

    As `ScheduleFreeSGD`, with g / (√v̂ + eps) + weight_decay · y in place of g, where::

        v ← β2 · v + (1 - β2) · g²          v̂ = v / (1 - β2ᵗ)

    >>> p = nn.Parameter(born.tensor([4.0, -2.0], backend))
    >>> optimizer = optim.ScheduleFreeAdamW([p], lr=0.5)
    >>> for _ in range(20):
    ...     report = optimizer.step({p.raw: p.tensor.raw})
    >>> with optimizer.weights("x"):
    ...     print(p.numpy().round(2))
    [0.28 0.14]

    Where other libraries differ: schedulefree computes the same, and Optax but for its warm-up
    (`warmup_from_zero`).
    Keras weighs all steps alike (`weight_power=0`), and decays y first (`decay_first`).

    Source: Defazio et al. (2024), "The road less scheduled", section 3 and appendix B.
    """

    config_type = ScheduleFreeAdamWConfig
    made_weights = ("x",)

    @classmethod
    @override
    def rule(cls, config: ScheduleFreeAdamWConfig) -> Rule:
        own = config.decay == "decoupled" and config.weight_decay != 0.0
        with_what = "parameter" if config.decay_first else "update"
        made = Rule.from_config(
            schedule_free_adamw,
            config,
            from_zero=config.warmup_from_zero and config.warmup > 0,
            decay_with=with_what if own else "nothing",
        )
        return decayed(made, config.replace(weight_decay=0.0) if own else config)

    @classmethod
    @override
    def weights_from(
        cls,
        name: str,
        config: ScheduleFreeAdamWConfig,
        t: int,
        p: RawTensor,
        slot: Callable[[str], RawTensor],
        backend: Backend,
    ) -> RawTensor | None:
        return _x(p, slot("z"), value_at(config.betas[0], t), backend) if name == "x" else None


def _x(y: RawTensor, z: RawTensor, beta: float, backend: Backend) -> RawTensor:
    """x = (y - (1 - β) z) / β."""
    y_part = backend.mul(y if y.dtype == z.dtype else backend.astype(y, z.dtype), 1 / beta)
    x: RawTensor = backend.add(y_part, backend.mul(z, (beta - 1) / beta))
    return x if x.dtype == y.dtype else backend.astype(x, y.dtype)


def _check_above_zero(where: str, value: object) -> None:
    if value == 0.0:
        raise ConfigError(
            f"{where}: expected a float above 0, got {value}; x follows from y and z only above it"
        )
