"""Checks of the arguments of the fused operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from born.backend.arguments import pair, windows
from born.errors import DomainError, ShapeError
from born.raw import RawTensor

Pair: TypeAlias = int | Sequence[int]
"""A size for height and width: one integer for both, or two."""


def check_approximation(approximate: str) -> None:
    """Refuse anything but the two forms of GELU."""
    if approximate not in ("none", "tanh"):
        raise DomainError(
            f'expected approximate="none" or "tanh", got {approximate!r}; "none" is exact'
        )


def check_smoothing(label_smoothing: float) -> None:
    """Refuse a label smoothing outside of [0, 1]."""
    if not 0.0 <= label_smoothing <= 1.0:
        raise DomainError(
            f"expected label_smoothing from 0 to 1, got {label_smoothing!r}; 0.1 is common"
        )


def check_reduction(reduction: str) -> None:
    """Refuse anything but the three reductions of a loss."""
    if reduction not in ("mean", "sum", "none"):
        raise DomainError(
            f'expected reduction="mean", "sum" or "none", got {reduction!r}; "mean" is the default'
        )


def check_probability(p: float) -> None:
    """Refuse a probability outside of [0, 1]."""
    if not 0.0 <= p <= 1.0:
        raise DomainError(f"expected a probability p from 0 to 1, got {p!r}; 0.5 is common")


def trailing_axes(x: RawTensor, axes: int) -> tuple[int, ...]:
    """The last `axes` axes of `x`.

    Raises:
        ShapeError: it has fewer, or `axes` is not positive.
    """
    if not 1 <= axes <= x.ndim:
        raise ShapeError(
            f"expected from 1 to {x.ndim} trailing axes of a tensor of shape {x.shape}, "
            f"got {axes}; normalise over axes the tensor has"
        )
    return tuple(range(x.ndim - axes, x.ndim))


def window(
    kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
    """The four sizes of a sliding window, each for height and width."""
    return (
        pair(kernel, "kernel_size", least=1),
        pair(stride, "stride", least=1),
        pair(padding, "padding", least=0),
        pair(dilation, "dilation", least=1),
    )


def window_counts(size: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """How many windows fit along the height and width of images.

    Args:
        size: height and width.
        sizes: what `window` gives.

    Raises:
        ShapeError: not even one does.
    """
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = sizes
    return windows(size[0], kh, sh, ph, dh), windows(size[1], kw, sw, pw, dw)


def taps_at(
    i: int, j: int, counts: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]
) -> tuple[slice, slice]:
    """Where element (i, j) of every window lies in a padded image."""
    top, left = i * dilations[0], j * dilations[1]
    return (
        slice(top, top + strides[0] * (counts[0] - 1) + 1, strides[0]),
        slice(left, left + strides[1] * (counts[1] - 1) + 1, strides[1]),
    )


def image_shape(x: RawTensor) -> tuple[int, int, int, int]:
    """The shape of a batch of images.

    Raises:
        ShapeError: `x` has not four axes.
    """
    if x.ndim != 4:
        raise ShapeError(
            f"expected images of shape (batch, channels, height, width), got {x.shape}; "
            "add the missing axes with reshape or expand_dims"
        )
    n, c, h, w = x.shape
    return n, c, h, w


def check_convolution(
    x: RawTensor, weight: RawTensor, bias: RawTensor | None, groups: int
) -> tuple[int, int]:
    """The kernel's height and width, once all shapes fit.

    Raises:
        ShapeError: they do not.
    """
    channels = image_shape(x)[1]
    if weight.ndim != 4 or groups < 1 or weight.shape[0] % groups or channels % groups:
        raise ShapeError(
            "expected a weight of shape (out, channels / groups, height, width) with out and "
            f"channels divisible by groups, got {weight.shape}, {channels} channels and "
            f"groups={groups}; change the weight or the groups"
        )
    if weight.shape[1] * groups != channels:
        raise ShapeError(
            f"expected images of {weight.shape[1] * groups} channels for a weight of shape "
            f"{weight.shape} and groups={groups}, got {channels}; match the channels"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(
            f"expected a bias of shape {weight.shape[:1]}, got {bias.shape}; "
            "pass one element for each output channel"
        )
    return weight.shape[2], weight.shape[3]


def check_pool_padding(kernel: tuple[int, int], padding: tuple[int, int]) -> None:
    """Refuse padding that would make a window of nothing but padding."""
    if padding[0] * 2 > kernel[0] or padding[1] * 2 > kernel[1]:
        raise ShapeError(
            f"expected padding of at most half the kernel {kernel}, got {padding}; "
            "pad less or use a larger kernel"
        )
