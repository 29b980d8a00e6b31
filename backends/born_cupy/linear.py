"""Matrix products on the device."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from born.backend.arrays.linear import ArrayLinear
from born.dtypes import is_floating, is_half
from born.raw import Array, RawTensor
from born_cupy.kernels import linear
from born_cupy.launch import Launching


class CupyLinear(ArrayLinear, Launching):
    """Products by cuBLAS, and one kernel each way for what is around them."""

    @override
    def _product(self, a: Array, b: Array) -> Array:
        # cuBLAS multiplies matrices of halves and adds up in float32. CuPy does not ask it to
        # for a stack of matrices, nor for a product of one element, which it rounds early.
        matrices = a.ndim == b.ndim == 2 and a.shape[0] * b.shape[1] > 1
        if is_half(a.dtype) and matrices and a.shape[1] == b.shape[0]:
            return a.dot(b)
        return super()._product(a, b)

    @override
    def linear_relu(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        if bias is None or not is_floating(x.dtype):
            return self.relu(self.linear(x, weight, bias))
        y = self.linear(x, weight)
        self._check_bias(x, weight, bias)
        a = self.xp.ascontiguousarray(y.array)
        self._launch(linear.bias_relu(a.dtype), a.size, a, bias, weight.shape[0], a.size)
        return RawTensor(a)

    @override
    def linear_gradients(
        self,
        g: RawTensor,
        x: RawTensor | None,
        weight: RawTensor | None,
        bias: bool,
        y: RawTensor | None = None,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        # Relu's gradient and the bias's in one pass over memory.
        if not bias or not g.size or not is_floating(g.dtype):
            return super().linear_gradients(g, x, weight, bias, y)
        rows = self.reshape(g, (-1, g.shape[-1]))
        mask: list[Any] = []
        if y is not None:
            self._check_alike("relu_backward", g, y)
            g = RawTensor(self.xp.empty(g.shape, g.dtype))
            mask = [y, g.array]
        sums = self._column_sums(rows, *mask)
        return (*super().linear_gradients(g, x, weight, False)[:2], self.reshape(sums, (-1,)))
