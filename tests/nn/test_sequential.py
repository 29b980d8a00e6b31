"""What `Sequential` computes in one go."""

from __future__ import annotations

import numpy as np
import pytest

import born
from born import nn
from born.autodiff import Autodiff, backward
from born.backend import Backend


@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_relu_in_a_row_are_one_operation(
    bias: bool, autodiff: Autodiff[Backend]
) -> None:
    first = nn.Linear(5, 4, autodiff, bias=bias)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(4, 3, autodiff), nn.Tanh())
    x = born.tensor(np.linspace(-2, 2, 35, dtype=np.float32).reshape(7, 5), autodiff)
    with autodiff.tape as tape:
        together = (model(x) ** 2).sum()
        # The two are one record; the other layers, the power and the sum one each.
        assert len(tape) == 5
    fused = backward(together)
    with autodiff.tape:
        apart = x
        for layer in model:
            apart = layer(apart)
        loss = (apart**2).sum()
    np.testing.assert_array_equal(together.numpy(), loss.numpy())
    plain = backward(loss)
    for parameter in model.parameters():
        got, expected = (autodiff.to_numpy(g[parameter]) for g in (fused, plain))
        np.testing.assert_array_equal(got, expected)
