"""Indexing by integers on the device.

CuPy wraps indices that are out of range, and whether there is one is known only after a wait.
So kernels check: such an index reads a zero, or adds nothing, and is reported at the next wait.
"""

from __future__ import annotations

import math
import operator
from typing import Any, Final, TypeAlias

from typing_extensions import override

from born.backend import Index
from born.backend.arguments import is_tuple, normal_axis
from born.backend.arrays.indexing import ArrayIndexing
from born.dtypes import float32, int64, is_half
from born.errors import IndexOutOfRangeError
from born.raw import Array, RawTensor, Shape
from born_cupy.kernels import indexing
from born_cupy.launch import Launching, int64_of

Parts: TypeAlias = list[tuple[Any, int]]
"""What an index says, each part with the axis that it is about."""

_EVERYTHING: Final = slice(None)


class CupyIndexing(ArrayIndexing, Launching):
    """Indexing by tensors, checked on the device."""

    @override
    def getitem(self, x: RawTensor, /, index: Index) -> RawTensor:
        parts = self._index_parts(index, x.shape)
        sole = self._sole_array(parts)
        if sole is not None:
            named, axis = sole
            shape = (*x.shape[:axis], *named.shape, *x.shape[axis + 1 :])
            return self._take("getitem", x, RawTensor(named), axis, shape, each=False)
        try:
            return super().getitem(x, self._checked_index("getitem", parts, x.shape))
        except ValueError as error:
            raise _index_error(x.shape, str(error)) from error

    @override
    def index_add(self, x: RawTensor, index: Index, y: RawTensor, /) -> RawTensor:
        self._index_parts(index, x.shape)  # CuPy takes 1.5 for 1
        return super().index_add(x, index, y)

    @override
    def gather(self, x: RawTensor, index: RawTensor, /, axis: int) -> RawTensor:
        axis = normal_axis(axis, x.ndim)
        self._check_index("gather", x, index, axis)
        return self._take("gather", x, index, axis, index.shape, each=True)

    @override
    def scatter_add(self, x: RawTensor, index: RawTensor, y: RawTensor, /, axis: int) -> RawTensor:
        axis = normal_axis(axis, x.ndim)
        self._check_scatter(x, index, y, axis)
        out, values = x.array.copy(), y.array  # a copy is contiguous, whatever it is made of
        if is_half(x.dtype):  # halves add up in float32 and are rounded once
            out, values = out.astype(float32), values.astype(float32)
        sizes = (x.shape[axis], index.shape[axis], math.prod(x.shape[axis + 1 :]))
        positions = self._positions("scatter_add", index, *sizes)
        self._scatter(out, positions, values, (out.size, positions.size, 1))
        return RawTensor(out.astype(x.dtype, copy=False))

    @override
    def _add_at(self, target: Array, index: Index, values: Array) -> None:
        shape = target.shape
        parts = self._index_parts(index, shape)
        sole = self._sole_array(parts)
        if sole is None:
            # Any other index, of the numbers of the elements, gives those that it is about.
            numbers = self.xp.arange(target.size).reshape(shape)
            positions = numbers[self._checked_index("index_add", parts, shape)]
            selected, sizes = positions.shape, (target.size, positions.size, 1)
        else:
            named, axis = sole
            sizes = (shape[axis], named.size, math.prod(shape[axis + 1 :]))
            positions = self._positions("index_add", RawTensor(named), shape[axis], named.size)
            selected = (*shape[:axis], *named.shape, *shape[axis + 1 :])
        self._scatter(target, positions, self.xp.broadcast_to(values, selected), sizes)

    @override
    def check_rows(self, index: RawTensor, rows: int) -> None:
        self._check_range("rows", index, rows)

    # -- kernels --

    def _take(
        self, operation: str, x: RawTensor, index: RawTensor, axis: int, shape: Shape, each: bool
    ) -> RawTensor:
        """What an index along an axis names, of `shape`; see `kernels.indexing.take`."""
        result = self.xp.empty(shape, x.dtype)
        length = index.shape[axis] if each else index.size
        sizes = (result.size, x.shape[axis], length, math.prod(x.shape[axis + 1 :]))
        source = indexing.take(x.array.itemsize, each)
        self._launch_checked(operation, source, result.size, x, int64_of(index), result, *sizes)
        return RawTensor(result)

    def _positions(self, operation: str, index: RawTensor, n: int, m: int, inner: int = 1) -> Array:
        """Where entries of an index point among all elements; see `kernels.indexing.positions`."""
        result = self.xp.empty(index.shape, int64)
        sizes = (index.size, n, m, inner)
        source = indexing.positions()
        self._launch_checked(operation, source, index.size, int64_of(index), result, *sizes)
        return result

    def _scatter(self, target: Array, positions: Array, values: Array, sizes: Shape) -> None:
        """Add values at positions; `sizes` are n, m and inner of `kernels.indexing`."""
        size = values.size
        if not size:
            return
        operands = [RawTensor(values), RawTensor(positions)]
        if self.strict or target.dtype.name not in indexing.ATOMIC:
            source = indexing.add_in_order(target.dtype)
            operands.append(RawTensor(positions.reshape(-1).argsort()))  # which is stable
        else:
            source = indexing.add_atomically(target.dtype)
        self._launch(source, size, *operands, target, size, *sizes)

    # -- indices --

    def _index_parts(self, index: Index, shape: Shape) -> Parts:
        """An index taken apart, with arrays in place of raw tensors."""
        listed = [
            part.array if isinstance(part, RawTensor) else part
            for part in (index if is_tuple(index) else (index,))
        ]
        for part in listed:
            if not (part is None or part is ... or isinstance(part, slice | self._ndarray)):
                _check_integer(part, shape)
        left_out = len(shape) - sum(map(_axes_of, listed))
        if left_out < 0:
            raise _index_error(shape, f"it names {len(shape) - left_out} axes")
        parts: Parts = []
        axis = 0
        for part in listed:
            parts.append((part, axis))
            axis += left_out if part is ... else _axes_of(part)
        return parts

    def _sole_array(self, parts: Parts) -> tuple[Array, int] | None:
        """The array and its axis, if an index is one array of integers and nothing else."""
        arrays = [(part, axis) for part, axis in parts if isinstance(part, self._ndarray)]
        others = [part for part, _ in parts if not isinstance(part, self._ndarray)]
        whole = all(part is ... or part == _EVERYTHING for part in others)
        return arrays[0] if whole and len(arrays) == 1 and arrays[0][0].dtype.kind in "iu" else None

    def _checked_index(self, operation: str, parts: Parts, shape: Shape) -> Index:
        """The index, its integers on the device in range, and its masks of the right shape."""
        checked: list[Any] = []
        for part, axis in parts:
            if not isinstance(part, self._ndarray):
                checked.append(part)
            elif part.dtype.kind == "b":
                if part.shape != shape[axis : axis + part.ndim]:
                    raise _index_error(shape, f"a mask of shape {part.shape} stands at axis {axis}")
                checked.append(part)
            else:
                index = RawTensor(part)
                checked.append(self._positions(operation, index, shape[axis], part.size))
        return tuple(checked)


def _axes_of(part: Any) -> int:
    """How many axes a part of an index is about."""
    if part is None or part is ...:
        return 0
    dtype = getattr(part, "dtype", None)
    return int(part.ndim) if dtype is not None and dtype.kind == "b" else 1


def _check_integer(part: Any, shape: Shape) -> None:
    try:
        if isinstance(part, bool):
            raise TypeError("a bool is not meant as 0 or 1")
        operator.index(part)
    except TypeError as error:
        raise _index_error(
            shape, f"{part!r} is no integer, slice, None, Ellipsis or tensor"
        ) from error


def _index_error(shape: Shape, what: str) -> IndexOutOfRangeError:
    return IndexOutOfRangeError(
        f"expected an index within shape {shape}, but {what}; check the index"
    )
