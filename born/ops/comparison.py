"""Comparison and logic: the results are bool and carry no gradient."""

from __future__ import annotations

from born.backend import Scalar
from born.ops.common import B, both, on
from born.tensor import Tensor


def equal(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether each two elements stand so: ==.

        x == y

    >>> ops.equal(born.tensor([1, 2], backend), 2)
    Tensor([False,  True], dtype=bool)
    """
    backend, a, b = both("equal", x, y)
    return Tensor(backend.equal(a, b), backend)


def not_equal(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether each two elements stand so: !=.

        x != y

    >>> ops.not_equal(born.tensor([1, 2], backend), 2)
    Tensor([ True, False], dtype=bool)
    """
    backend, a, b = both("not_equal", x, y)
    return Tensor(backend.not_equal(a, b), backend)


def less(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether each two elements stand so: <.

        x < y

    >>> ops.less(born.tensor([1, 2], backend), 2)
    Tensor([ True, False], dtype=bool)
    """
    backend, a, b = both("less", x, y)
    return Tensor(backend.less(a, b), backend)


def less_equal(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether each two elements stand so: <=.

        x <= y

    >>> ops.less_equal(born.tensor([1, 2], backend), 2)
    Tensor([ True,  True], dtype=bool)
    """
    backend, a, b = both("less_equal", x, y)
    return Tensor(backend.less_equal(a, b), backend)


def greater(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether each two elements stand so: >.

        x > y

    >>> ops.greater(born.tensor([1, 2], backend), 2)
    Tensor([False, False], dtype=bool)
    """
    backend, a, b = both("greater", x, y)
    return Tensor(backend.greater(a, b), backend)


def greater_equal(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether each two elements stand so: >=.

        x >= y

    >>> ops.greater_equal(born.tensor([1, 2], backend), 2)
    Tensor([False,  True], dtype=bool)
    """
    backend, a, b = both("greater_equal", x, y)
    return Tensor(backend.greater_equal(a, b), backend)


def logical_and(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether both elements are non-zero.

        x and y

    >>> ops.logical_and(born.tensor([0, 2], backend), 1)
    Tensor([False,  True], dtype=bool)
    """
    backend, a, b = both("logical_and", x, y)
    return Tensor(backend.logical_and(a, b), backend)


def logical_or(x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
    """Whether either element is non-zero.

        x or y

    >>> ops.logical_or(born.tensor([0, 2], backend), 0)
    Tensor([False,  True], dtype=bool)
    """
    backend, a, b = both("logical_or", x, y)
    return Tensor(backend.logical_or(a, b), backend)


def logical_not(x: Tensor[B]) -> Tensor[B]:
    """Whether each element is zero.

        not x

    >>> ops.logical_not(born.tensor([0, 2], backend))
    Tensor([ True, False], dtype=bool)
    """
    return Tensor(on("logical_not", x).logical_not(x.raw), x.backend)


def isfinite(x: Tensor[B]) -> Tensor[B]:
    """Whether each element is neither infinite nor NaN.

        -inf < x < inf

    >>> ops.isfinite(born.tensor([1.0, float('inf')], backend))
    Tensor([ True, False], dtype=bool)
    """
    return Tensor(on("isfinite", x).isfinite(x.raw), x.backend)
