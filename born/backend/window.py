"""`Window`: what slides over an image in convolution and pooling."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from born.errors import ShapeError
from born.raw import RawTensor
from born.validation import Pair, pair

Size: TypeAlias = tuple[int, int]
"""Height and width."""


class Window(NamedTuple):
    """The kernel of a convolution or pool and how it moves; make one with `Window.of`.

    Attributes:
        kernel: how many elements it looks at.
        stride: the distance from one place of the window to the next.
        padding: how many elements are added on each side of an image.
        dilation: the distance between the elements of the kernel.

    >>> window = Window.of(3, stride=2, padding=(1, 0))
    >>> window.kernel, window.stride, window.padding, window.dilation
    ((3, 3), (2, 2), (1, 0), (1, 1))
    >>> window.counts((8, 9))
    (4, 4)
    """

    kernel: Size
    stride: Size
    padding: Size
    dilation: Size

    @classmethod
    def of(cls, kernel: Pair, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1) -> Window:
        """A window with one integer for both directions, or two; others are a `ShapeError`."""
        return cls(
            pair("kernel_size", kernel, error=ShapeError),
            pair("stride", stride, error=ShapeError),
            pair("padding", padding, least=0, error=ShapeError),
            pair("dilation", dilation, error=ShapeError),
        )

    def counts(self, size: Size) -> Size:
        """How many windows fit along the height and width of an image."""
        rows, columns = (_count(*lengths) for lengths in zip(size, *self, strict=True))
        return rows, columns

    def slices(self, i: int, j: int, counts: Size) -> tuple[slice, slice]:
        """Where element (i, j) of every window lies in a padded image."""
        return (
            _slice(i * self.dilation[0], self.stride[0], counts[0]),
            _slice(j * self.dilation[1], self.stride[1], counts[1]),
        )

    def check_pool(self) -> None:
        """Refuse padding that would make a window of nothing but padding."""
        if any(
            2 * padding > kernel for padding, kernel in zip(self.padding, self.kernel, strict=True)
        ):
            raise ShapeError(
                f"expected padding of at most half the kernel {self.kernel}, got {self.padding}; "
                "pad less or use a larger kernel"
            )


def _count(length: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows fit along one axis."""
    span = dilation * (kernel - 1) + 1
    padded = length + 2 * padding
    if padded < span:
        raise ShapeError(
            f"expected an axis of at least {span} elements for a window of {kernel} "
            f"with dilation {dilation}, got {length} with padding {padding}; "
            "use a smaller kernel or more padding"
        )
    return (padded - span) // stride + 1


def _slice(start: int, step: int, count: int) -> slice:
    return slice(start, start + step * (count - 1) + 1, step)


def image_shape(x: RawTensor) -> tuple[int, int, int, int]:
    """The shape of a batch of images."""
    if x.ndim != 4:
        raise ShapeError(
            f"expected images of shape (batch, channels, height, width), got {x.shape}; "
            "add the missing axes with reshape or expand_dims"
        )
    n, c, h, w = x.shape
    return n, c, h, w


def convolution_window(
    weight: RawTensor, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> Window:
    """The window of a convolution, whose weight is (out, channels / groups, height, width)."""
    if weight.ndim != 4:
        raise ShapeError(
            "expected a weight of shape (out, channels / groups, height, width), got "
            f"{weight.shape}; add the missing axes with reshape or expand_dims"
        )
    return Window.of((weight.shape[2], weight.shape[3]), stride, padding, dilation)


def check_convolution(
    x: RawTensor, weight: RawTensor, bias: RawTensor | None, window: Window, groups: int
) -> None:
    """Refuse a weight, bias or groups that do not go with images."""
    channels = image_shape(x)[1]
    shape = weight.shape
    if shape[2:] != window.kernel or groups < 1 or shape[0] % groups or channels % groups:
        raise ShapeError(
            "expected a weight of shape (out, channels / groups, height, width) with out and "
            f"channels divisible by groups, got {shape}, {channels} channels and "
            f"groups={groups}; change the weight or the groups"
        )
    if shape[1] * groups != channels:
        raise ShapeError(
            f"expected images of {shape[1] * groups} channels for a weight of shape "
            f"{shape} and groups={groups}, got {channels}; match the channels"
        )
    if bias is not None and bias.shape != shape[:1]:
        raise ShapeError(
            f"expected a bias of shape {shape[:1]}, got {bias.shape}; "
            "pass one element for each output channel"
        )
