"""A sound checkpoint of something else is refused whole, with every difference named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import born
from born import checkpoint, nn, optim
from born.autodiff import Autodiff
from born.backend import Backend
from born.errors import BackendMismatchError, CheckpointMismatchError
from tests.checkpoint.runs import Run, make_run
from tests.optim.making import make

ADAM = optim.AdamConfig()


def _with_model(*, wide: int = 5, bias: bool = True) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        first, last = nn.Linear(3, wide, run.backend, bias=bias), nn.Linear(wide, 4, run.backend)
        run.model = nn.Sequential(first, nn.Tanh(), nn.Dropout(0.3), last)
        run.optimizer = optim.Adam(run.model.parameters(), ADAM)

    return change


def _with_optimizer(config: optim.Config) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        run.optimizer = make(config, run.model.parameters())

    return change


MOMENTUM = optim.SGDConfig(momentum=0.9)

OTHERS: list[tuple[optim.Config, Callable[[Run], None], list[str]]] = [
    (
        ADAM,
        _with_model(wide=6),
        [
            "model: '0.weight': expected shape (6, 3), got (5, 3)",
            "model: '3.weight': expected shape (4, 6), got (4, 5)",
            "optimizer: '0.weight': expected shape (6, 3), got (5, 3)",
            "optimizer: '0.bias': expected shape (6,), got (5,)",
        ],
    ),
    (
        ADAM,
        _with_model(bias=False),
        [
            "model: '0.bias': unexpected",
            "optimizer: '0.bias': unexpected",
        ],
    ),
    (ADAM, _with_optimizer(MOMENTUM), ["optimizer: expected SGD, got the state of Adam"]),
    (MOMENTUM, _with_optimizer(optim.SGDConfig()), ["optimizer: '3.bias': velocity: unexpected"]),
]


@pytest.mark.parametrize(("config", "change", "reasons"), OTHERS)
def test_other_model_or_optimizer_is_refused_whole(
    config: optim.Config, change: Callable[[Run], None], reasons: list[str], tmp_path: Path
) -> None:
    saved, other = make_run(config), make_run(config, seed=1)
    saved.save(tmp_path / "run")
    change(other)
    before = other.everything()
    with pytest.raises(CheckpointMismatchError) as caught:
        other.load(tmp_path / "run")
    message = str(caught.value)
    assert "expected a checkpoint of this model and this optimizer, got" in message
    assert "make both as they were made when it was saved, or say what may differ" in message
    for reason in reasons:
        assert reason in message
    assert other.everything() == before


@pytest.mark.parametrize(
    ("part", "other"), [("model", "the optimizer"), ("optimizer", "the model")]
)
def test_part_that_was_not_saved_is_refused(part: str, other: str, tmp_path: Path) -> None:
    run = make_run(ADAM)
    saved: dict[str, Any] = {part: getattr(run, part)}
    checkpoint.save(tmp_path / "run", **saved)
    before = run.everything()
    with pytest.raises(CheckpointMismatchError, match=f"saved without {other}"):
        run.load(tmp_path / "run")
    assert run.everything() == before


class _OtherGenerator(Autodiff[Backend]):
    """A backend whose random state is not the one that others save."""

    @property
    def innermost(self) -> Backend:
        return self

    @property
    def random_state(self) -> Any:
        return {"bit_generator": "another"}


def test_random_state_of_another_generator_is_refused(tmp_path: Path) -> None:
    backend = _OtherGenerator(born.get_backend("numpy"))
    checkpoint.save(tmp_path / "run", model=nn.Linear(1, 1, backend))
    other = born.get_backend("numpy", seed=1)
    model = nn.Linear(1, 1, other)
    before = [p.numpy().tobytes() for p in model.parameters()]
    with pytest.raises(CheckpointMismatchError, match="random state: expected the random state of"):
        checkpoint.load(tmp_path / "run", model=model)
    assert [p.numpy().tobytes() for p in model.parameters()] == before


def test_model_and_optimizer_of_two_backends_are_refused(tmp_path: Path) -> None:
    first, second = make_run(ADAM), make_run(ADAM)
    first.save(tmp_path / "run")
    before = first.everything(), second.everything(), (tmp_path / "run").read_bytes()
    for call in (checkpoint.save, checkpoint.load):
        with pytest.raises(BackendMismatchError, match="expected the model and the optimizer on"):
            call(tmp_path / "run", model=first.model, optimizer=second.optimizer)
    assert (first.everything(), second.everything(), (tmp_path / "run").read_bytes()) == before
