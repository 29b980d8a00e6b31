"""Newton-Schulz iterations by a backend's products."""

from __future__ import annotations

from born.backend.contract.primitives import Primitives
from born.raw import RawTensor


def orthogonalize(
    backend: Primitives,
    x: RawTensor,
    steps: int,
    coefficients: tuple[float, float, float],
    eps: float,
) -> RawTensor:
    """What `born.fusion.orthogonalize` says, of the matrices of the last two axes."""
    a, b, c = coefficients
    turned = [*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2]
    tall = x.shape[-2] > x.shape[-1]
    x = backend.transpose(x, turned) if tall else x
    x = backend.div(x, divisor(backend, x, eps))
    for _ in range(steps):
        square = backend.matmul(x, backend.transpose(x, turned))
        # It is its own transpose, and a matrix times its transpose is what BLAS has a routine for
        # that takes two thirds of the time.
        fourth = backend.matmul(square, backend.transpose(square, turned))
        inner = backend.add(backend.mul(square, b), backend.mul(fourth, c))
        x = backend.add(backend.mul(x, a), backend.matmul(inner, x))
    return backend.transpose(x, turned) if tall else x


def divisor(backend: Primitives, x: RawTensor, eps: float) -> RawTensor:
    """What the matrices of the last two axes are divided by at first: their norms, or eps."""
    if len(x.shape) == 2:
        length = backend.global_norm([x])
    else:
        wide = backend.astype(x, "float64")
        squares = backend.sum(backend.mul(wide, wide), (-2, -1), keepdims=True)
        length = backend.sqrt(squares)
    return backend.astype(backend.maximum(length, eps), x.dtype)
