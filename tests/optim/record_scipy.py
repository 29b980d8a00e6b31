"""Record what SciPy's solvers need for the standard problems, for tests that run without SciPy.

Run `python -m tests.optim.record_scipy` after changing `problems.py`. It prints the table of
docs/solvers.md as well.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, Final

import numpy as np

from born import optim
from born.optim.solvers.descent import Method
from born.optim.solvers.robust import Loss
from born.optim.solvers.steps import SquaresMethod
from tests.optim.problems import BOUNDED, FITS, FREE, MGH, Array, Bounded, Fit, Residuals

RECORDED: Final = Path(__file__).with_name("scipy_solvers.json")

PART: Final = 1e-6
"""A problem is solved when all but this part of the fall from x0 to the best f known is done."""

UNBOUNDED: Final[dict[str, Method]] = {
    "L-BFGS-B": optim.LBFGS(),
    "BFGS": optim.BFGS(),
    "CG": optim.NonlinearCG(),
    "Newton-CG": optim.NewtonCG(),
}


@dataclass(frozen=True)
class Squares:
    """A row of the table for sums of squares: a method, SciPy's, and what both are given."""

    method: SquaresMethod
    scipy: str
    problems: Mapping[str, Fit]
    loss: str = "linear"


SQUARES: Final[dict[str, Squares]] = {
    "lm": Squares(optim.LevenbergMarquardt(), "lm", FREE),
    "trf": Squares(optim.LevenbergMarquardt(), "trf", FREE),
    "trf with bounds": Squares(optim.LevenbergMarquardt(), "trf", FITS),
    "trf with soft_l1": Squares(optim.LevenbergMarquardt(), "trf", FREE, "soft_l1"),
    "trf with cauchy": Squares(optim.LevenbergMarquardt(), "trf", FREE, "cauchy"),
    "dogbox": Squares(optim.Dogleg(), "dogbox", FREE),
    "dogbox with bounds": Squares(optim.Dogleg(), "dogbox", FITS),
    "trf for Gauss-Newton": Squares(optim.GaussNewton(), "trf", FREE),
}
"""Rows by SciPy's method of the same name, or for want of one the nearest."""

F_SCALE: Final = 0.1
"""The size of a residual from which on it counts for less, where the loss is not linear."""

Values = list[float]
"""The function in each evaluation of a run."""


def watched(fun: Callable[[Array], float], values: Values) -> Callable[[Array], float]:
    """A function that notes its values."""

    def call(x: Array) -> float:
        value = fun(x)
        values.append(value if math.isfinite(value) else math.inf)
        return value

    return call


def watched_residuals(row: Squares, problem: Residuals, values: Values) -> Callable[[Array], Array]:
    """Residuals that note twice the cost."""
    loss = Loss(row.loss, F_SCALE)

    def call(x: Array) -> Array:
        with np.errstate(all="ignore"):
            r = problem.residuals(x)
            total = 2 * loss.cost(r)
        values.append(total if math.isfinite(total) else math.inf)
        return r

    return call


def evaluations(values: Values, best: float) -> float:
    """How many evaluations it took to solve the problem; infinite if it was not."""
    target = best + PART * (values[0] - best)
    return next((n for n, value in enumerate(values, 1) if value <= target), math.inf)


def minimized(problem: Residuals, method: Method) -> Values:
    """The values of a run of born's `minimize`."""
    values: Values = []
    optim.minimize(
        watched(problem.value, values),
        problem.x0,
        method=method,
        jac=problem.gradient,
        hessp=problem.product if isinstance(method, optim.NewtonCG) else None,
    )
    return values


def bounded(problem: Bounded) -> Values:
    """The values of a run of born's `LBFGS` within bounds."""
    values: Values = []
    fun = watched(problem.value, values)
    optim.minimize(fun, problem.x0, jac=problem.gradient, bounds=problem.bounds)
    return values


def fitted(row: Squares, fit: Fit, solve: Callable[..., Any] = optim.least_squares) -> Values:
    """The values of a run of born's `least_squares`, or of SciPy's."""
    values: Values = []
    fun = watched_residuals(row, fit.problem, values)
    method = row.method if solve is optim.least_squares else row.scipy
    common: dict[str, Any] = {"loss": row.loss, "f_scale": F_SCALE}
    if row.scipy != "lm":  # SciPy's refuses both
        common["bounds"] = fit.bounds
    solve(fun, fit.x0, jac=fit.problem.jacobian, method=method, **common)
    return values


def ours() -> dict[str, dict[str, Values]]:
    """The runs of born's methods, by SciPy's name of each and by problem."""
    runs: dict[str, dict[str, Values]] = {
        name: {each: minimized(problem, method) for each, problem in MGH.items()}
        for name, method in UNBOUNDED.items()
    }
    runs["L-BFGS-B with bounds"] = {each: bounded(problem) for each, problem in BOUNDED.items()}
    for name, row in SQUARES.items():
        runs[name] = {each: fitted(row, fit) for each, fit in row.problems.items()}
    return runs


def theirs() -> dict[str, dict[str, Values]]:
    """The runs of SciPy's methods."""
    scipy: Any = importlib.import_module("scipy.optimize")
    runs: dict[str, dict[str, Values]] = {}
    for name in UNBOUNDED:
        runs[name] = {}
        for each, problem in MGH.items():
            values = runs[name][each] = []
            hessp = {"hessp": problem.product} if name == "Newton-CG" else {}
            scipy.minimize(
                watched(problem.value, values),
                np.array(problem.x0, np.float64),
                method=name,
                jac=problem.gradient,
                options={"maxiter": 15_000},
                **hessp,
            )
    runs["L-BFGS-B with bounds"] = {}
    for each, limited in BOUNDED.items():
        values = runs["L-BFGS-B with bounds"][each] = []
        scipy.minimize(
            watched(limited.value, values),
            np.array(limited.x0, np.float64),
            method="L-BFGS-B",
            jac=limited.gradient,
            bounds=limited.bounds,
        )
    for name, row in SQUARES.items():
        runs[name] = {
            each: fitted(row, fit, scipy.least_squares) for each, fit in row.problems.items()
        }
    return runs


def best_of(*runs: Mapping[str, Mapping[str, Values]]) -> dict[str, float]:
    """The least value known of each problem."""
    best: dict[str, float] = {}
    for each in runs:
        for name, problems in each.items():
            for problem, values in problems.items():
                key = key_of(name, problem)
                best[key] = min(best.get(key, math.inf), *values)
    return best


def key_of(name: str, problem: str) -> str:
    """What a problem of a row is called: bounds, or a loss, make another of it."""
    if name == "L-BFGS-B with bounds":
        return f"{problem} within bounds"
    return f"{problem} with {name.partition(' with ')[2]}" if " with " in name else problem


def table(
    ours: Mapping[str, Mapping[str, float]], theirs: Mapping[str, Mapping[str, float]]
) -> str:
    """How many problems each method solves, and in how many evaluations, as Markdown."""
    lines = [
        "| born | SciPy | problems | solved | evaluations, median | born's to SciPy's, median"
        " (geometric mean) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    squares = {name: row.method for name, row in SQUARES.items()}
    methods = {**UNBOUNDED, "L-BFGS-B with bounds": optim.LBFGS(), **squares}
    for name, method in methods.items():
        pairs = [(a, theirs[name][each]) for each, a in ours[name].items()]
        both = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
        ratios = [a / b for a, b in both]
        solved = [sum(map(math.isfinite, column)) for column in zip(*pairs, strict=True)]
        middle = [median(column) for column in zip(*both, strict=True)]
        lines.append(
            f"| `{type(method).__name__}` | {name} | {len(pairs)} | "
            f"{solved[0]} against {solved[1]} | {middle[0]:g} against {middle[1]:g} | "
            f"{median(ratios):.2f} "
            f"({geometric_mean(ratios):.2f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Write the file that the tests read, and print the table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, other = ours(), theirs()
    best = best_of(mine, other)
    counts: list[dict[str, dict[str, float]]] = []
    for runs in (mine, other):
        counts.append({})
        for name, problems in runs.items():
            counts[-1][name] = {
                problem: evaluations(values, best[key_of(name, problem)])
                for problem, values in problems.items()
            }
    version = importlib.import_module("scipy").__version__
    record = {"scipy": version, "best": best, "evaluations": counts[1]}
    RECORDED.write_text(json.dumps(record, indent=1).replace("Infinity", "null"), encoding="utf-8")
    sys.stdout.write(table(*counts) + "\n")


if __name__ == "__main__":
    main()
