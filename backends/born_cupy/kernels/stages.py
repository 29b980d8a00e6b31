"""Kernels of rules of several stages: passes over elements, and what lies between them.

A table has a column for each tensor. What is of lower rank than element has a place in memory for
each tensor, as doubles; the table knows where. Sums are added up in the order of
`born.backend.lanes`: a thread is a lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
from typing_extensions import override

from born.backend.lanes import LANES, Layout, goes_by_rows
from born.backend.update import element_dtype
from born.fusion import (
    ARRAY,
    RESULT,
    SCALAR,
    VALUE,
    GroupProgram,
    Program,
    Ref,
)
from born.fusion.program import (
    COLUMNS,
    ELEMENT,
    MATRIX,
    REDUCTIONS,
    ROWS,
    TENSOR,
    TOTAL,
    join,
    matrix_function,
    orthogonalization,
)
from born.fusion.stages import ZERO, Pass, Stages
from born_cupy.kernels.matrices import OrthogonalKernels
from born_cupy.kernels.source import THREADS, Source, ctype, head
from born_cupy.kernels.sums import BLOCK_SUMS, LEAST
from born_cupy.kernels.table import FIND, LOCATE, PARAMETERS, TABLE
from born_cupy.kernels.update import CHUNK, UpdateWriter, expression, indented

FLAT: Final = "flat"
STRIPS: Final = "strips"
WHOLE: Final = "whole"
CELLS: Final = "cells"
COLUMN: Final = "column"
"""How a tensor is dealt out in pieces: by chunks of elements; by some rows, long ones in strips;
by whole rows, which a block adds up; by strips of a block of rows, whose columns it adds up; and by
columns, a thread each, which adds up those sums."""

_AHEAD: Final = 4
"""Elements that a thread loads before it computes with the first: so many have to be on their way
that memory is kept busy."""

_SMALL_THREADS: Final = 1_024
"""Threads of a block that goes through the rows and columns of a tensor."""


def count_pieces(kind: str, where: Layout, size: int) -> int:
    """How many pieces a tensor has."""
    if kind == FLAT:
        return -(-size // CHUNK)
    rows, columns = where.matrices * where.rows, where.columns
    if kind == CELLS:
        return where.matrices * where.blocks * -(-columns // LANES)
    if kind == COLUMN:
        return -(-where.matrices * columns // LANES)
    groups = -(-rows // max(CHUNK // max(columns, 1), 1))
    return groups if kind == WHOLE else groups * -(-columns // CHUNK)


def deal(program: Program, work: Pass) -> list[str]:
    """How tensors are dealt out in each launch of a pass."""
    axes = [REDUCTIONS[program.instructions[place].op][1] for place, _ in work.reductions]
    pairs = zip(work.program.targets, work.program.outputs, strict=True)
    stores = any(ref != Ref(ARRAY, index) for index, ref in pairs)
    # Sums of columns come before anything that they read is overwritten.
    kinds = [CELLS, COLUMN] if -2 in axes else []
    if stores or any(axis != -2 for axis in axes):
        if not axes and not goes_by_rows(program):
            kinds.append(FLAT)
        else:
            kinds.append(STRIPS if all(axis == -2 for axis in axes) else WHOLE)
    return kinds


class Places:
    """The rows of the table.

    Attributes:
        own: how many arrays of elements a tensor has; the first rows.
        slots: of each slot of lower rank that something reads or that is written, its row.
        elements: of each operand and result of a matrix function.
        known: of each value of lower rank that is kept.
        partial: of what each reduction gives of rows, or of blocks of columns.
        first: the row of the first number: those of `NUMBERS` follow each other.
        count: how many rows there are. Behind them lie, for each of `kinds`, the pieces before
            each tensor and in all, and then the sets of scalars.
        kinds: the ways in which tensors are dealt out.
        scalars: the text of where the scalars of tensor i are.
    """

    NUMBERS = ("size", "set", "matrices", "height", "columns", "block", "blocks")

    def __init__(self, program: Program, stages: Stages, ranks: dict[Ref, str]) -> None:
        own = [i for i in range(len(program.arrays)) if program.rank(i) == ELEMENT]
        pairs = list(zip(program.targets, program.outputs, strict=True))
        used = {arg for _, args in program.instructions for arg in args}
        used |= {ref for i, ref in pairs if ref != Ref(ARRAY, i)}
        written = {i for i, ref in pairs if ref != Ref(ARRAY, i)}
        lower = [i for i in range(len(program.arrays)) if program.rank(i) != ELEMENT]
        self.own = len(own)
        rows = iter(range(self.own, 1_000_000))
        self.read = [i for i in lower if Ref(ARRAY, i) in used]
        self.slots = {i: next(rows) for i in lower if i in self.read or i in written}
        self.elements: dict[Ref, int] = {}
        self.known = {Ref(ARRAY, i): next(rows) for i in self.read}
        self.partial: dict[int, int] = {}
        for stage in stages.stages:
            self.known |= {Ref(RESULT, place): next(rows) for place in stage.small}
            if stage.work is not None:
                self.elements |= {ref: next(rows) for ref in stage.work.scratch}
                for place, _ in stage.work.reductions:
                    _, axis = REDUCTIONS[program.instructions[place].op]
                    self.known[Ref(RESULT, place)] = row = next(rows)
                    self.partial[place] = row if axis == -1 else next(rows)
            self.elements |= {Ref(RESULT, place): next(rows) for place in stage.matrices}
        self.first = next(rows)
        self.count = self.first + len(self.NUMBERS)
        self.ranks = ranks
        works = [stage.work for stage in stages.stages if stage.work is not None]
        self.kinds = list(dict.fromkeys(k for work in works for k in deal(program, work)))
        behind = f"{self.count} * tensors + {len(self.kinds)} * (tensors + 1)"
        self.scalars = (
            f"(const double *)(table + {behind}) + {program.scalars} * {self.number('set')}"
        )

    def chunks(self, kind: str) -> str:
        """The text of where the pieces before each tensor are, of one way to deal tensors out."""
        return f"table + {self.count} * tensors + {self.kinds.index(kind)} * (tensors + 1)"

    def number(self, name: str) -> str:
        """The text of a number of tensor i."""
        return f"(i64)table[{self.first + self.NUMBERS.index(name)} * tensors + i]"

    def value(self, ref: Ref) -> str:
        """The text of a value that is one number for a tensor."""
        if ref == ZERO:
            return "0.0"
        if ref.kind == SCALAR:
            return f"s[{ref.index}]"
        if ref.kind == VALUE:
            return f"values[{ref.index}]"
        return f"*{self.memory(ref)}"

    def memory(self, ref: Ref) -> str:
        """The text of where a value is kept."""
        return f"((double *)table[{self.known[ref]} * tensors + i])"


class StageKernels:
    """The kernels of a staged program.

    Attributes:
        small: for each stage, what is computed before its pass, if there is anything.
        threads: how many those of one block for a tensor take.
        ends: for each stage that ends a round, what its reductions give.
        passes: for each stage, its launches: how tensors are dealt out, and a kernel.
        orthogonal: of each instruction that orthogonalizes, its kernels.
    """

    def __init__(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> None:
        self.program = program
        self.dtypes = dtypes
        self.compute = element_dtype(program, dtypes)
        self.by_rows = goes_by_rows(program)
        self.threads = _SMALL_THREADS if self.by_rows else THREADS
        self.stages = Stages(program, dtypes, self.compute)
        self.places = Places(program, self.stages, program.all_ranks())
        count = len(self.stages.stages)
        # Where a round ends, its totals are wanted before the next stage begins.
        self._rounds = set(self.stages.starts[1:])
        self.small = [self._between(number, f"between_{number + 1}") for number in range(count)]
        self.ends = [
            self._block(f"end_{number + 1}", _SmallWriter(self, number).closing())
            if number + 1 in self._rounds
            else None
            for number in range(count)
        ]
        self.passes = [
            [] if stage.work is None else self._passes(number, stage.work)
            for number, stage in enumerate(self.stages.stages)
        ]
        self.orthogonal = {
            place: OrthogonalKernels(
                place,
                *orthogonalization(op),
                self.compute,
                [self.places.value(arg) for arg in args[1:]],
                self.places.scalars,
            )
            for place, (op, args) in enumerate(program.instructions)
            if matrix_function(op) == "orthogonalize"
        }

    @property
    def sources(self) -> list[Source]:
        """All of them."""
        launched = [source for stage in self.passes for _, source in stage]
        launched += [each for kernels in self.orthogonal.values() for each in kernels.sources]
        return [*(source for source in (*self.small, *self.ends) if source), *launched]

    def _passes(self, number: int, work: Pass) -> list[tuple[str, Source]]:
        writers = {
            FLAT: _FlatWriter,
            STRIPS: _RowsWriter,
            WHOLE: _RowsWriter,
            CELLS: _CellsWriter,
            COLUMN: _ColumnWriter,
        }
        return [
            (kind, writers[kind](self, number, work, kind).source())
            for kind in deal(self.program, work)
        ]

    def _between(self, number: int, name: str) -> Source | None:
        before: list[_Statement] = []
        if number and number not in self._rounds:
            before = _SmallWriter(self, number - 1).closing()
        return self._block(name, [*before, *_SmallWriter(self, number).lines()])

    def _block(self, name: str, statements: Sequence[_Statement]) -> Source | None:
        """What one block does for a tensor, a barrier behind each loop or sum."""
        if not statements:
            return None
        lines: list[str] = []
        for rank, own in groupby(statements, lambda statement: statement.rank):
            texts = [statement.text for statement in own]
            if rank is not None:
                texts = [" ".join((f"for ({_EACH.format(_COUNTS[rank])}) {{", *texts, "}"))]
            lines += [line for text in texts for line in (text, "__syncthreads();")]
        text = f"""\
typedef double real;

{BLOCK_SUMS}

{head(name, PARAMETERS, self.threads)} {{
    {FIND}
    for (i64 i = blockIdx.x; i < tensors; i += gridDim.x) {{
        const double *s = {self.places.scalars};
        const i64 matrices = {self.places.number("matrices")};
        const i64 height = {self.places.number("height")};
        const i64 columns = {self.places.number("columns")};
{indented(8, lines)}
    }}
}}
"""
        return Source(name, text, exact=True)


class _Statement(NamedTuple):
    """What is computed of element e of a rank, by any thread; or, of no rank, by all of a block."""

    rank: str | None
    text: str


_EACH: Final = "i64 e = threadIdx.x; e < {}; e += blockDim.x"

_COUNTS: Final = {
    TENSOR: "1",
    MATRIX: "matrices",
    ROWS: "matrices * height",
    COLUMNS: "matrices * columns",
}
"""Rank -> how many values of it a tensor has."""

_INDICES: Final = {
    (ROWS, MATRIX): "e / height",
    (COLUMNS, MATRIX): "e / columns",
}
"""Rank of a result, rank of an argument -> where the argument is; elsewhere alike, or single."""


class _SmallWriter:
    """What is computed for a tensor between two passes, by one block."""

    def __init__(self, kernels: StageKernels, number: int) -> None:
        self.kernels = kernels
        self.places = kernels.places
        self.program = kernels.program
        self.number = number
        self._rank: str | None = None
        self._own: set[Ref] = set()

    def lines(self) -> list[_Statement]:
        """What comes before the pass of the stage."""
        kernels, places = self.kernels, self.places
        stage = kernels.stages.stages[self.number]
        lines: list[_Statement] = []
        if self.number == 0:
            lines += [self._copied(index) for index in places.read]
        lines += [self._computed(place) for place in stage.small]
        if self.number == len(kernels.stages.stages) - 1:
            pairs = zip(self.program.targets, self.program.outputs, strict=True)
            lines += [
                self._stored(index, ref)
                for index, ref in pairs
                if index in places.slots and ref != Ref(ARRAY, index)
            ]
        return lines

    def closing(self) -> list[_Statement]:
        """What the reductions of the stage's pass give."""
        work = self.kernels.stages.stages[self.number].work
        lines = [self._closed(place) for place, _ in (work.reductions if work else ())]
        return [line for line in lines if line is not None]

    def _each(self, rank: str) -> None:
        """Go on in a loop over a rank, in which a thread has at hand what it has computed."""
        if rank != self._rank:
            self._rank = rank
            self._own.clear()

    def _kept(self, ref: Ref, value: str) -> _Statement:
        """Element e of a value, computed and kept."""
        rank = self.places.ranks[ref]
        self._own.add(ref)
        text = f"const double own_{ref} = {value}; {self.places.memory(ref)}[e] = own_{ref};"
        return _Statement(rank, text)

    def _copied(self, index: int) -> _Statement:
        """A slot of lower rank, as doubles: others may read it after it is written."""
        self._each(self.program.rank(index))
        return self._kept(Ref(ARRAY, index), f"as<double>({self._slot(index)}[e])")

    def _slot(self, index: int) -> str:
        kind = ctype(self.kernels.dtypes[index])
        return f"(({kind} *)table[{self.places.slots[index]} * tensors + i])"

    def _stored(self, index: int, ref: Ref) -> _Statement:
        rank = self.program.rank(index)
        self._each(rank)
        value = self._argument(ref, rank)
        return _Statement(rank, f"put({self._slot(index)}[e], (double)({value}));")

    def _argument(self, ref: Ref, rank: str) -> str:
        """The value that goes into element e of a result of some rank."""
        if ref in self._own:
            return f"own_{ref}"
        if ref.kind in (SCALAR, VALUE):
            return self.places.value(ref)
        own = self.places.ranks[ref]
        index = "e" if own == rank else _INDICES.get((rank, own), "0")
        return f"{self.places.memory(ref)}[{index}]"

    def _closed(self, place: int) -> _Statement | None:
        """What a reduction of all elements gives, from its rows."""
        name, axis = REDUCTIONS[self.program.instructions[place].op]
        if axis is not None:
            return None  # passes have seen to rows and columns
        to = self.places.memory(Ref(RESULT, place))
        parts = f"((const double *)table[{self.places.partial[place]} * tensors + i])"
        return _Statement(
            None,
            f"{{ const double x = {name}_of({parts}, matrices * height); "
            f"if (threadIdx.x == 0) *{to} = x; }}",
        )

    def _computed(self, place: int) -> _Statement:
        op, args = self.program.instructions[place]
        ref = Ref(RESULT, place)
        rank = self.places.ranks[ref]
        if op not in REDUCTIONS:
            self._each(rank)
            texts = [f"({self._argument(arg, rank)})" for arg in args]
            return self._kept(ref, expression(op, texts, double=True))
        self._rank = None
        self._own.clear()
        name, axis = REDUCTIONS[op]
        given = join(*(self.places.ranks[arg] for arg in args))
        factors = " * ".join(self._argument(arg, given) for arg in args)
        count = _COUNTS[given]
        start = "0" if name == "sum" else LEAST
        added = f"x += {factors}" if name == "sum" else f"x = larger({factors}, x)"
        of_matrix = "matrices" if axis is not None else "1"
        return _Statement(
            None,
            f"for (i64 m = 0; m < {of_matrix}; ++m) {{ "
            f"const i64 n = ({count}) / {of_matrix}; double x = {start}; "
            f"for (i64 k = threadIdx.x < {LANES} ? threadIdx.x : n; k < n; k += {LANES}) "
            f"{{ const i64 e = m * n + k; {added}; }} "
            f"x = block_{name}(x); if (threadIdx.x == 0) {self.places.memory(ref)}[m] = x; }}",
        )


class _PassWriter(UpdateWriter):
    """What the kernels of a pass have in common."""

    def __init__(self, kernels: StageKernels, number: int, work: Pass, kind: str) -> None:
        self.kernels = kernels
        self.places = kernels.places
        self.work = work
        self.kind = kind
        self.name = f"pass_{number + 1}"
        self.refs = [*[None] * kernels.places.own, *work.inputs, *work.scratch]
        super().__init__(work.program, work.dtypes)
        operands = {ref for _, refs in work.reductions for ref in refs}
        wanted = {ref.index for ref in operands if ref.kind == ARRAY}
        self.read |= wanted
        for index in sorted(wanted):
            self.arrays.setdefault(index, ctype(work.dtypes[index]))
        self.arrays = dict(sorted(self.arrays.items()))
        self.lower = [i for i in self.arrays if work.program.rank(i) != ELEMENT]

    def row(self, index: int) -> int:
        """Where the table has the address of an array."""
        ref = self.refs[index]
        if ref is None:
            return index
        return self.places.known[ref] if index in self.lower else self.places.elements[ref]

    @override
    def setup(self) -> list[str]:
        lines = [f"const double *s = {self.places.scalars};"]
        lines += [
            f"const real s{k} = (real)({self.places.value(ref)});"
            for k, ref in enumerate(self.work.scalars)
        ]
        for index, kind in self.arrays.items():
            element = f"{'' if index in self.stored else 'const '}{kind}"
            address = f"table[{self.row(index)} * tensors + i]"
            lines.append(f"{element} *x{index} = ({element} *){address};")
        return lines

    def _of_row(self, index: int) -> str | None:
        """Where the value of a row is among those of an array; None if each column has its own."""
        ref = self.refs[index]
        rank = ROWS if ref is None else self.places.ranks[ref]
        return {ROWS: "row", MATRIX: "row / height"}.get(rank)

    def of_rows(self) -> list[str]:
        """What is alike for all elements of a row."""
        own = [(i, self._of_row(i)) for i in self.lower if i in self.read]
        return [f"const real a{i} = as<real>(x{i}[{at}]);" for i, at in own if at is not None]

    def calculation(self, stores: bool, ahead: str) -> list[str]:
        """One element, at `at`, that has been loaded with the others of number `ahead`."""
        lines = [f"const real a{i} = as<real>(y{i}[{ahead}]);" for i in self._loaded()]
        lines += self.instructions()
        if stores:
            lines += [f"put(x{index}[at], {ref});" for index, ref in self.stored.items()]
        return lines

    def _loaded(self) -> list[int]:
        return [
            i
            for i in self.arrays
            if i in self.read and (i not in self.lower or self._of_row(i) is None)
        ]

    def loads(self, ahead: str) -> list[str]:
        """What is loaded for element `at` of column `column`."""
        below = "row / height * columns + column"
        return [
            f"y{i}[{ahead}] = x{i}[{below if i in self.lower else 'at'}];" for i in self._loaded()
        ]

    def ahead(self, count: int, at: Sequence[str], body: Sequence[str]) -> list[str]:
        """Some elements, all loaded before the first is computed with; `u` counts them."""
        unrolled = ["#pragma unroll", f"for (int u = 0; u < {count}; ++u) {{"]
        loads = self.loads("u")
        lines = [f"{self.arrays[i]} y{i}[{count}];" for i in self._loaded()]
        if loads:
            lines += [*unrolled, *(f"    {line}" for line in (*at, *loads)), "}"]
        return [*lines, *unrolled, *(f"    {line}" for line in (*at, *body)), "}"]

    def added(self, place: int, refs: Sequence[Ref], target: str) -> str:
        """An element goes into a sum, or into the largest."""
        name, _ = REDUCTIONS[self.kernels.program.instructions[place].op]
        factors = " * ".join(f"(double){ref}" for ref in refs)
        return (
            f"{target} += {factors};"
            if name == "sum"
            else f"{target} = larger({factors}, {target});"
        )

    def start(self, place: int) -> str:
        name, _ = REDUCTIONS[self.kernels.program.instructions[place].op]
        return "0" if name == "sum" else LEAST

    def source(self) -> Source:
        """The kernel."""
        raise NotImplementedError

    def whole(self, body: Sequence[str]) -> Source:
        """The kernel of a body for each piece of tensor i."""
        text = f"""\
typedef {ctype(self.real)} real;

{LOCATE}

{BLOCK_SUMS}

{head(self.name, PARAMETERS)} {{
    {FIND}
    const u64 *first = {self.places.chunks(self.kind)};
    const i64 pieces = (i64)first[tensors];
    for (i64 c = blockIdx.x; c < pieces; c += gridDim.x) {{
        const i64 i = locate(first, tensors, c);
        const i64 piece = c - (i64)first[i];
        const i64 size = {self.places.number("size")};
        const i64 height = {self.places.number("height")};
        const i64 columns = {self.places.number("columns")};
{indented(8, [*self.setup(), *body])}
    }}
}}
"""
        return Source(self.name, text, exact=True)


class _FlatWriter(_PassWriter):
    """A pass over elements alone, by vectors."""

    @override
    def source(self) -> Source:
        shifted = [f"x{index} += start;" for index in self.arrays]
        body = self.loops()
        text = f"""\
{self.preamble()}

{LOCATE}

{head(self.name, PARAMETERS)} {{
    {FIND}
    const u64 *first = {self.places.chunks(self.kind)};
    const i64 chunks = (i64)first[tensors];
    for (i64 c = blockIdx.x; c < chunks; c += gridDim.x) {{
        const i64 i = locate(first, tensors, c);
        const i64 start = (c - (i64)first[i]) * {CHUNK};
        const i64 rest = {self.places.number("size")} - start;
        const i64 n = rest < {CHUNK} ? rest : {CHUNK};
{indented(8, [*self.setup(), *shifted])}
{body}
    }}
}}
"""
        return Source(self.name, text, exact=True)


class _RowsWriter(_PassWriter):
    """A pass row by row, with the sums of rows."""

    @override
    def source(self) -> Source:
        reductions = [
            (place, refs)
            for place, refs in self.work.reductions
            if REDUCTIONS[self.kernels.program.instructions[place].op][1] != -2
        ]
        strips = f"(columns + {CHUNK - 1}) / {CHUNK}" if self.kind == STRIPS else "1"
        loop = [
            *self.calculation(stores=True, ahead="u"),
            *(self.added(place, refs, f"t{place}") for place, refs in reductions),
        ]
        at = [
            f"const i64 column = j + u * {THREADS};",
            "const i64 at = row * columns + column;",
        ]
        ends: list[str] = []
        for place, _ in reductions:
            name, _ = REDUCTIONS[self.kernels.program.instructions[place].op]
            parts = f"((double *)table[{self.places.partial[place]} * tensors + i])"
            ends += [
                f"t{place} = block_{name}(t{place});",
                f"if (threadIdx.x == 0) {parts}[row] = t{place};",
            ]
        body = [
            f"const i64 rows = {self.places.number('matrices')} * height;",
            f"const i64 strips = {strips};",
            f"const i64 most = !columns ? {CHUNK} : columns > {CHUNK} ? 1 : {CHUNK} / columns;",
            "const i64 top = piece / strips * most;",
            "const i64 bottom = top + most < rows ? top + most : rows;",
            f"const i64 left = piece % strips * {CHUNK}, beyond = left + {CHUNK};",
            "const i64 right = strips == 1 || beyond > columns ? columns : beyond;",
            "for (i64 row = top; row < bottom; ++row) {",
            "    const i64 rest = size - row * columns;",
            "    const i64 end = rest < right ? rest : right;",
            *(f"    double t{place} = {self.start(place)};" for place, _ in reductions),
            *(f"    {line}" for line in self.of_rows()),
            "    i64 j = left + threadIdx.x;",
            f"    for (; j + {(_AHEAD - 1) * THREADS} < end; j += {_AHEAD * THREADS}) {{",
            *(f"        {line}" for line in self.ahead(_AHEAD, at, loop)),
            "    }",
            f"    for (; j < end; j += {THREADS}) {{",
            *(f"        {line}" for line in self.ahead(1, at, loop)),
            "    }",
            *(f"    {line}" for line in ends),
            "}",
        ]
        return self.whole(body)


class _CellsWriter(_PassWriter):
    """The sums of the columns of a pass, in blocks of rows."""

    @override
    def source(self) -> Source:
        self.name = f"columns_of_{self.name}"
        self.stored = {}
        reductions = [
            (place, refs)
            for place, refs in self.work.reductions
            if REDUCTIONS[self.kernels.program.instructions[place].op][1] == -2
        ]
        loop = [
            *self.of_rows(),
            *self.calculation(stores=False, ahead="u"),
            *(self.added(place, refs, f"t{place}") for place, refs in reductions),
        ]
        at = ["const i64 row = top + u;", "const i64 at = row * columns + column;"]
        body = [
            f"const i64 block = {self.places.number('block')};",
            f"const i64 blocks = {self.places.number('blocks')};",
            f"const i64 strips = (columns + {LANES - 1}) / {LANES};",
            "const i64 part = piece / strips;  // of a matrix of rows",
            f"const i64 column = piece % strips * {LANES} + threadIdx.x;",
            "const i64 rest = height - part % blocks * block;",
            "i64 top = part / blocks * height + part % blocks * block;",
            "const i64 bottom = top + (rest < block ? rest : block);",
            *(f"double t{place} = {self.start(place)};" for place, _ in reductions),
            "if (column < columns) {",
            f"    for (; top + {2 * _AHEAD - 1} < bottom; top += {2 * _AHEAD}) {{",
            *(f"        {line}" for line in self.ahead(2 * _AHEAD, at, loop)),
            "    }",
            "    for (; top < bottom; ++top) {",
            *(f"        {line}" for line in self.ahead(1, at, loop)),
            "    }",
            *(
                f"    ((double *)table[{self.places.partial[place]} * tensors + i])"
                f"[part * columns + column] = t{place};"
                for place, _ in reductions
            ),
            "}",
        ]
        return self.whole(body)


class _ColumnWriter(_PassWriter):
    """The sums of columns, from those of their blocks of rows."""

    @override
    def setup(self) -> list[str]:
        return []

    @override
    def source(self) -> Source:
        self.name = f"sums_of_columns_of_{self.name}"
        body = [
            f"const i64 blocks = {self.places.number('blocks')};",
            f"const i64 e = piece * {THREADS} + threadIdx.x;",
            f"if (e >= {self.places.number('matrices')} * columns) continue;",
            "const i64 top = e / columns * blocks * columns + e % columns;",
        ]
        for place, _ in self.work.reductions:
            name, axis = REDUCTIONS[self.kernels.program.instructions[place].op]
            if axis != -2:
                continue
            parts = f"((const double *)table[{self.places.partial[place]} * tensors + i])"
            part = f"{parts}[top + b * columns]"
            added = (
                f"t{place} += {part}" if name == "sum" else f"t{place} = larger({part}, t{place})"
            )
            body += [
                f"double t{place} = {self.start(place)};",
                "#pragma unroll 8",
                f"for (i64 b = 0; b < blocks; ++b) {added};",
                f"{self.places.memory(Ref(RESULT, place))}[e] = t{place};",
            ]
        return self.whole(body)


@cache
def totals() -> Source:
    """The sum of a value of each tensor, from the addresses of these values in a table."""
    text = f"""{BLOCK_SUMS}

{head("totals", f"{TABLE}, i64 start, double *sum")} {{
    {FIND}
    double x = 0;
    for (i64 i = threadIdx.x; i < tensors; i += {LANES})
        x += *(const double *)table[start + i];
    x = block_sum(x);
    if (threadIdx.x == 0) *sum = x;
}}
"""
    return Source("totals", text, exact=True)


class GroupKernels:
    """The kernels of a group's program: one for each round that computes something.

    Each is given memory for what rounds hand on, the totals of the last one, the values, the
    slots and the scalars. The last writes the slots.

    Attributes:
        places: where each total and result is among the doubles that rounds hand on.
        rounds: the kernels.
    """

    def __init__(self, program: GroupProgram) -> None:
        refs = [
            *(Ref(TOTAL, i) for i in range(program.totals)),
            *(Ref(RESULT, i) for i in range(len(program.instructions))),
        ]
        self.program = program
        self.places = {ref: place for place, ref in enumerate(refs)}
        slots = [f"double *slot{i}" for i in range(len(program.slots))]
        scalars = [f"double s{i}" for i in range(program.scalars)]
        given = ["double *known", "const double *totals", "double *values"]
        self._parameters = ", ".join([*given, *slots, *scalars])
        self.rounds = [self._round(number) for number in range(program.rounds + 1)]

    def _text(self, ref: Ref) -> str:
        if ref.kind == ARRAY:
            return f"*slot{ref.index}"
        return f"s{ref.index}" if ref.kind == SCALAR else f"known[{self.places[ref]}]"

    def _round(self, number: int) -> Source | None:
        program = self.program
        added, computed = program.schedule[number]
        lines = [f"{self._text(ref)} = totals[{i}];" for i, ref in enumerate(added)]
        for ref, op, args in computed:
            texts = [f"({self._text(arg)})" for arg in args]
            lines.append(f"{self._text(ref)} = {expression(op, texts, double=True)};")
        lines += [
            f"values[{i}] = {self._text(ref)};"
            for i, ref in enumerate(program.values)
            if program.value_rounds[i] == number
        ]
        if number == program.rounds:
            pairs = list(enumerate(program.outputs))
            changed = [(i, ref) for i, ref in pairs if ref != Ref(ARRAY, i)]
            lines += [f"const double new{i} = {self._text(ref)};" for i, ref in changed]
            lines += [f"*slot{i} = new{i};" for i, _ in changed]
        if not lines:
            return None
        name = f"group_{number + 1}"
        text = f"""\
typedef double real;

{head(name, self._parameters, threads=32)} {{
    if (threadIdx.x) return;
{indented(4, lines)}
}}
"""
        return Source(name, text, exact=True)


@cache
def stage_kernels(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> StageKernels:
    """The kernels of a staged program, for arrays of some dtypes."""
    return StageKernels(program, dtypes)


def group_kernels(program: GroupProgram) -> GroupKernels:
    """The kernels of a group's program."""
    found: GroupKernels | None = program.compiled.get(GroupKernels)
    if found is None:
        found = program.compiled[GroupKernels] = GroupKernels(program)
    return found
