"""`least_squares`, and its methods: they use that the function is a sum of squares."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from born.autodiff import backward
from born.creation import tensor
from born.errors import GradientError, ShapeError
from born.optim.config import Settings
from born.optim.fields import Interval
from born.optim.solvers.descent import Count, Tolerance, calling, method_of
from born.optim.solvers.objective import (
    DIFFERENCE,
    Objective,
    OfArrays,
    as_array,
    objective_of,
    pair,
)
from born.optim.solvers.result import OptimizeResult

Array: TypeAlias = npt.NDArray[np.float64]
"""On the host, in double: the systems solved here are of n variables."""

_EPS: Final = float(np.finfo(np.float64).eps)
_ENOUGH: Final = 1e-4
"""The part of the promised fall from which on a step is taken."""

MESSAGES: Final = {
    -2: "the callback raised StopIteration",
    -1: "the residuals or their Jacobian are not finite at x0",
    0: "it took as many evaluations as maxfun allows",
    1: "the residuals are at right angles to what the variables can change (gtol)",
    2: "the sum of squares no longer falls (ftol)",
    3: "the steps are small beside x (xtol)",
    4: "the sum of squares no longer falls (ftol), and the steps are small beside x (xtol)",
}


def least_squares(
    fun: Callable[..., Any],
    x0: Any,
    jac: Callable[..., Any] | bool | None = None,
    method: SquaresMethod | str | None = None,
    args: Any = (),
    callback: Callable[..., object] | None = None,
) -> OptimizeResult:
    """The variables at which the sum of the squares of some residuals is least.

    What x0 is decides what `fun` is given, as for `minimize`: an array, a tensor, or nothing
    where x0 is a model.

    Args:
        fun: returns the residuals, such as predictions less data, of any shape: m of them.
        x0: where to start, n variables. A model is left at the best point.
        jac: a function that returns the Jacobian, of shape (m, n); or True, if `fun` returns
            (residuals, Jacobian). Without it, the tape takes one backward pass for each residual;
            for a function of NumPy arrays there are n differences.
        method: `LevenbergMarquardt()`, the default, `Dogleg()` or `GaussNewton()`, with its
            settings; or "lm", as in SciPy.
        args: further arguments of `fun` and `jac`.
        callback: as for `minimize`.

    Returns:
        beside what `minimize` gives: `fun` and `jac` are the residuals and the Jacobian at x as
        NumPy arrays of shapes (m,) and (m, n), `cost` is half the sum of squares, `grad` its
        gradient, `optimality` that gradient's largest absolute value. `status`, a success if above
        0, is 1 for `gtol`, 2 for `ftol`, 3 for `xtol`, 4 for both of these, 0 for `maxfun`, -1
        where something is not finite at x0, and -2 if the callback raised StopIteration.

    The residuals are computed where x0 is; the systems of n equations are solved on the host.

    >>> t = born.tensor([0.0, 1.0, 2.0, 3.0], backend, dtype="float64")
    >>> y = born.tensor([2.0, 1.213, 0.736, 0.446], backend, dtype="float64")
    >>> from born.autodiff import Autodiff
    >>> recording = Autodiff(backend)
    >>> t, y = t.to(recording), y.to(recording)
    >>> start = born.tensor([1.0, 1.0], recording, dtype="float64")
    >>> result = optim.least_squares(lambda x: (-t * x[1]).exp() * x[0] - y, start)
    >>> result.x.numpy().round(2), result.success
    (array([2. , 0.5]), True)
    """
    method = method_of(METHODS, method)
    objective = objective_of(fun, x0, args, jac)
    return _Run(method, objective, callback).run()


class System(NamedTuple):
    """J p = -r with the columns of J over `scale` and p times it, in its singular values."""

    jacobian: Array
    residuals: Array
    scale: Array
    u: Array
    s: Array
    vt: Array

    @classmethod
    def of(cls, jacobian: Array, residuals: Array, scale: Array) -> System:
        """The decomposition of a system."""
        u, s, vt = np.linalg.svd(jacobian / scale, full_matrices=False)
        return cls(jacobian, residuals, scale, u, s, vt)

    def damped(self, damping: float) -> Array:
        """The scaled step q that minimizes |J q + r|² + damping · |q|²."""
        s, z = self.s, self.u.T @ self.residuals
        if damping > 0.0:
            return np.asarray(-self.vt.T @ (s * z / (s * s + damping)), np.float64)
        used = s > s[0] * _EPS * max(self.jacobian.shape) if s.size else s > 0
        return np.asarray(-self.vt.T @ np.where(used, z / np.where(used, s, 1.0), 0.0), np.float64)

    @property
    def gradient(self) -> Array:
        """Jᵀ r, scaled."""
        return np.asarray(self.vt.T @ (self.s * (self.u.T @ self.residuals)), np.float64)


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
    to end."""
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
        if s[-1] > s[0] * _EPS * max(system.jacobian.shape):
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
    def adapt(self, ratio: float, shrink: float, size: float) -> None:
        self.radius = 1.0 if ratio >= _ENOUGH else shrink * self.radius


METHODS: Final[dict[str, SquaresMethod]] = {"lm": LevenbergMarquardt()}
"""The methods by SciPy's names, as far as it has them; the first is the default."""


class _Run:
    """One run of a method."""

    def __init__(
        self,
        method: SquaresMethod,
        objective: Objective,
        callback: Callable[..., object] | None,
    ) -> None:
        self.method, self.objective = method, objective
        self.callback = None if callback is None else calling(callback)
        self.x = objective.start().numpy().copy()
        self.residuals = self.jacobian = np.zeros(0)
        self._exact: Any = None
        self.nit = 0

    def run(self) -> OptimizeResult:
        try:
            with np.errstate(all="ignore"):
                status = self._fit()
        except KeyboardInterrupt as interrupt:
            vars(interrupt)["result"] = self.result(-2, "it was interrupted")
            raise
        finally:
            self.objective.restore(self.objective.vector(self.x))
        return self.result(status, MESSAGES[status])

    def _fit(self) -> int:
        method, steps = self.method, self.method.steps()
        most = method.maxfun or 100 * (self.x.size + 1)
        self.residuals = self._residuals(self.x)
        self.jacobian = np.full((self.residuals.size, self.x.size), math.nan)
        if not math.isfinite(float(self.residuals @ self.residuals)):
            return -1
        self.jacobian = self._jacobian(self.x)
        if not np.isfinite(self.jacobian).all():
            return -1
        norms = np.linalg.norm(self.jacobian, axis=0)
        scale = np.where(norms > 0, norms, 1.0)
        steps.begin(float(np.linalg.norm(scale * self.x)))
        first = True
        while True:
            f = float(np.linalg.norm(self.residuals))
            norms = np.linalg.norm(self.jacobian, axis=0)
            scale = np.maximum(scale, norms)
            cosines = np.abs(self.jacobian.T @ self.residuals) / np.where(norms > 0, norms, 1.0)
            if f == 0.0 or float(np.max(cosines)) <= method.gtol * f:
                return 1
            system = System.of(self.jacobian, self.residuals, scale)
            while True:
                if self.objective.nfev >= most:
                    return 0
                status, taken = self._try(system, steps, f, first)
                first = False
                if taken:
                    jacobian = self._jacobian(self.x)
                    if not np.isfinite(jacobian).all():
                        return 2 if status == 0 else status
                    self.jacobian = jacobian
                    self.nit += 1
                    if self.callback is not None:
                        try:
                            self.callback(self.result(0, "under way"))
                        except StopIteration:
                            return -2
                if status:
                    return status
                if taken:
                    break

    def _try(self, system: System, steps: Steps, f: float, first: bool) -> tuple[int, bool]:
        """Try a step; the reason to end after it, or 0, and whether it was taken."""
        q = steps.step(system)
        size = float(np.linalg.norm(q))
        if first:
            steps.radius = min(steps.radius, size)
        p = q / system.scale
        there = self.x + p
        residuals = self._residuals(there)
        after = float(np.linalg.norm(residuals))
        finite = bool(np.isfinite(residuals).all()) and math.isfinite(after)
        actual = 1.0 - (after / f) ** 2 if finite and 0.1 * after < f else -1.0
        model = float(np.linalg.norm(system.residuals + system.jacobian @ p)) / f
        promised = 1.0 - model * model
        slope = float(system.gradient @ q) / f**2
        ratio = actual / promised if promised > 0 else 0.0
        shrink = 0.5 if actual >= 0 else 0.5 * slope / (slope + 0.5 * actual)
        if not finite or 0.1 * after >= f or shrink < 0.1:
            shrink = 0.1
        steps.adapt(ratio, shrink, size)
        taken = ratio >= _ENOUGH
        if taken:
            self.x, self.residuals = there, residuals
        method = self.method
        flat = abs(actual) <= method.ftol and promised <= method.ftol and ratio <= 2.0
        whole = float(np.linalg.norm(system.scale * self.x))
        short = (steps.radius if not isinstance(steps, _Whole) else size) <= method.xtol * whole
        stuck = size <= _EPS * whole or promised <= _EPS
        status = 4 if flat and short else 2 if flat else 3 if short or stuck else 0
        return status, taken

    def _residuals(self, x: Array) -> Array:
        result = self.objective.call(self.objective.vector(x))
        self._exact = None
        if self.objective.jac is True:
            result, self._exact = pair(result)
        host = as_array("residuals", result)
        residuals = host.reshape(-1)
        if residuals.size == 0 or (self.nit and residuals.size != self.residuals.size):
            raise ShapeError(
                f"expected residuals, as many as at x0, got shape {host.shape}; return an "
                "array of at least one"
            )
        return residuals

    def _jacobian(self, x: Array) -> Array:
        objective, point = self.objective, self.objective.vector(x)
        objective.njev += 1
        m = self.residuals.size
        if objective.jac is True:
            exact = self._exact
        elif callable(objective.jac):
            exact = objective.user_jac(point)
        elif isinstance(objective, OfArrays):
            return self._differences(x)
        else:
            return self._by_tape(point)
        jacobian = as_array("a Jacobian", exact, GradientError)
        if jacobian.size != m * x.size or (jacobian.shape[0] != m and m > 1):
            raise GradientError(
                f"expected a Jacobian of shape {(m, x.size)}, a row for each residual, got "
                f"{jacobian.shape}; transpose or complete it"
            )
        return jacobian.reshape(m, x.size)

    def _differences(self, x: Array) -> Array:
        columns: list[Array] = []
        base, exact = self.residuals, self._exact
        for i, at in enumerate(x.tolist()):
            there = x.copy()
            there[i] = at + math.copysign(DIFFERENCE, at) * max(1.0, abs(at))
            columns.append((self._residuals(there) - base) / (there[i] - at))
        self._exact = exact
        return np.stack(columns, axis=1)

    def _by_tape(self, point: Any) -> Array:
        """One backward pass for each residual; the tape is freed with the last."""
        residuals, leaves = self.objective.recorded(point)
        inner = residuals.backend.innermost
        rows: list[Array] = []
        for i in range(residuals.size):
            one = np.zeros(residuals.shape)
            one.reshape(-1)[i] = 1.0
            seed = tensor(one, inner, dtype=residuals.dtype)
            grads = backward(residuals, seed=seed, keep_tape=i < residuals.size - 1)
            row = [
                np.zeros(leaf.shape) if (g := grads.get(leaf)) is None else inner.to_numpy(g)
                for leaf in leaves
            ]
            rows.append(np.concatenate([np.asarray(g, np.float64).reshape(-1) for g in row]))
        return np.stack(rows)

    def result(self, status: int, message: str) -> OptimizeResult:
        objective = self.objective
        with np.errstate(all="ignore"):
            gradient = self.jacobian.T @ self.residuals
            cost = 0.5 * float(self.residuals @ self.residuals)
        return OptimizeResult(
            x=objective.to_user(objective.vector(self.x)),
            cost=cost,
            fun=self.residuals,
            jac=self.jacobian,
            grad=gradient,
            optimality=float(np.max(np.abs(gradient))) if gradient.size else math.nan,
            nit=self.nit,
            nfev=objective.nfev,
            njev=objective.njev,
            nhev=0,
            status=status,
            message=message,
            success=status > 0,
        )
