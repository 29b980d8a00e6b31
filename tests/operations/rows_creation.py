"""Creation, random numbers, and transfer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.backend import Backend
from born.raw import HostArray, RawTensor
from tests.operations.drawing import Case, Draw
from tests.operations.row import Derivative, Table

ROWS: Final = Table()

FLOATING: Final = ("float32", "float64", "float16", "bfloat16")
DTYPES: Final = (*FLOATING, "int32", "int64", "uint8", "bool")


def _created(apply: Callable[[Backend], RawTensor], expected: HostArray | None = None) -> Case:
    reference: Callable[..., Any] | None = None if expected is None else lambda: expected
    return Case((), apply, reference)


@ROWS.row("zeros", "ones", derivative=Derivative.CONSTANT, result="any")
def _filled(d: Draw) -> Case:
    shape, dtype = d.shape(), d.choice(DTYPES)
    expected = np.full(shape, float(d.name == "ones"))
    return _created(lambda b: getattr(b, d.name)(shape, dtype), expected)


@ROWS.row("full", derivative=Derivative.CONSTANT, result="any")
def _full(d: Draw) -> Case:
    shape, dtype, value = d.shape(), d.choice(DTYPES), d.integer(0, 1)
    return _created(lambda b: b.full(shape, value, dtype), np.full(shape, float(value)))


@ROWS.row("arange", derivative=Derivative.CONSTANT, result="any")
def _arange(d: Draw) -> Case:
    start, stop, step = d.integer(0, 3), d.integer(0, 9), d.choice((1, 2, -1))
    dtype = d.choice(("float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8"))
    expected = np.arange(start, stop, step, dtype=np.float64)
    return _created(lambda b: b.arange(start, stop, step, dtype), expected)


@ROWS.row("eye", derivative=Derivative.CONSTANT, result="any")
def _eye(d: Draw) -> Case:
    rows, columns = d.choice(d.lengths), d.choice(d.lengths)
    dtype = d.choice(DTYPES)
    return _created(lambda b: b.eye(rows, columns, dtype), np.eye(rows, columns))


@ROWS.row("normal", "uniform", derivative=Derivative.CONSTANT, result="any")
def _random(d: Draw) -> Case:
    shape, dtype = d.shape(), d.choice(FLOATING)
    return _created(lambda b: getattr(b, d.name)(shape, dtype))


@ROWS.row("from_numpy", derivative=Derivative.CONSTANT, result="any")
def _from_numpy(d: Draw) -> Case:
    array = d.uniform(d.shape()).T
    return _created(lambda b: b.from_numpy(array), array)


@ROWS.row("to_numpy", derivative=Derivative.CONSTANT, integers=True)
def _to_numpy(d: Draw) -> Case:
    x = d.uniform(d.shape())
    return Case((x,), lambda b, x: b.from_numpy(b.to_numpy(x)), lambda x: x)


@ROWS.row("assign", derivative=Derivative.CONSTANT, integers=True)
def _assign(d: Draw) -> Case:
    def apply(b: Backend, x: RawTensor) -> RawTensor:
        target = b.zeros(x.shape, x.dtype)
        b.assign(target, x)
        return target

    return Case((d.uniform(d.shape()),), apply, lambda x: x)


@ROWS.row("copy", integers=True)
def _copy(d: Draw) -> Case:
    return d.call(np.copy, d.uniform(d.shape()))


@ROWS.row("astype", result="float64")
def _astype(d: Draw) -> Case:
    return d.call(np.ndarray.astype, d.uniform(d.shape()), "float64")
