"""The table of derivatives, and how operations are entered into it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from born.autodiff.pullback import JointPullback, Pullback
from born.backend import Backend, Operand
from born.raw import RawTensor, Shape

Formula: TypeAlias = (
    Callable[[Backend, RawTensor, Any], RawTensor]
    | Callable[[Backend, RawTensor, Any, Any], RawTensor]
    | Callable[[Backend, RawTensor, Any, Any, Any], RawTensor]
    | Callable[[Backend, RawTensor, Any, Any, Any, Any], RawTensor]
)
"""A line of the table: from a backend, the gradient of the result and what the line reads to
the gradient of one argument."""

_Formula: TypeAlias = Callable[..., RawTensor]

Required: TypeAlias = tuple[bool, ...]
"""For each tensor argument, whether its gradient is required."""

Rule: TypeAlias = Callable[..., Pullback | JointPullback | None]
"""Called after the operation, as `rule(b, out, required, *arguments)`: makes its pullback,
or None where the operation is constant."""

_Rule = TypeVar("_Rule", bound=Rule)


@dataclass(frozen=True, slots=True)
class Derivative:
    """How one operation is differentiated.

    Attributes:
        rule: makes the pullback.
        tensors: which leading arguments are tensors (or numbers, or None); None if the
            first is a sequence of tensors.
        residuals: whether the operation returns residuals beside its result.
        keeps_result: whether the pullback reads the result itself.
        reads: for each tensor argument, which of them its gradient reads the values of.
        several: whether it returns several results, in a tuple, each with a gradient.
    """

    rule: Rule
    tensors: slice | None
    residuals: bool
    keeps_result: bool
    reads: Sequence[Collection[int]] = ()
    several: bool = False

    def read(self, required: Required) -> list[int]:
        """Which of the tensor arguments are read for the gradients that are required."""
        pairs = zip(self.reads, required, strict=False)
        places = {place for read, wanted in pairs if wanted for place in read}
        return sorted(place for place in places if place < len(required))


DERIVATIVES: Final[dict[str, Derivative]] = {}
"""Operation -> its derivative."""

CONSTANT: Final[set[str]] = set()
"""Operations whose results carry no gradient."""


def of_input(name: str, *formulas: Formula | None) -> None:
    """Enter derivatives that read the arguments, one for each leading tensor argument."""
    first = next(i for i, formula in enumerate(formulas) if formula is not None)
    only = formulas[0] if len(formulas) == 1 else None
    rule = _of_several(formulas, first) if only is None else _of_one(only)
    places = range(first, len(formulas))
    reads = [
        [i - first for i in places if formula is None or i not in _by_shape(formula)]
        for formula in formulas[first:]
    ]
    DERIVATIVES[name] = Derivative(
        rule, slice(first, len(formulas)), residuals=False, keeps_result=False, reads=reads
    )


def of_result(name: str, formula: Formula, *, residual: int = 0) -> None:
    """Enter the derivative of an operation of one tensor that reads the result.

    The formula takes the backend, the gradient of the result, the result (or the residual of this
    number, counted from one) and the options. A parameter `x` or `x_shape` after the result is
    given the tensor or its shape.
    """
    derive: _Formula = formula
    reads_x = "x" in _parameters(formula)[1:2]
    reads_shape = "x_shape" in _parameters(formula)[1:2]

    def rule(
        b: Backend, out: Any, required: Required, x: RawTensor, *args: Any, **options: Any
    ) -> Pullback:
        y = out[residual] if residual else out
        if not (reads_x or reads_shape):
            return lambda g: derive(b, g, y, *args, **options)
        saved = x if reads_x else x.shape
        return lambda g: derive(b, g, y, saved, *args, **options)

    DERIVATIVES[name] = Derivative(
        rule,
        slice(0, 1),
        residuals=residual > 0,
        keeps_result=not residual,
        reads=[[0]] if reads_x else [],
    )


def pullback_of(
    name: str,
    tensors: int | slice | None = 1,
    *,
    residuals: bool = False,
    keeps_result: bool = False,
    reads: Sequence[Collection[int]] = (),
    several: bool = False,
) -> Callable[[_Rule], _Rule]:
    """Enter the decorated function, which makes the pullback of an operation.

    It is called as `rule(b, out, required, *arguments)`, where `out` is what the operation
    returned and `required` says which gradients are. The pullback maps the gradient of the
    result to those of the tensors: one gradient if there is one tensor, else a sequence,
    with None for those that are not required. What the pullback names stays in memory, so
    the rule hands it only what it will read. The keywords are the fields of `Derivative`. Of an
    operation with `several` results it maps their gradients, in order, some of them zeros.
    """

    def enter(rule: _Rule) -> _Rule:
        leading = slice(0, tensors) if isinstance(tensors, int) else tensors
        DERIVATIVES[name] = Derivative(rule, leading, residuals, keeps_result, reads, several)
        return rule

    return enter


def constant(*names: str) -> None:
    """Enter operations whose results carry no gradient."""
    CONSTANT.update(names)


def sum_to_shape(b: Backend, g: RawTensor, shape: Shape) -> RawTensor:
    """Sum a gradient over the axes along which its tensor of `shape` was broadcast."""
    have = g.shape
    if have == shape:
        return g
    leading = len(have) - len(shape)
    if leading > 1 and have[leading:] == shape:
        rows = b.reshape(g, (math.prod(have[:leading]), math.prod(shape)))
        return b.reshape(b.sum(rows, 0), shape)
    stretched = [leading + i for i, n in enumerate(shape) if n == 1 and have[leading + i] != 1]
    summed = b.sum(g, (*range(leading), *stretched))
    return b.reshape(summed, shape) if stretched else summed


def shape_of(x: Operand) -> Shape:
    """The shape of an operand; a number has no axes."""
    return x.shape if isinstance(x, RawTensor) else ()


def _of_one(formula: _Formula) -> Rule:
    by_shape = 0 in _by_shape(formula)

    def rule(
        b: Backend, out: RawTensor, required: Required, x: RawTensor, *args: Any, **options: Any
    ) -> Pullback:
        saved = x.shape if by_shape else x
        return lambda g: formula(b, g, saved, *args, **options)

    return rule


def _of_several(formulas: tuple[_Formula | None, ...], first: int) -> Rule:
    count = len(formulas)
    by_shape = [_by_shape(formula) if formula else [] for formula in formulas]

    def rule(
        b: Backend, out: RawTensor, required: Required, *args: Any, **options: Any
    ) -> Pullback:
        shapes = [x.shape if isinstance(x, RawTensor) else () for x in args[:count]]
        due: list[tuple[_Formula, list[Any], Shape] | None] = []
        for place, wanted in enumerate(required, first):
            formula = formulas[place]
            if formula is None or not wanted:
                due.append(None)
                continue
            saved = list(args)
            for i in by_shape[place]:
                saved[i] = shapes[i]
            due.append((formula, saved, shapes[place]))

        def pullback(g: RawTensor) -> list[RawTensor | None]:
            gradients: list[RawTensor | None] = []
            for line in due:
                if line is None:
                    gradients.append(None)
                    continue
                formula, saved, shape = line
                gradient = formula(b, g, *saved, **options)
                if gradient.shape != shape:
                    gradient = sum_to_shape(b, gradient, shape)
                gradients.append(gradient)
            return gradients

        return pullback

    return rule


def _parameters(formula: _Formula) -> list[str]:
    return list(inspect.signature(formula).parameters)[2:]


def _by_shape(formula: _Formula) -> list[int]:
    """The places among these of tensors of which it reads the shape alone."""
    return [i for i, name in enumerate(_parameters(formula)) if name.endswith("_shape")]
