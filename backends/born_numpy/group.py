"""The values of rank group on the host, as doubles."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import cache, partial
from math import sqrt
from typing import Any, Final, TypeAlias, cast

import numpy as np
from typing_extensions import override

from born.backend.update import GroupUpdate, Scalars
from born.dtypes import as_dtype
from born.fusion import ARRAY, RESULT, SCALAR, GroupProgram, Ref
from born.fusion.program import TOTAL
from born.raw import RawTensor
from born_numpy.writer import ufunc_name

Line: TypeAlias = tuple[int, Callable[..., Any], tuple[int, ...]]
"""An instruction: where its result goes, what computes it, and where its arguments are."""

Compute: TypeAlias = Callable[[list[Any]], None]
"""Computes some of the values in a list from others."""


def compiled(lines: Sequence[Line]) -> Compute:
    """Instructions as one function of a list of values."""
    names: dict[str, Any] = {f"f{n}": function for n, (_, function, _) in enumerate(lines)}
    text = "def compute(known):\n    pass\n"
    for n, (target, _, args) in enumerate(lines):
        text += f"    known[{target}] = f{n}({', '.join(f'known[{arg}]' for arg in args)})\n"
    exec(compile(text, "<values>", "exec"), names)
    compute: Compute = names["compute"]
    return compute


class HostGroup(GroupUpdate):
    """One step of a group's program."""

    def __init__(self, program: GroupProgram, slots: Sequence[RawTensor], scalars: Scalars) -> None:
        super().__init__(program)
        self._schedule = _scheduled(program)
        self._slots = slots
        self._round = -1
        known: list[Any] = [float(slot.array) for slot in slots]
        known += scalars
        known += [0.0] * (program.totals + len(program.instructions))
        self._known = known

    @override
    def values(self, totals: Sequence[RawTensor]) -> RawTensor:
        known = self._known
        self._round += 1
        rounds, values, _ = self._schedule
        added, compute = rounds[self._round]
        for number, place in enumerate(added):
            known[place] = float(totals[0].array[number])
            for other in totals[1:]:
                known[place] += float(other.array[number])
        compute(known)
        return RawTensor(np.array([known[place] for place in values], np.float64))

    @property
    def given(self) -> list[float]:
        """What slots and scalars are before the first round, for who computes all else himself."""
        return self._known[: len(self._slots) + self.program.scalars]

    def take(self, outputs: Sequence[float]) -> None:
        """Write what the slots have become, computed elsewhere."""
        for slot, value in zip(self._slots, outputs, strict=False):
            slot.array[...] = value

    @override
    def finish(self) -> None:
        _, _, outputs = self._schedule
        for slot, place in zip(self._slots, outputs, strict=True):
            slot.array[...] = self._known[place]


_Schedule: TypeAlias = tuple[list[tuple[list[int], Compute]], list[int], list[int]]
"""For each round, where new totals go and what is computed; the places of values and outputs."""


def _scheduled(program: GroupProgram) -> _Schedule:
    """The instructions of each round over a list of values, compiled once a program."""
    found: _Schedule | None = program.compiled.get(HostGroup)
    if found is None:
        refs = [
            *(Ref(ARRAY, i) for i in range(len(program.slots))),
            *(Ref(SCALAR, i) for i in range(program.scalars)),
            *(Ref(TOTAL, i) for i in range(program.totals)),
            *(Ref(RESULT, i) for i in range(len(program.instructions))),
        ]
        places = {ref: place for place, ref in enumerate(refs)}
        rounds = [
            (
                [places[ref] for ref in added],
                compiled(
                    [
                        (places[ref], _of_numbers(op), tuple([places[arg] for arg in args]))
                        for ref, op, args in computed
                    ]
                ),
            )
            for added, computed in program.schedule
        ]
        values, outputs = ([places[ref] for ref in x] for x in (program.values, program.outputs))
        found = program.compiled[HostGroup] = rounds, values, outputs
    return found


def _quotient(x: float, y: float) -> float:
    return x / y if y else _of_ufunc("div", x, y)


def _root(x: float) -> float:
    return sqrt(x) if x >= 0 else _of_ufunc("sqrt", x)


def _larger(x: float, y: float) -> float:
    return x if x > y or x != x else y


def _smaller(x: float, y: float) -> float:
    return x if x < y or x != x else y


def _chosen(condition: bool, x: float, y: float) -> float:
    return x if condition else y


_NUMBERS: Final[dict[str, Callable[..., Any]]] = {
    **{op: getattr(operator, op) for op in ("add", "sub", "mul", "neg", "abs")},
    **{op: getattr(operator, op) for op in ("lt", "le", "gt", "ge", "eq", "ne")},
    "div": _quotient,
    "sqrt": _root,
    "maximum": _larger,
    "minimum": _smaller,
    "where": _chosen,
}
"""The operations whose bits Python's numbers have, in a tenth of the time of NumPy's."""


@cache
def _of_numbers(op: str) -> Callable[..., Any]:
    """An elementwise operation of programs on Python's numbers."""
    return _NUMBERS.get(op) or partial(_of_ufunc, op)


def _of_ufunc(op: str, *args: Any) -> float:
    with np.errstate(all="ignore"):  # an infinite gradient is the caller's affair, not news
        return float(operation(op)(*args))


@cache
def operation(op: str) -> Callable[..., Any]:
    """An elementwise operation of programs on doubles."""
    if op == "where":
        return _where
    if op == "pow":
        return _power
    if op.startswith("cast_"):
        dtype = as_dtype(op.removeprefix("cast_"))

        def rounded(x: Any) -> Any:
            return np.asarray(x).astype(dtype).astype(np.float64)[()]

        return rounded
    found: Callable[..., Any] = getattr(np, ufunc_name(op))
    return found


def _power(x: Any, y: Any) -> Any:
    """x**y, with the bits that it has where y is one number: NumPy squares for a 2 alone."""
    if not np.ndim(y):
        return np.power(x, y)
    shape = np.broadcast_shapes(np.shape(x), np.shape(y))
    powers = np.broadcast_to(np.asarray(y, np.float64), shape)
    numbers, result = np.broadcast_to(np.asarray(x, np.float64), shape), np.empty(shape)
    for power in {float(each) for each in powers.flat}:
        own = np.isnan(powers) if math.isnan(power) else np.equal(powers, power)
        result[own] = np.power(numbers[own], power)
    return result


def _where(condition: Any, x: Any, y: Any) -> Any:
    if isinstance(condition, np.ndarray):
        return cast("Any", np).where(condition, x, y)
    return x if condition else y
