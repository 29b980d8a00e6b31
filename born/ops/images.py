"""Convolution, pooling and sliding windows over images (N, C, H, W) and lines (N, C, L)."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from born.backend import B, Window
from born.backend.window import Size, convolution_window
from born.errors import DomainError, ShapeError
from born.operands import backend_of, optional_operand, raw_operand
from born.ops.indexing import take
from born.ops.linear import matmul
from born.ops.shape import broadcast_to, pad
from born.raw import HostArray
from born.tensor import Tensor
from born.validation import Pair, choice, integer, number, pair

Padding: TypeAlias = Pair | Literal["same", "valid"]
"""Zeros added on every side; as many as keep the size, with a stride of one; or none."""

UpsamplingMode: TypeAlias = Literal["nearest", "bilinear"]
"""What fills the places between pixels: the nearest one, or the line between both."""


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
    padding: Padding = 0,
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
        padding: p, zeros added on every side; 0 by default. `"same"` adds what keeps the size, with
            a stride of 1, and the odd zero at the end; `"valid"` adds none.
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
    x, sides = _padded(x, weight.shape[2:], stride, padding, dilation)
    window = convolution_window(w, stride, sides, dilation)
    return Tensor(backend.conv2d(x.raw, w, b, window, groups), backend)


def conv1d(
    x: Tensor[B],
    weight: Tensor[B],
    bias: Tensor[B] | None = None,
    stride: int = 1,
    padding: int | Literal["same", "valid"] = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor[B]:
    """The cross-correlation of lines, such as signals or sentences.

        y[n, o, i] = b[o] + sum_{c, k} w[o, c, k] x[n, c, s i + d k - p]

    Arguments as for `conv2d`, of one axis: `x` of shape (N, C, L), w of shape (out, C / groups,
    kernel length).

    >>> ops.conv1d(born.ones((1, 1, 4), backend), born.ones((2, 1, 3), backend)).shape
    (1, 2, 2)
    """
    _check_lines("conv1d", x)
    raw_operand("conv1d", backend_of("conv1d", x), weight)
    if weight.ndim != 3:
        raise ShapeError(
            "expected a weight of shape (out, channels / groups, length) in conv1d, got "
            f"{weight.shape}; add the missing axes with reshape"
        )
    outputs, channels, length = weight.shape
    sides: Padding = padding if isinstance(padding, str) else (0, padding)
    kernels = weight.reshape(outputs, channels, 1, length)
    y = conv2d(_tall(x), kernels, bias, (1, stride), sides, (1, dilation), groups)
    return _flat(y)


def conv_transpose2d(
    x: Tensor[B],
    weight: Tensor[B],
    bias: Tensor[B] | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor[B]:
    """The adjoint of `conv2d`: each pixel adds a kernel, times its value, to a larger image.

        y[n, o, s i + d k - p, s j + d l - p] += w[c, o, k, l] x[n, c, i, j], on top of b[o]

    Args:
        x: images, shape (N, C, H, W).
        weight: w, shape (C, out / groups, kernel height, kernel width).
        bias: b, shape (out,); none by default.
        stride: s, one integer or (height, width); 1 by default.
        padding: p, what is cut off every side; 0 by default.
        output_padding: what is added at the ends, less than the stride: with a stride, images of
            several sizes give the same one by `conv2d`, and this chooses among them.
        groups: into how many groups the channels fall that do not mix; 1 by default.
        dilation: d, the distance between elements of the kernel; 1 by default.

    Returns:
        shape (N, out, H', W') with H' = (H - 1) s - 2 p + d (kernel height - 1) + 1, and the
        output padding.

    Source: Zeiler et al. (2010), "Deconvolutional Networks".

    >>> x, w = born.ones((1, 1, 2, 2), backend), born.ones((1, 3, 2, 2), backend)
    >>> ops.conv_transpose2d(x, w, stride=2).shape
    (1, 3, 4, 4)
    """
    _check_transposed(x, weight, bias, groups)
    n, channels, height, width = x.shape
    each, taps = weight.shape[1], weight.shape[2] * weight.shape[3]
    window = Window.of((weight.shape[2], weight.shape[3]), stride, padding, dilation)
    size = _transposed_size((height, width), window, output_padding)
    kernels = weight.reshape(groups, channels // groups, each * taps).transpose(0, 2, 1)
    pixels = x.reshape(n, groups, channels // groups, height * width)
    parts = matmul(kernels, pixels).reshape(n, groups * each, taps, height * width)
    # The windows over the larger image that `output_padding` makes may be more than the pixels.
    whole = window.counts(size)
    if whole != (height, width):
        parts = parts.reshape(n, groups * each, taps, height, width)
        beyond = ((0, whole[0] - height), (0, whole[1] - width))
        parts = pad(parts, [(0, 0), (0, 0), (0, 0), *beyond])
        parts = parts.reshape(n, groups * each, taps, whole[0] * whole[1])
    y = fold(parts, size, *window)
    return y if bias is None else y + bias.reshape(groups * each, 1, 1)


def conv_transpose1d(
    x: Tensor[B],
    weight: Tensor[B],
    bias: Tensor[B] | None = None,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
) -> Tensor[B]:
    """The adjoint of `conv1d`: each element adds a kernel, times its value, to a longer line.

        y[n, o, s i + d k - p] += w[c, o, k] x[n, c, i], on top of b[o]

    Arguments as for `conv_transpose2d`, of one axis: `x` of shape (N, C, L), w of shape (C, out /
    groups, kernel length).

    >>> x, w = born.ones((1, 1, 4), backend), born.ones((1, 3, 2), backend)
    >>> ops.conv_transpose1d(x, w, stride=2).shape
    (1, 3, 8)
    """
    _check_lines("conv_transpose1d", x)
    raw_operand("conv_transpose1d", backend_of("conv_transpose1d", x), weight)
    if weight.ndim != 3:
        raise ShapeError(
            "expected a weight of shape (channels, out / groups, length) in conv_transpose1d, got "
            f"{weight.shape}; add the missing axes with reshape"
        )
    more = integer("output_padding", output_padding, least=0, error=ShapeError)
    tall = weight.reshape(*weight.shape[:2], 1, weight.shape[2])
    along = (1, stride), (0, padding), (0, more)
    return _flat(conv_transpose2d(_tall(x), tall, bias, *along, groups, (1, dilation)))


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
    x: Tensor[B],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    *,
    count_include_pad: bool = True,
) -> Tensor[B]:
    """The mean of each window of images; arguments as for `max_pool2d`.

    Args:
        x: images, padded with zeros.
        kernel_size: as for `max_pool2d`.
        stride: as for `max_pool2d`.
        padding: as for `max_pool2d`.
        count_include_pad: whether the zeros of the padding count; else the mean is over what lies
            in the image.

    >>> ops.avg_pool2d(born.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], backend), 2)
    Tensor([[[[2.5]]]], dtype=float32)
    """
    window = Window.of(kernel_size, kernel_size if stride is None else stride, padding)
    y = Tensor(backend_of("avg_pool2d", x).avg_pool2d(x.raw, window), x.backend)
    if count_include_pad or window.padding == (0, 0):
        return y
    each = [
        side / _inside(length, count, side, step, before)
        for length, count, side, step, before in zip(
            x.shape[2:], y.shape[2:], window.kernel, window.stride, window.padding, strict=True
        )
    ]
    factors = (each[0][:, None] * each[1]).astype(y.dtype)
    return y * Tensor(x.backend.from_numpy(factors), x.backend)


def _inside(length: int, count: int, kernel: int, stride: int, padding: int) -> HostArray:
    """How many elements of each window along an axis are not padding."""
    first = np.arange(count) * stride - padding
    inside: HostArray = np.minimum(first + kernel, length) - np.maximum(first, 0)
    return inside


def max_pool1d(
    x: Tensor[B], kernel_size: int, stride: int | None = None, padding: int = 0, dilation: int = 1
) -> Tensor[B]:
    """The largest element of each window of lines (N, C, L); arguments as for `max_pool2d`.

    >>> ops.max_pool1d(born.tensor([[[1.0, 3.0, 2.0, 0.0]]], backend), 2)
    Tensor([[[3., 2.]]], dtype=float32)
    """
    _check_lines("max_pool1d", x)
    step = kernel_size if stride is None else stride
    return _flat(max_pool2d(_tall(x), (1, kernel_size), (1, step), (0, padding), (1, dilation)))


def avg_pool1d(
    x: Tensor[B],
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    *,
    count_include_pad: bool = True,
) -> Tensor[B]:
    """The mean of each window of lines (N, C, L); arguments as for `avg_pool2d`.

    >>> ops.avg_pool1d(born.tensor([[[1.0, 3.0, 2.0, 0.0]]], backend), 2)
    Tensor([[[2., 1.]]], dtype=float32)
    """
    _check_lines("avg_pool1d", x)
    step = kernel_size if stride is None else stride
    along = (1, kernel_size), (1, step), (0, padding)
    return _flat(avg_pool2d(_tall(x), *along, count_include_pad=count_include_pad))


def adaptive_avg_pool2d(x: Tensor[B], output_size: Pair) -> Tensor[B]:
    """Means over as many windows as wanted, of any image (N, C, H, W).

    Window i of n over H rows holds those from floor(i H / n) to ceil((i + 1) H / n).

    Args:
        x: images, with at least one pixel.
        output_size: (height, width) of the result, or one integer for both.

    >>> ops.adaptive_avg_pool2d(born.ones((1, 2, 5, 7), backend), 1).shape
    (1, 2, 1, 1)
    """
    size = pair("output_size", output_size, error=ShapeError)
    _check_images("adaptive_avg_pool2d", x)
    height, width = x.shape[2:]
    if height % size[0] or width % size[1]:
        return _along_both(x, _means(height, size[0]), _means(width, size[1]))
    return avg_pool2d(x, (height // size[0], width // size[1]))


def adaptive_avg_pool1d(x: Tensor[B], output_size: int) -> Tensor[B]:
    """Means over as many windows as wanted, of any line (N, C, L); as `adaptive_avg_pool2d`.

    >>> ops.adaptive_avg_pool1d(born.ones((1, 2, 5), backend), 2).shape
    (1, 2, 2)
    """
    _check_lines("adaptive_avg_pool1d", x)
    length = integer("output_size", output_size, error=ShapeError)
    return _flat(adaptive_avg_pool2d(_tall(x), (1, length)))


def adaptive_max_pool2d(x: Tensor[B], output_size: Pair) -> Tensor[B]:
    """The largest element of each of as many windows as wanted; windows of `adaptive_avg_pool2d`.

    >>> ops.adaptive_max_pool2d(born.tensor([[[[1.0, 3.0, 2.0]]]], backend), (1, 2))
    Tensor([[[[3., 3.]]]], dtype=float32)
    """
    size = pair("output_size", output_size, error=ShapeError)
    _check_images("adaptive_max_pool2d", x)
    steps: list[int] = []
    for axis, count in ((2, size[0]), (3, size[1])):
        length = x.shape[axis]
        if length % count:
            places = _spans(length, count)
            index = Tensor(x.backend.from_numpy(places.reshape(-1)), x.backend)
            x, step = take(x, index, axis=axis), places.shape[1]
        else:
            step = length // count
        steps.append(step)
    return max_pool2d(x, (steps[0], steps[1]))


def adaptive_max_pool1d(x: Tensor[B], output_size: int) -> Tensor[B]:
    """The largest element of each of as many windows as wanted, of any line (N, C, L).

    >>> ops.adaptive_max_pool1d(born.tensor([[[1.0, 3.0, 2.0]]], backend), 1)
    Tensor([[[3.]]], dtype=float32)
    """
    _check_lines("adaptive_max_pool1d", x)
    length = integer("output_size", output_size, error=ShapeError)
    return _flat(adaptive_max_pool2d(_tall(x), (1, length)))


def pixel_shuffle(x: Tensor[B], factor: int) -> Tensor[B]:
    """Images of more pixels from more channels: (N, C f^2, H, W) as (N, C, H f, W f).

        y[n, c, f i + u, f j + v] = x[n, c f^2 + f u + v, i, j]

    Source: Shi et al. (2016), "Real-Time Single Image and Video Super-Resolution Using an Efficient
    Sub-Pixel Convolutional Neural Network", equation 4.

    >>> ops.pixel_shuffle(born.ones((1, 8, 3, 4), backend), 2).shape
    (1, 2, 6, 8)
    """
    f = integer("factor", factor, error=ShapeError)
    backend_of("pixel_shuffle", x)
    if x.ndim != 4 or x.shape[1] % (f * f):
        raise ShapeError(
            f"expected images (batch, channels, height, width) in pixel_shuffle with channels that "
            f"{f * f}, the square of the factor, divides, got {x.shape}; change one"
        )
    n, channels, height, width = x.shape
    parts = x.reshape(n, channels // (f * f), f, f, height, width).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, channels // (f * f), height * f, width * f)


def pixel_unshuffle(x: Tensor[B], factor: int) -> Tensor[B]:
    """Images of more channels from more pixels: what `pixel_shuffle` does, undone.

    >>> ops.pixel_unshuffle(born.ones((1, 2, 6, 8), backend), 2).shape
    (1, 8, 3, 4)
    """
    f = integer("factor", factor, error=ShapeError)
    backend_of("pixel_unshuffle", x)
    if x.ndim != 4 or x.shape[2] % f or x.shape[3] % f:
        raise ShapeError(
            f"expected images (batch, channels, height, width) in pixel_unshuffle whose sides "
            f"{f} divides, got {x.shape}; pad or cut them"
        )
    n, channels, height, width = x.shape
    parts = x.reshape(n, channels, height // f, f, width // f, f).transpose(0, 1, 3, 5, 2, 4)
    return parts.reshape(n, channels * f * f, height // f, width // f)


def upsample(
    x: Tensor[B],
    size: Pair | None = None,
    scale_factor: float | tuple[float, float] | None = None,
    mode: UpsamplingMode = "nearest",
    *,
    align_corners: bool = False,
) -> Tensor[B]:
    """Images (N, C, H, W) of another size.

    Pixel i lies at (i + 1/2) H / H' - 1/2 of the old image, or at i (H - 1) / (H' - 1) with
    aligned corners.

    Args:
        x: images, with at least one pixel.
        size: (height, width) of the result, or one integer for both; or a scale_factor.
        scale_factor: by what to multiply both, or each; the result is rounded down, and then an
            axis of its old length is left as it is, as in PyTorch.
        mode: `"nearest"` repeats pixels, that at floor(i H / H'); `"bilinear"` draws lines between
            them.
        align_corners: of `"bilinear"`, whether the centres of the corners stay where they are.

    >>> ops.upsample(born.tensor([[[[1.0, 2.0]]]], backend), scale_factor=2)
    Tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]], dtype=float32)
    """
    choice("mode", mode, get_args(UpsamplingMode), DomainError)
    _check_images("upsample", x)
    old: Size = x.shape[2], x.shape[3]
    if (size is None) == (scale_factor is None):
        raise DomainError(
            f"expected a size or a scale_factor in upsample, got {size} and {scale_factor}; pass "
            "one of them"
        )
    if scale_factor is None:
        new = pair("size", 1 if size is None else size, error=ShapeError)
        steps = old[0] / new[0], old[1] / new[1]
    else:
        factors = scale_factor if isinstance(scale_factor, tuple) else (scale_factor,) * 2
        scales = [number("scale_factor", each, 1e-6, error=DomainError) for each in factors]
        new = pair("size", (int(old[0] * scales[0]), int(old[1] * scales[1])), error=ShapeError)
        same = old[0] == new[0], old[1] == new[1]
        steps = 1.0 if same[0] else 1 / scales[0], 1.0 if same[1] else 1 / scales[1]
    if mode == "bilinear":
        each = [_lines(*lengths, align_corners) for lengths in zip(old, new, steps, strict=True)]
        return _along_both(x, *each)
    n, c, (height, width) = x.shape[0], x.shape[1], old
    if new[0] % height == 0 and new[1] % width == 0 and steps == (height / new[0], width / new[1]):
        whole = (n, c, height, new[0] // height, width, new[1] // width)
        return broadcast_to(x.reshape(n, c, height, 1, width, 1), whole).reshape(n, c, *new)
    for axis in (2, 3):
        places = np.arange(new[axis - 2]) * steps[axis - 2]
        rows = np.minimum(places.astype(np.int64), old[axis - 2] - 1)
        x = take(x, Tensor(x.backend.from_numpy(rows), x.backend), axis=axis)
    return x


def _padded(
    x: Tensor[B], kernel: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair
) -> tuple[Tensor[B], Pair]:
    """The images and what is still to be added on each of their sides."""
    if not isinstance(padding, str):
        return x, padding
    if choice("padding", padding, ("same", "valid"), ShapeError) == "valid":
        return x, 0
    if pair("stride", stride, error=ShapeError) != (1, 1):
        raise ShapeError(
            f'expected a stride of 1 with padding="same", got {stride}; pad by a number instead'
        )
    spread = pair("dilation", dilation, error=ShapeError)
    total = [far * (length - 1) for far, length in zip(spread, kernel, strict=True)]
    if any(each % 2 for each in total):
        x = pad(x, [(0, 0), (0, 0), (0, total[0] % 2), (0, total[1] % 2)])
    return x, (total[0] // 2, total[1] // 2)


def _check_transposed(x: Tensor[B], weight: Tensor[B], bias: Tensor[B] | None, groups: int) -> None:
    """Refuse a weight, bias or groups that do not go with images in `conv_transpose2d`."""
    backend = backend_of("conv_transpose2d", x)
    raw_operand("conv_transpose2d", backend, weight)
    optional_operand("conv_transpose2d", backend, bias)
    if x.ndim != 4 or weight.ndim != 4 or groups < 1 or x.shape[1] % groups:
        raise ShapeError(
            "expected images (batch, channels, height, width) and a weight (channels, out / "
            f"groups, height, width) in conv_transpose2d, got {x.shape} and {weight.shape} with "
            f"groups={groups}; transpose or reshape them"
        )
    if weight.shape[0] != x.shape[1]:
        raise ShapeError(
            f"expected a weight for {x.shape[1]} channels in conv_transpose2d, got shape "
            f"{weight.shape}; its first axis is that of x's channels"
        )
    out = groups * weight.shape[1]
    if bias is not None and bias.shape != (out,):
        raise ShapeError(
            f"expected a bias of shape {(out,)} in conv_transpose2d, got {bias.shape}; "
            "pass one element for each output channel"
        )


def _transposed_size(size: Size, window: Window, output_padding: Pair) -> Size:
    """The size of what `conv_transpose2d` makes of images of a size."""
    more = pair("output_padding", output_padding, least=0, error=ShapeError)
    if any(extra >= max(step, far) for extra, step, far in zip(more, *window[1::2], strict=True)):
        raise ShapeError(
            f"expected an output_padding less than the stride {window.stride} or the dilation, got "
            f"{more}; with more, the size would be that of a larger image"
        )
    rows, columns = (
        (length - 1) * step - 2 * side + far * (kernel - 1) + 1 + extra
        for length, kernel, step, side, far, extra in zip(size, *window, more, strict=True)
    )
    if min(rows, columns) < 1:
        raise ShapeError(
            f"expected a result with pixels in conv_transpose2d, got one of {rows} by {columns}; "
            "use less padding"
        )
    return rows, columns


def _along_both(x: Tensor[B], rows: HostArray, columns: HostArray) -> Tensor[B]:
    """A x B^T for each image x, with matrices that mix its rows and its columns."""
    first, second = (
        Tensor(x.backend.astype(x.backend.from_numpy(each), x.dtype), x.backend)
        for each in (rows, np.ascontiguousarray(columns.T))
    )
    return matmul(matmul(first, x), second)


def _means(length: int, count: int) -> HostArray:
    """A matrix of (count, length) that takes the means of `adaptive_avg_pool2d`."""
    matrix = np.zeros((count, length))
    for i, (first, last) in enumerate(_windows(length, count)):
        matrix[i, first:last] = 1 / (last - first)
    return matrix


def _spans(length: int, count: int) -> HostArray:
    """The elements of each window, as many for all of them: the last one of a short one again."""
    windows = _windows(length, count)
    longest = max(last - first for first, last in windows)
    rows = [np.minimum(np.arange(first, first + longest), last - 1) for first, last in windows]
    return np.stack(rows)


def _windows(length: int, count: int) -> list[tuple[int, int]]:
    """Where each of `count` windows over a line begins, and where it ends."""
    return [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


def _lines(old: int, new: int, step: float, aligned: bool) -> HostArray:
    """A matrix of (new, old) that reads a line between its pixels."""
    index = np.arange(new)
    if aligned:
        places: Any = index * ((old - 1) / max(new - 1, 1))
    else:
        places = np.maximum((index + 0.5) * step - 0.5, 0.0)
    first = np.minimum(places.astype(np.int64), old - 1)
    share = np.where(first < old - 1, places - first, 0.0)
    matrix = np.zeros((new, old))
    matrix[index, first] = 1 - share
    matrix[index, np.minimum(first + 1, old - 1)] += share
    return matrix


def _check_images(name: str, x: Tensor[B]) -> None:
    backend_of(name, x)
    if x.ndim != 4 or not x.shape[2] * x.shape[3]:
        raise ShapeError(
            f"expected images of shape (batch, channels, height, width) with pixels in {name}, got "
            f"{x.shape}; add the missing axes with reshape or expand_dims"
        )


def _check_lines(name: str, x: Tensor[B]) -> None:
    backend_of(name, x)
    if x.ndim != 3:
        raise ShapeError(
            f"expected lines of shape (batch, channels, length) in {name}, got {x.shape}; "
            "add the missing axes with reshape or expand_dims"
        )


def _tall(x: Tensor[B]) -> Tensor[B]:
    """Lines as images of one row."""
    return x.reshape(*x.shape[:2], 1, x.shape[2])


def _flat(y: Tensor[B]) -> Tensor[B]:
    """Images of one row as lines."""
    return y.reshape(*y.shape[:2], y.shape[3])
