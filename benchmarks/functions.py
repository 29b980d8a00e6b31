"""A user's own function of each element, forward and backward."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np

import born
from benchmarks import derivatives
from benchmarks.clocks import Outcome, Step
from benchmarks.harness import Entry, Work
from benchmarks.libraries import Place, born_entries, entry
from born import fusion
from born.autodiff import Autodiff, backward
from born.backend import Backend

ELEMENTS: Final = 1_000_000
_TOLERANCE: Final = 1e-4  # between sums of a million terms in float32


def works(here: Place) -> list[Work]:
    """Ten operations on a million elements, and their gradient; then functions of functions."""
    title = f"a function of ten operations on {ELEMENTS:,} elements, forward and backward"
    ten = Work(title, lambda: _entries(here), tolerance=_TOLERANCE, stopwatch=here.stopwatch)
    return [ten, *derivatives.works(here)]


def _entries(here: Place) -> list[Entry]:
    x = np.random.default_rng(0).standard_normal(ELEMENTS).astype(np.float32)
    return [
        *born_entries(here, lambda backend: born_step(backend, x)),
        entry("PyTorch eager", ["torch"], partial(pytorch_step, x, here.device)),
        entry("JAX jitted", ["jax", "jax.numpy"], partial(jax_step, x)),
    ]


@born.fused
def ten(x: Any) -> Any:
    """tanh(1.5 x + 0.5) e^(-x^2) + sigmoid(1.5 x + 0.5) x: ten operations."""
    a = x * 1.5 + 0.5
    return fusion.tanh(a) * fusion.exp(-(x * x)) + fusion.sigmoid(a) * x


def born_step(inner: Backend, values: Any) -> Step:
    """The function and its gradient, in born."""
    backend = Autodiff(inner)
    x = born.tensor(values, backend)
    x.requires_grad = True
    seed = born.ones(values.shape, backend)

    def step() -> Outcome:
        with backend.tape:
            y = ten(x)
        gradient = backward(y, seed=seed)[x]
        return inner.getitem(gradient, 0)

    return step


def pytorch_step(values: Any, device: str, torch: Any) -> Step:
    """The same in PyTorch, eager."""
    x = torch.tensor(values, device=device, requires_grad=True)
    seed = torch.ones_like(x)

    def step() -> Outcome:
        a = x * 1.5 + 0.5
        y = torch.tanh(a) * torch.exp(-(x * x)) + torch.sigmoid(a) * x
        (gradient,) = torch.autograd.grad(y, x, seed)
        first: Outcome = gradient[0]
        return first

    return step


def jax_step(values: Any, jax: Any, numpy: Any) -> Step:
    """The same in JAX, compiled."""

    def function(x: Any) -> Any:
        a = x * 1.5 + 0.5
        return numpy.tanh(a) * numpy.exp(-(x * x)) + jax.nn.sigmoid(a) * x

    def forward_and_backward(x: Any, seed: Any) -> Any:
        y, pullback = jax.vjp(function, x)
        return y, pullback(seed)[0]

    both = jax.jit(forward_and_backward)

    x, seed = numpy.asarray(values), numpy.ones(values.shape, values.dtype)

    def step() -> Outcome:
        _, gradient = both(x, seed)
        gradient.block_until_ready()
        first: Outcome = gradient[0]
        return first

    return step
