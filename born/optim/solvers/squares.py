"""`least_squares`: the least sum of squares, or of another loss of residuals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.errors import GradientError, ShapeError
from born.optim.solvers.box import ends_of
from born.optim.solvers.descent import calling, method_of
from born.optim.solvers.differences import differences
from born.optim.solvers.kinds import OfArrays, objective_of
from born.optim.solvers.objective import Objective, as_array, pair
from born.optim.solvers.reflective import Interior
from born.optim.solvers.result import OptimizeResult
from born.optim.solvers.robust import Array, Loss, Rho
from born.optim.solvers.scaling import Scaling
from born.optim.solvers.steps import (
    ENOUGH,
    EPS,
    Dogleg,
    GaussNewton,
    LevenbergMarquardt,
    SquaresMethod,
    Steps,
    System,
)

MESSAGES: Final = {
    -2: "the callback raised StopIteration",
    -1: "the residuals or their Jacobian are not finite at x0",
    0: "it took as many evaluations as max_nfev or maxfun allows",
    1: "the residuals are at right angles to what the variables can change (gtol)",
    2: "the sum of squares no longer falls (ftol)",
    3: "the steps are small beside x (xtol)",
    4: "the sum of squares no longer falls (ftol), and the steps are small beside x (xtol)",
}

METHODS: Final[dict[str, SquaresMethod]] = {
    "lm": LevenbergMarquardt(),
    "trf": LevenbergMarquardt(),
    "dogbox": Dogleg(),
    "gauss-newton": GaussNewton(),
}
"""The methods by SciPy's names, as far as it has them; the first is the default."""

_INSIDE: Final = 1e-10
"""How far inside its bounds a run begins, as a part of their size."""
_BACK: Final = 0.005
"""The part of the way to a bound that is not gone at most."""


def least_squares(
    fun: Callable[..., Any],
    x0: Any,
    jac: Callable[..., Any] | bool | str | None = None,
    bounds: Any = None,
    method: SquaresMethod | str | None = None,
    *,
    ftol: float | None = None,
    xtol: float | None = None,
    gtol: float | None = None,
    x_scale: Any = "jac",
    loss: Rho | str = "linear",
    f_scale: float = 1.0,
    max_nfev: int | None = None,
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
            (residuals, Jacobian). Without it, the tape gives the derivatives of all residuals by
            all variables at once; for a function of NumPy arrays there are n differences, or with
            "3-point" 2 n, which have ten digits and not eight.
        bounds: (low, high), each a number or of the shape of x0, or scipy.optimize.Bounds; None or
            infinity where there is no bound. Every point that is evaluated lies within; x0 is
            moved there. A variable with two equal bounds is fixed.
        method: `LevenbergMarquardt()`, the default, `Dogleg()` or `GaussNewton()`, with its
            settings; or SciPy's name of one, "lm", "trf" or "dogbox".
        ftol, xtol, gtol: when to end, in place of the method's; 0 is never.
        x_scale: by how much a variable changes where another changes by its own x_scale, n numbers
            or one; "jac" takes the norms of the columns of the Jacobian, the largest so far.
        loss: what a residual r counts, with z = (r / f_scale)²: "linear" z, "soft_l1"
            2 (√(1 + z) - 1), "huber" z up to 1 and 2 √z - 1 from there, "cauchy" ln(1 + z),
            "arctan" arctan(z); or a function from z to that and its derivative.
        f_scale: the size of a residual from which on the loss has it count for less.
        max_nfev: the most evaluations, those for differences and Jacobians among them; by default
            100 (n + 1).
        args: further arguments of `fun` and `jac`.
        callback: as for `minimize`.

    Returns:
        beside what `minimize` gives: `fun` and `jac` are the residuals and the Jacobian at x as
        NumPy arrays of shapes (m,) and (m, n), `cost` is half the sum of squares, or of what `loss`
        makes of them, `grad` its gradient, `optimality` that gradient's largest absolute value,
        each times the distance to the bound that descent leads to, and `active_mask` has -1 for
        each variable at its lower bound, 1 at the upper one, else 0. With a loss, the rows of `jac`
        have their weights. `covariance` says how well the variables are determined. `status`, a
        success if above 0, is 1 for `gtol`, 2 for `ftol`, 3 for `xtol`, 4 for both of these, 0 for
        `max_nfev`, -1 where something is not finite at x0, and -2 if the callback raised
        StopIteration.

    The residuals are computed where x0 is; the systems of n equations are solved on the host.

    Source: of bounds, Branch, Coleman and Li (1999), "A subspace, interior, and conjugate gradient
    method for large-scale bound-constrained minimization problems", as in SciPy's trf; of losses,
    Holland and Welsch (1977), "Robust regression using iteratively reweighted least-squares".

    >>> y = np.array([1.0, 1.1, 0.9, 9.0])
    >>> robust = optim.least_squares(lambda x: x - y, [0.0], loss="cauchy", f_scale=0.1)
    >>> robust.x.round(2)
    array([1.])
    >>> optim.least_squares(lambda x: x - y, [0.0], bounds=(0.0, 2.0)).active_mask
    array([1])

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
    given = {"ftol": ftol, "xtol": xtol, "gtol": gtol, "maxfun": max_nfev}
    method = method.replace(**{name: each for name, each in given.items() if each is not None})
    objective = objective_of(fun, x0, args, jac)
    n = objective.start().size
    low, high = ends = ends_of(bounds, tuple(getattr(x0, "shape", np.shape(objective.start()))), n)
    interior = None
    if np.isfinite(low).any() or np.isfinite(high).any():
        objective.limits, interior = ends, Interior(low, high)
    scaling = Scaling(x_scale, n)
    return _Run(method, objective, callback, interior, Loss(loss, f_scale), scaling).run()


class _Run:
    """One run of a method."""

    def __init__(
        self,
        method: SquaresMethod,
        objective: Objective,
        callback: Callable[..., object] | None,
        interior: Interior | None,
        loss: Loss,
        scaling: Scaling,
    ) -> None:
        self.method, self.objective = method, objective
        self.callback = None if callback is None else calling(callback)
        self.interior, self.loss, self.scaling = interior, loss, scaling
        x = objective.start().numpy().copy()
        self.x: Array = x if interior is None else interior.inside(x, _INSIDE)
        self._given = x if interior is None else np.clip(x, interior.low, interior.high)
        self.residuals = self.jacobian = np.zeros(0)
        self.cost = math.nan
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
        steps = self.method.steps()
        self.residuals = self._residuals(self.x)
        self.jacobian = np.full((self.residuals.size, self.x.size), math.nan)
        self.cost = self.loss.cost(self.residuals)
        if not math.isfinite(self.cost):
            return -1
        self.jacobian = self._jacobian(self.x)
        if not np.isfinite(self.jacobian).all():
            return -1
        first = True
        while True:
            if self._is_stationary():
                return 1
            system = self._system()
            if first:
                held = system.unit == 0.0
                size = np.where(held, 0.0, self._given / np.where(held, 1.0, system.unit))
                steps.begin(float(np.linalg.norm(size)))
            status, ended = self._step(system, steps, first)
            first = False
            if ended:
                return status

    def _system(self) -> System:
        """What is to be solved for the next step."""
        residuals, jacobian = self.loss.weighted(self.residuals, self.jacobian)
        scale = self.scaling.update(jacobian)
        if self.interior is None:
            return System.of(jacobian / scale, residuals, 1.0 / scale)
        gradient = jacobian.T @ residuals
        room, slope = self.interior.distance(self.x, gradient)
        unit = np.sqrt(room * np.where(slope != 0.0, scale, 1.0)) / scale
        bend = np.sqrt(np.maximum(0.0, gradient * slope / scale))
        rows = np.concatenate([jacobian * unit, np.diag(bend)])
        return System.of(rows, np.concatenate([residuals, np.zeros(self.x.size)]), unit)

    def _is_stationary(self) -> bool:
        """Whether nothing that the variables can change is left of the residuals."""
        residuals, jacobian = self.loss.weighted(self.residuals, self.jacobian)
        norms = np.linalg.norm(jacobian, axis=0)
        cosines = np.abs(jacobian.T @ residuals) / np.where(norms > 0, norms, 1.0)
        if self.interior is not None:
            cosines *= np.minimum(1.0, self.interior.distance(self.x, jacobian.T @ residuals)[0])
        return self.cost == 0.0 or float(np.max(cosines)) <= self.method.gtol * math.sqrt(
            2.0 * self.cost
        )

    def _step(self, system: System, steps: Steps, first: bool) -> tuple[int, bool]:
        """Try steps until one is taken; the reason to end after it, and whether there is one."""
        most = self.method.maxfun or 100 * (self.x.size + 1)
        while True:
            if self.objective.nfev >= most:
                return 0, True
            status, taken = self._try(system, steps, first)
            first = False
            if taken:
                jacobian = self._jacobian(self.x)
                if not np.isfinite(jacobian).all():
                    return status or 2, True
                self.jacobian = jacobian
                self.nit += 1
                if self.callback is not None:
                    try:
                        self.callback(self.result(0, "under way"))
                    except StopIteration:
                        return -2, True
            if status or taken:
                return status, status != 0

    def _try(self, system: System, steps: Steps, first: bool) -> tuple[int, bool]:
        """Try a step; the reason to end after it, or 0, and whether it was taken."""
        whole = q = steps.step(system)
        size = float(np.linalg.norm(q))
        if first:
            steps.narrow(size)
        is_cut = steps.is_cut(size)
        if self.interior is not None:
            gap = float(np.max(np.abs(system.gradient * system.unit)))
            back = min(_BACK, gap)
            q = self.interior.bent(self.x, system, q, steps.reach(size), back)
            size = float(np.linalg.norm(q))
        there = self.x + system.unit * q
        if self.interior is not None:
            there = self.interior.inside(there)
        residuals = self._residuals(there)
        cost = self.loss.cost(residuals)
        finite = math.isfinite(cost)
        actual = 1.0 - cost / self.cost if finite and 0.01 * cost < self.cost else -1.0
        promised = system.promised(q) / self.cost
        slope = float(system.gradient @ q) / (2.0 * self.cost)
        ratio = actual / promised if promised > 0 else 0.0
        shrink = 0.5 if actual >= 0 else 0.5 * slope / (slope + 0.5 * actual)
        if not finite or 0.01 * cost >= self.cost or shrink < 0.1:
            shrink = 0.1
        radius = steps.radius
        steps.adapt(ratio, shrink, size)
        if q is not whole and ratio > 0.25:  # a bound cut it short, not a bad model
            steps.radius = max(radius, steps.radius)
        taken = ratio >= ENOUGH
        before = self.x
        if taken:
            self.x, self.residuals, self.cost = there, residuals, cost
        method, scale = self.method, self.scaling.scale
        # That little is promised says nothing where a short radius is the reason, which now grows.
        grows = is_cut and ratio >= 0.75
        flat = not grows and abs(actual) <= method.ftol and promised <= method.ftol and ratio <= 2.0
        length = float(np.linalg.norm(scale * self.x))
        if self.interior is not None:
            size = float(np.linalg.norm(scale * (there - before)))
            short = size <= method.xtol * length
        else:
            short = steps.reach(size) <= method.xtol * length
        stuck = not grows and (size <= EPS * length or promised <= EPS)
        status = 4 if flat and short else 2 if flat else 3 if short or stuck else 0
        return status, taken

    def _residuals(self, x: Array) -> Array:
        result = self.objective.call(self.objective.vector(x))
        self._exact = None
        if self.objective.jac is True:
            result, self._exact = pair(result)
        host = as_array("residuals", result)
        residuals = host.reshape(-1)
        if residuals.size == 0 or self.residuals.size not in (0, residuals.size):
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
            exact = objective.jacobian(point, m)
        jacobian = as_array("a Jacobian", exact, GradientError)
        if jacobian.size != m * x.size or (jacobian.shape[0] != m and m > 1):
            raise GradientError(
                f"expected a Jacobian of shape {(m, x.size)}, a row for each residual, got "
                f"{jacobian.shape}; transpose or complete it"
            )
        return jacobian.reshape(m, x.size)

    def _differences(self, x: Array) -> Array:
        base, exact, objective = self.residuals, self._exact, self.objective
        central = isinstance(objective.jac, str)
        try:
            return differences(self._residuals, x, base, objective.limits, central=central)
        finally:
            self._exact = exact

    def result(self, status: int, message: str) -> OptimizeResult:
        objective = self.objective
        with np.errstate(all="ignore"):
            residuals, jacobian = self.loss.weighted(self.residuals, self.jacobian)
            gradient = jacobian.T @ residuals
            norms = np.linalg.norm(jacobian, axis=0) ** 2
        room: Array | float = 1.0
        active = np.zeros(self.x.size, np.int64)
        if self.interior is not None:
            room, _ = self.interior.distance(self.x, gradient)
            active = self.interior.active(
                self.x, self.method.xtol, gradient / np.where(norms > 0, norms, 1.0)
            )
        return OptimizeResult(
            x=objective.to_user(objective.vector(self.x)),
            cost=self.cost,
            fun=self.residuals,
            jac=jacobian,
            grad=gradient,
            optimality=float(np.max(np.abs(gradient * room))),
            active_mask=active,
            nit=self.nit,
            nfev=objective.nfev,
            njev=objective.njev,
            nhev=0,
            status=status,
            message=message,
            success=status > 0,
        )
