"""Softmax, cross-entropy, normalisation and dropout.

All but dropout reduce rows. A team of threads takes a row: a warp where rows are short, else the
whole block. It passes over the row once for each sum it needs; all but the first pass find it in
a cache. Which thread adds what depends on the shape alone: the same input gives the same bits.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from born_cupy.kernels import random
from born_cupy.kernels.source import Source, head, real, types

WARP: Final = 32

MAX_TEAM: Final = 1024
"""Threads that take a row at most, and that a block has."""


def _over_team(name: str, combine: str) -> str:
    """The function that combines the numbers of a team: `x` with each `other`."""
    return f"""\
__device__ inline R {name}(R x, int team) {{
    for (int bits = 16; bits; bits >>= 1) {{
        R other = __shfl_xor_sync(0xffffffffu, x, bits);
        {combine}
    }}
    if (team > 32) {{
        __shared__ R parts[32];
        __syncthreads();  // a slow thread may still be reading what the last call left there
        if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
        __syncthreads();
        x = parts[0];
        for (int warp = 1; warp < team / 32; ++warp) {{
            R other = parts[warp];
            {combine}
        }}
    }}
    return x;
}}
"""


_TEAM: Final = f"""\
// What each thread of a team gets; a team is a warp, or else the block. `team_max` passes NaN over.
{_over_team("team_sum", "x += other;")}{_over_team("team_max", "if (other > x) x = other;")}
#define FOR_ROW for (i64 j = lane; j < columns; j += team)
#define AT (first + j * inner)
"""

_SOFTMAX: Final = """\
        R top = (R)float_of(0xff800000u);  // minus infinity
        FOR_ROW if (as<R>(xs[AT]) > top) top = as<R>(xs[AT]);
        top = team_max(top, team);
        R mass = 0;
        FOR_ROW mass += exp(as<R>(xs[AT]) - top);
        mass = team_sum(mass, team);
"""

_ALONG_AXIS: Final = {
    "softmax": f"""{_SOFTMAX}
        FOR_ROW put(results[AT], exp(as<R>(xs[AT]) - top) / mass);
""",
    "log_softmax": f"""{_SOFTMAX}
        // An infinite number leaves nothing to the others, and NaN to itself.
        R log_mass = top - top == (R)0 ? log(mass) : (R)0;
        FOR_ROW put(results[AT], as<R>(xs[AT]) - top - log_mass);
""",
    "softmax_backward": """\
        R along = 0;
        FOR_ROW along += as<R>(gs[AT]) * as<R>(ys[AT]);
        along = team_sum(along, team);
        FOR_ROW put(results[AT], as<R>(ys[AT]) * (as<R>(gs[AT]) - along));
""",
    "log_softmax_backward": """\
        R total = 0;
        FOR_ROW total += as<R>(gs[AT]);
        total = team_sum(total, team);
        FOR_ROW put(results[AT], as<R>(gs[AT]) - exp(as<R>(ys[AT])) * total);
""",
}
"""Name -> what a team does with its row."""

ALONG_AXIS: Final = tuple(_ALONG_AXIS)


def _source(name: str, dtype: np.dtype[Any], parameters: str, body: str) -> Source:
    parameters += ", i64 rows, i64 columns, i64 inner, int team"
    text = f"""{types(dtype)}{_TEAM}
{head(f"born_{name}", parameters, MAX_TEAM)} {{
    int lane = threadIdx.x % team;
    i64 teams = blockDim.x / team;
    for (i64 row = blockIdx.x * teams + threadIdx.x / team; row < rows; row += gridDim.x * teams) {{
        i64 first = row / inner * columns * inner + row % inner;
{body}    }}
}}
"""
    return Source(f"born_{name}", text)


@cache
def along_axis(name: str, dtype: np.dtype[Any]) -> Source:
    """One of `ALONG_AXIS`: (operand, ..., results, rows, columns, inner, team).

    Elements of a row are `inner` apart; a `team` of `WARP` threads or of a whole block takes a row.
    """
    operands = "const T *gs, const T *ys" if name.endswith("_backward") else "const T *xs"
    return _source(name, dtype, f"{operands}, T *results", _ALONG_AXIS[name])


@cache
def cross_entropy(dtype: np.dtype[Any], reduced: bool) -> Source:
    """Probabilities and losses of rows of logits; the loss of a label out of range is 0.

    (logits, labels, probabilities, losses, smoothing, rows, columns, inner, team) with `inner` 1.
    Losses are of type R if they are to be `reduced`, and else of type T.
    """
    body = f"""{_SOFTMAX}
        FOR_ROW put(ps[AT], exp(as<R>(xs[AT]) - top) / mass);
        R distance = 0;  // of all classes from the largest, for smoothing
        if (smoothing != (R)0) {{
            FOR_ROW distance += as<R>(xs[AT]) - top;
            distance = team_sum(distance, team) / (R)columns;
        }}
        if (lane == 0) {{
            i64 label = labels[row];
            R loss = 0;
            if (label >= 0 && label < columns) {{
                R hit = log(mass) - (as<R>(xs[first + label]) - top);
                loss = hit;
                if (smoothing != (R)0)
                    loss = hit * ((R)1 - smoothing) + (log(mass) - distance) * smoothing;
            }}
            put(losses[row], loss);
        }}
"""
    parameters = (
        f"const T *xs, const i64 *labels, T *ps, {'R' if reduced else 'T'} *losses,\n"
        "    R smoothing"
    )
    return _source("cross_entropy", dtype, parameters, body)


@cache
def cross_entropy_backward(dtype: np.dtype[Any], reduced: bool) -> Source:
    """The gradient of a cross-entropy.

    (probabilities, labels, g, results, smoothing, divisor, rows, columns, inner, team);
    g is one number if the losses were `reduced`, over the divisor, and else one a row.
    """
    body = f"""\
        R scale = as<R>(gs[{"0" if reduced else "row"}]) / divisor;
        R share = smoothing / (R)columns;
        FOR_ROW {{
            R target = j == labels[row] ? ((R)1 - smoothing) + share : share;
            put(results[AT], (as<R>(ps[AT]) - target) * scale);
        }}
"""
    parameters = "const T *ps, const i64 *labels, const T *gs, T *results, R smoothing, R divisor"
    return _source("cross_entropy_backward", dtype, parameters, body)


@cache
def reduce_losses(dtype: np.dtype[Any]) -> Source:
    """The sum of numbers of type R over a divisor, rounded to T.

    (numbers, result, divisor, rows, columns, inner, team) with one row, for one block.
    """
    body = """\
        R sum = 0;
        FOR_ROW sum += numbers[AT];
        sum = team_sum(sum, team);
        if (lane == 0) put(result[row], sum / divisor);
"""
    return _source("reduce_losses", dtype, "const R *numbers, T *result, R divisor", body)


_SHRINKING: Final = {"float32": 2.0**-70, "float64": 2.0**-540}
"""What numbers whose squares overflow are multiplied by."""


@cache
def norm(dtype: np.dtype[Any], centred: bool, weight: bool, bias: bool) -> Source:
    """Layer normalisation, or that by the root mean square where it is not `centred`.

    (x, [weight], [bias], y, normal, scale, eps, rows, columns, inner, team)
    """
    mean = """\
            FOR_ROW mean += as<R>(xs[AT]) * shrink;
            mean = team_sum(mean, team) / (R)columns;
"""
    affine = (
        f"normal{' * as<R>(weights[j])' if weight else ''}{' + as<R>(biases[j])' if bias else ''}"
    )
    body = f"""\
        // Where squares are infinite, those of smaller numbers are not; eps is nothing beside them.
        R shrink = 1, mean, squares;
        for (;;) {{
            mean = squares = 0;
{mean if centred else ""}\
            FOR_ROW {{
                R distance = as<R>(xs[AT]) * shrink - mean;
                squares += distance * distance;
            }}
            squares = team_sum(squares, team) / (R)columns;
            if (squares - squares == (R)0 || shrink < (R)1) break;
            shrink = (R){_SHRINKING[real(dtype).name]!r};
        }}
        R factor = (R)1 / sqrt(squares + eps), scale = factor;
        if (shrink < (R)1 && squares > (R)0) {{
            factor = (R)1 / sqrt(squares);
            scale = factor * shrink;
        }}
        FOR_ROW {{
            R normal = (as<R>(xs[AT]) * shrink - mean) * factor;
            put(normals[AT], normal);
            put(ys[AT], {affine});
        }}
        if (lane == 0) put(scales[row], scale);
"""
    parameters = (
        f"const T *xs, {'const T *weights, ' if weight else ''}"
        f"{'const T *biases, ' if bias else ''}T *ys, T *normals, T *scales, R eps"
    )
    return _source("norm", dtype, parameters, body)


@cache
def norm_backward(dtype: np.dtype[Any], centred: bool, weight: bool) -> Source:
    """The gradient of `norm`: (g, [weight], normal, scale, results, rows, columns, inner, team)."""
    given = "as<R>(gs[AT]) * as<R>(weights[j])" if weight else "as<R>(gs[AT])"
    body = f"""\
        R mean = 0, along = 0;
        FOR_ROW {{
            R g = {given};
            {"mean += g;" if centred else ""}
            along += g * as<R>(normals[AT]);
        }}
        {"mean = team_sum(mean, team) / (R)columns;" if centred else ""}
        along = team_sum(along, team) / (R)columns;
        R scale = as<R>(scales[row]);
        FOR_ROW put(results[AT], scale * ({given} - mean - as<R>(normals[AT]) * along));
"""
    parameters = (
        f"const T *gs, {'const T *weights, ' if weight else ''}"
        "const T *normals, const T *scales, T *results"
    )
    return _source("norm_backward", dtype, parameters, body)


@cache
def dropout(dtype: np.dtype[Any]) -> Source:
    """Elements and a mask, zero with probability p: (x, y, mask, p, scale, size, blocks, *state).

    The mask is `scale` where a uniform float is not below p.
    """
    emit = (
        "T kept; put(kept, u >= p ? scale : (R)0); "
        "masks[i] = kept; put(ys[i], as<R>(xs[i]) * as<R>(kept));"
    )
    return random.drawing(
        "dropout", dtype, "const T *xs, T *ys, T *masks, float p, R scale", random.SINGLE, emit
    )
