"""Modules know their backend; layers without parameters work on any."""

from collections.abc import Callable
from typing import reveal_type

import born
from born import RawTensor, nn
from born.autodiff import Autodiff
from born.backend import B
from born.tensor import Tensor
from born_numpy import NumpyBackend

plain = NumpyBackend()
backend = Autodiff(NumpyBackend())
x = born.zeros((4, 64), backend)


class Two(nn.Module[B]):
    """A module of several inputs and results, and of layers of several kinds."""

    def __init__(self, backend: B) -> None:
        self.inner = nn.Sequential(nn.ReLU(), nn.Linear(64, 64, backend), nn.Dropout(0.5))
        self.layers: list[nn.Chainable[B]] = [nn.Linear(64, 64, backend), nn.Flatten()]
        self.scale = nn.Parameter(born.ones((), backend))

    def forward(self, x: Tensor[B], y: Tensor[B], times: int = 1) -> tuple[Tensor[B], int]:
        for layer in self.layers:
            x = layer(x)
        return self.inner(x) * self.scale + y, times


model = nn.Sequential(nn.Linear(64, 128, backend), nn.ReLU(), nn.Linear(128, 10, backend))
reveal_type(model)  # reveals: Sequential[Autodiff[NumpyBackend]]
reveal_type(model(x))  # reveals: Tensor[Autodiff[NumpyBackend]]
reveal_type(model.eval())  # reveals: Sequential[Autodiff[NumpyBackend]]
reveal_type(model.parameters())  # reveals: list[Parameter[Autodiff[NumpyBackend]]]
reveal_type(model.state_dict())  # reveals: dict[str, RawTensor]
reveal_type(nn.Sequential(nn.Flatten(), model))  # reveals: Sequential[Autodiff[NumpyBackend]]
reveal_type(nn.ReLU()(x))  # reveals: Tensor[Autodiff[NumpyBackend]]

two = Two(backend)
reveal_type(two)  # reveals: Two[Autodiff[NumpyBackend]]
reveal_type(two(x, x, times=2))  # reveals: tuple[Tensor[Autodiff[NumpyBackend]], int]
reveal_type(two.scale)  # reveals: Parameter[Autodiff[NumpyBackend]]

apply: Callable[[Tensor[Autodiff[NumpyBackend]]], Tensor[Autodiff[NumpyBackend]]] = model
state: dict[str, RawTensor | Tensor[NumpyBackend]] = {}
model.load_state_dict(state)

two(x)  # error: call-arg, reportCallIssue
two(x, x, times="2")  # error: arg-type, reportArgumentType
model(born.zeros((4, 64), plain))  # error: arg-type, reportArgumentType
nn.Sequential(model, two)  # error: arg-type, reportArgumentType
nn.Sequential(model, nn.Linear(10, 1, plain))  # error: misc, reportArgumentType
nn.Linear(64, 10)  # error: call-arg, reportCallIssue
nn.mse_loss(model(x), born.zeros((4, 10), plain))  # error: misc, reportArgumentType
