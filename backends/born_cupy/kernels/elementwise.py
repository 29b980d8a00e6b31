"""Functions of each element: a table of expressions, and the one loop around them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from born_cupy.kernels.source import EACH, Source, head, types


class Function(NamedTuple):
    """An expression in C of operands of type R."""

    operands: tuple[str, ...]
    result: str


FUNCTIONS: Final = {
    "sign": Function(("x",), "x > (R)0 ? (R)1 : x < (R)0 ? (R)-1 : x"),  # CuPy's, of NaN, is zero
    "rsqrt": Function(("x",), "(R)1 / sqrt(x)"),
    # In double and rounded once: CUDA's erff is off by two units in the last place.
    "erf": Function(("x",), "erf((double)x)"),
}


@cache
def elementwise(name: str, dtype: np.dtype[Any]) -> Source:
    """The kernel of one of `FUNCTIONS`: (operand, ..., results, size)."""
    function = FUNCTIONS[name]
    parameters = "".join(f"const T *{operand}s, " for operand in function.operands)
    loads = [f"R {operand} = as<R>({operand}s[i]);" for operand in function.operands]
    body = "".join(f"        {line}\n" for line in loads)
    text = f"""{types(dtype)}
{head(f"born_{name}", f"{parameters}T *results, i64 size")} {{
    {EACH} {{
{body}        put(results[i], {function.result});
    }}
}}
"""
    return Source(f"born_{name}", text)
