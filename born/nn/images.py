"""Convolution, pooling and sizes of images `(batch, channels, height, width)` and lines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from typing_extensions import override

from born import ops
from born.backend import B
from born.dtypes import DTypeLike
from born.errors import ConfigError, DomainError
from born.nn import init
from born.nn.module import Module, Stateless
from born.nn.parameter import Parameter
from born.ops.images import Padding, UpsamplingMode
from born.ops.padding import Mode as PadMode
from born.raw import Shape
from born.tensor import B2, Tensor
from born.validation import Pair, choice, flag, integer, number, pair

PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
"""What lies around an image, by PyTorch's names."""

_MODES: Final[dict[PaddingMode, PadMode]] = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}
"""The same by NumPy's names."""


class Conv1d(Module[B]):
    """The cross-correlation of lines `(batch, channels, length)` with learned kernels, plus a bias.

    y[n, o, i] = b[o] + sum over c, u of W[o, c, u] x[n, c, s i + d u - p]

    Arguments as for `Conv2d`, each a size along one axis.

    Attributes:
        weight: W, of shape `(out_channels, in_channels / groups, kernel_size)`.
        bias: b, of shape `(out_channels,)`, or None. Both start within `nn.init.default_bound`.

    >>> Conv1d(3, 8, 5, backend, padding="same")(born.zeros((1, 3, 16), backend)).shape
    (1, 8, 16)
    """

    weight: Parameter[B]
    bias: Parameter[B] | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        backend: B,
        stride: int = 1,
        padding: int | Literal["same", "valid"] = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        padding_mode: PaddingMode = "zeros",
    ) -> None:
        self.stride = integer("stride", stride)
        self.padding_mode: PaddingMode = choice("padding_mode", padding_mode, get_args(PaddingMode))
        self.padding: int | Literal["same", "valid"] = padding
        if not isinstance(padding, str):
            self.padding = integer("padding", padding, least=0)
        _checked(padding, (1, self.stride))
        self.dilation = integer("dilation", dilation)
        self.groups = integer("groups", groups)
        inputs, outputs = _channels(in_channels, out_channels, self.groups)
        shape = (outputs, inputs // self.groups, integer("kernel_size", kernel_size))
        self.weight, self.bias = init.weight_and_bias(shape, backend, flag("bias", bias), dtype)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> Conv1d[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Convolve lines `x` of shape `(batch, in_channels, length)`."""
        padding = self.padding
        if self.padding_mode != "zeros" and padding != "valid":
            sides = padding if isinstance(padding, str) else (padding,)
            x = _beyond(x, self.padding_mode, sides, self.weight.shape[2:], (self.dilation,))
            padding = 0
        return ops.conv1d(
            x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class Conv2d(Module[B]):
    """The cross-correlation of images with learned kernels, plus a bias.

    y[n, o, i, j] = b[o] + sum over c, u, v of W[o, c, u, v] x[n, c, s i + d u - p, s j + d v - p]
    for stride s, dilation d and padding p; x is zero outside the image, or as `padding_mode` says.

    Args:
        in_channels: channels of x.
        out_channels: channels of y.
        kernel_size: height and width of a kernel, or one integer for both.
        backend: where the parameters live; its random state is used.
        stride: step from window to window.
        padding: zeros added on each side; `"same"` for what keeps the size, with a stride of 1; or
            `"valid"` for none.
        dilation: step between the elements of a window.
        groups: how many groups the channels are cut into, each with its own kernels; both
            numbers of channels must be divisible by it.
        bias: whether there is a b.
        dtype: of the parameters, a floating dtype.
        padding_mode: what lies around an image: `"zeros"`, its mirror image without the border
            (`"reflect"`), the border (`"replicate"`), or its other end (`"circular"`).

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
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        padding_mode: PaddingMode = "zeros",
    ) -> None:
        self.stride = pair("stride", stride)
        self.padding_mode: PaddingMode = choice("padding_mode", padding_mode, get_args(PaddingMode))
        self.padding: Padding = _checked(padding, self.stride)
        self.dilation = pair("dilation", dilation)
        self.groups = integer("groups", groups)
        inputs, outputs = _channels(in_channels, out_channels, self.groups)
        shape = (outputs, inputs // self.groups, *pair("kernel_size", kernel_size))
        self.weight, self.bias = init.weight_and_bias(shape, backend, flag("bias", bias), dtype)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> Conv2d[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Convolve images `x` of shape `(batch, in_channels, height, width)`."""
        padding = self.padding
        if self.padding_mode != "zeros" and padding != "valid":
            sides = padding if isinstance(padding, str) else pair("padding", padding, least=0)
            x = _beyond(x, self.padding_mode, sides, self.weight.shape[2:], self.dilation)
            padding = 0
        return ops.conv2d(
            x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class ConvTranspose1d(Module[B]):
    """The adjoint of a convolution of lines: each element adds a learned kernel to a longer line.

    y[n, o, s i + d u - p] += W[c, o, u] x[n, c, i], on top of b[o]

    Arguments as for `ConvTranspose2d`, each a size along one axis.

    Attributes:
        weight: W, of shape `(in_channels, out_channels / groups, kernel_size)`.
        bias: b, of shape `(out_channels,)`, or None. Both start within `nn.init.default_bound`.

    >>> layer = ConvTranspose1d(8, 3, 4, backend, stride=2, padding=1)
    >>> layer(born.zeros((1, 8, 8), backend)).shape
    (1, 3, 16)
    """

    weight: Parameter[B]
    bias: Parameter[B] | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        backend: B,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int = 1,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.stride = integer("stride", stride)
        self.padding = integer("padding", padding, least=0)
        self.output_padding = integer("output_padding", output_padding, least=0)
        self.dilation = integer("dilation", dilation)
        self.groups = integer("groups", groups)
        inputs, outputs = _channels(in_channels, out_channels, self.groups)
        shape = (inputs, outputs // self.groups, integer("kernel_size", kernel_size))
        self.weight, self.bias = _transposed(shape, outputs, backend, bias, dtype)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> ConvTranspose1d[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Lengthen lines `x` of shape `(batch, in_channels, length)`."""
        return ops.conv_transpose1d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


class ConvTranspose2d(Module[B]):
    """The adjoint of a convolution: each pixel adds a learned kernel to a larger image.

    y[n, o, s i + d u - p, s j + d v - p] += W[c, o, u, v] x[n, c, i, j], on top of b[o]

    Args:
        in_channels: channels of x.
        out_channels: channels of y.
        kernel_size: height and width of a kernel, or one integer for both.
        backend: where the parameters live; its random state is used.
        stride: step from kernel to kernel.
        padding: what is cut off each side.
        output_padding: what is added at the ends, less than the stride.
        groups: as for `Conv2d`.
        bias: whether there is a b.
        dilation: step between the elements of a kernel.
        dtype: of the parameters, a floating dtype.

    Attributes:
        weight: W, of shape `(in_channels, out_channels / groups, height, width)`.
        bias: b, of shape `(out_channels,)`, or None. Both start within `nn.init.default_bound`.

    Source: Zeiler et al. (2010), "Deconvolutional Networks".

    >>> layer = ConvTranspose2d(8, 3, 4, backend, stride=2, padding=1)
    >>> layer(born.zeros((1, 8, 8, 8), backend)).shape
    (1, 3, 16, 16)
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
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.stride = pair("stride", stride)
        self.padding = pair("padding", padding, least=0)
        self.output_padding = pair("output_padding", output_padding, least=0)
        self.dilation = pair("dilation", dilation)
        self.groups = integer("groups", groups)
        inputs, outputs = _channels(in_channels, out_channels, self.groups)
        shape = (inputs, outputs // self.groups, *pair("kernel_size", kernel_size))
        self.weight, self.bias = _transposed(shape, outputs, backend, bias, dtype)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> ConvTranspose2d[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Enlarge images `x` of shape `(batch, in_channels, height, width)`."""
        return ops.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
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
    """The mean of each window of images `(batch, channels, height, width)`.

    Args:
        kernel_size: height and width of a window, or one integer for both.
        stride: step from window to window; by default the kernel's size.
        padding: zeros added on each side, at most half the kernel.
        count_include_pad: whether they count; else the mean is over what lies in the image.

    >>> AvgPool2d(4)(born.zeros((1, 3, 8, 8), backend)).shape
    (1, 3, 2, 2)
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size = pair("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else pair("stride", stride)
        self.padding = pair("padding", padding, least=0)
        self.count_include_pad = flag("count_include_pad", count_include_pad)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.avg_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            count_include_pad=self.count_include_pad,
        )


class MaxPool1d(Stateless):
    """The largest element of each window of lines `(batch, channels, length)`.

    Arguments as for `MaxPool2d`, each a size along one axis.

    >>> MaxPool1d(2)(born.zeros((1, 3, 8), backend)).shape
    (1, 3, 4)
    """

    def __init__(
        self, kernel_size: int, stride: int | None = None, padding: int = 0, dilation: int = 1
    ) -> None:
        self.kernel_size = integer("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else integer("stride", stride)
        self.padding = integer("padding", padding, least=0)
        self.dilation = integer("dilation", dilation)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.max_pool1d(x, self.kernel_size, self.stride, self.padding, self.dilation)


class AvgPool1d(Stateless):
    """The mean of each window of lines `(batch, channels, length)`.

    Arguments as for `AvgPool2d`, each a size along one axis.

    >>> AvgPool1d(4)(born.zeros((1, 3, 8), backend)).shape
    (1, 3, 2)
    """

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size = integer("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else integer("stride", stride)
        self.padding = integer("padding", padding, least=0)
        self.count_include_pad = flag("count_include_pad", count_include_pad)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.avg_pool1d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            count_include_pad=self.count_include_pad,
        )


class _Adaptive1d(Stateless):
    def __init__(self, output_size: int) -> None:
        self.output_size = integer("output_size", output_size)


class _Adaptive2d(Stateless):
    def __init__(self, output_size: Pair) -> None:
        self.output_size = pair("output_size", output_size)


class AdaptiveAvgPool1d(_Adaptive1d):
    """Means over as many windows as wanted, of lines of any length.

    Window i of n over L elements holds those from floor(i L / n) to ceil((i + 1) L / n).

    Args:
        output_size: length of the result.

    >>> AdaptiveAvgPool1d(2)(born.zeros((1, 3, 7), backend)).shape
    (1, 3, 2)
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveAvgPool2d(_Adaptive2d):
    """Means over as many windows as wanted, of images of any size; as `AdaptiveAvgPool1d`.

    Args:
        output_size: height and width of the result, or one integer for both.

    >>> AdaptiveAvgPool2d(1)(born.zeros((1, 3, 5, 7), backend)).shape
    (1, 3, 1, 1)
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveMaxPool1d(_Adaptive1d):
    """The largest elements of as many windows as wanted, those of `AdaptiveAvgPool1d`.

    Args:
        output_size: length of the result.

    >>> AdaptiveMaxPool1d(2)(born.zeros((1, 3, 7), backend)).shape
    (1, 3, 2)
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.adaptive_max_pool1d(x, self.output_size)


class AdaptiveMaxPool2d(_Adaptive2d):
    """The largest elements of as many windows as wanted, those of `AdaptiveAvgPool2d`.

    Args:
        output_size: height and width of the result, or one integer for both.

    >>> AdaptiveMaxPool2d(1)(born.zeros((1, 3, 5, 7), backend)).shape
    (1, 3, 1, 1)
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.adaptive_max_pool2d(x, self.output_size)


class PixelShuffle(Stateless):
    """Images of more pixels from more channels; equation and source as for `ops.pixel_shuffle`.

    Args:
        factor: by what height and width grow; channels become as many as its square divides.

    >>> PixelShuffle(2)(born.zeros((1, 8, 3, 4), backend)).shape
    (1, 2, 6, 8)
    """

    def __init__(self, factor: int) -> None:
        self.factor = integer("factor", factor)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.pixel_shuffle(x, self.factor)


class PixelUnshuffle(Stateless):
    """Images of more channels from more pixels: what `PixelShuffle` does, undone.

    Args:
        factor: by what height and width shrink.

    >>> PixelUnshuffle(2)(born.zeros((1, 2, 6, 8), backend)).shape
    (1, 8, 3, 4)
    """

    def __init__(self, factor: int) -> None:
        self.factor = integer("factor", factor)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.pixel_unshuffle(x, self.factor)


class Upsample(Stateless):
    """Images of another size, pixels repeated or joined by lines.

    Args:
        size: height and width of the result, or one integer for both; or a scale_factor.
        scale_factor: by what to multiply both, or each; the result is rounded down.
        mode: `"nearest"` or `"bilinear"`.
        align_corners: of `"bilinear"`, whether the centres of the corners stay where they are.

    Raises:
        ConfigError: neither a size nor a scale_factor, or both.

    >>> Upsample(scale_factor=2)(born.zeros((1, 3, 4, 4), backend)).shape
    (1, 3, 8, 8)
    """

    def __init__(
        self,
        size: Pair | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        mode: UpsamplingMode = "nearest",
        align_corners: bool = False,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ConfigError(
                f"expected a size or a scale_factor, got {size} and {scale_factor}; pass one"
            )
        self.size = None if size is None else pair("size", size)
        self.scale_factor = None
        if scale_factor is not None:
            factors = scale_factor if isinstance(scale_factor, tuple) else (scale_factor,) * 2
            height, width = (number("scale_factor", each, 1e-6) for each in factors)
            self.scale_factor = height, width
        self.mode: UpsamplingMode = choice("mode", mode, get_args(UpsamplingMode), DomainError)
        self.align_corners = flag("align_corners", align_corners)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.upsample(
            x, self.size, self.scale_factor, self.mode, align_corners=self.align_corners
        )


def _transposed(
    shape: Shape, outputs: int, backend: B, bias: bool, dtype: DTypeLike
) -> tuple[Parameter[B], Parameter[B] | None]:
    """What transposed convolutions start from, of a weight (in, out / groups, *kernel)."""
    bound = init.default_bound(math.prod(shape[1:]))
    weight = Parameter(init.uniform(shape, backend, -bound, bound, dtype))
    if not flag("bias", bias):
        return weight, None
    return weight, Parameter(init.uniform((outputs,), backend, -bound, bound, dtype))


def _beyond(
    x: Tensor[B],
    mode: PaddingMode,
    padding: tuple[int, ...] | str,
    kernel: Shape,
    dilation: tuple[int, ...],
) -> Tensor[B]:
    """Lines or images with as much around them as the padding says, `"same"` or lengths."""
    if isinstance(padding, str):
        totals = [far * (length - 1) for far, length in zip(dilation, kernel, strict=True)]
        widths = [(total // 2, total - total // 2) for total in totals]
    else:
        widths = [(each, each) for each in padding]
    if x.ndim != 2 + len(widths):
        return x  # the convolution refuses it
    return ops.pad(x, [(0, 0), (0, 0), *widths], mode=_MODES[mode])


def _checked(padding: Padding, stride: tuple[int, int]) -> Padding:
    """A padding that goes with a stride."""
    if not isinstance(padding, str):
        return pair("padding", padding, least=0)
    if choice("padding", padding, ("same", "valid")) == "same" and stride != (1, 1):
        raise ConfigError(
            f'expected a stride of 1 with padding="same", got {stride}; pad by a number instead'
        )
    return padding


def _channels(inputs: int, outputs: int, groups: int) -> tuple[int, int]:
    """Both numbers of channels, which the groups divide."""
    inputs, outputs = integer("in_channels", inputs), integer("out_channels", outputs)
    if inputs % groups or outputs % groups:
        raise ConfigError(
            f"expected in_channels and out_channels divisible by groups={groups}, got "
            f"{inputs} and {outputs}; change the channels or the groups"
        )
    return inputs, outputs
