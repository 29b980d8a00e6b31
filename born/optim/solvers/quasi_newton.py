"""L-BFGS and BFGS: what the steps so far say of the Hessian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from typing_extensions import override

from born.creation import eye
from born.optim.fields import Interval
from born.optim.solvers.box import Box
from born.optim.solvers.descent import SHALLOW, Directions, Method, Tolerance
from born.optim.solvers.objective import Objective, Point, Vector, dot, length


@dataclass(frozen=True, slots=True)
class LBFGS(Method):
    """Quasi-Newton with a memory of the last steps: for few variables or millions of them.

    With s and y, how the point and the gradient changed in each of the last `history` steps, the
    direction is -H g, where H is what BFGS would make of them from a multiple of the identity. A
    pair is kept only if it shows upward curvature. With bounds, variables that push against theirs
    are left out of s, y and g, and the rest of the direction is bent into the box.

    Source: Nocedal (1980), "Updating quasi-Newton matrices with limited storage"; Liu and Nocedal
    (1989), "On the limited memory BFGS method for large scale optimization"; for bounds Bertsekas
    (1982), "Projected Newton methods for optimization problems with simple constraints".

    >>> result = optim.minimize(
    ...     lambda x: ((x + 1.0) ** 2).sum(), born.zeros(3, backend), bounds=[(0, 1)] * 3
    ... )
    >>> result.x, result.status
    (Tensor([0., 0., 0.], dtype=float32), 0)
    """

    takes_bounds: ClassVar[bool] = True
    decrease: ClassVar[float] = 1e-3
    narrowest: ClassVar[float] = 0.1
    trials: ClassVar[int] = 20

    ftol: Tolerance = 2.220446049250313e-09
    """How little the function may fall in a step before it ends, as a part of its size."""
    history: Annotated[int, Interval(1)] = 10
    """How many steps to remember; each takes two vectors."""

    @override
    def directions(self, objective: Objective, box: Box | None) -> Directions:
        return _Limited(self.history, box)


class _Limited(Directions):
    """The two loops of L-BFGS."""

    def __init__(self, history: int, box: Box | None) -> None:
        self._history, self._box = history, box
        self._pairs: list[tuple[Vector, Vector, float]] = []

    @override
    def direction(self, point: Point) -> Vector:
        if self._box is None:
            return -_times_inverse(self._pairs, point.g)
        scale = 1.0 / max(1.0, length(point.g))
        if self._pairs:
            _, y, sy = self._pairs[-1]
            scale = sy / dot(y, y)
        free = self._box.free(point.x, point.g, scale)
        masked = ((s * free, y * free) for s, y, _ in self._pairs)
        pairs = [(s, y, dot(s, y)) for s, y in masked]
        pairs = [(s, y, sy) for s, y, sy in pairs if sy > SHALLOW * dot(y, y)]
        # What is about to meet its bound goes there, and the others need not reckon with it.
        return -_times_inverse(pairs, point.g * free) - (point.g - point.g * free) * scale

    @override
    def update(self, old: Point, new: Point) -> None:
        s, y = new.x - old.x, new.g - old.g
        sy = dot(s, y)
        if sy > SHALLOW * dot(y, y):
            self._pairs = [*self._pairs, (s, y, sy)][-self._history :]

    @override
    def forget(self) -> bool:
        had = bool(self._pairs)
        self._pairs = []
        return had

    @override
    def first_step(self, point: Point, direction: Vector, fall: float | None) -> float:
        if self._pairs:
            return 1.0
        return 1.0 if self._box is not None else min(1.0, 1.0 / length(direction))


def _times_inverse(pairs: list[tuple[Vector, Vector, float]], g: Vector) -> Vector:
    """H g by the two loops."""
    if not pairs:
        return g
    q, factors = g, list[float]()
    for s, y, sy in reversed(pairs):
        factors.append(dot(s, q) / sy)
        q = q - y * factors[-1]
    _, y, sy = pairs[-1]
    q = q * (sy / dot(y, y))
    for (s, y, sy), factor in zip(pairs, reversed(factors), strict=True):
        q = q + s * (factor - dot(y, q) / sy)
    return q


@dataclass(frozen=True, slots=True)
class BFGS(Method):
    """Quasi-Newton with an estimate of the whole inverse Hessian, for up to a thousand variables.

    With s and y as in `LBFGS` and ρ = 1 / yᵀs::

        H ← (I - ρ s yᵀ) H (I - ρ y sᵀ) + ρ s sᵀ

    Source: Nocedal and Wright (2006), "Numerical Optimization", algorithm 6.1, with equation 6.20
    for the first H.

    >>> optim.minimize(lambda x: float(x @ x), [3.0, 4.0], method=optim.BFGS()).success
    True
    """

    @override
    def directions(self, objective: Objective, box: Box | None) -> Directions:
        return _Inverse()


class _Inverse(Directions):
    """The inverse Hessian of BFGS; None stands for the identity."""

    def __init__(self) -> None:
        self._inverse: Any = None

    @override
    def direction(self, point: Point) -> Vector:
        return -point.g if self._inverse is None else -(self._inverse @ point.g)

    @override
    def update(self, old: Point, new: Point) -> None:
        s, y = new.x - old.x, new.g - old.g
        sy = dot(s, y)
        if not sy > SHALLOW * dot(y, y):
            return
        n = s.size
        column, row = s.reshape(n, 1), s.reshape(1, n)
        if self._inverse is None:
            yy = dot(y, y)
            scale = sy / yy
            hy, yhy = y * scale, sy
            inverse = eye(n, s.backend, dtype="float64") * scale
        else:
            inverse = self._inverse
            hy = inverse @ y
            yhy = dot(y, hy)
        cross = column @ hy.reshape(1, n)
        self._inverse = inverse + (column @ row) * ((1.0 + yhy / sy) / sy) - (cross + cross.T) / sy

    @override
    def forget(self) -> bool:
        had = self._inverse is not None
        self._inverse = None
        return had

    @override
    def first_step(self, point: Point, direction: Vector, fall: float | None) -> float:
        if self._inverse is not None:
            return 1.0
        return min(1.0, 1.0 / length(direction))
