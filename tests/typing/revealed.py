"""The backend's type follows from the call that makes a tensor to the optimizer."""

from typing import reveal_type

import born
from born import nn, ops, optim
from born.autodiff import Autodiff, backward, grad, hessian, hvp, jacobian
from born.backend import B
from born_numpy import NumpyBackend

backend = Autodiff(NumpyBackend())
reveal_type(backend)  # reveals: Autodiff[NumpyBackend]
reveal_type(Autodiff(backend))  # reveals: Autodiff[Autodiff[NumpyBackend]]
reveal_type(backend.inner)  # reveals: NumpyBackend

x = born.zeros((4, 64), backend)
reveal_type(x)  # reveals: Tensor[Autodiff[NumpyBackend]]
reveal_type(x + 1.0)  # reveals: Tensor[Autodiff[NumpyBackend]]
reveal_type(1.0 - x)  # reveals: Tensor[Autodiff[NumpyBackend]]
reveal_type(x.sum())  # reveals: Tensor[Autodiff[NumpyBackend]]
reveal_type(ops.relu(x))  # reveals: Tensor[Autodiff[NumpyBackend]]

layer = nn.Linear(64, 10, backend)
reveal_type(layer)  # reveals: Linear[Autodiff[NumpyBackend]]
reveal_type(born.nn.Linear(64, 10, backend))  # reveals: Linear[Autodiff[NumpyBackend]]
reveal_type(layer.weight)  # reveals: Parameter[Autodiff[NumpyBackend]]
reveal_type(layer.weight.grad)  # reveals: Tensor[Autodiff[NumpyBackend]] | None
reveal_type(layer(x))  # reveals: Tensor[Autodiff[NumpyBackend]]
reveal_type(x @ layer.weight.T)  # reveals: Tensor[Autodiff[NumpyBackend]]

model = nn.Sequential(layer, nn.ReLU())
reveal_type(
    optim.SGD(model.parameters(), optim.SGDConfig())  # reveals: SGD[Autodiff[NumpyBackend]]
)
reveal_type(
    optim.Adam(layer.parameters(), optim.AdamConfig())  # reveals: Adam[Autodiff[NumpyBackend]]
)

loss = nn.mse_loss(model(x), born.zeros((4, 10), backend))
reveal_type(backward(loss))  # reveals: Gradients
reveal_type(backward(loss)[layer.weight])  # reveals: RawTensor

plain = layer.to(NumpyBackend())
reveal_type(x.to(NumpyBackend()))  # reveals: Tensor[NumpyBackend]
reveal_type(plain)  # reveals: Linear[NumpyBackend]
reveal_type(plain.to(backend))  # reveals: Linear[Autodiff[NumpyBackend]]
reveal_type(model.to(NumpyBackend()))  # reveals: Sequential[NumpyBackend]


def training_loss(model: nn.Linear[B], x: born.Tensor[B]) -> born.Tensor[B]:
    return model(x).sum()


def with_aux(x: born.Tensor[B]) -> tuple[born.Tensor[B], int]:
    return x.sum(), 1


reveal_type(grad(ops.sum)(x))  # reveals: Tensor[Autodiff[NumpyBackend]]
reveal_type(grad(grad(ops.sum))(x))  # reveals: Tensor[Autodiff[NumpyBackend]]
reveal_type(grad(training_loss)(layer, x))  # reveals: Gradients
reveal_type(grad(with_aux, has_aux=True)(x))  # reveals: tuple[Tensor[Autodiff[NumpyBackend]], int]
reveal_type(jacobian(ops.tanh)(x))  # reveals: Tensor[Autodiff[NumpyBackend]]
reveal_type(hessian(ops.sum)(x))  # reveals: Tensor[Autodiff[NumpyBackend]]
reveal_type(hvp(ops.sum)(x, x))  # reveals: Tensor[Autodiff[NumpyBackend]]
