"""Standard problems for solvers: those of Moré, Garbow and Hillstrom, and some with bounds.

Source: Moré, Garbow and Hillstrom (1981), "Testing unconstrained optimization software", ACM TOMS
7, whose numbers stand behind the names; Hock and Schittkowski (1981), "Test examples for nonlinear
programming codes" (hs); the obstacle and the torsion problem as in CUTEst.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Function = Callable[[Any], Any]

_H = 1e-30
"""The step of complex differences, which have no rounding to balance it against."""


@dataclass(frozen=True)
class Residuals:
    """Residuals as a function that takes complex numbers too, and so has exact derivatives."""

    r: Function
    x0: tuple[float, ...]

    def residuals(self, x: Array) -> Array:
        return np.array(self.r(np.asarray(x, np.float64)), np.float64)

    def jacobian(self, x: Array) -> Array:
        columns: list[Array] = []
        for i in range(len(x)):
            z = np.asarray(x, np.complex128)
            z[i] += 1j * _H
            columns.append(np.asarray(self.r(z), np.complex128).imag / _H)
        return np.stack(columns, axis=1)

    def value(self, x: Array) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            r = self.residuals(x)
            return float(r @ r)

    def gradient(self, x: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(2 * self.jacobian(x).T @ self.residuals(x), np.float64)

    def product(self, x: Array, v: Array) -> Array:
        h = 1e-6 * max(1.0, float(np.linalg.norm(x))) / float(np.linalg.norm(v))
        return (self.gradient(x + h * v) - self.gradient(x - h * v)) / (2 * h)


def _cat(*parts: Any) -> Any:
    return np.concatenate([np.atleast_1d(part) for part in parts])


def _data(text: str, scale: float = 1.0) -> Array:
    return np.array([float(word) * scale for word in text.split()])


_BARD = _data(".14 .18 .22 .25 .29 .32 .35 .39 .37 .58 .73 .96 1.34 2.10 4.39")
_GAUSS = _data(
    ".0009 .0044 .0175 .0540 .1295 .2420 .3521 .3989 .3521 .2420 .1295 .0540 .0175 .0044 .0009"
)
_MEYER = _data(
    "34780 28610 23650 19630 16370 13720 11540 9744 8261 7030 6005 5147 4427 3820 3307 2872"
)
_KOWALIK_Y = _data(".1957 .1947 .1735 .16 .0844 .0627 .0456 .0342 .0323 .0235 .0246")
_KOWALIK_U = _data("4 2 1 .5 .25 .167 .125 .1 .0833 .0714 .0625")
_OSBORNE = _data(
    "844 908 932 936 925 908 881 850 818 784 751 718 685 658 628 603 580 558 538 522 506 490 478"
    " 467 457 448 438 431 424 420 414 411 406",
    1e-3,
)


def _helical(x: Any) -> Any:
    turn = np.arctan(x[1] / x[0]) / (2 * np.pi) + (0.5 if x[0].real < 0 else 0.0)
    root = np.sqrt(x[0] ** 2 + x[1] ** 2)
    return _cat(10 * (x[2] - 10 * turn), 10 * (root - 1), x[2])


def _bard(x: Any) -> Any:
    u = np.arange(1.0, 16)
    v = 16 - u
    return _BARD - (x[0] + u / (v * x[1] + np.minimum(u, v) * x[2]))


def _brown_dennis(x: Any) -> Any:
    t = np.arange(1, 21) / 5
    return (x[0] + t * x[1] - np.exp(t)) ** 2 + (x[2] + x[3] * np.sin(t) - np.cos(t)) ** 2


def _biggs(x: Any) -> Any:
    t = np.arange(1, 14) / 10
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    return x[2] * np.exp(-t * x[0]) - x[3] * np.exp(-t * x[1]) + x[5] * np.exp(-t * x[4]) - y


def _watson(x: Any) -> Any:
    n = len(x)
    t = np.arange(1, 30)[:, None] / 29
    j = np.arange(n)
    slope = ((j[1:] * x[1:]) * t ** (j[1:] - 1)).sum(axis=1)
    return _cat(slope - (x * t**j).sum(axis=1) ** 2 - 1, x[0], x[1] - x[0] ** 2 - 1)


def _rosenbrock(x: Any) -> Any:
    return _cat(10 * (x[1::2] - x[::2] ** 2), 1 - x[::2])


def _powell(x: Any) -> Any:
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    return _cat(a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2)


def _penalty2(x: Any) -> Any:
    n, i = len(x), np.arange(2, len(x) + 1)
    y = np.exp(i / 10) + np.exp((i - 1) / 10)
    a = 1e-5**0.5
    pairs = np.exp(x[1:] / 10) + np.exp(x[:-1] / 10) - y
    weighted = ((n - np.arange(n)) * x**2).sum() - 1
    return _cat(x[0] - 0.2, a * pairs, a * (np.exp(x[1:] / 10) - np.exp(-0.1)), weighted)


def _variably(x: Any) -> Any:
    s = (np.arange(1, len(x) + 1) * (x - 1)).sum()
    return _cat(x - 1, s, s**2)


def _trigonometric(x: Any) -> Any:
    n, i = len(x), np.arange(1, len(x) + 1)
    return n - np.cos(x).sum() + i * (1 - np.cos(x)) - np.sin(x)


def _discrete_boundary(x: Any) -> Any:
    h = 1 / (len(x) + 1)
    t = h * np.arange(1, len(x) + 1)
    return 2 * x - _cat(0, x[:-1]) - _cat(x[1:], 0) + h**2 * (x + t + 1) ** 3 / 2


def _discrete_integral(x: Any) -> Any:
    h = 1 / (len(x) + 1)
    t = h * np.arange(1, len(x) + 1)
    cube = (x + t + 1) ** 3
    before = (1 - t) * np.cumsum(t * cube)
    after = t * (((1 - t) * cube).sum() - np.cumsum((1 - t) * cube))
    return x + h * (before + after) / 2


def _broyden(x: Any) -> Any:
    return (3 - 2 * x) * x - _cat(0, x[:-1]) - 2 * _cat(x[1:], 0) + 1


def _banded(x: Any) -> Any:
    y = x * (1 + x)
    near = [sum(y[max(0, i - 5) : i + 2]) - y[i] for i in range(len(x))]
    return x * (2 + 5 * x**2) + 1 - np.array(near)


def _chebyquad(x: Any) -> Any:
    n = len(x)
    before, now = np.ones_like(x), 2 * x - 1
    means: list[Any] = []
    for i in range(1, n + 1):
        means.append(now.mean() + (1 / (i**2 - 1) if i % 2 == 0 else 0))
        before, now = now, 2 * (2 * x - 1) * now - before
    return np.array(means)


def _grid(n: int, start: Callable[[Array], Array]) -> tuple[float, ...]:
    return tuple(start(np.arange(1, n + 1) / (n + 1)).tolist())


MGH: dict[str, Residuals] = {
    "1 Rosenbrock": Residuals(_rosenbrock, (-1.2, 1)),
    "2 Freudenstein and Roth": Residuals(
        lambda x: _cat(
            -13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1],
            -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1],
        ),
        (0.5, -2),
    ),
    "3 Powell badly scaled": Residuals(
        lambda x: _cat(1e4 * x[0] * x[1] - 1, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001), (0, 1)
    ),
    "4 Brown badly scaled": Residuals(
        lambda x: _cat(x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2), (1, 1)
    ),
    "5 Beale": Residuals(
        lambda x: _data("1.5 2.25 2.625") - x[0] * (1 - x[1] ** np.arange(1, 4)), (1, 1)
    ),
    "6 Jennrich and Sampson": Residuals(
        lambda x: (
            2
            + 2 * np.arange(1, 11)
            - np.exp(np.arange(1, 11) * x[0])
            - np.exp(np.arange(1, 11) * x[1])
        ),
        (0.3, 0.4),
    ),
    "7 helical valley": Residuals(_helical, (-1, 0, 0)),
    "8 Bard": Residuals(_bard, (1, 1, 1)),
    "9 Gaussian": Residuals(
        lambda x: x[0] * np.exp(-x[1] * ((8 - np.arange(1, 16)) / 2 - x[2]) ** 2 / 2) - _GAUSS,
        (0.4, 1, 0),
    ),
    "10 Meyer": Residuals(
        lambda x: x[0] * np.exp(x[1] / (45 + 5 * np.arange(1, 17) + x[2])) - _MEYER,
        (0.02, 4000, 250),
    ),
    "12 box": Residuals(
        lambda x: (
            np.exp(-np.arange(1, 11) / 10 * x[0])
            - np.exp(-np.arange(1, 11) / 10 * x[1])
            - x[2] * (np.exp(-np.arange(1, 11) / 10) - np.exp(-np.arange(1.0, 11)))
        ),
        (0, 10, 20),
    ),
    "13 Powell singular": Residuals(_powell, (3, -1, 0, 1)),
    "14 Wood": Residuals(
        lambda x: _cat(
            10 * (x[1] - x[0] ** 2),
            1 - x[0],
            90**0.5 * (x[3] - x[2] ** 2),
            1 - x[2],
            10**0.5 * (x[1] + x[3] - 2),
            (x[1] - x[3]) / 10**0.5,
        ),
        (-3, -1, -3, -1),
    ),
    "15 Kowalik and Osborne": Residuals(
        lambda x: (
            _KOWALIK_Y
            - x[0]
            * (_KOWALIK_U**2 + _KOWALIK_U * x[1])
            / (_KOWALIK_U**2 + _KOWALIK_U * x[2] + x[3])
        ),
        (0.25, 0.39, 0.415, 0.39),
    ),
    "16 Brown and Dennis": Residuals(_brown_dennis, (25, 5, -5, -1)),
    "17 Osborne 1": Residuals(
        lambda x: (
            _OSBORNE
            - x[0]
            - x[1] * np.exp(-10 * np.arange(33) * x[3])
            - x[2] * np.exp(-10 * np.arange(33) * x[4])
        ),
        (0.5, 1.5, -1, 0.01, 0.02),
    ),
    "18 Biggs": Residuals(_biggs, (1, 2, 1, 1, 1, 1)),
    "20 Watson": Residuals(_watson, (0,) * 6),
    "21 extended Rosenbrock": Residuals(_rosenbrock, (-1.2, 1) * 10),
    "22 extended Powell": Residuals(_powell, (3, -1, 0, 1) * 5),
    "23 penalty I": Residuals(
        lambda x: _cat(1e-5**0.5 * (x - 1), (x**2).sum() - 0.25), tuple(range(1, 11))
    ),
    "24 penalty II": Residuals(_penalty2, (0.5,) * 10),
    "25 variably dimensioned": Residuals(_variably, tuple(1 - i / 10 for i in range(1, 11))),
    "26 trigonometric": Residuals(_trigonometric, (0.1,) * 10),
    "27 Brown almost linear": Residuals(
        lambda x: _cat(x[:-1] + x.sum() - (len(x) + 1), np.prod(x) - 1), (0.5,) * 10
    ),
    "28 discrete boundary value": Residuals(_discrete_boundary, _grid(20, lambda t: t * (t - 1))),
    "29 discrete integral": Residuals(_discrete_integral, _grid(20, lambda t: t * (t - 1))),
    "30 Broyden tridiagonal": Residuals(_broyden, (-1,) * 20),
    "31 Broyden banded": Residuals(_banded, (-1,) * 20),
    "32 linear": Residuals(
        lambda x: _cat(x - 2 * x.sum() / 20 - 1, (-2 * x.sum() / 20 - 1) * np.ones(10)), (1,) * 10
    ),
    "35 Chebyquad": Residuals(_chebyquad, _grid(8, lambda t: t)),
}


@dataclass(frozen=True)
class Bounded:
    """A function with bounds, and its gradient."""

    value: Callable[[Array], float]
    gradient: Callable[[Array], Array]
    x0: tuple[float, ...]
    bounds: tuple[tuple[float | None, float | None], ...]


def _of(
    problem: Residuals, x0: tuple[float, ...], *bounds: tuple[float | None, float | None]
) -> Bounded:
    return Bounded(problem.value, problem.gradient, x0, bounds * (len(x0) // len(bounds)))


def _laplacian(side: int) -> Array:
    one = 2 * np.eye(side) - np.eye(side, k=1) - np.eye(side, k=-1)
    return np.asarray(np.kron(one, np.eye(side)) + np.kron(np.eye(side), one))


def _quadratic(a: Array, b: Array, low: Array, high: Array) -> Bounded:
    start = np.clip(np.zeros(len(b)), low, high)
    pairs = tuple(zip(low.tolist(), high.tolist(), strict=True))
    return Bounded(
        lambda x: float(x @ a @ x / 2 - b @ x),
        lambda x: np.asarray(a @ x - b, np.float64),
        tuple(start.tolist()),
        pairs,
    )


def _obstacle() -> Bounded:
    side = 9
    x, y = np.meshgrid(*[np.arange(1, side + 1) / (side + 1)] * 2)
    hill = (np.sin(9.2 * x) * np.sin(9.3 * y)).reshape(-1) ** 3
    n = side * side
    return _quadratic(_laplacian(side), np.full(n, 1 / (side + 1) ** 2), hill, np.full(n, 2000.0))


def _torsion() -> Bounded:
    side = 9
    x, y = np.meshgrid(*[np.arange(1, side + 1) / (side + 1)] * 2)
    far = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)).reshape(-1)
    return _quadratic(_laplacian(side), np.full(side * side, 5 / (side + 1) ** 2), -far, far)


def _ill(seed: int) -> Bounded:
    draw = np.random.default_rng(seed)
    n = 30
    q, _ = np.linalg.qr(draw.normal(size=(n, n)))
    a = (q * np.logspace(0, 3, n)) @ q.T
    return _quadratic(a, a @ draw.normal(size=n) * 2, np.full(n, -1.0), np.full(n, 1.0))


BOUNDED: dict[str, Bounded] = {
    "hs1": _of(MGH["1 Rosenbrock"], (-2, 1), (None, None), (-1.5, None)),
    "hs2": _of(MGH["1 Rosenbrock"], (-2, 1.5), (None, None), (1.5, None)),
    "hs3": Bounded(
        lambda x: float(x[1] + 1e-5 * (x[1] - x[0]) ** 2),
        lambda x: np.array([-2e-5 * (x[1] - x[0]), 1 + 2e-5 * (x[1] - x[0])]),
        (10, 1),
        ((None, None), (0, None)),
    ),
    "hs4": Bounded(
        lambda x: float((x[0] + 1) ** 3 / 3 + x[1]),
        lambda x: np.array([(x[0] + 1) ** 2, 1.0]),
        (1.125, 0.125),
        ((1, None), (0, None)),
    ),
    "hs5": Bounded(
        lambda x: float(np.sin(x[0] + x[1]) + (x[0] - x[1]) ** 2 - 1.5 * x[0] + 2.5 * x[1] + 1),
        lambda x: np.array(
            [
                np.cos(x[0] + x[1]) + 2 * (x[0] - x[1]) - 1.5,
                np.cos(x[0] + x[1]) - 2 * (x[0] - x[1]) + 2.5,
            ]
        ),
        (0, 0),
        ((-1.5, 4), (-3, 3)),
    ),
    "hs38": _of(MGH["14 Wood"], (-3, -1, -3, -1), (-10, 10)),
    "hs45": Bounded(
        lambda x: float(2 - np.prod(x) / 120),
        lambda x: -np.array([np.prod(np.delete(x, i)) for i in range(5)]) / 120,
        (2, 2, 2, 2, 2),
        ((0, 1), (0, 2), (0, 3), (0, 4), (0, 5)),
    ),
    "extended Rosenbrock": _of(MGH["21 extended Rosenbrock"], (-1.2, 1) * 10, (-2, 0.8)),
    "Wood above 1.1": _of(MGH["14 Wood"], (3, 1.5, 3, 2), (1.1, None)),
    "trigonometric": _of(MGH["26 trigonometric"], (0.1,) * 10, (0.05, 1)),
    "variably dimensioned": _of(MGH["25 variably dimensioned"], (0.5,) * 10, (0, 0.9)),
    "penalty I": _of(MGH["23 penalty I"], tuple(range(1, 11)), (0.2, None)),
    "Broyden banded": _of(MGH["31 Broyden banded"], (-1,) * 20, (-1, -0.3)),
    "obstacle": _obstacle(),
    "torsion": _torsion(),
    "ill-conditioned 1": _ill(1),
    "ill-conditioned 2": _ill(2),
}


@dataclass(frozen=True)
class Fit:
    """Residuals, where to start, and the least and largest value of each variable."""

    problem: Residuals
    x0: tuple[float, ...]
    bounds: tuple[Array, Array]


def _held(problem: Residuals) -> Fit:
    """Every other variable stays near where it starts, which most of the solutions are not."""
    x0 = np.array(problem.x0, np.float64)
    width = np.where(np.arange(len(x0)) % 2 == 0, 0.3 * np.maximum(1, np.abs(x0)), np.inf)
    return Fit(problem, problem.x0, (x0 - width, x0 + width))


def _fit(name: str, of: str) -> Fit:
    bounded = BOUNDED[name]
    low, high = (
        np.array([none if end is None else end for end in ends], np.float64)
        for ends, none in zip(zip(*bounded.bounds, strict=True), (-np.inf, np.inf), strict=True)
    )
    x0 = np.clip(np.array(bounded.x0, np.float64), low, high)
    return Fit(MGH[of], tuple(x0.tolist()), (low, high))


FITS: dict[str, Fit] = {
    **{name: _held(problem) for name, problem in MGH.items()},
    "hs1": _fit("hs1", "1 Rosenbrock"),
    "hs2": _fit("hs2", "1 Rosenbrock"),
    "hs38": _fit("hs38", "14 Wood"),
    "extended Rosenbrock": _fit("extended Rosenbrock", "21 extended Rosenbrock"),
    "Wood above 1.1": _fit("Wood above 1.1", "14 Wood"),
    "trigonometric": _fit("trigonometric", "26 trigonometric"),
    "variably dimensioned": _fit("variably dimensioned", "25 variably dimensioned"),
    "penalty I": _fit("penalty I", "23 penalty I"),
    "Broyden banded": _fit("Broyden banded", "31 Broyden banded"),
}
"""Sums of squares with bounds."""

FREE: dict[str, Fit] = {
    name: Fit(each, each.x0, (np.full(len(each.x0), -np.inf), np.full(len(each.x0), np.inf)))
    for name, each in MGH.items()
}
"""Sums of squares without."""
