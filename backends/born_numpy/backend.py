"""`NumpyBackend`, the reference that other backends are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from born.backend import ArrayBackend
from born.backend.update import UpdateKernel
from born.errors import IndexOutOfRangeError
from born.fusion import Program
from born.raw import DTypeLike, RawTensor, as_dtype
from born_numpy import norm, placement
from born_numpy.update import NumpyUpdate


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
        return norm.global_norm(xs, norm.add_squares)

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
