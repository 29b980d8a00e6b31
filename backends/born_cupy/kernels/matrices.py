"""Kernels between the products of Newton-Schulz iterations, over stacks of matrices of one shape.

What is computed is that of `born.backend.orthogonal`. CuPy multiplies stacks only as they lie in
memory, so each matrix is kept beside its transpose: the same kernel writes both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from born.backend.lanes import LANES, STRETCH
from born_cupy.kernels.source import THREADS, Source, ctype, head
from born_cupy.kernels.sums import BLOCK_SUMS
from born_cupy.kernels.table import FIND, PARAMETERS

STRAIGHT: Final = 1
TURNED: Final = 2
"""What a kernel writes of its matrices: as they are, or their transposes; or both."""

TILE: Final = 32
"""Rows and columns of what a block turns at once."""

CHUNK: Final = 4_096
"""Elements that a block mixes before it takes its next chunk."""

SUMS: Final = STRETCH
"""Elements whose squares a block adds up."""


class OrthogonalKernels:
    """The kernels of one `orthogonalize` of a program.

    Args:
        place: the number of the instruction.
        steps: how many iterations there are.
        preconditioning: by which norm matrices are divided at first.
        compute: the dtype of the matrices.
        numbers: texts of the coefficients, eps and what is added to the norm, of tensor i.
        scalars: the text of where its scalars are.

    Attributes:
        steps: as given.
        preconditioning: as given.
        squares: of stretches of each matrix the sum of squares.
        lengths: of each matrix, or of each row, what it is divided by; from sums of squares, or for
            "aol" of absolute values.
        divided: each matrix over its length.
        mixed: b A + c A A.
        advanced: a X and the product of what was mixed with X.
    """

    def __init__(
        self,
        place: int,
        steps: int,
        preconditioning: str,
        compute: np.dtype[Any],
        numbers: Sequence[str],
        scalars: str,
    ) -> None:
        self.steps = steps
        self.preconditioning = preconditioning
        self._real = ctype(compute)
        self._place = place
        self._scalars = scalars
        a, b, c, eps, added = (f"({number})" for number in numbers)
        self.squares = self._squares()
        self.lengths = self._lengths(eps, added)
        self.divided = self._moved("divided", "x[at] / (real)lengths[m]", "const double *lengths")
        self.mixed = self._mixed(b, c)
        self.advanced = self._moved("advanced", f"(real){a} * x[at] + y[at]", "const real *y")

    @property
    def sources(self) -> list[Source]:
        """All of them."""
        moved = [self.mixed, self.advanced] if self.steps else []
        return [self.squares, self.lengths, self.divided, *moved]

    def _source(self, name: str, given: str, body: str, before: str = "") -> Source:
        name = f"{name}_{self._place}"
        parameters = f"{PARAMETERS}, {given}".replace("real ", f"{self._real} ")
        text = f"""\
typedef {self._real} real;

{before}

{head(name, parameters)} {{
    {FIND}
{body}
}}
"""
        return Source(name, text, exact=True)

    def _squares(self) -> Source:
        body = f"""\
    const i64 stretches = (size + {SUMS - 1}) / {SUMS};
    for (i64 c = blockIdx.x; c < matrices * stretches; c += gridDim.x) {{
        const i64 m = c / stretches, from = c % stretches * {SUMS};
        const i64 n = size - from < {SUMS} ? size - from : {SUMS};
        const real *at = x + m * size + from;
        double sum = 0;
#pragma unroll 8
        for (i64 e = threadIdx.x; e < n; e += {LANES}) sum += (double)at[e] * (double)at[e];
        sum = block_sum(sum);
        if (threadIdx.x == 0) sums[c] = sum;
    }}"""
        given = "const real *x, i64 matrices, i64 size, double *sums"
        return self._source("squares", given, body, BLOCK_SUMS)

    def _lengths(self, eps: str, added: str) -> Source:
        root = "" if self.preconditioning == "aol" else "sqrt"
        bound = f"(norm > {eps} || norm != norm ? norm : {eps})"
        length = f"{bound} + {added}"
        if self.preconditioning in ("schatten", "aol"):
            length = f"sqrt({bound})"
        body = f"""\
    for (i64 m = blockIdx.x; m < matrices; m += gridDim.x) {{
        const i64 i = m / each;
        const double *s = {self._scalars};
        const double norm = {root}(sum_of(sums + m * stretches, stretches));
        if (threadIdx.x == 0) lengths[m] = {length};
    }}"""
        given = "const double *sums, i64 matrices, i64 each, i64 stretches, double *lengths"
        return self._source("lengths", given, body, BLOCK_SUMS)

    def _mixed(self, b: str, c: str) -> Source:
        body = f"""\
    const i64 chunks = (size + {CHUNK - 1}) / {CHUNK};
    for (i64 k = blockIdx.x; k < matrices * chunks; k += gridDim.x) {{
        const i64 m = k / chunks, i = m / each, from = k % chunks * {CHUNK};
        const i64 n = size - from < {CHUNK} ? size - from : {CHUNK};
        const double *s = {self._scalars};
        const real b = (real){b}, c = (real){c};
        real *x = square + m * size + from;
        const real *y = fourth + m * size + from;
        for (i64 e = threadIdx.x; e < n; e += blockDim.x) x[e] = x[e] * b + y[e] * c;
    }}"""
        given = "real *square, const real *fourth, i64 matrices, i64 each, i64 size"
        return self._source("mixed", given, body)

    def _moved(self, name: str, value: str, other: str) -> Source:
        rows = THREADS // TILE
        body = f"""\
    __shared__ real tile[{TILE * (TILE + 1)}];  // a column more, so that no bank is asked twice
    const i64 across = (columns + {TILE - 1}) / {TILE}, down = (rows + {TILE - 1}) / {TILE};
    const int column = threadIdx.x % {TILE}, first = threadIdx.x / {TILE};
    for (i64 t = blockIdx.x; t < matrices * down * across; t += gridDim.x) {{
        const i64 m = t / (down * across), i = m / each;
        const i64 top = t / across % down * {TILE}, left = t % across * {TILE};
        const double *s = {self._scalars};
        for (int row = first; row < {TILE}; row += {rows}) {{
            if (top + row >= rows || left + column >= columns) continue;
            const i64 at = (m * rows + top + row) * columns + left + column;
            const real value = {value};
            if (written & {STRAIGHT}) straight[at] = value;
            tile[row * {TILE + 1} + column] = value;
        }}
        if (!(written & {TURNED})) continue;
        __syncthreads();
        for (int row = first; row < {TILE}; row += {rows}) {{
            if (left + row >= columns || top + column >= rows) continue;
            turned[(m * columns + left + row) * rows + top + column] =
                tile[column * {TILE + 1} + row];
        }}
        __syncthreads();
    }}"""
        given = (
            f"const real *x, {other}, real *straight, real *turned, int written, i64 matrices, "
            "i64 each, i64 rows, i64 columns"
        )
        return self._source(name, given, body)
