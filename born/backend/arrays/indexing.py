"""Indexing of arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from typing_extensions import override

from born.backend.arguments import Index, is_tuple, normal_axis
from born.backend.arrays.dispatch import Dispatch, dtype_mismatch, shape_mismatch
from born.backend.contract.indexing import Indexing
from born.dtypes import DTypeLike, as_dtype, float32, is_half
from born.errors import DTypeError, IndexOutOfRangeError, ShapeError
from born.raw import Array, RawTensor, Shape


class ArrayIndexing(Indexing, Dispatch):
    """Indexing by the namespace's own rules."""

    @override
    def getitem(self, x: RawTensor, /, index: Index) -> RawTensor:
        try:
            return self._wrap(x.array[_index_arrays(index)])
        except (IndexError, TypeError, ValueError, OverflowError) as error:
            # Beside indices out of range: slices of floats or of step 0, numbers beyond 64 bits.
            raise index_error(x, error) from error

    @override
    def index_add(self, x: RawTensor, index: Index, y: RawTensor, /) -> RawTensor:
        if x.dtype != y.dtype:
            raise dtype_mismatch("index_add", x, y)
        try:
            if _is_basic(index):
                out = x.array.copy()
                out[index] += y.array
            else:
                out = self._added_at(x.array, _index_arrays(index), y.array)
        except (IndexError, TypeError, OverflowError) as error:
            raise index_error(x, error) from error
        except ValueError as error:
            raise shape_mismatch("index_add", x.array, y.array, error) from error
        return RawTensor(out)

    @override
    def assembled(
        self, shape: Shape, dtype: DTypeLike, parts: Sequence[tuple[Index, RawTensor]]
    ) -> RawTensor:
        if not all(_is_basic(index) for index, _ in parts):
            return super().assembled(shape, dtype, parts)
        out = self._room(shape, as_dtype(dtype))
        if _is_partition(shape, parts):
            for index, y in parts:
                out[index] = y.array
            return RawTensor(out)
        out.fill(0)
        for index, y in parts:
            out[index] += y.array
        return RawTensor(out)

    def _added_at(self, x: Array, index: Index, values: Array) -> Array:
        """A copy of `x` with values added; halves add up in float32 and are rounded once."""
        if not is_half(x.dtype):
            out = x.copy()
            self._add_at(out, index, values)
            return out
        wide = x.astype(float32, order="C")  # as kernels of a device take it
        self._add_at(wide, index, values.astype(float32))
        return wide.astype(x.dtype)

    def _add_at(self, target: Array, index: Index, values: Array) -> None:
        """`target[index] += values`, in which a repeated index adds each time."""
        self.xp.add.at(target, index, values)

    @override
    def gather(self, x: RawTensor, index: RawTensor, /, axis: int) -> RawTensor:
        axis = normal_axis(axis, x.ndim)
        self._check_index("gather", x, index, axis)
        try:
            return RawTensor(self.xp.take_along_axis(x.array, index.array, axis))
        except IndexError as error:
            raise index_error(x, error) from error

    @override
    def scatter_add(self, x: RawTensor, index: RawTensor, y: RawTensor, /, axis: int) -> RawTensor:
        axis = normal_axis(axis, x.ndim)
        self._check_scatter(x, index, y, axis)
        grid = list(self.xp.ogrid[tuple(slice(0, length) for length in index.shape)])
        grid[axis] = index.array
        try:
            return RawTensor(self._added_at(x.array, tuple(grid), y.array))
        except IndexError as error:
            raise index_error(x, error) from error

    @override
    def searchsorted(self, x: RawTensor, y: RawTensor, /, right: bool = False) -> RawTensor:
        self._check_dtypes("searchsorted", x, y)
        if x.ndim != 1:
            raise ShapeError(
                f"expected a sorted vector in searchsorted, got shape {x.shape}; index one row"
            )
        a, b = x.array, y.array
        if is_half(a.dtype):
            a, b = a.astype(np.float32), b.astype(np.float32)
        return self._wrap(self.xp.searchsorted(a, b, side="right" if right else "left"))

    def _check_scatter(self, x: RawTensor, index: RawTensor, y: RawTensor, axis: int) -> None:
        """Refuse values that do not go with an index."""
        self._check_index("scatter_add", x, index, axis)
        if x.dtype != y.dtype:
            raise dtype_mismatch("scatter_add", x, y)
        if index.shape != y.shape:
            raise ShapeError(
                f"expected values of the index's shape {index.shape} in scatter_add, "
                f"got {y.shape}; broadcast one to the other first"
            )

    def _check_index(self, name: str, x: RawTensor, index: RawTensor, axis: int) -> None:
        """Refuse an index that does not go along an axis of x."""
        if index.dtype.kind not in "iu":
            raise DTypeError(
                f"expected an integer index in {name}, got {index.dtype}; "
                'convert it with .astype("int64")'
            )
        agrees = index.ndim == x.ndim and all(
            n == m for i, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)) if i != axis
        )
        if not agrees:
            raise ShapeError(
                f"expected an index of the shape {x.shape} but along axis {axis} in {name}, "
                f"got {index.shape}; broadcast or reshape it first"
            )


def _index_arrays(index: Index) -> Index:
    if is_tuple(index):
        # Most parts are slices or numbers, which need no look.
        return tuple([part if part.__class__ in _PLAIN else _index_arrays(part) for part in index])
    return index.array if isinstance(index, RawTensor) else index


_PLAIN: Final = (slice, int, type(...))


def _is_basic(index: Index) -> bool:
    """Whether an index selects each element once, as a view."""
    parts = index if is_tuple(index) else (index,)
    return not any(isinstance(part, RawTensor) for part in parts)


def _is_partition(shape: Shape, parts: Sequence[tuple[Index, RawTensor]]) -> bool:
    """Whether basic indices, of these parts, surely name each element of a shape once."""
    if sum(y.size for _, y in parts) != math.prod(shape):
        return False
    tuples = [index if is_tuple(index) else (index,) for index, _ in parts]
    if any(part is None or part is ... for parts in tuples for part in parts):
        return False
    first, *others = tuples
    if any(len(other) != len(first) for other in others):
        return False
    # Along one axis they differ, and must not overlap; those that agree in all do.
    axes = [axis for axis, part in enumerate(first) if any(o[axis] != part for o in others)]
    if len(axes) != 1:
        return not others
    (axis,) = axes
    length = shape[axis]
    ends: list[tuple[int, int]] = []
    for each in tuples:
        part = each[axis]
        start, stop, step = (
            part.indices(length)
            if isinstance(part, slice)
            else (part % length, part % length + 1, 1)
        )
        if step != 1:
            return False
        ends.append((start, stop))
    ends.sort()
    return all(before[1] <= after[0] for before, after in pairwise(ends))


def index_error(x: RawTensor, error: Exception) -> IndexOutOfRangeError:
    """The error for an index that the namespace refused."""
    return IndexOutOfRangeError(
        f"expected an index within shape {x.shape}, but {error}; check the index"
    )
