"""Draws from distributions, by the generator of a backend: the same numbers on every backend.

Parameters are tensors or numbers that broadcast; where all are numbers, `backend=` says where to
draw. `shape` is that of the result, by default what the parameters broadcast to. Draws of
continuous distributions are differentiable by their parameters (reparameterised), of any order.
Other generators than the backend's own are contexts: `with backend.seeded(7):`. A checkpoint
holds where the backend's generator is. Poisson, gamma and multinomial draws, and what is made of
them, are made on the host, and so wait for a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from born import ops
from born.autodiff import custom_vjp
from born.backend import B, Scalar
from born.creation import full, rand, randn, tensor
from born.dtypes import DTypeLike, is_floating
from born.errors import DomainError, OperandError, ShapeError
from born.operands import ShapeLike, as_number, as_shape, check_backend
from born.ops import special
from born.raw import HostArray, Shape
from born.tensor import Tensor, is_tensor

_Parameters = tuple[Sequence[Tensor[Any]], Shape]


def normal(
    loc: Tensor[B] | Scalar = 0.0,
    scale: Tensor[B] | Scalar = 1.0,
    shape: ShapeLike | None = None,
    *,
    backend: B | None = None,
) -> Tensor[B]:
    """Normal draws, with a mean and a standard deviation.

    >>> born.random.normal(born.zeros(3, backend), 0.1).shape
    (3,)
    """
    (loc, scale), size = _parameters("normal", (loc, scale), shape, backend)
    return loc + scale * randn(size, loc.backend, loc.dtype)


def uniform(
    low: Tensor[B] | Scalar = 0.0,
    high: Tensor[B] | Scalar = 1.0,
    shape: ShapeLike | None = None,
    *,
    backend: B | None = None,
) -> Tensor[B]:
    """Draws that are equally likely from low up to high.

    >>> born.random.uniform(0.0, 2.0, 3, backend=backend).shape
    (3,)
    """
    (low, high), size = _parameters("uniform", (low, high), shape, backend)
    return low + (high - low) * rand(size, low.backend, low.dtype)


def exponential(
    scale: Tensor[B] | Scalar = 1.0, shape: ShapeLike | None = None, *, backend: B | None = None
) -> Tensor[B]:
    """Exponential draws, of mean `scale`.

    >>> bool((born.random.exponential(2.0, 3, backend=backend) >= 0.0).all())
    True
    """
    (scale,), size = _parameters("exponential", (scale,), shape, backend)
    return scale * -ops.log1p(-rand(size, scale.backend, scale.dtype))


def laplace(
    loc: Tensor[B] | Scalar = 0.0,
    scale: Tensor[B] | Scalar = 1.0,
    shape: ShapeLike | None = None,
    *,
    backend: B | None = None,
) -> Tensor[B]:
    """Laplace draws: an exponential one on either side of `loc`.

    >>> born.random.laplace(0.0, born.ones(2, backend)).shape
    (2,)
    """
    (loc, scale), size = _parameters("laplace", (loc, scale), shape, backend)
    twice = 2.0 * rand(size, loc.backend, loc.dtype) - 1.0
    # From (-1, 1): of -1 itself, which is as likely as any other number, the logarithm is infinite.
    inside = 1.0 - ops.abs(twice) + (twice == -1.0).astype(loc.dtype) * _smallest(loc)
    return loc - scale * ops.sign(twice) * ops.log(inside)


def truncated_normal(
    lower: Tensor[B] | Scalar,
    upper: Tensor[B] | Scalar,
    shape: ShapeLike | None = None,
    *,
    backend: B | None = None,
) -> Tensor[B]:
    """Standard normal draws between two bounds, to scale and to shift; by the inverse CDF.

    Args:
        lower: may be -inf.
        upper: above `lower`; may be inf.
        shape: as for all of them.
        backend: the same.

    >>> x = born.random.truncated_normal(2.0, 3.0, 5, backend=backend)
    >>> bool(((x >= 2.0) & (x <= 3.0)).all())
    True
    """
    (lower, upper), size = _parameters("truncated_normal", (lower, upper), shape, backend)
    u = rand(size, lower.backend, lower.dtype)
    # In the tail where probabilities are small, and so precise.
    flip = lower + upper > 0.0
    a, b = ops.where(flip, -upper, lower), ops.where(flip, -lower, upper)
    least, most = special.ndtr(a), special.ndtr(b)
    x = special.ndtri(least + (most - least) * u)
    return ops.minimum(ops.maximum(ops.where(flip, -x, x), lower), upper)


def gamma(
    a: Tensor[B] | Scalar,
    scale: Tensor[B] | Scalar = 1.0,
    shape: ShapeLike | None = None,
    *,
    backend: B | None = None,
) -> Tensor[B]:
    """Gamma draws of shape a, by Marsaglia and Tsang's method.

    The derivative by a is that of the draw at a fixed value of its distribution function,
    -(dF/da) / (dF/dz), which an integral gives (Figurnov, Mohamed and Mnih, 2018, "Implicit
    reparameterization gradients"); a below 1 is drawn at a + 1, times a power of a uniform draw.

    >>> born.random.gamma(born.ones(2, backend), 3.0).shape
    (2,)
    """
    (a, scale), size = _parameters("gamma", (a, scale), shape, backend)
    return scale * ops.exp(_log_gamma("gamma", a, size))


def beta(
    a: Tensor[B] | Scalar,
    b: Tensor[B] | Scalar,
    shape: ShapeLike | None = None,
    *,
    backend: B | None = None,
) -> Tensor[B]:
    """Beta draws, of two gamma draws.

    >>> born.random.beta(born.ones(2, backend), 3.0).shape
    (2,)
    """
    (a, b), size = _parameters("beta", (a, b), shape, backend)
    return ops.sigmoid(_log_gamma("beta", a, size) - _log_gamma("beta", b, size))


def dirichlet(alpha: Tensor[B], shape: ShapeLike | None = None) -> Tensor[B]:
    """Draws of probabilities along the last axis of `alpha`; `shape` is that before it.

    >>> x = born.random.dirichlet(born.ones(3, backend), 2)
    >>> x.shape, x.sum(axis=-1).numpy().round(4)
    ((2, 3), array([1., 1.], dtype=float32))
    """
    (alpha,), size = _parameters("dirichlet", (alpha,), None, None)
    if alpha.ndim == 0:
        raise ShapeError("expected alpha with an axis of classes, got a number; pass a vector")
    leading = size[:-1] if shape is None else as_shape(shape)
    return ops.softmax(_log_gamma("dirichlet", alpha, (*leading, size[-1])), axis=-1)


def bernoulli(
    p: Tensor[B] | Scalar, shape: ShapeLike | None = None, *, backend: B | None = None
) -> Tensor[B]:
    """True with probability p.

    >>> born.random.bernoulli(born.tensor([0.0, 1.0], backend))
    Tensor([False,  True], dtype=bool)
    """
    (p,), size = _parameters("bernoulli", (p,), shape, backend)
    return rand(size, p.backend, p.dtype) < p


def categorical(
    p: Tensor[B] | None = None,
    shape: ShapeLike | None = None,
    *,
    logits: Tensor[B] | None = None,
) -> Tensor[B]:
    """Classes with probabilities p along the last axis, as int64: the largest of Gumbel draws.

    Args:
        p: of shape (..., classes); up to a factor.
        shape: of the result, against which the leading axes of p broadcast.
        logits: logarithms of p, up to a constant, in its place.

    >>> born.random.categorical(born.tensor([0.0, 1.0, 0.0], backend), 4)
    Tensor([1, 1, 1, 1], dtype=int64)
    """
    if (p is None) == (logits is None):
        raise OperandError(
            "expected either p or logits in categorical, got "
            f"{'neither' if p is None else 'both'}; pass one of them"
        )
    if p is not None:
        known = p.detach().astype("float64")
        table = ops.where(known > 0.0, ops.log(ops.where(known > 0.0, known, 1.0)), -np.inf)
    else:
        table = _given(logits).detach().astype("float64")
    leading = table.shape[:-1] if shape is None else as_shape(shape)
    size = (*leading, table.shape[-1])
    # -log of an exponential draw
    noise = -ops.log(-ops.log1p(-rand(size, table.backend, "float64")))
    return ops.argmax(table + noise, axis=-1)


def poisson(
    mu: Tensor[B] | Scalar, shape: ShapeLike | None = None, *, backend: B | None = None
) -> Tensor[B]:
    """Counts of events of which mu are expected, as int64.

    >>> born.random.poisson(born.tensor([0.0, 0.0], backend))
    Tensor([0, 0], dtype=int64)
    """
    (mu,), size = _parameters("poisson", (mu,), shape, backend)
    return _on_host("poisson", mu, size, mu.detach().numpy().astype(np.float64))


def multinomial(n: int, p: Tensor[B], shape: ShapeLike | None = None) -> Tensor[B]:
    """How many of n draws fall into each class, as int64; p lies along the last axis.

    >>> born.random.multinomial(5, born.tensor([0.0, 1.0], backend))
    Tensor([0, 5], dtype=int64)
    """
    host = _given(p).detach().numpy().astype(np.float64)
    total = host.sum(axis=-1, keepdims=True)
    leading = host.shape[:-1] if shape is None else as_shape(shape)
    return _on_host("multinomial", p, leading, n, host / total)


def permutation(x: int | Tensor[B], *, backend: B | None = None) -> Tensor[B]:
    """The integers below x in random order, or the rows of a tensor.

    >>> sorted(born.random.permutation(4, backend=backend).tolist())
    [0, 1, 2, 3]
    """
    count = len(x) if is_tensor(x) else int(as_number("permutation", x))
    place = x.backend if is_tensor(x) else _place("permutation", backend)
    order: Tensor[Any] = tensor(place.drawn("permutation", count), place)
    return ops.take(x, order, axis=0) if is_tensor(x) else order


def choice(
    x: int | Tensor[B],
    shape: ShapeLike = (),
    *,
    replace: bool = True,
    p: Tensor[B] | None = None,
    backend: B | None = None,
) -> Tensor[B]:
    """Integers below x, or rows of a tensor, at random; with `replace`, the same may come again.

    Args:
        x: how many there are, or the rows themselves.
        shape: of the choice.
        replace: whether each is there for every draw.
        p: how likely each is; all alike by default.
        backend: where x is a number.

    >>> sorted(born.random.choice(4, 4, replace=False, backend=backend).tolist())
    [0, 1, 2, 3]
    """
    count = len(x) if is_tensor(x) else int(as_number("choice", x))
    place = x.backend if is_tensor(x) else _place("choice", p.backend if p is not None else backend)
    size = as_shape(shape)
    weights: HostArray | None = None
    if p is not None:
        weights = p.detach().numpy().astype(np.float64)
        weights = weights / weights.sum()
    index: Tensor[Any] = tensor(_drawn(place, "choice", count, size, replace, weights), place)
    return ops.take(x, index, axis=0) if is_tensor(x) else index


# -- gamma -------------------------------------------------------------------------------------

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_DEPTH: Final = 40.0  # e^-40 is below the rounding of a double
_NEWTON: Final = 12


def _log_gamma(name: str, a: Tensor[Any], size: Shape) -> Tensor[Any]:
    """The logarithm of gamma draws, which does not underflow for small a."""
    whole = ops.broadcast_to(a, size)
    small = whole < 1.0
    raised = ops.where(small, whole + 1.0, whole)
    drawn = _on_host(name, a, size, raised.detach().numpy().astype(np.float64), of="standard_gamma")
    z = _with_derivative(raised, drawn.astype(a.dtype))
    u = rand(size, a.backend, "float64")
    power = ops.log1p(-u).astype(a.dtype) / whole
    return ops.log(z) + ops.where(small, power, 0.0)


def _with_derivative(a: Tensor[Any], z: Tensor[Any]) -> Tensor[Any]:
    """Draws z at a as a function of a, at least 1."""

    def forward(a: Tensor[Any]) -> tuple[Tensor[Any], Any]:
        value = find(a)  # again, beneath, which is to know of this derivative, too
        return value, (a, value)

    def backward(saved: Any, g: Tensor[Any]) -> Tensor[Any]:
        return g * gamma_derivative(*saved)

    def draw(a: Tensor[Any]) -> Tensor[Any]:
        return z

    recorded = custom_vjp(draw, forward, backward)

    def find(a: Tensor[Any]) -> Tensor[Any]:
        return recorded(a)

    return find(a)


def gamma_derivative(a: Tensor[B], z: Tensor[B]) -> Tensor[B]:
    """dz/da of gamma draws z of shape a, at least 1, at a fixed value of the CDF.

    With t = z e^-u below z, where z < a, and t = z e^u above it elsewhere, it is

        -z int e^(-a u + z (1 - e^-u)) (log z - u - psi(a)) du     or
         z int e^(a u - z (e^u - 1)) (log z + u - psi(a)) du       from 0 on

    of which Gauss and Legendre's rule with 64 nodes is exact to rounding, up to where it is e^-40.

    >>> born.random.gamma_derivative(*born.ones((2, 1), backend, "float64")).numpy().round(4)
    array([1.1736])
    """
    dtype = a.dtype
    a, z = a.astype("float64"), z.astype("float64")
    sign = 1.0 - 2.0 * (z < a).astype("float64")
    fixed_a, fixed_z = a.detach(), z.detach()
    # The exponent is concave: from beyond where it is -40, Newton's steps come near from one side.
    below, above = _DEPTH / fixed_a + 1.0, ops.sqrt(2.0 * _DEPTH / fixed_z)
    end = ops.where(sign < 0.0, below, above)
    for _ in range(_NEWTON):
        depth = sign * fixed_a * end - fixed_z * ops.expm1(sign * end)
        slope = sign * (fixed_a - fixed_z * ops.exp(sign * end))
        end = end - (depth + _DEPTH) / slope
    nodes: Tensor[Any] = tensor(0.5 * (_NODES + 1.0), a.backend)
    weights: Tensor[Any] = tensor(0.5 * _WEIGHTS, a.backend)
    u = ops.expand_dims(end, -1) * nodes
    a_, z_, sign_ = (ops.expand_dims(each, -1) for each in (a, z, sign))
    exponent = sign_ * a_ * u - z_ * ops.expm1(sign_ * u)
    slopes = ops.log(z_) + sign_ * u - special.digamma(a_)
    integral = (ops.exp(exponent) * slopes * weights).sum(axis=-1) * end
    return (sign * z * integral).astype(dtype)


# -- arguments ---------------------------------------------------------------------------------


def _parameters(
    name: str, values: Sequence[Any], shape: ShapeLike | None, backend: Any
) -> _Parameters:
    """Parameters as tensors of one floating dtype, and the shape of the draws."""
    tensors = [value for value in values if is_tensor(value)]
    place = tensors[0].backend if tensors else _place(name, backend)
    dtype: DTypeLike = next((x.dtype for x in tensors if is_floating(x.dtype)), "float32")
    made = [
        (value if is_floating(value.dtype) else value.astype(dtype))
        if is_tensor(value)
        else full((), float(as_number(name, value)), place, dtype)
        for value in values
    ]
    return made, _size(name, made, shape)


def _size(name: str, tensors: Sequence[Tensor[Any]], shape: ShapeLike | None) -> Shape:
    shapes = [x.shape for x in tensors]
    try:
        if shape is None:
            return tuple(np.broadcast_shapes(*shapes))
        size = as_shape(shape)
        if tuple(np.broadcast_shapes(size, *shapes)) != size:
            raise ValueError
    except ValueError as error:
        told = ", ".join(map(str, shapes))
        raise ShapeError(
            f"expected parameters of {name} that broadcast to the shape of the draws, got shapes "
            f"{told}{'' if shape is None else f' and shape={shape}'}; the draws have the axes of "
            "the parameters, and more in front"
        ) from error
    return size


def _place(name: str, backend: Any) -> Any:
    if backend is None:
        raise OperandError(
            f"expected a tensor among the parameters of {name}, or a backend to draw on, got "
            "neither; pass backend="
        )
    return check_backend(backend)


def _given(x: Any) -> Tensor[Any]:
    if not is_tensor(x):
        raise OperandError(
            f"expected probabilities as a tensor, got {type(x).__name__}; make it with born.tensor"
        )
    return x


def _on_host(
    name: str, x: Tensor[Any], size: Shape, *parameters: Any, of: str | None = None
) -> Tensor[Any]:
    """Draws that the host makes, where a parameter is."""
    if not parameters[-1].size and of is None and name == "multinomial":
        raise ShapeError("expected at least one class, got none; check the last axis of p")
    made = _drawn(x.backend, of or name, *parameters, size)
    return tensor(np.asarray(made), x.backend)


def _drawn(backend: Any, name: str, *arguments: Any) -> Any:
    try:
        return backend.drawn(name, *arguments)
    except ValueError as error:
        raise DomainError(
            f"expected parameters of {name.removeprefix('standard_')} inside their range, got "
            f"others: {error}; check their signs and sums"
        ) from error


def _smallest(x: Tensor[Any]) -> float:
    return float(np.finfo(np.float64 if x.dtype.itemsize == 8 else np.float32).eps)
