"""Models of 16 bits: made so or by `astype`, every layer and loss computes and has gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import nn
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import DTypeError
from born.raw import HostArray, RawTensor

AD = Autodiff[Backend]
halves = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])

LAYERS: dict[str, tuple[Callable[[AD], nn.Module[AD]], tuple[int, ...]]] = {
    "linear": (lambda b: nn.Linear(4, 3, b, activation="relu"), (5, 4)),
    "mlp": (lambda b: nn.Sequential(nn.Linear(4, 8, b), nn.GELU(), nn.Linear(8, 3, b)), (5, 4)),
    "convolution": (
        lambda b: nn.Sequential(nn.Conv2d(2, 3, 3, b), nn.MaxPool2d(2), nn.Flatten()),
        (2, 2, 6, 6),
    ),
    "layer norm": (lambda b: nn.LayerNorm(4, b), (5, 4)),
    "rms norm": (lambda b: nn.RMSNorm(4, b), (5, 4)),
    "batch norm": (lambda b: nn.BatchNorm1d(4, b), (5, 4)),
    "group norm": (lambda b: nn.GroupNorm(2, 4, b), (2, 4, 3, 3)),
    "attention": (lambda b: nn.MultiHeadAttention(8, 2, b), (2, 5, 8)),
    "transformer": (lambda b: nn.TransformerBlock(8, 2, b), (2, 5, 8)),
}


def in_double(backend: AD, raw: RawTensor) -> HostArray:
    return backend.to_numpy(raw).astype(np.float64)


@halves
@pytest.mark.parametrize("name", LAYERS)
def test_layers_compute_and_have_gradients(backend: Backend, name: str, dtype: str) -> None:
    autodiff = Autodiff(backend)
    make, shape = LAYERS[name]
    wide: Any = make(autodiff)
    narrow = wide.astype(dtype)
    assert {p.dtype.name for p in wide.parameters()} == {"float32"}
    assert {p.dtype.name for p in narrow.parameters()} == {dtype}
    x = np.random.default_rng(0).normal(size=shape)
    found: list[Any] = []
    for model, kind in ((wide, "float32"), (narrow, dtype)):
        with autodiff.tape:
            y = model(born.tensor(x, autodiff, kind))
            loss = ((y.astype("float32") + 1.0) ** 2).mean()
        assert y.dtype.name == kind
        grads = backward(loss)
        found.append([y.raw, *(grads[p.raw] for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        left, right = (
            np.asarray(autodiff.to_numpy(getattr(each, "raw", each)), np.float64) for each in (a, b)
        )
        assert np.abs(left - right).max() <= 0.06 * (np.abs(left).max() + 1e-3)


@halves
def test_losses_take_logits_of_16_bits(backend: Backend, dtype: str) -> None:
    autodiff = Autodiff(backend)
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(2, 6, 4))
    labels = born.tensor(np.arange(6) % 4, autodiff)
    losses: dict[str, Callable[[Any, Any], Any]] = {
        "cross entropy": lambda x, y: nn.cross_entropy(x, labels),
        "mse": nn.mse_loss,
        "l1": nn.l1_loss,
        "huber": nn.huber_loss,
        "bce": lambda x, y: nn.binary_cross_entropy_with_logits(x, (y > 0).astype(y.dtype)),
    }
    for name, loss_of in losses.items():
        values: list[float] = []
        for kind in ("float32", dtype):
            x = nn.Parameter(born.tensor(logits, autodiff, kind))
            with autodiff.tape:
                loss = loss_of(x, born.tensor(target, autodiff, kind))
            gradient = backward(loss)[x.raw]
            assert np.isfinite(in_double(autodiff, gradient)).all(), name
            values.append(loss.item())
        assert abs(values[0] - values[1]) <= 0.02 * abs(values[0]), name


def test_what_is_shared_stays_shared_and_the_rest_goes_along(backend: Backend) -> None:
    autodiff = Autodiff(backend)
    model = nn.Sequential(nn.Linear(3, 3, autodiff), nn.BatchNorm1d(3, autodiff))
    model.parameters()[0].requires_grad = False
    model.eval()
    narrow = model.astype("bfloat16")
    assert not narrow.training
    assert not narrow.parameters()[0].requires_grad
    state = narrow.state_dict()
    assert state["1.running_mean"].dtype.name == "bfloat16"
    assert state["1.num_batches_tracked"].dtype.name == "int64"
    assert [p.name for p in narrow.parameters()] == [p.name for p in model.parameters()]
    back = narrow.astype("float32")
    assert {p.dtype.name for p in back.parameters()} == {"float32"}


def test_integers_are_refused(backend: Backend) -> None:
    with pytest.raises(DTypeError, match="expected a floating dtype for the parameters of"):
        nn.Linear(2, 3, backend).astype("int64")
