"""Convolution, pooling and sliding windows over images (N, C, H, W)."""

from __future__ import annotations

from born.backend import B, Window
from born.backend.window import convolution_window
from born.operands import backend_of, optional_operand, raw_operand
from born.tensor import Tensor
from born.validation import Pair


def unfold(
    x: Tensor[B], kernel_size: Pair, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> Tensor[B]:
    """The windows of images (N, C, H, W), shape (N, C, kernel elements, windows): im2col.

    >>> ops.unfold(born.ones((1, 1, 3, 3), backend), 2).shape
    (1, 1, 4, 4)
    """
    window = Window.of(kernel_size, stride, padding, dilation)
    return Tensor(backend_of("unfold", x).unfold(x.raw, window), x.backend)


def fold(
    columns: Tensor[B],
    size: tuple[int, int],
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> Tensor[B]:
    """The adjoint of `unfold`: windows added up into images of (height, width) `size`.

    >>> ops.fold(born.ones((1, 1, 4, 4), backend), (3, 3), 2).numpy()[0, 0, 1]
    array([2., 4., 2.], dtype=float32)
    """
    window = Window.of(kernel_size, stride, padding, dilation)
    return Tensor(backend_of("fold", columns).fold(columns.raw, size, window), columns.backend)


def conv2d(
    x: Tensor[B],
    weight: Tensor[B],
    bias: Tensor[B] | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor[B]:
    """The cross-correlation that networks call convolution.

        y[n, o, i, j] = b[o] + sum_{c, k, l} w[o, c, k, l] x[n, c, s i + d k - p, s j + d l - p]

    Args:
        x: images, shape (N, C, H, W).
        weight: w, shape (out, C / groups, kernel height, kernel width).
        bias: b, shape (out,); none by default.
        stride: s, one integer or (height, width); 1 by default.
        padding: p, zeros added on every side; 0 by default.
        dilation: d, the distance between elements of the kernel; 1 by default.
        groups: into how many groups the channels fall that do not mix; 1 by default.

    Returns:
        shape (N, out, H', W') with H' = (H + 2 p - d (kernel height - 1) - 1) // s + 1.

    >>> ops.conv2d(born.ones((1, 1, 3, 3), backend), born.ones((2, 1, 2, 2), backend)).shape
    (1, 2, 2, 2)
    """
    backend = backend_of("conv2d", x)
    w = raw_operand("conv2d", backend, weight)
    b = optional_operand("conv2d", backend, bias)
    window = convolution_window(w, stride, padding, dilation)
    return Tensor(backend.conv2d(x.raw, w, b, window, groups), backend)


def max_pool2d(
    x: Tensor[B],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> Tensor[B]:
    """The largest element of each window of images (N, C, H, W).

    Args:
        x: images; padded with minus infinity.
        kernel_size: the window, one integer or (height, width).
        stride: the distance between windows; that of the kernel by default.
        padding: at most half the kernel; 0 by default.
        dilation: the distance between elements of a window; 1 by default.

    >>> ops.max_pool2d(born.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], backend), 2)
    Tensor([[[[4.]]]], dtype=float32)
    """
    window = Window.of(kernel_size, kernel_size if stride is None else stride, padding, dilation)
    return Tensor(backend_of("max_pool2d", x).max_pool2d(x.raw, window)[0], x.backend)


def avg_pool2d(
    x: Tensor[B], kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0
) -> Tensor[B]:
    """The mean of each window of images, zeros of the padding counted; arguments as `max_pool2d`.

    >>> ops.avg_pool2d(born.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], backend), 2)
    Tensor([[[[2.5]]]], dtype=float32)
    """
    window = Window.of(kernel_size, kernel_size if stride is None else stride, padding)
    return Tensor(backend_of("avg_pool2d", x).avg_pool2d(x.raw, window), x.backend)
