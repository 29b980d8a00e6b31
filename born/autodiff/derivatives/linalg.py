"""The derivatives of linear algebra.

Giles (2008), "An extended collection of matrix derivative results for forward and reverse mode
algorithmic differentiation"; of qr, Walter and Lehmann (2012), "Algorithmic differentiation of
linear algebra functions with application in optimum experimental design"; of svd, Townsend
(2016), "Differentiating the singular value decomposition"; of pinv, Golub and Pereyra (1973),
equation 4.12.

Equal eigenvalues or singular values leave the vectors that belong to them without a derivative: it
is NaN, unless the loss does not depend on the choice among them. In the same way the vectors of
singular values of zero have none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from born.autodiff.derivatives.registrars import (
    Required,
    of_input,
    of_result,
    pullback_of,
    sum_to_shape,
)
from born.autodiff.pullback import JointPullback, Pullback
from born.backend import Backend
from born.backend.contract.linalg import transposed as t
from born.backend.contract.linalg import triangle
from born.errors import LinAlgError
from born.raw import RawTensor


def _product(b: Backend, *factors: RawTensor) -> RawTensor:
    first, *rest = factors
    for factor in rest:
        first = b.matmul(first, factor)
    return first


def _symmetric(b: Backend, x: RawTensor) -> RawTensor:
    return b.mul(b.add(x, t(b, x)), 0.5)


def _diagonal(b: Backend, x: RawTensor) -> RawTensor:
    """Diagonal matrices of vectors."""
    n = x.shape[-1]
    return b.mul(b.expand_dims(x, -1), b.eye(n, n, x.dtype))


def _one(b: Backend, x: RawTensor) -> RawTensor:
    """The identity that x can be multiplied by element by element."""
    return b.eye(x.shape[-2], x.shape[-1], x.dtype)


def _as_factor(b: Backend, x: RawTensor) -> RawTensor:
    """Numbers, one for each matrix, to multiply all its elements by."""
    return b.reshape(x, (*x.shape, 1, 1))


def _strict(b: Backend, x: RawTensor) -> RawTensor:
    """The part below the diagonal."""
    below = triangle(b, x)
    return b.where(b.equal(_one(b, x), 0), below, 0.0)


# -- solvers -------------------------------------------------------------------------------


def _cholesky(b: Backend, g: RawTensor, y: RawTensor) -> RawTensor:
    below = triangle(b, _product(b, t(b, y), triangle(b, g)))
    halved = b.mul(below, b.sub(1.0, b.mul(_one(b, y), 0.5)))
    left = b.solve_triangular(y, halved, True, True)
    return _symmetric(b, b.solve_triangular(y, t(b, left), True, True))


of_result("cholesky", _cholesky)
of_result("inv", lambda b, g, y: b.neg(_product(b, t(b, y), g, t(b, y))))


@pullback_of("gaussian", 2, residuals=True)
def _gaussian(
    b: Backend,
    out: tuple[RawTensor, RawTensor, RawTensor],
    required: Required,
    x: RawTensor,
    y: RawTensor,
) -> Pullback:
    _, factor, weights = out

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        towards = b.mul(weights, b.expand_dims(g, -2))
        x_gradient = None
        if required[0]:
            total = _as_factor(b, b.mul(b.sum(g, -1), 0.5))
            outer = _product(b, b.mul(towards, 0.5), t(b, weights))
            x_gradient = b.sub(outer, b.mul(b.cholesky_inverse(factor), total))
        return x_gradient, b.neg(towards) if required[1] else None

    return pullback


@pullback_of("solve", 2, keeps_result=True, reads=[[0], [0]])
def _solve(b: Backend, out: RawTensor, required: Required, x: RawTensor, y: RawTensor) -> Pullback:
    y_shape = y.shape

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        towards = b.solve(t(b, x), g)
        x_gradient = y_gradient = None
        if required[0]:
            x_gradient = sum_to_shape(b, b.neg(_product(b, towards, t(b, out))), x.shape)
        if required[1]:
            y_gradient = sum_to_shape(b, towards, y_shape)
        return x_gradient, y_gradient

    return pullback


@pullback_of("solve_triangular", 2, keeps_result=True, reads=[[0], [0]])
def _solve_triangular(
    b: Backend,
    out: RawTensor,
    required: Required,
    x: RawTensor,
    y: RawTensor,
    lower: bool = True,
    transpose: bool = False,
) -> Pullback:
    y_shape = y.shape

    def pullback(g: RawTensor) -> Sequence[RawTensor | None]:
        towards = b.solve_triangular(x, g, lower, not transpose)
        x_gradient = y_gradient = None
        if required[0]:
            left, right = (out, towards) if transpose else (towards, out)
            whole = b.neg(_product(b, left, t(b, right)))
            x_gradient = sum_to_shape(b, triangle(b, whole, lower), x.shape)
        if required[1]:
            y_gradient = sum_to_shape(b, towards, y_shape)
        return x_gradient, y_gradient

    return pullback


def _pinv(b: Backend, g: RawTensor, y: RawTensor, x: RawTensor, rtol: float) -> RawTensor:
    m, n = x.shape[-2:]
    yt, gt = t(b, y), t(b, g)
    beside = b.sub(b.eye(m, m, x.dtype), _product(b, x, y))
    beyond = b.sub(b.eye(n, n, x.dtype), _product(b, y, x))
    gradient = b.neg(_product(b, yt, g, yt))
    gradient = b.add(gradient, _product(b, beside, gt, y, yt))
    return b.add(gradient, _product(b, yt, y, gt, beyond))


of_result("pinv", _pinv)


# -- determinants --------------------------------------------------------------------------


@pullback_of("slogdet", reads=[[0]], several=True)
def _slogdet(b: Backend, out: object, required: Required, x: RawTensor) -> JointPullback:
    def pullback(_: RawTensor, g: RawTensor) -> RawTensor:
        return b.mul(t(b, b.inv(x)), _as_factor(b, g))

    return pullback


def _det(b: Backend, g: RawTensor, y: RawTensor, x: RawTensor) -> RawTensor:
    try:
        return b.mul(t(b, b.inv(x)), _as_factor(b, b.mul(g, y)))
    except LinAlgError:
        return b.mul(_cofactors(b, x), _as_factor(b, g))


def _cofactors(b: Backend, x: RawTensor) -> RawTensor:
    """The derivative of a determinant that may be zero, from the singular values."""
    u, s, vt = b.svd(x)
    sign = b.mul(b.det(u), b.det(vt))
    n = s.shape[-1]
    repeated = b.broadcast_to(b.expand_dims(s, -2), (*s.shape, n))
    others = b.prod(b.where(b.equal(b.eye(n, n, s.dtype), 0), repeated, 1.0), -1)
    return b.mul(_product(b, b.mul(u, b.expand_dims(others, -2)), vt), _as_factor(b, sign))


of_result("det", _det)


# -- factorisations ------------------------------------------------------------------------


def _over_gaps(b: Backend, x: RawTensor, values: RawTensor) -> RawTensor:
    """x_ij / (values_j - values_i): where both are zero 0, where only the gap is NaN."""
    gaps = b.sub(b.expand_dims(values, -2), b.expand_dims(values, -1))
    none = b.equal(gaps, 0)
    lost = b.where(b.equal(x, 0), x, math.nan)
    lost = b.where(b.equal(_one(b, x), 0), lost, 0.0)
    return b.where(none, lost, b.div(x, b.where(none, 1.0, gaps)))


@pullback_of("eigh", keeps_result=True, several=True)
def _eigh(
    b: Backend, out: tuple[RawTensor, RawTensor], required: Required, x: RawTensor
) -> JointPullback:
    values, vectors = out

    def pullback(g_values: RawTensor, g_vectors: RawTensor) -> RawTensor:
        turned = _product(b, t(b, vectors), g_vectors)
        # Only what is antisymmetric turns the vectors; the rest would change their lengths.
        turned = b.mul(b.sub(turned, t(b, turned)), 0.5)
        inner = b.add(_over_gaps(b, turned, values), _diagonal(b, g_values))
        return _symmetric(b, _product(b, vectors, inner, t(b, vectors)))

    return pullback


@pullback_of("svd", keeps_result=True, several=True)
def _svd(
    b: Backend, out: tuple[RawTensor, RawTensor, RawTensor], required: Required, x: RawTensor
) -> JointPullback:
    u, s, vt = out

    def pullback(g_u: RawTensor, g_s: RawTensor, g_vt: RawTensor) -> RawTensor:
        ut, v, g_v = t(b, u), t(b, vt), t(b, g_vt)
        row = b.expand_dims(s, -2)
        column = b.expand_dims(s, -1)
        squares = b.mul(s, s)
        from_u, from_v = _product(b, ut, g_u), _product(b, vt, g_v)
        turned_u = _over_gaps(b, b.sub(from_u, t(b, from_u)), squares)
        turned_v = _over_gaps(b, b.sub(from_v, t(b, from_v)), squares)
        inner = b.add(b.mul(turned_u, row), b.mul(turned_v, column))
        gradient = _product(b, u, b.add(inner, _diagonal(b, g_s)), vt)
        # What leaves the span of the vectors that are there.
        outside_u = b.sub(g_u, _product(b, u, from_u))
        outside_v = b.sub(g_v, _product(b, v, from_v))
        if u.shape[-2] > s.shape[-1]:
            gradient = b.add(gradient, _product(b, _over(b, outside_u, row), vt))
        if vt.shape[-1] > s.shape[-1]:
            gradient = b.add(gradient, _product(b, u, t(b, _over(b, outside_v, row))))
        return gradient

    return pullback


def _over(b: Backend, x: RawTensor, s: RawTensor) -> RawTensor:
    """x / s: where both are zero 0, where only s is NaN."""
    none = b.equal(s, 0)
    lost = b.where(b.equal(x, 0), x, math.nan)
    return b.where(none, lost, b.div(x, b.where(none, 1.0, s)))


@pullback_of("qr", keeps_result=True, reads=[[0]], several=True)
def _qr(
    b: Backend, out: tuple[RawTensor, RawTensor], required: Required, x: RawTensor
) -> JointPullback:
    q, r = out
    rows, columns = x.shape[-2:]

    def square(g_q: RawTensor, g_r: RawTensor, r: RawTensor) -> RawTensor:
        """The gradient where x has no more columns than rows."""
        m = b.sub(_product(b, r, t(b, triangle(b, g_r, False))), _product(b, t(b, g_q), q))
        mirrored = b.add(triangle(b, m), t(b, _strict(b, m)))
        right = b.add(g_q, _product(b, q, mirrored))
        return t(b, b.solve_triangular(r, t(b, right), False))

    def pullback(g_q: RawTensor, g_r: RawTensor) -> RawTensor:
        if rows >= columns:
            return square(g_q, g_r, r)
        left, right = (..., slice(0, rows)), (..., slice(rows, None))
        g_right = b.getitem(g_r, right)
        g_q = b.add(g_q, _product(b, b.getitem(x, right), t(b, g_right)))
        first = square(g_q, b.getitem(g_r, left), b.getitem(r, left))
        return b.concatenate([first, _product(b, q, g_right)], -1)

    return pullback


def _expm(b: Backend, g: RawTensor, x: RawTensor) -> RawTensor:
    # exp([[x^T, g], [0, x^T]]) has the gradient as its upper right block (Higham 2008, 10.6).
    n = x.shape[-1]
    turned = t(b, x)
    upper = b.concatenate([turned, g], -1)
    lower = b.concatenate([b.zeros(x.shape, x.dtype), turned], -1)
    return b.getitem(b.expm(b.concatenate([upper, lower], -2)), (..., slice(0, n), slice(n, None)))


of_input("expm", _expm)
