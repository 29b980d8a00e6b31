"""Least squares as a scientist asks for them: bounds, losses, scales, and how sure a fit is."""

# Functions to solve are lambdas here, whose arguments are what x0 is.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import born
from born import nn, optim
from born.autodiff import Autodiff
from born.backend import Backend
from born.errors import (
    ConfigError,
    ConvergenceError,
    DomainError,
    OperandError,
    ShapeError,
)
from born.optim.solvers.differences import differences
from born.optim.solvers.reflective import Interior
from born.optim.solvers.steps import SquaresMethod
from tests.optim.problems import FITS, Array

METHODS: Final[list[SquaresMethod]] = [
    optim.LevenbergMarquardt(),
    optim.Dogleg(),
    optim.GaussNewton(),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda each: type(each).__name__)


@every_method
@pytest.mark.parametrize("start", [0.0, 1e-12, 2.0, -5.0, 7.0])
@pytest.mark.parametrize(
    "bounds", [(0.0, 2.0), (0.0, 10.0), (None, 2.0), (0.0, None), None], ids=str
)
def test_a_start_at_a_bound_or_close_to_zero_holds_nothing_back(
    bounds: Any, start: float, method: SquaresMethod
) -> None:
    y = np.array([1.0, 1.1, 0.9, 9.0])
    result = optim.least_squares(lambda x: x - y, [start], bounds=bounds, method=method)
    high = math.inf if bounds is None or bounds[1] is None else bounds[1]
    np.testing.assert_allclose(result.x, min(3.0, high), rtol=1e-6)


T: Final = np.linspace(0.0, 4.0, 40)


def decay(t: Any, a: Any, b: Any, c: Any) -> Any:
    return a * np.exp(-b * t) + c


def noisy(seed: int = 0, outliers: int = 0) -> Array:
    draw = np.random.default_rng(seed)
    y = decay(T, 2.5, 1.3, 0.5) + 0.05 * draw.normal(size=T.size)
    y[draw.permutation(T.size)[:outliers]] += 4.0
    return np.asarray(y, np.float64)


def residuals_of(y: Array) -> Callable[[Array], Array]:
    return lambda x: np.asarray(decay(T, *x) - y, np.float64)


# -- bounds ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["14 Wood", "15 Kowalik and Osborne", "hs2", "penalty I"])
@pytest.mark.parametrize("jac", [None, "3-point", "exact"])
def test_no_point_lies_outside_and_the_conditions_of_a_minimum_hold(
    name: str, jac: str | None
) -> None:
    fit = FITS[name]
    low, high = fit.bounds
    seen: list[Array] = []

    def fun(x: Array) -> Array:
        seen.append(x)
        return fit.problem.residuals(x)

    exact = fit.problem.jacobian if jac == "exact" else jac
    result = optim.least_squares(fun, fit.x0, exact, fit.bounds, max_nfev=2000)
    assert result.success, result.message
    assert all((low <= x).all() and (x <= high).all() for x in seen)
    first = np.abs(fit.problem.gradient(np.array(fit.x0, np.float64))).max()
    # Descent is possible no further: what is left of the gradient beside what it was, where
    # bounds do not hold it, and its sign where they do.
    free = result.active_mask == 0
    assert np.abs(result.grad[free]).max(initial=0.0) <= 1e-5 * max(1.0, first)
    assert (result.grad * result.active_mask <= 0).all()
    np.testing.assert_allclose(result.optimality, 0, atol=1e-5 * max(1.0, first))


@every_method
def test_bounds_of_every_form(method: SquaresMethod, backend: Backend) -> None:
    class Bounds:
        lb, ub = (None, -1.0, 0.5), 2.0

    def fun(x: Any) -> Any:
        return x - 3.0

    forms = [
        ([-np.inf, -1.0, 0.5], 2.0),
        ((None, -1, 0.5), [2, 2, 2]),
        np.array([[-np.inf, -1, 0.5], [2, 2, 2]]),
        Bounds(),
    ]
    for bounds in forms:
        result = optim.least_squares(fun, [9.0, 0.0, -9.0], bounds=bounds, method=method)
        np.testing.assert_allclose(result.x, 2.0, atol=1e-6)
        assert result.active_mask.tolist() == [1, 1, 1]
    home = Autodiff(backend)
    x0 = born.zeros((1, 3), home, dtype="float64")
    low = born.tensor([[-9.0, -1.0, 0.5]], home)
    found = optim.least_squares(fun, x0, bounds=(low, 2.0), method=method)
    np.testing.assert_allclose(found.x.numpy(), np.full((1, 3), 2.0), atol=1e-6)
    p = nn.Parameter(x0)
    optim.least_squares(lambda: p - 3.0, p, bounds=(None, [1.0, 2.0, 4.0]), method=method)
    np.testing.assert_allclose(p.numpy(), [[1.0, 2.0, 3.0]], atol=1e-6)


def test_equal_bounds_fix_a_variable() -> None:
    y = noisy()
    fixed = optim.least_squares(residuals_of(y), [1.0] * 3, bounds=([0, 1.3, 0], [9, 1.3, 9]))
    free = optim.least_squares(lambda x: decay(T, x[0], 1.3, x[1]) - y, [1.0, 1.0])
    np.testing.assert_allclose(fixed.x, [free.x[0], 1.3, free.x[1]], atol=1e-6)
    both = optim.least_squares(residuals_of(y), [9.0] * 3, bounds=([1, 2, 3], [1, 2, 3]))
    assert (both.x.tolist(), both.status, both.nfev) == ([1.0, 2.0, 3.0], 1, 1)


def test_the_mask_names_every_bound_that_holds() -> None:
    for seed in range(30):
        draw = np.random.default_rng(seed)
        a, b = draw.normal(size=(6, 4)), 3 * draw.normal(size=6)
        low = draw.normal(size=4) - 0.5
        high = low + draw.exponential(size=4)
        found = optim.least_squares(
            lambda x, a, b: a @ x - b, low, lambda x, a, b: a, (low, high), args=(a, b)
        )
        held = np.abs(found.grad) > 1e-3
        assert (found.active_mask[held] == -np.sign(found.grad[held])).all()
        assert not found.active_mask[np.abs(found.grad) < 1e-6].any()


@given(st.integers(0, 2**31))
def test_a_step_never_leaves_the_interior(seed: int) -> None:
    draw = np.random.default_rng(seed)
    n = int(draw.integers(1, 5))
    low = np.where(draw.random(n) < 0.3, -np.inf, draw.normal(size=n))
    high = np.where(draw.random(n) < 0.3, np.inf, np.maximum(low, -9.0) + draw.exponential(size=n))
    interior = Interior(low, high)
    x = interior.inside(draw.normal(size=n) * 3, 1e-10)
    assert ((low < x) & (x < high)).all()
    times, hits = interior.longest(x, draw.normal(size=n))
    assert times >= 0
    assert hits.any() or math.isinf(times)
    assert not interior.active(x, 1e-12, np.zeros(n)).any()


def test_differences_stay_within_limits() -> None:
    def fun(x: Array) -> Array:
        assert (x >= 0).all()
        assert (x <= 1).all()
        return np.array([np.sin(x).sum(), (x**2).sum()])

    x = np.array([0.0, 0.3, 1.0, 1e-9])
    exact = np.stack([np.cos(x), 2 * x])
    limits = np.zeros(4), np.ones(4)
    for central, tolerance in ((False, 1e-7), (True, 1e-9)):  # h and h² of the steps taken
        found = differences(fun, x, fun(x), limits, central=central)
        np.testing.assert_allclose(found, exact, atol=tolerance)
    stuck = differences(lambda x: x, np.ones(1), np.ones(1), (np.ones(1), np.ones(1)), central=True)
    np.testing.assert_array_equal(stuck, 0)


# -- losses and scales -----------------------------------------------------------------


@every_method
@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy", "arctan"])
def test_outliers_count_for_less(loss: str, method: SquaresMethod) -> None:
    y = noisy(outliers=6)
    plain = optim.least_squares(residuals_of(y), [2.0, 1.0, 0.0], method=method)
    robust = optim.least_squares(
        residuals_of(y), [2.0, 1.0, 0.0], loss=loss, f_scale=0.1, method=method
    )
    true = np.array([2.5, 1.3, 0.5])
    assert robust.success
    assert np.abs(robust.x - true).max() < 0.5 * np.abs(plain.x - true).max()

    def cost(x: Array) -> float:
        z = (residuals_of(y)(x) / 0.1) ** 2
        rho = {
            "soft_l1": 2 * (np.sqrt(1 + z) - 1),
            "huber": np.where(z <= 1, z, 2 * np.sqrt(z) - 1),
            "cauchy": np.log(1 + z),
            "arctan": np.arctan(z),
        }
        return 0.005 * float(rho[loss].sum())

    assert math.isclose(robust.cost, cost(robust.x), rel_tol=1e-12)
    slopes = [(cost(robust.x + h) - cost(robust.x - h)) / 2e-6 for h in np.eye(3) * 1e-6]
    np.testing.assert_allclose(robust.grad, slopes, atol=1e-7)  # of differences of 1e-6
    np.testing.assert_allclose(robust.grad, 0, atol=1e-3)


def test_a_loss_of_ones_own_and_bounds_together() -> None:
    y = noisy(outliers=6)

    def cauchy(z: Array) -> Array:
        return np.array([np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2])

    options: dict[str, Any] = {"f_scale": 0.1, "bounds": ([0, 0, 0.6], np.inf)}
    mine, named = (
        optim.least_squares(residuals_of(y), [2.0, 1.0, 1.0], loss=loss, **options)
        for loss in (cauchy, "cauchy")
    )
    np.testing.assert_array_equal(mine.x, named.x)
    assert mine.active_mask.tolist() == [0, 0, -1]


def test_scales_of_the_variables() -> None:
    y = noisy()
    expected = optim.least_squares(residuals_of(y), [2.0, 1.0, 0.0]).x
    for x_scale in (1.0, [10.0, 1.0, 0.1], "jac"):
        for bounds in (None, (0, 10)):
            found = optim.least_squares(
                residuals_of(y), [2.0, 1.0, 0.1], bounds=bounds, x_scale=x_scale
            )
            np.testing.assert_allclose(found.x, expected, atol=1e-5)


def test_tolerances_in_place_of_the_methods() -> None:
    fun, x0 = residuals_of(noisy()), [2.0, 1.0, 0.0]
    few = optim.least_squares(fun, x0, max_nfev=3)
    assert (few.status, few.success) == (0, False)
    for name, status in (("gtol", {1}), ("ftol", {2, 4}), ("xtol", {3, 4})):
        given: dict[str, Any] = {"gtol": 0.0, "ftol": 0.0, "xtol": 0.0, name: 0.1}
        loose = optim.least_squares(fun, x0, **given)
        assert loose.status in status
        assert loose.nit < optim.least_squares(fun, x0).nit


def test_jacobians_of_many_residuals_take_one_pass(backend: Backend) -> None:
    home = Autodiff(backend)
    t = born.tensor(np.linspace(0, 1, 600), home, dtype="float64")
    model = nn.Linear(1, 2, home, dtype="float64")
    assert model.bias is not None
    model.bias.requires_grad = False
    calls = 0

    def fun() -> Any:
        nonlocal calls
        calls += 1
        return model(t.reshape(-1, 1)) - born.ops.stack([t * 3.0, t], axis=1)

    result = optim.least_squares(fun, model)
    assert result.jac.shape == (1200, 2)  # of the weight alone
    exact = np.zeros((600, 2, 2))
    exact[:, 0, 0] = exact[:, 1, 1] = t.numpy()
    np.testing.assert_allclose(result.jac, exact.reshape(1200, 2), atol=1e-14)
    assert calls == result.nfev <= 10


# -- how sure a fit is -----------------------------------------------------------------


def test_the_covariance_is_that_of_linear_regression() -> None:
    draw = np.random.default_rng(1)
    a, y = draw.normal(size=(30, 3)) * [1.0, 1e-6, 1e6], draw.normal(size=30)
    fit = optim.least_squares(lambda x: a @ x - y, np.zeros(3), lambda x: a)
    exact = np.linalg.inv(a.T @ a)
    s2 = float(((a @ fit.x - y) ** 2).sum()) / 27
    np.testing.assert_allclose(optim.covariance(fit, absolute_sigma=True), exact, rtol=1e-6)
    np.testing.assert_allclose(optim.covariance(fit), exact * s2, rtol=1e-6)
    some = optim.covariance(fit, free=[True, False, True])
    np.testing.assert_allclose(
        some[np.ix_([0, 2], [0, 2])] * 28 / (27 * s2),
        np.linalg.inv(a[:, [0, 2]].T @ a[:, [0, 2]]),
        rtol=1e-6,
    )
    assert not some[1].any()


def test_what_data_do_not_determine_has_an_infinite_variance() -> None:
    twins = optim.least_squares(
        lambda x: np.array([x[0] + x[1], x[2], x[0] + x[1] - 0.1, x[2] - 0.3]), [1.0, 0.0, 0.0]
    )
    found = optim.covariance(twins)
    assert np.isinf(found[:2]).all()
    assert np.isinf(found[:, :2]).all()
    assert 0 < found[2, 2] < 1
    few = optim.least_squares(lambda x: x - 1.0, [0.0, 0.0])
    assert np.isinf(optim.covariance(few)).all()
    np.testing.assert_allclose(optim.covariance(few, absolute_sigma=True), np.eye(2), atol=1e-7)


def test_curve_fit_is_scipys() -> None:
    scipy: Any = pytest.importorskip("scipy.optimize", reason="SciPy is not needed by born")
    y, errors = noisy(), np.linspace(0.02, 0.1, T.size)
    correlated = np.diag(errors**2) + 1e-4
    cases: list[dict[str, Any]] = [
        {},
        {"p0": [2.0, 1.0, 0.0]},
        {"sigma": errors},
        {"sigma": errors, "absolute_sigma": True},
        {"sigma": correlated, "absolute_sigma": True},
        {"bounds": ([0, 0, 0], [3, 2, 1])},
        {"bounds": ([0, 0, 0], [np.inf, 1.1, 1]), "method": "trf"},
    ]
    for case in cases:
        theirs, ours = scipy.curve_fit(decay, T, y, **case), optim.curve_fit(decay, T, y, **case)
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
        # The Jacobians are differences, with eight digits.
        np.testing.assert_allclose(ours[1], theirs[1], rtol=2e-3)


def test_curve_fit_of_tensors(backend: Backend) -> None:
    home = Autodiff(backend)
    y, errors = noisy(), np.linspace(0.02, 0.1, T.size)
    expected = optim.curve_fit(decay, T, y, sigma=errors, jac="3-point")
    t = born.tensor(T, home)

    def model(t: Any, a: Any, b: Any, c: Any) -> Any:
        return a * (-b * t).exp() + c

    p, pcov = optim.curve_fit(model, t, y, sigma=errors)
    assert p.backend is home
    np.testing.assert_allclose(p.numpy(), expected[0], atol=1e-6)
    np.testing.assert_allclose(pcov, expected[1], rtol=1e-4)
    again, _ = optim.curve_fit(model, t, y, sigma=np.diag(errors**2), p0=[1.0, 1.0, 1.0])
    np.testing.assert_allclose(again.numpy(), expected[0], atol=1e-6)
    plain, _ = optim.curve_fit(model, born.tensor(T, backend), y, sigma=errors)
    assert plain.backend is backend
    np.testing.assert_allclose(plain.numpy(), expected[0], atol=1e-6)


def test_a_start_of_any_shape() -> None:
    np.testing.assert_allclose(curve_fit(lambda t, a: a * t, T, 3 * T, 2.0)[0], [3.0])
    np.testing.assert_allclose(curve_fit(_line, T, 3 * T, [[1, 1]])[0], [0.0, 3.0], atol=1e-9)


def test_fixed_parameters_of_curve_fit_have_no_variance() -> None:
    p, pcov = optim.curve_fit(decay, T, noisy(), bounds=([0, 1.3, 0], [9, 1.3, 9]))
    assert p[1] == 1.3
    assert not pcov[1].any()
    assert (np.diag(pcov)[[0, 2]] > 0).all()


def test_a_jacobian_is_weighed_as_residuals_are() -> None:
    errors = np.linspace(0.02, 0.1, T.size)

    def jac(t: Array, a: float, b: float, c: float) -> Array:
        return np.stack([np.exp(-b * t), -a * t * np.exp(-b * t), np.ones_like(t)], axis=1)

    for sigma in (errors, np.diag(errors**2)):
        with_it, without = (
            optim.curve_fit(decay, T, noisy(), sigma=sigma, jac=each) for each in (jac, "3-point")
        )
        np.testing.assert_allclose(with_it[1], without[1], rtol=1e-5)


# -- what is refused -------------------------------------------------------------------


def _line(x: Any, a: float, b: float) -> Any:
    return a + b * x


squares: Any = optim.least_squares
curve_fit: Any = optim.curve_fit

REFUSED: Final[list[tuple[type[Exception], Callable[[], object], str]]] = [
    (ConfigError, lambda: squares(_line, [1.0], None, METHODS[0]), "a method goes as method="),
    (ConfigError, lambda: squares(_line, [1.0], bounds=(2, 1)), r"\[0\], the first 2\.0 and 1\.0"),
    (ConfigError, lambda: squares(_line, [1.0], bounds=(np.nan, 1)), "the first nan and 1.0"),
    (ConfigError, lambda: squares(_line, [1.0], bounds=(np.inf, None)), "a lower bound of inf"),
    (ShapeError, lambda: squares(_line, [1.0], bounds=([1, 2], 3)), "broadcast to the shape"),
    (ConfigError, lambda: squares(_line, [1.0], loss="l1"), "expected loss as one of linear, soft"),
    (DomainError, lambda: squares(_line, [1.0], loss="huber", f_scale=0), "f_scale above 0, got 0"),
    (
        ShapeError,
        lambda: squares(lambda x: x, [1.0], loss=lambda z: z),
        r"rho and its derivative, each of shape \(1,\)",
    ),
    (ConfigError, lambda: squares(_line, [1.0], x_scale=0.0), "x_scale of positive numbers"),
    (ConfigError, lambda: squares(_line, [1.0], x_scale="jacobian"), "x_scale as 'jac' or the s"),
    (ShapeError, lambda: squares(_line, [1.0], x_scale=[1, 2]), "one for each of the 1 variables"),
    (ConfigError, lambda: squares(_line, [1.0], max_nfev=-1), "maxfun: .* at least 0, got -1"),
    (
        OperandError,
        lambda: squares(lambda x: x, born.ones(2, born.get_backend("numpy")), jac="3-point"),
        "got tensors, whose derivatives are exact",
    ),
    (
        OperandError,
        lambda: optim.covariance(optim.minimize(lambda x: x**2, 1.0)),
        "expected the result of optim.least_squares",
    ),
    (
        ShapeError,
        lambda: optim.covariance(squares(lambda x: x, [1.0]), free=[True, False]),
        "free as 1 bools",
    ),
    (OperandError, lambda: curve_fit(lambda x, *p: x, T, T), "expected p0, or a function that"),
    (OperandError, lambda: curve_fit(_line, T, "data"), "expected ydata as an array of numbers"),
    (OperandError, lambda: curve_fit(_line, T, T + 1j), "ydata as an array .* is not a number"),
    (OperandError, lambda: squares(lambda x: x + 1j, [1.0]), r"1j\) is not a number"),
    (OperandError, lambda: curve_fit(_line, T, T, sigma="1"), "expected sigma of real numbers"),
    (DomainError, lambda: curve_fit(_line, T, T * np.nan), "finite ydata, got 40 of 40"),
    (ShapeError, lambda: curve_fit(_line, T, []), "ydata of at least one number"),
    (ShapeError, lambda: curve_fit(_line, T, T[:9]), r"to return the shape \(9,\) of ydata"),
    (ShapeError, lambda: curve_fit(_line, T, T, sigma=[1.0, 2.0]), r"sigma of the shape \(40,\)"),
    (DomainError, lambda: curve_fit(_line, T, T, sigma=0.0), "sigma of positive numbers"),
    (DomainError, lambda: curve_fit(_line, T, T, sigma=-np.eye(40)), "which is positive definite"),
    (
        ConvergenceError,
        lambda: curve_fit(decay, T, noisy(), max_nfev=2),
        r"got none after 4 evaluations: it took as many .* a larger max_nfev",
    ),
]


@pytest.mark.parametrize(("error", "make", "message"), REFUSED)
def test_what_cannot_be_fitted_is_refused(
    error: type[Exception], make: Callable[[], object], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()
