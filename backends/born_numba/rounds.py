"""Rounds of rules of several stages as one compiled loop over whole tensors.

A thread takes a tensor through all stages of a round, one after the other: no thread waits for
another between them, and later stages find the tensor in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from typing import Any, Final

import numpy as np

from born.backend.lanes import STRETCH
from born.backend.threads import POOL
from born.fusion import RESULT, Ref
from born.fusion.program import REDUCTIONS
from born.fusion.stages import Stage
from born.raw import HostArray
from born_numba import intrinsics, rows, update
from born_numba.elements import indented, operation_text
from born_numba.intrinsics import load_float64, store_float64
from born_numba.rows import RowText, reduced, room_text
from born_numba.shared import ADDRESS, COUNT, DOUBLE, Shared, shared_in
from born_numba.update import SIGNATURE, compile_text
from born_numpy.waves import Plan, StagedProgram, Wave, taking

PARALLEL: Final = 524_288
"""Elements from which a second thread pays, as for other updates; no thread takes a larger tensor
by itself."""

room_of_rows: Final = intrinsics.room(8 * (PARALLEL // STRETCH))
"""Room for a number of each row of a tensor."""

SMALL: Final = {
    *("add", "sub", "mul", "div", "neg", "abs", "lt", "le", "gt", "ge", "eq", "ne", "where"),
    *("logical_and", "logical_or", "logical_not", "maximum", "minimum", "sqrt", "isfinite"),
}
"""The operations on numbers whose bits compiled code has."""

# What the table of a call holds: the addresses of array objects, then numbers.
_OBJECTS, _GRADIENTS, _TENSORS, _SCALARS, _SETS, _RESULTS, _PIECES, _NEXT = range(8)


@cache
def compiled(source: str, compute: np.dtype[Any]) -> Callable[[int], int]:
    """The loop of a text that computes elements in a dtype."""
    names = {**globals(), **rows.names(compute), **shared_in(source, SHARED)}
    loop: Callable[[int], int] = compile_text(source, "update", SIGNATURE, names)
    return loop


def sum_of_few(x: Any, count: Any) -> Any:
    """The sum of the first numbers, no more than lanes, in the order of `born.backend.lanes`."""
    left = count
    while left > 1:
        half = 1
        while 2 * half < left:
            half *= 2
        for number in range(half, left):
            total = load_float64(x, number - half) + load_float64(x, number)
            store_float64(x, number - half, total)
        left = half
    return load_float64(x, 0) if count else 0.0


def largest_of_few(x: Any, count: Any) -> Any:
    """The largest of the first numbers; -inf of none."""
    largest = -np.inf
    for number in range(count):
        largest = rows.larger(load_float64(x, number), largest)
    return largest


SHARED: Final = {
    **rows.SHARED,
    **{
        each.__name__: Shared(each, DOUBLE(ADDRESS, COUNT)) for each in (sum_of_few, largest_of_few)
    },
}
"""What the texts call by name."""


class RoundText:
    """The lines that take a tensor through the stages of a round.

    They know the value at place 7 of the program as `v7`, the tensor's `size` and its `rows`, the
    address `at2` of array 2, and what `room` makes.

    Args:
        staged: the program.
        finished: how many rounds come before it.

    Attributes:
        inputs: the places of the values that it takes.
        results: the places of those that it computes for later, or for slots.
        arrays: those that it reads or writes.
    """

    def __init__(self, staged: StagedProgram, finished: int) -> None:
        self._staged = staged
        self._numbers = range(*staged.stages.starts[finished : finished + 2])
        produced = self._produced()
        read = {ref for number in self._numbers for ref in self._read(number)}
        self.inputs = sorted(staged.places[ref] for ref in read - produced)
        wanted = {place for _, place in staged.stored}
        wanted |= {staged.places[ref] for ref in staged.program.totals}
        for number in range(self._numbers.stop, len(staged.stages.stages)):
            wanted |= {staged.places[ref] for ref in self._read(number)}
        self.results = sorted(wanted & {staged.places[ref] for ref in produced})
        self._texts = self._row_texts()
        self.arrays = sorted({index for text in self._texts.values() for index in text.elements})

    @staticmethod
    def is_possible(staged: StagedProgram, finished: int) -> bool:
        """Whether all that a round does can be compiled."""
        program, own = staged.program, _stages(staged, finished)
        works = [stage.work for stage in own if stage.work is not None]
        small = [program.instructions[place].op for stage in own for place in stage.small]
        return (
            not staged.by_rows
            and not any(stage.matrices for stage in own)
            and not any(work.inputs or work.scratch or work.program.codecs for work in works)
            and all(update.is_compilable(work.program, work.dtypes) for work in works)
            and SMALL.issuperset(small)
        )

    def _produced(self) -> set[Ref]:
        """The values of lower rank that it computes."""
        stages = [self._staged.stages.stages[number] for number in self._numbers]
        places = [place for stage in stages for place in stage.small]
        places += [place for each in stages if each.work for place, _ in each.work.reductions]
        return {Ref(RESULT, place) for place in places}

    def _read(self, number: int) -> set[Ref]:
        """The values of lower rank that a stage reads."""
        stage = self._staged.stages.stages[number]
        read = {
            arg for place in stage.small for arg in self._staged.program.instructions[place].args
        }
        if stage.work is not None:
            read.update((*stage.work.scalars, *stage.work.inputs))
        return read

    @property
    def row_texts(self) -> Sequence[RowText]:
        """What takes a row through each pass."""
        return list(self._texts.values())

    def _row_texts(self) -> dict[int, RowText]:
        """For each stage with a pass the lines that take a row through it."""
        texts: dict[int, RowText] = {}
        for number in self._numbers:
            work = self._staged.stages.stages[number].work
            if work is not None:
                texts[number] = RowText(
                    work.program, work.dtypes, reduced(self._staged.program, work)
                )
        return texts

    def lines(self) -> list[str]:
        """The text."""
        return [line for number in self._numbers for line in self._stage(number)]

    def _stage(self, number: int) -> list[str]:
        """The lines of a stage, for a tensor."""
        staged = self._staged
        stage, lines = staged.stages.stages[number], list[str]()
        for place in stage.small:
            op, args = staged.program.instructions[place]
            value = operation_text(op, [self._name(arg) for arg in args])
            lines.append(f"v{staged.places[Ref(RESULT, place)]} = {value}")
        if stage.work is None:
            return lines
        text = self._texts[number]
        # Each pass begins where the one before has ended, with what is still in the cache.
        backwards = number % 2 == (self._numbers.stop - 1) % 2
        lines += [
            *(f"s{n} = real({self._value(ref)})" for n, ref in enumerate(stage.work.scalars)),
            f"for row in range({'rows - 1, -1, -1' if backwards else 'rows'}):",
            "    base = row * STRETCH",
            "    length = min(STRETCH, size - base)",
            *indented(4, text.lines),
            *(
                f"    store_float64(of_rows{n}, row, {result})"
                for n, result in enumerate(text.results)
            ),
        ]
        for n, (place, _) in enumerate(stage.work.reductions):
            name, _ = REDUCTIONS[staged.program.instructions[place].op]
            close = "sum_of_few" if name == "sum" else "largest_of_few"
            lines.append(f"v{staged.places[Ref(RESULT, place)]} = {close}(of_rows{n}, rows)")
        return lines

    def _value(self, ref: Ref) -> str:
        return f"v{self._staged.places[ref]}"

    def _name(self, ref: Ref) -> str:
        """A value as an operand: truth values from elsewhere are given as numbers."""
        is_given = self._staged.places[ref] in self.inputs
        boolean = is_given and self._staged.program.is_boolean(ref)
        return f"({self._value(ref)} != 0)" if boolean else self._value(ref)


def _stages(staged: StagedProgram, finished: int) -> Sequence[Stage]:
    return staged.stages.stages[slice(*staged.stages.starts[finished : finished + 2])]


def round_room(texts: Sequence[RoundText]) -> list[str]:
    """The lines that make the room that the lines of rounds need."""
    own = [row for text in texts for row in text.row_texts]
    most = max((len(row.rows) for row in own), default=0)
    return [*room_text(own), *(f"of_rows{n} = room_of_rows()" for n in range(most))]


class Round:
    """The stages of a round, compiled; `is_possible` says of which.

    Args:
        staged: the program.
        finished: how many rounds come before it.
    """

    def __init__(self, staged: StagedProgram, finished: int) -> None:
        self._staged = staged
        self._text = RoundText(staged, finished)
        self._inputs, self._results = self._text.inputs, self._text.results
        self._take = taking(self._inputs)
        self.source = self._source()

    @staticmethod
    def is_possible(staged: StagedProgram, finished: int) -> bool:
        """Whether a round goes through its elements twice, and all it does can be compiled."""
        works = [stage.work for stage in _stages(staged, finished)]
        return len(works) - works.count(None) > 1 and RoundText.is_possible(staged, finished)

    @cached_property
    def _loop(self) -> Callable[[int], int]:
        return compiled(self.source, self._staged.compute)

    def run(self, wave: Wave) -> None:
        """Take the tensors of a wave through the round."""
        plan = wave.plan
        addresses, gathered = wave.gathered
        table, *_ = plan.made(self, self._planned)
        table = table.copy()
        # The names keep alive what the table knows by its address only.
        gradients = plan.own_of_array(gathered.addresses)
        scalars, sets = wave.sets_of(self._take, True)
        values = np.array(scalars, np.float64, ndmin=2)
        results = np.empty((len(plan.sizes), len(self._results)))
        table[_OBJECTS], table[_GRADIENTS] = id(addresses.objects), id(gradients)
        table[_SCALARS], table[_RESULTS] = id(values), id(results)
        if sets is not None:
            chosen = np.array(sets, np.int64)
            table[_SETS] = id(chosen)
        if plan.size < PARALLEL:
            self._loop(id(table))
        else:
            POOL.share(partial(self._loop, id(table)))
        for place, column in zip(self._results, results.T, strict=True):
            wave.put(place, column)

    def _planned(self, plan: Plan) -> tuple[HostArray, ...]:
        """The table as far as it stays the same, and the arrays that it knows."""
        largest_first = sorted(range(len(plan.sizes)), key=lambda place: -plan.sizes[place])
        rows = [(plan.numbers[place], plan.sizes[place], place) for place in largest_first]
        tensors = np.array(rows, np.int64).reshape(-1, 3)
        sets = np.zeros(len(rows), np.int64)
        table = np.zeros(_NEXT + 1, np.uint64)
        table[_TENSORS], table[_SETS] = id(tensors), id(sets)
        table[_PIECES] = len(rows)
        return table, tensors, sets

    def _source(self) -> str:
        own, text = len(self._staged.own), self._text
        lines = [
            "def update(arguments):",
            "    table = read64(arguments + DATA)",
            "    objects = data(table, _OBJECTS)",
            "    gradients = data(table, _GRADIENTS)",
            "    tensors = data(table, _TENSORS)",
            "    scalars = data(table, _SCALARS)",
            "    sets = data(table, _SETS)",
            "    results = data(table, _RESULTS)",
            "    pieces = load_int64(table, _PIECES)",
            *indented(4, round_room([text])),
            "    while True:",
            f"        c = take(address_of(table, {_NEXT}, 8))",
            "        if c >= pieces:",
            "            return 0",
            "        tensor = address_of(tensors, c, 24)",
            "        size = load_int64(tensor, 1)",
            "        place = load_int64(tensor, 2)",
            f"        arrays = address_of(objects, load_int64(tensor, 0), {8 * own})",
            "        rows = -(-size // STRETCH)",
            "        k = load_int64(sets, place)",
            f"        numbers = address_of(scalars, k, {8 * len(self._inputs)})",
            *(f"        v{at} = load_float64(numbers, {n})" for n, at in enumerate(self._inputs)),
            *(f"        at{index} = {array_text(index)}" for index in text.arrays),
            *indented(8, text.lines()),
            f"        found = address_of(results, place, {8 * len(self._results)})",
            *(f"        store_float64(found, {n}, v{at})" for n, at in enumerate(self._results)),
        ]
        return "\n".join(lines) + "\n"


def array_text(index: int) -> str:
    """The text of where the memory of a tensor's array is."""
    return "data(gradients, place)" if index == 1 else f"data(arrays, {index})"
