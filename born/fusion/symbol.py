"""`Symbol`, with which a rule function is called to be traced."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from born.fusion import expression
from born.fusion.expression import CASTS
from born.fusion.program import (
    BOOLEAN,
    COLUMNS,
    ELEMENT,
    GROUP,
    HOST,
    MATRIX,
    RESULT,
    ROWS,
    SCALAR,
    Instruction,
    Ref,
    join,
    reduced,
)

_HOST_OPERATORS: Final = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "pow": "{} ** {}",
    "neg": "-{}",
    "lt": "{} < {}",
    "le": "{} <= {}",
    "gt": "{} > {}",
    "ge": "{} >= {}",
    "eq": "{} == {}",
    "ne": "{} != {}",
    "logical_and": "__bool({} and {})",
    "logical_or": "__bool({} or {})",
    "logical_not": "not {}",
}

_UFUNCS: Final = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "power": "pow",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
    "equal": "eq",
    "not_equal": "ne",
}
"""What NumPy calls the operators, where one of its numbers stands on the left."""


_HIGHER: Final = ("clip", "matmul", "max", "mean", "norm", "sum")
"""Functions of `born.fusion` that are made of symbols, so that this module cannot ask for them."""


class _ComputeDType:
    """A dtype that is not known yet, and so cannot be compared with another."""

    __hash__ = None  # type: ignore[assignment]  # there is no equality

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError(
            f"a {self._kind} cannot branch on the dtype it computes in, which is not known when "
            f"the {self._kind} is traced"
        )

    def __repr__(self) -> str:
        return f"the dtype that the {self._kind} computes in"


class Writer:
    """What a trace has written down so far.

    Attributes:
        instructions: instruction -> its result; equal ones share it.
        host: text of a computation on the host -> the name of its result.
        handed: text or name of a host value -> the scalar it reaches the kernel as.
        branched: the error of a branch, which the rule may have caught.
        ndim: the number of axes of the parameter.
        by_ndim: whether the rule has asked for it.
        least_ndim: the fewest axes with which the rule could be traced.
        square: whether the parameter has as many rows as columns.
        by_square: whether the rule could not be traced if it had not.
        ranks: the rank of each array and result.
        varying: the host values, by text, that are not the same for all tensors: t, and what the
            caller names.
        sizes: the sizes of the parameter that the host needs.
        names: what the arrays are called, for messages.
        kind: what is traced, for messages: a rule or a formula.
    """

    def __init__(
        self,
        ndim: int = 2,
        kind: str = "rule",
        varying: Iterable[str] = (),
        *,
        square: bool = True,
    ) -> None:
        self.kind = kind
        self.instructions: dict[Instruction, Ref] = {}
        self.host: dict[str, str] = {}
        self.handed: dict[str, Ref] = {}
        self.branched: TypeError | None = None
        self.ndim = ndim
        self.by_ndim = False
        self.least_ndim = 0
        self.square = square
        self.by_square = False
        self.ranks: dict[Ref, str] = {}
        self.varying = {"t", *varying}
        self.sizes: dict[str, None] = {}
        self.names: dict[Ref, str] = {}

    def need_axes(self, least: int, what: str) -> None:
        """Refuse a parameter with fewer axes than `what` needs."""
        self.least_ndim = max(self.least_ndim, least)
        if self.ndim < least:
            kind = "a scalar, without axes" if self.ndim == 0 else "a vector, of 1 axis"
            needed = "rows and columns" if least == 1 else "a matrix"
            raise TypeError(
                f"{what} needs {needed}, and the parameter is {kind}; choose another formula for "
                "it, by p.ndim"
            )

    def need_square(self, what: str) -> None:
        """Refuse a parameter that `what` cannot multiply by another of its shape."""
        self.by_square = True
        if not self.square:
            raise TypeError(
                f"{what} needs matrices of as many rows as columns, and the parameter's are not; "
                "give it to an optimizer with another rule, by a group"
            )

    def hand_over(self, text: str) -> Ref:
        """The scalar slot through which a host value reaches the kernel."""
        return self.handed.setdefault(text, Ref(SCALAR, len(self.handed)))

    def write(self, op: str, refs: tuple[Ref, ...], rank: str) -> Symbol:
        """The result of an instruction of some rank."""
        new = Ref(RESULT, len(self.instructions))
        ref = self.instructions.setdefault(Instruction(op, refs), new)
        self.ranks[ref] = rank
        return Symbol(self, ref, boolean=op in BOOLEAN)

    def size(self, name: str) -> Symbol:
        """A size of the parameter, a scalar of the host."""
        self.sizes[name] = None
        self.varying.add(f"__{name}")
        return Symbol(self, text=f"__{name}")


def _operation(op: str) -> Callable[..., Symbol]:
    """The method that writes down an operation on a symbol and what else it takes."""

    def method(self: Symbol, *others: Any) -> Symbol:
        return self.apply(op, self, *others)

    return method


def _reflected(op: str) -> Callable[..., Symbol]:
    """The method for a symbol on the right-hand side."""

    def method(self: Symbol, other: Any) -> Symbol:
        return self.apply(op, other, self)

    return method


class Symbol:
    """A value to be computed: of the elements of arrays or of less, or a scalar of the host."""

    __slots__ = ("boolean", "ref", "text", "writer")

    __hash__ = None  # type: ignore[assignment]  # == writes an instruction down

    def __init__(
        self, writer: Writer, ref: Ref | None = None, text: str = "", *, boolean: bool = False
    ) -> None:
        self.writer, self.ref, self.text, self.boolean = writer, ref, text, boolean

    def apply(self, op: str, *args: Any) -> Symbol:
        """One operation on symbols and numbers: on the host if no argument is an array."""
        writer = self.writer
        if any(isinstance(arg, Symbol) and arg.writer is not writer for arg in args):
            raise TypeError(
                f"a value was kept from an earlier call; a {writer.kind} computes with its own"
            )
        _check_kinds(op, args)
        boolean = op in BOOLEAN
        if any(isinstance(arg, Symbol) and arg.ref is not None for arg in args):
            if op == "pow" and not isinstance(args[1], Symbol) and args[1] == 2:
                op, args = "mul", (args[0], args[0])
            refs = tuple(self._reference(arg) for arg in args)
            return writer.write(op, refs, join(*(writer.ranks.get(ref, HOST) for ref in refs)))
        texts = [self._host_text(arg) for arg in args]
        pattern = _HOST_OPERATORS.get(op)
        call = f"__{op}({', '.join(texts)})" if pattern is None else pattern.format(*texts)
        text = writer.host.setdefault(call, f"__h{len(writer.host)}")
        if not writer.varying.isdisjoint(texts):
            writer.varying.add(text)
        return Symbol(writer, text=text, boolean=boolean)

    @property
    def rank(self) -> str:
        """How much of it there is."""
        return HOST if self.ref is None else self.writer.ranks[self.ref]

    def total(self) -> Symbol:
        """The sum over all parameters."""
        if self.rank != ELEMENT:
            raise TypeError(f"total adds up elements, not a value of rank {self.rank}")
        _check_kinds("total", (self,))
        return self.writer.write("total", self._factors(), GROUP)

    def reduce(self, op: str, axis: int | None, called: str | None = None) -> Symbol:
        """The sum, mean or max of all elements, or of each row (-1) or column (-2).

        Errors name the function that the rule has `called`, if it is another.
        """
        rank, writer = self.rank, self.writer
        what = called or op
        what = f"{what}(x)" if axis is None else f"{what}(x, axis={axis})"
        if axis not in (None, -1, -2):
            raise TypeError(f"{what} has no such axis; rows are reduced by axis=-1, columns by -2")
        _check_kinds(called or op, (self,))
        if axis is None:
            left = rank in (ELEMENT, ROWS, COLUMNS, MATRIX)
        else:
            writer.need_axes(1, what)
            left = rank in (ELEMENT, COLUMNS if axis == -1 else ROWS)
        if not left:
            raise TypeError(f"{what} has nothing to reduce in a value of rank {rank}")
        if op == "mean":
            return self.reduce("sum", axis) / self._count(axis)
        name = op + {None: "", -1: "_over_columns", -2: "_over_rows"}[axis]
        factors = self._factors() if op == "sum" else (self._reference(self),)
        return writer.write(name, factors, reduced(name, (rank,)))

    def _factors(self) -> tuple[Ref, ...]:
        """What a sum is taken of; products are left to it, which computes them in double."""
        ref = self._reference(self)
        if ref.kind == RESULT:
            instruction = list(self.writer.instructions)[ref.index]
            ranks = [self.writer.ranks.get(arg, HOST) for arg in instruction.args]
            if instruction.op == "mul" and ranks == [self.rank] * 2:
                return instruction.args
        return (ref,)

    def _count(self, axis: int | None) -> Symbol:
        """How many values of this rank a mean is of."""
        if axis is not None:
            return self.columns if axis == -1 else self.rows
        if self.rank == ELEMENT:
            return self.size
        matrices = self.writer.size("matrices")
        if self.rank == MATRIX:
            return matrices
        return matrices * (self.rows if self.rank == ROWS else self.columns)

    def matrix_function(self, op: str, *others: Any) -> Symbol:
        """A function of whole matrices."""
        name = op.partition("_")[0]
        values = (self, *(other for other in others if isinstance(other, Symbol)))
        self.writer.need_axes(2, name)
        if name == "matmul":
            self.writer.need_square(name)
        if any(value.rank not in (ELEMENT, HOST) for value in values) or self.rank != ELEMENT:
            raise TypeError(f"{name} takes matrices, not a value of rank {self.rank}")
        _check_kinds(op, (self, *others))
        refs = tuple(self._reference(value) for value in (self, *others))
        return self.writer.write(op, refs, ELEMENT)

    @property
    def ndim(self) -> int:
        """How many axes the parameter has; a rule may branch on it."""
        self.writer.by_ndim = True
        return self.writer.ndim

    @property
    def size(self) -> Symbol:
        """How many elements the parameter has."""
        return self.writer.size("size")

    @property
    def rows(self) -> Symbol:
        """How many rows each matrix of the parameter has; 1 for a vector."""
        return self.writer.size("rows")

    @property
    def columns(self) -> Symbol:
        """How many columns the parameter has: the length of its last axis."""
        return self.writer.size("columns")

    def _reference(self, arg: Any) -> Ref:
        if isinstance(arg, Symbol) and arg.ref is not None:
            return arg.ref
        return self.writer.hand_over(self._host_text(arg))

    def _host_text(self, arg: Any) -> str:
        if isinstance(arg, Symbol):
            return arg.text
        if isinstance(arg, bool | int | float):
            return number_text(arg)
        kind = self.writer.kind
        raise TypeError(f"a {kind} computes with its arguments and numbers, not {arg!r}")

    __add__, __radd__ = _operation("add"), _reflected("add")
    __sub__, __rsub__ = _operation("sub"), _reflected("sub")
    __mul__, __rmul__ = _operation("mul"), _reflected("mul")
    __truediv__, __rtruediv__ = _operation("div"), _reflected("div")
    __pow__, __rpow__ = _operation("pow"), _reflected("pow")
    __neg__, __abs__ = _operation("neg"), _operation("abs")
    __lt__, __le__ = _operation("lt"), _operation("le")
    __gt__, __ge__ = _operation("gt"), _operation("ge")
    # Elementwise, as in NumPy.
    __eq__, __ne__ = _operation("eq"), _operation("ne")  # type: ignore[assignment]  # not bools
    __and__, __or__ = _operation("logical_and"), _operation("logical_or")
    __invert__ = _operation("logical_not")
    sqrt, exp, log = _operation("sqrt"), _operation("exp"), _operation("log")
    abs, sign, isfinite = _operation("abs"), _operation("sign"), _operation("isfinite")
    where = _operation("where")
    expm1, log1p, softplus = _operation("expm1"), _operation("log1p"), _operation("softplus")
    sin, cos, tanh = _operation("sin"), _operation("cos"), _operation("tanh")
    erf, sigmoid, relu = _operation("erf"), _operation("sigmoid"), _operation("relu")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Symbol:
        """Operators beside NumPy's numbers; NumPy's other functions are refused by name."""
        name: str = ufunc.__name__
        if name in _UFUNCS and method == "__call__":
            return self.apply(_UFUNCS[name], *inputs)
        raise self._not_numpys(name)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], options: dict[str, Any]
    ) -> NoReturn:
        """NumPy's reductions and other functions are refused by name."""
        raise self._not_numpys(function.__name__)

    def _not_numpys(self, name: str) -> TypeError:
        known = name if _is_known(name) else "the functions"
        return TypeError(
            f"np.{name} does not take what a {self.writer.kind} computes with; use {known} of "
            "born.fusion"
        )

    def __float__(self) -> NoReturn:
        raise TypeError(
            f"what a {self.writer.kind} computes with has no value yet, for float(), int() or "
            "the functions of math to take; use sqrt, exp and the like of born.fusion"
        )

    __int__ = __float__

    def __iter__(self) -> NoReturn:
        raise TypeError(
            f"what a {self.writer.kind} computes with has no elements to go through yet, for a "
            "loop or Python's own sum and any to take; use the functions of born.fusion"
        )

    def __repr__(self) -> str:
        """What `print` in a rule shows: there are no numbers yet."""
        if self.ref is None:
            return f"<scalar {self.text.lstrip('_')}>"
        name = self.writer.names.get(self.ref, f"r{self.ref.index}")
        return f"<{name}, of rank {self.rank}>"

    def __format__(self, spec: str) -> str:
        if spec:
            raise TypeError(
                f"what a {self.writer.kind} computes with has no value yet, to print by a format; "
                f"call the {self.writer.kind} with numbers to see some"
            )
        return repr(self)

    if not TYPE_CHECKING:  # where a name that is not there is an error anyway

        def __getattr__(self, name: str) -> NoReturn:
            if name in Symbol.__slots__:  # of a symbol that is being copied
                raise AttributeError(name)
            found = _is_known(name)
            remedy = f"write {name}(x) with" if found else "use operators and"
            functions = name if found else "the functions"
            raise AttributeError(
                f"what a {self.writer.kind} computes with has no {name!r}; {remedy} {functions} "
                "of born.fusion"
            )

    def maximum(self, other: Any) -> Symbol:
        """The larger of the two."""
        return self.apply("maximum", *self._array_first(other))

    def minimum(self, other: Any) -> Symbol:
        """The smaller of the two."""
        return self.apply("minimum", *self._array_first(other))

    def _array_first(self, other: Any) -> tuple[Any, Any]:
        """The order of the functions in `born.fusion`; of zeros of two signs, it chooses one."""
        swap = self.ref is None and isinstance(other, Symbol) and other.ref is not None
        return (other, self) if swap else (self, other)

    @property
    def dtype(self) -> object:
        """A stand-in for the dtype that the rule computes in."""
        return _ComputeDType(self.writer.kind)

    def astype(self, dtype: object) -> Symbol:
        """Rounded to a dtype, and a value of the compute dtype again."""
        if isinstance(dtype, _ComputeDType):
            return self
        if dtype not in CASTS:
            kinds = ", ".join(CASTS)
            raise TypeError(f"astype rounds to {kinds} in a {self.writer.kind}, not to {dtype!r}")
        return self.apply(f"cast_{dtype}", self)

    def round_stochastically(self, dtype: str, t: Any, seed: int) -> Symbol:
        """Rounded to a dtype of 16 bits, up or down by a chance that makes the mean right."""
        if self.ref is None:
            raise TypeError("only what is computed from arrays is rounded by chance")
        _check_kinds("round", (self,))
        given = (self, t, self.writer.size("number"), seed)
        refs = tuple(self._reference(each) for each in given)
        return self.writer.write(f"stochastic_{dtype}", refs, ELEMENT)

    def __bool__(self) -> NoReturn:
        error = TypeError(
            f"a {self.writer.kind} cannot branch on a value, which is not known when the "
            f"{self.writer.kind} is traced; use where(condition, x, y), or maximum and minimum"
        )
        self.writer.branched = self.writer.branched or error
        raise error


def _is_known(name: str) -> bool:
    """Whether `born.fusion` has a function of a name that somebody looks for elsewhere."""
    return name in _HIGHER or (not name.startswith("_") and hasattr(expression, name))


def _check_kinds(op: str, args: tuple[Any, ...]) -> None:
    """Refuse truth values in arithmetic and numbers in logic, on which backends differ."""
    truths = [isinstance(arg, bool) or getattr(arg, "boolean", False) for arg in args]
    logical = op in ("logical_and", "logical_or", "logical_not")
    expected = [logical or (op == "where" and number == 0) for number in range(len(args))]
    if truths != expected:
        raise TypeError(
            f"{op} was given {'a number' if logical else 'numbers and truth values mixed'}; "
            "a truth value becomes a number by where(condition, 1.0, 0.0)"
        )


def number_text(number: float) -> str:
    """The Python text of a number, also of a subclass of float or int."""
    try:
        float(number)
    except OverflowError as error:
        raise TypeError("an integer is beyond the numbers to compute with") from error
    if isinstance(number, int):
        return f"({int(number)!r})"
    return f"({float(number)!r})" if math.isfinite(number) else f"__float('{float(number)}')"
