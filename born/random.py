"""Draws from distributions, by the generator of a backend: the same numbers on every backend.

Parameters are tensors or numbers that broadcast; where all are numbers, `backend=` says where to
draw. `shape` is that of the result, by default what the parameters broadcast to. Draws of
continuous distributions are differentiable by their parameters (reparameterised), of any order.
Other generators than the backend's own are contexts: `with backend.seeded(7):`. A checkpoint
holds where the backend's generator is. Poisson, gamma and multinomial draws, and what is made of
them, are made on the host, and so wait for a device.

Parameters out of their range are a `DomainError` where their values are on the host: of numbers, of
tensors there, and of all draws that the host makes. Elsewhere a check would wait for the device:
there `truncated_normal` gives NaN, `bernoulli` takes NaN for 0 and all else for the nearest of 0
and 1, and `categorical` gives some class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np

from born import ops
from born.autodiff import custom_vjp
from born.autodiff.batching import is_batched
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
    _check_scale("normal", scale)
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
    _check_scale("exponential", scale)
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
    _check_scale("laplace", scale)
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
        upper: at least `lower`; may be inf.
        shape: as for all of them.
        backend: the same.

    Raises:
        DomainError: `lower` is above `upper`, or NaN; on a device the draws there are NaN.

    >>> x = born.random.truncated_normal(2.0, 3.0, 5, backend=backend)
    >>> bool(((x >= 2.0) & (x <= 3.0)).all())
    True
    """
    ends = _known(lower), _known(upper)
    (lower, upper), size = _parameters("truncated_normal", (lower, upper), shape, backend)
    low, high = ends
    if low is not None and high is not None and not np.all(low <= high):
        raise DomainError(
            "expected bounds of truncated_normal with lower at most upper, got others; swap them, "
            "or check them for NaN"
        )
    u = rand(size, lower.backend, lower.dtype)
    # In the tail where probabilities are small, and so precise.
    flip = lower + upper > 0.0
    a, b = ops.where(flip, -upper, lower), ops.where(flip, -lower, upper)
    far = b < -_FAR
    near, width = ops.where(far, -b, _FAR), ops.where(far, b - a, 1.0)
    a, b = ops.where(far, -1.0, a), ops.where(far, 0.0, b)
    least, most = special.ndtr(a), special.ndtr(b)
    x = special.ndtri(least + (most - least) * u)
    if low is None or high is None or np.any(low > _FAR) or np.any(high < -_FAR):
        x = ops.where(far, -_in_tail(near, width, u), x)
    x = ops.minimum(ops.maximum(ops.where(flip, -x, x), lower), upper)
    return ops.where(lower <= upper, x, math.nan)


_FAR: Final = 5.0  # from here on probabilities soon underflow: of float32 at 14, of float64 at 38
_WIDEST: Final = 40.0  # what is further than this beyond _FAR is below e^-1000
_TAIL_STEPS: Final = 4  # of Newton's, from a relative error of 1 / _FAR^2


def _in_tail(near: Tensor[Any], width: Tensor[Any], u: Tensor[Any]) -> Tensor[Any]:
    """Normal draws from near, at least _FAR, up to near + width, by uniform ones u.

    With x = near + d, Q(x) = exp(-x^2 / 2) E(x) / 2 and E(x) = erfcx(x / sqrt 2) it solves

        -log (Q(x) / Q(near)) = near d + d^2 / 2 - log (E(x) / E(near)) = t

    for an exponential draw t that ends where x does; no term of it is large.
    """
    dtype = near.dtype
    near, width, u = (each.astype("float64") for each in (near, width, u))
    width = ops.minimum(width, _WIDEST)
    first = _scaled_tail(near)

    def depth(d: Tensor[Any], tail: Tensor[Any]) -> Tensor[Any]:
        return d * (near + 0.5 * d) - ops.log(tail / first)

    t = -ops.log1p(ops.expm1(-depth(width, _scaled_tail(near + width))) * u)
    d = 2.0 * t / (near + ops.sqrt(near * near + 2.0 * t))
    for _ in range(_TAIL_STEPS):
        tail = _scaled_tail(near + d)
        d = d - (depth(d, tail) - t) * tail * math.sqrt(math.pi / 2)
    return (near + d).astype(dtype)


def _scaled_tail(x: Tensor[Any]) -> Tensor[Any]:
    return special.erfcx(x * math.sqrt(0.5))


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
    _check_scale("gamma", scale)
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

    Raises:
        DomainError: p is not from [0, 1], and on the host.

    >>> born.random.bernoulli(born.tensor([0.0, 1.0], backend))
    Tensor([False,  True], dtype=bool)
    """
    known = _known(p)
    (p,), size = _parameters("bernoulli", (p,), shape, backend)
    if known is not None and not np.all((known >= 0.0) & (known <= 1.0)):
        raise _out_of_range("bernoulli", "probabilities from 0 to 1", known)
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

    Raises:
        DomainError: weights that are negative, not finite or all zero, or logits that are those of
            such weights; on the host.

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
    _check_weights(p if p is not None else _given(logits), logarithms=p is None)
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
_SHAPES: Final = {"gamma": "a", "beta": "a and b", "dirichlet": "alpha"}
"""What the shapes of gamma draws are called by each function."""


def _log_gamma(name: str, a: Tensor[Any], size: Shape) -> Tensor[Any]:
    """The logarithm of gamma draws, which does not underflow for small a."""
    whole = ops.broadcast_to(a, size)
    shapes = a.detach().numpy()
    if not np.all(shapes >= 0.0):
        raise _out_of_range(name, f"{_SHAPES[name]} of at least 0", shapes)
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


def _known(x: Any) -> HostArray | None:
    """The values of a parameter, if to look at them waits for no device."""
    if not is_tensor(x):
        return np.asarray(x, np.float64) if isinstance(x, (int, float, np.number)) else None
    array: HostArray | object = x.raw.array
    on_host = isinstance(array, np.ndarray) and not is_batched(x.raw)
    return cast("HostArray", array) if on_host else None


def _check_scale(name: str, scale: Any) -> None:
    """Refuse a scale below zero, or NaN, where its values are known."""
    known = _known(scale)
    if known is not None and not np.all(known >= 0.0):
        raise _out_of_range(name, "scale of at least 0", known)


def _check_weights(x: Tensor[Any], *, logarithms: bool) -> None:
    """Refuse weights of classes, or their logarithms, that are not in proportion to any p."""
    known = _known(x)
    if known is None:
        return
    least = -np.inf if logarithms else 0.0
    if not np.all((known >= least) & (known < np.inf)) or not np.all(
        np.any(known > least, axis=-1)
    ):
        what = "logits that are not NaN or inf, and not all -inf"
        raise _out_of_range(
            "categorical", what if logarithms else "finite weights from 0 up, not all zero", known
        )


def _out_of_range(name: str, expected: str, values: HostArray) -> DomainError:
    return DomainError(
        f"expected parameters of {name} inside their range, {expected}, got values from "
        f"{np.min(values)} to {np.max(values)}; check what they were computed from"
    )


def _smallest(x: Tensor[Any]) -> float:
    return float(np.finfo(np.float64 if x.dtype.itemsize == 8 else np.float32).eps)
