"""The table of functions that are composed of operations, or are one of many of an operation.

Each is called on tensors and, for reference, on NumPy's arrays. What the tables of operations
check by drawn calls is checked here by one or a few fixed calls of each, which is cheap.
"""

from __future__ import annotations

import importlib
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
            constant.
        torch: the same with PyTorch's module and tensors, None where it has no such function.
        rounding: how many roundings in the last place the values may be off.
    """

    name: str
    inputs: tuple[HostArray, ...]
    ours: Callable[..., Any]
    reference: Callable[..., Any]
    orders: int = 2
    torch: Callable[..., Any] | None = None
    rounding: float = 8.0


FUNCTIONS: Final[dict[str, Function]] = {}


def enter(
    name: str,
    *inputs: HostArray,
    ours: Ours | None = None,
    reference: Reference | None = None,
    orders: int = 2,
    torch: Theirs | str | None = None,
    rounding: float = 8.0,
) -> None:
    """Enter a call; functions that are not given are those of its name."""
    function = name.partition(":")[0]
    home = ops if hasattr(ops, function) else ops.special
    theirs = np if hasattr(np, function) and home is ops else scipy_special
    assert name not in FUNCTIONS
    FUNCTIONS[name] = Function(
        name,
        inputs,
        ours or getattr(home, function),
        reference or getattr(theirs, function),
        orders,
        _by_name(torch) if isinstance(torch, str) else torch,
        rounding,
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
