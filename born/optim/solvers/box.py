"""Bounds of the variables: which of them are free to move, and how far."""

from __future__ import annotations

from typing import Any

import numpy as np

from born.creation import tensor
from born.errors import ConfigError, ShapeError
from born.optim.solvers.objective import Vector, dot, largest
from born.optim.solvers.robust import Array
from born.tensor import is_tensor


class Box:
    """low ≤ x ≤ high for each variable; infinite where there is no bound."""

    def __init__(self, low: Vector, high: Vector) -> None:
        self._low, self._high = low, high

    @property
    def limits(self) -> tuple[Array, Array]:
        """The lower and the upper bounds, on the host."""
        return self._low.numpy(), self._high.numpy()

    def clip(self, x: Vector) -> Vector:
        """The nearest point inside."""
        return x.maximum(self._low).minimum(self._high)

    def projected(self, x: Vector, g: Vector) -> Vector:
        """The gradient, as far as the point could follow it: 0 at bounds that it pushes against."""
        return x - self.clip(x - g)

    def free(self, x: Vector, g: Vector, scale: float) -> Vector:
        """0 for each variable that a step of -scale · g takes to a bound, 1 for the others."""
        there = x - g * scale
        to_low, to_high = (there <= self._low) & (g > 0.0), (there >= self._high) & (g < 0.0)
        return (~(to_low | to_high)).astype(x.dtype)

    def longest(self, x: Vector, d: Vector) -> float:
        """How many times d the point can go before it leaves the box."""
        falling, rising = d < 0.0, d > 0.0
        far = x * 0.0 + 1e20
        safe = falling.where(d, rising.where(d, 1.0))
        room = falling.where((self._low - x) / safe, rising.where((self._high - x) / safe, far))
        return float(room.min().item())

    def inward(self, x: Vector, g: Vector, d: Vector) -> tuple[Vector, float]:
        """A direction of descent near d that stays inside for a step of 1, and its longest step."""
        bent = self.clip(x + d) - x
        if not dot(bent, g) < 0.0:
            bent = self.clip(x - g * (1.0 / max(1.0, largest(g)))) - x
        return bent, max(1.0, self.longest(x, bent))


def box_of(bounds: Any, shape: tuple[int, ...], like: Vector) -> Box | None:
    """The box of SciPy's bounds: a pair for each variable, or an object with `lb` and `ub`."""
    if bounds is None:
        return None
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        ends = _ends(bounds.lb, bounds.ub, shape, like.size)
    else:
        try:
            pairs = [tuple(pair) for pair in bounds]
            if any(len(pair) != 2 for pair in pairs):
                raise TypeError
        except TypeError as error:
            raise ConfigError(
                f"expected bounds as pairs (low, high), one for each of x, or as scipy.optimize."
                f"Bounds, got {bounds!r}; None stands for no bound"
            ) from error
        if len(pairs) != like.size:
            raise ShapeError(
                f"expected a pair of bounds for each of the {like.size} variables, got "
                f"{len(pairs)}; write (None, None) for one without"
            )
        lows, highs = ([pair[i] for pair in pairs] for i in (0, 1))
        ends = _ends(lows, highs, (like.size,), like.size)
    low, high = (tensor(end, like.backend) for end in ends)
    return Box(low, high)


def ends_of(bounds: Any, shape: tuple[int, ...], n: int) -> tuple[Array, Array]:
    """The ends of SciPy's bounds for least squares: (low, high), each of x's shape or a number."""
    if bounds is None:
        bounds = None, None
    elif hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        bounds = bounds.lb, bounds.ub
    try:
        low, high = bounds
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"expected bounds as (low, high), each a number or of the shape of x0, or as "
            f"scipy.optimize.Bounds, got {bounds!r}; infinity or None stands for no bound, and a "
            "method goes as method="
        ) from error
    return _ends(low, high, shape, n)


def _ends(low: Any, high: Any, shape: tuple[int, ...], n: int) -> tuple[Array, Array]:
    """Lower and upper bounds of all variables, checked."""
    ends = _end(low, -np.inf, shape, n), _end(high, np.inf, shape, n)
    wrong = np.flatnonzero(~(ends[0] <= ends[1]))
    if wrong.size:
        raise ConfigError(
            f"expected lower bounds that are at most the upper ones, got others for the variables "
            f"{wrong[:5].tolist()}, the first {ends[0][wrong[0]]} and {ends[1][wrong[0]]}; swap "
            "them, or leave one out as None"
        )
    empty = np.flatnonzero((ends[0] == np.inf) | (ends[1] == -np.inf))
    if empty.size:
        raise ConfigError(
            f"expected bounds with finite numbers between them, got a lower bound of inf or an "
            f"upper one of -inf for the variables {empty[:5].tolist()}; change their sign"
        )
    return ends


def _end(values: Any, none: float, shape: tuple[int, ...], n: int) -> Array:
    """One bound of each variable; None, also in a list, stands for `none`."""
    try:
        given: Any = np.asarray(values.numpy() if is_tensor(values) else values)
        flat = [none if each is None else each for each in given.reshape(-1).tolist()]
        array = np.array(flat, np.float64).reshape(given.shape)
        if array.shape == (n,):
            return array
        return np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise ShapeError(
            f"expected bounds that broadcast to the shape {shape} of x0, got {values!r}: {error}"
        ) from error
