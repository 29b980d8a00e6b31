"""The table of operations: one row for each name in the contract.

A row draws calls of its operation and says how it is differentiated. Every test of
this folder runs over the table, so that a new operation is tested by adding its row;
tests/operations/test_table.py fails while one is missing. The files of rows carry the names
of the topics, as the files of the contract do.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from hypothesis import strategies as st

from tests.operations import (
    rows_creation,
    rows_elementwise,
    rows_images,
    rows_indexing,
    rows_linalg,
    rows_linear,
    rows_network,
    rows_reduction,
    rows_shape,
)
from tests.operations.drawing import (
    LONG_LENGTHS,
    MANY_LENGTHS,
    MOST_AXES,
    SOME_LENGTHS,
    ZERO_LENGTHS,
    Case,
    Draw,
)
from tests.operations.row import Derivative, Row

ROWS: Final[dict[str, Row]] = {
    **rows_creation.ROWS,
    **rows_elementwise.ROWS,
    **rows_reduction.ROWS,
    **rows_shape.ROWS,
    **rows_indexing.ROWS,
    **rows_linear.ROWS,
    **rows_linalg.ROWS,
    **rows_network.ROWS,
    **rows_images.ROWS,
}
"""Operation -> its row."""

DIFFERENTIABLE: Final = [
    name for name, row in ROWS.items() if row.derivative is not Derivative.CONSTANT
]
"""The operations through which gradients flow."""

CONSTANT: Final = [name for name, row in ROWS.items() if row.derivative is Derivative.CONSTANT]
"""The operations whose results carry no gradient."""


LARGE: Final = [
    *rows_elementwise.ROWS,
    *rows_images.ROWS,
    *rows_indexing.ROWS,
    *rows_linear.ROWS,
    *rows_network.ROWS,
]
"""The operations whose numbers stay in every dtype's range however many there are."""


@cache
def calls(
    name: str, lengths: tuple[int, ...] = SOME_LENGTHS, most_axes: int = MOST_AXES
) -> st.SearchStrategy[Case]:
    """Calls of one operation."""
    row = ROWS[name]

    @st.composite
    def drawn(draw: st.DrawFn) -> Case:
        return row.draw(Draw(draw, name, lengths, most_axes))

    return drawn()


def empty_calls(name: str) -> st.SearchStrategy[Case]:
    """Calls of one operation of which most have tensors without elements."""
    return calls(name, ZERO_LENGTHS)


def large_calls(name: str) -> st.SearchStrategy[Case]:
    """Calls of one operation, one of `LARGE`, of which many have thousands of elements."""
    rows = name in rows_elementwise.ROWS or name in rows_network.ROWS
    return calls(name, LONG_LENGTHS if rows else MANY_LENGTHS)


def scalar_calls(name: str) -> st.SearchStrategy[Case]:
    """Calls of one operation with tensors of no axes, where it takes such."""
    return calls(name, most_axes=0)
