"""Functions that the tape records as one operation: with a derivative of their own, or anew.

`custom_vjp` has a derivative that is given. `checkpointed` computes the function a second time when
its derivative is asked for, instead of keeping what lies between.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ParamSpec, TypeVar

from born.autodiff.autodiff import Autodiff, level_of, recording_level
from born.autodiff.calls import Call, tensors_of
from born.autodiff.pullback import JointPullback
from born.autodiff.tape import Origin, Tape
from born.autodiff.trees import Tree, aligned
from born.backend import Backend
from born.backend.arguments import is_tuple
from born.backend.recomputing import recomputing
from born.errors import OperandError, TapeError
from born.raw import RawTensor
from born.tensor import Tensor

P = ParamSpec("P")
Y = TypeVar("Y")


def custom_vjp(
    function: Callable[P, Y],
    forward: Callable[P, tuple[Y, Any]],
    backward: Callable[[Any, Any], Any],
) -> Callable[P, Y]:
    """`function` with a derivative of its own, for where the one worked out will not do.

    Args:
        function: from tensors, or trees of them, to a tensor or a tree; called where nothing
            is recorded.
        forward: the same, which returns a pair of that and what `backward` is to know.
        backward: from that, and the gradient of the result, to the gradients of the
            arguments, in a tuple if there are several: each of the form of its argument, or
            None. Made of born's operations it may be differentiated again, as `forward` then is.

    Raises:
        TapeError: when called, if the function uses a tensor that is recorded and is no
            argument: its gradient would be lost.
        OperandError: in the backward pass, if `backward` returns another number of gradients.

    >>> import born
    >>> from born.autodiff import Autodiff, grad
    >>> from born_numpy import NumpyBackend
    >>> def clipped(x):
    ...     return ops.clamp(x, 0.0, 1.0)
    >>> straight = custom_vjp(clipped, lambda x: (clipped(x), None), lambda _, g: g)
    >>> grad(straight)(born.tensor(3.0, Autodiff(NumpyBackend())))
    Tensor(1., dtype=float32)
    """

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> Y:
        level = level_for(args, options)
        if level is None:
            return function(*args, **options)
        tree, tape = Tree(args), level.tape
        parents = [tape.origin_of(leaf.tensor.raw) for leaf in tree.leaves]
        given = _off(tape, tree)
        held = {leaf.tensor.raw for leaf in tree.leaves if leaf.held}
        with level.collecting() as found:
            made: Any = forward(*given, **options)
        pair: tuple[Y, Any] = _pair(made)
        value, saved = pair
        captured = [raw for raw in found if raw not in held]
        if captured:
            raise TapeError(
                "expected a function with a derivative of its own to use what it is given, got "
                f"a recorded tensor of shape {captured[0].shape} from elsewhere; make it an "
                "argument, or use .detach() of it if it is meant as a constant"
            )
        versions = [(x.raw, _changes(x.raw)) for x in tensors_of(saved)]

        def pull(gradient: Any) -> list[RawTensor | None]:
            result = backward(saved, gradient)
            several = len(args) != 1
            gradients: Any = result if several or _is_one(result) else (result,)
            if not is_tuple(gradients) or len(gradients) != len(args):
                raise OperandError(
                    f"expected {len(args)} gradients from backward, one for each argument, in a "
                    f"tuple, got {type(gradients).__name__}; return None for one without"
                )
            return [
                raw
                for each, g in zip(args, gradients, strict=True)
                for raw in _gradient(Tree(each), g)
            ]

        return recorded_as_one(level, value, parents, pull, versions)

    return call


def checkpointed(function: Callable[P, Y]) -> Callable[P, Y]:
    """`function`, whose intermediate results are not kept for the backward pass.

    They are computed a second time when they are needed: memory for time. Parameters and other
    tensors that it uses get their gradients as ever, and what it draws at random is drawn
    the same. Parameters and buffers that it assigns, such as the running averages of
    batch normalisation, are assigned the first time only.

    Args:
        function: from tensors, or trees of them, to a tensor or a tree; a layer, for instance.

    >>> import born
    >>> from born import nn
    >>> from born.autodiff import Autodiff, backward
    >>> from born_numpy import NumpyBackend
    >>> backend = Autodiff(NumpyBackend())
    >>> block = nn.Sequential(nn.Linear(2, 64, backend), nn.ReLU(), nn.Linear(64, 2, backend))
    >>> with backend.tape:
    ...     loss = checkpointed(block)(born.ones((1, 2), backend)).sum()
    >>> len(backward(loss))
    4

    Source: Chen, Xu, Zhang and Guestrin (2016), "Training deep nets with sublinear memory cost".
    """

    def called(both: tuple[Any, Mapping[str, Any]]) -> Y:
        return function(*both[0], **both[1])

    def call(*args: P.args, **options: P.kwargs) -> Y:
        level = level_for(args, options, function)
        if level is None:
            return function(*args, **options)
        tree = Tree((args, options))
        tape, backend = level.tape, level.innermost
        state = backend.random_state
        raws = [leaf.tensor.raw for leaf in tree.leaves]
        # Without marks, an argument is told from the same tensor where it is used besides.
        unmarked: Any = _off(tape, tree)
        with level.collecting() as found:
            value = called(unmarked)
            level.tape.origins_of(x.raw for x in tensors_of(value))  # returned, but not used
        drew = backend.random_state != state
        # A module that is given twice gets its gradients, which are those of all uses, once.
        once = {leaf.tensor.raw: i for i, leaf in enumerate(tree.leaves) if leaf.held}
        captured = [raw for raw in found if raw not in once]
        parents = [
            None if leaf.held and once[raws[i]] != i else tape.origin_of(raws[i])
            for i, leaf in enumerate(tree.leaves)
        ] + [found[raw] for raw in captured]
        versions = [(raw, _changes(raw)) for raw in (*raws, *captured)]
        user = _backend_of(args, options, value)

        def pull(gradient: Any) -> list[RawTensor | None]:
            numbers = (0,) if tree.leaves else ()
            with recomputing(), _drawing_again(backend, state) if drew else nullcontext():
                call = Call(called, ((args, options),), numbers, {}, held=captured, backend=user)
            try:
                seeds = aligned(Tree(call.value), gradient, "a gradient")
                known = call.gradients(seeds)
            finally:
                call.end()
            return [known.get(leaf) for leaf in call.leaves]

        return recorded_as_one(level, value, parents, pull, versions, user)

    return functools.wraps(function)(call) if hasattr(function, "__name__") else call


@contextmanager
def _drawing_again(backend: Backend, state: Mapping[str, Any]) -> Generator[None]:
    """A context that draws what was drawn from a state, and changes nothing for what follows."""
    present = backend.random_state
    backend.set_random_state(state)
    try:
        yield
    finally:
        backend.set_random_state(present)


def recorded_as_one(
    level: Autodiff[Any],
    value: Y,
    parents: Sequence[Origin | None],
    pull: Callable[[Any], list[RawTensor | None]],
    versions: Sequence[tuple[RawTensor, int]],
    backend: Any = None,
) -> Y:
    """A result, computed beneath a level, as that of one operation which the level records.

    Args:
        level: what records.
        value: the result, a tree.
        parents: where gradients go.
        pull: from the gradient of the result, in its form, to theirs.
        versions: what `pull` reads, and how often each was changed until now.
        backend: of the result's tensors.
    """
    tree = Tree(value)
    if not any(parents) or not tree.leaves:
        return value
    tape = level.tape
    user = tree.leaves[0].tensor.backend if backend is None else backend
    outs = [tape.inner.reshape(leaf.tensor.raw, leaf.tensor.shape) for leaf in tree.leaves]
    wanted = [parent is not None for parent in parents]

    def pullback(*gradients: RawTensor) -> Sequence[RawTensor | None]:
        with level_of(user, tape).beneath(tape):
            found = pull(tree.filled([Tensor(g, user) for g in gradients]))
        return [raw if due else None for raw, due in zip(found, wanted, strict=True)]

    _record(tape, outs, tuple(parents), pullback, versions)
    result: Y = tree.filled([Tensor(raw, user) for raw in outs])
    return result


def _record(
    tape: Tape,
    outs: Sequence[RawTensor],
    parents: tuple[Origin | None, ...],
    pullback: JointPullback,
    versions: Sequence[tuple[RawTensor, int]],
) -> None:
    if len(outs) == 1:
        tape.record(outs[0], parents, pullback, versions)
    else:
        tape.record_several(outs, parents, pullback, versions, tape.inner)


def unstacked(x: Tensor[Any], count: int) -> list[Tensor[Any]]:
    """`[x[0], x[1], ...]`, whose gradients are stacked once, and not added up in the size of x."""
    backend = x.backend
    level = recording_level(backend)
    origin = None if level is None else level.tape.origin_of(x.raw)
    if level is None or origin is None:
        return [x[i] for i in range(count)]
    tape, shape, dtype = level.tape, x.shape[1:], x.dtype
    inner = tape.inner
    gradients: list[RawTensor | None] = [None] * count

    def stacked(_: RawTensor) -> RawTensor:
        known = [inner.zeros(shape, dtype) if g is None else g for g in gradients]
        gradients[:] = [None] * count
        return inner.stack(known)

    # The rows lead to one record; what passes along is a mark, which costs nothing to add.
    carrier, mark = x.raw.alias(), inner.zeros((), dtype)
    tape.record(carrier, (origin,), stacked)
    made: list[Tensor[Any]] = []
    for i in range(count):

        def put(g: RawTensor, i: int = i) -> RawTensor:
            gradients[i] = g
            return mark

        row = inner.getitem(x.raw, i)
        tape.record(row, (carrier.node,), put)
        made.append(Tensor(row, backend))
    return made


def level_for(*values: Any) -> Autodiff[Any] | None:
    """The level that records what is computed of these trees, if any does."""
    backend = _backend_of(*values)
    return None if backend is None else recording_level(backend)


def _backend_of(*values: Any) -> Any:
    """The backend of the first tensor in some trees."""
    for value in values:
        found = tensors_of(value) or Tree(value).tensors
        if found:
            return found[0].backend
    return None


def _off(tape: Tape, tree: Tree) -> Any:
    """The same tree without the marks of a tape, but with those of what is beneath it."""
    return tree.filled(
        [
            x if held else Tensor(tape.inner.reshape(x.raw, x.shape), x.backend)
            for x, _, held in tree.leaves
        ]
    )


def _changes(raw: RawTensor) -> int:
    return raw.changes[0] if raw.changes else 0


def _gradient(tree: Tree, gradient: Any) -> list[RawTensor | None]:
    if gradient is None:
        return [None] * len(tree.leaves)
    return aligned(tree, gradient, "a gradient")


def _is_one(result: object) -> bool:
    """Whether the gradient of one argument stands in a tuple of its own."""
    return is_tuple(result) and len(result) == 1


def _pair(made: object) -> tuple[Any, Any]:
    if not is_tuple(made) or len(made) != 2:
        raise OperandError(
            f"expected (result, saved) from forward, got {type(made).__name__}; return both"
        )
    return made
