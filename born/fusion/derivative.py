"""The derivative of a formula, which is a formula itself.

Reverse accumulation over the instructions: the cotangent of each value is the sum of what the
instructions that read it pass back, by the line of their operation in the table below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, TypeAlias

from born.fusion.expression import exp, log, sign, where
from born.fusion.formula import (
    Formula,
    Term,
    applied,
    array_symbol,
    finished,
    power,
    replayed,
)
from born.fusion.functions import cos, sigmoid, sin
from born.fusion.program import ARRAY, BOOLEAN, RESULT, Ref, reached
from born.fusion.symbol import Symbol, Writer

TWO_OVER_ROOT_PI: Final = 2.0 / math.sqrt(math.pi)

_Parts: TypeAlias = Sequence[Any]
_Line: TypeAlias = (
    Callable[[Any, Any, Any], _Parts]
    | Callable[[Any, Any, Any, Any], _Parts]
    | Callable[[Any, Any, Any, Any, Any], _Parts]
)
"""Of an operation: from the gradient of its result, the result and its arguments to the gradients
of the arguments, None for those that have none."""


def _pow(g: Any, z: Any, x: Any, y: Any) -> Sequence[Any]:
    if isinstance(y, int | float):
        return (g * (y * power(x, y - 1)) if y else None, None)
    if isinstance(x, int | float):
        return (None, g * z * _log(x))
    # x^0 is constant, though x^(0 - 1) is infinite at zero; and 0^y, though log(0) is infinite.
    by_base = g * (y * applied("pow", x, where(y == 0, 1.0, y) - 1))
    return (by_base, g * z * log(where(x == 0, 1.0, x)))


def _log(x: float) -> float:
    return math.log(x) if x > 0 else 0.0 if x == 0 else math.nan


def _extremum(wins: str, loses: str) -> Callable[[Any, Any, Any, Any], _Parts]:
    """All to the winner, half to each of a tie; NaN, as the result, where one of them is."""

    def line(g: Any, z: Any, x: Any, y: Any) -> Sequence[Any]:
        known = where(applied(wins, x, y), g, where(applied(loses, x, y), 0.0, z))
        to_x = where(applied("eq", x, y), 0.5 * g, known)
        return (to_x, g - to_x)

    return line


def _where(g: Any, z: Any, condition: Any, x: Any, y: Any) -> Sequence[Any]:
    return (None, where(condition, g, 0.0), where(condition, 0.0, g))


DERIVATIVES: Final[dict[str, _Line]] = {
    "add": lambda g, z, x, y: (g, g),
    "sub": lambda g, z, x, y: (g, -g),
    "mul": lambda g, z, x, y: (g * y, g * x),
    "div": lambda g, z, x, y: (g / y, -(g / y) * z),
    "pow": _pow,
    "neg": lambda g, z, x: (-g,),
    "abs": lambda g, z, x: (g * sign(x),),
    "sqrt": lambda g, z, x: (0.5 * g / z,),
    "exp": lambda g, z, x: (g * z,),
    "expm1": lambda g, z, x: (g * (z + 1),),
    "log": lambda g, z, x: (g / x,),
    "log1p": lambda g, z, x: (g / (x + 1),),
    "sin": lambda g, z, x: (g * cos(x),),
    "cos": lambda g, z, x: (-g * sin(x),),
    "tanh": lambda g, z, x: (g * (1 - z * z),),
    "erf": lambda g, z, x: (g * (TWO_OVER_ROOT_PI * exp(-(x * x))),),
    "sigmoid": lambda g, z, x: (g * (z * (1 - z)),),
    "softplus": lambda g, z, x: (g * sigmoid(x),),
    "relu": lambda g, z, x: (where(z > 0, g, z),),  # else z is zero or NaN
    "maximum": _extremum("gt", "lt"),
    "minimum": _extremum("lt", "gt"),
    "where": _where,
    "sign": lambda g, z, x: (None,),
    "cast_float16": lambda g, z, x: (g,),
    "cast_bfloat16": lambda g, z, x: (g,),
    "cast_float32": lambda g, z, x: (g,),
}
"""Operation -> its derivative; a subgradient where it has a kink."""


@dataclass(frozen=True, slots=True)
class Derivative:
    """How gradients pass back through a formula.

    Attributes:
        formula: its arrays are the gradient of the result and then what was kept; its results
            are gradients of inputs, in the full shape.
        inputs: which inputs have a gradient.
        results: which result of the formula is the gradient of each of them.
        kept_inputs: which inputs the formula reads, in its order.
        kept_outputs: which results it reads, after those.
    """

    formula: Formula
    inputs: tuple[int, ...]
    results: tuple[int, ...]
    kept_inputs: tuple[int, ...]
    kept_outputs: tuple[int, ...]


def derivative(
    formula: Formula, required: Sequence[bool], sizes: Sequence[float], output: int = 0
) -> Derivative:
    """The derivative of one result of a formula.

    What it reads is chosen by bytes: results are kept, beside the inputs that are then still
    needed, if all these are smaller than the inputs alone, or as small and cheaper to use.

    Args:
        formula: what to differentiate.
        required: for each input, whether its gradient is wanted.
        sizes: the size of each input, as a share of the result's.
        output: the number of the result.

    >>> from born.fusion import tanh, trace_formula
    >>> formula = trace_formula(lambda x: tanh(x), {"x": False})
    >>> print(derivative(formula, [True], [1.0]).formula)
    gradient of <lambda>(g, y)
      r0 = mul(y, y)
      r1 = sub(1, r0)
      r2 = mul(g, r1)
      return r2
    """
    writer = Writer()
    values = replayed(writer, formula)
    first = len(formula.arrays)
    root = formula.outputs[output]
    cotangents: dict[Ref, Term] = {root: array_symbol(writer, first, False)}
    for number in reversed(range(len(formula.instructions))):
        g = cotangents.get(Ref(RESULT, number))
        op, args = formula.instructions[number]
        if g is None or op in BOOLEAN:
            continue
        terms = [values[arg] for arg in args]
        line: Callable[..., _Parts] = DERIVATIVES[op]
        parts = line(g, values[Ref(RESULT, number)], *terms)
        for arg, part in zip(args, parts, strict=True):
            if part is not None and arg.kind in (ARRAY, RESULT) and not formula.is_truth(arg):
                before = cotangents.get(arg)
                cotangents[arg] = part if before is None else before + part
    inputs = tuple(i for i, wanted in enumerate(required) if wanted and Ref(ARRAY, i) in cotangents)
    gradients = [cotangents[Ref(ARRAY, i)] for i in inputs]
    return _cheapest(writer, formula, values, gradients, inputs, sizes)


def _cheapest(
    writer: Writer,
    formula: Formula,
    values: dict[Ref, Term],
    gradients: Sequence[Term],
    inputs: tuple[int, ...],
    sizes: Sequence[float],
) -> Derivative:
    """The derivative that keeps the fewest bytes, by results that are kept or computed again."""
    results: dict[Ref, int] = {}
    for number, output in enumerate(formula.outputs):
        value = values[output]
        if isinstance(value, Symbol) and value.ref is not None and value.ref.kind == RESULT:
            results.setdefault(value.ref, number)
    best: tuple[float, int] | None = None
    chosen: tuple[tuple[Ref, ...], tuple[Ref, ...]] = (), ()
    inputs_of = [Ref(ARRAY, i) for i in range(len(formula.arrays))]
    every = list(writer.instructions)
    wanted = [g.ref for g in gradients if isinstance(g, Symbol) and g.ref is not None]
    for kept in _subsets(tuple(results)):
        found = reached(every, wanted, kept.__contains__)
        read = tuple(ref for ref in inputs_of if ref in found)
        used = tuple(ref for ref in kept if ref in found)
        bytes_kept = sum(sizes[ref.index] for ref in read) + len(used)
        if best is None or (bytes_kept, len(found)) < best:
            best, chosen = (bytes_kept, len(found)), (read, used)
    read, used = chosen
    kept_outputs = tuple(results[ref] for ref in used)
    names = {"g": False}
    for ref in read:
        names[_free(formula.arrays[ref.index], names)] = formula.truths[ref.index]
    for _ in used:
        names[_free("y", names)] = False
    moved = {Ref(ARRAY, len(formula.arrays)): Ref(ARRAY, 0)}
    moved |= {ref: Ref(ARRAY, place) for place, ref in enumerate((*read, *used), 1)}
    different: list[Term] = []
    results_of: list[int] = []
    for gradient in gradients:
        places = [place for place, other in enumerate(different) if _same(gradient, other)]
        results_of.append(places[0] if places else len(different))
        different += [] if places else [gradient]
    host = [f"s{i}" for i in range(formula.scalars)]
    made = finished(writer, f"gradient of {formula.name}", names, host, different, moved)
    kept_inputs = tuple(ref.index for ref in read)
    return Derivative(made, inputs, tuple(results_of), kept_inputs, kept_outputs)


def _same(one: Term, other: Term) -> bool:
    return (
        isinstance(one, Symbol)
        and isinstance(other, Symbol)
        and one.ref is not None
        and one.ref == other.ref
    )


def _free(name: str, taken: dict[str, bool]) -> str:
    while name in taken:
        name += "_"
    return name


def _subsets(refs: tuple[Ref, ...]) -> Iterator[tuple[Ref, ...]]:
    """Every choice of results to keep; of many results, all or none."""
    if len(refs) > 4:
        yield from ((), refs)
        return
    for count in range(len(refs) + 1):
        yield from combinations(refs, count)
