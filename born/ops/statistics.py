"""Order, quantiles and statistics: what is composed of sorts, sums and running maxima.

Sorting passes the gradient of each result to the element it was; of equal elements the first in
memory comes first, as in PyTorch and JAX with stable sorts. Counts and places have no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from born.backend import Axis, B
from born.backend.arguments import check_floating, normal_axes, normal_axis
from born.dtypes import INTEGRAL, is_floating, is_half
from born.errors import DomainError, ShapeError
from born.operands import backend_of, raw_operand
from born.ops.elementwise import floor, isfinite, isnan, logaddexp, maximum, minimum, where
from born.ops.indexing import gather, searchsorted
from born.ops.linear import matmul
from born.ops.reduction import all as all_of
from born.ops.reduction import along, argmax, argmin, argsort, cumprod, cumsum, mean, norm, prod
from born.ops.reduction import any as any_of
from born.ops.reduction import max as max_of
from born.ops.reduction import min as min_of
from born.ops.reduction import sum as sum_of
from born.ops.shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    flip,
    moveaxis,
    ravel,
    reshape,
    sliding_window,
)
from born.raw import HostArray, Shape
from born.tensor import Tensor
from born.validation import integer, number

Method: TypeAlias = Literal[
    "linear",
    "lower",
    "higher",
    "midpoint",
    "nearest",
    "inverted_cdf",
    "averaged_inverted_cdf",
    "closest_observation",
    "interpolated_inverted_cdf",
    "hazen",
    "weibull",
    "median_unbiased",
    "normal_unbiased",
]
"""How a quantile between two elements is estimated: NumPy's names (Hyndman and Fan, 1996)."""


def _check_real(name: str, x: Tensor[B]) -> None:
    backend_of(name, x)
    check_floating(name, x.raw)


# -- order ---------------------------------------------------------------------------------


def sort(x: Tensor[B], axis: int | None = -1, *, descending: bool = False) -> Tensor[B]:
    """The elements in ascending order; the arguments are those of `argsort`.

    >>> ops.sort(born.tensor([3.0, 1.0, 2.0], backend))
    Tensor([1., 2., 3.], dtype=float32)
    """
    x, axis = along(x, axis)
    return gather(x, argsort(x, axis, descending=descending), axis)


def partition(x: Tensor[B], kth: int, axis: int | None = -1) -> Tensor[B]:
    """The elements with the kth in its sorted place: here all of them are sorted.

    >>> ops.partition(born.tensor([3.0, 1.0, 2.0], backend), 1)
    Tensor([1., 2., 3.], dtype=float32)
    """
    x, axis = along(x, axis)
    normal_axis(kth, x.shape[normal_axis(axis, x.ndim)])
    return sort(x, axis)


def argpartition(x: Tensor[B], kth: int, axis: int | None = -1) -> Tensor[B]:
    """The places of the elements in the order of `partition`, int64.

    >>> ops.argpartition(born.tensor([3.0, 1.0, 2.0], backend), 1)
    Tensor([1, 2, 0], dtype=int64)
    """
    x, axis = along(x, axis)
    normal_axis(kth, x.shape[normal_axis(axis, x.ndim)])
    return argsort(x, axis)


def topk(
    x: Tensor[B], k: int, axis: int = -1, *, largest: bool = True
) -> tuple[Tensor[B], Tensor[B]]:
    """The k largest elements along an axis in descending order, and their places.

    Args:
        x: any tensor.
        k: how many, at most the length of the axis.
        axis: along which, the last by default.
        largest: False for the smallest ones, in ascending order.

    >>> ops.topk(born.tensor([3.0, 1.0, 2.0], backend), 2)
    (Tensor([3., 2.], dtype=float32), Tensor([0, 2], dtype=int64))
    """
    axis, k = normal_axis(axis, x.ndim), integer("k", k, None, ShapeError)
    if not 0 <= k <= x.shape[axis]:
        raise ShapeError(
            f"expected k from 0 to {x.shape[axis]} in topk of shape {x.shape} along axis {axis}, "
            f"got {k}; ask for as many as there are"
        )
    index = argsort(x, axis, descending=largest)[(*(slice(None),) * axis, slice(0, k))]
    return gather(x, index, axis), index


def unique(
    x: Tensor[B],
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
) -> Any:
    """The different elements, or slices along an axis, in ascending order.

    They are found on the host, for which a device is waited. The gradient goes to the first of
    equals.

    Args:
        x: any tensor.
        return_index: whether to return where each stands first.
        return_inverse: whether to return the number of each element among them.
        return_counts: whether to return how often each is there.
        axis: along which slices are compared; by default all elements are.

    >>> ops.unique(born.tensor([2, 1, 2], backend), return_counts=True)
    (Tensor([1, 2], dtype=int64), Tensor([1, 2], dtype=int64))
    """
    backend = backend_of("unique", x)
    host = _on_host(x)
    _, first, inverse, counts = np.unique(
        host, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    row = ravel(x) if axis is None else x
    values = row[(*(slice(None),) * (0 if axis is None else normal_axis(axis, x.ndim)), first)]
    extra = ((return_index, first), (return_inverse, inverse), (return_counts, counts))
    asked = [
        Tensor(backend.from_numpy(np.asarray(each)), backend) for wanted, each in extra if wanted
    ]
    return (values, *asked) if asked else values


def _on_host(x: Tensor[B]) -> HostArray:
    """The elements for NumPy, which neither sorts nor counts bfloat16."""
    host = x.detach().numpy()
    return host.astype(np.float32) if host.dtype.kind == "V" else host


# -- quantiles -----------------------------------------------------------------------------

_CONTINUOUS: Final[dict[str, tuple[float, float]]] = {
    "linear": (1.0, 1.0),
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1.0 / 3.0, 1.0 / 3.0),
    "normal_unbiased": (3.0 / 8.0, 3.0 / 8.0),
}
"""The methods that interpolate at n q + alpha + q (1 - alpha - beta) - 1, and their alpha, beta."""

_DISCRETE: Final[dict[str, Callable[[Any, int], Any]]] = {
    "lower": lambda q, n: np.floor((n - 1) * q),
    "higher": lambda q, n: np.ceil((n - 1) * q),
    "nearest": lambda q, n: np.rint((n - 1) * q),
    "midpoint": lambda q, n: 0.5 * (np.floor((n - 1) * q) + np.ceil((n - 1) * q)),
    "inverted_cdf": lambda q, n: np.ceil(n * q) - 1,
    "averaged_inverted_cdf": lambda q, n: 0.5 * (np.ceil(n * q) + np.floor(n * q + 1)) - 1,
    "closest_observation": lambda q, n: np.rint(n * q) - 1,
}
"""The places that the others take, of q and the number of elements."""


def quantile(
    x: Tensor[B],
    q: float | Sequence[float] | HostArray,
    axis: Axis = None,
    keepdims: bool = False,
    method: Method = "linear",
    *,
    weights: Tensor[B] | None = None,
) -> Tensor[B]:
    """The quantiles of the elements along the axes; NaN where there is one, or nothing.

    Args:
        x: a floating tensor.
        q: a number from 0 to 1, or several, whose axes come first in the result. It is constant.
        axis: the axes, all by default.
        keepdims: whether to keep them with length one.
        method: how to estimate one between two elements, NumPy's names; `"linear"` by default.
        weights: of the elements, from 0 on, constant: of the shape of x, or a vector along a single
            axis. As in NumPy, `method="inverted_cdf"` alone takes them.

    >>> ops.quantile(born.tensor([1.0, 2.0, 4.0], backend), [0.5, 0.75])
    Tensor([2., 3.], dtype=float32)
    """
    _check_real("quantile", x)
    wanted = _probabilities(q)
    rows = _rows(x, axis)
    n = rows.shape[-1]
    if weights is not None:
        if method != "inverted_cdf":
            raise DomainError(
                f"expected method='inverted_cdf' beside weights in quantile, got {method!r}; use it"
            )
        weights = _rows(_spread("quantile", x, weights, axis), axis)
    if method in _CONTINUOUS:
        alpha, beta = _CONTINUOUS[method]
        places = n * wanted + alpha + wanted * (1.0 - alpha - beta) - 1.0
    elif method in _DISCRETE:
        places = _DISCRETE[method](wanted, n)
    else:
        raise DomainError(
            f"expected a method of {', '.join([*_CONTINUOUS, *_DISCRETE])} in quantile, got "
            f"{method!r}; use one of them"
        )
    if not n:
        nothing = x.backend.full((*rows.shape[:-1], wanted.size), math.nan, x.dtype)
        found = Tensor(nothing, x.backend)
    elif weights is not None:
        found = _weighted(rows, wanted, weights)
    else:
        ordered = sort(rows)
        places = places.clip(0, n - 1)
        low = np.floor(places).astype(np.int64)
        rest = Tensor(x.backend.from_numpy((places - low).astype(np.float64)), x.backend)
        found = _between(ordered[..., low], ordered[..., np.ceil(places).astype(np.int64)], rest)
        found = where(isnan(ordered[..., -1:]), math.nan, found)
    return _restored(found, x, np.shape(q), axis, keepdims)


def nanquantile(
    x: Tensor[B],
    q: float | Sequence[float] | HostArray,
    axis: Axis = None,
    keepdims: bool = False,
    method: Method = "linear",
) -> Tensor[B]:
    """As `quantile`, of the elements that are numbers; of the methods those that interpolate.

    >>> ops.nanquantile(born.tensor([1.0, 2.0, float("nan")], backend), 0.5)
    Tensor(1.5, dtype=float32)
    """
    _check_real("nanquantile", x)
    wanted = _probabilities(q)
    if method not in _CONTINUOUS:
        raise DomainError(
            f"expected a method of {', '.join(_CONTINUOUS)} in nanquantile, got {method!r}; use "
            "one of them"
        )
    alpha, beta = _CONTINUOUS[method]
    ordered = sort(_rows(x, axis))  # NaN last
    if not ordered.shape[-1]:
        return quantile(x, q, axis, keepdims)
    # The count of a row may be beyond what a half holds.
    n = sum_of(ordered == ordered, -1, keepdims=True).astype("float64")
    share = Tensor(x.backend.from_numpy(wanted), x.backend)
    places = n * share + (alpha + share * (1.0 - alpha - beta) - 1.0)
    places = maximum(minimum(places, n - 1.0), 0.0)
    low = floor(places)
    high = minimum(low + 1.0, maximum(n - 1.0, 0.0))
    below, above = (gather(ordered, each.astype("int64"), -1) for each in (low, high))
    return _restored(_between(below, above, places - low), x, np.shape(q), axis, keepdims)


def _weighted(rows: Tensor[B], wanted: HostArray, weights: Tensor[B]) -> Tensor[B]:
    """The first elements up to which their share of the weights is what is wanted."""
    weights = weights.detach().astype("float64")
    if bool(any_of(weights < 0.0)):
        raise DomainError(
            "expected weights from 0 on in quantile, got one below; take their magnitudes"
        )
    order = argsort(rows)
    shares = cumsum(gather(weights, order, -1), -1)
    shares = expand_dims(shares / shares[..., -1:], -2)
    at = Tensor(rows.backend.from_numpy(wanted[:, None]), rows.backend)
    # What weighs nothing is no quantile, not even the lowest.
    places = sum_of((shares < at) | (shares == 0.0), -1)
    ordered = gather(rows, order, -1)
    found = gather(ordered, minimum(places, rows.shape[-1] - 1), -1)
    return where(isnan(ordered[..., -1:]), math.nan, found)


def _spread(name: str, x: Tensor[B], weights: Tensor[B], axis: Axis) -> Tensor[B]:
    """Weights of the shape of x, of such or of a vector along an axis."""
    raw_operand(name, backend_of(name, x), weights)
    if weights.shape == x.shape:
        return weights
    if not isinstance(axis, int) or weights.shape != (x.shape[normal_axis(axis, x.ndim)],):
        raise ShapeError(
            f"expected weights of shape {x.shape} in {name}, or a vector along one axis, got "
            f"shape {weights.shape} and axis={axis}; broadcast them first"
        )
    place = normal_axis(axis, x.ndim)
    column = reshape(weights, tuple(-1 if i == place else 1 for i in range(x.ndim)))
    return broadcast_to(column, x.shape)


def _probabilities(q: object) -> HostArray:
    try:
        wanted = np.asarray(q, np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise DomainError(f"expected quantiles from 0 to 1, got {q!r}; pass numbers") from error
    if not ((wanted >= 0) & (wanted <= 1)).all():
        raise DomainError(f"expected quantiles from 0 to 1, got {q!r}; divide percentages by 100")
    return wanted


def _rows(x: Tensor[B], axis: Axis) -> Tensor[B]:
    """The axes together, as the last one."""
    axes = normal_axes(axis, x.ndim)
    moved = moveaxis(x, axes, tuple(range(-len(axes), 0))) if axes else expand_dims(x, -1)
    rest = x.ndim - len(axes)
    return reshape(moved, (*moved.shape[:rest], math.prod(moved.shape[rest:])))


def _between(low: Tensor[B], high: Tensor[B], rest: Tensor[B]) -> Tensor[B]:
    """Between two numbers, which is one of them where nothing is left."""
    part = rest.astype(low.dtype)
    return where(rest > 0, low + where(rest > 0, high - low, 0.0) * part, low)


def _restored(
    found: Tensor[B], x: Tensor[B], shape: Shape, axis: Axis, keepdims: bool
) -> Tensor[B]:
    """Results in the last axis, in the shape of what was asked, which comes first."""
    axes = normal_axes(axis, x.ndim)
    kept = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    if keepdims:
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return reshape(moveaxis(found, -1, 0), (*shape, *kept))


def percentile(
    x: Tensor[B],
    q: float | Sequence[float] | HostArray,
    axis: Axis = None,
    keepdims: bool = False,
    method: Method = "linear",
    *,
    weights: Tensor[B] | None = None,
) -> Tensor[B]:
    """As `quantile`, of q in percent.

    >>> ops.percentile(born.tensor([1.0, 2.0, 4.0], backend), 75)
    Tensor(3., dtype=float32)
    """
    share = np.asarray(q, np.float64) / 100.0
    return quantile(x, share, axis, keepdims, method, weights=weights)


def nanpercentile(
    x: Tensor[B],
    q: float | Sequence[float] | HostArray,
    axis: Axis = None,
    keepdims: bool = False,
    method: Method = "linear",
) -> Tensor[B]:
    """As `nanquantile`, of q in percent.

    >>> ops.nanpercentile(born.tensor([1.0, 2.0, float("nan")], backend), 50)
    Tensor(1.5, dtype=float32)
    """
    return nanquantile(x, np.asarray(q, np.float64) / 100.0, axis, keepdims, method)


def median(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The middle element in ascending order, or the mean of two; NaN where there is one.

    >>> ops.median(born.tensor([1.0, 2.0, 4.0, 9.0], backend))
    Tensor(3., dtype=float32)
    """
    return quantile(x, 0.5, axis, keepdims)


def nanmedian(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """As `median`, of the elements that are numbers.

    >>> ops.nanmedian(born.tensor([1.0, 2.0, float("nan")], backend))
    Tensor(1.5, dtype=float32)
    """
    return nanquantile(x, 0.5, axis, keepdims)


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


def average(
    x: Tensor[B], axis: Axis = None, weights: Tensor[B] | None = None, keepdims: bool = False
) -> Tensor[B]:
    """The mean, each element weighted: sum_i w_i x_i / sum_i w_i.

    Args:
        x: a floating tensor.
        axis: the axes, all by default.
        weights: of the shape of x, or a vector along a single axis; the mean without them.
        keepdims: whether to keep the axes with length one.

    >>> weights = born.tensor([3.0, 1.0], backend)
    >>> ops.average(born.tensor([1.0, 5.0], backend), weights=weights)
    Tensor(2., dtype=float32)
    """
    if weights is None:
        return mean(x, axis, keepdims)
    if is_half(x.dtype):
        wide = weights.astype("float32")
        return average(x.astype("float32"), axis, wide, keepdims).astype(x.dtype)
    weights = _spread("average", x, weights, axis)
    return sum_of(x * weights, axis, keepdims) / sum_of(weights, axis, keepdims)


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
    _check_real("cov", x)
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
    if fweights is not None and fweights.dtype.kind not in "iu":
        raise DomainError(
            f"expected integers as fweights in cov, got {fweights.dtype}; pass aweights"
        )
    counts = None if fweights is None else fweights.astype(rows.dtype)
    weights = counts if aweights is None else aweights
    assert weights is not None
    weights = weights * counts if counts is not None and aweights is not None else weights
    total = sum_of(weights)
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


def _numbers(x: Tensor[B], other: float) -> Tensor[B]:
    """x, with another number for NaN."""
    backend_of("a reduction", x)
    return x if x.dtype.kind in INTEGRAL else where(isnan(x), other, x)


def nansum(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The sum of the elements that are numbers.

    >>> ops.nansum(born.tensor([1.0, float("nan")], backend))
    Tensor(1., dtype=float32)
    """
    return sum_of(_numbers(x, 0.0), axis, keepdims)


def nanprod(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The product of the elements that are numbers.

    >>> ops.nanprod(born.tensor([2.0, float("nan")], backend))
    Tensor(2., dtype=float32)
    """
    return prod(_numbers(x, 1.0), axis, keepdims)


def nancumsum(x: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """The running sum, NaN counted as zero.

    >>> ops.nancumsum(born.tensor([1.0, float("nan"), 2.0], backend))
    Tensor([1., 1., 3.], dtype=float32)
    """
    return cumsum(_numbers(x, 0.0), axis)


def nancumprod(x: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """The running product, NaN counted as one.

    >>> ops.nancumprod(born.tensor([2.0, float("nan"), 3.0], backend))
    Tensor([2., 2., 6.], dtype=float32)
    """
    return cumprod(_numbers(x, 1.0), axis)


def _counts(x: Tensor[B], axis: Axis, keepdims: bool = False) -> Tensor[B]:
    """How many numbers there are."""
    return sum_of(x == x, axis, keepdims)


def nanmean(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The mean of the elements that are numbers; NaN of none.

    >>> ops.nanmean(born.tensor([1.0, float("nan"), 3.0], backend))
    Tensor(2., dtype=float32)
    """
    _check_real("nanmean", x)
    if is_half(x.dtype):
        return nanmean(x.astype("float32"), axis, keepdims).astype(x.dtype)
    return _over(nansum(x, axis, keepdims), _counts(x, axis, keepdims))


def _over(total: Tensor[B], counts: Tensor[B]) -> Tensor[B]:
    """A total over counts, NaN where none is above zero."""
    divisor = where(counts > 0, counts.astype("float64"), math.nan)
    return total / divisor.astype(total.dtype)


def nanvar(x: Tensor[B], axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor[B]:
    """The variance of the elements that are numbers.

    >>> ops.nanvar(born.tensor([1.0, float("nan"), 3.0], backend))
    Tensor(1., dtype=float32)
    """
    _check_real("nanvar", x)
    if is_half(x.dtype):
        return nanvar(x.astype("float32"), axis, ddof, keepdims).astype(x.dtype)
    centred = _centred(x, axis)
    return _over(sum_of(centred * centred, axis, keepdims), _counts(x, axis, keepdims) - ddof)


def nanstd(x: Tensor[B], axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor[B]:
    """The standard deviation of the elements that are numbers; its gradient is that of `std`.

    >>> ops.nanstd(born.tensor([1.0, float("nan"), 3.0], backend))
    Tensor(1., dtype=float32)
    """
    _check_real("nanstd", x)
    if is_half(x.dtype):
        return nanstd(x.astype("float32"), axis, ddof, keepdims).astype(x.dtype)
    freedom = (_counts(x, axis, keepdims) - ddof).astype("float64")
    root = where(freedom > 0, freedom, math.nan) ** 0.5
    return norm(_centred(x, axis), axis, keepdims) / root.astype(x.dtype)


def _centred(x: Tensor[B], axis: Axis) -> Tensor[B]:
    """The distances from the mean of the numbers, zero of NaN."""
    return where(isnan(x), 0.0, _numbers(x, 0.0) - nanmean(x, axis, keepdims=True))


def nanmax(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The largest of the elements that are numbers; NaN of none.

    >>> ops.nanmax(born.tensor([1.0, float("nan")], backend))
    Tensor(1., dtype=float32)
    """
    return _nan_extreme(max_of, -math.inf, x, axis, keepdims)


def nanmin(x: Tensor[B], axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """The smallest of the elements that are numbers; NaN of none.

    >>> ops.nanmin(born.tensor([1.0, float("nan")], backend))
    Tensor(1., dtype=float32)
    """
    return _nan_extreme(min_of, math.inf, x, axis, keepdims)


def _nan_extreme(
    extreme: Callable[[Tensor[B], Axis, bool], Tensor[B]],
    least: float,
    x: Tensor[B],
    axis: Axis,
    keepdims: bool,
) -> Tensor[B]:
    if not is_floating(x.dtype):
        return extreme(x, axis, keepdims)
    return where(
        _counts(x, axis, keepdims) == 0, math.nan, extreme(_numbers(x, least), axis, keepdims)
    )


def nanargmax(x: Tensor[B], axis: int | None = None, keepdims: bool = False) -> Tensor[B]:
    """The place of the largest of the elements that are numbers, int64.

    It waits for a device, since of NaN alone it is a `DomainError`.

    >>> ops.nanargmax(born.tensor([float("nan"), 1.0], backend))
    Tensor(1, dtype=int64)
    """
    _check_numbers("nanargmax", x, axis)
    return argmax(_numbers(x, -math.inf), axis, keepdims)


def nanargmin(x: Tensor[B], axis: int | None = None, keepdims: bool = False) -> Tensor[B]:
    """The place of the smallest of the elements that are numbers, int64; as `nanargmax`.

    >>> ops.nanargmin(born.tensor([float("nan"), 1.0], backend))
    Tensor(1, dtype=int64)
    """
    _check_numbers("nanargmin", x, axis)
    return argmin(_numbers(x, math.inf), axis, keepdims)


def _check_numbers(name: str, x: Tensor[B], axis: int | None) -> None:
    backend_of(name, x)
    if not bool(all_of(_counts(x.detach(), axis) > 0)):
        raise DomainError(
            f"expected a number in each slice in {name}, got one of NaN alone; "
            "replace them with nan_to_num"
        )


# -- running -------------------------------------------------------------------------------


def _running(
    function: Callable[[Tensor[B], Tensor[B]], Tensor[B]], x: Tensor[B], axis: int
) -> Tensor[B]:
    """The running result of an associative function, by log2(n) passes (Hillis, Steele, 1986)."""
    axis = normal_axis(axis, x.ndim)
    before = (slice(None),) * axis
    step = 1
    while step < x.shape[axis]:
        head = x[(*before, slice(0, step))]
        earlier, later = x[(*before, slice(0, -step))], x[(*before, slice(step, None))]
        x = concatenate([head, function(earlier, later)], axis)
        step *= 2
    return x


def logcumsumexp(x: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """The running `logsumexp` along an axis, log(e^x_1 + ... + e^x_k), without overflow.

    >>> ops.logcumsumexp(born.tensor([1000.0, 0.0], backend))
    Tensor([1000., 1000.], dtype=float32)
    """
    _check_real("logcumsumexp", x)
    x, axis = along(x, axis)
    return _running(logaddexp, x, axis)


def cummax(x: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """The running maximum along an axis, NaN from the first on; NumPy's `maximum.accumulate`.

    The gradient goes to the last of equals, as in PyTorch.

    >>> ops.cummax(born.tensor([1.0, 3.0, 2.0], backend))
    Tensor([1., 3., 3.], dtype=float32)
    """
    return _running_extreme(maximum, x, axis)


def cummin(x: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """The running minimum along an axis; as `cummax`.

    >>> ops.cummin(born.tensor([2.0, 3.0, 1.0], backend))
    Tensor([2., 2., 1.], dtype=float32)
    """
    return _running_extreme(minimum, x, axis)


def _running_extreme(
    function: Callable[[Tensor[B], Tensor[B]], Tensor[B]], x: Tensor[B], axis: int | None
) -> Tensor[B]:
    backend = backend_of("cummax", x)
    x, axis = along(x, axis)
    axis = normal_axis(axis, x.ndim)
    constant = x.detach()
    if x.dtype.kind == "b":
        constant = constant.astype("int64")
    extreme = _running(function, constant, axis)
    # Where it was last reached; an element after NaN never equals it.
    reached = constant == extreme
    if is_floating(x.dtype):
        reached = reached | (isnan(constant) & isnan(extreme))
    places = Tensor(backend.arange(0, x.shape[axis], 1, "int64"), backend)
    places = reshape(places, tuple(-1 if i == axis else 1 for i in range(x.ndim)))
    return gather(x, _running(maximum, where(reached, places, 0), axis), axis)


# -- along a line --------------------------------------------------------------------------


def diff(
    x: Tensor[B],
    n: int = 1,
    axis: int = -1,
    prepend: Tensor[B] | None = None,
    append: Tensor[B] | None = None,
) -> Tensor[B]:
    """The differences of neighbours along an axis, taken n times.

    Args:
        x: any tensor of numbers.
        n: how often, from 0 on.
        axis: along which, the last by default.
        prepend, append: what to join to x before.

    >>> ops.diff(born.tensor([1.0, 4.0, 9.0], backend))
    Tensor([3., 5.], dtype=float32)
    """
    n = integer("n", n, None, DomainError)
    if n < 0:
        raise DomainError(f"expected a number of times from 0 on in diff, got {n}; use cumsum")
    axis = normal_axis(axis, x.ndim)
    parts = [each for each in (prepend, x, append) if each is not None]
    x = concatenate(parts, axis) if len(parts) > 1 else x
    before = (slice(None),) * axis
    for _ in range(n):
        later, earlier = x[(*before, slice(1, None))], x[(*before, slice(0, -1))]
        x = later != earlier if x.dtype.kind == "b" else later - earlier
    return x


def trapezoid(
    y: Tensor[B], x: Tensor[B] | None = None, dx: float = 1.0, axis: int = -1
) -> Tensor[B]:
    """The integral by the trapezoidal rule, sum_i (x_(i+1) - x_i) (y_(i+1) + y_i) / 2.

    Args:
        y: the values of a function, a floating tensor.
        x: where it was taken, of the shape of y or a vector along the axis.
        dx: the distance of the points, if there is no x.
        axis: along which, the last by default.

    >>> ops.trapezoid(born.tensor([1.0, 2.0, 3.0], backend))
    Tensor(4., dtype=float32)
    """
    _check_real("trapezoid", y)
    axis = normal_axis(axis, y.ndim)
    before = (slice(None),) * axis
    pairs = y[(*before, slice(1, None))] + y[(*before, slice(0, -1))]
    if x is None:
        return sum_of(pairs * (0.5 * dx), axis)
    if x.ndim == 1:
        x = reshape(x, tuple(-1 if i == axis else 1 for i in range(y.ndim)))
    return sum_of(pairs * diff(x, axis=axis) * 0.5, axis)


def gradient(
    f: Tensor[B],
    *varargs: float | Tensor[B],
    axis: int | tuple[int, ...] | None = None,
    edge_order: Literal[1, 2] = 1,
) -> Any:
    """The derivatives of sampled values by finite differences, as `numpy.gradient`.

    Args:
        f: the values of a function on a grid, a floating tensor.
        varargs: the distance of the points, or their coordinates as a vector; one for all axes, or
            one for each; 1 by default.
        axis: along which, by default all.
        edge_order: the order of accuracy at the ends, where differences are one-sided.

    Returns:
        one tensor, or a tuple of one for each axis.

    >>> ops.gradient(born.tensor([1.0, 4.0, 9.0], backend))
    Tensor([3., 4., 5.], dtype=float32)
    """
    _check_real("gradient", f)
    axes = axis if isinstance(axis, tuple) else normal_axes(axis, f.ndim)
    if len(varargs) not in (0, 1, len(axes)):
        raise ShapeError(
            f"expected one distance, or {len(axes)}, in gradient, got {len(varargs)}; pass one for "
            "each axis"
        )
    for step in varargs:
        if not isinstance(step, Tensor):
            number("a distance", step, error=DomainError)
    steps = varargs if len(varargs) == len(axes) else (varargs or (1.0,)) * len(axes)
    found = tuple(
        _slope(f, step, normal_axis(each, f.ndim), edge_order)
        for each, step in zip(axes, steps, strict=True)
    )
    return found[0] if len(found) == 1 else found


def _slope(f: Tensor[B], step: float | Tensor[B], axis: int, edge_order: int) -> Tensor[B]:
    """The second-order differences along an axis, for points at any distances."""
    n = f.shape[axis]
    if n <= edge_order or edge_order not in (1, 2):
        raise ShapeError(
            f"expected edge_order 1 or 2, and more points than that along axis {axis} in "
            f"gradient, got {edge_order} and {n} points; take more points"
        )
    f = moveaxis(f, axis, -1)
    first, second = _distances(step, n, axis)
    left, middle, right = f[..., :-2], f[..., 1:-1], f[..., 2:]
    inner = (
        right * (first / (second * (first + second)))
        + middle * ((second - first) / (first * second))
        - left * (second / (first * (first + second)))
    )
    if edge_order == 1:
        start = (f[..., 1:2] - f[..., :1]) / _at(step, 0)
        stop = (f[..., -1:] - f[..., -2:-1]) / _at(step, -1)
    else:
        a, b, c, d = (_at(step, i) for i in (0, 1, -2, -1))
        start = (
            f[..., :1] * (-(2.0 * a + b) / (a * (a + b)))
            + f[..., 1:2] * ((a + b) / (a * b))
            - f[..., 2:3] * (a / (b * (a + b)))
        )
        stop = (
            f[..., -3:-2] * (d / (c * (c + d)))
            - f[..., -2:-1] * ((c + d) / (c * d))
            + f[..., -1:] * ((2.0 * d + c) / (d * (c + d)))
        )
    return moveaxis(concatenate([start, inner, stop], -1), -1, axis)


def _distances(step: float | Tensor[B], n: int, axis: int) -> tuple[Any, Any]:
    """The distances of inner points from the ones before, and to the ones after."""
    if not isinstance(step, Tensor):
        return step, step
    if step.shape != (n,):
        raise ShapeError(
            f"expected {n} coordinates along axis {axis} in gradient, got shape {step.shape}; "
            "pass a vector, or a number"
        )
    return step[1:-1] - step[:-2], step[2:] - step[1:-1]


def _at(step: float | Tensor[B], place: int) -> Any:
    """The distance of this place, counted from either end."""
    if not isinstance(step, Tensor):
        return step
    return step[place + 1] - step[place] if place >= 0 else step[place] - step[place - 1]


def interp(
    x: Tensor[B],
    xp: Tensor[B],
    fp: Tensor[B],
    left: float | None = None,
    right: float | None = None,
    period: float | None = None,
) -> Tensor[B]:
    """The piecewise linear function through points, differentiable by all three tensors.

    Args:
        x: where to take it, of any shape.
        xp: the coordinates of the points, a vector in ascending order.
        fp: their values, as many.
        left, right: the values below the first and above the last; theirs by default.
        period: after which the function repeats, as of angles; then xp may be in any order, and
            left and right count for nothing.

    >>> xp, fp = born.tensor([0.0, 1.0], backend), born.tensor([0.0, 10.0], backend)
    >>> ops.interp(born.tensor([0.5, 3.0], backend), xp, fp)
    Tensor([ 5., 10.], dtype=float32)
    """
    _check_real("interp", x)
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ShapeError(
            f"expected two vectors of points of one length, at least one, in interp, got shapes "
            f"{xp.shape} and {fp.shape}; pass xp and fp"
        )
    if period is not None:
        if not number("period", period, error=DomainError):
            raise DomainError("expected a period other than 0 in interp, got 0; leave it out")
        period, left, right = math.fabs(period), None, None
        x, xp = x % period, xp % period
        order = argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = concatenate([fp[-1:], fp, fp[:1]])
    low, high = xp[0], xp[-1]
    inside = fp[0] + x * 0 if xp.size == 1 else _on_segments(x, xp, fp)
    # Outside the points are constants, through which x has no slope.
    inside = where(x < low, fp[0] if left is None else left, inside)
    return where(x > high, fp[-1] if right is None else right, inside)


def _on_segments(x: Tensor[B], xp: Tensor[B], fp: Tensor[B]) -> Tensor[B]:
    """The linear function between the two points around each x."""
    after = searchsorted(xp, x, "right")
    after = maximum(minimum(after, xp.size - 1), 1)
    x0, x1, f0, f1 = xp[after - 1], xp[after], fp[after - 1], fp[after]
    plain = isfinite(f0) & isfinite(f1) & (x1 != x0)
    start, rise = where(plain, f0, 0.0), where(plain, f1, 0.0) - where(plain, f0, 0.0)
    inside = start + rise * ((x - x0) / where(plain, x1 - x0, 1.0))
    # Between what is infinite, or at points of one place, there is no slope: NumPy's rules.
    c, c0, c1, e0, e1 = (each.detach() for each in (x, x0, x1, f0, f1))
    slope = (e1 - e0) / (c1 - c0)
    other = slope * (c - c0) + e0
    other = where(isnan(other), slope * (c - c1) + e1, other)
    other = where(isnan(other) & (e0 == e1), f0, other)
    other = where(c == xp[-1].detach(), f1, where(c == c0, f0, other))
    return where(plain | isnan(c), inside, other)


def convolve(
    x: Tensor[B], y: Tensor[B], mode: Literal["full", "same", "valid"] = "full"
) -> Tensor[B]:
    """The convolution of two vectors, z_k = sum_i x_i y_(k - i).

    Args:
        x, y: vectors of one floating dtype.
        mode: `"full"` wherever they overlap, by default; `"same"` as long as the longer;
            `"valid"` where they overlap completely.

    >>> ops.convolve(born.tensor([1.0, 2.0, 3.0], backend), born.tensor([0.0, 1.0], backend))
    Tensor([0., 1., 2., 3.], dtype=float32)
    """
    return correlate(x, flip(y), mode)


def correlate(
    x: Tensor[B], y: Tensor[B], mode: Literal["full", "same", "valid"] = "valid"
) -> Tensor[B]:
    """The correlation of two vectors, z_k = sum_i x_(k + i) y_i; `mode` as for `convolve`.

    >>> ops.correlate(born.tensor([1.0, 2.0, 3.0], backend), born.tensor([0.0, 1.0], backend))
    Tensor([2., 3.], dtype=float32)
    """
    _check_real("convolve", x)
    if x.ndim != 1 or y.ndim != 1 or not x.size or not y.size:
        raise ShapeError(
            f"expected two vectors that are not empty in convolve, got shapes {x.shape} and "
            f"{y.shape}; conv2d takes more axes"
        )
    if mode not in ("full", "same", "valid"):
        raise DomainError(
            f'expected mode "full", "same" or "valid" in convolve, got {mode!r}; use one of them'
        )
    if x.size < y.size:
        return flip(correlate(y, x, mode))
    extra = {"full": y.size - 1, "same": y.size - 1, "valid": 0}[mode]
    before = extra - (y.size - 1) // 2 if mode == "same" else extra
    after = extra - before if mode == "same" else extra
    zeros = Tensor(x.backend.zeros((before + after,), x.dtype), x.backend)
    padded = concatenate([zeros[:before], x, zeros[:after]])
    return matmul(sliding_window(padded, y.size), y)


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
    weighted = None if weights is None else _on_host(weights)
    try:
        counts, edges = np.histogram(_on_host(x), given, range, density, weighted)
    except (TypeError, ValueError) as error:
        raise DomainError(
            f"expected bins of finite numbers in histogram, got bins={bins!r} and range={range} "
            f"({error}); say the range, or drop what is not finite"
        ) from error
    kind = x.dtype if is_floating(x.dtype) else np.dtype(np.float64)
    found = (counts.astype(np.int64) if counts.dtype.kind in "iu" else counts, edges.astype(kind))
    first, second = (Tensor(backend.from_numpy(each), backend) for each in found)
    return first, second
