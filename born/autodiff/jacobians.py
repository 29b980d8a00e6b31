"""Jacobians and Hessians, and their products with vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import (
    Any,
    Concatenate,
    Literal,
    cast,
    overload,
)

from born.autodiff.batching import Batched, Batching, is_batched
from born.autodiff.calls import Call, backend_of_leaves, check_reaches, level_to_record_on, walk
from born.autodiff.gradients import Gradients
from born.autodiff.tape import Tape
from born.autodiff.transforms import (
    M,
    Numbers,
    OfTensor,
    OfTwoTensors,
    P,
    X,
    Y,
    as_named,
    checked_numbers,
    differentiate,
)
from born.autodiff.trees import Held, Tree, aligned, by_path, mapped
from born.backend import B, Backend
from born.errors import DomainError, ShapeError
from born.raw import RawTensor
from born.tensor import Tensor
from born.validation import integer

# -- products with the Jacobian -----------------------------------------------------------------


def vjp(
    function: Callable[..., Y], *primals: Any, has_aux: bool = False
) -> tuple[Y, Callable[[Any], tuple[Any, ...]]]:
    """The result of `function`, and the function that takes a gradient back through it.

    The name and the arguments are those of `jax.vjp` and `torch.func.vjp`.

    Args:
        function: from tensors, or trees of them, to a tensor or a tree.
        primals: its arguments, all of which are differentiated by.
        has_aux: whether it returns a pair of that and anything else.

    Returns:
        the result, and a function from the gradient of what follows, of the form of the
        result, to a tuple of the gradients of the arguments: v to v^T J. It may be called more
        than once. With `has_aux` a third, the second result.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor([1.0, 2.0], Autodiff(NumpyBackend()))
    >>> y, pull = vjp(lambda x: x * x, x)
    >>> pull(y)
    (Tensor([ 2., 16.], dtype=float32),)
    """
    call = Call(function, primals, range(len(primals)), {}, has_aux=has_aux)
    tree = Tree(call.value, "to take a gradient back from")

    def pull(cotangent: Any) -> tuple[Any, ...]:
        seeds = aligned(tree, cotangent, "a gradient")
        inner = call.tape.inner
        check_reaches(inner, call.backend, seeds)
        # A gradient may be the seed itself, and owns its memory.
        found = call.pull([s and inner.copy(s) for s in seeds], keep=True)
        return tuple(call.in_trees(found, _gradients_on(inner)))

    result: Any = (call.value, pull, call.aux) if has_aux else (call.value, pull)
    return cast("tuple[Y, Callable[[Any], tuple[Any, ...]]]", result)


def _gradients_on(backend: Backend) -> Callable[[Held], Gradients]:
    def as_map(held: Held) -> Gradients:
        raws = [value.raw for value in held.values]
        return Gradients(dict(zip(held.raws, raws, strict=True)), backend)

    return as_map


def jvp(function: Callable[..., Y], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Y, Y]:
    """The result of `function`, and its derivative along `tangents`: J v.

    The name and the arguments are those of `jax.jvp` and `torch.func.jvp`. Taking a gradient
    back is linear in that gradient, so its own derivative is J (Townsend, 2017, "A new trick for
    calculating Jacobian vector products"): it costs about three times the function.

    Args:
        function: from tensors, or trees of them, to a tensor or a tree.
        primals: its arguments.
        tangents: one for each, of its form; for a module a mapping such as `Gradients`.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor([1.0, 2.0], Autodiff(NumpyBackend()))
    >>> jvp(lambda x: x * x, (x,), (born.tensor([1.0, 0.0], x.backend),))
    (Tensor([1., 4.], dtype=float32), Tensor([2., 0.], dtype=float32))
    """
    if len(primals) != len(tangents):
        raise ShapeError(
            f"expected a tangent for each of {len(primals)} primals, got {len(tangents)}; pass "
            "both as tuples of one length"
        )
    forward = _Forward(function, primals, range(len(primals)), {})
    seeds = [
        seed
        for tree, tangent in zip(forward.call.trees, tangents, strict=True)
        for seed in aligned(tree, tangent, "a tangent")
    ]
    found = forward.push(seeds)
    forward.end()
    made = iter(found)
    value = forward.call.value
    tangent = mapped(value, lambda x: _tangent(x, forward.call, made))
    return value, tangent


def _tangent(x: Tensor[Any], call: Call, found: Any) -> Tensor[Any]:
    """The derivative of one result: zero of integers."""
    if x.dtype.kind in "iub":
        return Tensor(call.tape.inner.zeros(x.shape, x.dtype), x.backend)
    return Tensor(next(found), x.backend)


class _Forward:
    """A call under another tape, which can differentiate what takes a gradient back."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        numbers: Sequence[int],
        options: Mapping[str, Any],
        *,
        batching: bool = False,
    ) -> None:
        leaves = [leaf for n in numbers for leaf in Tree(args[n], "to differentiate by").leaves]
        level = level_to_record_on(backend_of_leaves(leaves)) if leaves else None
        if level is None:
            Call(function, args, numbers, options)  # says what is expected
            raise AssertionError
        self.tape: Tape = level.tape_of_function(batching=batching)
        with self.tape:
            self.call = Call(function, args, numbers, options)
        self._is_lowest = level is self.call.backend
        self._pulled: tuple[list[RawTensor], list[Any]] | None = None

    def pull(self, seeds: Sequence[RawTensor | None], *, keep: bool = False) -> list[RawTensor]:
        """The gradients of the leaves, given those of the outs."""
        if self._is_lowest:
            return self.call.pull(seeds, keep=keep)
        # A level above computes by what is in place beneath it, as it did in the call.
        with self.tape:
            return self.call.pull(seeds, keep=keep)

    def push(self, seeds: Sequence[RawTensor | None], *, keep: bool = False) -> list[RawTensor]:
        """The derivatives of the outs along the seeds, one for each leaf."""
        call, tape = self.call, self.tape
        inner = tape.inner
        if self._pulled is None:
            with tape:
                weights = [inner.zeros(out.shape, out.dtype) for out in call.outs]
                for weight in weights:
                    tape.watch(weight)
                found = call.gradients(weights)
                origins = [
                    tape.origin_of(found[leaf]) if leaf in found else None for leaf in call.leaves
                ]
            self._pulled = weights, origins
        weights, origins = self._pulled
        derivatives = walk(tape, origins, seeds, keep=keep)
        return [
            derivatives[w] if w in derivatives else inner.zeros(w.shape, w.dtype) for w in weights
        ]

    def end(self) -> None:
        self.call.end()
        self.tape.clear()


# -- Jacobians and Hessians ---------------------------------------------------------------------


@overload
def jacobian(
    function: Callable[[Tensor[Any]], Tensor[Any]],
    argnums: Literal[0] = 0,
    *,
    chunk_size: int | None = None,
) -> OfTensor: ...
@overload
def jacobian(
    function: Callable[Concatenate[Tensor[B], P], Tensor[Any]],
    argnums: Literal[0] = 0,
    *,
    chunk_size: int | None = None,
) -> Callable[Concatenate[Tensor[B], P], Tensor[B]]: ...
@overload
def jacobian(
    function: Callable[..., Any], argnums: Numbers = 0, *, chunk_size: int | None = None
) -> Any: ...
def jacobian(function: Any, argnums: Any = 0, *, chunk_size: int | None = None) -> Any:
    """The function that computes all derivatives of all results of `function`.

    The gradients of all elements are computed at once, from results back or, where there are
    more results than variables, from variables forward.

    Args:
        function: from tensors, or trees of them, to a tensor or a tree.
        argnums: which positional arguments to differentiate by, as for `grad`.
        chunk_size: how many gradients to compute at once; all by default. Fewer take less
            memory, which grows with their number.

    Returns:
        a function of the same arguments that returns, for a result of shape s and an argument
        of shape t, a tensor of shape s + t; for trees, a tree of the results' form with trees of
        the arguments' form in it; for a module, a dict by the paths of its parameters.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor([1.0, 2.0], Autodiff(NumpyBackend()))
    >>> jacobian(lambda x: x * x.sum())(x)
    Tensor([[4., 1.],
            [2., 5.]], dtype=float32)
    """
    numbers = checked_numbers(argnums)
    most = chunk_size if chunk_size is None else integer("chunk_size", chunk_size, 1, DomainError)

    def compute(*args: Any, **options: Any) -> Any:
        forward = _Forward(function, args, numbers, options, batching=True)
        call = forward.call
        Tree(call.value, "to take derivatives of")  # which are all floating
        batching = cast("Batching", forward.tape.inner)
        results, variables = (sum(x.size for x in xs) for xs in (call.outs, call.leaves))
        try:
            if variables < results:
                columns = _rows(batching, call.leaves, call.outs, forward.push, most)
                table = [
                    [_as_columns(batching.inner, x) for x in row]
                    for row in zip(*columns, strict=True)
                ]
            else:
                table = _rows(batching, call.outs, call.leaves, forward.pull, most)
            table = [
                [
                    batching.inner.reshape(x, (*out.shape, *leaf.shape))
                    for x, leaf in zip(row, call.leaves, strict=True)
                ]
                for row, out in zip(table, call.outs, strict=True)
            ]
        finally:
            forward.end()
        rows = iter(table)
        return mapped(call.value, lambda x: as_named(argnums, call.in_trees(next(rows), by_path)))

    return compute


def _rows(
    batching: Batching,
    ones: Sequence[RawTensor],
    others: Sequence[RawTensor],
    compute: Callable[..., list[RawTensor]],
    most: int | None,
) -> list[list[RawTensor]]:
    """For each of the tensors the derivatives of others: a row for each of its elements."""
    made: list[list[RawTensor]] = []
    inner = batching.inner
    for place, x in enumerate(ones):
        size = x.size
        parts: list[list[RawTensor]] = []
        for seed, count in _seeds(inner, x, most):
            seeds: list[RawTensor | None] = [None] * len(ones)
            seeds[place] = Batched(seed)
            found = compute(seeds, keep=True)
            parts.append([batching.full_batch(each, count) for each in found])
        if not parts:
            made.append([inner.zeros((size, *each.shape), each.dtype) for each in others])
        elif len(parts) == 1:
            made.append(parts[0])
        else:
            made.append([inner.concatenate(each, 0) for each in zip(*parts, strict=True)])
    return made


def _seeds(inner: Backend, x: RawTensor, most: int | None) -> list[tuple[RawTensor, int]]:
    """Tensors like x, one for each of its elements, with a one there: in chunks."""
    size = x.size
    chunk = size if most is None else min(most, size)
    whole = inner.eye(size, size, x.dtype) if chunk == size and size else None
    if whole is not None:
        return [(inner.reshape(whole, (size, *x.shape)), size)]
    made: list[tuple[RawTensor, int]] = []
    columns = inner.arange(0, size, 1, "int64") if size else None
    for start in range(0, size, chunk or 1):
        count = min(chunk, size - start)
        rows = inner.arange(start, start + count, 1, "int64")
        ones = inner.equal(inner.reshape(rows, (count, 1)), cast("RawTensor", columns))
        made.append((inner.reshape(inner.astype(ones, x.dtype), (count, *x.shape)), count))
    return made


def _as_columns(inner: Backend, x: RawTensor) -> RawTensor:
    """Rows, one for each variable, as columns."""
    return inner.copy(inner.transpose(x, (*range(1, x.ndim), 0)))


@overload
def hessian(
    function: Callable[[Tensor[Any]], Tensor[Any]],
    argnums: Literal[0] = 0,
    *,
    chunk_size: int | None = None,
) -> OfTensor: ...
@overload
def hessian(
    function: Callable[Concatenate[Tensor[B], P], Tensor[Any]],
    argnums: Literal[0] = 0,
    *,
    chunk_size: int | None = None,
) -> Callable[Concatenate[Tensor[B], P], Tensor[B]]: ...
@overload
def hessian(
    function: Callable[..., Any], argnums: Numbers = 0, *, chunk_size: int | None = None
) -> Any: ...
def hessian(function: Any, argnums: Any = 0, *, chunk_size: int | None = None) -> Any:
    """The function that computes all second derivatives: the Jacobian of the gradient.

    Args:
        function: from tensors, or trees of them, to a tensor of one element.
        argnums: as for `grad`.
        chunk_size: how many rows to compute at once, as for `jacobian`.

    Returns:
        a function of the same arguments that returns, for an argument of shape s, a tensor of
        shape s + s; for trees, a tree with trees in it, as `jacobian` of a gradient.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor([1.0, 2.0], Autodiff(NumpyBackend()))
    >>> hessian(lambda x: (x * x).sum() + x[0] * x[1])(x)
    Tensor([[2., 1.],
            [1., 2.]], dtype=float32)
    """
    gradient: Any = _gradient_by_path(function, argnums)
    return jacobian(gradient, argnums, chunk_size=chunk_size)


def _gradient_by_path(function: Callable[..., Any], argnums: Numbers) -> Callable[..., Any]:
    compute = differentiate(function, argnums, False, by_path)
    return lambda *args, **options: compute(*args, **options)[1]


@overload
def hvp(
    function: Callable[[Tensor[Any]], Tensor[Any]],
) -> OfTwoTensors: ...
@overload
def hvp(
    function: Callable[Concatenate[M, P], Tensor[Any]],
) -> Callable[Concatenate[M, Any, P], Gradients]: ...
@overload
def hvp(
    function: Callable[Concatenate[X, P], Tensor[Any]],
) -> Callable[Concatenate[X, X, P], X]: ...
@overload
def hvp(function: Callable[..., Any]) -> Any: ...
def hvp(function: Any) -> Any:
    """The function that multiplies the Hessian of `function` with a vector.

    It never forms the Hessian H: H v is the gradient of the inner product of the
    gradient with v (Pearlmutter, 1994, "Fast exact multiplication by the Hessian").

    Args:
        function: from a tensor, or a tree of them, to a tensor of one element.

    Returns:
        a function of x, v and further arguments of `function`, that returns H(x) v, of the form
        of x. For a module, v is a mapping such as `Gradients`, and so is the product.

    Raises:
        TapeError: as for `grad`.
        ShapeError: when called, if x and v differ in shape.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> backend = Autodiff(NumpyBackend())
    >>> x, v = born.tensor([1.0, 2.0], backend), born.tensor([1.0, 0.0], backend)
    >>> hvp(lambda x: (x * x * x).sum())(x, v).numpy()
    array([6., 0.], dtype=float32)
    """
    gradient = _gradient_by_path(function, 0)

    def product(x: Any, v: Any, *args: Any, **options: Any) -> Any:
        seeds = aligned(Tree(x, "to differentiate by"), v, "a vector")
        call = Call(gradient, (x, *args), (0,), options)
        try:
            found = call.pull([s and call.tape.inner.copy(s) for s in seeds])
        finally:
            call.end()
        return call.in_trees(found, _gradients_on(call.tape.inner))[0]

    return product


@overload
def hessian_diagonal(
    function: Callable[[Tensor[Any]], Tensor[Any]], *, chunk_size: int = 64
) -> OfTensor: ...
@overload
def hessian_diagonal(
    function: Callable[Concatenate[M, P], Tensor[Any]], *, chunk_size: int = 64
) -> Callable[Concatenate[M, P], Gradients]: ...
@overload
def hessian_diagonal(
    function: Callable[Concatenate[X, P], Tensor[Any]], *, chunk_size: int = 64
) -> Callable[Concatenate[X, P], X]: ...
@overload
def hessian_diagonal(function: Callable[..., Any], *, chunk_size: int = 64) -> Any: ...
def hessian_diagonal(function: Any, *, chunk_size: int = 64) -> Any:
    """The function that computes the diagonal of the Hessian: second derivatives by one variable.

    It computes the rows of the Hessian in chunks, and keeps an element of each: as many rows
    as variables, but the memory of one chunk.

    Args:
        function: from a tensor, or a tree of them, to a tensor of one element.
        chunk_size: how many rows to compute at once.

    Returns:
        a function of the same arguments that returns what has the form of the first.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor([1.0, 2.0], Autodiff(NumpyBackend()))
    >>> hessian_diagonal(lambda x: (x * x * x).sum())(x)
    Tensor([ 6., 12.], dtype=float32)
    """
    gradient = _gradient_by_path(function, 0)
    most = integer("chunk_size", chunk_size, 1, DomainError)

    def compute(*args: Any, **options: Any) -> Any:
        call = Call(gradient, args, (0,), options, batching=True)
        inner = cast("Batching", call.tape.inner).inner
        diagonals: list[RawTensor] = []
        try:
            for place, x in enumerate(call.outs):
                total = inner.zeros(x.shape, x.dtype)
                for seed, _ in _seeds(inner, x, most):
                    seeds: list[RawTensor | None] = [None] * len(call.outs)
                    seeds[place] = Batched(seed)
                    row = call.gradients(seeds, keep=True).get(call.leaves[place])
                    if is_batched(row):
                        total = inner.add(total, inner.sum(inner.mul(row.whole, seed), 0))
                diagonals.append(total)
        finally:
            call.end()
        return call.in_trees(diagonals, _gradients_on(inner))[0]

    return compute
