"""From a rule function to a program: it is called with symbols that write instructions down.

Equal instructions share one result, and what no output needs is dropped.
"""

from __future__ import annotations

import inspect
import keyword
import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import CodeType
from typing import Any, Final

from typing_extensions import TypeIs

from born.errors import RuleError
from born.fusion import expression
from born.fusion.program import ARRAY, RESULT, Instruction, Program, Ref
from born.fusion.symbol import Symbol, Writer, number_text

_HOST_FUNCTIONS: Final[dict[str, Any]] = {
    f"__{name}": getattr(expression, name)
    for name in ("abs", "exp", "isfinite", "log", "maximum", "minimum", "sign", "sqrt", "where")
} | {f"__cast_{dtype}": partial(expression.cast, dtype=dtype) for dtype in expression.CASTS}
_HERE: Final = os.path.dirname(__file__)  # pathlib would add 4 ms to import born


def trace(function: Callable[..., Any], slots: Sequence[str], scalars: Iterable[str]) -> Program:
    """Trace a rule.

    Args:
        function: `(p, g, *slots, **scalars) -> (p, *slots)`, as `born.optim.Rule` says.
        slots: the names of its state arrays.
        scalars: the names of its keyword arguments, `t` among them.

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
    _check_names(function, arrays, names)
    record, again = (_recorded(function, arrays, names) for _ in range(2))
    if record != again:
        raise RuleError(
            f"{_definition(function)}: expected a rule that computes the same whenever it is "
            "called, got one that keeps something from call to call; give it a slot for that, "
            "or take t"
        )
    instructions, outputs, source, handed = record
    namespace: dict[str, Any] = {**_HOST_FUNCTIONS, "__float": float, "__bool": bool}
    exec(compile(source, f"<host scalars of {_name(function)}>", "exec"), namespace)
    return Program(
        arrays=arrays,
        instructions=instructions,
        outputs=outputs,
        scalars=handed,
        host_source=source,
        host=namespace["host"],
        name=_name(function),
    )


def _check_names(
    function: Callable[..., Any], arrays: tuple[str, ...], scalars: tuple[str, ...]
) -> None:
    every = (*arrays, *scalars)
    for name in every:
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
            raise RuleError(
                f"{_definition(function)}: expected slots and scalars with the names of Python's "
                f"variables and without leading double underscores, got {name!r}; rename it"
            )
    taken = [name for name in _positional(function)[2:] if name in arrays[2:]]
    if taken != list(arrays[2:]) and sorted(taken) == sorted(arrays[2:]):
        raise RuleError(
            f"{_definition(function)}: expected slots in the order in which the rule takes them, "
            f"{', '.join(taken)}, got {', '.join(arrays[2:])}; name them in that order"
        )
    if len(set(every)) < len(every) or "t" in arrays:
        raise RuleError(
            f"{_definition(function)}: expected distinct names for p, g, t, slots and scalars, "
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
    function: Callable[..., Any], arrays: tuple[str, ...], names: tuple[str, ...]
) -> tuple[tuple[Instruction, ...], tuple[Ref, ...], str, int]:
    """What one call writes down: instructions, outputs, the host's text, its number of scalars."""
    writer = Writer()
    symbols = [Symbol(writer, Ref(ARRAY, i)) for i in range(len(arrays))]
    named = {name: Symbol(writer, text=name) for name in names}
    try:
        returned = function(*symbols, **named)
        if writer.branched is not None:
            raise writer.branched
        outputs = _outputs(writer, function, returned, len(arrays) - 2)
    except RuleError:
        raise
    except Exception as error:
        raise RuleError(
            f"{_line(function, error)}: expected a rule of operators and the functions of "
            f"born.fusion, but {error}"
        ) from error
    instructions, outputs = _needed(list(writer.instructions), outputs)
    return tuple(instructions), tuple(outputs), _host_source(names, writer), len(writer.handed)


def _outputs(writer: Writer, function: Callable[..., Any], returned: Any, slots: int) -> list[Ref]:
    values = returned if _is_tuple(returned) else (returned,)
    if len(values) != 1 + slots:
        raise RuleError(
            f"{_definition(function)}: expected the rule to return the parameter and its {slots} "
            f"slots, {1 + slots} values, got {len(values)}; return them as one tuple, in order"
        )
    outputs: list[Ref] = []
    for value in values:
        if isinstance(value, Symbol) and value.writer is writer and not value.boolean:
            outputs.append(value.ref or writer.hand_over(value.text))
        elif isinstance(value, int | float):
            outputs.append(writer.hand_over(number_text(value)))
        else:
            shown = "a truth value" if isinstance(value, Symbol) else repr(value)
            raise RuleError(
                f"{_definition(function)}: expected the rule to return arrays, got {shown}; "
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


def _host_source(names: Sequence[str], writer: Writer) -> str:
    """The text of the function from the rule's scalars to the kernel's; `__` marks its names."""
    lines = [f"def host({', '.join(names)}):"]
    lines += [f"    {name} = {text}" for text, name in writer.host.items()]
    handed = "".join(f"__float({text}), " for text in writer.handed)
    lines.append(f"    return ({handed})")
    return "\n".join(lines) + "\n"


def _line(function: Callable[..., Any], error: Exception) -> str:
    """Where in the rule an error arose: its own last line, or that of what it called."""
    every = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in every if not frame.filename.startswith(_HERE)]
    code = _code(function)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    if not frames:
        return _definition(function)
    last = (own or frames)[-1]
    return f"{last.filename}, line {last.lineno} ({last.line})"


def _definition(function: Callable[..., Any]) -> str:
    code = _code(function)
    if code is None:
        return _name(function)
    return f"{code.co_filename}, line {code.co_firstlineno} ({_name(function)})"


def _code(function: Callable[..., Any]) -> CodeType | None:
    """The code of a rule, or of what a `functools.partial` is of; an object's call has none."""
    inner = inspect.unwrap(function)
    while isinstance(inner, partial):
        inner = inspect.unwrap(inner.func)
    code: CodeType | None = getattr(inner, "__code__", None)
    return code


def _name(function: Callable[..., Any]) -> str:
    """The name of a function, or of an object's class."""
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def _is_tuple(value: object) -> TypeIs[tuple[Any, ...]]:
    return isinstance(value, tuple)
