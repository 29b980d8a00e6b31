"""Whole steps of rules of several stages as one compiled call, for tensors that one thread updates.

All rounds follow each other in it, and what they have in common is computed between them. So a
step of a small network takes as many calls as one of a rule of one stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np

from born.backend.lanes import LANES
from born.backend.update import Scalars
from born.fusion import ARRAY, RESULT, SCALAR, VALUE, Ref
from born.fusion.program import TENSOR, TOTAL, GroupProgram
from born.fusion.stages import ZERO
from born.raw import HostArray, RawTensor
from born_numba import intrinsics, rounds, rows
from born_numba.compiler import inlined
from born_numba.elements import indented, load_text, operation_text, store_text
from born_numba.intrinsics import load_float64, store_float64
from born_numba.rounds import SMALL, RoundText, array_text, round_room
from born_numba.shared import ADDRESS, COUNT, DOUBLE, Shared, shared_in
from born_numba.update import SIGNATURE, Addresses, Gathered, compile_text, is_usable
from born_numpy.group import HostGroup
from born_numpy.waves import StagedProgram

# What the table of a call holds: the addresses of array objects, then a number.
_OBJECTS, _GRADIENTS, _SLOTS, _TENSORS, _SETS, _RESULTS, _GIVEN, _PIECES = range(8)

_few: Final[Any] = inlined(rounds.sum_of_few)
room_of_lanes: Final = intrinsics.room(8 * LANES)


def sum_of_column(x: Any, lanes: Any, width: Any, count: Any) -> Any:
    """The sum of the first numbers of rows, in the order of `born.backend.lanes`."""
    for lane in range(LANES):
        store_float64(lanes, lane, 0.0)
    for number in range(count):
        lane = number % LANES
        total = load_float64(lanes, lane) + load_float64(x, number * width)
        store_float64(lanes, lane, total)
    return _few(lanes, min(count, LANES))


SHARED: Final = {
    **rounds.SHARED,
    "sum_of_column": Shared(sum_of_column, DOUBLE(ADDRESS, ADDRESS, COUNT, COUNT)),
}
"""What the text calls by name."""


class Whole:
    """A step of a program, compiled; `is_possible` says of which.

    Args:
        staged: the program.
        dtypes: of its arrays.
    """

    def __init__(self, staged: StagedProgram, dtypes: Sequence[np.dtype[Any]]) -> None:
        self._staged, self._dtypes = staged, dtypes
        self._refs = {place: ref for ref, place in staged.places.items()}
        self._texts = [RoundText(staged, n) for n in range(len(staged.stages.starts) - 1)]
        columns = sorted({place for text in self._texts for place in text.results})
        self._columns = {place: column for column, place in enumerate(columns)}
        slots = {*staged.lower, *(index for index, _ in staged.stored)}
        self.slots = sorted(slots)
        group = staged.program.group
        self._group = group
        self.is_alone = group is None
        self._common = 0 if group is None else len(group.slots) + group.scalars
        self.source = self._source()

    @staticmethod
    def is_possible(staged: StagedProgram, dtypes: Sequence[np.dtype[Any]]) -> bool:
        """Whether all that a step does can be compiled."""
        group = staged.program.group
        lower = {*staged.lower, *(index for index, _ in staged.stored)}
        return (
            all(RoundText.is_possible(staged, n) for n in range(len(staged.stages.starts) - 1))
            and (group is None or SMALL.issuperset(op for op, _ in group.instructions))
            and all(staged.program.rank(index) == TENSOR for index in lower)
            and all(dtypes[index].name in ("float32", "float64") for index in lower)
        )

    @cached_property
    def _loop(self) -> Any:
        names = {
            **vars(rounds),
            **globals(),
            **rows.names(self._staged.compute),
            **shared_in(self.source, SHARED),
        }
        return compile_text(self.source, "update", SIGNATURE, names)

    # -- text --------------------------------------------------------------------------------

    def _source(self) -> str:
        lines = [
            "table = read64(arguments + DATA)",
            "objects = data(table, _OBJECTS)",
            "gradients = data(table, _GRADIENTS)",
            "slots = data(table, _SLOTS)",
            "tensors = data(table, _TENSORS)",
            "sets = data(table, _SETS)",
            "results = data(table, _RESULTS)",
            "group = data(table, _GIVEN)",
            f"scalars = address_of(group, {self._common}, 8)",
            "pieces = load_int64(table, _PIECES)",
            *round_room(self._texts),
            "lanes = room_of_lanes()",
        ]
        for finished in range(len(self._texts)):
            if self._group is not None:
                lines += self._of_group(self._group, finished)
            lines += ["for place in range(pieces):", *indented(4, self._of_tensor(finished))]
        if self._group is not None:
            lines += [
                f"store_float64(group, {number}, {_name(ref)})"
                for number, ref in enumerate(self._group.outputs)
            ]
        title = f"# {self._staged.program.name}, all stages"
        return "\n".join([title, "def update(arguments):", *indented(4, lines), "    return 0"])

    def _of_group(self, group: GroupProgram, finished: int) -> list[str]:
        """The lines that compute what tensors have in common, before a round."""
        if finished == 0:
            given = [*(Ref(ARRAY, i) for i in range(len(group.slots)))]
            given += [Ref(SCALAR, i) for i in range(group.scalars)]
            lines = [f"{_name(ref)} = load_float64(group, {n})" for n, ref in enumerate(given)]
            known = set(given)
        else:
            lines, known = [], set[Ref]()
        added, computed = group.schedule[finished]
        for ref in added:
            column = self._columns[self._staged.places[self._staged.program.totals[ref.index]]]
            sums = f"address_of(results, {column}, 8), lanes, {len(self._columns)}, pieces"
            lines.append(f"{_name(ref)} = sum_of_column({sums})")
        for ref, op, args in computed:
            lines.append(f"{_name(ref)} = {operation_text(op, list(map(_name, args)))}")
        known.update(added, (ref for ref, *_ in computed))
        return lines + [
            f"v{self._staged.places[Ref(VALUE, n)]} = {_name(ref)}"
            for n, ref in enumerate(group.values)
            if ref in known
        ]

    def _of_tensor(self, finished: int) -> list[str]:
        """The lines that take a tensor through a round."""
        text, program = self._texts[finished], self._staged.program
        is_last = finished == len(self._texts) - 1
        stored = self._staged.stored if is_last else []
        inputs = {*text.inputs, *(place for _, place in stored if place not in text.results)}
        return [
            "tensor = address_of(tensors, place, 16)",
            "i = load_int64(tensor, 0)",
            "size = load_int64(tensor, 1)",
            "rows = -(-size // STRETCH)",
            f"arrays = address_of(objects, i, {8 * len(self._staged.own)})",
            f"own = address_of(slots, i, {8 * len(self.slots)})",
            f"numbers = address_of(scalars, load_int64(sets, place), {8 * program.scalars})",
            f"found = address_of(results, place, {8 * len(self._columns)})",
            *(line for place in sorted(inputs) for line in self._input(place)),
            *(f"at{index} = {array_text(index)}" for index in text.arrays),
            *text.lines(),
            *(f"store_float64(found, {self._columns[at]}, v{at})" for at in text.results),
            *(
                store_text(self._dtypes[index], self._slot(index), f"v{place}", "0")
                for index, place in stored
            ),
        ]

    def _input(self, place: int) -> list[str]:
        """The line that finds a value which a round takes; those of the group are known."""
        ref = self._refs[place]
        if ref == ZERO:
            return [f"v{place} = 0.0"]
        if ref.kind == SCALAR:
            return [f"v{place} = load_float64(numbers, {ref.index})"]
        if ref.kind == ARRAY:
            text = load_text(self._dtypes[ref.index], self._slot(ref.index), "0")
            return [f"v{place} = np.float64({text})"]
        if ref.kind == RESULT:
            return [f"v{place} = load_float64(found, {self._columns[place]})"]
        return []

    def _slot(self, index: int) -> str:
        return f"data(own, {self.slots.index(index)})"

    # -- steps -------------------------------------------------------------------------------

    def planned(self, addresses: Addresses, slots: HostArray, gathered: Gathered) -> Planned:
        """What stays the same for some tensors from step to step."""
        numbers = gathered.plan.numbers
        tensors = np.column_stack((numbers, addresses.sizes[numbers])).astype(np.int64)
        sets = np.zeros(len(numbers), np.int64)
        table = np.zeros(_PIECES + 1, np.uint64)
        table[_OBJECTS], table[_SLOTS] = id(addresses.objects), id(slots)
        table[_TENSORS], table[_SETS] = id(tensors), id(sets)
        table[_PIECES] = len(numbers)
        return Planned(gathered.plan, table, (tensors, sets, slots, addresses))

    def run(
        self,
        plan: Planned,
        gathered: Gathered,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None,
        group: HostGroup | None,
    ) -> None:
        """A step; what is common goes into the slots of the group."""
        table = plan.table.copy()
        # The names keep alive what the table knows by its address only.
        numbers = chain.from_iterable(scalars)
        common = () if group is None else group.given
        given = np.array((*common, *numbers), np.float64)
        results = np.empty((len(gathered.arrays), len(self._columns)))
        table[_GRADIENTS], table[_GIVEN] = id(gathered.addresses), id(given)
        table[_RESULTS] = id(results)
        if sets is not None:
            chosen = np.array(sets, np.int64)
            table[_SETS] = id(chosen)
        self._loop(id(table))
        if group is not None:
            group.take(given.tolist())


class Planned(NamedTuple):
    """What a step is given for some tensors, but for what differs; and what the table knows."""

    plan: object
    table: HostArray
    kept: object


def slots_of(whole: Whole, targets: Sequence[Sequence[RawTensor]]) -> HostArray | None:
    """The addresses of slots of rank tensor, of each tensor; None if loops may not write there."""
    arrays = [[target[index - 1].array for index in whole.slots] for target in targets]
    if not all(type(x) is np.ndarray and is_usable(x) for each in arrays for x in each):
        return None
    return np.array([[id(x) for x in each] for each in arrays], np.uint64)


def _name(ref: Ref) -> str:
    """What a value of the group is called."""
    kinds = {ARRAY: "slot", SCALAR: "given", TOTAL: "total", RESULT: "common"}
    return f"{kinds[ref.kind]}{ref.index}"
