"""`implicit`: derivatives of what an iteration finds, by the implicit function theorem."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

from born import ops
from born.autodiff.custom import custom_vjp, level_for
from born.autodiff.transforms import jacobian, vjp
from born.autodiff.trees import Tree, aligned, mapped
from born.errors import LinAlgError, OperandError, ShapeError
from born.tensor import Tensor

DENSE: Final = 256
"""Up to so many variables the matrix is formed; of more, only products with it."""

_RESTART: Final = 50
_ROUNDS: Final = 20

Product: TypeAlias = Callable[[Tensor[Any]], Tensor[Any]]


X = TypeVar("X")


def implicit(solver: Callable[..., X], residual: Callable[..., Any]) -> Callable[..., X]:
    """`solver` with the derivative of the x that it finds, whatever way it finds it.

    Where r(x, a) = 0 defines x, the derivative by a is -(dr/dx)^-1 dr/da: one linear system
    in the backward pass, and nothing of the iteration is recorded or kept. For a fixed point
    x = g(x, a), r is x - g(x, a); for a minimum of f, r is the gradient of f, as
    `grad(f)`. Up to 256 variables dr/dx is formed; for more the system is solved by GMRES.

    Args:
        solver: from arguments, tensors or trees or modules of them, to x, a tensor or a tree of
            tensors of one dtype. It is called with constants and may do anything.
        residual: from x and the same arguments to r, of the form of x, by born's operations.

    Returns:
        a function of the arguments. It may be differentiated any number of times.

    Raises:
        ShapeError: in the backward pass, if x and r differ in shape or form.
        LinAlgError: in the backward pass, if dr/dx is singular, or GMRES does not converge.

    >>> import born
    >>> from born.autodiff import Autodiff, grad
    >>> from born_numpy import NumpyBackend
    >>> def newton(a):
    ...     x = a
    ...     for _ in range(30):
    ...         x = 0.5 * (x + a / x)
    ...     return x
    >>> root = implicit(newton, lambda x, a: x * x - a)
    >>> a = born.tensor(4.0, Autodiff(NumpyBackend()), dtype="float64")
    >>> root(a).item(), grad(root)(a).item(), grad(grad(root))(a).item()
    (2.0, 0.25, -0.03125)

    Source: Blondel and others (2022), "Efficient and modular implicit differentiation".
    """

    @functools.wraps(solver)
    def find(*args: Any) -> X:
        unknowns: list[Tree] = []

        def solved(*args: Any) -> Tensor[Any]:
            unknowns[:] = [Tree(solver(*args))]
            return _joined(unknowns[0])

        def equations(x: Tensor[Any], *args: Any) -> Tensor[Any]:
            form = unknowns[0]
            found: Any = residual(_parted(x, form), *args)
            if not form.is_tensor:
                aligned(form, found, "a residual")
            return found if form.is_tensor else _joined(Tree(found))

        x = _implicit(solved, equations)(*args)
        solution: X = _parted(x, unknowns[0])
        return solution

    return find


def _joined(tree: Tree) -> Tensor[Any]:
    """A tensor, or all of a tree in one vector."""
    if tree.is_tensor:
        return tree.tensors[0]
    if not tree.leaves or any(leaf.held for leaf in tree.leaves):
        raise OperandError(
            "expected a solver that returns a tensor or a tree of tensors, got "
            f"{type(tree.value).__name__}; return the unknowns"
        )
    return ops.concatenate([ops.ravel(x) for x in tree.tensors])


def _parted(x: Tensor[Any], form: Tree) -> Any:
    """The tree that a vector was made of."""
    if form.is_tensor:
        return x
    ends = [0, *itertools.accumulate(leaf.size for leaf in form.tensors)]
    return form.filled(
        [
            ops.reshape(x[start:stop], leaf.shape)
            for (start, stop), leaf in zip(itertools.pairwise(ends), form.tensors, strict=True)
        ]
    )


def _implicit(
    solver: Callable[..., Tensor[Any]], residual: Callable[..., Tensor[Any]]
) -> Callable[..., Tensor[Any]]:
    """`implicit` of one tensor of unknowns."""

    def solved(*args: Any) -> Tensor[Any]:
        return solver(*mapped(args, lambda tensor: tensor.detach())).detach()

    def forward(*args: Any) -> tuple[Tensor[Any], Any]:
        # Called again, beneath: so that what is beneath knows of this derivative, too.
        x = find(*args)
        return x, (x, args)

    def backward(saved: Any, gradient: Tensor[Any]) -> tuple[Any, ...]:
        x, args = saved
        towards = _adjoint(residual, x, args, gradient)
        _, pull = vjp(lambda *rest: residual(x, *rest), *args)
        return pull(-towards)

    recorded = custom_vjp(solved, forward, backward)

    def find(*args: Any) -> Tensor[Any]:
        return recorded(*args)

    return find


def _adjoint(
    residual: Callable[..., Tensor[Any]], x: Tensor[Any], args: tuple[Any, ...], b: Tensor[Any]
) -> Tensor[Any]:
    """The y of (dr/dx)^T y = b, which is defined by that equation, and so differentiable."""

    def transposed(x: Tensor[Any], *args: Any) -> Product:
        def at(x: Tensor[Any]) -> Tensor[Any]:
            return residual(x, *args)

        value, pull = vjp(at, x)
        if value.shape != x.shape:
            raise ShapeError(
                f"expected a residual of the shape {x.shape} of the solution, got {value.shape}; "
                "return one equation for each unknown"
            )
        return lambda y: pull(y)[0]

    def solve(b: Tensor[Any], x: Tensor[Any], *args: Any) -> Tensor[Any]:
        if x.size > DENSE:
            return _gmres(transposed(x, *args), b)
        value = residual(x, *args)
        if value.shape != x.shape:
            transposed(x, *args)
        matrix = jacobian(lambda x: residual(x, *args))(x).reshape(x.size, x.size)
        y = ops.linalg.solve(ops.transpose(matrix), b.reshape(b.size, 1))
        return y.reshape(b.shape)

    def equation(y: Tensor[Any], b: Tensor[Any], x: Tensor[Any], *args: Any) -> Tensor[Any]:
        return transposed(x, *args)(y) - b

    if level_for(b, x, args) is None:
        return solve(b, x, *args)
    return _implicit(solve, equation)(b, x, *args)


def _gmres(product: Product, b: Tensor[Any]) -> Tensor[Any]:
    """The x of A x = b from products with A (Saad and Schultz, 1986), restarted."""
    shape, dtype = b.shape, b.dtype
    x = b * 0.0
    size = length = _length(b)
    tolerance = size * (1e-10 if dtype.itemsize == 8 else 1e-5)
    for _ in range(_ROUNDS):
        rest = b - product(x)
        length = _length(rest)
        if length <= tolerance:
            return x
        x = x + _step(product, rest, length, tolerance).reshape(shape)
    raise LinAlgError(
        f"expected the linear system of an implicit derivative to be solved in {_ROUNDS} rounds of "
        f"GMRES, got a residual of {length / size:.1e} of the right side; the solution may be one "
        "of many, or ill-conditioned"
    )


def _step(product: Product, rest: Tensor[Any], length: float, tolerance: float) -> Tensor[Any]:
    """The best correction in the space of `rest` and its products with A."""
    basis = [rest / length]
    columns: list[list[float]] = []
    for _ in range(min(_RESTART, rest.size)):
        w = product(basis[-1])
        column: list[float] = []
        for v in basis:
            column.append(_dot(v, w))
            w = w - v * column[-1]
        size = _length(w)
        columns.append([*column, size])
        if size <= 1e-14 * max(map(abs, columns[-1]), default=1.0):
            break
        basis.append(w / size)
    count = len(columns)
    rows = [[c[i] if i < len(c) else 0.0 for c in columns] for i in range(count + 1)]
    y = _least_squares(rows, length)
    total = basis[0] * y[0]
    for weight, v in zip(y[1:], basis[1:], strict=False):
        total = total + v * weight
    return total


def _least_squares(rows: list[list[float]], first: float) -> list[float]:
    """The y that minimises |H y - first e1|, H upper Hessenberg, by rotations of its rows."""
    h, g, n = [row[:] for row in rows], [first, *[0.0] * (len(rows) - 1)], len(rows) - 1
    for k in range(n):
        r = math.hypot(h[k][k], h[k + 1][k]) or 1.0
        c, s = h[k][k] / r, h[k + 1][k] / r
        for j in range(k, n):
            h[k][j], h[k + 1][j] = c * h[k][j] + s * h[k + 1][j], c * h[k + 1][j] - s * h[k][j]
        g[k], g[k + 1] = c * g[k] + s * g[k + 1], c * g[k + 1] - s * g[k]
    y = [0.0] * n
    for k in reversed(range(n)):
        known = sum(h[k][j] * y[j] for j in range(k + 1, n))
        y[k] = (g[k] - known) / h[k][k] if h[k][k] else 0.0
    return y


def _dot(x: Tensor[Any], y: Tensor[Any]) -> float:
    return float((x * y).sum().detach().item())


def _length(x: Tensor[Any]) -> float:
    return math.sqrt(_dot(x, x))
