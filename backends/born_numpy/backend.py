"""`NumpyBackend`, the reference that other backends are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend import ArrayBackend
from born.backend.contract.network import label_range_error
from born.backend.update import UpdateKernel
from born.dtypes import DTypeLike, as_dtype, float32, is_floating
from born.fusion import Formula, Program
from born.fusion.activations import RELU_GRADIENT
from born.raw import HostArray, RawTensor
from born_numpy import alignment
from born_numpy.fused import NumpyFormula
from born_numpy.global_norm import add_squares, global_norm
from born_numpy.update import NumpyUpdate

# When a product x W^T of float32 is computed as (W x^T)^T; measured: docs/notes/performance.md.
_MOST_ROWS: Final = 64  # of x
_OUTPUTS_PER_ROW: Final = 8  # how many rows W has, at least, for each row of x
_LEAST_INPUTS: Final = 64  # with fewer, to transpose the result would be most of the work
_LEAST_PRODUCTS: Final = 131_072  # what has fewer runs in kernels for small matrices


class NumpyBackend(ArrayBackend):
    """Compute on the CPU with NumPy.

    Args:
        seed: where the random generator starts; 0 by default, so that a program
            gives the same numbers each time.

    >>> backend = NumpyBackend(seed=0)
    >>> x = backend.from_numpy(np.array([1.0, 2.0], np.float32))
    >>> backend.to_numpy(backend.mul(x, 2.0))
    array([2., 4.], dtype=float32)
    """

    name = "numpy"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(np, seed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # -- updates --

    @override
    def extent(self, x: RawTensor) -> tuple[int, int]:
        start, stop = np.lib.array_utils.byte_bounds(x.array)
        return int(start), int(stop)

    @override
    def slot(self, x: RawTensor, dtype: DTypeLike, number: int) -> RawTensor:
        return alignment.slot(x.array, as_dtype(dtype), number)

    @override
    def compile_update(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> UpdateKernel:
        if program.staged:
            return super().compile_update(program, dtypes)
        return NumpyUpdate(program, dtypes)

    @override
    def fused(
        self, formula: Formula, arrays: Sequence[RawTensor], scalars: Sequence[float] = ()
    ) -> tuple[RawTensor, ...]:
        leading = arrays[formula.leading].array.dtype
        made: NumpyFormula | None = formula.compiled.get((NumpyFormula, leading))
        if made is None:
            if not is_floating(leading):
                return super().fused(formula, arrays, scalars)
            made = formula.compiled[NumpyFormula, leading] = NumpyFormula(formula, leading)
        return made.run(arrays, scalars)

    @override
    def global_norm(self, xs: Sequence[RawTensor]) -> RawTensor:
        return global_norm(xs, add_squares)

    # -- linear --

    @override
    def _matmul_transposed(self, a: HostArray, b: HostArray) -> HostArray:
        # NumPy's OpenBLAS packs its left operand by slower loops than its right one. Where b is
        # much the larger, computing (b a^T)^T gains more than transposing the small product costs.
        if a.ndim != 2 or a.dtype.char not in "fd":
            plain: HostArray = super()._matmul_transposed(a, b)
            return plain
        rows = len(a)
        if (
            rows * _OUTPUTS_PER_ROW <= len(b)
            and 1 < rows <= _MOST_ROWS
            and b.shape[1] >= _LEAST_INPUTS
            and rows * b.size >= _LEAST_PRODUCTS
            and a.dtype == float32
        ):
            return np.ascontiguousarray(b.dot(a.T).T)
        product: HostArray = a.dot(b.T)
        return product

    @override
    def linear_gradients(
        self,
        g: RawTensor,
        x: RawTensor | None,
        weight: RawTensor | None,
        bias: bool,
        y: RawTensor | None = None,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        g = g if y is None else self.fused(RELU_GRADIENT, (g, y))[0]
        if not are_plain_products(g, x, weight):
            return super().linear_gradients(g, x, weight, bias)
        return (*linear_products(g.array, x, weight), self.sum(g, 0) if bias else None)

    # -- network --

    @override
    def layer_norm(
        self,
        x: RawTensor,
        weight: RawTensor | None,
        bias: RawTensor | None,
        /,
        axes: int = 1,
        eps: float = 1e-5,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        with np.errstate(over="ignore", invalid="ignore"):
            out = super().layer_norm(x, weight, bias, axes, eps)
        if x.dtype != float32 or (out[2].array > 0).all():
            return out
        # A sum or a square was infinite, and is not in double.
        gain, shift = (
            None if part is None else self.astype(part, "float64") for part in (weight, bias)
        )
        wide = super().layer_norm(self.astype(x, "float64"), gain, shift, axes, eps)
        y, normal, scale = (self.astype(part, float32) for part in wide)
        return y, normal, scale

    @override
    def check_label_range(self, labels: RawTensor, classes: int) -> None:
        array = labels.array
        if not array.size:
            return
        # As unsigned numbers, negative labels are huge: one pass finds both ends.
        if array.dtype.kind == "i":
            array = array.view(np.dtype(f"u{array.itemsize}"))
        if array.max() >= classes:
            raise label_range_error(classes, labels.array.min(), labels.array.max())


def are_plain_products(g: RawTensor, x: RawTensor | None, weight: RawTensor | None) -> bool:
    """Whether all are float32, or all float64, matrices whose gradients are two plain products."""
    a = g.array
    if a.ndim != 2 or a.dtype.char not in "fd":
        return False
    rows, outputs = a.shape
    return (x is None or _is_matrix(x.array, rows, a.dtype)) and (
        weight is None or _is_matrix(weight.array, outputs, a.dtype)
    )


def _is_matrix(array: HostArray, rows: int, dtype: np.dtype[Any]) -> bool:
    return array.ndim == 2 and len(array) == rows and array.dtype == dtype


def linear_products(
    a: HostArray, x: RawTensor | None, weight: RawTensor | None
) -> tuple[RawTensor | None, RawTensor | None]:
    """a W and a^T x, each if there is one."""
    return (
        None if weight is None else RawTensor(a.dot(weight.array)),
        None if x is None else RawTensor(a.T.dot(x.array)),
    )
