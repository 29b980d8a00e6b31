"""Convolution, pooling, and the windows they look through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from born.backend import Backend, Window
from born.raw import RawTensor, Shape
from tests.operations import naive
from tests.operations.drawing import Case, Draw
from tests.operations.row import Derivative, Table

ROWS: Final = Table()


@dataclass(frozen=True)
class Windows:
    """Windows over images, drawn so that at least one fits.

    Attributes:
        size: height and width of the images.
        window: what slides over them.
    """

    size: tuple[int, int]
    window: Window


def _windows(d: Draw, *, pooled: bool = False, dilated: bool = True) -> Windows:
    """Windows; for a pool the padding is at most half of the kernel."""
    each: list[tuple[int, int, int, int, int]] = []
    for _ in range(2):
        kernel, stride = d.integer(1, 3), d.integer(1, 3)
        dilation = d.integer(1, 2) if dilated else 1
        padding = d.integer(0, kernel // 2 if pooled else 2)
        span = dilation * (kernel - 1) + 1
        # A pool's window that holds nothing but padding would have no largest element.
        least = span if pooled and dilation > 1 else max(span - 2 * padding, 1)
        each.append((least + d.integer(0, 3), kernel, stride, padding, dilation))
    (h, kh, sh, ph, dh), (w, kw, sw, pw, dw) = each
    return Windows((h, w), Window((kh, kw), (sh, sw), (ph, pw), (dh, dw)))


def _images(d: Draw, size: tuple[int, int], channels: int) -> Shape:
    return (d.choice(d.lengths[:2]), channels, *size)


@ROWS.row("unfold", integers=True)
def _unfold(d: Draw) -> Case:
    view = _windows(d)
    x = d.uniform(_images(d, view.size, d.choice(d.lengths)))
    return d.call(naive.unfold, x, view.window)


@ROWS.row("fold", integers=True)
def _fold(d: Draw) -> Case:
    view = _windows(d)
    shape = _images(d, view.size, d.choice(d.lengths))
    columns = d.uniform(naive.unfold(np.zeros(shape), view.window).shape)
    return d.call(naive.fold, columns, view.size, view.window)


@ROWS.row("conv2d", integers=True)
def _conv2d(d: Draw) -> Case:
    view = _windows(d)
    groups = d.integer(1, 2)
    channels, outputs = groups * d.choice(d.lengths[:2]), groups * d.choice(d.lengths[:2])
    x = d.uniform(_images(d, view.size, channels))
    weight = d.uniform((outputs, channels // groups, *view.window.kernel))
    bias = d.uniform((outputs,)) if d.flag() else None
    return d.call(naive.conv2d, x, weight, bias, view.window, groups)


@ROWS.row("max_pool2d")
def _max_pool2d(d: Draw) -> Case:
    view = _windows(d, pooled=True)
    return d.call(
        naive.max_pool2d, d.distinct(_images(d, view.size, d.choice(d.lengths))), view.window
    )


@ROWS.row("max_pool2d_backward", derivative=Derivative.COMPOSED)
def _max_pool2d_backward(d: Draw) -> Case:
    view = _windows(d, pooled=True)
    x = d.distinct(_images(d, view.size, d.choice(d.lengths)))
    g = d.uniform(naive.max_pool2d(x, view.window).shape)

    def apply(b: Backend, g: RawTensor) -> RawTensor:
        winner = b.max_pool2d(b.from_numpy(x), view.window)[1]
        return b.max_pool2d_backward(g, winner, view.size, view.window)

    return Case((g,), apply, lambda g: naive.max_pool2d_backward(g, x, view.window))


@ROWS.row("avg_pool2d")
def _avg_pool2d(d: Draw) -> Case:
    view = _windows(d, pooled=True, dilated=False)
    x = d.uniform(_images(d, view.size, d.choice(d.lengths)))
    return d.call(naive.avg_pool2d, x, view.window)
