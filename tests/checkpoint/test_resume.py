"""Save, load and go on equals never having stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, optim
from born.backend import Backend
from tests.checkpoint.runs import make_run
from tests.optim.making import CONFIGS

STEPS = 10

every_config = pytest.mark.parametrize("config", CONFIGS, ids=repr)


@every_config
@pytest.mark.parametrize("stop", range(STEPS + 1))
def test_going_on_from_any_step_equals_never_having_stopped(
    config: optim.Config, stop: int, backend_name: str, tmp_path: Path
) -> None:
    straight = make_run(config, backend_name)
    for number in range(stop):
        straight.step(number)
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, model=straight.model, optimizer=straight.optimizer)

    # Made with other weights, another random state, and a step already behind it.
    resumed = make_run(config, backend_name, seed=1)
    resumed.step(11)
    checkpoint.load(path, model=resumed.model, optimizer=resumed.optimizer)
    assert resumed.everything() == straight.everything()

    for number in range(stop, STEPS):
        straight.step(number)
        resumed.step(number)
    assert resumed.everything() == straight.everything()
    assert resumed.optimizer.timestep == STEPS


def test_saving_changes_nothing(backend_name: str, tmp_path: Path) -> None:
    run = make_run(optim.AdamConfig(), backend_name)
    run.step(0)
    before = run.everything()
    checkpoint.save(tmp_path / "run", model=run.model, optimizer=run.optimizer)
    assert run.everything() == before


def test_loading_writes_into_the_storage_that_exists(backend_name: str, tmp_path: Path) -> None:
    run = make_run(optim.AdamConfig(), backend_name)
    arrays = [p.raw.array for p in run.model.parameters()]
    checkpoint.save(tmp_path / "run", model=run.model, optimizer=run.optimizer)
    run.step(0)
    checkpoint.load(tmp_path / "run", model=run.model, optimizer=run.optimizer)
    assert all(p.raw.array is a for p, a in zip(run.model.parameters(), arrays, strict=True))


def test_loading_brings_back_the_learning_rate_and_the_config(
    backend_name: str, tmp_path: Path
) -> None:
    run = make_run(optim.AdamConfig(lr=0.5, eps=1e-3), backend_name)
    run.optimizer.lr = 0.25
    checkpoint.save(tmp_path / "run", optimizer=run.optimizer)
    other = make_run(optim.AdamConfig(lr=0.1), backend_name)
    checkpoint.load(tmp_path / "run", optimizer=other.optimizer)
    assert other.optimizer.config == optim.AdamConfig(lr=0.25, eps=1e-3)
    assert other.optimizer.lr == 0.25


# -- a part of a checkpoint ----------------------------------------------------------------


@pytest.mark.parametrize("part", ["model", "optimizer"])
def test_one_part_is_taken_without_the_random_state(
    part: str, backend_name: str, tmp_path: Path
) -> None:
    saved, other = (make_run(optim.AdamConfig(), backend_name, seed) for seed in (0, 1))
    saved.step(0)
    checkpoint.save(tmp_path / "run", model=saved.model, optimizer=saved.optimizer)
    before = other.everything()
    taken: dict[str, Any] = {part: getattr(other, part)}
    checkpoint.load(tmp_path / "run", **taken)
    for key, value in other.everything().items():
        wanted = key.startswith(part) or (key, part) == ("config", "optimizer")
        assert value == (saved.everything() if wanted else before)[key], key


def test_model_saved_alone_comes_back_with_the_random_state(
    backend_name: str, tmp_path: Path
) -> None:
    saved, other = (make_run(optim.AdamConfig(), backend_name, seed) for seed in (0, 1))
    checkpoint.save(tmp_path / "model", model=saved.model)
    checkpoint.load(tmp_path / "model", model=other.model)
    assert other.everything() == saved.everything()


def test_metadata_comes_back(tmp_path: Path) -> None:
    metadata = {
        "epoch": 3,
        "loss": [0.5, 0.1 + 0.2, 1e-300],
        "note": 'é "quoted" \\ \n \x00 \ud800',
        "nested": {"none": None, "flag": True, "big": 2**80},
        "sixty-four zeros": "0" * 64,
    }
    checkpoint.save(tmp_path / "notes", metadata=metadata)
    assert checkpoint.load(tmp_path / "notes") == metadata
    checkpoint.save(tmp_path / "notes")
    assert checkpoint.load(tmp_path / "notes") == {}


def test_model_without_parameters_is_saved(tmp_path: Path) -> None:
    model: nn.Sequential[Backend] = nn.Sequential(nn.ReLU())
    checkpoint.save(tmp_path / "empty", model=model, metadata={"a": 1})
    assert checkpoint.load(tmp_path / "empty", model=model) == {"a": 1}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3)])
def test_every_dtype_and_shape_comes_back_to_the_bit(
    dtype: str, shape: tuple[int, ...], backend_name: str, tmp_path: Path
) -> None:
    backend = born.get_backend(backend_name)

    class Holder(nn.Module[Backend]):
        def __init__(self) -> None:
            self.p = nn.Parameter(born.randn(shape, backend, dtype))

    saved, other = Holder(), Holder()
    assert saved.p.numpy().size == np.prod(shape, dtype=int)
    checkpoint.save(tmp_path / "x", model=saved)
    checkpoint.load(tmp_path / "x", model=other)
    assert other.p.numpy().tobytes() == saved.p.numpy().tobytes()
    assert other.p.dtype.name == dtype
