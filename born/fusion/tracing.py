"""From a rule function to a program: it is called with symbols that write instructions down.

Equal instructions share one result, and what no output needs is dropped.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from typing_extensions import TypeIs

from born.errors import RuleError
from born.fusion.host import Host
from born.fusion.origin import definition_of, line_of, name_of
from born.fusion.program import (
    ARRAY,
    COLUMNS,
    ELEMENT,
    GROUP,
    HOST,
    MATRIX,
    REDUCTIONS,
    RESULT,
    ROWS,
    TENSOR,
    GroupProgram,
    Instruction,
    Program,
    Ref,
    matrix_function,
)
from born.fusion.splitting import Split
from born.fusion.symbol import Symbol, Writer, number_text


def trace(
    function: Callable[..., Any],
    slots: Sequence[str],
    scalars: Iterable[str],
    ranks: Mapping[str, str] | None = None,
    ndim: int = 2,
    varying: Iterable[str] = (),
    *,
    square: bool = True,
) -> Program:
    """Trace a rule.

    Args:
        function: `(p, g, *slots, **scalars) -> (p, *slots)`, as `born.optim.Rule` says.
        slots: the names of its state arrays.
        scalars: the names of its keyword arguments, `t` among them.
        ranks: slot -> its rank, for those that are not of rank element.
        ndim: the number of axes of the parameter.
        varying: the scalars, beside `t`, that are not the same for all parameters: what joins them
            with values of rank group is computed for each.
        square: whether the parameter has as many rows as columns.

    Raises:
        RuleError: as for `born.optim.rule`.

    >>> from born.fusion import sqrt
    >>> def scaled(p, g, v, *, lr, t):
    ...     v = v + g * g
    ...     return p - lr / sqrt(t) * g / sqrt(v), v
    >>> print(trace(scaled, ["v"], ["lr", "t"]))
    scaled(p, g, v)
      r0 = mul(g, g)
      r1 = add(v, r0)
      r2 = mul(s0, g)
      r3 = sqrt(r1)
      r4 = div(r2, r3)
      r5 = sub(p, r4)
      p <- r5
      v <- r1
    """
    arrays, names = ("p", "g", *slots), tuple(scalars)
    kinds = tuple((ranks or {}).get(name, ELEMENT) for name in arrays)
    own = frozenset(varying)
    _check_names(function, arrays, names)
    record, again = (_recorded(function, arrays, kinds, names, ndim, own, square) for _ in range(2))
    if record != again:
        raise RuleError(
            f"{definition_of(function)}: expected a rule that computes the same whenever it is "
            "called, got one that keeps something from call to call; give it a slot for that, "
            "or take t"
        )
    if record.is_staged:
        return _staged(function, arrays, kinds, names, record)
    instructions, outputs = _needed(list(record.instructions), list(record.outputs))
    return Program(
        arrays=arrays,
        instructions=tuple(instructions),
        outputs=tuple(outputs),
        scalars=len(record.handed),
        host=_host(function, names, record, tuple(record.handed)),
        name=name_of(function),
        sizes=record.sizes,
        by_ndim=record.by_ndim,
        least_ndim=record.least_ndim,
        by_square=record.by_square,
    )


@dataclass(frozen=True)
class _Record:
    """What one call writes down."""

    instructions: tuple[Instruction, ...]
    outputs: tuple[Ref, ...]
    ranks: tuple[str, ...]  # of the results
    kinds: tuple[str, ...]  # the ranks of the arrays
    host: tuple[tuple[str, str], ...]
    handed: tuple[str, ...]
    varying: frozenset[str]
    sizes: tuple[str, ...]
    by_ndim: bool
    least_ndim: int
    by_square: bool

    @property
    def is_staged(self) -> bool:
        return any(kind != ELEMENT for kind in self.kinds) or any(
            op == "total" or op in REDUCTIONS or matrix_function(op) for op, _ in self.instructions
        )


def _staged(
    function: Callable[..., Any],
    arrays: tuple[str, ...],
    kinds: tuple[str, ...],
    names: tuple[str, ...],
    record: _Record,
) -> Program:
    """The program of tensors, and that of the group where there is one."""
    texts = tuple(record.handed)
    split = Split(
        record.instructions,
        record.outputs,
        kinds,
        record.ranks,
        frozenset(i for i, text in enumerate(texts) if text in record.varying),
    )
    group = None
    if split.has_group:
        handed = tuple(texts[i] for i in split.group_scalars)
        sizes = [name for name in record.sizes if _reaches(record, f"__{name}", handed)]
        if sizes:
            raise RuleError(
                f"{definition_of(function)}: expected slots of rank group to take values that are "
                f"the same for all parameters, got one that depends on p.{sizes[0]}; add it up "
                "over all parameters with total"
            )
        reads = frozenset(name for name in names if _reaches(record, name, handed))
        group = GroupProgram(
            slots=tuple(name for name, kind in zip(arrays, kinds, strict=True) if kind == GROUP),
            instructions=split.group_instructions,
            outputs=split.group_outputs,
            totals=len(split.totals),
            values=split.values,
            total_rounds=split.total_rounds,
            value_rounds=split.value_rounds,
            scalars=len(handed),
            reads=reads,
            host=_host(function, names, record, handed, sizes=False),
        )
    handed = tuple(texts[i] for i in split.scalars)
    own = [(name, kind) for name, kind in zip(arrays, kinds, strict=True) if kind != GROUP]
    return Program(
        arrays=tuple(name for name, _ in own),
        instructions=split.instructions,
        outputs=split.outputs,
        scalars=len(handed),
        host=_host(function, names, record, handed),
        name=name_of(function),
        ranks=tuple(kind for _, kind in own),
        totals=split.totals,
        group=group,
        sizes=record.sizes,
        by_ndim=record.by_ndim,
        least_ndim=record.least_ndim,
        by_square=record.by_square,
    )


def _reaches(record: _Record, name: str, handed: Sequence[str]) -> bool:
    """Whether scalars of the host depend on one of its arguments."""
    needed = set(handed)
    for text, result in reversed(record.host):
        if result in needed:
            needed.update(re.findall(r"\w+", text))
    return name in needed


def _check_names(
    function: Callable[..., Any], arrays: tuple[str, ...], scalars: tuple[str, ...]
) -> None:
    every = (*arrays, *scalars)
    for name in every:
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
            raise RuleError(
                f"{definition_of(function)}: expected slots and scalars with the names of Python's "
                f"variables and without leading double underscores, got {name!r}; rename it"
            )
    taken = [name for name in _positional(function)[2:] if name in arrays[2:]]
    if taken != list(arrays[2:]) and sorted(taken) == sorted(arrays[2:]):
        raise RuleError(
            f"{definition_of(function)}: expected slots in the order in which the rule takes them, "
            f"{', '.join(taken)}, got {', '.join(arrays[2:])}; name them in that order"
        )
    if len(set(every)) < len(every) or "t" in arrays:
        raise RuleError(
            f"{definition_of(function)}: expected distinct names for p, g, t, slots and scalars, "
            f"got {', '.join(every)}; rename one"
        )


def _positional(function: Callable[..., Any]) -> list[str]:
    """The names of a rule's positional parameters, as far as they can be known."""
    try:
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def _recorded(
    function: Callable[..., Any],
    arrays: tuple[str, ...],
    kinds: tuple[str, ...],
    names: tuple[str, ...],
    ndim: int,
    varying: frozenset[str],
    square: bool,
) -> _Record:
    """What one call writes down."""
    writer = Writer(ndim, varying=varying, square=square)
    symbols: list[Symbol] = []
    for index, kind in enumerate(kinds):
        writer.ranks[Ref(ARRAY, index)] = kind
        symbols.append(Symbol(writer, Ref(ARRAY, index)))
    named = {name: Symbol(writer, text=name) for name in names}
    try:
        for name, kind in zip(arrays, kinds, strict=True):
            if kind in (ROWS, COLUMNS):
                writer.need_axes(1, f"the slot {name!r} of rank {kind}")
        returned = function(*symbols, **named)
        if writer.branched is not None:
            raise writer.branched
        outputs = _outputs(writer, function, returned, arrays)
    except RuleError:
        raise
    except UnboundLocalError as error:
        axes = "axis" if ndim == 1 else "axes"
        raise RuleError(
            f"{line_of(function, error)}: expected a rule that computes a value before it reads "
            f"it, got {error}, for a parameter of {ndim} {axes}; compute it in a line above, on "
            "every way through the rule"
        ) from error
    except Exception as error:
        raise RuleError(
            f"{line_of(function, error)}: expected a rule of operators and the functions of "
            f"born.fusion, but {error}"
        ) from error
    instructions = tuple(writer.instructions)
    return _Record(
        instructions,
        tuple(outputs),
        tuple(writer.ranks[Ref(RESULT, number)] for number in range(len(instructions))),
        kinds,
        tuple(writer.host.items()),
        tuple(writer.handed),
        frozenset(writer.varying),
        tuple(writer.sizes),
        writer.by_ndim,
        writer.least_ndim,
        writer.by_square,
    )


_NARROWER: Final = {
    ELEMENT: (HOST, GROUP, TENSOR, MATRIX, ROWS, COLUMNS, ELEMENT),
    ROWS: (HOST, GROUP, TENSOR, MATRIX, ROWS),
    COLUMNS: (HOST, GROUP, TENSOR, MATRIX, COLUMNS),
    TENSOR: (HOST, GROUP, TENSOR),
    GROUP: (HOST, GROUP),
}
"""Rank of a slot -> the ranks of values that fill it."""


def _outputs(
    writer: Writer, function: Callable[..., Any], returned: Any, arrays: tuple[str, ...]
) -> list[Ref]:
    values = returned if _is_tuple(returned) else (returned,)
    targets = (arrays[0], *arrays[2:])
    if len(values) != len(targets):
        slots = len(targets) - 1
        raise RuleError(
            f"{definition_of(function)}: expected the rule to return the parameter and its {slots} "
            f"slots, {1 + slots} values, got {len(values)}; return them as one tuple, in order"
        )
    outputs: list[Ref] = []
    for name, value in zip(targets, values, strict=True):
        rank = writer.ranks[Ref(ARRAY, arrays.index(name))]
        if isinstance(value, Symbol) and value.writer is writer and not value.boolean:
            if value.rank not in _NARROWER[rank]:
                remedy = "total" if rank == GROUP else "sum, mean, norm or max"
                raise RuleError(
                    f"{definition_of(function)}: expected a value for the slot {name!r} of rank "
                    f"{rank}, got one of rank {value.rank}; reduce it with {remedy}"
                )
            outputs.append(value.ref or writer.hand_over(value.text))
        elif isinstance(value, int | float):
            outputs.append(writer.hand_over(number_text(value)))
        else:
            shown = "a truth value" if isinstance(value, Symbol) else repr(value)
            raise RuleError(
                f"{definition_of(function)}: expected the rule to return arrays, got {shown}; "
                "return what its operators gave, a truth value through where(condition, 1.0, 0.0)"
            )
    return outputs


def _needed(
    instructions: list[Instruction], outputs: list[Ref]
) -> tuple[list[Instruction], list[Ref]]:
    """The instructions that outputs depend on, renumbered."""
    needed: set[int] = set()
    waiting = [ref.index for ref in outputs if ref.kind == RESULT]
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            args = instructions[number].args
            waiting.extend(arg.index for arg in args if arg.kind == RESULT)
    order = sorted(needed)
    renamed = {Ref(RESULT, old): Ref(RESULT, new) for new, old in enumerate(order)}
    remaining = [
        Instruction(op, tuple(renamed.get(arg, arg) for arg in args))
        for op, args in (instructions[number] for number in order)
    ]
    return remaining, [renamed.get(ref, ref) for ref in outputs]


def _host(
    function: Callable[..., Any],
    names: Sequence[str],
    record: _Record,
    handed: Sequence[str],
    *,
    sizes: bool = True,
) -> Host:
    """What is computed of the rule's scalars."""
    given = [*names, *(f"__{name}" for name in (record.sizes if sizes else ()))]
    needed = record.host
    if record.is_staged:
        wanted, kept = set(handed), list[tuple[str, str]]()
        for text, name in reversed(record.host):
            if name in wanted:
                wanted.update(re.findall(r"\w+", text))
                kept.append((text, name))
        needed = tuple(reversed(kept))
    return Host(given, [(name, text) for text, name in needed], handed, name_of(function))


def _is_tuple(value: object) -> TypeIs[tuple[Any, ...]]:
    return isinstance(value, tuple)
