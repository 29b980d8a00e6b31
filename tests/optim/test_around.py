"""The keywords of an optimizer's constructor for what goes around its rule."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import ConfigError, ConfigTypeError, DomainError, ParameterError, StateDictError
from born.optim import schedules
from tests.optim.making import assert_same, contents, parameter, raw

Recording = Autodiff[Backend]

BATCH, K = 24, 4
_DRAWN = np.random.Generator(np.random.PCG64(11))
INPUTS = _DRAWN.normal(size=(3, BATCH, 5))
TARGETS = _DRAWN.normal(size=(3, BATCH, 2))


def network(backend: Backend, dtype: str) -> tuple[Recording, nn.Sequential[Recording]]:
    recording = Autodiff(backend)
    recording.seed(3)
    layers = nn.Linear(5, 8, recording, dtype=dtype), nn.Tanh()
    return recording, nn.Sequential(*layers, nn.Linear(8, 2, recording, dtype=dtype))


def loss(model: nn.Sequential[Recording], recording: Recording, x: Any, y: Any) -> Any:
    dtype = model.parameters()[0].dtype.name
    predicted = model(born.tensor(x, recording, dtype))
    return nn.mse_loss(predicted, born.tensor(y, recording, dtype))


def trained(parts: int, backend: Backend, dtype: str, **options: Any) -> list[Any]:
    """The weights after three large batches, each in so many parts."""
    recording, model = network(backend, dtype)
    config = optim.AdamWConfig(lr=schedules.Linear(0.1, 0.0, steps=5), weight_decay=0.1)
    optimizer = optim.AdamW(model, config, accumulate=parts, **options)
    for x, y in zip(INPUTS, TARGETS, strict=True):
        for part in range(parts):
            own = slice(part * BATCH // parts, (part + 1) * BATCH // parts)
            with recording.tape:
                value = loss(model, recording, x[own], y[own])
            report = optimizer.step(backward(value))
            assert report.applied == (part == parts - 1)
    assert optimizer.timestep == 3
    return [p.numpy() for p in model.parameters()]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("options", [{}, {"max_norm": 0.1}, {"average": 0.5}], ids=repr)
def test_micro_batches_equal_the_large_batch_to_rounding(
    dtype: str, tolerance: float, options: Any, backend: Backend
) -> None:
    whole = trained(1, backend, dtype, **options)
    parts = trained(K, backend, dtype, **options)
    for left, right in zip(whole, parts, strict=True):
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


def test_gradients_are_added_up_in_float32(backend: Backend) -> None:
    p = parameter([1.0], backend, dtype="bfloat16")
    optimizer = optim.SGD([p], lr=1.0, accumulate=3)
    for value in (1.0, 2.0**-9, 2.0**-9):  # each of which vanishes beside 1 in bfloat16
        optimizer.step({p.raw: raw([value], backend, "bfloat16")})
    state = optimizer.state_dict()["gradient_sum.0"]
    assert backend.to_numpy(state).tolist() == [pytest.approx((1.0 + 2.0**-8) / 3, rel=1e-6)]


def test_parameter_is_updated_by_the_batches_that_gave_it_a_gradient(backend: Backend) -> None:
    first, second, third = (parameter([1.0], backend, str(i)) for i in range(3))
    optimizer = optim.SGD([first, second, third], lr=1.0, weight_decay=0.5, accumulate=2)
    optimizer.step({first.raw: raw([1.0], backend), second.raw: raw([4.0], backend)})
    optimizer.step({first.raw: raw([3.0], backend)})
    # The mean is over the batches of the update; the one without any is not decayed either.
    assert [p.item() for p in (first, second, third)] == [-1.5, -1.5, 1.0]
    counts = [optimizer.live_state()[f"t.{i}"] for i in range(3)]
    assert counts == [1, 1, 0]


def test_what_was_not_finite_does_not_stay(backend: Backend) -> None:
    p = parameter([1.0], backend)
    optimizer = optim.SGD([p], lr=1.0, accumulate=2, nonfinite="skip")
    for value in (np.inf, 1.0, 1.0, 2.0):
        optimizer.step({p.raw: raw([value], backend)})
    assert p.item() == -0.5
    assert optimizer.timestep == 1


def test_scales_are_of_each_batch(backend: Backend) -> None:
    p = parameter([0.0], backend)
    optimizer = optim.SGD([p], lr=1.0, accumulate=2)
    optimizer.step({p.raw: raw([3.0], backend)}, scale=2.0)
    report = optimizer.step({p.raw: raw([8.0], backend)}, scale=born.tensor(0.5, backend))
    assert p.item() == -5.0
    assert report.lr == 1.0
    optimizer.step({p.raw: raw([4.0], backend)}, max_norm=0.5)
    report = optimizer.step({p.raw: raw([4.0], backend)}, max_norm=0.5)
    assert p.item() == -5.5
    assert report.clip_factor == 0.125


def test_gradients_under_way_go_through_copies_and_files(tmp_path: Path, backend: Backend) -> None:
    def make() -> tuple[nn.Parameter[Any], optim.Optimizer[Any]]:
        p = parameter([1.0, -1.0], backend, "p")
        options: Any = {"accumulate": 3, "average": "uniform", "wrappers": [optim.lookahead]}
        return p, optim.Adam([p], lr=0.1, **options)

    def step(p: nn.Parameter[Any], optimizer: optim.Optimizer[Any], t: int) -> None:
        optimizer.step({p.raw: raw([np.sin(t), np.cos(t)], backend)})

    p, optimizer = make()
    for t in range(5):
        step(p, optimizer, t)
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, optimizer=optimizer)
    loaded_p, loaded = make()
    loaded_p.assign(p)
    checkpoint.load(path, optimizer=loaded)
    moved = nn.Parameter(p.tensor + 0.0, "p")
    copies = [
        (loaded_p, loaded),
        copy.deepcopy((p, optimizer)),
        pickle.loads(pickle.dumps((p, optimizer))),
        (moved, optimizer.to([moved])),
    ]
    step(p, optimizer, 5)
    for other_p, other in copies:
        step(other_p, other, 5)
        assert_same(contents(other), contents(optimizer))
    with pytest.raises(StateDictError, match=r"'batches\.0': .* at least 0, got -1"):
        loaded.load_state_dict({**optimizer.state_dict(), "batches.0": -1})


def test_parameters_may_join_between_batches(backend: Backend) -> None:
    first, second = (parameter([0.0], backend, name) for name in ("first", "second"))
    optimizer = optim.SGD([first], lr=1.0, accumulate=2)
    optimizer.step({first.raw: raw([1.0], backend)})
    optimizer.add_group(optim.Group(second, lr=2.0))
    optimizer.step({first.raw: raw([3.0], backend), second.raw: raw([1.0], backend)})
    assert (first.item(), second.item()) == (-2.0, -1.0)


def test_average_of_every_optimizer_is_shown_and_taken_away(backend: Backend) -> None:
    for name in ("adamw", "muon", "lamb", "prodigy", "schedulefreesgd"):
        model = nn.Linear(3, 2, backend)
        optimizer = optim.create(name, model, average=0.5)
        averages = [p.numpy().astype(np.float64) for p in model.parameters()]
        for t in range(4):
            optimizer.step(
                {p.raw: raw(np.full(p.shape, 1.0 + t), backend) for p in model.parameters()}
            )
            averages = [
                0.5 * each + 0.5 * p.numpy()
                for each, p in zip(averages, model.parameters(), strict=True)
            ]
        before = [p.numpy() for p in model.parameters()]
        given = optimizer.weights("average").state_dict()
        with optimizer.weights("average"):
            for p, each in zip(model.parameters(), averages, strict=True):
                np.testing.assert_allclose(p.numpy(), each, rtol=1e-6)
                assert p.numpy().tobytes() == given[p.name].numpy().tobytes()
        for p, value in zip(model.parameters(), before, strict=True):
            assert p.numpy().tobytes() == value.tobytes()


def test_wrappers_go_around_in_order(backend: Backend) -> None:
    p, q = parameter([[1.0, 2.0]], backend), parameter([[1.0, 2.0]], backend)

    def short(rule: optim.Rule) -> optim.Rule:
        return optim.clip_step(rule, value=0.25)

    around = [optim.centralized, short]
    optimizer = optim.SGD([p], lr=1.0, wrappers=around)
    other = optim.SGD([q], lr=1.0)
    optimizer.step({p.raw: raw([[1.0, 2.0]], backend)})
    other.step({q.raw: raw([[-0.25, 0.25]], backend)})
    assert p.numpy().tolist() == q.numpy().tolist()


def no_wrapper(rule: optim.Rule) -> None:
    """Returns nothing."""


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"accumulate": 0}, ConfigError, r"expected accumulate of at least 1, got 0"),
        ({"accumulate": 1.5}, ConfigTypeError, r"expected accumulate as an integer, got 1\.5"),
        ({"average": 1.0}, ConfigError, r"average: expected .* below 1, got 1\.0"),
        ({"average": "ema"}, ConfigError, r"or \"uniform\", got 'ema'"),
        ({"wrappers": optim.centralized}, ConfigError, r"write wrappers=\[optim\.centralized\]"),
        ({"wrappers": [no_wrapper]}, ConfigError, r"that return a rule, got None from"),
        ({"groups": "*.bias"}, ConfigTypeError, r"expected a list of groups, got '\*\.bias'"),
        ({"max_norm": 0.0}, DomainError, r"a finite max_norm above 0, got 0\.0"),
    ],
)
def test_wrong_keywords_are_refused(
    options: Any, error: type[Exception], message: str, backend: Backend
) -> None:
    with pytest.raises(error, match=message):
        optim.SGD([parameter([1.0], backend)], lr=0.1, **options)


# -- weights that are shown, and interrupted -------------------------------------------------


class Interrupting:
    """Stands before a method of a backend, and presses Ctrl-C at one of its calls."""

    def __init__(self, backend: Any, name: str, call: int) -> None:
        self.method, self.calls, self.at = getattr(backend, name), 0, call

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.method(*args)


@pytest.mark.parametrize("call", range(1, 12))
def test_ctrl_c_at_any_moment_leaves_the_weights(
    call: int, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Linear(3, 2, backend), nn.Linear(2, 2, backend))
    optimizer = optim.SGD(model, lr=0.5, average=0.5)
    optimizer.step({p.raw: raw(np.ones(p.shape), backend) for p in model.parameters()})
    before = contents(optimizer)
    shown = optimizer.weights("average")
    interrupting = Interrupting(backend, "assign", call)
    monkeypatch.setattr(backend, "assign", interrupting)
    try:
        with shown:
            pass
    except KeyboardInterrupt:
        assert interrupting.calls >= call
    else:
        assert interrupting.calls < call
    monkeypatch.undo()
    assert optimizer.shown is None
    assert_same(contents(optimizer), before)


def test_weights_that_are_shown_are_not_stepped_saved_or_shown_over(backend: Backend) -> None:
    p = parameter([1.0], backend, "p")
    optimizer = optim.SGD([p], lr=0.5, average=0.5)
    optimizer.step({p.raw: raw([1.0], backend)})
    with optimizer.weights("average"):
        assert optimizer.weights("average").state_dict()["p"].item() == p.item() == 0.75
        with pytest.raises(ParameterError, match="inside of Weights"):
            optimizer.step({p.raw: raw([1.0], backend)})
        with pytest.raises(ParameterError, match="save the model alone"):
            checkpoint.save("nowhere", optimizer=optimizer)
        with pytest.raises(ParameterError, match="leave it first"), optimizer.weights("average"):
            pass
    assert p.item() == 0.5
