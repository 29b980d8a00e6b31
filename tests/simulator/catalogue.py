"""Every kernel there is, so that all of them can be compiled where there is no device."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

from born.dtypes import DTYPE_NAMES, FLOATING_NAMES, as_dtype
from born_cupy.kernels import (
    device_errors,
    elementwise,
    global_norm,
    images,
    indexing,
    linear,
    network,
    random,
)
from born_cupy.kernels.source import Source, real

_EITHER: Final = (False, True)


def every_source() -> Iterator[Source]:
    """The kernels of all operations, for all of their dtypes and options."""
    yield device_errors.check_range()
    yield indexing.positions()
    for itemsize, each in product((1, 2, 4, 8), _EITHER):
        yield indexing.take(itemsize, each)
    yield global_norm.root()
    for name in DTYPE_NAMES:
        dtype = as_dtype(name)
        yield indexing.add_in_order(dtype)
        yield images.unfold(dtype)
        yield images.fold(dtype)
        if name in indexing.ATOMIC:
            yield indexing.add_atomically(dtype)
        if name in FLOATING_NAMES:
            yield from _floating(name)


def _floating(name: str) -> Iterator[Source]:
    dtype = as_dtype(name)
    for function in elementwise.FUNCTIONS:
        yield elementwise.elementwise(function, dtype)
    yield linear.bias_relu(dtype)
    wide = real(dtype)
    for into in dict.fromkeys((dtype, wide)):
        yield linear.column_sums(dtype, into, masked=True)
    for pair in dict.fromkeys(((dtype, dtype), (dtype, wide), (wide, dtype))):
        yield linear.column_sums(*pair, masked=False)
    for operation in network.ALONG_AXIS:
        yield network.along_axis(operation, dtype)
    for flag in _EITHER:
        yield network.cross_entropy(dtype, flag)
        yield network.cross_entropy_backward(dtype, flag)
        yield network.norm_backward(dtype, flag)
    for options in product(_EITHER, repeat=3):
        yield network.norm(dtype, *options)
    yield network.reduce_losses(dtype)
    yield global_norm.squares(dtype)
    yield images.max_pool(dtype)
    yield images.max_pool_backward(dtype)
    yield random.uniform(dtype)
    yield network.dropout(dtype)
