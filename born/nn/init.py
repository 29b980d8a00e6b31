"""First values of weights, drawn from the backend's random state.

Each function takes the `shape` of a weight, `(out, in, *kernel)`; the `backend` where
the tensor is made and whose random state is used; and a floating `dtype`. A shape of
fewer than two axes is a `ShapeError`. To initialise a layer differently:

>>> layer = nn.Linear(4, 8, backend)
>>> layer.weight = nn.Parameter(nn.init.xavier_uniform((8, 4), layer.weight.backend))

The same seed gives the same weights on every backend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from born.backend import B
from born.dtypes import DTypeLike, as_dtype, is_floating
from born.errors import ConfigError, DTypeError, ShapeError
from born.nn.parameter import Parameter
from born.operands import check_backend
from born.raw import RawTensor, Shape
from born.tensor import Tensor
from born.validation import choice, number

Nonlinearity: TypeAlias = Literal["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
Fan: TypeAlias = Literal["fan_in", "fan_out"]


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out): how many inputs feed each output of a weight, and the reverse.

    The kernel of a convolution multiplies both: `in * height * width` and `out * height * width`.

    >>> fans((16, 3, 5, 5))
    (75, 400)
    """
    if len(shape) < 2:
        raise ShapeError(
            f"expected a weight of shape (out, in, ...), got {tuple(shape)}; "
            "initialise vectors with born.zeros, born.ones or nn.init.uniform"
        )
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def gain(nonlinearity: Nonlinearity, slope: float = 0.01) -> float:
    """The factor on weights before a nonlinearity that keeps the variance of its results.

    1 for `"linear"` and `"sigmoid"`, 5/3 for `"tanh"`, sqrt(2) for `"relu"`,
    sqrt(2 / (1 + slope^2)) for `"leaky_relu"`, 3/4 for `"selu"`.

    Args:
        nonlinearity: what follows the weight.
        slope: of the negative side of `"leaky_relu"`.

    Source: He et al. (2015), "Delving Deep into Rectifiers", equations 10 and 15, for
    relu and leaky_relu; the others are the values of PyTorch's `init.calculate_gain`.

    >>> round(gain("relu"), 6)
    1.414214
    """
    gains: dict[Nonlinearity, float] = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5.0 / 3.0,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2.0 / (1.0 + slope * slope)),
        "selu": 0.75,
    }
    if nonlinearity not in gains:
        raise ConfigError(
            f"expected one of the nonlinearities {', '.join(gains)}, got {nonlinearity!r}; "
            'use the nearest of them, "relu" for gelu and silu'
        )
    return gains[nonlinearity]


def uniform(
    shape: Shape, backend: B, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = "float32"
) -> Tensor[B]:
    """Draws from the uniform distribution over [low, high).

    >>> bool((abs(uniform((9,), backend, -0.1, 0.1).numpy()) <= 0.1).all())
    True
    """
    return _scaled(check_backend(backend).innermost.uniform(shape, dtype), backend, high - low, low)


def normal(
    shape: Shape, backend: B, mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = "float32"
) -> Tensor[B]:
    """Draws from the normal distribution.

    >>> normal((2, 3), backend, std=0.02).shape
    (2, 3)
    """
    return _scaled(check_backend(backend).innermost.normal(shape, dtype), backend, std, mean)


def xavier_uniform(
    shape: Shape, backend: B, gain: float = 1.0, dtype: DTypeLike = "float32"
) -> Tensor[B]:
    """Draws from U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)).

    Args:
        gain: at least 0; see the function `gain`.

    Source: Glorot and Bengio (2010), "Understanding the difficulty of training deep
    feedforward neural networks", equation 16.

    >>> xavier_uniform((3, 5), backend).shape
    (3, 5)
    """
    bound = math.sqrt(3.0) * _xavier_std(shape, gain)
    return uniform(shape, backend, -bound, bound, dtype)


def xavier_normal(
    shape: Shape, backend: B, gain: float = 1.0, dtype: DTypeLike = "float32"
) -> Tensor[B]:
    """Draws from N(0, std^2), std = gain sqrt(2 / (fan_in + fan_out)).

    Arguments and errors as for `xavier_uniform`.

    Source: Glorot and Bengio (2010), equation 12.

    >>> xavier_normal((3, 5), backend).shape
    (3, 5)
    """
    return normal(shape, backend, 0.0, _xavier_std(shape, gain), dtype)


def kaiming_uniform(
    shape: Shape,
    backend: B,
    nonlinearity: Nonlinearity = "relu",
    slope: float = 0.01,
    fan: Fan = "fan_in",
    dtype: DTypeLike = "float32",
) -> Tensor[B]:
    """Draws from U(-a, a), a = gain sqrt(3 / fan).

    Args:
        nonlinearity: what follows the weight; it sets the gain.
        slope: of the negative side of `"leaky_relu"`.
        fan: `"fan_in"` keeps the variance of the activations on the way forward,
            `"fan_out"` that of the gradients on the way back.

    Source: He et al. (2015), "Delving Deep into Rectifiers", equations 10 and 14.

    >>> kaiming_uniform((3, 5), backend).shape
    (3, 5)
    """
    bound = math.sqrt(3.0) * _kaiming_std(shape, nonlinearity, slope, fan)
    return uniform(shape, backend, -bound, bound, dtype)


def kaiming_normal(
    shape: Shape,
    backend: B,
    nonlinearity: Nonlinearity = "relu",
    slope: float = 0.01,
    fan: Fan = "fan_in",
    dtype: DTypeLike = "float32",
) -> Tensor[B]:
    """Draws from N(0, std^2), std = gain / sqrt(fan).

    Arguments, errors and source as for `kaiming_uniform`.

    >>> kaiming_normal((3, 5), backend, "tanh").shape
    (3, 5)
    """
    return normal(shape, backend, 0.0, _kaiming_std(shape, nonlinearity, slope, fan), dtype)


def orthogonal(
    shape: Shape, backend: B, gain: float = 1.0, dtype: DTypeLike = "float32"
) -> Tensor[B]:
    """A random matrix with orthonormal rows or columns, whichever are fewer, times the gain.

    Of a kernel the axes after the first count as one. It is worked out on the host, in float64.

    Args:
        gain: at least 0; see the function `gain`.

    Source: Saxe, McClelland and Ganguli (2014), "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks"; signs after Mezzadri (2007), arXiv:math-ph/0609050,
    so that every orthogonal matrix is equally likely.

    >>> w = orthogonal((2, 3), backend, dtype="float64")
    >>> (w @ w.T).numpy().round(12) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """
    fans(shape)
    number("gain", gain, low=0.0)
    if not is_floating(as_dtype(dtype)):
        raise DTypeError(
            f"expected a floating dtype in orthogonal, got {as_dtype(dtype)}; convert what it "
            "makes with .astype"
        )
    rows, columns = shape[0], math.prod(shape[1:])
    inner = check_backend(backend).innermost
    draws = inner.to_numpy(inner.normal((max(rows, columns), min(rows, columns)), "float64"))
    q, r = np.linalg.qr(draws)
    q *= np.where(np.diagonal(r) < 0.0, -gain, gain)
    values = np.ascontiguousarray(q if rows >= columns else q.T).reshape(shape)
    return Tensor(backend.from_numpy(values.astype(as_dtype(dtype))), backend)


def truncated_normal(
    shape: Shape,
    backend: B,
    mean: float = 0.0,
    std: float = 1.0,
    bound: float = 2.0,
    dtype: DTypeLike = "float32",
) -> Tensor[B]:
    """Draws from the normal distribution, again for those beyond `bound` standard deviations.

    Args:
        mean: of the distribution.
        std: its standard deviation before it is cut; at 2 on both sides 0.88 of it is left.
        bound: how many standard deviations from the mean a draw may lie, at least 0.1.

    >>> bool((abs(truncated_normal((99,), backend, std=0.02).numpy()) <= 0.04).all())
    True
    """
    number("bound", bound, low=0.1)
    inner = check_backend(backend).innermost
    draws = inner.normal(shape, dtype)
    beyond = inner.greater(inner.abs(draws), bound)
    while bool(inner.to_numpy(inner.any(beyond))):
        draws = inner.where(beyond, inner.normal(shape, dtype), draws)
        beyond = inner.greater(inner.abs(draws), bound)
    return _scaled(draws, backend, std, mean)


def default_bound(fan_in: int) -> float:
    """1 / sqrt(fan_in): `Linear` and `Conv2d` start from the uniform distribution within it.

    So do PyTorch's: it is Kaiming uniform for a leaky rectifier of slope sqrt(5). Sources: LeCun
    et al. (1998), "Efficient BackProp", section 4.6; PyTorch, `torch.nn.Linear`, Variables.

    >>> default_bound(64)
    0.125
    """
    return 1.0 / math.sqrt(fan_in)


def weight_and_bias(
    shape: Shape, backend: B, bias: bool, dtype: DTypeLike
) -> tuple[Parameter[B], Parameter[B] | None]:
    """What `Linear` and `Conv2d` start from: both uniform within `default_bound`.

    >>> weight_and_bias((3, 5), backend, False, "float32")
    (Parameter(shape=(3, 5), dtype=float32), None)
    """
    bound = default_bound(fans(shape)[0])
    weight = Parameter(uniform(shape, backend, -bound, bound, dtype))
    if not bias:
        return weight, None
    return weight, Parameter(uniform(shape[:1], backend, -bound, bound, dtype))


def _scaled(draws: RawTensor, backend: B, factor: float, offset: float) -> Tensor[B]:
    # On the inner backend nothing is recorded. Every backend rounds twice.
    inner = backend.innermost
    return Tensor(inner.add(inner.mul(draws, factor), offset), backend)


def _xavier_std(shape: Shape, gain: float) -> float:
    fan_in, fan_out = fans(shape)
    return number("gain", gain, low=0.0) * math.sqrt(2.0 / max(fan_in + fan_out, 1))


def _kaiming_std(shape: Shape, nonlinearity: Nonlinearity, slope: float, fan: Fan) -> float:
    fan_in, fan_out = fans(shape)
    chosen = fan_in if choice("fan", fan, get_args(Fan)) == "fan_in" else fan_out
    return gain(nonlinearity, slope) / math.sqrt(max(chosen, 1))
