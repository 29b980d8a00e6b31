"""Functions along a line: differences, integrals, interpolation and convolution of samples."""

from __future__ import annotations

import math
from typing import Any, Literal

from born.backend import B
from born.backend.arguments import normal_axes, normal_axis
from born.errors import DomainError, ShapeError
from born.operands import backend_of, raw_operand
from born.ops.elementwise import isfinite, isnan, maximum, minimum, where
from born.ops.indexing import searchsorted
from born.ops.linear import matmul
from born.ops.order import check_real
from born.ops.reduction import argsort
from born.ops.reduction import sum as sum_of
from born.ops.shape import (
    concatenate,
    flip,
    moveaxis,
    reshape,
    sliding_window,
)
from born.tensor import Tensor
from born.validation import integer, number

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
    backend_of("diff", x)
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
    check_real("trapezoid", y)
    axis = normal_axis(axis, y.ndim)
    before = (slice(None),) * axis
    pairs = y[(*before, slice(1, None))] + y[(*before, slice(0, -1))]
    if x is None:
        return sum_of(pairs * (0.5 * dx), axis)
    raw_operand("trapezoid", y.backend, x)
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
    check_real("gradient", f)
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
    check_real("interp", x)
    for each in (xp, fp):
        raw_operand("interp", x.backend, each)
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
    check_real("convolve", x)
    raw_operand("convolve", x.backend, y)
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
