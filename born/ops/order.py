"""Order: sorting, what is made of sorted elements, and running extremes.

Sorting passes the gradient of each result to the element it was; of equal elements the first in
memory comes first, as in PyTorch and JAX with stable sorts. Places have no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from born.backend import Axis, B
from born.backend.arguments import check_floating, normal_axes, normal_axis
from born.dtypes import is_floating
from born.errors import DomainError, ShapeError
from born.operands import backend_of, raw_operand
from born.ops.elementwise import floor, isnan, logaddexp, maximum, minimum, where
from born.ops.indexing import gather
from born.ops.reduction import all as all_of
from born.ops.reduction import along, argsort, cumsum
from born.ops.reduction import any as any_of
from born.ops.reduction import sum as sum_of
from born.ops.shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    moveaxis,
    ravel,
    reshape,
)
from born.raw import HostArray, Shape
from born.tensor import Tensor
from born.validation import integer

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


def check_real(name: str, x: Tensor[B]) -> None:
    """Refuse a tensor that is not floating."""
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
    backend_of("partition", x)
    x, axis = along(x, axis)
    normal_axis(kth, x.shape[normal_axis(axis, x.ndim)])
    return sort(x, axis)


def argpartition(x: Tensor[B], kth: int, axis: int | None = -1) -> Tensor[B]:
    """The places of the elements in the order of `partition`, int64.

    >>> ops.argpartition(born.tensor([3.0, 1.0, 2.0], backend), 1)
    Tensor([1, 2, 0], dtype=int64)
    """
    backend_of("argpartition", x)
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
    backend_of("topk", x)
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
    axis = axis if axis is None else normal_axis(axis, x.ndim)
    host = on_host(x)
    _, first, inverse, counts = np.unique(
        host, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    row = ravel(x) if axis is None else x
    values = row[(*(slice(None),) * (axis or 0), first)]
    extra = ((return_index, first), (return_inverse, inverse), (return_counts, counts))
    asked = [
        Tensor(backend.from_numpy(np.asarray(each)), backend) for wanted, each in extra if wanted
    ]
    return (values, *asked) if asked else values


def on_host(x: Tensor[B]) -> HostArray:
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
    check_real("quantile", x)
    wanted = _probabilities(q)
    rows = _rows(x, axis)
    n = rows.shape[-1]
    if weights is not None:
        _check_method("quantile", method)
        weights = _rows(spread("quantile", x, weights, axis), axis)
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
        found = where(any_of(isnan(rows), -1, keepdims=True), math.nan, found)
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
    *,
    weights: Tensor[B] | None = None,
) -> Tensor[B]:
    """As `quantile`, of the elements that are numbers; of the methods those that interpolate.

    With weights it is `method="inverted_cdf"`, as there.

    >>> ops.nanquantile(born.tensor([1.0, 2.0, float("nan")], backend), 0.5)
    Tensor(1.5, dtype=float32)
    """
    check_real("nanquantile", x)
    wanted = _probabilities(q)
    if weights is not None:
        _check_method("nanquantile", method)
        rows, beside = _rows(x, axis), _rows(spread("nanquantile", x, weights, axis), axis)
        if not rows.shape[-1]:
            return quantile(x, q, axis, keepdims)
        missing = isnan(rows)
        # Of a row without numbers every element is NaN, and so is what is chosen.
        none = all_of(missing, -1, keepdims=True)
        beside = where(missing, none.astype(beside.dtype), beside)
        return _restored(_weighted(rows, wanted, beside), x, np.shape(q), axis, keepdims)
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
    if not bool(all_of((weights >= 0.0) & (weights < math.inf))):
        raise DomainError(
            "expected finite weights from 0 on in quantile, got one below, infinite or NaN; take "
            "their magnitudes"
        )
    order = argsort(rows)
    shares = cumsum(gather(weights, order, -1), -1)
    if not bool(all_of(shares[..., -1:] > 0.0)):
        raise DomainError("expected a weight above 0 in quantile, got zeros alone; leave them out")
    shares = expand_dims(shares / shares[..., -1:], -2)
    at = Tensor(rows.backend.from_numpy(wanted[:, None]), rows.backend)
    # What weighs nothing is no quantile, not even the lowest.
    places = sum_of((shares < at) | (shares == 0.0), -1)
    return gather(gather(rows, order, -1), minimum(places, rows.shape[-1] - 1), -1)


def _check_method(name: str, method: str) -> None:
    if method != "inverted_cdf":
        raise DomainError(
            f"expected method='inverted_cdf' beside weights in {name}, got {method!r}; use it"
        )


def spread(name: str, x: Tensor[B], weights: Tensor[B], axis: Axis) -> Tensor[B]:
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
    *,
    weights: Tensor[B] | None = None,
) -> Tensor[B]:
    """As `nanquantile`, of q in percent.

    >>> ops.nanpercentile(born.tensor([1.0, 2.0, float("nan")], backend), 50)
    Tensor(1.5, dtype=float32)
    """
    share = np.asarray(q, np.float64) / 100.0
    return nanquantile(x, share, axis, keepdims, method, weights=weights)


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
    check_real("logcumsumexp", x)
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
