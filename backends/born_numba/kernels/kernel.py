"""What makes a function a compiled loop, and what such functions call by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from born_numba import functions, intrinsics
from born_numba.cache import compile_loop
from born_numba.compiler import inlined, numba, types

_LOG2_E: Final = 1.44269504088896341
_LN2_HIGH: Final = 0.693359375  # ln 2 in two parts, the first exact in float32
_LN2_LOW: Final = -2.12194440e-4
_LEAST: Final = -87.33654  # exp of less is not a normal float32


@inlined
def exp_of_nonpositive(x: Any) -> Any:
    """exp(x) of a float32 x <= 0, within one unit in the last place, fit to be vectorised.

    Numba's own exp is a call for each element. This is the polynomial of Cephes'
    `expf` (Moshier, 1989) after the usual reduction to |r| <= ln(2) / 2.
    """
    reduced = max(x, np.float32(_LEAST))
    n = np.floor(reduced * np.float32(_LOG2_E) + np.float32(0.5))
    r = reduced - n * np.float32(_LN2_HIGH) - n * np.float32(_LN2_LOW)
    y = np.float32(1.9875691500e-4)
    y = y * r + np.float32(1.3981999507e-3)
    y = y * r + np.float32(8.3334519073e-3)
    y = y * r + np.float32(4.1665795894e-2)
    y = y * r + np.float32(1.6666665459e-1)
    y = y * r + np.float32(5.0000001201e-1)
    y = y * (r * r) + r + np.float32(1.0)
    scale = (np.int32(n) + np.int32(127)) << np.int32(23)
    y *= intrinsics.float32_of_bits(np.uint32(scale))
    return y if x >= np.float32(_LEAST) else (x if x != x else np.float32(0.0))


# What kernels import and call by name. `Kernel` puts in what suits the dtype for `exp`, `sigmoid`,
# `tanh`, `real` and `zero`.
exp: Final[Any] = np.exp
inf: Final = np.inf
log: Final[Any] = np.log
sigmoid: Final[Any] = functions.sigmoid_float64
tanh: Final[Any] = np.tanh
real: Final[Any] = np.float64
sqrt: Final[Any] = np.sqrt
zero: Final = 0.0
least: Final = np.int64(-(2**63))
whole: Final[Any] = np.int64


@inlined
def ordered32(bits: Any) -> Any:
    """The bits of a float32 as an integer of the same order, and the other way round.

    LLVM vectorises the search for the largest of those. NaN is larger than all, or less.
    """
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@inlined
def ordered(bits: Any) -> Any:
    """The same for float64."""
    return np.int64(bits ^ ((bits >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF)))


@inlined
def float32_of(bits: Any) -> Any:
    """The float32 of signed bits."""
    return intrinsics.float32_of_bits(np.uint32(bits))


@inlined
def float_of(bits: Any) -> Any:
    """The float64 of signed bits."""
    return intrinsics.float64_of_bits(np.uint64(bits))


_IN_FLOAT32: Final = {
    "exp": exp_of_nonpositive,
    "float_of": float32_of,
    "least": np.int32(-(2**31)),
    "ordered": ordered32,
    "whole": np.int32,
}


class Kernel:
    """A loop compiled when first called: one machine code for each floating dtype.

    Args:
        function: the loop.
        signature: from a floating type to the loop's.
        reassociate: whether sums may be added up in another order.
        inner: a function that the loop calls as `inner`, compiled into it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Callable[[Any], Any],
        reassociate: bool,
        names: Callable[[np.dtype[Any]], Mapping[str, Any]] | None = None,
        inner: Callable[..., Any] | None = None,
    ) -> None:
        self._function = function
        self._signature = signature
        self._reassociate = reassociate
        self._names = names
        self._inner = inner
        self._compiled: dict[np.dtype[Any], Callable[..., Any]] = {}

    def __getitem__(self, dtype: np.dtype[Any]) -> Callable[..., Any]:
        compiled = self._compiled.get(dtype)
        if compiled is None:
            compiled = self._compiled[dtype] = compile_kernel(
                self._function,
                self._signature,
                dtype,
                {} if self._names is None else self._names(dtype),
                suffix="" if self._inner is None else f"_{self._inner.__name__}",
                inner=self._inner,
                reassociate=self._reassociate,
            )
        return compiled


def compile_kernel(
    function: Callable[..., Any],
    signature: Callable[[Any], Any],
    dtype: np.dtype[Any],
    names: Mapping[str, Any],
    *,
    reassociate: bool = False,
    suffix: str = "",
    inner: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """A function's machine code for a dtype, from disk if it is there.

    Args:
        function: whose text is compiled.
        signature: called with Numba's type of the dtype.
        dtype: float32 or float64.
        names: what the text means by its global names, if not what its module does.
        reassociate: whether sums may be added up in another order.
        suffix: of the function's name, if there are others of the same text and signature. Numba
            links machine code from the disk by names, and would take one for the other.
        inner: a function that the loop calls as `inner`, compiled into it.
    """
    name = function.__name__ + suffix
    source = _text(function).replace(f"def {function.__name__}(", f"def {name}(", 1)
    if inner is not None:
        source = f"@inlined\n{_text(inner)}\ninner = {inner.__name__}\n\n{source}"
    meant = {
        **function.__globals__,
        "real": dtype.type,
        **{name: _functions(dtype)[name] for name in ("sigmoid", "tanh")},
        "zero": dtype.type(0),
        "inlined": inlined,
        **(_IN_FLOAT32 if dtype == np.float32 else {}),
        **names,
    }
    loop: Callable[..., Any] = compile_loop(
        source,
        name,
        signature(numba.from_dtype(dtype)),
        meant,
        reassociate=reassociate,
    )
    return loop


def _text(function: Callable[..., Any]) -> str:
    source = inspect.getsource(function)
    return source[source.index("def ") :]


def _functions(dtype: np.dtype[Any]) -> dict[str, Any]:
    return functions.FLOAT32 if dtype == np.float32 else functions.FLOAT64


def kernel(
    signature: Callable[[Any], Any],
    *,
    reassociate: bool = False,
    names: Callable[[np.dtype[Any]], Mapping[str, Any]] | None = None,
) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a function a kernel, whose signature for a floating type is `signature(type)`.

    If it may `reassociate`, its sums are added up by vectors, in another order. `names(dtype)` is
    what else it calls by name, if that depends on the dtype.
    """
    return lambda function: Kernel(function, signature, reassociate, names)


INDEX: Final = types.int64
_PAIR: Final = types.UniTuple(types.int64, 2)
WINDOW: Final = (_PAIR, _PAIR, _PAIR, _PAIR)
