"""State carried to and from PyTorch, and weights from other libraries' files."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]  # its os.PathLike has no parameter
)

import born
from born import checkpoint, nn, optim
from born.backend import Backend
from born.errors import CheckpointCorruptError, CheckpointMismatchError, OperandError
from born_numpy import NumpyBackend

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)

SHAPES = {"weight": (3, 2), "bias": (3,), "gain": ()}
STEPS = 5

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.25, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 0.1}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("SGD", {"lr": 0.1, "maximize": True}),
]


def _known(kind: str, options: dict[str, Any]) -> bool:
    fields = getattr(getattr(optim, f"{kind}Config", None), "__dataclass_fields__", {})
    return hasattr(optim, kind) and options.keys() <= fields.keys()


class _Theirs:
    """Parameters and an optimizer of PyTorch's, in double, in an order of their own."""

    def __init__(self, kind: str, options: dict[str, Any], named: bool = True) -> None:
        self.torch: Any = importlib.import_module("torch")
        draw = np.random.default_rng(3)
        values = {name: draw.normal(size=shape) for name, shape in SHAPES.items()}
        self.order = list(reversed(SHAPES))
        self.parameters = {
            name: self.torch.nn.Parameter(self.torch.tensor(values[name])) for name in self.order
        }
        given = list(self.parameters.items()) if named else list(self.parameters.values())
        self.optimizer = getattr(self.torch.optim, kind)(given, **options)

    def step(self, number: int) -> None:
        for name, parameter in self.parameters.items():
            gradient = _gradient(number, name)
            parameter.grad = None if gradient is None else self.torch.tensor(gradient)
        self.optimizer.step()

    def values(self) -> dict[str, Any]:
        return {name: p.detach().numpy().copy() for name, p in self.parameters.items()}


class _Ours:
    """The same in born."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.backend = NumpyBackend()
        self.named = [
            (name, nn.Parameter(born.tensor(values[name], self.backend), name)) for name in SHAPES
        ]
        self.optimizer: optim.Optimizer[Any]

    def made(self, kind: str, config: Any) -> optim.Optimizer[Any]:
        made: optim.Optimizer[Any] = getattr(optim, kind)([p for _, p in self.named], config)
        return made

    def step(self, number: int) -> None:
        grads = {
            p.raw: born.tensor(gradient, self.backend).raw
            for name, p in self.named
            if (gradient := _gradient(number, name)) is not None
        }
        self.optimizer.step(grads)

    def values(self) -> dict[str, Any]:
        return {name: p.numpy().copy() for name, p in self.named}


def _gradient(number: int, name: str) -> Any:
    if name == "gain" and number < 3:  # it joins late, so that counts differ
        return None
    return np.random.default_rng([number, len(name)]).normal(size=SHAPES[name])


def _assert_together(ours: _Ours, theirs: _Theirs, first: int) -> None:
    for number in range(first, first + STEPS):
        ours.step(number)
        theirs.step(number)
        for name, value in theirs.values().items():
            # Both compute in double, in another order of operations.
            np.testing.assert_allclose(ours.values()[name], value, rtol=1e-12, atol=1e-14)


@needs_torch
@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_from_pytorch_and_on_together(kind: str, options: dict[str, Any], steps: int) -> None:
    if not _known(kind, options):
        pytest.skip(f"born has no {kind} with {', '.join(options)}")
    theirs = _Theirs(kind, options)
    for number in range(steps):
        theirs.step(number)
    ours = _Ours(theirs.values())
    config, state, _ = checkpoint.from_torch(theirs.optimizer.state_dict(), ours.named)
    ours.optimizer = ours.made(kind, config)
    ours.optimizer.load_state_dict(state)
    _assert_together(ours, theirs, steps)


@needs_torch
@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_to_pytorch_and_on_together(
    kind: str, options: dict[str, Any], named: bool, steps: int
) -> None:
    if not _known(kind, options):
        pytest.skip(f"born has no {kind} with {', '.join(options)}")
    theirs = _Theirs(kind, {"lr": 7.0}, named)
    ours = _Ours(theirs.values())
    ours.optimizer = ours.made(kind, getattr(optim, f"{kind}Config")(**options))
    for number in range(steps):
        ours.step(number)
    torch = theirs.torch
    state = checkpoint.to_torch(
        ours.optimizer, ours.named, names=theirs.order, tensor=torch.from_numpy
    )
    theirs.optimizer.load_state_dict(state)
    with torch.no_grad():
        for name, value in ours.values().items():
            theirs.parameters[name].copy_(torch.tensor(value))
    _assert_together(ours, theirs, steps)
    # And back again, through PyTorch.
    config, back, _ = checkpoint.from_torch(
        theirs.optimizer.state_dict(), ours.named, names=theirs.order
    )
    other = ours.made(kind, config)
    other.load_state_dict(back)


def _adam_state(**changes: Any) -> dict[str, Any]:
    arrays = {"exp_avg": np.zeros(2), "exp_avg_sq": np.zeros(2)}
    group = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False}
    return {
        "state": {0: {"step": 3.0, **arrays}},
        "param_groups": [{**group, "params": [0], "param_names": ["p"], **changes}],
    }


def test_states_without_a_counterpart_are_refused() -> None:
    backend = NumpyBackend()
    p = nn.Parameter(born.zeros(2, backend, "float64"), "p")
    wide = nn.Parameter(born.zeros(3, backend, "float64"), "p")
    checkpoint.from_torch(_adam_state(), [("p", p)])
    for named, message in (
        ([("q", p)], r"'q': missing\n  'p': unexpected"),
        ([("p", wide)], r"'p': expected shape \(3,\), got \(2,\)"),
    ):
        with pytest.raises(CheckpointMismatchError, match=message):
            checkpoint.from_torch(_adam_state(), named)
    with pytest.raises(CheckpointMismatchError, match=r"a name for each of the 1 .*names=\[name"):
        checkpoint.from_torch(_adam_state(param_names=[]), [("p", p)])
    with pytest.raises(OperandError, match='pass kind="Adam" or kind="AdamW"'):
        checkpoint.from_torch(_adam_state(weight_decay=0.1), [("p", p)])
    assert checkpoint.from_torch(_adam_state(weight_decay=0.1), [("p", p)], kind="Adam").state
    others: list[Any] = [{}, [], {"state": {}, "param_groups": []}]
    for other in others:
        with pytest.raises(OperandError, match="expected the state dict of an optimizer in PyTor"):
            checkpoint.from_torch(other, [("p", p)])
    with pytest.raises(OperandError, match="expected the state of one of SGD, Adam, AdamW, got"):
        checkpoint.from_torch(_adam_state(momentum_decay=0.1), [("p", p)])
    two = _adam_state()
    two["param_groups"].append({**two["param_groups"][0], "lr": 0.5, "params": [1]})
    two["param_groups"][1]["param_names"] = ["q"]
    assert checkpoint.from_torch(two, [("p", p), ("q", p)]).groups == [optim.Group([p], lr=0.5)]
    frozen = optim.Adam([p], lr=0.1, groups=[optim.Group([p], freeze=True)])
    with pytest.raises(CheckpointMismatchError, match="expected parameters that train, got frozen"):
        checkpoint.to_torch(frozen, [("p", p)])
    mixed = optim.Adam([p], lr=0.1, groups=[optim.Group([p], config=optim.SGDConfig())])
    with pytest.raises(CheckpointMismatchError, match="expected the settings of one optimizer"):
        checkpoint.to_torch(mixed, [("p", p)])
    optimizer = optim.Adam([p], optim.AdamConfig())
    with pytest.raises(CheckpointMismatchError, match=r"'q': missing\n  'p': unexpected"):
        checkpoint.to_torch(optimizer, [("p", p)], names=["q"])


# -- weights ---------------------------------------------------------------------------------


def test_weights_of_another_library_are_loaded_by_a_map_of_names(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    theirs = {
        "net.0.weight": np.arange(6.0).reshape(3, 2),
        "net.0.bias": np.arange(3.0),
        "position_ids": np.arange(5),
    }
    save_file(theirs, path, {"format": "pt"})
    model: nn.Linear[Backend] = nn.Linear(2, 3, NumpyBackend())
    before = model.weight.tolist()
    with pytest.raises(CheckpointMismatchError) as caught:
        checkpoint.load_weights(path, model)
    for line in ("'weight': missing", "'position_ids': unexpected", "'net.0.bias': unexpected"):
        assert line in str(caught.value)
    names = {"net.0.weight": "weight", "net.0.bias": "bias"}
    with pytest.raises(CheckpointMismatchError, match="expected dtype float32, got float64"):
        checkpoint.load_weights(path, model, rename=names)
    assert model.weight.tolist() == before
    report = checkpoint.load_weights(
        path, model, rename=lambda name: name.removeprefix("net.0."), partial=True,
        convert_dtypes=True,
    )  # fmt: skip
    assert report.loaded == ("model.weight", "model.bias")
    assert report.unused == ("model.position_ids",)
    np.testing.assert_array_equal(model.weight.numpy(), theirs["net.0.weight"])
    np.testing.assert_array_equal(model.bias.numpy(), theirs["net.0.bias"])  # type: ignore[union-attr]  # it has one


def test_weights_of_a_checkpoint_are_loaded_too(tmp_path: Path) -> None:
    backend = NumpyBackend()
    saved, other = nn.Linear(2, 3, backend), nn.Linear(2, 3, backend)
    path = tmp_path / "run.safetensors"
    optimizer = optim.Adam(saved.parameters(), optim.AdamConfig())
    checkpoint.save(path, model=saved, optimizer=optimizer, metadata={"a": 1})
    assert checkpoint.load_weights(path, other).metadata == {"a": 1}
    assert other.weight.tolist() == saved.weight.tolist()


def test_a_damaged_checkpoint_is_not_taken_for_another_librarys_file(tmp_path: Path) -> None:
    backend = NumpyBackend()
    model = nn.Linear(2, 1, backend)
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, model=model)
    whole = path.read_bytes()
    before = model.weight.tolist()
    end = 8 + int.from_bytes(whole[:8], "little")
    for position in range(end):
        damaged = bytearray(whole)
        damaged[position] ^= 0x20  # letters stay letters
        path.write_bytes(damaged)
        with pytest.raises(CheckpointCorruptError):
            checkpoint.load_weights(path, model, partial=True)
    assert model.weight.tolist() == before


def test_a_dtype_that_born_does_not_know_is_named(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    save_file({"weight": np.zeros((1, 2), np.int16)}, path)
    model = nn.Linear(2, 1, NumpyBackend(), bias=False)
    with pytest.raises(CheckpointMismatchError, match=r"dtypes that born knows \(F64, .*of I16"):
        checkpoint.load_weights(path, model)


@needs_torch
@pytest.mark.parametrize(
    ("kind", "options", "own"),
    [
        ("AdamW", {"lr": 0.1, "weight_decay": 0.1}, {"weight_decay": 0.0, "lr": 0.05}),
        ("Adam", {"lr": 0.1, "betas": (0.5, 0.9)}, {"betas": (0.8, 0.95), "amsgrad": True}),
        ("SGD", {"lr": 0.1, "momentum": 0.9}, {"momentum": 0.0, "lr": 0.3}),
        ("SGD", {"lr": 0.1, "momentum": 0.9}, {"momentum": 0.5, "weight_decay": 0.1}),
    ],
)
def test_groups_go_to_pytorch_and_back(
    kind: str, options: dict[str, Any], own: dict[str, Any]
) -> None:
    torch: Any = importlib.import_module("torch")
    backend = NumpyBackend()
    draw = np.random.default_rng(3)
    start = {name: np.asarray(draw.normal(size=shape)) for name, shape in SHAPES.items()}

    def go_theirs(held: dict[str, Any], optimizer: Any, steps: range) -> None:
        for t in steps:
            for name, p in held.items():
                p.grad = torch.tensor(_gradient(t + 3, name))
            optimizer.step()

    def go_ours(held: dict[str, nn.Parameter[Any]], optimizer: Any, steps: range) -> None:
        for t in steps:
            optimizer.step(
                {
                    p.raw: born.tensor(np.asarray(_gradient(t + 3, name)), backend).raw
                    for name, p in held.items()
                }
            )

    ours = {n: nn.Parameter(born.tensor(x, backend), n) for n, x in start.items()}
    groups = [optim.Group("bias", **own)]
    optimizer = getattr(optim, kind)(list(ours.values()), groups=groups, **options)
    go_ours(ours, optimizer, range(3))
    theirs = {n: torch.nn.Parameter(torch.tensor(p.numpy().copy())) for n, p in ours.items()}
    bare = [{"params": [("weight", theirs["weight"]), ("gain", theirs["gain"])]}]
    bare += [{"params": [("bias", theirs["bias"])]}]
    other = getattr(torch.optim, kind)(bare, lr=7.0)  # all of its options come with the state
    state = checkpoint.to_torch(optimizer, ours.items(), tensor=torch.from_numpy)
    names = [group["param_names"] for group in state["param_groups"]]
    assert names == [["weight", "gain"], ["bias"]]
    other.load_state_dict(state)
    go_theirs(theirs, other, range(3, 6))
    go_ours(ours, optimizer, range(3, 6))
    for name, p in ours.items():
        np.testing.assert_allclose(p.numpy(), theirs[name].detach().numpy(), rtol=1e-12)
    back = {
        n: nn.Parameter(born.tensor(p.detach().numpy().copy(), backend), n)
        for n, p in theirs.items()
    }
    config, entries, found = checkpoint.from_torch(other.state_dict(), back.items())
    again = getattr(optim, kind)(list(back.values()), config, groups=found)
    again.load_state_dict(entries)
    assert again.config_of(back["bias"]) == optimizer.config_of(ours["bias"])
    go_theirs(theirs, other, range(6, 9))
    go_ours(back, again, range(6, 9))
    for name, p in back.items():
        np.testing.assert_allclose(p.numpy(), theirs[name].detach().numpy(), rtol=1e-12)
