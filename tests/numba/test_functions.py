"""The functions of compiled loops keep the bounds they state, over float32 numbers of all sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

import born
from born.fusion import functions as maths
from born.fusion import trace_formula
from born.fusion.expression import exp, log
from born.raw import HostArray, RawTensor
from born_numba.functions import ULPS
from tests.operations import naive

Function: TypeAlias = Callable[[Any], Any]

_EVERY: Final = 20_011  # one float32 of so many, a prime


def _sigmoid(x: HostArray) -> HostArray:
    decay = np.exp(-np.abs(x))
    exact: HostArray = np.where(x >= 0, 1.0, decay) / (1.0 + decay)
    return exact


def _softplus(x: HostArray) -> HostArray:
    exact: HostArray = np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))
    return exact


EXACT: Final[dict[str, tuple[Function, Callable[[HostArray], HostArray]]]] = {
    "exp": (exp, np.exp),
    "expm1": (maths.expm1, np.expm1),
    "log": (log, np.log),
    "log1p": (maths.log1p, np.log1p),
    "tanh": (maths.tanh, np.tanh),
    "sigmoid": (maths.sigmoid, _sigmoid),
    "softplus": (maths.softplus, _softplus),
    "erf": (maths.erf, naive.erf),
    "sin": (maths.sin, np.sin),
    "cos": (maths.cos, np.cos),
}
"""Function -> itself in a formula, and in double."""


def numbers() -> HostArray:
    """Float32 numbers of every exponent and both signs, and those that are special."""
    bits = np.arange(0, 2**32, _EVERY, dtype=np.uint64).astype(np.uint32)
    near = np.random.default_rng(0).uniform(-30.0, 30.0, 50_000).astype(np.float32)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e-45, -1e-45, 3.4e38]
    return np.concatenate([bits.view(np.float32), near, np.array(special, np.float32)])


def errors(found: HostArray, exact: HostArray) -> HostArray:
    """The distances from exact results, in units of their last place in float32."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        unit = np.spacing(np.abs(rounded)).astype(np.float64)
        apart = np.abs(found.astype(np.float64) - exact) / unit
    same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
    # An infinite result, where the other is not, is as far off as its last finite neighbour.
    return np.where(same, 0.0, np.where(np.isfinite(apart), apart, 1.0))


@pytest.mark.parametrize("name", EXACT)
def test_bound_in_units_of_the_last_place(name: str) -> None:
    function, reference = EXACT[name]
    backend, x = born.get_backend("numba"), numbers()
    (found,) = backend.fused(trace_formula(function, {"x": False}), [RawTensor(x)])
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64))
    worst = errors(found.array, exact).max()
    assert 0.4 < worst <= ULPS[name]
    zeros = found.array[x == 0]
    if not exact[x == 0].any():
        assert np.signbit(zeros).tolist() == np.signbit(x[x == 0]).tolist()


def test_powers() -> None:
    draw = np.random.default_rng(0)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0, -2.0, 0.5, -3.0, 1e-40, 3.4e38]
    pairs = np.array([(x, y) for x in special for y in special], np.float32).T
    x = np.concatenate([pairs[0], np.exp(draw.uniform(-85, 85, 100_000)).astype(np.float32)])
    y = np.concatenate([pairs[1], draw.normal(0, 4, 100_000).astype(np.float32)])

    def power(x: Any, y: Any) -> Any:
        return x**y

    formula = trace_formula(power, {"x": False, "y": False})
    (found,) = born.get_backend("numba").fused(formula, [RawTensor(x), RawTensor(y)])
    with np.errstate(all="ignore"):
        exact = x.astype(np.float64) ** y.astype(np.float64)
        rounded = exact.astype(np.float32)
    normal = (np.abs(rounded) > 1e-37) | (rounded == 0) | ~np.isfinite(rounded)
    assert errors(found.array, exact)[normal].max() <= ULPS["pow"]
