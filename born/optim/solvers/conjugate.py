"""Conjugate gradients: of the function itself, and for the equation of Newton's method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from born.optim.solvers.box import Box
from born.optim.solvers.descent import SHALLOW, Directions, Method
from born.optim.solvers.objective import Objective, Point, Vector, dot, length


@dataclass(frozen=True, slots=True)
class NonlinearCG(Method):
    """Conjugate gradients: three vectors of memory, and more steps than `LBFGS` takes.

    With y as in `LBFGS`, and the direction d before::

        β = max(0, gᵀy / g_oldᵀg_old)        d ← -g + β d

    Source: Polak and Ribière (1969); Nocedal and Wright (2006), "Numerical Optimization",
    section 5.2.

    >>> optim.minimize(lambda x: float(x @ x), [3.0, 4.0], method=optim.NonlinearCG()).success
    True
    """

    curvature: ClassVar[float] = 0.3

    @override
    def directions(self, objective: Objective, box: Box | None) -> Directions:
        return _Conjugate()


class _Conjugate(Directions):
    """The last direction, and how far it was followed."""

    def __init__(self) -> None:
        self._last: Vector | None = None
        self._used: Vector | None = None

    @override
    def direction(self, point: Point) -> Vector:
        self._used = -point.g if self._last is None else self._last
        return self._used

    @override
    def update(self, old: Point, new: Point) -> None:
        assert self._used is not None
        y = new.g - old.g
        beta = max(0.0, dot(new.g, y) / dot(old.g, old.g))
        self._last = self._used * beta - new.g
        if not dot(self._last, new.g) < 0.0:
            self._last = None

    @override
    def forget(self) -> bool:
        had = self._last is not None
        self._last = None
        return had

    @override
    def first_step(self, point: Point, direction: Vector, fall: float | None) -> float:
        slope = -dot(direction, point.g)
        if fall is None:
            return min(1.0, 1.0 / length(direction))
        return min(1.0, 2.02 * fall / slope)


@dataclass(frozen=True, slots=True)
class NewtonCG(Method):
    """Newton's method, its equation H d = -g solved by conjugate gradients, and only as well as is
    needed yet: |H d + g| ≤ min(0.5, √|g|) |g|. It ends early where H curves downwards.

    Source: Dembo and Steihaug (1983), "Truncated-Newton algorithms for large-scale unconstrained
    optimization"; Nocedal and Wright (2006), "Numerical Optimization", algorithm 7.1.

    >>> from born.autodiff import Autodiff
    >>> x0 = born.tensor([3.0, 4.0], Autodiff(Autodiff(backend)), dtype="float64")
    >>> result = optim.minimize(lambda x: (x**4).sum(), x0, method=optim.NewtonCG(gtol=1e-6))
    >>> result.success, result.nhev > 0
    (True, True)
    """

    takes_hessp: ClassVar[bool] = True

    @override
    def directions(self, objective: Objective, box: Box | None) -> Directions:
        return _Newton(objective)


class _Newton(Directions):
    """Newton's directions; after one that was of no use, the gradient."""

    def __init__(self, objective: Objective) -> None:
        self._objective, self._plain = objective, False

    @override
    def direction(self, point: Point) -> Vector:
        if self._plain:
            return -point.g
        size = length(point.g)
        enough = min(0.5, math.sqrt(size)) * size
        d, r = point.g * 0.0, point.g
        p, rr = -r, dot(r, r)
        for i in range(20 * point.x.size):
            hp = self._objective.curvature(point, p)
            php = dot(p, hp)
            if not php > 3 * SHALLOW * dot(p, p):
                # Downhill as far as it is known; at first all that is known is the gradient.
                return d if i else p
            step = rr / php
            d, r = d + p * step, r + hp * step
            before, rr = rr, dot(r, r)
            if math.sqrt(rr) <= enough:
                break
            p = p * (rr / before) - r
        return d

    @override
    def update(self, old: Point, new: Point) -> None:
        self._plain = False

    @override
    def forget(self) -> bool:
        had, self._plain = not self._plain, True
        return had
