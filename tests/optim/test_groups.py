"""Groups of parameters: what each follows, what is refused, and what stays when they change."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import born
from born import checkpoint, nn, optim
from born.backend import Backend
from born.errors import (
    CheckpointMismatchError,
    ConfigError,
    ConfigTypeError,
    GradientError,
    ParameterError,
    RuleError,
)
from born.optim import schedules
from tests.optim.making import assert_same, contents, raw, step

Model = nn.Sequential[Backend]


def make_model(backend: Backend) -> Model:
    """Two layers of fixed numbers."""
    model = nn.Sequential(nn.Linear(3, 4, backend), nn.Linear(4, 2, backend))
    for number, p in enumerate(model.parameters()):
        value = np.sin(1.0 + number + np.arange(np.prod(p.shape))).reshape(p.shape)
        p.assign(born.tensor(value.astype(np.float32), backend))
    return model


def last(model: Model) -> nn.Module[Backend]:
    """The second layer."""
    return cast("nn.Module[Backend]", model[1])


def gradients_of(model: Model, t: int) -> dict[Any, Any]:
    """Others at every step."""
    return {
        p.raw: raw(np.cos(t + n + np.arange(np.prod(p.shape))).reshape(p.shape), p.backend)
        for n, p in enumerate(model.parameters())
    }


def train(optimizer: optim.Optimizer[Any], model: Model, steps: int = 3) -> None:
    for t in range(steps):
        known = {p.raw for p in optimizer.parameters}
        given = {key: g for key, g in gradients_of(model, t).items() if key in known}
        optimizer.step(given)


def values(model: Model) -> dict[str, Any]:
    return {name: p.numpy() for name, p in model.named_parameters()}


def bias(name: str, parameter: nn.Parameter[Any]) -> bool:
    """A predicate that can be pickled."""
    return parameter.ndim == 1


@pytest.mark.parametrize(
    "config",
    [
        optim.SGDConfig(lr=0.1, momentum=0.5),
        optim.AdamWConfig(lr=0.1, weight_decay=0.25),
        optim.AdamConfig(lr=0.1, weight_decay=0.25),
        optim.LAMBConfig(lr=0.1),
    ],
    ids=repr,
)
def test_groups_are_optimizers_of_their_own_to_the_bit(
    config: optim.Config, backend: Backend
) -> None:
    together, apart = make_model(backend), make_model(backend)
    groups = [
        optim.Group("*.bias", weight_decay=0.0),
        optim.Group(lambda name, _: name == "0.weight", lr_scale=0.25, weight_decay=0.5),
    ]
    train(optim.create(config, together, groups=groups), together)
    first, *biases = (dict(apart.named_parameters())[n] for n in ("0.weight", "0.bias", "1.bias"))
    for own, held in (
        (config.replace(weight_decay=0.0), biases),
        (config.replace(lr=0.025, weight_decay=0.5), [first]),
        (config, [dict(apart.named_parameters())["1.weight"]]),
    ):
        train(optim.create(own, held), apart)
    assert_same(values(together), values(apart))


def test_groups_of_numbers_are_rows_of_one_kernel(backend: Backend) -> None:
    model = make_model(backend)
    groups = [
        optim.Group("*.bias", weight_decay=0.0, betas=(0.5, 0.9)),
        optim.Group("0.weight", lr=schedules.Linear(0.1, 0.0, steps=4)),
    ]
    assert len(optim.AdamW(model, lr=0.1, groups=groups).kernels) == 1
    assert len(optim.AdamW(model, lr=0.1, groups=groups, max_norm=1.0).kernels) == 1
    other = [optim.Group("*.bias", momentum=0.0)]
    assert len(optim.SGD(model, lr=0.1, momentum=0.9, groups=other).kernels) == 2


def test_a_schedule_of_several_groups_is_asked_once_an_update(backend: Backend) -> None:
    model, asked = make_model(backend), list[int]()

    def rate(t: int) -> float:
        asked.append(t)
        return 0.1 / t

    groups = [optim.Group(p.name, lr_scale=0.5 + n) for n, p in enumerate(model.parameters())]
    optimizer = optim.SGD(model, optim.SGDConfig(lr=rate), groups=groups)
    asked.clear()
    train(optimizer, model, 3)
    assert asked == [1, 2, 3]


def test_every_way_to_select(backend: Backend) -> None:
    model = make_model(backend)
    weight = dict(model.named_parameters())["1.weight"]
    groups = [
        optim.Group(bias, lr=0.2),
        optim.Group([weight], lr=0.3),
        optim.Group("0.w*", lr=schedules.Step(0.4, every=1, factor=0.5)),
    ]
    optimizer = optim.SGD(model, lr=0.1, groups=groups)
    found = [optimizer.config_of(p).lr for p in model.parameters()]
    assert found == [schedules.Step(0.4, every=1, factor=0.5), 0.2, 0.3, 0.2]
    assert optimizer.group_members == [[1, 3], [2], [0]]
    assert optim.SGD(model, lr=0.1, groups=[optim.Group(weight, lr=1.0)]).group_members == [[2]]


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (
            [optim.Group("*.wieght", lr=0.1)],
            ParameterError,
            r"expected Group\('\*\.wieght', lr=0\.1\) to match a parameter, got none among "
            r"'0\.weight', '0\.bias', '1\.weight', '1\.bias'; correct what it selects",
        ),
        (
            [optim.Group("0.*", lr=0.1), optim.Group("*.bias", freeze=True)],
            ParameterError,
            r"in one group at most, got Group\('0\.\*', lr=0\.1\) and Group\('\*\.bias', "
            r"freeze=True\), which both match '0\.bias'; narrow one",
        ),
        (
            [optim.Group("0.*", momemtum=0.1)],
            ConfigError,
            r"AdamConfig: expected the fields lr, .*, but 'momemtum' is unknown",
        ),
        (
            [optim.Group("0.*", betas=(0.5, 1.0))],
            ConfigError,
            r"AdamConfig\.betas\[1\]: expected a float that is at least 0 and below 1",
        ),
        (optim.Group("0.*"), ConfigTypeError, r"expected a list of groups, .* write groups=\["),
        (["0.*"], ConfigTypeError, r"expected groups such as optim\.Group\('\*\.bias', weight"),
    ],
)
def test_groups_are_refused_by_name(
    groups: Any, error: type[Exception], message: str, backend: Backend
) -> None:
    model = make_model(backend)
    with pytest.raises(error, match=message):
        optim.Adam(model, lr=0.1, groups=groups)
    optimizer = optim.Adam(model, lr=0.1)
    train(optimizer, model)
    before = contents(optimizer)
    with pytest.raises(error, match=message):
        optimizer.groups = groups
    assert optimizer.groups == ()
    assert_same(contents(optimizer), before)


GROUP: Any = optim.Group


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: GROUP(3), ConfigTypeError, r"Group\.select: expected a pattern, a function"),
        (lambda: GROUP([]), ConfigTypeError, r"Group\.select: expected a pattern"),
        (lambda: GROUP("*", lr_scale=-1.0), ConfigError, r"Group\.lr_scale: .* at least 0"),
        (lambda: GROUP("*", freeze=1), ConfigTypeError, r"Group\.freeze: expected True or"),
        (lambda: GROUP("*", config=3), ConfigTypeError, r"Group\.config: expected a config"),
        (
            lambda: GROUP("*", config=optim.SGDConfig(lr=0.1), lr=0.2),
            ConfigTypeError,
            r"a config or fields for a group, got both .* and lr; write config\.replace\(lr=",
        ),
    ],
)
def test_what_is_no_group(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_group_names_a_parameter_that_is_not_held(backend: Backend) -> None:
    model, other = make_model(backend), nn.Linear(3, 4, backend)
    with pytest.raises(ParameterError, match=r"got parameter 0 \('weight'\) of the list, which"):
        optim.SGD(model, lr=0.1, groups=[optim.Group(other.parameters())])


def test_rate_of_the_optimizer_takes_scaled_groups_along(backend: Backend) -> None:
    model = make_model(backend)
    groups = [optim.Group("0.*", lr_scale=0.5), optim.Group("1.bias", lr=0.3)]
    optimizer = optim.SGD(model, lr=schedules.Linear(1.0, 0.0, steps=4), groups=groups)
    scaled = optimizer.config_of(model.parameters()[0]).lr
    assert callable(scaled)
    assert [scaled(t) for t in (1, 2, 3)] == [0.5, 0.375, 0.25]
    optimizer.lr = 0.2
    assert [optimizer.config_of(p).lr for p in model.parameters()] == [0.1, 0.1, 0.2, 0.3]
    start = values(model)
    optimizer.step({p.raw: raw(np.ones(p.shape), backend) for p in model.parameters()})
    for (name, p), rate in zip(model.named_parameters(), (0.1, 0.1, 0.2, 0.3), strict=True):
        assert np.array_equal(p.numpy(), start[name] - np.float32(rate)), name


def test_frozen_parameters_stay_and_thaw_where_they_were(backend: Backend) -> None:
    model, other = make_model(backend), make_model(backend)
    optimizer = optim.Adam(model, lr=0.1)
    train(optimizer, model)
    before = contents(optimizer)
    optimizer.groups = [optim.Group("0.*", freeze=True)]
    train(optimizer, model)
    after = contents(optimizer)
    for key, value in before.items():
        held = key.endswith((".0", ".1"))
        assert (after[key].tobytes() == value.tobytes()) == held, key
    optimizer.groups = ()
    train(optimizer, model)
    assert [optimizer.state_dict()[f"t.{i}"].array.item() for i in range(4)] == [6, 6, 9, 9]
    # As if the two layers had been trained apart.
    apart = optim.Adam(other, lr=0.1)
    for t in (0, 1, 2, 0, 1, 2):
        given = gradients_of(other, t)
        apart.step({p.raw: given[p.raw] for p in other.parameters()[:2]})
    for t in (0, 1, 2) * 3:
        given = gradients_of(other, t)
        apart.step({p.raw: given[p.raw] for p in other.parameters()[2:]})
    assert_same(values(model), values(other))


def test_gradients_of_frozen_parameters_are_checked(backend: Backend) -> None:
    model = make_model(backend)
    optimizer = optim.SGD(model, lr=0.1, groups=[optim.Group("0.weight", freeze=True)])
    with pytest.raises(GradientError, match=r"parameter 0 \('0\.weight'\)"):
        optimizer.step({model.parameters()[0].raw: raw(1.0, backend)})


def test_group_with_another_rule_is_that_optimizer(backend: Backend) -> None:
    together, apart = make_model(backend), make_model(backend)
    other = optim.AdamConfig(lr=0.05, betas=(0.5, 0.9))
    optimizer = optim.SGD(
        together, lr=0.1, momentum=0.9, groups=[optim.Group("*.bias", config=other)]
    )
    keys = ["velocity.0", "velocity.2", "m.1", "m.3", "v.1", "v.3", "t.0", "t.1", "t.2", "t.3"]
    assert sorted(optimizer.state_dict()) == sorted(keys)
    train(optimizer, together)
    named = dict(apart.named_parameters())
    weights, biases = ([named[f"{i}.{n}"] for i in (0, 1)] for n in ("weight", "bias"))
    train(optim.SGD(weights, lr=0.1, momentum=0.9), apart)
    train(optim.Adam(biases, other), apart)
    assert_same(values(together), values(apart))


def test_totals_are_of_all_groups_and_rules(backend: Backend) -> None:
    """Clipping by global norm over rules of one stage and of several."""
    other = optim.Group("*.bias", config=optim.SGDConfig(lr=0.1))
    for config in (optim.AdamConfig(lr=0.1), optim.LAMBConfig(lr=0.1), optim.MuonConfig()):
        for groups in ([other], [other, optim.Group("0.w*", freeze=True)]):
            clipped, plain = make_model(backend), make_model(backend)
            one = optim.create(config, clipped, groups=groups, max_norm=0.5)
            two = optim.create(config, plain, groups=groups)
            still = {index for members in one.group_members[1:] for index in members}
            for t in range(3):
                given = gradients_of(clipped, t)
                squares = [
                    np.square(backend.to_numpy(g).astype(np.float64)).sum()
                    for index, g in enumerate(given.values())
                    if index not in still
                ]
                one.step(given)
                two.step(gradients_of(plain, t), scale=0.5 / max(np.sqrt(sum(squares)), 0.5))
            for left, right in zip(values(clipped).values(), values(plain).values(), strict=True):
                np.testing.assert_allclose(left, right, rtol=2e-5, atol=1e-6)


def test_what_one_rule_computes_of_its_parameters_together_is_of_its_own(backend: Backend) -> None:
    together, apart = make_model(backend), make_model(backend)
    other = optim.Group("*.bias", config=optim.SGDConfig(lr=0.1))
    train(optim.Prodigy(together, optim.ProdigyConfig(), groups=[other]), together)
    named = dict(apart.named_parameters())
    weights, biases = ([named[f"{i}.{n}"] for i in (0, 1)] for n in ("weight", "bias"))
    train(optim.Prodigy(weights, optim.ProdigyConfig()), apart)
    train(optim.SGD(biases, lr=0.1), apart)
    assert_same(values(together), values(apart))
    with pytest.raises(RuleError, match=r"prodigy, sgd: expected rules that compute the same"):
        optim.Prodigy(together, optim.ProdigyConfig(), groups=[other], max_norm=1.0)


def test_fields_of_a_group_go_to_the_second_config_of_muon(backend: Backend) -> None:
    model = make_model(backend)
    optimizer = optim.Muon(model, lr=0.1, groups=[optim.Group("*.bias", weight_decay=0.0, lr=0.5)])
    assert optimizer.config_of(model.parameters()[1]) == optim.AdamWConfig(lr=0.5, weight_decay=0.0)


def test_plateau_in_a_group_observes(backend: Backend) -> None:
    model = make_model(backend)
    plateau = schedules.Plateau(1.0, factor=0.5, patience=0)
    optimizer = optim.SGD(model, lr=0.1, groups=[optim.Group("0.*", lr_scale=plateau)])
    optimizer.observe(1.0)
    optimizer.observe(2.0)
    scaled = optimizer.config_of(model.parameters()[0]).lr
    assert callable(scaled)
    assert scaled(1) == 0.05
    optimizer.groups = ()
    with pytest.raises(ConfigError, match="expected a schedule that observes a metric"):
        optimizer.observe(1.0)


def test_parameters_join_under_way_and_the_others_go_on(backend: Backend) -> None:
    model, whole = make_model(backend), make_model(backend)
    optimizer = optim.Adam(last(model), lr=0.1)
    train(optimizer, model)
    state = contents(optimizer)
    optimizer.add_group(optim.Group("0.*", lr_scale=0.5), model)
    assert [p.name for p in optimizer.parameters] == ["1.weight", "1.bias", "0.weight", "0.bias"]
    after = contents(optimizer)
    for key, value in state.items():
        assert after[key].tobytes() == value.tobytes(), key
    train(optimizer, model)
    late = optim.Adam(whole, lr=0.1, groups=[optim.Group("0.*", lr_scale=0.5)])
    for t in range(3):
        given = gradients_of(whole, t)
        late.step({p.raw: given[p.raw] for p in whole.parameters()[2:]})
    train(late, whole)
    assert_same(values(model), values(whole))


def test_group_that_cannot_be_added_changes_nothing(backend: Backend) -> None:
    model = make_model(backend)
    optimizer = optim.Adam(last(model), lr=0.1)
    train(optimizer, model)
    before = contents(optimizer)
    for group in (optim.Group("0.*", lr=-1.0), optim.Group("9.*"), optim.Group("*", amsgrad=True)):
        with pytest.raises((ConfigError, ParameterError)):
            optimizer.add_group(group, model)
        assert len(optimizer.parameters) == 2
        assert_same(contents(optimizer), before)
    train(optimizer, model)


def test_group_may_not_change_what_state_is_kept(backend: Backend) -> None:
    model = make_model(backend)
    optimizer = optim.SGD(model, lr=0.1, momentum=0.9)
    with pytest.raises(ConfigError, match=r"expected a config that keeps velocity \(float32\)"):
        optimizer.groups = [optim.Group("0.*", momentum=0.0)]
    # Although all parameters together would keep the same.
    optimizer = optim.SGD(model, lr=0.1, momentum=0.9, groups=[optim.Group("0.*", momentum=0.0)])
    with pytest.raises(ConfigError, match=r"parameter 0 \('0\.weight'\): expected a config that"):
        optimizer.groups = [optim.Group("1.*", momentum=0.0)]


def test_groups_are_copied_and_pickled_with_the_model(backend: Backend) -> None:
    model = make_model(backend)
    weight = model.parameters()[0]
    groups = [optim.Group(bias, lr=0.3), optim.Group([weight], lr_scale=0.5)]
    optimizer = optim.Adam(model, lr=0.1, groups=groups, max_norm=1.0)
    train(optimizer, model)
    moved_model = copy.deepcopy(model)
    copies = [
        copy.deepcopy((model, optimizer)),
        (moved_model, optimizer.to(moved_model)),
        pickle.loads(pickle.dumps((model, optimizer))),
    ]
    train(optimizer, model)
    for other, twin in copies:
        assert twin.group_members == [[1, 3], [0]]
        train(twin, other)
        assert_same(contents(twin), contents(optimizer))


# -- in files ----------------------------------------------------------------------------------


def saved(tmp_path: Path, groups: Any, backend: Backend) -> tuple[Path, optim.Optimizer[Any]]:
    model = make_model(backend)
    optimizer = optim.Adam(model, lr=0.1, groups=groups)
    train(optimizer, model)
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, model=model, optimizer=optimizer)
    return path, optimizer


def test_file_brings_its_groups_back(tmp_path: Path, backend: Backend) -> None:
    rate = schedules.Cosine(0.3, steps=9)
    groups = [
        optim.Group("*.bias", weight_decay=0.5, betas=(0.5, 0.9), lr_scale=0.5),
        optim.Group("0.weight", freeze=True, lr=rate),
    ]
    path, optimizer = saved(tmp_path, groups, backend)
    model = make_model(backend)
    plain = optim.Adam(model, lr=0.2)
    checkpoint.load(path, model=model, optimizer=plain)
    assert plain.groups == tuple(groups)
    assert_same(contents(plain), contents(optimizer))
    kept = optim.Adam(model, lr=0.2, groups=[optim.Group("1.*", lr=1.0)])
    checkpoint.load(path, model=model, optimizer=kept, hyperparameters="current")
    assert kept.groups == (optim.Group("1.*", lr=1.0),)
    assert_same(contents(kept), contents(optimizer))


def test_parameters_frozen_in_the_file_and_thawed_here_load(
    tmp_path: Path, backend: Backend
) -> None:
    frozen = [optim.Group("0.*", freeze=True)]
    for there, here in ((frozen, ()), ((), frozen)):
        path, optimizer = saved(tmp_path, there, backend)
        model = make_model(backend)
        other = optim.Adam(model, lr=0.1, groups=here)
        checkpoint.load(path, model=model, optimizer=other, hyperparameters="current")
        assert other.groups == tuple(here)
        assert_same(contents(other), contents(optimizer))
        train(other, model)


@pytest.mark.parametrize("is_frozen", [True, False])
def test_state_goes_on_from_a_file_where_freezing_differs(
    tmp_path: Path, backend: Backend, is_frozen: bool
) -> None:
    frozen = [optim.Group("0.*", freeze=True)]
    there, here = (frozen, []) if is_frozen else ([], frozen)
    model = make_model(backend)
    optimizer = optim.Adam(model, lr=0.1)
    train(optimizer, model)  # all of them, so that what freezes has a state
    optimizer.groups = there
    train(optimizer, model, 2)
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, model=model, optimizer=optimizer)
    other = make_model(backend)
    loaded = optim.Adam(other, lr=0.1, groups=here)
    checkpoint.load(path, model=other, optimizer=loaded, hyperparameters="current")
    before = contents(loaded)
    assert any(before["m.0"].ravel())
    optimizer.groups = here  # the run that never stopped
    train(optimizer, model)
    train(loaded, other)
    after = contents(loaded)
    assert_same(after, contents(optimizer))
    for i in range(4):
        stays = i < 2 and not is_frozen
        assert (after[f"m.{i}"].tobytes() == before[f"m.{i}"].tobytes()) == stays, i
    assert [int(after[f"t.{i}"].item()) for i in range(4)] == (
        [6, 6, 8, 8] if is_frozen else [5, 5, 8, 8]
    )


def test_functions_and_lists_are_found_again_by_their_parameters(
    tmp_path: Path, backend: Backend
) -> None:
    model = make_model(backend)
    path, _ = saved(tmp_path, [optim.Group(bias, lr=0.3)], backend)
    mine = optim.Adam(model, lr=0.1, groups=[optim.Group(bias, lr=0.4)])
    checkpoint.load(path, model=model, optimizer=mine)
    assert mine.groups == (optim.Group(bias, lr=0.3),)
    none = optim.Adam(model, lr=0.1)
    checkpoint.load(path, model=model, optimizer=none)
    (group,) = none.groups
    assert [p.name for p in group.listed] == ["0.bias", "1.bias"]
    assert group.fields == {"lr": 0.3}


def test_group_with_another_rule_goes_through_a_file(tmp_path: Path, backend: Backend) -> None:
    groups = [optim.Group("*.bias", config=optim.SGDConfig(lr=0.2, momentum=0.5))]
    path, optimizer = saved(tmp_path, groups, backend)
    model = make_model(backend)
    other = optim.Adam(model, lr=0.1, groups=groups)
    checkpoint.load(path, model=model, optimizer=other)
    assert other.groups == tuple(groups)
    assert_same(contents(other), contents(optimizer))
    with pytest.raises(CheckpointMismatchError, match=r"optimizer: .*'0\.bias'"):
        checkpoint.load(path, model=model, optimizer=optim.Adam(model, lr=0.1))


def test_plain_function_of_a_group_is_taken_from_the_optimizer(
    tmp_path: Path, backend: Backend
) -> None:
    path, _ = saved(tmp_path, [optim.Group("0.*", lr=falling)], backend)
    model = make_model(backend)
    own = optim.Adam(model, lr=0.1, groups=[optim.Group("0.*", lr=falling)])
    checkpoint.load(path, model=model, optimizer=own)
    with pytest.raises(CheckpointMismatchError, match=r"Group\.lr: expected falling, a function"):
        checkpoint.load(path, model=model, optimizer=optim.Adam(model, lr=0.1))


def falling(t: int) -> float:
    return 0.1 / t


def test_state_belongs_to_the_parameter_and_not_to_its_group(backend: Backend) -> None:
    model = make_model(backend)
    optimizer = optim.Adam(model, lr=0.1, groups=[optim.Group("0.*", lr=0.2)])
    step(optimizer)
    state = contents(optimizer)
    optimizer.groups = [optim.Group("*.bias", lr=0.3), optim.Group("0.weight", betas=(0.5, 0.5))]
    assert_same(contents(optimizer), state)


# -- what there is to see, and groups by layer -----------------------------------------------


def test_explanation_says_what_is_done_before_the_first_step(backend: Backend) -> None:
    model = make_model(backend)
    groups = [
        optim.Group("*.bias", weight_decay=0.0),
        optim.Group("0.weight", freeze=True, config=optim.SGDConfig(lr=0.5)),
    ]
    optimizer = optim.AdamW(model, lr=0.1, groups=groups)
    data = optimizer.explain()
    assert [p.name for p in data.parameters] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert [p.group for p in data.parameters] == ["'0.weight'", "'*.bias'", "", "'*.bias'"]
    assert [p.frozen for p in data.parameters] == [True, False, False, False]
    assert data.parameters[2].config == optim.AdamWConfig(lr=0.1)
    assert [(s.name, s.dtype, s.nbytes) for s in data.parameters[2].slots] == [
        ("m", "float32", 32),
        ("v", "float32", 32),
    ]
    # p, g, m and v are read, p, m and v written: 28 bytes of each of 14 elements.
    assert [(k.name, k.parameters, k.rows, k.passes, k.nbytes) for k in data.kernels] == [
        ("sgd", 1, 1, 1, 0),
        ("adam", 3, 2, 1, 392),
    ]
    assert (data.state_bytes, data.step_bytes) == (112, 392)
    text = str(data)
    assert "a step moves 392 bytes" in text
    assert "frozen" in text
    assert "SGDConfig(lr=0.5)" in text
    assert optimizer.timestep == 0


def test_explanation_counts_passes_of_clipping_and_of_stages(backend: Backend) -> None:
    model = make_model(backend)
    (kernel,) = optim.SGD(model, lr=0.1, max_norm=1.0).explain().kernels
    # g is read for its norm; p and g are read and p written.
    assert (kernel.passes, kernel.nbytes) == (2, 26 * 16)
    (kernel,) = optim.LAMB(model, lr=0.1).explain().kernels
    assert (kernel.passes, kernel.nbytes) == (2, 26 * 40)


def test_explanation_is_a_table_of_rich(backend: Backend) -> None:
    console = pytest.importorskip("rich.console", reason="rich is not installed")
    printed = console.Console(width=200, record=True, file=io.StringIO())
    printed.print(optim.Adam(make_model(backend), lr=0.1).explain())
    text = printed.export_text()
    assert "0.weight" in text
    assert "kernel 0: adam for 4 parameters with 1 set of scalars, in 1 pass over 728" in text


def test_layers_learn_the_slower_the_farther_from_the_end(backend: Backend) -> None:
    class Transformer(nn.Module[Backend]):
        def __init__(self) -> None:
            self.embedding = nn.Embedding(5, 3, backend)
            self.blocks = [make_model(backend), make_model(backend)]
            self.head = nn.Linear(3, 2, backend)

        def forward(self) -> None: ...

    model = Transformer()
    groups = optim.layerwise(model, 0.5, groups=[optim.Group("*.bias", lr_scale=2.0)])
    optimizer = optim.SGD(model, lr=1.0, groups=groups)
    rates = {path: optimizer.config_of(p).lr for path, p in model.named_parameters()}
    assert rates["embedding.weight"] == 0.125
    assert {rates[f"blocks.0.{i}.weight"] for i in (0, 1)} == {0.25}
    assert {rates[f"blocks.1.{i}.bias"] for i in (0, 1)} == {1.0}
    assert (rates["head.weight"], rates["head.bias"]) == (1.0, 2.0)
    assert len(optimizer.kernels) == 1
    with pytest.raises(ConfigError, match=r"expected a decay above 0, got 0"):
        optim.layerwise(model, 0.0)
    with pytest.raises(ConfigError, match="decay"):
        optim.layerwise(model, 1.5)
