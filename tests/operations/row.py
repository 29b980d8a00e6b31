"""What a row of the table of operations is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from tests.operations.drawing import Case, Draw

Drawing: TypeAlias = Callable[[Draw], Case]


class Derivative(Enum):
    """How an operation is differentiated."""

    ROW = auto()  # it has a row among the derivatives
    COMPOSED = auto()  # it is recorded through the operations it is composed of
    CONSTANT = auto()  # its result carries no gradient


@dataclass(frozen=True)
class Row:
    """How to test one operation.

    Attributes:
        draw: draws a call.
        derivative: how it is differentiated.
        integers: whether it takes integers, and then gives what NumPy gives.
        result: the dtype of the result where it is not that of the tensors.
    """

    draw: Drawing
    derivative: Derivative = Derivative.ROW
    integers: bool = False
    result: str = ""


class Table(dict[str, Row]):
    """The rows of one family of operations, entered by a decorator."""

    def row(
        self,
        *names: str,
        derivative: Derivative = Derivative.ROW,
        integers: bool = False,
        result: str = "",
    ) -> Callable[[Drawing], Drawing]:
        """Enter a function that draws calls under one or more names."""

        def enter(drawing: Drawing) -> Drawing:
            for name in names:
                self[name] = Row(drawing, derivative, integers, result)
            return drawing

        return enter
