"""What goes through the elements of a wave: updates of one stage, or tiles and their sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend.lanes import LANES, STRETCH
from born.backend.threads import POOL, taken
from born.backend.update import BoundUpdate, Scalars, UpdateKernel
from born.fusion import ARRAY, Ref
from born.fusion.program import REDUCTIONS
from born.fusion.stages import Pass
from born.raw import HostArray
from born_numpy import sums
from born_numpy.update import NumpyUpdate, write_back
from born_numpy.waves import Plan, Wave

_PARALLEL: Final = 262_144
"""Elements from which a second thread pays."""

_PADDED: Final = 65_536
"""Elements up to which what is added up of all tensors is kept, and then added up at once."""


class PassKernel(ABC):
    """A compiled pass."""

    source: str

    @abstractmethod
    def run(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        """Go through the elements of a wave; reductions go into its `rows` and `blocks`."""


class Elementwise(PassKernel):
    """A pass that is an update of one stage."""

    def __init__(self, work: Pass, kernel: UpdateKernel) -> None:
        self.work = work
        self.kernel = kernel
        self.source = kernel.source
        self.extra = (*work.inputs, *work.scratch)

    @override
    def run(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        if self.extra:
            wave.make_room(self.work)
            targets = [
                [*own, *(wave.scratch(ref, place) for ref in self.extra)]
                for place, own in enumerate(wave.plan.elements)
            ]
            bound = self.kernel.bind(targets)
        else:
            bound = wave.plan.made(self, self._bound)
        bound.prepare(range(len(wave.gradients)), wave.gradients).run(scalars, sets)

    def _bound(self, plan: Plan) -> BoundUpdate:
        return self.kernel.bind(plan.elements)


class Tiles(PassKernel):
    """A pass by NumPy: tiles of whole rows through ufuncs, and what is reduced of them."""

    def __init__(self, work: Pass) -> None:
        self._work = work
        self._kernel = NumpyUpdate(work.program, work.dtypes, work.reductions)
        self.source = self._kernel.source
        self._numbers = [number for number, _ in work.reductions]
        program = work.program
        pairs = zip(program.targets, program.outputs, strict=True)
        self._stores = any(ref != Ref(ARRAY, index) for index, ref in pairs)
        self._used = work.used
        gradient = Ref(ARRAY, 1)
        # Nothing but the squares of gradients is added up, as for a norm of all of them.
        self._squares = not self._stores and [refs for _, refs in work.reductions] == [
            (gradient, gradient)
        ]

    @override
    def run(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        if self._squares and not wave.staged.by_rows and wave.plan.made(self, _padded_length):
            squares = wave.plan.made(self._kernel, _squares)
            with np.errstate(all="ignore"):
                wave.rows[self._numbers[0]] = squares.of([raw.array for raw in wave.gradients])
            return
        wave.make_room(self._work)
        with np.errstate(all="ignore"):  # an infinite gradient is the caller's affair, not news
            if wave.staged.by_rows:
                self._go_by_rows(wave, scalars[0])
            else:
                self._go_flat(wave, scalars, sets)

    def _share(self, wave: Wave, pieces: Sequence[Callable[[], None]]) -> None:
        """Run all pieces, on several threads if that pays."""
        if wave.plan.size < _PARALLEL:
            for piece in pieces:
                piece()
            return
        waiting = deque(pieces)

        def share() -> None:
            with np.errstate(all="ignore"):
                for piece in taken(waiting):
                    piece()

        POOL.share(share)

    def _go_flat(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        """Tiles of whole stretches."""
        kernel, plan = self._kernel, wave.plan
        reduced = [(REDUCTIONS[wave.op(number)][0], wave.rows[number]) for number in self._numbers]
        padded = plan.made(self, _padded_length)
        kept = [
            _Kept(np.zeros((plan.total_rows, padded))) if padded and op == "sum" else None
            for op, _ in reduced
        ]
        length = max(kernel.tile_size // STRETCH, 1) * STRETCH

        def piece(
            arrays: Sequence[Any], values: Scalars, start: int, stop: int, first: int
        ) -> None:
            tiles = [None if array is None else array[start:stop] for array in arrays]
            rows = slice(first + start // STRETCH, first + -(-stop // STRETCH))
            reducers = [
                _flat_reducer(op, row[rows]) if keep is None else keep.reducer(first)
                for (op, row), keep in zip(reduced, kept, strict=True)
            ]
            buffers = kernel.buffers_of(stop - start) if kernel.buffers else ()
            number = (start,) if kernel.indexed else ()
            kernel.tile(*tiles, *values, *buffers, *reducers, *number)
            if self._stores:
                write_back(arrays, tiles, start, stop)

        pieces: list[Callable[[], None]] = []
        for place, (first, size) in enumerate(zip(plan.first_rows, plan.sizes, strict=True)):
            arrays = [
                None
                if number not in self._used
                else array.reshape(-1)
                if array.flags.c_contiguous
                else array.flat
                for number, array in enumerate(wave.arrays(place, self._work))
            ]
            values = scalars[sets[place] if sets else 0]
            for start in range(0, size, length):
                stop = min(start + length, size)
                pieces.append(partial(piece, arrays, values, start, stop, first))
        self._share(wave, pieces)
        for (_, row), keep in zip(reduced, kept, strict=True):
            if keep is not None:
                row[...] = sums.sums_of_padded(keep.products())

    def _go_by_rows(self, wave: Wave, values: Scalars) -> None:
        """Whole matrices, or rows of one of them, a block in one piece."""
        kernel, work = self._kernel, self._work
        where = wave.plan.layouts[0]
        matrices, height, columns = where
        if not wave.plan.size:
            return
        arrays = wave.arrays(0, work)
        small = where.blocks == 1 and height * columns <= kernel.tile_size
        most = max(kernel.tile_size // (height * columns), 1) if small else 1
        tall = max(kernel.tile_size // 4 // columns, 1)  # what is added up is copied, in double

        def piece(first: int, last: int, block: int) -> None:
            start = block * where.block
            stop = min(start + where.block, height)
            for top in range(start, stop, height if small else tall):
                bottom = stop if small else min(top + tall, stop)
                shape = last - first, bottom - top, columns
                tiles = [array[first:last, top:bottom] for array in arrays]
                rows = slice(first * height + top, (last - 1) * height + bottom)
                reducers = [
                    _row_reducer(
                        wave.op(number),
                        None if wave.op(number).endswith("rows") else wave.rows[number][rows],
                        wave.blocks[number][first:last, block] if number in wave.blocks else None,
                    )
                    for number, _ in work.reductions
                ]
                buffers = [
                    b.reshape(shape) for b in kernel.buffers_of(shape[0] * shape[1] * columns)
                ]
                number = ((first * height + top) * columns,) if kernel.indexed else ()
                kernel.tile(*tiles, *values, *buffers, *reducers, *number)

        self._share(
            wave,
            [
                partial(piece, first, min(first + most, matrices), block)
                for first in range(0, matrices, most)
                for block in range(where.blocks)
            ],
        )


def _padded_length(plan: Plan) -> int:
    """A length of whole turns for the rows of small tensors; 0 if they take too much memory."""
    most = -(-min(max(plan.sizes), STRETCH) // LANES) * LANES
    return most if plan.has_single_rows and most * plan.total_rows <= _PADDED else 0


def _squares(plan: Plan) -> sums.Squares:
    return sums.Squares([target[0].shape for target in plan.targets])


class _Kept:
    """What is added up of small tensors, each a row."""

    def __init__(self, x: HostArray) -> None:
        self._x = x
        self._y: HostArray | None = None
        self._squared = False

    def reducer(self, row: int) -> Callable[..., None]:
        """What keeps the elements of a tensor."""

        def keep(x: HostArray, y: HostArray | None = None) -> None:
            self._x[row, : x.size] = x
            if y is x:
                self._squared = True
            elif y is not None:
                if self._y is None:
                    self._y = np.zeros_like(self._x)
                self._y[row, : y.size] = y

        return keep

    def products(self) -> HostArray:
        """The elements, or their products."""
        other = self._x if self._squared else self._y
        return self._x if other is None else np.multiply(self._x, other, out=self._x)


def _flat_reducer(op: str, out: HostArray) -> Callable[..., None]:
    def reduce(x: HostArray, y: HostArray | None = None) -> None:
        if op == "max":
            out[...] = np.maximum.reduceat(x, range(0, x.size, STRETCH))
        else:
            sums.sums_of_stretches(x, y, out)

    return reduce


def _row_reducer(op: str, rows: HostArray | None, columns: HostArray | None) -> Callable[..., None]:
    def reduce(x: HostArray, y: HostArray | None = None) -> None:
        if op.startswith("max"):
            if columns is not None:
                np.maximum(columns, x.max(axis=1), out=columns)
            elif rows is not None:
                rows[...] = x.max(axis=2).reshape(-1)
            return
        wide = sums.doubles(x, y)
        if columns is not None:
            sums.add_columns(wide, columns)
        elif rows is not None:
            rows[...] = sums.sums_of_rows(wide.reshape(-1, wide.shape[2]))

    return reduce
