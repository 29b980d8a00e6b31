"""`Sequential` calls its layers, and `Linear` with an activation computes both at once."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

import born
from born import nn, ops
from born.autodiff import Autodiff, backward
from born.backend import B, Backend
from born.errors import ConfigError, ParameterError, ShapeError
from born.ops.linear import Activation
from born.tensor import Tensor

AD = Autodiff[Backend]
INPUT = np.linspace(-2, 2, 35, dtype=np.float32).reshape(7, 5)


def test_layers_are_applied_in_order(backend: Backend) -> None:
    class Plus(nn.Stateless):
        def forward(self, x: Tensor[B], /) -> Tensor[B]:
            return x + 1.0

    class Times(nn.Module[B]):
        def __init__(self, backend: B) -> None:
            self.factor = nn.Parameter(born.full((1,), 3.0, backend))

        def forward(self, x: Tensor[B]) -> Tensor[B]:
            return x * self.factor

    model = nn.Sequential(Plus(), Times(backend), Plus())
    assert model(born.ones((1,), backend)).item() == 7.0
    assert [type(layer).__name__ for layer in model] == ["Plus", "Times", "Plus"]
    assert len(model) == 3
    assert isinstance(model[-1], Plus)


def test_subclasses_of_layers_are_called(backend: Backend) -> None:
    class Shifted(nn.ReLU):
        def forward(self, x: Tensor[B], /) -> Tensor[B]:
            return super().forward(x) + 1.0

    class Doubled(nn.Linear[B]):
        def forward(self, x: Tensor[B], /) -> Tensor[B]:
            return super().forward(x) * 2.0

    linear = Doubled(5, 4, backend)
    x = born.tensor(INPUT, backend)
    expected = np.maximum(2.0 * ops.linear(x, linear.weight, linear.bias).numpy(), 0.0) + 1.0
    np.testing.assert_array_equal(nn.Sequential(linear, Shifted())(x).numpy(), expected)


@pytest.mark.parametrize(("kind", "name"), [(ops.relu, "function"), (nn.ReLU, r"\w+")])
def test_what_is_not_a_layer_is_refused(backend: Backend, kind: Any, name: str) -> None:
    with pytest.raises(ParameterError, match=rf"got {name} at place 1; pass an instance"):
        nn.Sequential(nn.Linear(1, 1, backend), kind)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", get_args(Activation))
def test_activation_of_linear_is_of_ops(activation: Activation, bias: bool, autodiff: AD) -> None:
    layer = nn.Linear(5, 4, autodiff, bias=bias, activation=activation)
    x = born.tensor(INPUT, autodiff)
    with autodiff.tape as tape:
        together = (layer(x) ** 2).sum()
        # relu is part of the product's record; the power and the sum have their own.
        assert len(tape) == (3 if activation == "relu" else 4)
    fused = backward(together)
    with autodiff.tape:
        apart = (getattr(ops, activation)(ops.linear(x, layer.weight, layer.bias)) ** 2).sum()
    plain = backward(apart)
    # Elsewhere a compiled formula may round the bias and the activation together otherwise.
    rtol = 0.0 if autodiff.name == "numpy" else 1e-5
    np.testing.assert_allclose(together.numpy(), apart.numpy(), rtol=rtol)
    for parameter in layer.parameters():
        got, expected = (autodiff.to_numpy(g[parameter]) for g in (fused, plain))
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def test_activation_belongs_to_the_layer_and_not_to_its_state(backend: Backend) -> None:
    backend.seed(1)
    layer = nn.Linear(5, 4, backend, activation="tanh")
    backend.seed(1)
    plain = nn.Linear(5, 4, backend)
    np.testing.assert_array_equal(layer.weight.numpy(), plain.weight.numpy())
    plain.load_state_dict(layer.state_dict())
    assert layer.to(Autodiff(backend)).activation == "tanh"
    assert plain.activation is None


def test_unknown_activation_is_refused(backend: Backend) -> None:
    wrong: Any = "softmax"
    with pytest.raises(ConfigError, match=r'activation="relu", .* or "tanh", got \'softmax\';'):
        nn.Linear(5, 4, backend, activation=wrong)


def test_an_error_in_a_layer_has_a_note_of_which(backend: Backend) -> None:
    model = nn.Sequential(nn.Linear(3, 4, backend), nn.ReLU(), nn.Linear(5, 1, backend))
    with pytest.raises(ShapeError, match=r"got \(2, 4\) and \(1, 5\)") as caught:
        model(born.ones((2, 3), backend))
    assert caught.value.__notes__ == [
        "in layer 2 of a Sequential, Linear, which was given shape (2, 4)"
    ]
