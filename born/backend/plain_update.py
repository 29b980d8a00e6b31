"""`PlainUpdate`: an update rule, run by a backend's own operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend import codecs, lanes
from born.backend.contract.primitives import Primitives
from born.backend.orthogonal import orthogonalize
from born.backend.update import (
    BoundUpdate,
    Check,
    GroupUpdate,
    PreparedStep,
    Scalars,
    UpdateKernel,
    accept,
    element_dtype,
)
from born.dtypes import float32
from born.fusion import ARRAY, RESULT, SCALAR, VALUE, GroupProgram, Instruction, Program, Ref
from born.fusion.program import (
    COLUMNS,
    ELEMENT,
    MATRIX,
    REDUCTIONS,
    ROWS,
    TOTAL,
    matrix_function,
    orthogonalization,
    stochastic,
)
from born.raw import RawTensor, Shape

_DOUBLE: Final = np.dtype(np.float64)


class PlainUpdate(UpdateKernel):
    """Instruction after instruction by a backend's operations: right everywhere, fused nowhere."""

    def __init__(
        self, backend: Primitives, program: Program, dtypes: tuple[np.dtype[Any], ...]
    ) -> None:
        super().__init__(program, dtypes, str(program))
        self.backend = backend
        self.compute = element_dtype(program, dtypes)
        self.ranks = program.all_ranks()
        self.by_rows = lanes.goes_by_rows(program)
        self.rounds = rounds_of(program)

    @override
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        return _Bound(self, targets, check)


def rounds_of(program: Program) -> list[int]:
    """For each instruction, how many rounds of totals have to be over before it."""
    rounds: list[int] = []
    for _, args in program.instructions:
        needed = [0]
        for arg in args:
            if arg.kind == VALUE and program.group is not None:
                needed.append(program.group.value_rounds[arg.index])
            elif arg.kind == RESULT:
                needed.append(rounds[arg.index])
        rounds.append(max(needed))
    return rounds


@dataclass(slots=True)
class _Bound(BoundUpdate):
    """The targets, which nothing is prepared for."""

    kernel: PlainUpdate
    targets: Sequence[Sequence[RawTensor]]
    check: Check

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        for number, gradient in zip(numbers, gradients, strict=True):
            self.check(number, gradient)
        tensors = [
            _Tensor(self.kernel, self.targets[number], gradient)
            for number, gradient in zip(numbers, gradients, strict=True)
        ]
        return _Step(self.kernel, tensors)


@dataclass(slots=True)
class _Step(PreparedStep):
    """The instructions, tensor by tensor."""

    kernel: PlainUpdate
    tensors: Sequence[_Tensor]

    @override
    def run(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None = None,
        values: RawTensor | None = None,
        finished: int = 0,
    ) -> RawTensor | None:
        with np.errstate(all="ignore"):  # an infinite gradient is the caller's affair, not news
            return self._run(scalars, sets or [0] * len(self.tensors), values, finished)

    def _run(
        self,
        scalars: Sequence[Scalars],
        chosen: Sequence[int],
        values: RawTensor | None,
        finished: int,
    ) -> RawTensor | None:
        """One round; behind the last one the tensors are written."""
        group, backend = self.kernel.program.group, self.kernel.backend
        if group is None or finished == group.rounds:
            for tensor, number in zip(self.tensors, chosen, strict=True):
                tensor.compute(scalars[number], values, finished)
                tensor.store(scalars[number], values)
            return None
        for tensor, number in zip(self.tensors, chosen, strict=True):
            tensor.compute(scalars[number], values, finished)
        sums = [
            lanes.sum_of_all(
                backend, backend.stack([tensor.results[ref.index] for tensor in self.tensors])
            )
            for ref, number in zip(self.kernel.program.totals, group.total_rounds, strict=True)
            if number == finished
        ]
        return backend.stack(sums)


@dataclass(slots=True)
class _Tensor:
    """A parameter in a step, with the results there are so far.

    Values below rank element are doubles, and of a shape that broadcasts.
    """

    kernel: PlainUpdate
    target: Sequence[RawTensor]
    gradient: RawTensor
    results: dict[int, RawTensor] = field(default_factory=dict[int, RawTensor])
    inputs: dict[int, RawTensor] = field(default_factory=dict[int, RawTensor])

    def compute(self, scalars: Scalars, values: RawTensor | None, finished: int) -> None:
        """All that can be, when some rounds of totals are over."""
        kernel = self.kernel
        for number, instruction in enumerate(kernel.program.instructions):
            if number not in self.results and kernel.rounds[number] <= finished:
                self.results[number] = self._computed(number, instruction, scalars, values)

    @property
    def _layout(self) -> lanes.Layout:
        return lanes.layout(self.target[0].shape, self.kernel.by_rows)

    def _shape(self, rank: str) -> Shape:
        """The shape of values of a rank, while they are computed with."""
        if not self.kernel.by_rows:
            return self.target[0].shape if rank == ELEMENT else ()
        matrices, rows, columns = self._layout
        return {
            ELEMENT: (matrices, rows, columns),
            ROWS: (matrices, rows, 1),
            COLUMNS: (matrices, 1, columns),
            MATRIX: (matrices, 1, 1),
        }.get(rank, ())

    def _value(
        self, ref: Ref, scalars: Scalars, values: RawTensor | None, dtype: np.dtype[Any]
    ) -> RawTensor | float:
        """A value in a dtype to compute with; truth values stay such."""
        backend = self.kernel.backend
        if ref.kind == SCALAR:
            return scalars[ref.index]
        if ref.kind == RESULT:
            x = self.results[ref.index]
        elif ref.kind == VALUE and values is not None:
            x = backend.getitem(values, ref.index)
            if self.kernel.program.is_boolean(ref):
                return truth(backend, x)
        else:
            x = self._input(ref.index)
        return x if x.dtype in (dtype, np.bool_) else backend.astype(x, dtype)

    def _input(self, index: int) -> RawTensor:
        """An array in the dtype that its rank is computed in, of a shape that broadcasts."""
        if index not in self.inputs:
            backend, program = self.kernel.backend, self.kernel.program
            x = self.gradient if index == 1 else self.target[max(index - 1, 0)]
            rank = program.rank(index)
            dtype = self.kernel.compute if rank == ELEMENT else _DOUBLE
            x = x if x.dtype == dtype else backend.astype(x, dtype)
            shape = self._shape(rank)
            self.inputs[index] = x if x.shape == shape else backend.reshape(x, shape)
        return self.inputs[index]

    def _computed(
        self, number: int, instruction: Instruction, scalars: Scalars, values: RawTensor | None
    ) -> RawTensor:
        """The result of one instruction."""
        kernel, (op, args) = self.kernel, instruction
        backend = kernel.backend
        if op in REDUCTIONS:
            factors = [self._value(arg, scalars, values, _DOUBLE) for arg in args]
            return self._reduced(op, kernel.ranks[args[0]], *factors)
        if matrix_function(op):
            matrices = [self._value(arg, scalars, values, kernel.compute) for arg in args]
            return self._matrices(op, *matrices)
        rank = kernel.ranks[Ref(RESULT, number)]
        dtype = kernel.compute if rank == ELEMENT else _DOUBLE
        return operation(backend, op, dtype)(
            *[self._value(arg, scalars, values, dtype) for arg in args]
        )

    def _reduced(self, op: str, rank: str, x: Any, y: Any = None) -> RawTensor:
        """A reduction of x, or of x y, in the order that `lanes` fixes."""
        backend, (name, axis) = self.kernel.backend, REDUCTIONS[op]
        x = x if y is None else backend.mul(x, y)
        if name == "max":
            axes = None if axis is None else (axis,)
            if x.size:
                most = backend.max(x, axes, keepdims=axis is not None)
            else:
                shape = list(self._shape(rank))
                for each in axes or ():
                    shape[each] = 1
                most = backend.full(tuple(shape) if axes else (), -np.inf, _DOUBLE)
            return most
        where = self._layout
        if axis is None:
            if rank == ELEMENT:
                return lanes.sum_of_tensor(backend, x, where)
            return lanes.sum_of_all(backend, x)
        if axis == -2 and rank == ELEMENT:
            return lanes.sums_of_columns(backend, x, where)
        length = where.rows if axis == -2 else where.columns
        count = where.matrices * (where.rows if rank == ELEMENT else 1)
        rows = backend.reshape(x, (count, length))
        sums = lanes.sums_of_rows(backend, rows)
        return backend.reshape(sums, self._shape(ROWS if rank == ELEMENT else MATRIX))

    def _matrices(self, op: str, *args: Any) -> RawTensor:
        """A matrix function of arguments in their own shape."""
        backend, shape = self.kernel.backend, self._shape(ELEMENT)
        own = self.target[0].shape
        matrices = [
            backend.reshape(backend.broadcast_to(arg, shape), own)
            if isinstance(arg, RawTensor)
            else arg
            for arg in args
        ]
        return backend.reshape(apply_matrix_function(backend, op, *matrices), shape)

    def store(self, scalars: Scalars, values: RawTensor | None) -> None:
        """Write the outputs."""
        kernel, backend = self.kernel, self.kernel.backend
        program = kernel.program
        outputs: list[RawTensor] = []
        targets = list[RawTensor]()
        for index, raw, ref in zip(program.targets, self.target, program.outputs, strict=True):
            if ref == Ref(ARRAY, index):
                continue
            targets.append(raw)
            rank = program.rank(index)
            dtype = kernel.compute if rank == ELEMENT else _DOUBLE
            output = self._value(ref, scalars, values, dtype)
            shape = self._shape(rank)
            if not isinstance(output, RawTensor):
                output = backend.full(shape, output, dtype)
            # An input given out again may be written before the output that it is.
            elif any(output is x for x in self.inputs.values()):
                output = backend.copy(output)
            if output.shape != shape:  # numbers of a lower rank alone went into it
                output = backend.broadcast_to(output, shape)
            if output.shape != raw.shape:
                output = backend.reshape(output, raw.shape)
            outputs.append(output)
        for raw, output in zip(targets, outputs, strict=True):
            same = output.dtype == raw.dtype
            backend.assign(raw, output if same else backend.astype(output, raw.dtype))


def apply_matrix_function(backend: Primitives, op: str, *args: Any) -> RawTensor:
    """A function of matrices, by a backend's products."""
    if op == "matmul":
        return backend.matmul(*args)
    x, a, b, c, eps, added = args
    steps, preconditioning = orthogonalization(op)
    return orthogonalize(backend, x, steps, (a, b, c), eps, added, preconditioning)


class PlainGroup(GroupUpdate):
    """The values of rank group by a backend's operations on tensors of shape ()."""

    def __init__(
        self,
        backend: Primitives,
        program: GroupProgram,
        slots: Sequence[RawTensor],
        scalars: Scalars,
    ) -> None:
        super().__init__(program)
        self._backend = backend
        self._slots = slots
        self._known: dict[Ref, RawTensor | float] = {
            Ref(ARRAY, i): backend.copy(slot) for i, slot in enumerate(slots)
        }
        self._known |= {Ref(SCALAR, i): scalar for i, scalar in enumerate(scalars)}
        self._round = -1

    @override
    def values(self, totals: Sequence[RawTensor]) -> RawTensor:
        with np.errstate(all="ignore"):
            return self._values(totals)

    def _values(self, totals: Sequence[RawTensor]) -> RawTensor:
        """The values that can be computed of what is known by now."""
        backend, program = self._backend, self.program
        added = [i for i, number in enumerate(program.total_rounds) if number == self._round]
        for place, i in enumerate(added):
            total = backend.getitem(totals[0], place)
            for other in totals[1:]:
                total = backend.add(total, backend.getitem(other, place))
            self._known[Ref(TOTAL, i)] = total
        self._round += 1
        for number, (op, args) in enumerate(program.instructions):
            ref = Ref(RESULT, number)
            if ref not in self._known and all(arg in self._known for arg in args):
                compute = operation(backend, op, _DOUBLE)
                self._known[ref] = compute(*[self._known[arg] for arg in args])
        if not program.values:
            return backend.zeros((1,), _DOUBLE)
        return backend.stack([self._number(ref) for ref in program.values])

    def _number(self, ref: Ref) -> RawTensor:
        backend, value = self._backend, self._known.get(ref, 0.0)
        if not isinstance(value, RawTensor):
            return backend.full((), value, _DOUBLE)
        return backend.astype(value, _DOUBLE) if value.dtype == np.bool_ else value

    @override
    def finish(self) -> None:
        for slot, ref in zip(self._slots, self.program.outputs, strict=True):
            self._backend.assign(slot, self._number(ref))


COMPARISONS: Final = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
"""The comparisons of programs, by their names in the contract."""


def truth(backend: Primitives, x: RawTensor) -> RawTensor:
    """Numbers that stand for truth values as such."""
    return operation(backend, "ne", _DOUBLE)(x, 0.0)


def operation(backend: Primitives, op: str, compute: np.dtype[Any]) -> Callable[..., RawTensor]:
    """An elementwise operation of programs by those of a backend."""
    if op == "where":
        return partial(_select, backend, compute)
    if narrow := stochastic(op):
        return partial(_rounded, backend, narrow)
    if op.startswith("cast_"):
        dtype = op.removeprefix("cast_")

        def rounded(x: RawTensor) -> RawTensor:
            return backend.astype(backend.astype(x, dtype), x.dtype)

        return rounded
    found: Callable[..., RawTensor] = getattr(backend, COMPARISONS.get(op, op))
    if op.startswith("logical"):
        return lambda *args: found(
            *[x if isinstance(x, RawTensor) else backend.full((), bool(x), "bool") for x in args]
        )
    return found


def _rounded(
    backend: Primitives, dtype: str, x: RawTensor, t: float, number: float, seed: float
) -> RawTensor:
    single = x if x.dtype == float32 else backend.astype(x, float32)
    rounded = backend.round_stochastically(single, dtype, codecs.key_of(t, number, seed))
    return rounded if x.dtype == float32 else backend.astype(rounded, x.dtype)


def _select(
    backend: Primitives, compute: np.dtype[Any], condition: Any, x: Any, y: Any
) -> RawTensor:
    """Of a condition on elements or on a scalar; numbers become tensors of one element."""
    x, y = (z if isinstance(z, RawTensor) else backend.full((), z, compute) for z in (x, y))
    if isinstance(condition, RawTensor):
        return backend.where(condition, x, y)
    chosen: RawTensor = x if condition else y
    return chosen
