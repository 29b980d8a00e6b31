"""`curve_fit`, and `covariance`: how well a fit determines its variables."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np

from born.autodiff import Autodiff
from born.creation import tensor
from born.errors import ConvergenceError, DomainError, OperandError, ShapeError
from born.optim.solvers.box import ends_of
from born.optim.solvers.objective import as_array, real
from born.optim.solvers.result import OptimizeResult
from born.optim.solvers.robust import Array
from born.optim.solvers.squares import least_squares
from born.optim.solvers.steps import EPS, SquaresMethod
from born.tensor import Tensor, is_tensor

_IN_NULL_SPACE: Final = 1e-8
"""The part of a variable in combinations that the data do not determine, beyond rounding."""


def covariance(result: OptimizeResult, *, absolute_sigma: bool = False, free: Any = None) -> Array:
    """The covariance of the variables that `least_squares` found.

    With the Jacobian J of m residuals by n variables, taken for linear near the solution::

        C = s² (Jᵀ J)⁻¹        s² = Σ r² / (m - n)

    The roots of its diagonal are the standard errors. A variable that the data do not determine
    has an infinite variance; so have all of them, unless `absolute_sigma`, where m ≤ n.

    Args:
        result: what `least_squares` returned.
        absolute_sigma: the residuals were divided by the true standard errors of the data, so
            that s² is 1 and not an estimate.
        free: which variables are to be taken as unknown, n bools; the others, of which the
            variance is 0, are known. All by default.

    Returns:
        a NumPy array of shape (n, n), in the order of the columns of `result.jac`. With another
        loss than "linear" it is that of the residuals with their weights at the solution. Bounds
        are taken no notice of.

    Source: Seber and Wild (1989), "Nonlinear regression", section 2.1.2; as SciPy's curve_fit.

    >>> t = np.array([0.0, 1.0, 2.0, 3.0])
    >>> y = np.array([1.1, 2.9, 5.2, 6.8])
    >>> line = optim.least_squares(lambda x: x[0] + x[1] * t - y, [0.0, 0.0])
    >>> np.sqrt(np.diag(optim.covariance(line))).round(3)
    array([0.169, 0.091])
    """
    jacobian: Any = result.get("jac")
    if "cost" not in result or np.ndim(jacobian) != 2:
        raise OperandError(
            f"expected the result of optim.least_squares, which has a Jacobian, got one with "
            f"{', '.join(result)}; fit by least squares, or invert a Hessian"
        )
    jacobian = cast("Array", jacobian)
    m, n = jacobian.shape
    kept = np.ones(n, np.bool_) if free is None else np.asarray(free, np.bool_)
    if kept.shape != (n,):
        raise ShapeError(
            f"expected free as {n} bools, one for each variable, got shape {kept.shape}; complete "
            "it"
        )
    known = int(kept.sum())
    if not absolute_sigma and m <= known:
        inverse: Array = np.full((known, known), np.inf)
    else:
        inverse = _inverse_of_square(jacobian[:, kept])
        if not absolute_sigma:
            inverse *= 2.0 * result.cost / (m - known)
    whole = np.zeros((n, n))
    whole[np.ix_(kept, kept)] = inverse
    return whole


def _inverse_of_square(jacobian: Array) -> Array:
    """(Jᵀ J)⁻¹, infinite in rows and columns of variables that J does not determine."""
    norms = np.linalg.norm(jacobian, axis=0)
    unit = np.where(norms > 0, norms, 1.0)
    m, n = jacobian.shape
    padded = np.concatenate([jacobian / unit, np.zeros((max(0, n - m), n))])
    _, s, vt = np.linalg.svd(padded, full_matrices=False)
    used = s > (s[0] if n else 0.0) * EPS * max(m, n)
    inverse = (vt[used].T / s[used] ** 2) @ vt[used] / np.outer(unit, unit)
    lost = (np.abs(vt[~used]) > _IN_NULL_SPACE).any(axis=0)
    inverse[lost, :] = inverse[:, lost] = np.inf
    return np.asarray(inverse, np.float64)


def curve_fit(
    f: Callable[..., Any],
    xdata: Any,
    ydata: Any,
    p0: Any = None,
    sigma: Any = None,
    absolute_sigma: bool = False,
    *,
    bounds: Any = None,
    method: SquaresMethod | str | None = None,
    jac: Callable[..., Any] | str | None = None,
    **options: Any,
) -> tuple[Any, Array]:
    """The parameters with which a function fits data, and their covariance, as in SciPy.

    It is the least `Σ ((f(xdata, *p) - ydata) / sigma)²`. If any of `xdata`, `ydata` or `p0` is a
    tensor, f is given tensors, and the tape differentiates it: on an Autodiff of its own, unless
    they are on one.

    Args:
        f: f(xdata, \\*p), of the shape of ydata; each p is a number, or a tensor of no axes.
        xdata: what f is called with: an array, a tensor, or anything else.
        ydata: the data, m numbers of any shape.
        p0: where to start, n numbers. By default ones; within bounds that are finite their middle,
            or 1 from the only one.
        sigma: the standard errors of the data, of their shape, or their covariance, of shape
            (m, m).
        absolute_sigma: whether `sigma` has the size of the errors, and not only their ratios.
        bounds: (low, high), each a number or n of them; a parameter with two equal ones is fixed.
        method: as for `least_squares`; so are `options`, such as `loss="soft_l1"`.
        jac: a function of the same arguments that returns the derivatives of f by p, of shape
            (m, n), for arrays; or "3-point".

    Returns:
        p, an array or a tensor of n numbers, and its `covariance`, a NumPy array of shape (n, n),
        in which a parameter that is fixed has zeros. With another loss than "linear" SciPy's is
        another, as its Jacobian has the second derivative of the loss in it.

    Raises:
        ConvergenceError: the fit did not converge; its message says why.
        DomainError: data that are not finite.

    >>> t = np.linspace(0.0, 4.0, 9)
    >>> y = 2.5 * np.exp(-1.3 * t) + 0.5
    >>> p, pcov = optim.curve_fit(lambda t, a, b, c: a * np.exp(-b * t) + c, t, y)
    >>> p.round(6), pcov.shape
    (array([2.5, 1.3, 0.5]), (3, 3))
    """
    like = next((each for each in (p0, ydata, xdata) if is_tensor(each)), None)
    home: Any = None if like is None else like.backend
    if like is not None:
        records = isinstance(like.backend, Autodiff)
        there: Autodiff[Any] = home if records else Autodiff(home)
        like = like.to(there)
        p0, ydata, xdata = (x.to(there) if is_tensor(x) else x for x in (p0, ydata, xdata))
    y, size = _data("ydata", ydata, like)
    xdata = _data("xdata", xdata, like)[0] if isinstance(xdata, list | tuple) else xdata
    p0 = p0 if p0 is None or is_tensor(p0) else as_array("p0", p0)
    count = _count(f) if p0 is None else int(p0.size)
    low, high = ends_of(bounds, (count,), count)
    start = _start(low, high) if p0 is None else p0.reshape(-1)
    if like is not None and not is_tensor(start):
        start = tensor(np.asarray(start, np.float64), like.backend, dtype=like.dtype)
    weigh = _weights(sigma, y, size, like)

    def residuals(p: Any) -> Any:
        found = f(xdata, *(p[i] for i in range(count)))
        if np.shape(found) != np.shape(y):
            raise ShapeError(
                f"expected f to return the shape {np.shape(y)} of ydata, got {np.shape(found)}; "
                "return a number for each of the data"
            )
        return weigh((found - y).reshape(-1))

    def derivatives(p: Any) -> Any:
        assert callable(jac)
        return weigh(np.asarray(jac(xdata, *p), np.float64).reshape(size, count))

    result = least_squares(
        residuals,
        start,
        derivatives if callable(jac) else cast("Any", jac),
        (low, high),
        method,
        **options,
    )
    if not result.success:
        raise ConvergenceError(
            f"expected a fit that converges, got none after {result.nfev} evaluations: "
            f"{result.message}; pass p0 nearer to the solution, or a larger max_nfev"
        )
    p = result.x if home is None else result.x.to(home)
    return p, covariance(result, absolute_sigma=absolute_sigma, free=low < high)


def _data(name: str, values: Any, like: Tensor[Any] | None) -> tuple[Any, int]:
    """Data as an array in double, or as a tensor like another; and how many they are."""
    if is_tensor(values):
        array = values.numpy()
    else:
        try:
            array = real(values)
        except (TypeError, ValueError, OverflowError) as error:
            raise OperandError(
                f"expected {name} as an array of numbers, got {type(values).__name__}: {error}"
            ) from error
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise DomainError(
            f"expected finite {name}, got {count} of {array.size} that are not; leave them out"
        )
    if array.size == 0:
        raise ShapeError(
            f"expected {name} of at least one number, got none; there is nothing to fit"
        )
    if like is not None and not is_tensor(values):
        return tensor(array, like.backend, dtype=like.dtype), array.size
    return (values if is_tensor(values) else array), array.size


def _count(f: Callable[..., Any]) -> int:
    """How many parameters a function has, less the first."""
    kinds = inspect.Parameter
    try:
        names = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        names = []
    plain = [
        each for each in names if each.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    if len(plain) < 2 or any(each.kind is kinds.VAR_POSITIONAL for each in names):
        raise OperandError(
            f"expected p0, or a function that names its parameters, f(x, a, b), got {f!r}; pass p0 "
            "with a number for each"
        )
    return len(plain) - 1


def _start(low: Array, high: Array) -> Array:
    """Ones, or what bounds allow instead."""
    bounded = np.isfinite(low), np.isfinite(high)
    ends = np.where(bounded[0], low, 0.0), np.where(bounded[1], high, 0.0)
    one = np.where(bounded[0], ends[0] + 1.0, np.where(bounded[1], ends[1] - 1.0, 1.0))
    return np.where(bounded[0] & bounded[1], 0.5 * (ends[0] + ends[1]), one)


def _weights(sigma: Any, y: Any, size: int, like: Tensor[Any] | None) -> Callable[[Any], Any]:
    """What divides residuals, and the rows of a Jacobian, by their errors."""
    if sigma is None:
        return lambda rows: rows
    errors = as_array("sigma", sigma)
    if errors.shape == (size, size) and size > 1:
        try:
            whole: Any = np.linalg.inv(np.linalg.cholesky(errors))
        except np.linalg.LinAlgError as error:
            raise DomainError(
                "expected sigma of shape (m, m) as a covariance, which is positive definite, got "
                "another matrix; check its diagonal"
            ) from error
        matrix = whole if like is None else tensor(whole, like.backend, dtype=like.dtype)
        return lambda rows: matrix @ rows
    try:
        errors = np.broadcast_to(errors, np.shape(y)).reshape(-1)
    except ValueError as error:
        raise ShapeError(
            f"expected sigma of the shape {np.shape(y)} of ydata, or {(size, size)}, got "
            f"{errors.shape}; pass one error for each of the data"
        ) from error
    if not ((errors > 0) & np.isfinite(errors)).all():
        raise DomainError(
            "expected sigma of positive numbers, got others; leave out data without an error"
        )
    if like is None:
        return lambda rows: (rows.T / errors).T
    divisor = tensor(errors.copy(), like.backend, dtype=like.dtype)
    return lambda rows: rows / divisor
