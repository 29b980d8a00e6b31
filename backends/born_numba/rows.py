"""The text of a function that takes a row of a tensor through a pass.

It computes a part of the row, keeps what is to be reduced of it, then adds that up: so the compiler
finds two simple loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from born.backend.lanes import LANES
from born.backend.update import element_dtype
from born.fusion import ARRAY, Program, Ref
from born.fusion.program import COLUMNS, REDUCTIONS, ROWS
from born.fusion.stages import Pass
from born_numba import update
from born_numba.compiler import embedded
from born_numba.update import LOADS, STORES, instruction_text

_TURNS: Final = 4  # through the lanes at once, so that each lane is read and written once for all
PART: Final = _TURNS * LANES  # elements of a row at a time: those kept stay in the first cache

NAMES: Final[dict[str, Any]] = {"LANES": LANES, "PART": PART, "embedded": embedded}
"""What the texts call by name."""

Reduced: TypeAlias = tuple[tuple[str, int | None, tuple[Ref, ...]], ...]
"""Of each reduction its operation, its axis and its operands."""


def reduced(program: Program, work: Pass) -> Reduced:
    """What a pass of a program reduces."""
    return tuple(
        (*REDUCTIONS[program.instructions[number].op], refs) for number, refs in work.reductions
    )


class RowText:
    """A function of the addresses of a tensor's arrays, the scalars and where the row begins.

    Args:
        program: of the pass.
        dtypes: of its arrays.
        reductions: what is added up, or the largest of.
        name: of the function.

    Attributes:
        elements: the arrays of elements that it reads or writes.
        lower: those of rows and columns.
        rows: the numbers of the reductions of which it returns the result of the row, in order.
        cells: of those that it adds to what there is of a column.
        arguments: the names of what it is given. Besides `at2`, the address of array 2: `a3`, the
            number that array 3 has for the row; `at_sum0`, where sums of columns are; `s1`, a
            scalar; `base` and `length`, the row's first element and how many it has; `across` and
            `cell`, the same for arrays and sums of columns; `kept0` and `lanes0`, room for a part
            and for the lanes of a sum.
    """

    def __init__(
        self,
        program: Program,
        dtypes: tuple[np.dtype[Any], ...],
        reductions: Reduced,
        name: str = "of_row",
    ) -> None:
        self._program, self._dtypes, self._reductions = program, dtypes, reductions
        self.name = name
        pairs = zip(program.targets, program.outputs, strict=True)
        self._stored = {index: ref for index, ref in pairs if ref != Ref(ARRAY, index)}
        operands = list(dict.fromkeys(ref for _, _, refs in reductions for ref in refs))
        self._read = {ref.index for ref in (*program.last_use(), *operands) if ref.kind == ARRAY}
        self._arrays = {index: f"{letter}_{index}" for index, letter in enumerate(program.arrays)}
        # What only lies in memory is kept, too: lanes go through it in an order in which memory
        # gives it half as fast.
        self._kept = {ref: f"kept{n}" for n, ref in enumerate(operands)}
        ranks = [program.rank(index) for index in range(len(dtypes))]
        self.lower = [i for i, rank in enumerate(ranks) if rank in (ROWS, COLUMNS)]
        self.elements = [
            i
            for i in range(len(dtypes))
            if i not in self.lower and i in {*self._read, *self._stored}
        ]
        self.rows = [k for k, (_, axis, _) in enumerate(reductions) if axis != -2]
        self.cells = [k for k, (_, axis, _) in enumerate(reductions) if axis == -2]
        self.room = len(self._kept), len(self.rows)
        self.arguments = [
            *(f"at{i}" for i in self.elements),
            *(f"a{i}" if ranks[i] == ROWS else f"at{i}" for i in self.lower),
            *(f"at_sum{k}" for k in self.cells),
            *(f"s{number}" for number in range(program.scalars)),
            *("base", "length", "across", "cell"),
            *(f"kept{n}" for n in range(len(self._kept))),
            *(f"lanes{n}" for n in range(len(self.rows))),
        ]

    @property
    def source(self) -> str:
        """The text."""
        part = "PART" if self._kept else "length"
        lines = [
            f"# {self._program.name}, computes in "
            f"{element_dtype(self._program, self._dtypes).name}",
            "@embedded",
            f"def {self.name}({', '.join(self.arguments)}):",
        ]
        for n, k in enumerate(self.rows):
            start = "0.0" if self._reductions[k][0] == "sum" else "-np.inf"
            lines.append(f"    lanes{n}[:] = {start}")
        lines += [
            f"    for first in range(0, length, {part}):",
            f"        count = min({part}, length - first)",
            "        start = np.uint64(base + first)",
            *(f"        {line}" for line in (*self._views(), *self._computing())),
            *(f"        {line}" for line in self._adding()),
            *(f"    {line}" for line in self._halving()),
        ]
        results = "".join(f"lanes{n}[0], " for n in range(len(self.rows)))
        return "\n".join([*lines, f"    return ({results})" if results else "    return"]) + "\n"

    def _views(self) -> list[str]:
        """The arrays of a part, which begin where it does: a place counted from there is not
        negative, which the compiler would otherwise ask of each element."""
        lines: list[str] = []
        for index in self.elements:
            dtype = self._dtypes[index]
            element = "uint16" if dtype.itemsize == 2 else dtype.name
            address = f"at{index} + start * np.uint64({dtype.itemsize})"
            lines.append(_view(self._arrays[index], address, element))
        for index in self.lower:
            if self._program.rank(index) == COLUMNS:
                address = f"at{index} + np.uint64(8) * np.uint64(across + first)"
                lines.append(_view(self._arrays[index], address, "float64"))
        for k in self.cells:
            address = f"at_sum{k} + np.uint64(8) * np.uint64(cell + first)"
            lines.append(_view(f"sum{k}", address, "float64"))
        return lines

    def _computing(self) -> list[str]:
        """The loop that computes what is stored and what is kept."""
        program, dtypes = self._program, self._dtypes
        lines = update.numbering(program, 0)
        for index in self.elements:
            if index in self._read:
                load = LOADS.get(dtypes[index].name, "{}[j]").format(self._arrays[index])
                lines.append(f"a{index} = real({load})")
        lines += [
            f"a{i} = real({self._arrays[i]}[j])" for i in self.lower if program.rank(i) == COLUMNS
        ]
        for number, (op, args) in enumerate(program.instructions):
            lines.append(f"r{number} = {instruction_text(op, args)}")
        lines += [f"{kept}[j] = {ref}" for ref, kept in self._kept.items()]
        for index, ref in self._stored.items():
            value = STORES.get(dtypes[index].name, "{}").format(ref)
            lines.append(f"{self._arrays[index]}[j] = {value}")
        return ["for j in range(count):", *(f"    {line}" for line in lines)] if lines else []

    def _adding(self) -> list[str]:
        """The loops that add up what a part has left."""
        lines: list[str] = []
        for lanes, k in enumerate(self.rows):
            names = dict.fromkeys(self._kept[ref] for ref in self._reductions[k][2])
            own = f"lanes{lanes}[lane]"
            lines += ["if count == PART:"]
            lines += [
                f"    {name}_{turn} = {name}[{turn} * LANES : {turn + 1} * LANES]"
                for name in names
                for turn in range(_TURNS)
            ]
            lines += ["    for lane in range(LANES):", f"        x = {own}"]
            lines += [f"        {self._added(k, 'x', f'_{n}[lane]')}" for n in range(_TURNS)]
            lines += [
                f"        {own} = x",
                "else:",
                "    for turn in range(0, count, LANES):",
                "        width = min(LANES, count - turn)",
                *(f"        {name}_0 = {name}[turn : turn + width]" for name in names),
                "        for lane in range(width):",
                f"            {self._added(k, own, '_0[lane]')}",
            ]
        for k in self.cells:
            added = self._added(k, f"sum{k}[j]", "[j]")
            lines += ["for j in range(count):", f"    {added}"]
        return lines

    def _halving(self) -> list[str]:
        """The lines that add up the lanes of a row."""
        lines: list[str] = []
        for n, k in enumerate(self.rows):
            a, b = f"lanes{n}[lane]", "upper[lane]"
            joined = f"{a} + {b}"
            if self._reductions[k][0] == "max":
                joined = f"{a} if {a} > {b} or {a} != {a} else {b}"
            lines += [
                "half = LANES // 2",
                "while half:",
                f"    upper = lanes{n}[half : 2 * half]",
                "    for lane in range(half):",
                f"        {a} = {joined}",
                "    half //= 2",
            ]
        return lines

    def _added(self, number: int, target: str, place: str) -> str:
        """The text that adds an element to a sum, or takes the larger."""
        name, _, refs = self._reductions[number]
        factors = [f"np.float64({self._kept[ref]}{place})" for ref in refs]
        if name == "sum":
            return f"{target} += {' * '.join(factors)}"
        (x,) = factors
        return f"{target} = {x} if {x} > {target} or {x} != {x} else {target}"


def room_text(texts: Sequence[RowText]) -> list[str]:
    """The lines that make what functions of rows call `kept` and `lanes`."""
    kept, lanes = (max(sizes) for sizes in zip(*(text.room for text in texts), strict=True))
    return [
        *(f"kept{n} = np.empty(PART, real)" for n in range(kept)),
        *(f"lanes{n} = np.empty(LANES, np.float64)" for n in range(lanes)),
    ]


def _view(name: str, address: str, element: str) -> str:
    return f"{name} = carray(pointer({address}), (count,), np.{element})"
