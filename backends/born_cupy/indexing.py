"""Indexing by integers on the device.

CuPy wraps indices that are out of range; whether there is one can only be known by
waiting for the device. So kernels check each index that they use: one that is out of
range reads a zero, or adds nothing, and is reported when somebody waits.
"""

from __future__ import annotations

import math
import operator
from typing import Any, Final, TypeAlias

import numpy as np
from typing_extensions import override

from born.backend import Index
from born.backend.arguments import is_tuple, normal_axis
from born.backend.arrays.indexing import ArrayIndexing
from born.dtypes import int64
from born.errors import IndexOutOfRangeError
from born.raw import Array, RawTensor, Shape
from born_cupy.kernels import Source, indexing
from born_cupy.launch import Launching

Parts: TypeAlias = list[tuple[Any, int]]
"""What an index says, each part with the axis that it is about."""

_EVERYTHING: Final = slice(None)


class CupyIndexing(ArrayIndexing, Launching):
    """Indexing by tensors, checked on the device."""

    @override
    def getitem(self, x: RawTensor, /, index: Index) -> RawTensor:
        parts = self._index_parts(index, x.shape)
        axis = self._indexed_axis(parts)
        if axis is not None:
            return RawTensor(self._take(x.array, parts, axis))
        try:
            return super().getitem(x, self._checked_index("getitem", parts, x.shape))
        except ValueError as error:
            raise _index_error(x.shape, str(error)) from error

    @override
    def index_add(self, x: RawTensor, index: Index, y: RawTensor, /) -> RawTensor:
        self._index_parts(index, x.shape)  # CuPy takes 1.5 for 1
        return super().index_add(x, index, y)

    def _take(self, array: Array, parts: Parts, axis: int) -> Array:
        """The slices along an axis that the one tensor in an index names."""
        index = next(part for part, _ in parts if isinstance(part, self._ndarray))
        shape = array.shape
        result = self.xp.empty((*shape[:axis], *index.shape, *shape[axis + 1 :]), array.dtype)
        sizes = (shape[axis], index.size, math.prod(shape[axis + 1 :]))
        source = indexing.take(array.itemsize, each=False)
        self._launch_indexed("getitem", source, sizes, self._contiguous(array), index, result)
        return result

    @override
    def gather(self, x: RawTensor, index: RawTensor, /, axis: int) -> RawTensor:
        axis = normal_axis(axis, x.ndim)
        self._check_index("gather", x, index, axis)
        result = self.xp.empty(index.shape, x.dtype)
        sizes = (x.shape[axis], index.shape[axis], math.prod(x.shape[axis + 1 :]))
        source = indexing.take(x.array.itemsize, each=True)
        self._launch_indexed(
            "gather", source, sizes, self._contiguous(x.array), index.array, result
        )
        return RawTensor(result)

    @override
    def scatter_add(self, x: RawTensor, index: RawTensor, y: RawTensor, /, axis: int) -> RawTensor:
        axis = normal_axis(axis, x.ndim)
        self._check_scatter(x, index, y, axis)
        out = x.array.copy()
        sizes = (x.shape[axis], index.shape[axis], math.prod(x.shape[axis + 1 :]))
        positions = self._positions("scatter_add", sizes, index.array)
        self._scatter(out, positions, y.array, (out.size, positions.size, 1))
        return RawTensor(out)

    @override
    def _add_at(self, target: Array, index: Index, values: Array) -> None:
        shape = target.shape
        parts = self._index_parts(index, shape)
        axis = self._indexed_axis(parts)
        if axis is None:
            # Any other index, of the numbers of the elements, gives those that it is about.
            numbers = self.xp.arange(target.size).reshape(shape)
            positions = numbers[self._checked_index("index_add", parts, shape)]
            selected, sizes = positions.shape, (target.size, positions.size, 1)
        else:
            named = next(part for part, _ in parts if isinstance(part, self._ndarray))
            sizes = (shape[axis], named.size, math.prod(shape[axis + 1 :]))
            positions = self._positions("index_add", (shape[axis], named.size, 1), named)
            selected = (*shape[:axis], *named.shape, *shape[axis + 1 :])
        self._scatter(target, positions, self.xp.broadcast_to(values, selected), sizes)

    @override
    def check_rows(self, index: RawTensor, rows: int) -> None:
        self._check_range("rows", index.array, rows)

    # -- kernels --

    def _launch_indexed(
        self, operation: str, source: Source, sizes: Shape, *arguments: Array
    ) -> None:
        """Launch a kernel that reads where an index says: (..., index, result)."""
        *before, index, result = arguments
        self._launch(
            source,
            result.size,
            *before,
            self._contiguous(index.astype(int64, copy=False)),
            result,
            np.int64(result.size),
            *map(np.int64, sizes),
            *self.errors.arguments(operation),
        )
        self.errors.pending = True

    def _positions(self, operation: str, sizes: Shape, index: Array) -> Array:
        """Where each entry of an index points among all elements; -1 where it is out of range."""
        positions = self.xp.empty(index.shape, int64)
        self._launch_indexed(operation, indexing.positions(), sizes, index, positions)
        return positions

    def _scatter(self, target: Array, positions: Array, values: Array, sizes: Shape) -> None:
        """Add values at positions; `sizes` are n, m and inner of `born_cupy.kernels.indexing`."""
        if not values.size:
            return
        arguments = [self._contiguous(values), self._contiguous(positions)]
        if self.strict or target.dtype.name not in indexing.ATOMIC:
            source = indexing.add_in_order(target.dtype)
            arguments.append(positions.reshape(-1).argsort())  # which is stable
        else:
            source = indexing.add_atomically(target.dtype)
        numbers = map(np.int64, (values.size, *sizes))
        self._launch(source, values.size, *arguments, target, *numbers)

    # -- indices --

    def _index_parts(self, index: Index, shape: Shape) -> Parts:
        """An index taken apart, with arrays in place of raw tensors.

        Raises:
            IndexOutOfRangeError: it has something else in it, or too much.
        """
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

    def _indexed_axis(self, parts: Parts) -> int | None:
        """The axis that an index is about, if it is one array of integers and nothing else."""
        arrays = [(part, axis) for part, axis in parts if isinstance(part, self._ndarray)]
        others = [part for part, _ in parts if not isinstance(part, self._ndarray)]
        if len(arrays) != 1 or arrays[0][0].dtype.kind not in "iu":
            return None
        return arrays[0][1] if all(part is ... or part == _EVERYTHING for part in others) else None

    def _checked_index(self, operation: str, parts: Parts, shape: Shape) -> Index:
        """The index, its integers on the device in range, and its masks of the right shape.

        Raises:
            IndexOutOfRangeError: a mask is of another shape.
        """
        checked: list[Any] = []
        for part, axis in parts:
            if not isinstance(part, self._ndarray):
                checked.append(part)
            elif part.dtype.kind == "b":
                if part.shape != shape[axis : axis + part.ndim]:
                    raise _index_error(shape, f"a mask of shape {part.shape} stands at axis {axis}")
                checked.append(part)
            else:
                checked.append(self._positions(operation, (shape[axis], part.size, 1), part))
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
