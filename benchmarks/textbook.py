"""The training step in the libraries that take gradients of NumPy programs, autograd and MyGrad.

Neither brings an optimizer that can be stepped (autograd's runs a whole training), so both get
Adam as `autograd.misc.optimizers` writes it: the formula, an array for every term.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.classifier import LEARNING_RATE, Problem
from benchmarks.harness import Entry
from benchmarks.libraries import entry

_BETA1: Final = 0.9
_BETA2: Final = 0.999
_EPS: Final = 1e-8

Arrays: TypeAlias = Sequence[npt.NDArray[Any]]


def forward(weights: Sequence[Any], images: Any, relu: Callable[[Any], Any]) -> Any:
    """The scores of images, in any library whose arrays have `@`, `+` and `.T`.

    Args:
        weights: the weight and the bias of each layer in turn.
        images: (batch, inputs).
        relu: of the library.
    """
    values = images
    for index in range(0, len(weights), 2):
        values = (relu(values) if index else values) @ weights[index].T + weights[index + 1]
    return values


class Adam:
    """Adam in NumPy as a textbook has it.

    Args:
        parameters: arrays that `step` changes in place.
    """

    def __init__(self, parameters: Arrays) -> None:
        self._parameters = parameters
        self._m = [np.zeros_like(p) for p in parameters]
        self._v = [np.zeros_like(p) for p in parameters]
        self._t = 0

    def step(self, gradients: Arrays) -> None:
        """Update every parameter from its gradient."""
        self._t += 1
        for i, (p, g) in enumerate(zip(self._parameters, gradients, strict=True)):
            self._m[i] = (1 - _BETA1) * g + _BETA1 * self._m[i]
            self._v[i] = (1 - _BETA2) * (g**2) + _BETA2 * self._v[i]
            m_hat = self._m[i] / (1 - _BETA1**self._t)
            v_hat = self._v[i] / (1 - _BETA2**self._t)
            p -= LEARNING_RATE * m_hat / (np.sqrt(v_hat) + _EPS)


def autograd_entry(problem: Problem) -> Entry:
    """HIPS autograd."""
    modules = ["autograd", "autograd.numpy", "autograd.scipy.special"]
    return entry("autograd", modules, functools.partial(autograd_step, problem))


def autograd_step(problem: Problem, autograd: Any, anp: Any, special: Any) -> Callable[[], Any]:
    """The loss of autograd's example of a network: targets are rows of an identity matrix."""
    weights = [value.copy() for value in problem.weights.values()]
    optimizer = Adam(weights)
    rows = np.eye(problem.network.widths[-1], dtype=np.float32)
    batches = cycle([(images, rows[labels]) for images, labels in problem.batches])

    def relu(values: Any) -> Any:
        return anp.maximum(values, 0)

    def loss_of(held: Any, images: Any, targets: Any) -> Any:
        logits = forward(held, images, relu)
        chances = logits - special.logsumexp(logits, axis=1, keepdims=True)
        return -anp.sum(chances * targets) / len(images)

    value_and_gradients = autograd.value_and_grad(loss_of)

    def step() -> Any:
        loss, gradients = value_and_gradients(weights, *next(batches))
        optimizer.step(gradients)
        return loss

    return step


def mygrad_entry(problem: Problem) -> Entry:
    """MyGrad, without its guard over memory, as its documentation advises for speed."""
    modules = ["mygrad", "mygrad.nnet.activations", "mygrad.nnet.losses"]
    return entry("MyGrad", modules, functools.partial(mygrad_step, problem))


def mygrad_step(problem: Problem, mg: Any, activations: Any, losses: Any) -> Callable[[], Any]:
    """Tensors over NumPy arrays, whose data the optimizer changes in place."""
    weights = [mg.tensor(value) for value in problem.weights.values()]
    optimizer = Adam([weight.data for weight in weights])
    batches = cycle(problem.batches)

    def step() -> Any:
        images, labels = next(batches)
        with mg.mem_guard_off:
            logits = forward(weights, mg.tensor(images, constant=True), activations.relu)
            loss = losses.softmax_crossentropy(logits, labels)
            loss.backward()
        optimizer.step([weight.grad for weight in weights])
        return loss

    return step
