"""`Program`: a traced update rule, ready for a backend to compile.

It is a straight line of elementwise instructions over named arrays. What depends on scalars
alone is left to `host`, in double, once for each number of updates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

ARRAY: Final = "a"
SCALAR: Final = "s"
RESULT: Final = "r"
SCALE: Final = "c"


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of a program: array input, host scalar, result of an instruction, or the scale."""

    kind: str
    index: int

    def __str__(self) -> str:
        return f"{self.kind}{self.index}"


class Instruction(NamedTuple):
    """One elementwise operation on `args`; the n-th one's result is `Ref(RESULT, n)`."""

    op: str
    args: tuple[Ref, ...]


BOOLEAN: Final = frozenset(
    ("lt", "le", "gt", "ge", "eq", "ne", "isfinite", "logical_and", "logical_or", "logical_not")
)
"""The operations that give truth values."""

EXACT: Final = BOOLEAN.union(
    ["add", "sub", "mul", "div", "neg", "abs", "sign", "sqrt", "maximum", "minimum", "where"],
    ("cast_float16", "cast_bfloat16", "cast_float32"),
)
"""The operations whose results IEEE 754 fixes to the last bit: all but `pow`, `exp` and `log`."""


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
        host_source: the Python text of `host`.
        host: from the rule's own scalars (and `t`) to the host scalars, in double.
        name: of the rule.
    """

    arrays: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Ref, ...]
    scalars: int
    host_source: str = field(compare=False)
    host: Callable[..., tuple[float, ...]] = field(compare=False, repr=False)
    name: str = field(compare=False)

    @property
    def targets(self) -> tuple[int, ...]:
        """The array input that each output is written to: all but the gradient."""
        return (0, *range(2, len(self.arrays)))

    @property
    def exact(self) -> bool:
        """Whether every backend gives the same bits."""
        return all(instruction.op in EXACT for instruction in self.instructions)

    @property
    def scaled(self) -> Program:
        """This program with its gradient first multiplied by `Ref(SCALE, 0)`, one for all."""
        gradient = Ref(ARRAY, 1)

        def moved(ref: Ref) -> Ref:
            if ref == gradient:
                return Ref(RESULT, 0)
            return Ref(RESULT, ref.index + 1) if ref.kind == RESULT else ref

        first = Instruction("mul", (gradient, Ref(SCALE, 0)))
        rest = [Instruction(op, tuple(map(moved, args))) for op, args in self.instructions]
        outputs = tuple(map(moved, self.outputs))
        return replace(self, instructions=(first, *rest), outputs=outputs)

    @property
    def has_scale(self) -> bool:
        """Whether it is what `scaled` gives."""
        return any(arg.kind == SCALE for _, args in self.instructions for arg in args)

    def last_use(self) -> dict[Ref, int]:
        """Value -> the number of the last instruction that reads it; outputs stay to the end."""
        last: dict[Ref, int] = {}
        for number, instruction in enumerate(self.instructions):
            last.update(dict.fromkeys(instruction.args, number))
        last.update(dict.fromkeys(self.outputs, len(self.instructions)))
        return last

    def __str__(self) -> str:
        names = {Ref(ARRAY, i): name for i, name in enumerate(self.arrays)}
        lines = [f"{self.name}({', '.join(self.arrays)})"]
        for number, (op, args) in enumerate(self.instructions):
            listed = ", ".join(names.get(arg, str(arg)) for arg in args)
            lines.append(f"  r{number} = {op}({listed})")
        for target, output in zip(self.targets, self.outputs, strict=True):
            lines.append(f"  {self.arrays[target]} <- {names.get(output, str(output))}")
        return "\n".join(lines)
