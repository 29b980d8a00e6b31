"""The text of what loops compute with an element: its loads, its instructions, its stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from born.backend.update import element_dtype
from born.fusion import ARRAY, BOOLEAN, SCALAR, Program, Ref
from born.fusion.program import ELEMENT, stochastic
from born_numba import codecs

TEXTS: Final = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "lt": "{} < {}",
    "le": "{} <= {}",
    "gt": "{} > {}",
    "ge": "{} >= {}",
    "eq": "{} == {}",
    "ne": "{} != {}",
    "logical_and": "{} and {}",
    "logical_or": "{} or {}",
    "logical_not": "not {}",
    "where": "{1} if {0} else {2}",
    "sign": "{0} if {0} != {0} else real({0} > 0) - real({0} < 0)",
    "maximum": "{0} if {0} > {1} or {0} != {0} else {1}",
    "minimum": "{0} if {0} < {1} or {0} != {0} else {1}",
    "sqrt": "np.sqrt({})",
    "isfinite": "np.isfinite({})",
    "cast_float16": "real(float32_of_half(half_of_float32({0})))",
    "cast_bfloat16": "real(float32_of_bits(np.uint32(bfloat16_of_float32({0})) << np.uint32(16)))",
    "cast_float32": "real(np.float32({0}))",
}
"""The operations that a loop does not call by name."""

_LOADS: Final = {
    "float16": "float32_of_half(load_uint16({}, {}))",
    "bfloat16": "float32_of_bits(np.uint32(load_uint16({}, {})) << np.uint32(16))",
}
_STORES: Final = {
    "float16": "store_uint16({}, {}, half_of_float32({}))",
    "bfloat16": "store_uint16({}, {}, bfloat16_of_float32({}))",
}


def load_text(dtype: np.dtype[Any], address: str, number: str = "j") -> str:
    """The text that loads an element, as a float32 if it has 16 bits."""
    return _LOADS.get(dtype.name, f"load_{dtype.name}({{}}, {{}})").format(address, number)


def store_text(dtype: np.dtype[Any], address: str, value: str, number: str = "j") -> str:
    """The text that stores a value as an element."""
    pattern = _STORES.get(dtype.name, f"store_{dtype.name}({{}}, {{}}, {{}})")
    return pattern.format(address, number, value)


def instruction_text(op: str, args: tuple[Ref, ...]) -> str:
    """The text of an instruction."""
    values = [str(arg) for arg in args]
    if dtype := stochastic(op):
        return codecs.rounding_text(dtype, values)
    if op == "where" and args[0].kind == SCALAR:
        values[0] = f"{values[0]} != 0"
    return operation_text(op, values)


def operation_text(op: str, values: Sequence[str]) -> str:
    """The text of an operation on these."""
    pattern = TEXTS.get(op)
    text = f"{op}({', '.join(values)})" if pattern is None else pattern.format(*values)
    return f"bool({text})" if op in BOOLEAN and op.startswith("logical") else text


class Elements:
    """What a program does with the elements of its arrays.

    In the text, element `j` of array 2 lies behind the address `x2`, of a lower rank as a double,
    and of a codec in the block at `block2`, whose bytes begin at `x2`; its value is `a2`, the
    result of instruction 5 `r5`, a scalar `s1`. `start` is the number of the first element.

    Args:
        program: of one stage.
        dtypes: of its arrays.
        wanted: what is used of it beside what it stores.

    Attributes:
        stored: array -> what is stored in it.
        read: the arrays of which a value is used.
        used: those, and those stored, in order: of others a loop knows nothing.
    """

    def __init__(
        self, program: Program, dtypes: Sequence[np.dtype[Any]], wanted: Iterable[Ref] = ()
    ) -> None:
        self.program, self.dtypes = program, dtypes
        self.compute = element_dtype(program, tuple(dtypes))
        pairs = zip(program.targets, program.outputs, strict=True)
        self.stored = {index: ref for index, ref in pairs if ref != Ref(ARRAY, index)}
        values = {arg for _, args in program.instructions for arg in args}
        values.update(self.stored.values(), wanted)
        self.read = {ref.index for ref in values if ref.kind == ARRAY}
        self.used = sorted({*self.read, *self.stored})

    def scalars(self, address: str) -> list[str]:
        """The lines that load the scalars of a set."""
        # Rounded here, without the warning that NumPy would give where one is out of range.
        return [
            f"s{number} = real(load_float64({address}, {number}))"
            for number in range(self.program.scalars)
        ]

    def found(self, index: int, address: str, first: str) -> list[str]:
        """The lines that find element number `first` of an array."""
        codec = self.program.codec(index)
        if codec:
            return codecs.block_text(codec, index, address)
        dtype = self.dtypes[index]
        name = self.program.arrays[index]
        return [f"x{index} = address_of({address}, {first}, {dtype.itemsize})  # {name}"]

    def values(self, given: Iterable[int] = ()) -> list[str]:
        """The lines that load an element of each array, but for those whose value is `given`, and
        compute with them."""
        program, lines = self.program, list[str]()
        if program.indexed:
            lines.append("at = np.uint32(np.uint32(start) + np.uint32(j))")
        for index in sorted(self.read.difference(given)):
            lines.append(f"a{index} = {self._load(index)}")
        for number, (op, args) in enumerate(program.instructions):
            lines.append(f"r{number} = {instruction_text(op, args)}")
        return lines

    def _load(self, index: int) -> str:
        codec = self.program.codec(index)
        if codec:
            return f"real({codecs.load_text(codec, index)})"
        dtype = self.dtypes[index]
        text = load_text(dtype, f"x{index}")
        loaded = np.float32 if dtype.itemsize == 2 else dtype.type
        return text if loaded is self.compute.type else f"real({text})"

    def stores(self) -> list[str]:
        """The lines that store an element in each array; of a codec in `kept2`, until its block is
        whole."""
        return [
            f"store_float32(kept{index}, j, {ref})"
            if self.program.codec(index)
            else store_text(self.dtypes[index], f"x{index}", str(ref))
            for index, ref in self.stored.items()
        ]

    @property
    def coded(self) -> list[int]:
        """The arrays that are encoded, block by block."""
        return [index for index in self.stored if self.program.codec(index)]

    def is_element(self, index: int) -> bool:
        """Whether an array is of rank element."""
        return self.program.rank(index) == ELEMENT


def indented(spaces: int, lines: Iterable[str]) -> list[str]:
    """Lines further to the right."""
    return [" " * spaces + line for line in lines]
