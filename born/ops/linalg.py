"""Linear algebra with the names of `numpy.linalg`, batched: matrices are in the last two axes.

Everything is differentiable, of any order, where a derivative exists; docs/architecture.md says in
which file. float16 and bfloat16 are computed in float32. On a CPU a matrix without the factor
or inverse that is asked for is a `LinAlgError`; a device does not wait to know, and gives values
that are not finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import numpy as np

from born.backend import B
from born.backend.arguments import Axis, normal_axes, normal_axis
from born.backend.contract.linalg import transposed
from born.errors import DomainError, DTypeError, LinAlgError, ShapeError
from born.operands import backend_of, raw_operand
from born.ops import reduction
from born.ops.elementwise import abs as absolute
from born.ops.elementwise import exp, isfinite
from born.ops.indexing import index_add
from born.ops.linear import kron, matmul
from born.ops.shape import concatenate, expand_dims, moveaxis, reshape, squeeze, transpose
from born.tensor import Tensor
from born.validation import pair

Order: TypeAlias = float | Literal["fro", "nuc"] | None
"""Which norm: as `ord` of `numpy.linalg.norm`."""

_MATRIX_ORDERS: Final = ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf)


# -- systems -------------------------------------------------------------------------------


def solve(a: Tensor[B], b: Tensor[B]) -> Tensor[B]:
    """The x of a x = b.

    Args:
        a: shape (..., n, n), invertible.
        b: a vector of shape (n,), or matrices (..., n, k) whose leading axes broadcast.

    Returns:
        x, of the shape of b as far as it was not broadcast.

    Raises:
        LinAlgError: a singular matrix.

    >>> a = born.tensor([[2.0, 0.0], [1.0, 1.0]], backend)
    >>> ops.linalg.solve(a, born.tensor([2.0, 3.0], backend))
    Tensor([1., 2.], dtype=float32)
    """
    backend = backend_of("solve", a)
    right = raw_operand("solve", backend, b)
    if b.ndim != 1:
        return Tensor(backend.solve(a.raw, right), backend)
    return squeeze(Tensor(backend.solve(a.raw, backend.expand_dims(right, 1)), backend), -1)


def solve_triangular(
    a: Tensor[B], b: Tensor[B], *, lower: bool = False, trans: bool = False
) -> Tensor[B]:
    """The x of a x = b, or of a^T x = b, with a triangular; names and defaults are SciPy's.

    Args:
        a: shape (..., n, n); only one triangle is read.
        b: as for `solve`.
        lower: whether a is the lower triangle; the upper by default.
        trans: whether to solve with the transpose of a.

    >>> a = born.tensor([[2.0, 0.0], [1.0, 1.0]], backend)
    >>> ops.linalg.solve_triangular(a, born.tensor([2.0, 3.0], backend), lower=True)
    Tensor([1., 2.], dtype=float32)
    """
    backend = backend_of("solve_triangular", a)
    right = raw_operand("solve_triangular", backend, b)
    if b.ndim != 1:
        return Tensor(backend.solve_triangular(a.raw, right, lower, trans), backend)
    column = backend.expand_dims(right, 1)
    return squeeze(Tensor(backend.solve_triangular(a.raw, column, lower, trans), backend), -1)


def cholesky(x: Tensor[B], *, upper: bool = False) -> Tensor[B]:
    """The lower triangular L with x = L L^T.

    Args:
        x: symmetric and positive definite; only the lower triangle is read, and the gradient is
            symmetric.
        upper: whether to read the upper triangle, and return the upper triangular L^T.

    Raises:
        LinAlgError: not positive definite.

    >>> ops.linalg.cholesky(born.tensor([[4.0, 2.0], [2.0, 2.0]], backend))
    Tensor([[2., 0.],
            [1., 1.]], dtype=float32)
    """
    backend = backend_of("cholesky", x)
    if upper:
        factor = backend.cholesky(transposed(backend, x.raw))
        return Tensor(transposed(backend, factor), backend)
    return Tensor(backend.cholesky(x.raw), backend)


def cholesky_solve(factor: Tensor[B], b: Tensor[B]) -> Tensor[B]:
    """The x of L L^T x = b, from the factor L that `cholesky` gave.

    >>> factor = ops.linalg.cholesky(born.tensor([[4.0, 2.0], [2.0, 2.0]], backend))
    >>> ops.linalg.cholesky_solve(factor, born.tensor([6.0, 4.0], backend))
    Tensor([1., 1.], dtype=float32)
    """
    first = solve_triangular(factor, b, lower=True)
    return solve_triangular(factor, first, lower=True, trans=True)


def inv(x: Tensor[B]) -> Tensor[B]:
    """The inverse. To multiply something by it, use `solve`.

    >>> ops.linalg.inv(born.tensor([[2.0, 0.0], [0.0, 4.0]], backend))
    Tensor([[0.5 , 0.  ],
            [0.  , 0.25]], dtype=float32)
    """
    return Tensor(backend_of("inv", x).inv(x.raw), x.backend)


def pinv(x: Tensor[B], rtol: float | None = None) -> Tensor[B]:
    """The Moore-Penrose pseudo-inverse, of shape (..., n, m) for x of shape (..., m, n).

    Args:
        x: any matrices.
        rtol: singular values up to this times the largest count as zero; by default max(m, n)
            times the dtype's epsilon. The derivative takes their number for constant.

    >>> ops.linalg.pinv(born.tensor([[2.0], [0.0]], backend))
    Tensor([[0.5, 0. ]], dtype=float32)
    """
    backend = backend_of("pinv", x)
    return Tensor(backend.pinv(x.raw, _tolerance("pinv", x, rtol)), backend)


def lstsq(a: Tensor[B], b: Tensor[B], rcond: float | None = None) -> Tensor[B]:
    """The x of least length among those that minimise |a x - b|.

    Where NumPy returns a tuple of four, this is the first of them.

    Args:
        a: shape (..., m, n), of any rank.
        b: a vector of shape (m,), or matrices (..., m, k).
        rcond: NumPy's name for the `rtol` of `pinv`; -1 for the dtype's epsilon alone.

    >>> a = born.tensor([[1.0], [1.0]], backend)
    >>> ops.linalg.lstsq(a, born.tensor([1.0, 3.0], backend)).numpy().round(5)
    array([2.], dtype=float32)
    """
    if rcond is not None and rcond < 0:
        rcond = _EPSILON.get(a.dtype.name, 0.0)
    return matmul(pinv(a, rcond), b)


def tensorsolve(a: Tensor[B], b: Tensor[B], axes: Sequence[int] | None = None) -> Tensor[B]:
    """The x of tensordot(a, x, x.ndim) = b.

    Args:
        a: shape b.shape + x.shape, where both have as many elements.
        b: any shape.
        axes: which axes of a to move to the end before.

    >>> a = ops.reshape(born.eye(4, backend), (2, 2, 2, 2))
    >>> ops.linalg.tensorsolve(a, born.ones((2, 2), backend)).shape
    (2, 2)
    """
    raw_operand("tensorsolve", backend_of("tensorsolve", a), b)
    if axes is not None:
        a = moveaxis(a, tuple(axes), tuple(range(-len(axes), 0)))
    shape = a.shape[b.ndim :]
    if math.prod(shape) ** 2 != a.size:
        raise ShapeError(
            f"expected as many unknowns as equations in tensorsolve, got shapes {a.shape} and "
            f"{b.shape}; the first axes of a are those of b"
        )
    found = solve(reshape(a, (b.size, b.size)), reshape(b, (b.size,)))
    return reshape(found, shape)


def tensorinv(a: Tensor[B], ind: int = 2) -> Tensor[B]:
    """The inverse of a as a map from its last axes to its first `ind`: undoes `tensordot`.

    >>> a = ops.reshape(born.eye(4, backend), (4, 2, 2))
    >>> ops.linalg.tensorinv(a, ind=1).shape
    (2, 2, 4)
    """
    backend_of("tensorinv", a)
    first, last = a.shape[:ind], a.shape[ind:]
    if ind < 1 or math.prod(first) != math.prod(last):
        raise ShapeError(
            f"expected as many elements in the first {ind} axes as in the others in tensorinv, "
            f"got shape {a.shape}; choose ind"
        )
    size = math.prod(first)
    return reshape(inv(reshape(a, (size, size))), (*last, *first))


def solve_banded(bands: tuple[int, int], ab: Tensor[B], b: Tensor[B]) -> Tensor[B]:
    """The x of a x = b with a banded, given by its diagonals; SciPy's names.

    The matrix is filled in, so that it takes as long as `solve`.

    Args:
        bands: how many diagonals there are below the main one, and above it.
        ab: shape (below + above + 1, n), ab[above + i - j, j] = a[i, j].
        b: as for `solve`.

    >>> ab = born.tensor([[0.0, 1.0], [2.0, 4.0]], backend)
    >>> ops.linalg.solve_banded((0, 1), ab, born.tensor([3.0, 4.0], backend))
    Tensor([1., 1.], dtype=float32)
    """
    backend = backend_of("solve_banded", ab)
    below, above = pair("bands", bands, 0, ShapeError)
    if ab.ndim != 2 or ab.shape[0] != below + above + 1:
        raise ShapeError(
            f"expected {below + above + 1} diagonals as the rows of ab in solve_banded, got shape "
            f"{ab.shape}; pass all of them, filled up to one length"
        )
    n = ab.shape[1]
    rows, columns = np.indices((n, n)).reshape(2, -1)
    inside = (rows - columns <= below) & (columns - rows <= above)
    rows, columns = rows[inside], columns[inside]
    zeros = Tensor(backend.zeros((n, n), ab.dtype), backend)
    return solve(index_add(zeros, (rows, columns), ab[above + rows - columns, columns]), b)


def solve_sylvester(a: Tensor[B], b: Tensor[B], q: Tensor[B]) -> Tensor[B]:
    """The x of a x + x b = q, by one system of m n equations: for small matrices.

    Args:
        a: shape (m, m).
        b: shape (n, n), of which no eigenvalue is the negative of one of a.
        q: shape (m, n).

    >>> one = born.eye(2, backend)
    >>> ops.linalg.solve_sylvester(one, one, born.full((2, 2), 4.0, backend))
    Tensor([[2., 2.],
            [2., 2.]], dtype=float32)
    """
    backend = backend_of("solve_sylvester", a)
    for each in (b, q):
        raw_operand("solve_sylvester", backend, each)
    m, n = _matrix_shape("solve_sylvester", q)
    if a.shape != (m, m) or b.shape != (n, n) or q.ndim != 2:
        raise ShapeError(
            f"expected matrices of shapes (m, m), (n, n) and (m, n) in solve_sylvester, got "
            f"{a.shape}, {b.shape} and {q.shape}; transpose or reshape one of them"
        )
    rows, columns = (Tensor(backend.eye(k, k, q.dtype), backend) for k in (m, n))
    system = kron(a, columns) + kron(rows, b.T)
    return reshape(solve(system, reshape(q, (m * n,))), (m, n))


# -- factorisations ------------------------------------------------------------------------


def qr(x: Tensor[B]) -> tuple[Tensor[B], Tensor[B]]:
    """x = Q R with orthonormal columns of Q, and R upper triangular.

    Args:
        x: shape (..., m, n); its first min(m, n) columns are independent, where a derivative is
            wanted.

    Returns:
        Q of shape (..., m, k) and R of shape (..., k, n), with k = min(m, n).

    >>> q, r = ops.linalg.qr(born.tensor([[3.0, 1.0], [4.0, 2.0]], backend))
    >>> (q @ r).numpy().round(5)
    array([[3., 1.],
           [4., 2.]], dtype=float32)
    """
    backend = backend_of("qr", x)
    q, r = backend.qr(x.raw)
    return Tensor(q, backend), Tensor(r, backend)


def svd(x: Tensor[B]) -> tuple[Tensor[B], Tensor[B], Tensor[B]]:
    """x = U diag(s) V^T, the singular values in descending order.

    Args:
        x: shape (..., m, n). Vectors of equal or zero singular values have no derivative: it is
            NaN unless the loss does not depend on the choice among them.

    Returns:
        U of shape (..., m, k), s of shape (..., k) and V^T of shape (..., k, n), with
        k = min(m, n). NumPy's `full_matrices=False`.

    >>> u, s, vt = ops.linalg.svd(born.tensor([[0.0, 2.0], [3.0, 0.0]], backend))
    >>> s
    Tensor([3., 2.], dtype=float32)
    """
    backend = backend_of("svd", x)
    u, s, vt = backend.svd(x.raw)
    return Tensor(u, backend), Tensor(s, backend), Tensor(vt, backend)


def svdvals(x: Tensor[B]) -> Tensor[B]:
    """The singular values, in descending order.

    >>> ops.linalg.svdvals(born.tensor([[0.0, 2.0], [3.0, 0.0]], backend))
    Tensor([3., 2.], dtype=float32)
    """
    return svd(x)[1]


def eigh(
    x: Tensor[B],
    UPLO: Literal["L", "U"] = "L",  # noqa: N803  # NumPy's name
) -> tuple[Tensor[B], Tensor[B]]:
    """The eigenvalues of a symmetric matrix in ascending order, and its eigenvectors.

    Args:
        x: shape (..., n, n); only one triangle is read, and the gradient is symmetric.
            Vectors of equal eigenvalues have no derivative: it is NaN unless the loss does not
            depend on the choice among them.
        UPLO: which triangle, the lower by default, or `"U"` for the upper.

    Returns:
        the values, shape (..., n), and the vectors as columns, shape (..., n, n).

    >>> values, vectors = ops.linalg.eigh(born.tensor([[2.0, 1.0], [1.0, 2.0]], backend))
    >>> values.numpy().round(5)
    array([1., 3.], dtype=float32)
    """
    backend = backend_of("eigh", x)
    if UPLO not in ("L", "U"):
        raise DomainError(f'expected UPLO "L" or "U" in eigh, got {UPLO!r}; use one of them')
    values, vectors = backend.eigh(x.raw if UPLO == "L" else transposed(backend, x.raw))
    return Tensor(values, backend), Tensor(vectors, backend)


def eigvalsh(x: Tensor[B], UPLO: Literal["L", "U"] = "L") -> Tensor[B]:  # noqa: N803  # NumPy's
    """The eigenvalues of a symmetric matrix, ascending; UPLO as for `eigh`.

    >>> ops.linalg.eigvalsh(born.tensor([[2.0, 0.0], [0.0, 1.0]], backend))
    Tensor([1., 2.], dtype=float32)
    """
    return eigh(x, UPLO)[0]


# -- numbers of a matrix -------------------------------------------------------------------


def det(x: Tensor[B]) -> Tensor[B]:
    """The determinant; of many rows use `slogdet`, which does not overflow.

    >>> ops.linalg.det(born.tensor([[2.0, 0.0], [0.0, 4.0]], backend))
    Tensor(8., dtype=float32)
    """
    return Tensor(backend_of("det", x).det(x.raw), x.backend)


def slogdet(x: Tensor[B]) -> tuple[Tensor[B], Tensor[B]]:
    """The sign of the determinant, and log|det x|.

    >>> sign, logarithm = ops.linalg.slogdet(born.tensor([[0.0, 1.0], [1.0, 0.0]], backend))
    >>> sign.item(), abs(logarithm.item())
    (-1.0, 0.0)
    """
    backend = backend_of("slogdet", x)
    sign, logarithm = backend.slogdet(x.raw)
    return Tensor(sign, backend), Tensor(logarithm, backend)


def trace(x: Tensor[B]) -> Tensor[B]:
    """The sum of the diagonal of the last two axes.

    >>> ops.linalg.trace(born.tensor([[1.0, 7.0], [7.0, 2.0]], backend))
    Tensor(3., dtype=float32)
    """
    return reduction.sum(diagonal(x), axis=-1)


def diagonal(x: Tensor[B], *, offset: int = 0) -> Tensor[B]:
    """The diagonal of the last two axes, or one beside it.

    Args:
        x: shape (..., m, n).
        offset: how far above the main diagonal; below it if negative.

    >>> ops.linalg.diagonal(born.tensor([[1.0, 7.0], [8.0, 2.0]], backend), offset=-1)
    Tensor([8.], dtype=float32)
    """
    rows, columns = _matrix_shape("diagonal", x)
    first, last = max(0, -offset), min(rows, columns - offset)
    index = np.arange(first, max(first, last))
    return x[..., index, index + offset]


def matrix_rank(x: Tensor[B], rtol: float | None = None) -> Tensor[B]:
    """How many singular values are above `rtol` times the largest, as int64; no gradient.

    >>> ops.linalg.matrix_rank(born.tensor([[1.0, 1.0], [2.0, 2.0]], backend)).item()
    1
    """
    s = svdvals(x)
    if s.shape[-1] == 0:
        return reduction.sum(s.astype("int64"), axis=-1)
    least = reduction.max(s, axis=-1, keepdims=True) * _tolerance("matrix_rank", x, rtol)
    return reduction.sum(s > least, axis=-1)


def norm(x: Tensor[B], ord: Order = None, axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
    """A norm of vectors, or of matrices, as `numpy.linalg.norm`.

    Args:
        x: a floating tensor.
        ord: of vectors p for (sum |x_i|^p)^(1/p), `inf`, `-inf`, or 0 for the number of
            elements that are not 0. Of matrices `"fro"` (the default), `"nuc"` (the sum of the
            singular values), 2 or -2 (the largest, the smallest), 1 or -1 (the largest, the
            smallest sum of magnitudes of a column), `inf` or `-inf` (of a row).
        axis: one axis for vectors, two for matrices. Without it all elements are a vector
            if `ord` is None; else x has one or two axes.
        keepdims: whether to keep the axes with length one.

    >>> ops.linalg.norm(born.tensor([[3.0, 0.0], [4.0, 1.0]], backend), ord=1)
    Tensor(7., dtype=float32)
    """
    if axis is None and ord is not None and x.ndim not in (1, 2):
        raise ShapeError(
            f"expected one or two axes to take norm(ord={ord!r}) of, got shape {x.shape}; say "
            "which with axis="
        )
    axes = normal_axes(axis, x.ndim)
    if ord is None:
        return reduction.norm(x, axes, keepdims)
    if len(axes) == 1:
        return vector_norm(x, ord=_number_of(ord), axis=axes, keepdims=keepdims)
    if len(axes) != 2:
        raise ShapeError(f"expected one or two axes of a norm, got axis={axis}; name fewer")
    first, second = axis if isinstance(axis, tuple) else axes
    rows, columns = normal_axis(first, x.ndim), normal_axis(second, x.ndim)
    rest = [i for i in range(x.ndim) if i not in (rows, columns)]
    y = matrix_norm(transpose(x, (*rest, rows, columns)), ord=ord)
    return expand_dims(y, axes) if keepdims else y


def vector_norm(
    x: Tensor[B], *, ord: float = 2, axis: Axis = None, keepdims: bool = False
) -> Tensor[B]:
    """(sum |x_i|^ord)^(1 / ord) of the elements along the axes, all by default.

    >>> round(ops.linalg.vector_norm(born.tensor([1.0, 2.0, 2.0], backend), ord=3).item(), 4)
    2.5713
    """
    if ord in (1, 2, math.inf):
        return reduction.norm(x, axis, keepdims, ord)
    if ord == -math.inf:
        return reduction.min(absolute(x), axis, keepdims)
    if ord == 0:
        return reduction.sum(x != 0, axis, keepdims).astype(x.dtype)
    return reduction.sum(absolute(x) ** ord, axis, keepdims) ** (1.0 / ord)


def matrix_norm(x: Tensor[B], *, ord: Order = "fro", keepdims: bool = False) -> Tensor[B]:
    """A norm of matrices in the last two axes; `ord` as for `norm`.

    >>> ops.linalg.matrix_norm(born.tensor([[0.0, 2.0], [3.0, 0.0]], backend), ord=2)
    Tensor(3., dtype=float32)
    """
    _matrix_shape("matrix_norm", x)
    if ord is None or ord == "fro":
        return reduction.norm(x, (-2, -1), keepdims)
    if ord in ("nuc", 2, -2):
        s = svdvals(x)
        pick = {"nuc": reduction.sum, 2: reduction.max, -2: reduction.min}[ord]
        y = pick(s, axis=-1)
    elif ord in (1, -1, math.inf, -math.inf):
        sums = reduction.sum(absolute(x), axis=-2 if ord in (1, -1) else -1)
        y = (reduction.max if float(ord) > 0 else reduction.min)(sums, axis=-1)
    else:
        raise DomainError(
            f"expected ord to be one of {', '.join(map(repr, _MATRIX_ORDERS))}, got {ord!r}; use "
            "vector_norm for other powers"
        )
    return expand_dims(y, (-2, -1)) if keepdims else y


def cond(x: Tensor[B], p: Order = None) -> Tensor[B]:
    """The condition number, |x| |x^-1|; by default that of the 2-norm, s_max / s_min.

    >>> ops.linalg.cond(born.tensor([[2.0, 0.0], [0.0, 4.0]], backend))
    Tensor(2., dtype=float32)
    """
    if p is None or p in (2, -2):
        s = svdvals(x)
        ratio = s[..., 0] / s[..., -1]
        return 1.0 / ratio if p == -2 else ratio
    return matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)


# -- functions of a matrix -----------------------------------------------------------------


def expm(x: Tensor[B]) -> Tensor[B]:
    """The exponential of a matrix, sum_k x^k / k!.

    >>> ops.linalg.expm(born.tensor([[0.0, 1.0], [0.0, 0.0]], backend))
    Tensor([[1., 1.],
            [0., 1.]], dtype=float32)
    """
    return Tensor(backend_of("expm", x).expm(x.raw), x.backend)


_MOST_ROOT_STEPS: Final = 40  # twice what matrices of condition 1e16 take


def sqrtm(x: Tensor[B]) -> Tensor[B]:
    """The principal square root of a matrix, whose square it is.

    By Denman and Beavers' iteration, scaled by determinants (Higham, 2008, "Functions of
    Matrices", section 6.5). It waits for a device, to see whether it has converged.

    Args:
        x: shape (n, n), without eigenvalues on the negative real axis; `LinAlgError` if it does
            not converge.

    >>> ops.linalg.sqrtm(born.tensor([[4.0, 0.0], [0.0, 9.0]], backend)).numpy().round(4)
    array([[2., 0.],
           [0., 3.]], dtype=float32)
    """
    backend = backend_of("sqrtm", x)
    n, columns = _matrix_shape("sqrtm", x)
    if n != columns or x.ndim != 2:
        raise ShapeError(f"expected a square matrix in sqrtm, got shape {x.shape}; slice a batch")
    if x.dtype.name in ("float16", "bfloat16"):
        return sqrtm(x.astype("float32")).astype(x.dtype)
    root, inverse = x, Tensor(backend.eye(n, n, x.dtype), backend)
    tolerance = n * _EPSILON.get(x.dtype.name, 0.0)
    for _ in range(_MOST_ROOT_STEPS if n else 0):
        # Constant: the limit does not depend on it.
        logarithm = slogdet(root.detach())[1] + slogdet(inverse.detach())[1]
        scale = exp(logarithm * (-0.5 / n))
        before = root
        root = (root * scale + inv(inverse) / scale) * 0.5
        inverse = (inverse * scale + inv(before) / scale) * 0.5
        change = matrix_norm((root - before).detach())
        if bool(change <= matrix_norm(root.detach()) * tolerance):
            return root
        if not bool(isfinite(change)):
            break
    if not n:
        return root
    raise LinAlgError(
        "expected a matrix without eigenvalues on the negative real axis in sqrtm, got one for "
        "which the iteration does not converge; there is no real root, or none that is unique"
    )


def matrix_power(x: Tensor[B], n: int) -> Tensor[B]:
    """The n-th power of square matrices; of their inverses if n is negative.

    >>> ops.linalg.matrix_power(born.tensor([[1.0, 1.0], [0.0, 1.0]], backend), 5)
    Tensor([[1., 5.],
            [0., 1.]], dtype=float32)
    """
    rows, columns = _matrix_shape("matrix_power", x)
    if rows != columns:
        raise ShapeError(
            f"expected square matrices in matrix_power, got shape {x.shape}; multiply others with @"
        )
    if not isinstance(n, int):  # pyright: ignore[reportUnnecessaryIsInstance]  # from untyped code
        raise DTypeError(f"expected an integer power in matrix_power, got {n!r}; pass an int")
    if n == 0:
        one = Tensor(x.backend.eye(rows, rows, x.dtype), x.backend)
        return x * 0 + one
    if n < 0:
        x, n = inv(x), -n
    result: Tensor[B] | None = None
    while n:
        if n & 1:
            result = x if result is None else matmul(result, x)
        n >>= 1
        if n:
            x = matmul(x, x)
    assert result is not None
    return result


def matrix_transpose(x: Tensor[B]) -> Tensor[B]:
    """The last two axes exchanged.

    >>> ops.linalg.matrix_transpose(born.zeros((5, 2, 3), backend)).shape
    (5, 3, 2)
    """
    _matrix_shape("matrix_transpose", x)
    return Tensor(transposed(x.backend, x.raw), x.backend)


def multi_dot(xs: Sequence[Tensor[B]]) -> Tensor[B]:
    """The product of several matrices, in the order that takes the fewest multiplications.

    The first may be a row vector and the last a column vector, as in NumPy.

    >>> row, column = born.ones((1, 30), backend), born.ones((30, 1), backend)
    >>> ops.linalg.multi_dot([column, row, column]).shape
    (30, 1)
    """
    if len(xs) < 2:
        raise ShapeError(
            f"expected at least two tensors in multi_dot, got {len(xs)}; there is nothing to "
            "multiply"
        )
    sizes = [*(x.shape[0] if x.ndim == 2 else 1 for x in xs), xs[-1].shape[-1]]
    if xs[-1].ndim == 1:
        sizes[-2:] = [xs[-1].shape[0], 1]
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for length in range(1, len(xs)):
        for i in range(len(xs) - length):
            j = i + length
            best[i, j] = min(
                (
                    best.get((i, k), (0.0, 0))[0]
                    + best.get((k + 1, j), (0.0, 0))[0]
                    + float(sizes[i]) * sizes[k + 1] * sizes[j + 1],
                    k,
                )
                for k in range(i, j)
            )

    def product(i: int, j: int) -> Tensor[B]:
        if i == j:
            return xs[i]
        k = best[i, j][1]
        return matmul(product(i, k), product(k + 1, j))

    return product(0, len(xs) - 1)


def cross(x: Tensor[B], y: Tensor[B], *, axis: int = -1) -> Tensor[B]:
    """The cross product of vectors of three elements along an axis.

    >>> x, y = born.tensor([1.0, 0.0, 0.0], backend), born.tensor([0.0, 1.0, 0.0], backend)
    >>> ops.linalg.cross(x, y)
    Tensor([0., 0., 1.], dtype=float32)
    """
    raw_operand("cross", backend_of("cross", x), y)
    ends: list[list[Tensor[B]]] = []
    for each in (x, y):
        place = normal_axis(axis, each.ndim)
        if each.shape[place] != 3:
            raise ShapeError(
                f"expected three elements along axis {axis} in cross, got shape {each.shape}; "
                "append a zero to vectors of two"
            )
        before = (slice(None),) * place
        ends.append([each[(*before, slice(i, i + 1))] for i in range(3)])
    (x1, x2, x3), (y1, y2, y3) = ends
    return concatenate([x2 * y3 - x3 * y2, x3 * y1 - x1 * y3, x1 * y2 - x2 * y1], axis)


# -- helpers -------------------------------------------------------------------------------


def _matrix_shape(name: str, x: Tensor[B]) -> tuple[int, int]:
    backend_of(name, x)
    if x.ndim < 2:
        raise ShapeError(
            f"expected matrices in the last two axes in {name}, got shape {x.shape}; reshape it"
        )
    return x.shape[-2], x.shape[-1]


def _tolerance(name: str, x: Tensor[B], rtol: float | None) -> float:
    """`rtol`, or NumPy's default for the shape and dtype."""
    if rtol is not None:
        return float(rtol)
    widest = max(_matrix_shape(name, x))
    # Halves are computed in float32, and known to their own precision.
    return widest * _EPSILON.get(x.dtype.name, 0.0)


_EPSILON: Final = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}


def _number_of(ord: Order) -> float:
    if isinstance(ord, int | float):
        return ord
    raise DomainError(
        f"expected a number as ord of a vector's norm, got {ord!r}; name two axes for a "
        "matrix's norm"
    )
