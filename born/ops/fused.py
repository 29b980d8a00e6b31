"""`fused`: a formula of tensors computed in one pass over memory, and differentiated in one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import update_wrapper
from itertools import combinations
from typing import Any, Final

from born.backend import B, Scalar
from born.dtypes import INTEGRAL
from born.errors import DTypeError, FormulaError, OperandError
from born.fusion import Derivative, Formula, trace_formula
from born.operands import as_number, backend_mismatch
from born.raw import RawTensor
from born.tensor import Tensor, is_tensor

_MOST_TRUTHS: Final = 2  # arguments that are tried as truth values where a function is defined


class Fused:
    """A function that `fused` has traced; call it with tensors and numbers.

    Attributes:
        program: what was traced, where positional arguments are tensors and keywords numbers.
    """

    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self._function: Final = function
        self._names, self._keywords, self._defaults = _parameters(function)
        self._formulas: dict[tuple[str, ...], Formula] = {}
        self.program: Final = self._first_formula()

    def __call__(self, *args: Tensor[B] | Scalar, **keywords: Tensor[B] | Scalar) -> Tensor[B]:
        """The formula of these arguments.

        Each tensor or number stands for one of the function's arguments. Tensors broadcast and
        share a floating dtype, which the result has; bool tensors are truth values. Numbers are
        weak, and reach the formula in double.

        Raises:
            OperandError: an argument that is missing or of no use, or no tensor at all.
            DTypeError: tensors of two dtypes, or integers.
            ShapeError: shapes that do not broadcast.
            BackendMismatchError: tensors of two backends.
        """
        values: Sequence[Any] = args
        if keywords or self._keywords or len(args) != len(self._names):
            values = self._bound(args, keywords)
        backend: Any = None
        kinds: list[str] = []
        arrays: list[RawTensor] = []
        numbers: list[Scalar] = []
        for tensor in values:
            if not is_tensor(tensor):
                number = tensor if tensor.__class__ is float else as_number(self._name, tensor)
                numbers.append(number)
                kinds.append("s")
                continue
            if tensor.backend is not backend:
                if backend is not None:
                    raise backend_mismatch(backend, tensor.backend)
                backend = tensor.backend
            raw = tensor.raw
            kind = raw.array.dtype.kind
            if kind in INTEGRAL and kind != "b":
                raise _integers(self._name, self._names[len(kinds)], raw)
            arrays.append(raw)
            kinds.append("b" if kind == "b" else "a")
        if backend is None:
            raise OperandError(
                f"expected at least one tensor in {self._name}, got {values!r}; make one with "
                "born.tensor(value, backend)"
            )
        key = tuple(kinds)
        formula = self._formulas.get(key)
        if formula is None:
            formula = self._formula(key)
        scalars = formula.host(*numbers) if formula.scalars else ()
        return Tensor(backend.fused(formula, arrays, scalars)[0], backend)

    @property
    def source(self) -> str:
        """What backends have generated for it so far, forward and backward; else the program."""
        texts: list[str] = []
        waiting = list(self._formulas.values())
        while waiting:
            formula = waiting.pop(0)
            for made in formula.compiled.values():
                text: object = getattr(made, "source", None)
                if isinstance(text, str):
                    texts.append(text)
                if isinstance(made, Derivative):
                    waiting.append(made.formula)
        return "\n".join(texts) or str(self.program)

    @property
    def _name(self) -> str:
        return self.program.name

    def _first_formula(self) -> Formula:
        """The formula of tensors by place and numbers by keyword; of truth values where it must."""
        kinds = ["s" if name in self._keywords else "a" for name in self._names]
        places = [place for place, kind in enumerate(kinds) if kind == "a"]
        refused: FormulaError | None = None
        for count in range(min(len(places), _MOST_TRUTHS) + 1):
            for truths in combinations(places, count):
                tried = ["b" if place in truths else kind for place, kind in enumerate(kinds)]
                try:
                    return self._formula(tuple(tried))
                except FormulaError as error:
                    refused = refused or error
        raise refused or FormulaError(f"expected a function to fuse, got {self._function!r}")

    def _formula(self, kinds: tuple[str, ...]) -> Formula:
        """The formula where each argument is an array, truth values, or a number."""
        named = dict(zip(self._names, kinds, strict=True))
        arrays = {name: kind == "b" for name, kind in named.items() if kind != "s"}
        scalars = [name for name, kind in named.items() if kind == "s"]
        function = self._function
        if any(name in scalars for name in self._names if name not in self._keywords):
            # By name or by place, as the function takes them.
            function = _reordered(function, self._names, self._keywords, [*arrays, *scalars])
        formula = trace_formula(function, arrays, scalars, self._keywords)
        self._formulas[kinds] = formula
        return formula

    def _bound(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
        """The arguments in the order of the parameters."""
        given = dict(zip(self._names, args, strict=False))
        values = {**self._defaults, **given, **keywords}
        places = [name for name in self._names if name not in self._keywords]
        missing = [name for name in self._names if name not in values]
        if (
            missing
            or len(args) > len(places)
            or values.keys() - set(self._names)
            or (given.keys() & keywords.keys())
        ):
            raise OperandError(
                f"expected the arguments {', '.join(self._names)} of {self._name}, got {len(args)} "
                f"by place and {', '.join(keywords) or 'none'} by name; pass each once, "
                f"{', '.join(self._keywords) or 'none'} by name"
            )
        return [values[name] for name in self._names]

    def __repr__(self) -> str:
        return f"<fused {self._name}({', '.join(self._names)})>"


def fused(function: Callable[..., Any], /) -> Fused:
    """Make a function of tensors from a formula: one pass forward, one pass backward.

    The formula is traced once, and compiled by each backend into a loop that reads every
    argument once and writes the result once. Its derivatives, of any order, are worked out from
    it; what they read is kept or computed again, whatever takes fewer bytes.

    Args:
        function: arguments by place are tensors or numbers, and so are those by keyword, of which
            numbers are expected. It computes with operators and the functions of `born.fusion`,
            returns one value, and never branches on an element: use `where`.

    Returns:
        a function of the same arguments, with attributes `program` and `source`.

    Raises:
        FormulaError: it is no such formula; the message names the line.

    >>> import born
    >>> from born.fusion import sigmoid
    >>> from born_numpy import NumpyBackend
    >>> @born.fused
    ... def swish(x, *, beta):
    ...     return x * sigmoid(beta * x)
    >>> swish(born.tensor([0.0, 1.0], NumpyBackend()), beta=1.5)
    Tensor([0.       , 0.8175745], dtype=float32)
    >>> print(swish.program)
    swish(x)
      r0 = mul(s0, x)
      r1 = sigmoid(r0)
      r2 = mul(x, r1)
      return r2
    """
    return Fused(function)


def fused_as(name: str) -> Callable[[Callable[..., Any]], Fused]:
    """As `fused`, under the name that errors and programs show."""

    def made(function: Callable[..., Any]) -> Fused:
        function.__name__ = function.__qualname__ = name
        return fused(function)

    return made


def _integers(name: str, argument: str, raw: RawTensor) -> DTypeError:
    return DTypeError(
        f"expected a floating or bool tensor as {argument} of {name}, got {raw.dtype}; "
        'convert it with .astype("float32")'
    )


def _parameters(
    function: Callable[..., Any],
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, Any]]:
    """The names of parameters, which are keyword-only, and the defaults there are."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise FormulaError(f"expected a function to fuse, got {function!r}: {error}") from error
    variadic = [each for each in parameters if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    if variadic or not parameters:
        raise FormulaError(
            f"{function!r}: expected a function with named arguments, at least one, got "
            f"{', '.join(map(str, variadic)) or 'none'}; name each argument"
        )
    names = tuple(each.name for each in parameters)
    keywords = tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    return names, keywords, defaults


def _reordered(
    function: Callable[..., Any],
    names: tuple[str, ...],
    keywords: tuple[str, ...],
    order: list[str],
) -> Callable[..., Any]:
    """The function, taking arguments by place in another order."""
    places = [name for name in names if name not in keywords]
    given = [name for name in order if name not in keywords]

    def formula(*values: Any, **named: Any) -> Any:
        by_name = dict(zip(given, values, strict=True))
        return function(*(by_name[name] for name in places), **named)

    return update_wrapper(formula, function)
