"""Reductions: `axis` and `keepdims` as in NumPy, over all axes by default."""

from __future__ import annotations

from born.backend import Axis, B
from born.backend.arguments import normal_axis
from born.operands import backend_of
from born.tensor import Tensor


def sum(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The sum, sum_i x_i; of integers and bools, int64. Halves add up in float32.

    >>> ops.sum(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([4., 6.], dtype=float32)
    """
    return Tensor(backend_of("sum", x).sum(x.raw, axis, keepdims), x.backend)


def mean(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The arithmetic mean of floating numbers, sum_i x_i / n; NaN of none.

    >>> ops.mean(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([2., 3.], dtype=float32)
    """
    return Tensor(backend_of("mean", x).mean(x.raw, axis, keepdims), x.backend)


def var(x: Tensor[B], axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor[B]:
    """The variance, sum_i (x_i - mean(x))^2 / (n - ddof); NaN where n - ddof is not positive.

    >>> ops.var(born.tensor([1.0, 3.0], backend))
    Tensor(1., dtype=float32)
    """
    return Tensor(backend_of("var", x).var(x.raw, axis, ddof, keepdims), x.backend)


def std(x: Tensor[B], axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor[B]:
    """The standard deviation, the square root of `var`.

    Where all elements are equal its gradient is zero, which is a subgradient; that of
    `sqrt(var(x))` is NaN. Of neither is there a second derivative there.

    >>> ops.std(born.tensor([1.0, 3.0], backend))
    Tensor(1., dtype=float32)
    """
    return Tensor(backend_of("std", x).std(x.raw, axis, ddof, keepdims), x.backend)


def prod(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The product, x_1 ... x_n; of integers and bools, int64. Its gradient is exact at zeros too.

    >>> ops.prod(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([3., 8.], dtype=float32)
    """
    return Tensor(backend_of("prod", x).prod(x.raw, axis, keepdims), x.backend)


def max(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The largest element; NaN where there is one. Those that tie share the gradient equally.

    >>> ops.max(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([3., 4.], dtype=float32)
    """
    return Tensor(backend_of("max", x).max(x.raw, axis, keepdims), x.backend)


def min(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The smallest element; NaN where there is one. Those that tie share the gradient equally.

    >>> ops.min(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([1., 2.], dtype=float32)
    """
    return Tensor(backend_of("min", x).min(x.raw, axis, keepdims), x.backend)


def logsumexp(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """log(sum_i e^(x_i)), shifted so that it cannot overflow.

    >>> ops.logsumexp(born.tensor([-1000.0, 1000.0], backend))
    Tensor(1000., dtype=float32)
    """
    return Tensor(backend_of("logsumexp", x).logsumexp(x.raw, axis, keepdims), x.backend)


def norm(x: Tensor[B], axis: Axis = None, keepdims: bool = False, order: float = 2) -> Tensor[B]:
    """The norm of the elements along the axes.

        (sum_i |x_i|^order)^(1 / order)

    It neither overflows nor vanishes where the result is in range. At zero the gradient of the
    2-norm is zero, a subgradient; it has no second derivative there, which comes out as NaN. For
    the derivatives of its square write `sum(x * x)`.

    Args:
        x: a floating tensor.
        axis: the axes, all by default.
        keepdims: whether to keep them with length one.
        order: 2 by default, 1, or `math.inf` for the largest magnitude.

    >>> ops.norm(born.tensor([3.0, 4.0], backend))
    Tensor(5., dtype=float32)
    """
    return Tensor(backend_of("norm", x).norm(x.raw, axis, keepdims, order), x.backend)


def cumsum(x: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """The running sum along an axis, y_k = x_1 + ... + x_k; of integers and bools, int64.

    Without an axis all elements are one row.

    Narrower numbers than float64 add up in float64, if they are many. Those of float64 are added
    one after the other, so that sums of positive numbers never fall: the k-th is off by at most
    k / 2 units in the last place.

    >>> ops.cumsum(born.tensor([1.0, 2.0, 3.0], backend), axis=0)
    Tensor([1., 3., 6.], dtype=float32)
    """
    x, axis = along(x, axis)
    return Tensor(backend_of("cumsum", x).cumsum(x.raw, axis), x.backend)


def cumprod(x: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """The running product along an axis, y_k = x_1 x_2 ... x_k; of integers and bools, int64.

    Without an axis all elements are one row.

    >>> ops.cumprod(born.tensor([1.0, 2.0, 3.0], backend), axis=0)
    Tensor([1., 2., 6.], dtype=float32)
    """
    x, axis = along(x, axis)
    return Tensor(backend_of("cumprod", x).cumprod(x.raw, axis), x.backend)


def along(x: Tensor[B], axis: int | None) -> tuple[Tensor[B], int]:
    """A tensor and one of its axes: all elements in one row, without an axis."""
    if axis is not None:
        return x, axis
    backend = backend_of("a function along an axis", x)
    return Tensor(backend.reshape(x.raw, (x.size,)), backend), 0


def argmax(x: Tensor[B], axis: int | None = None, keepdims: bool = False) -> Tensor[B]:
    """The index of the first largest element, int64.

    >>> ops.argmax(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([1, 1], dtype=int64)
    """
    return Tensor(backend_of("argmax", x).argmax(x.raw, axis, keepdims), x.backend)


def argmin(x: Tensor[B], axis: int | None = None, keepdims: bool = False) -> Tensor[B]:
    """The index of the first smallest element, int64.

    >>> ops.argmin(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([0, 0], dtype=int64)
    """
    return Tensor(backend_of("argmin", x).argmin(x.raw, axis, keepdims), x.backend)


def any(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """Whether any element is non-zero.

    >>> ops.any(born.tensor([[0.0, 1.0], [0.0, 0.0]], backend), axis=0)
    Tensor([False,  True], dtype=bool)
    """
    return Tensor(backend_of("any", x).any(x.raw, axis, keepdims), x.backend)


def all(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """Whether every element is non-zero.

    >>> ops.all(born.tensor([[0.0, 1.0], [0.0, 1.0]], backend), axis=0)
    Tensor([False,  True], dtype=bool)
    """
    return Tensor(backend_of("all", x).all(x.raw, axis, keepdims), x.backend)


def argsort(x: Tensor[B], axis: int | None = -1, *, descending: bool = False) -> Tensor[B]:
    """The places of the elements in ascending order, int64; of equals the first first, NaN last.

    Args:
        x: any tensor.
        axis: along which, the last by default; None for all elements in one row.
        descending: the largest first, and NaN before them.

    >>> ops.argsort(born.tensor([3.0, 1.0, 2.0], backend))
    Tensor([1, 2, 0], dtype=int64)
    """
    backend = backend_of("argsort", x)
    x, axis = along(x, axis)
    if not descending:
        return Tensor(backend.argsort(x.raw, axis), backend)
    # From the end, so that of equals the first is still first.
    last = x.shape[normal_axis(axis, x.ndim)] - 1
    turned = backend.argsort(backend.flip(x.raw, axis), axis)
    return Tensor(backend.sub(last, backend.flip(turned, axis)), backend)
