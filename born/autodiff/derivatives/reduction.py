"""The derivatives of reductions."""

from __future__ import annotations

import math

from born.autodiff.derivatives.registrars import (
    Required,
    constant,
    of_input,
    of_result,
    pullback_of,
)
from born.autodiff.pullback import Pullback
from born.backend import Axis, Backend
from born.backend.arguments import count, normal_axes, reduced_shape
from born.dtypes import is_half
from born.raw import RawTensor, Shape

constant("argmax", "argmin", "argsort", "any", "all")


def _restore_axes(b: Backend, y: RawTensor, shape: Shape, axis: Axis, keepdims: bool) -> RawTensor:
    """The result of a reduction of `shape` with its axes kept, whatever `keepdims` was."""
    if keepdims or (axis is None and not shape):
        return y
    return b.reshape(y, reduced_shape(shape, normal_axes(axis, len(shape)), keepdims=True))


def _sum(
    b: Backend, g: RawTensor, x_shape: Shape, axis: Axis = None, keepdims: bool = False
) -> RawTensor:
    if axis is None and not keepdims:
        return b.broadcast_to(g, x_shape)
    return b.broadcast_to(_restore_axes(b, g, x_shape, axis, keepdims), x_shape)


def _over(b: Backend, g: RawTensor, counts: RawTensor | int) -> RawTensor:
    """g over counts, which may be too large for g's own dtype."""
    if is_half(g.dtype):
        return b.astype(b.div(b.astype(g, "float32"), counts), g.dtype)
    return b.div(g, counts)


def _mean(
    b: Backend, g: RawTensor, x_shape: Shape, axis: Axis = None, keepdims: bool = False
) -> RawTensor:
    elements = max(count(x_shape, normal_axes(axis, len(x_shape))), 1)
    return _sum(b, _over(b, g, elements), x_shape, axis, keepdims)


def _var(
    b: Backend, g: RawTensor, x: RawTensor, axis: Axis = None, ddof: int = 0, keepdims: bool = False
) -> RawTensor:
    if is_half(g.dtype):  # whose largest number a count exceeds, and least its inverse
        wide = _var(b, b.astype(g, "float32"), b.astype(x, "float32"), axis, ddof, keepdims)
        return b.astype(wide, g.dtype)
    shape = x.shape
    freedom = count(shape, normal_axes(axis, len(shape))) - ddof
    slope = 2.0 / freedom if freedom > 0 else math.nan
    centred = b.sub(x, b.mean(x, axis, keepdims=True))
    return b.mul(_restore_axes(b, b.mul(g, slope), shape, axis, keepdims), centred)


def _unit(
    b: Backend, g: RawTensor, x: RawTensor, length: RawTensor, axis: Axis, keepdims: bool
) -> RawTensor:
    """x over its length, times g: zero where the length is, which is a subgradient.

    There is no second derivative there. It is NaN, as the slope of a square root at zero makes it.
    """
    zero = b.equal(length, 0)
    undefined = b.mul(g, b.sqrt(b.where(zero, length, 1)))
    slope, divisor = (
        _restore_axes(b, each, x.shape, axis, keepdims)
        for each in (b.where(zero, undefined, g), b.where(zero, 1, length))
    )
    return b.mul(b.div(x, divisor), slope)


def _std(
    b: Backend,
    g: RawTensor,
    y: RawTensor,
    x: RawTensor,
    axis: Axis = None,
    ddof: int = 0,
    keepdims: bool = False,
) -> RawTensor:
    if is_half(g.dtype):
        g, y, wide = (b.astype(each, "float32") for each in (g, y, x))
        return b.astype(_std(b, g, y, wide, axis, ddof, keepdims), x.dtype)
    freedom = count(x.shape, normal_axes(axis, x.ndim)) - ddof
    slope = b.mul(g, 1.0 / freedom if freedom > 0 else math.nan)
    return _unit(b, slope, b.sub(x, b.mean(x, axis, keepdims=True)), y, axis, keepdims)


def _extremum(
    b: Backend, g: RawTensor, y: RawTensor, x: RawTensor, axis: Axis = None, keepdims: bool = False
) -> RawTensor:
    shape = x.shape
    chosen = b.equal(x, _restore_axes(b, y, shape, axis, keepdims))
    wide = "float32" if is_half(g.dtype) else g.dtype  # which counts may be too large for
    ties = b.sum(b.astype(chosen, wide), axis, keepdims=True)
    none = b.equal(ties, 0)  # equals the result, which is NaN
    share = _over(b, _restore_axes(b, g, shape, axis, keepdims), b.where(none, 1, ties))
    rest = b.where(none, b.full((), math.nan, g.dtype), 0)
    return b.where(chosen, share, rest)


def _prod(
    b: Backend, g: RawTensor, x: RawTensor, axis: Axis = None, keepdims: bool = False
) -> RawTensor:
    shape = x.shape
    axes = normal_axes(axis, len(shape))
    rest = tuple(i for i in range(len(shape)) if i not in axes)
    order = (*rest, *axes)
    moved = b.transpose(x, order)
    rows = b.reshape(moved, (math.prod(shape[i] for i in rest), count(shape, axes)))
    # The product of the others, without dividing by an element that may be zero.
    others = b.mul(_before(b, rows), b.flip(_before(b, b.flip(rows, 1)), 1))
    inverse = tuple(order.index(i) for i in range(len(shape)))
    back = b.transpose(b.reshape(others, moved.shape), inverse)
    return b.mul(back, _restore_axes(b, g, shape, axis, keepdims))


def _before(b: Backend, rows: RawTensor) -> RawTensor:
    """Along each row, the product of the elements before each one."""
    if rows.shape[1] == 0:
        return rows
    shifted = b.getitem(rows, (slice(None), slice(0, -1)))
    return b.concatenate([b.ones((rows.shape[0], 1), rows.dtype), b.cumprod(shifted, 1)], 1)


def _logsumexp(
    b: Backend, g: RawTensor, y: RawTensor, x: RawTensor, axis: Axis = None, keepdims: bool = False
) -> RawTensor:
    shape = x.shape
    total = _restore_axes(b, y, shape, axis, keepdims)
    # A row of -infinity has no gradient: its weights are zero.
    weights = b.exp(b.sub(x, b.where(b.equal(total, -math.inf), 0, total)))
    # Their sum is not one where the total was rounded.
    mass = b.sum(weights, axis, keepdims=True)
    share = b.div(_restore_axes(b, g, shape, axis, keepdims), b.where(b.greater(mass, 0), mass, 1))
    return b.mul(weights, share)


of_input("sum", _sum)
of_input("mean", _mean)
of_input("var", _var)
of_result("std", _std)
of_input("prod", _prod)
of_result("max", _extremum)
of_result("min", _extremum)
of_result("logsumexp", _logsumexp)
of_input("cumsum", lambda b, g, x_shape, axis: b.flip(b.cumsum(b.flip(g, axis), axis), axis))


@pullback_of("norm", keeps_result=True, reads=[[0]])
def _norm(
    b: Backend,
    out: RawTensor,
    required: Required,
    x: RawTensor,
    axis: Axis = None,
    keepdims: bool = False,
    order: float = 2,
) -> Pullback:
    shape = x.shape
    if order == 1:
        return lambda g: b.mul(b.sign(x), _restore_axes(b, g, shape, axis, keepdims))
    if order == math.inf:
        return lambda g: b.mul(b.sign(x), _extremum(b, g, out, b.abs(x), axis, keepdims))

    return lambda g: _unit(b, g, x, out, axis, keepdims)
