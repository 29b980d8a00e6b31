"""Checks of what a recurrent cell is given, and the order of its steps."""

from __future__ import annotations

from born.backend.arguments import check_floating
from born.errors import DomainError, DTypeError, ShapeError
from born.fusion.cells import GATES
from born.raw import RawTensor
from born.validation import choice


def check_recurrence(
    z: RawTensor,
    initial: RawTensor,
    weight: RawTensor,
    bias: RawTensor | None,
    mask: RawTensor | None,
    cell: str,
) -> None:
    """Refuse shapes and dtypes that do not go together, and a cell that there is not."""
    gates = GATES[choice("cell", cell, tuple(GATES), DomainError)]
    check_floating("recurrence", z)
    states = 2 if cell == "lstm" else 1
    batch = z.shape[1] if z.ndim == 3 else 0
    width = weight.shape[1] if weight.ndim == 2 else 0
    expected = {
        "weight": (weight.shape, (gates * width, width)),
        "z": (z.shape, (*z.shape[:1], batch, gates * width)),
        "initial": (initial.shape, (states, batch, width)),
        "bias": (None if bias is None else bias.shape, (gates * width,)),
        "mask": (None if mask is None else mask.shape, (*z.shape[:1], batch)),
    }
    for name, (got, wanted) in expected.items():
        if got is not None and got != wanted:
            raise ShapeError(
                f"expected {name} of shape {wanted} in the recurrence of {cell}, with {gates} "
                f"gates, {states} states and z of shape (steps, batch, gates * width), got {got}; "
                "transpose or reshape it"
            )
    for other in (initial, weight, bias):
        if other is not None and other.dtype != z.dtype:
            raise DTypeError(
                f"expected one dtype in recurrence, got {z.dtype} and {other.dtype}; "
                f'convert one with .astype("{z.dtype}")'
            )
    if mask is not None and mask.dtype.kind != "b":
        raise DTypeError(
            f"expected a mask of bools in recurrence, got {mask.dtype}; compare it with something"
        )


def order_of(steps: int, reverse: bool) -> range:
    """The steps, in the order in which they are taken."""
    return range(steps - 1, -1, -1) if reverse else range(steps)
