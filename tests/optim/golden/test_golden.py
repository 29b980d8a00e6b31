"""Every optimizer follows its references, with each option and as each preset."""

from __future__ import annotations

import functools
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest

import born
from born import nn, optim
from born.backend import Backend
from born.optim.config import UpdateConfig, field_types
from tests.optim.golden.case import Case
from tests.optim.golden.cases import CASES
from tests.optim.golden.data import KEPT, NAMES, SHAPES, STEPS, Array, gradient, start
from tests.optim.golden.recordings import LIBRARIES, recorded

COMMON = set(field_types(UpdateConfig))
"""Fields of every config, which `test_decay.py` tests for all."""

file_of = functools.cache(recorded)


def run_born(case: Case, backend: Backend) -> Array:
    """The parameters after each of the kept steps."""
    parameters = [
        nn.Parameter(born.tensor(value, backend), name)
        for name, value in zip(NAMES, start(), strict=True)
    ]
    optimizer: Any = getattr(optim, case.name)(parameters, case.config.replace(lr=case.rate(1)))
    rows: list[Array] = []
    for t in range(1, STEPS + 1):
        optimizer.lr = case.rate(t)
        given = [gradient(index, t, case.together, case.pulled) for index in range(len(SHAPES))]
        optimizer.step(
            {
                p.raw: backend.from_numpy(g)
                for p, g in zip(parameters, given, strict=True)
                if g is not None
            }
        )
        if t in KEPT:
            rows.append(np.concatenate([p.numpy().reshape(-1) for p in parameters]))
    return np.stack(rows)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_follows_its_reference(case: Case, backend: Backend) -> None:
    reference = file_of(case.library)[case.key]
    # Near 0, where steps have cancelled, a relative error would say nothing.
    np.testing.assert_allclose(
        run_born(case, backend), reference, rtol=case.relative, atol=case.relative
    )


def test_recordings_are_of_the_cases_alone() -> None:
    for library in LIBRARIES:
        keys = {case.key for case in CASES if case.library == library}
        assert keys | {"versions"} == set(file_of(library)) | ({"versions"} if not keys else set())


def optimizers() -> list[Any]:
    return [x for x in vars(optim).values() if isinstance(x, type) and hasattr(x, "config_type")]


@pytest.mark.parametrize("optimizer", optimizers(), ids=lambda x: x.__name__)
def test_table_is_complete(optimizer: Any) -> None:
    config, cases = optimizer.config_type, [c for c in CASES if c.name == optimizer.__name__]
    assert {case.system for case in cases} - {None} == set(config.presets)
    missing: list[str] = []
    for name, kind in field_types(config).items():
        if name in COMMON or name.endswith("_dtype"):
            continue  # no reference rounds as the latter say; tests/fusion does
        values = {getattr(case.config, name) for case in cases}
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        missing += [f"{name}={choice!r}" for choice in choices if choice not in values]
        missing += [] if len(values) > 1 else [name]
    assert missing == []
