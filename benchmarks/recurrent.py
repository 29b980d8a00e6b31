"""An LSTM, and a perceptron with batch normalisation and dropout, in born and in PyTorch."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.clocks import Step
from benchmarks.models import born_step, pytorch_step
from born import nn, ops
from born.autodiff import Autodiff
from born.backend import Backend
from born.tensor import Tensor

On = Autodiff[Backend]
Batches = list[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]

_BATCHES = 8
_CLASSES = 10


@dataclass(frozen=True, slots=True)
class LstmSizes:
    """Sizes of a long short-term memory that reads sequences of vectors.

    Attributes:
        layers: one above the other.
        width: of the vectors, and of each layer.
        batch: sequences at once.
        steps: vectors in a sequence.
    """

    layers: int
    width: int
    batch: int
    steps: int

    def __str__(self) -> str:
        return f"LSTM, {self.layers} layers of {self.width}, batch {self.batch}, {self.steps} steps"


@dataclass(frozen=True, slots=True)
class MlpSizes:
    """Sizes of a perceptron.

    Attributes:
        widths: of its layers, from the inputs to the classes.
        batch: rows in a batch.
        dropout: the probability of zero.
    """

    widths: tuple[int, ...]
    batch: int
    dropout: float

    def __str__(self) -> str:
        widths = "-".join(map(str, self.widths))
        return f"{widths} with BatchNorm and dropout, batch {self.batch}"


class _BornLstm(nn.Module[On]):
    def __init__(self, sizes: LstmSizes, backend: On) -> None:
        self.lstm = nn.LSTM(sizes.width, sizes.width, backend, num_layers=sizes.layers)
        self.head = nn.Linear(sizes.width, _CLASSES, backend)

    def forward(self, x: Tensor[On]) -> Tensor[On]:
        y, _ = self.lstm(x)
        return self.head(ops.squeeze(y[-1:], axis=0))


def _lstm_problem(sizes: LstmSizes) -> tuple[dict[str, npt.NDArray[np.float32]], Batches]:
    draw = np.random.default_rng(0)
    bound = 1 / math.sqrt(sizes.width)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(sizes.layers):
        for kind in ("ih", "hh"):
            shapes[f"lstm.weight_{kind}_l{layer}"] = (4 * sizes.width, sizes.width)
            shapes[f"lstm.bias_{kind}_l{layer}"] = (4 * sizes.width,)
    shapes |= {"head.weight": (_CLASSES, sizes.width), "head.bias": (_CLASSES,)}
    weights = {
        name: draw.uniform(-bound, bound, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    inputs = draw.standard_normal((_BATCHES, sizes.steps, sizes.batch, sizes.width), np.float32)
    labels = draw.integers(0, _CLASSES, (_BATCHES, sizes.batch))
    return weights, list(zip(inputs, labels, strict=True))


def born_lstm(sizes: LstmSizes, inner: Backend) -> Step:
    """A training step of an LSTM with a linear layer on its last state."""
    weights, batches = _lstm_problem(sizes)
    return born_step(lambda backend: _BornLstm(sizes, backend), weights, batches, inner)


def pytorch_lstm(sizes: LstmSizes, torch: Any) -> Step:
    """The same in PyTorch."""
    weights, batches = _lstm_problem(sizes)
    layer = torch.nn

    class Lstm(torch.nn.Module):  # type: ignore[misc]  # PyTorch is imported at run time
        def __init__(self) -> None:
            super().__init__()  # pyright: ignore[reportUnknownMemberType]  # as its class is
            self.lstm = layer.LSTM(sizes.width, sizes.width, num_layers=sizes.layers)
            self.head = layer.Linear(sizes.width, _CLASSES)

        def forward(self, x: Any) -> Any:
            y, _ = self.lstm(x)
            return self.head(y[-1])

    return pytorch_step(lambda _: Lstm(), weights, batches, "cpu", torch, {"fused": True})


def _mlp_problem(sizes: MlpSizes) -> Batches:
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((_BATCHES, sizes.batch, sizes.widths[0]), np.float32)
    labels = draw.integers(0, sizes.widths[-1], (_BATCHES, sizes.batch))
    return list(zip(inputs, labels, strict=True))


def born_mlp(sizes: MlpSizes, inner: Backend) -> Step:
    """A training step of linear layers with batch normalisation, ReLU and dropout between."""

    def made(backend: On) -> nn.Sequential[On]:
        layers: list[Any] = []
        *hidden, last = itertools.pairwise(sizes.widths)
        for inputs, outputs in hidden:
            layers += [
                nn.Linear(inputs, outputs, backend),
                nn.BatchNorm1d(outputs, backend),
                nn.ReLU(),
                nn.Dropout(sizes.dropout),
            ]
        return nn.Sequential(*layers, nn.Linear(*last, backend))

    return born_step(made, None, _mlp_problem(sizes), inner)


def pytorch_mlp(sizes: MlpSizes, torch: Any) -> Step:
    """The same in PyTorch."""
    layer = torch.nn

    def made(_: Any) -> Any:
        layers: list[Any] = []
        *hidden, last = itertools.pairwise(sizes.widths)
        for inputs, outputs in hidden:
            layers += [
                layer.Linear(inputs, outputs),
                layer.BatchNorm1d(outputs),
                layer.ReLU(),
                layer.Dropout(sizes.dropout),
            ]
        return layer.Sequential(*layers, layer.Linear(*last))

    return pytorch_step(made, None, _mlp_problem(sizes), "cpu", torch, {"fused": True})
