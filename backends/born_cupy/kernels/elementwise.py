"""Functions of each element: a table of expressions, and the one loop around them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from born.backend.contract.elementwise import GELU_CUBIC, SQRT_HALF, SQRT_TWO_OVER_PI
from born_cupy.kernels.source import EACH, Source, head, types


class Function(NamedTuple):
    """An expression in C of operands of type R, after what is to be said `before` it."""

    operands: tuple[str, ...]
    result: str
    before: str = ""


_DECAY: Final = "R decay = exp(-fabs(x));"  # at most one, so that nothing overflows
_SIGMOID: Final = "((x < (R)0 ? decay : (R)1) / ((R)1 + decay))"

_PHI: Final = f"(R)0.5 * ((R)1 + erf(x * (R){SQRT_HALF!r}))"
_DENSITY: Final = f"exp((R)-0.5 * x * x) * (R){0.5 * SQRT_TWO_OVER_PI!r}"
_T: Final = f"R t = tanh(x * ((R)1 + (R){GELU_CUBIC!r} * x * x) * (R){SQRT_TWO_OVER_PI!r});"
_INNER_SLOPE: Final = f"((R)1 + (R){3.0 * GELU_CUBIC!r} * x * x) * (R){0.5 * SQRT_TWO_OVER_PI!r}"

FUNCTIONS: Final = {
    # A comparison with NaN fails, and so NaN passes through.
    "relu": Function(("x",), "x < (R)0 ? (R)0 : x"),
    "relu_backward": Function(("g", "y"), "y > (R)0 ? g : y"),  # else zero or NaN
    "sign": Function(("x",), "x > (R)0 ? (R)1 : x < (R)0 ? (R)-1 : x"),  # CuPy's, of NaN, is zero
    "rsqrt": Function(("x",), "(R)1 / sqrt(x)"),
    "sigmoid": Function(("x",), _SIGMOID, _DECAY),
    "silu": Function(("x",), f"x * {_SIGMOID}", _DECAY),
    "softplus": Function(("x",), "(x < (R)0 ? (R)0 : x) + log1p(decay)", _DECAY),
    # In double and rounded once: CUDA's erff is off by two units in the last place.
    "erf": Function(("x",), "erf((double)x)"),
    "gelu": Function(("x",), f"x * ({_PHI})"),
    "gelu_backward": Function(("g", "x"), f"g * ({_PHI} + x * ({_DENSITY}))"),
    "gelu_tanh": Function(("x",), "(R)0.5 * x * ((R)1 + t)", _T),
    "gelu_tanh_backward": Function(
        ("g", "x"), f"g * ((R)0.5 * ((R)1 + t) + x * (((R)1 - t * t) * ({_INNER_SLOPE})))", _T
    ),
}


@cache
def elementwise(name: str, dtype: np.dtype[Any]) -> Source:
    """The kernel of one of `FUNCTIONS`: (operand, ..., results, size)."""
    function = FUNCTIONS[name]
    parameters = "".join(f"const T *{operand}s, " for operand in function.operands)
    loads = [f"R {operand} = as<R>({operand}s[i]);" for operand in function.operands]
    body = "".join(f"        {line}\n" for line in (*loads, function.before) if line)
    text = f"""{types(dtype)}
{head(f"born_{name}", f"{parameters}T *results, i64 size")} {{
    {EACH} {{
{body}        put(results[i], {function.result});
    }}
}}
"""
    return Source(f"born_{name}", text)
