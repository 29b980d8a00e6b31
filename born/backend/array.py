"""The contract's core, met once for every NumPy-like namespace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from born.backend.arguments import is_tuple, normal_axes, normal_axis
from born.backend.array_base import INTEGRAL, ArrayBase, is_half, misfit
from born.backend.erf import erf
from born.backend.protocol import Axis, Index, Operand, Scalar
from born.errors import DomainError, DTypeError, IndexOutOfRangeError, ShapeError
from born.raw import Array, RawTensor, Shape, bool_, float32, int64

_ERF_TILE: Final = 16_384  # elements; a tile's dozen temporaries of float64 stay in a 2 MB cache


class ArrayCore(ArrayBase):
    """The required operations over a namespace `xp`, such as the modules numpy and cupy.

    Arithmetic in float16 and bfloat16 that adds up many numbers (sums, matrix
    products) is done in float32 and rounded once.
    """

    # -- elementwise --

    def add(self, x: Operand, y: Operand, /) -> RawTensor:
        """x + y."""
        return self._binary(self.xp.add, x, y)

    def sub(self, x: Operand, y: Operand, /) -> RawTensor:
        """x - y."""
        return self._binary(self.xp.subtract, x, y)

    def mul(self, x: Operand, y: Operand, /) -> RawTensor:
        """x y."""
        return self._binary(self.xp.multiply, x, y)

    def div(self, x: Operand, y: Operand, /) -> RawTensor:
        """x / y."""
        for operand in (x, y):
            if isinstance(operand, RawTensor):
                self._require_floating("div", operand.array)
        return self._binary(self.xp.divide, x, y)

    def pow(self, x: Operand, y: Operand, /) -> RawTensor:
        """x to the power of y; squares by multiplication."""
        if isinstance(x, RawTensor) and not isinstance(y, RawTensor) and y == 2:
            return self._binary(self.xp.multiply, x, x)
        self._check_power(x, y)
        return self._binary(self.xp.power, x, y)

    def _check_power(self, x: Operand, y: Operand) -> None:
        """Refuse integers to negative powers, which are no integers."""
        integral = isinstance(x, RawTensor) and x.array.dtype.kind in INTEGRAL
        negative = (y.array < 0).any() if isinstance(y, RawTensor) else y < 0
        if integral and negative:
            raise DomainError(
                f"expected integers to non-negative powers, got a negative one: {y!r}; "
                'convert the base with .astype("float32")'
            )

    def maximum(self, x: Operand, y: Operand, /) -> RawTensor:
        """The larger."""
        return self._binary(self.xp.maximum, x, y)

    def minimum(self, x: Operand, y: Operand, /) -> RawTensor:
        """The smaller."""
        return self._binary(self.xp.minimum, x, y)

    def neg(self, x: RawTensor, /) -> RawTensor:
        """-x."""
        if x.array.dtype == bool_:
            raise DTypeError(
                "expected a tensor of numbers to negate, got bool; use ~x for the logical not"
            )
        return self._wrap(self.xp.negative(x.array))

    def abs(self, x: RawTensor, /) -> RawTensor:
        """|x|."""
        return self._wrap(self.xp.abs(x.array))

    def sign(self, x: RawTensor, /) -> RawTensor:
        """The sign."""
        self._require_floating("sign", x.array)
        return self._wrap(self.xp.sign(x.array))

    def exp(self, x: RawTensor, /) -> RawTensor:
        """The exponential."""
        return self._float_unary(self.xp.exp, x)

    def expm1(self, x: RawTensor, /) -> RawTensor:
        """exp(x) - 1."""
        return self._float_unary(self.xp.expm1, x)

    def log(self, x: RawTensor, /) -> RawTensor:
        """The natural logarithm."""
        return self._float_unary(self.xp.log, x)

    def log1p(self, x: RawTensor, /) -> RawTensor:
        """log(1 + x)."""
        return self._float_unary(self.xp.log1p, x)

    def sqrt(self, x: RawTensor, /) -> RawTensor:
        """The square root."""
        return self._float_unary(self.xp.sqrt, x)

    def sin(self, x: RawTensor, /) -> RawTensor:
        """The sine."""
        return self._float_unary(self.xp.sin, x)

    def cos(self, x: RawTensor, /) -> RawTensor:
        """The cosine."""
        return self._float_unary(self.xp.cos, x)

    def tanh(self, x: RawTensor, /) -> RawTensor:
        """The hyperbolic tangent."""
        return self._float_unary(self.xp.tanh, x)

    def erf(self, x: RawTensor, /) -> RawTensor:
        """The error function, computed in double and rounded once."""
        a = x.array
        self._require_floating("erf", a)
        flat = a.reshape(-1)
        out = self.xp.empty_like(flat)
        for start in range(0, flat.size, _ERF_TILE):
            tile = slice(start, start + _ERF_TILE)
            out[tile] = erf(self.xp, flat[tile].astype(np.float64))
        return RawTensor(out.reshape(a.shape))

    def where(self, condition: RawTensor, x: Operand, y: Operand, /) -> RawTensor:
        """x where the condition holds, y elsewhere."""
        if condition.dtype != bool_:
            raise DTypeError(
                f"expected a bool condition in where, got {condition.dtype}; "
                "compare it with something, for example x != 0"
            )
        a, b = self._arrays("where", x, y)
        try:
            return self._wrap(self.xp.where(condition.array, a, b))
        except ValueError as error:
            shapes = [getattr(part, "shape", ()) for part in (condition, a, b)]
            raise ShapeError(
                "expected a condition and two operands that broadcast in where, got "
                f"{shapes[0]}, {shapes[1]} and {shapes[2]}; reshape or index one of them"
            ) from error

    # -- comparison and logic --

    def _compare(self, function: Callable[..., Array], x: Operand, y: Operand) -> RawTensor:
        """As `_binary`, but a float may stand beside integers: nothing is promoted."""
        if isinstance(x, RawTensor) and isinstance(y, int | float):
            return self._wrap(function(x.array, y))
        if isinstance(y, RawTensor) and isinstance(x, int | float):
            return self._wrap(function(x, y.array))
        return self._binary(function, x, y)

    def equal(self, x: Operand, y: Operand, /) -> RawTensor:
        """x == y."""
        return self._compare(self.xp.equal, x, y)

    def not_equal(self, x: Operand, y: Operand, /) -> RawTensor:
        """x != y."""
        return self._compare(self.xp.not_equal, x, y)

    def less(self, x: Operand, y: Operand, /) -> RawTensor:
        """x < y."""
        return self._compare(self.xp.less, x, y)

    def less_equal(self, x: Operand, y: Operand, /) -> RawTensor:
        """x <= y."""
        return self._compare(self.xp.less_equal, x, y)

    def greater(self, x: Operand, y: Operand, /) -> RawTensor:
        """x > y."""
        return self._compare(self.xp.greater, x, y)

    def greater_equal(self, x: Operand, y: Operand, /) -> RawTensor:
        """x >= y."""
        return self._compare(self.xp.greater_equal, x, y)

    def logical_and(self, x: Operand, y: Operand, /) -> RawTensor:
        """Both non-zero."""
        return self._compare(self.xp.logical_and, x, y)

    def logical_or(self, x: Operand, y: Operand, /) -> RawTensor:
        """Either non-zero."""
        return self._compare(self.xp.logical_or, x, y)

    def logical_not(self, x: RawTensor, /) -> RawTensor:
        """Zero."""
        return self._wrap(self.xp.logical_not(x.array))

    def isfinite(self, x: RawTensor, /) -> RawTensor:
        """Neither infinite nor NaN."""
        return self._wrap(self.xp.isfinite(x.array))

    # -- reduction --

    def _sum_like(
        self, function: Callable[..., Array], x: RawTensor, axis: Axis, keepdims: bool
    ) -> RawTensor:
        """A reduction that adds up in float32 for halves and in int64 for integers."""
        a = x.array
        kind = a.dtype.kind
        try:
            if kind in INTEGRAL:
                out = function(a, axis=axis, keepdims=keepdims, dtype=int64)
            elif is_half(a.dtype):
                out = function(a, axis=axis, keepdims=keepdims, dtype=float32).astype(a.dtype)
            else:
                out = function(a, axis=axis, keepdims=keepdims)
        except (ValueError, TypeError) as error:
            raise _bad_axis(self._called(function), axis, a, error) from error
        if out.__class__ is not self._ndarray:
            out = self.xp.asarray(out)
        return RawTensor(out)

    def sum(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The sum."""
        return self._sum_like(self._ndarray.sum, x, axis, keepdims)

    def prod(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The product."""
        return self._sum_like(self._ndarray.prod, x, axis, keepdims)

    def _reduce(
        self, function: Callable[..., Array], x: RawTensor, axis: Axis, keepdims: bool
    ) -> RawTensor:
        try:
            return self._wrap(function(x.array, axis=axis, keepdims=keepdims))
        except (ValueError, TypeError) as error:
            raise _bad_axis(self._called(function), axis, x.array, error) from error

    def max(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The largest element."""
        return self._reduce(self._ndarray.max, x, axis, keepdims)

    def min(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The smallest element."""
        return self._reduce(self._ndarray.min, x, axis, keepdims)

    def argmax(self, x: RawTensor, /, axis: int | None = None, keepdims: bool = False) -> RawTensor:
        """The index of the first largest element."""
        return self._reduce(self.xp.argmax, x, axis, keepdims)

    def argmin(self, x: RawTensor, /, axis: int | None = None, keepdims: bool = False) -> RawTensor:
        """The index of the first smallest element."""
        return self._reduce(self.xp.argmin, x, axis, keepdims)

    def any(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """Whether any is non-zero."""
        return self._reduce(self.xp.any, x, axis, keepdims)

    def all(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """Whether all are non-zero."""
        return self._reduce(self.xp.all, x, axis, keepdims)

    def cumsum(self, x: RawTensor, /, axis: int) -> RawTensor:
        """The running sum."""
        a = x.array
        axis = normal_axis(axis, a.ndim)
        if a.dtype.kind in INTEGRAL:
            return RawTensor(a.cumsum(axis=axis, dtype=int64))
        if is_half(a.dtype):
            return RawTensor(a.cumsum(axis=axis, dtype=float32).astype(a.dtype))
        return RawTensor(a.cumsum(axis=axis))

    # -- linear algebra --

    def matmul(self, x: RawTensor, y: RawTensor, /) -> RawTensor:
        """The matrix product."""
        a, b = x.array, y.array
        if a.dtype != b.dtype:
            raise self._mixed("matmul", x, y)
        return self._wrap(self._product(a, b))

    def _product(self, a: Array, b: Array) -> Array:
        """a @ b of one dtype, halves through float32."""
        try:
            if is_half(a.dtype):
                product = self.xp.matmul(a.astype(float32), b.astype(float32))
                return product.astype(a.dtype)
            # Two matrices go straight to BLAS by dot, a microsecond sooner than by matmul.
            return a.dot(b) if a.ndim == b.ndim == 2 else self.xp.matmul(a, b)
        except ValueError as error:
            raise misfit("matmul", a, b, error) from error

    # -- shape --

    def reshape(self, x: RawTensor, /, shape: Shape) -> RawTensor:
        """In another shape."""
        try:
            return RawTensor(x.array.reshape(shape))
        except (ValueError, TypeError) as error:
            raise ShapeError(
                f"expected a shape for {x.size} elements, got {shape} for a tensor of shape "
                f"{x.shape}; the lengths must multiply to {x.size}, and one may be -1"
            ) from error

    def transpose(self, x: RawTensor, /, axes: Sequence[int] | None = None) -> RawTensor:
        """The axes in another order."""
        try:
            return RawTensor(x.array.transpose(axes))
        except ValueError as error:
            raise ShapeError(
                f"expected each of the {x.ndim} axes once, got {axes}; "
                f"pass for example {tuple(reversed(range(x.ndim)))}"
            ) from error

    def broadcast_to(self, x: RawTensor, /, shape: Shape) -> RawTensor:
        """Repeated to a shape."""
        try:
            return RawTensor(self.xp.broadcast_to(x.array, shape))
        except ValueError as error:
            raise ShapeError(
                f"expected a shape that {x.shape} broadcasts to, got {shape}; "
                "its last axes must be those of the tensor, or stand where the tensor has 1"
            ) from error

    def concatenate(self, xs: Sequence[RawTensor], /, axis: int = 0) -> RawTensor:
        """Joined along an axis."""
        for x in xs[1:]:
            if x.dtype != xs[0].dtype:
                raise self._mixed("concatenate", xs[0], x)
        try:
            return RawTensor(self.xp.concatenate([x.array for x in xs], axis=axis))
        except (ValueError, TypeError) as error:
            raise ShapeError(
                f"expected one or more tensors that agree on every axis but axis {axis}, "
                f"got shapes {[x.shape for x in xs]}; reshape or pad them first"
            ) from error

    def flip(self, x: RawTensor, /, axis: Axis = None) -> RawTensor:
        """In reverse order."""
        return self._wrap(self.xp.flip(x.array, normal_axes(axis, x.ndim)))

    def pad(
        self, x: RawTensor, /, widths: Sequence[tuple[int, int]], value: Scalar = 0
    ) -> RawTensor:
        """With a border of one value."""
        a = x.array
        if len(widths) != a.ndim or any(before < 0 or after < 0 for before, after in widths):
            raise ShapeError(
                f"expected a pair (before, after) of non-negative widths for each of the "
                f"{a.ndim} axes, got {list(widths)}; pass (0, 0) for an axis to leave alone"
            )
        lengths = zip(a.shape, widths, strict=True)
        shape = tuple(length + before + after for length, (before, after) in lengths)
        out = self.xp.full(shape, self._weak("pad", value, a.dtype), a.dtype)
        starts = zip(a.shape, widths, strict=True)
        out[tuple(slice(before, before + length) for length, (before, _) in starts)] = a
        return RawTensor(out)

    # -- indexing --

    def getitem(self, x: RawTensor, /, index: Index) -> RawTensor:
        """`x[index]`."""
        try:
            return self._wrap(x.array[_index(index)])
        except IndexError as error:
            raise _bad_index(x, error) from error

    def index_add(self, x: RawTensor, index: Index, y: RawTensor, /) -> RawTensor:
        """A copy with `y` added at `index`."""
        if x.dtype != y.dtype:
            raise self._mixed("index_add", x, y)
        out = x.array.copy()
        try:
            if _is_basic(index):
                out[index] += y.array
            else:
                self._add_at(out, _index(index), y.array)
        except IndexError as error:
            raise _bad_index(x, error) from error
        except ValueError as error:
            raise misfit("index_add", out, y.array, error) from error
        return RawTensor(out)

    def _add_at(self, target: Array, index: Index, values: Array) -> None:
        """`target[index] += values`, in which a repeated index adds each time."""
        self.xp.add.at(target, index, values)

    def gather(self, x: RawTensor, index: RawTensor, /, axis: int) -> RawTensor:
        """The elements along an axis that `index` names."""
        axis = normal_axis(axis, x.ndim)
        self._check_index("gather", x, index, axis)
        try:
            return RawTensor(self.xp.take_along_axis(x.array, index.array, axis))
        except IndexError as error:
            raise _bad_index(x, error) from error

    def scatter_add(self, x: RawTensor, index: RawTensor, y: RawTensor, /, axis: int) -> RawTensor:
        """A copy with `y` added where `gather` would have read."""
        axis = normal_axis(axis, x.ndim)
        self._check_index("scatter_add", x, index, axis)
        if x.dtype != y.dtype:
            raise self._mixed("scatter_add", x, y)
        if index.shape != y.shape:
            raise ShapeError(
                f"expected values of the index's shape {index.shape} in scatter_add, "
                f"got {y.shape}; broadcast one to the other first"
            )
        grid = list(self.xp.ogrid[tuple(slice(0, length) for length in index.shape)])
        grid[axis] = index.array
        out = x.array.copy()
        try:
            self._add_at(out, tuple(grid), y.array)
        except IndexError as error:
            raise _bad_index(x, error) from error
        return RawTensor(out)

    def _check_index(self, name: str, x: RawTensor, index: RawTensor, axis: int) -> None:
        if index.dtype.kind not in "iu":
            raise DTypeError(
                f"expected an integer index in {name}, got {index.dtype}; "
                'convert it with .astype("int64")'
            )
        fits = index.ndim == x.ndim and all(
            n == m for i, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)) if i != axis
        )
        if not fits:
            raise ShapeError(
                f"expected an index of the shape {x.shape} but along axis {axis} in {name}, "
                f"got {index.shape}; broadcast or reshape it first"
            )


def _index(index: Index) -> Index:
    """An index with arrays in place of raw tensors."""
    if is_tuple(index):
        return tuple(_index(part) for part in index)
    return index.array if isinstance(index, RawTensor) else index


def _is_basic(index: Index) -> bool:
    """Whether an index selects each element once, as a view."""
    return not any(isinstance(part, RawTensor) for part in _parts(index))


def _parts(index: Index) -> tuple[Index, ...]:
    return index if is_tuple(index) else (index,)


def _bad_axis(name: str, axis: Axis, array: Array, error: Exception) -> ShapeError:
    return ShapeError(
        f"expected axes of a tensor of shape {array.shape} with elements to take the {name} of, "
        f"got axis={axis} ({error}); use axes it has, each once"
    )


def _bad_index(x: RawTensor, error: Exception) -> IndexOutOfRangeError:
    return IndexOutOfRangeError(
        f"expected an index within shape {x.shape}, but {error}; check the index"
    )
