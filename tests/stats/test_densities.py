"""Log-densities: against SciPy where the density is and is not zero, and by differences."""

# The distributions are looked up by name, and so typed as anything.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any, Final, cast

import numpy as np
import pytest

import born
from born import ops, stats
from born.autodiff import Autodiff, check_gradients, grad
from born.backend import Backend
from born.errors import BornError, LinAlgError, OperandError, ShapeError

reference = pytest.importorskip("scipy.stats", reason="densities are compared with SciPy's")
AD = Autodiff[Backend]
T = born.Tensor[Any]

X: Final = np.array([-1.5, 0.0, 0.2, 1.0, 2.5, np.inf, -np.inf, np.nan])
K: Final = np.array([-1.0, 0.0, 1.0, 2.0, 5.0, 1.5, np.nan])

CASES: Final[dict[str, tuple[Any, list[dict[str, float]]]]] = {
    "norm": (X, [{}, {"loc": 0.5, "scale": 2.0}, {"scale": -1.0}]),
    "laplace": (X, [{}, {"loc": 0.5, "scale": 2.0}, {"scale": -1.0}]),
    "cauchy": (X, [{}, {"loc": 0.5, "scale": 2.0}, {"scale": -1.0}]),
    "t": (X, [{"df": 3.0}, {"df": 0.5, "loc": 0.5, "scale": 2.0}, {"df": -1.0}]),
    "gamma": (X[:5], [{"a": 2.0}, {"a": 1.0, "loc": -2.0, "scale": 2.0}, {"a": 0.5}, {"a": -1.0}]),
    "chi2": (X[:5], [{"df": 3.0}, {"df": 2.0, "scale": 2.0}]),
    "expon": (X[:5], [{}, {"loc": 0.1, "scale": 2.0}, {"scale": -1.0}]),
    "beta": (X, [{"a": 2.0, "b": 3.0}, {"a": 1.0, "b": 1.0, "scale": 2.0}, {"a": -1.0, "b": 1.0}]),
    "uniform": (X, [{}, {"loc": 0.1, "scale": 2.0}]),
    "bernoulli": (K, [{"p": 0.3}, {"p": 0.0}, {"p": 1.0}, {"p": 1.5}, {"p": 0.3, "loc": 1.0}]),
    "binom": (K, [{"n": 4.0, "p": 0.3}, {"n": 5.0, "p": 1.0}, {"n": 4.0, "p": -0.5}]),
    "poisson": (K, [{"mu": 1.3}, {"mu": 0.0}, {"mu": -1.0}, {"mu": 2.0, "loc": 1.0}]),
    "nbinom": (K, [{"n": 2.5, "p": 0.3}, {"n": 1.0, "p": 1.0}, {"n": 2.0, "p": 1.5}]),
}
SINGLE: Final = ("norm", "laplace", "cauchy", "t", "gamma", "chi2", "expon", "beta", "uniform")


@pytest.fixture(autouse=True)
def no_warnings() -> Generator[None]:
    """NumPy's own warnings, of logarithms of nothing, are left to the caller's choice."""
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("name", CASES)
def test_density_is_scipys(name: str, backend: Backend) -> None:
    at, every = CASES[name]
    ours, theirs = getattr(stats, name), getattr(reference, name)
    logarithm = "logpdf" if name in SINGLE else "logpmf"
    for parameters in every:
        x = born.tensor(at, backend)
        with np.errstate(all="ignore"):
            expected = getattr(theirs, logarithm)(at, **parameters)
            plain = getattr(theirs, logarithm[3:])(at, **parameters)
        found = getattr(ours, logarithm)(x, **parameters)
        # SciPy's own are right to a few thousand units in the last place.
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(
            getattr(ours, logarithm[3:])(x, **parameters).numpy(), plain, rtol=1e-11, atol=1e-11
        )
        # The parameters as tensors, x a number
        tensors = {key: born.tensor(value, backend, "float64") for key, value in parameters.items()}
        if tensors:
            found = getattr(ours, logarithm)(float(at[2]), **tensors)
            np.testing.assert_allclose(found.item(), expected[2], rtol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_density_is_differentiable_by_all_its_arguments(name: str, autodiff: AD) -> None:
    at, every = CASES[name]
    parameters = every[1] if name not in ("bernoulli", "binom", "poisson", "nbinom") else every[0]
    values = [born.tensor(value, autodiff, "float64") for value in parameters.values()]
    logarithm: Any = getattr(getattr(stats, name), "logpdf" if name in SINGLE else "logpmf")
    if name in SINGLE:
        x = born.tensor(np.array([0.3, 0.6]), autodiff)
        check_gradients(
            lambda x, *rest: logarithm(x, **dict(zip(parameters, rest, strict=True))),
            x,
            *values,
            order=2,
        )
    else:
        k = born.tensor(np.array([0, 1]), autodiff)
        # Beside a whole n there is no binomial distribution, so no difference to compare with.
        fixed = {"n": values[0]} if name == "binom" else {}
        free = [key for key in parameters if key not in fixed]
        check_gradients(
            lambda *rest: logarithm(k, **fixed, **dict(zip(free, rest, strict=True))),
            *values[len(fixed) :],
            order=2,
        )
    # Nothing comes of where the density is zero, or of the point that is put in its place.
    far = born.tensor(at[np.isfinite(at)], autodiff)
    gradient: Any = grad(
        lambda p: ops.where(
            ops.isfinite(d := logarithm(far, **{**parameters, next(iter(parameters)): p})),
            d,
            0.0,
        ).sum()
    )
    assert np.isfinite(gradient(values[0]).item())


INVALID: Final[dict[str, list[dict[str, float]]]] = {
    "norm": [{"scale": 0.0}, {"scale": -1.0}],
    "laplace": [{"scale": 0.0}],
    "cauchy": [{"scale": 0.0}],
    "t": [{"df": 2.0, "scale": 0.0}, {"df": 0.0}, {"df": np.nan}],
    "gamma": [{"a": 2.0, "scale": -1.0}, {"a": 0.0}, {"a": 1.0, "scale": 0.0}],
    "chi2": [{"df": 2.0, "scale": -1.0}, {"df": -1.0}],
    "expon": [{"scale": 0.0}],
    "beta": [{"a": 2.0, "b": 2.0, "scale": -1.0}, {"a": 2.0, "b": 0.0}],
    "uniform": [{"scale": -1.0}],
    "bernoulli": [{"p": np.nan}, {"p": -0.1}],
    "binom": [{"n": 2.5, "p": 0.3}, {"n": -1.0, "p": 0.3}, {"n": 2.0, "p": np.nan}],
    "poisson": [{"mu": np.nan}, {"mu": -1.0}],
    "nbinom": [{"n": 2.0, "p": 0.0}, {"n": 0.0, "p": 0.5}, {"n": 2.0, "p": np.nan}],
}


@pytest.mark.parametrize("name", CASES)
def test_parameters_that_are_none_give_nan_everywhere(name: str, backend: Backend) -> None:
    at = born.tensor(np.array([-1.0, 0.0, 0.5, 1.0, 2.0]), backend)
    logarithm = "logpdf" if name in SINGLE else "logpmf"
    for parameters in INVALID[name]:
        found = getattr(getattr(stats, name), logarithm)(at, **parameters).numpy()
        assert np.isnan(found).all(), parameters
        expected = getattr(getattr(reference, name), logarithm)(at.numpy(), **parameters)
        assert np.isnan(expected).all(), parameters
    for method in ("cdf", "logcdf", "sf", "logsf"):
        assert np.isnan(getattr(stats.norm, method)(at, scale=-1.0).numpy()).all()


def test_t_of_infinite_freedom_is_normal(autodiff: AD) -> None:
    x = born.tensor(X, autodiff)
    df = born.tensor([np.inf], autodiff, "float64")
    found = stats.t.logpdf(x, df, 0.5, 2.0).numpy()
    np.testing.assert_allclose(found, reference.norm.logpdf(X, 0.5, 2.0), rtol=1e-12)
    by_df = grad(lambda df: stats.t.logpdf(x[:5], df).sum())(df)
    assert by_df.tolist() == [0.0]


@pytest.mark.parametrize("method", ["cdf", "logcdf", "sf", "logsf"])
def test_normal_probabilities(method: str, autodiff: AD) -> None:
    at = np.array([-30.0, -1.0, 0.0, 2.0, 30.0])
    found = getattr(stats.norm, method)(born.tensor(at, autodiff), 0.5, 2.0)
    expected = getattr(reference.norm, method)(at, 0.5, 2.0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    function: Any = getattr(stats.norm, method)
    check_gradients(function, *(born.tensor(v, autodiff, "float64") for v in (0.3, 0.1, 1.4)))


def test_multivariate_normal(autodiff: AD) -> None:
    draw = np.random.default_rng(0)
    root, mean, at = draw.normal(size=(3, 3)), draw.normal(size=3), draw.normal(size=(2, 4, 3))
    cov = root @ root.T + np.eye(3)
    ours = stats.multivariate_normal
    for given, same in ((cov, cov), (np.diag(cov), np.diag(np.diag(cov))), (0.7, 0.7 * np.eye(3))):
        theirs = reference.multivariate_normal(mean, same)
        tensors = [born.tensor(np.asarray(each), autodiff) for each in (at, mean, given)]
        np.testing.assert_allclose(ours.logpdf(*tensors).numpy(), theirs.logpdf(at), rtol=1e-12)
        np.testing.assert_allclose(ours.pdf(*tensors).numpy(), theirs.pdf(at), rtol=1e-12)
    alone = ours.logpdf(born.tensor(0.3, autodiff, "float64"), 0.1, 2.0)
    assert alone.shape == ()
    np.testing.assert_allclose(alone.item(), reference.norm(0.1, np.sqrt(2.0)).logpdf(0.3))
    one = born.tensor(at[0, 0], autodiff)
    expected = reference.multivariate_normal(np.zeros(3)).logpdf(at[0, 0])
    np.testing.assert_allclose(ours.logpdf(one).item(), expected, rtol=1e-12)
    whole = born.tensor(cov, autodiff)
    entropy = reference.multivariate_normal(mean, cov).entropy()
    np.testing.assert_allclose(ours.entropy(whole).item(), entropy, rtol=1e-12)

    def symmetric(x: T, mean: T, root: T) -> T:
        return ours.logpdf(x, mean, root @ ops.transpose(root))

    check_gradients(
        symmetric,
        *(born.tensor(each, autodiff) for each in (at[0, :2], mean, root + 2 * np.eye(3))),
        order=2,
    )


def test_classes_counts_and_probabilities(autodiff: AD) -> None:
    p = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    k = born.tensor(np.array([2, 0]), autodiff)
    table = born.tensor(p, autodiff)
    np.testing.assert_allclose(stats.categorical.logpmf(k, table).numpy(), np.log([0.5, 0.1]))
    logits = born.tensor(np.log(p) + 3.0, autodiff)
    np.testing.assert_allclose(
        stats.categorical.logpmf(k, logits=logits).numpy(), np.log([0.5, 0.1])
    )
    np.testing.assert_allclose(stats.categorical.pmf(k, table[0]).numpy(), [0.5, 0.2])
    counts = np.array([[1, 1, 2], [0, 4, 0], [1, 1, 1], [-1, 3, 2]])
    np.testing.assert_allclose(
        stats.multinomial.logpmf(born.tensor(counts, autodiff), 4, table[0]).numpy(),
        [
            reference.multinomial.logpmf(row, 4, p[0]) if row.min() >= 0 else -np.inf
            for row in counts
        ],
    )
    alpha = np.array([0.5, 1.0, 3.0])
    found = stats.dirichlet.logpdf(table, born.tensor(alpha, autodiff)).numpy()
    np.testing.assert_allclose(found, [reference.dirichlet.logpdf(row, alpha) for row in p])
    check_gradients(
        lambda a: stats.dirichlet.logpdf(table, a), born.tensor(alpha, autodiff), order=2
    )
    check_gradients(lambda p: stats.categorical.logpmf(k, p), table + 0.2, order=2)
    # Probabilities up to a factor, as random.categorical takes them
    np.testing.assert_allclose(stats.categorical.pmf(k, table * 7.0).numpy(), [0.5, 0.1])
    for weights in ([-1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [np.nan, 1.0, 1.0]):
        invalid = born.tensor(np.array(weights), autodiff)
        assert np.isnan(stats.categorical.logpmf(k, invalid).numpy()).all()
    for chances, n in (
        ([0.5, 0.7, 0.3], 3.0),
        ([0.5, 0.7, -0.2], 3.0),
        ([np.nan, 0.5, 0.5], 3.0),
        ([0.2, 0.3, 0.5], -1.0),
        ([0.2, 0.3, 0.5], 2.5),
    ):
        x, invalid = (born.tensor(np.array(v), autodiff) for v in ([1.0, 2.0, 0.0], chances))
        assert np.isnan(stats.multinomial.logpmf(x, n, invalid).item())
    bad = born.tensor(np.array([0.5, -1.0, 3.0]), autodiff)
    assert np.isnan(stats.dirichlet.logpdf(table, bad).numpy()).all()


def test_dtypes_are_kept(backend: Backend) -> None:
    x = born.tensor([0.5], backend)
    assert stats.norm.logpdf(x, 0.0, 1.0).dtype == np.float32
    assert stats.poisson.logpmf(born.tensor([1], backend), 2.0).dtype == np.float32
    wide = born.tensor(np.array([2.0]), backend)
    assert stats.poisson.logpmf(born.tensor([1], backend), wide).dtype == np.float64


REFUSED: Final[dict[str, tuple[Callable[[T], object], type[BornError], str]]] = {
    "numbers alone": (
        lambda x: stats.norm.logpdf(1.0, 2.0),
        OperandError,
        r"expected at least one tensor in norm\.logpdf, got numbers alone; make one",
    ),
    "a text": (
        lambda x: stats.norm.logpdf(x, cast("float", "a")),
        OperandError,
        r"norm\.logpdf, got str",
    ),
    "no classes": (
        lambda x: stats.categorical.logpmf(x.astype("int64")),
        OperandError,
        r"expected either p or logits in categorical\.logpmf, got neither",
    ),
    "a covariance of another size": (
        lambda x: stats.multivariate_normal.logpdf(
            x, 0.0, x[:1] * born.ones((3, 3), x.backend, "float64")
        ),
        ShapeError,
        r"expected a covariance of shape \(2, 2\), .* got shape \(3, 3\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, backend: Backend) -> None:
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call(born.tensor(np.array([0.5, 1.5]), backend))


def test_a_covariance_that_is_none(cpu_backend: Backend) -> None:
    cov = born.tensor(np.array([[1.0, 2.0], [2.0, 1.0]]), cpu_backend)
    with pytest.raises(LinAlgError):
        stats.multivariate_normal.logpdf(born.zeros(2, cpu_backend, "float64"), cov=cov)


def test_a_diagonal_that_is_no_variance_has_no_density(cpu_backend: Backend) -> None:
    x = born.zeros(2, cpu_backend, "float64")
    for bad in (0.0, -1.0, math.nan):
        cov = born.tensor(np.array([1.0, bad]), cpu_backend)
        assert math.isnan(stats.multivariate_normal.logpdf(x, cov=cov).item())
