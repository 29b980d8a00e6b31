"""Sums and maxima of tiles, in the order of `born.backend.lanes`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from born.backend.lanes import LANES, STRETCH
from born.raw import HostArray, Shape

_FEW: Final = 32
"""Rows of lanes below which calls cost more than copies."""


def halved(lanes: HostArray) -> HostArray:
    """The sums of rows of lanes, a power of two, added in halves; it is overwritten."""
    columns = lanes.T.copy() if len(lanes) <= _FEW else lanes.T
    half = len(columns) // 2
    while half:
        lower = columns[:half]
        np.add(lower, columns[half : 2 * half], lower)
        half //= 2
    sums: HostArray = columns[0]
    return sums


class Squares:
    """The sums of the squares of small arrays, of which copies are kept in one piece of memory.

    Args:
        shapes: of the arrays.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        sizes = [math.prod(shape) for shape in shapes]
        turns = [-(-size // LANES) for size in sizes]
        # Arrays of one turn are lanes as they are; others follow, and are added to theirs.
        memory = np.zeros((len(shapes) + sum(n for n in turns if n > 1), LANES))
        self._memory, self._lanes = memory, memory[: len(shapes)]
        self._views: list[HostArray] = []
        self._longer: list[tuple[HostArray, HostArray]] = []
        used = len(shapes)
        for number, (shape, size, count) in enumerate(zip(shapes, sizes, turns, strict=True)):
            own = memory[number : number + 1]
            if count > 1:
                own = memory[used : used + count]
                self._longer.append((own, self._lanes[number]))
                used += count
            self._views.append(own.reshape(-1)[:size].reshape(shape))
        columns = np.empty((LANES, len(shapes)))
        halves = [LANES >> n for n in range(1, LANES.bit_length())]
        self._columns, self._halves = columns, [(columns[:n], columns[n : 2 * n]) for n in halves]

    def of(self, arrays: Sequence[HostArray]) -> HostArray:
        """The sums of arrays of these shapes."""
        for view, array in zip(self._views, arrays, strict=True):
            view[...] = array
        np.multiply(self._memory, self._memory, out=self._memory)
        for turns, lanes in self._longer:
            np.add.reduce(turns, axis=0, out=lanes)
        self._columns[...] = self._lanes.T
        for lower, upper in self._halves:
            np.add(lower, upper, lower)
        sums: HostArray = self._columns[0].copy()
        return sums


def sums_of_padded(padded: HostArray) -> HostArray:
    """The sums of rows of doubles with zeros behind them, whole turns of lanes."""
    rows, columns = padded.shape
    turns = padded.reshape(rows, columns // LANES, LANES)
    return halved(np.add.reduce(turns, axis=1, initial=0.0))


def sums_of_rows(x: HostArray) -> HostArray:
    """The sum of each row of a matrix of doubles, which may be overwritten."""
    rows, columns = x.shape
    if columns <= LANES:
        width = 1 << max(columns - 1, 0).bit_length()
        lanes = np.zeros((rows, width))
        lanes[:, :columns] += x
        return halved(lanes)
    turns, rest = divmod(columns, LANES)
    lanes = np.empty((rows, LANES))
    whole = turns * LANES
    for row, sums in zip(x, lanes, strict=True):
        np.add.reduce(row[:whole].reshape(turns, LANES), axis=0, initial=0.0, out=sums)
    if rest:
        lanes[:, :rest] += x[:, whole:]
    return halved(lanes)


def sum_of_all(x: HostArray) -> Any:
    """The sum of doubles, in the order of lanes."""
    return sums_of_rows(np.ascontiguousarray(x).reshape(1, -1))[0]


def sum_of_list(numbers: Sequence[float]) -> float:
    """The sum of doubles, in the order of lanes: quickly, where there are few."""
    if len(numbers) > LANES:
        with np.errstate(all="ignore"):
            return float(sum_of_all(np.array(numbers)))
    added = [0.0 + x for x in numbers] or [0.0]
    left = len(added)
    while left > 1:
        half = 1 << (left - 1).bit_length() - 1
        for number in range(half, left):
            added[number - half] += added[number]
        left = half
    return added[0]


def sums_of_stretches(x: HostArray, y: HostArray | None, out: HostArray) -> None:
    """The sums of stretches of a flat array, or of its products with another."""
    lanes = np.zeros((len(out), LANES))
    wide = np.empty(min(x.size, STRETCH))
    for number, sums in enumerate(lanes):
        start = number * STRETCH
        piece = x[start : start + STRETCH]
        size = piece.size
        part = wide[:size]
        part[...] = piece
        if y is not None:
            np.multiply(part, part if y is x else y[start : start + STRETCH], out=part)
        turns, rest = divmod(size, LANES)
        if turns:
            whole = part[: turns * LANES].reshape(turns, LANES)
            np.add.reduce(whole, axis=0, initial=0.0, out=sums)
        if rest:
            sums[:rest] += part[turns * LANES :]
    out[...] = halved(lanes)


def doubles(x: HostArray, y: HostArray | None) -> HostArray:
    """The elements of an array, or of its products with another, in double."""
    wide = np.array(x, np.float64, order="C")
    if y is not None:
        np.multiply(wide, wide if y is x else y, out=wide)
    return wide


def add_columns(x: HostArray, sums: HostArray) -> None:
    """Add rows of doubles, of shape (matrices, rows, columns), to the sums of columns in turn."""
    if x.shape[-1] > 1:
        for matrix, own in zip(x, sums, strict=True):
            # The sums so far lead, so that each row is added to them in turn.
            own[...] = np.add.reduce(np.concatenate((own[None], matrix)), axis=0)
        return
    for matrix, own in zip(x, sums, strict=True):
        own[0] = np.add.accumulate(np.concatenate((own, matrix[:, 0])))[-1]


def sums_of_tensors(rows: HostArray, counts: Sequence[int]) -> HostArray:
    """The sums of tensors, from those of their rows, which follow each other."""
    if len(rows) == len(counts) and all(count == 1 for count in counts):
        return rows
    few = [min(count, LANES) if count <= LANES else 0 for count in counts]
    width = 1 << max(max(few, default=0) - 1, 0).bit_length()
    lanes = np.zeros((len(counts), width))
    sums = np.zeros(len(counts))
    first = 0
    long: list[tuple[int, int, int]] = []
    for number, count in enumerate(counts):
        if count <= LANES:
            lanes[number, :count] += rows[first : first + count]
        else:
            long.append((number, first, count))
        first += count
    sums[...] = halved(lanes)
    for number, start, count in long:
        sums[number] = sum_of_all(rows[start : start + count])
    return sums


def largest_of_tensors(rows: HostArray, counts: Sequence[int]) -> HostArray:
    """The largest elements of tensors, from those of their rows; -inf of none."""
    largest = np.full(len(counts), -np.inf)
    first = 0
    for number, count in enumerate(counts):
        if count:
            largest[number] = rows[first : first + count].max()
        first += count
    return largest
