"""Derivatives of drawn calls, by the tape and by central differences.

A call with tensors x_1, ..., x_n and results y_1, y_2, ... becomes the function

    f(x_1, ..., x_n) = sum_j <w_j, y_j>

with random w_j. Its slope along a random direction v of one x_i is <grad_i f, v>, which
sees every element of the gradient at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

import born
from born import ops
from born.autodiff import Autodiff, grad
from born.backend import B, Backend
from born.raw import HostArray
from tests.operations.drawing import Case

STEP: Final = 1e-4

TOLERANCE: Final = 1e-9
"""Relative to the sizes of the terms that add up. The five-point formula leaves STEP^4 / 30
of the fifth derivative, 3e-18 at most some thousand times; rounding leaves 2^-53 / STEP,
1e-12, a few times. The largest error seen is 5e-12; a wrong derivative is off by far more."""


class Objective:
    """The function f above of one drawn call.

    Args:
        case: the call.
        backend: what computes.
        seed: where the random w and v come from.
    """

    def __init__(self, case: Case, backend: Backend, seed: int) -> None:
        self._case = case
        self._backend = backend
        self._generator = np.random.default_rng(seed)
        raws = [backend.from_numpy(x) for x in case.inputs]
        self._weights = [
            self._generator.uniform(0.5, 1.5, y.shape) for y in case.results(backend, raws)
        ]

    def direction(self, position: int) -> HostArray:
        """A random direction for one of the inputs, no element of it larger than one."""
        return self._generator.uniform(-1.0, 1.0, self._case.inputs[position].shape)

    def value(self, *tensors: born.Tensor[B]) -> born.Tensor[B]:
        """f, computed on the backend of its arguments."""
        backend = tensors[0].backend
        results = self._case.results(backend, [x.raw for x in tensors])
        total = born.zeros((), backend, "float64")
        for y, w in zip(results, self._weights, strict=True):
            weight = born.Tensor(backend.from_numpy(w), backend)
            total = total + ops.sum(born.Tensor(y, backend) * weight)
        return total

    def at(self, inputs: Sequence[HostArray]) -> float:
        """f at some arrays."""
        tensors = [born.Tensor(self._backend.from_numpy(x), self._backend) for x in inputs]
        return float(self.value(*tensors).item())

    def slopes_along(
        self, directions: Sequence[HostArray], *tensors: born.Tensor[B]
    ) -> born.Tensor[B]:
        """sum_i <grad_i f, u_i>, a function whose derivative is a second derivative of f."""
        backend = tensors[0].backend
        total = born.zeros((), backend, "float64")
        for i, u in enumerate(directions):
            gradient: born.Tensor[B] = grad(self.value, argnum=i)(*tensors)
            direction = born.Tensor(backend.from_numpy(u), backend)
            total = total + ops.sum(gradient * direction)
        return total

    def slopes_at(self, directions: Sequence[HostArray], inputs: Sequence[HostArray]) -> float:
        """`slopes_along` at some arrays, differentiated once by a tape."""
        autodiff = Autodiff(self._backend)
        tensors = [born.Tensor(autodiff.from_numpy(x), autodiff) for x in inputs]
        return float(self.slopes_along(directions, *tensors).item())


def central_difference(
    function: Callable[[Sequence[HostArray]], float],
    inputs: Sequence[HostArray],
    position: int,
    direction: HostArray,
) -> float:
    """The slope of a function of arrays along a direction of one of them.

    The five-point formula: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h.
    """

    def moved(distance: float) -> float:
        changed = list(inputs)
        changed[position] = inputs[position] + distance * direction
        return function(changed)

    near = moved(STEP) - moved(-STEP)
    far = moved(2 * STEP) - moved(-2 * STEP)
    return (8 * near - far) / (12 * STEP)
