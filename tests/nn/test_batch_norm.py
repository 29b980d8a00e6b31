"""Running statistics of batch normalisation, and the buffers that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import CheckpointMismatchError, ParameterError

BATCHES = np.random.default_rng(0).normal(2.0, 3.0, (4, 5, 3, 2, 2))
NAMES = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


def tracked(layer: Any, backend: Backend) -> tuple[Any, Any, int]:
    for batch in BATCHES:
        layer(born.tensor(batch, backend))
    return layer.running_mean.numpy(), layer.running_var.numpy(), layer.num_batches_tracked.item()


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_running_statistics_follow_the_batches(backend: Backend, momentum: float | None) -> None:
    layer = nn.BatchNorm2d(3, backend, momentum=momentum, dtype="float64")
    mean, variance, count = tracked(layer, backend)
    means = BATCHES.mean(axis=(1, 3, 4))
    variances = BATCHES.var(axis=(1, 3, 4), ddof=1)
    expected = np.zeros(3), np.ones(3)
    for n, each in enumerate(zip(means, variances, strict=True), 1):
        share = 1 / n if momentum is None else momentum
        expected = tuple((1 - share) * e + share * x for e, x in zip(expected, each, strict=True))
    np.testing.assert_allclose(mean, expected[0], rtol=1e-12)
    np.testing.assert_allclose(variance, expected[1], rtol=1e-12)
    assert count == len(BATCHES)


def test_use_neither_tracks_nor_looks_at_the_batch(backend: Backend) -> None:
    layer = nn.BatchNorm2d(3, backend, dtype="float64")
    before = tracked(layer, backend)
    layer.eval()
    x = born.tensor(BATCHES[0], backend)
    alone = layer(x[:1]).numpy()
    np.testing.assert_allclose(layer(x).numpy()[:1], alone, rtol=1e-14)
    mean, variance = before[0].reshape(3, 1, 1), before[1].reshape(3, 1, 1)
    np.testing.assert_allclose(alone[0], (BATCHES[0][0] - mean) / np.sqrt(variance + 1e-5))
    for now, then in zip(tracked(layer, backend), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_buffers_are_state_and_not_parameters(autodiff: Autodiff[Backend]) -> None:
    layer = nn.BatchNorm1d(3, autodiff)
    assert [path for path, _ in layer.named_parameters()] == NAMES[:2]
    assert [path for path, _ in layer.named_state()] == NAMES
    assert list(layer.state_dict()) == list(layer.live_state()) == NAMES
    assert isinstance(layer.running_mean, nn.Buffer)
    assert not layer.running_mean.requires_grad
    assert "running_mean=(3,) buffer" in repr(layer)
    assert repr(layer.running_mean) == "Buffer('running_mean', shape=(3,), dtype=float32)"
    with autodiff.tape:
        loss = (layer(born.tensor(BATCHES[0, :, :, 0, 0], autodiff, dtype="float32")) ** 2).sum()
    assert set(backward(loss)) == {p.raw for p in layer.parameters()}


def test_buffers_move_and_are_copied(backend: Backend) -> None:
    layer = nn.BatchNorm1d(3, backend)
    layer(born.tensor(BATCHES[0, :, :, 0, 0], backend, dtype="float32"))
    there = Autodiff(born.get_backend("numpy"))
    twin = layer.to(there)
    assert twin.running_mean is not None
    assert layer.running_mean is not None
    assert twin.running_mean.backend is there
    np.testing.assert_array_equal(twin.running_mean.numpy(), layer.running_mean.numpy())
    twin.running_mean.assign(np.zeros(3, np.float32))
    assert (layer.running_mean.numpy() != 0).all()


def test_checkpoint_holds_buffers(backend: Backend, tmp_path: Path) -> None:
    old, new = (
        nn.BatchNorm2d(3, backend, dtype="float64"),
        nn.BatchNorm2d(3, backend, dtype="float64"),
    )
    before = tracked(old, backend)
    optimizer = optim.Adam(old.parameters(), lr=0.1)
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, model=old, optimizer=optimizer)
    checkpoint.load(path, model=new, optimizer=optim.Adam(new.parameters(), lr=0.1))
    x = born.tensor(BATCHES[1], backend)
    np.testing.assert_array_equal(new.eval()(x).numpy(), old.eval()(x).numpy())
    assert new.num_batches_tracked is not None
    assert new.num_batches_tracked.item() == before[2]
    bare = nn.BatchNorm2d(3, backend, track_running_stats=False, dtype="float64")
    with pytest.raises(CheckpointMismatchError, match="'running_var': unexpected"):
        checkpoint.load(path, model=bare)


def test_a_field_of_a_buffer_takes_no_plain_tensor(backend: Backend) -> None:
    layer: Any = nn.BatchNorm1d(3, backend)
    with pytest.raises(ParameterError, match=r"a Buffer in the field 'running_mean' .* nor saved"):
        layer.running_mean = layer.running_mean * 0.5
    layer.running_mean = None


def test_an_optimizer_refuses_a_buffer(backend: Backend) -> None:
    layer: Any = nn.BatchNorm1d(3, backend)
    with pytest.raises(ParameterError, match="expected a Parameter, got Buffer"):
        optim.SGD([layer.running_mean], lr=0.1)


def test_pytorch_holds_the_same_state(backend: Backend) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: the parity extra")
    theirs = torch.nn.BatchNorm2d(3).double()
    ours = nn.BatchNorm2d(3, backend, dtype="float64")
    for batch in BATCHES:
        theirs(torch.tensor(batch))
    ours.load_state_dict({path: x.numpy() for path, x in theirs.state_dict().items()})
    for batch in BATCHES:
        theirs(torch.tensor(batch))
    tracked(ours, backend)
    for path, raw in ours.state_dict().items():
        expected = theirs.state_dict()[path].numpy()
        np.testing.assert_allclose(backend.to_numpy(raw), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 5), (700, 3, 16, 16)])
def test_large_and_far_numbers(cpu_backend: Backend, shape: tuple[int, ...]) -> None:
    far = np.random.default_rng(0).normal(1000.0, 1.0, shape).astype(np.float32)
    layer = nn.BatchNorm1d(3, cpu_backend) if len(shape) < 4 else nn.BatchNorm2d(3, cpu_backend)
    over = (0, *range(2, len(shape)))
    exact = far.astype(np.float64)
    expected = exact - exact.mean(axis=over, keepdims=True)
    expected /= np.sqrt(exact.var(axis=over, keepdims=True) + 1e-5)
    y = layer(born.tensor(far, cpu_backend)).numpy()
    # Of numbers near 1000, float32 knows distances from a mean to 6e-5.
    np.testing.assert_allclose(y, expected, atol=2e-4)
    huge = born.tensor(far * np.float32(1e35), cpu_backend)
    assert np.isfinite(layer(huge).numpy()).all()
