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
from tests.optim.making import every_config

STEPS = 10


@every_config
@pytest.mark.parametrize("stop", range(STEPS + 1))
def test_going_on_from_any_step_equals_never_having_stopped(
    config: optim.Config, stop: int, backend_name: str, tmp_path: Path
) -> None:
    straight = make_run(config, backend_name)
    for number in range(stop):
        straight.step(number)
    path = tmp_path / "run.safetensors"
    before = straight.everything()
    straight.save(path)
    assert straight.everything() == before

    # Made with other weights and options, another random state, and a step already behind it.
    resumed = make_run(config.replace(lr=0.5, weight_decay=0.25), backend_name, seed=1)
    resumed.step(11)
    arrays = [p.raw.array for p in resumed.model.parameters()]
    resumed.load(path)
    assert all(p.raw.array is a for p, a in zip(resumed.model.parameters(), arrays, strict=True))
    assert resumed.everything() == straight.everything()

    for number in range(stop, STEPS):
        straight.step(number)
        resumed.step(number)
    assert resumed.everything() == straight.everything()
    assert resumed.optimizer.timestep == STEPS


@pytest.mark.parametrize("part", ["model", "optimizer"])
def test_one_part_is_taken_alone(part: str, backend_name: str, tmp_path: Path) -> None:
    saved, other = (make_run(optim.AdamConfig(), backend_name, seed) for seed in (0, 1))
    saved.step(0)
    saved.save(tmp_path / "run")
    before = other.everything()
    taken: dict[str, Any] = {part: getattr(other, part)}
    checkpoint.load(tmp_path / "run", **taken)
    for key, value in other.everything().items():
        wanted = key.startswith(part) or (key, part) == ("config", "optimizer")
        assert value == (saved.everything() if wanted else before)[key], key


def test_model_saved_alone_comes_back_whole(backend_name: str, tmp_path: Path) -> None:
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
