"""Solvers: standard problems beside SciPy's methods, every kind of x0, and what goes wrong."""

# Functions to solve are lambdas here, whose arguments are what x0 is.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import born
from born import nn, optim
from born.autodiff import Autodiff, backward, grad
from born.backend import Backend
from born.errors import (
    BornError,
    ConfigError,
    DTypeError,
    GradientError,
    OperandError,
    ShapeError,
)
from born.optim.solvers.descent import Method
from born.optim.solvers.search import search
from born.optim.solvers.steps import SquaresMethod
from born_numpy import NumpyBackend
from tests.optim.problems import BOUNDED, MGH, Array
from tests.optim.record_scipy import (
    RECORDED,
    SQUARES,
    UNBOUNDED,
    bounded,
    evaluations,
    fitted,
    key_of,
    minimized,
)

RECORD: Final[dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
METHODS: Final[list[Method]] = list(UNBOUNDED.values())
SQUARES_METHODS: Final[list[SquaresMethod]] = [
    optim.LevenbergMarquardt(),
    optim.Dogleg(),
    optim.GaussNewton(),
]


def _name(method: Method | SquaresMethod) -> str:
    return type(method).__name__


every_method = pytest.mark.parametrize("method", METHODS, ids=_name)
every_squares_method = pytest.mark.parametrize("method", SQUARES_METHODS, ids=_name)


def rosenbrock(x: Array) -> float:
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)


def rosenbrock_gradient(x: Array) -> Array:
    rise = x[1] - x[0] ** 2
    return np.array([-400 * x[0] * rise - 2 * (1 - x[0]), 200 * rise])


def rosenbrock_of_tensors(x: Any) -> Any:
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def rosenbrock_residuals(x: Any) -> Any:
    return [10 * (x[1] - x[0] ** 2), 1 - x[0]]


# -- beside SciPy ----------------------------------------------------------------------


def _compared(name: str, ours: dict[str, list[float]], most: float = 1.0) -> None:
    """At least as many problems solved as by SciPy's method, in at most so many evaluations."""
    theirs = {k: math.inf if n is None else n for k, n in RECORD["evaluations"][name].items()}
    assert ours.keys() == theirs.keys()
    counts = {k: evaluations(values, RECORD["best"][key_of(name, k)]) for k, values in ours.items()}
    solved = [k for k, n in counts.items() if math.isfinite(n)]
    assert len(solved) >= sum(map(math.isfinite, theirs.values()))
    ratios = [counts[k] / theirs[k] for k in solved if math.isfinite(theirs[k])]
    assert np.median(ratios) <= most


@pytest.mark.parametrize("name", UNBOUNDED)
def test_standard_problems(name: str) -> None:
    _compared(name, {k: minimized(problem, UNBOUNDED[name]) for k, problem in MGH.items()})


def test_standard_problems_with_bounds() -> None:
    runs = {k: bounded(problem) for k, problem in BOUNDED.items()}
    _compared("L-BFGS-B with bounds", runs)


@pytest.mark.parametrize("name", [name for name in SQUARES if "Gauss" not in name])
def test_standard_sums_of_squares(name: str) -> None:
    row = SQUARES[name]
    # The dogleg keeps to bounds by another method than dogbox, which takes longer and solves more.
    most = 1.2 if name == "dogbox with bounds" else 1.0
    _compared(name, {k: fitted(row, fit) for k, fit in row.problems.items()}, most)


def test_gauss_newton_solves_what_is_well_behaved() -> None:
    row = SQUARES["trf for Gauss-Newton"]
    runs = {k: fitted(row, fit) for k, fit in row.problems.items()}
    solved = [k for k, v in runs.items() if math.isfinite(evaluations(v, RECORD["best"][k]))]
    assert len(solved) >= 26


@pytest.mark.parametrize("name", BOUNDED)
def test_within_bounds_the_conditions_of_a_minimum_hold(name: str) -> None:
    problem = BOUNDED[name]
    seen: list[Array] = []

    def fun(x: Array) -> float:
        seen.append(x)
        return problem.value(x)

    result = optim.minimize(
        fun, problem.x0, jac=problem.gradient, bounds=problem.bounds, method=optim.LBFGS(ftol=0.0)
    )
    low, high = (
        np.array([at if end is None else end for end in ends], np.float64)
        for ends, at in zip(zip(*problem.bounds, strict=True), (-np.inf, np.inf), strict=True)
    )
    assert all((low <= x).all() and (x <= high).all() for x in seen)
    pushed = result.x - np.clip(result.x - result.jac, low, high)
    assert result.success or result.status == 2
    # What is left of the gradient, beside what it was: 1e-5 where rounding allows.
    first = problem.gradient(np.clip(np.array(problem.x0, np.float64), low, high))
    assert np.abs(pushed).max() <= 1e-5 * max(1.0, float(np.abs(first).max()))


def test_scipy_takes_the_methods_as_its_own() -> None:
    scipy: Any = pytest.importorskip("scipy.optimize", reason="SciPy is not needed by born")
    for method in METHODS:
        result = scipy.minimize(
            rosenbrock, [-1.2, 1.0], method=method, jac=rosenbrock_gradient, tol=1e-6
        )
        np.testing.assert_allclose(result.x, 1, atol=1e-4)
    bounds = scipy.Bounds([-2, -2], [0.5, 2])
    result = scipy.minimize(
        rosenbrock,
        [-1.2, 1.0],
        method=optim.LBFGS(),
        jac=rosenbrock_gradient,
        bounds=bounds,
        options={"maxiter": 200},
    )
    np.testing.assert_allclose(result.x, [0.5, 0.25], atol=1e-5)
    both = scipy.minimize(
        lambda x: (rosenbrock(x), rosenbrock_gradient(x)), [-1.2, 1], jac=True, method=optim.BFGS()
    )
    assert both.success
    seen: list[float] = []
    hessian = scipy.minimize(
        rosenbrock,
        [-1.2, 1.0],
        method=optim.NewtonCG(),
        jac=rosenbrock_gradient,
        hess=scipy.rosen_hess,
        callback=lambda intermediate_result: seen.append(intermediate_result.fun),
    )
    assert hessian.success
    assert hessian.nhev > hessian.nit == len(seen)
    with pytest.raises(ConfigError, match=r"LBFGS: expected the fields .*'wrong' is unknown"):
        scipy.minimize(rosenbrock, [0, 0], method=optim.LBFGS(), options={"wrong": 1})
    with pytest.raises(ConfigError, match=r"expected no constraints for LBFGS"):
        scipy.minimize(
            rosenbrock, [0, 0], method=optim.LBFGS(), constraints={"type": "eq", "fun": rosenbrock}
        )


# -- every kind of x0 ------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("levels", [0, 1, 2])
def test_tensors(method: Method, levels: int, backend: Backend) -> None:
    home: Backend = backend
    for _ in range(levels):
        home = Autodiff(home)
    x0 = born.tensor([-1.2, 1.0, 0.5], home, dtype="float64")
    before = x0.numpy().copy()
    result = optim.minimize(rosenbrock_of_tensors, x0, method=method)
    assert result.success, result.message
    assert result.x.backend is home
    assert isinstance(result.jac, born.Tensor)
    np.testing.assert_allclose(result.x.numpy(), 1, atol=2e-4)
    np.testing.assert_array_equal(x0.numpy(), before)


def test_the_exact_hessian_needs_fewer_gradients(backend: Backend) -> None:
    once, twice = Autodiff(backend), Autodiff(Autodiff(backend))
    runs = [
        optim.minimize(
            rosenbrock_of_tensors,
            born.tensor([-1.2, 1.0], home, dtype="float64"),
            method=optim.NewtonCG(),
        )
        for home in (once, twice)
    ]
    assert runs[0].nfev >= runs[1].nfev + runs[1].nhev // 2
    assert all(run.success for run in runs)


@every_method
def test_a_model_is_left_at_the_best_point(method: Method, backend: Backend) -> None:
    home = Autodiff(backend)
    draw = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 4, home), nn.Linear(4, 1, home))
    x = born.tensor(draw.normal(size=(20, 3)).astype(np.float32), home)
    y = born.tensor(draw.normal(size=(20, 1)).astype(np.float32), home)
    losses: list[float] = []

    def loss() -> Any:
        value = nn.mse_loss(model(x), y)
        losses.append(value.item())
        return value

    result = optim.minimize(loss, model, method=method.replace(maxiter=30))
    assert result.x is model
    assert nn.mse_loss(model(x), y).item() == min(losses) == result.fun
    assert result.nfev == len(losses)
    assert [g.shape for g in result.jac] == [p.shape for p in model.parameters()]
    assert min(losses) < 0.8 * losses[0]
    best = np.linalg.lstsq(np.c_[x.numpy(), np.ones(20)], y.numpy(), rcond=None)[1].item() / 20
    assert result.fun <= 1.01 * best


def test_parameters_without_gradient_stay(backend: Backend) -> None:
    home = Autodiff(backend)
    model = nn.Linear(2, 1, home)
    model.weight.requires_grad = False
    before = model.weight.numpy().copy()
    x, y = born.ones((4, 2), home), born.ones((4, 1), home)
    for x0 in (model, model.parameters(), model.bias):
        assert optim.minimize(lambda: nn.mse_loss(model(x), y), x0).fun < 1e-8
    np.testing.assert_array_equal(model.weight.numpy(), before)


def test_a_model_may_give_its_own_gradients(backend: Backend) -> None:
    home = Autodiff(backend)
    p = nn.Parameter(born.tensor([3.0, -2.0], home))

    def loss(power: int) -> Any:
        with home.tape:
            value = (p**power).sum()
        return value.item(), backward(value)

    result = optim.minimize(loss, [p], args=(2,), jac=True)
    assert result.success
    np.testing.assert_allclose(p.numpy(), 0, atol=1e-4)


@every_method
def test_arrays_of_any_shape_with_each_kind_of_gradient(method: Method) -> None:
    def fun(x: Array, a: float) -> float:
        assert x.shape == (2, 2)
        value = float(((x - a) ** 4).sum() + ((x - a) ** 2).sum())
        x[...] = 1e9  # what it is given is its own
        return value

    def jac(x: Array, a: float) -> Array:
        return np.asarray(4 * (x - a) ** 3 + 2 * (x - a))

    def both(x: Array, a: float) -> tuple[float, Array]:
        gradient = jac(x, a)
        return fun(x, a), gradient

    for kind in (None, jac, True):
        result = optim.minimize(
            both if kind is True else fun, np.zeros((2, 2)), args=1.5, jac=kind, method=method
        )
        assert result.success
        assert result.x.shape == result.jac.shape == (2, 2)
        np.testing.assert_allclose(result.x, 1.5, atol=1e-3)
    assert optim.minimize(lambda x: (x - 2.0) ** 2, 5, method=method).x.shape == ()


@every_squares_method
def test_least_squares_of_each_kind(method: SquaresMethod, backend: Backend) -> None:
    home = Autodiff(backend)
    t = np.linspace(0, 3, 12)
    y = 2.0 * np.exp(-0.7 * t)

    def fun(x: Array) -> Array:
        return np.asarray(x[0] * np.exp(-x[1] * t) - y)

    def jac(x: Array) -> Array:
        e = np.exp(-x[1] * t)
        return np.stack([e, -x[0] * t * e], axis=1)

    def both(x: Array) -> tuple[Array, Array]:
        return fun(x), jac(x)

    expected = [2.0, 0.7]
    for kind in (None, jac, True):
        result = optim.least_squares(both if kind is True else fun, [1.0, 1.0], kind, method=method)
        np.testing.assert_allclose(result.x, expected, atol=1e-6)
        assert result.success
        assert (result.fun.shape, result.jac.shape) == ((12,), (12, 2))
        np.testing.assert_allclose(result.grad, result.jac.T @ result.fun, atol=1e-12)
    times, values = (born.tensor(each, home) for each in (t, y))
    x0 = born.tensor([1.0, 1.0], home, dtype="float64")
    found = optim.least_squares(lambda x: (-times * x[1]).exp() * x[0] - values, x0, method=method)
    np.testing.assert_allclose(found.x.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(found.jac, jac(found.x.numpy()), atol=1e-12)
    a, b = (nn.Parameter(born.tensor(1.0, home, dtype="float64")) for _ in range(2))
    same = optim.least_squares(lambda x: x, born.ones((2, 2), backend), method=method)
    np.testing.assert_allclose(same.x.numpy(), np.zeros((2, 2)), atol=1e-6)
    model = optim.least_squares(lambda: (-times * b).exp() * a - values, [a, b], method=method)
    np.testing.assert_allclose([a.item(), b.item()], expected, atol=1e-6)
    assert model.x == [a, b]


@pytest.mark.parametrize("seed", range(5))
def test_linear_least_squares_takes_one_step(seed: int) -> None:
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=(9, 4)), draw.normal(size=9)
    expected = np.linalg.lstsq(a, b, rcond=None)[0]
    for method in (optim.GaussNewton(), optim.LevenbergMarquardt(factor=1e6)):
        result = optim.least_squares(lambda x: a @ x - b, np.ones(4), lambda x: a, method=method)
        np.testing.assert_allclose(result.x, expected, atol=1e-10)
        assert result.nfev <= 3


@every_squares_method
def test_more_variables_than_residuals(method: SquaresMethod) -> None:
    result = optim.least_squares(lambda x: [x.sum() - 3.0], np.zeros(3), method=method)
    np.testing.assert_allclose(result.x, 1, atol=1e-6)


# -- why a run ends --------------------------------------------------------------------


@every_method
def test_nothing_to_do(method: Method) -> None:
    flat = optim.minimize(lambda x: 7.0, [1.0, 2.0], method=method)
    assert (flat.status, flat.nit, flat.fun) == (0, 0, 7.0)
    none = optim.minimize(rosenbrock, [-1.2, 1.0], method=method.replace(maxiter=0))
    assert (none.status, none.nit, none.success) == (1, 0, False)
    assert "maxiter" in none.message
    np.testing.assert_array_equal(none.x, [-1.2, 1.0])
    few = optim.minimize(rosenbrock, [-1.2, 1.0], method=method.replace(maxfun=10))
    assert few.status == 1
    assert few.fun < rosenbrock(np.array([-1.2, 1.0]))


@every_method
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_at_first(method: Method, value: float) -> None:
    result = optim.minimize(lambda x: value, [1.0, 2.0], method=method)
    assert (result.status, result.success) == (3, False)
    np.testing.assert_array_equal(result.x, [1.0, 2.0])
    assert "not finite at x0" in result.message
    wrong = optim.minimize(lambda x: 1.0, [1.0, 2.0], jac=lambda x: [1.0, value], method=method)
    assert wrong.status == 3


@every_method
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite_under_way_is_too_far(method: Method, value: float) -> None:
    def fun(x: Array) -> float:
        return float(x[0] - 2 * math.log(x[0]) + x[1] ** 2) if x[0] > 0 else value

    result = optim.minimize(fun, [0.05, 1.0], method=method)
    assert result.success
    np.testing.assert_allclose(result.x, [2.0, 0.0], atol=1e-3)


@every_squares_method
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_residuals_that_are_not_finite(method: SquaresMethod, value: float) -> None:
    huge = optim.least_squares(lambda x: [1e200 * x[0], x[1]], [5.0, 1.0], method=method)
    assert huge.status == -1
    at_first = optim.least_squares(lambda x: [value, x[0]], [1.0], method=method)
    assert (at_first.status, at_first.success) == (-1, False)

    def fun(x: Array) -> Any:
        return [math.log(x[0]) - 1, x[0] - 3] if x[0] > 0 else [value, value]

    result = optim.least_squares(fun, [20.0], method=method)
    assert result.success
    assert abs(result.grad[0]) < 1e-6


@every_method
def test_a_wrong_gradient_is_noticed_and_the_best_point_returned(method: Method) -> None:
    result = optim.minimize(
        rosenbrock, [-1.2, 1.0], jac=lambda x: -rosenbrock_gradient(x), method=method
    )
    assert result.status == 2
    assert "gradient is wrong" in result.message
    assert result.fun <= rosenbrock(np.array([-1.2, 1.0]))


@every_method
def test_a_function_without_a_least_value_ends(method: Method) -> None:
    result = optim.minimize(
        lambda x: -math.exp(min(x[0], 800.0)) if x[0] < 700 else -math.inf,
        [0.0],
        method=method.replace(maxiter=200),
    )
    assert result.fun < -1e6
    assert math.isfinite(result.fun)


@every_method
def test_the_best_of_all_points_is_returned(method: Method) -> None:
    draw = np.random.default_rng(3)
    seen: list[tuple[float, Array]] = []

    def noisy(x: Array) -> tuple[float, Array]:
        value = rosenbrock(x) + 0.01 * draw.normal()
        seen.append((value, x))
        return value, rosenbrock_gradient(x)

    result = optim.minimize(noisy, [-1.2, 1.0], jac=True, method=method)
    best, x = min(seen, key=lambda each: each[0])
    assert result.fun == best
    np.testing.assert_array_equal(result.x, x)


@every_method
def test_callbacks(method: Method) -> None:
    points: list[Array] = []
    values: list[float] = []

    def note(intermediate_result: optim.OptimizeResult) -> None:
        values.append(intermediate_result.fun)
        if len(values) == 5:
            raise StopIteration

    optim.minimize(
        rosenbrock, [-1.2, 1.0], callback=points.append, method=method.replace(maxiter=4)
    )
    assert [rosenbrock(x) for x in points] == sorted([rosenbrock(x) for x in points])[::-1]
    result = optim.minimize(rosenbrock, [-1.2, 1.0], callback=note, method=method)
    assert (len(points), len(values), result.nit, result.status) == (4, 5, 5, 99)
    assert not result.success
    assert result.fun <= values[-1]
    fit = optim.least_squares(rosenbrock_residuals, [-1.2, 1.0], callback=_stop)
    assert (fit.status, fit.nit) == (-2, 1)


def _stop(x: object) -> None:
    raise StopIteration


@every_method
def test_ctrl_c_leaves_the_best_point(method: Method, backend: Backend) -> None:
    home = Autodiff(backend)
    p = nn.Parameter(born.tensor([-1.2, 1.0], home, dtype="float64"))
    losses: list[float] = []

    def loss() -> Any:
        if len(losses) == 12:
            raise KeyboardInterrupt
        value = rosenbrock_of_tensors(p)
        losses.append(value.item())
        return value

    with pytest.raises(KeyboardInterrupt) as caught:
        optim.minimize(loss, p, method=method)
    assert rosenbrock_of_tensors(p).item() == min(losses)
    result: Any = getattr(caught.value, "result")  # noqa: B009  # type checkers do not know it
    assert result.fun == min(losses)
    assert not home.tape.is_recording
    count = 0

    def residuals(x: Array) -> Any:
        nonlocal count
        count += 1
        if count == 9:
            raise KeyboardInterrupt
        return rosenbrock_residuals(x)

    with pytest.raises(KeyboardInterrupt) as stopped:
        optim.least_squares(residuals, [-1.2, 1.0])
    assert getattr(stopped.value, "result").cost < 12.1  # noqa: B009  # as above


def test_an_error_of_the_function_passes_through(backend: Backend) -> None:
    home = Autodiff(backend)
    p = nn.Parameter(born.tensor([2.0], home))
    calls = 0

    def loss() -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ZeroDivisionError("mine")
        return (p**4).sum()

    with pytest.raises(ZeroDivisionError, match="mine"):
        optim.minimize(loss, p)
    assert 0 <= p.item() < 2
    assert not home.tape.is_recording


# -- what is refused -------------------------------------------------------------------

NUMPY: Final = NumpyBackend()

REFUSED: Final[list[tuple[type[Exception], Callable[[], object], str]]] = [
    (OperandError, lambda: optim.minimize(3, [1.0]), r"expected a function to minimize, got 3"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
    (OperandError, lambda: optim.minimize(rosenbrock, "ab"), r"expected x0 as an array of real"),
    (OperandError, lambda: optim.minimize(lambda x: None, [1.0]), r"returns a number, got NoneTyp"),
    (OperandError, lambda: optim.minimize(lambda x: x, [1.0], jac=True), r"\(value, gradient\) f"),
    (OperandError, lambda: optim.minimize(lambda x: 1, [1.0], jac="cs"), r"expected jac as"),
    (ShapeError, lambda: optim.minimize(lambda x: x, [1.0, 2.0]), r"returns one number, got shap"),
    (ShapeError, lambda: optim.minimize(lambda x: 1.0, []), r"x0 with at least one element"),
    (GradientError, lambda: optim.minimize(rosenbrock, [1, 2], jac=lambda x: [1]), r"shape \(2,\)"),
    (
        GradientError,
        lambda: optim.minimize(lambda x: (1.0, 2.0), born.zeros(2, NUMPY), jac=True),
        r"expected a gradient as a tensor",
    ),
    (
        GradientError,
        lambda: optim.minimize(
            lambda x: (1.0, born.zeros(3, NUMPY)), born.zeros(2, NUMPY), jac=True
        ),
        r"expected a gradient of shape \(2,\), that of x0, got \(3,\)",
    ),
    (
        DTypeError,
        lambda: optim.minimize(rosenbrock_of_tensors, born.tensor(np.array([1, 2]), NUMPY)),
        r"expected x0 of a floating dtype, got int64",
    ),
    (
        OperandError,
        lambda: optim.minimize(lambda: 1.0, nn.Linear(2, 2, NUMPY)),
        r"expected a model on Autodiff",
    ),
    (
        OperandError,
        lambda: optim.minimize(lambda: 1.0, nn.Linear(2, 2, Autodiff(NUMPY))),
        r"expected a function that returns a tensor, got float",
    ),
    (
        OperandError,
        lambda: optim.minimize(lambda: 1.0, nn.Linear(2, 2, NUMPY), jac=lambda: 1.0),
        r"expected jac=True or None for a model",
    ),
    (OperandError, lambda: optim.minimize(rosenbrock, [1j, 2]), r"it is complex; minimize over"),
    (
        ConfigError,
        lambda: optim.minimize(rosenbrock, [1, 2], method="SLSQP"),
        r"expected a method such as LBFGS\(\), or one of L-BFGS-B, BFGS, .* got 'SLSQP'",
    ),
    (
        ConfigError,
        lambda: optim.minimize(rosenbrock, [1, 2], method=optim.BFGS),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
        r"make an object of the class",
    ),
    (
        ConfigError,
        lambda: optim.least_squares(rosenbrock_residuals, [1, 2], method=optim.BFGS()),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
        r"such as LevenbergMarquardt\(\), or one of lm, trf, dogbox, .* got BFGS",
    ),
    (ConfigError, lambda: optim.LBFGS(history=0), r"LBFGS\.history: .* at least 1, got 0"),
    (ConfigError, lambda: optim.BFGS(gtol=-1.0), r"BFGS\.gtol: .* at least 0, got -1\.0"),
    (
        ConfigError,
        lambda: optim.minimize(rosenbrock, [1, 2], method=optim.BFGS(), bounds=[(0, 1)] * 2),
        r"expected no bounds for BFGS",
    ),
    (
        ShapeError,
        lambda: optim.minimize(rosenbrock, [1, 2], bounds=[(0, 1)]),
        r"a pair of bounds for each of the 2 variables, got 1",
    ),
    (
        ConfigError,
        lambda: optim.minimize(rosenbrock, [1, 2], bounds=[(0, 1), (2, 1)]),
        r"at most the upper ones, got others for the variables \[1\]",
    ),
    (ConfigError, lambda: optim.minimize(rosenbrock, [1, 2], bounds=3), r"expected bounds as pa"),
    (
        ConfigError,
        lambda: optim.minimize(rosenbrock, [1, 2], callback=3),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
        r"expected a callback as a function",
    ),
    (ShapeError, lambda: optim.least_squares(lambda x: [], [1.0]), r"expected residuals, as many"),
    (
        GradientError,
        lambda: optim.least_squares(lambda x: [x[0], 1.0], [1.0, 2.0], lambda x: [1.0, 2.0]),
        r"expected a Jacobian of shape \(2, 2\), a row for each residual, got \(2,\)",
    ),
]


@pytest.mark.parametrize(("error", "make", "message"), REFUSED)
def test_what_cannot_be_solved_is_refused(
    error: type[Exception], make: Callable[[], object], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


# -- parts -----------------------------------------------------------------------------


@given(
    st.floats(0.01, 100),
    st.floats(-3, 3),
    st.floats(-1, 1),
    st.floats(1e-3, 1e3),
    st.sampled_from([0.1, 0.4, 0.9]),
)
def test_a_search_ends_where_the_strong_wolfe_conditions_hold(
    a: float, b: float, c: float, first: float, curvature: float
) -> None:
    def along(x: float) -> tuple[float, float]:
        value = a * (x - 2) ** 4 + b * math.sin(x) + c * x
        return value, 4 * a * (x - 2) ** 3 + b * math.cos(x) + c

    f, slope = along(0.0)
    if slope >= -1e-3:
        return
    step = search(
        along, f, slope, first, decrease=1e-4, curvature=curvature, narrowest=1e-14, most=100
    )
    value, there = along(step)
    assert value <= f + 1e-4 * step * slope
    assert abs(there) <= curvature * -slope


def test_methods_go_by_the_names_of_scipy() -> None:
    for name, method in UNBOUNDED.items():
        ours, named = (
            optim.minimize(rosenbrock, [-1.2, 1.0], jac=rosenbrock_gradient, method=each)
            for each in (method, name.lower())
        )
        assert (ours.nfev, ours.fun) == (named.nfev, named.fun)
    assert optim.least_squares(rosenbrock_residuals, [-1.2, 1.0], method="lm").success


def test_methods_are_settings() -> None:
    for method in (*METHODS, *SQUARES_METHODS):
        again = type(method).from_json(json.loads(json.dumps(method.to_json())))
        assert again == method
        assert inspect.getdoc(type(method))


def test_a_result_is_a_dict_with_attributes() -> None:
    result = optim.minimize(lambda x: float(x @ x), [1.0, 2.0])
    assert set(result) <= set(dir(result))
    assert "message: 'the gradient is small enough'" in repr(result)
    with pytest.raises(AttributeError, match=r"expected one of x, fun, .* got 'y'"):
        _ = result.y


def test_trees_of_tensors_are_minimised_over(backend: Backend) -> None:
    home = Autodiff(Autodiff(backend))
    x0 = {
        "scale": born.tensor([1.0, 2.0], home, dtype="float64"),
        "rest": [born.tensor([[0.5]], home, dtype="float64"), "a name"],
    }

    def residuals(tree: Any, shift: float) -> Any:
        a, (b, _) = tree["scale"], tree["rest"]
        return born.ops.concatenate([a - shift, (a * b)[0] - 6.0])

    def loss(tree: Any, shift: float) -> Any:
        return (residuals(tree, shift) ** 2).sum()

    def gradient(tree: Any, shift: float) -> Any:
        return grad(loss)(tree, shift)

    for jac in (gradient, None):
        found = optim.minimize(loss, x0, args=3.0, jac=jac)
        assert found.success
        np.testing.assert_allclose(found.x["scale"].numpy(), [3.0, 3.0], atol=1e-4)
        np.testing.assert_allclose(found.x["rest"][0].numpy(), [[2.0]], atol=1e-4)
        assert found.x["rest"][1] == "a name"
        assert found.jac["rest"][0].shape == (1, 1)
    newton = optim.minimize(loss, x0, args=3.0, method="newton-cg")
    assert newton.success
    fit = optim.least_squares(residuals, x0, args=3.0)
    np.testing.assert_allclose(fit.x["rest"][0].numpy(), [[2.0]], atol=1e-6)
    with pytest.raises(ShapeError, match="a gradient with scale, rest, got scale"):
        optim.minimize(loss, x0, args=3.0, jac=lambda tree, _: {"scale": tree["scale"]})
    mixed = {"a": x0["scale"], "b": born.ones(2, home)}
    with pytest.raises(DTypeError, match="tensors of one dtype, got float32, float64"):
        optim.minimize(loss, mixed)


def _square(x: Any) -> float:
    return float((x * x).sum())


def test_options_are_settings_of_the_method() -> None:
    result = optim.minimize(_square, [3.0, 4.0], method="BFGS", tol=1.0, options={"maxiter": 1})
    assert (result.status, result.nit) == (1, 1)
    with pytest.raises(ConfigError, match=r"BFGS: expected the fields .*'maxiters' is unknown"):
        optim.minimize(_square, [3.0, 4.0], method="BFGS", options={"maxiters": 1})


def test_what_is_not_used_or_no_number_is_refused() -> None:
    minimize: Any = optim.minimize
    squares: Any = optim.least_squares
    x0 = [3.0, 4.0]
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: minimize(_square, x0, hessp=_square), "expected no hessp for LBFGS, .*NewtonCG"),
        (
            lambda: minimize(_square, x0, hessp=3, method="Newton-CG"),
            r"expected hessp as a function of \(x, v\), got 3",
        ),
        (lambda: minimize(_square, None), "expected x0 as an array .*: None is not a number"),
        (lambda: minimize(_square, ["3", "4"]), "expected x0 as an array .*: '3' is not a number"),
        (lambda: minimize(_square, x0, jac=np.ones(2)), "expected jac as None, True, "),
        (
            lambda: minimize(_square, x0, jac=lambda x: "x"),
            "expected a gradient of real numbers, got str: 'x' is not a number",
        ),
        (
            lambda: squares(lambda x: None, x0),
            "expected residuals of real numbers, got NoneType: None is not a number; make an array",
        ),
        (
            lambda: squares(lambda x: x, x0, jac=lambda x: {}),
            "expected a Jacobian of real numbers, got dict",
        ),
    ]
    for refused, text in cases:
        with pytest.raises(BornError, match=text):
            refused()
