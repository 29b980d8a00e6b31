"""The norm of many arrays at once, with the same bits on each CPU backend.

The order of additions is fixed: arrays of one dtype follow each other in stretches of about a
million elements. A stretch adds up in `LANES` sums, in double: element i of an array goes to sum
i modulo `LANES`. NumPy adds all sums of all stretches.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from born.backend.threads import POOL, taken
from born.raw import HostArray, RawTensor

LANES: Final = 256  # sums of a stretch: 2 kB, which stays in the first-level cache
_ROWS: Final = 64  # rows of LANES elements squared at once: 128 kB, in the second-level cache
_TILE: Final = LANES * _ROWS
_STRETCH: Final = 1_048_576  # elements: two threads share 16M of them evenly


class Scattered:
    """Some elements, in order, of an array that is not contiguous; a slice of them is a copy."""

    def __init__(self, array: HostArray, first: int, size: int) -> None:
        self._flat = array.flat
        self._first = first
        self.size = size

    def __getitem__(self, tile: slice) -> HostArray:
        start, stop, _ = tile.indices(self.size)
        return self._flat[self._first + start : self._first + stop]


Part: TypeAlias = HostArray | Scattered
"""What a stretch consists of: flat arrays, or what of others takes their place."""

AddSquares: TypeAlias = Callable[[Sequence[Part], HostArray], None]
"""Adds the squares of the elements of some parts of one dtype to the lanes of a stretch."""


def global_norm(xs: Sequence[RawTensor], add_squares: AddSquares) -> RawTensor:
    """The square root of the sum of all squares."""
    stretches = _stretches([x.array for x in xs])
    lanes = np.zeros((len(stretches), LANES), np.float64)
    if len(stretches) == 1:
        add_squares(stretches[0], lanes[0])
    else:
        pairs = deque(zip(stretches, lanes, strict=True))

        def add_up() -> None:
            for parts, row in taken(pairs):
                add_squares(parts, row)

        several = sum(x.size for x in xs) > _STRETCH
        POOL.share(add_up, threads=len(pairs) if several else 1)
    total = float(np.add.reduce(lanes, axis=None))
    norm = _scaled_norm(xs) if math.isinf(total) else math.sqrt(total)
    return RawTensor(np.array(norm))


def _scaled_norm(xs: Sequence[RawTensor]) -> float:
    """The norm of doubles whose squares overflow: of their shares of the largest, times it."""
    most = max(float(np.abs(x.array).max(initial=0.0)) for x in xs)
    if math.isinf(most):
        return most
    squares = [float(np.square(x.array.astype(np.float64) / most).sum()) for x in xs]
    return most * math.sqrt(math.fsum(squares))


def _stretches(arrays: Sequence[HostArray]) -> list[list[Part]]:
    """The parts of arrays of one dtype that are added up one after the other."""
    finished: list[list[Part]] = []
    filling: dict[np.dtype[Any], tuple[list[Part], int]] = {}
    for array in arrays:
        whole = array.size <= _STRETCH and array.flags.c_contiguous
        for part in [array.reshape(-1)] if whole else _parts(array):
            parts, size = filling.get(array.dtype) or ([], 0)
            parts.append(part)
            filling[array.dtype] = parts, size + part.size
            if size + part.size >= _STRETCH:
                finished.append(filling.pop(array.dtype)[0])
    return finished + [parts for parts, _ in filling.values()]


def _parts(array: HostArray) -> list[Part]:
    """An array in pieces no longer than a stretch, none of them copied."""
    starts = range(0, array.size, _STRETCH)
    if not array.flags.c_contiguous:
        return [Scattered(array, start, min(_STRETCH, array.size - start)) for start in starts]
    flat = array.reshape(-1)
    return [flat[start : start + _STRETCH] for start in starts]


def add_squares(parts: Sequence[Part], lanes: HostArray) -> None:
    """Add the squares of a stretch by ufuncs over tiles."""
    buffer = np.empty((1 + _ROWS, LANES), np.float64)
    flat = buffer[1:].reshape(-1)
    with np.errstate(all="ignore"):  # an infinite gradient is the caller's affair
        for part in parts:
            for start in range(0, part.size, _TILE):
                tile = part[start : start + _TILE]
                rows = -(-tile.size // LANES)
                flat[: tile.size] = tile
                flat[tile.size : rows * LANES] = 0.0
                squares = flat[: rows * LANES]
                np.multiply(squares, squares, out=squares)
                # The sums so far lead, so that each row is added to them in turn.
                buffer[0] = lanes
                np.add.reduce(buffer[: 1 + rows], axis=0, out=lanes)
