"""Elementwise functions, reductions and shapes composed from the core.

A backend overrides one of these only to be faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from born.backend.arguments import count, normal_axes, normal_axis
from born.backend.checks import (
    check_approximation,
)
from born.backend.protocol import Axis, Core, Scalar, optional
from born.errors import DomainError, DTypeError, ShapeError
from born.raw import DTypeLike, RawTensor, Shape

Approximation: TypeAlias = Literal["none", "tanh"]

SQRT_HALF = math.sqrt(0.5)
SQRT_TWO_OVER_PI = math.sqrt(2.0 / math.pi)
GELU_CUBIC = 0.044715  # Hendrycks and Gimpel (2016), "Gaussian Error Linear Units", section 2


class Composed(Core):
    """Elementwise functions, reductions and shapes composed from the core."""

    # -- creation --

    @optional
    def zeros(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """A tensor of zeros."""
        return self.full(shape, 0, dtype)

    @optional
    def ones(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """A tensor of ones."""
        return self.full(shape, 1, dtype)

    # -- elementwise --

    @optional
    def rsqrt(self, x: RawTensor, /) -> RawTensor:
        """1 / sqrt(x)."""
        return self.div(1.0, self.sqrt(x))

    @optional
    def sigmoid(self, x: RawTensor, /) -> RawTensor:
        """1 / (1 + exp(-x)), without overflow on either side."""
        decay = self.exp(self.neg(self.abs(x)))
        numerator = self.where(self.greater_equal(x, 0.0), 1.0, decay)
        return self.div(numerator, self.add(decay, 1.0))

    @optional
    def relu(self, x: RawTensor, /) -> RawTensor:
        """max(x, 0)."""
        return self.maximum(x, 0)

    @optional
    def relu_backward(self, g: RawTensor, y: RawTensor, /) -> RawTensor:
        """The gradient of `relu` where its result is `y`, times `g`."""
        return self.where(self.greater(y, 0), g, 0)

    @optional
    def silu(self, x: RawTensor, /) -> RawTensor:
        """x sigmoid(x)."""
        return self.mul(x, self.sigmoid(x))

    @optional
    def gelu(self, x: RawTensor, /, approximate: Approximation = "none") -> RawTensor:
        """x Phi(x), Phi the normal distribution function, exact or by its tanh approximation."""
        check_approximation(approximate)
        if approximate == "none":
            twice_phi = self.add(self.erf(self.mul(x, SQRT_HALF)), 1.0)
        else:
            cubed = self.mul(self.mul(x, x), x)
            inner = self.mul(self.add(x, self.mul(cubed, GELU_CUBIC)), SQRT_TWO_OVER_PI)
            twice_phi = self.add(self.tanh(inner), 1.0)
        return self.mul(self.mul(x, 0.5), twice_phi)

    @optional
    def gelu_backward(
        self, g: RawTensor, x: RawTensor, /, approximate: Approximation = "none"
    ) -> RawTensor:
        """The gradient of `gelu` at `x`, times `g`."""
        if approximate == "none":
            phi = self.mul(self.add(self.erf(self.mul(x, SQRT_HALF)), 1.0), 0.5)
            density = self.mul(
                self.exp(self.mul(self.mul(x, x), -0.5)), 1.0 / math.sqrt(2.0 * math.pi)
            )
            return self.mul(g, self.add(phi, self.mul(x, density)))
        squared = self.mul(x, x)
        inner = self.mul(
            self.mul(x, self.add(self.mul(squared, GELU_CUBIC), 1.0)), SQRT_TWO_OVER_PI
        )
        t = self.tanh(inner)
        phi = self.mul(self.add(t, 1.0), 0.5)
        inner_slope = self.mul(
            self.add(self.mul(squared, 3.0 * GELU_CUBIC), 1.0), 0.5 * SQRT_TWO_OVER_PI
        )
        slope = self.mul(self.sub(1.0, self.mul(t, t)), inner_slope)
        return self.mul(g, self.add(phi, self.mul(x, slope)))

    @optional
    def softplus(self, x: RawTensor, /) -> RawTensor:
        """log(1 + exp(x)), without overflow."""
        return self.add(self.maximum(x, 0.0), self.log1p(self.exp(self.neg(self.abs(x)))))

    @optional
    def clamp(
        self, x: RawTensor, /, low: Scalar | None = None, high: Scalar | None = None
    ) -> RawTensor:
        """x held between two numbers; None leaves that side open."""
        if low is not None:
            x = self.maximum(x, low)
        if high is not None:
            return self.minimum(x, high)
        return x if low is not None else self.reshape(x, x.shape)

    # -- reduction --

    @optional
    def mean(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The arithmetic mean; NaN of no elements."""
        elements = count(x.shape, normal_axes(axis, x.ndim))
        total = self.sum(x, axis, keepdims)
        # Dividing by zero would warn; no elements have no mean.
        return self.div(total, elements) if elements else self.mul(total, math.nan)

    @optional
    def var(
        self, x: RawTensor, /, axis: Axis = None, ddof: int = 0, keepdims: bool = False
    ) -> RawTensor:
        """The mean squared distance from the mean, over `n - ddof`."""
        freedom = count(x.shape, normal_axes(axis, x.ndim)) - ddof
        centred = self.sub(x, self.mean(x, axis, keepdims=True))
        total = self.sum(self.mul(centred, centred), axis, keepdims)
        return self.div(total, freedom) if freedom > 0 else self.mul(total, math.nan)

    @optional
    def logsumexp(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """log(sum(exp(x))), shifted by the largest element."""
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
            return self.sqrt(self.sum(self.mul(x, x), axis, keepdims))
        if order == 1:
            return self.sum(self.abs(x), axis, keepdims)
        if order == math.inf:
            return self.max(self.abs(x), axis, keepdims)
        raise DomainError(f"expected order 1, 2 or inf, got {order!r}; use one of these norms")

    @optional
    def cumprod(self, x: RawTensor, /, axis: int) -> RawTensor:
        """The running product along an axis."""
        axis = normal_axis(axis, x.ndim)
        if x.shape[axis] == 0:
            return self.copy(x)
        before = (slice(None),) * axis
        partial = [self.getitem(x, (*before, slice(0, 1)))]
        for i in range(1, x.shape[axis]):
            partial.append(self.mul(partial[-1], self.getitem(x, (*before, slice(i, i + 1)))))
        return self.concatenate(partial, axis)

    # -- shape --

    @optional
    def squeeze(self, x: RawTensor, /, axis: Axis = None) -> RawTensor:
        """Without the axes of length one, or without those named."""
        shape = x.shape
        if axis is None:
            return self.reshape(x, tuple(length for length in shape if length != 1))
        axes = normal_axes(axis, x.ndim)
        if any(shape[i] != 1 for i in axes):
            raise ShapeError(
                f"expected axes of length 1 to squeeze, got axis={axis} of shape {shape}; "
                "index or reduce the longer ones"
            )
        return self.reshape(x, tuple(n for i, n in enumerate(shape) if i not in axes))

    @optional
    def expand_dims(self, x: RawTensor, /, axis: Axis = 0) -> RawTensor:
        """With axes of length one inserted at these places of the result."""
        added = axis if isinstance(axis, tuple) else (0 if axis is None else axis,)
        axes = normal_axes(added, x.ndim + len(added))
        lengths = iter(x.shape)
        ndim = x.ndim + len(axes)
        return self.reshape(x, tuple(1 if i in axes else next(lengths) for i in range(ndim)))

    @optional
    def stack(self, xs: Sequence[RawTensor], /, axis: int = 0) -> RawTensor:
        """Tensors of one shape joined along a new axis."""
        shapes = {x.shape for x in xs}
        if len(shapes) != 1:
            raise ShapeError(
                f"expected one or more tensors of one shape to stack, got {sorted(shapes)}; "
                "reshape or broadcast them first"
            )
        return self.concatenate([self.expand_dims(x, axis) for x in xs], axis)

    @optional
    def split(
        self, x: RawTensor, /, sections: int | Sequence[int], axis: int = 0
    ) -> list[RawTensor]:
        """Parts along an axis: so many equal ones, or cut before each of these indices."""
        axis = normal_axis(axis, x.ndim)
        length = x.shape[axis]
        if isinstance(sections, int):
            if sections < 1 or length % sections:
                raise ShapeError(
                    f"expected an axis that splits into {sections} equal sections, "
                    f"got length {length}; pass the indices to cut before instead"
                )
            step = length // sections
            cuts = [step * i for i in range(1, sections)]
        else:
            cuts = list(sections)
        before = (slice(None),) * axis
        bounds = zip([0, *cuts], [*cuts, length], strict=True)
        return [self.getitem(x, (*before, slice(start, stop))) for start, stop in bounds]

    @optional
    def take(self, x: RawTensor, index: RawTensor, /, axis: int = 0) -> RawTensor:
        """The slices of `x` along `axis` that an integer tensor names; a table of embeddings."""
        axis = normal_axis(axis, x.ndim)
        if index.dtype.kind not in "iu":
            raise DTypeError(
                f"expected an integer index in take, got {index.dtype}; "
                "use x[mask] to select by a bool mask"
            )
        return self.getitem(x, (*(slice(None),) * axis, index))
