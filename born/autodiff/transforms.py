"""Gradients as functions of functions: of a loss, and of each example's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from born.autodiff.batching import Batching, is_batched
from born.autodiff.calls import Call
from born.autodiff.gradients import Gradients, check_tensor
from born.autodiff.trees import Held, Parametric, by_path, mapped
from born.backend import B
from born.backend.arguments import is_tuple
from born.errors import OperandError, ShapeError
from born.tensor import Tensor

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
    return differentiate(function, argnums if argnum is None else argnum, has_aux, None)


def differentiate(
    function: Callable[..., Any],
    argnums: Numbers,
    has_aux: bool,
    held: Callable[[Held], Any] | None,
) -> Callable[..., tuple[Any, Any]]:
    """A function of the value, and of the gradients in trees; of modules, as `held` says."""
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
        return value, as_named(argnums, gradients)

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


def as_named(argnums: Numbers, values: Sequence[Any]) -> Any:
    """One value, or a tuple of several, as the numbers of arguments were given."""
    return tuple(values) if isinstance(argnums, tuple) else values[0]


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
        return as_named(argnums, call.in_trees(wholes, by_path))

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
