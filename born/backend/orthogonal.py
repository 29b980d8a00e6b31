"""Newton-Schulz iterations by a backend's products."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from born.backend.contract.primitives import Primitives
from born.raw import RawTensor

_SQUARINGS: Final = {4: 24, 8: 53}
"""Bytes of an element -> its bits of precision: as many squarings make the largest eigenvalue."""
_LEAST: Final = 1e-30  # a norm of zeros, in float32 too
_LARGER: Final = 2.0  # times

Gram: TypeAlias = Callable[[RawTensor], RawTensor]
"""Computes x x^T."""


class Polynomial(NamedTuple):
    """a + b A + c A A as factor (constant + linear S + quadratic S S), where S is A + shift."""

    shift: float
    constant: float
    linear: float
    quadratic: float
    factor: float


def polynomial_of(a: float, b: float, c: float) -> Polynomial:
    """With the square completed, which leaves only the diagonal to be changed, unless a would be
    the difference of much larger numbers."""
    if b * b <= _LARGER * 4 * abs(a * c) and c:
        shift = b / (2 * c)
        return Polynomial(shift, a / c - shift * shift, 0.0, 1.0, c)
    return Polynomial(0.0, a, b, c, 1.0)


def orthogonalize(
    backend: Primitives,
    x: RawTensor,
    steps: int,
    coefficients: tuple[float, float, float],
    eps: float,
    added: float,
    preconditioning: str,
) -> RawTensor:
    """What `born.fusion.orthogonalize` says, of the matrices of the last two axes."""
    polynomial = polynomial_of(*coefficients)
    axes = turned(x)
    tall = x.shape[-2] > x.shape[-1]
    rows = min(x.shape[-2:])
    diagonal = backend.eye(rows, rows, x.dtype)

    def wide(x: RawTensor) -> RawTensor:
        return backend.transpose(x, axes) if tall else x

    def with_diagonal(square: RawTensor, value: float) -> RawTensor:
        return backend.add(square, backend.mul(diagonal, value)) if value else square

    # The norm is the same of both, and of what lies in memory in order it takes no copy.
    measured = x if preconditioning == "frobenius" else wide(x)
    x = wide(backend.div(wide(x), divisor(backend, measured, eps, added, preconditioning)))
    for _ in range(steps):
        # It is its own transpose, and a matrix times its transpose is what BLAS has a routine for
        # that takes two thirds of the time.
        square = with_diagonal(_gram(backend, wide(x)), polynomial.shift)
        inner = _gram(backend, square)
        if polynomial.quadratic != 1.0:
            inner = backend.mul(inner, polynomial.quadratic)
        if polynomial.linear:
            inner = backend.add(inner, backend.mul(square, polynomial.linear))
        inner = with_diagonal(inner, polynomial.constant)
        x = backend.mul(x, polynomial.factor)
        x = backend.matmul(x, inner) if tall else backend.matmul(inner, x)
    return x


def divisor(
    backend: Primitives,
    x: RawTensor,
    eps: float,
    added: float,
    preconditioning: str,
    gram: Gram | None = None,
) -> RawTensor:
    """What the matrices of the last two axes are divided by at first."""
    gram = gram or partial(_gram, backend)
    if preconditioning == "frobenius":
        length = backend.add(backend.maximum(_norms(backend, x), eps), added)
        return backend.astype(length, x.dtype)
    square = gram(x)
    if preconditioning == "spectral":
        largest = backend.sqrt(largest_eigenvalues(backend, square, gram))
        length = backend.add(backend.maximum(largest, eps), added)
    elif preconditioning == "schatten":
        length = backend.sqrt(backend.maximum(_norms(backend, square), eps))
    else:
        sums = backend.sum(backend.astype(backend.abs(square), "float64"), -1, keepdims=True)
        length = backend.sqrt(backend.maximum(sums, eps))
    return backend.astype(length, x.dtype)


def turned(x: RawTensor) -> list[int]:
    """The axes of x, the last two exchanged."""
    last = len(x.shape) - 1
    return [*range(last - 1), last, last - 1]


def _norms(backend: Primitives, x: RawTensor) -> RawTensor:
    if len(x.shape) == 2:
        return backend.global_norm([x])
    wide = backend.astype(x, "float64")
    return backend.sqrt(backend.sum(backend.mul(wide, wide), (-2, -1), keepdims=True))


def _gram(backend: Primitives, x: RawTensor) -> RawTensor:
    return backend.matmul(x, backend.transpose(x, turned(x)))


def largest_eigenvalues(
    backend: Primitives, square: RawTensor, gram: Gram | None = None
) -> RawTensor:
    """Those of x x^T: of the norms of its powers, the root that is as high as the power.

    With each squaring the power is twice as high, and what other eigenvalues add half as much.
    """
    gram = gram or partial(_gram, backend)
    logarithm: RawTensor | None = None
    for k in range(_SQUARINGS[square.dtype.itemsize]):
        length = backend.maximum(_norms(backend, square), _LEAST)
        term = backend.mul(backend.log(length), 0.5**k)
        logarithm = term if logarithm is None else backend.add(logarithm, term)
        square = backend.div(square, backend.astype(length, square.dtype))
        square = gram(square)
    assert logarithm is not None
    return backend.exp(logarithm)
