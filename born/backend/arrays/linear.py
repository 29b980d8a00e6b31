"""Matrix products of arrays."""

from __future__ import annotations

import math

from typing_extensions import override

from born.backend.arrays.dispatch import Dispatch, dtype_mismatch, shape_mismatch
from born.backend.contract.linear import Linear
from born.dtypes import float32, is_half
from born.errors import ShapeError
from born.raw import Array, RawTensor


class ArrayLinear(Linear, Dispatch):
    """Matrix products by the namespace's BLAS, the rest in the memory of the product."""

    @override
    def matmul(self, x: RawTensor, y: RawTensor, /) -> RawTensor:
        a, b = x.array, y.array
        if a.dtype != b.dtype:
            raise dtype_mismatch("matmul", x, y)
        # One large product in place of many small ones.
        if a.ndim > 2 == b.ndim and a.shape[-1] == len(b):
            rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
            return RawTensor(self._product(rows, b).reshape(*a.shape[:-1], b.shape[1]))
        return self._wrap(self._product(a, b))

    def _product(self, a: Array, b: Array) -> Array:
        """a @ b of one dtype, halves through float32."""
        try:
            if is_half(a.dtype):
                product = self.xp.matmul(a.astype(float32), b.astype(float32))
                return product.astype(a.dtype)
            # Two matrices go straight to BLAS by dot, a microsecond sooner than by matmul.
            if a.ndim == b.ndim == 2:
                return self._dot(a, b)
            # As does a matrix times a vector.
            return a.dot(b) if a.ndim + b.ndim == 3 and a.ndim and b.ndim else self.xp.matmul(a, b)
        except ValueError as error:
            raise shape_mismatch("matmul", a, b, error) from error

    @override
    def linear(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        a, w = x.array, weight.array
        if a.dtype != w.dtype:
            raise dtype_mismatch("linear", x, weight)
        if w.ndim != 2 or a.ndim == 0 or a.shape[-1] != w.shape[1]:
            raise ShapeError(
                f"expected an input (..., in) and a weight (out, in) in linear, got {a.shape} "
                f"and {w.shape}; the last axes must be equal"
            )
        # One large product in place of many small ones.
        flat = a.reshape(math.prod(a.shape[:-1]), a.shape[-1]) if a.ndim > 2 else a
        if bias is not None:
            self._check_bias(x, weight, bias)
        out = self._affine(flat, w, None if bias is None else bias.array)
        return RawTensor(out.reshape(*a.shape[:-1], w.shape[0]) if a.ndim > 2 else out)

    def _dot(self, a: Array, b: Array) -> Array:
        """The product of two matrices of one dtype."""
        return a.dot(b)

    def _affine(self, a: Array, weight: Array, bias: Array | None) -> Array:
        """a W^T + b of matrices of one dtype."""
        out = self._product(a, weight.T)
        if bias is not None:
            out += bias
        return out

    def _check_bias(self, x: RawTensor, weight: RawTensor, bias: RawTensor) -> None:
        """Refuse a bias that is not of one element for each output."""
        b, outputs = bias.array, weight.array.shape[:1]
        if b.dtype != x.array.dtype:
            raise dtype_mismatch("linear", x, bias)
        if b.shape != outputs:
            raise ShapeError(
                f"expected a bias of shape {outputs} in linear, got {b.shape}; "
                "pass one element for each output"
            )

    @override
    def linear_relu(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        y = self.linear(x, weight, bias)
        self.xp.maximum(y.array, y.dtype.type(0), out=y.array)
        return y
