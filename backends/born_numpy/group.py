"""The values of rank group on the host, as NumPy's doubles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
from typing_extensions import override

from born.backend.update import GroupUpdate, Scalars
from born.dtypes import as_dtype
from born.fusion import ARRAY, SCALAR, GroupProgram, Ref
from born.raw import RawTensor
from born_numpy.update import ufunc_name


class HostGroup(GroupUpdate):
    """One step of a group's program."""

    def __init__(self, program: GroupProgram, slots: Sequence[RawTensor], scalars: Scalars) -> None:
        super().__init__(program)
        self._slots = slots
        self._round = -1
        self._known: dict[Ref, Any] = {
            Ref(ARRAY, i): np.float64(slot.array[()]) for i, slot in enumerate(slots)
        }
        for i, scalar in enumerate(scalars):
            self._known[Ref(SCALAR, i)] = np.float64(scalar)

    @override
    def values(self, totals: Sequence[RawTensor]) -> RawTensor:
        known, program = self._known, self.program
        self._round += 1
        added, instructions = program.schedule[self._round]
        with np.errstate(all="ignore"):  # an infinite gradient is the caller's affair, not news
            for place, ref in enumerate(added):
                total = totals[0].array[place]
                for other in totals[1:]:
                    total = total + other.array[place]
                known[ref] = total
            for ref, op, args in instructions:
                known[ref] = operation(op)(*[known[arg] for arg in args])
        return RawTensor(np.array([known.get(ref, 0.0) for ref in program.values], np.float64))

    @override
    def finish(self) -> None:
        for slot, ref in zip(self._slots, self.program.outputs, strict=True):
            slot.array[...] = self._known[ref]


@cache
def operation(op: str) -> Callable[..., Any]:
    """An elementwise operation of programs on doubles."""
    if op == "where":
        return _where
    if op.startswith("cast_"):
        dtype = as_dtype(op.removeprefix("cast_"))

        def rounded(x: Any) -> Any:
            return np.asarray(x).astype(dtype).astype(np.float64)[()]

        return rounded
    found: Callable[..., Any] = getattr(np, ufunc_name(op))
    return found


def _where(condition: Any, x: Any, y: Any) -> Any:
    if isinstance(condition, np.ndarray):
        return cast("Any", np).where(condition, x, y)
    return x if condition else y
