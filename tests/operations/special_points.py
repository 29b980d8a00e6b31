"""What operations give at special points: zeros of both signs, infinities, NaN, ties, nothing.

A table of calls. Each is made by born, by PyTorch and by JAX, in three orders: the value, the
gradient along ones, and the Hessian times ones; where a call has several elements a row, along
1, 2, 3 instead, so that sums do not cancel. `record_special_points` keeps what the two libraries
give in a file. Where born differs on purpose, DIFFERENCES says so and why. Operations that have
no special points of their own are in WITHOUT, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

import born
from born import ops
from born.backend import OPERATIONS
from born.raw import HostArray

RECORDED: Final = Path(__file__).with_name("special_points.json")
"""What PyTorch and JAX give: library -> call -> for each order, the numbers of each array."""

T: TypeAlias = "born.Tensor[Any]"
Ours: TypeAlias = Callable[[T], T] | Callable[[T, T], T] | Callable[[T, T, T], T]
Theirs: TypeAlias = (
    Callable[[Any, Any], Any] | Callable[[Any, Any, Any], Any] | Callable[[Any, Any, Any, Any], Any]
)

INF: Final = math.inf
NAN: Final = math.nan
LEAST: Final = 5e-324
LARGE: Final = 1.5e308

LINE: Final = np.array(
    [0.0, -0.0, 1.0, -1.0, 2.5, -2.5, INF, -INF, NAN, LEAST, -LEAST, LARGE, -LARGE]
)
"""Points for functions of one number."""

FEW: Final = (0.0, -0.0, 1.0, -2.0, 3.0, INF, -INF, NAN)
LEFT, RIGHT = (each.ravel() for each in np.meshgrid(FEW, FEW, indexing="ij"))
"""Points for functions of two numbers: every pair of a few."""

BASES: Final = (0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, INF, -INF, NAN)
EXPONENTS: Final = (0.0, 1.0, 2.0, 3.0, -1.0, 0.5, -0.5, INF, -INF, NAN)
BASE, EXPONENT = (each.ravel() for each in np.meshgrid(BASES, EXPONENTS, indexing="ij"))

ROWS: Final = np.array(
    [
        [1.0, 2.0, 3.0],
        [2.0, 2.0, 1.0],
        [1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0],
        [0.0, -0.0, 1.0],
        [INF, 1.0, 0.0],
        [INF, INF, 1.0],
        [-INF, 1.0, 2.0],
        [-INF, -INF, -INF],
        [INF, -INF, 0.0],
        [NAN, 1.0, 2.0],
        [NAN, NAN, NAN],
        [INF, NAN, -INF],
        [LEAST, 0.0, 0.0],
        [LARGE, LARGE, -LARGE],
    ]
)
"""Points for functions of several numbers: one point a row."""

NOTHING: Final = np.zeros((2, 0))
SINGLE: Final = np.array([[0.0], [2.0], [-INF], [NAN]])


@dataclass(frozen=True)
class Call:
    """One call of an operation.

    Attributes:
        name: the operation, and after a colon what is special about the call.
        inputs: the tensors that are differentiated by.
        ours: the call in born, of tensors.
        torch: the same in PyTorch, of the module and tensors.
        jax: the same in JAX.
        orders: how many orders of derivative there are.
    """

    name: str
    inputs: tuple[HostArray, ...]
    ours: Callable[..., T]
    torch: Callable[..., Any]
    jax: Callable[..., Any]
    orders: int = 2

    @property
    def operation(self) -> str:
        """The operation that is called."""
        return self.name.partition(":")[0]


CALLS: Final[dict[str, Call]] = {}


def _enter(
    name: str,
    inputs: Sequence[HostArray],
    ours: Ours | None = None,
    torch: Theirs | None = None,
    jax: Theirs | None = None,
    orders: int = 2,
) -> None:
    """Enter a call; a function that is not given is that of the operation's name."""
    operation = name.partition(":")[0]

    def of_torch(library: Any, *xs: Any) -> Any:
        return getattr(library, operation)(*xs)

    def of_jax(library: Any, *xs: Any) -> Any:
        return getattr(library.numpy, operation)(*xs)

    CALLS[name] = Call(
        name,
        tuple(inputs),
        ours or getattr(ops, operation),
        torch or of_torch,
        jax or of_jax,
        orders,
    )


def weights(shape: tuple[int, ...]) -> HostArray:
    """What a result, or a gradient, is summed with: ones, or 1, 2, 3 along the rows of a matrix."""
    if len(shape) != 2:
        return np.ones(shape)
    return np.broadcast_to(1.0 + np.arange(shape[1]), shape).copy()


# -- functions of one number ---------------------------------------------------------------

for _name in ["neg", "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh"]:
    if _name == "neg":
        _enter(_name, [LINE], jax=lambda jax, x: -x)
    else:
        _enter(_name, [LINE])
for _name in (
    *("arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cosh", "exp2", "log10"),
    *("log2", "sinh", "tan", "ceil", "floor", "trunc"),
):
    _enter(
        f"ufunc:{_name}",
        [LINE],
        getattr(ops, _name),
        lambda torch, x, name=_name: getattr(torch, name)(x),
        lambda jax, x, name=_name: getattr(jax.numpy, name)(x),
    )
for _name in ("arctan2", "copysign", "fmod", "hypot"):
    _enter(
        f"ufunc:{_name}",
        [LEFT, RIGHT],
        getattr(ops, _name),
        lambda torch, x, y, name=_name: getattr(torch, name)(x, y),
        lambda jax, x, y, name=_name: getattr(jax.numpy, name)(x, y),
    )
_enter("rsqrt", [LINE], jax=lambda jax, x: jax.lax.rsqrt(x))
_enter("erf", [LINE], jax=lambda jax, x: jax.scipy.special.erf(x))
_enter("sigmoid", [LINE], jax=lambda jax, x: jax.nn.sigmoid(x))
_enter("relu", [LINE], jax=lambda jax, x: jax.nn.relu(x))
_enter("isfinite", [LINE], orders=0)
_enter("logical_not", [LINE], orders=0)
_enter(
    "silu",
    [LINE],
    torch=lambda torch, x: torch.nn.functional.silu(x),
    jax=lambda jax, x: jax.nn.silu(x),
)
_enter(
    "softplus",
    [LINE],
    torch=lambda torch, x: torch.nn.functional.softplus(x),
    jax=lambda jax, x: jax.nn.softplus(x),
)
_enter(
    "gelu",
    [LINE],
    torch=lambda torch, x: torch.nn.functional.gelu(x),
    jax=lambda jax, x: jax.nn.gelu(x, approximate=False),
)
_enter(
    "gelu:tanh",
    [LINE],
    ours=lambda x: ops.gelu(x, "tanh"),
    torch=lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
    jax=lambda jax, x: jax.nn.gelu(x, approximate=True),
)
_enter(
    "clamp",
    [LINE],
    ours=lambda x: ops.clamp(x, -1, 1),
    torch=lambda torch, x: torch.clamp(x, -1, 1),
    jax=lambda jax, x: jax.numpy.clip(x, -1, 1),
)
_enter(
    "astype",
    [LINE],
    lambda x: x.astype("float32"),
    lambda t, x: x.float(),
    lambda j, x: x.astype("float32"),
)

# -- functions of two numbers --------------------------------------------------------------

for _name, _other in {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}.items():

    def _jax(jax: Any, x: Any, y: Any, function: str = _other) -> Any:
        return getattr(jax.numpy, function)(x, y)

    _enter(_name, [LEFT, RIGHT], jax=_jax)
_enter("maximum", [LEFT, RIGHT])
_enter("minimum", [LEFT, RIGHT])
_enter("pow", [BASE, EXPONENT], jax=lambda jax, x, y: jax.numpy.power(x, y))
for _power in (0, 1, 2, 3, -1, 0.5):

    def _raised(x: Any, power: float = _power) -> Any:
        return x**power

    def _raised_there(library: Any, x: Any, power: float = _power) -> Any:
        return x**power

    _enter(f"pow:x**{_power}", [LINE], _raised, _raised_there, _raised_there)
for _base in (0.0, 1.0, 2.0, -2.0):

    def _power_of(y: Any, base: float = _base) -> Any:
        return base**y

    def _power_of_there(library: Any, y: Any, base: float = _base) -> Any:
        return base**y

    _enter(f"pow:{_base:g}**y", [LINE], _power_of, _power_of_there, _power_of_there)
for _name, _theirs in {
    "equal": "eq",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
    "logical_and": "logical_and",
    "logical_or": "logical_or",
}.items():

    def _compared(torch: Any, x: Any, y: Any, function: str = _theirs) -> Any:
        return getattr(torch, function)(x, y)

    _enter(_name, [LEFT, RIGHT], torch=_compared, orders=0)


def _where(x: T, y: T) -> T:
    return ops.where(x > 0, x, y)


_enter(
    "where",
    [LEFT, RIGHT],
    _where,
    lambda torch, x, y: torch.where(x > 0, x, y),
    lambda jax, x, y: jax.numpy.where(x > 0, x, y),
)

# -- functions of rows ---------------------------------------------------------------------

OF_ROWS: Final[
    dict[str, tuple[Callable[[T], T], Callable[[Any, Any], Any], Callable[[Any, Any], Any]]]
] = {
    "sum": (lambda x: ops.sum(x, 1), lambda t, x: x.sum(1), lambda j, x: x.sum(1)),
    "mean": (lambda x: ops.mean(x, 1), lambda t, x: x.mean(1), lambda j, x: x.mean(1)),
    "var": (
        lambda x: ops.var(x, 1),
        lambda t, x: t.var(x, 1, correction=0),
        lambda j, x: j.numpy.var(x, 1),
    ),
    "std": (
        lambda x: ops.std(x, 1),
        lambda t, x: t.std(x, 1, correction=0),
        lambda j, x: j.numpy.std(x, 1),
    ),
    "prod": (lambda x: ops.prod(x, 1), lambda t, x: x.prod(1), lambda j, x: x.prod(1)),
    "max": (lambda x: ops.max(x, 1), lambda t, x: x.amax(1), lambda j, x: x.max(1)),
    "min": (lambda x: ops.min(x, 1), lambda t, x: x.amin(1), lambda j, x: x.min(1)),
    "logsumexp": (
        lambda x: ops.logsumexp(x, 1),
        lambda t, x: t.logsumexp(x, 1),
        lambda j, x: j.scipy.special.logsumexp(x, 1),
    ),
    "norm": (
        lambda x: ops.norm(x, 1),
        lambda t, x: t.linalg.vector_norm(x, dim=1),
        lambda j, x: j.numpy.linalg.norm(x, axis=1),
    ),
    "norm:1": (
        lambda x: ops.norm(x, 1, order=1),
        lambda t, x: t.linalg.vector_norm(x, 1, dim=1),
        lambda j, x: j.numpy.linalg.norm(x, 1, axis=1),
    ),
    "norm:inf": (
        lambda x: ops.norm(x, 1, order=math.inf),
        lambda t, x: t.linalg.vector_norm(x, math.inf, dim=1),
        lambda j, x: j.numpy.linalg.norm(x, math.inf, axis=1),
    ),
    "norm:squared": (
        lambda x: ops.norm(x, 1) ** 2,
        lambda t, x: t.linalg.vector_norm(x, dim=1) ** 2,
        lambda j, x: j.numpy.linalg.norm(x, axis=1) ** 2,
    ),
    "cumsum": (lambda x: ops.cumsum(x, 1), lambda t, x: x.cumsum(1), lambda j, x: x.cumsum(1)),
    "cumprod": (lambda x: ops.cumprod(x, 1), lambda t, x: x.cumprod(1), lambda j, x: x.cumprod(1)),
    "softmax": (
        lambda x: ops.softmax(x, 1),
        lambda t, x: t.softmax(x, 1),
        lambda j, x: j.nn.softmax(x, 1),
    ),
    "log_softmax": (
        lambda x: ops.log_softmax(x, 1),
        lambda t, x: t.log_softmax(x, 1),
        lambda j, x: j.nn.log_softmax(x, 1),
    ),
    "layer_norm": (
        lambda x: ops.layer_norm(x),
        lambda t, x: t.nn.functional.layer_norm(x, x.shape[1:]),
        lambda j, x: j.nn.standardize(x, -1, epsilon=1e-5),
    ),
    "rms_norm": (
        lambda x: ops.rms_norm(x, eps=1e-6),
        lambda t, x: t.nn.functional.rms_norm(x, x.shape[1:], eps=1e-6),
        lambda j, x: x * j.lax.rsqrt(j.numpy.mean(x * x, -1, keepdims=True) + 1e-6),
    ),
    "cross_entropy": (
        lambda x: ops.cross_entropy(
            x, born.zeros(len(x), x.backend, dtype="int64"), reduction="none"
        ),
        lambda t, x: t.nn.functional.cross_entropy(
            x, t.zeros(len(x), dtype=t.int64), reduction="none"
        ),
        lambda j, x: -j.nn.log_softmax(x, 1)[:, 0],
    ),
}
"""The same along rows in born, PyTorch and JAX."""

CHOSEN: Final = {"argmax": "argmax", "argmin": "argmin", "any": "any", "all": "all"}
EMPTY_REFUSED: Final = ("max", "min", "norm:inf", "cross_entropy", "layer_norm", "rms_norm")
"""What has no value of no elements, or no classes."""

for _name, (_ours, _torch, _jax_function) in OF_ROWS.items():
    _enter(_name, [ROWS], _ours, _torch, _jax_function)
    _enter(
        f"{_name}:one" if ":" not in _name else f"{_name}, one",
        [SINGLE],
        _ours,
        _torch,
        _jax_function,
    )
    if _name not in EMPTY_REFUSED:
        _enter(
            f"{_name}:none" if ":" not in _name else f"{_name}, none",
            [NOTHING],
            _ours,
            _torch,
            _jax_function,
        )
for _name in CHOSEN:

    def _chosen(x: Any, function: str = _name) -> Any:
        return getattr(x, function)(1)

    def _chosen_there(library: Any, x: Any, function: str = _name) -> Any:
        return getattr(x, function)(1)

    _enter(_name, [ROWS], _chosen, _chosen_there, _chosen_there, orders=0)

# -- products ------------------------------------------------------------------------------

MATRIX: Final = np.array([[1.0, 0.0, -2.0], [INF, 0.0, 1.0], [NAN, 1.0, 0.0]])
COLUMNS: Final = np.array([[1.0, 0.0], [2.0, INF], [-1.0, 0.0]])

_enter("matmul", [MATRIX, COLUMNS])
_enter("matmul:none", [NOTHING, NOTHING.T.copy()])
_enter(
    "linear",
    [MATRIX, COLUMNS.T.copy(), np.array([0.0, NAN])],
    torch=lambda torch, x, w, b: torch.nn.functional.linear(x, w, b),
    jax=lambda jax, x, w, b: x @ w.T + b,
)
_enter(
    "linear_relu",
    [
        np.array([[1.0, 2.0], [INF, 0.0], [NAN, 1.0]]),
        np.array([[1.0, -1.0], [2.0, 1.0]]),
        np.zeros(2),
    ],
    ours=lambda x, w, b: ops.linear(x, w, b, activation="relu"),
    torch=lambda torch, x, w, b: torch.relu(torch.nn.functional.linear(x, w, b)),
    jax=lambda jax, x, w, b: jax.nn.relu(x @ w.T + b),
)

# -- images --------------------------------------------------------------------------------

IMAGE: Final = np.array(
    [
        [1.0, 1.0, -INF, -INF, 5.0, NAN],
        [1.0, 0.0, -INF, -INF, NAN, 7.0],
        [-INF, -INF, 2.0, INF, 0.0, -0.0],
        [-INF, -INF, INF, 1.0, -0.0, 0.0],
    ]
).reshape(1, 1, 4, 6)


def _pool(padding: int) -> None:
    widths = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    size = (1, 1, 2, 2)
    _enter(
        f"max_pool2d:padding {padding}",
        [IMAGE],
        ours=lambda x: ops.max_pool2d(x, 2, 2, padding),
        torch=lambda torch, x: torch.nn.functional.max_pool2d(x, 2, 2, padding),
        jax=lambda jax, x: jax.lax.reduce_window(x, -INF, jax.lax.max, size, size, widths),
    )


_pool(0)
_pool(1)
_enter(
    "avg_pool2d",
    [IMAGE],
    ours=lambda x: ops.avg_pool2d(x, 2),
    torch=lambda torch, x: torch.nn.functional.avg_pool2d(x, 2),
    jax=lambda jax, x: (
        jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4
    ),
)
_enter(
    "conv2d",
    [IMAGE, np.array([[[[1.0, 0.0], [0.0, -1.0]]]])],
    ours=lambda x, w: ops.conv2d(x, w),
    torch=lambda torch, x, w: torch.nn.functional.conv2d(x, w),
    jax=lambda jax, x, w: jax.lax.conv(x, w, (1, 1), "VALID"),
)

# -- indexing ------------------------------------------------------------------------------

INDEX: Final = np.array([2, 0, 2])
_enter(
    "index_add",
    [np.array([0.0, INF, NAN]), np.array([INF, NAN, -INF])],
    ours=lambda x, y: born.Tensor(
        x.backend.index_add(x.raw, x.backend.from_numpy(INDEX), y.raw), x.backend
    ),
    torch=lambda torch, x, y: x.index_add(0, torch.tensor(INDEX), y),
    jax=lambda jax, x, y: x.at[INDEX].add(y),
)
_enter(
    "scatter_add",
    [np.array([0.0, INF, NAN]), np.array([INF, NAN, -INF])],
    ours=lambda x, y: ops.scatter_add(x, born.tensor(INDEX, x.backend), y, axis=0),
    torch=lambda torch, x, y: x.scatter_add(0, torch.tensor(INDEX), y),
    jax=lambda jax, x, y: x.at[INDEX].add(y),
)

# -- where born differs, and why -----------------------------------------------------------

Point: TypeAlias = HostArray
"""The numbers at one place of several tensors, or a row, or all that a call is given."""


@dataclass(frozen=True)
class Difference:
    """Where born gives something else than a library does.

    Attributes:
        calls: their names; all calls if there are none.
        library: what born differs from.
        orders: of derivative.
        at: whether the difference is allowed at a point.
        why: the reason.
        device: whether only a device's functions differ.
    """

    calls: tuple[str, ...]
    library: str
    orders: tuple[int, ...]
    at: Callable[[Point], bool]
    why: str
    device: bool = False


def _nan(x: Point) -> bool:
    return bool(np.isnan(x).any())


def _infinite(x: Point) -> bool:
    return bool(np.isinf(x).any())


def _zero(x: Point) -> bool:
    return bool((x == 0).any())


def _equal(x: Point) -> bool:
    return bool((x == x[0]).all())


def _subnormal(x: Point) -> bool:
    return bool(((x != 0) & (np.abs(x) < np.finfo(np.float64).tiny)).any())


def _large(x: Point) -> bool:
    return bool((np.abs(x) >= LARGE).any())


def _lowest(x: Point) -> bool:
    return bool((x == -INF).all())


_STAYS: Final = "the slope at NaN is not known: NaN stays NaN"
_SIGN: Final = "the sign of NaN is NaN, as NumPy has it, and so is the slope of |x|"
_SHORT: Final = "PyTorch's divisor underflows or its square overflows; the result is in range"
_DIRECTED: Final = "zero is a subgradient where a length or deviation is zero, as in PyTorch"
_FAR: Final = "far out the factor e^(-x^2) is zero, not zero times infinity"
_POWER: Final = "PyTorch's masks at zero leave terms out of the second derivative, or make it NaN"


def _differences(
    calls: str, libraries: str, orders: str, at: Callable[[Point], bool], why: str
) -> list[Difference]:
    names = tuple(name.strip() for name in calls.split(";") if name)
    numbers = tuple(map(int, orders))
    return [Difference(names, library, numbers, at, why) for library in libraries.split()]


DIFFERENCES: Final[list[Difference]] = [
    *_differences("", "jax", "012", _subnormal, "JAX takes subnormal numbers for zero on CPUs"),
    *(
        Difference((name,), "torch", (0,), _subnormal, "so do CUDA's logarithms", device=True)
        for name in ("log", "ufunc:log2", "ufunc:log10")
    ),
    *_differences("log; log1p; pow:x**-1", "jax", "01", _large, "and 1 / x, too"),
    *_differences("ufunc:log2; ufunc:arccosh", "jax", "1", _large, "and 1 / x, too"),
    *_differences("ufunc:arccosh", "torch", "1", _large, _SHORT),
    *_differences("ufunc:arcsinh; ufunc:arctanh", "torch", "2", _large, _SHORT),
    *_differences("ufunc:arccosh; ufunc:arcsinh; ufunc:arctan", "jax", "2", _large, _SHORT),
    *_differences("ufunc:arcsinh; ufunc:arctanh", "torch", "2", _subnormal, "1 + x is 1 there"),
    *_differences(
        "ufunc:arccos; ufunc:arccosh; ufunc:arcsin",
        "torch jax",
        "2",
        lambda x: abs(float(x[0])) == 1,
        "at the end of the domain: exact factors of the slope, whose product has no derivative",
    ),
    *_differences("ufunc:arctanh", "torch", "2", lambda x: abs(float(x[0])) == 1, "and there"),
    *_differences(
        "ufunc:arccosh", "torch jax", "12", lambda x: x[0] < 0, "the slope of NaN is NaN"
    ),
    *_differences("ufunc:arctanh", "jax", "2", _infinite, "the slope of NaN is NaN"),
    *_differences(
        "ufunc:arctan2",
        "torch",
        "1",
        lambda x: not x.any(),
        "the angle at (0, 0) has no slope, as in JAX",
    ),
    *_differences("ufunc:copysign", "torch", "1", _infinite, "the slope is 1 or -1, as in JAX"),
    *_differences("ufunc:copysign", "torch", "2", lambda x: True, "and the slope of that is zero"),
    *_differences("ufunc:copysign", "jax", "1", _nan, _STAYS),
    *_differences(
        "ufunc:copysign", "jax", "1", _zero, "JAX takes the right-hand slope of |x| at zero"
    ),
    *_differences("ufunc:hypot", "torch jax", "1", lambda x: not x.any(), _DIRECTED),
    *_differences("ufunc:hypot", "jax", "12", _infinite, "x over an infinite length is zero"),
    *_differences("ufunc:hypot", "torch jax", "2", _equal, "a sum of zeros, to a rounding"),
    *_differences("log1p", "torch", "0", _subnormal, "log(1 + x) is x for small x"),
    *_differences("clamp; maximum; minimum; norm:inf; norm:inf, one", "torch", "1", _nan, _STAYS),
    *_differences("clamp; maximum; minimum", "jax", "1", _nan, _STAYS),
    *_differences("relu", "torch jax", "12", _nan, _STAYS),
    *_differences("linear_relu", "torch jax", "12", _nan, _STAYS),
    *_differences("sign", "torch", "0", _nan, _SIGN),
    *_differences("abs; norm:1; norm:1, one", "torch jax", "1", _nan, _SIGN),
    *_differences(
        "abs; norm:1; norm:1, one; norm:inf; norm:inf, one",
        "jax",
        "1",
        _zero,
        "JAX takes the right-hand slope of |x| at zero; born the subgradient zero, as PyTorch",
    ),
    *_differences(
        "clamp",
        "jax",
        "1",
        lambda x: abs(float(x[0])) == 1,
        "JAX shares the gradient at a bound; it passes whole, as in PyTorch",
    ),
    *_differences(
        "rsqrt",
        "jax",
        "1",
        _zero,
        "the slope at -0 has the sign of the cube of the result, as in PyTorch",
    ),
    *_differences("erf", "torch jax", "2", lambda x: _infinite(x) or _large(x), _FAR),
    *_differences("gelu", "torch jax", "2", _large, _FAR),
    *_differences("pow", "torch", "2", lambda x: x[0] == 0 or x[1] == 0, _POWER),
    *_differences("pow:0**y", "torch", "2", lambda x: x[0] >= 0, _POWER),
    *_differences(
        "pow",
        "jax",
        "1",
        lambda x: x[1] == 0 and not abs(x[0]) > 0,
        "x**0 is 1 for every x, NaN too, and its slope zero",
    ),
    *_differences(
        "pow",
        "jax",
        "12",
        lambda x: x[0] == 0 and (x[1] < 0 or x[1] in (0, 1)),
        "0**y is infinite for y < 0, and its derivatives are; for others JAX has NaN where a "
        "term with log 0 is zero by the convention for the first derivative",
    ),
    *_differences(
        "pow:0**y", "jax", "12", lambda x: x[0] < 0, "0**y falls from infinity where y < 0"
    ),
    *_differences(
        "pow:x**0.5",
        "torch",
        "1",
        lambda x: x[0] == 0 or x[0] == -INF,
        "PyTorch differentiates the square root, born the power",
    ),
    *_differences(
        "pow:x**0.5",
        "jax",
        "0",
        lambda x: x[0] == -INF,
        "NumPy takes the square root for a power of a half, as PyTorch does",
    ),
    *_differences("var; std", "torch", "0", _large, "a square that overflows is infinite"),
    *_differences(
        "var",
        "jax",
        "1",
        lambda x: _infinite(x) or _large(x),
        "the slope is the distance from the mean, infinite itself, as in PyTorch",
    ),
    *_differences(
        "std; std:one",
        "torch",
        "2",
        lambda x: _equal(x) or _subnormal(x),
        "a deviation of zero has no second derivative, which is NaN; PyTorch has zero",
    ),
    *_differences("std; std:one; norm; norm:one", "jax", "1", _equal, _DIRECTED),
    *_differences("norm:squared; norm:squared, one", "jax", "1", _equal, _DIRECTED),
    *_differences("norm; std", "torch", "1", _subnormal, _SHORT),
    *_differences("norm:squared", "torch", "2", _subnormal, _SHORT),
    *_differences("norm", "jax", "2", _large, "the length is infinite, and its slope zero"),
    *_differences(
        "prod",
        "jax",
        "2",
        lambda x: _infinite(x) or _large(x),
        "products of the others, without dividing by an element",
    ),
    *_differences(
        "logsumexp; logsumexp:one",
        "torch jax",
        "12",
        _lowest,
        "a row of -infinity weighs nothing: masked rows have gradient zero, not NaN",
    ),
    *_differences(
        "logsumexp",
        "torch",
        "12",
        _large,
        "the weights add up to one, though log 2 is lost beside the largest number",
    ),
    *_differences(
        "cumprod",
        "torch",
        "1",
        lambda x: _infinite(x) or _large(x),
        "products of the others, without dividing by an element",
    ),
    *_differences(
        "cumprod",
        "jax",
        "2",
        _large,
        "the product has overflowed; infinities of both signs meet",
    ),
    *_differences(
        "log_softmax",
        "torch jax",
        "01",
        lambda x: bool((x == INF).any()),
        "an infinite number leaves nothing to the others, -infinity, and NaN to itself",
    ),
    *_differences("layer_norm; rms_norm", "torch jax", "01", _large, _SHORT),
    *_differences(
        "max_pool2d:padding 0",
        "torch jax",
        "1",
        _nan,
        "of several NaN the first wins, as everywhere in born; PyTorch's last, JAX's none",
    ),
    *_differences(
        "max_pool2d:padding 1",
        "jax",
        "1",
        _nan,
        "NaN wins, as in the value; in JAX's gradient it loses",
    ),
]
"""Every difference that is meant, and why."""

_MOVES: Final = "moves elements, and computes with none"
_MAKES: Final = "makes or copies numbers, and computes with none"
_PIECE: Final = "is the derivative of another operation, whose calls have order 1"

MOVING: Final = """
reshape transpose squeeze expand_dims broadcast_to concatenate stack split flip pad getitem take
gather unfold
"""
MAKING: Final = "zeros ones full arange eye normal uniform from_numpy to_numpy assign copy"

MATRICES: Final = """
cholesky det eigh expm gaussian inv pinv qr slogdet solve solve_triangular svd
"""
_MATRICES: Final = (
    "is of whole matrices; singular ones and equal eigenvalues have tests of their own"
)

_ROUNDS: Final = (
    "is NumPy's own loop everywhere, and neither PyTorch's nor JAX's: they round otherwise"
)

WITHOUT: Final[dict[str, str]] = {
    **dict.fromkeys(MOVING.split(), _MOVES),
    **dict.fromkeys(MAKING.split(), _MAKES),
    **dict.fromkeys(MATRICES.split(), _MATRICES),
    **{name: _PIECE for name in OPERATIONS if name.endswith("_backward")},
    "fold": "adds up what it moves: the gradient of avg_pool2d and conv2d runs through it",
    "attention": "is made of products and a softmax; hidden rows and large scores have tests",
    "batch_norm": "is layer_norm over other axes; large numbers have tests",
    "recurrence": "is made of products and gates, which are formulas of functions with rows",
    **dict.fromkeys(("floor_divide", "remainder"), _ROUNDS),
    "dropout": "draws a mask; with it, it is a product",
    **dict.fromkeys(("argsort", "searchsorted"), "gives places; those of NaN have tests"),
}
"""Operations without calls of their own, and why."""


def point_of(call: Call, size: int, place: int) -> Point:
    """The numbers that an element of a result, or of a derivative, of this size belongs to."""
    first = call.inputs[0]
    if all(x.ndim == 1 for x in call.inputs):
        return np.array([x[place] for x in call.inputs])
    if len(call.inputs) == 1 and first.ndim == 2:
        row: HostArray = first[place if size == len(first) else place // first.shape[1]]
        return row
    return np.concatenate([x.ravel() for x in call.inputs])
