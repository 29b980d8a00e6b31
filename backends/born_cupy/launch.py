"""`Launcher`: kernels over elements and over rows, with grids that suit the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born_cupy.sources import Source, linear
from born_cupy.sources.rows import WARP

_THREADS: Final = 256
_BLOCKS_A_PROCESSOR: Final = 32  # as many as one can hold, so that each is busy to the end
_ELEMENTS_A_THREAD: Final = 4  # of a row, so that adding up across threads is not most of the work
_WARPS_A_BLOCK: Final = 4
_MOST_THREADS: Final = 1024


class Launcher:
    """Launches kernels on the current stream, with as many threads as there is work for.

    Args:
        compile: from a text to something that can be launched.
        processors: how many multiprocessors the device has.
    """

    def __init__(self, compile: Callable[[Source], Any], processors: int) -> None:
        self._compile = compile
        self._most_blocks = processors * _BLOCKS_A_PROCESSOR

    def elements(self, source: Source, count: int, *arguments: Any) -> None:
        """A kernel that shares out `count` pieces of work among its threads."""
        blocks = min(-(-count // _THREADS), self._most_blocks)
        if blocks:
            self._compile(source)(blocks, _THREADS, arguments, None)

    def rows(self, source: Source, shape: tuple[int, int, int], *arguments: Any) -> None:
        """A kernel that takes rows, with a team of threads for each.

        Args:
            source: a kernel of `born_cupy.sources.rows`.
            shape: how many rows there are, how long, and how far apart elements are.
            arguments: of the kernel, up to those that say this.
        """
        rows, columns, _ = shape
        team = WARP
        while team < _MOST_THREADS and 2 * team * _ELEMENTS_A_THREAD <= columns:
            team *= 2
        teams = _WARPS_A_BLOCK if team == WARP else 1
        blocks = min(-(-rows // teams), self._most_blocks)
        if blocks:
            sizes = (*map(np.int64, shape), np.int32(team))
            self._compile(source)(blocks, team * teams, (*arguments, *sizes), None)

    def columns(self, source: Source, shape: tuple[int, int], *arguments: Any) -> None:
        """A kernel of `linear.column_sums`, of a matrix of some rows and columns."""
        blocks = -(-shape[0] // linear.CHUNK) * -(-shape[1] // linear.TILE)
        sizes = map(np.int64, shape)
        self._compile(source)(blocks, linear.THREADS, (*arguments, *sizes), None)
