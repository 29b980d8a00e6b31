"""What is refused changes nothing, and what copies a model copies all of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, ops, optim
from born.autodiff import Autodiff, Gradients, backward
from born.backend import Backend
from born.errors import (
    BornError,
    CheckpointError,
    CheckpointMismatchError,
    ConfigError,
    OperandError,
    StateDictError,
    TapeError,
)

AD = Autodiff[Backend]


def test_config_that_keeps_other_state_leaves_the_model_as_it_was(
    autodiff: AD, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    saved = nn.Linear(3, 2, autodiff)
    kept = optim.Adam(saved.parameters(), optim.AdamConfig(m_dtype="float64"))
    checkpoint.save(path, model=saved, optimizer=kept)
    model = nn.Linear(3, 2, autodiff)
    before = model.weight.numpy()
    with pytest.raises(CheckpointMismatchError, match=r"m \(float32\).* m \(float64\)"):
        checkpoint.load(
            path, model=model, optimizer=optim.Adam(model.parameters(), optim.AdamConfig())
        )
    assert np.array_equal(model.weight.numpy(), before)


def test_dtype_spelled_out_is_the_same_state(autodiff: AD, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    model = nn.Linear(3, 2, autodiff)
    spelled = optim.Adam(model.parameters(), optim.AdamConfig(lr=0.5, m_dtype="float32"))
    checkpoint.save(path, model=model, optimizer=spelled)
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig())
    checkpoint.load(path, model=model, optimizer=optimizer)
    assert optimizer.lr == 0.5


def test_read_only_parameter_leaves_the_others_as_they_were(autodiff: AD) -> None:
    first = nn.Parameter(born.zeros((2,), autodiff))
    fixed = nn.Parameter(ops.broadcast_to(born.zeros((2,), autodiff), (3, 2)))

    class Both(nn.Module[AD]):
        def __init__(self) -> None:
            self.first, self.fixed = first, fixed

        def forward(self, x: born.Tensor[AD]) -> born.Tensor[AD]:
            return x

    state = {"first": np.ones(2, np.float32), "fixed": np.ones((3, 2), np.float32)}
    with pytest.raises(StateDictError, match="can be written, got a read-only one"):
        Both().load_state_dict(state)
    assert first.numpy().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("field", ["m_dtype", "v_dtype"])
@pytest.mark.parametrize("value", ["floaty", "int32", "bool"])
def test_dtype_that_no_slot_can_have(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"AdamConfig.{field}: expected .* got '{value}'; use"):
        optim.AdamConfig().replace(**{field: value})


def test_two_losses_of_one_tape_add_up(autodiff: AD) -> None:
    w = nn.Parameter(born.ones((2,), autodiff))
    with autodiff.tape:
        first, second = (w * 2.0).sum(), (w * 3.0).sum()
    first.backward(keep_tape=True)
    second.backward()
    assert w.grad is not None
    assert w.grad.numpy().tolist() == [5.0, 5.0]


def test_leaf_is_no_loss_where_nothing_is_recorded(autodiff: AD) -> None:
    w = nn.Parameter(born.ones((), autodiff))
    with pytest.raises(TapeError, match="nothing is recorded"):
        backward(w)


def test_gradients_add_up_with_sum(autodiff: AD) -> None:
    w = nn.Parameter(born.ones((2,), autodiff))
    found: list[Gradients] = []
    for _ in range(2):
        with autodiff.tape:
            loss = (w * 2.0).sum()
        found.append(backward(loss))
    assert autodiff.to_numpy(sum(found[1:], found[0])[w]).tolist() == [4.0, 4.0]
    with pytest.raises(OperandError, match="expected gradients"):
        _ = found[0] + 1  # type: ignore[operator]  # wrong on purpose


def test_copied_model_is_another_on_the_same_backend(autodiff: AD) -> None:
    model = nn.Linear(3, 2, autodiff)
    twin = copy.deepcopy(model)
    assert twin.weight.backend is autodiff
    assert np.array_equal(twin.weight.numpy(), model.weight.numpy())
    autodiff.inner.assign(twin.weight.raw, born.zeros((2, 3), autodiff.inner).raw)
    assert model.weight.numpy().any()


def test_array_where_a_tensor_is_due(autodiff: AD) -> None:
    array: Any = np.ones((2, 2), np.float32)
    for call in (nn.Linear(2, 3, autodiff), nn.ReLU(), ops.exp, ops.sum, ops.softmax):
        with pytest.raises(OperandError, match=r"expected a tensor in .*got ndarray; make it"):
            call(array)


@pytest.mark.parametrize("wrong", ["numpy", None, np])
def test_no_backend_where_one_is_due(wrong: Any) -> None:
    with pytest.raises(OperandError, match=r"expected a backend .*got.*; make one"):
        born.zeros((2,), wrong)
    with pytest.raises(OperandError, match=r"expected a backend .*got.*; make one"):
        Autodiff(wrong)


def test_what_is_no_model_is_not_saved(autodiff: AD, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(BornError, match=r"expected model to be an nn.Module, got str"):
        checkpoint.save(path, model="x")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(BornError, match=r"expected optimizer to be an optim.Optimizer, got Linear"):
        checkpoint.save(path, optimizer=nn.Linear(2, 2, autodiff))  # type: ignore[arg-type]  # as above
    assert not path.exists()


def test_path_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "x", tmp_path / ("x" * 300), "a\0b"):
        with pytest.raises(CheckpointError, match=r"expected a checkpoint file"):
            checkpoint.load(path)
