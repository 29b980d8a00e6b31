"""Pooling: a summary of each window of an image."""

from __future__ import annotations

from typing_extensions import override

from born import ops
from born.nn.module import Stateless
from born.tensor import B, Tensor
from born.validation import Pair, pair


class MaxPool2d(Stateless):
    """The largest element of each window of images `(batch, channels, height, width)`.

    Args:
        kernel_size: height and width of a window, or one integer for both.
        stride: step from window to window; by default the kernel's size.
        padding: minus infinities added on each side, at most half the kernel.
        dilation: step between the elements of a window.

    Raises:
        ConfigError, ConfigTypeError: a size that is not a positive integer (padding:
            non-negative).
        ShapeError: in a call: `x` does not have four axes, or is smaller than a window.

    >>> import born
    >>> MaxPool2d(2)(born.zeros((1, 3, 8, 8), born.get_backend("numpy"))).shape
    (1, 3, 4, 4)
    """

    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
    ) -> None:
        self.kernel_size = pair("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else pair("stride", stride)
        self.padding = pair("padding", padding, least=0)
        self.dilation = pair("dilation", dilation)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)


class AvgPool2d(Stateless):
    """The mean of each window of images `(batch, channels, height, width)`.

    The zeros of the padding count.

    Args:
        kernel_size: height and width of a window, or one integer for both.
        stride: step from window to window; by default the kernel's size.
        padding: zeros added on each side, at most half the kernel.

    Raises:
        ConfigError, ConfigTypeError: a size that is not a positive integer (padding:
            non-negative).
        ShapeError: in a call: `x` does not have four axes, or is smaller than a window.

    >>> import born
    >>> AvgPool2d(4)(born.zeros((1, 3, 8, 8), born.get_backend("numpy"))).shape
    (1, 3, 2, 2)
    """

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        self.kernel_size = pair("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else pair("stride", stride)
        self.padding = pair("padding", padding, least=0)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.avg_pool2d(x, self.kernel_size, self.stride, self.padding)
