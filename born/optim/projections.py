"""Projections: the nearest point that satisfies a constraint, as functions and for an optimizer.

Each function returns the point y of a convex set (or of the unit sphere) for which |y - x| is
least. An optimizer applies them after its update to the parameters that it has updated:

>>> model = nn.Linear(2, 2, backend)
>>> held = [optim.NonNegative("weight"), optim.Box("bias", low=-1.0, high=1.0)]
>>> optimizer = optim.SGD(model.parameters(), lr=0.1, projections=held)
"""

from __future__ import annotations

import fnmatch
import math
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, cast

import numpy as np
from typing_extensions import override

import born.ops as ops
from born.backend import B
from born.creation import arange, full, tensor
from born.dtypes import is_floating
from born.errors import (
    BornError,
    ConfigError,
    DTypeError,
    OperandError,
    ParameterError,
    ShapeError,
)
from born.nn import Parameter
from born.optim.checks import pattern_remedy
from born.optim.config import Settings
from born.optim.fields import Interval
from born.tensor import Tensor
from born.validation import flag, integer, number, type_error

_MOST: Final = 2048**2
"""The most elements in the matrices that `monotonic` makes of its sequences: 32 MB in double."""


def non_negative(x: Tensor[B]) -> Tensor[B]:
    """The nearest point without negative elements: max(x, 0).

    >>> projections.non_negative(born.tensor([-1.0, 2.0], backend))
    Tensor([0., 2.], dtype=float32)
    """
    return _checked(x).maximum(0.0)


def box(x: Tensor[B], low: float | None = None, high: float | None = None) -> Tensor[B]:
    """The nearest point whose elements are from low to high; None stands for no bound.

    >>> projections.box(born.tensor([-1.0, 0.5, 2.0], backend), 0.0, 1.0)
    Tensor([0. , 0.5, 1. ], dtype=float32)
    """
    _check_order(low, high)
    y = _checked(x) if low is None else _checked(x).maximum(low)
    return y if high is None else y.minimum(high)


def unit_norm(x: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """The nearest point of norm 1: x / |x|, along an axis or of all elements.

    All points of norm 1 are as near to 0 as each other; of them it is the one with equal elements.

    >>> projections.unit_norm(born.tensor([[3.0, 4.0], [0.0, 2.0]], backend), axis=1)
    Tensor([[0.6, 0.8],
            [0. , 1. ]], dtype=float32)
    """
    wide = _with_elements(_checked(x), axis).astype("float64")
    size = wide.abs().max(axis=axis, keepdims=True)
    # By its largest element first: squares neither overflow nor vanish.
    is_zero = size == 0.0
    scaled = is_zero.where(1.0, wide / is_zero.where(1.0, size))
    norm = (scaled * scaled).sum(axis=axis, keepdims=True).sqrt()
    return (scaled / norm).astype(x.dtype)


def simplex(x: Tensor[B], axis: int = -1, total: float = 1.0) -> Tensor[B]:
    """The nearest point whose elements along an axis are at least 0 and add up to a total.

    It is max(x - τ, 0) for one number τ, the mean excess of the elements that stay above 0. Each
    pass leaves out those that do not, until none is left to leave out; the test waits for the
    device.

    Source: Michelot (1986), "A finite algorithm for finding the projection of a point onto the
    canonical simplex of R^n".

    >>> projections.simplex(born.tensor([0.5, 0.9, -1.0], backend))
    Tensor([0.3, 0.7, 0. ], dtype=float32)
    """
    number("total", total, low=0.0)
    wide = _with_elements(_checked(x), axis).astype("float64")
    kept = wide * 0.0 + 1.0
    while True:
        count = kept.sum(axis=axis, keepdims=True)
        # Reckoned from the largest: elements may be larger than what they differ by.
        top = wide.max(axis=axis, keepdims=True)
        excess = (((wide - top) * kept).sum(axis=axis, keepdims=True) - total) / count
        left = ((wide - top) > excess).astype("float64") * kept
        left = (left.sum(axis=axis, keepdims=True) > 0.0).where(left, kept)
        if not (left < kept).any().item():
            return (wide - top - excess).maximum(0.0).astype(x.dtype)
        kept = left


def monotonic(
    x: Tensor[B], axis: int = -1, margin: float = 0.0, decreasing: bool = False
) -> Tensor[B]:
    """The nearest point whose elements rise along an axis, each by at least a margin.

    Without a margin this is isotonic regression: y_i = max over j ≤ i of min over k ≥ i of the
    mean of x_j, ..., x_k. With one, it is that of x less i · margin.

    Source: Barlow, Bartholomew, Bremner and Brunk (1972), "Statistical Inference under Order
    Restrictions", theorem 1.11.

    >>> projections.monotonic(born.tensor([0.0, 1.0, 1.0, 2.0], backend), margin=0.1)
    Tensor([0.  , 0.95, 1.05, 2.  ], dtype=float32)
    """
    number("margin", margin, low=0.0)
    axis = integer("axis", axis, None)
    if flag("decreasing", decreasing):
        return -monotonic(-_checked(x), axis, margin)
    if _checked(x).ndim == 0:
        raise ShapeError("expected a tensor with an axis to be monotonic along, got shape ()")
    moved = x.astype("float64").transpose(*_axis_last(x.ndim, axis))
    n = moved.shape[-1]
    if x.size == 0:
        return x * 1.0
    ramp = arange(n, backend=x.backend, dtype="float64") * margin
    flat = moved - ramp
    fitted = _isotonic(flat) if x.size * n <= _MOST else _isotonic_on_host(flat)
    back = np.argsort(_axis_last(x.ndim, axis)).tolist()
    return (fitted + ramp).transpose(*back).astype(x.dtype)


def _axis_last(ndim: int, axis: int) -> list[int]:
    axes = list(range(ndim))
    try:
        axes.append(axes.pop(axis))
    except (IndexError, OverflowError):
        raise ShapeError(f"expected an axis of {ndim}, got {axis}; the last one is -1") from None
    return axes


def _isotonic(x: Tensor[B]) -> Tensor[B]:
    """By means[j, k] of x_j, ..., x_k in one matrix: nothing is sequential, and nothing waits."""
    n, b = x.shape[-1], x.backend
    first = x[..., :1]
    sums = ops.concatenate([first * 0.0, (x - first).cumsum(-1)], -1)  # from a near origin
    start = arange(n, backend=b, dtype="float64").reshape(n, 1)
    end = start.reshape(1, n)
    sums = sums[..., None, 1:] - sums[..., :-1, None]
    means = sums / (end - start + 1.0).maximum(1.0) + first[..., None]
    # One element is its own mean, to the bit, so that what is allowed stays as it is.
    means = (end == start).where(x[..., None, :], means)
    least = (end >= start).where(means, np.inf)
    step = 1
    while step < n:  # the least to the right of each, doubling how far it has looked
        past = full((*least.shape[:-1], step), np.inf, b, dtype="float64")
        least = least.minimum(ops.concatenate([least[..., step:], past], -1))
        step *= 2
    return (end >= start).where(least, -np.inf).max(axis=-2)


def _isotonic_on_host(x: Tensor[B]) -> Tensor[B]:
    """By pooling adjacent violators, one after the other."""
    host = x.numpy()
    rows = [_pooled(row) for row in host.reshape(-1, host.shape[-1])]
    return tensor(np.array(rows).reshape(host.shape), x.backend, dtype="float64")


def _pooled(row: Any) -> Any:
    if not np.isfinite(row).all():  # as where means are taken of all at once
        return np.full_like(row, np.nan)
    sums: list[float] = []
    counts: list[int] = []
    for value in row.tolist():
        sums.append(value)
        counts.append(1)
        while len(sums) > 1 and sums[-2] * counts[-1] >= sums[-1] * counts[-2]:
            last, count = sums.pop(), counts.pop()
            sums[-1] += last
            counts[-1] += count
    return np.repeat(np.array(sums) / np.array(counts), counts)


def _checked(x: Tensor[B]) -> Tensor[B]:
    if not isinstance(cast("object", x), Tensor):
        remedy = "make one of it by born.tensor(x, backend)"
        raise type_error("x", "a tensor", x, remedy, OperandError)
    if not is_floating(x.dtype):
        raise DTypeError(
            f"expected x of a floating dtype, got {x.dtype}, which has no room for the nearest "
            'point; convert it with .astype("float64")'
        )
    return x


def _with_elements(x: Tensor[B], axis: int | None) -> Tensor[B]:
    """x, of which something has to add up to more than 0 along an axis."""
    is_there = axis is None or (isinstance(cast("object", axis), int) and -x.ndim <= axis < x.ndim)
    if is_there and (x.size if axis is None else x.shape[axis]) == 0:
        raise ShapeError(
            f"expected at least one element along axis {axis}, got shape {x.shape}; no point of "
            "none is allowed"
        )
    return x


def _check_order(low: float | None, high: float | None) -> None:
    low = -math.inf if low is None else number("low", low)
    high = math.inf if high is None else number("high", high)
    if not low <= high:
        raise ConfigError(f"expected low of at most high, got {low} and {high}; swap them")


# -- for an optimizer ------------------------------------------------------------------


@dataclass(frozen=True)
class Projection(Settings, metaclass=ABCMeta):
    """What an optimizer projects, and how: `projections=[...]` in its constructor.

    The pattern, as of `fnmatch`, is for the names of parameters; `"*"` is all of them. A parameter
    that several match is projected by each in turn.

    >>> optim.Box("*.rate", low=-1.0, high=5.0)
    Box(select='*.rate', low=-1.0, high=5.0)
    """

    __slots__: ClassVar[Iterable[str]] = ()

    select: str = "*"
    """A pattern for the names of the parameters."""

    @abstractmethod
    def __call__(self, x: Tensor[Any]) -> Tensor[Any]:
        """The nearest point that is allowed."""


@dataclass(frozen=True, slots=True)
class NonNegative(Projection):
    """No element below 0.

    >>> optim.NonNegative()(born.tensor([-1.0, 2.0], backend))
    Tensor([0., 2.], dtype=float32)
    """

    @override
    def __call__(self, x: Tensor[Any]) -> Tensor[Any]:
        return non_negative(x)


@dataclass(frozen=True, slots=True)
class Box(Projection):
    """Every element from low to high; None stands for no bound.

    >>> optim.Box(low=0.0, high=1.0)(born.tensor([-1.0, 2.0], backend))
    Tensor([0., 1.], dtype=float32)
    """

    low: float | None = 0.0
    """The least value of an element."""
    high: float | None = 1.0
    """The largest value of an element."""

    @override
    def check(self) -> None:
        _check_order(self.low, self.high)

    @override
    def __call__(self, x: Tensor[Any]) -> Tensor[Any]:
        return box(x, self.low, self.high)


@dataclass(frozen=True, slots=True)
class UnitNorm(Projection):
    """Norm 1 along the last axis, such as of each row.

    >>> optim.UnitNorm()(born.tensor([[3.0, 4.0]], backend))
    Tensor([[0.6, 0.8]], dtype=float32)
    """

    axis: int = -1
    """The axis along which the squares add up to 1."""

    @override
    def __call__(self, x: Tensor[Any]) -> Tensor[Any]:
        return unit_norm(x, self.axis)


@dataclass(frozen=True, slots=True)
class Simplex(Projection):
    """Along an axis no element below 0, and all together a total: mixtures and probabilities.

    >>> optim.Simplex()(born.tensor([0.5, 0.9, -1.0], backend))
    Tensor([0.3, 0.7, 0. ], dtype=float32)
    """

    axis: int = -1
    """The axis along which the elements add up."""
    total: Annotated[float, Interval(0.0)] = 1.0
    """What they add up to."""

    @override
    def __call__(self, x: Tensor[Any]) -> Tensor[Any]:
        return simplex(x, self.axis, self.total)


@dataclass(frozen=True, slots=True)
class Monotonic(Projection):
    """Along an axis each element above the one before, by at least a margin.

    >>> optim.Monotonic(margin=0.1)(born.tensor([0.0, 1.0, 1.0, 2.0], backend))
    Tensor([0.  , 0.95, 1.05, 2.  ], dtype=float32)
    """

    margin: Annotated[float, Interval(0.0)] = 0.0
    """By how much each is above the one before, at least."""
    axis: int = -1
    """The axis along which the elements rise."""
    decreasing: bool = False
    """Fall instead of rise."""

    @override
    def __call__(self, x: Tensor[Any]) -> Tensor[Any]:
        return monotonic(x, self.axis, self.margin, self.decreasing)


def selected(
    projections: Iterable[Projection], parameters: Sequence[Parameter[Any]]
) -> dict[int, list[Projection]]:
    """The projections of each parameter by its index; a pattern that matches none is refused."""
    found: dict[int, list[Projection]] = {}
    if isinstance(cast("object", projections), Projection | str) or not isinstance(
        cast("object", projections), Iterable
    ):
        raise ConfigError(f"expected a list of projections, got {projections!r}; write [...]")
    for projection in projections:
        if not isinstance(cast("object", projection), Projection):
            raise ConfigError(
                f"expected projections such as optim.NonNegative('*.rate'), got {projection!r}; "
                "pass a list of them"
            )
        matches = [
            index
            for index, p in enumerate(parameters)
            if fnmatch.fnmatchcase(p.name, projection.select)
        ]
        if not matches:
            names = ", ".join(repr(p.name) for p in parameters[:10])
            raise ParameterError(
                f"expected {projection} to match a parameter, got none among {names}"
                f"{', ...' if len(parameters) > 10 else ''}; "
                f"{pattern_remedy(projection.select, parameters)}"
            )
        for index in matches:
            found.setdefault(index, []).append(projection)
            p = parameters[index]
            try:  # now, and not after the first update
                projection(Tensor(p.raw, p.backend.innermost))
            except BornError as error:
                error.add_note(f"while trying {projection} on {p!r}")
                raise
    return found
