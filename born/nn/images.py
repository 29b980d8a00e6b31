"""Layers of images `(batch, channels, height, width)`: convolution and pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from born import ops
from born.backend import B
from born.dtypes import DTypeLike
from born.errors import ConfigError
from born.nn import init
from born.nn.module import Module, Stateless
from born.nn.parameter import Parameter
from born.tensor import B2, Tensor
from born.validation import Pair, flag, integer, pair


class Conv2d(Module[B]):
    """The cross-correlation of images with learned kernels, plus a bias.

    y[n, o, i, j] = b[o] + sum over c, u, v of W[o, c, u, v] x[n, c, s i + d u - p, s j + d v - p]
    for stride s, dilation d and padding p; x is zero outside the image.

    Args:
        in_channels: channels of x.
        out_channels: channels of y.
        kernel_size: height and width of a kernel, or one integer for both.
        backend: where the parameters live; its random state is used.
        stride: step from window to window.
        padding: zeros added on each side.
        dilation: step between the elements of a window.
        groups: how many groups the channels are cut into, each with its own kernels; both
            numbers of channels must be divisible by it.
        bias: whether there is a b.
        dtype: of the parameters, a floating dtype.

    Attributes:
        weight: W, of shape `(out_channels, in_channels / groups, height, width)`.
        bias: b, of shape `(out_channels,)`, or None. Both start within `nn.init.default_bound`.

    >>> layer = Conv2d(3, 8, 5, backend, stride=2, padding=2)
    >>> layer(born.zeros((1, 3, 16, 16), backend)).shape
    (1, 8, 8, 8)
    """

    weight: Parameter[B]
    bias: Parameter[B] | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        backend: B,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.stride = pair("stride", stride)
        self.padding = pair("padding", padding, least=0)
        self.dilation = pair("dilation", dilation)
        self.groups = integer("groups", groups)
        inputs, outputs = integer("in_channels", in_channels), integer("out_channels", out_channels)
        if inputs % self.groups or outputs % self.groups:
            raise ConfigError(
                f"expected in_channels and out_channels divisible by groups={groups}, got "
                f"{inputs} and {outputs}; change the channels or the groups"
            )
        shape = (outputs, inputs // self.groups, *pair("kernel_size", kernel_size))
        self.weight, self.bias = init.weight_and_bias(shape, backend, flag("bias", bias), dtype)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> Conv2d[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Convolve images `x` of shape `(batch, in_channels, height, width)`."""
        return ops.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class MaxPool2d(Stateless):
    """The largest element of each window of images `(batch, channels, height, width)`.

    Args:
        kernel_size: height and width of a window, or one integer for both.
        stride: step from window to window; by default the kernel's size.
        padding: minus infinities added on each side, at most half the kernel.
        dilation: step between the elements of a window.

    >>> MaxPool2d(2)(born.zeros((1, 3, 8, 8), backend)).shape
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
    """The mean of each window of images, in which the zeros of the padding count.

    Arguments and errors as for `MaxPool2d`, which has a dilation besides.

    >>> AvgPool2d(4)(born.zeros((1, 3, 8, 8), backend)).shape
    (1, 3, 2, 2)
    """

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        self.kernel_size = pair("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else pair("stride", stride)
        self.padding = pair("padding", padding, least=0)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.avg_pool2d(x, self.kernel_size, self.stride, self.padding)
