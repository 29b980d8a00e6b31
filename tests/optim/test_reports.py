"""What a step says it did, against what NumPy says that it did."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.backend import Backend
from born.optim import schedules
from born.optim.nonfinite import WATCHED
from born.raw import HostArray
from tests.optim.making import (
    ADAM,
    CONFIGS,
    assert_unchanged,
    class_for,
    contents,
    gradients,
    make,
    parameter,
    raw,
    step,
    two,
)


def norm(x: HostArray) -> float:
    return float(np.linalg.norm(x.astype(np.float64)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_norms_are_those_of_numpy(dtype: str, backend: Backend) -> None:
    if backend.name == "numba" and dtype != "float32":
        pytest.skip("another kernel to compile for each; its loads are those of tests/numba")
    rng = np.random.default_rng(0)
    starts = {name: rng.normal(size=shape) for name, shape in (("w", (33, 40)), ("b", (7,)))}
    parameters = [parameter(x, backend, name, dtype) for name, x in starts.items()]
    optimizer = optim.Adam(parameters, ADAM, watch=WATCHED)
    for _ in range(2):
        slopes = {p.raw: raw(rng.normal(size=p.shape), backend, dtype) for p in parameters}
        before = {p.name: p.numpy() for p in parameters}
        report = optimizer.step(slopes)
        after = {p.name: p.numpy() for p in parameters}
        g = {p.name: norm(backend.to_numpy(slopes[p.raw])) for p in parameters}
        p = {name: norm(x) for name, x in before.items()}
        u = {name: norm(after[name].astype(float) - before[name].astype(float)) for name in p}
        for expected, name in ((g, "grad_norm"), (p, "param_norm"), (u, "update_norm")):
            assert report.watched[name] == pytest.approx(expected, rel=1e-5)
            total = math.hypot(*expected.values())
            assert getattr(report, name) == pytest.approx(total, rel=1e-5)
        ratio = {name: u[name] / p[name] for name in p}
        assert report.watched["update_ratio"] == pytest.approx(ratio, rel=1e-5)
        expected_ratio = math.hypot(*u.values()) / math.hypot(*p.values())
        assert report.update_ratio == pytest.approx(expected_ratio, rel=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_to_watch_changes_no_bit_of_any_optimizer(config: optim.Config, backend: Backend) -> None:
    if backend.name != "numpy":
        pytest.skip("another kernel to compile for each; the passes are those of tests/fusion")
    plain, seen = make(config, two(backend)), class_for(config)(two(backend), config, watch=WATCHED)
    for t in range(3):
        step(plain, 0.5 + t)
        before = [p.numpy() for p in seen.parameters]
        report = seen.step(gradients(seen.parameters, 0.5 + t))
        updates = [p.numpy() - x for p, x in zip(seen.parameters, before, strict=True)]
        expected = math.hypot(*map(norm, updates))
        assert report.update_norm == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert_unchanged(seen, contents(plain))


def test_reports_keep_their_own_numbers(backend: Backend) -> None:
    p = parameter([3.0, 4.0], backend, "p")
    lr = schedules.Linear(0.1, 0.5, steps=5)
    optimizer = optim.SGD([p], lr=lr, watch=("grad_norm",))
    reports = [optimizer.step({p.raw: raw([0.0, 1.0 + t], backend)}) for t in range(5)]
    assert [report.step for report in reports] == [1, 2, 3, 4, 5]
    assert [report.lr for report in reports] == [lr(t) for t in range(1, 6)]
    assert [report.watched["grad_norm"]["p"] for report in reports] == [1, 2, 3, 4, 5]
    optimizer.lr = 7.0
    assert reports[-1].lr == lr(5)


def test_groups_have_rates_of_their_own(backend: Backend) -> None:
    falling = schedules.Linear(0.4, 0.0, steps=5)
    groups = [optim.Group("first", lr=falling), optim.Group("second", lr_scale=0.5)]
    optimizer = optim.SGD(two(backend), lr=0.1, groups=groups)
    reports = [optimizer.step(gradients(optimizer.parameters)) for _ in range(2)]
    optimizer.groups = []
    assert [report.group_lrs for report in reports] == [
        {0: falling(1), 1: 0.05},
        {0: falling(2), 1: 0.05},
    ]
    assert reports[1].to_dict() == {
        "step": 2,
        "applied": 1,
        "lr": 0.1,
        "lr/group 0": falling(2),
        "lr/group 1": 0.05,
    }
    assert list(reports[1].to_dict(per_parameter=False)) == ["step", "applied", "lr"]


@pytest.mark.parametrize("scale", [-0.5, "tensor"])
def test_norm_is_that_before_clipping(scale: float | str, backend: Backend) -> None:
    given: Any = raw([-0.5], backend) if scale == "tensor" else scale
    optimizer = optim.SGD(two(backend), lr=0.1, watch=("grad_norm", "update_norm"))
    report = optimizer.step(gradients(optimizer.parameters, 4.0), scale=given, max_norm=0.5)
    size = 2.0 * math.sqrt(5)
    assert report.grad_norm == pytest.approx(size)
    assert report.clip_factor == pytest.approx(0.5 / size)
    assert report.update_norm == pytest.approx(0.05)
    watched = report.watched["grad_norm"]
    assert watched == pytest.approx({"first": 4.0, "second": 2.0})
    small = optimizer.step(gradients(optimizer.parameters, 1e-3), scale=given, max_norm=0.5)
    assert small.clip_factor == 1.0


def test_norm_is_known_where_it_was_needed(backend: Backend) -> None:
    optimizer = optim.SGD(two(backend), lr=0.1)
    plain = optimizer.step(gradients(optimizer.parameters))
    assert (plain.grad_norm, plain.clip_factor, plain.watched) == (None, 1.0, {})
    assert (plain.param_norm, plain.update_norm, plain.update_ratio) == (None, None, None)
    clipped = optimizer.step(gradients(optimizer.parameters), max_norm=1.0)
    assert clipped.grad_norm == pytest.approx(math.sqrt(5))


def test_missing_parameters_are_named(backend: Backend) -> None:
    model = nn.Sequential(nn.Linear(2, 2, backend), nn.Linear(2, 2, backend))
    own = dict(model.named_parameters())
    own["1.weight"].requires_grad = False
    optimizer = optim.SGD(
        model, lr=0.1, groups=[optim.Group("1.bias", freeze=True)], watch=("param_norm",)
    )
    given = gradients(optimizer.parameters)
    del given[own["0.bias"].raw]
    report = optimizer.step(given)
    assert report.missing == ("0.bias", "1.weight", "1.bias")
    assert report.applied
    assert list(report.watched["param_norm"]) == ["0.weight"]
    nothing = optimizer.step({})
    assert not nothing.applied
    assert nothing.watched == {"param_norm": {}}
    assert nothing.to_dict()["missing"] == 4


def test_dict_holds_numbers_that_loggers_take(backend: Backend) -> None:
    optimizer = optim.SGD(two(backend), lr=0.1, max_norm=1.0, nonfinite="skip", watch=WATCHED)
    report = optimizer.step(gradients(optimizer.parameters))
    found = report.to_dict()
    assert all(type(value) in (int, float) for value in found.values())
    assert list(found) == [
        *("step", "applied", "lr", "clip_factor", "grad_norm", "param_norm", "update_norm"),
        *("update_ratio", "nonfinite"),
        *(f"{name}/{p}" for name in WATCHED for p in ("first", "second")),
    ]
    assert list(report.to_dict(per_parameter=False)) == list(found)[:9]


def test_text_says_the_same(backend: Backend) -> None:
    optimizer = optim.SGD(two(backend), lr=0.1, nonfinite="skip", watch=WATCHED)
    assert repr(optimizer.step(gradients(optimizer.parameters))) == (
        "StepReport(1: applied, lr=0.1, grad_norm=2.236, param_norm=5.5, update_norm=0.2236, "
        "update_ratio=0.04066, nonfinite=0)"
    )
    report = optimizer.step(gradients(optimizer.parameters, math.nan))
    text = repr(report)
    assert text.startswith("StepReport(2: skipped, lr=0.1, grad_norm=nan, ")
    assert text.endswith("update_norm=0, update_ratio=0, nonfinite=5)")
    assert repr(optimizer.step({})).startswith("StepReport(2: nothing to update, lr=0.1, ")


def test_parameters_that_join_are_watched(backend: Backend) -> None:
    first, late = parameter([3.0], backend, "first"), parameter([4.0], backend, "late")
    optimizer = optim.SGD([first], lr=0.1, nonfinite="skip", watch=WATCHED)
    optimizer.step({first.raw: raw([math.nan], backend)})
    optimizer.add_group(optim.Group([late], lr=0.2))
    report = optimizer.step(gradients(optimizer.parameters))
    assert report.watched["param_norm"] == {"first": 3.0, "late": 4.0}
    assert optimizer.faults == (("first", 1, 1),)


def test_empty_parameters_are_of_size_0(backend: Backend) -> None:
    p = nn.Parameter(born.zeros((0, 3), backend), "p")
    optimizer = optim.SGD([p], lr=0.1, nonfinite="skip", watch=WATCHED)
    report = optimizer.step({p.raw: born.zeros((0, 3), backend).raw})
    assert report.applied
    assert (report.param_norm, report.update_ratio) == (0.0, 0.0)


def test_the_rate_of_a_parameter_that_joined_late_is_its_own(backend: Backend) -> None:
    schedule = schedules.Linear(0.8, 0.0, steps=8)
    old, new, thawed = (parameter([1.0], backend, name) for name in ("old", "new", "thawed"))
    optimizer = optim.SGD(
        [thawed, old], lr=schedule, groups=[optim.Group("thawed", freeze=True, lr_scale=0.5)]
    )
    for _ in range(2):
        optimizer.step(gradients([thawed, old], 1.0))
    report = optimizer.step(gradients([thawed, old], 1.0))
    assert (report.lr, report.lrs) == (schedule(3), {"old": schedule(3)})
    optimizer.groups = [optimizer.groups[0].replace(freeze=False)]
    optimizer.add_group(optim.Group([new]))
    before = {p.name: p.numpy().item() for p in optimizer.parameters}
    report = optimizer.step(gradients(optimizer.parameters, 1.0))
    moved = {p.name: before[p.name] - p.numpy().item() for p in optimizer.parameters}
    assert report.lrs == {"thawed": 0.5 * schedule(1), "old": schedule(4), "new": schedule(1)}
    assert moved == pytest.approx(report.lrs, rel=1e-5)
    assert (report.lr, report.group_lrs) == (schedule(4), {0: 0.5 * schedule(1), 1: schedule(1)})
    assert optimizer.lr == schedule(5)
    # Those of no group alone: they are at an update of their own.
    late = optim.SGD([old], lr=schedule)
    late.step(gradients([old], 1.0))
    late.add_group(optim.Group([old]), [thawed])
    assert late.lr == schedule(1)
    assert late.step(gradients([thawed], 1.0)).lr == schedule(1)
    assert late.step(gradients([old], 1.0)).group_lrs == {0: schedule(2)}


def test_the_rate_of_a_group_that_two_rules_update_is_the_first_one_s(backend: Backend) -> None:
    matrix, bias = parameter(np.eye(2), backend, "w"), parameter([0.0], backend, "b")
    group = optim.Group("*", lr_scale=0.5)
    optimizer = optim.Muon([matrix, bias], lr=0.2, groups=[group])
    report = optimizer.step(gradients([matrix, bias], 1.0))
    assert report.group_lrs == {0: 0.1}
    assert report.lrs == {"w": 0.1, "b": 0.5 * optimizer.config.others.lr}  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]  # a number


@pytest.mark.parametrize("kind", ["nearest", "stochastic", "kahan", "master"])
def test_a_change_is_the_one_that_training_goes_on_from(kind: Any, backend: Backend) -> None:
    if backend.name == "numba" and kind not in ("nearest", "master"):
        pytest.skip("another kernel to compile for each")
    p = parameter([1.0, 1.0, -2.0], backend, "p", "bfloat16")
    precision = optim.Precision(parameters=kind)
    optimizer = optim.SGD([p], lr=2.0**-12, precision=precision, watch=("update_norm",))
    for _ in range(3):  # steps that are lost where nothing keeps them
        before = p.numpy().astype(np.float64)
        report = optimizer.step({p.raw: raw([1.0, 1.0, 1.0], backend, "bfloat16")})
        change = norm(p.numpy().astype(np.float64) - before)
        exact = 2.0**-12 * math.sqrt(3.0)
        expected = exact if kind == "master" else change
        if kind == "kahan":  # what is lost is kept in 8 digits
            assert report.update_norm == pytest.approx(exact, rel=0.02)
        else:
            assert report.update_norm == pytest.approx(expected, rel=1e-6, abs=0.0)
        assert kind != "nearest" or report.update_norm == 0.0
