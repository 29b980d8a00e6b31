"""`Program`: a traced update rule, ready for a backend to compile.

It is a straight line of instructions over named arrays. What depends on scalars alone is left to
`host`, in double, once for each number of updates. Each value has a rank: how much of it there is.
What is of rank group, one number for all parameters, is a `GroupProgram` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, NamedTuple

from born.fusion.host import Host

ARRAY: Final = "a"
SCALAR: Final = "s"
RESULT: Final = "r"
VALUE: Final = "q"
TOTAL: Final = "t"

HOST: Final = "host"
GROUP: Final = "group"
TENSOR: Final = "tensor"
MATRIX: Final = "matrix"
ROWS: Final = "rows"
COLUMNS: Final = "columns"
ELEMENT: Final = "element"
_BREADTH: Final = {HOST: 0, GROUP: 1, TENSOR: 2, MATRIX: 3, ROWS: 4, COLUMNS: 4, ELEMENT: 5}
"""Rank -> how far up it is. A value of rank matrix is one number for each matrix of a tensor of
more than two axes."""


def join(*ranks: str) -> str:
    """The rank of what is computed from values of these ranks, as broadcasting has it.

    >>> join(TENSOR, ROWS), join(ROWS, COLUMNS)
    ('rows', 'element')
    """
    if ROWS in ranks and COLUMNS in ranks:
        return ELEMENT
    return max(ranks, key=_BREADTH.__getitem__, default=HOST)


class Ref(NamedTuple):
    """A value: array input, host scalar, result of an instruction, or one of the group's.

    In a `GroupProgram` an array input is a slot of rank group, and `TOTAL` a sum over all tensors.
    """

    kind: str
    index: int  # type: ignore[assignment]  # tuples have a method of that name, not needed here

    def __str__(self) -> str:
        return f"{self.kind}{self.index}"


class Instruction(NamedTuple):
    """One operation on `args`; the n-th one's result is `Ref(RESULT, n)`."""

    op: str
    args: tuple[Ref, ...]


def reached(
    instructions: Sequence[Instruction], values: Iterable[Ref], is_end: Callable[[Ref], bool]
) -> set[Ref]:
    """What values are computed from, they included; of an end it does not matter from what."""
    found: set[Ref] = set()
    waiting = list(values)
    while waiting:
        ref = waiting.pop()
        if ref not in found:
            found.add(ref)
            if ref.kind == RESULT and not is_end(ref):
                waiting += instructions[ref.index].args
    return found


def renumbered(order: Sequence[int]) -> dict[Ref, Ref]:
    """The results of the instructions that remain -> what they are called without the others."""
    return {Ref(RESULT, old): Ref(RESULT, new) for new, old in enumerate(order)}


def rewritten(
    instructions: Iterable[Instruction], renamed: Mapping[Ref, Ref]
) -> tuple[Instruction, ...]:
    """Instructions with other names for some values."""
    return tuple(
        Instruction(op, tuple(renamed.get(x, x) for x in args)) for op, args in instructions
    )


def last_uses(instructions: Sequence[Instruction], outputs: Iterable[Ref]) -> dict[Ref, int]:
    """Value -> the number of the last instruction that reads it; outputs stay to the end."""
    last: dict[Ref, int] = {}
    for number, instruction in enumerate(instructions):
        last.update(dict.fromkeys(instruction.args, number))
    last.update(dict.fromkeys(outputs, len(instructions)))
    return last


BOOLEAN: Final = frozenset(
    ("lt", "le", "gt", "ge", "eq", "ne", "isfinite", "logical_and", "logical_or", "logical_not")
)
"""The operations that give truth values."""

REDUCTIONS: Final = {
    f"{op}{over}": (op, axis)
    for op in ("sum", "max")
    for over, axis in (("", None), ("_over_columns", -1), ("_over_rows", -2))
}
"""The operations that lower a rank: which of two it is, and over which axis. They are computed in
double; a sum of two arguments is one of their products."""

MATRIX_FUNCTIONS: Final = ("matmul", "orthogonalize")
"""The operations that need whole matrices; see also `orthogonalization`."""


def matrix_function(op: str) -> str | None:
    """Which of the `MATRIX_FUNCTIONS` an operation is.

    >>> matrix_function("orthogonalize_5_aol"), matrix_function("mul")
    ('orthogonalize', None)
    """
    name = op.partition("_")[0]
    return name if name in MATRIX_FUNCTIONS else None


def orthogonalization(op: str) -> tuple[int, str]:
    """The steps and the preconditioning that the name of an operation tells.

    >>> orthogonalization("orthogonalize_5_aol")
    (5, 'aol')
    """
    _, steps, preconditioning = op.split("_")
    return int(steps), preconditioning


_STOCHASTIC: Final = "stochastic_"


def stochastic(op: str) -> str:
    """The dtype that an operation rounds to, up or down by chance; "" if it is none of these.

    Its arguments are the value, and what the chance is a function of besides the number of the
    element: t, the number of the parameter, and a seed.

    >>> stochastic("stochastic_bfloat16"), stochastic("cast_bfloat16")
    ('bfloat16', '')
    """
    return op.removeprefix(_STOCHASTIC) if op.startswith(_STOCHASTIC) else ""


def reduced(op: str, ranks: tuple[str, ...]) -> str:
    """The rank of the result of a reduction."""
    rank, (_, axis) = join(*ranks), REDUCTIONS[op]
    if axis is None:
        return TENSOR
    if rank == ELEMENT:
        return ROWS if axis == -1 else COLUMNS
    return MATRIX


EXACT: Final = BOOLEAN.union(
    ["add", "sub", "mul", "div", "neg", "abs", "sign", "sqrt", "maximum", "minimum", "where"],
    ("cast_float16", "cast_bfloat16", "cast_float32"),
    ("stochastic_float16", "stochastic_bfloat16"),
)
"""The operations whose results IEEE 754 fixes to the last bit: all but `pow`, `exp` and `log`."""


@dataclass(frozen=True)
class GroupProgram:
    """What is computed once for all parameters of an optimizer, in double.

    It runs in rounds: between two of them lie the sums over all tensors that the next one needs.

    Attributes:
        slots: the names of the slots of rank group.
        instructions: what to compute, in order.
        outputs: for each slot the value it takes.
        totals: how many sums over all tensors there are.
        values: what tensors are updated with: the `Ref(VALUE, i)` of their programs.
        total_rounds: the round in which each total is summed up, from 0.
        value_rounds: the round before which each value is known, from 0.
        scalars: how many host scalars there are.
        reads: the names of the rule's own scalars that the host scalars depend on.
        host: from the rule's own scalars (and `t`) to the host scalars, in double.
        compiled: what backends make of it, under keys of their own.
    """

    slots: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Ref, ...]
    totals: int
    values: tuple[Ref, ...]
    total_rounds: tuple[int, ...]
    value_rounds: tuple[int, ...]
    scalars: int
    reads: frozenset[str] = field(compare=False)
    host: Host = field(compare=False, repr=False)
    compiled: dict[object, Any] = field(
        default_factory=dict[object, Any], compare=False, repr=False
    )

    @cached_property
    def rounds(self) -> int:
        """How many rounds of sums there are before the last values are known."""
        return max(self.total_rounds, default=-1) + 1

    @cached_property
    def schedule(self) -> list[tuple[list[Ref], list[tuple[Ref, str, tuple[Ref, ...]]]]]:
        """For each number of rounds that are over, the new totals, and what can be computed."""
        schedule: list[tuple[list[Ref], list[tuple[Ref, str, tuple[Ref, ...]]]]] = []
        known = {Ref(ARRAY, i) for i in range(len(self.slots))}
        known |= {Ref(SCALAR, i) for i in range(self.scalars)}
        for number in range(-1, self.rounds):
            added = [Ref(TOTAL, i) for i, each in enumerate(self.total_rounds) if each == number]
            known.update(added)
            computed: list[tuple[Ref, str, tuple[Ref, ...]]] = []
            for place, (op, args) in enumerate(self.instructions):
                ref = Ref(RESULT, place)
                if ref not in known and known.issuperset(args):
                    known.add(ref)
                    computed.append((ref, op, args))
            schedule.append((added, computed))
        return schedule

    def is_boolean(self, ref: Ref) -> bool:
        """Whether a value is a truth value."""
        return ref.kind == RESULT and self.instructions[ref.index].op in BOOLEAN

    def __str__(self) -> str:
        names = {Ref(ARRAY, i): name for i, name in enumerate(self.slots)}
        names |= {Ref(TOTAL, i): f"total{i}" for i in range(self.totals)}
        lines = [
            f"  {_line(number, instruction, names, 'd')}"
            for number, instruction in enumerate(self.instructions)
        ]
        lines += [
            f"  q{i} = {_shown(ref, names, 'd')}" + (f"  (after round {rounds})" if rounds else "")
            for i, (ref, rounds) in enumerate(zip(self.values, self.value_rounds, strict=True))
        ]
        lines += [
            f"  {slot} <- {_shown(ref, names, 'd')}"
            for slot, ref in zip(self.slots, self.outputs, strict=True)
        ]
        return "\n".join(["group", *lines])


@dataclass(frozen=True, slots=True)
class Program:
    """A rule as a backend sees it.

    Two programs of the same instructions are equal and share a kernel, whatever their names
    and the origin of their scalars.

    Attributes:
        arrays: the names of the array inputs: the parameter, its gradient, the slots.
        instructions: what to compute, in order.
        outputs: for the parameter and for each slot, the value it takes.
        scalars: how many host scalars there are.
        host: from the rule's own scalars (and `t`) to the host scalars, in double.
        name: of the rule.
        ranks: of each array; empty where all are of rank element.
        codecs: of each array, what it is kept as (`born.fusion.codec`), or ""; empty where there
            are none. They are a load and a store around the instructions.
        chance: the scalars, t and the parameter's number, that say how coded slots are rounded.
        totals: the sums, of rank tensor, that the group adds up over all tensors.
        group: what is computed once for all tensors, if there is anything.
        sizes: which of `size`, `rows`, `columns` and `matrices` the host needs, as `__size` and so
            on.
        by_ndim: whether the rule has asked for the number of axes of its parameter.
        least_ndim: the fewest axes that a parameter must have.
        by_square: whether its matrices must have as many rows as columns.
    """

    arrays: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Ref, ...]
    scalars: int
    host: Host = field(compare=False, repr=False)
    name: str = field(compare=False)
    ranks: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ()
    chance: tuple[Ref, ...] = ()
    totals: tuple[Ref, ...] = ()
    group: GroupProgram | None = None
    sizes: tuple[str, ...] = field(default=(), compare=False)
    by_ndim: bool = field(default=False, compare=False)
    least_ndim: int = field(default=0, compare=False)
    by_square: bool = field(default=False, compare=False)

    @property
    def targets(self) -> tuple[int, ...]:
        """The array input that each output is written to: all but the gradient."""
        return (0, *range(2, len(self.arrays)))

    @property
    def exact(self) -> bool:
        """Whether every backend gives the same bits."""
        return all(op in EXACT or op in REDUCTIONS for op, _ in self.instructions)

    @property
    def staged(self) -> bool:
        """Whether it takes more than one elementwise pass, or has values below rank element."""
        return bool(self.ranks) or self.group is not None

    def rank(self, index: int) -> str:
        """The rank of an array input."""
        return self.ranks[index] if self.ranks else ELEMENT

    def codec(self, index: int) -> str:
        """What an array input is kept as; "" for numbers of its dtype."""
        return self.codecs[index] if self.codecs else ""

    def with_codecs(self, codecs: tuple[str, ...], shift: int = 0) -> Program:
        """The program with arrays that are kept as these codecs; the host hands `chance` over.

        A `shift` is added to the parameter's number in it, for another chance.
        """
        host, number = self.host, "__number"
        texts = ("t", f"{number} + {shift}" if shift else number)
        arguments = tuple(dict.fromkeys((*host.arguments, "t", number)))
        handed = tuple(dict.fromkeys((*host.handed, *texts)))
        return replace(
            self,
            host=Host(arguments, host.lines, handed, host.called),
            scalars=len(handed),
            sizes=tuple(dict.fromkeys((*self.sizes, "number"))),
            codecs=codecs,
            chance=tuple(Ref(SCALAR, handed.index(text)) for text in texts),
        )

    def coded_place(self, index: int) -> int:
        """The place of an array among those that are coded."""
        return sum(map(bool, self.codecs[:index]))

    @property
    def indexed(self) -> bool:
        """Whether some results depend on the numbers of the elements."""
        return any(stochastic(op) for op, _ in self.instructions)

    def all_ranks(self) -> dict[Ref, str]:
        """The rank of every value."""
        ranks: dict[Ref, str] = {Ref(ARRAY, i): self.rank(i) for i in range(len(self.arrays))}
        ranks |= {Ref(SCALAR, i): HOST for i in range(self.scalars)}
        values = self.group.values if self.group else ()
        ranks |= {Ref(VALUE, i): GROUP for i in range(len(values))}
        for number, (op, args) in enumerate(self.instructions):
            given = tuple(ranks[arg] for arg in args)
            rank = join(*given) if op not in REDUCTIONS else reduced(op, given)
            rank = ELEMENT if stochastic(op) else rank
            # What joins numbers of the group and the host alone may differ from tensor to tensor.
            ranks[Ref(RESULT, number)] = TENSOR if rank in (HOST, GROUP) else rank
        return ranks

    def numbered(self) -> tuple[dict[Ref, int], list[int]]:
        """The stage of each value, from 0, and the first stage of each round of totals."""
        ranks, group = self.all_ranks(), self.group
        stage: dict[Ref, int] = {Ref(ARRAY, i): 0 for i in range(len(self.arrays))}
        stage |= {Ref(SCALAR, i): 0 for i in range(self.scalars)}
        boundaries = [0]
        for finished in range((group.rounds if group else 0) + 1):
            if group is not None and finished:
                boundaries.append(
                    max(
                        stage[ref]
                        for ref, number in zip(self.totals, group.total_rounds, strict=True)
                        if number == finished - 1
                    )
                )
            if group is not None:
                for i, number in enumerate(group.value_rounds):
                    if number == finished:
                        stage[Ref(VALUE, i)] = boundaries[-1]
            for number, (op, args) in enumerate(self.instructions):
                ref = Ref(RESULT, number)
                if ref not in stage and all(arg in stage for arg in args):
                    of_elements = any(ranks[arg] == ELEMENT for arg in args)
                    ends = (op in REDUCTIONS and of_elements) or matrix_function(op) is not None
                    stage[ref] = max((stage[arg] for arg in args), default=0) + ends
        return stage, boundaries

    def is_boolean(self, ref: Ref) -> bool:
        """Whether a value is a truth value."""
        if ref.kind == VALUE and self.group is not None:
            return self.group.is_boolean(self.group.values[ref.index])
        return ref.kind == RESULT and self.instructions[ref.index].op in BOOLEAN

    def last_use(self) -> dict[Ref, int]:
        """Value -> the number of the last instruction that reads it; outputs stay to the end."""
        return last_uses(self.instructions, self.outputs)

    def __str__(self) -> str:
        names = {Ref(ARRAY, i): name for i, name in enumerate(self.arrays)}
        shown = [
            name if self.rank(i) == ELEMENT else f"{name}: {self.rank(i)}"
            for i, name in enumerate(self.arrays)
        ]
        lines = [_line(*each, names) for each in enumerate(self.instructions)]
        if self.staged:
            lines = self._with_stages(lines)
        for target, output in zip(self.targets, self.outputs, strict=True):
            lines.append(f"{self.arrays[target]} <- {names.get(output, str(output))}")
        text = "\n".join([f"{self.name}({', '.join(shown)})", *(f"  {line}" for line in lines)])
        return text if self.group is None else f"{text}\n{self.group}"

    def _with_stages(self, lines: Sequence[str]) -> list[str]:
        """The lines of instructions under headings, with the rank of what is not of elements."""
        ranks, (stage, _) = self.all_ranks(), self.numbered()
        under: dict[int, list[str]] = {}
        width = max(map(len, lines), default=0)
        for number, (line, (_, args)) in enumerate(zip(lines, self.instructions, strict=True)):
            ref = Ref(RESULT, number)
            rank = ranks[ref]
            told = [] if rank == ELEMENT else [rank]
            told += [f"total{i}" for i, total in enumerate(self.totals) if total == ref]
            # What ends a stage is computed in it, from its arguments.
            place = max((stage[arg] for arg in args), default=0)
            text = f"  {line:{width}}  # {', of all: '.join(told)}" if told else f"  {line}"
            under.setdefault(place, []).append(text)
        return [
            line for number in sorted(under) for line in (f"stage {number + 1}", *under[number])
        ]


def _shown(ref: Ref, names: dict[Ref, str], result: str = RESULT) -> str:
    text = f"{result}{ref.index}" if ref.kind == RESULT else str(ref)
    return names.get(ref, text)


def _line(
    number: int, instruction: Instruction, names: dict[Ref, str], result: str = RESULT
) -> str:
    listed = ", ".join(_shown(arg, names, result) for arg in instruction.args)
    return f"{result}{number} = {instruction.op}({listed})"
