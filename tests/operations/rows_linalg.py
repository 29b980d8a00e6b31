"""Factorisations and solvers, of matrices that are far from singular.

Factors that LAPACK may give either sign are compared squared, element by element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.backend import Backend
from born.backend.contract.linalg import transposed
from born.raw import HostArray, RawTensor, Shape
from tests.operations.drawing import Case, Draw
from tests.operations.row import Table

ROWS: Final = Table()


def _regular(d: Draw, n: int, batch: Shape | None = None) -> HostArray:
    """Matrices with all singular values between 1 and 5, no two of a matrix alike."""
    batch = d.shape() if batch is None else batch
    return d.uniform((*batch, n, n), -0.4 / max(n, 1), 0.4 / max(n, 1)) + np.diag(
        1.5 + np.arange(n)
    )


def _unary(name: str, reference: Callable[[HostArray], Any]) -> None:
    @ROWS.row(name)
    def _(d: Draw) -> Case:
        return d.call(reference, _regular(d, d.choice(d.lengths)))


_unary("inv", np.linalg.inv)
_unary("det", np.linalg.det)


def _slogdet_of(x: HostArray) -> list[Any]:
    sign, logarithm = np.linalg.slogdet(x)
    return [sign, logarithm]


@ROWS.row("slogdet")
def _slogdet(d: Draw) -> Case:
    return _case(
        _regular(d, d.choice(d.lengths)),
        lambda b, x: b.slogdet(x),
        _slogdet_of,
    )


def _series(x: HostArray) -> HostArray:
    """The exponential by its series, of matrices whose norm is at most a few."""
    total: Any = np.zeros_like(x) + np.eye(x.shape[-1])
    term = total
    for k in range(1, 60):
        term = term @ x / k
        total = total + term
    return np.asarray(total)


@ROWS.row("expm")
def _expm(d: Draw) -> Case:
    batch, n = d.shape(), d.choice(d.lengths)
    return d.call(_series, d.uniform((*batch, n, n), -0.5, 0.5))


@ROWS.row("solve")
def _solve(d: Draw) -> Case:
    n, k = d.choice(d.lengths), d.choice(d.lengths)
    left, right = d.broadcasting(2)
    return d.call(np.linalg.solve, _regular(d, n, left), d.uniform((*right, n, k)))


@ROWS.row("solve_triangular")
def _solve_triangular(d: Draw) -> Case:
    def reference(x: HostArray, y: HostArray, lower: bool, transpose: bool) -> Any:
        part = np.tril(x) if lower else np.triu(x)
        return np.linalg.solve(part.swapaxes(-1, -2) if transpose else part, y)

    n, k = d.choice(d.lengths), d.choice(d.lengths)
    left, right = d.broadcasting(2)
    x, y = _regular(d, n, left), d.uniform((*right, n, k))
    return d.call(reference, x, y, lower=d.flag(), transpose=d.flag())


@ROWS.row("pinv")
def _pinv(d: Draw) -> Case:
    def reference(x: HostArray, rtol: float) -> Any:
        return np.linalg.pinv(x, rtol)

    return d.call(reference, _oblong(d), rtol=1e-3)


def _case(
    x: HostArray, apply: Callable[[Backend, RawTensor], Any], reference: Callable[[HostArray], Any]
) -> Case:
    return Case((x,), apply, reference)


@ROWS.row("cholesky")
def _cholesky(d: Draw) -> Case:
    def reference(x: HostArray) -> Any:
        return np.linalg.cholesky(x + x.swapaxes(-1, -2))

    return _case(
        _regular(d, d.choice(d.lengths)),
        lambda b, x: b.cholesky(b.add(x, transposed(b, x))),
        reference,
    )


@ROWS.row("gaussian")
def _gaussian(d: Draw) -> Case:
    def apply(b: Backend, x: RawTensor, y: RawTensor) -> RawTensor:
        return b.gaussian(b.add(x, transposed(b, x)), y)[0]

    def reference(x: HostArray, y: HostArray) -> Any:
        both = x + x.swapaxes(-1, -2)
        square = np.sum(y * np.linalg.solve(both, y), -2)
        return -0.5 * (square + np.linalg.slogdet(both)[1][..., None])

    n, k, batch = d.choice(d.lengths), d.choice(d.lengths), d.shape()
    x, y = _regular(d, n, batch), d.uniform((*batch, n, k))
    return Case((x, y), apply, reference)


@ROWS.row("eigh")
def _eigh(d: Draw) -> Case:
    def apply(b: Backend, x: RawTensor) -> Any:
        values, vectors = b.eigh(b.add(x, transposed(b, x)))
        return values, b.mul(vectors, vectors)

    def reference(x: HostArray) -> Any:
        values, vectors = np.linalg.eigh(x + x.swapaxes(-1, -2))
        return [values, vectors**2]

    return _case(_regular(d, d.choice(d.lengths)), apply, reference)


def _oblong(d: Draw) -> HostArray:
    rows, columns = d.choice(d.lengths), d.choice(d.lengths)
    return _regular(d, max(rows, columns))[..., :rows, :columns]


@ROWS.row("svd")
def _svd(d: Draw) -> Case:
    def apply(b: Backend, x: RawTensor) -> Any:
        u, s, vt = b.svd(x)
        return b.mul(u, u), s, b.mul(vt, vt)

    def reference(x: HostArray) -> Any:
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        return [u**2, s, vt**2]

    return _case(_oblong(d), apply, reference)


@ROWS.row("qr")
def _qr(d: Draw) -> Case:
    def apply(b: Backend, x: RawTensor) -> Any:
        q, r = b.qr(x)
        return b.mul(q, q), b.mul(r, r)

    def reference(x: HostArray) -> Any:
        q, r = np.linalg.qr(x)
        return [q**2, r**2]

    return _case(_oblong(d), apply, reference)
