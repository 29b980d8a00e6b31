"""The training step of a small classifier: forward, backward, Adam, zero_grad.

Linear, ReLU, Linear and the cross-entropy, in float32, on batches made beforehand. Every
competitor starts from the same weights and sees the same batches in the same order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, Final

import born
from benchmarks import textbook
from benchmarks.classifier import LEARNING_RATE, Network, Problem, make_problem
from benchmarks.harness import Entry, Work
from benchmarks.jobs import Options
from benchmarks.libraries import Place, born_entries, entry, pytorch_entries
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.tensor import Tensor

_TOLERANCE: Final = 1e-4
"""Between losses in float32. Rounding in another order makes 1e-7 over the first steps, and 1e-5
in autograd; a difference in what is computed, such as another eps or bias correction, makes far
more."""

_WIDE_TOLERANCE: Final = 2e-3
"""The same where sums run over thousands of terms: twenty steps of Adam, which divides by the size
of a gradient, make much of the rounding of small ones. born and PyTorch on a CPU differ by 2e-4."""

NETWORKS: Final = (Network((64, 32, 10), batch=32), Network((784, 512, 10), batch=128))
GPU_NETWORKS: Final = (Network((784, 4096, 4096, 10), batch=1024),)
_WIDE: Final = 1024
"""Layers from this width on are held to `_WIDE_TOLERANCE`."""


def works(here: Place, networks: Sequence[Network] | None = None) -> list[Work]:
    """The training step of each network; unless told otherwise, of those worth a look."""
    if networks is None:
        networks = NETWORKS if here.cupy is None else GPU_NETWORKS
    return [
        Work(
            f"training step {network}",
            functools.partial(entries, network, here),
            tolerance=_WIDE_TOLERANCE if max(network.widths) >= _WIDE else _TOLERANCE,
            stopwatch=here.stopwatch,
            draws=here.draws,
        )
        for network in networks
    ]


def entries(network: Network, here: Place) -> list[Entry]:
    """born, PyTorch with each way it has to run Adam, and on a CPU the libraries for NumPy."""
    problem = make_problem(network)
    found = [
        *born_entries(here, functools.partial(born_step, problem)),
        *pytorch_entries(here, functools.partial(pytorch_step, problem, here.device)),
    ]
    if here.cupy is None:
        found += [
            entry("JAX jit", ["jax", "optax"], functools.partial(jax_step, problem)),
            textbook.autograd_entry(problem),
            textbook.mygrad_entry(problem),
        ]
    return found


def born_step(problem: Problem, inner: Backend) -> Callable[[], Tensor[Autodiff[Backend]]]:
    """The loop of born's README, one turn at a time."""
    backend = Autodiff(inner)
    *hidden, last = problem.network.layers
    model = nn.Sequential(
        *(nn.Linear(*sizes, backend, activation="relu") for sizes in hidden),
        nn.Linear(*last, backend),
    )
    model.load_state_dict(dict(zip(model.state_dict(), problem.weights.values(), strict=True)))
    optimizer = optim.Adam(model.parameters(), optim.AdamConfig(lr=LEARNING_RATE))
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


def pytorch_step(problem: Problem, device: str, torch: Any, options: Options) -> Callable[[], Any]:
    """The loop of PyTorch's tutorials, one turn at a time.

    Args:
        problem: what to train, and on what.
        device: where.
        torch: the module.
        options: of `torch.optim.Adam`, beside the learning rate.
    """
    layers: list[Any] = []
    for sizes in problem.network.layers:
        layers += [torch.nn.Linear(*sizes), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).to(device)  # no ReLU after the last
    model.load_state_dict({name: torch.tensor(value) for name, value in problem.weights.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, **options)
    cross_entropy = torch.nn.functional.cross_entropy
    batches = cycle(
        [
            (torch.tensor(images, device=device), torch.tensor(labels, device=device))
            for images, labels in problem.batches
        ]
    )

    def step() -> Any:
        images, labels = next(batches)
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def jax_step(problem: Problem, jax: Any, optax: Any) -> Callable[[], Any]:
    """The loop of Optax's documentation, jitted whole, the old parameters given away."""
    rule = optax.adam(LEARNING_RATE)
    weights = [jax.numpy.asarray(value) for value in problem.weights.values()]
    state = rule.init(weights)

    def loss_of(held: Any, images: Any, labels: Any) -> Any:
        logits = textbook.forward(held, images, jax.nn.relu)
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
