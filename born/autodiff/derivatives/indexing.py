"""The derivatives of indexing: what reads is undone by what adds, and the other way round."""

from __future__ import annotations

from born.autodiff.derivatives.registrars import Required, constant, of_input, pullback_of
from born.autodiff.pullback import Parts, Pullback
from born.backend import Backend, Index
from born.backend.arguments import normal_axis
from born.raw import RawTensor, Shape

constant("searchsorted")


@pullback_of("getitem")
def _getitem(
    b: Backend, out: RawTensor, required: Required, x: RawTensor, index: Index
) -> Pullback:
    shape = x.shape
    return lambda g: (Parts(shape, [(index, g)]),)


of_input(
    "index_add",
    lambda b, g, x_shape, index, y_shape: g,
    None,
    lambda b, g, x_shape, index, y_shape: b.getitem(g, index),
)
of_input(
    "gather",
    lambda b, g, x_shape, index, axis: b.scatter_add(b.zeros(x_shape, g.dtype), index, g, axis),
)
of_input(
    "scatter_add",
    lambda b, g, x_shape, index, y_shape, axis: g,
    None,
    lambda b, g, x_shape, index, y_shape, axis: b.gather(g, index, axis),
)


def _take(b: Backend, g: RawTensor, x_shape: Shape, index: RawTensor, axis: int = 0) -> RawTensor:
    where = (*(slice(None),) * normal_axis(axis, len(x_shape)), index)
    return b.index_add(b.zeros(x_shape, g.dtype), where, g)


of_input("take", _take)
