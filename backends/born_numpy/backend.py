"""`NumpyBackend`, the reference that other backends are measured against."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend import ArrayBackend, Axis, CellName, Index, Window
from born.backend.arguments import beside_channels, is_tuple, normal_axis
from born.backend.arrays.sums import SHORT
from born.backend.cells import check_recurrence
from born.backend.coded_update import CodedUpdate, is_coded
from born.backend.contract.network import label_range_error
from born.backend.update import GroupUpdate, Scalars, UpdateKernel
from born.backend.window import check_convolution
from born.dtypes import DTypeLike, as_dtype, float32, int64, is_floating
from born.fusion import Formula, GroupProgram, Program
from born.fusion.activations import RELU_GRADIENT
from born.raw import HostArray, RawTensor, Shape
from born_numpy import alignment, arena, attention, convolution, linalg, products, recurrence
from born_numpy.attention import ROWS, Rows
from born_numpy.convolution import Convolution
from born_numpy.fused import NumpyFormula
from born_numpy.global_norm import add_squares, global_norm
from born_numpy.group import HostGroup
from born_numpy.special import special
from born_numpy.staged import StagedUpdate, takes_codes
from born_numpy.update import NumpyUpdate

# When a product x W^T of float32 is computed as (W x^T)^T; measured: docs/notes/performance.md.
_MOST_ROWS: Final = 64  # of x
_OUTPUTS_PER_ROW: Final = 8  # how many rows W has, at least, for each row of x
_LEAST_INPUTS: Final = 64  # with fewer, to transpose the result would be most of the work
_LEAST_PRODUCTS: Final = 131_072  # what has fewer runs in kernels for small matrices

_SHRINKING: Final = {"f": (2.0**-70, 1e-30), "d": (2.0**-540, 1e-300)}
"""What numbers whose squares overflow are multiplied by, and what is nothing beside their squares
then: 2^64 or 2^512 at least, they become 2^-6 or 2^-28."""

_FEW: Final = arena.LARGE // 8  # elements of a product for which no arena is asked

_BLOCK: Final = 32  # values that are added to one place one after the other, where there are many

_SQUARES: Final = {"f": (1e-30, 1e38), "d": (1e-290, 1e308)}
"""Between which two numbers a sum of squares has lost none to the limits of its dtype."""


class NumpyBackend(ArrayBackend):
    """Compute on the CPU with NumPy.

    Args:
        seed: where the random generator starts; 0 by default, so that a program
            gives the same numbers each time.

    >>> backend = NumpyBackend(seed=0)
    >>> x = backend.from_numpy(np.array([1.0, 2.0], np.float32))
    >>> backend.to_numpy(backend.mul(x, 2.0))
    array([2., 4.], dtype=float32)
    """

    name = "numpy"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(np, seed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # -- updates --

    @override
    def extent(self, x: RawTensor) -> tuple[int, int]:
        start, stop = np.lib.array_utils.byte_bounds(x.array)
        return int(start), int(stop)

    @override
    def slot(self, x: RawTensor, dtype: DTypeLike, number: int) -> RawTensor:
        return alignment.slot(x.array, as_dtype(dtype), number)

    @override
    def compile_update(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> UpdateKernel:
        if program.staged:
            if is_coded(program, dtypes) and not takes_codes(program, dtypes):
                return CodedUpdate(self, program, dtypes, self.compile_update)
            return StagedUpdate(self, program, dtypes)
        return NumpyUpdate(program, dtypes)

    @override
    def fused(
        self, formula: Formula, arrays: Sequence[RawTensor], scalars: Sequence[float] = ()
    ) -> tuple[RawTensor, ...]:
        leading = arrays[formula.leading].array.dtype
        made: NumpyFormula | None = formula.compiled.get((NumpyFormula, leading))
        if made is None:
            if not is_floating(leading):
                return super().fused(formula, arrays, scalars)
            made = formula.compiled[NumpyFormula, leading] = NumpyFormula(formula, leading)
        return made.run(arrays, scalars)

    @override
    def begin_group(
        self, program: GroupProgram, slots: Sequence[RawTensor], scalars: Scalars
    ) -> GroupUpdate:
        return HostGroup(program, slots, scalars)

    @override
    def global_norm(self, xs: Sequence[RawTensor]) -> RawTensor:
        return global_norm(xs, add_squares)

    # -- elementwise --

    @override
    def _special(self, name: str) -> Callable[..., Any]:
        return special(name)

    # -- memory --

    large = arena.LARGE

    @override
    def _room(self, shape: Shape, dtype: np.dtype[Any]) -> HostArray:
        return arena.empty(shape, dtype)

    # -- shape --

    @override
    def broadcast_to(self, x: RawTensor, /, shape: Shape) -> RawTensor:
        a = x.array
        if a.ndim or a.base is not None or a.dtype.char not in "fd" or min(shape, default=0) < 0:
            return super().broadcast_to(x, shape)
        # NumPy's own function takes a multiple of the time, and every sum's gradient is one.
        view: HostArray = np.ndarray(shape, a.dtype, a, 0, (0,) * len(shape))
        view.flags.writeable = False
        return RawTensor(view)

    # -- linear --

    @override
    def _dot(self, a: HostArray, b: HostArray) -> HostArray:
        return dot(a, b)

    @override
    def _product(self, a: HostArray, b: HostArray) -> HostArray:
        if a.ndim > 2 and b.ndim > 2 and a.dtype.char in "fd" and a.shape[-1] == b.shape[-2]:
            shared = products.shared(a, b)
            if shared is not None:
                return shared
        plain: HostArray = super()._product(a, b)
        return plain

    @override
    def _affine(self, a: HostArray, weight: HostArray, bias: HostArray | None) -> HostArray:
        if a.ndim != 2 or a.dtype.char not in "fd":
            plain: HostArray = super()._affine(a, weight, bias)
            return plain
        rows, outputs = len(a), len(weight)
        # NumPy's OpenBLAS packs its left operand by slower loops than its right one. Where that is
        # much the larger, computing (W a^T)^T gains more than transposing the small product costs.
        if (
            rows * _OUTPUTS_PER_ROW <= outputs
            and 1 < rows <= _MOST_ROWS
            and weight.shape[1] >= _LEAST_INPUTS
            and rows * weight.size >= _LEAST_PRODUCTS
            and a.dtype == float32
        ):
            out = np.ascontiguousarray(weight.dot(a.T).T)
        elif rows * outputs >= _FEW:
            return products.product(a, weight.T, bias)
        else:
            out = a.dot(weight.T)
        if bias is not None:
            out += bias
        return out

    @override
    def linear_gradients(
        self,
        g: RawTensor,
        x: RawTensor | None,
        weight: RawTensor | None,
        bias: bool,
        y: RawTensor | None = None,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        g = g if y is None else self.fused(RELU_GRADIENT, (g, y))[0]
        if not are_plain_products(g, x, weight):
            return super().linear_gradients(g, x, weight, bias)
        return (*linear_products(g.array, x, weight), self.sum(g, 0) if bias else None)

    # -- linalg --

    @override
    def _lower_factor(self, a: HostArray) -> HostArray:
        factor = linalg.cholesky(a)
        return super()._lower_factor(a) if factor is None else factor

    @override
    def _substituted(self, a: HostArray, b: HostArray, lower: bool) -> HostArray:
        solved = linalg.solve_triangular(a, b, lower)
        return super()._substituted(a, b, lower) if solved is None else solved

    @override
    def cholesky_inverse(self, factor: RawTensor) -> RawTensor:
        inverse = linalg.cholesky_inverse(factor.array)
        return super().cholesky_inverse(factor) if inverse is None else RawTensor(inverse)

    # -- reduction --

    @override
    def _euclidean_norm(self, x: RawTensor, axis: Axis, keepdims: bool) -> RawTensor:
        if x.dtype.char not in _SQUARES:
            return super()._euclidean_norm(x, axis, keepdims)
        with np.errstate(over="ignore"):
            squares = self.sum(self.mul(x, x), axis, keepdims)
        least, most = _SQUARES[x.dtype.char]
        if ((squares.array > least) & (squares.array < most)).all():
            return self.sqrt(squares)
        return super()._euclidean_norm(x, axis, keepdims)

    # -- indexing --

    @override
    def take(self, x: RawTensor, index: RawTensor, /, axis: int = 0) -> RawTensor:
        a, rows = x.array, index.array
        if rows.dtype != int64 or not a.ndim or not a.size or not rows.size:
            return super().take(x, index, axis)
        axis = normal_axis(axis, a.ndim)
        length = a.shape[axis]
        few = a.nbytes // length * rows.size < arena.LARGE
        if few or rows.min() < -length or rows.max() >= length:
            return super().take(x, index, axis)
        out = arena.empty((*a.shape[:axis], *rows.shape, *a.shape[axis + 1 :]), a.dtype)
        return RawTensor(a.take(rows, axis, out, "wrap"))  # which NumPy does not buffer

    @override
    def _add_at(self, target: HostArray, index: Index, values: HostArray) -> None:
        if target.dtype.kind == "f":
            crowded = _crowded(target, index, values)
            if crowded is not None:
                table, rows, values = crowded
                blocks, owners = _blocks(rows)
                sums = np.zeros((owners.size, *table.shape[1:]), table.dtype)
                self._add_at(sums, blocks, values)
                self._add_at(table, owners, sums)
                return
        self._add_each(target, index, values)

    def _add_each(self, target: HostArray, index: Index, values: HostArray) -> None:
        """`_add_at` of few values at each place, one after the other."""
        super()._add_at(target, index, values)

    # -- images --

    _cutting = convolution.CUTTING

    @override
    def conv2d(
        self,
        x: RawTensor,
        weight: RawTensor,
        bias: RawTensor | None,
        window: Window,
        /,
        groups: int = 1,
    ) -> RawTensor:
        check_convolution(x, weight, bias, window, groups)
        if not convolution.is_known(x, weight, bias):
            return super().conv2d(x, weight, bias, window, groups)
        made = self._convolution(x.array, weight.array, window, groups)
        return RawTensor(made.forward(None if bias is None else bias.array))

    @override
    def conv2d_gradients(
        self,
        g: RawTensor,
        x: RawTensor,
        weight: RawTensor,
        window: Window,
        groups: int,
        of_x: bool,
        of_weight: bool,
        of_bias: bool,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        if not convolution.is_known(g, x, weight):
            return super().conv2d_gradients(g, x, weight, window, groups, of_x, of_weight, of_bias)
        made = self._convolution(x.array, weight.array, window, groups)
        found = made.gradients(g.array, of_x, of_weight, of_bias)
        dx, dw, db = (None if each is None else RawTensor(each) for each in found)
        return dx, None if dw is None else self.reshape(dw, weight.shape), db

    def _convolution(
        self, x: HostArray, weight: HostArray, window: Window, groups: int
    ) -> Convolution:
        """What computes a convolution of arrays of one dtype, of which none is empty."""
        return Convolution(x, weight, window, groups, self._cutting)

    # -- network --

    @override
    def _normalized(
        self, x: RawTensor, axes: tuple[int, ...], eps: float, centred: bool
    ) -> tuple[RawTensor, RawTensor]:
        with np.errstate(over="ignore", invalid="ignore"):
            normal, scale = super()._normalized(x, axes, eps, centred)
            right = scale.array > 0
            if right.all() or x.dtype.char not in _SHRINKING:
                return normal, scale
            # A sum or a square was infinite, and is not of smaller numbers.
            factor, least = _SHRINKING[x.dtype.char]
            small, inverse = super()._normalized(self.mul(x, factor), axes, least, centred)
        # Where all elements are equal, only eps is left.
        equal = inverse.array > 0.5 / math.sqrt(least)
        largest = 1 / math.sqrt(eps) if eps > 0 else math.inf
        there: HostArray = np.where(equal, np.array(largest, x.dtype), inverse.array * factor)
        return (
            RawTensor(np.where(right, normal.array, small.array)),
            RawTensor(np.where(right, scale.array, there)),
        )

    @override
    def batch_norm(
        self, x: RawTensor, weight: RawTensor | None, bias: RawTensor | None, /, eps: float = 1e-5
    ) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor, RawTensor]:
        with np.errstate(over="ignore", invalid="ignore"):
            found = super().batch_norm(x, weight, bias, eps)
        _, _, scale, mean, variance = found
        if x.dtype.char not in _SHRINKING or (scale.array > 0).all():
            return found
        # A sum or a square was infinite; the normalised numbers are not.
        normal, scale = self._normalized(x, beside_channels(x), eps, True)
        y = normal if weight is None else self.mul(normal, self._of_channels(weight, x.ndim))
        y = self.copy(y) if bias is None else self.add(y, self._of_channels(bias, x.ndim))
        return y, normal, scale, mean, variance

    @override
    def attention(
        self,
        q: RawTensor,
        k: RawTensor,
        v: RawTensor,
        mask: RawTensor | None = None,
        /,
        causal: bool = False,
        scale: float = 1.0,
    ) -> tuple[RawTensor, RawTensor]:
        if not attention.is_tiled(q, k, v, mask):
            return super().attention(q, k, v, mask, causal, scale)
        if mask is None and attention.is_one_query(q.array, k.array, v.array):
            return self._attention_of_one(q.array, k.array, v.array, scale)
        heads = attention.Heads.of(q, k, v, mask, causal, scale)
        return attention.attention(heads, self._attention_rows(q.dtype))

    @override
    def attention_gradients(
        self,
        g: RawTensor,
        q: RawTensor,
        k: RawTensor,
        v: RawTensor,
        mask: RawTensor | None,
        y: RawTensor,
        total: RawTensor,
        causal: bool,
        scale: float,
        for_mask: bool,
    ) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor | None]:
        if not attention.is_tiled(q, k, v, mask):
            return super().attention_gradients(g, q, k, v, mask, y, total, causal, scale, for_mask)
        heads = attention.Heads.of(q, k, v, mask, causal, scale)
        do = self._attention_rows(q.dtype)
        return attention.gradients(heads, g.array, y.array, total.array, for_mask, do)

    def _attention_of_one(
        self, q: HostArray, k: HostArray, v: HostArray, scale: float
    ) -> tuple[RawTensor, RawTensor]:
        """`attention` of one query for each matrix of keys, all of which it sees."""
        return attention.of_one_query(q, k, v, scale)

    def _attention_rows(self, dtype: np.dtype[Any]) -> Rows:
        """What is done with rows of scores of a dtype."""
        return ROWS

    def _recurrent_walk(self, cell: CellName, dtype: np.dtype[Any]) -> recurrence.Walk:
        """All steps of a cell, over rows of arrays of this dtype."""
        return recurrence.WALKS[cell]

    @override
    def recurrence(
        self,
        z: RawTensor,
        initial: RawTensor,
        weight: RawTensor,
        bias: RawTensor | None = None,
        mask: RawTensor | None = None,
        /,
        cell: CellName = "tanh",
        reverse: bool = False,
    ) -> tuple[RawTensor, RawTensor]:
        if not z.size or not recurrence.is_known(z, initial, weight, bias):
            return super().recurrence(z, initial, weight, bias, mask, cell, reverse)
        check_recurrence(z, initial, weight, bias, mask, cell)
        over, there = (None if x is None else x.array for x in (bias, mask))
        arrays = z.array, initial.array, weight.array
        walk = self._recurrent_walk(cell, z.dtype)
        return recurrence.recurrence(walk, *arrays, over, there, cell, reverse)

    @override
    def recurrence_gradients(
        self,
        g: RawTensor,
        z: RawTensor,
        initial: RawTensor,
        weight: RawTensor,
        bias: RawTensor | None,
        mask: RawTensor | None,
        states: RawTensor,
        kept: RawTensor,
        cell: CellName,
        reverse: bool,
    ) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor]:
        if not z.size or not recurrence.is_known(z, initial, weight, bias):
            return super().recurrence_gradients(
                g, z, initial, weight, bias, mask, states, kept, cell, reverse
            )
        dz, dh, dw, products = recurrence.gradients(
            self._recurrent_walk(cell, z.dtype),
            g.array,
            z.array,
            initial.array,
            weight.array,
            None if mask is None else mask.array,
            states.array,
            kept.array,
            cell,
            reverse,
        )
        return RawTensor(dz), RawTensor(dh), RawTensor(dw), self.sum(RawTensor(products), 0)

    @override
    def check_label_range(self, labels: RawTensor, classes: int) -> None:
        array = labels.array
        if not array.size:
            return
        # As unsigned numbers, negative labels are huge: one pass finds both ends.
        if array.dtype.kind == "i":
            array = array.view(np.dtype(f"u{array.itemsize}"))
        if array.max() >= classes:
            raise label_range_error(classes, labels.array.min(), labels.array.max())


def _crowded(
    target: HostArray, index: Index, values: HostArray
) -> tuple[HostArray, HostArray, HostArray] | None:
    """A table, and rows and values to add to it, if many go to one of them; else None."""
    parts: tuple[Any, ...] = index if is_tuple(index) else (index,)
    arrays: list[HostArray] = [part for part in parts if part.__class__ is np.ndarray]
    if not target.flags.c_contiguous or any(part.dtype == np.bool_ for part in arrays):
        return None  # a mask names each place once
    if len(parts) == len(arrays) == 1:
        if arrays[0].size <= SHORT:
            return None
        table, places = target, np.arange(len(target))[arrays[0]]
    else:
        table, places = target.reshape(-1), np.arange(target.size).reshape(target.shape)[index]
    if places.size <= SHORT or np.bincount(places.reshape(-1)).max() <= SHORT:
        return None
    whole = np.broadcast_to(values, (*places.shape, *table.shape[1:]))
    return table, places.reshape(-1), whole.reshape(places.size, *table.shape[1:])


def _blocks(rows: HostArray) -> tuple[HostArray, HostArray]:
    """For each of some rows its block, of at most `_BLOCK` equal ones; and each block's row."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    counts = np.bincount(rows)
    rank = np.arange(rows.size) - (np.cumsum(counts) - counts)[ordered]
    opens = rank % _BLOCK == 0
    blocks = np.empty_like(rows)
    blocks[order] = np.cumsum(opens) - 1
    return blocks, ordered[opens]


def dot(a: HostArray, b: HostArray) -> HostArray:
    """The product of two matrices of one dtype, in memory of the arena if it is large."""
    if a.dtype.char not in "fd":
        small: HostArray = a.dot(b)
        return small
    return products.product(a, b)


def are_plain_products(g: RawTensor, x: RawTensor | None, weight: RawTensor | None) -> bool:
    """Whether all are float32, or all float64, matrices whose gradients are two plain products."""
    a = g.array
    if a.ndim != 2 or a.dtype.char not in "fd":
        return False
    rows, outputs = a.shape
    return (x is None or _is_matrix(x.array, rows, a.dtype)) and (
        weight is None or _is_matrix(weight.array, outputs, a.dtype)
    )


def _is_matrix(array: HostArray, rows: int, dtype: np.dtype[Any]) -> bool:
    return array.ndim == 2 and len(array) == rows and array.dtype == dtype


def linear_products(
    a: HostArray, x: RawTensor | None, weight: RawTensor | None
) -> tuple[RawTensor | None, RawTensor | None]:
    """a W and a^T x, each if there is one."""
    rows, outputs = a.shape
    of_x = of_weight = None
    if weight is not None:
        w = weight.array
        of_x = RawTensor(a.dot(w) if rows * w.shape[1] < _FEW else dot(a, w))
    if x is not None:
        b = x.array
        of_weight = RawTensor(a.T.dot(b) if outputs * b.shape[1] < _FEW else dot(a.T, b))
    return of_x, of_weight
