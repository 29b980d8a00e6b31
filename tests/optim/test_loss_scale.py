"""Loss scaling: gradients that float16 does not hold arrive, and too large a scale shrinks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import ConfigError, ConfigTypeError
from tests.optim.making import assert_same, contents, parameter, raw, step


def scaling(backend: Backend, **settings: Any) -> Any:
    p = parameter(np.linspace(-1, 1, 12).reshape(3, 4), backend, "p", "float16")
    return optim.Adam([p], lr=0.1, loss_scale=optim.LossScale(**settings))


def test_the_scale_grows_and_backs_off(backend: Backend) -> None:
    optimizer = scaling(backend, start=64.0, growth=4.0, backoff=0.25, interval=3)
    expected, good = 64.0, 0
    for size in (1, 1, np.inf, 1, 1, 1, 1, np.nan, np.inf, 1, 1, 1, 1, 1, 1):
        step(optimizer, size)
        good = good + 1 if np.isfinite(size) else 0
        if not np.isfinite(size):
            expected *= 0.25
        elif good == 3:
            expected, good = expected * 4.0, 0
        assert optimizer.loss_scale == expected
    assert optimizer.timestep == 12, "skipped steps are not counted"


def test_a_step_with_too_large_a_scale_changes_the_scale_alone(backend: Backend) -> None:
    optimizer = scaling(backend, start=1024.0)
    step(optimizer, 3.0)
    before = contents(optimizer)
    report = optimizer.step(
        {p.raw: raw(np.full(p.shape, np.inf), backend, "float16") for p in optimizer.parameters}
    )
    assert not report.applied
    after = contents(optimizer)
    scales = [each.pop("loss_scale.0").item() for each in (before, after)]
    steps = [each.pop("loss_scale_steps.0").item() for each in (before, after)]
    assert scales == [1024.0, 512.0]
    assert steps == [1.0, 0.0]
    assert_same(before, after)


def test_gradients_below_float16_arrive(backend: Backend) -> None:
    autodiff = Autodiff(backend)
    moved: list[float] = []
    for loss_scale in (None, optim.LossScale(start=2.0**15)):
        p = nn.Parameter(born.ones(4, autodiff, "float16"))
        optimizer = optim.SGD([p], lr=2.0**20, loss_scale=loss_scale)
        with autodiff.tape:
            y = p * 2.0**-14
            loss = optimizer.scale_loss((y * y).sum())
        optimizer.step(backward(loss))
        moved.append(p.numpy()[0].item())
    assert moved == [1.0, 1.0 - 2.0**20 * 2.0**-27]


@pytest.mark.parametrize(
    "options", [{}, {"max_norm": 0.5}, {"precision": optim.Precision(slots="int8")}], ids=str
)
def test_a_scale_of_a_power_of_two_changes_no_bit(backend: Backend, options: Any) -> None:
    found: list[Any] = []
    for scale in (1.0, 256.0):
        p = parameter(np.linspace(-1, 1, 12), backend, dtype="float16")
        loss_scale = optim.LossScale(start=scale)
        optimizer = optim.Adam([p], lr=0.1, watch=("grad_norm",), loss_scale=loss_scale, **options)
        for size in (1.0, 0.25, 2.0):
            g = raw(np.linspace(0.5, 1, 12) * size, backend, "float16")
            report = optimizer.step({p.raw: backend.mul(g, scale)})
        state = contents(optimizer)
        del state["loss_scale.0"]
        found.append((state, report.grad_norm))
    assert_same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1], "reports tell of the gradients themselves"


def test_a_checkpoint_holds_the_scale(backend: Backend, tmp_path: Path) -> None:
    optimizer = scaling(backend, start=1024.0)
    step(optimizer, np.inf)
    step(optimizer, 1.0)
    checkpoint.save(tmp_path / "a.safetensors", optimizer=optimizer)
    other = scaling(backend, start=2.0)
    checkpoint.load(tmp_path / "a.safetensors", optimizer=other)
    assert other.loss_scale == 512.0
    assert {"loss_scale.0", "loss_scale_steps.0"} < set(other.state_dict())


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, of infinities
def test_float16_trains_end_to_end(backend: Backend) -> None:
    autodiff = Autodiff(backend)
    backend.seed(0)
    kind = "float16"
    model = nn.Sequential(
        nn.Linear(8, 16, autodiff, dtype=kind), nn.ReLU(), nn.Linear(16, 3, autodiff, dtype=kind)
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8))
    labels = born.tensor(np.argmax(x[:, :3], axis=1), autodiff)
    images = born.tensor(x, autodiff, kind)
    precision = optim.Precision(parameters="master")
    optimizer = optim.AdamW(
        model, lr=0.03, precision=precision, loss_scale=optim.LossScale(start=2.0**24)
    )
    losses: list[float] = []
    for _ in range(40):
        with autodiff.tape:
            loss = nn.cross_entropy(model(images), labels)
            scaled = optimizer.scale_loss(loss)
        optimizer.step(backward(scaled))
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert 1.0 <= optimizer.loss_scale <= 2.0**15, "which float16 holds"
    assert optimizer.timestep >= 25


def test_without_one_nothing_changes(backend: Backend) -> None:
    p = parameter(np.ones(3), backend)
    optimizer = optim.Adam([p], lr=0.1)
    loss = born.ones(1, backend)
    assert optimizer.scale_loss(loss) is loss
    assert optimizer.loss_scale == 1.0


def test_what_is_no_scale_is_refused(backend: Backend) -> None:
    p = parameter(np.ones(3), backend)
    with pytest.raises(ConfigTypeError, match=r"expected loss_scale as an optim\.LossScale, got"):
        optim.Adam([p], lr=0.1, loss_scale=1024.0)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigError, match=r"LossScale\.backoff: expected a float that is at least"):
        optim.LossScale(backoff=2.0)
