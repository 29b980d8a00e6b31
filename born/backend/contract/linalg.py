"""Linear algebra: factorisations, solvers, and what is composed from them.

Each takes a matrix in the last two axes, or any number of them in the axes before.
"""

from __future__ import annotations

from born.backend.arguments import check_floating
from born.backend.contract.operation import absent, optional, required
from born.backend.contract.primitives import Primitives
from born.raw import RawTensor


class Linalg(Primitives):
    """Factorisations and solvers; float16 and bfloat16 are computed in float32.

    Of a symmetric matrix only the lower triangle is read. A matrix that is singular or not
    positive definite is a `LinAlgError`, except on a device, which does not wait to know:
    there the result is not finite.
    """

    @required
    def cholesky(self, x: RawTensor, /) -> RawTensor:
        """The lower triangular L with x = L L^T, of a symmetric positive definite x."""
        absent()

    @required
    def solve(self, x: RawTensor, y: RawTensor, /) -> RawTensor:
        """x^-1 y, for y of shape (..., n, k); the axes before broadcast."""
        absent()

    @required
    def qr(self, x: RawTensor, /) -> tuple[RawTensor, RawTensor]:
        """x = Q R with Q of orthonormal columns, (..., m, k), and R upper triangular, (..., k, n).

        k is the smaller of m and n.
        """
        absent()

    @required
    def svd(self, x: RawTensor, /) -> tuple[RawTensor, RawTensor, RawTensor]:
        """x = U diag(s) V^T as (U, s, V^T), with s descending, of length k as in `qr`."""
        absent()

    @required
    def eigh(self, x: RawTensor, /) -> tuple[RawTensor, RawTensor]:
        """The eigenvalues of a symmetric x, ascending, and its eigenvectors as columns."""
        absent()

    @required
    def slogdet(self, x: RawTensor, /) -> tuple[RawTensor, RawTensor]:
        """The sign of the determinant, and the logarithm of its absolute value."""
        absent()

    @required
    def expm(self, x: RawTensor, /) -> RawTensor:
        """The exponential of a matrix, sum_k x^k / k!."""
        absent()

    @optional
    def det(self, x: RawTensor, /) -> RawTensor:
        """The determinant."""
        sign, logarithm = self.slogdet(x)
        return self.mul(sign, self.exp(logarithm))

    @optional
    def inv(self, x: RawTensor, /) -> RawTensor:
        """The inverse."""
        return self.solve(x, self.eye(x.shape[-1], x.shape[-1], x.dtype))

    @optional
    def pinv(self, x: RawTensor, /, rtol: float) -> RawTensor:
        """The pseudo-inverse; singular values up to `rtol` times the largest count as zero."""
        u, s, vt = self.svd(x)
        if s.shape[-1] == 0:
            return self.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
        dropped = self.greater_equal(self.mul(self.max(s, -1, keepdims=True), rtol), s)
        inverse = self.where(dropped, 0.0, self.div(1.0, self.where(dropped, 1.0, s)))
        scaled = self.mul(transposed(self, vt), self.expand_dims(inverse, -2))
        return self.matmul(scaled, transposed(self, u))

    @optional
    def solve_triangular(
        self, x: RawTensor, y: RawTensor, /, lower: bool = True, transpose: bool = False
    ) -> RawTensor:
        """x^-1 y, or (x^T)^-1 y, reading one triangle of x; shapes as in `solve`."""
        part = triangle(self, x, lower)
        return self.solve(transposed(self, part) if transpose else part, y)

    def cholesky_inverse(self, factor: RawTensor) -> RawTensor:
        """(L L^T)^-1 from the factor L that `cholesky` gave."""
        n = factor.shape[-1]
        half = self.solve_triangular(factor, self.eye(n, n, factor.dtype))
        return self.solve_triangular(factor, half, True, True)

    @optional
    def gaussian(self, x: RawTensor, y: RawTensor, /) -> tuple[RawTensor, RawTensor, RawTensor]:
        """-(y^T x^-1 y + log det x) / 2 for each column of y: the log-density of a normal
        distribution of covariance x, up to a constant.

        For y of shape (..., n, k), the leading axes those of x. The residuals are the factor of x
        and x^-1 y.
        """
        check_floating("gaussian", x)
        factor = self.cholesky(x)
        scaled = self.solve_triangular(factor, y)
        n = factor.shape[-1]
        diagonal = self.sum(self.mul(factor, self.eye(n, n, factor.dtype)), -1)
        determinant = self.sum(self.log(diagonal), -1, keepdims=True)
        square = self.sum(self.mul(scaled, scaled), -2)
        density = self.sub(self.mul(square, -0.5), determinant)
        return density, factor, self.solve_triangular(factor, scaled, True, True)


def transposed(b: Primitives, x: RawTensor) -> RawTensor:
    """Matrices with their last two axes exchanged."""
    if x.ndim == 2:
        return b.transpose(x)
    return b.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def triangle(b: Primitives, x: RawTensor, lower: bool = True) -> RawTensor:
    """Matrices with zeros above the diagonal, or below it."""
    rows, columns = (b.arange(0, length, 1, "int64") for length in x.shape[-2:])
    rows = b.expand_dims(rows, 1)
    kept = b.greater_equal(rows, columns) if lower else b.greater_equal(columns, rows)
    return b.where(kept, x, 0.0)
