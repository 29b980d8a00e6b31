"""Every kernel there is, so that all of them can be compiled where there is no device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any, Final

from born import fusion as maths
from born.dtypes import DTYPE_NAMES, FLOATING_NAMES, as_dtype
from born.fusion import activations, derivative, trace_formula
from born_cupy.kernels import (
    attention,
    device_errors,
    elementwise,
    fused,
    images,
    indexing,
    linear,
    network,
    random,
    stages,
)
from born_cupy.kernels.source import Source, real

_EITHER: Final = (False, True)


def _everything(x: Any, y: Any, keep: Any, s: Any) -> Any:
    """Every operation that a formula may have, but for those of activations."""
    a = maths.exp(x) - maths.expm1(y) * maths.log(x) / maths.log1p(y) + maths.sqrt(x) ** s
    b = maths.sin(x) * maths.cos(y) - maths.erf(abs(x)) + maths.sign(y) * maths.softplus(x)
    c = maths.maximum(a, b) - maths.minimum(a, math.inf) + maths.cast(x, "bfloat16")
    d = maths.cast(y, "float16") * maths.cast(x, "float32") + maths.clip(c, s, y)
    held = (x < y) & (x <= 1.0) | ~(x > s) & (x >= y) & (x == 0.0) & maths.isfinite(y)
    return maths.where(held, -d, maths.where(keep, d, maths.where(x != y, 1.0, y)))


_FORMULAS: Final = (
    activations.RELU_GRADIENT,
    activations.SIGMOID,
    activations.GELU,
    derivative(activations.GELU_TANH, [True], [1.0]).formula,
    trace_formula(_everything, {"x": False, "y": False, "keep": True}, ["s"]),
)
"""Formulas, among them every operation that one may have."""


def every_source() -> Iterator[Source]:
    """The kernels of all operations, for all of their dtypes and options."""
    yield device_errors.check_range()
    yield indexing.positions()
    for itemsize, each in product((1, 2, 4, 8), _EITHER):
        yield indexing.take(itemsize, each)
    yield stages.totals()
    for name in DTYPE_NAMES:
        dtype = as_dtype(name)
        yield indexing.add_in_order(dtype)
        for narrow in _EITHER:
            yield images.unfold(dtype, narrow)
            yield images.columns(dtype, narrow)
            yield images.fold(dtype, narrow)
            yield images.fold_columns(dtype, narrow)
        if name in indexing.ATOMIC:
            yield indexing.add_atomically(dtype)
        if name in FLOATING_NAMES:
            yield from _floating(name)


def _floating(name: str) -> Iterator[Source]:
    dtype = as_dtype(name)
    for function in elementwise.FUNCTIONS:
        yield elementwise.elementwise(function, dtype)
    for formula in _FORMULAS:
        whole, strided = ((each,) * len(formula.arrays) for each in _EITHER)
        yield fused.fused(formula, dtype, whole, 0)
        yield fused.fused(formula, dtype, strided, 2)
    yield linear.bias_relu(dtype)
    wide = real(dtype)
    for into in dict.fromkeys((dtype, wide)):
        yield linear.column_sums(dtype, into, linear.MASKED)
        yield linear.column_sums(dtype, into, linear.PRODUCTS)
    for pair in dict.fromkeys(((dtype, dtype), (dtype, wide), (wide, dtype))):
        yield linear.column_sums(*pair)
    for operation in network.ALONG_AXIS:
        yield network.along_axis(operation, dtype)
    for flag in _EITHER:
        yield network.cross_entropy(dtype, flag)
        yield network.cross_entropy_backward(dtype, flag)
        yield network.norm_backward(dtype, flag, False)
    for options in product(_EITHER, repeat=3):
        yield network.norm(dtype, *options)
    yield network.norm_backward(dtype, True, True)
    yield network.reduce_losses(dtype)
    for narrow in _EITHER:
        yield images.max_pool(dtype, narrow)
        yield images.max_pool_backward(dtype, narrow)
        yield from (images.exchange(dtype, narrow, bias) for bias in _EITHER)
    for depth, width, mask in ((16, 64, ""), (64, 32, "bool"), (128, 128, "number")):
        shape = attention.Shape(dtype, depth, width, mask)
        yield attention.forward(shape)
        yield attention.of_queries(shape)
        yield attention.of_keys(shape)
    yield random.uniform(dtype)
    yield network.dropout(dtype)
