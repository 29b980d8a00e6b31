"""The derivatives of convolution, pooling and sliding windows."""

from __future__ import annotations

from collections.abc import Sequence

from born.autodiff.derivatives.registrars import Required, of_input, of_result, pullback_of
from born.autodiff.tape import Pullback
from born.backend import Backend, Window
from born.raw import RawTensor, Shape

of_input("unfold", lambda b, g, x_shape, window: b.fold(g, x_shape[2:], window))
of_input("fold", lambda b, g, columns_shape, size, window: b.unfold(g, window))
of_result(
    "max_pool2d",
    lambda b, g, winner, x_shape, window: b.max_pool2d_backward(g, winner, x_shape[2:], window),
    residual=1,
)


def _avg_pool2d(b: Backend, g: RawTensor, x_shape: Shape, window: Window) -> RawTensor:
    n, c, height, width = x_shape
    kh, kw = window.kernel
    places = g.shape[2] * g.shape[3]
    share = b.reshape(b.div(g, kh * kw), (n, c, 1, places))
    columns = b.broadcast_to(share, (n, c, kh * kw, places))
    return b.fold(columns, (height, width), window)


of_input("avg_pool2d", _avg_pool2d)


@pullback_of("conv2d", 3, reads=[[1], [0], []])
def _conv2d(
    b: Backend,
    out: RawTensor,
    required: Required,
    x: RawTensor,
    weight: RawTensor,
    bias: RawTensor | None,
    window: Window,
    groups: int = 1,
) -> Pullback:
    n, channels, height, width = x.shape
    outputs, _, kh, kw = shape = weight.shape
    places = out.shape[2] * out.shape[3]
    taps = channels // groups * kh * kw
    for_x, for_weight = weight if required[0] else None, x if required[1] else None
    for_bias = len(required) > 2 and required[2]

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        grouped = b.reshape(g, (n, groups, outputs // groups, places))
        x_gradient = weight_gradient = None
        if for_x is not None:
            filters = b.reshape(for_x, (groups, outputs // groups, taps))
            columns = b.matmul(b.transpose(filters, (0, 2, 1)), grouped)
            columns = b.reshape(columns, (n, channels, kh * kw, places))
            x_gradient = b.fold(columns, (height, width), window)
        if for_weight is not None:
            # The windows are cut again: keeping them would take kh kw times the image's memory.
            columns = b.unfold(for_weight, window)
            columns = b.reshape(columns, (n, groups, taps, places))
            products = b.matmul(grouped, b.transpose(columns, (0, 1, 3, 2)))
            weight_gradient = b.reshape(b.sum(products, 0), shape)
        bias_gradient = b.sum(g, (0, 2, 3)) if for_bias else None
        return (x_gradient, weight_gradient, bias_gradient)[: len(required)]

    return pullback
