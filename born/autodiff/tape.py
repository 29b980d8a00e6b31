"""`Tape`: what was computed, and how to walk it backwards.

A recorded result carries a `Node` (in `RawTensor.node`) that knows what it came from
and a pullback, the function from its gradient to theirs. It came from other nodes and
from leaves, which stand for themselves. A node lives as long as a result that leads to
it: the tape itself only knows its nodes weakly. Of the tensors of the forward pass a
node holds none; only what a pullback has saved stays alive.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from itertools import accumulate, pairwise
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeAlias

from typing_extensions import override

from born.autodiff.exits import certain_exit
from born.autodiff.pullback import JointPullback, Parts, Pullback, added, separate
from born.backend import Backend
from born.errors import TapeError
from born.raw import RawTensor

End: TypeAlias = Literal["walked", "cleared"]

_ENDS: Final[dict[End, tuple[str, str]]] = {
    "walked": ("a backward pass has consumed", "pass keep_tape=True to that pass"),
    "cleared": ("was cleared", "compute it again"),
}
"""How a record ends -> what to say of it, and what to do."""

_FEWEST: Final = 1024
"""Nodes that a tape knows before it looks for those that are gone."""


def _latest(
    later: list[tuple[int, Node]],
    pending: dict[Node, RawTensor | Parts],
    following: Node | None,
    g: RawTensor | Parts,
) -> tuple[Node, RawTensor | Parts]:
    """The latest of the records that wait and the one just reached, with its gradient."""
    if following is None:
        node = heappop(later)[1]
    elif -later[0][0] > following.index:
        pending[following] = g
        node = heapreplace(later, (-following.index, following))[1]
    else:
        return following, g
    return node, pending.pop(node)


class Node:
    """The mark of one tape on one tensor: a record."""

    __slots__ = (
        *("__weakref__", "below", "end", "index", "parents", "pullback", "tape", "versions"),
    )

    end: End  # set when it ends, when its pullback becomes None

    def __init__(
        self,
        tape: Tape,
        index: int,
        parents: tuple[Origin | None, ...],
        pullback: Pullback,
        below: Node | None,
        versions: Sequence[tuple[RawTensor, int]],
    ) -> None:
        self.tape = tape
        self.index = index
        self.parents = parents
        self.pullback: Pullback | None = pullback
        self.below = below  # the mark of another tape on the same tensor, for nested backends
        self.versions = versions  # of tensors that the pullback reads, as they were then

    def __lt__(self, other: Node) -> bool:
        # In the order of a walk, one number means that one of them is of another tape: any order
        # will do until that one is refused.
        return False

    def free(self, end: End) -> None:
        """Let go of what it came from and of what its pullback has saved."""
        self.pullback = None
        self.parents = self.versions = ()
        self.end = end


Origin: TypeAlias = Node | RawTensor
"""Where a gradient goes: a record, or a leaf."""


class Home(Protocol):
    """Where an `Autodiff` finds the tape that it records on."""

    tape: Tape


class ThreadTape(threading.local):
    """The tape of each thread.

    Args:
        owner: what the tapes have in common.
        inner: what they record the operations of.
        nested: whether that records as well.
    """

    def __init__(self, owner: object, inner: Backend, nested: bool) -> None:
        self.tape = Tape(owner, inner, nested=nested)


@dataclass(eq=False, slots=True)
class OneTape:
    """The same tape, whatever the thread."""

    tape: Tape


class Tape:
    """What an `Autodiff` backend has computed while recording; one per thread.

    Only what depends on a tensor with `requires_grad` is recorded; each use of a tensor
    counts as its `requires_grad` is then. Recording adds to what is there, so a
    computation may be recorded in pieces. A record lives as long as its result, and as
    what was computed from it; a backward pass frees the records that it walks, and no
    others.

    A gradient that would have to pass a record that is gone, or one of another thread,
    is a `TapeError`. `.detach()` makes a constant of a tensor: of a hidden state, say,
    that is carried over a backward pass (truncated backpropagation through time).

    Args:
        owner: what the tapes of the other threads of the same backend have as well.
        inner: what it records the operations of, and its pullbacks compute with.
        nested: whether a walk of this tape may be recorded, by another one.
        home: for a tape that records inside of a function that `grad` differentiates, where to
            take the place of this thread's tape while it does so.
        beneath: that tape, if it was recording, and so records what this one does. Each of the
            two takes what only the other has recorded for a constant.

    Attributes:
        depth: how many times recording was started and not ended.
        of_function: whether it has a `home`.
        inner: as given.
        nested: as given.
        owner: as given.
        beneath: as given.
        opening: the exit of a `with` statement that has looked it up and not entered yet.

    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> tape = Autodiff(NumpyBackend()).tape
    >>> with tape:
    ...     tape.is_recording
    True
    >>> len(tape)
    0
    """

    kind: type[Tape]
    """What records inside of a function that `grad` differentiates while this one is in place."""

    def __init__(
        self,
        owner: object,
        inner: Backend,
        *,
        nested: bool = False,
        home: Home | None = None,
        beneath: Tape | None = None,
    ) -> None:
        self.depth = 0
        self.of_function: Final = home is not None
        self.inner = inner
        self.nested: Final = nested
        self.opening: weakref.ref[Any] | None = None
        self._entered: list[tuple[weakref.ref[Any] | None, int]] = []  # and the depth before
        self.owner: Final = owner
        self.beneath = beneath
        self._home = home
        self._before: Tape | None = None  # at home, while this one records
        self._held: dict[RawTensor, Node] = {}
        self._count = 0
        self._nodes: list[weakref.ref[Node]] = []
        self._limit = _FEWEST

    # -- recording --

    @property
    def is_recording(self) -> bool:
        """Whether operations are being recorded."""
        return self.depth > 0

    def start_recording(self) -> None:
        """Record from here on; calls nest, each ended by its own `stop_recording`."""
        self.depth += 1

    def stop_recording(self) -> None:
        """End the latest `start_recording`; what was recorded stays.

        Raises:
            TapeError: the tape is not recording.
        """
        if self.depth == 0:
            raise TapeError(
                "expected a tape that is recording, got one that is not; "
                "call start_recording first, or use `with backend.tape:`"
            )
        self.depth -= 1

    def clear(self) -> None:
        """Forget everything recorded and free what it saved; recording goes on if it was on."""
        for node in self._alive():
            node.free("cleared")
        self._nodes = []
        self._held = {}

    def __len__(self) -> int:
        return len(self._alive())

    def _alive(self) -> list[Node]:
        """The records that can still be walked."""
        nodes = [reference() for reference in self._nodes]
        return [node for node in nodes if node is not None and node.pullback is not None]

    def __enter__(self) -> Self:
        # What is done here is undone by `abandon` from whatever line an interrupt comes.
        self._entered.append((self.opening, self.depth))
        self.opening = None
        home = self._home
        if home is not None and self._before is None:
            self._before = home.tape
            home.tape = self
        self.depth += 1
        return self

    @certain_exit
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_recording()
        if self._home is not None:
            self._leave()
        if kind is not None and self.depth == 0:
            self.clear()  # half a forward pass is of no use, and would keep its memory
        self._entered.pop()

    def abandon(self, exit: weakref.ref[Any]) -> None:
        """Undo what a `with` statement did that is over and has not called its exit."""
        if self.opening is exit:
            self.opening = None
        for position, (entered, depth) in enumerate(self._entered):
            if entered is exit:
                self.depth = depth
                self._leave()
                del self._entered[position:]
                return

    def _leave(self) -> None:
        """Put the tape that was there back in its place, if this one took it and is done."""
        if self.depth == 0 and self._home is not None and self._before is not None:
            self._home.tape, self._before = self._before, None

    def watch(self, tensor: RawTensor) -> None:
        """Treat a tensor as a leaf of this tape, whatever its `requires_grad`."""
        self.record(tensor, (tensor,), lambda g: g)

    def hold(self, tensor: RawTensor) -> None:
        """The same for a tensor that keeps its identity, such as a parameter.

        It carries no mark, which other threads would see.
        """
        if tensor not in self._held:
            self._count = index = self._count + 1
            self._held[tensor] = Node(self, index, (tensor,), lambda g: g, None, ())

    def forget(self, tensor: RawTensor) -> None:
        """Take this tape's mark off a tensor, which then is a constant to every tape alike."""
        node: Node | None = tensor.node
        if node is not None and node.tape is self:
            tensor.node = node.below
            return
        while node is not None and node.below is not None:
            if node.below.tape is self:
                node.below = node.below.below
                return
            node = node.below

    def origin_of(self, tensor: object) -> Origin | None:
        """The node of a tensor, the tensor itself if it is a leaf, or else None.

        A node of another thread's tape counts too, so that a backward pass that would
        need it says so.
        """
        if not isinstance(tensor, RawTensor):
            return None
        first: Node | None = tensor.node
        if first is not None and first.tape is self:
            return first
        # A function that `grad` differentiates has the leaves that it watches and holds.
        if self._held and tensor in self._held:
            return self._held[tensor]
        if tensor.requires_grad and not self.of_function:
            return tensor
        foreign, node = None, first
        while node is not None:
            if node.tape is self:
                return node
            tape = node.tape
            if tape.owner is self.owner and not self._is_above(tape) and not tape._is_above(self):
                foreign = foreign or node
            node = node.below
        return foreign

    def origins_of(self, tensors: Iterable[object]) -> tuple[Origin | None, ...]:
        """`origin_of` each; most often a record of this tape, a leaf or a constant."""
        found: list[Origin | None] = []
        of_function = self.of_function
        for tensor in tensors:
            if isinstance(tensor, RawTensor):
                node: Node | None = tensor.node
                if node is None and not (of_function and tensor.requires_grad):
                    found.append(tensor if tensor.requires_grad else None)
                    continue
                if node is not None and node.tape is self:
                    found.append(node)
                    continue
            found.append(self.origin_of(tensor))
        return tuple(found)

    def _is_above(self, tape: Tape) -> bool:
        """Whether a tape records what a walk of this one computes."""
        beneath = self.beneath
        while beneath is not None and beneath is not tape:
            beneath = beneath.beneath
        return beneath is not None

    def record(
        self,
        out: RawTensor,
        parents: tuple[Origin | None, ...],
        pullback: Pullback,
        versions: Sequence[tuple[RawTensor, int]] = (),
    ) -> None:
        """Remember that `out` came from `parents`.

        Args:
            out: the result.
            parents: for each tensor argument where its gradient goes, or None.
            pullback: from the gradient of the result to theirs.
            versions: the tensors whose values the pullback reads, and how often each was
                changed until now.
        """
        self._count = index = self._count + 1
        out.node = node = Node(self, index, parents, pullback, out.node, versions)
        nodes = self._nodes
        nodes.append(weakref.ref(node))
        if len(nodes) > self._limit:
            self._forget_gone()
            self._limit = max(_FEWEST, 2 * len(self._nodes))

    def record_several(
        self,
        outs: Sequence[RawTensor],
        parents: tuple[Origin | None, ...],
        pullback: JointPullback,
        versions: Sequence[tuple[RawTensor, int]],
        backend: Backend,
    ) -> None:
        """Remember that several results came from `parents`.

        They lead to one record, whose gradient is those of all results end to end in a vector, of
        the widest of their dtypes.
        """
        shapes, sizes = [out.shape for out in outs], [out.size for out in outs]
        dtypes = [out.dtype for out in outs]
        wide = max(dtypes, key=lambda dtype: dtype.itemsize)
        bounds = [0, *accumulate(sizes)]

        def joint(g: RawTensor) -> RawTensor | Sequence[RawTensor | Parts | None]:
            parts = (backend.getitem(g, slice(*ends)) for ends in pairwise(bounds))
            whole = map(backend.reshape, parts, shapes)
            if any(dtype != wide for dtype in dtypes):
                whole = map(backend.astype, whole, dtypes)
            return pullback(*whole)

        carrier = outs[0].alias()
        self.record(carrier, parents, joint, versions)
        for out, (start, stop) in zip(outs, pairwise(bounds), strict=True):

            def spread(
                g: RawTensor, before: int = start, after: int = bounds[-1] - stop
            ) -> RawTensor:
                flat = backend.reshape(g, (g.size,))
                flat = flat if flat.dtype == wide else backend.astype(flat, wide)
                return backend.pad(flat, ((before, after),))

            self.record(out, (carrier.node,), spread)

    # -- walking --

    def joint_root(
        self, origins: Sequence[Origin | None], seeds: Sequence[RawTensor | None]
    ) -> Node:
        """Where to start a pass from several results at once, each with its own gradient."""
        self._count = index = self._count + 1
        return Node(self, index, tuple(origins), lambda g: seeds, None, ())

    def root(self, loss: RawTensor) -> Origin:
        """Where to start a backward pass: the node of a result, or a leaf that was used.

        Raises:
            TapeError: this tape does not hold it; the message says why.
        """
        origin = self.origin_of(loss)
        if isinstance(origin, Node):
            if origin.pullback is None or origin.tape is not self:
                raise self._lost(origin, "the loss")
            return origin
        if origin is not None and self._is_used(loss):
            return origin
        if loss.node is not None:
            raise TapeError(
                "expected a loss recorded by this thread and backend, got one recorded on "
                "another tape; call backward where the loss was computed"
            )
        if not self._alive():
            raise TapeError(
                "expected a recorded loss, but nothing is recorded; compute the loss inside "
                "`with backend.tape:` from tensors that require gradients"
            )
        raise TapeError(
            "expected a loss on the tape, got one that is not; compute it inside "
            "`with backend.tape:` from at least one tensor that requires a gradient"
        )

    def _is_used(self, leaf: RawTensor) -> bool:
        """Whether something was recorded that came from a leaf."""
        return any(parent is leaf for node in self._alive() for parent in node.parents)

    def _lost(self, node: Node, what: str = "a tensor that the loss depends on") -> TapeError:
        """What to say of a record that cannot be walked: it is of another tape, or gone."""
        if node.tape is not self:
            return TapeError(
                f"expected {what} to be recorded by this thread and in this call of grad, got "
                "a record on another tape; call backward where the loss was computed, or use "
                ".detach() of the tensor if it is meant as a constant"
            )
        ended, remedy = _ENDS[node.end]
        return TapeError(
            f"expected a record of {what} on the tape, got one that {ended}; {remedy}, or use "
            ".detach() of the tensor if it is meant as a constant, such as a hidden state that "
            "is carried on"
        )

    def walk(
        self,
        root: Origin,
        seed: RawTensor,
        backend: Backend,
        retain: Sequence[tuple[RawTensor, Origin]] = (),
        *,
        keep: bool = False,
    ) -> tuple[dict[RawTensor, RawTensor], dict[RawTensor, RawTensor]]:
        """The gradients of the leaves, and of the tensors to retain, given that of the root.

        Unless `keep`, each record is freed as it is walked. No two gradients share memory.

        Args:
            root: where to start.
            seed: the gradient of what follows with respect to it.
            backend: what the pullbacks compute with.
            retain: results whose gradients to return as well, and their records.
            keep: whether to leave the records for another pass.

        Raises:
            TapeError: a record that is needed is gone or of another tape, or a tensor
                that a pullback reads has changed since it was recorded.
        """
        found: dict[RawTensor, RawTensor | Parts] = {}
        retained: dict[RawTensor, RawTensor] = {}
        if not isinstance(root, Node):
            return {root: seed}, retained
        # A leaf has its gradient returned anyway.
        wanted = {origin: tensor for tensor, origin in retain if isinstance(origin, Node)}
        node = root
        g: RawTensor | Parts = seed
        # The latest record first: what comes later cannot add to its gradient any more. Most
        # often that is the one just reached, and the others need not be sorted.
        later: list[tuple[int, Node]] = []
        pending: dict[Node, RawTensor | Parts] = {}
        while True:
            pullback, parents = node.pullback, node.parents
            if pullback is None or node.tape is not self:
                raise self._lost(node)
            for tensor, changed in node.versions:
                if (tensor.changes[0] if tensor.changes else 0) != changed:
                    raise _changed(tensor)
            if not keep:
                node.pullback, node.parents, node.versions, node.end = None, (), (), "walked"
            whole = g.whole(backend) if isinstance(g, Parts) else g
            if wanted and node in wanted:
                retained[wanted[node]] = whole
            gradients = pullback(whole)
            parts = (gradients,) if isinstance(gradients, RawTensor) else gradients
            following: Node | None = None
            for parent, part in zip(parents, parts, strict=True):
                if parent is None or part is None:
                    continue
                if parent is following:
                    g = added(backend, g, part)
                elif isinstance(parent, RawTensor):
                    found[parent] = added(backend, found[parent], part) if parent in found else part
                elif parent in pending:
                    pending[parent] = added(backend, pending[parent], part)
                elif following is None:
                    following, g = parent, part
                else:
                    pending[parent] = part
                    heappush(later, (-parent.index, parent))
            if later:
                node, g = _latest(later, pending, following, g)
            elif following is not None:
                node = following
            else:
                break
        self._forget_latest()
        leaves = {
            leaf: gradient.whole(backend) if isinstance(gradient, Parts) else gradient
            for leaf, gradient in found.items()
        }
        separate(backend, leaves, retained)
        return leaves, retained

    def _forget_latest(self) -> None:
        """Let go of the references to the latest records as far as they are gone: most often all.

        Those behind one that lives may wait, or many losses would take time in its square.
        """
        nodes = self._nodes
        while nodes and ((node := nodes[-1]()) is None or node.pullback is None):
            nodes.pop()

    def _forget_gone(self) -> None:
        """Let go of the references to records that are gone."""
        self._nodes = [
            reference
            for reference in self._nodes
            if (node := reference()) is not None and node.pullback is not None
        ]


Tape.kind = Tape


class Collector(Tape):
    """What stands in for a tape that is to record a function as one operation.

    It records nothing, and finds what the function uses of that which the tape knows.

    Args:
        tape: the tape.
    """

    def __init__(self, tape: Tape) -> None:
        super().__init__(tape.owner, tape.inner, nested=tape.nested, beneath=tape.beneath)
        self.depth = 1
        self.kind = tape.kind
        self.found: dict[RawTensor, Origin] = {}
        self._tape = tape

    @override
    def origin_of(self, tensor: object) -> Origin | None:
        if isinstance(tensor, RawTensor) and tensor not in self.found:
            origin = self._tape.origin_of(tensor)
            if origin is not None:
                self.found[tensor] = origin
        return None

    @override
    def origins_of(self, tensors: Iterable[object]) -> tuple[Origin | None, ...]:
        return tuple(map(self.origin_of, tensors))


def _changed(tensor: RawTensor) -> TapeError:
    named = f"{tensor.name!r}" if tensor.name else "a tensor"
    return TapeError(
        f"expected values as they were recorded, got {named} of shape {tensor.shape} that was "
        "changed since, by an optimizer's step or by assign; call backward before the change, or "
        "compute the loss again after it"
    )
