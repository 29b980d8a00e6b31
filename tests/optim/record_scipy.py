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
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, Final

import numpy as np

from born import optim
from born.optim.solvers.descent import Method
from born.optim.solvers.squares import SquaresMethod
from tests.optim.problems import BOUNDED, MGH, Array, Bounded, Residuals

RECORDED: Final = Path(__file__).with_name("scipy_solvers.json")

PART: Final = 1e-6
"""A problem is solved when all but this part of the fall from x0 to the best f known is done."""

UNBOUNDED: Final[dict[str, Method]] = {
    "L-BFGS-B": optim.LBFGS(),
    "BFGS": optim.BFGS(),
    "CG": optim.NonlinearCG(),
    "Newton-CG": optim.NewtonCG(),
}
SQUARES: Final[dict[str, SquaresMethod]] = {
    "lm": optim.LevenbergMarquardt(),
    "dogbox": optim.Dogleg(),
    "trf": optim.GaussNewton(),
}
"""SciPy's methods of the same name, or for want of one the nearest."""

Values = list[float]
"""The function in each evaluation of a run."""


def watched(fun: Callable[[Array], float], values: Values) -> Callable[[Array], float]:
    """A function that notes its values."""

    def call(x: Array) -> float:
        value = fun(x)
        values.append(value if math.isfinite(value) else math.inf)
        return value

    return call


def watched_residuals(problem: Residuals, values: Values) -> Callable[[Array], Array]:
    """Residuals that note the sum of their squares."""

    def call(x: Array) -> Array:
        with np.errstate(all="ignore"):
            r = problem.residuals(x)
            total = float(r @ r)
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


def fitted(problem: Residuals, method: SquaresMethod) -> Values:
    """The values of a run of born's `least_squares`."""
    values: Values = []
    fun = watched_residuals(problem, values)
    optim.least_squares(fun, problem.x0, jac=problem.jacobian, method=method)
    return values


def ours() -> dict[str, dict[str, Values]]:
    """The runs of born's methods, by SciPy's name of each and by problem."""
    runs: dict[str, dict[str, Values]] = {
        name: {each: minimized(problem, method) for each, problem in MGH.items()}
        for name, method in UNBOUNDED.items()
    }
    runs["L-BFGS-B with bounds"] = {each: bounded(problem) for each, problem in BOUNDED.items()}
    for name, squares in SQUARES.items():
        runs[name] = {each: fitted(problem, squares) for each, problem in MGH.items()}
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
    for name in SQUARES:
        runs[name] = {}
        for each, problem in MGH.items():
            values = runs[name][each] = []
            fun, x0 = watched_residuals(problem, values), np.array(problem.x0, np.float64)
            scipy.least_squares(fun, x0, jac=problem.jacobian, method=name)
    return runs


def best_of(*runs: Mapping[str, Mapping[str, Values]]) -> dict[str, float]:
    """The least value known of each problem; with bounds it is another problem."""
    best: dict[str, float] = {}
    for each in runs:
        for name, problems in each.items():
            for problem, values in problems.items():
                key = f"{problem} within bounds" if "bounds" in name else problem
                best[key] = min(best.get(key, math.inf), *values)
    return best


def table(
    ours: Mapping[str, Mapping[str, float]], theirs: Mapping[str, Mapping[str, float]]
) -> str:
    """How many problems each method solves, and in how many evaluations, as Markdown."""
    lines = [
        "| born | SciPy | problems | solved | evaluations, median | born's to SciPy's, median"
        " (geometric mean) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    methods = {**UNBOUNDED, "L-BFGS-B with bounds": optim.LBFGS(), **SQUARES}
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
            suffix = " within bounds" if "bounds" in name else ""
            counts[-1][name] = {
                problem: evaluations(values, best[problem + suffix])
                for problem, values in problems.items()
            }
    version = importlib.import_module("scipy").__version__
    record = {"scipy": version, "best": best, "evaluations": counts[1]}
    RECORDED.write_text(json.dumps(record, indent=1).replace("Infinity", "null"), encoding="utf-8")
    sys.stdout.write(table(*counts) + "\n")


if __name__ == "__main__":
    main()
