"""Parameters of 16 bits: what rounding each step would lose, and how it is kept."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from born import optim
from born.backend import Backend
from born.errors import ConfigError, ConfigTypeError
from tests.optim.making import assert_same, contents, parameter, raw, step

KEPT = ("kahan", "master")
halves = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
kept = pytest.mark.parametrize("how", KEPT)

STARTS = np.random.default_rng(0).normal(size=(6, 5))
SLOPES = np.random.default_rng(1).normal(size=(6, 5))


def precise(how: Any, **fields: Any) -> optim.Precision:
    return optim.Precision(parameters=how, **fields)


def descend(backend: Backend, dtype: str, how: str, steps: int = 200) -> Any:
    """How far a parameter, and one of float32 beside it, moved; and a unit in its last place."""
    p = parameter(STARTS, backend, dtype=dtype)
    q = parameter(p.numpy().astype(np.float32), backend)
    optimizer = optim.SGD([p], lr=1e-4, precision=precise(how))
    other = optim.SGD([q], lr=1e-4)
    first = q.numpy()
    g = raw(SLOPES, backend, dtype)
    wide = raw(backend.to_numpy(g).astype(np.float32), backend)
    for _ in range(steps):
        optimizer.step({p.raw: g})
        other.step({q.raw: wide})
    last = q.numpy()
    unit = np.spacing(np.abs(last)) * 2.0 ** (23 - (7 if dtype == "bfloat16" else 10))
    return p.numpy().astype(np.float32) - first, last - first, unit


@halves
@kept
def test_small_steps_add_up_to_those_of_float32(backend: Backend, dtype: str, how: str) -> None:
    moved, expected, unit = descend(backend, dtype, how)
    assert (np.abs(expected) > unit).any(), "farther than rounding hides"
    # Half a unit is the parameter's own rounding; Kahan's rest is rounded in each step.
    bound = {"master": 0.51, "kahan": 0.75}[how]
    assert (np.abs(moved - expected) <= bound * unit).all()


@halves
def test_small_steps_are_lost_without(backend: Backend, dtype: str) -> None:
    moved, expected, unit = descend(backend, dtype, "nearest")
    steady = (moved == 0) & (np.abs(expected) > unit)
    assert steady.sum() >= 5, "parameters that should have moved by a unit and more did not"


@halves
@kept
def test_a_parameter_that_was_written_counts(backend: Backend, dtype: str, how: str) -> None:
    p = parameter(STARTS, backend, dtype=dtype)
    optimizer = optim.SGD([p], lr=0.01, precision=precise(how))
    for _ in range(3):
        optimizer.step({p.raw: raw(SLOPES, backend, dtype)})
    backend.assign(p.raw, raw(np.full((6, 5), 0.5), backend, dtype))
    optimizer.step({p.raw: raw(np.zeros((6, 5)), backend, dtype)})
    unit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    assert (np.abs(p.numpy().astype(np.float32) - 0.5) <= unit).all()


@pytest.mark.parametrize("how", ["nearest", *KEPT])
def test_wider_parameters_are_not_concerned(backend: Backend, how: str) -> None:
    plain, precisely = (
        optim.Adam([parameter(STARTS, backend)], lr=0.1, precision=precision)
        for precision in (optim.Precision(), precise(how))
    )
    assert plain.kernels[0].program is precisely.kernels[0].program
    for optimizer in (plain, precisely):
        step(optimizer)
    assert_same(contents(plain), contents(precisely))


@kept
def test_a_copy_and_a_state_go_on_the_same(backend: Backend, how: str) -> None:
    p = parameter(STARTS, backend, dtype="bfloat16")
    optimizer = optim.Adam([p], lr=1e-3, precision=precise(how))
    for _ in range(3):
        step(optimizer, 0.3)
    twin = copy.deepcopy(optimizer)
    for each in (optimizer, twin):
        step(each, -0.2)
    assert_same(contents(optimizer), contents(twin))


def test_what_is_no_precision_is_refused(backend: Backend) -> None:
    p = parameter(STARTS, backend)
    with pytest.raises(
        ConfigTypeError, match=r"expected precision as an optim\.Precision, got 'master'"
    ):
        optim.SGD([p], lr=0.1, precision="master")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigError, match="expected one of 'nearest', 'kahan', 'master', got"):
        precise("double")
