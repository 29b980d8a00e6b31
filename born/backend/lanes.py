"""The order in which sums are added up, the same on every backend.

Numbers go to `LANES` sums in turn, number i to sum i modulo `LANES`, in double. The sums are then
added in halves: the first to the one half way behind it, and so on. A tensor is added up row by
row in this way, and then the sums of its rows. Where no value belongs to a row or a column, a
"row" is a stretch of `STRETCH` elements instead, whatever the shape.

A column is added up from top to bottom in blocks of rows, then the blocks.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from born.backend.contract.primitives import Primitives
from born.fusion import ARRAY, RESULT, Program, Ref
from born.fusion.program import COLUMNS, MATRIX, ROWS
from born.raw import RawTensor, Shape

LANES: Final = 256  # sums: 2 kB, which stays in the first-level cache, and threads of a GPU's block
STRETCH: Final = 16_384  # elements: blocks enough for a large GPU, and few partial sums
_MOST_BLOCKS: Final = 32  # of a column: so that partial sums of a matrix stay small beside it


class Layout(NamedTuple):
    """A tensor as matrices of rows and columns, the last row of the last maybe cut short."""

    matrices: int
    rows: int
    columns: int

    @property
    def block(self) -> int:
        """How many rows of a column are added up at once."""
        if not self.rows or not self.columns:
            return 1
        enough = max(-(-STRETCH // self.columns), -(-self.rows // _MOST_BLOCKS))
        return min(self.rows, enough)

    @property
    def blocks(self) -> int:
        """How many blocks of rows each matrix has."""
        return -(-self.rows // self.block)


def goes_by_rows(program: Program) -> bool:
    """Whether values that a program computes with belong to rows or columns."""
    ranks = program.all_ranks()
    used = {Ref(RESULT, number) for number in range(len(program.instructions))}
    used.update(arg for _, args in program.instructions for arg in args)
    pairs = zip(program.targets, program.outputs, strict=True)
    for index, ref in pairs:
        if ref != Ref(ARRAY, index):
            used |= {ref, Ref(ARRAY, index)}
    return not {MATRIX, ROWS, COLUMNS}.isdisjoint(ranks[ref] for ref in used)


def layout(shape: Shape, by_rows: bool) -> Layout:
    """How the elements of a tensor are cut into rows.

    >>> layout((2, 3, 4, 5), True), layout((7,), True), layout((100, 200), False)
    (Layout(matrices=6, rows=4, columns=5), Layout(matrices=1, rows=1, columns=7),
     Layout(matrices=1, rows=2, columns=16384))
    """
    if not by_rows:
        return Layout(1, -(-math.prod(shape) // STRETCH), STRETCH)
    if len(shape) < 2:
        return Layout(1, 1, math.prod(shape))
    return Layout(math.prod(shape[:-2]), *shape[-2:])


def sums_of_rows(backend: Primitives, x: RawTensor) -> RawTensor:
    """The sum of each row of a matrix of doubles, in the order of lanes."""
    rows, columns = x.shape
    turns = -(-columns // LANES)
    if turns * LANES != columns:
        x = backend.pad(x, [(0, 0), (0, turns * LANES - columns)])
    x = backend.reshape(x, (rows, turns, LANES))
    lanes = backend.zeros((rows, LANES), "float64")
    for turn in range(turns):
        lanes = backend.add(lanes, backend.getitem(x, (slice(None), turn)))
    half = LANES // 2
    while half:
        first = backend.getitem(lanes, (slice(None), slice(half)))
        lanes = backend.add(first, backend.getitem(lanes, (slice(None), slice(half, 2 * half))))
        half //= 2
    return backend.reshape(lanes, (rows,))


def sum_of_all(backend: Primitives, x: RawTensor) -> RawTensor:
    """The sum of doubles in the order of lanes, of shape ()."""
    return backend.reshape(sums_of_rows(backend, backend.reshape(x, (1, x.size))), ())


def sum_of_tensor(backend: Primitives, x: RawTensor, where: Layout) -> RawTensor:
    """The sum of a tensor of doubles, row by row, of shape ()."""
    rows = where.matrices * where.rows
    missing = rows * where.columns - x.size
    x = backend.reshape(x, (x.size,))
    x = backend.pad(x, [(0, missing)]) if missing else x
    return sum_of_all(backend, sums_of_rows(backend, backend.reshape(x, (rows, where.columns))))


def sums_of_columns(backend: Primitives, x: RawTensor, where: Layout) -> RawTensor:
    """The sums of the columns of matrices of doubles, of shape (matrices, 1, columns)."""
    matrices, rows, columns = where
    block, blocks = where.block, where.blocks
    missing = block * blocks - rows
    if missing:
        x = backend.pad(x, [(0, 0), (0, missing), (0, 0)])
    x = backend.reshape(x, (matrices, blocks, block, columns))
    sums = backend.zeros((matrices, blocks, columns), "float64")
    for row in range(block):
        sums = backend.add(sums, backend.getitem(x, (slice(None), slice(None), row)))
    result = backend.zeros((matrices, columns), "float64")
    for number in range(blocks):
        result = backend.add(result, backend.getitem(sums, (slice(None), number)))
    return backend.reshape(result, (matrices, 1, columns))
