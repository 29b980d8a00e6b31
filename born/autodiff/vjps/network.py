"""The derivatives of products, softmax, normalisation, convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence

from born.autodiff.tape import Pullback
from born.autodiff.vjps.table import Needs, fit, row, several, with_residuals
from born.backend import Backend, Reduction, Window
from born.raw import RawTensor

# -- linear algebra --


def _swapped(b: Backend, x: RawTensor) -> RawTensor:
    """The last two axes exchanged."""
    if x.ndim == 2:
        return b.transpose(x)
    return b.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@several("matmul", 2)
def _matmul(b: Backend, out: RawTensor, needs: Needs, x: RawTensor, y: RawTensor) -> Pullback:
    x_shape, y_shape = x.shape, y.shape
    for_x, for_y = y if needs[0] else None, x if needs[1] else None
    # A vector on the left is a row, on the right a column.
    x_matrix = x_shape if len(x_shape) > 1 else (1, *x_shape)
    y_matrix = y_shape if len(y_shape) > 1 else (*y_shape, 1)
    out_shape = (*out.shape, 1) if len(y_shape) == 1 else out.shape
    out_shape = (*out_shape[:-1], 1, out_shape[-1]) if len(x_shape) == 1 else out_shape

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        g = b.reshape(g, out_shape) if g.shape != out_shape else g
        x_grad = y_grad = None
        if for_x is not None:
            x_grad = b.matmul(g, _swapped(b, b.reshape(for_x, y_matrix)))
            x_grad = b.reshape(fit(b, x_grad, x_matrix), x_shape)
        if for_y is not None:
            y_grad = b.matmul(_swapped(b, b.reshape(for_y, x_matrix)), g)
            y_grad = b.reshape(fit(b, y_grad, y_matrix), y_shape)
        return x_grad, y_grad

    return pullback


def _affine(
    b: Backend, needs: Needs, x: RawTensor, weight: RawTensor, y: RawTensor | None = None
) -> Pullback:
    """The pullback of x weight^T + bias, or of its rectified result y."""
    for_x, for_weight = weight if needs[0] else None, x if needs[1] else None
    operands = len(needs)
    bias_due = operands > 2 and needs[2]

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        return b.linear_gradients(g, for_weight, for_x, bias_due, y)[:operands]

    return pullback


@several("linear", 3)
def _linear(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    weight: RawTensor,
    bias: RawTensor | None = None,
) -> Pullback:
    return _affine(b, needs, x, weight)


@several("linear_relu", 3)
def _linear_relu(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    weight: RawTensor,
    bias: RawTensor | None = None,
) -> Pullback:
    return _affine(b, needs, x, weight, out)


# -- softmax and its company --


@row("softmax")
def _softmax(b: Backend, out: RawTensor, needs: Needs, x: RawTensor, axis: int = -1) -> Pullback:
    return lambda g: b.softmax_backward(g, out, axis)


@row("log_softmax")
def _log_softmax(
    b: Backend, out: RawTensor, needs: Needs, x: RawTensor, axis: int = -1
) -> Pullback:
    return lambda g: b.log_softmax_backward(g, out, axis)


@with_residuals("cross_entropy", 1)
def _cross_entropy(
    b: Backend,
    out: tuple[RawTensor, RawTensor],
    needs: Needs,
    logits: RawTensor,
    labels: RawTensor,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Pullback:
    probabilities = out[1]
    return lambda g: b.cross_entropy_backward(g, probabilities, labels, label_smoothing, reduction)


# -- normalisation --


@with_residuals("layer_norm", 3)
def _layer_norm(
    b: Backend,
    out: tuple[RawTensor, RawTensor, RawTensor],
    needs: Needs,
    x: RawTensor,
    weight: RawTensor | None,
    bias: RawTensor | None,
    axes: int = 1,
    eps: float = 1e-5,
) -> Pullback:
    x_due, weight_due, bias_due = needs
    normal = out[1] if x_due or weight_due else None
    scale = out[2] if x_due else None
    gain = weight if x_due else None
    weight_shape = () if weight is None else weight.shape
    bias_shape = () if bias is None else bias.shape

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        x_grad = weight_grad = None
        if normal is not None and scale is not None:
            inner = g if gain is None else b.mul(g, gain)
            x_grad = b.layer_norm_backward(inner, normal, scale, axes)
        if normal is not None and weight_due:
            weight_grad = fit(b, b.mul(g, normal), weight_shape)
        return x_grad, weight_grad, fit(b, g, bias_shape) if bias_due else None

    return pullback


@with_residuals("rms_norm", 2)
def _rms_norm(
    b: Backend,
    out: tuple[RawTensor, RawTensor, RawTensor],
    needs: Needs,
    x: RawTensor,
    weight: RawTensor | None,
    axes: int = 1,
    eps: float = 1e-6,
) -> Pullback:
    x_due, weight_due = needs
    normal = out[1]
    scale = out[2] if x_due else None
    gain = weight if x_due else None
    weight_shape = () if weight is None else weight.shape

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        x_grad = None
        if scale is not None:
            inner = g if gain is None else b.mul(g, gain)
            x_grad = b.rms_norm_backward(inner, normal, scale, axes)
        return x_grad, fit(b, b.mul(g, normal), weight_shape) if weight_due else None

    return pullback


# -- layers --


@with_residuals("dropout", 1)
def _dropout(
    b: Backend, out: tuple[RawTensor, RawTensor], needs: Needs, x: RawTensor, p: float
) -> Pullback:
    mask = out[1]
    return lambda g: b.mul(g, mask)


@row("unfold")
def _unfold(b: Backend, out: RawTensor, needs: Needs, x: RawTensor, window: Window) -> Pullback:
    size = x.shape[2], x.shape[3]
    return lambda g: b.fold(g, size, window)


@row("fold")
def _fold(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    columns: RawTensor,
    size: tuple[int, int],
    window: Window,
) -> Pullback:
    return lambda g: b.unfold(g, window)


@several("conv2d", 3)
def _conv2d(
    b: Backend,
    out: RawTensor,
    needs: Needs,
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
    for_x, for_weight = weight if needs[0] else None, x if needs[1] else None
    bias_due = len(needs) > 2 and needs[2]

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        grouped = b.reshape(g, (n, groups, outputs // groups, places))
        x_grad = weight_grad = None
        if for_x is not None:
            filters = b.reshape(for_x, (groups, outputs // groups, taps))
            columns = b.matmul(b.transpose(filters, (0, 2, 1)), grouped)
            columns = b.reshape(columns, (n, channels, kh * kw, places))
            x_grad = b.fold(columns, (height, width), window)
        if for_weight is not None:
            # The windows are cut again: keeping them would take kh kw times the image's memory.
            columns = b.unfold(for_weight, window)
            columns = b.reshape(columns, (n, groups, taps, places))
            products = b.matmul(grouped, b.transpose(columns, (0, 1, 3, 2)))
            weight_grad = b.reshape(b.sum(products, 0), shape)
        return (x_grad, weight_grad, b.sum(g, (0, 2, 3)) if bias_due else None)[: len(needs)]

    return pullback


@with_residuals("max_pool2d", 1)
def _max_pool2d(
    b: Backend,
    out: tuple[RawTensor, RawTensor],
    needs: Needs,
    x: RawTensor,
    window: Window,
) -> Pullback:
    winner = out[1]
    size = x.shape[2], x.shape[3]
    return lambda g: b.max_pool2d_backward(g, winner, size, window)


@row("avg_pool2d")
def _avg_pool2d(
    b: Backend,
    out: RawTensor,
    needs: Needs,
    x: RawTensor,
    window: Window,
) -> Pullback:
    n, c, height, width = x.shape
    kh, kw = window.kernel
    places = out.shape[2] * out.shape[3]

    def pullback(g: RawTensor) -> RawTensor:
        share = b.reshape(b.div(g, kh * kw), (n, c, 1, places))
        columns = b.broadcast_to(share, (n, c, kh * kw, places))
        return b.fold(columns, (height, width), window)

    return pullback
