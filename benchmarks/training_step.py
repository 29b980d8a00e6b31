"""The training step of a small classifier: forward, backward, Adam, zero_grad.

Linear, ReLU, Linear and the cross-entropy, in float32, on batches made beforehand. Every
competitor starts from the same weights and sees the same batches in the same order.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import born
from benchmarks.harness import Competitor, Skipped, Work
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.tensor import Tensor

_LEARNING_RATE: Final = 1e-3
_IMAGES: Final = 8  # different arrays of images
_BATCHES: Final = 32  # each with labels of its own

_TOLERANCE: Final = 1e-5
"""Between losses in float32. Rounding in another order makes 2e-7 over the first steps; a
difference in what is computed, such as another eps or bias correction, makes far more."""

_GPU_BACKENDS: Final = frozenset({"cupy"})


@dataclass(frozen=True, slots=True)
class Network:
    """The sizes of a network with one hidden layer, and of its batches."""

    inputs: int
    hidden: int
    outputs: int
    batch: int

    def __str__(self) -> str:
        return f"{self.inputs}-{self.hidden}-{self.outputs}, batch {self.batch}"


NETWORKS: Final = (Network(64, 32, 10, batch=32), Network(784, 512, 10, batch=128))


@dataclass(frozen=True, slots=True)
class Problem:
    """What every competitor is given.

    Attributes:
        network: the sizes.
        weights: path of a parameter in a `Sequential` -> its first value. born and PyTorch
            use the same names and shapes.
        batches: images (batch, inputs) and labels (batch,).
    """

    network: Network
    weights: dict[str, npt.NDArray[np.float32]]
    batches: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]


def works() -> list[Work]:
    """The training step of each network."""
    return [
        Work(
            f"training step {network}",
            functools.partial(competitors, network),
            tolerance=_TOLERANCE,
        )
        for network in NETWORKS
    ]


def competitors(network: Network) -> list[Competitor | Skipped]:
    """born on each CPU backend, and PyTorch with each way it has to run Adam."""
    problem = make_problem(network)
    return [*born_competitors(problem), *pytorch_competitors(problem), jax_competitor(problem)]


def make_problem(network: Network) -> Problem:
    """Draw weights and batches, the same each time.

    Labels are noise, and each array of images comes with several sets of them: no network can
    learn them by heart. Else the gradients would fall, over thousands of steps, to denormal
    numbers, which processors are slow with.
    """
    draw = np.random.default_rng(0)

    def uniform(fan_in: int, *shape: int) -> npt.NDArray[np.float32]:
        bound = fan_in**-0.5
        return draw.uniform(-bound, bound, shape).astype(np.float32)

    images = [draw.random((network.batch, network.inputs), np.float32) for _ in range(_IMAGES)]
    return Problem(
        network=network,
        weights={
            "0.weight": uniform(network.inputs, network.hidden, network.inputs),
            "0.bias": uniform(network.inputs, network.hidden),
            "2.weight": uniform(network.hidden, network.outputs, network.hidden),
            "2.bias": uniform(network.hidden, network.outputs),
        },
        batches=[
            (images[i % _IMAGES], draw.integers(0, network.outputs, network.batch))
            for i in range(_BATCHES)
        ],
    )


def born_competitors(problem: Problem) -> list[Competitor | Skipped]:
    """born on each backend that computes on the CPU."""
    found: list[Competitor | Skipped] = []
    for name, availability in born.available_backends().items():
        if name in _GPU_BACKENDS:
            continue
        if availability:
            step = born_step(problem, born.get_backend(name))
            found.append(Competitor(f"born {name}", step, ours=True))
        else:
            found.append(Skipped(f"born {name}", availability.reason))
    return found


def born_step(problem: Problem, inner: Backend) -> Callable[[], Tensor[Autodiff[Backend]]]:
    """The loop of born's README, one turn at a time."""
    network = problem.network
    backend = Autodiff(inner)
    model = nn.Sequential(
        nn.Linear(network.inputs, network.hidden, backend),
        nn.ReLU(),
        nn.Linear(network.hidden, network.outputs, backend),
    )
    model.load_state_dict(problem.weights)
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig(lr=_LEARNING_RATE))
    batches = cycle(
        [
            (born.tensor(images, backend), born.tensor(labels, backend))
            for images, labels in problem.batches
        ]
    )

    def step() -> Tensor[Autodiff[Backend]]:
        images, labels = next(batches)
        with backend.tape:
            loss = nn.cross_entropy(model(images), labels)
        optimizer.step(backward(loss))
        optimizer.zero_grad()
        return loss

    return step


_PYTORCH_VARIANTS: Final[dict[str, dict[str, bool]]] = {
    # Neither option given: for parameters on a CPU, torch.optim.Adam then loops over them
    # (`_single_tensor_adam`), as with foreach=False.
    "PyTorch default": {},
    "PyTorch foreach": {"foreach": True},
    "PyTorch fused": {"fused": True},
}


def pytorch_competitors(problem: Problem) -> list[Competitor | Skipped]:
    """PyTorch with each way it has to run Adam."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        return [Skipped("PyTorch", f'{error}; run: pip install -e ".[parity]"')]
    found: list[Competitor | Skipped] = []
    for name, options in _PYTORCH_VARIANTS.items():
        try:
            found.append(Competitor(name, pytorch_step(torch, problem, options)))
        except (TypeError, RuntimeError) as error:  # a version without the option
            found.append(Skipped(name, f"PyTorch {torch.__version__}: {error}"))
    return found


def pytorch_step(torch: Any, problem: Problem, options: dict[str, bool]) -> Callable[[], Any]:
    """The loop of PyTorch's tutorials, one turn at a time.

    Args:
        torch: the module.
        problem: what to train, and on what.
        options: of `torch.optim.Adam`, beside the learning rate.
    """
    network = problem.network
    model = torch.nn.Sequential(
        torch.nn.Linear(network.inputs, network.hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(network.hidden, network.outputs),
    )
    model.load_state_dict({name: torch.tensor(value) for name, value in problem.weights.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE, **options)
    cross_entropy = torch.nn.functional.cross_entropy
    batches = cycle(
        [(torch.tensor(images), torch.tensor(labels)) for images, labels in problem.batches]
    )

    def step() -> Any:
        images, labels = next(batches)
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def jax_competitor(problem: Problem) -> Competitor | Skipped:
    """JAX with Optax, the whole step jitted and the old parameters given away."""
    try:
        jax: Any = importlib.import_module("jax")
        optax: Any = importlib.import_module("optax")
    except ImportError as error:
        return Skipped("JAX jit", f"{error}; run: pip install jax optax")
    return Competitor("JAX jit", jax_step(jax, optax, problem))


def jax_step(jax: Any, optax: Any, problem: Problem) -> Callable[[], Any]:
    """The loop of Optax's documentation, one turn at a time."""
    rule = optax.adam(_LEARNING_RATE)
    weights = {name: jax.numpy.asarray(value) for name, value in problem.weights.items()}
    state = rule.init(weights)

    def loss_of(held: Any, images: Any, labels: Any) -> Any:
        hidden = jax.nn.relu(images @ held["0.weight"].T + held["0.bias"])
        logits = hidden @ held["2.weight"].T + held["2.bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(held: Any, moments: Any, images: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(held, images, labels)
        changes, moments = rule.update(gradients, moments, held)
        return optax.apply_updates(held, changes), moments, loss

    batches = cycle([(jax.numpy.asarray(x), jax.numpy.asarray(y)) for x, y in problem.batches])

    def step() -> Any:
        nonlocal weights, state
        images, labels = next(batches)
        weights, state, loss = update(weights, state, images, labels)
        return loss.block_until_ready()

    return step
