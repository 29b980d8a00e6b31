"""`check_gradients`: a function's derivatives against differences of its values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from born.autodiff.transforms import grad
from born.autodiff.trees import Tree
from born.creation import tensor
from born.dtypes import is_half
from born.errors import DomainError, GradientError, OperandError
from born.raw import HostArray
from born.tensor import Tensor
from born.validation import choice, number

_EPSILON: Final = {8: 2.0**-52, 4: 2.0**-23}
_MOST_SHOWN: Final = 5


def check_gradients(
    function: Callable[..., Any],
    *inputs: Any,
    order: int = 1,
    step: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Compare the derivatives of `function` with central differences, for a user's own tests.

    Of results with several elements it compares those of a weighted sum, whose weights
    are no round numbers. For each element of the inputs the function is called twice.

    Args:
        function: from tensors, or trees of them, to a tensor or a tree; the same for
            the same input, and smooth around it.
        inputs: its arguments, float64 for the sake of the differences, which lose digits.
        order: 1 compares gradients, 2 also second derivatives, along a fixed direction.
        step: the distance of a difference, relative to max(1, |x|); by default the cube root
            of the dtype's epsilon.
        rtol: how far apart the two may be, relative to the larger; by default what the
            differences can resolve.
        atol: the same, absolute.

    Raises:
        GradientError: they differ; the message says of which input, at which index, and both
            values.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor([0.5, 2.0], Autodiff(NumpyBackend()), dtype="float64")
    >>> check_gradients(ops.tanh, x, order=2)
    >>> check_gradients(lambda x: x * x.detach(), x)
    Traceback (most recent call last):
    born.errors.GradientError: expected the gradient of input 0 to be ...
    """
    choice("order", order, (1, 2), DomainError)
    trees = [Tree(each, "to differentiate by") for each in inputs]
    dtypes = {leaf.tensor.dtype for tree in trees for leaf in tree.leaves}
    if not dtypes or any(map(is_half, dtypes)):
        raise OperandError(
            "expected inputs of float64 or float32 to compare gradients at, got "
            f"{', '.join(map(str, dtypes)) or 'no tensor'}; convert them with .astype"
        )
    epsilon = max(_EPSILON[dtype.itemsize] for dtype in dtypes)
    distance = epsilon ** (1 / 3) if step is None else number("step", step, 0)
    # The difference of two values rounded to epsilon, over a step of its cube root; thrice that.
    resolved = 100 * epsilon ** (2 / 3)
    near = (resolved if rtol is None else rtol, resolved if atol is None else atol)

    def total(*args: Any) -> Tensor[Any]:
        return _weighted(function(*args))

    _compare(total, inputs, distance, near, "the gradient")
    if order == 2:
        slopes = grad(total, tuple(range(len(inputs))))

        def along(*args: Any) -> Tensor[Any]:
            return _weighted(slopes(*args))

        _compare(along, inputs, distance, near, "the second derivative")


def _weighted(value: Any) -> Tensor[Any]:
    """The sum of all elements, each times another weight."""
    leaves = Tree(value, "to take gradients of").leaves
    if not leaves:
        raise OperandError(
            f"expected a function that returns a tensor, got {type(value).__name__}; compute it "
            "from its arguments by born's operations"
        )
    parts: list[Tensor[Any]] = []
    for start, leaf in enumerate(leaves):
        x = leaf.tensor
        weights = 1 + 0.5 * np.sin(1 + start + np.arange(x.size, dtype=np.float64) * math.sqrt(2))
        parts.append((x * tensor(weights.reshape(x.shape).astype(x.dtype), x.backend)).sum())
    total = parts[0].astype("float64")
    for part in parts[1:]:
        total = total + part.astype("float64")
    return total


def _compare(
    total: Callable[..., Tensor[Any]],
    inputs: Sequence[Any],
    distance: float,
    near: tuple[float, float],
    what: str,
) -> None:
    """Compare each gradient with differences, element by element, and name those that differ."""
    compute = grad(total, tuple(range(len(inputs))))
    found = compute(*inputs)
    wrong: list[str] = []
    for place, value in enumerate(inputs):
        tree, ours = Tree(value), Tree(found[place]).tensors
        for number_of_leaf, leaf in enumerate(tree.leaves):
            if leaf.held:
                raise OperandError(
                    "expected tensors, or trees of them, to compare gradients at, got a module; "
                    "pass a function of its parameters' values"
                )
            at, got = leaf.tensor.numpy(), ours[number_of_leaf].numpy()
            for index in np.ndindex(at.shape):
                expected = _difference(total, inputs, place, tree, number_of_leaf, index, distance)
                if not _is_near(float(got[index]), expected, near):
                    wrong.append(
                        f"input {place}{leaf.path} to be {expected:.10g} at index {index}, as its "
                        f"difference is, got {float(got[index]):.10g}"
                    )
    if wrong:
        more = f", and {len(wrong) - _MOST_SHOWN} more" if len(wrong) > _MOST_SHOWN else ""
        raise GradientError(
            f"expected {what} of {', of '.join(wrong[:_MOST_SHOWN])}{more}; check the derivative, "
            "or whether the function is smooth and the same for the same input"
        )


def _difference(
    total: Callable[..., Tensor[Any]],
    inputs: Sequence[Any],
    place: int,
    tree: Tree,
    leaf: int,
    index: tuple[int, ...],
    distance: float,
) -> float:
    """The central difference of a total by one element."""
    x = tree.tensors[leaf]
    at: HostArray = x.numpy()
    size = distance * max(1.0, abs(float(at[index])))
    values: list[float] = []
    places: list[float] = []
    for sign in (1, -1):
        moved = at.copy()
        moved[index] += sign * size
        tensors = list(tree.tensors)
        tensors[leaf] = tensor(moved, x.backend)
        args = [*inputs[:place], tree.filled(tensors), *inputs[place + 1 :]]
        values.append(float(total(*args).detach().item()))
        places.append(float(moved[index]))
    return (values[0] - values[1]) / (places[0] - places[1])


def _is_near(got: float, expected: float, near: tuple[float, float]) -> bool:
    if math.isnan(got) or math.isnan(expected):
        return math.isnan(got) and math.isnan(expected)
    return abs(got - expected) <= near[1] + near[0] * max(abs(got), abs(expected))
