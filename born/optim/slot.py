"""`Slot`: how much of a rule's state there is, and where it starts."""

from __future__ import annotations

import numbers
from dataclasses import dataclass, field
from typing import Final

from born.errors import RuleError
from born.fusion.program import COLUMNS, ELEMENT, GROUP, ROWS, TENSOR
from born.raw import Shape
from born.validation import type_error

RANKS: Final = (ELEMENT, ROWS, COLUMNS, TENSOR, GROUP)
PARAMETER: Final = "p"
"""The start of a slot that begins as a copy of the parameter."""
UNSET: Final = -1.0
"""The start of a slot that is never negative, and holds nothing yet. A rule asks the slot, not t,
whether there was an update before: one whose gradients were not finite counts, and writes nothing.
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of state that a rule carries from update to update.

    Args:
        rank: how much of it there is: `"element"`, an array of the parameter's shape; `"rows"` or
            `"columns"`, a number for each row or column of the last two axes, as `mean(x, axis=-1)`
            and `mean(x, axis=-2)` give; `"tensor"`, one number for a parameter; `"group"`, one
            for the whole optimizer. The last two are float64 unless the config says otherwise.
        start: what it holds before the first update: a number; `"p"`, a copy of the parameter;
            or the name of a field of the config.
        exact: keep it as numbers even where `Precision.slots` keeps others in one byte: for sums
            that grow for long, and for what parameters are computed from directly. Copies of the
            parameter are exact by themselves.
        meaning: what tells it from others under its name, which are not to be taken for it: in a
            state it is `{slot}.{meaning}.{index}`.

    Raises:
        RuleError: an unknown rank, or a copy of the parameter of another rank than element.

    >>> Slot("group", start="d0")
    Slot(rank='group', start='d0')
    """

    rank: str = ELEMENT
    start: float | str = 0.0
    exact: bool = field(default=False, repr=False)
    meaning: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.rank not in RANKS:
            raise RuleError(
                f"expected a slot's rank to be one of {', '.join(RANKS)}, got {self.rank!r}; "
                "correct its name"
            )
        if isinstance(self.start, bool) or not isinstance(self.start, numbers.Real | str):
            raise type_error(
                "a slot's start", "a number or a name", self.start, "pass a float", RuleError
            )
        if self.start == PARAMETER and self.rank != ELEMENT:
            raise RuleError(
                f"expected a slot that starts as a copy of the parameter to be of rank {ELEMENT}, "
                f"got {self.rank!r}; leave the rank out"
            )

    def shape(self, parameter: Shape) -> Shape:
        """The shape of the slot of a parameter.

        >>> Slot("rows").shape((2, 3, 4)), Slot("columns").shape((2, 3, 4))
        ((2, 3), (2, 4))
        """
        if self.rank == ELEMENT:
            return parameter
        if self.rank == ROWS:
            return parameter[:-1]
        return (*parameter[:-2], parameter[-1]) if self.rank == COLUMNS else ()
