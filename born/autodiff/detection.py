"""`detect_nonfinite`: the operation that first computes a NaN or an infinity, and who called it.

While it is active the tape of the calling thread computes with a backend that looks at each result,
and is of a class that remembers what called each operation. Elsewhere nothing of it runs.
"""

from __future__ import annotations

import inspect
import math
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any, Final, cast

import numpy as np
from typing_extensions import override

from born.autodiff.autodiff import Autodiff, is_autodiff
from born.autodiff.batching import is_batched
from born.autodiff.pullback import Parts, Pullback
from born.autodiff.tape import Origin, Tape
from born.autodiff.wrapping import Operation, Wrapping, define
from born.backend import Backend
from born.dtypes import is_floating
from born.errors import NonFiniteError, OperandError
from born.fusion import Formula
from born.raw import RawTensor

_HOME: Final = str(Path(__file__).parents[1])

_Call = tuple[str, str, int]
"""An operation's name, and the file and the line that called it."""


class _Calls(threading.local):
    """What this thread has called while it looks for values that are not finite."""

    def __init__(self) -> None:
        self.of: weakref.WeakKeyDictionary[RawTensor, _Call] = weakref.WeakKeyDictionary()
        self.latest: _Call = ("an operation", "?", 0)
        self.pulled: list[_Call] = []  # whose derivatives are being computed, the innermost last


_CALLS: Final = _Calls()


@contextmanager
def detect_nonfinite(backend: Autodiff[Any]) -> Generator[None]:
    """A context in which the first operation to make a NaN or an infinity is an error.

    That is an operation on tensors whose result is not finite while all that it was given is. For
    one in the backward pass the error names the operation whose derivative it belongs to, and the
    line that called that; compute the loss and its gradients both in the context. It holds for the
    calling thread, and waits for the device once after each operation: use it to look for a fault,
    not for training. What an optimizer's step computes is not looked at; see its `nonfinite`.

    Args:
        backend: of the tensors; an `Autodiff`.

    Raises:
        NonFiniteError: in the context, from the operation.
        OperandError: the backend is no `Autodiff`.

    >>> import born
    >>> from born import ops
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> backend = Autodiff(NumpyBackend())
    >>> x = born.tensor([1.0, -1.0], backend)
    >>> try:
    ...     with detect_nonfinite(backend):
    ...         ops.log(x)
    ... except born.errors.NonFiniteError as error:
    ...     error.operation, error.derivative_of, error.line
    ('log', None, 3)
    """
    if not is_autodiff(cast("Backend", backend)):
        raise OperandError(
            f"expected an Autodiff backend to look at, got {backend!r}; "
            "make the tensors on Autodiff(backend), and pass that"
        )
    tapes: list[Tape] = []
    level: Backend = backend
    while is_autodiff(level):
        tapes.append(level.tape)
        level = level.tape.inner
    if isinstance(level, _Checking) and level.active:
        yield
        return
    checking = _Checking(level)
    before = [(tape, tape.kind, tape.__class__) for tape in tapes]
    try:
        tapes[-1].inner = checking
        for tape in tapes:
            tape.kind = _Naming
            if type(tape) is Tape:
                tape.__class__ = _Naming
        yield
    finally:
        checking.active = False  # for pullbacks, which keep it
        tapes[-1].inner = level
        for tape, kind, own in before:
            tape.kind = kind
            tape.__class__ = own


class _Naming(Tape):
    """A tape that says whose derivative is being computed."""

    @override
    def record(
        self,
        out: RawTensor,
        parents: tuple[Origin | None, ...],
        pullback: Pullback,
        versions: Sequence[tuple[RawTensor, int]] = (),
    ) -> None:
        call = _CALLS.of.get(out, _CALLS.latest)

        def named(g: RawTensor) -> RawTensor | Sequence[RawTensor | Parts | None]:
            _CALLS.pulled.append(call)
            try:
                return pullback(g)
            finally:
                _CALLS.pulled.pop()

        super().record(out, parents, named, versions)


_Naming.kind = _Naming


class _Checking(Wrapping):
    """A backend that looks at each result of another.

    Attributes:
        active: whether it looks.
    """

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.active = True

    @override
    def fused(
        self, formula: Formula, arrays: Sequence[RawTensor], scalars: Sequence[float] = ()
    ) -> tuple[RawTensor, ...]:
        if not self.active:
            return self.inner.fused(formula, arrays, scalars)
        with _quiet():
            results = self.inner.fused(formula, arrays, scalars)
            self.check(formula.name, results, (arrays, scalars))
            return results

    def check(self, name: str, results: Any, given: Any) -> None:
        """Note who called an operation, and refuse a result that is not finite if it is the first.

        Args:
            name: of the operation.
            results: what it returned.
            given: its arguments.
        """
        call = (name, *_caller())
        _CALLS.latest = call
        tensors = [x for x in _leaves(given) if isinstance(x, RawTensor)]
        for out in _leaves(results):
            if not isinstance(out, RawTensor):
                continue
            _CALLS.of[out] = call
            if tensors and not self.is_finite(out) and all(map(self.is_finite, _leaves(given))):
                raise self.error(call, out, tensors)

    def is_finite(self, x: object) -> bool:
        """Whether a number, or each element of a tensor, is finite."""
        if isinstance(x, float):
            return math.isfinite(x)
        if not isinstance(x, RawTensor) or not is_floating(x.dtype):
            return True
        backend = self.innermost
        return bool(backend.all(backend.isfinite(_whole(x))).item())

    def error(self, call: _Call, out: RawTensor, tensors: Sequence[RawTensor]) -> NonFiniteError:
        """What to say of a result."""
        values = self.innermost.to_numpy(_whole(out))
        nan, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        operation, filename, line = call
        of, where = None, "in the forward pass, called"
        if _CALLS.pulled:
            of = _CALLS.pulled[-1][0]
            where = f"in the derivative of {of}, which was called"
        operands = ", ".join(f"{x.dtype} {x.shape}" for x in tensors)
        return NonFiniteError(
            f"expected finite results of finite operands, got {nan} NaN and {infinite} infinite of "
            f"{values.size} elements, {out.dtype} {out.shape}, from {operation} of {operands}, "
            f"{where} at {filename}:{line}; keep its operands where it and its derivative are "
            "finite, as by ops.where before it, since one after it hides no derivative",
            operation,
            of,
            filename,
            line,
        )


def _quiet() -> np.errstate:
    """A context without NumPy's warnings of what is an error here."""
    return np.errstate(divide="ignore", over="ignore", invalid="ignore")


def _whole(x: RawTensor) -> RawTensor:
    """A tensor with all examples in it."""
    while is_batched(x):
        x = x.whole
    return x


def _leaves(value: Any) -> Iterator[Any]:
    """What lies in lists and tuples."""
    if isinstance(value, list | tuple):
        for each in cast("Sequence[Any]", value):
            yield from _leaves(each)
    else:
        yield value


def _caller() -> tuple[str, int]:
    """The file and the line of the latest call from outside of born.

    Of a derivative it is where the operation was called that it is of, unless other code calls
    from within: the backward of `custom_vjp`, say.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_HOME):
        if frame.f_code.co_name == "named" and frame.f_code.co_filename == __file__:
            return _CALLS.pulled[-1][1:]
        frame = frame.f_back
    return ("?", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _method(name: str) -> Operation:
    """An operation whose results are looked at as long as checks are on."""

    def method(self: _Checking, /, *args: Any, **options: Any) -> Any:
        compute = getattr(self.inner, name)
        if not self.active:
            return compute(*args, **options)
        with _quiet():
            results = compute(*args, **options)
            self.check(name, results, (args, *options.values()))
            return results

    return method


define(
    _Checking,
    [
        name
        for name in dir(Backend)
        if not (name.startswith("_") or name in vars(_Checking))
        and isinstance(inspect.getattr_static(Backend, name), FunctionType)
    ],
    _method,
)
