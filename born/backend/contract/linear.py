"""Matrix products, and the linear layer built from them."""

from __future__ import annotations

import math

from born.backend.contract.operation import absent, optional, required
from born.backend.contract.primitives import Primitives
from born.fusion.activations import RELU_GRADIENT
from born.raw import RawTensor


class Linear(Primitives):
    """Matrix products."""

    @required
    def matmul(self, x: RawTensor, y: RawTensor, /) -> RawTensor:
        """The matrix product, batched and broadcasting; float16 and bfloat16 add up in float32."""
        absent()

    @optional
    def linear(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        """x weight^T + bias, with weight of shape (out, in)."""
        y = self.matmul(x, self.transpose(weight))
        return y if bias is None else self.add(y, bias)

    @optional
    def linear_relu(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        """max(x weight^T + bias, 0)."""
        return self.relu(self.linear(x, weight, bias))

    def linear_gradients(
        self,
        g: RawTensor,
        x: RawTensor | None,
        weight: RawTensor | None,
        bias: bool,
        y: RawTensor | None = None,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        """The gradients of `linear`, or of `linear_relu`, for input, weight and bias.

            dx = g W,    dW = sum_n g_n x_n^T,    db = sum_n g_n

        with g zero where y, the result of `linear_relu`, is not positive. `x` is None if the
        weight's gradient is not wanted, `weight` if the input's is not.
        """
        g = g if y is None else self.fused(RELU_GRADIENT, (g, y))[0]
        # As rows of a matrix: a product of more axes would be many small ones.
        rows = g if g.ndim == 2 else self.reshape(g, (math.prod(g.shape[:-1]), g.shape[-1]))
        x_grad = weight_grad = None
        if weight is not None:
            x_grad = self.matmul(rows, weight)
            if rows is not g:
                x_grad = self.reshape(x_grad, (*g.shape[:-1], weight.shape[-1]))
        if x is not None:
            flat = x if x.ndim == 2 else self.reshape(x, (rows.shape[0], x.shape[-1]))
            weight_grad = self.matmul(self.transpose(rows), flat)
        return x_grad, weight_grad, self.sum(rows, 0) if bias else None
