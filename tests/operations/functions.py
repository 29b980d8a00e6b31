"""The table of functions that are composed of operations, or are one of many of an operation.

Each is called on tensors and, for reference, on NumPy's arrays. What the tables of operations
check by drawn calls is checked here by one or a few fixed calls of each, which is cheap.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

import born
from born import ops
from born.raw import HostArray

scipy_special: Any = importlib.import_module("scipy.special")

T: TypeAlias = "born.Tensor[Any]"
Ours: TypeAlias = (
    Callable[[], Any] | Callable[[T], Any] | Callable[[T, T], Any] | Callable[[T, T, T], Any]
)
Reference: TypeAlias = (
    Callable[[], Any]
    | Callable[[HostArray], Any]
    | Callable[[HostArray, HostArray], Any]
    | Callable[[HostArray, HostArray, HostArray], Any]
)
Theirs: TypeAlias = Callable[[Any, Any], Any] | Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Function:
    """One call of a function.

    Attributes:
        name: of the function, and after a colon what is special about the call.
        inputs: its floating tensors, in float64.
        ours: the call with tensors.
        reference: the same with arrays.
        orders: how many orders of derivative are compared with differences; 0 where the result is
            constant, VALUES where there are none to compare with.
        torch: the same with PyTorch's module and tensors, None where it has no such function.
        rounding: how many roundings in the last place the values may be off.
        integers: whether it takes integers, and then gives what NumPy gives.
    """

    name: str
    inputs: tuple[HostArray, ...]
    ours: Callable[..., Any]
    reference: Callable[..., Any]
    orders: int = 2
    torch: Callable[..., Any] | None = None
    rounding: float = 8.0
    integers: bool = False


VALUES: Final = -1
"""The orders of a call of which values alone are compared: NaN or ties have no differences."""

FUNCTIONS: Final[dict[str, Function]] = {}


def enter(
    name: str,
    *inputs: HostArray,
    ours: Ours | None = None,
    reference: Reference | None = None,
    orders: int = 2,
    torch: Theirs | str | None = None,
    rounding: float = 8.0,
    integers: bool = False,
) -> None:
    """Enter a call; functions that are not given are those of its name."""
    function = name.partition(":")[0]
    home = ops if hasattr(ops, function) or ours else ops.special
    theirs = np if home is ops else scipy_special
    assert name not in FUNCTIONS
    FUNCTIONS[name] = Function(
        name,
        inputs,
        ours or getattr(home, function),
        reference or getattr(theirs, function),
        orders,
        _by_name(torch) if isinstance(torch, str) else torch,
        rounding,
        integers,
    )


def _by_name(path: str) -> Callable[..., Any]:
    """PyTorch's function of this name."""

    def function(module: Any, *xs: Any) -> Any:
        for part in path.split("."):
            module = getattr(module, part)
        return module(*xs)

    return function


_GENERATOR: Final = np.random.default_rng(11)


def between(low: float, high: float, *shape: int) -> HostArray:
    """Numbers between two bounds, the same in every run."""
    return _GENERATOR.uniform(low, high, shape or (7,))


# -- functions of one number ---------------------------------------------------------------

for _name, _low, _high in [
    ("arccosh", 1.3, 4.0),
    ("arcsinh", -3.0, 3.0),
    ("arctan", -3.0, 3.0),
    ("cosh", -2.0, 2.0),
    ("exp2", -3.0, 3.0),
    ("log10", 0.3, 4.0),
    ("log2", 0.3, 4.0),
    ("reciprocal", 0.5, 3.0),
    ("sinh", -2.0, 2.0),
    ("square", -2.0, 2.0),
    ("tan", -1.2, 1.2),
    ("arccos", -0.8, 0.8),
    ("arcsin", -0.8, 0.8),
    ("arctanh", -0.8, 0.8),
    ("deg2rad", -200.0, 200.0),
    ("rad2deg", -3.0, 3.0),
    ("sinc", -2.5, 2.5),
    ("positive", -2.0, 2.0),
]:
    enter(_name, between(_low, _high), torch=_name)
enter("sinc: near zero", np.array([0.0, 1e-9, -1e-3, 0.05, 0.15, 0.17]), torch=None)
enter("cbrt", between(-4.0, -0.5), torch=None)
for _name in ("floor", "ceil", "trunc"):
    enter(_name, between(-3.0, 3.0), orders=0, torch=_name)
enter("rint", between(-3.0, 3.0), orders=0, torch="round")
enter(
    "round: decimals",
    between(-3.0, 3.0),
    ours=lambda x: ops.round(x, 1),
    orders=0,
    reference=lambda x: np.round(x, 1),
)
enter(
    "round: tens",
    between(-300.0, 300.0),
    ours=lambda x: ops.round(x, -1),
    orders=0,
    reference=lambda x: np.round(x, -1),
)
enter(
    "modf: fraction",
    between(-3.0, 3.0),
    ours=lambda x: ops.modf(x)[0],
    reference=lambda x: np.modf(x)[0],
    torch="frac",
)
enter(
    "modf: whole",
    between(-3.0, 3.0),
    ours=lambda x: ops.modf(x)[1],
    reference=lambda x: np.modf(x)[1],
    orders=0,
)
_HOLES: Final = np.array([1.0, np.nan, np.inf, -np.inf, -2.0])
for _name in ("isnan", "isinf", "isposinf", "isneginf", "signbit"):
    enter(_name, np.array([1.0, -0.0, 0.0, np.nan, np.inf, -np.inf]), orders=0)
enter("nan_to_num", between(-2.0, 2.0), torch="nan_to_num")
enter(
    "nan_to_num: holes",
    np.array([np.nan, np.inf, -np.inf]),
    ours=lambda x: ops.nan_to_num(x, 3.0, 7.0, -7.0),
    reference=lambda x: np.nan_to_num(x, nan=3.0, posinf=7.0, neginf=-7.0),
    orders=0,
)

# -- functions of two numbers --------------------------------------------------------------

_LEFT, _RIGHT = between(0.5, 3.0, 3, 1), between(-3.0, -0.5, 4)
for _name in ("arctan2", "hypot", "logaddexp", "logaddexp2", "copysign", "fmax", "fmin"):
    enter(_name, _LEFT, _RIGHT, torch=_name)
enter("fmod", np.array([[7.3], [-7.3], [4.1]]), np.array([2.0, -3.0]), torch="fmod")
enter(
    "divmod: remainder",
    np.array([7.3, -7.3]),
    np.array([2.0, -3.0]),
    ours=lambda x, y: ops.divmod(x, y)[1],
    reference=np.mod,
    torch="remainder",
)
enter("heaviside", np.array([-1.0, 1.0, 2.0]), np.array([0.3, 0.4, 0.5]))
enter("logical_xor", np.array([0.0, 0.0, 2.0]), np.array([0.0, 3.0, 1.0]), orders=0)
enter(
    "isclose",
    np.array([1.0, np.inf, 2.0, np.nan]),
    np.array([1.0 + 1e-7, np.inf, 2.1, np.nan]),
    orders=0,
)
enter(
    "isclose: NaN",
    _HOLES,
    _HOLES,
    ours=lambda x, y: ops.isclose(x, y, equal_nan=True),
    reference=lambda x, y: np.isclose(x, y, equal_nan=True),
    orders=0,
)
enter("allclose", np.array([1.0, 2.0]), np.array([1.0, 2.1]), orders=0)

# -- special functions ---------------------------------------------------------------------

for _name, _low, _high, _torch in [
    ("expit", -3.0, 3.0, "special.expit"),
    ("log_expit", -3.0, 3.0, "nn.functional.logsigmoid"),
    ("logit", 0.05, 0.95, "special.logit"),
    ("entr", 0.2, 2.0, "special.entr"),
    ("gamma", 0.4, 4.0, None),
    ("gammaln", 0.4, 4.0, "special.gammaln"),
    ("rgamma", 0.4, 4.0, None),
    ("digamma", 0.4, 4.0, None),  # PyTorch's derivative is good to nine digits
    ("erfc", -2.0, 3.0, "special.erfc"),
    ("erfcx", -1.0, 5.0, "special.erfcx"),
    ("erfinv", -0.9, 0.9, "special.erfinv"),
    ("erfcinv", 0.1, 1.9, None),
    ("ndtr", -3.0, 3.0, "special.ndtr"),
    ("log_ndtr", -9.0, 3.0, "special.log_ndtr"),
    ("ndtri", 0.05, 0.95, "special.ndtri"),
    ("exp1", 0.4, 3.0, None),
    ("expi", 0.4, 3.0, None),
    ("i0", -3.0, 3.0, "special.i0"),
    ("i1", -3.0, 3.0, "special.i1"),
    ("i0e", -3.0, 3.0, "special.i0e"),
    ("i1e", -3.0, 3.0, "special.i1e"),
    ("j0", 0.3, 5.0, None),
    ("j1", 0.3, 5.0, None),
    ("y0", 0.5, 5.0, None),
    ("y1", 0.5, 5.0, None),
    ("k0", 0.5, 4.0, None),
    ("k1", 0.5, 4.0, None),
    ("k0e", 0.5, 4.0, None),
    ("k1e", 0.5, 4.0, None),
]:
    enter(_name, between(_low, _high), torch=_torch, rounding=16.0)
enter("gammaln: negative", np.array([-0.4, -1.3, -2.6]), rounding=32.0)
enter("gammasgn", np.array([-0.4, -1.3, 1.0]), orders=0)
enter("xlogy", between(-2.0, 2.0, 3, 1), between(0.3, 3.0, 4), torch="special.xlogy")
enter("xlog1py", between(-2.0, 2.0, 3, 1), between(-0.5, 3.0, 4), torch="special.xlog1py")
enter("rel_entr", between(0.3, 2.0), between(0.3, 2.0), rounding=16.0)
enter("kl_div", between(0.3, 2.0), between(0.3, 2.0), rounding=16.0)
enter("beta", between(0.5, 3.0, 3, 1), between(0.5, 3.0, 4), rounding=32.0)
enter("betaln", between(0.5, 3.0, 3, 1), between(0.5, 3.0, 4), rounding=32.0)


def _enter_polygamma(n: int) -> None:
    enter(
        f"polygamma: {n}",
        between(0.6, 4.0),
        ours=lambda x: ops.special.polygamma(n, x),
        reference=lambda x: scipy_special.polygamma(n, x),
        torch=(lambda torch, x: torch.special.polygamma(n, x)) if n else None,
        rounding=32.0,
    )


for _order in (0, 1, 2, 3):
    _enter_polygamma(_order)
enter(
    "multigammaln",
    between(2.0, 5.0),
    ours=lambda a: ops.special.multigammaln(a, 3),
    reference=lambda a: np.array([scipy_special.multigammaln(each, 3) for each in a]),
    torch=lambda torch, a: torch.special.multigammaln(a, 3),
    rounding=32.0,
)


def _enter_beside(name: str, first: float, low: float, high: float) -> None:
    """Enter a function that has no derivative by its first argument."""
    ours, theirs = getattr(ops.special, name), getattr(scipy_special, name)
    enter(
        name,
        between(low, high),
        ours=lambda x: ours(first, x),
        reference=lambda x: theirs(first, x),
        rounding=32.0,
    )


_enter_beside("zeta", 2.5, 0.6, 3.0)
_enter_beside("gammainc", 1.7, 0.3, 4.0)
_enter_beside("gammaincc", 1.7, 0.3, 4.0)
_enter_beside("jv", 1.0, 0.4, 5.0)
_enter_beside("yn", 2.0, 0.8, 5.0)
_enter_beside("iv", 1.5, 0.4, 3.0)
_enter_beside("ive", 1.5, 0.4, 3.0)
enter(
    "betainc",
    between(0.1, 0.9),
    ours=lambda x: ops.special.betainc(1.5, 2.5, x),
    reference=lambda x: scipy_special.betainc(1.5, 2.5, x),
    rounding=32.0,
)

# -- shape ---------------------------------------------------------------------------------


def same(
    name: str,
    *inputs: HostArray,
    _args: tuple[Any, ...] = (),
    _listed: bool = False,
    _orders: int = 2,
    _torch: Theirs | str | None = None,
    _integers: bool = True,
    **options: Any,
) -> None:
    """Enter a call that NumPy takes as it is, of the tensors or of a list of them."""
    function = name.partition(":")[0]

    def calling(of: Any) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(of, function)
        join: Callable[..., Any] = of.concatenate

        def called(*xs: Any) -> Any:
            given = (list(xs),) if _listed else xs
            found: Any = call(*given, *_args, **options)
            return found if hasattr(found, "shape") else join([*map(of.ravel, found)])

        return called

    enter(
        name,
        *inputs,
        ours=calling(ops),
        reference=calling(np),
        orders=_orders,
        torch=_torch,
        integers=_integers,
    )


_VECTOR, _MATRIX, _CUBE = between(-9, 9, 4), between(-9, 9, 3, 4), between(-9, 9, 2, 3, 4)

for _name in ("ravel", "fliplr", "flipud", "tril", "triu", "rot90", "diagflat"):
    same(_name, _MATRIX)
    same(f"{_name}: more axes", _CUBE)
for _k in (-5, -1, 1, 6):
    same(f"tril: {_k}", _MATRIX, k=_k)
    same(f"triu: {_k}", _MATRIX, k=_k)
same("diagonal", _CUBE)
same("diagonal: of other axes", _CUBE, offset=1, axis1=2, axis2=0)
same("diagonal: outside", _CUBE, offset=7)
same("trace", _CUBE)
same("trace: below", _CUBE, offset=-1)
same("diag", _MATRIX)
same("diag: of a vector", _VECTOR, k=-2)
same("diag: above", _VECTOR, k=2)
for _k in (0, 2, 3, -1):
    same(f"rot90: {_k}", _CUBE, k=_k, axes=(2, 0))
same("moveaxis", _CUBE, source=0, destination=-1)
same("moveaxis: several", _CUBE, source=(0, 2), destination=(1, 0))
same("rollaxis", _CUBE, axis=2)
same("rollaxis: to the end", _CUBE, axis=0, start=3)
same("swapaxes", _CUBE, axis1=0, axis2=-1)
same("roll", _CUBE, shift=5)
same("roll: axis", _CUBE, shift=-1, axis=1)
same("roll: axes", _CUBE, shift=(1, 2), axis=(0, 2))
same("roll: one shift", _CUBE, shift=1, axis=(0, 2))
for _n in (1, 2, 3):
    for _shape in ((), (3,), (2, 3), (2, 3, 2)):
        same(f"atleast_{_n}d: {len(_shape)}", between(-9, 9, *_shape) if _shape else np.array(3.0))
same("tile", _MATRIX, reps=2)
same("tile: more", _VECTOR, reps=(2, 1, 3))
same("tile: fewer", _CUBE, reps=(2, 2))
same("repeat", _MATRIX, repeats=2)
same("repeat: axis", _CUBE, repeats=3, axis=1)
same("repeat: counts", _MATRIX, repeats=(2, 0, 1), axis=0)
same("vstack", _VECTOR, _MATRIX, _listed=True)
same("hstack", _VECTOR, between(-9, 9, 2), _listed=True)
same("hstack: of matrices", _MATRIX, between(-9, 9, 3, 1), _listed=True)
same("dstack", _MATRIX, _MATRIX + 1.0, _listed=True)
same("column_stack", between(-9, 9, 3), _MATRIX, _listed=True)
same("append", _VECTOR, _MATRIX)
same("append: axis", _MATRIX, _MATRIX + 1.0, axis=0)
same("array_split", _VECTOR, _args=(3,))
same("array_split: cuts", _MATRIX, _args=([1, 3], 1))
same("hsplit", _MATRIX, _args=(2,))
same("hsplit: of a vector", _VECTOR, _args=(2,))
same("vsplit", _MATRIX, _args=(3,))
same("dsplit", _CUBE, _args=(2,))
enter(
    "unstack",
    _CUBE,
    ours=lambda x: ops.concatenate(ops.unstack(x, 1)),
    reference=lambda x: x.swapaxes(0, 1).reshape(6, 4),
    integers=True,
)
same("broadcast_arrays", _VECTOR, between(-9, 9, 3, 1))
same("meshgrid", _VECTOR, between(-9, 9, 3))
same("meshgrid: ij", _VECTOR, between(-9, 9, 3), indexing="ij")
same("meshgrid: sparse", _VECTOR, between(-9, 9, 3), between(-9, 9, 2), sparse=True)
enter(
    "block",
    between(-9, 9, 2, 3),
    between(-9, 9, 2),
    between(-9, 9, 5),
    ours=lambda x, y, z: ops.block([[x, ops.column_stack([y, y])], [z]]),
    reference=lambda x, y, z: np.block([[x, np.column_stack([y, y])], [z]]),
    integers=True,
)
enter(
    "sliding_window",
    _VECTOR,
    ours=lambda x: ops.sliding_window(x, 3),
    reference=lambda x: np.lib.stride_tricks.sliding_window_view(x, 3),
    integers=True,
)
enter(
    "sliding_window: of two axes",
    _CUBE,
    ours=lambda x: ops.sliding_window(x, (2, 1), (2, 0)),
    reference=lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 1), (2, 0)),
    integers=True,
)
same("zeros_like", _MATRIX, _orders=0)
same("ones_like", _MATRIX, _orders=0)
same("full_like", _MATRIX, _args=(3,), _orders=0)
enter(
    "linspace",
    between(-1.0, 1.0, 3),
    between(-1.0, 1.0, 2, 1),
    ours=lambda x, y: born.linspace(x, y, 5),
    reference=lambda x, y: np.linspace(x, y, 5),
)
enter(
    "linspace: open",
    np.array(2.0),
    ours=lambda x: born.linspace(x, 3.0, 4, endpoint=False),
    reference=lambda x: np.linspace(x, 3.0, 4, endpoint=False),
)
enter(
    "logspace",
    np.array(0.4),
    ours=lambda x: born.logspace(x, 1.5, 4, base=2.0),
    reference=lambda x: np.logspace(x, 1.5, 4, base=2.0),
)

# -- order and statistics ------------------------------------------------------------------

_MANY: Final = _GENERATOR.permutation(24).reshape(2, 3, 4) * 0.25 - 3.1
_SPARSE: Final = np.where(_GENERATOR.random((2, 3, 4)) < 0.3, np.nan, _MANY)
_WEIGHTS: Final = between(0.5, 2.0, 2, 3, 4)


def _enter_sorts(axis: int | None) -> None:
    same(f"sort: {axis}", _MANY, axis=axis)
    enter(
        f"argsort: {axis}",
        _MANY,
        ours=lambda x: x.argsort(axis),
        reference=lambda x: np.argsort(x, axis, kind="stable"),
        orders=0,
        integers=True,
    )


for _axis in (-1, 0, None):
    _enter_sorts(_axis)
same("sort: NaN", _SPARSE, _orders=VALUES, _integers=False)
enter(
    "sort: descending",
    _MANY,
    ours=lambda x: ops.sort(x, 1, descending=True),
    reference=lambda x: -np.sort(-x, 1),
    torch=lambda torch, x: torch.sort(x, 1, descending=True)[0],
)
enter(
    "partition",
    _MANY,
    ours=lambda x: ops.partition(x, 2)[..., 2],
    reference=lambda x: np.partition(x, 2)[..., 2],
    integers=True,
)
enter(
    "argpartition",
    _MANY,
    ours=lambda x: ops.argpartition(x, 0)[..., 0],
    reference=lambda x: np.argmin(x, -1),
    orders=0,
)
enter(
    "topk",
    _MANY,
    ours=lambda x: ops.topk(x, 2, 1)[0],
    reference=lambda x: np.flip(np.sort(x, 1), 1)[:, :2],
    torch=lambda torch, x: torch.topk(x, 2, 1)[0],
)
enter(
    "topk: places",
    _MANY,
    ours=lambda x: ops.topk(x, 2, largest=False)[1],
    reference=lambda x: np.argsort(x)[..., :2],
    orders=0,
)
same("unique", np.array([2.0, 1.0, 4.0, 5.0]))
same("unique: equals", np.array([2.0, 1.0, 2.0, 5.0]), _orders=VALUES)
enter(
    "unique: rows",
    np.array([[2.0, 1.0], [0.0, 3.0], [3.0, 0.5]]),
    ours=lambda x: ops.unique(x, axis=0),
    reference=lambda x: np.unique(x, axis=0),
)
enter("searchsorted", np.array([0.0, 1.0, 1.0, 2.0]), np.array([[1.0, -3.0], [9.0, 1.5]]), orders=0)
same(
    "digitize",
    np.array([[1.0, -3.0], [9.0, 1.5]]),
    np.array([0.0, 1.0, 2.0]),
    _orders=0,
    _integers=False,
)


def _accumulated(name: str, axis: int | None) -> Callable[[HostArray], Any]:
    accumulate: Any = (np.maximum if name == "cummax" else np.minimum).accumulate
    return lambda x: accumulate(x.ravel() if axis is None else x, axis or 0)


_METHODS: Final = (
    "linear lower higher midpoint nearest inverted_cdf averaged_inverted_cdf closest_observation"
    " interpolated_inverted_cdf hazen weibull median_unbiased normal_unbiased"
)
for _method in _METHODS.split():
    same(
        f"quantile: {_method}",
        _MANY,
        _args=([0.0, 0.2, 0.5, 0.77, 1.0],),
        axis=-1,
        method=_method,
        _integers=False,
    )
same("quantile: of all", _MANY, _args=(0.3,), _integers=False)
same("quantile: kept", _MANY, _args=([[0.3], [0.9]],), axis=(0, 2), keepdims=True, _integers=False)
same("quantile: NaN", _SPARSE, _args=(0.5,), axis=0, _orders=VALUES, _integers=False)
same("percentile", _MANY, _args=(30,), axis=1, _integers=False)
same("median", _MANY, _integers=False)
same("median: axes", _MANY, axis=(0, 1), keepdims=True, _integers=False)
for _method in ("linear", "hazen", "weibull"):
    same(
        f"nanquantile: {_method}",
        _SPARSE,
        _args=([0.2, 0.5, 1.0],),
        axis=2,
        method=_method,
        _integers=False,
    )
    same(
        f"nanquantile: {_method}, whole",
        _MANY,
        _args=([0.2, 0.5, 1.0],),
        axis=0,
        method=_method,
        _integers=False,
    )
same("nanpercentile", _SPARSE, _args=(30,), axis=1, _integers=False)
same("nanmedian", _SPARSE, axis=(0, 2), keepdims=True, _integers=False)
for _name in ("sum", "prod", "max", "min"):
    for _axis in (None, 1):
        same(f"nan{_name}: {_axis}", _SPARSE, axis=_axis, _integers=False)
    same(f"nan{_name}: kept", _MANY / 3.0, axis=(0, 2), keepdims=True, _integers=False)
for _name in ("mean", "var", "std"):
    for _axes in (None, (0, 2)):
        same(f"nan{_name}: {_axes}", _SPARSE, axis=_axes, _integers=False)
    same(f"nan{_name}: kept", _MANY, axis=(0, 2), keepdims=True, _integers=False)
same("nanvar: ddof", _SPARSE, ddof=1, _integers=False)
for _name in ("nancumsum", "nancumprod"):
    same(_name, _SPARSE, axis=2, _integers=False)
    same(f"{_name}: flat", _MANY / 3.0, _integers=False)
for _name in ("nanargmax", "nanargmin"):
    same(_name, _SPARSE, _orders=0, _integers=False)
    same(f"{_name}: axis", _MANY, axis=1, keepdims=True, _orders=0)
same("ptp", _MANY, axis=(0, 2), _integers=False)
same("count_nonzero", np.array([[0.0, 2.0], [3.0, np.nan]]), axis=1, _orders=0, _integers=False)
enter(
    "average",
    _MANY,
    _WEIGHTS,
    ours=lambda x, w: ops.average(x, (0, 2), w, keepdims=True),
    reference=lambda x, w: np.average(x, (0, 2), w, keepdims=True),
)
enter(
    "average: of an axis",
    _MANY,
    _WEIGHTS[0, :, 0],
    ours=lambda x, w: ops.average(x, 1, w),
    reference=lambda x, w: np.average(x, 1, w),
)
same("average: plain", _MANY, axis=1, _integers=False)
same("cov", _MANY[0], _integers=False)
same("cov: columns", _MANY[0], rowvar=False, ddof=0, _integers=False)
same("cov: of one", _MANY[0, 0], _integers=False)
same("corrcoef", _MANY[0], _integers=False)
enter(
    "logcumsumexp",
    _MANY,
    ours=lambda x: ops.logcumsumexp(x, 0),
    reference=lambda x: np.log(np.cumsum(np.exp(x), 0)),
    torch=lambda torch, x: torch.logcumsumexp(x, 0),
)
enter(
    "logcumsumexp: flat",
    _MANY,
    ours=ops.logcumsumexp,
    reference=lambda x: np.log(np.cumsum(np.exp(x))),
)


def _enter_extreme(name: str) -> None:
    function: Callable[..., Any] = getattr(ops, name)
    enter(
        name,
        _MANY,
        ours=lambda x: function(x, 1),
        reference=_accumulated(name, 1),
        torch=lambda torch, x: getattr(torch, name)(x, 1)[0],
        integers=True,
    )
    enter(
        f"{name}: NaN",
        _SPARSE,
        ours=lambda x: function(x, -1),
        reference=_accumulated(name, -1),
        orders=VALUES,
    )
    enter(f"{name}: flat", _MANY, ours=function, reference=_accumulated(name, None))


_enter_extreme("cummax")
_enter_extreme("cummin")
same("diff", _MANY)
same("diff: twice", _MANY, n=2, axis=1)
enter(
    "diff: joined",
    _MANY,
    _MANY[:, :, :1],
    ours=lambda x, y: ops.diff(x, prepend=y, append=y),
    reference=lambda x, y: np.diff(x, prepend=y, append=y),
)
same("trapezoid", _MANY, dx=0.5, axis=1, _integers=False)
enter(
    "trapezoid: points",
    _MANY,
    np.array([0.1, 0.5, 2.0, 2.3]),
    ours=ops.trapezoid,
    reference=np.trapezoid,
)
same("trapezoid: points of each", _MANY, _WEIGHTS, axis=0, _integers=False)
same("gradient", _MANY, _integers=False)
same("gradient: second order", _MANY[0], _args=(0.5,), axis=1, edge_order=2, _integers=False)
enter(
    "gradient: points",
    _MANY[0],
    np.array([0.1, 0.5, 2.0, 2.3]),
    ours=lambda f, x: ops.gradient(f, x, axis=1),
    reference=lambda f, x: np.gradient(f, x, axis=1),
)
enter(
    "gradient: points, second order",
    _MANY[0],
    np.array([0.1, 0.5, 2.0, 2.3]),
    ours=lambda f, x: ops.gradient(f, x, axis=1, edge_order=2),
    reference=lambda f, x: np.gradient(f, x, axis=1, edge_order=2),
)
same(
    "interp",
    np.array([[-1.0, 0.15], [0.6, 2.2], [7.0, 1.9]]),
    np.array([0.1, 0.5, 2.0, 2.3]),
    np.array([1.0, -2.0, 0.4, 3.0]),
    _integers=False,
)
same(
    "interp: outside",
    np.array([-1.0, 0.15, 7.0]),
    np.array([0.1, 0.5, 2.0, 2.3]),
    np.array([1.0, -2.0, 0.4, 3.0]),
    left=5.0,
    right=6.0,
    _integers=False,
)
for _mode in ("full", "same", "valid"):
    for _name in ("convolve", "correlate"):
        same(f"{_name}: {_mode}", _VECTOR, between(-9, 9, 2), _args=(_mode,), _integers=False)
        same(
            f"{_name}: {_mode}, short",
            between(-9, 9, 3),
            between(-9, 9, 6),
            _args=(_mode,),
            _integers=False,
        )
enter(
    "bincount",
    between(-2.0, 2.0, 4),
    ours=lambda w: ops.bincount(born.tensor([0, 2, 2, 1], w.backend), w, 5),
    reference=lambda w: np.bincount([0, 2, 2, 1], w, 5),
)
enter(
    "histogram",
    _MANY,
    ours=lambda x: ops.histogram(x, 4)[0],
    reference=lambda x: np.histogram(x, 4)[0],
    orders=0,
)
enter(
    "histogram: edges",
    _MANY,
    ours=lambda x: ops.histogram(x, 4, (-1.0, 1.0))[1],
    reference=lambda x: np.histogram(x, 4, (-1.0, 1.0))[1],
    orders=0,
)

# -- linear algebra that is composed -------------------------------------------------------

scipy_linalg: Any = importlib.import_module("scipy.linalg")

_SQUARE: Final = between(-1.0, 1.0, 3, 3) + 3.0 * np.eye(3)
_SMALL: Final = between(-1.0, 1.0, 2, 2) + 2.0 * np.eye(2)


def _linalg(name: str, *inputs: HostArray, of_numpy: bool = False, **options: Any) -> None:
    """Enter a function of linear algebra."""
    function = name.partition(":")[0]
    home = np.linalg if of_numpy else scipy_linalg
    enter(
        name,
        *inputs,
        ours=_with(getattr(ops.linalg, function), options),
        reference=_with(getattr(home, function), options),
        rounding=64.0,
    )


def _with(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    return lambda *xs: function(*xs, **options)


_linalg("solve_sylvester", _SQUARE, _SMALL, between(-1.0, 1.0, 3, 2))
_linalg("sqrtm", _SQUARE)
_linalg("sqrtm: of widely spread eigenvalues", _SQUARE @ np.diag([1.0, 8.0, 90.0]) @ _SQUARE.T)
_linalg("tensorinv", between(-1.0, 1.0, 4, 2, 2) + np.eye(4).reshape(4, 2, 2), of_numpy=True, ind=1)
_linalg(
    "tensorsolve",
    between(-1.0, 1.0, 2, 3, 6) + 3 * np.eye(6).reshape(2, 3, 6),
    between(-1.0, 1.0, 2, 3),
    of_numpy=True,
)
enter(
    "solve_banded",
    between(1.0, 2.0, 4, 5) + np.array([[0.0], [0.0], [5.0], [0.0]]),
    between(-1.0, 1.0, 5, 2),
    ours=lambda ab, b: ops.linalg.solve_banded((1, 2), ab, b),
    reference=lambda ab, b: scipy_linalg.solve_banded((1, 2), ab, b),
    rounding=64.0,
)
enter(
    "eigh: of the upper triangle",
    _SQUARE,
    ours=lambda x: ops.linalg.eigvalsh(x + x.T, "U"),
    reference=lambda x: np.linalg.eigvalsh(x + x.T, "U"),
    rounding=64.0,
)
enter(
    "cholesky: upper",
    _SQUARE @ _SQUARE.T,
    ours=lambda x: ops.linalg.cholesky(x + x.T, upper=True),
    reference=lambda x: np.linalg.cholesky(x + x.T).T,
    rounding=64.0,
)

# -- NumPy's keywords ----------------------------------------------------------------------

_OURS: Final[Any] = ops
_NP: Final[Any] = np
"""For calls that the types do not follow."""

_COUNTED: Final = np.array(
    [[True, False, True, True], [False] * 3 + [True], [True, True] + [False] * 2]
)
"""Which elements of a matrix of 3 x 4 count."""

for _name in ("sum", "prod", "mean", "var", "std", "max", "min"):
    for _axis in (None, 1):
        _beside: dict[str, Any] = {"initial": True} if _name in ("max", "min") else {}
        same(
            f"{_name}: where, {_axis}",
            _MANY,
            axis=_axis,
            where=_COUNTED,
            # Of one number alone the deviation has no second derivative.
            _orders=VALUES if _name == "std" and _axis else 2,
            **_beside,
            _integers=_name in ("sum", "prod", "max", "min"),
        )
for _name in ("sum", "prod", "max", "min"):
    same(f"{_name}: initial", _MANY / 3.0, axis=(0, 2), keepdims=True, initial=2, _integers=False)
    same(f"{_name}: initial of none", np.zeros((0, 3)), axis=0, initial=2, _integers=True)
for _name in ("sum", "prod", "mean", "var", "std", "max", "min"):
    _beside = {"initial": 0.5} if _name in ("sum", "prod", "max", "min") else {}
    same(
        f"nan{_name}: where",
        _SPARSE,
        axis=1,
        where=_COUNTED,
        _orders=2 if _beside else VALUES,  # some are of no number
        **_beside,
        _integers=False,
    )
    if _beside:
        _nothing = _SPARSE * np.nan
        same(f"nan{_name}: initial", _nothing, axis=2, initial=2, _orders=0, _integers=False)
enter(
    "average: returned",
    _MANY,
    _WEIGHTS,
    ours=lambda x, w: ops.average(x, 1, w, returned=True)[1],
    reference=lambda x, w: np.average(x, 1, w, returned=True)[1],
    orders=VALUES,
)
for _name in ("any", "all"):
    same(f"{_name}: where", _MANY, axis=0, where=_COUNTED, _orders=0, _integers=True)
_ENDS: Final = np.array([[0.3, 1.9, -2.2, 4.7], [1.1, -0.6, 3.4, 0.2], [2.6, 5.3, -1.4, 0.9]])


def _enter_pad(case: str, widths: Any, integers: bool = False, **options: Any) -> None:
    enter(
        f"pad: {case}",
        _ENDS,
        ours=lambda x: _OURS.pad(x, widths, **options),
        reference=lambda x: _NP.pad(x, widths, **options),
        integers=integers,
        rounding=32.0,
    )


for _mode in ("edge", "reflect", "symmetric", "wrap", "linear_ramp", "maximum", "mean", "minimum"):
    _places = _mode in ("edge", "reflect", "symmetric", "wrap")
    _enter_pad(_mode, ((7, 5), (1, 9)), _places, mode=_mode)
for _mode in ("reflect", "symmetric"):
    _enter_pad(f"{_mode}, odd", (2, 6), mode=_mode, reflect_type="odd")
_enter_pad("ends", 3, mode="linear_ramp", end_values=((1, 2), (3, -4)))
_enter_pad("length", 3, mode="maximum", stat_length=((1, 2), (3, 9)))
_enter_pad("constant_values", 3, constant_values=3)


def _quantile(x: Any, weights: Any) -> Any:
    return ops.quantile(x, [0.0, 0.3, 0.8, 1.0], 1, method="inverted_cdf", weights=weights)


def _quantile_of_arrays(x: HostArray, weights: HostArray) -> Any:
    return np.quantile(x, [0.0, 0.3, 0.8, 1.0], 1, method="inverted_cdf", weights=weights)


enter("quantile: weights", _MANY, _WEIGHTS, ours=_quantile, reference=_quantile_of_arrays)
enter(
    "quantile: weights of an axis",
    _MANY,
    np.array([0.5, 2.0, 1.0]),
    ours=_quantile,
    reference=_quantile_of_arrays,
    orders=VALUES,
)
enter(
    "percentile: weights",
    _MANY,
    _WEIGHTS,
    ours=lambda x, w: ops.percentile(x, 40, method="inverted_cdf", weights=w),
    reference=lambda x, w: np.percentile(x, 40, method="inverted_cdf", weights=w),
)
same("cov: bias", _MANY[0], bias=True, _integers=False)
same("cov: more variables", _MANY[0], between(-1.0, 1.0, 4), _integers=False)
same("corrcoef: more variables", _MANY[0], between(-1.0, 1.0, 2, 4), _integers=False)
enter(
    "cov: counts",
    _MANY[0],
    ours=lambda x: ops.cov(x, fweights=born.tensor([1, 0, 2, 3], x.backend)),
    reference=lambda x: np.cov(x, fweights=[1, 0, 2, 3]),
)


def _enter_cov(ddof: int) -> None:
    enter(
        f"cov: weights, {ddof}",
        _MANY[0],
        between(0.5, 2.0, 4),
        ours=lambda x, w: ops.cov(
            x, ddof=ddof, aweights=w, fweights=born.tensor([1, 3, 2, 3], x.backend)
        ),
        reference=lambda x, w: np.cov(x, ddof=ddof, aweights=w, fweights=[1, 3, 2, 3]),
    )


for _ddof in (0, 1, 2):
    _enter_cov(_ddof)
same(
    "interp: period",
    np.array([[-1.0, 0.15], [0.6, 2.2], [7.0, 1.9]]),
    np.array([0.1, 2.5, -0.4, 8.3]),
    np.array([1.0, -2.0, 0.4, 3.0]),
    period=-3.0,
    _integers=False,
)
for _case, _values in {
    "jump": (0.0, 1.0, 5.0, 2.0, 3.0, 4.0),
    "infinite jump": (0.0, math.inf, 5.0, 2.0, 3.0, 4.0),
    "infinite": (0.0, 1.0, -math.inf, 2.0, math.inf, math.inf),
    "infinite ends": (math.inf, 1.0, 2.0, 3.0, -math.inf, math.inf),
}.items():
    same(
        f"interp: {_case}",
        np.array([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, math.nan]),
        np.array([0.0, 1.0, 1.0, 2.0, 3.0, 4.0]),
        np.array(_values),
        _orders=VALUES,
        _integers=False,
    )
enter(
    "linspace: axis",
    between(-1.0, 1.0, 3),
    between(-1.0, 1.0, 2, 1),
    ours=lambda x, y: born.linspace(x, y, 5, axis=-1),
    reference=lambda x, y: np.linspace(x, y, 5, axis=-1),
)
enter(
    "linspace: distance",
    between(-1.0, 1.0, 3),
    ours=lambda x: born.linspace(x, 3.0, 5, retstep=True, endpoint=False)[1],
    reference=lambda x: np.linspace(x, 3.0, 5, retstep=True, endpoint=False)[1],
)
enter(
    "ix_: bools",
    _ENDS,
    ours=lambda x: x[ops.ix_(x[:, 0] > 1.0, born.tensor([3, 1], x.backend))],
    reference=lambda x: x[_NP.ix_(x[:, 0] > 1.0, [3, 1])],
)
