"""Every kernel there is, so that all of them can be compiled where there is no device."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

from born.raw import DTYPE_NAMES, FLOATING_NAMES, as_dtype
from born_cupy.sources import elementwise, faults, images, linear, norm, random, rows, scatter
from born_cupy.sources.source import Source
from born_cupy.sources.template import real

_EITHER: Final = (False, True)


def every_source() -> Iterator[Source]:
    """The kernels of all operations, for all of their dtypes and options."""
    yield faults.check_range()
    yield scatter.places()
    for itemsize, each in product((1, 2, 4, 8), _EITHER):
        yield scatter.take(itemsize, each)
    yield norm.root()
    for name in DTYPE_NAMES:
        dtype = as_dtype(name)
        yield scatter.add_in_order(dtype)
        yield images.unfold(dtype)
        yield images.fold(dtype)
        if name in scatter.ATOMIC:
            yield scatter.add_atomically(dtype)
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
    for operation in rows.ALONG_AXIS:
        yield rows.along_axis(operation, dtype)
    for flag in _EITHER:
        yield rows.cross_entropy(dtype, flag)
        yield rows.cross_entropy_backward(dtype, flag)
        yield rows.norm_backward(dtype, flag)
    for options in product(_EITHER, repeat=3):
        yield rows.norm(dtype, *options)
    yield rows.total(dtype)
    yield norm.squares(dtype)
    yield images.max_pool(dtype)
    yield images.max_pool_backward(dtype)
    yield random.uniform(dtype)
    yield random.dropout(dtype)
