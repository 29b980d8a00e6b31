"""Memory of a training loop is flat from the second step on."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, backward, grad, hvp, value_and_grad
from born.backend import Backend

STEPS: Final = 5


class Training:
    """A small network and one step of gradient descent, in each way to get gradients."""

    def __init__(self, backend: Backend) -> None:
        self.backend = Autodiff(Autodiff(backend))
        generator = np.random.default_rng(0)
        self.x = born.tensor(generator.normal(size=(64, 32)), self.backend)
        self.labels = born.tensor(generator.integers(0, 8, 64), self.backend)
        self.weights = [
            born.tensor(0.1 * generator.normal(size=shape), self.backend)
            for shape in ((16, 32), (8, 16))
        ]
        for weight in self.weights:
            weight.requires_grad = True

    def loss(self, first: born.Tensor[Any]) -> born.Tensor[Any]:
        hidden = ops.dropout(ops.gelu(ops.layer_norm(ops.linear(self.x, first))), 0.1)
        return ops.cross_entropy(ops.linear(hidden, self.weights[1]), self.labels)

    def descend(self, weight: born.Tensor[Any], gradient: born.RawTensor) -> None:
        """weight = weight - 0.1 gradient, in place."""
        inner = self.backend.innermost
        inner.assign(weight.raw, inner.sub(weight.raw, inner.mul(gradient, 0.1)))

    def record(self) -> born.Tensor[Any]:
        with self.backend.tape:
            return self.loss(self.weights[0])

    def with_backward(self) -> None:
        gradients = backward(self.record())
        for weight in self.weights:
            self.descend(weight, gradients[weight])

    def with_accumulation(self) -> None:
        self.record().backward()
        for weight in self.weights:
            assert weight.raw.grad is not None
            self.descend(weight, weight.raw.grad)
            weight.raw.grad = None

    def with_a_record_after_the_loss(self) -> None:
        """With something recorded that the walk does not reach."""
        loss = self.record()
        with self.backend.tape:
            ops.exp(self.weights[0]).sum()
        self.descend(self.weights[0], backward(loss)[self.weights[0]])

    def without_backward(self) -> None:
        self.record()
        self.backend.tape.clear()

    def with_value_and_grad(self) -> None:
        _, gradient = value_and_grad(self.loss)(self.weights[0])
        self.descend(self.weights[0], gradient.raw)

    def with_a_constant(self) -> None:
        """By functions of functions, of one whose result depends on nothing."""

        def constant(first: born.Tensor[Any]) -> born.Tensor[Any]:
            self.loss(first)
            return born.ones((), first.backend)

        _, gradient = value_and_grad(constant)(self.weights[0])
        self.descend(self.weights[0], gradient.raw)

    def with_hvp(self) -> None:
        self.descend(self.weights[0], hvp(self.loss)(self.weights[0], self.weights[0]).raw)

    def with_a_penalty(self) -> None:
        """On the gradient by the first weight, recorded with the loss."""
        with self.backend.tape:
            slope = grad(self.loss)(self.weights[0])
            loss = self.loss(self.weights[0]) + (slope * slope).sum()
        gradients = backward(loss)
        for weight in self.weights:
            self.descend(weight, gradients[weight])


WAYS: Final[tuple[Callable[[Training], None], ...]] = (
    Training.with_backward,
    Training.with_accumulation,
    Training.with_a_record_after_the_loss,
    Training.without_backward,
    Training.with_value_and_grad,
    Training.with_a_constant,
    Training.with_hvp,
    Training.with_a_penalty,
)


def array_bytes() -> int:
    """How much memory the elements of NumPy's arrays take."""
    of_numpy = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([of_numpy]).traces)


@pytest.mark.parametrize("step", WAYS)
def test_memory_is_flat_from_the_second_step_on(
    step: Callable[[Training], None], backend: Backend
) -> None:
    training = Training(backend)
    step(training)
    gc.collect()
    gc.disable()  # what is freed was freed because nothing refers to it
    tracemalloc.start()
    try:
        step(training)
        after_second = array_bytes()
        for _ in range(STEPS):
            step(training)
        assert array_bytes() == after_second
    finally:
        tracemalloc.stop()
        gc.enable()


def test_the_measure_sees_arrays() -> None:
    tracemalloc.start()
    try:
        before = array_bytes()
        kept = np.ones(1000)
        assert array_bytes() - before == kept.nbytes
    finally:
        tracemalloc.stop()


def test_gradients_are_all_that_is_left(backend: Backend) -> None:
    training = Training(backend)
    training.with_backward()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(STEPS):
            training.with_backward()
        assert len(gc.get_objects()) - before < STEPS
    finally:
        gc.enable()
