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
            "optimizer: 'm.0': expected shape (6, 3), got (5, 3)",
            "optimizer: 'v.1': expected shape (6,), got (5,)",
        ],
    ),
    (
        ADAM,
        _with_model(bias=False),
        [
            "model: '0.bias': unexpected",
            "optimizer: 'm.3': unexpected",
            "optimizer: 't.3': unexpected",
            "optimizer: parameter 1: expected '3.weight', got the state of '0.bias'",
        ],
    ),
    (ADAM, _with_optimizer(MOMENTUM), ["optimizer: expected SGD, got the state of Adam"]),
    (MOMENTUM, _with_optimizer(optim.SGDConfig()), ["optimizer: 'velocity.0': unexpected"]),
]


@pytest.mark.parametrize(("config", "change", "reasons"), OTHERS)
def test_other_model_or_optimizer_is_refused_whole(
    config: optim.Config, change: Callable[[Run], None], reasons: list[str], tmp_path: Path
) -> None:
    saved, other = make_run(config), make_run(config, seed=1)
    checkpoint.save(tmp_path / "run", model=saved.model, optimizer=saved.optimizer)
    change(other)
    before = other.everything()
    with pytest.raises(CheckpointMismatchError) as caught:
        checkpoint.load(tmp_path / "run", model=other.model, optimizer=other.optimizer)
    message = str(caught.value)
    assert "expected a checkpoint of this model and this optimizer, got" in message
    assert "make both as they were made when it was saved, nothing was changed" in message
    for reason in reasons:
        assert reason in message
    assert other.everything() == before


def test_parameters_in_another_order_are_refused_even_if_their_shapes_agree(
    tmp_path: Path,
) -> None:
    backend: Backend = born.get_backend("numpy")
    model = nn.Sequential(nn.Linear(2, 2, backend), nn.Linear(2, 2, backend))
    names = ["0.weight", "0.bias", "1.weight", "1.bias"]
    forward, swapped = (
        optim.Adam([dict(model.named_parameters())[name] for name in order], ADAM)
        for order in (names, names[2:] + names[:2])
    )
    checkpoint.save(tmp_path / "run", model=model, optimizer=forward)
    with pytest.raises(
        CheckpointMismatchError,
        match=r"parameter 0: expected '1\.weight', got the state of '0\.weight'",
    ):
        checkpoint.load(tmp_path / "run", model=model, optimizer=swapped)


def test_part_that_was_not_saved_is_refused(tmp_path: Path) -> None:
    run = make_run(ADAM)
    checkpoint.save(tmp_path / "model", model=run.model)
    checkpoint.save(tmp_path / "optimizer", optimizer=run.optimizer)
    before = run.everything()
    with pytest.raises(CheckpointMismatchError, match="saved without the optimizer"):
        checkpoint.load(tmp_path / "model", model=run.model, optimizer=run.optimizer)
    with pytest.raises(CheckpointMismatchError, match="saved without the model"):
        checkpoint.load(tmp_path / "optimizer", model=run.model)
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
    path = tmp_path / "run"
    with pytest.raises(BackendMismatchError, match="expected the model and the optimizer on one"):
        checkpoint.save(path, model=first.model, optimizer=second.optimizer)
    assert not path.exists()
    checkpoint.save(path, model=first.model, optimizer=first.optimizer)
    before = first.everything(), second.everything()
    with pytest.raises(BackendMismatchError):
        checkpoint.load(path, model=first.model, optimizer=second.optimizer)
    assert (first.everything(), second.everything()) == before
