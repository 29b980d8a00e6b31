"""Statistics: means and covariances, reductions that leave NaN out, and counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np

from born.backend import Axis, B, Scalar
from born.dtypes import INTEGRAL, is_floating, is_half
from born.errors import DomainError, ShapeError
from born.operands import backend_of, raw_operand
from born.ops.elementwise import isnan, where
from born.ops.linear import matmul
from born.ops.order import check_real, on_host, spread
from born.ops.reduction import (
    Mask,
    argmax,
    argmin,
    cumprod,
    cumsum,
    extreme,
    mask_of,
    mean,
    prod,
    std,
    var,
)
from born.ops.reduction import all as all_of
from born.ops.reduction import max as max_of
from born.ops.reduction import min as min_of
from born.ops.reduction import sum as sum_of
from born.ops.shape import (
    concatenate,
    reshape,
)
from born.raw import HostArray
from born.tensor import Tensor

# -- reductions ----------------------------------------------------------------------------


def ptp(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The range, the largest element less the smallest.

    >>> ops.ptp(born.tensor([1.0, 5.0, 2.0], backend))
    Tensor(4., dtype=float32)
    """
    return max_of(x, axis, keepdims) - min_of(x, axis, keepdims)


def count_nonzero(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """How many elements are not zero, int64.

    >>> ops.count_nonzero(born.tensor([1.0, 0.0, 2.0], backend))
    Tensor(2, dtype=int64)
    """
    backend_of("count_nonzero", x)
    return sum_of(x != 0, axis, keepdims)


@overload
def average(
    x: Tensor[B],
    axis: Axis = None,
    weights: Tensor[B] | None = None,
    returned: Literal[False] = False,
    *,
    keepdims: bool = False,
) -> Tensor[B]: ...
@overload
def average(
    x: Tensor[B],
    axis: Axis = None,
    weights: Tensor[B] | None = None,
    *,
    returned: Literal[True],
    keepdims: bool = False,
) -> tuple[Tensor[B], Tensor[B]]: ...
def average(
    x: Tensor[B],
    axis: Axis = None,
    weights: Tensor[B] | None = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Tensor[B] | tuple[Tensor[B], Tensor[B]]:
    """The mean, each element weighted: sum_i w_i x_i / sum_i w_i.

    With weights it waits for a device, since a sum of zero is a `DomainError`.

    Args:
        x: a floating tensor.
        axis: the axes, all by default.
        weights: of the shape of x, or a vector along a single axis; the mean without them.
        returned: whether to return the sums of the weights as well.
        keepdims: whether to keep the axes with length one.

    >>> weights = born.tensor([3.0, 1.0], backend)
    >>> ops.average(born.tensor([1.0, 5.0], backend), weights=weights)
    Tensor(2., dtype=float32)
    """
    backend_of("average", x)
    if weights is None:
        found = mean(x, axis, keepdims)
        if not returned:
            return found
        number = x.size // max(found.size, 1)
        return found, Tensor(x.backend.full(found.shape, number, found.dtype), x.backend)
    dtype = x.dtype
    if is_half(dtype):
        x, weights = x.astype("float32"), weights.astype("float32")
    weights = spread("average", x, weights, axis)
    total = _total_weight("average", weights, axis, keepdims)
    found = (sum_of(x * weights, axis, keepdims) / total).astype(dtype)
    return (found, total.astype(dtype)) if returned else found


def _total_weight(
    name: str, weights: Tensor[B], axis: Axis = None, keepdims: bool = False
) -> Tensor[B]:
    """The sums of weights, none of them zero."""
    total = sum_of(weights, axis, keepdims)
    if not bool(all_of(total.detach() != 0.0)):
        raise DomainError(
            f"expected weights in {name} whose sum is not 0, got a sum of 0, by which nothing is "
            "divided; leave out what nothing counts in"
        )
    return total


def cov(
    x: Tensor[B],
    y: Tensor[B] | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Tensor[B] | None = None,
    aweights: Tensor[B] | None = None,
) -> Tensor[B]:
    """The covariance matrix of variables.

    Args:
        x: a matrix, a variable a row; or one variable.
        y: more variables of the same observations, in the same form.
        rowvar: False if a variable is a column.
        bias: whether to divide by the number of observations n, not by n - 1.
        ddof: to divide by n less this, whatever `bias` says.
        fweights: how often each observation was made, a vector of integers.
        aweights: the weights of the observations, a vector of numbers from 0 on.

    >>> ops.cov(born.tensor([[1.0, 3.0], [2.0, 6.0]], backend))
    Tensor([[2., 4.],
            [4., 8.]], dtype=float32)
    """
    check_real("cov", x)
    if is_half(x.dtype):
        wide = [None if each is None else each.astype("float32") for each in (y, aweights)]
        single = x.astype("float32")
        return cov(single, wide[0], rowvar, bias, ddof, fweights, wide[1]).astype(x.dtype)
    rows = _variables(x, rowvar)
    if y is not None:
        raw_operand("cov", x.backend, y)
        rows = concatenate([rows, _variables(y, rowvar)])
    ddof = (0 if bias else 1) if ddof is None else ddof
    n = rows.shape[1]
    if fweights is None and aweights is None:
        centred = rows - mean(rows, 1, keepdims=True)
        freedom = n - ddof
        product = matmul(centred, centred.T)
        found = product / freedom if freedom > 0 else product * math.nan
    else:
        found = _weighted_covariance(rows, ddof, fweights, aweights)
    return reshape(found, ()) if rows.shape[0] == 1 else found


def _variables(x: Tensor[B], rowvar: bool) -> Tensor[B]:
    """A matrix of one variable in each row."""
    if x.ndim > 2:
        raise ShapeError(f"expected at most two axes in cov, got shape {x.shape}; reshape it")
    rows = x if rowvar or x.ndim < 2 else x.T
    return reshape(rows, (1, rows.size)) if rows.ndim < 2 else rows


def _weighted_covariance(
    rows: Tensor[B], ddof: int, fweights: Tensor[B] | None, aweights: Tensor[B] | None
) -> Tensor[B]:
    """The covariance of weighted observations, as NumPy defines it."""
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is None:
            continue
        raw_operand("cov", rows.backend, given)
        if given.shape != (rows.shape[1],):
            raise ShapeError(
                f"expected {name} as a vector of {rows.shape[1]} in cov, got shape {given.shape}; "
                "pass one weight for each observation"
            )
        if not bool(all_of(given.detach() >= 0)):
            raise DomainError(
                f"expected {name} from 0 on in cov, got one below or NaN; leave such observations "
                "out"
            )
    if fweights is not None and fweights.dtype.kind not in "iu":
        raise DomainError(
            f"expected integers as fweights in cov, got {fweights.dtype}; pass aweights"
        )
    counts = None if fweights is None else fweights.astype(rows.dtype)
    weights = counts if aweights is None else aweights
    assert weights is not None
    weights = weights * counts if counts is not None and aweights is not None else weights
    total = _total_weight("cov", weights)
    centred = rows - sum_of(rows * weights, 1, keepdims=True) / total
    if ddof == 0 or aweights is None:
        freedom = total - ddof
    else:
        freedom = total - ddof * sum_of(weights * aweights) / total
    return matmul(centred * weights, centred.T) / where(freedom > 0.0, freedom, math.nan)


def corrcoef(x: Tensor[B], y: Tensor[B] | None = None, rowvar: bool = True) -> Tensor[B]:
    """The matrix of correlation coefficients of variables; the arguments are those of `cov`.

    >>> ops.corrcoef(born.tensor([[1.0, 3.0], [2.0, 6.0]], backend)).numpy().round(5)
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    """
    matrix = cov(x, y, rowvar)
    if matrix.ndim == 0:
        return matrix / matrix
    index = np.arange(matrix.shape[0])
    deviations = matrix[index, index] ** 0.5
    return matrix / deviations[:, None] / deviations[None]


# -- of numbers, without NaN ---------------------------------------------------------------


def _numbers(name: str, x: Tensor[B], other: float) -> Tensor[B]:
    """x, with another number for NaN."""
    backend_of(name, x)
    return x if x.dtype.kind in INTEGRAL else where(isnan(x), other, x)


def _known(name: str, x: Tensor[B], where: Mask) -> Tensor[B] | None:
    """Which elements are numbers and count; None if all are and do."""
    backend_of(name, x)
    given = mask_of(name, x, where)
    counts = None if given is None else Tensor(given, x.backend)
    if x.dtype.kind in INTEGRAL:
        return counts
    return x == x if counts is None else counts & (x == x)


def nansum(
    x: Tensor[B],
    axis: Axis = None,
    keepdims: bool = False,
    *,
    initial: Scalar | None = None,
    where: Mask = None,
) -> Tensor[B]:
    """The sum of the elements that are numbers.

    >>> ops.nansum(born.tensor([1.0, float("nan")], backend))
    Tensor(1., dtype=float32)
    """
    known = _known("nansum", x, where)
    return sum_of(x, axis, keepdims, initial=initial, where=known)


def nanprod(
    x: Tensor[B],
    axis: Axis = None,
    keepdims: bool = False,
    *,
    initial: Scalar | None = None,
    where: Mask = None,
) -> Tensor[B]:
    """The product of the elements that are numbers.

    >>> ops.nanprod(born.tensor([2.0, float("nan")], backend))
    Tensor(2., dtype=float32)
    """
    known = _known("nanprod", x, where)
    return prod(x, axis, keepdims, initial=initial, where=known)


def nancumsum(x: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """The running sum, NaN counted as zero.

    >>> ops.nancumsum(born.tensor([1.0, float("nan"), 2.0], backend))
    Tensor([1., 1., 3.], dtype=float32)
    """
    return cumsum(_numbers("nancumsum", x, 0.0), axis)


def nancumprod(x: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """The running product, NaN counted as one.

    >>> ops.nancumprod(born.tensor([2.0, float("nan"), 3.0], backend))
    Tensor([2., 2., 6.], dtype=float32)
    """
    return cumprod(_numbers("nancumprod", x, 1.0), axis)


def nanmean(
    x: Tensor[B], axis: Axis = None, keepdims: bool = False, *, where: Mask = None
) -> Tensor[B]:
    """The mean of the elements that are numbers; NaN of none.

    >>> ops.nanmean(born.tensor([1.0, float("nan"), 3.0], backend))
    Tensor(2., dtype=float32)
    """
    check_real("nanmean", x)
    return mean(x, axis, keepdims, where=_known("nanmean", x, where))


def nanvar(
    x: Tensor[B], axis: Axis = None, ddof: int = 0, keepdims: bool = False, *, where: Mask = None
) -> Tensor[B]:
    """The variance of the elements that are numbers.

    >>> ops.nanvar(born.tensor([1.0, float("nan"), 3.0], backend))
    Tensor(1., dtype=float32)
    """
    check_real("nanvar", x)
    return var(x, axis, ddof, keepdims, where=_known("nanvar", x, where))


def nanstd(
    x: Tensor[B], axis: Axis = None, ddof: int = 0, keepdims: bool = False, *, where: Mask = None
) -> Tensor[B]:
    """The standard deviation of the elements that are numbers; its gradient is that of `std`.

    >>> ops.nanstd(born.tensor([1.0, float("nan"), 3.0], backend))
    Tensor(1., dtype=float32)
    """
    check_real("nanstd", x)
    return std(x, axis, ddof, keepdims, where=_known("nanstd", x, where))


def nanmax(
    x: Tensor[B],
    axis: Axis = None,
    keepdims: bool = False,
    *,
    initial: Scalar | None = None,
    where: Mask = None,
) -> Tensor[B]:
    """The largest of the elements that are numbers; NaN of none.

    >>> ops.nanmax(born.tensor([1.0, float("nan")], backend))
    Tensor(1., dtype=float32)
    """
    return _nan_extreme("nanmax", -math.inf, x, axis, keepdims, initial, where)


def nanmin(
    x: Tensor[B],
    axis: Axis = None,
    keepdims: bool = False,
    *,
    initial: Scalar | None = None,
    where: Mask = None,
) -> Tensor[B]:
    """The smallest of the elements that are numbers; NaN of none.

    >>> ops.nanmin(born.tensor([1.0, float("nan")], backend))
    Tensor(1., dtype=float32)
    """
    return _nan_extreme("nanmin", math.inf, x, axis, keepdims, initial, where)


def _nan_extreme(
    name: str,
    least: float,
    x: Tensor[B],
    axis: Axis,
    keepdims: bool,
    initial: Scalar | None,
    counted: Mask,
) -> Tensor[B]:
    numbers = _numbers(name, x, least)
    found = extreme(name, numbers, axis, keepdims, initial, counted)
    if initial is not None or not is_floating(x.dtype):
        return found
    return where(_counts(x, axis, keepdims) == 0, math.nan, found)


def _counts(x: Tensor[B], axis: Axis, keepdims: bool = False) -> Tensor[B]:
    """How many numbers there are."""
    return sum_of(x == x, axis, keepdims)


def nanargmax(x: Tensor[B], axis: int | None = None, keepdims: bool = False) -> Tensor[B]:
    """The place of the largest of the elements that are numbers, int64.

    It waits for a device, since of NaN alone it is a `DomainError`.

    >>> ops.nanargmax(born.tensor([float("nan"), 1.0], backend))
    Tensor(1, dtype=int64)
    """
    _check_numbers("nanargmax", x, axis)
    return argmax(_numbers("nanargmax", x, -math.inf), axis, keepdims)


def nanargmin(x: Tensor[B], axis: int | None = None, keepdims: bool = False) -> Tensor[B]:
    """The place of the smallest of the elements that are numbers, int64; as `nanargmax`.

    >>> ops.nanargmin(born.tensor([float("nan"), 1.0], backend))
    Tensor(1, dtype=int64)
    """
    _check_numbers("nanargmin", x, axis)
    return argmin(_numbers("nanargmin", x, math.inf), axis, keepdims)


def _check_numbers(name: str, x: Tensor[B], axis: int | None) -> None:
    backend_of(name, x)
    if not bool(all_of(_counts(x.detach(), axis) > 0)):
        raise DomainError(
            f"expected a number in each slice in {name}, got one of NaN alone; "
            "replace them with nan_to_num"
        )


# -- counts --------------------------------------------------------------------------------


def bincount(x: Tensor[B], weights: Tensor[B] | None = None, minlength: int = 0) -> Tensor[B]:
    """How often each integer from 0 on is there, or the sum of their weights.

    It waits for a device, for the largest integer.

    Args:
        x: a vector of integers from 0 on.
        weights: of each of them, a floating vector; through them a gradient passes.
        minlength: the least length of the result.

    >>> ops.bincount(born.tensor([0, 2, 2], backend))
    Tensor([1, 0, 2], dtype=int64)
    """
    backend = backend_of("bincount", x)
    if x.ndim != 1 or x.dtype.kind not in "iu" or (x.size and int(min_of(x)) < 0):
        raise DomainError(
            f"expected a vector of integers from 0 on in bincount, got shape {x.shape} of "
            f"{x.dtype}; histogram counts other numbers"
        )
    if weights is not None and raw_operand("bincount", backend, weights).shape != x.shape:
        raise ShapeError(
            f"expected a weight for each of the {x.size} integers in bincount, got shape "
            f"{weights.shape}; pass one of shape {x.shape}"
        )
    length = int(max_of(x)) + 1 if x.size else 0
    added = Tensor(backend.ones(x.shape, "int64"), backend) if weights is None else weights
    zeros = backend.zeros((length if length > minlength else minlength,), added.dtype)
    return Tensor(backend.index_add(zeros, x.raw, added.raw), backend)


def histogram(
    x: Tensor[B],
    bins: int | Sequence[float] | HostArray = 10,
    range: tuple[float, float] | None = None,
    weights: Tensor[B] | None = None,
    density: bool = False,
) -> tuple[Tensor[B], Tensor[B]]:
    """The number of elements in each bin, and the edges of the bins; no gradient.

    It is counted on the host, for which a device is waited. The arguments are those of
    `numpy.histogram`.

    >>> counts, edges = ops.histogram(born.tensor([0.0, 1.0, 1.0], backend), bins=2)
    >>> counts.tolist(), edges.tolist()
    ([1, 2], [0.0, 0.5, 1.0])
    """
    backend = backend_of("histogram", x)
    given: Any = bins
    weighted = None if weights is None else on_host(weights)
    try:
        counts, edges = np.histogram(on_host(x), given, range, density, weighted)
    except (TypeError, ValueError) as error:
        raise DomainError(
            f"expected bins of finite numbers in histogram, got bins={bins!r} and range={range} "
            f"({error}); say the range, or drop what is not finite"
        ) from error
    kind = x.dtype if is_floating(x.dtype) else np.dtype(np.float64)
    found = (counts.astype(np.int64) if counts.dtype.kind in "iu" else counts, edges.astype(kind))
    first, second = (Tensor(backend.from_numpy(each), backend) for each in found)
    return first, second
