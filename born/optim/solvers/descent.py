"""What all methods of `minimize` share: they go along directions, by one line search."""

from __future__ import annotations

import inspect
import math
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, TypeVar, cast

import numpy as np

from born.errors import ConfigError, OperandError
from born.optim.config import Settings, check_names
from born.optim.fields import Interval
from born.optim.solvers.box import Box, box_of
from born.optim.solvers.kinds import objective_of
from born.optim.solvers.objective import (
    Objective,
    Point,
    Vector,
    dot,
    largest,
)
from born.optim.solvers.result import OptimizeResult
from born.optim.solvers.search import search

Tolerance = Annotated[float, Interval(0.0)]
Count = Annotated[int, Interval(0)]

_M = TypeVar("_M", bound=Settings)

SHALLOW: Final = 2.220446049250313e-16
"""The least curvature of a step, yᵀs / yᵀy, that is more than rounding."""

STOPPED: Final = 99

MESSAGES: Final = {
    1: "it took as many steps as maxiter allows, or evaluations as maxfun does",
    2: "no lower point was found along the gradient: precision is lost, or the gradient is wrong",
    3: "the function or its gradient is not finite at x0",
    STOPPED: "the callback raised StopIteration",
}
_SMALL: Final = "the gradient is small enough"
_FLAT: Final = "the function no longer falls"


class Directions(metaclass=ABCMeta):
    """Where to go from a point, by what has been seen on the way there."""

    @abstractmethod
    def direction(self, point: Point) -> Vector:
        """Where to go next."""

    @abstractmethod
    def update(self, old: Point, new: Point) -> None:
        """Learn from a step."""

    @abstractmethod
    def forget(self) -> bool:
        """Begin anew, at the gradient; whether there was anything to forget."""

    def first_step(self, point: Point, direction: Vector, fall: float | None) -> float:
        """How far along to look first; `fall` is by how much the step before lowered f."""
        del point, direction, fall
        return 1.0


@dataclass(frozen=True)
class Method(Settings, metaclass=ABCMeta):
    """The base of the methods of `minimize`, each with its settings.

    Called like a function it is a method for `scipy.optimize.minimize`.

    >>> optim.LBFGS(history=5)(lambda x: float((x**2).sum()), [1.0, 2.0]).success
    True
    """

    __slots__: ClassVar[Iterable[str]] = ()

    takes_bounds: ClassVar[bool] = False
    takes_hessp: ClassVar[bool] = False
    curvature: ClassVar[float] = 0.9
    decrease: ClassVar[float] = 1e-4
    narrowest: ClassVar[float] = 1e-14
    trials: ClassVar[int] = 100
    """What the line search asks for, and how long it tries; see `search`."""

    gtol: Tolerance = 1e-5
    """The largest absolute value of an element of the gradient at which to end."""
    ftol: Tolerance = 0.0
    """How little the function may fall in a step before it ends, as a part of its size."""
    maxiter: Count = 15_000
    """The most steps."""
    maxfun: Count = 15_000
    """The most evaluations, to the end of a line search."""

    @abstractmethod
    def directions(self, objective: Objective, box: Box | None) -> Directions:
        """What finds the directions of one run."""

    def minimize(
        self,
        fun: Callable[..., Any],
        x0: Any,
        args: Any = (),
        *,
        jac: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        callback: Callable[..., object] | None = None,
    ) -> OptimizeResult:
        """What `optim.minimize` does with this method."""
        if bounds is not None and not self.takes_bounds:
            raise ConfigError(
                f"expected no bounds for {type(self).__name__}, got {bounds!r}; use LBFGS(), which "
                "keeps to them"
            )
        if hessp is not None and not self.takes_hessp:
            raise ConfigError(
                f"expected no hessp for {type(self).__name__}, got {hessp!r}; use NewtonCG(), "
                "which asks for such products"
            )
        if hessp is not None and not callable(hessp):
            raise OperandError(
                f"expected hessp as a function of (x, v), got {hessp!r}; it returns the product of "
                "the Hessian at x with v"
            )
        objective = objective_of(fun, x0, args, jac, hessp)
        start = objective.start()
        box = box_of(bounds, tuple(getattr(x0, "shape", start.shape)), start)
        if box is not None:
            start, objective.limits = box.clip(start), box.limits
        return _Run(self, objective, box, callback).run(start)

    def __call__(
        self,
        fun: Callable[..., Any],
        x0: Any,
        args: Any = (),
        *,
        jac: Any = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Callable[..., object] | None = None,
        tol: float | None = None,
        **options: Any,
    ) -> OptimizeResult:
        """As `scipy.optimize.minimize` calls a method: options are fields of this one."""
        if constraints:
            raise ConfigError(
                f"expected no constraints for {type(self).__name__}, got {constraints!r}; it knows "
                "bounds at most"
            )
        check_names(type(self), options, required=())
        if tol is not None:
            options.setdefault("gtol", tol)

        def product(x: Any, v: Any, *args: Any) -> Any:
            return hess(x, *args) @ v

        if hess is not None and not callable(hess):
            raise OperandError(
                f"expected hess as a function of x, got {hess!r}; it returns the Hessian there, or "
                "is left out"
            )
        if hessp is None and hess is not None and self.takes_hessp:
            hessp = product
        return self.replace(**options).minimize(
            fun, x0, args, jac=jac, hessp=hessp, bounds=bounds, callback=callback
        )


def method_of(methods: Mapping[str, _M], method: _M | str | None) -> _M:
    """A method, that of a name, or the first of several for None."""
    first = next(iter(methods.values()))
    if method is None:
        return first
    named = {name.lower(): each for name, each in methods.items()}
    found = named.get(method.lower()) if isinstance(method, str) else method
    if not any(isinstance(found, base) for base in type(first).__mro__[1:2]):
        raise ConfigError(
            f"expected a method such as {type(first).__name__}(), or one of "
            f"{', '.join(methods)}, got {method!r}; make an object of the class"
        )
    return cast("_M", found)


class _Run:
    """One run of a method."""

    def __init__(
        self,
        method: Method,
        objective: Objective,
        box: Box | None,
        callback: Callable[..., object] | None,
    ) -> None:
        self.method, self.objective, self.box = method, objective, box
        self.directions = method.directions(objective, box)
        self.callback = None if callback is None else calling(callback)
        self.nit = 0

    def run(self, start: Vector) -> OptimizeResult:
        try:
            with np.errstate(all="ignore"):
                status, message = self._descend(start)
        except KeyboardInterrupt as interrupt:
            vars(interrupt)["result"] = self.result(STOPPED, "it was interrupted")
            raise
        finally:
            best = self.objective.best
            self.objective.restore(start if best is None else best.x)
        return self.result(status, message)

    def _descend(self, start: Vector) -> tuple[int, str]:
        point, fall = self.objective.at(start), None
        self._first = point
        if not point.is_finite:
            return 3, MESSAGES[3]
        while True:
            if largest(self.projected(point)) <= self.method.gtol:
                return 0, _SMALL
            if self.nit >= self.method.maxiter or self.objective.nfev >= self.method.maxfun:
                return 1, MESSAGES[1]
            new = self._next(point, fall)
            if new is None:
                return 2, MESSAGES[2]
            self.nit += 1
            fall = point.f - new.f
            self.directions.update(point, new)
            point = new
            if self.callback is not None:
                try:
                    self.callback(self.result(0, "under way", point))
                except StopIteration:
                    return STOPPED, MESSAGES[STOPPED]
            if fall <= self.method.ftol * max(abs(point.f), abs(point.f + fall), 1.0):
                return 0, _FLAT

    def _next(self, point: Point, fall: float | None) -> Point | None:
        """The end of the next step, or None if there is no lower point."""
        while True:
            new = self._along(point, self.directions.direction(point), fall)
            if new is not None:
                return new
            if not self.directions.forget():
                return None
            fall = None

    def _along(self, point: Point, direction: Vector, fall: float | None) -> Point | None:
        method, longest = self.method, 1e20
        if self.box is not None:
            direction, longest = self.box.inward(point.x, point.g, direction)
        slope = dot(direction, point.g)
        if not -math.inf < slope < 0.0:
            return None
        trials: dict[float, Point] = {0.0: point}

        def along(step: float) -> tuple[float, float]:
            x = point.x + direction * step
            trial = self.objective.at(x if self.box is None else self.box.clip(x))
            trials[step] = trial
            return trial.f, dot(direction, trial.g) if math.isfinite(trial.f) else math.nan

        first = self.directions.first_step(point, direction, fall)
        step = search(
            along,
            point.f,
            slope,
            min(first, longest),
            decrease=method.decrease,
            curvature=method.curvature,
            longest=longest,
            narrowest=method.narrowest,
            most=method.trials,
        )
        new = trials[step]
        return new if new.f < point.f else None

    def projected(self, point: Point) -> Vector:
        """The gradient, less what bounds hold back."""
        return point.g if self.box is None else self.box.projected(point.x, point.g)

    def result(self, status: int, message: str, point: Point | None = None) -> OptimizeResult:
        objective = self.objective
        best = point or objective.best or self._first
        return OptimizeResult(
            x=objective.to_user(best.x),
            fun=best.f,
            jac=objective.gradient_to_user(best.g),
            nit=self.nit,
            nfev=objective.nfev,
            njev=objective.njev,
            nhev=objective.nhev,
            status=status,
            message=message,
            success=status == 0 and point is None,
        )


def calling(callback: Callable[..., object]) -> Callable[[OptimizeResult], object]:
    """From a callback of either of SciPy's kinds to one of a result."""
    if not callable(callback):
        raise ConfigError(f"expected a callback as a function, got {callback!r}; pass callback(x)")
    try:
        names = list(inspect.signature(callback).parameters)
    except (TypeError, ValueError):  # as of some functions in C
        names = []
    if names == ["intermediate_result"]:
        return lambda result: callback(intermediate_result=result)
    return lambda result: callback(result.x)
