"""Formulas as CUDA kernels: one launch, each input read once, each result written once."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Final

import numpy as np

from born.fusion import ARRAY, BOOLEAN, CONSTANT, SCALAR, Formula, Ref
from born_cupy.kernels.source import EACH, Source, head, types

_PATTERNS: Final = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "abs": "fabs({0})",
    "lt": "{0} < {1}",
    "le": "{0} <= {1}",
    "gt": "{0} > {1}",
    "ge": "{0} >= {1}",
    "eq": "{0} == {1}",
    "ne": "{0} != {1}",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "logical_not": "!{0}",
    "where": "{0} ? {1} : {2}",
    "isfinite": "{0} - {0} == (R)0",
    "sign": "{0} != {0} ? {0} : (R)({0} > 0) - (R)({0} < 0)",
    "maximum": "{0} > {1} || {0} != {0} ? {0} : {1}",
    "minimum": "{0} < {1} || {0} != {0} ? {0} : {1}",
    "relu": "{0} < (R)0 ? (R)0 : {0}",
    "sigmoid": "({0} < (R)0 ? decay({0}) : (R)1) / ((R)1 + decay({0}))",
    "softplus": "({0} < (R)0 ? (R)0 : {0}) + log1p(decay({0}))",
    "cast_float16": "(R)float_of_half(half_of({0}))",
    "cast_bfloat16": "(R)float_of_bfloat(bfloat_of({0}))",
    "cast_float32": "(R)(float){0}",
}
"""Operation -> its text; the others are C's functions of the same name."""


@cache
def fused(formula: Formula, dtype: np.dtype[Any], placed: tuple[bool, ...], axes: int) -> Source:
    """The kernel (results, inputs, size, lengths of axes, strides of placed inputs, scalars).

    Args:
        formula: what it computes.
        dtype: of the results.
        placed: for each input, whether its elements are found by strides, as it broadcasts; the
            others lie as the results do.
        axes: over how many axes, joined as `born.backend.broadcast.walk` does.
    """
    truths = formula.truths
    parameters = [f"T *o{i}" for i in range(len(formula.outputs))]
    parameters += [f"const {'bool' if truth else 'T'} *x{i}" for i, truth in enumerate(truths)]
    parameters.append("i64 size")
    places = [i for i, strided in enumerate(placed) if strided]
    if places:
        parameters += [f"i64 n{k}" for k in range(axes)]
        parameters += [f"i64 t{i}_{k}" for i in places for k in range(axes)]
    parameters += [f"double d{i}" for i in range(formula.scalars)]
    lines: list[str] = []
    if places:
        lines += ["i64 rest = i, at;", *(f"i64 z{i} = 0;" for i in places)]
        for k in reversed(range(axes)):
            lines.append(f"at = rest % n{k}; rest /= n{k};")
            lines += [f"z{i} += at * t{i}_{k};" for i in places]
    used = {arg for _, args in formula.instructions for arg in args} | set(formula.outputs)
    for i, truth in enumerate(truths):
        if Ref(ARRAY, i) in used:
            element = f"x{i}[{f'z{i}' if placed[i] else 'i'}]"
            lines.append(f"bool a{i} = {element};" if truth else f"R a{i} = as<R>({element});")
    lines += [f"R s{i} = (R)d{i};" for i in range(formula.scalars)]
    for number, (op, args) in enumerate(formula.instructions):
        kind = "bool" if op in BOOLEAN else "R"
        lines.append(f"{kind} r{number} = {_expression(formula, op, args)};")
    lines += [f"put(o{n}[i], {_value(formula, ref)});" for n, ref in enumerate(formula.outputs)]
    body = "".join(f"        {line}\n" for line in lines)
    text = f"""{types(dtype)}
// e to the -|x|, at most one, so that nothing overflows.
__device__ inline R decay(R x) {{ return exp(-fabs(x)); }}

// {formula.name}({", ".join(formula.arrays)})
{head("born_fused", ", ".join(parameters))} {{
    {EACH} {{
{body}    }}
}}
"""
    return Source("born_fused", text)


def _value(formula: Formula, ref: Ref) -> str:
    if ref.kind != CONSTANT:
        return str(ref)
    number = float(formula.constants[ref.index])
    if math.isfinite(number):
        return f"(R){number!r}"
    bits = int(np.float64(number).view(np.uint64))
    return f"(R)double_of({bits}ull)"


def _expression(formula: Formula, op: str, args: tuple[Ref, ...]) -> str:
    values = [
        f"({text})" if text.startswith("(") else text
        for text in (_value(formula, arg) for arg in args)
    ]
    if op == "where" and args[0].kind in (SCALAR, CONSTANT):
        values[0] = f"({values[0]} != 0)"
    pattern = _PATTERNS.get(op)
    return f"{op}({', '.join(values)})" if pattern is None else pattern.format(*values)
