"""`Table`: a table of tensors on its way to the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from born.raw import Array, HostArray
from born_cupy.device import cupy
from born_cupy.kernels.source import WORDS

_NEAR: Final = np.dtype([("at", np.uint64, (WORDS,))])
"""What a launch takes along: CuPy passes an array of one element by value."""

_NOWHERE: Final = np.uint64(0)


class Table:
    """The words of a table, and behind them sets of scalars.

    Attributes:
        words: what may be changed until the table is sent.
    """

    def __init__(self, words: HostArray, tensors: int, scalars: Sequence[Sequence[float]]) -> None:
        given = np.array(scalars, np.float64)
        self._length = words.size + given.size
        self._tensors = np.int64(tensors)
        self._whole: HostArray = np.empty(max(self._length, WORDS), np.uint64)
        self.words: HostArray = self._whole[: words.size]
        self.words[:] = words
        self._whole[words.size : self._length] = given.reshape(-1).view(np.uint64)
        self._near = self._whole[:WORDS].view(_NEAR)
        self._sent: Array | None = None

    def arguments(self) -> list[Any]:
        """What kernels are given first, `kernels.table.TABLE`; a long table is copied once."""
        if self._length <= WORDS:
            return [_NOWHERE, self._near, self._tensors]
        sent = self._sent
        if sent is None:
            # New memory for each step: the device may have yet to read what the last one sent.
            sent = self._sent = cupy.asarray(self._whole)
        return [np.uint64(sent.data.ptr), self._near, self._tensors]

    def changed(self) -> None:
        """Send the words again before the next launch."""
        self._sent = None
