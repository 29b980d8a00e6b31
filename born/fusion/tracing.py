"""Tracing: from a rule function to a program.

The function is called once, with symbols, and each operator writes an instruction
down. Equal instructions share one result, and what no output needs is dropped.
"""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from typing_extensions import TypeIs

from born.errors import RuleError
from born.fusion import expression
from born.fusion.program import ARRAY, RESULT, Instruction, Program, Ref
from born.fusion.symbol import Symbol, Writer, number_text

_HOST_FUNCTIONS: Final[dict[str, Any]] = {
    f"__{name}": getattr(expression, name)
    for name in ("abs", "exp", "isfinite", "log", "maximum", "minimum", "sign", "sqrt", "where")
}
_HOST_FUNCTIONS.update(
    {f"__cast_{dtype}": partial(expression.cast, dtype=dtype) for dtype in expression.CASTS}
)
_HERE: Final = os.path.dirname(__file__)  # pathlib would add 4 ms to import born


def trace(function: Callable[..., Any], slots: Sequence[str], scalars: Iterable[str]) -> Program:
    """Trace a rule.

    Args:
        function: `(p, g, *slots, **scalars) -> (p, *slots)`, as `born.optim.Rule` says.
        slots: the names of its state arrays.
        scalars: the names of its keyword arguments, `t` among them.

    Raises:
        RuleError: the function branches on a value, uses something that is not in
            `born.fusion`, or returns the wrong number of values; the message names
            the line.

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
    arrays = ("p", "g", *slots)
    names = tuple(scalars)
    if any(name.startswith("__") for name in names):
        raise RuleError(
            f"{_definition(function)}: expected scalars without leading double underscores, got "
            f"{names}; rename them"
        )
    writer = Writer()
    symbols = [Symbol(writer, Ref(ARRAY, i)) for i in range(len(arrays))]
    named = {name: Symbol(writer, text=name) for name in names}
    try:
        returned = function(*symbols, **named)
    except Exception as error:
        raise RuleError(
            f"{_line(function, error)}: expected a rule of operators and the functions of "
            f"born.fusion, but {error}"
        ) from error
    values = _checked_outputs(function, returned, len(slots))
    outputs = [_output(writer, value, function) for value in values]
    instructions, outputs = _needed(list(writer.instructions), outputs)
    source = _host_source(names, writer)
    namespace: dict[str, Any] = {**_HOST_FUNCTIONS, "__float": float, "__bool": bool}
    exec(compile(source, f"<host scalars of {function.__name__}>", "exec"), namespace)
    return Program(
        arrays=arrays,
        instructions=tuple(instructions),
        outputs=tuple(outputs),
        scalars=len(writer.handed),
        host_source=source,
        host=namespace["host"],
        name=function.__name__,
    )


def _checked_outputs(function: Callable[..., Any], returned: Any, slots: int) -> tuple[Any, ...]:
    values = returned if _is_tuple(returned) else (returned,)
    if len(values) != 1 + slots:
        raise RuleError(
            f"{_definition(function)}: expected the rule to return the parameter and its {slots} "
            f"slots, {1 + slots} values, got {len(values)}; return them as one tuple, in order"
        )
    return values


def _output(writer: Writer, value: Any, function: Callable[..., Any]) -> Ref:
    if isinstance(value, Symbol) and not value.boolean:
        return value.ref or writer.hand_over(value.text)
    if isinstance(value, int | float):
        return writer.hand_over(number_text(value))
    raise RuleError(
        f"{_definition(function)}: expected the rule to return arrays, got {_shown(value)}; "
        "return what its operators gave, a truth value through where(condition, 1.0, 0.0)"
    )


def _needed(
    instructions: list[Instruction], outputs: list[Ref]
) -> tuple[list[Instruction], list[Ref]]:
    """Only the instructions that outputs depend on, renumbered."""
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
    kept = [
        Instruction(op, tuple(renamed.get(arg, arg) for arg in args))
        for op, args in (instructions[number] for number in order)
    ]
    return kept, [renamed.get(ref, ref) for ref in outputs]


def _host_source(names: Sequence[str], writer: Writer) -> str:
    """The text of the function from the rule's scalars to those of the kernel.

    All its own names begin with two underscores, as none of the rule's does.
    """
    lines = [f"def host({', '.join(names)}):"]
    lines += [f"    {name} = {text}" for text, name in writer.host.items()]
    handed = "".join(f"__float({text}), " for text in writer.handed)
    lines.append(f"    return ({handed})")
    return "\n".join(lines) + "\n"


def _line(function: Callable[..., Any], error: Exception) -> str:
    """Where in the rule an error arose: the last line that is not of born.fusion itself."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_HERE)]
    if not own:
        return _definition(function)
    return f"{own[-1].filename}, line {own[-1].lineno} ({own[-1].line})"


def _definition(function: Callable[..., Any]) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}, line {code.co_firstlineno} ({function.__name__})"


def _shown(value: object) -> str:
    return "a truth value" if isinstance(value, Symbol) else repr(value)


def _is_tuple(value: object) -> TypeIs[tuple[Any, ...]]:
    return isinstance(value, tuple)
