"""`grad`, `value_and_grad` and `hvp`: differentiation as functions of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from born.autodiff.autodiff import Autodiff, check_scalar, is_autodiff
from born.autodiff.gradients import check_tensor
from born.backend import B, Backend
from born.dtypes import is_floating
from born.errors import OperandError, ShapeError, TapeError
from born.tensor import Tensor, is_tensor


def grad(function: Callable[..., Tensor[B]], argnum: int = 0) -> Callable[..., Tensor[B]]:
    """The function that computes the gradient of `function`.

    It nests: `grad(grad(f))` is the second derivative. Inside of `with backend.tape` the
    gradient is recorded like all else, so that a loss may be made of it: a gradient
    penalty, or the residual of a differential equation. Only the argument is differentiated by;
    parameters and other tensors that the function uses count as constants to it.

    Args:
        function: from tensors (and anything else) to a tensor of one element.
        argnum: which positional argument to differentiate by; the first by default.

    Returns:
        a function of the same arguments, that returns a tensor of the shape and
        dtype of that argument.

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
    """
    compute = value_and_grad(function, argnum)

    def gradient(*args: Any, **options: Any) -> Tensor[B]:
        return compute(*args, **options)[1]

    return gradient


def value_and_grad(
    function: Callable[..., Tensor[B]], argnum: int = 0
) -> Callable[..., tuple[Tensor[B], Tensor[B]]]:
    """The function that returns both the value of `function` and its gradient, as `grad` does.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor([1.0, 2.0], Autodiff(NumpyBackend()))
    >>> value, gradient = value_and_grad(lambda x: (x * x).sum())(x)
    >>> value.item(), gradient.numpy()
    (5.0, array([2., 4.], dtype=float32))
    """

    def compute(*args: Any, **options: Any) -> tuple[Tensor[B], Tensor[B]]:
        x = _argument(args, argnum)
        backend: B = x.backend
        tape = _level(backend).tape_of_function()
        beneath = tape.inner
        # A new tensor, so that the same tensor captured elsewhere stays constant.
        leaf = beneath.reshape(x.raw, x.shape)
        gradient = None
        try:
            with tape:
                tape.watch(leaf)
                replaced = (*args[:argnum], Tensor(leaf, backend), *args[argnum + 1 :])
                value = function(*replaced, **options)
                check_tensor(value, "a function that returns a tensor")
                check_scalar(value.raw)
                origin = tape.origin_of(value.raw)
            # A tape beneath, which is in its place again, records this.
            if origin is not None:
                seed = beneath.ones(value.shape, value.dtype)
                gradient = tape.walk(origin, seed, beneath)[0].get(leaf)
        finally:
            tape.clear()
        tape.forget(value.raw)
        if gradient is None:
            gradient = beneath.zeros(x.shape, x.dtype)
        return value, Tensor(gradient, backend)

    return compute


def hvp(function: Callable[[Tensor[B]], Tensor[B]]) -> Callable[[Tensor[B], Tensor[B]], Tensor[B]]:
    """The function that multiplies the Hessian of `function` with a vector.

    It never forms the Hessian H: H v is the gradient of the inner product of the
    gradient with v (Pearlmutter, 1994, "Fast exact multiplication by the Hessian").

    Args:
        function: from one tensor to a tensor of one element.

    Returns:
        a function of x and v, both of one shape, that returns H(x) v, of that shape.

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

    def product(x: Tensor[B], v: Tensor[B]) -> Tensor[B]:
        if x.shape != v.shape:
            raise ShapeError(
                f"expected a vector of the point's shape {x.shape}, got {v.shape}; reshape it first"
            )

        def along(y: Tensor[B]) -> Tensor[B]:
            return (grad(function)(y) * v).sum()

        return grad(along)(x)

    return product


def _argument(args: tuple[Any, ...], argnum: int) -> Tensor[Any]:
    if not isinstance(cast("object", argnum), int):
        raise OperandError(
            f"expected argnum as one integer, got {argnum!r}; differentiate by one argument "
            "at a time"
        )
    if not 0 <= argnum < len(args):
        raise ShapeError(
            f"expected a positional argument number {argnum} to differentiate by, got "
            f"{len(args)} positional arguments; pass it by position, or another argnum"
        )
    x = args[argnum]
    if not is_tensor(x) or not is_floating(x.dtype):
        got = f"one of dtype {x.dtype}" if is_tensor(x) else type(x).__name__
        raise TapeError(
            f"expected a floating tensor to differentiate by, got {got}; "
            "make it with born.tensor(value, backend)"
        )
    return x


def _level(backend: Backend) -> Autodiff[Any]:
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
