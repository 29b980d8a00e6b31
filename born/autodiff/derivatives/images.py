"""The derivatives of convolution, pooling and sliding windows."""

from __future__ import annotations

from collections.abc import Sequence

from born.autodiff.derivatives.registrars import Required, of_input, of_result, pullback_of
from born.autodiff.pullback import Pullback
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
    of_x, of_weight = required[:2]
    of_bias = len(required) > 2 and required[2]

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        found = b.conv2d_gradients(g, x, weight, window, groups, of_x, of_weight, of_bias)
        return found[: len(required)]

    return pullback
