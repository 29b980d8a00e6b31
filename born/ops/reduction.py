"""Reductions: `axis` and `keepdims` as in NumPy, over all axes by default.

`where=` is a tensor or an array of bools, broadcast against x, that says which elements count;
`initial=` is a number that counts beside them.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from born.backend import Axis, B, Scalar
from born.backend.arguments import check_floating, normal_axes, normal_axis
from born.dtypes import INTEGRAL, is_half
from born.errors import DomainError, DTypeError
from born.operands import as_number, backend_of, raw_operand
from born.raw import HostArray, RawTensor
from born.tensor import Tensor, is_tensor

Mask: TypeAlias = "Tensor[Any] | HostArray | bool | None"
"""Which elements count: all, without one."""


def mask_of(name: str, x: Tensor[B], where: Mask) -> RawTensor | None:
    """A mask of bools that broadcasts to x, or None if all elements count."""
    if where is None or where is True:
        return None
    backend = backend_of(name, x)
    raw = (
        raw_operand(name, backend, where)
        if is_tensor(where)
        else backend.from_numpy(np.asarray(where))
    )
    if raw.dtype != np.bool_:
        raise DTypeError(
            f"expected bools as where= of {name}, got {raw.dtype}; compare, as with x > 0"
        )
    return backend.broadcast_to(raw, x.shape)


def _counted(name: str, x: Tensor[B], where: Mask, other: Scalar) -> Tensor[B]:
    """x, with another number where an element does not count."""
    mask = mask_of(name, x, where)
    if mask is None:
        return x
    other = bool(other) if x.dtype.kind == "b" else other
    return Tensor(x.backend.where(mask, x.raw, other), x.backend)


def extreme(
    name: str, x: Tensor[B], axis: Axis, keepdims: bool, initial: Scalar | None, where: Mask
) -> Tensor[B]:
    """The largest or the smallest element, as the name ends in `max` or `min`."""
    backend = backend_of(name, x)
    reduce, compare = (
        (backend.max, backend.maximum) if name.endswith("max") else (backend.min, backend.minimum)
    )
    if where is not None and where is not True:
        if initial is None:
            raise DomainError(
                f"expected initial= beside where= in {name}, got none; pass the result of no "
                "elements"
            )
        x = _counted(name, x, where, _end(name, x))
    if initial is None:
        return Tensor(reduce(x.raw, axis, keepdims), backend)
    initial = as_number(name, initial)
    axes = normal_axes(axis, x.ndim)
    if not math.prod(x.shape[i] for i in axes):
        shape = backend.sum(x.raw, axis, keepdims).shape
        return Tensor(backend.full(shape, initial, x.dtype), backend)
    return Tensor(compare(reduce(x.raw, axis, keepdims), initial), backend)


def _end(name: str, x: Tensor[B]) -> Scalar:
    """What no element is below, or above."""
    if x.dtype.kind == "b":
        return name.endswith("min")
    if x.dtype.kind in INTEGRAL:
        limits = np.iinfo(x.dtype)
        return int(limits.min if name.endswith("max") else limits.max)
    return -math.inf if name.endswith("max") else math.inf


def _number_of(x: Tensor[B], mask: RawTensor, axis: Axis, keepdims: bool) -> Tensor[B]:
    """How many elements count, NaN for none."""
    backend = x.backend
    count = backend.astype(backend.sum(mask, axis, keepdims), x.dtype)
    return Tensor(count, backend)


def _over(total: Tensor[B], freedom: Tensor[B]) -> Tensor[B]:
    """A total over a number, NaN where that is not positive."""
    backend = total.backend
    positive = backend.greater(freedom.raw, 0)
    return Tensor(backend.div(total.raw, backend.where(positive, freedom.raw, math.nan)), backend)


def _distances(name: str, x: Tensor[B], mask: RawTensor, axis: Axis) -> Tensor[B]:
    """The distances from the mean of those that count, zero of the others."""
    backend = x.backend
    inside = Tensor(backend.where(mask, x.raw, 0), backend)
    total = sum(inside, axis, True)
    rest = inside - _over(total, _number_of(x, mask, axis, True))
    return Tensor(backend.where(mask, rest.raw, 0), backend)


def sum(
    x: Tensor[B],
    axis: Axis = None,
    keepdims: bool = False,
    *,
    initial: Scalar | None = None,
    where: Mask = None,
) -> Tensor[B]:
    """The sum, sum_i x_i; of integers and bools, int64. Halves add up in float32.

    >>> ops.sum(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([4., 6.], dtype=float32)
    """
    backend = backend_of("sum", x)
    if where is not None:
        x = _counted("sum", x, where, 0)
    found = Tensor(backend.sum(x.raw, axis, keepdims), backend)
    return found + as_number("sum", initial) if initial is not None else found


def mean(
    x: Tensor[B], axis: Axis = None, keepdims: bool = False, *, where: Mask = None
) -> Tensor[B]:
    """The arithmetic mean of floating numbers, sum_i x_i / n; NaN of none.

    >>> ops.mean(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([2., 3.], dtype=float32)
    """
    backend = backend_of("mean", x)
    mask = mask_of("mean", x, where)
    if mask is None:
        return Tensor(backend.mean(x.raw, axis, keepdims), backend)
    check_floating("mean", x.raw)
    if is_half(x.dtype):
        return mean(x.astype("float32"), axis, keepdims, where=where).astype(x.dtype)
    inside = Tensor(backend.where(mask, x.raw, 0), backend)
    return _over(sum(inside, axis, keepdims), _number_of(x, mask, axis, keepdims))


def var(
    x: Tensor[B], axis: Axis = None, ddof: int = 0, keepdims: bool = False, *, where: Mask = None
) -> Tensor[B]:
    """The variance, sum_i (x_i - mean(x))^2 / (n - ddof); NaN where n - ddof is not positive.

    >>> ops.var(born.tensor([1.0, 3.0], backend))
    Tensor(1., dtype=float32)
    """
    backend = backend_of("var", x)
    mask = mask_of("var", x, where)
    if mask is None:
        return Tensor(backend.var(x.raw, axis, ddof, keepdims), backend)
    check_floating("var", x.raw)
    if is_half(x.dtype):
        return var(x.astype("float32"), axis, ddof, keepdims, where=where).astype(x.dtype)
    rest = _distances("var", x, mask, axis)
    return _over(sum(rest * rest, axis, keepdims), _number_of(x, mask, axis, keepdims) - ddof)


def std(
    x: Tensor[B], axis: Axis = None, ddof: int = 0, keepdims: bool = False, *, where: Mask = None
) -> Tensor[B]:
    """The standard deviation, the square root of `var`.

    Where all elements are equal its gradient is zero, which is a subgradient; that of
    `sqrt(var(x))` is NaN. Of neither is there a second derivative there.

    >>> ops.std(born.tensor([1.0, 3.0], backend))
    Tensor(1., dtype=float32)
    """
    backend = backend_of("std", x)
    mask = mask_of("std", x, where)
    if mask is None:
        return Tensor(backend.std(x.raw, axis, ddof, keepdims), backend)
    check_floating("std", x.raw)
    if is_half(x.dtype):
        return std(x.astype("float32"), axis, ddof, keepdims, where=where).astype(x.dtype)
    length = norm(_distances("std", x, mask, axis), axis, keepdims)
    freedom = _number_of(x, mask, axis, keepdims) - ddof
    return _over(length, Tensor(backend.sqrt(backend.maximum(freedom.raw, 0)), backend))


def prod(
    x: Tensor[B],
    axis: Axis = None,
    keepdims: bool = False,
    *,
    initial: Scalar | None = None,
    where: Mask = None,
) -> Tensor[B]:
    """The product, x_1 ... x_n; of integers and bools, int64. Its gradient is exact at zeros too.

    >>> ops.prod(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([3., 8.], dtype=float32)
    """
    backend = backend_of("prod", x)
    if where is not None:
        x = _counted("prod", x, where, 1)
    found = Tensor(backend.prod(x.raw, axis, keepdims), backend)
    return found * as_number("prod", initial) if initial is not None else found


def max(
    x: Tensor[B],
    axis: Axis = None,
    keepdims: bool = False,
    *,
    initial: Scalar | None = None,
    where: Mask = None,
) -> Tensor[B]:
    """The largest element; NaN where there is one. Those that tie share the gradient equally.

    >>> ops.max(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([3., 4.], dtype=float32)
    """
    return extreme("max", x, axis, keepdims, initial, where)


def min(
    x: Tensor[B],
    axis: Axis = None,
    keepdims: bool = False,
    *,
    initial: Scalar | None = None,
    where: Mask = None,
) -> Tensor[B]:
    """The smallest element; NaN where there is one. Those that tie share the gradient equally.

    >>> ops.min(born.tensor([[1.0, 2.0], [3.0, 4.0]], backend), axis=0)
    Tensor([1., 2.], dtype=float32)
    """
    return extreme("min", x, axis, keepdims, initial, where)


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


def any(
    x: Tensor[B], axis: Axis = None, keepdims: bool = False, *, where: Mask = None
) -> Tensor[B]:
    """Whether any element is non-zero.

    >>> ops.any(born.tensor([[0.0, 1.0], [0.0, 0.0]], backend), axis=0)
    Tensor([False,  True], dtype=bool)
    """
    backend = backend_of("any", x)
    mask = mask_of("any", x, where)
    raw = x.raw if mask is None else backend.where(mask, backend.not_equal(x.raw, 0), False)
    return Tensor(backend.any(raw, axis, keepdims), backend)


def all(
    x: Tensor[B], axis: Axis = None, keepdims: bool = False, *, where: Mask = None
) -> Tensor[B]:
    """Whether every element is non-zero.

    >>> ops.all(born.tensor([[0.0, 1.0], [0.0, 1.0]], backend), axis=0)
    Tensor([False,  True], dtype=bool)
    """
    backend = backend_of("all", x)
    mask = mask_of("all", x, where)
    raw = x.raw if mask is None else backend.where(mask, backend.not_equal(x.raw, 0), True)
    return Tensor(backend.all(raw, axis, keepdims), backend)


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
