"""Formulas as compiled loops: each input read once, each result written once.

Inputs and results are handed over by the addresses of their array objects, which costs less than
Numba's own unpacking of arrays. Where all have one shape, the loop itself checks that they are as
it needs them. Where they broadcast, it walks rows of the result, along which each input is
contiguous or one element.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from born.backend.broadcast import walk
from born.backend.plain_fused import check_operands
from born.backend.threads import POOL, taken
from born.backend.update import compute_dtype
from born.dtypes import bool_
from born.fusion import ARRAY, CONSTANT, SCALAR, Formula, Ref
from born.raw import HostArray, RawTensor, Shape
from born_numba import functions, intrinsics, update
from born_numba.cache import compile_loop
from born_numba.compiler import inlined, numba, types
from born_numba.elements import TEXTS
from born_numpy.arena import LARGE, empty

_PARALLEL: Final = 131_072  # elements from which a second thread pays; docs/notes/performance.md
_FEW: Final = LARGE // 4  # elements below which no arena is asked
_PIECE: Final = 32_768  # elements that a thread computes before it takes the next ones

_TEXTS: Final = {
    **TEXTS,
    "abs": "abs({})",
    "logical_and": "bool(bool({}) & bool({}))",  # a number of the host is a float
    "logical_or": "bool(bool({}) | bool({}))",
    "maximum": "{0} if ({0} > {1}) | ({0} != {0}) else {1}",
    "minimum": "{0} if ({0} < {1}) | ({0} != {0}) else {1}",
    "relu": "real(0) if {0} <= 0 else {0}",
}
"""The operations that a loop does not call by name."""

_LOADS: Final = {
    "float16": "float32_of_half({})",
    "bfloat16": "float32_of_bits(np.uint32({}) << np.uint32(16))",
    "bool": "{} != 0",
}
_STORES: Final = {"float16": "half_of_float32({})", "bfloat16": "bfloat16_of_float32({})"}

carray: Final[Any] = numba.carray  # for the texts
_USABLE: Final = intrinsics.C_CONTIGUOUS | intrinsics.ALIGNED

_ALIKE, _ONE, _UNIT, _ROW = "alike", "one", "unit", "row"
"""How a loop reads an input: as the result is laid out; one element for all; along each row of the
result its own elements, or one element, from where its strides say."""


@inlined
def is_alike(array: Any, like: Any) -> Any:
    """Whether an array object's elements lie in C order, in the shape of another's."""
    axes = intrinsics.read32(array + intrinsics.NDIM)
    if intrinsics.read32(array + intrinsics.FLAGS) & _USABLE != _USABLE:
        return False
    if axes != intrinsics.read32(like + intrinsics.NDIM):
        return False
    ours = intrinsics.read64(array + intrinsics.SHAPE)
    theirs = intrinsics.read64(like + intrinsics.SHAPE)
    for axis in range(axes):
        place = np.uint64(8) * np.uint64(axis)
        if intrinsics.read64(ours + place) != intrinsics.read64(theirs + place):
            return False
    return True


class _Layout(NamedTuple):
    """How a result is cut into rows, and where the inputs of each row begin.

    Attributes:
        kinds: how each input is read.
        rows: how many rows there are.
        length: of a row.
        plan: the lengths of the axes that rows run over, and for each input of kind unit or row
            its strides along them, int64.
    """

    kinds: tuple[str, ...]
    rows: int
    length: int
    plan: HostArray


_NAMED: Final = {"inf": "np.inf", "-inf": "-np.inf", "nan": "np.nan"}


class NumbaFormula:
    """What is compiled of a formula for one dtype: a loop for each way that inputs broadcast."""

    def __init__(self, formula: Formula, dtype: np.dtype[Any]) -> None:
        self.formula = formula
        self.dtype = dtype
        self._leading = formula.leading
        self.source = ""
        self._truths = [i for i, truth in enumerate(formula.truths) if truth]
        self._results = len(formula.outputs)
        self._simple = not self._truths and self._results == 1
        self._alike: Any = None
        self._loops: dict[tuple[str, ...], Any] = {}

    def run(self, arrays: Sequence[RawTensor], scalars: Sequence[float]) -> tuple[RawTensor, ...]:
        """The results, by the loop for arrays of one shape if they are that."""
        first = arrays[self._leading].array
        size = first.size
        loop = self._alike or self._compiled_alike()
        if self._simple and size < _PARALLEL:  # as most calls are: little is done for them
            shape, dtype = first.shape, self.dtype
            result = np.empty(shape, dtype) if size < _FEW else empty(shape, dtype)
            if len(arrays) == 1:
                differs = loop(id(result), id(first), 0, size, *scalars)
            else:
                given = [id(raw.array) for raw in arrays]
                differs = loop(id(result), *given, 0, size, *scalars)
            return self._broadcast(arrays, scalars) if differs else (RawTensor(result),)
        if self._truths and any(arrays[i].array.dtype != bool_ for i in self._truths):
            return self._broadcast(arrays, scalars)
        results = [RawTensor(empty(first.shape, self.dtype)) for _ in self.formula.outputs]
        addresses = [id(raw.array) for raw in results]
        for raw in arrays:
            addresses.append(id(raw.array))
        # A large one is first only looked at.
        if loop(*addresses, 0, size if size < _PARALLEL else 0, *scalars):
            return self._broadcast(arrays, scalars)
        if size >= _PARALLEL:
            pieces = deque(range(0, size, _PIECE))

            def work() -> None:
                for start in taken(pieces):
                    loop(*addresses, start, min(start + _PIECE, size), *scalars)

            POOL.share(work)
        return tuple(results)

    def _broadcast(
        self, arrays: Sequence[RawTensor], scalars: Sequence[float]
    ) -> tuple[RawTensor, ...]:
        """The same for arrays of any shapes and layouts, which are checked and made contiguous."""
        shape, dtype = check_operands(self.formula, arrays)
        given = [np.require(raw.array, None, ["C", "A"]) for raw in arrays]
        layout = _layout(shape, tuple(raw.shape for raw in arrays))
        results = [empty(shape, dtype) for _ in range(self._results)]
        loop = self._loops.get(layout.kinds)
        if loop is None:
            loop = self._loops[layout.kinds] = self._compiled(layout.kinds)
        addresses = [*map(id, results), *map(id, given), id(layout.plan)]
        rows, length = layout.rows, layout.length
        if rows * length < _PARALLEL:
            if rows * length:
                loop(*addresses, 0, rows, 0, length, length, *scalars)
        else:
            step = max(1, _PIECE // length)
            width = length if length < 2 * _PIECE else _PIECE
            pieces = deque(
                (first, start)
                for first in range(0, rows, step)
                for start in range(0, length, width)
            )

            def work() -> None:
                for first, start in taken(pieces):
                    last, stop = min(first + step, rows), min(start + width, length)
                    loop(*addresses, first, last, start, stop, length, *scalars)

            POOL.share(work)
        return tuple([RawTensor(result) for result in results])

    # -- compiling --

    def _compiled_alike(self) -> Any:
        """The loop for contiguous arrays of one shape: 0, or -1 if they are not that."""
        formula, dtype = self.formula, self.dtype
        inputs = [f"a{i}" for i in range(len(formula.arrays))]
        results = [f"o{i}" for i in range(self._results)]
        addresses = [f"{name}_" for name in (*results, *inputs)]
        like = addresses[self._results + self._leading]
        numbers = [f"s{i}" for i in range(formula.scalars)]
        lines = [
            f"# {formula.name} of {dtype.name}, contiguous arrays of one shape",
            f"def loop({', '.join([*addresses, 'first', 'last', *numbers])}):",
        ]
        for truth, address in zip(formula.truths, addresses[self._results :], strict=True):
            different = "" if truth else f" or read64({address} + DESCR) != read64({like} + DESCR)"
            lines.append(f"    if not is_alike({address}, {like}){different}:")
            lines.append("        return -1")
        lines.append("    n = last - first")
        lines += self._views(dict.fromkeys((*results, *inputs), "first"), "    ")
        lines += self._rounded()
        lines.append("    for j in range(n):")
        lines += self._body({name: f"{name}x[j]" for name in inputs}, "        ")
        lines.append("    return 0")
        arguments = [types.uint64] * len(addresses) + [types.int64] * 2
        self._alike = self._compile(lines, types.int64, arguments)
        return self._alike

    def _compiled(self, kinds: tuple[str, ...]) -> Any:
        """The loop over rows whose inputs are read in these ways."""
        formula, dtype = self.formula, self.dtype
        inputs = [f"a{i}" for i in range(len(formula.arrays))]
        results = [f"o{i}" for i in range(self._results)]
        addresses = [f"{name}_" for name in (*results, *inputs)]
        numbers = [f"s{i}" for i in range(formula.scalars)]
        bounds = ["first", "last", "start", "stop", "length"]
        placed = [name for name, kind in zip(inputs, kinds, strict=True) if kind in (_UNIT, _ROW)]
        lines = [
            f"# {formula.name} of {dtype.name}, inputs read as {', '.join(kinds)}",
            f"def loop({', '.join([*addresses, 'plan_', *bounds, *numbers])}):",
            "    axes = np.int64(read64(read64(plan_ + SHAPE) + np.uint64(8)))",
            "    plan_data = pointer(read64(plan_ + DATA))",
            f"    plan = carray(plan_data, ({1 + len(placed)}, axes), np.int64)",
            *self._rounded(),
        ]
        reads = {name: f"{name}x[j]" for name in inputs}
        for name, kind in zip(inputs, kinds, strict=True):
            if kind in (_ONE, _ROW):
                reads[name] = f"{name}y"
            if kind == _ONE:
                lines += [*self._views({name: "0"}, "    ", "1"), f"    {name}y = {name}x[0]"]
        lines += ["    n = stop - start", "    for r in range(first, last):"]
        begins = dict.fromkeys(results, "r * length + start")
        if placed:
            lines += [
                *(f"        {name}z = 0" for name in placed),
                "        rest = r",
                "        for k in range(axes - 1, -1, -1):",
                "            up = rest // plan[0, k]",
                "            at = rest - up * plan[0, k]",
                *(f"            {name}z += at * plan[{i}, k]" for i, name in enumerate(placed, 1)),
                "            rest = up",
            ]
        for name, kind in zip(inputs, kinds, strict=True):
            if kind == _ROW:
                lines += self._views({name: f"{name}z"}, "        ", "1")
                lines.append(f"        {name}y = {name}x[0]")
            elif kind != _ONE:
                begins[name] = f"{name}z + start" if kind == _UNIT else "r * length + start"
        lines += self._views(begins, "        ")
        lines.append("        for j in range(n):")
        lines += self._body(reads, "            ")
        lines.append("    return 0")
        arguments = [types.uint64] * (len(addresses) + 1) + [types.int64] * len(bounds)
        return self._compile(lines, types.int64, arguments)

    def _views(self, begins: dict[str, str], indent: str, length: str = "n") -> list[str]:
        """Stretches of arrays from these elements on, which loops index from zero."""
        lines: list[str] = []
        for name, begin in begins.items():
            truth = name.startswith("a") and self.formula.truths[int(name[1:])]
            element = "uint8" if truth else "uint16" if _is_half(self.dtype) else self.dtype.name
            size = 1 if truth else self.dtype.itemsize
            address = f"read64({name}_ + DATA) + np.uint64({begin}) * np.uint64({size})"
            lines.append(f"{indent}{name}x = carray(pointer({address}), ({length},), np.{element})")
        return lines

    def _rounded(self) -> list[str]:
        return [f"    s{i} = real(s{i})" for i in range(self.formula.scalars)]

    def _body(self, reads: dict[str, str], indent: str) -> list[str]:
        """The formula of one element."""
        formula = self.formula
        used = {arg for _, args in formula.instructions for arg in args} | set(formula.outputs)
        lines: list[str] = []
        for i, (name, read) in enumerate(reads.items()):
            if Ref(ARRAY, i) in used:
                load = "bool" if formula.truths[i] else self.dtype.name
                text = _LOADS.get(load, "{}").format(read)
                lines.append(f"{name} = {text}" if formula.truths[i] else f"{name} = real({text})")
        for number, (op, args) in enumerate(formula.instructions):
            lines.append(f"r{number} = {self._text(op, args)}")
        for number, output in enumerate(formula.outputs):
            value = _STORES.get(self.dtype.name, "{}").format(self._value(output))
            lines.append(f"o{number}x[j] = {value}")
        return [indent + line for line in lines]

    def _value(self, ref: Ref) -> str:
        if ref.kind != CONSTANT:
            return str(ref)
        number = float(self.formula.constants[ref.index])
        return f"real({number!r})" if np.isfinite(number) else f"real({_NAMED[str(number)]})"

    def _text(self, op: str, args: tuple[Ref, ...]) -> str:
        values = [self._value(arg) for arg in args]
        if op == "where" and args[0].kind in (SCALAR, CONSTANT):
            values[0] = f"{values[0]} != 0"
        pattern = _TEXTS.get(op)
        return f"{op}({', '.join(values)})" if pattern is None else pattern.format(*values)

    def _compile(self, lines: list[str], result: Any, arguments: list[Any]) -> Any:
        source = "\n".join(lines) + "\n"
        compute = compute_dtype([self.dtype])
        named = functions.FLOAT32 if compute.itemsize == 4 else functions.FLOAT64
        names = {
            **vars(intrinsics),
            **globals(),
            **named,
            "bfloat16_of_float32": update.bfloat16_of_float32,
            "real": compute.type,
        }
        signature = result(*arguments, *[types.float64] * self.formula.scalars)
        loop = compile_loop(source, "loop", signature, names, contract=True)
        self.source += source
        return loop


def _is_half(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize == 2


@lru_cache(maxsize=1024)
def _layout(shape: Shape, shapes: tuple[Shape, ...]) -> _Layout:
    """How arrays of these shapes are walked, with axes joined where all of them allow it."""
    joined = walk(shape, shapes)
    *outer, length = joined.lengths or (1,)
    rows = 0 if 0 in shape else math.prod(outer)
    kinds = [
        _ONE
        if not any(steps)
        else _ALIKE
        if steps == joined.full
        else _UNIT
        if steps[-1] == 1
        else _ROW
        for steps in joined.strides
    ]
    placed = [
        steps[:-1]
        for steps, kind in zip(joined.strides, kinds, strict=True)
        if kind in (_UNIT, _ROW)
    ]
    plan = np.array([outer, *placed], np.int64).reshape(1 + len(placed), len(outer))
    return _Layout(tuple(kinds), rows, length, plan)
