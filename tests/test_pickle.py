"""What pickle, copy and a pool of processes make of tensors, models, optimizers and backends."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pytest

import born
from born import errors, nn, optim
from born.autodiff import Autodiff, backward
from born.backend import B, Backend
from born.dtypes import DTYPE_NAMES
from tests.optim.making import every_config, gradients, make

PROTOCOLS: Final = range(2, pickle.HIGHEST_PROTOCOL + 1)


def again(value: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(value, protocol))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
def test_a_tensor_comes_back(dtype: str, protocol: int, backend: Backend) -> None:
    x = born.tensor(np.array([[0, 1], [1, 0]]), backend).astype(dtype).T[:, :1]
    found: born.Tensor[Any] = again(x, protocol)
    assert found.__class__ is born.Tensor
    assert found.dtype == x.dtype
    assert found.tolist() == x.tolist()
    assert type(found.backend) is type(backend)
    assert found.backend is not backend
    assert (found + found).shape == (2, 1)


def test_a_backend_comes_back_at_the_same_random_numbers(backend: Backend) -> None:
    for kind in (backend, Autodiff(backend), Autodiff(Autodiff(backend))):
        kind.seed(3)
        born.rand(5, kind, "float64")
        found = again(kind)
        assert type(found) is type(kind)
        assert repr(found) == repr(kind)
        assert found.random_state == kind.random_state
        assert born.randn(4, found).tolist() == born.randn(4, kind).tolist()
        assert copy.copy(kind) is copy.deepcopy(kind) is kind


def test_a_recording_does_not_travel(autodiff: Autodiff[Backend]) -> None:
    p = nn.Parameter(born.ones(2, autodiff), "p")
    with autodiff.tape:
        y = (p * 2.0).sum()
        found_p, found = again((p, y))
        assert not found.backend.tape.is_recording
    assert found.raw.node is None
    assert not found.requires_grad
    assert (found_p.name, found_p.requires_grad, type(found_p)) == ("p", True, nn.Parameter)
    assert found_p.backend is found.backend
    assert backward(y)[p].array.tolist() == [2.0, 2.0]


@dataclass(frozen=True, slots=True)
class Frozen(nn.Module[B]):
    inner: nn.Linear[B]

    def forward(self, x: born.Tensor[B]) -> born.Tensor[B]:
        return self.inner(x)


def network(backend: B) -> nn.Sequential[B]:
    hidden = nn.Sequential(nn.Linear(2, 4, backend), nn.LayerNorm(4, backend), nn.Dropout(0.2))
    return nn.Sequential(hidden, nn.Tanh(), Frozen(nn.Linear(4, 1, backend)))


def test_a_model_keeps_one_backend_and_its_ties(autodiff: Autodiff[Backend]) -> None:
    model = network(autodiff).eval()
    model.parameters()[0].requires_grad = False
    tied = {"model": model, "same": model.parameters()[2], "again": model}
    found = again(tied)
    twin = found["model"]
    assert found["again"] is twin
    assert found["same"] is twin.parameters()[2]
    assert len({id(p.backend) for p in twin.parameters()}) == 1
    assert not twin[0].training
    assert [p.requires_grad for p in twin.parameters()] == [False, *[True] * 5]
    assert [p.name for p in twin.parameters()] == [p.name for p in model.parameters()]
    x = np.ones((3, 2), np.float32)
    there, here = twin(born.tensor(x, found["same"].backend)), model(born.tensor(x, autodiff))
    np.testing.assert_array_equal(there.numpy(), here.numpy())
    before = model.parameters()[1].numpy()
    twin.parameters()[1].assign(before + 1)
    np.testing.assert_array_equal(model.parameters()[1].numpy(), before)


@every_config
def test_an_optimizer_goes_on_where_it_was(config: optim.Config, backend: Backend) -> None:
    model = nn.Linear(2, 3, backend)
    optimizer = make(config, model.parameters())
    optimizer.step(gradients(model.parameters()))
    optimizer.lr = 0.03
    twin, copied = again((model, optimizer))
    assert list(copied.parameters) == twin.parameters()
    assert repr(copied) == repr(optimizer)
    for trained, stepped in ((model, optimizer), (twin, copied)):
        stepped.step(gradients(trained.parameters(), 0.5))
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    for key, value in optimizer.state_dict().items():
        ours, theirs = (
            b.to_numpy(x)
            for b, x in (
                (optimizer.backend, value),
                (copied.backend, copied.state_dict()[key]),
            )
        )
        np.testing.assert_array_equal(ours, theirs)


def test_gradients_come_back(autodiff: Autodiff[Backend]) -> None:
    p = nn.Parameter(born.tensor([1.0, 2.0], autodiff))
    with autodiff.tape:
        loss = (p * p).sum()
    q, found = again((p, backward(loss)))
    assert found[q].array.tolist() == [2.0, 4.0]
    optim.SGD([q], lr=0.5).step(found)
    assert q.tolist() == [0.0, 0.0]


def test_every_error_crosses_a_process(backend: Backend) -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.BornError):
            found = again(kind("expected one thing, got another; do this"))
            assert type(found) is kind, name
            assert str(found) == "expected one thing, got another; do this"
    kept = again(errors.OutOfMemoryError("expected room", 10, 5))
    assert (kept.requested, kept.free) == (10, 5)


def slope_at(model: nn.Sequential[Any], x: np.ndarray[Any, Any]) -> tuple[Any, list[Any]]:
    """What a worker of a pool computes: a loss, and the gradients of a model that came to it."""
    backend = model.parameters()[0].backend
    backend.seed(int(x[0, 0]))
    with backend.tape:
        loss = (model(born.tensor(x, backend)) ** 2).mean()
    gradients = backward(loss)
    return loss, [gradients[p] for p in model.parameters()]


def test_a_pool_of_spawned_processes_computes_gradients(autodiff: Autodiff[Backend]) -> None:
    if autodiff.name == "cupy":
        pytest.skip("a spawned process has no simulated device")
    model = network(autodiff).eval()
    inputs = [np.full((2, 2), float(i), np.float32) for i in range(2)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(slope_at, model, x) for x in inputs]
        found = [future.result(timeout=120) for future in futures]
    for (loss, slopes), x in zip(found, inputs, strict=True):
        expected, expected_slopes = slope_at(model, x)
        assert loss.item() == expected.item()
        for slope, one in zip(slopes, expected_slopes, strict=True):
            np.testing.assert_array_equal(slope.array, one.array)
