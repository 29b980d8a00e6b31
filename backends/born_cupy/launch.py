"""`Launching`: how operations launch born's own kernels."""

from __future__ import annotations

from collections.abc import Callable
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
from born_cupy.kernels.network import WARP

_THREADS: Final = 256
_BLOCKS_PER_PROCESSOR: Final = 32  # as many as one can hold, so that each is busy to the end
_ELEMENTS_PER_THREAD: Final = 4  # of a row, or adding up across threads is most of the work
_WARPS_PER_BLOCK: Final = 4
_MAX_THREADS: Final = 1024


class Launching(Dispatch):
    """Kernels on the current stream, with as many threads as there is work for.

    Attributes:
        strict: whether errors are raised at once, and scatters add in order.
        context: the device and stream that operations run on.
        errors: what kernels have found wrong with values that the host has not seen.
        compile: from the text of a kernel to something that can be launched.
    """

    strict: bool
    context: DeviceContext
    errors: DeviceErrors
    compile: Callable[[Source], Kernel]
    _generator: np.random.Generator

    def _launch(self, source: Source, count: int, *arguments: Any) -> None:
        """A kernel that shares out `count` pieces of work among its threads."""
        blocks = min(-(-count // _THREADS), self.context.processors * _BLOCKS_PER_PROCESSOR)
        if blocks:
            self.compile(source)(blocks, _THREADS, arguments, None)

    def _launch_rows(self, source: Source, shape: tuple[int, int, int], *arguments: Any) -> None:
        """A kernel of `kernels.network` that takes rows, with a team of threads for each.

        Args:
            source: the kernel.
            shape: how many rows there are, how long, and how far apart elements are.
            arguments: of the kernel, up to those that say this.
        """
        rows, columns, _ = shape
        team = WARP
        while team < _MAX_THREADS and 2 * team * _ELEMENTS_PER_THREAD <= columns:
            team *= 2
        teams = _WARPS_PER_BLOCK if team == WARP else 1
        blocks = min(-(-rows // teams), self.context.processors * _BLOCKS_PER_PROCESSOR)
        if blocks:
            sizes = (*map(np.int64, shape), np.int32(team))
            self.compile(source)(blocks, team * teams, (*arguments, *sizes), None)

    def _launch_columns(self, source: Source, shape: tuple[int, int], *arguments: Any) -> None:
        """A kernel of `kernels.linear` that adds up columns, of a matrix of this shape."""
        blocks = -(-shape[0] // linear.CHUNK) * -(-shape[1] // linear.TILE)
        sizes = map(np.int64, shape)
        self.compile(source)(blocks, linear.THREADS, (*arguments, *sizes), None)

    def _draw(self, source: Source, count: int, double: bool, *arguments: Any) -> None:
        """Launch a kernel of `kernels.random.drawing`, and move on past what it draws."""
        if not count:
            return
        with self._generator.bit_generator.lock:  # two threads are not to draw the same
            state = philox.state_of(self._generator, count, double)
            self._launch(source, int(state[0]), *arguments, np.int64(count), *state)
            philox.skip(self._generator, count, double)

    def _check_range(self, operation: str, values: Array, length: int) -> None:
        """Report integers that are not from 0 to `length - 1`."""
        self._launch(
            check_range(),
            values.size,
            self._contiguous(values.astype(int64, copy=False)),
            np.int64(values.size),
            np.int64(length),
            *self.errors.arguments(operation),
        )
        self.errors.pending = True

    def _contiguous(self, array: Array) -> Array:
        """The elements one after another in memory, as kernels take them."""
        return self.xp.ascontiguousarray(array)

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
