"""Adafactor: Adam's v of a matrix kept as its row and column means alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from typing_extensions import override

from born.backend import B
from born.dtypes import float32
from born.fusion import V, maximum, mean, minimum, sqrt
from born.nn import Parameter
from born.optim.config import Presets, UpdateConfig
from born.optim.fields import AUTO, Decay, DecayRate, Interval, NonNegative, SlotDType
from born.optim.optimizer import Optimizer
from born.optim.rule import Rule, rule
from born.optim.slot import Slot
from born.optim.transforms import decayed


@dataclass(frozen=True, slots=True, kw_only=True)
class AdafactorConfig(UpdateConfig):
    """The settings of `Adafactor`.

    >>> AdafactorConfig.like("optax").factor_from
    128
    """

    presets: ClassVar[Presets] = {
        "torch": {},
        "optax": {
            "eps": (1e-30, 1e-3),
            "eps_in_square": True,
            "relative_step": False,
            "factor_from": 128,
            "factored_axes": "largest",
            "decay": "independent",
        },
        "keras": {
            "lr": 1e-3,
            "eps": (1e-30, 1e-3),
            "eps_in_square": True,
            "decoupled_from": "before",
        },
        "mlx": {"eps": (1e-30, 1e-3), "eps_in_square": True, "decoupled_from": "step"},
    }

    lr: NonNegative = 0.01
    """The largest share of a parameter's size that it moves by in a step."""
    relative_step: bool = True
    """Take 1 / √t for lr where that is less."""
    scale_parameter: bool = True
    """Multiply by the root mean square of the parameter, or `eps[1]` where that is larger."""
    beta2_decay: Annotated[float, Interval(-1.0, 0.0)] = -0.8
    """β2 of update t is 1 - t to this power."""
    eps: tuple[NonNegative | None, NonNegative] = (None, 1e-3)
    """What bounds v from below, None for the distance from 1 to the next number of the dtype, and
    the least size of a parameter."""
    eps_in_square: bool = False
    """Add `eps[0]` to g² instead of clamping v by it."""
    clip: NonNegative = 1.0
    """The largest root mean square of an update, before it is multiplied by the step."""
    factor_from: Annotated[int, Interval(1)] = 1
    """Matrices with fewer rows or columns keep all of v, as vectors do."""
    factored_axes: Literal["last", "largest"] = "last"
    """Which axes of more than two are rows and columns: the last two, or the two longest."""
    momentum: DecayRate = 0.0
    """How much of the average of updates is kept; with 0 there is none, which saves memory."""
    decay: Decay = "decoupled"
    """`"decoupled"`, `"independent"` of lr, or `"l2"`, in the gradient."""
    decoupled_from: Literal["lr", "step", "before"] = "lr"
    """A decoupled decay is at rate lr; at that of the step, which has the parameter's size in it;
    or at rate lr, `"before"` the parameter's size is taken."""
    row_dtype: SlotDType = AUTO
    """The dtype of the means of rows, such as `"bfloat16"`."""
    column_dtype: SlotDType = AUTO
    """The dtype of the means of columns."""
    v_dtype: SlotDType = AUTO
    """The dtype of the v of vectors."""
    m_dtype: SlotDType = AUTO
    """The dtype of the average of updates."""


def _factored(
    g: V, row: V, column: V, new: float, eps1: float, eps_in_square: bool
) -> tuple[V, V, V]:
    """Algorithm 4: the means of g² over rows and over columns, and √v as they give it."""
    added = eps1 if eps_in_square else 0.0
    by_row: V = (1 - new) * row + new * (mean(g * g, axis=-1) + added)
    by_column: V = (1 - new) * column + new * (mean(g * g, axis=-2) + added)
    size: V = mean(by_row, axis=-2)
    if eps_in_square:
        return by_row, by_column, sqrt(by_row * by_column / size)
    v = by_row * by_column / maximum(size, eps1)
    return by_row, by_column, sqrt(maximum(v, eps1 * eps1))


def _whole(g: V, v: V, new: float, eps1: float, eps_in_square: bool) -> tuple[V, V]:
    """The average of g² of a vector, and √v."""
    added = eps1 if eps_in_square else 0.0
    v = (1 - new) * v + new * (g * g + added)
    return v, sqrt(v if eps_in_square else maximum(v, eps1 * eps1))


@rule(row=Slot("rows"), column=Slot("columns"))
def adafactor(
    p: V,
    g: V,
    row: V | None = None,
    column: V | None = None,
    v: V | None = None,
    m: V | None = None,
    *,
    lr: float,
    beta2_decay: float,
    eps1: float,
    eps2: float,
    clip: float,
    momentum: float,
    weight_decay: float,
    t: int,
    relative_step: bool = True,
    scale_parameter: bool = True,
    eps_in_square: bool = False,
    decay_from: str = "nothing",
) -> tuple[V, V | None, V | None, V | None, V | None]:
    """One update of Adafactor.

    >>> scalars = {"beta2_decay": -0.8, "eps1": 0.0, "eps2": 0.0, "clip": 1.0, "momentum": 0.0}
    >>> adafactor(4.0, 2.0, v=0.0, lr=0.25, **scalars, weight_decay=0.0, t=1)
    (3.0, None, None, 4.0, None)
    """
    rate = minimum(lr, 1 / sqrt(t)) if relative_step else lr
    if decay_from == "before":
        p = (1 - lr * weight_decay) * p
    new = t**beta2_decay  # 1 - β2
    if row is not None and column is not None:
        row, column, root = _factored(g, row, column, new, eps1, eps_in_square)
    else:
        assert v is not None
        v, root = _whole(g, v, new, eps1, eps_in_square)
    update: V = g / root
    squares: V = mean(update * update)
    sizes: V = mean(p * p)
    scale = maximum(sqrt(sizes), eps2) if scale_parameter else 1.0
    update = update * (rate / maximum(sqrt(squares) / clip, 1.0) * scale)
    if m is not None:
        m = update = momentum * m + (1 - momentum) * update
    if decay_from in ("lr", "step"):
        update = update + (lr if decay_from == "lr" else rate * scale) * weight_decay * p
    return p - update, row, column, v, m


class Adafactor(Optimizer[B, AdafactorConfig]):
    """Adafactor: adaptive steps with next to no state: a number for each row and column.

    With the gradient g of a matrix, β2 = 1 - t^beta2_decay, and means over rows and columns::

        row    ← β2 · row + (1 - β2) · mean(g², axis=-1)
        column ← β2 · column + (1 - β2) · mean(g², axis=-2)
        v      = row · column / max(mean(row), eps₁)
        u      = g / √max(v, eps₁²)
        p      ← p - min(lr, 1/√t) · max(RMS(p), eps₂) · u / max(1, RMS(u) / clip)

    A vector keeps v ← β2 · v + (1 - β2) · g² itself. Of more than two axes, the last two are rows
    and columns.

    >>> p = nn.Parameter(born.tensor([[3.0, 4.0], [1.0, 2.0]], backend))
    >>> optimizer = optim.Adafactor([p], lr=0.1)
    >>> report = optimizer.step({p.raw: born.ones((2, 2), p.backend).raw})
    >>> p.numpy().round(3)
    array([[2.726, 3.726],
           [0.726, 1.726]], dtype=float32)

    Where other libraries differ: PyTorch computes the same, except that eps₁ of half precision is
    float32's here. Optax and Keras add 1e-30 to g² (`eps_in_square`), as does MLX. Optax has no
    relative step, factors from 128 rows and columns on (`factor_from`), over the two longest axes
    (`factored_axes`), and its decay does not have lr in it (`"independent"`). Keras decays before
    the parameter's size is taken, MLX at the step's own rate (`decoupled_from`).

    Source: Shazeer and Stern (2018), "Adafactor: adaptive learning rates with sublinear memory
    cost", algorithms 4 and 5.
    """

    config_type = AdafactorConfig

    @classmethod
    @override
    def rule(cls, config: AdafactorConfig) -> Rule:
        return _rule(config, ("row", "column"), np.dtype(float32))

    @classmethod
    @override
    def rule_for(cls, config: AdafactorConfig, parameter: Parameter[Any]) -> Rule:
        shape, order = parameter.shape, tuple(range(len(parameter.shape)))
        if config.factored_axes == "largest" and len(shape) > 2:
            largest = sorted(map(int, np.argsort(shape)[-2:]))  # as Optax breaks ties
            order = (*(axis for axis in order if axis not in largest), *largest)
        if len(shape) < 2 or min(shape[axis] for axis in order[-2:]) < config.factor_from:
            return _rule(config, ("v",), parameter.dtype)
        rule = _rule(config, ("row", "column"), parameter.dtype)
        return rule if order == tuple(range(len(shape))) else replace(rule, order=order)


def _rule(config: AdafactorConfig, slots: tuple[str, ...], dtype: np.dtype[Any]) -> Rule:
    keep = (*slots, "m") if config.momentum != 0.0 else slots
    decays = config.decay == "decoupled" and config.weight_decay != 0.0
    eps1, eps2 = config.eps
    if eps1 is None:
        eps1 = float(np.finfo(dtype if dtype.itemsize > 2 else float32).eps)
    undecayed = Rule.from_config(
        adafactor,
        config,
        keep=keep,
        eps1=eps1,
        eps2=eps2,
        decay_from=config.decoupled_from if decays else "nothing",
    )
    return decayed(undecayed, config.replace(weight_decay=0.0) if decays else config)
