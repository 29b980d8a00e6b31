"""The table of derivatives, and what its rows share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from born.autodiff.tape import Pullback
from born.backend import Axis, Backend, Operand
from born.backend.arguments import normal_axes, reduced_shape
from born.raw import RawTensor, Shape

Needs: TypeAlias = tuple[bool, ...]
Rule: TypeAlias = Callable[..., Pullback | None]


class Arguments(Enum):
    """Where an operation keeps its tensors, and what it returns."""

    ONE = auto()  # one tensor, first
    SEVERAL = auto()  # so many leading tensors, numbers or None
    SEQUENCE = auto()  # a sequence of tensors, first
    WITH_RESIDUALS = auto()  # as SEVERAL, returning (result, residuals...)


@dataclass(frozen=True, slots=True)
class Row:
    """The derivative of one operation.

    Attributes:
        rule: makes the pullback, as described at the top of this file.
        arguments: where the tensors are.
        tensors: which leading arguments they are.
    """

    rule: Rule
    arguments: Arguments
    tensors: slice


VJPS: Final[dict[str, Row]] = {}
"""Operation -> its derivative."""

_NO_GRADIENT: Final = """
from_numpy to_numpy zeros ones full arange eye normal uniform assign sign
equal not_equal less less_equal greater greater_equal logical_and logical_or logical_not
isfinite argmax argmin any all
"""
PASSED_THROUGH: Final = frozenset(_NO_GRADIENT.split())
"""Operations whose results carry no gradient."""


def row(
    name: str, arguments: Arguments = Arguments.ONE, tensors: slice = slice(0, 1)
) -> Callable[[Rule], Rule]:
    """Enter a rule as the derivative of an operation, of one tensor unless told otherwise."""

    def enter(rule: Rule) -> Rule:
        VJPS[name] = Row(rule, arguments, tensors)
        return rule

    return enter


def several(name: str, tensors: int, first: int = 0) -> Callable[[Rule], Rule]:
    """Enter the rule of an operation whose arguments `first` to `tensors` may be tensors."""
    return row(name, Arguments.SEVERAL, slice(first, tensors))


def with_residuals(name: str, tensors: int) -> Callable[[Rule], Rule]:
    """Enter the rule of an operation of `tensors` tensors that returns residuals as well."""
    return row(name, Arguments.WITH_RESIDUALS, slice(0, tensors))


def shape_of(x: Operand) -> Shape:
    """The shape of an operand; a number has no axes."""
    return x.shape if isinstance(x, RawTensor) else ()


def fit(b: Backend, g: RawTensor, shape: Shape) -> RawTensor:
    """Sum a gradient over the axes along which its tensor was broadcast."""
    have = g.shape
    if have == shape:
        return g
    leading = len(have) - len(shape)
    stretched = [leading + i for i, n in enumerate(shape) if n == 1 and have[leading + i] != 1]
    summed = b.sum(g, (*range(leading), *stretched))
    return b.reshape(summed, shape) if stretched else summed


def spread(b: Backend, g: RawTensor, shape: Shape, axis: Axis, keepdims: bool) -> RawTensor:
    """Repeat the gradient of a reduction over what was reduced."""
    return b.broadcast_to(kept(b, g, shape, axis, keepdims), shape)


def kept(b: Backend, x: RawTensor, shape: Shape, axis: Axis, keepdims: bool) -> RawTensor:
    """The result of a reduction of `shape` with its axes kept, whatever `keepdims` was."""
    if keepdims or (axis is None and not shape):
        return x
    return b.reshape(x, reduced_shape(shape, normal_axes(axis, len(shape)), keepdims=True))
