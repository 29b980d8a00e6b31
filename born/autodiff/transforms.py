"""Differentiation as functions of functions: gradients, Jacobians, Hessians, and their products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import (
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from born.autodiff.autodiff import check_scalar
from born.autodiff.batching import Batched, Batching, is_batched
from born.autodiff.calls import Call, backend_of_leaves, check_reaches, level_to_record_on, walk
from born.autodiff.gradients import Gradients, check_tensor
from born.autodiff.tape import Tape
from born.autodiff.trees import Held, Parametric, Tree, aligned, by_path, mapped
from born.backend import B, Backend
from born.backend.arguments import is_tuple
from born.errors import DomainError, OperandError, ShapeError
from born.raw import RawTensor
from born.tensor import Tensor
from born.validation import integer

P = ParamSpec("P")
A = TypeVar("A")
X = TypeVar("X")
Y = TypeVar("Y")
M = TypeVar("M", bound=Parametric)

Numbers: TypeAlias = int | tuple[int, ...]
"""Which positional arguments to differentiate by: one, or several."""

A_co = TypeVar("A_co", covariant=True)


class OfTensor(Protocol):
    """A function of a tensor, and of anything else, that returns another on the same backend."""

    def __call__(self, x: Tensor[B], /, *args: Any, **options: Any) -> Tensor[B]:
        """What it computes of x, which is given by position."""
        ...


class OfTensorWithAux(Protocol[A_co]):
    """The same, with a second result."""

    def __call__(self, x: Tensor[B], /, *args: Any, **options: Any) -> tuple[Tensor[B], A_co]:
        """What it computes of x, which is given by position."""
        ...


class WithValue(Protocol):
    """The same, with the value of the function first."""

    def __call__(self, x: Tensor[B], /, *args: Any, **options: Any) -> tuple[Tensor[B], Tensor[B]]:
        """What it computes of x, which is given by position."""
        ...


class OfTwoTensors(Protocol):
    """A function of two tensors, and of anything else."""

    def __call__(self, x: Tensor[B], v: Tensor[B], /, *args: Any, **options: Any) -> Tensor[B]:
        """What it computes of x, which is given by position."""
        ...


# A function of one tensor comes first: it is what type checkers take a lambda for. The last returns
# Any, or mypy would take what a function of unknown arguments becomes for one without types.


@overload
def grad(
    function: Callable[[Tensor[Any]], Tensor[Any]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[False] = False,
) -> OfTensor: ...
@overload
def grad(
    function: Callable[[Tensor[Any]], tuple[Tensor[Any], A]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[True],
) -> OfTensorWithAux[A]: ...
@overload
def grad(
    function: Callable[Concatenate[Tensor[B], P], Tensor[Any]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[False] = False,
) -> Callable[Concatenate[Tensor[B], P], Tensor[B]]: ...
@overload
def grad(
    function: Callable[Concatenate[Tensor[B], P], tuple[Tensor[Any], A]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[True],
) -> Callable[Concatenate[Tensor[B], P], tuple[Tensor[B], A]]: ...
@overload
def grad(
    function: Callable[Concatenate[M, P], Tensor[Any]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[False] = False,
) -> Callable[Concatenate[M, P], Gradients]: ...
@overload
def grad(
    function: Callable[Concatenate[M, P], tuple[Tensor[Any], A]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[True],
) -> Callable[Concatenate[M, P], tuple[Gradients, A]]: ...
@overload
def grad(
    function: Callable[Concatenate[X, P], Tensor[Any]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[False] = False,
) -> Callable[Concatenate[X, P], X]: ...
@overload
def grad(
    function: Callable[Concatenate[X, P], tuple[Tensor[Any], A]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[True],
) -> Callable[Concatenate[X, P], tuple[X, A]]: ...
@overload
def grad(
    function: Callable[..., Any],
    argnums: Numbers = 0,
    *,
    has_aux: bool = False,
    argnum: int | None = None,
) -> Any: ...
def grad(
    function: Any, argnums: Any = 0, *, has_aux: bool = False, argnum: int | None = None
) -> Any:
    """The function that computes the gradient of `function`.

    It nests: `grad(grad(f))` is the second derivative. Inside of `with backend.tape` the
    gradient is recorded like all else, so that a loss may be made of it: a gradient
    penalty, or the residual of a differential equation. Only the arguments named are
    differentiated by; parameters and other tensors that the function uses count as constants
    to it.

    Args:
        function: from tensors (and anything else) to a tensor of one element.
        argnums: which positional argument to differentiate by, or a tuple of several; the first
            by default. An argument is a floating tensor or a tree of them: a dict, list, tuple
            or dataclass at any depth, whose numbers and names stay as they are; or a module,
            which is differentiated by those of its parameters that require a gradient,
            wherever the function uses them.
        has_aux: whether `function` returns a pair of the tensor and anything else.
        argnum: another name of `argnums`.

    Returns:
        a function of the same arguments, that returns a gradient in the form of the argument,
        a tuple of them if `argnums` is one; for a module `Gradients`, as an optimizer
        takes them. With `has_aux`, a pair of that and the second result.

    Raises:
        TapeError: when called, if the argument is not on an `Autodiff` backend, or if the
            function leaves the tape: by `backward`, or by a number that it takes of a tensor.
        ShapeError: when called, if the function returns more than one element.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor(3.0, Autodiff(NumpyBackend()))
    >>> def cube(x):
    ...     return x * x * x
    >>> grad(cube)(x).item(), grad(grad(cube))(x).item()
    (27.0, 18.0)
    >>> def loss(weights, x):
    ...     return weights["slope"] * x + weights["shift"]
    >>> grad(loss)({"slope": x, "shift": x}, x)
    {'slope': Tensor(3., dtype=float32), 'shift': Tensor(1., dtype=float32)}
    """
    compute = value_and_grad(function, argnums, has_aux=has_aux, argnum=argnum)

    def gradient(*args: Any, **options: Any) -> Any:
        value, found = compute(*args, **options)
        return (found, value[1]) if has_aux else found

    return gradient


@overload
def value_and_grad(  # type: ignore[overload-overlap]  # a tensor is not a tree of one to mypy
    function: Callable[[Tensor[Any]], Tensor[Any]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[False] = False,
) -> WithValue: ...
@overload
def value_and_grad(
    function: Callable[Concatenate[Tensor[B], P], Y],
    argnums: Literal[0] = 0,
    *,
    has_aux: bool = False,
) -> Callable[Concatenate[Tensor[B], P], tuple[Y, Tensor[B]]]: ...
@overload
def value_and_grad(
    function: Callable[Concatenate[M, P], Y], argnums: Literal[0] = 0, *, has_aux: bool = False
) -> Callable[Concatenate[M, P], tuple[Y, Gradients]]: ...
@overload
def value_and_grad(
    function: Callable[Concatenate[X, P], Y], argnums: Literal[0] = 0, *, has_aux: bool = False
) -> Callable[Concatenate[X, P], tuple[Y, X]]: ...
@overload
def value_and_grad(
    function: Callable[..., Any],
    argnums: Numbers = 0,
    *,
    has_aux: bool = False,
    argnum: int | None = None,
) -> Any: ...
def value_and_grad(
    function: Any, argnums: Any = 0, *, has_aux: bool = False, argnum: int | None = None
) -> Any:
    """The function that returns both what `function` does and its gradient, as `grad` has it.

    With `has_aux`, the first of the two is the pair that `function` returns.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor([1.0, 2.0], Autodiff(NumpyBackend()))
    >>> value, gradient = value_and_grad(lambda x: (x * x).sum())(x)
    >>> value.item(), gradient.numpy()
    (5.0, array([2., 4.], dtype=float32))
    """
    return _value_and_grad(function, argnums if argnum is None else argnum, has_aux, None)


def _value_and_grad(
    function: Callable[..., Any],
    argnums: Numbers,
    has_aux: bool,
    held: Callable[[Held], Any] | None,
) -> Callable[..., tuple[Any, Any]]:
    numbers = checked_numbers(argnums)

    def compute(*args: Any, **options: Any) -> tuple[Any, Any]:
        call = Call(function, args, numbers, options, has_aux=has_aux)
        try:
            check_tensor(call.value, "a function that returns a tensor")
            raw = call.value.raw
            check_scalar(raw)
            seed = call.tape.inner.ones(raw.shape, raw.dtype)
            found = call.pull([seed])
        finally:
            call.end()

        def as_map(module: Held) -> Gradients:
            raws = [value.raw for value in module.values]
            values = dict(zip(module.raws, raws, strict=True))
            return Gradients(values, call.tape.inner)

        gradients = call.in_trees(found, held or as_map)
        value = (call.value, call.aux) if has_aux else call.value
        return value, _as_named(argnums, gradients)

    return compute


def checked_numbers(argnums: object) -> tuple[int, ...]:
    """The numbers of the arguments to differentiate by."""
    named: tuple[Any, ...] = argnums if is_tuple(argnums) else (argnums,)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in named)
    if not whole or not named or len(set(named)) != len(named):
        raise OperandError(
            f"expected argnums as one integer or a tuple of different ones, got {argnums!r}; "
            "name positional arguments by their numbers, from 0"
        )
    return named


def _as_named(argnums: Numbers, values: Sequence[Any]) -> Any:
    """One value, or a tuple of several, as the numbers of arguments were given."""
    return tuple(values) if isinstance(argnums, tuple) else values[0]


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
        self._pulled: tuple[list[RawTensor], list[Any]] | None = None

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
                table = _rows(batching, call.outs, call.leaves, call.pull, most)
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
        return mapped(call.value, lambda x: _as_named(argnums, call.in_trees(next(rows), by_path)))

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
    compute = _value_and_grad(function, argnums, False, by_path)
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


# -- gradients of each example ------------------------------------------------------------------


def per_example_gradients(
    function: Callable[..., Tensor[Any]], argnums: Numbers = 0
) -> Callable[..., Any]:
    """The function that computes the gradient of `function` for each example of a batch.

    All are computed at once. What `function` draws at random is the same for every example.

    Args:
        function: from parameters and a batch to a tensor of one element, the loss.
        argnums: the parameters, as for `grad`. Every tensor in the other positional arguments
            has the examples along its first axis; what is given by keyword is the same for all.

    Returns:
        a function of the same arguments. For each example it gives the gradient of `function`
        for a batch of that one alone, along the first axis of what has the form of the
        parameters; for a module a dict by the paths of its parameters.

    Raises:
        ShapeError: when called, for batches that differ in length.
        TapeError: when called, if the function takes a number of what differs between examples,
            or batch normalisation in training, which takes them together.

    >>> import born
    >>> from born import nn
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> backend = Autodiff(NumpyBackend())
    >>> def loss(model, x, y):
    ...     return nn.mse_loss(model(x), y)
    >>> model = nn.Linear(2, 1, backend)
    >>> x, y = born.ones((8, 2), backend), born.zeros((8, 1), backend)
    >>> per_example_gradients(loss)(model, x, y)["weight"].shape
    (8, 1, 2)
    """
    numbers = checked_numbers(argnums)

    def compute(*args: Any, **options: Any) -> Any:
        call = Call(function, args, numbers, options, examples=True)
        try:
            if not call.count:
                raise ShapeError(
                    "expected a batch beside the parameters, got no tensor with examples; pass "
                    "batches by position"
                )
            check_tensor(call.value, "a function that returns a tensor")
            raw = call.value.raw
            check_scalar(raw)
            batching = cast("Batching", call.tape.inner)
            found = call.pull([batching.ones(raw.shape, raw.dtype)])
            wholes = [
                g.whole
                if is_batched(g)
                else batching.inner.copy(batching.full_batch(g, call.count))
                for g in found
            ]
        finally:
            call.end()
        return _as_named(argnums, call.in_trees(wholes, by_path))

    return compute


def stop_gradient(x: X) -> X:
    """The same tensor, or tree of them, as a constant: what `Tensor.detach` does to each.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor(3.0, Autodiff(NumpyBackend()))
    >>> grad(lambda x: x * stop_gradient(x))(x)
    Tensor(3., dtype=float32)
    """
    made: X = mapped(x, lambda tensor: tensor.detach())
    return made
