"""From a staged program to passes over its arrays, each of them a program of one stage.

A value's stage is the largest of its arguments', and one more behind a reduction of elements, a
matrix function, or a total. A pass computes elements of one stage from what lies in memory: it
computes again what earlier ones have computed, unless they have stored it exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from born.fusion.host import NO_HOST
from born.fusion.program import (
    ARRAY,
    COLUMNS,
    ELEMENT,
    MATRIX,
    REDUCTIONS,
    RESULT,
    ROWS,
    SCALAR,
    VALUE,
    Instruction,
    Program,
    Ref,
    matrix_function,
    reached,
)


@dataclass(frozen=True)
class Pass:
    """One pass over the elements.

    Attributes:
        program: what to compute, of one stage. Its arrays are those of rank element, then
            `inputs`, then `scratch`, which it writes.
        dtypes: of these arrays.
        scalars: what its scalars are: values of the whole program, of rank tensor at most.
        inputs: values of rows or columns, as doubles, and results of matrix functions.
        ranks: of the inputs.
        scratch: the operands of matrix functions, in the dtype that is computed in.
        reductions: number of the instruction -> its operands in this pass.
    """

    program: Program
    dtypes: tuple[np.dtype[Any], ...]
    scalars: tuple[Ref, ...]
    inputs: tuple[Ref, ...]
    ranks: tuple[str, ...]
    scratch: tuple[Ref, ...]
    reductions: tuple[tuple[int, tuple[Ref, ...]], ...]

    @property
    def used(self) -> set[int]:
        """The arrays that it reads or writes."""
        program = self.program
        pairs = zip(program.targets, program.outputs, strict=True)
        stored = [(index, ref) for index, ref in pairs if ref != Ref(ARRAY, index)]
        read = [ref for _, ref in stored]
        read += [ref for _, refs in (*program.instructions, *self.reductions) for ref in refs]
        return {index for index, _ in stored} | {ref.index for ref in read if ref.kind == ARRAY}

    @cached_property
    def by_tensor(self) -> bool:
        """Whether some of its scalars differ from tensor to tensor."""
        return any(ref.kind not in (SCALAR, VALUE) for ref in self.scalars)


@dataclass(frozen=True)
class Stage:
    """What is done for a tensor before the next stage.

    Attributes:
        small: the instructions of lower rank, in order, before the pass.
        work: the pass, if there is anything to do.
        matrices: the matrix functions behind it.
    """

    small: tuple[int, ...]
    work: Pass | None
    matrices: tuple[int, ...]


class Stages:
    """The stages of a program for arrays of some dtypes.

    Attributes:
        stages: in order.
        starts: the first stage of each round, and the number of stages.
    """

    def __init__(
        self, program: Program, dtypes: Sequence[np.dtype[Any]], compute: np.dtype[Any]
    ) -> None:
        self.program = program
        self._dtypes = dtypes
        self._compute = compute
        self._ranks = program.all_ranks()
        self._stage, boundaries = program.numbered()
        self._own = [i for i in range(len(program.arrays)) if program.rank(i) == ELEMENT]
        pairs = zip(program.targets, program.outputs, strict=True)
        self._outputs = {i: ref for i, ref in pairs if ref != Ref(ARRAY, i)}
        last = max((self._stage[ref] for ref in self._outputs.values()), default=0)
        last = max([last, *boundaries[1:]])
        self._final = max(
            (self._stage[ref] for i, ref in self._outputs.items() if i in self._own), default=0
        )
        self._early = self._find_early()
        self.stages = [self._staged(number) for number in range(last + 1)]
        self.starts = (*boundaries, last + 1)

    def _is_element(self, ref: Ref) -> bool:
        return self._ranks[ref] == ELEMENT

    def _is_computed(self, ref: Ref) -> bool:
        """Whether a pass computes a value, of elements."""
        return (
            ref.kind == RESULT
            and self._is_element(ref)
            and matrix_function(self.program.instructions[ref.index].op) is None
        )

    def _wanted(self, stage: int) -> list[Ref]:
        """The elements that a pass has to compute or to read."""
        wanted: list[Ref] = []
        for number, (op, args) in enumerate(self.program.instructions):
            if self._stage[Ref(RESULT, number)] == stage + 1 and (
                op in REDUCTIONS or matrix_function(op)
            ):
                wanted += [arg for arg in args if self._is_element(arg)]
        for index in self._own:
            if index in self._outputs and self._store_stage(index) == stage:
                wanted.append(self._outputs[index])
        return wanted

    def _store_stage(self, index: int) -> int:
        if index in self._early:
            return self._stage[self._outputs[index]]
        return self._final

    def _find_early(self) -> set[int]:
        """The slots that are stored before the last pass, so that it need not compute them again.

        What is stored has to be exact, and what was there before not needed later.
        """
        early: set[int] = set()
        for index in self._own[2:]:
            ref = self._outputs.get(index)
            is_exact = self._dtypes[index] == self._compute and not self.program.codec(index)
            if ref is None or not is_exact or not self._is_computed(ref):
                continue
            if self._stage[ref] < self._final:
                early.add(index)
        self._early = early
        while True:
            overwritten: set[int] = set()
            for stage in range(self._final + 1):
                stored = self._stored_before(stage)
                gone = {i for i in early if self._store_stage(i) < stage}
                seen = self._reached(self._wanted(stage), stored)
                overwritten |= {ref.index for ref in seen if ref.kind == ARRAY} & gone
            if not overwritten:
                return early
            early -= overwritten

    def _stored_before(self, stage: int) -> dict[Ref, int]:
        """The results that lie in arrays before a pass."""
        return {self._outputs[i]: i for i in self._early if self._store_stage(i) < stage}

    def _reached(self, wanted: Sequence[Ref], stored: dict[Ref, int]) -> set[Ref]:
        """What elements are computed from, as far as it is not in memory."""
        found = reached(
            self.program.instructions,
            wanted,
            lambda ref: ref in stored or not self._is_computed(ref),
        )
        return found - stored.keys()

    def _staged(self, number: int) -> Stage:
        """What belongs to one stage."""
        small: list[int] = []
        matrices: list[int] = []
        for place, (op, args) in enumerate(self.program.instructions):
            ref = Ref(RESULT, place)
            if matrix_function(op):
                if self._stage[ref] == number + 1:
                    matrices.append(place)
                continue
            of_elements = op in REDUCTIONS and any(self._is_element(arg) for arg in args)
            if self._stage[ref] == number and not self._is_element(ref) and not of_elements:
                small.append(place)
        return Stage(tuple(small), self._pass(number), tuple(matrices))

    def _pass(self, number: int) -> Pass | None:
        """The pass of a stage, if it computes or stores elements."""
        wanted = self._wanted(number)
        if not wanted:
            return None
        stored = self._stored_before(number)
        found = self._reached(wanted, stored)
        scratch = self._operands(number)
        inputs = sorted(filter(self._is_input, found), key=lambda ref: (ref.kind, ref.index))
        ranks = tuple(ROWS if (r := self._ranks[ref]) == MATRIX else r for ref in inputs)
        written = _Written(self._places(stored, inputs))
        for place in sorted(ref.index for ref in found if self._is_computed(ref)):
            written.add(place, *self.program.instructions[place])
        codecs = self._codecs(len(inputs) + len(scratch))
        # Scalars are numbered in this order: those of outputs, of reductions, of chance.
        outputs = written.values((*self._held_after(number), *inputs, *scratch))
        reductions = tuple(
            (place, written.values(args)) for place, args in self._reductions(number)
        )
        chance = written.values(self.program.chance) if codecs else ()
        program = Program(
            arrays=self._names(ranks, len(scratch)),
            instructions=tuple(written.instructions),
            outputs=outputs,
            scalars=len(written.scalars),
            host=NO_HOST,
            name=f"{self.program.name}, stage {number + 1}",
            ranks=(*[ELEMENT] * len(self._own), *ranks, *[ELEMENT] * len(scratch)),
            codecs=codecs,
            chance=chance,
        )
        dtypes = self._dtypes_of(ranks, len(scratch))
        given = tuple(written.scalars), tuple(inputs), ranks, tuple(scratch), reductions
        return Pass(program, dtypes, *given)

    def _places(self, stored: dict[Ref, int], inputs: Sequence[Ref]) -> dict[Ref, Ref]:
        """Value -> the array of a pass that holds it before the pass."""
        places = {Ref(ARRAY, i): Ref(ARRAY, k) for k, i in enumerate(self._own)}
        places |= {ref: places[Ref(ARRAY, i)] for ref, i in stored.items()}
        return places | {ref: Ref(ARRAY, k) for k, ref in enumerate(inputs, len(self._own))}

    def _held_after(self, number: int) -> list[Ref]:
        """What each array of elements but the gradient holds after a pass."""
        stored = {i: ref for i, ref in self._outputs.items() if self._store_stage(i) == number}
        return [stored.get(i, Ref(ARRAY, i)) for i in self._own if i != 1]

    def _reductions(self, number: int) -> list[tuple[int, tuple[Ref, ...]]]:
        """The reductions of elements that a pass makes, and their operands."""
        return [
            (place, args)
            for place, (op, args) in enumerate(self.program.instructions)
            if op in REDUCTIONS
            and self._stage[Ref(RESULT, place)] == number + 1
            and any(self._is_element(arg) for arg in args)
        ]

    def _names(self, ranks: Sequence[str], scratch: int) -> tuple[str, ...]:
        """What a pass calls its arrays."""
        inputs = (f"{'xy'[rank == COLUMNS]}{k}" for k, rank in enumerate(ranks))
        own = (self.program.arrays[i] for i in self._own)
        return (*own, *inputs, *(f"z{k}" for k in range(scratch)))

    def _operands(self, number: int) -> list[Ref]:
        """The elements that the matrix functions behind a pass take, and no array holds."""
        args = [
            arg
            for place, (op, args) in enumerate(self.program.instructions)
            if matrix_function(op) and self._stage[Ref(RESULT, place)] == number + 1
            for arg in args
        ]
        own = [x for x in args if self._is_element(x) and (self._is_computed(x) or x.kind == ARRAY)]
        return list(dict.fromkeys(own))

    def _dtypes_of(self, ranks: Sequence[str], scratch: int) -> tuple[np.dtype[Any], ...]:
        """The dtypes of the arrays of a pass, whose inputs are of these ranks."""
        double = np.dtype(np.float64)
        dtypes = [self._dtypes[i] for i in self._own]
        dtypes += [self._compute if rank == ELEMENT else double for rank in ranks]
        return (*dtypes, *[self._compute] * scratch)

    def _codecs(self, others: int) -> tuple[str, ...]:
        """What the arrays of a pass are kept as, if some are given as bytes."""
        program = self.program
        if not any(program.codec(i) and self._dtypes[i].itemsize == 1 for i in self._own):
            return ()
        return (*(program.codec(i) for i in self._own), *[""] * others)

    def _is_input(self, ref: Ref) -> bool:
        """Whether a pass reads a value as an array besides those of rank element."""
        if ref.kind == ARRAY and ref.index in self._own:
            return False
        rank = self._ranks[ref]
        return rank in (ROWS, COLUMNS, MATRIX) or (rank == ELEMENT and not self._is_computed(ref))

    def __str__(self) -> str:
        ranks = self._ranks
        program = self.program
        lines: list[str] = []
        for number, stage in enumerate(self.stages):
            lines.append(f"stage {number + 1}")
            for place in (*stage.small, *stage.matrices):
                op, args = program.instructions[place]
                listed = ", ".join(map(str, args))
                lines.append(f"  r{place} = {op}({listed})  ({ranks[Ref(RESULT, place)]})")
            if stage.work is not None:
                lines += ["  " + line for line in str(stage.work.program).splitlines()]
                for place, refs in stage.work.reductions:
                    op = program.instructions[place].op
                    lines.append(f"    {op} -> r{place}: {', '.join(map(str, refs))}")
        return "\n".join(lines)


class _Written:
    """The instructions of a pass, and the scalars that they take, as they are written.

    Args:
        places: which array of the pass holds a value.
    """

    def __init__(self, places: dict[Ref, Ref]) -> None:
        self.instructions: list[Instruction] = []
        self.scalars: dict[Ref, Ref] = {}
        self._moved = dict(places)

    def value(self, ref: Ref) -> Ref:
        """What a value is in the pass; a scalar, if it is neither computed nor in an array."""
        if ref in self._moved:
            return self._moved[ref]
        return self.scalars.setdefault(ref, Ref(SCALAR, len(self.scalars)))

    def values(self, refs: Iterable[Ref]) -> tuple[Ref, ...]:
        """What values are in the pass."""
        return tuple(self.value(ref) for ref in refs)

    def add(self, place: int, op: str, args: Sequence[Ref]) -> None:
        """Write an instruction, the one of this number."""
        given = self.values(args)
        if op.startswith("logical"):
            # Truth values of lower rank arrive as numbers.
            given = tuple(self._truth(ref) if ref.kind == SCALAR else ref for ref in given)
        self._moved[Ref(RESULT, place)] = self._write(op, given)

    def _truth(self, ref: Ref) -> Ref:
        return self._write("ne", (ref, self.value(ZERO)))

    def _write(self, op: str, args: tuple[Ref, ...]) -> Ref:
        self.instructions.append(Instruction(op, args))
        return Ref(RESULT, len(self.instructions) - 1)


ZERO: Final = Ref(SCALAR, -1)
"""The number 0 among the scalars of a pass."""
