"""What an update rule may ask of more than one element: sums, means, norms and matrices.

Each takes Python numbers and tensors as well, so that a rule can be tried out on them.
"""

from __future__ import annotations

from typing import Any, Final

from born.fusion import expression
from born.fusion.symbol import Symbol

NEWTON_SCHULZ: Final = (3.4445, -4.775, 2.0315)
"""The coefficients of Jordan (2024), "Muon", which maximise the slope at 0."""


def _is_number(x: object) -> bool:
    return isinstance(x, int | float)


def total(x: Any, /) -> Any:
    """The sum over all elements of all parameters: of rank group.

    >>> total(3.0)
    3.0
    """
    if isinstance(x, Symbol):
        return x.total()
    return x if _is_number(x) else x.sum()


def all_finite(x: Any, /) -> Any:
    """Whether no element of any parameter is infinite or NaN: of rank group.

    >>> all_finite(float("inf"))
    False
    """
    return total(expression.where(expression.isfinite(x), 0.0, 1.0)) == 0


def sum(x: Any, /, axis: int | None = None) -> Any:
    """The sum of a parameter's elements, or with an axis of each row (-1) or column (-2).

    It is added up in double. A product is computed in double, too: `sum(x * x)` does not overflow.

    >>> sum(3.0)
    3.0
    """
    if isinstance(x, Symbol):
        return x.reduce("sum", axis)
    return x if _is_number(x) else x.sum(axis=axis, keepdims=axis is not None)


def mean(x: Any, /, axis: int | None = None) -> Any:
    """The mean of a parameter's elements, or with an axis of each row (-1) or column (-2).

    >>> mean(3.0)
    3.0
    """
    if isinstance(x, Symbol):
        return x.reduce("mean", axis)
    return x if _is_number(x) else x.mean(axis=axis, keepdims=axis is not None)


def norm(x: Any, /, axis: int | None = None) -> Any:
    """The square root of the sum of all squares of a parameter, a row (-1) or a column (-2).

    >>> norm(-3.0)
    3.0
    """
    if isinstance(x, Symbol):
        return expression.sqrt((x * x).reduce("sum", axis, "norm"))
    return expression.sqrt(sum(x * x, axis))


def max(x: Any, /, axis: int | None = None) -> Any:
    """The largest element of a parameter, a row (-1) or a column (-2); NaN where there is one.

    >>> max(-3.0)
    -3.0
    """
    if isinstance(x, Symbol):
        return x.reduce("max", axis)
    return x if _is_number(x) else x.max(axis=axis, keepdims=axis is not None)


def matmul(x: Any, y: Any, /) -> Any:
    """The matrix product of two values of a square parameter.

    >>> matmul(3.0, 2.0)
    6.0
    """
    if isinstance(x, Symbol) or isinstance(y, Symbol):
        if not isinstance(x, Symbol):
            raise TypeError(f"matmul takes matrices, not {x!r}")
        return x.matrix_function("matmul", y)
    return x * y if _is_number(x) else x @ y


def orthogonalize(
    x: Any,
    /,
    steps: int = 5,
    coefficients: tuple[Any, Any, Any] = NEWTON_SCHULZ,
    eps: Any = 1e-7,
) -> Any:
    """Nearly the orthogonal matrix nearest to x, by Newton-Schulz iterations::

        X <- x / max(|x|, eps),  then `steps` times  X <- a X + (b A + c A A) X,  A = X X^T

    The singular values end between about 0.7 and 1.2 with the default coefficients. A tall
    matrix is transposed for it. It is computed in float32, or float64 for such a parameter.

    Args:
        x: the matrix; of more than two axes, the matrices of the last two.
        steps: the number of iterations.
        coefficients: a, b and c.
        eps: the least norm that x is divided by.

    Source: Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks".
    """
    if steps.__class__ is not int or steps < 0:
        raise TypeError(f"orthogonalize takes a whole number of steps, not {steps!r}")
    if isinstance(x, Symbol):
        return x.matrix_function(f"orthogonalize_{steps}", *coefficients, eps)
    a, b, c = coefficients
    if _is_number(x):
        x = x / expression.maximum(expression.abs(x), eps)
        for _ in range(steps):
            x = a * x + (b * x * x + c * x**4) * x
        return x
    tall = x.shape[-2] > x.shape[-1]
    x = _turned(x) if tall else x
    length = expression.sqrt((x * x).sum(axis=(-2, -1), keepdims=True))
    x = x / expression.maximum(length, eps)
    for _ in range(steps):
        square = x @ _turned(x)
        x = a * x + (b * square + c * (square @ square)) @ x
    return _turned(x) if tall else x


def _turned(x: Any) -> Any:
    """A tensor with its last two axes exchanged."""
    axes = list(range(len(x.shape)))
    return x.transpose([*axes[:-2], axes[-1], axes[-2]])
