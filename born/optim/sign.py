"""Lion, Signum and Rprop: steps by the sign of the gradient, not by its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from typing_extensions import override

from born.backend import B
from born.errors import ConfigError
from born.fusion import V, maximum, minimum, sign, where
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, Decay, DecayRate, Interval, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import rule
from born.optim.scalars import value_at
from born.optim.slot import UNSET, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class LionConfig(UpdateConfig):
    """The settings of `Lion`.

    >>> LionConfig.like("optax").weight_decay
    0.001
    """

    presets: ClassVar[Presets] = {
        "optax": {"weight_decay": 1e-3},
        "keras": {"lr": 1e-3},
        "mlx": {},
    }

    lr: NonNegative = 1e-4
    """How far every element moves in a step: a third to a tenth of what suits Adam."""
    weight_decay: NonNegative = 0.0
    """How fast weights are pulled towards 0: three to ten times what suits AdamW."""
    decay: Decay = "decoupled"
    """`"decoupled"`, as in the paper; `"independent"` of lr; or `"l2"`, in the gradient."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.99)
    """How much of the average counts in the update, and how much of it is kept."""
    m_dtype: SlotDType = AUTO
    """The dtype of the average, such as `"bfloat16"`."""


@rule
def lion(p: V, g: V, m: V, *, lr: float, beta1: float, beta2: float) -> tuple[V, V]:
    """One update of Lion.

    >>> lion(1.0, 4.0, -2.0, lr=0.25, beta1=0.5, beta2=0.75)
    (0.75, -0.5)
    """
    update = sign(beta1 * m + (1 - beta1) * g)
    return p - lr * update, beta2 * m + (1 - beta2) * g


class Lion(Optimizer[B, LionConfig]):
    """Lion: every element moves by lr, in the direction of an average of its gradient.

    With the gradient g::

        p ← p - lr · (sign(β1 · m + (1 - β1) · g) + weight_decay · p)
        m ← β2 · m + (1 - β2) · g

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.Lion([p], lr=0.1).step({p.raw: born.tensor([0.01, -500.0], p.backend).raw})
    >>> p.numpy()
    array([0.9, 1.1], dtype=float32)

    Where other libraries differ: MLX and Keras compute the same, and so does Optax, with a
    weight_decay of 1e-3 unless told otherwise.

    Source: Chen et al. (2023), "Symbolic discovery of optimization algorithms", algorithm 2.
    """

    config_type = LionConfig
    formula = lion


@dataclass(frozen=True, slots=True, kw_only=True)
class SignumConfig(UpdateConfig):
    """The settings of `Signum`.

    >>> SignumConfig(momentum=0.0)
    SignumConfig(lr=0.0001, momentum=0.0)
    """

    presets: ClassVar[Presets] = {"optax": {}}

    lr: NonNegative = 1e-4
    """How far every element moves in a step."""
    momentum: DecayRate = 0.9
    """How much of the average of g is kept; with 0 the sign is that of the gradient."""
    m_dtype: SlotDType = AUTO
    """The dtype of the average, such as `"bfloat16"`."""


@rule
def signum(p: V, g: V, m: V, *, lr: float, momentum: float) -> tuple[V, V]:
    """One update of Signum.

    >>> signum(1.0, 4.0, -2.0, lr=0.25, momentum=0.5)
    (0.75, 1.0)
    """
    m = momentum * m + (1 - momentum) * g
    return p - lr * sign(m), m


class Signum(Optimizer[B, SignumConfig]):
    """Signum: every element moves by lr, against the sign of an average of its gradient.

    With the gradient g::

        m ← momentum · m + (1 - momentum) · g
        p ← p - lr · sign(m)

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.Signum([p], lr=0.1).step({p.raw: born.tensor([0.01, -500.0], p.backend).raw})
    >>> p.numpy()
    array([0.9, 1.1], dtype=float32)

    Where other libraries differ: Optax computes the same.

    Source: Bernstein, Wang, Azizzadenesheli and Anandkumar (2018), "signSGD: compressed
    optimisation for non-convex problems", algorithm 2.
    """

    config_type = SignumConfig
    formula = signum


@dataclass(frozen=True, slots=True, kw_only=True)
class RpropConfig(UpdateConfig):
    """The settings of `Rprop`; the first of the step sizes is not above the second.

    >>> RpropConfig(step_sizes=(1.0, 0.5))
    Traceback (most recent call last):
        ...
    born.errors.ConfigError: RpropConfig.step_sizes: expected the smallest and then the largest, ...
    """

    presets: ClassVar[Presets] = {"torch": {}}

    lr: NonNegative = 0.01
    """The first step size of each element; setting it later changes nothing."""
    etas: tuple[DecayRate, Annotated[float, Interval(1.0)]] = (0.5, 1.2)
    """What a step size is multiplied by, where the gradient changes its sign, and where not."""
    step_sizes: tuple[NonNegative, NonNegative] = (1e-6, 50.0)
    """The smallest and the largest step size."""
    previous_dtype: SlotDType = AUTO
    """The dtype of the last gradient, such as `"bfloat16"`: its sign is all that counts."""
    size_dtype: SlotDType = AUTO
    """The dtype of the step sizes."""

    @override
    def check(self) -> None:
        smallest, largest = (value_at(size, 1) for size in self.step_sizes)
        if smallest > largest:
            raise ConfigError(
                "RpropConfig.step_sizes: expected the smallest and then the largest, got "
                f"{self.step_sizes}; exchange them"
            )


@rule(size=Slot(start=UNSET, exact=True))
def rprop(
    p: V,
    g: V,
    previous: V,
    size: V,
    *,
    lr: float,
    eta1: float,
    eta2: float,
    step_size1: float,
    step_size2: float,
) -> tuple[V, V, V]:
    """One update of Rprop.

    >>> factors = {"eta1": 0.5, "eta2": 1.25, "step_size1": 0.0, "step_size2": 50.0}
    >>> rprop(1.0, 4.0, 2.0, 0.5, lr=0.1, **factors)
    (0.375, 4.0, 0.625)
    """
    turned = sign(g) * sign(previous)
    factor = where(turned > 0, eta2, where(turned < 0, eta1, 1.0))
    size = minimum(maximum(where(size < 0, lr, size) * factor, step_size1), step_size2)
    g = where(turned < 0, 0.0, g)
    return p - sign(g) * size, g, size


class Rprop(Optimizer[B, RpropConfig]):
    """Rprop: each element has a step size, which grows until its gradient changes sign.

    For whole batches: the noise of small ones changes signs. With the gradient g, and size = lr at
    first::

        where g · previous > 0:   size ← min(size · η2, largest)
        where g · previous < 0:   size ← max(size · η1, smallest),  g ← 0
        p ← p - sign(g) · size
        previous ← g

    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> _ = optim.Rprop([p], lr=0.1).step({p.raw: born.tensor([0.01, -500.0], p.backend).raw})
    >>> p.numpy()
    array([0.9, 1.1], dtype=float32)

    Where other libraries differ: PyTorch computes the same. Optax (0.2.8) takes the step that
    it should have taken one update earlier.

    Source: Riedmiller and Braun (1993), "A direct adaptive method for faster backpropagation
    learning: the RPROP algorithm"; the form without backtracking of Igel and Hüsken (2000).
    """

    config_type = RpropConfig
    formula = rprop
