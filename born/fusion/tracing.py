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
    reached,
    renumbered,
    rewritten,
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
    writers = (Writer(ndim, varying=own, square=square) for _ in range(2))
    record, again = (_recorded(writer, function, arrays, kinds, names) for writer in writers)
    if record != again:
        raise RuleError(
            f"{definition_of(function)}: expected a rule that computes the same whenever it is "
            "called, got one that keeps something from call to call; give it a slot for that, "
            "or take t"
        )
    if record.is_staged:
        return _staged(record)
    needed = reached(record.instructions, record.outputs, lambda ref: False)
    order = sorted(ref.index for ref in needed if ref.kind == RESULT)
    renamed = renumbered(order)
    return Program(
        arrays=arrays,
        instructions=rewritten((record.instructions[number] for number in order), renamed),
        outputs=tuple(renamed.get(ref, ref) for ref in record.outputs),
        scalars=len(record.handed),
        host=_host(record, record.handed, record.host),
        name=name_of(function),
        sizes=record.sizes,
        by_ndim=record.by_ndim,
        least_ndim=record.least_ndim,
        by_square=record.by_square,
    )


@dataclass(frozen=True)
class _Record:
    """What one call of a rule writes down.

    Attributes:
        function: the rule.
        arrays: the names of its arrays.
        kinds: the ranks of these.
        names: of its scalars.
        instructions: in order.
        outputs: the parameter and its slots.
        ranks: of the results.
        host: the lines of the host function, name and text.
        handed: the texts of what that hands over.
        varying: those of the host's names that are not the same for all parameters.
        sizes: of the parameter that are read, as `rows`.
        by_ndim: whether the rule asks for the number of axes.
        least_ndim: how many axes it needs.
        by_square: whether it needs as many rows as columns.
    """

    function: Callable[..., Any]
    arrays: tuple[str, ...]
    kinds: tuple[str, ...]
    names: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Ref, ...]
    ranks: tuple[str, ...]
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


def _staged(record: _Record) -> Program:
    """The program of tensors, and that of the group where there is one."""
    split = Split(
        record.instructions,
        record.outputs,
        record.kinds,
        record.ranks,
        frozenset(i for i, text in enumerate(record.handed) if text in record.varying),
    )
    handed = tuple(record.handed[i] for i in split.scalars)
    arrays = zip(record.arrays, record.kinds, strict=True)
    own = [(name, kind) for name, kind in arrays if kind != GROUP]
    lines, _ = _needed_lines(record, handed)
    return Program(
        arrays=tuple(name for name, _ in own),
        instructions=split.instructions,
        outputs=split.outputs,
        scalars=len(handed),
        host=_host(record, handed, lines),
        name=name_of(record.function),
        ranks=tuple(kind for _, kind in own),
        totals=split.totals,
        group=_group(record, split) if split.has_group else None,
        sizes=record.sizes,
        by_ndim=record.by_ndim,
        least_ndim=record.least_ndim,
        by_square=record.by_square,
    )


def _group(record: _Record, split: Split) -> GroupProgram:
    """What is computed once for all parameters."""
    handed = tuple(record.handed[i] for i in split.group_scalars)
    lines, read = _needed_lines(record, handed)
    sizes = [name for name in record.sizes if f"__{name}" in read]
    if sizes:
        raise RuleError(
            f"{definition_of(record.function)}: expected slots of rank group to take values that "
            f"are the same for all parameters, got one that depends on p.{sizes[0]}; add it up "
            "over all parameters with total"
        )
    arrays = zip(record.arrays, record.kinds, strict=True)
    return GroupProgram(
        slots=tuple(name for name, kind in arrays if kind == GROUP),
        instructions=split.group_instructions,
        outputs=split.group_outputs,
        totals=len(split.totals),
        values=split.values,
        total_rounds=split.total_rounds,
        value_rounds=split.value_rounds,
        scalars=len(handed),
        reads=frozenset(record.names) & read,
        host=Host(record.names, lines, handed, name_of(record.function)),
    )


def _needed_lines(record: _Record, handed: Sequence[str]) -> tuple[list[tuple[str, str]], set[str]]:
    """The lines of the host that some of its texts depend on, and every name that these read."""
    read, lines = set(handed), list[tuple[str, str]]()
    for name, text in reversed(record.host):
        if name in read:
            read.update(re.findall(r"\w+", text))
            lines.append((name, text))
    return lines[::-1], read


def _host(record: _Record, handed: Sequence[str], lines: Sequence[tuple[str, str]]) -> Host:
    """What is computed of the rule's scalars, and of the sizes of the parameter."""
    given = [*record.names, *(f"__{name}" for name in record.sizes)]
    return Host(given, lines, handed, name_of(record.function))


def _check_names(
    function: Callable[..., Any], arrays: tuple[str, ...], scalars: tuple[str, ...]
) -> None:
    """Refuse names that a traced function cannot have, or that clash."""
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
    writer: Writer,
    function: Callable[..., Any],
    arrays: tuple[str, ...],
    kinds: tuple[str, ...],
    names: tuple[str, ...],
) -> _Record:
    """What one call writes down."""
    symbols: list[Symbol] = []
    for index, kind in enumerate(kinds):
        writer.ranks[Ref(ARRAY, index)] = kind
        writer.names[Ref(ARRAY, index)] = arrays[index]
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
        axes = "axis" if writer.ndim == 1 else "axes"
        raise RuleError(
            f"{line_of(function, error)}: expected a rule that computes a value before it reads "
            f"it, got {error}, for a parameter of {writer.ndim} {axes}; compute it in a line "
            "above, on every way through the rule"
        ) from error
    except Exception as error:
        raise RuleError(
            f"{line_of(function, error)}: expected a rule of operators and the functions of "
            f"born.fusion, but {error}"
        ) from error
    instructions = tuple(writer.instructions)
    return _Record(
        function=function,
        arrays=arrays,
        kinds=kinds,
        names=names,
        instructions=instructions,
        outputs=tuple(outputs),
        ranks=tuple(writer.ranks[Ref(RESULT, number)] for number in range(len(instructions))),
        host=tuple((name, text) for text, name in writer.host.items()),
        handed=tuple(writer.handed),
        varying=frozenset(writer.varying),
        sizes=tuple(writer.sizes),
        by_ndim=writer.by_ndim,
        least_ndim=writer.least_ndim,
        by_square=writer.by_square,
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
    """What the rule returned, of ranks that fill the parameter and its slots."""
    values = returned if _is_tuple(returned) else (returned,)
    targets = (arrays[0], *arrays[2:])
    if len(values) != len(targets):
        slots = f"its slots {', '.join(targets[1:])}" if targets[1:] else "nothing else"
        expected = "1 value" if len(targets) == 1 else f"{len(targets)} values"
        count = "nothing" if returned is None else str(len(values))
        raise RuleError(
            f"{definition_of(function)}: expected the rule to return the parameter and {slots}, "
            f"{expected}, got {count}; return them as one tuple, in order, and take scalars by "
            "keyword, after *"
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


def _is_tuple(value: object) -> TypeIs[tuple[Any, ...]]:
    return isinstance(value, tuple)
