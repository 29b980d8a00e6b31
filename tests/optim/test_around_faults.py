"""What surrounds the update, where one piece meets another."""

from __future__ import annotations

import copy
import functools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, optim
from born.backend import Backend
from born.errors import BornError, ConfigError, ParameterError, StateDictError
from born.optim import schedules
from born.raw import RawTensor
from born.tensor import Tensor


def _parameter(backend: Backend, *values: float, name: str = "") -> nn.Parameter[Backend]:
    return nn.Parameter(born.tensor(list(values), backend, dtype="float64"), name)


def _ones(*parameters: nn.Parameter[Backend], value: float = 1.0) -> dict[RawTensor, RawTensor]:
    return {p.raw: born.full(p.shape, value, p.backend, dtype="float64").raw for p in parameters}


def _list(x: Tensor[Any] | nn.Parameter[Any]) -> list[float]:
    values: list[float] = x.numpy().tolist()
    return values


@pytest.mark.parametrize("by_group", [True, False])
def test_what_is_frozen_amid_an_accumulation_stays(backend: Backend, by_group: bool) -> None:
    a, b = _parameter(backend, 1.0, name="a"), _parameter(backend, 1.0, name="b")
    optimizer = optim.SGD([a, b], lr=1.0, accumulate=2)
    optimizer.step(_ones(a, b))
    if by_group:
        optimizer.groups = [optim.Group("b", freeze=True)]
    else:
        b.requires_grad = False
    optimizer.step(_ones(a, b))
    assert (_list(a), _list(b)) == ([0.0], [1.0])


def test_a_report_of_gradients_that_are_only_added_up(backend: Backend) -> None:
    p = _parameter(backend, 1.0, name="p")
    optimizer = optim.SGD([p], lr=1.0, accumulate=2, watch=("grad_norm", "update_ratio"))
    report = optimizer.step(_ones(p))
    assert not report.applied
    assert report.missing == ()
    assert report.grad_norm is None
    assert report.watched == {}
    assert report.to_dict() == {"step": 1, "applied": 0, "gathered": 1, "lr": 1.0}
    assert repr(report).startswith("StepReport(1: gradients added up")
    assert optimizer.step(_ones(p)).grad_norm == 1.0


@pytest.mark.parametrize("kind", ["average", "x"])
def test_weights_of_a_parameter_without_an_update_are_its_own(backend: Backend, kind: str) -> None:
    a, b = _parameter(backend, 1.0, name="a"), _parameter(backend, 1.0, 2.0, name="b")
    groups = [optim.Group("b", freeze=True)]
    optimizer: optim.Optimizer[Any, Any] = (
        optim.AdamW([a, b], lr=0.1, average=0.9, groups=groups)
        if kind == "average"
        else optim.ScheduleFreeSGD([a, b], lr=0.1, groups=groups)
    )
    b.assign(born.full(2, 7.0, backend, dtype="float64"))  # as pretrained weights are loaded
    optimizer.step(_ones(a, b))
    assert _list(optimizer.weights(kind).state_dict()["b"]) == [7.0, 7.0]
    with optimizer.weights(kind):
        assert _list(b) == [7.0, 7.0]


def test_weights_of_a_group_follow_its_config(backend: Backend) -> None:
    beta = schedules.Linear(0.5, 0.9, steps=10)
    pairs = [_parameter(backend, 1.0, 2.0, name=name) for name in "ab"]
    alone = [_parameter(backend, 1.0, 2.0, name=name) for name in "ab"]
    joint = optim.ScheduleFreeAdamW(
        pairs, lr=0.1, betas=(0.9, 0.999), groups=[optim.Group("b", betas=(beta, 0.999))]
    )
    each = [
        optim.ScheduleFreeAdamW([p], lr=0.1, betas=(first, 0.999))
        for p, first in zip(alone, (0.9, beta), strict=True)
    ]
    for _ in range(5):
        joint.step(_ones(*pairs))
        for p, optimizer in zip(alone, each, strict=True):
            optimizer.step(_ones(p))
    found = joint.weights("x").state_dict()
    for p, optimizer in zip(alone, each, strict=True):
        assert _list(found[p.name]) == _list(optimizer.weights("x").state_dict()[p.name])


def test_names_that_several_have_lose_nothing(backend: Backend) -> None:
    first, second = _parameter(backend, 1.0, name="weight"), _parameter(backend, 2.0, name="weight")
    optimizer = optim.SGD(
        [first, second], lr=1.0, average=0.5, watch=("grad_norm",), nonfinite="zero"
    )
    bad = _ones(first, second, value=np.nan)
    report = optimizer.step(bad)
    assert report.nonfinite == {"weight (0)": 1, "weight (1)": 1}
    assert set(report.watched["grad_norm"]) == {"weight (0)", "weight (1)"}
    averages = optimizer.weights("average").state_dict()
    assert {name: _list(x) for name, x in averages.items()} == {
        "weight (0)": [1.0],
        "weight (1)": [2.0],
    }


def test_shown_weights_are_not_taken_for_the_parameters(backend: Backend) -> None:
    p, new = _parameter(backend, 1.0, name="p"), _parameter(backend, 1.0, name="new")
    optimizer = optim.SGD([p], lr=1.0, average=0.5)
    optimizer.step(_ones(p))
    with optimizer.weights("average"):
        for use in (
            lambda: copy.deepcopy(optimizer),
            lambda: pickle.dumps(optimizer),
            lambda: optimizer.add_group(optim.Group([new])),
            lambda: optimizer.step(_ones(p)),
            optimizer.live_state,
        ):
            with pytest.raises(ParameterError, match=r"own values, got it inside of .*average"):
                use()
    optimizer.step(_ones(p))
    assert _list(p) == [-1.0]


def test_noise_and_rounding_by_chance_are_independent(backend: Backend) -> None:
    p = nn.Parameter(born.full(200_000, 1.5, backend, dtype="bfloat16"))
    optimizer = optim.SGD(
        [p],
        lr=1.0,
        precision=optim.Precision(parameters="stochastic"),
        wrappers=[lambda rule: optim.noisy(rule, 0.001)],
    )
    optimizer.step({p.raw: born.full(200_000, 0.002, backend, dtype="bfloat16").raw})
    moved = p.astype("float64").numpy() - 1.5
    error = moved.std() / np.sqrt(moved.size)
    assert abs(moved.mean() + 0.00199890) < 5 * error  # 0.002 in bfloat16


def test_weights_that_only_a_group_has(backend: Backend) -> None:
    free, plain = _parameter(backend, 1.0, 2.0, name="free"), _parameter(backend, 3.0, name="plain")
    alone = _parameter(backend, 1.0, 2.0, name="free")
    config = optim.ScheduleFreeAdamWConfig(lr=0.1)
    joint = optim.AdamW([free, plain], lr=0.1, groups=[optim.Group("free", config=config)])
    single = optim.ScheduleFreeAdamW([alone], config)
    assert _list(joint.weights("x").state_dict()["free"]) == [1.0, 2.0]
    for _ in range(3):
        joint.step(_ones(free, plain))
        single.step(_ones(alone))
    expected = _list(single.weights("x").state_dict()["free"])
    found = {name: _list(x) for name, x in joint.weights("x").state_dict().items()}
    own = {"free": _list(free), "plain": _list(plain)}
    assert found == {"free": expected, "plain": own["plain"]}
    with joint.weights("x"):
        assert (_list(free), _list(plain)) == (expected, own["plain"])
    assert (_list(free), _list(plain)) == (own["free"], own["plain"])
    assert _list(joint.weights("m").state_dict()["free"]) == own["free"]
    with pytest.raises(StateDictError, match=r"one of z, v, m, got 'y'; correct the name"):
        joint.weights("y")


def test_a_state_is_not_taken_for_one_of_another_meaning(backend: Backend) -> None:
    def make(**options: Any) -> optim.Optimizer[Any, Any]:
        p = _parameter(backend, 1.0, name="p")
        optimizer = optim.SGD([p], lr=0.1, **options)
        optimizer.step(_ones(p))
        return optimizer

    def gathered(k: int) -> Any:
        return [functools.partial(optim.accumulated, k=k)]

    mean, decay = make(average="uniform"), make(average=0.9)
    for options, saved in (({"average": "uniform"}, decay), ({"average": 0.9}, mean)):
        with pytest.raises(StateDictError, match=r"'average\.(uniform\.)?0': unexpected"):
            make(**options).load_state_dict(saved.state_dict())
    with pytest.raises(StateDictError, match=r"'sum\.of2\.0': missing[\s\S]*'sum\.of4\.0': unexp"):
        make(wrappers=gathered(2)).load_state_dict(make(wrappers=gathered(4)).state_dict())
    make(average=0.99).load_state_dict(decay.state_dict())  # as a schedule of it would go on
    for slower in (2, 7):  # in whose updates the parameter steps back follows from t
        looking = make(wrappers=[functools.partial(optim.lookahead, k=slower)])
        looking.load_state_dict(make(wrappers=[optim.lookahead]).state_dict())


def test_a_pattern_that_matches_nothing_is_told_what_would(backend: Backend) -> None:
    model = nn.Sequential(nn.Linear(2, 3, backend), nn.Linear(3, 2, backend))
    whole = r"none among '0.weight', '0.bias', '1.weight', '1.bias'; correct what it selects"
    with pytest.raises(ParameterError, match=whole):
        optim.SGD(model, lr=0.1, groups=[optim.Group("head.*")])
    layer = nn.Linear(2, 3, backend).parameters()
    short = (
        r"none among 'weight', 'bias'; names begin at .*; write 'bias', or take those of the whole"
    )
    with pytest.raises(ParameterError, match=short):
        optim.SGD(layer, lr=0.1, groups=[optim.Group("0.bias")])
    with pytest.raises(ParameterError, match=short):
        optim.SGD(layer, lr=0.1, projections=[optim.NonNegative("0.bias")])
    with pytest.raises(ParameterError, match="they have no names before they are in a module"):
        optim.SGD([_parameter(backend, 1.0)], lr=0.1, groups=[optim.Group("p")])


def test_groups_by_a_function_are_copied_and_pickled(backend: Backend) -> None:
    a, b = _parameter(backend, 1.0, name="a.bias"), _parameter(backend, 1.0, name="b")
    group = optim.Group(lambda name, p: name.endswith("bias"), lr=0.5)
    optimizer = optim.SGD([a, b], lr=1.0, groups=[group])
    for other in (copy.deepcopy(optimizer), copy.copy(optimizer), _pickled(optimizer)):
        assert other.group_members == [[0]]
        assert [other.config_of(p).lr for p in other.parameters] == [0.5, 1.0]
    assert copy.deepcopy(optimizer).groups == (group,)
    assert _pickled(optimizer).groups[0].selection == "[a.bias]"

    def rate(t: int) -> float:
        return 0.1

    def same(rule: optim.Rule) -> optim.Rule:
        return rule

    for refused, text in (
        (optim.SGD([a], lr=rate), "config: expected settings that pickle finds"),
        (optim.SGD([a], lr=0.1, wrappers=[same]), "wrappers: expected settings"),
        (
            optim.SGD([a], lr=0.1, groups=[optim.Group("a.*", lr=rate)]),
            r"lr of Group\('a\.\*'.*or write a checkpoint",
        ),
    ):
        with pytest.raises(ConfigError, match=text):
            pickle.dumps(refused)
        assert copy.deepcopy(refused).config == refused.config


def _pickled(optimizer: optim.Optimizer[Any, Any]) -> optim.Optimizer[Any, Any]:
    copied: optim.Optimizer[Any, Any] = pickle.loads(pickle.dumps(optimizer))
    return copied


@pytest.mark.parametrize("policy", ["skip", "zero"])
def test_what_was_seen_goes_along(policy: str, backend: Backend, tmp_path: Path) -> None:
    def run(optimizer: optim.Optimizer[Any, Any], steps: range) -> list[dict[str, float]]:
        a, b = optimizer.parameters
        told: list[dict[str, float]] = []
        for t in steps:
            grads = _ones(a, b)
            if t in (1, 3):
                grads |= _ones(b if t == 1 else a, value=np.inf)
            told.append(optimizer.step(grads).to_dict())
        return told

    def make(nonfinite: str = policy) -> optim.Optimizer[Any, Any]:
        pair = [_parameter(backend, 1.0, 2.0, name=name) for name in "ab"]
        return optim.Adam(pair, lr=0.1, nonfinite=nonfinite)

    whole = make()
    told = run(whole, range(6))
    for cut in range(6):
        first, file = make(), tmp_path / "run.safetensors"
        run(first, range(cut))
        checkpoint.save(file, optimizer=first)
        loaded, stated, quiet = make(), make(), make("ignore")
        checkpoint.load(file, optimizer=loaded)
        checkpoint.load(file, optimizer=quiet)  # which has no use for what was seen
        stated.load_state_dict(first.state_dict())
        for p, q in zip(first.parameters, stated.parameters, strict=True):
            q.assign(p)
        for each in (loaded, stated, copy.deepcopy(first), _pickled(first)):
            assert run(each, range(cut, 6)) == told[cut:]
            assert each.faults == whole.faults
        quiet.load_state_dict(stated.state_dict())
        stated.load_state_dict(make("ignore").state_dict())
        assert stated.faults == ()
    assert [(each.parameter, each.step) for each in whole.faults] == [("b", 2), ("a", 4)]


@pytest.mark.parametrize("to_file", [True, False])
def test_batches_for_another_update_are_refused(
    to_file: bool, backend: Backend, tmp_path: Path
) -> None:
    def make(k: int, steps: int) -> tuple[Any, Any]:
        p = _parameter(backend, 1.0, name="p")
        optimizer = optim.SGD([p], lr=1.0, momentum=0.5, accumulate=k)
        for _ in range(steps):
            optimizer.step(_ones(p))
        return p, optimizer

    def load(into: Any, source: Any) -> None:
        if to_file:
            checkpoint.save(tmp_path / "run.safetensors", optimizer=source)
            checkpoint.load(tmp_path / "run.safetensors", optimizer=into)
        else:
            into.load_state_dict(source.state_dict())

    amid, after = make(4, 7)[1], make(4, 4)[1]
    q, other = make(2, 0)
    before = {key: np.asarray(backend.to_numpy(x)) for key, x in other.state_dict().items()}
    with pytest.raises(
        BornError,
        match=r"accumulate\.0': expected gradients for accumulate=2, got 3 of 4 that were added up",
    ):
        load(other, amid)
    for key, x in other.state_dict().items():
        assert (backend.to_numpy(x) == before[key]).all(), key
    load(make(4, 0)[1], amid)
    load(other, after)  # between updates it is exact
    other.step(_ones(q))
    assert other.timestep == 1
    other.step(_ones(q))
    assert (other.timestep, _list(q)) == (2, [1.0 - 1.5])
