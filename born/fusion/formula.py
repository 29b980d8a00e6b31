"""`Formula`: a traced function of arrays and scalars, ready for a backend to compile.

It is a straight line of elementwise instructions. What depends on scalars alone is left to
`host`, in double, once for each call; numbers that the function names are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from born.errors import FormulaError
from born.fusion import expression, functions
from born.fusion.origin import definition_of, line_of, name_of
from born.fusion.program import (
    ARRAY,
    BOOLEAN,
    ELEMENT,
    REDUCTIONS,
    RESULT,
    SCALAR,
    Instruction,
    Ref,
    last_uses,
    matrix_function,
    reached,
    renumbered,
    rewritten,
)
from born.fusion.symbol import Symbol, Writer, number_text

CONSTANT: Final = "k"

Term: TypeAlias = Symbol | float
"""A value while a formula is written: a symbol, or a number that is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """A function as a backend sees it; two of equal text are one object.

    Attributes:
        name: of the function.
        arrays: the names of the array inputs.
        truths: for each of them, whether its elements are truth values.
        instructions: what to compute, in order.
        outputs: the value of each result.
        constants: the numbers that `Ref(CONSTANT, n)` stands for.
        scalars: how many scalars the host hands over at each call.
        host: from the function's own scalars to those, in double.
        host_source: the Python text of `host`.
        leading: the first array that holds numbers, whose dtype the results have.
        compiled: what backends have made of it, by keys of their own.
    """

    name: str
    arrays: tuple[str, ...]
    truths: tuple[bool, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Ref, ...]
    constants: tuple[float, ...]
    scalars: int
    host: Callable[..., tuple[float, ...]] = field(repr=False)
    host_source: str
    leading: int = 0
    compiled: dict[Any, Any] = field(default_factory=dict[Any, Any], repr=False)

    def last_use(self) -> dict[Ref, int]:
        """Value -> the number of the last instruction that reads it; outputs stay to the end."""
        return last_uses(self.instructions, self.outputs)

    def is_truth(self, ref: Ref) -> bool:
        """Whether a value is a truth value."""
        if ref.kind == ARRAY:
            return self.truths[ref.index]
        return ref.kind == RESULT and self.instructions[ref.index].op in BOOLEAN

    def __deepcopy__(self, memo: object) -> Formula:
        return self  # nothing in it changes but what backends know

    def __str__(self) -> str:
        names = {Ref(ARRAY, i): name for i, name in enumerate(self.arrays)}
        names |= {Ref(CONSTANT, i): repr(number) for i, number in enumerate(self.constants)}
        lines = [f"{self.name}({', '.join(self.arrays)})"]
        for number, (op, args) in enumerate(self.instructions):
            listed = ", ".join(names.get(arg, str(arg)) for arg in args)
            lines.append(f"  r{number} = {op}({listed})")
        shown = ", ".join(names.get(output, str(output)) for output in self.outputs)
        return "\n".join([*lines, f"  return {shown}"])


def trace_formula(
    function: Callable[..., Any],
    arrays: Mapping[str, bool],
    scalars: Sequence[str] = (),
    keywords: Iterable[str] = (),
) -> Formula:
    """Trace a function of arrays and scalars that returns one array.

    Args:
        function: made of operators and the functions of `born.fusion`.
        arrays: the names of its arguments that are arrays -> whether they hold truth values.
        scalars: the names of those that are numbers.
        keywords: which of both it takes by keyword; the others by position, in the order given,
            arrays first.

    Raises:
        FormulaError: it branches on a value, uses something that is not in `born.fusion`, keeps
            something from call to call, or returns no array; the message names the line.

    >>> from born.fusion import exp
    >>> def swish(x, beta):
    ...     return x / (1 + exp(-beta * x))
    >>> print(trace_formula(swish, {"x": False}, ["beta"]))
    swish(x)
      r0 = mul(s0, x)
      r1 = exp(r0)
      r2 = add(1, r1)
      r3 = div(x, r2)
      return r3
    """
    by_keyword = frozenset(keywords)
    record, again = (_recorded(function, arrays, scalars, by_keyword) for _ in range(2))
    if record is not again:
        raise FormulaError(
            f"{definition_of(function)}: expected a function that computes the same whenever it "
            "is called, got one that keeps something from call to call; pass that as an argument"
        )
    return record


def _recorded(
    function: Callable[..., Any],
    arrays: Mapping[str, bool],
    scalars: Sequence[str],
    keywords: frozenset[str],
) -> Formula:
    """The formula of one call."""
    writer = Writer(kind="formula")
    named: dict[str, Symbol] = {
        name: array_symbol(writer, i, truth) for i, (name, truth) in enumerate(arrays.items())
    }
    named |= {name: Symbol(writer, text=name) for name in scalars}
    positional = [symbol for name, symbol in named.items() if name not in keywords]
    try:
        returned: object = function(*positional, **{name: named[name] for name in keywords})
        if writer.branched is not None:
            raise writer.branched
    except FormulaError:
        raise
    except Exception as error:
        raise FormulaError(
            f"{line_of(function, error)}: expected a formula of operators and the functions of "
            f"born.fusion, but {error}"
        ) from error
    beyond = [op for op, _ in writer.instructions if _is_beyond(op)]
    if beyond or writer.sizes or writer.by_ndim:
        raise FormulaError(
            f"{definition_of(function)}: expected a formula of each element, got one that uses "
            f"{beyond[0] if beyond else 'the size of an array'}; compute that before with born.ops"
        )
    own = isinstance(returned, Symbol) and returned.writer is writer and not returned.boolean
    if not own and (isinstance(returned, bool) or not isinstance(returned, int | float)):
        truth = isinstance(returned, bool) or getattr(returned, "boolean", False)
        shown = "a truth value" if truth else repr(returned)
        raise FormulaError(
            f"{definition_of(function)}: expected a formula that returns one array, got {shown}; "
            "return what its operators gave, a truth value through where(condition, 1.0, 0.0)"
        )
    result: Any = returned
    written = finished(writer, name_of(function), arrays, scalars, [result])
    if all(op != "pow" for op, _ in written.instructions):
        return written
    # Written again with each number known, so that powers become products.
    again = Writer(kind="formula")
    values = replayed(again, written)
    outputs = [values[ref] for ref in written.outputs]
    host = [f"s{i}" for i in range(written.scalars)]
    short = finished(again, written.name, arrays, host, outputs)
    return _composed(written, short) if written.scalars else short


def _composed(first: Formula, second: Formula) -> Formula:
    """The second formula, with a host that takes what the first one's takes."""
    names = ", ".join(f"s{i}" for i in range(first.scalars))
    body = second.host_source.splitlines()[1:]
    lines = first.host_source.splitlines()
    lines[-1] = f"    ({names},) = {lines[-1].removeprefix('    return ')}"
    lines += [line.replace("__h", "__g") for line in body]
    return _made(
        second.name,
        dict(zip(second.arrays, second.truths, strict=True)),
        second.instructions,
        second.outputs,
        second.constants,
        second.scalars,
        "\n".join(lines) + "\n",
    )


def array_symbol(writer: Writer, number: int, truth: bool) -> Symbol:
    """The symbol of an array, of all its elements."""
    writer.ranks[Ref(ARRAY, number)] = ELEMENT
    return Symbol(writer, Ref(ARRAY, number), boolean=truth)


def _is_beyond(op: str) -> bool:
    """Whether an operation of rules is not one of each element."""
    return op in REDUCTIONS or op == "total" or matrix_function(op) is not None


def replayed(writer: Writer, formula: Formula) -> dict[Ref, Term]:
    """Every value of a formula, written down again: its scalars are called s0, s1, ..."""
    values: dict[Ref, Term] = {
        Ref(ARRAY, i): array_symbol(writer, i, truth) for i, truth in enumerate(formula.truths)
    }
    values |= {Ref(CONSTANT, i): number for i, number in enumerate(formula.constants)}
    truths = {ref for op, args in formula.instructions for ref in _conditions(op, args)}
    for i in range(formula.scalars):
        ref = Ref(SCALAR, i)
        values[ref] = Symbol(writer, text=f"s{i}", boolean=ref in truths)
    for number, (op, args) in enumerate(formula.instructions):
        values[Ref(RESULT, number)] = applied(op, *(values[arg] for arg in args))
    return values


def _conditions(op: str, args: Sequence[Ref]) -> Sequence[Ref]:
    """The arguments of an operation that are truth values."""
    return args if op.startswith("logical_") else args[:1] if op == "where" else ()


def applied(op: str, *args: Term) -> Term:
    """An operation on symbols and numbers, at least one of them a symbol."""
    if op == "pow" and not isinstance(args[1], Symbol):
        return power(args[0], args[1])
    symbol = next(arg for arg in args if isinstance(arg, Symbol))
    return symbol.apply(op, *args)


MOST_FACTORS: Final = 8


def power(x: Term, exponent: float) -> Term:
    """x to a power that is known: a product where that is as exact."""
    if not isinstance(x, Symbol):
        number: float = x**exponent
        return number
    if exponent == 1:
        return x
    if exponent == -1:
        return 1.0 / x
    if exponent != int(exponent) or not 2 <= exponent <= MOST_FACTORS:
        return x.apply("pow", x, float(exponent))
    half = power(x, exponent // 2)
    square = half * half
    return square * x if exponent % 2 else square


def finished(
    writer: Writer,
    name: str,
    arrays: Mapping[str, bool],
    parameters: Sequence[str],
    outputs: Sequence[Term],
    moved: Mapping[Ref, Ref] | None = None,
) -> Formula:
    """The formula of what a writer has written down, as far as outputs depend on it.

    `moved` says which values are arrays of the formula, and where among them; all arrays that
    were written, in their order, by default.
    """
    leaves: Mapping[Ref, Ref] = moved or {}
    refs = [
        value.ref or writer.hand_over(value.text)
        if isinstance(value, Symbol)
        else writer.hand_over(number_text(value))
        for value in outputs
    ]
    every = list(writer.instructions)
    used = reached(every, refs, leaves.__contains__)
    order = sorted(ref.index for ref in used if ref.kind == RESULT and ref not in leaves)
    texts: dict[Ref, str] = {}
    constants: dict[Ref, float] = {}
    for text, ref in writer.handed.items():
        number = _number(text)
        if ref in used and number is None:
            texts[ref] = text
        elif ref in used and number is not None:
            constants[ref] = number
    renamed = renumbered(order) | dict(leaves)
    renamed |= {ref: Ref(SCALAR, i) for i, ref in enumerate(texts)}
    renamed |= {ref: Ref(CONSTANT, i) for i, ref in enumerate(constants)}
    return _made(
        name,
        arrays,
        rewritten((every[number] for number in order), renamed),
        tuple(renamed.get(ref, ref) for ref in refs),
        tuple(constants.values()),
        len(texts),
        _host_source(writer, parameters, list(texts.values())),
    )


def _host_source(writer: Writer, parameters: Sequence[str], handed: Sequence[str]) -> str:
    """The text of the host function, which hands over these texts."""
    lines = [f"def host({', '.join(parameters)}):"]
    if handed:
        lines += [f"    {name} = {text}" for text, name in writer.host.items()]
    lines.append(f"    return ({''.join(f'__float({text}), ' for text in handed)})")
    return "\n".join(lines) + "\n"


def _number(text: str) -> float | None:
    """The number that a text on the host is, if it is one."""
    if text.startswith(("(", "__float('")):
        literal = text.removeprefix("__float('").strip("()'")
        try:
            return (
                int(literal)
                if text.startswith("(") and literal.lstrip("-").isdigit()
                else float(literal)
            )
        except ValueError:
            return None
    return None


def _made(
    name: str,
    arrays: Mapping[str, bool],
    instructions: tuple[Instruction, ...],
    outputs: tuple[Ref, ...],
    constants: tuple[float, ...],
    scalars: int,
    host_source: str,
) -> Formula:
    """A formula, or the one of the same text that there is."""
    names, truths = tuple(arrays), tuple(arrays.values())
    key = (name, names, truths, instructions, outputs, repr(constants), host_source)
    known = _FORMULAS.get(key)
    if known is None:
        namespace = dict(_HOST)
        exec(compile(host_source, f"<host scalars of {name}>", "exec"), namespace)
        leading = truths.index(False) if False in truths else 0
        known = _FORMULAS[key] = Formula(
            name,
            names,
            truths,
            instructions,
            outputs,
            constants,
            scalars,
            namespace["host"],
            host_source,
            leading,
        )
    return known


_FORMULAS: Final[dict[Any, Formula]] = {}
"""Every formula there is, so that functions of equal text share what is compiled."""

_HOST: Final[dict[str, Any]] = {
    "__float": float,
    "__bool": bool,
    **{
        f"__{name}": getattr(module, name)
        for module in (expression, functions)
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and value.__module__ == module.__name__
    },
    **{f"__cast_{dtype}": partial(expression.cast, dtype=dtype) for dtype in expression.CASTS},
}
"""What a host function may call."""
