"""`Autodiff[B]`: a backend that wraps a backend and records what it computes.

Its operations are made from two tables: the contract's list of operations and the
derivative rows of `vjps`. There is no operation here by name.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, Generic, cast

from typing_extensions import override

from born.autodiff.tape import Origin, Tape
from born.autodiff.vjps import PASSED_THROUGH, VJPS, Arguments, Row
from born.backend import OPERATIONS, B, Backend, RandomState
from born.errors import OperandError, ShapeError
from born.raw import HostArray, RawTensor


class _PerThread(threading.local):
    """A tape for each thread that asks."""

    def __init__(self) -> None:
        self.tape = Tape()


class Autodiff(Backend, Generic[B]):
    """A backend that records on a tape what another backend computes.

    `Autodiff(Autodiff(backend))` records the backward pass of the outer tape on
    the inner one, and so gives second derivatives.

    Args:
        inner: the backend that computes.

    >>> import born
    >>> from born.autodiff import Autodiff, backward
    >>> from born_numpy import NumpyBackend
    >>> backend = Autodiff(NumpyBackend())
    >>> x = born.tensor([1.0, 2.0], backend)
    >>> x.requires_grad = True
    >>> with backend.tape:
    ...     loss = (x * x).sum()
    >>> backward(loss)[x].array
    array([2., 4.], dtype=float32)
    """

    def __init__(self, inner: B) -> None:
        if not isinstance(cast("object", inner), Backend):
            raise OperandError(
                f"expected a backend to record on, got {inner!r}; "
                'make one, as with born.get_backend("numpy")'
            )
        self.inner = inner
        self.name = inner.name
        self.nested = isinstance(inner, Autodiff)
        self._local = _PerThread()

    @property
    def tape(self) -> Tape:
        """The tape of the calling thread."""
        return self._local.tape

    @property
    @override
    def innermost(self) -> Backend:
        """The backend that computes."""
        return self.inner.innermost

    @contextmanager
    def fresh_tape(self) -> Generator[Tape]:
        """Record on a tape of its own for a while, and put this thread's tape back after."""
        before = self._local.tape
        self._local.tape = Tape()
        try:
            with self._local.tape as tape:
                yield tape
        finally:
            self._local.tape = before

    @override
    def accumulate(self, loss: RawTensor, *, keep_tape: bool = False) -> None:
        """Add the gradient of `loss` into `grad` of every leaf it depends on."""
        tape = self.tape
        root = tape.root(loss)
        check_scalar(loss)
        inner = self.inner
        seed = inner.ones(loss.shape, loss.dtype)
        gradients, _ = tape.walk(root, seed, inner.add, keep=keep_tape)
        for leaf, gradient in gradients.items():
            leaf.grad = gradient if leaf.grad is None else inner.add(leaf.grad, gradient)

    @override
    def check_labels(self, logits: RawTensor, labels: RawTensor) -> None:
        self.inner.check_labels(logits, labels)

    @classmethod
    @override
    def unavailable_reason(cls) -> str | None:
        return None

    @override
    def synchronize(self) -> None:
        self.inner.synchronize()

    @override
    def prefetch(self, batches: Iterable[Sequence[HostArray]]) -> Generator[list[RawTensor]]:
        return self.inner.prefetch(batches)

    @override
    def from_dlpack(self, data: Any) -> RawTensor:
        return self.inner.from_dlpack(data)

    @override
    def to_dlpack(self, x: RawTensor, /, **options: Any) -> Any:
        return self.inner.to_dlpack(x, **options)

    @property
    @override
    def random_state(self) -> RandomState:
        return self.inner.random_state

    @override
    def set_random_state(self, state: RandomState) -> None:
        self.inner.set_random_state(state)

    @override
    def check_random_state(self, state: RandomState) -> None:
        self.inner.check_random_state(state)

    @override
    def seed(self, seed: int) -> None:
        self.inner.seed(seed)

    def __repr__(self) -> str:
        return f"Autodiff({self.inner!r})"


_Operation = Callable[..., Any]


def _unary(name: str, row: Row) -> _Operation:
    rule = row.rule

    def operation(self: Autodiff[Any], x: RawTensor, /, *args: Any, **options: Any) -> RawTensor:
        inner = self.inner
        out: RawTensor = getattr(inner, name)(x, *args, **options)
        tape = self._local.tape  # pyright: ignore[reportPrivateUsage]  # a method of the class
        if tape.depth:
            origin = tape.origin_of(x)
            if origin is not None:
                pullback = rule(inner, out, (True,), x, *args, **options)
                if pullback is not None:
                    tape.record(out, (origin,), pullback)
        return out

    return operation


def _several(name: str, row: Row) -> _Operation:
    rule, tensors = row.rule, row.tensors

    def operation(self: Autodiff[Any], /, *args: Any, **options: Any) -> RawTensor:
        inner = self.inner
        out: RawTensor = getattr(inner, name)(*args, **options)
        tape = self._local.tape  # pyright: ignore[reportPrivateUsage]  # a method of the class
        if tape.depth:
            origins = tuple(map(tape.origin_of, args[tensors]))
            if origins.count(None) < len(origins):
                needs = tuple([origin is not None for origin in origins])
                pullback = rule(inner, out, needs, *args, **options)
                if pullback is not None:
                    tape.record(out, origins, pullback)
        return out

    return operation


def _sequence(name: str, row: Row) -> _Operation:
    rule = row.rule

    def operation(self: Autodiff[Any], xs: Any, /, *args: Any, **options: Any) -> RawTensor:
        inner = self.inner
        out: RawTensor = getattr(inner, name)(xs, *args, **options)
        tape = self.tape
        if tape.depth:
            origins = tuple(tape.origin_of(x) for x in xs)
            needs = tuple(origin is not None for origin in origins)
            if any(needs):
                pullback = rule(inner, out, needs, xs, *args, **options)
                if pullback is not None:
                    tape.record(out, origins, pullback)
        return out

    return operation


def _with_residuals(name: str, row: Row) -> _Operation:
    rule, tensors = row.rule, row.tensors
    composed: _Operation = getattr(Backend, name)

    def operation(self: Autodiff[Any], /, *args: Any, **options: Any) -> tuple[RawTensor, ...]:
        inner, tape = self.inner, self.tape
        if not tape.depth:
            outs: tuple[RawTensor, ...] = getattr(inner, name)(*args, **options)
            return outs
        if self.nested:
            # The row reads residuals, through which the inner tape could not differentiate.
            expanded: tuple[RawTensor, ...] = composed(self, *args, **options)
            return expanded
        outs = getattr(inner, name)(*args, **options)
        origins: tuple[Origin | None, ...] = tuple([tape.origin_of(x) for x in args[tensors]])
        needs = tuple([origin is not None for origin in origins])
        if True in needs:
            pullback = rule(inner, outs, needs, *args, **options)
            if pullback is not None:
                tape.record(outs[0], origins, pullback)
        return outs

    return operation


def _composed(name: str) -> _Operation:
    """An operation without a row: recorded through the operations it is composed of."""
    composition: _Operation = getattr(Backend, name)

    def operation(self: Autodiff[Any], /, *args: Any, **options: Any) -> Any:
        if self.tape.depth:
            return composition(self, *args, **options)
        return getattr(self.inner, name)(*args, **options)

    return operation


def _passed_through(name: str) -> _Operation:
    def operation(self: Autodiff[Any], /, *args: Any, **options: Any) -> Any:
        return getattr(self.inner, name)(*args, **options)

    return operation


_RECORDERS = {
    Arguments.ONE: _unary,
    Arguments.SEVERAL: _several,
    Arguments.SEQUENCE: _sequence,
    Arguments.WITH_RESIDUALS: _with_residuals,
}


def _operation(name: str) -> _Operation:
    if name in VJPS:
        made = _RECORDERS[VJPS[name].arguments](name, VJPS[name])
    elif name in PASSED_THROUGH:
        made = _passed_through(name)
    else:
        made = _composed(name)
    declared = getattr(Backend, name)
    made.__name__, made.__qualname__ = name, f"Autodiff.{name}"
    made.__doc__ = declared.__doc__
    return made


for _name in OPERATIONS:
    setattr(Autodiff, _name, _operation(_name))
abc.update_abstractmethods(Autodiff)


def check_scalar(loss: RawTensor) -> None:
    """Refuse a loss of more or fewer than one element."""
    if loss.size != 1:
        raise ShapeError(
            f"expected a loss with one element, got shape {loss.shape}; reduce it with .sum() or "
            ".mean(), or pass backward a seed of its shape"
        )
