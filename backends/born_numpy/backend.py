"""`NumpyBackend`, the reference that other backends are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

from born.backend import ArrayBackend
from born.backend.update import UpdateKernel
from born.errors import IndexOutOfRangeError
from born.fusion import Program
from born.raw import DTypeLike, HostArray, RawTensor, as_dtype, float32
from born_numpy import global_norm, placement
from born_numpy.update import NumpyUpdate


class Turns(NamedTuple):
    """When a product x W^T of float32 is worth computing as (W x^T)^T.

    Attributes:
        rows: the most rows that x may have.
        outputs_a_row: how many rows W must have for each of them.
    """

    rows: int
    outputs_a_row: int


_LEAST_TURNED: Final = 131_072  # products; what has fewer runs in kernels for small matrices
_LEAST_INPUTS: Final = 64  # of W; with fewer, to turn the result would be most of the work


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
    _turns: ClassVar = Turns(rows=64, outputs_a_row=8)

    def __init__(self, seed: int = 0) -> None:
        super().__init__(np, seed)

    def extent(self, x: RawTensor) -> tuple[int, int]:
        """The first address of a tensor's memory and the first after it."""
        start, stop = np.lib.array_utils.byte_bounds(x.array)
        return int(start), int(stop)

    def slot(self, x: RawTensor, dtype: DTypeLike, number: int) -> RawTensor:
        """Zeros for an optimizer; those of a large parameter lie well beside it in memory."""
        return placement.slot(x.array, as_dtype(dtype), number)

    def compile_update(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> UpdateKernel:
        """Compile a traced update rule to ufuncs over tiles."""
        return NumpyUpdate(program, dtypes)

    def global_norm(self, xs: Sequence[RawTensor]) -> RawTensor:
        """The norm of all elements of all tensors, without a temporary of their size."""
        return global_norm.global_norm(xs, global_norm.add_squares)

    def _turned_product(self, a: HostArray, b: HostArray) -> HostArray:
        """a b^T, as (b a^T)^T where a has few rows.

        The OpenBLAS that comes with NumPy lays its left operand out anew by slower loops
        than its right one, as NumPy hands them over. Where b is the larger by far, it gains
        more to exchange the two than it costs to turn the small product over.
        """
        if a.ndim != 2 or a.dtype.char not in "fd":
            plain: HostArray = super()._turned_product(a, b)
            return plain
        rows, turns = len(a), self._turns
        if (
            rows * turns.outputs_a_row <= len(b)
            and 1 < rows <= turns.rows
            and b.shape[1] >= _LEAST_INPUTS
            and rows * b.size >= _LEAST_TURNED
            and a.dtype == float32
        ):
            return self._turned(b.dot(a.T))
        product: HostArray = a.dot(b.T)
        return product

    def linear_gradients(
        self,
        g: RawTensor,
        x: RawTensor | None,
        weight: RawTensor | None,
        bias: bool,
        y: RawTensor | None = None,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        """The gradients of `linear` or `linear_relu`; of a matrix with few calls."""
        g = g if y is None else self.relu_backward(g, y)
        if not fit_affine(g, x, weight):
            return super().linear_gradients(g, x, weight, bias)
        return (*products(g.array, x, weight), self.sum(g, 0) if bias else None)

    def _turned(self, a: HostArray) -> HostArray:
        """A matrix with its axes exchanged, contiguous."""
        return np.ascontiguousarray(a.T)

    def _check_label_range(self, labels: RawTensor, classes: int) -> None:
        array = labels.array
        if not array.size:
            return
        # As unsigned numbers, negative labels are huge: one pass finds both ends.
        if array.dtype.kind == "i":
            array = array.view(np.dtype(f"u{array.itemsize}"))
        if array.max() >= classes:
            least, most = labels.array.min(), labels.array.max()
            raise IndexOutOfRangeError(
                f"expected labels from 0 to {classes - 1}, got labels from {least} to {most}; "
                "check the labels or the number of classes"
            )

    def __repr__(self) -> str:
        return "NumpyBackend()"


def fit_affine(g: RawTensor, x: RawTensor | None, weight: RawTensor | None) -> bool:
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


def products(
    a: HostArray, x: RawTensor | None, weight: RawTensor | None
) -> tuple[RawTensor | None, RawTensor | None]:
    """a W and a^T x, each if there is one."""
    return (
        None if weight is None else RawTensor(a.dot(weight.array)),
        None if x is None else RawTensor(a.T.dot(x.array)),
    )
