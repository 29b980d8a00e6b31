"""What surrounds the update, where one piece meets another."""

from __future__ import annotations

import copy
import functools
import importlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, optim
from born.backend import Backend
from born.errors import BornError, ConfigError, ParameterError, RuleError, StateDictError
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
    with pytest.raises(StateDictError, match=r"one of x, z, v, m, got 'y'; correct the name"):
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
    with pytest.raises(BornError, match=r"for accumulate=1, got 3 of 4 that were added up"):
        load(make(1, 0)[1], amid)
    load(make(4, 0)[1], amid)
    q, one = make(1, 0)
    load(one, after)
    one.step(_ones(q))
    assert (one.timestep, _list(q)) == (2, [1.0 - 1.5])
    for into in (make(4, 0), make(4, 2)):  # what was gathered before is forgotten
        q, four = into
        load(four, make(1, 1)[1])
        for _ in range(4):
            assert (four.timestep, _list(q)) == (1, [1.0])
            four.step(_ones(q))
        assert (four.timestep, _list(q)) == (2, [1.0 - 1.5])
    q, other = make(2, 0)
    load(other, after)  # between updates it is exact
    other.step(_ones(q))
    assert other.timestep == 1
    other.step(_ones(q))
    assert (other.timestep, _list(q)) == (2, [1.0 - 1.5])
    forged = {key: x for key, x in amid.state_dict().items() if key != "accumulate.0"}
    with pytest.raises(StateDictError, match=r"for accumulate=2, got 3 of 2"):
        other.load_state_dict(forged)


@pytest.mark.parametrize("projected", [True, False])
def test_keep_leaves_averages_of_what_is_kept_alone(backend: Backend, projected: bool) -> None:
    p = _parameter(backend, 9.0, 9.0, name="p")
    held = [optim.Box(low=-0.5, high=0.5)] if projected else []
    looking = [functools.partial(optim.lookahead, k=2)]
    optimizer = optim.SGD(
        [p], lr=0.125, average=0.5, wrappers=looking, projections=held, nonfinite="keep"
    )
    p.assign(born.tensor([0.5, 0.5], backend, dtype="float64"))  # loaded since: 9 is forgotten
    whole = {0: [0.5, 0.375], 1: [0.4375, 0.375], 2: [0.4375, 0.25], 3: [0.4375, 0.25]}
    averages = {0: [0.5, 0.4375], 1: [0.46875, 0.40625], 2: [0.46875, 0.328125]}
    averages[3] = [0.46875, 0.2890625]
    for t in range(4):
        first = 1.0 if t == 1 else np.nan
        gradient = born.tensor([first, 1.0], backend, dtype="float64").raw
        optimizer.step({p.raw: gradient})
        assert _list(p) == whole[t]
        assert _list(optimizer.weights("average").state_dict()["p"]) == averages[t]


def test_faults_of_one_step_are_in_the_order_of_the_parameters(backend: Backend) -> None:
    def make() -> optim.Optimizer[Any, Any]:
        rules = [optim.Group("b", config=optim.SGDConfig(lr=1.0))]  # another kernel
        abc = [_parameter(backend, 1.0, name=name) for name in "abc"]
        return optim.Adam(abc, lr=0.1, nonfinite="skip", groups=rules)

    optimizer, other = make(), make()
    report = optimizer.step(_ones(*optimizer.parameters, value=np.inf))
    other.load_state_dict(optimizer.state_dict())
    assert list(report.nonfinite) == ["a", "b", "c"]
    assert [each.parameter for each in optimizer.faults] == ["a", "b", "c"]
    assert other.faults == optimizer.faults


def test_a_wrapped_rule_goes_by_the_name_of_its_formula(backend: Backend) -> None:
    optimizer = optim.Adam(
        [_parameter(backend, 1.0)],
        lr=0.1,
        average=0.5,
        max_norm=1.0,
        wrappers=[optim.lookahead, functools.partial(optim.accumulated, k=2)],
        precision=optim.Precision(parameters="master"),
        loss_scale=optim.LossScale(),
    )
    assert [kernel.name for kernel in optimizer.explain().kernels] == ["adam"]


LIMITS: list[tuple[Any, str]] = [
    *((optim.clipped, by) for by in ("max_norm", "tensor_norm", "value", "adaptive")),
    *((optim.clip_step, by) for by in ("max_norm", "tensor_norm", "value")),
]
DECAYS: list[tuple[Any, str]] = [
    (optim.l2, "weight_decay"),
    (optim.decoupled, "weight_decay"),
    (optim.independent, "weight_decay"),
    (optim.noisy, "std"),
]


@pytest.mark.parametrize(("wrapper", "keyword"), [*LIMITS, *DECAYS])
def test_numbers_of_wrappers_are_checked(wrapper: Any, keyword: str) -> None:
    def wrapped(value: Any) -> optim.Rule:
        rule: optim.Rule = wrapper(optim.SGD.rule(optim.SGDConfig(lr=0.1)), **{keyword: value})
        return rule

    name = f"{wrapper.__name__}.{keyword}"
    bounds = "above 0" if (wrapper, keyword) in LIMITS else "at least 0"
    for value, text in (
        (-1.0, f"{name}: expected a float that is {bounds}, got -1.0"),
        (np.nan, f"{name}: expected a finite number, got nan"),
        (np.inf, f"{name}: expected a finite number, got inf"),
        (True, f"{name}: expected a number, got True of type bool"),
        (float, f"{name}: expected a number or a function of t, got the class float"),
        (schedules.Linear(1.0, -1.0, steps=3), f"{name}: expected a float that is {bounds}"),
    ):
        with pytest.raises(ConfigError, match=text):
            wrapped(value)
    rule = wrapped(_falling)
    assert 0.5 in rule.scalars_at(2).values()
    with pytest.raises(ConfigError, match=rf"{name}: expected a float .*, got -0\.5"):
        rule.scalars_at(3)


def test_a_number_of_a_wrapper_out_of_range_changes_nothing(backend: Backend) -> None:
    p = _parameter(backend, 1.0, 2.0)
    optimizer = optim.SGD([p], lr=0.1, average=lambda t: t / 3)
    for _ in range(2):
        optimizer.step(_ones(p))
    before = _list(p)
    with pytest.raises(ConfigError, match=r"average: expected .* below 1, got 1\.0"):
        optimizer.step(_ones(p))
    assert (_list(p), optimizer.timestep) == (before, 2)


WRAPPERS: tuple[Any, ...] = (
    optim.accumulated,
    optim.averaged,
    optim.cautious,
    optim.centralized,
    optim.clip_step,
    optim.clipped,
    optim.decoupled,
    optim.finite_only,
    optim.independent,
    optim.l2,
    optim.lookahead,
    optim.maximized,
    optim.noisy,
    optim.projected,
    optim.warm_state,
)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_of_rules(wrapper: Any, backend: Backend) -> None:
    optimizer = optim.SGD([_parameter(backend, 1.0)], lr=0.1)
    text = rf"expected rule as the rule of an optimizer, got SGD\(.*wrappers=.*{wrapper.__name__}"
    with pytest.raises(RuleError, match=text):
        wrapper(optimizer)


def _falling(t: int) -> float:
    return 2.5 - t


def _of_one(parameter: nn.Parameter[Any]) -> bool:
    return parameter.ndim < 2


def _refusals(model: nn.Module[Any]) -> list[tuple[Any, str]]:
    whole: Any = born
    plot: Any = importlib.import_module("born.plot")
    any_of: Any = optim
    optimizer: Any = optim.SGD(model, lr=0.1)
    p: Any = model.parameters()[0]

    def assign(name: str, value: object) -> None:
        setattr(optimizer, name, value)

    return [
        (lambda: assign("groups", None), "expected a list of groups, got None"),
        (lambda: assign("config", None), "expected config as a config, got None"),
        (lambda: optimizer.weights(["average"]), r"expected name as the name of weights, got \["),
        (lambda: optimizer.config_of("0.weight"), r"expected a parameter of this SGD, got '0\.w"),
        (lambda: optimizer.add_group("*.bias"), r"expected groups such as .*, got '\*\.bias'"),
        (lambda: optimizer.add_group(any_of.Group("*"), 3), "several parameters, got one int"),
        (lambda: optimizer.add_group(any_of.Group("*"), ["w"]), "0: expected a Parameter, got str"),
        (lambda: optimizer.to(None), "expected several parameters, got one NoneType"),
        (lambda: optimizer.scale_loss(1.0), "expected loss as a tensor, got 1.0 of type float"),
        (lambda: any_of.layerwise([p]), r"expected model as a module, got \["),
        (lambda: any_of.create(None, [p]), "expected optimizer as a name or a config, got None"),
        (
            lambda: any_of.SGD(model, lr=0.1, projections=any_of.Box),
            "expected a list of projections",
        ),
        (lambda: any_of.SGD(model, lr=0.1, nonfinite=p), "expected nonfinite to be one of 'raise'"),
        (lambda: any_of.SGD(model, lr=0.1, watch=np.ones(2)), "expected watch to be a tuple of"),
        (lambda: any_of.Precision(slots=np.ones(2)), "Precision.slots: expected one of 'int8'"),
        (
            lambda: any_of.SGD(model, lr=0.1, wrappers=[optim.accumulated]),
            r"wrappers that take a rule alone, got accumulated\(rule.*k.*\); give it the rest",
        ),
        (
            lambda: any_of.SGD([{"params": [p], "lr": 0.5}], lr=0.1),
            r"0: expected a Parameter, got dict; .*groups=\[optim\.Group\(",
        ),
        (lambda: any_of.Group(model), r"Group\.select: expected .*write Group\(model\.head\.param"),
        (
            lambda: any_of.Group(_of_one),
            r"Group\.select: expected .*write lambda name, parameter: parameter\.ndim < 2",
        ),
        (lambda: any_of.SGD(model, lr=lambda: 0.1), "a function of t, got .*write lambda t"),
        (lambda: any_of.schedules.Constant(0.1)(1.5), "expected t as an integer, got 1.5"),
        (lambda: any_of.schedules.text("cosine"), "expected schedule as a number, got 'cosine'"),
        (lambda: any_of.schedules.Plateau(0.1).observed(10**400), "expected a metric"),
        (lambda: any_of.projections.simplex(np.ones(2)), "expected x as a tensor, got array"),
        (lambda: any_of.projections.monotonic(p.tensor, axis=0.5), "expected axis as an integer"),
        (lambda: any_of.projections.box(p.tensor, "0", 1.0), "expected low as a number, got '0'"),
        (lambda: plot.history({"loss": 1.0}), "expected records as a list of records, got {"),
        (lambda: whole.progress(100), "expected items as something to go through, got 100"),
    ]


def test_wrong_arguments_are_named(backend: Backend) -> None:
    model = nn.Linear(2, 2, backend)
    for refused, text in _refusals(model):
        with pytest.raises(BornError, match=text):
            refused()


def test_rules_that_cannot_be_in_one_optimizer_are_told_apart(backend: Backend) -> None:
    pair = [_parameter(backend, 1.0, name=name) for name in "ab"]
    groups = [optim.Group("b", config=optim.ProdigyConfig())]
    optim.SGD(pair, lr=0.1, groups=groups)
    text = r"sgd, prodigy: .*max_norm, a policy .* optimizer for each"
    refused: list[dict[str, Any]] = [{"nonfinite": "skip"}, {"max_norm": 1.0}]
    for options in refused:
        with pytest.raises(RuleError, match=text):
            optim.SGD(pair, lr=0.1, groups=groups, **options)
    own = [optim.Group("b", betas=(0.9, 0.99))]
    with pytest.raises(RuleError, match=r"one beta3 .*leave it, and what it follows from, out of"):
        optim.Prodigy(pair, groups=own)


def test_a_tensor_scales_no_gradients(backend: Backend) -> None:
    p = _parameter(backend, 1.0, name="p")
    for options in ({}, {"nonfinite": "skip"}, {"accumulate": 2}, {"max_norm": 1.0}):
        kept: dict[str, Any] = options
        report = optim.SGD([p], lr=1.0, **kept).step({}, scale=born.tensor(0.5, backend))
        assert not report.applied
    assert _list(p) == [1.0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("policy", ["ignore", "keep"])
def test_what_is_not_finite_is_projected_without_a_warning(backend: Backend, policy: str) -> None:
    p = _parameter(backend, 3.0, 4.0, name="p")
    optimizer = optim.SGD([p], lr=1.0, projections=[optim.UnitNorm()], nonfinite=policy)
    infinite = {p.raw: born.tensor([np.inf, 0.0], backend, dtype="float64").raw}
    optimizer.step(infinite)
    assert bool(np.isnan(p.numpy()).any()) == (policy == "ignore")


@pytest.mark.filterwarnings("error")
def test_what_float16_does_not_hold_is_no_warning(backend: Backend) -> None:
    half = nn.Parameter(born.tensor([6e4], backend, "float16"), "half")
    steep = {half.raw: born.tensor([-6e4], backend, "float16").raw}
    master = optim.Precision(parameters="master")
    held: Any = {"projections": [optim.NonNegative()], "precision": master}
    optim.SGD([half], lr=1.0, **held).step(steep)
    assert np.isinf(half.numpy()).all()
    gathered = optim.SGD([half], lr=0.0, accumulate=2, nonfinite="skip")
    gathered.step(steep, scale=4.0)
    assert not gathered.step(steep, scale=4.0).applied


def _unit(rule: optim.Rule) -> optim.Rule:
    return optim.projected(rule, optim.UnitNorm())


def _adaptive(rule: optim.Rule) -> optim.Rule:
    return optim.clipped(rule, adaptive=0.1)


_FLAT = optim.MuonConfig(kernels="flat")
_LARGEST = optim.AdafactorConfig(factored_axes="largest")


@pytest.mark.parametrize(
    ("config", "wrappers"),
    [
        (optim.SGDConfig(), [optim.centralized, _unit]),
        (optim.SGDConfig(), [_unit, _adaptive]),
        (optim.AdafactorConfig(), [optim.centralized]),
        (_LARGEST, [_adaptive]),
        (_LARGEST, [_unit]),
        (_FLAT, [_unit]),
    ],
    ids=["sgd centralized", "sgd", "adafactor", "largest clipped", "largest", "muon"],
)
def test_a_kernel_is_not_seen_in_two_ways(config: Any, wrappers: Any, backend: Backend) -> None:
    kernel = nn.Parameter(born.ones((4, 2, 3, 2), backend), "kernel")
    text = r"parameter 0 \('kernel'\): expected .* at most two axes, got the shape \(4, 2, 3, 2\)"
    with pytest.raises(RuleError, match=text):
        optim.create(config, [kernel], wrappers=wrappers)
    matrix = nn.Parameter(born.ones((4, 3), backend), "matrix")
    optim.create(config, [matrix], wrappers=wrappers)


@pytest.mark.parametrize("config", [optim.LAMBConfig(), _FLAT, optim.MuonConfig()], ids=repr)
def test_a_kernel_is_seen_as_a_matrix_throughout(config: Any, backend: Backend) -> None:
    kernel = nn.Parameter(born.ones((4, 2, 3, 2), backend), "kernel")
    optim.create(config, [kernel], wrappers=[_adaptive, optim.centralized])
