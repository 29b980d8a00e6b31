"""The derivatives of matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

from born.autodiff.derivatives.registrars import Required, pullback_of, sum_to_shape
from born.autodiff.pullback import Pullback
from born.backend import Backend
from born.backend.contract.linalg import transposed
from born.raw import RawTensor, Shape


@pullback_of("matmul", 2, reads=[[1], [0]])
def _matmul(b: Backend, out: RawTensor, required: Required, x: RawTensor, y: RawTensor) -> Pullback:
    x_shape, y_shape = x.shape, y.shape
    for_x, for_y = y if required[0] else None, x if required[1] else None
    if len(x_shape) == 2 and len(y_shape) == 1:  # in a loop over a state, say: few operations

        def of_vector(g: RawTensor) -> Sequence[RawTensor | None]:
            return (
                None if for_x is None else b.mul(b.reshape(g, (x_shape[0], 1)), for_x),
                None if for_y is None else b.matmul(g, for_y),
            )

        return of_vector
    # A vector on the left is a row, on the right a column.
    x_matrix: Shape = x_shape if len(x_shape) > 1 else (1, *x_shape)
    y_matrix = y_shape if len(y_shape) > 1 else (*y_shape, 1)
    out_shape: Shape = (*out.shape, 1) if len(y_shape) == 1 else out.shape
    out_shape = (*out_shape[:-1], 1, out_shape[-1]) if len(x_shape) == 1 else out_shape
    if len(x_shape) > 2 and len(y_matrix) == 2:  # a batch times one matrix: one product of all rows
        rows = math.prod(x_shape[:-1])
        x_matrix, out_shape = (rows, y_matrix[0]), (rows, y_matrix[1])

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        g = b.reshape(g, out_shape) if g.shape != out_shape else g
        x_gradient = y_gradient = None
        if for_x is not None:
            x_gradient = b.matmul(g, transposed(b, b.reshape(for_x, y_matrix)))
            x_gradient = b.reshape(sum_to_shape(b, x_gradient, x_matrix), x_shape)
        if for_y is not None:
            y_gradient = b.matmul(transposed(b, b.reshape(for_y, x_matrix)), g)
            y_gradient = b.reshape(sum_to_shape(b, y_gradient, y_matrix), y_shape)
        return x_gradient, y_gradient

    return pullback


@pullback_of("linear", 3, reads=[[1], [0], []])
def _linear(
    b: Backend,
    out: RawTensor,
    required: Required,
    x: RawTensor,
    weight: RawTensor,
    bias: RawTensor | None = None,
    y: RawTensor | None = None,
) -> Pullback:
    for_x, for_weight = weight if required[0] else None, x if required[1] else None
    operands = len(required)
    for_bias = operands > 2 and required[2]

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        return b.linear_gradients(g, for_weight, for_x, for_bias, y)[:operands]

    return pullback


@pullback_of("linear_relu", 3, keeps_result=True, reads=[[1], [0], []])
def _linear_relu(
    b: Backend,
    out: RawTensor,
    required: Required,
    x: RawTensor,
    weight: RawTensor,
    bias: RawTensor | None = None,
) -> Pullback:
    return _linear(b, out, required, x, weight, bias, out)
