"""Factors and triangular systems by SciPy's LAPACK, where it is installed and the matrix is large.

NumPy has no function for a triangular system, and its `cholesky` computes on a copy that it
transposes. A C-contiguous matrix is the transpose of a Fortran-contiguous one: so nothing is copied
here but what is overwritten.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, Final

import numpy as np

from born.raw import HostArray

_LEAST: Final = 64
"""Rows from which a call for each matrix pays, and the import of SciPy."""


@cache
def _scipy() -> tuple[Any, Any] | None:
    """The modules of BLAS and LAPACK, or None without SciPy."""
    try:
        return importlib.import_module("scipy.linalg.blas"), importlib.import_module(
            "scipy.linalg.lapack"
        )
    except ImportError:
        return None


def _takes(a: HostArray) -> bool:
    return a.shape[-1] >= _LEAST and a.size > 0 and a.dtype.char in "fd" and _scipy() is not None


def cholesky(a: HostArray) -> HostArray | None:
    """The lower triangular factors, or None if NumPy does as well.

    Raises:
        LinAlgError: of NumPy, not positive definite.
    """
    if not _takes(a):
        return None
    (_, lapack) = _scipy() or (None, None)
    factor = getattr(lapack, f"{_letter(a)}potrf")
    out = np.empty(a.shape, a.dtype)
    for index in np.ndindex(a.shape[:-2]):
        upper, info = factor(a[index].T, lower=False, clean=True)
        if info:
            raise np.linalg.LinAlgError("Matrix is not positive definite")
        if a.ndim == 2:
            factored: HostArray = upper.T
            return factored
        out[index] = upper.T
    return out


def solve_triangular(a: HostArray, b: HostArray, lower: bool) -> HostArray | None:
    """The x of a x = b with a triangular, or None if NumPy does as well.

    Raises:
        LinAlgError: of NumPy, a zero on the diagonal.
    """
    if not _takes(a):
        return None
    (blas, _) = _scipy() or (None, None)
    solve = getattr(blas, f"{_letter(a)}trsm")
    if not np.diagonal(a, axis1=-2, axis2=-1).all():
        raise np.linalg.LinAlgError("Singular matrix")
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, batch + a.shape[-2:])
    out = np.array(np.broadcast_to(b, batch + b.shape[-2:]), order="C")
    for index in np.ndindex(batch) if out.size else ():
        # x^T a^T = b^T, in Fortran's order; a itself if it is the one that lies so.
        matrix, across = a[index], not a[index].flags.f_contiguous
        solve(
            *(1.0, matrix.T if across else matrix, out[index].T),
            side=True,
            lower=lower != across,
            trans_a=not across,
            overwrite_b=True,
        )
    return out


def cholesky_inverse(factor: HostArray) -> HostArray | None:
    """(L L^T)^-1 of factors L, or None without SciPy or where they are small."""
    if not _takes(factor):
        return None
    (_, lapack) = _scipy() or (None, None)
    invert = getattr(lapack, f"{_letter(factor)}potri")
    out = np.empty(factor.shape, factor.dtype)
    for index in np.ndindex(factor.shape[:-2]):
        # It computes one triangle, and leaves zeros in the other.
        half: HostArray = invert(factor[index].T, lower=False)[0].T
        np.add(half, half.T, out=out[index])
        np.fill_diagonal(out[index], half.diagonal())
    return out


def _letter(a: HostArray) -> str:
    return "d" if a.dtype.char == "d" else "s"
