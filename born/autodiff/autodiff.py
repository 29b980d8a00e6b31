"""`Autodiff[B]`: a backend that wraps a backend and records what it computes.

Its operations are made from two tables: the contract's list of operations and the
derivatives of `born.autodiff.derivatives`. None is written here by name, but for formulas, whose
derivatives are worked out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, cast

from typing_extensions import TypeIs, override

from born.autodiff.batching import Batching
from born.autodiff.derivatives import CONSTANT, DERIVATIVES, Derivative
from born.autodiff.derivatives.registrars import Required
from born.autodiff.fused import record_fused
from born.autodiff.tape import Collector, Home, Node, OneTape, Origin, Tape, ThreadTape
from born.autodiff.wrapping import Operation, define
from born.backend import OPERATIONS, B, Backend, Operand, RandomState
from born.errors import OperandError, ShapeError
from born.fusion import Formula
from born.raw import RawTensor, memory_of


class Autodiff(Backend, Generic[B]):
    """A backend that records on a tape what another backend computes.

    `born.autodiff.grad` gives derivatives of any order on one `Autodiff`, and those that are
    taken inside of `with backend.tape` are recorded with the rest. To have `backward` itself
    recorded takes two: `Autodiff(Autodiff(backend))` records the backward pass of the outer
    tape on the inner one.

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
        self.owner: object = object()
        self._local: Home = ThreadTape(self.owner, inner, isinstance(inner, Autodiff))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inner,)

    @property
    def tape(self) -> Tape:
        """The tape of the calling thread."""
        return self._local.tape

    @property
    @override
    def innermost(self) -> Backend:
        return self.inner.innermost

    def tape_of_function(self, *, batching: bool = False) -> Tape:
        """A new tape that takes the place of this thread's, while it records.

        If this thread's is recording, then it records what is computed meanwhile too, and
        when the new one is walked.

        Args:
            batching: whether the new one is to compute many examples at once.
        """
        tape, home = self.tape, self._local
        inner, nested, beneath = tape.inner, tape.nested, tape.beneath
        if tape.depth:
            # As this backend is now, while a new tape is in place of the one that it has now.
            as_now = Autodiff(inner)
            as_now.owner, as_now._local = self.owner, OneTape(tape)
            inner, nested, beneath = as_now, True, tape
        if batching:
            inner, nested = Batching(inner), True
        return tape.kind(self.owner, inner, nested=nested, home=home, beneath=beneath)

    @contextmanager
    def beneath(self, tape: Tape) -> Generator[None]:
        """A context in which this thread computes as a tape of its does: what is beneath records.

        Args:
            tape: of this backend; a pullback that it recorded is to be called.
        """
        home = self._local
        before = home.tape
        try:
            home.tape = tape.kind(self.owner, tape.inner, nested=tape.nested, beneath=tape.beneath)
            yield
        finally:
            home.tape = before

    @contextmanager
    def collecting(self) -> Generator[dict[RawTensor, Origin]]:
        """The same for this thread's tape; yields what is used that it knows, and its origin."""
        tape, home = self.tape, self._local
        collector = Collector(tape)
        try:
            home.tape = collector
            yield collector.found
        finally:
            home.tape = tape

    @override
    def accumulate(self, loss: RawTensor, *, keep_tape: bool = False) -> None:
        tape = recording(self, loss)
        root = tape.root(loss)
        check_scalar(loss)
        inner = tape.inner
        seed = inner.ones(loss.shape, loss.dtype)
        gradients, _ = tape.walk(root, seed, inner, keep=keep_tape)
        for leaf, gradient in gradients.items():
            leaf.grad = gradient if leaf.grad is None else inner.add(leaf.grad, gradient)

    @property
    @override
    def random_state(self) -> RandomState:
        return self.inner.random_state

    @override
    def fused(
        self, formula: Formula, arrays: Sequence[RawTensor], scalars: Sequence[float] = ()
    ) -> tuple[RawTensor, ...]:
        tape = self._local.tape
        results = tape.inner.fused(formula, arrays, scalars)
        if tape.depth:
            origins = tape.origins_of(arrays)
            if any(origins):
                record_fused(tape, formula, arrays, scalars, results, origins)
        return results

    def __repr__(self) -> str:
        return f"Autodiff({self.inner!r})"


_VIEWS: Final = frozenset(
    ("reshape", "transpose", "broadcast_to", "flip", "squeeze", "expand_dims", "getitem")
)
"""Operations whose result may lie in the memory of their argument."""


def recorded(name: str, derivative: Derivative) -> Operation:
    """An operation with a derivative: computed by the inner backend, and recorded."""
    if not (derivative.residuals or derivative.several or name in _VIEWS):
        if derivative.tensors == slice(0, 1):
            return _recorded_unary(name, derivative)
        if derivative.tensors == slice(0, 2):
            return _recorded_binary(name, derivative)
    rule, tensors, residuals = derivative.rule, derivative.tensors, derivative.residuals
    keeps_result, several = derivative.keeps_result, derivative.several
    views = name in _VIEWS
    versions_of = _versions_of(derivative)
    composition: Operation = getattr(Backend, name)

    def operation(self: Autodiff[Any], /, *args: Any, **options: Any) -> Any:
        tape = self._local.tape  # pyright: ignore[reportPrivateUsage]  # a method of the class
        inner = tape.inner
        if not tape.depth:
            return getattr(inner, name)(*args, **options)
        if residuals and tape.nested:
            # The rule reads residuals, through which the inner tape could not differentiate.
            return composition(self, *args, **options)
        out = getattr(inner, name)(*args, **options)
        operands = args[0] if tensors is None else args[tensors]
        origins = tape.origins_of(operands)
        if any(origins):
            required = tuple(map(bool, origins))
            seen: Any = out
            if keeps_result:
                # Another tensor over the same memory: a record that led to its own result would
                # keep both alive.
                seen = tuple(map(_twin, out)) if several else _twin(out)
            pullback = rule(inner, seen, required, *args, **options)
            if pullback is not None:
                versions = versions_of(required, operands, seen)
                if several:
                    tape.record_several(out, origins, pullback, versions, inner)
                else:
                    tape.record(out[0] if residuals else out, origins, pullback, versions)
                if views and memory_of(out.array) is memory_of(operands[0].array):
                    out.share_changes(operands[0])
        return out

    return operation


def _versions_of(derivative: Derivative) -> Callable[..., list[tuple[RawTensor, int]]]:
    """A function that says what a pullback reads, and how often each has changed."""
    keeps_result, several = derivative.keeps_result, derivative.several
    reads: dict[Required, list[int]] = {}

    def versions(
        required: Required, operands: Sequence[Any], seen: Any
    ) -> list[tuple[RawTensor, int]]:
        read = reads.get(required)
        if read is None:
            read = reads[required] = derivative.read(required)
        found = [
            (x, x.changes[0] if x.changes else 0)
            for i in read
            if isinstance(x := operands[i], RawTensor)
        ]
        if keeps_result:
            found += [(y, 0) for y in seen] if several else [(seen, 0)]
        return found

    return versions


def _recorded_unary(name: str, derivative: Derivative) -> Operation:
    """The same of one tensor: no step of it but those that such a record needs."""
    rule, keeps_result = derivative.rule, derivative.keeps_result
    reads = bool(derivative.read((True,)))

    def operation(self: Autodiff[Any], x: RawTensor, /, *args: Any, **options: Any) -> RawTensor:
        tape = self._local.tape  # pyright: ignore[reportPrivateUsage]  # a method of the class
        inner = tape.inner
        out: RawTensor = getattr(inner, name)(x, *args, **options)
        if tape.depth and (origin := tape.origin_of(x)) is not None:
            seen = _twin(out) if keeps_result else out
            pullback = rule(inner, seen, (True,), x, *args, **options)
            if pullback is not None:
                versions = [(x, x.changes[0] if x.changes else 0)] if reads else []
                if keeps_result:
                    versions.append((seen, 0))
                tape.record(out, (origin,), pullback, versions)
        return out

    return operation


def _recorded_binary(name: str, derivative: Derivative) -> Operation:
    """The same of two operands, of which one may be a number."""
    rule, keeps_result = derivative.rule, derivative.keeps_result
    reads = {
        required: derivative.read(required)
        for required in ((True, False), (False, True), (True, True))
    }

    def operation(
        self: Autodiff[Any], x: Operand, y: Operand, /, *args: Any, **options: Any
    ) -> RawTensor:
        tape = self._local.tape  # pyright: ignore[reportPrivateUsage]  # a method of the class
        inner = tape.inner
        out: RawTensor = getattr(inner, name)(x, y, *args, **options)
        if not tape.depth:
            return out
        origins = tape.origin_of(x), tape.origin_of(y)
        required = origins[0] is not None, origins[1] is not None
        read = reads.get(required)
        if read is None:
            return out
        seen = _twin(out) if keeps_result else out
        pullback = rule(inner, seen, required, x, y, *args, **options)
        if pullback is not None:
            versions: list[tuple[RawTensor, int]] = []
            for place in read:
                each = y if place else x
                if isinstance(each, RawTensor):
                    versions.append((each, each.changes[0] if each.changes else 0))
            if keeps_result:
                versions.append((seen, 0))
            tape.record(out, origins, pullback, versions)
        return out

    return operation


def _twin(x: RawTensor) -> RawTensor:
    """Another tensor over the same array, with the same marks of the tapes."""
    twin = x.alias()
    twin.node = x.node
    return twin


def _composed(name: str) -> Operation:
    """An operation without a derivative: recorded through those it is composed of."""
    composition: Operation = getattr(Backend, name)

    def operation(self: Autodiff[Any], /, *args: Any, **options: Any) -> Any:
        tape = self._local.tape  # pyright: ignore[reportPrivateUsage]  # a method of the class
        if tape.depth:
            return composition(self, *args, **options)
        return getattr(tape.inner, name)(*args, **options)

    return operation


def _passed_on(name: str) -> Operation:
    """What the inner backend does, and nothing records."""

    def operation(self: Autodiff[Any], /, *args: Any, **options: Any) -> Any:
        tape = self._local.tape  # pyright: ignore[reportPrivateUsage]  # a method of the class
        return getattr(tape.inner, name)(*args, **options)

    return operation


def _method(name: str) -> Operation:
    if name in DERIVATIVES:
        return recorded(name, DERIVATIVES[name])
    constant = name in CONSTANT or name not in OPERATIONS
    return _passed_on(name) if constant else _composed(name)


_PASSED_ON: Final = """
synchronize prefetch fetch from_dlpack to_dlpack check_labels set_random_state check_random_state
seed seeded drawn
"""
"""Methods that are not operations on tensors: the inner backend's."""

define(Autodiff, (*OPERATIONS, *_PASSED_ON.split()), _method)


def recording(backend: Autodiff[Any], result: RawTensor) -> Tape:
    """The tape that a result is on: the backend's, or else that of a level inside."""
    tape: Tape = backend.tape
    node: Node | None = result.node
    if node is not None and node.tape is tape:  # as most are
        return tape
    level: Backend = backend
    while is_autodiff(level):
        origin = level.tape.origin_of(result)
        if isinstance(origin, Node) and origin.tape is level.tape:
            return level.tape
        level = level.inner
    return tape


def recording_level(backend: Backend) -> Autodiff[Any] | None:
    """The level that records what this thread computes on a backend; the highest of several.

    Below a level that computes many examples at once there is none: what it gets differs.
    """
    level = backend
    while is_autodiff(level):
        tape = level.tape
        if tape.depth and not isinstance(tape, Collector):
            return level
        level = tape.inner
    return None


def level_of(backend: Backend, tape: Tape) -> Autodiff[Any]:
    """The level of a backend that a tape belongs to."""
    level = backend
    while is_autodiff(level) and level.owner is not tape.owner:
        level = level.inner
    return cast("Autodiff[Any]", level)


def is_autodiff(backend: Backend) -> TypeIs[Autodiff[Any]]:
    """Whether a backend records."""
    return isinstance(backend, Autodiff)


def check_scalar(loss: RawTensor) -> None:
    """Refuse a loss of more or fewer than one element."""
    if loss.size != 1:
        raise ShapeError(
            f"expected a loss with one element, got shape {loss.shape}; reduce it with .sum() or "
            ".mean(), or pass backward a seed of its shape"
        )
