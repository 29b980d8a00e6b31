"""Tensors, modules and optimizers on another backend: all of it follows, and nothing is left."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

import born
from born import checkpoint, nn, ops, optim
from born.autodiff import Autodiff, backward
from born.backend import B, Backend
from born.dtypes import DTYPE_NAMES
from born.errors import BackendMismatchError, OperandError, ParameterError
from born.raw import HostArray
from born.tensor import B2, Tensor
from born_numpy import NumpyBackend
from tests.optim.making import (
    ADAM,
    CONFIGS,
    MOMENTUM,
    assert_same,
    gradients,
    loss_of,
    make,
    parameter,
    values_of,
)

AD = Autodiff[Backend]
There = Autodiff[NumpyBackend]


@pytest.fixture
def elsewhere() -> There:
    return Autodiff(NumpyBackend(seed=7))


@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3).T % 2, np.ones((0, 3)), np.ones(())])
def test_tensor_moves_and_comes_back(backend: Backend, array: HostArray, dtype: str) -> None:
    x = born.tensor(array, backend, dtype)
    there = x.to(NumpyBackend())
    back = there.to(backend)
    for moved in (there, back):
        assert (moved.dtype, moved.shape) == (x.dtype, x.shape)
        assert moved.numpy().tolist() == x.numpy().tolist()
    assert back.backend is backend
    assert type(back.raw.array) is type(x.raw.array)


def test_only_wrappers_of_one_backend_share_memory(backend: Backend, elsewhere: There) -> None:
    x = born.zeros((2,), backend)
    shared, copied = x.to(Autodiff(backend)), x.to(elsewhere)
    assert shared.raw is not x.raw
    backend.assign(x.raw, born.ones((2,), backend).raw)
    assert shared.numpy().tolist() == [1.0, 1.0]
    assert copied.numpy().tolist() == [0.0, 0.0]


def test_moved_tensor_is_a_constant(autodiff: AD, elsewhere: There) -> None:
    weight = nn.Parameter(born.ones((2,), autodiff))
    with autodiff.tape:
        for other in (elsewhere, Autodiff(autodiff.inner)):
            moved = (weight * 2.0).to(other)
            assert moved.numpy().tolist() == [2.0, 2.0]
            assert type(weight.to(other)) is Tensor
            assert not moved.requires_grad
            assert not weight.to(other).requires_grad
            assert moved.raw.node is None
    assert weight.requires_grad
    assert weight.to(autodiff) is weight


def test_error_of_mixed_tensors_says_how_to_move(backend: Backend) -> None:
    with pytest.raises(BackendMismatchError, match=r"move one with x\.to\(backend\)"):
        ops.add(born.ones(2, backend), cast("Any", born.ones(2, Autodiff(backend))))


@pytest.mark.parametrize("wrong", ["numpy", None])
def test_tensor_and_module_go_to_backends_alone(backend: Backend, wrong: Any) -> None:
    for thing in (born.ones((2,), backend), nn.Linear(2, 2, backend)):
        with pytest.raises(OperandError, match=r"expected a backend .*got.*; make one"):
            thing.to(wrong)


class Everything(nn.Module[B]):
    """Tensors of every kind in fields of every kind."""

    def __init__(self, backend: B) -> None:
        self.backend = backend
        self.linear = nn.Linear(3, 2, backend)
        self.again = {"linear": self.linear}
        self.tied = [(self.linear.weight, nn.Dropout(0.5))]
        self.same_storage = nn.Parameter(self.linear.weight.tensor)
        self.scales = [born.full((2,), 2.0, backend, "float64"), born.arange(3.0, backend=backend)]
        self.frozen = nn.Parameter(born.ones((1,), backend), "a name")
        self.frozen.requires_grad = False
        self.nothing = None

    if TYPE_CHECKING:  # Python cannot say of all classes at once that `to` keeps the class

        def to(self, backend: B2) -> Everything[B2]: ...

    def forward(self, x: Tensor[B]) -> Tensor[B]:
        return self.linear(x) + born.ones((2,), self.backend)


def test_module_moves_whole(autodiff: AD, elsewhere: There) -> None:
    module = Everything(autodiff)
    before = [(p.raw, p.raw.array, p.name) for p in module.parameters()]
    twin = module.to(elsewhere)
    for p, (raw, array, name) in zip(module.parameters(), before, strict=True):
        assert (p.raw, p.name, p.backend) == (raw, name, autodiff)
        assert raw.array is array
    assert module.backend is autodiff
    assert type(twin).__name__ == "Everything"
    assert_same(values_of(twin), values_of(module))
    assert twin.backend is elsewhere
    tensors = [*twin.parameters(), *twin.scales, twin.same_storage]
    assert all(tensor.backend is elsewhere for tensor in tensors)
    assert [scale.dtype.name for scale in twin.scales] == ["float64", "float32"]
    assert twin.nothing is None
    x = np.ones((4, 3), np.float32)
    there = twin(born.tensor(x, elsewhere)).numpy()
    np.testing.assert_allclose(there, module(born.tensor(x, autodiff)).numpy(), rtol=1e-6)


def test_what_was_shared_is_shared(autodiff: AD, elsewhere: There) -> None:
    twin = Everything(autodiff).to(elsewhere)
    assert twin.again["linear"] is twin.linear
    assert twin.tied[0][0] is twin.linear.weight
    assert twin.same_storage.raw is twin.linear.weight.raw
    assert isinstance(twin.same_storage, nn.Parameter)
    assert list(values_of(twin)) == ["linear.weight", "linear.bias", "frozen"]


def test_names_modes_and_gradients_follow(autodiff: AD, elsewhere: There) -> None:
    module = Everything(autodiff).eval()
    module.linear.weight.grad = born.full((2, 3), 5.0, autodiff)
    twin = module.to(elsewhere)
    assert not any(layer.training for _, layer in twin.named_modules())
    assert twin.frozen.name == "a name"
    assert [p.requires_grad for p in twin.parameters()] == [True, True, False]
    gradient = twin.linear.weight.grad
    assert gradient is not None
    assert gradient.backend is elsewhere
    assert gradient.numpy().tolist() == [[5.0] * 3] * 2
    assert twin.frozen.grad is None
    module.zero_grad()
    assert twin.linear.weight.grad is not None


@pytest.mark.parametrize("where", ["the same", "its inner one", "a wrapper of it", "another"])
def test_training_one_leaves_the_other_alone(autodiff: AD, where: str) -> None:
    targets: dict[str, Backend] = {
        "the same": autodiff,
        "its inner one": autodiff.inner,
        "a wrapper of it": Autodiff(autodiff),
        "another": NumpyBackend(),
    }
    target = targets[where]
    module = nn.Linear(3, 2, autodiff)
    before = values_of(module)
    twin = module.to(target)
    assert all(parameter.backend is target for parameter in twin.parameters())
    for p in twin.parameters():
        p.backend.assign(p.raw, born.zeros(p.shape, target).raw)
    assert_same(values_of(module), before)


def test_module_without_tensors_moves(autodiff: AD, elsewhere: There) -> None:
    class Maker(nn.Module[B]):
        def __init__(self, backend: B) -> None:
            self.backend = backend
            self.bias = None

    twin = cast("Any", Maker(autodiff).to(elsewhere))
    assert twin.backend is elsewhere
    assert twin.bias is None
    empty: nn.Sequential[AD] = nn.Sequential(nn.ReLU())
    assert [type(layer) for layer in empty.to(elsewhere)] == [nn.ReLU]


def test_marks_of_a_tape_stay_behind(autodiff: AD, elsewhere: There) -> None:
    class Cached(nn.Module[B]):
        def __init__(self, backend: B) -> None:
            self.weight = nn.Parameter(born.ones((2,), backend))
            self.cached: Tensor[B] = self.weight.tensor

    module = Cached(autodiff)
    with autodiff.tape:
        module.cached = module.weight * 3.0
    for twin in (module.to(elsewhere), copy.deepcopy(module)):
        cached = cast("Any", twin).cached
        assert cached.raw.node is None
        assert cached.numpy().tolist() == [3.0, 3.0]
    assert module.cached.raw.node is not None


@pytest.mark.parametrize("kind", ["parameter", "constant", "backend"])
def test_module_on_two_backends_is_refused(autodiff: AD, kind: str) -> None:
    class Mixed(nn.Module[Any]):
        def __init__(self) -> None:
            self.first = nn.Sequential(nn.ReLU(), nn.Linear(2, 2, autodiff))
            other: dict[str, Any] = {
                "parameter": nn.Parameter(born.ones((2,), autodiff.inner)),
                "constant": [born.ones((2,), autodiff.inner)],
                "backend": autodiff.inner,
            }
            self.second = other[kind]

    with pytest.raises(
        BackendMismatchError,
        match=r"at 'second(\.0)?' and .* at 'first\.1\.weight'; make all of it on the same",
    ):
        Mixed().to(NumpyBackend())


def make_model(backend: B) -> nn.Sequential[B]:
    return nn.Sequential(nn.Linear(3, 4, backend), nn.Tanh(), nn.Linear(4, 2, backend))


def trained(model: nn.Sequential[Any], optimizer: optim.Optimizer[Any], steps: int) -> None:
    """Train on the sum of squares of what the model makes of a fixed batch."""
    for _ in range(steps):
        with optimizer.backend.tape:
            loss = loss_of(model, optimizer.backend)
        optimizer.step(backward(loss))


def state_of(optimizer: optim.Optimizer[Any]) -> dict[str, HostArray]:
    return {key: optimizer.backend.to_numpy(x) for key, x in optimizer.state_dict().items()}


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_training_goes_on_elsewhere(autodiff: AD, elsewhere: There, config: optim.Config) -> None:
    model = make_model(autodiff)
    optimizer = make(config, model.parameters())
    trained(model, optimizer, 3)
    optimizer.lr = 0.05
    moved_model = model.to(elsewhere)
    moved = optimizer.to(moved_model.parameters())
    assert type(moved) is type(optimizer)
    assert moved.config == optimizer.config
    assert moved.backend is elsewhere
    before = state_of(optimizer)
    assert_same(state_of(moved), before)
    trained(moved_model, moved, 2)
    # Nothing of that has reached the one that stayed; it gets to the same place by itself.
    assert_same(state_of(optimizer), before)
    trained(model, optimizer, 2)
    for path, array in values_of(model).items():
        np.testing.assert_allclose(values_of(moved_model)[path], array, rtol=1e-5, atol=1e-7)


def test_counts_of_parameters_that_joined_late_follow(backend: Backend, elsewhere: There) -> None:
    both = [parameter([1.0, 1.0], backend) for _ in range(2)]
    optimizer = optim.Adam(both, optim.AdamConfig())
    for some in (both[:1], both):
        optimizer.step(gradients(some))
    moved = optimizer.to([nn.Parameter(p.to(elsewhere)) for p in both])
    assert [moved.state_dict()[f"t.{i}"].item() for i in range(2)] == [2, 1]


def test_parameters_that_differ_are_refused_by_name(backend: Backend, elsewhere: There) -> None:
    optimizer = optim.Adam(make_model(backend).parameters(), optim.AdamConfig())
    good = make_model(elsewhere).parameters()
    with pytest.raises(ParameterError, match=r"\n  parameter 3 \('2.bias'\): missing$"):
        optimizer.to(good[:3])
    more = [*good, nn.Parameter(born.ones((1,), elsewhere), "extra")]
    with pytest.raises(ParameterError, match=r"\n  parameter 4 \('extra'\): unexpected$"):
        optimizer.to(more)
    other = [
        nn.Parameter(born.ones((3, 3), elsewhere), "0.weight"),
        nn.Parameter(born.ones((4,), elsewhere, "float64"), "0.bias"),
        *good[2:],
    ]
    with pytest.raises(ParameterError) as refused:
        optimizer.to(other)
    assert str(refused.value).splitlines()[1:] == [
        "  parameter 0 ('0.weight'): expected shape (4, 3) and dtype float32, "
        "got (3, 3) and float32",
        "  parameter 1 ('0.bias'): expected shape (4,) and dtype float32, got (4,) and float64",
    ]


def test_parameters_in_another_order_are_refused(backend: Backend, elsewhere: There) -> None:
    model = nn.Sequential(nn.Linear(2, 2, backend), nn.Linear(2, 2, backend))
    optimizer = optim.SGD(model.parameters(), optim.SGDConfig())
    moved = model.to(elsewhere).parameters()
    with pytest.raises(ParameterError, match=r"\('0.weight'\): got one with the name '1.weight'"):
        optimizer.to([*moved[2:], *moved[:2]])


@pytest.mark.parametrize("config", [MOMENTUM, ADAM], ids=repr)
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("other", ["numpy", "numba"])
def test_checkpoint_loads_on_another_backend(
    backend: Backend, tmp_path: Path, config: optim.Config, recorded: bool, other: str
) -> None:
    if not born.available_backends()[other]:
        pytest.skip(born.available_backends()[other].reason)
    here = Autodiff(backend)
    computing = born.get_backend(other, seed=9)
    there = Autodiff(computing) if recorded else computing
    model = make_model(here)
    optimizer = make(config, model.parameters())
    trained(model, optimizer, 3)
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, model=model, optimizer=optimizer)
    loaded = make_model(there)
    resumed = make(config, loaded.parameters())
    checkpoint.load(path, model=loaded, optimizer=resumed)
    assert_same(values_of(loaded), values_of(model))
    assert_same(state_of(resumed), state_of(optimizer))
    assert there.innermost.random_state == here.innermost.random_state
    # And back again.
    checkpoint.save(path, model=loaded, optimizer=resumed)
    checkpoint.load(path, model=model, optimizer=optimizer)
    assert_same(values_of(loaded), values_of(model))
