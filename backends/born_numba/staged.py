"""Passes of rules of several stages as compiled loops over rows.

A loop computes a part of a row and keeps what is to be reduced of it, then adds that up: so the
compiler finds two simple loops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend import lanes
from born.backend.threads import POOL
from born.backend.update import Scalars, UpdateKernel, element_dtype
from born.fusion import ARRAY, Program, Ref
from born.fusion.program import COLUMNS, REDUCTIONS, ROWS
from born.fusion.stages import Pass
from born.raw import HostArray
from born_numba import update
from born_numba.update import LOADS, SIGNATURE, STORES, NumbaUpdate, compile_text, instruction_text
from born_numpy.staged import PassKernel, StagedUpdate, Tiles, Wave
from born_numpy.update import apart

LANES: Final = lanes.LANES
_PART: Final = 512  # elements of a row at a time: what is kept of them stays in the first cache
_CHUNK: Final = 32_768  # elements that a thread takes at a time, at least
_PARALLEL: Final = 524_288  # elements from which a second thread pays; as for other updates

# What the table of a call holds: the addresses of array objects, then numbers.
_OBJECTS, _CHUNKS, _SCALARS, _SETS, _SIZES, _FIRST, _ROWS, _INPUTS, _CELLS = range(9)
_TOTAL, _HEIGHT, _COLUMNS, _BLOCK, _BLOCKS, _PIECES, _NEXT = range(9, 16)


class StagedLoops(StagedUpdate):
    """A program of several stages whose passes are compiled loops."""

    @override
    def compile_pass(self, work: Pass) -> PassKernel:
        if self.is_elementwise(work) or not update.is_compilable(work.program, work.dtypes):
            return super().compile_pass(work)
        return Loops(self, work)

    @override
    def compile_elementwise(self, work: Pass) -> UpdateKernel:
        if update.is_compilable(work.program, work.dtypes):
            return NumbaUpdate(work.program, work.dtypes)
        return super().compile_elementwise(work)


class Loops(PassKernel):
    """A pass as one compiled loop over the rows of all tensors of a wave."""

    def __init__(self, kernel: StagedUpdate, work: Pass) -> None:
        self._staged = kernel
        self._work = work
        ops = tuple(
            (*REDUCTIONS[kernel.program.instructions[number].op], refs)
            for number, refs in work.reductions
        )
        self._ops = ops
        self.source, self._loop = _loop(work.program, work.dtypes, ops)
        self._tiles: Tiles | None = None

    @override
    def run(self, wave: Wave, scalars: Sequence[Scalars], sets: Sequence[int] | None) -> None:
        arrays = self._arrays(wave)
        if arrays is None:
            if self._tiles is None:
                self._tiles = Tiles(self._staged, self._work)
            self._tiles.run(wave, scalars, sets)
            return
        if not wave.size:
            return
        work = self._work
        chunks, sizes, first = wave.kept(self, self._planned)
        flat = [array for own in arrays for array in own]
        objects = np.fromiter(map(id, flat), np.uint64, len(flat))
        values = np.array(scalars, np.float64, ndmin=2)
        chosen = np.array(sets if sets is not None else [0] * len(sizes), np.int64)
        numbers = [number for number, _ in work.reductions]
        rows = [wave.rows[number] for number in numbers if number in wave.rows]
        cells = [wave.blocks[number] for number in numbers if number in wave.blocks]
        inputs = [wave.input(ref, rank) for ref, rank in zip(work.inputs, work.ranks, strict=True)]
        lists = [np.fromiter(map(id, each), np.uint64, len(each)) for each in (rows, inputs, cells)]
        table = np.zeros(_NEXT + 1, np.uint64)
        table[: _CELLS + 1] = [
            id(array) for array in (objects, chunks, values, chosen, sizes, first, *lists)
        ]
        where = wave.layouts[0]
        table[_TOTAL:_NEXT] = (
            wave.total_rows,
            where.rows if self._staged.by_rows else wave.total_rows + 1,
            where.columns,
            where.block,
            where.blocks,
            len(chunks),
        )
        if wave.size < _PARALLEL:
            self._loop(id(table))
        else:
            POOL.share(partial(self._loop, id(table)))

    def _arrays(self, wave: Wave) -> list[list[HostArray]] | None:
        """The arrays of each tensor, if the loop can go through them."""
        usable = wave.kept(
            partial,
            lambda wave: all(
                _is_usable(raw.array) for raws in wave.raws for raw in (raws[0], *raws[2:])
            ),
        )
        if not usable:
            return None
        arrays: list[list[HostArray]] = []
        for place, (p, g, *slots) in enumerate(wave.raws):
            ours, theirs = p.array, g.array
            if not _is_usable(theirs):
                return None
            if not (ours.flags.owndata and theirs.flags.owndata):
                theirs = apart(theirs, ours)
            own = [ours, theirs, *(slot.array for slot in slots)]
            arrays.append(own + [wave.scratch(ref, place).array for ref in self._work.scratch])
        return arrays

    def _planned(self, wave: Wave) -> tuple[HostArray, HostArray, HostArray]:
        """The chunks of the wave's tensors; their sizes, and the numbers of their first rows."""
        chunks: list[tuple[int, int, int]] = []
        for place, where in enumerate(wave.layouts):
            total = where.matrices * where.rows
            if not wave.sizes[place]:
                continue
            if not self._staged.by_rows or where.blocks == 1:
                most = max(_CHUNK // (where.columns * where.block), 1) * where.block
                if not self._staged.by_rows:
                    most = max(_CHUNK // where.columns, 1)
                chunks += [(place, row, min(most, total - row)) for row in range(0, total, most)]
            else:
                chunks += [
                    (place, matrix * where.rows + row, min(where.block, where.rows - row))
                    for matrix in range(where.matrices)
                    for row in range(0, where.rows, where.block)
                ]
        return (
            np.array(chunks, np.int64).reshape(-1, 3),
            np.array(wave.sizes, np.int64),
            np.array(wave.first_rows, np.int64),
        )


def _is_usable(array: HostArray) -> bool:
    return array.__class__ is np.ndarray and array.flags.c_contiguous and array.flags.aligned


_Reduced = tuple[tuple[str, int | None, tuple[Ref, ...]], ...]


@cache
def _loop(
    program: Program, dtypes: tuple[np.dtype[Any], ...], reductions: _Reduced
) -> tuple[str, Callable[[int], int]]:
    source = _source(program, dtypes, reductions)
    names = {**globals(), "real": element_dtype(program, dtypes).type}
    return source, compile_text(source, "update", SIGNATURE, names)


def _source(program: Program, dtypes: tuple[np.dtype[Any], ...], reductions: _Reduced) -> str:
    used = program.last_use()
    operands = list(dict.fromkeys(ref for _, _, refs in reductions for ref in refs))
    read = {ref.index for ref in (*used, *operands) if ref.kind == ARRAY}
    stored = {
        index: ref
        for index, ref in zip(program.targets, program.outputs, strict=True)
        if ref != Ref(ARRAY, index)
    }
    lower = [i for i in range(len(dtypes)) if program.rank(i) in (ROWS, COLUMNS)]
    elements = [i for i in range(len(dtypes)) if i not in lower]
    arrays = {index: f"{letter}_{index}" for index, letter in enumerate(program.arrays)}
    rows = [k for k, (_, axis, _) in enumerate(reductions) if axis != -2]
    cells = [k for k, (_, axis, _) in enumerate(reductions) if axis == -2]
    lines = [
        f"# {program.name}, computes in {element_dtype(program, dtypes).name}",
        "def update(arguments):",
        "    table = read64(arguments + DATA)",
        f"    objects = carray(data(table, _OBJECTS), (1, {len(elements)}), np.uint64)",
        "    chunks = carray(data(table, _CHUNKS), (1, 3), np.int64)",
        f"    scalars = carray(data(table, _SCALARS), (1, {program.scalars}), np.float64)",
        "    sets = carray(data(table, _SETS), (1,), np.int64)",
        "    sizes = carray(data(table, _SIZES), (1,), np.int64)",
        "    firsts = carray(data(table, _FIRST), (1,), np.int64)",
        "    results = carray(data(table, _ROWS), (1,), np.uint64)",
        "    inputs = carray(data(table, _INPUTS), (1,), np.uint64)",
        "    sums = carray(data(table, _CELLS), (1,), np.uint64)",
        "    height = np.int64(word(table, _HEIGHT))",
        "    columns = np.int64(word(table, _COLUMNS))",
        "    block = np.int64(word(table, _BLOCK))",
        "    blocks = np.int64(word(table, _BLOCKS))",
    ]
    lines += [
        f"    result{k} = carray(pointer(read64(results[{n}] + DATA)), (1,), np.float64)"
        for n, k in enumerate(rows)
    ]
    lines += [f"    at_sum{k} = read64(sums[{n}] + DATA)" for n, k in enumerate(cells)]
    lines += [
        f"    {arrays[i]} = carray(pointer(read64(inputs[{n}] + DATA)), (1,), np.float64)"
        if program.rank(i) == ROWS
        else f"    at{i} = read64(inputs[{n}] + DATA)"
        for n, i in enumerate(lower)
    ]
    lines += [f"    kept{n} = np.empty(_PART, real)" for n in range(len(operands))]
    lines += [f"    lanes{k} = np.empty(LANES, np.float64)" for k in rows]
    lines += [
        "    while True:",
        f"        c = take(table + np.uint64({8 * _NEXT}))",
        "        if c >= np.int64(word(table, _PIECES)):",
        "            return 0",
        "        i = chunks[c, 0]",
        "        size = sizes[i]",
        "        k = sets[i]",
    ]
    lines += [
        f"        s{number} = real(scalars[k, {number}])" for number in range(program.scalars)
    ]
    # Arrays begin where a part does: a place counted from there is not negative, which the compiler
    # would otherwise ask of each element.
    views: list[str] = []
    for place, index in enumerate(elements):
        if index not in stored and index not in read:
            continue
        dtype = dtypes[index]
        element = "uint16" if dtype.itemsize == 2 else dtype.name
        lines.append(f"        at{index} = read64(objects[i, {place}] + DATA)")
        address = f"at{index} + start * np.uint64({dtype.itemsize})"
        views.append(f"{arrays[index]} = carray(pointer({address}), (count,), np.{element})")
    for index in lower:
        if program.rank(index) == COLUMNS:
            address = f"at{index} + np.uint64(8) * np.uint64(across + first)"
            views.append(f"{arrays[index]} = carray(pointer({address}), (count,), np.float64)")
    for k in cells:
        address = f"at_sum{k} + np.uint64(8) * np.uint64(cell + first)"
        views.append(f"sum{k} = carray(pointer({address}), (count,), np.float64)")
    lines += [
        "        for row in range(chunks[c, 1], chunks[c, 1] + chunks[c, 2]):",
        "            base = row * columns",
        "            length = min(columns, size - base)",
        "            across = row // height * columns",
        "            cell = (row // height * blocks + row % height // block) * columns",
    ]
    lines += [
        f"            a{i} = real({arrays[i]}[row])" for i in lower if program.rank(i) == ROWS
    ]
    for k in rows:
        start = "0.0" if reductions[k][0] == "sum" else "-np.inf"
        lines.append(f"            lanes{k}[:] = {start}")
    part = "_PART" if operands else "length"
    lines += [
        f"            for first in range(0, length, {part}):",
        f"                count = min({part}, length - first)",
        "                start = np.uint64(base + first)",
        *(f"                {view}" for view in views),
        "                for j in range(count):",
        *update.numbering(program, 20),
    ]
    for index in elements:
        if index in read:
            load = LOADS.get(dtypes[index].name, "{}[j]").format(arrays[index])
            lines.append(f"                    a{index} = real({load})")
    lines += [
        f"                    a{i} = real({arrays[i]}[j])"
        for i in lower
        if program.rank(i) == COLUMNS
    ]
    for number, (op, args) in enumerate(program.instructions):
        lines.append(f"                    r{number} = {instruction_text(op, args)}")
    lines += [f"                    kept{n}[j] = {ref}" for n, ref in enumerate(operands)]
    for index, ref in stored.items():
        value = STORES.get(dtypes[index].name, "{}").format(ref)
        lines.append(f"                    {arrays[index]}[j] = {value}")
    lines += _reducing(reductions, operands)
    return "\n".join(lines) + "\n"


def _reducing(reductions: _Reduced, operands: Sequence[Ref]) -> list[str]:
    """The lines that add up what a part of a row has left, and behind the row, its lanes."""
    rows = [k for k, (_, axis, _) in enumerate(reductions) if axis != -2]
    cells = [k for k, (_, axis, _) in enumerate(reductions) if axis == -2]
    lines: list[str] = []
    for k in rows:
        added = _added(reductions[k], operands, f"lanes{k}[lane]", "part", "lane")
        lines += [
            "                for turn in range(0, count, LANES):",
            "                    width = min(LANES, count - turn)",
            *(
                f"                    part{operands.index(ref)} = "
                f"kept{operands.index(ref)}[turn : turn + width]"
                for ref in dict.fromkeys(reductions[k][2])
            ),
            "                    for lane in range(width):",
            f"                        {added}",
        ]
    for k in cells:
        added = _added(reductions[k], operands, f"sum{k}[j]", "kept", "j")
        lines += ["                for j in range(count):", f"                    {added}"]
    for k in rows:
        a, b = f"lanes{k}[lane]", "upper[lane]"
        joined = f"{a} + {b}"
        if reductions[k][0] == "max":
            joined = f"{a} if {a} > {b} or {a} != {a} else {b}"
        lines += [
            "            half = LANES // 2",
            "            while half:",
            f"                upper = lanes{k}[half : 2 * half]",
            "                for lane in range(half):",
            f"                    {a} = {joined}",
            "                half //= 2",
            f"            result{k}[firsts[i] + row] = lanes{k}[0]",
        ]
    return lines


def _added(
    reduction: tuple[str, int | None, tuple[Ref, ...]],
    operands: Sequence[Ref],
    target: str,
    array: str,
    place: str,
) -> str:
    """The text that adds an element to a sum, or takes the larger."""
    name, _, refs = reduction
    factors = [f"np.float64({array}{operands.index(ref)}[{place}])" for ref in refs]
    if name == "sum":
        return f"{target} += {' * '.join(factors)}"
    (x,) = factors
    return f"{target} = {x} if {x} > {target} or {x} != {x} else {target}"
