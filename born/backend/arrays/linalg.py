"""Linear algebra of arrays, by the namespace's LAPACK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend.arrays.dispatch import Dispatch, halves_in_float32, shape_mismatch
from born.backend.contract.linalg import Linalg
from born.errors import LinAlgError, ShapeError
from born.raw import Array, RawTensor

_BLOCK: Final = 64
"""Rows of a triangular system that are solved at once; products take care of the others."""

_PADE: Final = (
    *(64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0),
    *(129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0),
    *(40840800.0, 960960.0, 16380.0, 182.0, 1.0),
)
"""The numerator of the diagonal Pade approximant of degree 13 of exp."""

_PADE_RADIUS: Final = 5.371920351148152
"""The 1-norm up to which that approximant is exact to double precision (theta_13)."""


class ArrayLinalg(Linalg, Dispatch):
    """Factorisations and solvers by the functions of `xp.linalg`."""

    @override
    @halves_in_float32
    def cholesky(self, x: RawTensor, /) -> RawTensor:
        return RawTensor(_translated("cholesky", self._lower_factor, self._square("cholesky", x)))

    @override
    @halves_in_float32
    def solve(self, x: RawTensor, y: RawTensor, /) -> RawTensor:
        return RawTensor(self._solved("solve", *self._system("solve", x, y)))

    @override
    @halves_in_float32
    def solve_triangular(
        self, x: RawTensor, y: RawTensor, /, lower: bool = True, transpose: bool = False
    ) -> RawTensor:
        a, b = self._system("solve_triangular", x, y)
        if transpose:
            a, lower = a.swapaxes(-1, -2), not lower
        return RawTensor(_translated("solve_triangular", self._substituted, a, b, lower=lower))

    @override
    @halves_in_float32
    def qr(self, x: RawTensor, /) -> tuple[RawTensor, RawTensor]:
        q, r = self._factored("qr", self._matrices("qr", x))
        return RawTensor(q), RawTensor(r)

    @override
    @halves_in_float32
    def svd(self, x: RawTensor, /) -> tuple[RawTensor, RawTensor, RawTensor]:
        u, s, vt = self._factored("svd", self._matrices("svd", x), full_matrices=False)
        return RawTensor(u), RawTensor(s), RawTensor(vt)

    @override
    @halves_in_float32
    def eigh(self, x: RawTensor, /) -> tuple[RawTensor, RawTensor]:
        values, vectors = self._factored("eigh", self._square("eigh", x))
        return RawTensor(values), RawTensor(vectors)

    @override
    @halves_in_float32
    def slogdet(self, x: RawTensor, /) -> tuple[RawTensor, RawTensor]:
        sign, logarithm = self._factored("slogdet", self._square("slogdet", x))
        return self._wrap(sign), self._wrap(logarithm)

    @override
    @halves_in_float32
    def det(self, x: RawTensor, /) -> RawTensor:
        return self._wrap(self._factored("det", self._square("det", x)))

    @override
    @halves_in_float32
    def inv(self, x: RawTensor, /) -> RawTensor:
        return RawTensor(self._factored("inv", self._square("inv", x)))

    pinv = halves_in_float32(Linalg.pinv)
    gaussian = halves_in_float32(Linalg.gaussian)

    @override
    @halves_in_float32
    def expm(self, x: RawTensor, /) -> RawTensor:
        """Scaling and squaring; how often depends on the values, so that a device is waited for.

        Higham (2005), "The Scaling and Squaring Method for the Matrix Exponential Revisited",
        algorithm 2.3, with the approximant of degree 13 throughout.
        """
        xp, a = self.xp, self._square("expm", x)
        if a.size == 0:
            return RawTensor(a.copy())
        norm = xp.abs(a).sum(axis=-2).max(axis=-1)
        norm = xp.where(xp.isfinite(norm), norm, 0)
        # As many halvings as bring the norm below the radius, for each matrix by itself.
        halvings = xp.ceil(xp.log2(xp.maximum(norm / _PADE_RADIUS, 1)))[..., None, None]
        r = self._pade(a * (2.0**-halvings).astype(a.dtype))
        for done in range(int(halvings.max())):
            r = xp.where(halvings > done, r @ r, r)
        return RawTensor(r)

    def _pade(self, a: Array) -> Array:
        """exp(a) of a small matrix, by the approximant of degree 13."""
        c, one = _PADE, self.xp.eye(a.shape[-1], dtype=a.dtype)
        a2 = a @ a
        a4 = a2 @ a2
        a6 = a4 @ a2
        odd = a6 @ (c[13] * a6 + c[11] * a4 + c[9] * a2)
        u = a @ (odd + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * one)
        even = a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2)
        v = even + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * one
        return self._solved("expm", v - u, v + u)

    # -- how, which a backend may know better --

    def _lower_factor(self, a: Array) -> Array:
        factor: Array = self.xp.linalg.cholesky(a)
        return factor

    def _substituted(self, a: Array, b: Array, lower: bool) -> Array:
        """The x of a x = b, in blocks of rows: products take most of the work."""
        n, xp = a.shape[-1], self.xp
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = xp.array(xp.broadcast_to(b, (*batch, *b.shape[-2:])))
        starts = range(0, n, _BLOCK)
        for start in starts if lower else reversed(starts):
            rows = slice(start, start + _BLOCK)
            known = slice(0, start) if lower else slice(start + _BLOCK, n)
            if start if lower else start + _BLOCK < n:
                out[..., rows, :] -= a[..., rows, known] @ out[..., known, :]
            block = xp.tril(a[..., rows, rows]) if lower else xp.triu(a[..., rows, rows])
            out[..., rows, :] = self._solved("solve_triangular", block, out[..., rows, :])
        return out

    # -- checked calls --

    def _factored(self, name: str, a: Array, **options: Any) -> Any:
        function: Callable[..., Any] = getattr(self.xp.linalg, name)
        return _translated(name, function, a, **options)

    def _solved(self, name: str, a: Array, b: Array) -> Array:
        batch, spread = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), self.xp.broadcast_to
        a = a if a.shape[:-2] == batch else spread(a, batch + a.shape[-2:])
        b = b if b.shape[:-2] == batch else spread(b, batch + b.shape[-2:])
        if not b.size:  # which CuPy fails over, in a stack
            return self.xp.empty(b.shape, b.dtype)
        return _translated(name, self.xp.linalg.solve, a, b)

    def _matrices(self, name: str, x: RawTensor) -> Array:
        a = x.array
        self._require_floating(name, a)
        if a.ndim < 2:
            raise ShapeError(
                f"expected matrices in the last two axes in {name}, got shape {a.shape}; reshape it"
            )
        return a

    def _square(self, name: str, x: RawTensor) -> Array:
        a = self._matrices(name, x)
        if a.shape[-1] != a.shape[-2]:
            raise ShapeError(
                f"expected square matrices in {name}, got shape {a.shape}; "
                "use qr, svd or lstsq of others"
            )
        return a

    def _system(self, name: str, x: RawTensor, y: RawTensor) -> tuple[Array, Array]:
        """A square matrix and a right side that fits it."""
        self._check_dtypes(name, x, y)
        a, b = self._square(name, x), self._matrices(name, y)
        try:
            np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
            if a.shape[-1] != b.shape[-2]:
                raise ValueError("the matrix needs as many columns as the right side has rows")
        except ValueError as error:
            raise shape_mismatch(name, a, b, error) from error
        return a, b


def _translated(name: str, function: Callable[..., Any], *arrays: Array, **options: Any) -> Any:
    """What LAPACK gives, its complaints as born's error."""
    try:
        return function(*arrays, **options)
    except LinAlgError:
        raise
    except np.linalg.LinAlgError as error:
        raise LinAlgError(
            f"expected {_WANTED.get(name, 'matrices with finite elements')} in {name}, got one "
            f"that is not ({error}); {_REMEDIES.get(name, 'look for NaN and infinity in it')}"
        ) from error


_WANTED: Final = {
    "cholesky": "a positive definite matrix",
    **dict.fromkeys(("solve", "inv", "solve_triangular", "expm"), "a matrix that has an inverse"),
}
_REMEDIES: Final = {
    "cholesky": "add a small multiple of the identity",
    **dict.fromkeys(("solve", "inv", "solve_triangular"), "use lstsq or pinv"),
}
