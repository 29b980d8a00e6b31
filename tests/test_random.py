"""Draws: of the right distribution, the same on every backend, and differentiable by parameters."""

# The functions are looked up by name, and so typed as of anything.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import born
from born import checkpoint, nn, ops, random
from born.autodiff import Autodiff, check_gradients, grad, hessian, jacobian
from born.backend import Backend
from born.errors import BornError, DomainError, OperandError, ShapeError
from born.raw import HostArray

scipy_stats = pytest.importorskip("scipy.stats", reason="draws are compared with SciPy's")
special = pytest.importorskip("scipy.special")
AD = Autodiff[Backend]
T = born.Tensor[Any]
COUNT: Final = 4000

CONTINUOUS: Final[dict[str, tuple[Callable[[Backend], T], Any]]] = {
    "normal": (
        lambda b: random.normal(1.0, 2.0, COUNT, backend=b),
        scipy_stats.norm(1.0, 2.0),
    ),
    "uniform": (
        lambda b: random.uniform(1.0, 3.0, COUNT, backend=b),
        scipy_stats.uniform(1.0, 2.0),
    ),
    "exponential": (
        lambda b: random.exponential(2.0, COUNT, backend=b),
        scipy_stats.expon(scale=2.0),
    ),
    "laplace": (
        lambda b: random.laplace(1.0, 2.0, COUNT, backend=b),
        scipy_stats.laplace(1.0, 2.0),
    ),
    "truncated_normal": (
        lambda b: random.truncated_normal(-1.0, 0.5, COUNT, backend=b),
        scipy_stats.truncnorm(-1.0, 0.5),
    ),
    "truncated_normal in a tail": (
        lambda b: random.truncated_normal(4.0, np.inf, COUNT, backend=b),
        scipy_stats.truncnorm(4.0, np.inf),
    ),
    "gamma": (
        lambda b: random.gamma(2.5, 2.0, COUNT, backend=b),
        scipy_stats.gamma(2.5, scale=2.0),
    ),
    "gamma of small shape": (
        lambda b: random.gamma(0.3, shape=COUNT, backend=b),
        scipy_stats.gamma(0.3),
    ),
    "beta": (lambda b: random.beta(0.5, 2.0, COUNT, backend=b), scipy_stats.beta(0.5, 2.0)),
    "dirichlet": (
        lambda b: random.dirichlet(born.tensor([1.0, 2.0, 0.5], b), COUNT)[:, 1],
        scipy_stats.beta(2.0, 1.5),
    ),
}
DISCRETE: Final[dict[str, tuple[Callable[[Backend], T], HostArray]]] = {
    "bernoulli": (
        lambda b: random.bernoulli(0.3, COUNT, backend=b).astype("int64"),
        np.array([0.7, 0.3]),
    ),
    "categorical": (
        lambda b: random.categorical(born.tensor([1.0, 2.0, 1.0], b), COUNT),
        np.array([0.25, 0.5, 0.25]),
    ),
    "categorical by logits": (
        lambda b: random.categorical(logits=born.zeros((COUNT, 3), b)),
        np.ones(3) / 3,
    ),
    "poisson": (
        lambda b: random.poisson(1.5, COUNT, backend=b),
        scipy_stats.poisson(1.5).pmf(np.arange(12)),
    ),
    "multinomial": (
        lambda b: random.multinomial(3, born.tensor([0.2, 0.8], b), COUNT)[:, 0],
        scipy_stats.binom(3, 0.2).pmf(np.arange(4)),
    ),
    "choice": (lambda b: random.choice(4, COUNT, backend=b), np.ones(4) / 4),
    "choice by weights": (
        lambda b: random.choice(2, COUNT, p=born.tensor([1.0, 3.0], b)),
        np.array([0.25, 0.75]),
    ),
}
DRAWS: Final = {name: draw for name, (draw, _) in {**CONTINUOUS, **DISCRETE}.items()} | {
    "permutation": lambda b: random.permutation(10, backend=b),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_draws_have_their_distribution(name: str, backend: Backend) -> None:
    draw, expected = CONTINUOUS[name]
    found = draw(backend)
    assert found.shape == (COUNT,)
    assert found.dtype == np.float32
    # The seed is fixed: this either always holds or never does.
    assert scipy_stats.kstest(found.numpy().astype(np.float64), expected.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_draws_have_their_distribution(name: str, backend: Backend) -> None:
    draw, p = DISCRETE[name]
    found = draw(backend)
    assert found.dtype == np.int64
    counts = np.bincount(found.numpy(), minlength=len(p))
    assert len(counts) == len(p)
    seen = COUNT * p > 5
    rest = [COUNT - counts[seen].sum()], [COUNT * (1 - p[seen].sum())]
    pairs = [np.append(a, b) for a, b in zip((counts[seen], COUNT * p[seen]), rest, strict=True)]
    statistic = ((pairs[0] - pairs[1]) ** 2 / np.maximum(pairs[1], 1e-9)).sum()
    assert scipy_stats.chi2(seen.sum()).sf(statistic) > 1e-3


@pytest.mark.parametrize("name", DRAWS)
def test_the_same_seed_draws_the_same_on_every_backend(name: str, backend: Backend) -> None:
    first = DRAWS[name](born.get_backend("numpy", seed=3)).numpy()
    backend.seed(3)
    found = DRAWS[name](backend).numpy()
    # Compiled loops and devices round exp and log otherwise.
    np.testing.assert_allclose(found, first, rtol=1e-5, atol=1e-6)
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, first)
    with backend.seeded(3):
        np.testing.assert_array_equal(DRAWS[name](backend).numpy(), found)
    again = DRAWS[name](Autodiff(backend)).numpy()
    assert (again != found).any()


def test_draws_go_on_from_a_checkpoint(backend: Backend, tmp_path: Any) -> None:
    model = nn.Linear(1, 1, backend)
    for draw in DRAWS.values():
        draw(backend)
        checkpoint.save(tmp_path / "a.safetensors", model=model)
        expected = draw(backend).numpy()
        checkpoint.load(tmp_path / "a.safetensors", model=model)
        np.testing.assert_array_equal(draw(backend).numpy(), expected)


def test_permutations_and_choices_of_rows(backend: Backend) -> None:
    x = born.arange(12, backend=backend).reshape(6, 2)
    assert sorted(random.permutation(x).tolist()) == x.tolist()
    assert random.permutation(x).tolist() != random.permutation(x).tolist()
    rows = random.choice(x, (4,), replace=False)
    assert rows.shape == (4, 2)
    assert len({tuple(row) for row in rows.tolist()}) == 4
    assert random.choice(x).shape == (2,)
    assert random.choice(3, (2, 2), backend=backend).shape == (2, 2)
    assert random.categorical(born.ones((3, 4), backend), (5, 3)).shape == (5, 3)


@pytest.mark.parametrize("a", [1.0, 1.7, 10.0, 300.0, 1e5])
def test_derivative_of_a_gamma_draw(a: float, backend: Backend) -> None:
    q = np.array([1e-6, 0.01, 0.3, 0.5, 0.7, 0.99, 1 - 1e-6])
    z, h = special.gammaincinv(a, q), 1e-5 * a
    expected = (special.gammaincinv(a + h, q) - special.gammaincinv(a - h, q)) / (2 * h)
    found = random.gamma_derivative(
        born.full((7,), a, backend, "float64"), born.tensor(z, backend)
    ).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-7)  # of the difference


MOMENTS: Final[dict[str, tuple[Callable[[T], T], float, float, float]]] = {
    # draws by one parameter, its value, and the derivatives of the mean of their squares
    "gamma": (lambda a: random.gamma(a, shape=40_000), 2.0, 5.0, 2.0),
    "gamma of small shape": (lambda a: random.gamma(a, shape=40_000), 0.4, 1.8, 2.0),
    "exponential": (lambda s: random.exponential(s, 40_000), 1.5, 6.0, 4.0),
    "laplace": (lambda s: random.laplace(0.0, s, 40_000), 1.5, 6.0, 4.0),
    "normal": (lambda s: random.normal(1.0, s, 40_000), 1.5, 3.0, 2.0),
    # (a + 1) a / ((a + 3) (a + 2)) of a / (a + 2)
    "beta": (lambda a: random.beta(a, 2.0, 40_000), 2.0, 0.1150, -0.0335),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_draws_are_differentiable_by_their_parameters(name: str, autodiff: AD) -> None:
    draw, at, first, second = MOMENTS[name]

    def moment(parameter: T) -> T:
        autodiff.seed(5)
        return (draw(parameter) ** 2).mean()

    x = born.tensor(at, autodiff, "float64")
    # Of 40,000 draws the standard errors are about one in a hundred.
    np.testing.assert_allclose(grad(moment)(x).item(), first, rtol=0.05)
    np.testing.assert_allclose(hessian(moment)(x).item(), second, rtol=0.1)


def test_dirichlet_and_truncated_draws_are_differentiable(autodiff: AD) -> None:
    alpha = born.tensor(np.array([0.5, 2.0, 3.0]), autodiff)

    def mean(alpha: T) -> T:
        autodiff.seed(1)
        return random.dirichlet(alpha, 40_000).mean(axis=0)

    a = alpha.numpy()
    expected = np.eye(3) / a.sum() - a[:, None] / a.sum() ** 2
    np.testing.assert_allclose(jacobian(mean)(alpha).numpy(), expected, atol=0.01)
    bounds = [born.tensor(v, autodiff, "float64") for v in (-0.5, 1.0)]

    def average(lower: T, upper: T) -> T:
        autodiff.seed(1)
        return random.truncated_normal(lower, upper, 40_000).mean()

    h = 1e-4
    for i, found in enumerate(grad(average, (0, 1))(*bounds)):
        ends = [[v + s * h * (i == k) for k, v in enumerate((-0.5, 1.0))] for s in (1, -1)]
        means = [scipy_stats.truncnorm(*each).mean() for each in ends]
        np.testing.assert_allclose(found.item(), (means[0] - means[1]) / (2 * h), rtol=0.02)


PROBABILITIES: Final = "of bernoulli inside their range, probabilities from 0 to 1"


def _of_scale(name: str) -> Callable[[born.Tensor[Any]], Any]:
    others = {"gamma": {"a": 1.0}}.get(name, {})
    return lambda x: getattr(random, name)(scale=x * born.tensor([-1.0, 1.0], x.backend), **others)


def _of_bernoulli(p: Any) -> Callable[[T], object]:
    return lambda x: random.bernoulli(p, 3, backend=x.backend)


def _between(low: float, high: float) -> Callable[[T], object]:
    return lambda x: random.truncated_normal(low, high, backend=x.backend)


REFUSED: Final[dict[str, tuple[Callable[[T], object], type[BornError], str]]] = {
    "no backend": (lambda x: random.normal(), OperandError, r"or a backend .* pass backend="),
    "shapes that differ": (
        lambda x: random.normal(x, x[:1].reshape(1, 1) * born.ones((1, 3), x.backend)),
        ShapeError,
        r"of normal that broadcast .* \(2,\), \(1, 3\)",
    ),
    "a shape that does not hold them": (
        lambda x: random.gamma(x, shape=(3,)),
        ShapeError,
        r"of gamma .* shape=\(3,\); the draws have the axes",
    ),
    "a negative mean": (lambda x: random.poisson(-x), DomainError, "of poisson inside their range"),
    "a negative shape": (
        lambda x: random.gamma(-2.0 * x),
        DomainError,
        "of gamma inside their range",
    ),
    "negative probabilities": (
        lambda x: random.choice(2, 3, p=x * born.tensor([-1.0, 3.0], x.backend)),
        DomainError,
        "of choice inside their range",
    ),
    "more than there are": (
        lambda x: random.choice(2, 3, replace=False, backend=x.backend),
        DomainError,
        "of choice inside",
    ),
    "a shape that is little below zero": (
        lambda x: random.gamma(-1.0, backend=x.backend),
        DomainError,
        "of gamma inside their range, a of at least 0, got values from -1.0",
    ),
    "a negative shape of beta": (
        lambda x: random.beta(-1.0 * x, 1.0),
        DomainError,
        "of beta inside their range",
    ),
    "a negative alpha": (
        lambda x: random.dirichlet(x * born.tensor([-1.0, 1.0], x.backend)),
        DomainError,
        "of dirichlet inside their range",
    ),
    "a probability below zero": (_of_bernoulli(-1.0), DomainError, PROBABILITIES),
    "a probability above one": (_of_bernoulli(2.0), DomainError, PROBABILITIES),
    "a probability of NumPy's": (_of_bernoulli(np.float32(2.0)), DomainError, PROBABILITIES),
    "a probability of NaN": (_of_bernoulli(np.nan), DomainError, PROBABILITIES),
    "bounds the wrong way round": (_between(1.0, 0.0), DomainError, "with lower at most upper"),
    "a lower bound of NaN": (_between(np.nan, 1.0), DomainError, "with lower at most upper"),
    "an upper bound of NaN": (_between(0.0, np.nan), DomainError, "with lower at most upper"),
    "both": (lambda x: random.categorical(x, logits=x), OperandError, "categorical, got both"),
    "a list": (
        lambda x: random.multinomial(1, [0.5, 0.5]),  # type: ignore[arg-type]  # on purpose
        OperandError,
        "expected probabilities as a tensor, got list",
    ),
    "no classes": (
        lambda x: random.dirichlet(x.sum()),
        ShapeError,
        "expected alpha with an axis of classes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, backend: Backend) -> None:
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call(born.ones(2, backend))


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_weights_out_of_their_range(weights: list[float], cpu_backend: Backend) -> None:
    p = born.tensor([[1.0, 1.0], weights], cpu_backend)
    expected = "of categorical inside their range, finite weights from 0 up, not all zero"
    with pytest.raises(DomainError, match=expected):
        random.categorical(p)
    with np.errstate(invalid="ignore"), pytest.raises(DomainError, match="inside their range"):
        random.choice(2, 3, p=p[1])
    with np.errstate(invalid="ignore"), pytest.raises(DomainError, match="inside their range"):
        random.multinomial(3, p)
    with np.errstate(all="ignore"), pytest.raises(DomainError, match="logits that are not NaN"):
        random.categorical(logits=ops.log(p))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "bounds", [(40.0, 41.0), (38.0, np.inf), (14.3, 20.0), (5.5, 5.6), (1e4, np.inf), (30.0, 30.01)]
)
def test_far_tails_of_the_normal(bounds: tuple[float, float], dtype: str, autodiff: AD) -> None:
    low, high = bounds
    ends = [born.tensor(v, autodiff, dtype) for v in (low, high, -high, -low)]
    above, below = (random.truncated_normal(a, b, COUNT) for a, b in (ends[:2], ends[2:]))
    for found in (above.numpy(), -below.numpy()):
        assert ((found >= np.float32(low)) & (found <= high)).all()
        # -log of Q(x) / Q(low) is exponential, up to where the interval ends.
        log_q = [scipy_stats.norm.logsf(x) for x in (low, found.astype(np.float64), high)]
        u = np.expm1(log_q[1] - log_q[0]) / np.expm1(log_q[2] - log_q[0])
        if dtype == "float64":
            assert scipy_stats.kstest(u, "uniform").pvalue > 1e-3
        # Of float32 the steps may be as long as the interval.
        assert abs(u.mean() - 0.5) < 0.02 or np.spacing(np.float32(low)) * low > 0.01

    def mean(a: T, b: T) -> T:
        autodiff.seed(3)
        return random.truncated_normal(a, b, 2_000).mean()

    gradients = [*grad(mean, (0, 1))(*ends[:2]), *grad(mean, (0, 1))(*ends[2:])]
    assert np.isfinite([g.item() for g in gradients]).all()
    # Where one bound is far off, the draws move with the other one.
    if high == np.inf:
        assert gradients[0].item() == pytest.approx(1.0, abs=0.01)
        assert gradients[1].item() == 0.0


def test_derivatives_of_draws_in_a_far_tail(autodiff: AD) -> None:
    def draws(a: T, b: T) -> T:
        autodiff.seed(3)
        return random.truncated_normal(a, b, 5)

    check_gradients(draws, *(born.tensor(v, autodiff, "float64") for v in (6.0, 7.0)), order=2)
    # Farther off by hand, since differences are too coarse: Q(x) = (1 - u) Q(a) + u Q(b).
    a, b = 39.0, 39.1
    ends = [born.tensor(v, autodiff, "float64") for v in (a, b)]
    x = draws(*ends).numpy()
    log_q = [scipy_stats.norm.logsf(each) for each in (a, x, b)]
    u = np.expm1(log_q[1] - log_q[0]) / np.expm1(log_q[2] - log_q[0])
    by_a, by_b = jacobian(draws, (0, 1))(*ends)
    np.testing.assert_allclose(by_a.numpy(), (1 - u) * np.exp((x**2 - a**2) / 2), rtol=1e-10)
    np.testing.assert_allclose(by_b.numpy(), u * np.exp((x**2 - b**2) / 2), rtol=1e-10)


@pytest.mark.parametrize("name", ["normal", "exponential", "laplace", "gamma"])
def test_values_on_the_host_are_checked(name: str, cpu_backend: Backend) -> None:
    message = f"of {name} inside their range, scale of at least 0, got values from -1.0 to 1.0"
    with pytest.raises(DomainError, match=message):
        _of_scale(name)(born.ones(2, cpu_backend))
