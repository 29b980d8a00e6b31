"""The methods of `least_squares`: which steps to try where the residuals are taken to be linear."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, NamedTuple

import numpy as np
from typing_extensions import override

from born.optim.config import Settings
from born.optim.fields import Interval
from born.optim.solvers.descent import Count, Tolerance
from born.optim.solvers.robust import Array

EPS: Final = float(np.finfo(np.float64).eps)
ENOUGH: Final = 1e-4
"""The part of the promised fall from which on a step is taken."""


class System(NamedTuple):
    """The least |J q + r|² of scaled steps q, with J in its singular values.

    A step of x is `unit` times q. Within bounds J and r have a row more for each variable.
    """

    jacobian: Array
    residuals: Array
    unit: Array
    u: Array
    s: Array
    vt: Array

    @classmethod
    def of(cls, jacobian: Array, residuals: Array, unit: Array) -> System:
        """The decomposition of a system, whose Jacobian is scaled already."""
        u, s, vt = np.linalg.svd(jacobian, full_matrices=False)
        return cls(jacobian, residuals, unit, u, s, vt)

    def damped(self, damping: float) -> Array:
        """The step that minimizes |J q + r|² + damping · |q|²."""
        s, z = self.s, self.u.T @ self.residuals
        if damping > 0.0:
            return np.asarray(-self.vt.T @ (s * z / (s * s + damping)), np.float64)
        used = s > s[0] * EPS * max(self.jacobian.shape) if s.size else s > 0
        return np.asarray(-self.vt.T @ np.where(used, z / np.where(used, s, 1.0), 0.0), np.float64)

    @property
    def gradient(self) -> Array:
        """Jᵀ r."""
        return np.asarray(self.vt.T @ (self.s * (self.u.T @ self.residuals)), np.float64)

    def promised(self, q: Array) -> float:
        """By how much half the sum of squares would fall."""
        along = self.jacobian @ q
        return -float(along @ (self.residuals + 0.5 * along))

    def least_along(self, start: Array, direction: Array, low: float, high: float) -> Array:
        """The best of start + t · direction with low ≤ t ≤ high."""
        along = self.jacobian @ direction
        slope = float(along @ (self.residuals + self.jacobian @ start))
        bend = float(along @ along)
        t = -slope / bend if bend > 0 else (low if slope > 0 else high)
        return np.asarray(start + direction * min(max(t, low), high), np.float64)


class Steps(metaclass=ABCMeta):
    """Which steps to try from a point, and how to change them after it was seen what they gave."""

    def __init__(self, factor: float) -> None:
        self.factor, self.radius = factor, 0.0

    @abstractmethod
    def step(self, system: System) -> Array:
        """The next scaled step to try."""

    def adapt(self, ratio: float, shrink: float, size: float) -> None:
        """Follow the ratio of the actual fall to the promised one, for a step of this size."""
        if ratio <= 0.25:
            self.radius = shrink * min(self.radius, 10.0 * size)
        elif ratio >= 0.75 or size < 0.9 * self.radius:
            self.radius = 2.0 * size

    def begin(self, size: float) -> None:
        """Set the first radius, for an x of this scaled size."""
        self.radius = self.factor * size or self.factor

    def narrow(self, size: float) -> None:
        """No step is to be longer than the first one."""
        self.radius = min(self.radius, size)

    def reach(self, size: float) -> float:
        """How far it is sensible to go where a step of this size was found."""
        del size
        return self.radius

    def is_cut(self, size: float) -> bool:
        """Whether a step of this size is as long as the radius lets it be."""
        return size >= 0.9 * self.radius


@dataclass(frozen=True)
class SquaresMethod(Settings, metaclass=ABCMeta):
    """The base of the methods of `least_squares`, each with its settings.

    >>> optim.LevenbergMarquardt(gtol=0.0).replace(maxfun=50).maxfun
    50
    """

    __slots__: ClassVar[Iterable[str]] = ()

    ftol: Tolerance = 1e-8
    """The least part by which the sum of squares, or what is promised of it, must fall."""
    xtol: Tolerance = 1e-8
    """The least size of a step, as a part of that of x, each variable scaled."""
    gtol: Tolerance = 1e-8
    """The largest cosine of the angle between the residuals and a column of the Jacobian at which
    to end; within bounds, times the distance to the bound that is headed for, where below 1."""
    maxfun: Count = 0
    """The most evaluations of the residuals; 0 stands for 100 (n + 1)."""

    @abstractmethod
    def steps(self) -> Steps:
        """What finds the steps of one run."""


@dataclass(frozen=True, slots=True)
class LevenbergMarquardt(SquaresMethod):
    """Steps damped so that they stay where the linear model was seen to hold.

    The step p minimizes |J p + r|² + λ |D p|², with D the largest norms of the columns of J so far,
    and λ such that |D p| is at most a radius, which grows and shrinks with how well the last step
    did: MINPACK's lmder.

    Source: Moré (1978), "The Levenberg-Marquardt algorithm: implementation and theory".

    >>> optim.least_squares(lambda x: [x[0] - 1.0, x[1] ** 2 - 4.0], [3.0, 3.0]).x.round(6)
    array([1., 2.])
    """

    factor: Annotated[float, Interval(0.0)] = 100.0
    """The first radius, as a multiple of the size of x."""

    @override
    def steps(self) -> Steps:
        return _Damped(self.factor)


class _Damped(Steps):
    def __init__(self, factor: float) -> None:
        super().__init__(factor)
        self._damping: float = 0.0

    @override
    def step(self, system: System) -> Array:
        s, radius = system.s, self.radius
        q = system.damped(0.0)
        excess = float(np.linalg.norm(q)) - radius
        if excess <= 0.1 * radius:
            self._damping = 0.0
            return q
        z2 = (s * (system.u.T @ system.residuals)) ** 2
        low: float = 0.0
        if s[-1] > s[0] * EPS * max(system.jacobian.shape):
            low = excess / (np.sum(z2 / s**6) / float(np.linalg.norm(q)))
        high = math.sqrt(float(np.sum(z2))) / radius
        damping = min(max(self._damping, low), high) or 1e-3 * high
        for _ in range(10):
            q = system.damped(damping)
            size = float(np.linalg.norm(q))
            excess = size - radius
            if abs(excess) <= 0.1 * radius:
                break
            low, high = (max(low, damping), high) if excess > 0 else (low, min(high, damping))
            change = excess / radius * size**2 / float(np.sum(z2 / (s * s + damping) ** 3))
            damping += change
            if not low <= damping <= high:
                damping = max(0.001 * high, math.sqrt(low * high))
        self._damping = damping
        return q

    @override
    def adapt(self, ratio: float, shrink: float, size: float) -> None:
        if ratio <= 0.25:
            self.radius = shrink * min(self.radius, 10.0 * size)
            self._damping /= shrink
        elif self._damping == 0.0 or ratio >= 0.75:
            self.radius, self._damping = 2.0 * size, 0.5 * self._damping


@dataclass(frozen=True, slots=True)
class Dogleg(SquaresMethod):
    """Powell's dogleg: towards the least point along the gradient, and from there towards that of
    the linear model, as far as a radius goes. One decomposition for each Jacobian, however many
    steps are tried.

    Source: Powell (1970), "A hybrid method for nonlinear equations".

    >>> result = optim.least_squares(
    ...     lambda x: [x[0] - 1.0, x[1] ** 2 - 4.0], [3.0, 3.0], method=optim.Dogleg()
    ... )
    >>> result.x.round(6)
    array([1., 2.])
    """

    factor: Annotated[float, Interval(0.0)] = 3.0
    """The first radius, as a multiple of the size of x."""

    @override
    def steps(self) -> Steps:
        return _Bent(self.factor)


class _Bent(Steps):
    @override
    def step(self, system: System) -> Array:
        newton = system.damped(0.0)
        if float(np.linalg.norm(newton)) <= self.radius:
            return newton
        g = system.gradient
        along = system.s * (system.vt @ g)
        cauchy = -g * (float(g @ g) / float(along @ along))
        size = float(np.linalg.norm(cauchy))
        if size >= self.radius:
            return cauchy * (self.radius / size)
        bend = newton - cauchy
        a, b = float(bend @ bend), float(cauchy @ bend)
        c = size**2 - self.radius**2
        return np.asarray(cauchy + bend * (-c / (b + math.sqrt(b * b - a * c))), np.float64)


@dataclass(frozen=True, slots=True)
class GaussNewton(SquaresMethod):
    """The least point of the linear model, or as much of the way there as lowers the sum.

    Without a radius: fast near a good fit, and lost where J is close to singular.

    Source: Nocedal and Wright (2006), "Numerical Optimization", section 10.3.

    >>> result = optim.least_squares(
    ...     lambda x: [x[0] - 1.0, x[1] ** 2 - 4.0], [3.0, 3.0], method=optim.GaussNewton()
    ... )
    >>> result.x.round(6)
    array([1., 2.])
    """

    @override
    def steps(self) -> Steps:
        return _Whole(1.0)


class _Whole(Steps):
    @override
    def step(self, system: System) -> Array:
        return system.damped(0.0) * self.radius

    @override
    def begin(self, size: float) -> None:
        self.radius = 1.0

    @override
    def narrow(self, size: float) -> None:
        pass

    @override
    def reach(self, size: float) -> float:
        return size

    @override
    def is_cut(self, size: float) -> bool:
        return False

    @override
    def adapt(self, ratio: float, shrink: float, size: float) -> None:
        self.radius = 1.0 if ratio >= ENOUGH else shrink * self.radius
