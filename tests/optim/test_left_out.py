"""What a parameter's name, kind or first gradient must not change behind one's back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.backend import Backend
from born.errors import ConfigError, ParameterError
from born.optim.around import Wrapper
from tests.optim.making import parameter, raw


@pytest.mark.parametrize("system", ["torch", "optax", "mlx", "burn"])
def test_muon_elsewhere_excludes_nothing_by_name(system: str) -> None:
    assert optim.MuonConfig.like(system).exclude == ()


def test_muon_excludes_by_pattern_whatever_the_case(backend: Backend) -> None:
    names = ["Head.weight", "word_embeddings", "hidden"]
    model = [parameter(np.ones((2, 2)), backend, name) for name in names]
    optimizer = optim.Muon(model, lr=0.1)
    assert sorted(k for k in optimizer.state_dict() if k.startswith("v")) == ["v.0", "v.1"]


def test_a_line_says_which_layers_are_the_ends(backend: Backend) -> None:
    """Embedding and last layer of numbered layers: by a pattern, by a group, and done by hand."""
    adamw = optim.AdamWConfig(lr=3e-4)
    models = [
        nn.Sequential(
            nn.Embedding(5, 4, backend), nn.Linear(4, 4, backend), nn.Linear(4, 3, backend)
        )
        for _ in range(3)
    ]
    named = [dict(model.named_parameters()) for model in models]
    for i, (name, p) in enumerate(named[0].items()):
        for each in named:
            shape = each[name].shape
            backend.assign(
                each[name].raw, raw(np.cos(np.arange(p.size) + i).reshape(shape), backend)
            )
    by_hand = named[2]
    optimizers: list[list[optim.Optimizer[Backend, Any]]] = [
        [optim.Muon(models[0], exclude=("0.*", "2.*"), others=adamw)],
        [optim.Muon(models[1], others=adamw, groups=[optim.Group("[02].*", config=adamw)])],
        [
            optim.Muon([by_hand["1.weight"]]),
            optim.AdamW([p for name, p in by_hand.items() if name != "1.weight"], adamw),
        ],
    ]
    for t in range(3):
        for each, several in zip(named, optimizers, strict=True):
            slopes = {p.raw: np.sin(np.arange(p.size) + t).reshape(p.shape) for p in each.values()}
            for optimizer in several:
                held = [p.raw for p in optimizer.parameters]
                optimizer.step({x: raw(slopes[x], backend) for x in held})
    for name, p in by_hand.items():
        for each in named[:2]:
            np.testing.assert_array_equal(each[name].numpy(), p.numpy(), name)


def test_all_that_muon_holds_goes_up(backend: Backend) -> None:
    model = [parameter(np.zeros(shape), backend) for shape in ((2, 2), (2,), (), (2, 2, 2))]
    optimizer = optim.Muon(model, lr=0.1, maximize=True)
    optimizer.step({p.raw: raw(np.ones(p.shape), backend) for p in model})
    assert all((p.numpy() > 0).all() for p in model)


def test_state_dtype_of_muon_holds_for_all_but_what_others_say(backend: Backend) -> None:
    model = [parameter(np.ones(shape), backend, dtype="float64") for shape in ((2, 2), (2,))]
    kept = optim.Muon(model, state_dtype="float32").state_dict()
    assert {x.dtype.name for key, x in kept.items() if key[0] != "t"} == {"float32"}
    others = optim.AdamWConfig(state_dtype="float64")
    kept = optim.Muon(model, state_dtype="float32", others=others).state_dict()
    assert [kept[key].dtype.name for key in ("m.0", "m.1", "v.1")] == [
        *("float32", "float64", "float64")
    ]


_STARTED = [
    optim.RpropConfig(lr=0.1),
    optim.RMSpropConfig(lr=0.1, start=1.0),
    optim.ADOPTConfig(lr=0.1),
    optim.AdagradConfig(lr=0.1, start=0.1),
    optim.YogiConfig(lr=0.1),
    optim.NovoGradConfig(lr=0.1),
    optim.ASGDConfig(lr=0.1, begin=1),
    optim.AdanConfig(lr=0.1),
]


@pytest.mark.parametrize("how", ["keep", "finite_only"])
@pytest.mark.parametrize("config", _STARTED, ids=lambda config: type(config).__name__)
def test_a_bad_first_gradient_leaves_what_state_starts_with(
    config: optim.Config, how: str, backend: Backend
) -> None:
    around: dict[str, Any] = (
        {"nonfinite": "keep"} if how == "keep" else {"wrappers": [optim.finite_only]}
    )
    p = parameter([1.0, -2.0], backend)
    optimizer = optim.create(config, [p], **around)
    before = {
        k: x.array.copy()
        for k, x in optimizer.state_dict().items()
        if not k.startswith(("t.", "fault"))
    }
    optimizer.step({p.raw: raw([np.nan, np.nan], backend)})
    after = optimizer.state_dict()
    for key, value in before.items():
        if key == "v.0" and isinstance(config, optim.NovoGradConfig) and how == "keep":
            continue  # one number for all elements, of which those that are kept are 0
        if key == "rate.0" and how == "keep":
            continue  # which does not depend on the gradient
        np.testing.assert_array_equal(
            backend.to_numpy(after[key]), backend.to_numpy(born.tensor(value, backend).raw), key
        )


@pytest.mark.parametrize(
    "config",
    [c for c in _STARTED if not isinstance(c, optim.ADOPTConfig)],
    ids=lambda c: type(c).__name__,
)
def test_first_good_step_after_a_bad_one_is_not_wild(
    config: optim.Config, backend: Backend
) -> None:
    p = parameter([1.0, -2.0], backend)
    optimizer = optim.create(config, [p], wrappers=[optim.finite_only])
    optimizer.step({p.raw: raw([np.inf, 1.0], backend)})
    optimizer.step({p.raw: raw([1.0, 1.0], backend)})
    moved = np.abs(p.numpy() - [1.0, -2.0])
    assert (moved > 0).all()
    assert (moved < 0.25).all()


def test_defaults_are_enough(backend: Backend) -> None:
    model = nn.Linear(2, 2, backend)
    assert repr(optim.Adam(model)) == "Adam(2 parameters, AdamConfig(lr=0.001))"
    assert optim.Adam(model).config == optim.create("adam", model).config


@pytest.mark.parametrize("fields", [{"beta1": 0.9}, {"learning_rate": 0.1}])
def test_create_refuses_unknown_fields(fields: dict[str, Any], backend: Backend) -> None:
    model = nn.Linear(2, 2, backend)
    with pytest.raises(
        ConfigError, match=r"AdamConfig: expected the fields lr, .* is unknown; cor"
    ):
        optim.create("adam", model, **fields)


def test_parameters_that_overlap_themselves_are_refused(backend: Backend) -> None:
    if not isinstance(backend.zeros((1,), "float32").array, np.ndarray):
        pytest.skip("makes views by NumPy")
    p = parameter(np.ones((3, 2)), backend, "weight")
    array = np.lib.stride_tricks.as_strided(np.ones(4, np.float32), (3, 2), (4, 4))
    p.raw.array = array
    with pytest.raises(
        ParameterError, match=r"parameter 0 \('weight'\): expected elements that do"
    ):
        optim.SGD([p], lr=0.1)


def test_the_same_noise_twice_is_refused(backend: Backend) -> None:
    p = parameter(np.zeros(3), backend)
    twice: list[Wrapper] = [
        lambda rule: optim.noisy(rule, 0.1),
        optim.cautious,
        lambda rule: optim.noisy(rule, 0.2),
    ]
    with pytest.raises(ConfigError, match=r"expected another seed .* got 0; the same noise twice"):
        optim.SGD([p], lr=0.1, wrappers=twice)
    optim.SGD([p], lr=0.1, wrappers=[twice[0], lambda rule: optim.noisy(rule, 0.2, seed=1)])


def test_average_is_that_of_the_keyword(backend: Backend) -> None:
    p = parameter(np.zeros(2), backend)
    inner: list[Wrapper] = [lambda rule: optim.averaged(rule, 0.5)]
    optimizer = optim.SGD([p], lr=1.0, average=0.9, wrappers=inner)
    optimizer.step({p.raw: raw([1.0, 1.0], backend)})
    with optimizer.weights("average"):
        np.testing.assert_allclose(p.numpy(), -0.1, rtol=1e-6)


def test_unit_norm_leaves_numbers_without_axes_alone(backend: Backend) -> None:
    model = [parameter(np.ones((2, 2)), backend), parameter(3.0, backend)]
    held: list[Wrapper] = [lambda rule: optim.projected(rule, optim.UnitNorm())]
    optimizer = optim.SGD(model, lr=1.0, wrappers=held)
    optimizer.step({p.raw: raw(np.ones(p.shape) * 2, backend) for p in model})
    np.testing.assert_allclose(np.linalg.norm(model[0].numpy(), axis=-1), 1.0, rtol=1e-6)
    assert model[1].numpy() == 1.0


@pytest.mark.parametrize("shape", [(130, 140, 2, 2), (130, 3, 140), (2, 130, 140)])
def test_longest_axes_are_factored(shape: tuple[int, ...], backend: Backend) -> None:
    p = parameter(np.ones(shape), backend)
    optimizer = optim.Adafactor([p], optim.AdafactorConfig.like("optax"))
    short = [length for length in shape if length < 128]
    state = {key: x.shape for key, x in optimizer.state_dict().items() if key[0] != "t"}
    assert state == {"row.0": (*short, 130), "column.0": (*short, 140)}
