"""The text that takes a row of a tensor through a pass.

It computes a part of the row, keeps what is to be reduced of it, then adds that up: so the compiler
finds two simple loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from born.backend.lanes import LANES
from born.fusion import ARRAY, Program, Ref
from born.fusion.program import COLUMNS, REDUCTIONS, ROWS
from born.fusion.stages import Pass
from born_numba import intrinsics
from born_numba.compiler import inlined
from born_numba.elements import Elements, indented
from born_numba.intrinsics import load_float32, load_float64, store_float64
from born_numba.shared import ADDRESS, COUNT, DOUBLE, NOTHING, Shared

PART: Final = 4 * LANES  # elements of a row at a time: those kept stay in the first cache

Reduced: TypeAlias = tuple[tuple[str, int | None, tuple[Ref, ...]], ...]
"""Of each reduction its operation, its axis and its operands."""


def reduced(program: Program, work: Pass) -> Reduced:
    """What a pass of a program reduces."""
    return tuple(
        (*REDUCTIONS[program.instructions[number].op], refs) for number, refs in work.reductions
    )


# -- what the texts call, compiled once for all --------------------------------------------------

load: Final[Any] = load_float32
"""For the functions below: what loads an element in the dtype that is computed in."""


@inlined
def larger(x: Any, y: Any) -> Any:
    """The larger of two numbers, and NaN if either is."""
    return x if x > y or x != x else y


def fill_lanes(lanes: Any, value: Any) -> None:
    """Begin the lanes of a row."""
    for lane in range(LANES):
        store_float64(lanes, lane, value)


def joined_sum(lanes: Any) -> Any:
    """Add the upper half of the lanes to the lower one until one number is left."""
    half = LANES // 2
    while half:
        for lane in range(half):
            store_float64(lanes, lane, load_float64(lanes, lane) + load_float64(lanes, half + lane))
        half //= 2
    return load_float64(lanes, 0)


def joined_max(lanes: Any) -> Any:
    """Raise the lower half of the lanes to the upper one until one number is left."""
    half = LANES // 2
    while half:
        for lane in range(half):
            most = larger(load_float64(lanes, lane), load_float64(lanes, half + lane))
            store_float64(lanes, lane, most)
        half //= 2
    return load_float64(lanes, 0)


def sum_of_part(lanes: Any, x: Any, count: Any) -> None:
    """Add the elements of a part to the lanes."""
    for turn in range(0, count, LANES):
        for lane in range(min(LANES, count - turn)):
            total = load_float64(lanes, lane) + np.float64(load(x, turn + lane))
            store_float64(lanes, lane, total)


def squares_of_part(lanes: Any, x: Any, count: Any) -> None:
    """Add the squares of the elements of a part to the lanes."""
    for turn in range(0, count, LANES):
        for lane in range(min(LANES, count - turn)):
            value = np.float64(load(x, turn + lane))
            store_float64(lanes, lane, load_float64(lanes, lane) + value * value)


def products_of_part(lanes: Any, x: Any, y: Any, count: Any) -> None:
    """Add the products of the elements of two parts to the lanes."""
    for turn in range(0, count, LANES):
        for lane in range(min(LANES, count - turn)):
            product = np.float64(load(x, turn + lane)) * np.float64(load(y, turn + lane))
            store_float64(lanes, lane, load_float64(lanes, lane) + product)


def max_of_part(lanes: Any, x: Any, count: Any) -> None:
    """Raise the lanes to the elements of a part."""
    for turn in range(0, count, LANES):
        for lane in range(min(LANES, count - turn)):
            most = larger(np.float64(load(x, turn + lane)), load_float64(lanes, lane))
            store_float64(lanes, lane, most)


def sum_of_columns(sums: Any, x: Any, count: Any) -> None:
    """Add the elements of a part, each to the sum of its column."""
    for j in range(count):
        store_float64(sums, j, load_float64(sums, j) + np.float64(load(x, j)))


def products_of_columns(sums: Any, x: Any, y: Any, count: Any) -> None:
    """Add the products of the elements of two parts, each to the sum of its column."""
    for j in range(count):
        product = np.float64(load(x, j)) * np.float64(load(y, j))
        store_float64(sums, j, load_float64(sums, j) + product)


def max_of_columns(sums: Any, x: Any, count: Any) -> None:
    """Raise the largest of columns to the elements of a part."""
    for j in range(count):
        store_float64(sums, j, larger(np.float64(load(x, j)), load_float64(sums, j)))


_OF_ONE: Final = NOTHING(ADDRESS, ADDRESS, COUNT)
_OF_TWO: Final = NOTHING(ADDRESS, ADDRESS, ADDRESS, COUNT)


def _of_dtype(name: str) -> list[Shared]:
    """The functions of elements that are computed in a dtype."""
    names = {"load": getattr(intrinsics, f"load_{name}")}
    signatures = {
        **dict.fromkeys((sum_of_part, squares_of_part, max_of_part), _OF_ONE),
        **dict.fromkeys((sum_of_columns, max_of_columns), _OF_ONE),
        **dict.fromkeys((products_of_part, products_of_columns), _OF_TWO),
    }
    return [Shared(each, signature, names, f"_{name}") for each, signature in signatures.items()]


SHARED: Final = {
    each.name: each
    for each in (
        Shared(fill_lanes, NOTHING(ADDRESS, DOUBLE)),
        Shared(joined_sum, DOUBLE(ADDRESS)),
        Shared(joined_max, DOUBLE(ADDRESS)),
        *_of_dtype("float32"),
        *_of_dtype("float64"),
    )
}
"""What the texts call by name."""


def names(compute: np.dtype[Any]) -> dict[str, Any]:
    """What else the texts of rows that are computed in a dtype call by name."""
    return {
        "PART": PART,
        "real": compute.type,
        "room_of_part": intrinsics.room(PART * compute.itemsize),
        "room_of_lanes": intrinsics.room(LANES * 8),
    }


# -- the texts -----------------------------------------------------------------------------------


class RowText:
    """The lines that take a row of a tensor through a pass.

    They know by their names the address `at2` of array 2, the number `a3` that array 3 has for the
    row, the address `at_sum0` of sums of columns, and the scalar `s1`; the row's first element
    `base` and its `length`, and the same of arrays (`across`) and of sums (`cell`) of columns; room
    for parts at `kept0`, and for the lanes of a sum at `lanes0`.

    Args:
        program: of the pass.
        dtypes: of its arrays.
        reductions: what is added up, or the largest of.

    Attributes:
        elements: the arrays of elements that it reads or writes.
        lower: those of rows and columns.
        columns: those of columns.
        rows: the numbers of the reductions of which there is a result of the row, in order.
        cells: of those that are added to what there is of a column.
        lines: the text.
        results: what gives the results of the row.
    """

    def __init__(
        self, program: Program, dtypes: tuple[np.dtype[Any], ...], reductions: Reduced
    ) -> None:
        self._reductions = reductions
        operands = list(dict.fromkeys(ref for _, _, refs in reductions for ref in refs))
        self._work = Elements(program, dtypes, operands)
        # What lies in memory is added up from there, unless the loop writes there meanwhile.
        self._direct = {ref: f"x{ref.index}" for ref in operands if self._lies_in_memory(ref)}
        kept = [ref for ref in operands if ref not in self._direct]
        self._kept = {ref: f"kept{n}" for n, ref in enumerate(kept)}
        ranks = [program.rank(index) for index in range(len(dtypes))]
        self.lower = [i for i, rank in enumerate(ranks) if rank in (ROWS, COLUMNS)]
        self.columns = [i for i in self.lower if ranks[i] == COLUMNS]
        self.elements = [i for i in self._work.used if i not in self.lower]
        self.rows = [k for k, (_, axis, _) in enumerate(reductions) if axis != -2]
        self.cells = [k for k, (_, axis, _) in enumerate(reductions) if axis == -2]
        self.room = len(self._kept), len(self.rows)
        whole = ["start = base", "count = length", "first = 0"]
        self.lines = [
            f"# {program.name}, computes in {self._work.compute.name}",
            *(self._in_parts() if operands else [*whole, *self._computing()]),
        ]
        self.results = [f"joined_{reductions[k][0]}(lanes{n})" for n, k in enumerate(self.rows)]

    def _lies_in_memory(self, ref: Ref) -> bool:
        """Whether an operand is an array's element as it is computed with, and stays so."""
        work = self._work
        return (
            ref.kind == ARRAY
            and work.is_element(ref.index)
            and work.dtypes[ref.index] == work.compute
            and ref.index not in work.stored
            and 0 not in work.stored  # a gradient may be its parameter
        )

    def _in_parts(self) -> list[str]:
        """The lines that go through a row part by part, and add up what each leaves."""
        starts = {"sum": "0.0", "max": "-np.inf"}
        return [
            *(
                f"fill_lanes(lanes{n}, {starts[self._reductions[k][0]]})"
                for n, k in enumerate(self.rows)
            ),
            "for first in range(0, length, PART):",
            "    count = min(PART, length - first)",
            "    start = base + first",
            *indented(4, self._computing()),
            *(f"    {self._adding(k, f'lanes{n}', 'part')}" for n, k in enumerate(self.rows)),
            *(f"    {self._adding(k, f'sum{k}', 'columns')}" for k in self.cells),
        ]

    def _computing(self) -> list[str]:
        """The lines that compute what is stored and what is kept of a part."""
        work = self._work
        lines = [line for i in self.elements for line in work.found(i, f"at{i}", "start")]
        lines += [f"x{i} = address_of(at{i}, across + first, 8)" for i in self.columns]
        lines += [f"sum{k} = address_of(at_sum{k}, cell + first, 8)" for k in self.cells]
        given = [i for i in self.lower if i not in self.columns]
        used = {arg for _, args in work.program.instructions for arg in args}
        used.update(work.stored.values())
        given += [ref.index for ref in self._direct if ref not in used]
        own = [
            *work.values(given),
            *(f"store_{work.compute.name}({kept}, j, {ref})" for ref, kept in self._kept.items()),
            *work.stores(),
        ]
        return [*lines, "for j in range(count):", *indented(4, own)] if own else lines

    def _adding(self, number: int, target: str, what: str) -> str:
        """The line that adds a part up, or takes the largest of it."""
        name, _, refs = self._reductions[number]
        if len(refs) > 1:
            name = "products"
            if what == "part" and refs[0] == refs[1]:
                name, refs = "squares", refs[:1]
        kept = ", ".join({**self._kept, **self._direct}[ref] for ref in refs)
        return f"{name}_of_{what}_{self._work.compute.name}({target}, {kept}, count)"


def room_text(texts: Sequence[RowText]) -> list[str]:
    """The lines that make what functions of rows call `kept` and `lanes`."""
    kept, lanes = (max(sizes) for sizes in zip(*(text.room for text in texts), strict=True))
    return [
        *(f"kept{n} = room_of_part()" for n in range(kept)),
        *(f"lanes{n} = room_of_lanes()" for n in range(lanes)),
    ]
