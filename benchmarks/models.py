"""Networks that people build next: a GPT and a convolutional network, in born and in PyTorch.

Both libraries start from the same weights, under the same names, and see the same batches.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, repeat
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

import born
from benchmarks.clocks import Step
from benchmarks.harness import Entry, Work
from benchmarks.jobs import Options
from benchmarks.libraries import Place, born_entries, pytorch_entries
from born import nn, ops, optim
from born.autodiff import Autodiff, backward
from born.backend import B, Backend
from born.tensor import Tensor

Weights: TypeAlias = Mapping[str, npt.NDArray[np.float32]]
Batch: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
On: TypeAlias = Autodiff[Backend]


class Model(Protocol):
    """A module from inputs to logits."""

    def __call__(self, x: Tensor[On], /) -> Tensor[On]:
        """The logits."""
        ...

    def parameters(self) -> Iterable[nn.Parameter[On]]:
        """What is trained."""
        ...

    def load_state_dict(self, state: Weights, /) -> object:
        """Take first weights by name."""
        ...


LEARNING_RATE: Final = 3e-4
_BATCHES: Final = 8
_TOLERANCE: Final = 2e-3
"""Between losses in float32 over twenty steps: sums run over thousands of terms in another order,
and Adam, which divides by the size of a gradient, makes much of the rounding of small ones."""


@dataclass(frozen=True, slots=True)
class GptSizes:
    """Sizes of a GPT, and of what it is given.

    Attributes:
        layers: how many blocks.
        width: of the stream of activations.
        heads: of each attention.
        vocabulary: how many tokens there are.
        context: tokens in a sequence.
        batch: sequences in a batch.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int
    context: int
    batch: int

    def __str__(self) -> str:
        return (
            f"GPT, {self.layers} layers of {self.width}, {self.heads} heads, "
            f"{self.batch} x {self.context} tokens"
        )


@dataclass(frozen=True, slots=True)
class CnnSizes:
    """Sizes of a convolutional network over square images of one channel.

    Attributes:
        side: pixels along an image's side, a multiple of 4.
        channels: of the two convolutions.
        hidden: units of the dense layer.
        batch: images in a batch.
    """

    side: int
    channels: tuple[int, int]
    hidden: int
    batch: int

    def __str__(self) -> str:
        first, second = self.channels
        return (
            f"CNN {self.side}x{self.side}, {first} and {second} channels, {self.hidden} hidden, "
            f"batch {self.batch}"
        )


GPU_GPT: Final = GptSizes(layers=6, width=384, heads=6, vocabulary=65, context=256, batch=64)
GPU_CNN: Final = CnnSizes(side=28, channels=(16, 32), hidden=128, batch=512)


def gpt_work(sizes: GptSizes, here: Place) -> Work:
    """A training step of a GPT."""
    weights, batches = gpt_problem(sizes)
    return _work(
        f"training step {sizes}",
        here,
        functools.partial(born_gpt, sizes),
        lambda torch: pytorch_gpt(sizes, torch),
        weights,
        batches,
    )


def cnn_work(sizes: CnnSizes, here: Place) -> Work:
    """A training step of a convolutional network."""
    weights, batches = cnn_problem(sizes)
    return _work(
        f"training step {sizes}",
        here,
        functools.partial(born_cnn, sizes),
        lambda torch: pytorch_cnn(sizes, torch),
        weights,
        batches,
    )


def _work(
    title: str,
    here: Place,
    born_model: Callable[[On], Model],
    pytorch_model: Callable[[Any], Any],
    weights: Weights,
    batches: Sequence[Batch],
) -> Work:
    def entries() -> list[Entry]:
        return [
            *born_entries(here, lambda inner: born_step(born_model, weights, batches, inner)),
            *pytorch_entries(
                here,
                lambda torch, options: pytorch_step(
                    pytorch_model, weights, batches, here.device, torch, options
                ),
            ),
        ]

    return Work(title, entries, tolerance=_TOLERANCE, stopwatch=here.stopwatch, draws=here.draws)


def born_step(
    make: Callable[[On], Model], weights: Weights | None, batches: Sequence[Batch], inner: Backend
) -> Step:
    """Forward, cross-entropy, backward and Adam, in born."""
    backend = Autodiff(inner)
    model = make(backend)
    if weights is not None:
        model.load_state_dict(weights)
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig(lr=LEARNING_RATE))
    due = cycle([(born.tensor(x, backend), born.tensor(y, backend)) for x, y in batches])

    def step() -> Tensor[On]:
        x, y = next(due)
        with backend.tape:
            logits = model(x)
            loss = nn.cross_entropy(ops.reshape(logits, (-1, logits.shape[-1])), y)
        optimizer.step(backward(loss))
        optimizer.zero_grad()
        return loss

    return step


def pytorch_step(
    make: Callable[[Any], Any],
    weights: Weights | None,
    batches: Sequence[Batch],
    device: str,
    torch: Any,
    options: Options,
) -> Step:
    """The same in PyTorch, eager."""
    model = make(torch).to(device)
    if weights is not None:
        model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, **options)
    cross_entropy = torch.nn.functional.cross_entropy
    due = cycle(
        [(torch.tensor(x, device=device), torch.tensor(y, device=device)) for x, y in batches]
    )

    def step() -> Any:
        x, y = next(due)
        logits = model(x)
        loss = cross_entropy(logits.reshape(-1, logits.shape[-1]), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


# -- the GPT ---------------------------------------------------------------------------------


def gpt_problem(sizes: GptSizes) -> tuple[Weights, list[Batch]]:
    """First weights by name, and batches of tokens and of what follows each."""
    draw = np.random.default_rng(0)
    width = sizes.width

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return (0.02 * draw.standard_normal(shape)).astype(np.float32)

    def norm(name: str) -> dict[str, npt.NDArray[np.float32]]:
        return {
            f"{name}.weight": np.ones(width, np.float32),
            f"{name}.bias": np.zeros(width, np.float32),
        }

    def dense(name: str, inputs: int, outputs: int) -> dict[str, npt.NDArray[np.float32]]:
        return {f"{name}.weight": normal(outputs, inputs), f"{name}.bias": normal(outputs)}

    weights = {
        "tokens.weight": normal(sizes.vocabulary, width),
        "positions.weight": normal(sizes.context, width),
    }
    for i in range(sizes.layers):
        block = f"blocks.{i}"
        weights |= norm(f"{block}.norm_1") | norm(f"{block}.norm_2")
        weights |= dense(f"{block}.attention.project", width, 3 * width)
        weights |= dense(f"{block}.attention.out", width, width)
        weights |= dense(f"{block}.up", width, 4 * width) | dense(f"{block}.down", 4 * width, width)
    weights |= norm("norm") | dense("head", width, sizes.vocabulary)
    shape = (_BATCHES, sizes.batch, sizes.context)
    texts = draw.integers(0, sizes.vocabulary, shape)
    following = draw.integers(0, sizes.vocabulary, shape)
    return weights, [(x, y.reshape(-1)) for x, y in zip(texts, following, strict=True)]


class _BornGpt(nn.Module[B]):
    def __init__(self, sizes: GptSizes, backend: B) -> None:
        self.tokens = nn.Embedding(sizes.vocabulary, sizes.width, backend)
        self.positions = nn.Embedding(sizes.context, sizes.width, backend)
        self.blocks = [
            nn.TransformerBlock(sizes.width, sizes.heads, backend) for _ in range(sizes.layers)
        ]
        self.norm = nn.LayerNorm(sizes.width, backend)
        self.head = nn.Linear(sizes.width, sizes.vocabulary, backend)
        self._places = born.tensor(np.arange(sizes.context), backend)

    def forward(
        self, tokens: Tensor[B], caches: Sequence[nn.KeyValueCache] | None = None
    ) -> Tensor[B]:
        seen = 0 if caches is None else caches[0].length
        places = self._places[seen : seen + tokens.shape[-1]]
        x = self.tokens(tokens) + self.positions(places)
        for block, cache in zip(self.blocks, caches or repeat(None), strict=False):
            x = block(x, causal=True, cache=cache)
        return self.head(self.norm(x))


def born_gpt(sizes: GptSizes, backend: B) -> _BornGpt[B]:
    """The model in born."""
    return _BornGpt(sizes, backend)


def pytorch_gpt(sizes: GptSizes, torch: Any) -> Any:
    """The same in PyTorch."""
    functional = torch.nn.functional
    width, heads = sizes.width, sizes.heads
    layer = torch.nn

    class Block(torch.nn.Module):  # type: ignore[misc]  # PyTorch is imported at run time
        def __init__(self) -> None:
            super().__init__()  # pyright: ignore[reportUnknownMemberType]  # as its class is
            self.norm_1, self.norm_2 = layer.LayerNorm(width), layer.LayerNorm(width)
            self.attention = layer.ModuleDict(
                {"project": layer.Linear(width, 3 * width), "out": layer.Linear(width, width)}
            )
            self.up, self.down = layer.Linear(width, 4 * width), layer.Linear(4 * width, width)

        def forward(self, x: Any, cache: list[Any] | None = None) -> Any:
            batch, context, _ = x.shape
            qkv = self.attention["project"](self.norm_1(x))
            q, k, v = qkv.reshape(batch, context, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            causal = context > 1
            if cache is not None:
                if cache:
                    k, v = (torch.cat(pair, dim=2) for pair in zip(cache, (k, v), strict=True))
                cache[:] = k, v
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
            joined = mixed.transpose(1, 2).reshape(batch, context, width)
            x = x + self.attention["out"](joined)
            return x + self.down(functional.gelu(self.up(self.norm_2(x))))

    class Gpt(torch.nn.Module):  # type: ignore[misc]  # PyTorch is imported at run time
        def __init__(self) -> None:
            super().__init__()  # pyright: ignore[reportUnknownMemberType]  # as its class is
            self.tokens = layer.Embedding(sizes.vocabulary, width)
            self.positions = layer.Embedding(sizes.context, width)
            self.blocks = layer.ModuleList([Block() for _ in range(sizes.layers)])
            self.norm = layer.LayerNorm(width)
            self.head = layer.Linear(width, sizes.vocabulary)

        def forward(self, tokens: Any, caches: Any = None) -> Any:
            seen = caches[0][0].shape[2] if caches and caches[0] else 0
            x = self.tokens(tokens) + self.positions.weight[seen : seen + tokens.shape[-1]]
            for block, cache in zip(self.blocks, caches or repeat(None), strict=False):
                x = block(x, cache)
            return self.head(self.norm(x))

    return Gpt()


# -- generation --------------------------------------------------------------------------------


def born_generation(sizes: GptSizes, count: int, inner: Backend) -> Step:
    """The likeliest token after each, one after the other, with a cache of keys and values."""
    model = born_gpt(sizes, inner)  # not on Autodiff: nothing is to be recorded
    model.load_state_dict(_spread(gpt_problem(sizes)[0]))
    first = born.tensor(np.zeros((1, 1), np.int64), inner)

    def step() -> Tensor[Backend]:
        caches = [nn.KeyValueCache() for _ in range(sizes.layers)]
        token, total = first, first[0, 0]
        for _ in range(count):
            token = ops.argmax(model(token, caches), axis=-1)
            total = total + token[0, 0]
        return total

    return step


def pytorch_generation(sizes: GptSizes, count: int, torch: Any) -> Step:
    """The same in PyTorch, eager, without gradients."""
    model = pytorch_gpt(sizes, torch).eval()
    weights = _spread(gpt_problem(sizes)[0])
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    first = torch.zeros((1, 1), dtype=torch.int64)

    def step() -> Any:
        with torch.inference_mode():
            caches: list[list[Any]] = [[] for _ in range(sizes.layers)]
            token, total = first, first[0, 0]
            for _ in range(count):
                token = model(token, caches).argmax(dim=-1)
                total = total + token[0, 0]
        return total

    return step


def _spread(weights: Weights) -> Weights:
    """Weights so large that one token is clearly likelier than the others."""
    return {
        name: value if "norm" in name else value * np.float32(_SPREAD)
        for name, value in weights.items()
    }


_SPREAD: Final = 10.0


# -- the convolutional network ----------------------------------------------------------------


def cnn_problem(sizes: CnnSizes) -> tuple[Weights, list[Batch]]:
    """First weights by name, and batches of images and labels."""
    draw = np.random.default_rng(0)
    first, second = sizes.channels
    shapes = {
        "0": (first, 1, 3, 3),
        "3": (second, first, 3, 3),
        "7": (sizes.hidden, second * (sizes.side // 4) ** 2),
        "9": (10, sizes.hidden),
    }
    weights: dict[str, npt.NDArray[np.float32]] = {}
    for name, shape in shapes.items():
        bound = math.prod(shape[1:]) ** -0.5
        weights[f"{name}.weight"] = draw.uniform(-bound, bound, shape).astype(np.float32)
        weights[f"{name}.bias"] = draw.uniform(-bound, bound, shape[:1]).astype(np.float32)
    images = draw.standard_normal((_BATCHES, sizes.batch, 1, sizes.side, sizes.side), np.float32)
    labels = draw.integers(0, 10, (_BATCHES, sizes.batch))
    return weights, list(zip(images, labels, strict=True))


def born_cnn(sizes: CnnSizes, backend: On) -> nn.Sequential[On]:
    """The model in born."""
    first, second = sizes.channels
    return nn.Sequential(
        nn.Conv2d(1, first, 3, backend, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, backend, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * (sizes.side // 4) ** 2, sizes.hidden, backend),
        nn.ReLU(),
        nn.Linear(sizes.hidden, 10, backend),
    )


def pytorch_cnn(sizes: CnnSizes, torch: Any) -> Any:
    """The same in PyTorch."""
    layer = torch.nn
    first, second = sizes.channels
    return layer.Sequential(
        layer.Conv2d(1, first, 3, padding=1),
        layer.ReLU(),
        layer.MaxPool2d(2),
        layer.Conv2d(first, second, 3, padding=1),
        layer.ReLU(),
        layer.MaxPool2d(2),
        layer.Flatten(),
        layer.Linear(second * (sizes.side // 4) ** 2, sizes.hidden),
        layer.ReLU(),
        layer.Linear(sizes.hidden, 10),
    )
