"""Tensors that go through the stages of a rule together, and their values below rank element.

These are doubles of NumPy: of a rule without rows and columns an array of one for each tensor, of
others an array of one tensor that broadcasts with its elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np

from born.backend import Backend
from born.backend.lanes import goes_by_rows, layout
from born.backend.plain_update import apply_matrix_function
from born.backend.update import Scalars, element_dtype
from born.fusion import ARRAY, RESULT, SCALAR, VALUE, Program, Ref
from born.fusion.program import (
    COLUMNS,
    ELEMENT,
    MATRIX,
    REDUCTIONS,
    ROWS,
    TENSOR,
    matrix_function,
    orthogonalization,
)
from born.fusion.stages import ZERO, Pass, Stages
from born.raw import HostArray, RawTensor, Shape
from born_numpy import sums
from born_numpy.arena import empty
from born_numpy.group import Compute, Line, compiled, operation
from born_numpy.orthogonal import orthogonalize_all
from born_numpy.update import apart

T = TypeVar("T")

Value: TypeAlias = Any
"""A number of NumPy or Python, or an array that broadcasts."""

Take: TypeAlias = Callable[[Sequence[Value]], tuple[Value, ...]]
"""Some of the values there are."""


_quietly: Final = np.errstate(all="ignore")
"""An infinite gradient is the caller's affair, not news."""


class StagedProgram:
    """A program of several stages, with a place for each value below rank element.

    Attributes:
        ranks: of every value.
        by_rows: whether some values belong to rows or columns.
        own: the arrays of rank element.
        lower: those of lower rank that something reads.
        places: where each value is kept.
        small: for each stage, what is computed before its pass.
        scalars: for each stage, what takes the scalars of its pass.
        stored: the slots of lower rank that are written, and the places of their values.
    """

    def __init__(
        self, backend: Backend, program: Program, dtypes: tuple[np.dtype[Any], ...]
    ) -> None:
        self.backend = backend
        self.program = program
        self.compute = element_dtype(program, dtypes)
        self.ranks = program.all_ranks()
        self.by_rows = goes_by_rows(program)
        self.stages = Stages(program, dtypes, self.compute)
        self.own = [i for i in range(len(program.arrays)) if program.rank(i) == ELEMENT]
        used = {arg for _, args in program.instructions for arg in args}
        pairs = list(zip(program.targets, program.outputs, strict=True))
        used |= {ref for i, ref in pairs if ref != Ref(ARRAY, i)}
        self.lower = [
            i
            for i in range(len(program.arrays))
            if program.rank(i) != ELEMENT and Ref(ARRAY, i) in used
        ]
        values = len(program.group.values) if program.group else 0
        refs = [
            *(Ref(SCALAR, i) for i in range(program.scalars)),
            *(Ref(VALUE, i) for i in range(values)),
            ZERO,
            *(Ref(ARRAY, i) for i in self.lower),
            *(Ref(RESULT, i) for i in range(len(program.instructions))),
        ]
        self.places: Final = {ref: place for place, ref in enumerate(refs)}
        self.first_value = program.scalars
        self.truths = [i for i in range(values) if program.is_boolean(Ref(VALUE, i))]
        self.small = [self._small(stage.small) for stage in self.stages.stages]
        self.scalars: list[Take] = [
            taking([self.places[ref] for ref in stage.work.scalars] if stage.work else [])
            for stage in self.stages.stages
        ]
        self.stored = [
            (i, self.places[ref])
            for i, ref in pairs
            if program.rank(i) != ELEMENT and ref != Ref(ARRAY, i)
        ]

    def _small(self, numbers: Sequence[int]) -> list[Compute | int]:
        """What computes the values of instructions in order; of a reduction its number."""
        places, found = self.places, list[Compute | int]()
        lines: list[Line] = []
        for number in numbers:
            op, args = self.program.instructions[number]
            if op in REDUCTIONS:
                found += [compiled(lines), number]
                lines = []
            else:
                target = places[Ref(RESULT, number)]
                lines.append((target, operation(op), tuple([places[arg] for arg in args])))
        return [*found, compiled(lines)] if lines else found


def taking(places: Sequence[int]) -> Take:
    """What takes the values at some places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda known: tuple([known[place] for place in places])


class Plan:
    """Some bound tensors, as far as they stay the same from step to step.

    Attributes:
        staged: the program.
        targets: of each the parameter and its slots.
        numbers: which of the bound tensors they are.
        places: where their gradients are among those of a step.
        is_all: whether they are all tensors of a step, in order.
        sizes: how many elements each has.
        size: how many there are.
        largest: how many the largest has.
        layouts: how each is cut into rows.
        row_counts: how many each is cut into.
        first_rows: the number of each one's first row among all rows.
    """

    def __init__(
        self,
        staged: StagedProgram,
        targets: Sequence[Sequence[RawTensor]],
        numbers: Sequence[int],
        places: Sequence[int],
        is_all: bool,
    ) -> None:
        self.staged = staged
        self.targets = targets
        self.numbers = numbers
        self.places = places
        self.is_all = is_all
        shapes = [target[0].shape for target in targets]
        self.sizes = [math.prod(shape) for shape in shapes]
        self.size = sum(self.sizes)
        self.largest = max(self.sizes, default=0)
        self.layouts = [layout(shape, staged.by_rows) for shape in shapes]
        self.row_counts = [each.matrices * each.rows for each in self.layouts]
        self.first_rows: list[int] = [0, *np.cumsum(self.row_counts).tolist()][:-1]
        self.total_rows = sum(self.row_counts)
        self.has_single_rows = all(count == 1 for count in self.row_counts)
        slots = [i - 1 for i in staged.own[2:]]
        self.elements = [[target[0], *[target[i] for i in slots]] for target in targets]
        self._made: dict[object, Any] = {}

    def made(self, owner: object, make: Callable[[Plan], T]) -> T:
        """What its owner makes once for these tensors."""
        found: T | None = self._made.get(owner)
        if found is None:
            found = self._made[owner] = make(self)
        return found

    def own(self, xs: Sequence[T]) -> Sequence[T]:
        """What is theirs, of something for each tensor of a step."""
        return xs if self.is_all else [xs[place] for place in self.places]

    def own_of_array(self, xs: HostArray) -> HostArray:
        """The same of an array."""
        return xs if self.is_all else xs[self.places]

    def shape(self, rank: str) -> tuple[int, ...]:
        """The shape of the tensor's values of a rank."""
        matrices, rows, columns = self.layouts[0]
        return {
            ROWS: (matrices, rows, 1),
            COLUMNS: (matrices, 1, columns),
            MATRIX: (matrices, 1, 1),
        }.get(rank, ())


class Wave:
    """Some tensors in one step.

    Attributes:
        plan: what stays the same.
        gradients: of each.
        gathered: what the passes know of all gradients of the step.
        rows: number of a reduction -> what it gives of each row.
        blocks: number of a reduction over rows -> what it gives of each block of each column.
    """

    def __init__(self, plan: Plan, gradients: Sequence[RawTensor], gathered: Any) -> None:
        self.plan = plan
        self.staged = plan.staged
        self.gradients = gradients
        self.gathered = gathered
        self.rows: dict[int, HostArray] = {}
        self.blocks: dict[int, HostArray] = {}
        self._known: list[Value] = [None] * len(plan.staged.places)
        self._known[plan.staged.places[ZERO]] = 0.0
        for index in plan.staged.lower:
            self._known[plan.staged.places[Ref(ARRAY, index)]] = self._slot(index)
        self._scratch: dict[Ref, list[RawTensor]] = {}
        self._sets: Sequence[int] | None = None
        self._copied: dict[int, tuple[HostArray, HostArray]] = {}

    def _slot(self, index: int) -> Value:
        """A slot of lower rank, as doubles."""
        arrays = [target[index - 1].array for target in self.plan.targets]
        rank = self.staged.program.rank(index)
        if rank == TENSOR:
            numbers = np.array([float(array) for array in arrays])
            return numbers[0] if self.staged.by_rows else numbers
        return arrays[0].astype(np.float64).reshape(self.plan.shape(rank))

    # -- values ------------------------------------------------------------------------------

    def take(
        self, scalars: Sequence[Scalars], sets: Sequence[int] | None, values: list[Any] | None
    ) -> None:
        """Take what the host and the group give."""
        staged, known = self.staged, self._known
        if sets is not None:
            sets = self.plan.own(sets)
            if sets.count(sets[0]) == len(sets):
                scalars, sets = [scalars[sets[0]]], None
        self._sets = sets
        if sets is None:
            known[: staged.first_value] = scalars[0]
        else:
            for i in range(staged.first_value):
                known[i] = np.array([scalars[number][i] for number in sets])
        if values is not None:
            for i in staged.truths:
                values[i] = bool(values[i])
            known[staged.first_value : staged.first_value + len(values)] = values

    def value(self, ref: Ref) -> Value:
        """A value of lower rank."""
        return self._known[self.staged.places[ref]]

    def of_tensors(self, ref: Ref) -> list[float]:
        """A value of rank tensor, of each."""
        value = self.value(ref)
        if getattr(value, "ndim", 0):
            numbers: list[float] = value.tolist()
            return numbers
        return [float(value)] * len(self.plan.targets)

    def put(self, place: int, value: Value) -> None:
        """Keep a value of lower rank."""
        self._known[place] = value

    def sets_of(
        self, take: Take, by_tensor: bool
    ) -> tuple[Sequence[Scalars], Sequence[int] | None]:
        """Some values as sets of scalars, and which of them each tensor takes: the first by
        default. `by_tensor` says whether they may differ though tensors have the same scalars."""
        columns = take(self._known)
        if self._sets is None and not by_tensor:
            return [columns], None
        if not any(isinstance(column, np.ndarray) and column.ndim for column in columns):
            return [tuple(map(float, columns))], None
        count = len(self.plan.targets)
        table = [np.broadcast_to(column, (count,)).tolist() for column in columns]
        return list(zip(*table, strict=True)), range(count)

    def op(self, number: int) -> str:
        """The operation of an instruction."""
        return self.staged.program.instructions[number].op

    # -- stages ------------------------------------------------------------------------------

    def begin(self, number: int) -> tuple[Sequence[Scalars], Sequence[int] | None]:
        """What comes before the pass of a stage; returns its scalars, and which each tensor takes.

        Behind `make_room` and the pass comes `end`.
        """
        if self.staged.small[number]:
            self._compute(number)
        work = self.staged.stages.stages[number].work
        return self.sets_of(self.staged.scalars[number], work is not None and work.by_tensor)

    @_quietly
    def _compute(self, number: int) -> None:
        """The instructions of a stage below rank element."""
        known = self._known
        for each in self.staged.small[number]:
            if isinstance(each, int):
                value = self._reduced(*self.staged.program.instructions[each])
                known[self.staged.places[Ref(RESULT, each)]] = value
            else:
                each(known)

    def make_room(self, work: Pass) -> None:
        """Memory for what a pass reduces and materialises."""
        for place, _ in work.reductions:
            name, axis = REDUCTIONS[self.op(place)]
            if axis == -2:
                where = self.plan.layouts[0]
                sizes: Shape = where.matrices, where.blocks, where.columns
                kept = self.blocks
            else:
                sizes, kept = (self.plan.total_rows,), self.rows
            kept[place] = np.zeros(sizes) if name == "sum" else np.full(sizes, -np.inf)
        for ref in work.scratch:
            self._scratch[ref] = [
                RawTensor(empty(target[0].shape, self.staged.compute))
                for target in self.plan.targets
            ]

    def end(self, number: int) -> None:
        """What comes after the pass of a stage: its reductions' results, and matrix functions."""
        stage = self.staged.stages.stages[number]
        if stage.work is not None:
            plan = self.plan
            for place, _ in stage.work.reductions:
                if plan.has_single_rows and not self.staged.by_rows:
                    value = self.rows.pop(place)
                else:
                    value = self._closed(place)
                self._known[self.staged.places[Ref(RESULT, place)]] = value
        if not stage.matrices:
            return
        found = {ref: self._scratch[ref] for ref in (stage.work.scratch if stage.work else ())}
        used = [
            arg for place in stage.matrices for arg in self.staged.program.instructions[place][1]
        ]
        once = [ref for ref in found if used.count(ref) == 1]
        results = {Ref(RESULT, place): self._apply(place, once) for place in stage.matrices}
        for ref in found:
            del self._scratch[ref]
        self._scratch |= results

    @_quietly
    def _closed(self, place: int) -> Value:
        """The result of a reduction of elements."""
        name, axis = REDUCTIONS[self.op(place)]
        if axis == -2:
            blocks = self.blocks.pop(place)
            if name == "max":
                return blocks.max(axis=1, keepdims=True, initial=-np.inf)
            total = np.zeros((blocks.shape[0], blocks.shape[2]))
            for number in range(blocks.shape[1]):
                total += blocks[:, number]
            return total[:, None]
        rows, plan = self.rows.pop(place), self.plan
        if axis == -1:
            return rows.reshape(plan.shape(ROWS))
        close = sums.sums_of_tensors if name == "sum" else sums.largest_of_tensors
        tensors = close(rows, plan.row_counts)
        return tensors[0] if self.staged.by_rows else tensors

    def _reduced(self, op: str, args: Sequence[Ref]) -> Value:
        """A reduction of rows, columns or matrices."""
        rank = self.staged.ranks[args[0]]
        x = np.multiply(*map(self.value, args)) if len(args) > 1 else self.value(args[0])
        name, axis = REDUCTIONS[op]
        if name == "max":
            axes = None if axis is None else (axis,)
            return np.max(x, axis=axes, keepdims=axis is not None, initial=-np.inf)
        x = np.broadcast_to(x, self.plan.shape(rank))
        if axis is None:
            return sums.sum_of_all(x)
        matrices = x.shape[0]
        rows = sums.sums_of_rows(
            np.ascontiguousarray(x).reshape(matrices, x.size // max(matrices, 1))
        )
        return rows.reshape(matrices, 1, 1)

    @_quietly
    def _apply(self, place: int, operands: Sequence[Ref]) -> list[RawTensor]:
        """A matrix function, of each tensor; it may overwrite these operands."""
        op, args = self.staged.program.instructions[place]
        columns = [self._scratch.get(arg) or self.of_tensors(arg) for arg in args]
        given = list(zip(*columns, strict=True))
        if matrix_function(op) == "orthogonalize":
            arrays = [x.array if args[0] in operands else x.array.copy() for x, *_ in given]
            scalars = [each[1:] for each in given]
            results = orthogonalize_all(
                self.staged.backend, arrays, scalars, *orthogonalization(op)
            )
        else:
            products = [apply_matrix_function(self.staged.backend, op, *each) for each in given]
            results = [np.ascontiguousarray(product.array) for product in products]
        return list(map(RawTensor, results))

    # -- arrays ------------------------------------------------------------------------------

    def input(self, ref: Ref, rank: str) -> HostArray:
        """A value of rows or columns, a double for each of the tensor's."""
        value = np.broadcast_to(self.value(ref), self.plan.shape(rank))
        return np.ascontiguousarray(value, np.float64)

    def scratch(self, ref: Ref, place: int) -> RawTensor:
        """The operand or the result of a matrix function."""
        return self._scratch[ref][place]

    def arrays(self, place: int, work: Pass) -> list[HostArray]:
        """The arrays of a tensor that a pass goes through."""
        p, *slots = [raw.array for raw in self.plan.elements[place]]
        g = self.gradients[place].array
        if not (g.flags.owndata and p.flags.owndata):
            g = apart(g, p)
        arrays: list[HostArray] = [p, g, *slots]
        if self.staged.by_rows:
            shape = tuple(self.plan.layouts[place])
            arrays = [self._matrices(array, shape) for array in arrays]
        for ref, rank in zip(work.inputs, work.ranks, strict=True):
            if rank == ELEMENT:
                arrays.append(self._scratch[ref][place].array)
            else:
                value = np.asarray(self.value(ref), np.float64)
                arrays.append(np.broadcast_to(value, tuple(self.plan.layouts[place])))
        arrays += [self._scratch[ref][place].array for ref in work.scratch]
        if self.staged.by_rows:
            shape = tuple(self.plan.layouts[place])
            arrays = [array.reshape(shape) for array in arrays]
        return arrays

    def _matrices(self, array: HostArray, shape: tuple[int, ...]) -> HostArray:
        """An array as matrices; a copy, which is written back, where there is no such view."""
        matrices = array.reshape(shape)
        if array.size and not np.may_share_memory(matrices, array):
            self._copied[id(array)] = matrices, array
        return matrices

    def store(self) -> None:
        """Write what was copied, and the slots of lower rank; let go of what else was made."""
        self._scratch.clear()
        for copy, array in self._copied.values():
            array[...] = copy.reshape(array.shape)
        targets = self.plan.targets
        found = [(i, self._known[place]) for i, place in self.staged.stored]
        for i, value in found:
            rank = self.staged.program.rank(i)
            if rank == TENSOR:
                own = np.broadcast_to(value, (len(targets),))
                for number, target in zip(own, targets, strict=True):
                    target[i - 1].array[...] = number
            else:
                array = targets[0][i - 1].array
                array[...] = np.broadcast_to(value, self.plan.shape(rank)).reshape(array.shape)
