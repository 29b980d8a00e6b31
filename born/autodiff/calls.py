"""A call of a function, recorded on a tape of its own, and walked back as often as wanted."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, cast

from born.autodiff.autodiff import Autodiff, is_autodiff, recording_level
from born.autodiff.batching import Batched, Batching
from born.autodiff.tape import Origin, Tape
from born.autodiff.trees import Leaf, Tree, mapped
from born.backend import Backend
from born.backend.arguments import is_tuple
from born.dtypes import is_floating
from born.errors import OperandError, ShapeError, TapeError
from born.operands import HELD, backend_mismatch
from born.raw import RawTensor
from born.tensor import Tensor, is_tensor


class Call:
    """One call of a function, recorded.

    Args:
        function: what to call.
        args: by position.
        numbers: which of them to differentiate by, trees of tensors.
        options: by name.
        has_aux: whether the function returns a pair, of which the second is not differentiated.
        batching: whether to walk it for many gradients at once.
        examples: whether each tensor in the other arguments is a batch to take one example
            of at a time; it implies `batching`.
        held: other tensors to differentiate by, where the function uses them.
        backend: of all tensors, if the arguments may hold integers.

    Attributes:
        backend: of all tensors.
        tape: what recorded it.
        trees: the arguments to differentiate by.
        leaves: their tensors as the function saw them, and after them those that were held.
        value: what the function returned; off this tape.
        aux: the second of what it returned.
        outs: the floating tensors in the value.
        count: how many examples there are.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        numbers: Sequence[int],
        options: Mapping[str, Any],
        *,
        has_aux: bool = False,
        batching: bool = False,
        examples: bool = False,
        held: Iterable[RawTensor] = (),
        backend: Any = None,
    ) -> None:
        # With a backend it is known what there is; integers among it are constants.
        what = "to differentiate by" if backend is None else None
        numbers = _places(args, numbers)
        self.trees: Final = [_argument(args, number, what) for number in numbers]
        leaves = [leaf for tree in self.trees for leaf in tree.leaves]
        self.backend: Final[Any] = backend_of_leaves(leaves) if backend is None else backend
        level = level_to_record_on(self.backend)
        tape = level.tape_of_function(batching=batching or examples)
        self.tape: Final = tape
        self.count = 0
        try:
            with tape, holding([leaf.tensor.raw for leaf in leaves if leaf.held]):
                self.leaves: Final = [self._watched(leaf) for leaf in leaves]
                for raw in held:
                    tape.hold(raw)
                    self.leaves.append(raw)
                given = list(args)
                if examples:
                    given = [
                        each if place in numbers else self._in_examples(each, tape.inner)
                        for place, each in enumerate(args)
                    ]
                for number, tree in zip(numbers, self.in_trees(self.leaves), strict=True):
                    given[number] = tree
                result = function(*given, **options)
                pair = _pair(result) if has_aux else (result, None)
                self.value: Any = pair[0]
                self.aux: Any = pair[1]
                results = tensors_of(self.value)
                self.outs: Final = [x.raw for x in results if is_floating(x.dtype)]
                self._origins = [tape.origin_of(raw) for raw in self.outs]
        except BaseException:
            tape.clear()
            raise
        for x in results if self.aux is None else [*results, *tensors_of(self.aux)]:
            tape.forget(x.raw)

    def _watched(self, leaf: Leaf) -> RawTensor:
        """A tensor to differentiate by as the function sees it."""
        raw = leaf.tensor.raw
        if leaf.held:
            self.tape.hold(raw)
        else:
            # A new tensor, so that the same one captured elsewhere stays constant.
            raw = self.tape.inner.reshape(raw, raw.shape)
            self.tape.watch(raw)
        return raw

    def _in_examples(self, value: Any, inner: Backend) -> Any:
        """An argument with each tensor as a batch of one example, for all of them."""

        def batch_of_one(x: Tensor[Any]) -> Tensor[Any]:
            if x.ndim == 0:
                raise ShapeError(
                    "expected batches beside the argument to differentiate by, got a tensor "
                    "without axes; pass a constant by keyword, or inside of the function"
                )
            self.count = self.count or len(x)
            if len(x) != self.count:
                raise ShapeError(
                    f"expected batches of one length, got {self.count} and {len(x)} examples; "
                    "pass constants by keyword, or inside of the function"
                )
            beneath = cast("Batching", inner).inner
            whole = beneath.reshape(x.raw, (x.shape[0], 1, *x.shape[1:]))
            return Tensor(Batched(whole), self.backend)

        return mapped(value, batch_of_one)

    def pull(self, seeds: Sequence[RawTensor | None], *, keep: bool = False) -> list[RawTensor]:
        """The gradients of the leaves, given those of the outs; zeros where there is none."""
        found = self.gradients(seeds, keep=keep)
        inner = self.tape.inner
        return [
            found[leaf] if leaf in found else inner.zeros(leaf.shape, leaf.dtype)
            for leaf in self.leaves
        ]

    def gradients(
        self, seeds: Sequence[RawTensor | None], *, keep: bool = False
    ) -> dict[RawTensor, RawTensor]:
        """The same as a map, without those that are zero."""
        return walk(self.tape, self._origins, seeds, keep=keep)

    def end(self) -> None:
        """Free what was recorded."""
        self.tape.clear()

    def in_trees(
        self, values: Sequence[RawTensor], held: Callable[[Any], Any] | None = None
    ) -> list[Any]:
        """Values for the leaves in the form of the arguments."""
        made: list[Any] = []
        position = 0
        for tree in self.trees:
            count = len(tree.leaves)
            part = values[position : position + count]
            made.append(tree.filled([Tensor(raw, self.backend) for raw in part], held))
            position += count
        return made


def walk(
    tape: Tape,
    origins: Sequence[Origin | None],
    seeds: Sequence[RawTensor | None],
    *,
    keep: bool = False,
) -> dict[RawTensor, RawTensor]:
    """The gradients of a tape's leaves, given those of several results."""
    pairs = [(o, s) for o, s in zip(origins, seeds, strict=True) if o is not None and s is not None]
    if not pairs:
        return {}
    if len(pairs) == 1:
        ((origin, seed),) = pairs
        return tape.walk(origin, seed, tape.inner, keep=keep)[0]
    known, given = zip(*pairs, strict=True)
    root = tape.joint_root(known, given)
    return tape.walk(root, given[0], tape.inner, keep=keep)[0]


def holding(raws: Sequence[RawTensor]) -> AbstractContextManager[None]:
    """A context in which the values of these may not leave born."""
    return _holding(raws) if raws else nullcontext()


@contextmanager
def _holding(raws: Sequence[RawTensor]) -> Generator[None]:
    """As `holding`, of at least one."""
    counts, mine = HELD.counts, list(raws)
    for raw in mine:
        counts[raw] = counts.get(raw, 0) + 1
    try:
        yield
    finally:
        for raw in mine:
            counts[raw] -= 1
            if not counts[raw]:
                del counts[raw]


def backend_of_leaves(leaves: Sequence[Any]) -> Any:
    """The backend that all leaves are on."""
    backend = leaves[0].tensor.backend
    for leaf in leaves:
        if leaf.tensor.backend is not backend:
            raise backend_mismatch(backend, leaf.tensor.backend)
    return backend


def level_to_record_on(backend: Backend) -> Autodiff[Any]:
    """The level to record on: the lowest that no level at or above it is recording on.

    An inner call of a nested `grad` takes the next level up; the outer one records its walk. If
    the top level is recording, then it is that one, which does both.
    """
    if not is_autodiff(backend):
        raise TapeError(
            f"expected a tensor on an Autodiff backend, got one on {backend!r}, which records "
            "nothing; make it on Autodiff(backend)"
        )
    level = found = backend
    while is_autodiff(level) and not level.tape.is_recording:
        found, level = level, level.inner
    return found


def check_reaches(inner: Backend, backend: Backend, seeds: Sequence[RawTensor | None]) -> None:
    """Refuse a gradient that is recorded where walking back, on `inner`, is not."""
    level, reached = recording_level(backend), recording_level(inner)
    if level is None or (reached is not None and reached.tape is level.tape):
        return
    if any(level.tape.origin_of(seed) for seed in seeds):
        raise TapeError(
            "expected a gradient to take back that is a constant here, got a recorded one, through "
            "which no derivative would pass; call vjp inside of what is differentiated, or use "
            ".detach() of it"
        )


def _places(args: Sequence[Any], numbers: Sequence[int]) -> Sequence[int]:
    """The places of the arguments of these numbers, which may count from the last, as -1."""
    count = len(args)
    if len(numbers) == 1 and 0 <= numbers[0] < count:
        return numbers
    for number in numbers:
        if not -count <= number < count:
            raise ShapeError(
                f"expected a positional argument number {number} to differentiate by, got "
                f"{count} positional arguments; pass it by position, or another argnums"
            )
    places = [number % count for number in numbers]
    if len(set(places)) != len(places):
        raise OperandError(
            f"expected different arguments to differentiate by, got the numbers {tuple(numbers)} "
            f"of {count}; name each once"
        )
    return places


def _argument(args: Sequence[Any], number: int, what: str | None) -> Tree:
    tree = Tree(args[number], what)
    if not tree.leaves:
        raise TapeError(
            "expected a floating tensor to differentiate by, or a tree of them, got "
            f"{type(args[number]).__name__}; make it with born.tensor(value, backend)"
        )
    return tree


def tensors_of(value: object) -> list[Tensor[Any]]:
    """All tensors of a tree, in order."""
    if is_tensor(value):
        return [value]
    found: list[Tensor[Any]] = []
    mapped(value, found.append)
    return found


def _pair(result: object) -> tuple[Any, Any]:
    values = result if is_tuple(result) else ()
    if len(values) != 2:
        raise OperandError(
            f"expected a function that returns (value, aux), since has_aux is True, got "
            f"{type(result).__name__}; return both, or leave has_aux out"
        )
    return values
