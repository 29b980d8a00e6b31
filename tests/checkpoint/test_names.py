"""State is matched by name; what may differ is said by name, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.checkpoint import PartialLoad
from born.errors import CheckpointMismatchError, OperandError
from tests.checkpoint.runs import Run, make_run
from tests.optim.making import every_config, make

Parameters = list[nn.Parameter[Any]]


def _trained(parameters: Parameters, config: optim.Config) -> optim.Optimizer[Any]:
    """An optimizer after two steps, in which each parameter had gradients of its own."""
    optimizer = make(config, parameters)
    for step in range(2):
        grads = {
            p.raw: born.full(p.shape, float(step + len(p.name)), p.backend, p.dtype.name).raw
            for p in parameters
        }
        optimizer.step(grads)
    return optimizer


def _by_name(optimizer: optim.Optimizer[Any]) -> dict[str, bytes]:
    """What an optimizer holds of each parameter, by the parameter's name."""
    to_numpy = optimizer.backend.innermost.to_numpy
    names = [p.name for p in optimizer.parameters]
    found: dict[str, bytes] = {}
    owners = optimizer.state_owners()
    for key, value in optimizer.state_dict().items():
        slot, owner = key.rpartition(".")[0], owners[key]
        whose = "all" if owner is None else names[owner]
        found[f"{slot} of {whose}"] = to_numpy(value).tobytes()
    return found


@every_config
def test_parameters_in_another_order_get_their_own_state(
    config: optim.Config, backend_name: str, tmp_path: Path
) -> None:
    saved, other = make_run(config, backend_name), make_run(config, backend_name, seed=1)
    saved.optimizer = _trained(saved.model.parameters(), config)
    saved.save(tmp_path / "run")
    reordered = other.model.parameters()[::-1]
    other.optimizer = make(config, [*reordered[2:], *reordered[:2]])
    other.load(tmp_path / "run")
    assert _by_name(other.optimizer) == _by_name(saved.optimizer)
    optimizer_alone = make(config, reordered)
    checkpoint.load(tmp_path / "run", optimizer=optimizer_alone)
    assert _by_name(optimizer_alone) == _by_name(saved.optimizer)


def test_names_that_occur_twice_are_told_apart_by_their_order(tmp_path: Path) -> None:
    backend = born.get_backend("numpy")

    def layers() -> Parameters:
        pair: list[nn.Linear[Backend]] = [nn.Linear(2, 3, backend), nn.Linear(3, 2, backend)]
        return [p for layer in pair for p in layer.parameters()]

    saved = _trained(layers(), optim.AdamConfig())
    checkpoint.save(tmp_path / "run", optimizer=saved)
    other = optim.Adam(layers()[::-1], optim.AdamConfig())
    with pytest.raises(CheckpointMismatchError, match=r"'weight#0': expected shape \(2, 3\), got"):
        checkpoint.load(tmp_path / "run", optimizer=other)
    same = optim.Adam(layers(), optim.AdamConfig())
    checkpoint.load(tmp_path / "run", optimizer=same)
    assert _by_name(same) == _by_name(saved)


def test_parameters_without_names_are_matched_by_their_places(tmp_path: Path) -> None:
    backend = born.get_backend("numpy")

    def nameless(*lengths: int) -> Parameters:
        return [nn.Parameter(born.ones(length, backend)) for length in lengths]

    saved = _trained(nameless(2, 3), optim.AdamConfig())
    checkpoint.save(tmp_path / "run", optimizer=saved)
    same, other = (optim.Adam(nameless(*n), optim.AdamConfig()) for n in ((2, 3), (3, 2)))
    checkpoint.load(tmp_path / "run", optimizer=same)
    assert {k: x.array.tobytes() for k, x in same.state_dict().items()} == {
        k: x.array.tobytes() for k, x in saved.state_dict().items()
    }
    with pytest.raises(CheckpointMismatchError, match=r"'#0': expected shape \(3,\), got \(2,\)"):
        checkpoint.load(tmp_path / "run", optimizer=other)


class _Net(nn.Module[Backend]):
    """Two layers under names that a test chooses."""

    def __init__(self, backend: Backend, first: str, second: str, width: int = 3) -> None:
        setattr(self, first, nn.Linear(2, width, backend))
        setattr(self, second, nn.Linear(width, 1, backend))


def _pair(first: str, second: str, width: int = 3) -> tuple[_Net, optim.Optimizer[Any]]:
    net = _Net(born.get_backend("numpy"), first, second, width)
    return net, _trained(net.parameters(), optim.AdamConfig())


RENAMED = {
    "body.weight": "trunk.weight",
    "body.bias": "trunk.bias",
}


def _renamed(name: str) -> str:
    return name.replace("body", "trunk")


@pytest.mark.parametrize("rename", [RENAMED, _renamed])
def test_renamed_parameters_get_their_values_and_state(rename: Any, tmp_path: Path) -> None:
    (saved, saved_optimizer), (net, optimizer) = _pair("body", "head"), _pair("trunk", "head")
    checkpoint.save(tmp_path / "run", model=saved, optimizer=saved_optimizer)
    before = {path: x.array.tobytes() for path, x in net.state_dict().items()}
    with pytest.raises(CheckpointMismatchError) as caught:
        checkpoint.load(tmp_path / "run", model=net, optimizer=optimizer)
    for line in (
        "model: 'trunk.weight': missing, expected shape (3, 2) and dtype float32",
        "model: 'body.bias': unexpected",
        "optimizer: 'trunk.bias': missing, the file has no state of it",
        "optimizer: 'body.weight': unexpected",
    ):
        assert line in str(caught.value)
    assert {path: x.array.tobytes() for path, x in net.state_dict().items()} == before
    checkpoint.load(tmp_path / "run", model=net, optimizer=optimizer, rename=rename)
    for path, value in saved.state_dict().items():
        mine = net.state_dict()[path.replace("body", "trunk")]
        assert mine.array.tobytes() == value.array.tobytes()
    found = _by_name(saved_optimizer)
    names = [name.replace("body", "trunk") for name in found]
    paths = {id(p.raw): path for path, p in net.named_parameters()}
    loaded = {
        f"{key.rpartition('.')[0]} of {paths[id(optimizer.parameters[int(key[-1])].raw)]}": x
        for key, x in optimizer.state_dict().items()
    }
    assert {k: x.array.tobytes() for k, x in loaded.items()} == dict(
        zip(names, found.values(), strict=True)
    )


def test_rename_is_checked(tmp_path: Path) -> None:
    net, _ = _pair("body", "head")
    checkpoint.save(tmp_path / "run", model=net)
    wrong: tuple[Any, ...] = ({"body": 7}, [("a", "b")], print)
    for rename in wrong:
        with pytest.raises(OperandError, match="expected rename"):
            checkpoint.load(tmp_path / "run", model=net, rename=rename)
    with pytest.raises(CheckpointMismatchError, match="rename: 'bodi': expected a name in the fil"):
        checkpoint.load(tmp_path / "run", model=net, rename={"bodi": "body"})
    with pytest.raises(
        CheckpointMismatchError, match=r"'body\.bias': two in the file under this na"
    ):
        checkpoint.load(tmp_path / "run", model=net, rename={"head.bias": "body.bias"})


def test_partial_takes_what_fits_and_says_so(tmp_path: Path) -> None:
    (saved, saved_optimizer), (net, optimizer) = _pair("body", "old"), _pair("body", "new")
    checkpoint.save(tmp_path / "run", model=saved, optimizer=saved_optimizer, metadata={"a": 1})
    before = {path: x.array.tobytes() for path, x in net.state_dict().items()}
    state = _by_name(optimizer)
    report = checkpoint.load(tmp_path / "run", model=net, optimizer=optimizer, partial=True)
    absent = "missing, expected shape {} and dtype float32"
    assert report == PartialLoad(
        metadata={"a": 1},
        loaded=(
            "model.body.weight",
            "model.body.bias",
            *(f"optimizer.body.{name}" for name in ("weight", "bias")),
        ),
        kept={
            "model.new.weight": absent.format((1, 3)),
            "model.new.bias": absent.format((1,)),
            "optimizer.new.weight": "missing, the file has no state of it",
            "optimizer.new.bias": "missing, the file has no state of it",
        },
        unused=("model.old.bias", "model.old.weight", "optimizer.old.weight", "optimizer.old.bias"),
    )
    for path, value in net.state_dict().items():
        wanted = before[path] if "new" in path else saved.state_dict()[path].array.tobytes()
        assert value.array.tobytes() == wanted
    wanted_state = {
        key: state[key] if "new" in key else _by_name(saved_optimizer)[key] for key in state
    }
    assert _by_name(optimizer) == wanted_state


def test_partial_keeps_what_has_another_shape(tmp_path: Path) -> None:
    (saved, _), (net, _) = _pair("body", "head", width=3), _pair("body", "head", width=4)
    checkpoint.save(tmp_path / "run", model=saved)
    report = checkpoint.load(tmp_path / "run", model=net, partial=True)
    assert report.loaded == ("model.head.bias",)
    assert report.kept["model.body.weight"] == "expected shape (4, 2), got (3, 2)"
    other, _ = _pair("trunk", "top")
    with pytest.raises(CheckpointMismatchError, match=r"nothing fits; rename=\{old: new\}"):
        checkpoint.load(tmp_path / "run", model=other, partial=True)


def test_hyperparameters_are_the_saved_or_the_current_ones(tmp_path: Path) -> None:
    saved = make_run(optim.AdamConfig(lr=0.25, eps=1e-3))
    saved.save(tmp_path / "run")
    current = optim.AdamConfig(lr=0.5)
    other = make_run(current)
    parts: dict[str, Any] = {"model": other.model, "optimizer": other.optimizer}
    checkpoint.load(tmp_path / "run", **parts, hyperparameters="current")
    assert other.optimizer.config == current
    assert _by_name(other.optimizer) == _by_name(saved.optimizer)
    other.load(tmp_path / "run")
    assert other.optimizer.config == saved.optimizer.config
    unknown: dict[str, Any] = {"hyperparameters": "mine"}
    with pytest.raises(OperandError, match=r'expected hyperparameters="saved" or "current"'):
        checkpoint.load(tmp_path / "run", **parts, **unknown)


def test_dtypes_are_converted_only_when_asked(backend_name: str, tmp_path: Path) -> None:
    backend = born.get_backend(backend_name)
    wide, narrow = (
        nn.Parameter(born.tensor([0.1, 1000.1, -2.5], backend, dtype=dtype), "p")
        for dtype in ("float32", "float16")
    )
    saved = _trained([wide], optim.AdamConfig())
    checkpoint.save(tmp_path / "run", optimizer=saved)
    other = optim.Adam([narrow], optim.AdamConfig())
    with pytest.raises(CheckpointMismatchError, match="'p': expected dtype float16, got float32"):
        checkpoint.load(tmp_path / "run", optimizer=other)
    checkpoint.load(tmp_path / "run", optimizer=other, convert_dtypes=True)
    for key, value in other.state_dict().items():
        expected = backend.to_numpy(saved.state_dict()[key])
        found = backend.to_numpy(value)
        np.testing.assert_array_equal(found, expected.astype(found.dtype))


def test_a_number_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    backend = born.get_backend("numpy")

    class Two(nn.Module[Backend]):
        def __init__(self, dtype: str, value: float) -> None:
            self.a = nn.Parameter(born.full(3, 1.0, backend, dtype))
            self.b = nn.Parameter(born.full(3, value, backend, dtype))

    checkpoint.save(tmp_path / "run", model=Two("float32", 1e6))
    other = Two("float16", 2.0)
    with pytest.raises(
        CheckpointMismatchError, match=r"model\.b': expected numbers that float16 ho"
    ):
        checkpoint.load(tmp_path / "run", model=other, convert_dtypes=True)
    assert other.a.tolist() == [1.0] * 3
    assert other.b.tolist() == [2.0] * 3


class _Gan:
    """Two models with an optimizer each, on one backend."""

    def __init__(self, seed: int) -> None:
        self.backend = Autodiff(born.get_backend("numpy", seed=seed))
        self.models = {name: nn.Linear(2, 2, self.backend) for name in ("generator", "critic")}
        self.optimizers = {
            name: optim.Adam(model.parameters(), lr=0.1) for name, model in self.models.items()
        }

    def step(self) -> None:
        for name, model in self.models.items():
            with self.backend.tape:
                loss = (model(born.randn((3, 2), self.backend)) ** 2).sum()
            self.optimizers[name].step(backward(loss))

    def everything(self) -> dict[str, bytes]:
        states = [model.state_dict() for model in self.models.values()]
        states += [optimizer.state_dict() for optimizer in self.optimizers.values()]
        return {
            f"{number}.{key}": x.array.tobytes()
            for number, state in enumerate(states)
            for key, x in state.items()
        }


def test_several_models_and_optimizers_are_kept_apart(tmp_path: Path) -> None:
    straight, resumed = _Gan(0), _Gan(1)
    straight.step()
    path = tmp_path / "gan"
    checkpoint.save(path, model=straight.models, optimizer=straight.optimizers)
    both: dict[str, Any] = {
        "model": dict(reversed(resumed.models.items())),
        "optimizer": resumed.optimizers,
    }
    checkpoint.load(path, **both)
    assert resumed.everything() == straight.everything()
    for run in (straight, resumed):
        run.step()
    assert resumed.everything() == straight.everything()
    critic = {"critic": resumed.models["critic"]}
    checkpoint.load(path, model=critic)
    with pytest.raises(
        CheckpointMismatchError, match="'writer': expected one, got a checkpoint of"
    ):
        checkpoint.load(path, model={"writer": resumed.models["critic"]})
    with pytest.raises(
        CheckpointMismatchError, match="model: expected one, got a checkpoint of 'g"
    ):
        checkpoint.load(path, model=resumed.models["critic"])
    checkpoint.save(path, model=resumed.models["critic"])
    with pytest.raises(CheckpointMismatchError, match="a single model; pass model= without a dict"):
        checkpoint.load(path, model=critic)
    for wrong in ({"": resumed.models["critic"]}, {"a.b": resumed.models["critic"]}):
        with pytest.raises(OperandError, match="names of models as strings that are not empty"):
            checkpoint.save(path, model=wrong)
    with pytest.raises(OperandError, match=r"expected model 'a' to be an nn\.Module, got int"):
        checkpoint.save(path, model={"a": 7})  # type: ignore[arg-type]  # as a user may


def test_accumulated_gradients_come_back(backend_name: str, tmp_path: Path) -> None:
    straight, resumed = (make_run(optim.AdamConfig(), backend_name, seed) for seed in (0, 1))

    def accumulate(run: Run) -> None:
        with run.backend.tape:
            loss = run.model(born.ones((2, 3), run.backend)).sum()
        loss.backward()

    accumulate(straight)
    accumulate(resumed)
    straight.save(tmp_path / "run")
    resumed.load(tmp_path / "run")
    for run in (straight, resumed):
        accumulate(run)
        run.optimizer.step()
    assert resumed.everything() == straight.everything()
    straight.optimizer.zero_grad()
    straight.save(tmp_path / "run")
    resumed.load(tmp_path / "run")
    assert [p.grad for p in resumed.model.parameters()] == [None] * 4


def test_an_option_that_a_config_has_got_since_keeps_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(optim.AdamConfig(lr=0.25))
    older = run.optimizer.config.to_json()
    del older["eps"]

    def to_json(_: optim.Config) -> dict[str, Any]:
        return older

    with monkeypatch.context() as before:
        before.setattr(optim.AdamConfig, "to_json", to_json)
        run.save(tmp_path / "run")
    other = make_run(optim.AdamConfig(lr=0.5, eps=0.5), seed=1)
    other.load(tmp_path / "run")
    assert other.optimizer.config == optim.AdamConfig(lr=0.25)
