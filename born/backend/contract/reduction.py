"""Reductions, and running sums and products."""

from __future__ import annotations

import math

from born.backend.arguments import Axis, check_floating, count, normal_axes, normal_axis
from born.backend.contract.operation import absent, like, optional, required
from born.backend.contract.primitives import Primitives
from born.dtypes import INTEGRAL, int64, is_half
from born.errors import DomainError
from born.raw import RawTensor


class Reductions(Primitives):
    """Operations that take elements together; `axis` and `keepdims` as in NumPy."""

    @required
    def sum(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The sum; of integers and bools, int64."""
        absent()

    prod = like(sum, "prod", "The product; of integers and bools, int64.")
    max = like(sum, "max", "The largest element; NaN where there is one.")
    min = like(sum, "min", "The smallest element; NaN where there is one.")

    @required
    def argmax(self, x: RawTensor, /, axis: int | None = None, keepdims: bool = False) -> RawTensor:
        """The index of the first largest element, int64."""
        absent()

    argmin = like(argmax, "argmin", "The index of the first smallest element, int64.")
    any = like(sum, "any", "Whether any element is non-zero.")
    all = like(sum, "all", "Whether every element is non-zero.")

    @optional
    def mean(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The arithmetic mean; NaN of no elements."""
        check_floating("mean", x)
        elements = count(x.shape, normal_axes(axis, x.ndim))
        total = self.sum(x, axis, keepdims)
        # Dividing by zero would warn; no elements have no mean.
        return self.div(total, elements) if elements else self.mul(total, math.nan)

    @optional
    def var(
        self, x: RawTensor, /, axis: Axis = None, ddof: int = 0, keepdims: bool = False
    ) -> RawTensor:
        """The mean squared distance from the mean, over `n - ddof`."""
        check_floating("var", x)
        freedom = count(x.shape, normal_axes(axis, x.ndim)) - ddof
        centred = self.sub(x, self.mean(x, axis, keepdims=True))
        total = self.sum(self.mul(centred, centred), axis, keepdims)
        return self.div(total, freedom) if freedom > 0 else self.mul(total, math.nan)

    @optional
    def std(
        self, x: RawTensor, /, axis: Axis = None, ddof: int = 0, keepdims: bool = False
    ) -> RawTensor:
        """The standard deviation, the square root of `var`."""
        check_floating("std", x)
        freedom = count(x.shape, normal_axes(axis, x.ndim)) - ddof
        # Of the distances, not of their squares, which may be out of range.
        length = self.norm(self.sub(x, self.mean(x, axis, keepdims=True)), axis, keepdims)
        if freedom <= 0:
            return self.mul(length, math.nan)
        return self.div(length, math.sqrt(freedom))

    @optional
    def logsumexp(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """log(sum(exp(x))), shifted by the largest element."""
        check_floating("logsumexp", x)
        axes = normal_axes(axis, x.ndim)
        if count(x.shape, axes) == 0:
            return self.add(self.sum(x, axis, keepdims), -math.inf)
        largest = self.max(x, axis, keepdims=True)
        # Where the largest is infinite or NaN it is the result, and nothing may be computed
        # from it: exp(inf - inf) would be NaN, and say so.
        finite = self.isfinite(largest)
        shift = self.where(finite, largest, 0.0)
        total = self.sum(self.exp(self.sub(self.where(finite, x, 0.0), shift)), axis, keepdims=True)
        result = self.where(finite, self.add(self.log(total), shift), largest)
        return result if keepdims else self.squeeze(result, axes)

    @optional
    def norm(
        self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False, order: float = 2
    ) -> RawTensor:
        """The 1-, 2- or infinity-norm of the elements along the axes."""
        if order == 2:
            check_floating("norm", x)
            return self._euclidean_norm(x, axis, keepdims)
        if order == 1:
            return self.sum(self.abs(x), axis, keepdims)
        if order == math.inf:
            return self.max(self.abs(x), axis, keepdims)
        raise DomainError(f"expected order 1, 2 or inf, got {order!r}; use one of these norms")

    def _euclidean_norm(self, x: RawTensor, axis: Axis, keepdims: bool) -> RawTensor:
        """The 2-norm, by numbers of at most one, whose squares are in range."""
        axes = normal_axes(axis, x.ndim)
        if count(x.shape, axes) == 0:
            return self.sum(x, axis, keepdims)
        largest = self.max(self.abs(x), axis, keepdims=True)
        # Infinity and NaN are the result, and zero is no divisor.
        usable = self.logical_and(self.isfinite(largest), self.greater(largest, 0))
        scale = self.where(usable, largest, 1)
        small = self.div(x, scale)
        result = self.mul(self.sqrt(self.sum(self.mul(small, small), axis, keepdims=True)), scale)
        return result if keepdims else self.squeeze(result, axes)

    @required
    def argsort(self, x: RawTensor, /, axis: int) -> RawTensor:
        """The places that sort along an axis, int64; of equals the first first, NaN last."""
        absent()

    @required
    def cumsum(self, x: RawTensor, /, axis: int) -> RawTensor:
        """The running sum along an axis; of integers and bools, int64."""
        absent()

    @optional
    def cumprod(self, x: RawTensor, /, axis: int) -> RawTensor:
        """The running product along an axis; of integers and bools, int64."""
        axis = normal_axis(axis, x.ndim)
        if x.dtype.kind in INTEGRAL and x.dtype != int64:
            x = self.astype(x, int64)
        if is_half(x.dtype):
            return self.astype(self.cumprod(self.astype(x, "float32"), axis), x.dtype)
        if x.shape[axis] == 0:
            return self.copy(x)
        before = (slice(None),) * axis
        partial = [self.getitem(x, (*before, slice(0, 1)))]
        for i in range(1, x.shape[axis]):
            partial.append(self.mul(partial[-1], self.getitem(x, (*before, slice(i, i + 1)))))
        return self.concatenate(partial, axis)
