"""What writes the text of a function over tiles: its lines, and the buffers that they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from born.backend.plain_update import COMPARISONS
from born.fusion import Ref

_UFUNCS: Final = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "pow": "power",
    "neg": "negative",
    "abs": "absolute",
    **COMPARISONS,
}
"""The ufuncs whose name is not that of the operation."""


def ufunc_name(op: str) -> str:
    """What NumPy calls an operation of programs."""
    return _UFUNCS.get(op, op)


class Writer:
    """Lines of a function with buffers `b0`, `b1`, ..., as few as can be.

    Args:
        last: value -> the number of the last instruction that reads it.

    Attributes:
        buffers: the dtypes of the buffers.
        places: value -> the name of what holds it.
        lines: so far.
        last: as given.
    """

    def __init__(self, last: Mapping[Ref, float]) -> None:
        self.buffers: list[np.dtype[Any]] = []
        self.places: dict[Ref, str] = {}
        self.lines: list[str] = []
        self.last = last
        self._free: list[int] = []

    def take(self, dtype: np.dtype[Any]) -> str:
        """A buffer that nothing else is in."""
        for number in self._free:
            if self.buffers[number] == dtype:
                self._free.remove(number)
                return f"b{number}"
        self.buffers.append(dtype)
        return f"b{len(self.buffers) - 1}"

    def give_back(self, buffer: str) -> None:
        """Let a buffer be taken again."""
        self._free.append(int(buffer[1:]))

    def release(self, number: int, args: Sequence[Ref]) -> None:
        """Give back the buffers of values that instruction `number` was the last to read."""
        for arg in dict.fromkeys(args):
            place = self.places.get(arg, "")
            if place.startswith("b") and self.last[arg] == number:
                self.give_back(place)
