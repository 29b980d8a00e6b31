"""`Tape`: what was computed, and how to walk it backwards.

A recorded result carries a `Node` (in `RawTensor.node`) that knows what it came from
and a pullback, the function from its gradient to theirs. It came from other nodes and
from leaves, which stand for themselves. Of the tensors of the forward pass a node
holds no others; only what a pullback has saved stays alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeAlias

from born.errors import TapeError
from born.raw import RawTensor

Pullback: TypeAlias = Callable[[RawTensor], "RawTensor | Sequence[RawTensor | None]"]
"""From the gradient of a result to those of its tensor arguments: one gradient for an
operation of one tensor; for others a sequence, with None for arguments that need none."""

Life: TypeAlias = Literal["open", "consumed", "cleared"]


@dataclass(slots=True, eq=False, repr=False)
class Epoch:
    """One life of a tape: from its first record until it is consumed or cleared."""

    tape: Tape
    life: Life = "open"


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """The mark of one tape on one tensor: a record."""

    epoch: Epoch
    index: int
    parents: tuple[Origin | None, ...]
    pullback: Pullback | None
    below: Node | None  # the mark of another tape on the same tensor, for nested backends


Origin: TypeAlias = Node | RawTensor
"""Where a gradient goes: a record, or a leaf."""


class Tape:
    """A list of what an `Autodiff` backend has computed while recording; one per thread.

    Only what depends on a tensor with `requires_grad` is recorded; each use of a tensor
    counts as its `requires_grad` is then. Recording adds to what is there, so a
    computation may be recorded in pieces; `backward` consumes the whole tape.

    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> tape = Autodiff(NumpyBackend()).tape
    >>> with tape:
    ...     tape.is_recording
    True
    >>> len(tape)
    0
    """

    def __init__(self) -> None:
        self.depth = 0
        self._epoch = Epoch(self)
        self._records: list[Node | None] = []
        self._watched: set[RawTensor] = set()

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
        self._end("cleared")

    def __len__(self) -> int:
        return len(self._records)

    def __enter__(self) -> Self:
        self.start_recording()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_recording()
        if kind is not None and self.depth == 0:
            self.clear()  # half a forward pass is of no use, and would keep its memory

    def watch(self, tensor: RawTensor) -> None:
        """Treat a tensor as a leaf of this tape, whatever its `requires_grad`."""
        self._watched.add(tensor)

    def origin_of(self, tensor: object) -> Origin | None:
        """The node of a tensor on this tape, the tensor itself if it is a leaf, or else None."""
        if not isinstance(tensor, RawTensor):
            return None
        node: Node | None = tensor.node
        epoch = self._epoch
        while node is not None:
            if node.epoch is epoch:
                return node
            node = node.below
        return tensor if tensor.requires_grad or tensor in self._watched else None

    def record(
        self, out: RawTensor, parents: tuple[Origin | None, ...], pullback: Pullback
    ) -> None:
        """Remember that `out` came from `parents`."""
        records = self._records
        out.node = node = Node(self._epoch, len(records), parents, pullback, out.node)
        records.append(node)

    # -- walking --

    def root(self, loss: RawTensor) -> Origin:
        """Where to start a backward pass: the node of a result, or a leaf that was used."""
        origin = self.origin_of(loss)
        if origin is not None:
            used = (node.parents for node in self._records if node is not None)
            if origin is not loss or any(parent is loss for parents in used for parent in parents):
                return origin
        stale: Node | None = loss.node
        if stale is not None and stale.epoch.tape is not self:
            raise TapeError(
                "expected a loss recorded by this thread and backend, got one recorded on "
                "another tape; call backward where the loss was computed"
            )
        if stale is not None and stale.epoch.life == "consumed":
            raise TapeError(
                "expected a tape that still holds the loss, got one that a backward pass has "
                "consumed; pass keep_tape=True to the first of several backward passes"
            )
        if not self._records:
            raise TapeError(
                "expected a recorded loss, but nothing is recorded; compute the loss inside "
                "`with backend.tape:` from tensors that require gradients"
            )
        raise TapeError(
            "expected a loss on the tape, got one that is not; compute it inside "
            "`with backend.tape:` from at least one tensor that requires a gradient"
        )

    def walk(
        self,
        root: Origin,
        seed: RawTensor,
        add: Callable[[RawTensor, RawTensor], RawTensor],
        retain: Iterable[tuple[RawTensor, Origin]] = (),
        *,
        keep: bool = False,
    ) -> tuple[dict[RawTensor, RawTensor], dict[RawTensor, RawTensor]]:
        """The gradients of the leaves, and of the tensors to retain, given that of the root.

        Unless `keep`, each record is freed as soon as it has been walked and the tape
        is consumed, even if a pullback fails on the way.
        """
        try:
            leaves: dict[RawTensor, RawTensor] = {}
            retained: dict[RawTensor, RawTensor] = {}
            # A leaf has its gradient returned anyway.
            wanted = {origin.index: tensor for tensor, origin in retain if isinstance(origin, Node)}
            if not isinstance(root, Node):
                return {root: seed}, retained
            pending: list[RawTensor | None] = [None] * root.index
            pending.append(seed)
            records = self._records
            for index in range(root.index, -1, -1):
                node, g = records[index], pending[index]
                if node is None or node.pullback is None:
                    continue
                pullback = node.pullback
                if not keep:
                    records[index] = node.pullback = None
                if g is None:
                    continue
                pending[index] = None
                if index in wanted:
                    retained[wanted[index]] = g
                gradients = pullback(g)
                if isinstance(gradients, RawTensor):
                    gradients = (gradients,)
                for parent, part in zip(node.parents, gradients, strict=True):
                    if parent is None or part is None:
                        continue
                    if isinstance(parent, Node):
                        before = pending[parent.index]
                        pending[parent.index] = part if before is None else add(before, part)
                    else:
                        before = leaves.get(parent)
                        leaves[parent] = part if before is None else add(before, part)
            return leaves, retained
        finally:
            if not keep:
                self._end("consumed")

    def _end(self, life: Life) -> None:
        self._epoch.life = life
        for node in self._records:
            if node is not None:
                # A pullback may hold its own result, which holds the node: break the circle.
                node.pullback = None
        self._records = []
        self._watched = set()
        self._epoch = Epoch(self)
