"""Attention in tiles, which holds no scores beyond one tile (FlashAttention, arXiv:2205.14135).

A block of 256 threads takes 64 queries of a head, or 64 keys, and walks over the tiles of the
other side; a thread takes every sixteenth of the rows and of the columns of a product of tiles.
Sums run in an order that the shapes alone decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from born_cupy.kernels.source import Source, head, real, types

TILE: Final = 64
"""Queries or keys that a block takes at a time."""

MOST: Final = 128
"""The widest rows of queries, keys and values; with wider ones too few tiles fit in."""

SIDE: Final = 16
"""Threads along each side of a tile."""

_APART: Final = 4  # elements between rows of a tile, beside their own: fewer bank conflicts


@dataclass(frozen=True, slots=True)
class Shape:
    """What a kernel is compiled for.

    Attributes:
        dtype: of queries, keys, values and what is made of them.
        depth: room for a query and for a key, which may be shorter; a multiple of `SIDE`.
        width: the same for a value.
        mask: of "bool", "number" or, for none, "".
    """

    dtype: np.dtype[Any]
    depth: int
    width: int
    mask: str = ""

    def shared(self, depths: int, widths: int) -> int:
        """Bytes of shared memory for so many tiles of each kind, and one of scores."""
        columns = depths * self.depth + widths * self.width + TILE
        columns += (depths + widths + 1) * _APART
        return TILE * columns * real(self.dtype).itemsize

    @property
    def most_shared(self) -> int:
        """Bytes of shared memory that the backward kernels take, which take most."""
        return self.shared(2, 2)


def _prelude(shape: Shape) -> str:
    return f"""{types(shape.dtype)}
enum {{ TILE = {TILE}, DEPTH = {shape.depth}, WIDTH = {shape.width}, SIDE = {SIDE},
       D_ROW = DEPTH + {_APART}, E_ROW = WIDTH + {_APART}, P_ROW = TILE + {_APART},
       D_EACH = DEPTH / SIDE, E_EACH = WIDTH / SIDE }};
{_HELPERS}"""


_HELPERS: Final = """\
template <int N> struct alignas(N % 4 ? sizeof(R) : 16) several { R x[N]; };
#define TX ((int)threadIdx.x % SIDE)
#define TY ((int)threadIdx.x / SIDE)

// Rows of a head into a tile, and zeros where there are none.
template <int ROOM>
__device__ inline void load(R *tile, const T *rows, i64 first, i64 count, i64 apart, i64 length) {
    for (int n = threadIdx.x; n < TILE * ROOM; n += SIDE * SIDE) {
        int row = n / ROOM, column = n % ROOM;
        bool inside = column < length && first + row < count;
        tile[row * (ROOM + 4) + column] =
            inside ? as<R>(rows[(first + row) * apart + column]) : (R)0;
    }
}

// sums[i][j] += a's row i . b's row j, of the thread's rows of each tile.
template <int LENGTH>
__device__ inline void rows_by_rows(R (&sums)[4][4], const R *a, const R *b) {
    for (int d = 0; d < LENGTH; d += 4) {
        several<4> left[4], right[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            left[i] = *(const several<4> *)(a + (TY + SIDE * i) * (LENGTH + 4) + d);
            right[i] = *(const several<4> *)(b + (TX + SIDE * i) * (LENGTH + 4) + d);
        }
#pragma unroll
        for (int c = 0; c < 4; ++c)
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) sums[i][j] += left[i].x[c] * right[j].x[c];
    }
}

// Which column of a tile is the thread's n-th of EACH: neighbours where it has a multiple of four.
template <int EACH> __device__ inline int column_of(int n) {
    const int together = EACH % 4 ? 1 : 4;
    return (TX + n / together * SIDE) * together + n % together;
}

// sums[i][n] += p's row i . b's column n.
template <int EACH>
__device__ inline void rows_by_columns(R (&sums)[4][EACH], const R *p, const R *b) {
    const int together = EACH % 4 ? 1 : 4;
    for (int j = 0; j < TILE; j += 4) {
        several<4> left[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
            left[i] = *(const several<4> *)(p + (TY + SIDE * i) * P_ROW + j);
#pragma unroll
        for (int c = 0; c < 4; ++c)
#pragma unroll
            for (int n = 0; n < EACH; n += together) {
                several<together> right = *(const several<together> *)(
                    b + (j + c) * (EACH * SIDE + 4) + column_of<EACH>(n));
#pragma unroll
                for (int m = 0; m < together; ++m)
#pragma unroll
                    for (int i = 0; i < 4; ++i) sums[i][n + m] += left[i].x[c] * right.x[m];
            }
    }
}

// The thread's elements of a tile, times a factor.
template <int EACH>
__device__ inline void store(T *rows, R (&sums)[4][EACH], R factor, i64 first, i64 count,
                             i64 apart, i64 length) {
    for (int i = 0; i < 4; ++i)
        for (int n = 0; n < EACH; ++n) {
            i64 row = first + TY + SIDE * i;
            int column = column_of<EACH>(n);
            if (row < count && column < length)
                put(rows[row * apart + column], sums[i][n] * factor);
        }
}

// Over the sixteen threads that share rows, which are half of a warp.
__device__ inline R sum_of_side(R x) {
    for (int bits = SIDE / 2; bits; bits >>= 1) x += __shfl_xor_sync(0xffffffffu, x, bits);
    return x;
}
__device__ inline R max_of_side(R x) {
    for (int bits = SIDE / 2; bits; bits >>= 1) {
        R other = __shfl_xor_sync(0xffffffffu, x, bits);
        if (other > x) x = other;
    }
    return x;
}
#define NOTHING ((R)float_of(0xff800000u))  // minus infinity
"""

_SCORE: Final = {
    "": "",
    "bool": "if (!masks[t * m_row + s * m_column]) return NOTHING;",
    "number": "x += as<R>(masks[t * m_row + s * m_column]);",
}
_MASKS: Final = {"": "", "bool": "const bool *masks", "number": "const T *masks"}
_PLACES: Final = "i64 {0}_outer, i64 {0}_inner, i64 {0}_row"


def _score(shape: Shape) -> str:
    """How much a query and a key have to do with each other, given their product."""
    masks = _MASKS[shape.mask]
    more = f", {masks}, i64 m_row, i64 m_column" if masks else ""
    return f"""\
__device__ inline R score(R product, i64 t, i64 s, i64 queries, i64 keys, int causal,
                          R scale{more}) {{
    if (t >= queries || s >= keys || (causal && s > t + keys - queries)) return NOTHING;
    R x = product * scale;
    {_SCORE[shape.mask]}
    return x;
}}
#define SCORE(product, t, s) score(product, t, s, queries, keys, causal, scale{_MORE[bool(masks)]})
"""


_MORE: Final = {True: ", masks, m_row, m_column", False: ""}


def _source(
    name: str, shape: Shape, operands: str, names: str, tiles: tuple[int, int], side: str, body: str
) -> Source:
    """A kernel over tiles of a side of each head.

    Its parameters are pointers; how far apart each tensor's elements lie along the outer axis, the
    inner one and rows; the same for a mask, and along columns; then how many heads there are along
    the inner axis, how many queries and keys, how long they and values are, and the rest.
    """
    # Of queries, those that see most keys first, so that none of them is left over at the end.
    first = "(tiles - 1 - blockIdx.x % tiles)" if side == "queries" else "blockIdx.x % tiles"
    masks = _MASKS[shape.mask]
    parameters = [operands, *(_PLACES.format(each) for each in names)]
    parameters += [f"{masks}, {_PLACES.format('m')}, i64 m_column"] if masks else []
    parameters += ["i64 inner, i64 queries, i64 keys, i64 depth, i64 width, int causal, R scale"]
    shared = shape.shared(*tiles)
    moved = [f"{each}s += outer * {each}_outer + in * {each}_inner;" for each in names]
    moved += ["masks += outer * m_outer + in * m_inner;"] if masks else []
    text = f"""{_prelude(shape)}{_score(shape)}
{head(f"born_{name}", ", ".join(parameters))} {{
    DYNAMIC_SHARED(R, shared, {shared // real(shape.dtype).itemsize});
    i64 tiles = ({side} + TILE - 1) / TILE;
    i64 z = blockIdx.x / tiles, outer = z / inner, in = z % inner;
    i64 first = {first} * TILE;
    {" ".join(moved)}
{body}}}
"""
    return Source(f"born_{name}", text, shared=shared)


@cache
def forward(shape: Shape) -> Source:
    """The result, and the logarithm of each row's sum of exponentials: (q, k, v, y, totals, ...).

    The last two are the places of y and the totals, of which the latter lie side by side.
    """
    body = """\
    R *q = shared, *k = q + TILE * D_ROW, *v = k + TILE * D_ROW, *p = v + TILE * E_ROW;
    load<DEPTH>(q, qs, first, queries, q_row, depth);
    R sums[4][E_EACH] = {}, top[4], mass[4] = {};
    for (int i = 0; i < 4; ++i) top[i] = NOTHING;
    i64 end = causal ? min(keys, first + TILE + keys - queries) : keys;
    for (i64 from = 0; from < end; from += TILE) {
        __syncthreads();
        load<DEPTH>(k, ks, from, keys, k_row, depth);
        load<WIDTH>(v, vs, from, keys, v_row, width);
        __syncthreads();
        R s[4][4] = {};
        rows_by_rows<DEPTH>(s, q, k);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            R best = top[i], part = 0;
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                s[i][j] = SCORE(s[i][j], first + TY + SIDE * i, from + TX + SIDE * j);
                if (s[i][j] > best) best = s[i][j];
            }
            best = max_of_side(best);
            R shift = best == NOTHING ? (R)0 : best, shrink = exp(top[i] - shift);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                R weight = exp(s[i][j] - shift);
                part += weight;
                p[(TY + SIDE * i) * P_ROW + TX + SIDE * j] = weight;
            }
            top[i] = best;
            mass[i] = mass[i] * shrink + sum_of_side(part);
#pragma unroll
            for (int n = 0; n < E_EACH; ++n) sums[i][n] *= shrink;
        }
        __syncwarp();  // a thread reads no other rows of p than its half of the warp wrote
        rows_by_columns<E_EACH>(sums, p, v);
    }
    for (int i = 0; i < 4; ++i) {
        i64 t = first + TY + SIDE * i;
        for (int n = 0; n < E_EACH; ++n) sums[i][n] = mass[i] == (R)0 ? (R)0 : sums[i][n] / mass[i];
        if (TX == 0 && t < queries)
            totals[z * queries + t] = mass[i] == (R)0 ? NOTHING : top[i] + log(mass[i]);
    }
    store(ys, sums, (R)1, first, queries, y_row, width);
"""
    operands = "const T *qs, const T *ks, const T *vs, T *ys, R *totals"
    return _source("attention", shape, operands, "qkvy", (2, 1), "queries", body)


@cache
def of_queries(shape: Shape) -> Source:
    """The queries' gradient, and each row's sum of g y: (g, q, k, v, y, dq, totals, alongs, ...).

    dq = scale (p (g v^T - along)) k,    p = exp(score - total)
    """
    body = """\
    R *q = shared, *g = q + TILE * D_ROW, *k = g + TILE * E_ROW, *v = k + TILE * D_ROW;
    R *p = v + TILE * E_ROW;
    load<DEPTH>(q, qs, first, queries, q_row, depth);
    load<WIDTH>(g, gs, first, queries, g_row, width);
    __syncthreads();
    R sums[4][D_EACH] = {}, total[4], along[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        i64 t = first + TY + SIDE * i;
        along[i] = total[i] = 0;
        for (int e = TX; t < queries && e < width; e += SIDE)
            along[i] += g[(TY + SIDE * i) * E_ROW + e] * as<R>(ys[t * y_row + e]);
        along[i] = sum_of_side(along[i]);
        if (t >= queries) continue;
        if (totals[z * queries + t] != NOTHING) total[i] = totals[z * queries + t];
        if (TX == 0) alongs[z * queries + t] = along[i];
    }
    i64 end = causal ? min(keys, first + TILE + keys - queries) : keys;
    for (i64 from = 0; from < end; from += TILE) {
        __syncthreads();
        load<DEPTH>(k, ks, from, keys, k_row, depth);
        load<WIDTH>(v, vs, from, keys, v_row, width);
        __syncthreads();
        R s[4][4] = {}, slope[4][4] = {};
        rows_by_rows<DEPTH>(s, q, k);
        rows_by_rows<WIDTH>(slope, g, v);
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                i64 t = first + TY + SIDE * i, s_ = from + TX + SIDE * j;
                R weight = exp(SCORE(s[i][j], t, s_) - total[i]);
                p[(TY + SIDE * i) * P_ROW + TX + SIDE * j] = weight * (slope[i][j] - along[i]);
            }
        __syncwarp();
        rows_by_columns<D_EACH>(sums, p, k);
    }
    store(xs, sums, scale, first, queries, x_row, depth);
"""
    operands = (
        "const T *gs, const T *qs, const T *ks, const T *vs, const T *ys, T *xs, "
        "const R *totals, R *alongs"
    )
    return _source("attention_queries", shape, operands, "gqkvyx", (2, 2), "queries", body)


@cache
def of_keys(shape: Shape) -> Source:
    """The gradients of keys and values: (g, q, k, v, dk, dv, totals, alongs, ...).

    dk = scale (p (g v^T - along))^T q,    dv = p^T g
    """
    body = """\
    R *k = shared, *v = k + TILE * D_ROW, *q = v + TILE * E_ROW, *g = q + TILE * D_ROW;
    R *p = g + TILE * E_ROW;
    load<DEPTH>(k, ks, first, keys, k_row, depth);
    load<WIDTH>(v, vs, first, keys, v_row, width);
    R of_keys[4][D_EACH] = {}, of_values[4][E_EACH] = {};
    i64 start = causal ? max((i64)0, first - (keys - queries)) / TILE * TILE : 0;
    for (i64 from = start; from < queries; from += TILE) {
        __syncthreads();
        load<DEPTH>(q, qs, from, queries, q_row, depth);
        load<WIDTH>(g, gs, from, queries, g_row, width);
        __syncthreads();
        R s[4][4] = {}, slope[4][4] = {};
        rows_by_rows<DEPTH>(s, k, q);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            i64 t = from + TX + SIDE * j;
            R total = t < queries ? totals[z * queries + t] : (R)0;
            if (total == NOTHING) total = 0;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                s[i][j] = exp(SCORE(s[i][j], t, first + TY + SIDE * i) - total);
                p[(TY + SIDE * i) * P_ROW + TX + SIDE * j] = s[i][j];
            }
        }
        __syncwarp();
        rows_by_columns<E_EACH>(of_values, p, g);
        rows_by_rows<WIDTH>(slope, v, g);
        __syncwarp();
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            i64 t = from + TX + SIDE * j;
            R along = t < queries ? alongs[z * queries + t] : (R)0;
#pragma unroll
            for (int i = 0; i < 4; ++i)
                p[(TY + SIDE * i) * P_ROW + TX + SIDE * j] = s[i][j] * (slope[i][j] - along);
        }
        __syncwarp();
        rows_by_columns<D_EACH>(of_keys, p, q);
    }
    store(xs, of_keys, scale, first, keys, x_row, depth);
    store(ws, of_values, (R)1, first, keys, w_row, width);
"""
    operands = (
        "const T *gs, const T *qs, const T *ks, const T *vs, T *xs, T *ws, "
        "const R *totals, const R *alongs"
    )
    return _source("attention_keys", shape, operands, "gqkvxw", (2, 2), "keys", body)
