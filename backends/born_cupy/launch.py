"""`Launching`: how operations launch born's own kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from born.backend.arrays.dispatch import Dispatch, dtype_mismatch
from born.dtypes import int64
from born.errors import ShapeError
from born.raw import Array, RawTensor
from born_cupy import philox
from born_cupy.compiler import Kernel
from born_cupy.device import DeviceContext
from born_cupy.device_errors import DeviceErrors
from born_cupy.kernels import Source, linear
from born_cupy.kernels.device_errors import check_range
from born_cupy.kernels.network import MAX_TEAM, WARP
from born_cupy.kernels.source import THREADS, real

_BLOCKS_PER_PROCESSOR: Final = 32  # as many as one can hold, so that each is busy to the end
_ELEMENTS_PER_THREAD: Final = 4  # of a row, or adding up across threads is most of the work
_WARPS_PER_BLOCK: Final = 4


class Launching(Dispatch):
    """Kernels on the current stream, with as many threads as there is work for."""

    strict: bool
    context: DeviceContext
    errors: DeviceErrors
    compile: Callable[[Source], Kernel]
    _generator: np.random.Generator

    def _launch(self, source: Source, count: int, *arguments: Any) -> None:
        """Launch a kernel that shares out `count` pieces of work among its threads.

        Arguments are tensors, which a kernel reads in C order; arrays that it writes; integers,
        its i64; and other NumPy scalars.
        """
        blocks = min(-(-count // THREADS), self.context.processors * _BLOCKS_PER_PROCESSOR)
        self._launch_blocks(source, blocks, THREADS, arguments)

    def _launch_rows(self, source: Source, shape: tuple[int, int, int], *arguments: Any) -> None:
        """Launch a kernel over rows; `shape` is their number, length and inner stride."""
        rows, columns, _ = shape
        team = WARP
        while team < MAX_TEAM and 2 * team * _ELEMENTS_PER_THREAD <= columns:
            team *= 2
        teams = _WARPS_PER_BLOCK if team == WARP else 1
        blocks = min(-(-rows // teams), self.context.processors * _BLOCKS_PER_PROCESSOR)
        self._launch_blocks(source, blocks, team * teams, (*arguments, *shape, np.int32(team)))

    def _launch_blocks(
        self, source: Source, blocks: int, threads: int, arguments: Iterable[Any]
    ) -> None:
        """Launch a kernel, unless no block has anything to do."""
        if blocks:
            given = [
                self.xp.ascontiguousarray(argument.array)
                if argument.__class__ is RawTensor
                else np.int64(argument)
                if argument.__class__ is int
                else argument
                for argument in arguments
            ]
            self.compile(source)(blocks, threads, given)

    def _column_sums(self, g: RawTensor, *mask: Any) -> RawTensor:
        """The sums of a matrix's columns.

        `mask` is a tensor, where g counts only if it is positive, and an array for what counts.
        """
        (sums,) = self._chunk_sums(linear.MASKED if mask else linear.PLAIN, g.dtype, g, *mask)
        return self._folded(sums, g.dtype)

    def _column_products(self, g: RawTensor, y: RawTensor) -> tuple[RawTensor, RawTensor]:
        """The sums of the columns of a matrix g, and of g y."""
        sums, products = self._chunk_sums(linear.PRODUCTS, g.dtype, g, y)
        return self._folded(sums, g.dtype), self._folded(products, g.dtype)

    def _folded(self, sums: Array, dtype: np.dtype[Any]) -> RawTensor:
        """Sums of chunks, added up chunk by chunk until one chunk is left."""
        while len(sums) > 1:
            (sums,) = self._chunk_sums(linear.PLAIN, dtype, RawTensor(sums))
        return RawTensor(sums)

    def _chunk_sums(self, kind: str, dtype: np.dtype[Any], g: RawTensor, *more: Any) -> list[Array]:
        """What `kernels.linear.column_sums` adds up, a row for each chunk of rows.

        The last chunk's sums are of the dtype, others as wide as they are computed.
        """
        rows, columns = g.shape
        chunks = -(-rows // linear.CHUNK)
        into = dtype if chunks == 1 else real(dtype)
        sums = [self.xp.empty((chunks, columns), into) for _ in range(linear.SUMS[kind])]
        source = linear.column_sums(g.dtype, into, kind)
        blocks = chunks * -(-columns // linear.TILE)
        self._launch_blocks(source, blocks, THREADS, (g, *more, *sums, rows, columns))
        return sums

    def _draw(self, source: Source, count: int, double: bool, *arguments: Any) -> None:
        """Launch a kernel of `kernels.random.drawing`, and move on past what it draws."""
        if not count:
            return
        with self._generator.bit_generator.lock:  # two threads are not to draw the same
            state = philox.state_of(self._generator, count, double)
            self._launch(source, int(state[0]), *arguments, count, *state)
            philox.skip(self._generator, count, double)

    def _launch_checked(self, operation: str, source: Source, count: int, *arguments: Any) -> None:
        """As `_launch`, of a kernel that reports what it cannot use: (..., report, operation)."""
        self._launch(source, count, *arguments, *self.errors.arguments(operation))
        self.errors.pending = True

    def _check_range(self, operation: str, values: RawTensor, length: int) -> None:
        """Report integers that are not from 0 to `length - 1`."""
        size = values.size
        self._launch_checked(operation, check_range(), size, int64_of(values), size, length)

    def _check_alike(self, name: str, x: RawTensor, *others: RawTensor) -> None:
        """Refuse tensors of another shape or dtype than the first."""
        for other in others:
            if other.dtype != x.dtype:
                raise dtype_mismatch(name, x, other)
            if other.shape != x.shape:
                raise ShapeError(
                    f"expected tensors of one shape in {name}, got {x.shape} and {other.shape}; "
                    "pass a gradient of the result's shape"
                )


def int64_of(x: RawTensor) -> RawTensor:
    """Integers as kernels take them."""
    return RawTensor(x.array.astype(int64, copy=False))
