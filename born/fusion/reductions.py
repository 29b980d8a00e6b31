"""What an update rule may ask of more than one element: sums, means, norms and matrices.

Each takes Python numbers and tensors as well, so that a rule can be tried out on them.
"""

from __future__ import annotations

from typing import Any, Final

from born.fusion import expression
from born.fusion.symbol import Symbol

NEWTON_SCHULZ: Final = (3.4445, -4.775, 2.0315)
"""The coefficients of Jordan (2024), "Muon", which maximise the slope at 0."""


PRECONDITIONINGS: Final = ("frobenius", "spectral", "schatten", "aol")
"""What a matrix may be divided by before it is orthogonalized."""

_SQUARINGS: Final = 53  # bits of a float64
_LEAST: Final = 1e-30  # a norm of zeros, in float32 too


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
    added: Any = 0.0,
    preconditioning: str = "frobenius",
) -> Any:
    """Nearly the orthogonal matrix nearest to x, by Newton-Schulz iterations::

        X <- x / s,  then `steps` times  X <- a X + (b A + c A A) X,  A = X X^T

    The singular values end between about 0.7 and 1.2 with the default coefficients. A tall
    matrix is transposed for it. It is computed in float32, or float64 for such a parameter.

    s bounds the singular values of X by 1; the nearer they are to it, the fewer steps are needed.
    With A = x x^T it is::

        max(|x|, eps) + added        "frobenius": the root of the sum of all squares
        max(|x|_2, eps) + added      "spectral": the largest singular value
        sqrt(max(|A|, eps))          "schatten": the fourth root of the sum of their fourth powers
        sqrt(max(sum_j |A_ij|, eps)) "aol": one for each row, of an almost orthogonal layer

    Beside an iteration's products, "schatten" and "aol" take one more, "spectral" about 24 in
    float32 and 53 in float64.

    Args:
        x: the matrix; of more than two axes, the matrices of the last two.
        steps: the number of iterations.
        coefficients: a, b and c.
        eps: the least norm that x is divided by.
        added: what is added to the norm.
        preconditioning: which norm.

    Source: Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks";
    Grishina et al. (2025), "Accelerating Newton-Schulz iteration for orthogonalization via
    Chebyshev-type polynomials", for "schatten"; Boissin et al. (2025), "Turbo-Muon", for "aol".
    """
    if preconditioning not in PRECONDITIONINGS:
        raise TypeError(
            f"orthogonalize takes as preconditioning one of {', '.join(PRECONDITIONINGS)}, not "
            f"{preconditioning!r}"
        )
    if steps.__class__ is not int or steps < 0:
        raise TypeError(f"orthogonalize takes a whole number of steps, not {steps!r}")
    if isinstance(x, Symbol):
        op = f"orthogonalize_{steps}_{preconditioning}"
        return x.matrix_function(op, *coefficients, eps, added)
    a, b, c = coefficients
    if _is_number(x):
        if preconditioning in ("frobenius", "spectral"):
            x = x / (expression.maximum(expression.abs(x), eps) + added)
        else:
            x = x / expression.sqrt(expression.maximum(x * x, eps))
        for _ in range(steps):
            x = a * x + (b * x * x + c * x**4) * x
        return x
    tall = x.shape[-2] > x.shape[-1]
    x = _turned(x) if tall else x
    x = x / _divisor(x, eps, added, preconditioning)
    for _ in range(steps):
        square = x @ _turned(x)
        x = a * x + (b * square + c * (square @ square)) @ x
    return _turned(x) if tall else x


def _divisor(x: Any, eps: Any, added: Any, preconditioning: str) -> Any:
    """What tensors are divided by at first; see `born.backend.orthogonal`, which is for arrays."""
    if preconditioning == "frobenius":
        return expression.maximum(_length(x), eps) + added
    square: Any = x @ _turned(x)
    if preconditioning == "aol":
        size: Any = expression.abs(square)
        sums = size.sum(axis=-1, keepdims=True)
        return expression.sqrt(expression.maximum(sums, eps))
    if preconditioning == "schatten":
        return expression.sqrt(expression.maximum(_length(square), eps))
    logarithm: Any = 0.0
    for k in range(_SQUARINGS):
        length = expression.maximum(_length(square), _LEAST)
        logarithm = logarithm + 0.5**k * expression.log(length)
        square = square / length
        square = square @ square
    return expression.maximum(expression.exp(0.5 * logarithm), eps) + added


def _length(x: Any) -> Any:
    return expression.sqrt((x * x).sum(axis=(-2, -1), keepdims=True))


def _turned(x: Any) -> Any:
    """A tensor with its last two axes exchanged."""
    axes = list(range(len(x.shape)))
    return x.transpose([*axes[:-2], axes[-1], axes[-2]])
