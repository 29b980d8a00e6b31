"""Types follow what moves: modules of one's own, optimizers, arrays and batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, reveal_type

import numpy as np
import numpy.typing as npt

import born
from born import nn, optim
from born.autodiff import Autodiff
from born.backend import B
from born.data import Batch, prefetch
from born.tensor import B2, Tensor
from born_numpy import NumpyBackend

plain = NumpyBackend()
backend = Autodiff(NumpyBackend())


class Short(nn.Module[B]):
    """A module that says nothing of moving."""

    def __init__(self, backend: B) -> None:
        self.scale = nn.Parameter(born.ones((), backend))

    def forward(self, x: Tensor[B]) -> Tensor[B]:
        return x * self.scale


class Full(Short[B]):
    """A module that says what it becomes."""

    if TYPE_CHECKING:

        def to(self, backend: B2) -> Full[B2]: ...


reveal_type(Short(plain).to(NumpyBackend()))  # reveals: Short[NumpyBackend]
reveal_type(Short(plain).to(backend))  # reveals: Module[Autodiff[NumpyBackend]]
reveal_type(Full(plain).to(backend))  # reveals: Full[Autodiff[NumpyBackend]]
reveal_type(
    Full(plain).to(backend)(born.ones(2, backend))  # reveals: Tensor[Autodiff[NumpyBackend]]
)
Full(plain).to(backend)(born.ones(2, plain))  # error: arg-type, reportArgumentType
Full(plain).to("numpy")  # error: type-var, reportArgumentType

optimizer = optim.SGD(Full(plain).parameters(), optim.SGDConfig())
there = Full(plain).to(backend).parameters()
reveal_type(optimizer.to(Full(plain).parameters()))  # reveals: SGD[NumpyBackend]
reveal_type(
    optimizer.to(there)  # reveals: Optimizer[Autodiff[NumpyBackend], SGDConfig]
)

images: npt.NDArray[np.float32] = np.ones((8, 2), np.float32)
reveal_type(born.from_dlpack(images, backend))  # reveals: Tensor[Autodiff[NumpyBackend]]

single: list[npt.NDArray[np.float32]] = []
pairs: Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]] = iter([])
named: list[dict[str, npt.NDArray[np.float32]]] = []
deep: list[Batch] = []
anything: Any = []
for one in prefetch(single, plain):
    reveal_type(one)  # reveals: Tensor[NumpyBackend]
for _x, y in prefetch(pairs, plain):
    reveal_type(y)  # reveals: Tensor[NumpyBackend]
for mapping in prefetch(named, plain):
    reveal_type(mapping)  # reveals: dict[str, Tensor[NumpyBackend]]
prefetch(deep, plain)
prefetch([1], plain)  # what is not an array passes through
