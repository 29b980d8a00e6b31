"""The derivatives of reductions."""

from __future__ import annotations

import math

from born.autodiff.tape import Pullback
from born.autodiff.vjps.table import Needs, kept, row, spread
from born.backend import Axis, Backend
from born.backend.arguments import count, normal_axes
from born.raw import RawTensor


@row("sum")
def _sum(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    axis: Axis = None,
    keepdims: bool = False,
) -> Pullback:
    shape = x.shape
    return lambda g: spread(b, g, shape, axis, keepdims)


@row("mean")
def _mean(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    axis: Axis = None,
    keepdims: bool = False,
) -> Pullback:
    shape = x.shape
    elements = max(count(shape, normal_axes(axis, len(shape))), 1)
    return lambda g: spread(b, b.div(g, elements), shape, axis, keepdims)


@row("var")
def _var(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    axis: Axis = None,
    ddof: int = 0,
    keepdims: bool = False,
) -> Pullback:
    shape = x.shape
    freedom = count(shape, normal_axes(axis, len(shape))) - ddof
    slope = 2.0 / freedom if freedom > 0 else math.nan

    def pullback(g: RawTensor) -> RawTensor:
        centred = b.sub(x, b.mean(x, axis, keepdims=True))
        return b.mul(kept(b, b.mul(g, slope), shape, axis, keepdims), centred)

    return pullback


def _extreme(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    axis: Axis = None,
    keepdims: bool = False,
) -> Pullback:
    def pullback(g: RawTensor) -> RawTensor:
        shape, dtype = x.shape, x.dtype
        chosen = b.astype(b.equal(x, kept(b, out, shape, axis, keepdims)), dtype)
        # At least one, so that a NaN, which equals nothing, gets no gradient and no warning.
        ties = b.maximum(b.sum(chosen, axis, keepdims=True), 1)
        return b.mul(b.div(chosen, ties), kept(b, g, shape, axis, keepdims))

    return pullback


row("max")(_extreme)
row("min")(_extreme)


@row("prod")
def _prod(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    axis: Axis = None,
    keepdims: bool = False,
) -> Pullback:
    def pullback(g: RawTensor) -> RawTensor:
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
        return b.mul(back, kept(b, g, shape, axis, keepdims))

    return pullback


def _before(b: Backend, rows: RawTensor) -> RawTensor:
    """Along each row, the product of the elements before each one."""
    if rows.shape[1] == 0:
        return rows
    shifted = b.getitem(rows, (slice(None), slice(0, -1)))
    return b.concatenate([b.ones((rows.shape[0], 1), rows.dtype), b.cumprod(shifted, 1)], 1)


@row("logsumexp")
def _logsumexp(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    axis: Axis = None,
    keepdims: bool = False,
) -> Pullback:
    def pullback(g: RawTensor) -> RawTensor:
        shape = x.shape
        total = kept(b, out, shape, axis, keepdims)
        finite = b.isfinite(total)
        # A row without a finite sum has no gradient: its weights are zero.
        shifted = b.where(finite, b.sub(x, b.where(finite, total, 0)), -math.inf)
        return b.mul(b.exp(shifted), kept(b, g, shape, axis, keepdims))

    return pullback


@row("norm")
def _norm(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    axis: Axis = None,
    keepdims: bool = False,
    order: float = 2,
) -> Pullback:
    shape = x.shape

    def euclidean(g: RawTensor) -> RawTensor:
        length = b.where(b.equal(out, 0), 1, out)
        return b.mul(x, kept(b, b.div(g, length), shape, axis, keepdims))

    def absolute(g: RawTensor) -> RawTensor:
        return b.mul(b.sign(x), kept(b, g, shape, axis, keepdims))

    def largest(g: RawTensor) -> RawTensor:
        spread = _extreme(b, out, needs, b.abs(x), axis, keepdims)(g)
        assert isinstance(spread, RawTensor)  # the rule of one tensor gives one gradient
        return b.mul(b.sign(x), spread)

    return {2: euclidean, 1: absolute, math.inf: largest}[order]


@row("cumsum")
def _cumsum(b: Backend, out: RawTensor, needs: Needs, x: RawTensor, axis: int) -> Pullback:
    return lambda g: b.flip(b.cumsum(b.flip(g, axis), axis), axis)
