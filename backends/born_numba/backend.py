"""`NumbaBackend`: all of `NumpyBackend`, and compiled loops."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from typing_extensions import override

from born.backend import Axis, CellName, Index, Reduction, Window
from born.backend.arguments import is_tuple
from born.backend.arrays.sums import SHORT
from born.backend.coded_update import is_coded
from born.backend.threads import POOL, taken
from born.backend.update import UpdateKernel
from born.backend.window import Size, image_shape
from born.dtypes import int64, is_floating
from born.errors import BackendUnavailableError
from born.fusion import Formula, Program
from born.fusion.activations import ERF
from born.raw import HostArray, RawTensor
from born_numba import entry, intrinsics, update
from born_numba.compiler import configuration
from born_numba.convolution import Direct, is_direct, writeable
from born_numba.fused import NumbaFormula
from born_numba.kernels import images, indexing, linear, network, recurrence, reduction
from born_numba.staged import StagedLoops
from born_numpy import NumpyBackend
from born_numpy.arena import LARGE, empty, empty_like
from born_numpy.attention import Rows
from born_numpy.backend import are_plain_products, linear_products
from born_numpy.blocks import BLOCK, column_sum, in_blocks
from born_numpy.convolution import Convolution, Cutting
from born_numpy.global_norm import add_squares, global_norm
from born_numpy.recurrence import Walk
from born_numpy.staged import takes_codes


def _cut(x: HostArray, out: HostArray, window: Window) -> None:
    images.unfold[x.dtype](x, out, *window)


def _add(windows: HostArray, image: HostArray, window: Window) -> None:
    images.fold[image.dtype](windows, image, *window)


class NumbaBackend(NumpyBackend):
    """Compute on the CPU with NumPy, and with compiled loops where these are faster.

    It is a `BackendUnavailableError` if Numba does not compile here.

    Args:
        seed: where the random generator starts; 0 by default.
    """

    name = "numba"

    def __init__(self, seed: int = 0) -> None:
        if configuration.DISABLE_JIT:
            raise BackendUnavailableError(
                "expected a numba that compiles, but NUMBA_DISABLE_JIT is set; unset it"
            )
        super().__init__(seed)

    @classmethod
    @override
    def unavailable_reason(cls) -> str | None:
        return entry.unavailable_reason()

    # -- updates --

    @override
    def compile_update(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> UpdateKernel:
        if program.staged:
            if is_coded(program, dtypes) and not takes_codes(program, dtypes):
                return super().compile_update(program, dtypes)
            return StagedLoops(self, program, dtypes)
        if not update.is_compilable(program, dtypes):
            return super().compile_update(program, dtypes)
        return update.NumbaUpdate(program, dtypes)

    @override
    def global_norm(self, xs: Sequence[RawTensor]) -> RawTensor:
        return global_norm(xs, update.add_squares if intrinsics.layout_holds() else add_squares)

    @override
    def fused(
        self, formula: Formula, arrays: Sequence[RawTensor], scalars: Sequence[float] = ()
    ) -> tuple[RawTensor, ...]:
        leading = arrays[formula.leading].array.dtype
        made: NumbaFormula | None = formula.compiled.get((NumbaFormula, leading))
        if made is None:
            if not is_floating(leading) or not intrinsics.layout_holds():
                return super().fused(formula, arrays, scalars)
            made = formula.compiled[NumbaFormula, leading] = NumbaFormula(formula, leading)
        return made.run(arrays, scalars)

    # -- elementwise --

    @override
    def erf(self, x: RawTensor, /) -> RawTensor:
        self._require_floating("erf", x.array)
        return self.fused(ERF, (x,))[0]

    # -- reduction --

    @override
    def sum(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        a = x.array
        batch = axis.__class__ is int and axis == 0 and not keepdims and a.ndim == 2
        if not batch or not a.size or not _is_loopable(a):
            return super().sum(x, axis, keepdims)
        rows, columns = a.shape
        loop = reduction.sum_rows[a.dtype]
        if rows <= SHORT:
            out = np.empty(columns, a.dtype)
            loop(a, out)
            return RawTensor(out)
        sums, blocks = (
            np.empty((-(-rows // BLOCK), columns), a.dtype),
            reduction.sum_blocks[a.dtype],
        )
        in_blocks(lambda first, last: blocks(a, sums, BLOCK, first, last), rows, a.size // _QUICK)
        return RawTensor(column_sum(sums))

    # -- indexing --

    @override
    def _add_each(self, target: HostArray, index: Index, values: HostArray) -> None:
        rows: Any = index[0] if is_tuple(index) and len(index) == 1 else index
        whole = (
            rows.__class__ is np.ndarray
            and rows.dtype == int64
            and target.ndim >= 1
            and values.shape == (*rows.shape, *target.shape[1:])
            and _is_loopable(target)
            and _is_loopable(values)
            and rows.flags.carray
        )
        if not whole:
            super()._add_each(target, index, values)
            return
        width = math.prod(target.shape[1:])
        wrong = indexing.add_rows[target.dtype](
            target.reshape(len(target), width), rows.reshape(-1), values.reshape(rows.size, width)
        )
        if wrong >= 0:
            raise IndexError(
                f"index {rows.reshape(-1)[wrong]} is out of bounds for axis 0 with size "
                f"{len(target)}"
            )

    # -- linear --

    @override
    def linear_relu(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        if bias is None or not _is_loopable(bias.array):
            return super().linear_relu(x, weight, bias)
        y = self.linear(x, weight)
        self._check_bias(x, weight, bias)
        a = y.array
        if a.size:
            rows = a if a.ndim == 2 else a.reshape(-1, a.shape[-1])
            linear.bias_relu[a.dtype](rows, bias.array)
        return y

    @override
    def linear_gradients(
        self,
        g: RawTensor,
        x: RawTensor | None,
        weight: RawTensor | None,
        bias: bool,
        y: RawTensor | None = None,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        a = g.array
        if (
            y is None
            or not bias
            or len(g.array) > SHORT
            or not are_plain_products(g, x, weight)
            or not _are_loopable(a, y.array)
        ):
            return super().linear_gradients(g, x, weight, bias, y)
        passed = np.empty_like(a) if a.nbytes < LARGE else empty_like(a)
        total = np.empty(a.shape[1], a.dtype)
        linear.bias_relu_backward[a.dtype](a, y.array, passed, total)
        return (*linear_products(passed, x, weight), RawTensor(total))

    # -- network --

    @override
    def cross_entropy(
        self,
        logits: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> tuple[RawTensor, RawTensor]:
        a, rows = logits.array, labels.array
        if _are_plain_losses(a, rows, label_smoothing, reduction) and a.shape[1] <= _NARROW:
            p = np.empty_like(a) if a.nbytes < LARGE else empty_like(a)
            loss = network.cross_entropy[a.dtype](a, rows, p)
            if loss != _OUT_OF_RANGE:
                return RawTensor(np.array(loss, a.dtype)), RawTensor(p)
        return super().cross_entropy(logits, labels, label_smoothing, reduction)

    @override
    def cross_entropy_backward(
        self,
        g: RawTensor,
        probabilities: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> RawTensor:
        p, rows = probabilities.array, labels.array
        if not _are_plain_losses(p, rows, label_smoothing, reduction):
            return super().cross_entropy_backward(
                g, probabilities, labels, label_smoothing, reduction
            )
        out = np.empty_like(p) if p.nbytes < LARGE else empty_like(p)
        if not network.cross_entropy_backward[p.dtype](p, rows, g.array.item(), out):
            self.check_labels(probabilities, labels)
        return RawTensor(out)

    @override
    def layer_norm(
        self,
        x: RawTensor,
        weight: RawTensor | None,
        bias: RawTensor | None,
        /,
        axes: int = 1,
        eps: float = 1e-5,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        a = x.array
        narrow = axes == 1 and a.size > 0 and a.shape[-1] <= _NARROW and _is_loopable(a)
        if weight is None or bias is None or not narrow:
            return super().layer_norm(x, weight, bias, axes, eps)
        w, b = weight.array, bias.array
        matching = w.shape == a.shape[-1:] and w.dtype == a.dtype
        if not (matching and _are_loopable(w, b)):
            return super().layer_norm(x, weight, bias, axes, eps)
        y, normal = empty_like(a), empty_like(a)
        scale = empty((*a.shape[:-1], 1), a.dtype)
        rows = (-1, a.shape[-1])
        arrays = w, b, eps, y.reshape(rows), normal.reshape(rows), scale.reshape(-1)
        loop, flat = network.layer_norm[a.dtype], a.reshape(rows)
        done: list[bool] = []
        if a.nbytes < LARGE:
            done.append(loop(flat, *arrays, 0, len(flat)))
        else:
            in_blocks(
                lambda first, last: done.append(loop(flat, *arrays, first, last)), len(flat), a.size
            )
        if not all(done):
            return super().layer_norm(x, weight, bias, axes, eps)
        return RawTensor(y), RawTensor(normal), RawTensor(scale)

    @override
    def layer_norm_gradients(
        self,
        g: RawTensor,
        normal: RawTensor,
        scale: RawTensor,
        weight: RawTensor | None,
        axes: int,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        a, z, factors = g.array, normal.array, scale.array
        known = axes == 1 and a.size > 0 and _are_loopable(a, z) and _is_loopable(factors)
        if not known or weight is None or not _is_loopable(weight.array):
            return super().layer_norm_gradients(g, normal, scale, weight, axes)
        out, columns = empty_like(a), a.shape[-1]
        rows, z = a.reshape(-1, columns), z.reshape(-1, columns)
        blocks = -(-len(rows) // BLOCK)
        along, total = np.empty((2, blocks, columns), a.dtype)
        loop = network.layer_norm_gradients[a.dtype]
        arrays = rows, z, factors.reshape(-1), weight.array, out.reshape(rows.shape), along, total
        in_blocks(lambda first, last: loop(*arrays, BLOCK, first, last), len(rows), a.size)
        return RawTensor(out), RawTensor(column_sum(along)), RawTensor(column_sum(total))

    @override
    def layer_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        a, z, factors = g.array, normal.array, scale.array
        if (
            axes != 1
            or not a.size
            or not (_is_loopable(a) and _is_loopable(z) and _is_loopable(factors))
            or a.shape != z.shape
        ):
            return super().layer_norm_backward(g, normal, scale, axes)
        out = empty_like(a)
        rows = (-1, a.shape[-1])
        network.layer_norm_backward[a.dtype](
            a.reshape(rows), z.reshape(rows), factors.reshape(-1), out.reshape(rows)
        )
        return RawTensor(out)

    @override
    def _attention_of_one(
        self, q: HostArray, k: HostArray, v: HostArray, scale: float
    ) -> tuple[RawTensor, RawTensor]:
        dtype, strides = q.dtype, (q.strides, k.strides, v.strides)
        along = {each[-1] for each in strides}
        if (
            q.ndim != 4
            or along != {dtype.itemsize}
            or not (dtype.isnative and q.flags.aligned and k.flags.aligned and v.flags.aligned)
            or not intrinsics.layout_holds()
        ):
            return super()._attention_of_one(q, k, v, scale)
        batch, heads = k.shape[:2]
        y, total = np.empty((batch, heads, v.shape[3]), dtype), np.empty((batch, heads), dtype)
        s = np.empty(k.shape[2], dtype)
        loop = network.attention_of_one[dtype]
        loop(id(q), id(k), id(v), k.shape, *strides, scale, s, y, total)
        return RawTensor(y[:, :, None]), RawTensor(total[:, :, None, None])

    @override
    def _attention_rows(self, dtype: np.dtype[Any]) -> Rows:
        return Rows(network.attention_weights[dtype], network.attention_slopes[dtype])

    @override
    def batch_norm(
        self, x: RawTensor, weight: RawTensor | None, bias: RawTensor | None, /, eps: float = 1e-5
    ) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor, RawTensor]:
        a = x.array
        known = a.ndim >= 2 and a.size > 0 and _is_loopable(a)
        w, b = (_of_channels(each, a, start) for each, start in ((weight, 1), (bias, 0)))
        if not known or w is None or b is None:
            return super().batch_norm(x, weight, bias, eps)
        y, normal = empty_like(a), empty_like(a)
        channels = a.shape[1]
        scale = np.empty(channels, a.dtype)
        mean, variance = np.empty(channels), np.empty(channels)
        arrays = (w, b, eps, _planes(y), _planes(normal), scale, mean, variance)
        if a.ndim == 2:
            network.batch_norm_rows[a.dtype](a, *arrays)
        else:
            loop, planes = network.batch_norm_planes[a.dtype], _planes(a)
            _each_range(lambda start, stop: loop(planes, *arrays, start, stop), channels, a.size)
        if not np.isfinite(variance).all():
            return super().batch_norm(x, weight, bias, eps)
        with np.errstate(over="ignore"):
            centre, spread = mean.astype(a.dtype), variance.astype(a.dtype)
        column = scale.reshape(-1, *(1,) * (a.ndim - 2))
        statistics = RawTensor(centre), RawTensor(spread)
        return RawTensor(y), RawTensor(normal), RawTensor(column), *statistics

    @override
    def batch_norm_gradients(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, weight: RawTensor | None
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        a, z, factors = g.array, normal.array, scale.array
        w = _of_channels(weight, a, 1)
        if not a.size or w is None or not _are_loopable(a, z) or not _is_loopable(factors):
            return super().batch_norm_gradients(g, normal, scale, weight)
        out, channels = empty_like(a), a.shape[1]
        along, total = np.empty(channels), np.empty(channels)
        arrays = (factors.reshape(-1), w, _planes(out), along, total)
        if a.ndim == 2:
            network.batch_norm_rows_backward[a.dtype](a, z, *arrays)
        else:
            loop = network.batch_norm_planes_backward[a.dtype]
            slopes, normals = _planes(a), _planes(z)
            _each_range(
                lambda start, stop: loop(slopes, normals, *arrays, start, stop), channels, a.size
            )
        return RawTensor(out), RawTensor(along.astype(a.dtype)), RawTensor(total.astype(a.dtype))

    @override
    def _recurrent_walk(self, cell: CellName, dtype: np.dtype[Any]) -> Walk:
        forward, backward = recurrence.CELLS[cell]
        return Walk(forward[dtype], backward[dtype], uses_blas=False)

    # -- images --

    @override
    def unfold(self, x: RawTensor, window: Window, /) -> RawTensor:
        if not _is_loopable(x.array):
            return super().unfold(x, window)
        n, c, h, w = image_shape(x)
        counts, taps = window.counts((h, w)), math.prod(window.kernel)
        out = empty((n, c, taps, *counts), x.dtype)
        images.unfold[x.dtype](x.array, out, *window)
        return RawTensor(out.reshape(n, c, taps, math.prod(counts)))

    @override
    def fold(self, columns: RawTensor, size: Size, window: Window, /) -> RawTensor:
        if not _is_loopable(columns.array):
            return super().fold(columns, size, window)
        n, c = columns.shape[:2]
        taps = columns.array.reshape(n, c, math.prod(window.kernel), *window.counts(size))
        out = np.zeros((n, c, *size), columns.dtype)
        images.fold[columns.dtype](taps, out, *window)
        return RawTensor(out)

    _cutting = Cutting(_cut, _add)

    @override
    def _convolution(
        self, x: HostArray, weight: HostArray, window: Window, groups: int
    ) -> Convolution:
        made = Direct if is_direct((x.shape[2], x.shape[3]), window, x.dtype) else Convolution
        return made(writeable(x), weight, window, groups, self._cutting)

    @override
    def max_pool2d(self, x: RawTensor, window: Window, /) -> tuple[RawTensor, RawTensor]:
        if not _is_loopable(x.array):
            return super().max_pool2d(x, window)
        window.check_pool()
        n, c, h, w = image_shape(x)
        rows, columns = window.counts((h, w))
        y = empty((n * c, rows, columns), x.dtype)
        winner = empty(y.shape, int64)
        planes = x.array.reshape(n * c, h, w)

        def run(start: int, stop: int) -> None:
            if window == _BY_TWO:
                images.max_pool_by_two[x.dtype](planes, y, winner, start, stop)
            else:
                room = np.empty(columns, np.int32)
                images.max_pool[x.dtype](planes, y, winner, *window, room, start, stop)

        _each_range(run, n * c, x.size)
        shape = n, c, rows, columns
        return RawTensor(y.reshape(shape)), RawTensor(winner.reshape(shape))

    @override
    def max_pool2d_backward(
        self, g: RawTensor, winner: RawTensor, size: Size, window: Window, /
    ) -> RawTensor:
        a, places = g.array, winner.array
        known = _is_loopable(a) and places.dtype == int64 and places.flags.carray
        if not known or a.shape != places.shape or a.shape[2:] != window.counts(size):
            return super().max_pool2d_backward(g, winner, size, window)
        n, c, rows, columns = a.shape
        out = empty((n * c, *size), a.dtype)
        slopes, which = (each.reshape(n * c, rows, columns) for each in (a, places))
        right: list[bool] = []

        def run(start: int, stop: int) -> None:
            if window == _BY_TWO and size[1] == 2 * columns:
                loop = images.max_pool_by_two_backward[a.dtype]
                right.append(loop(slopes, which, out, start, stop))
            else:
                loop = images.max_pool_backward[a.dtype]
                right.append(loop(slopes, which, out, *window, start, stop))

        _each_range(run, n * c, out.size)
        if not all(right):
            return super().max_pool2d_backward(g, winner, size, window)
        return RawTensor(out.reshape(n, c, *size))


_BY_TWO: Final = Window.of(2, 2)
_QUICK: Final = 4  # elements of a sum that take as long as one that is normalised
_NARROW: Final = 128  # columns up to which one pass beats NumPy's vectorised exp and sums
_OUT_OF_RANGE: Final = -1.0
_PARALLEL: Final = 131_072  # elements from which a second thread pays


def _are_plain_losses(
    a: HostArray, rows: HostArray, label_smoothing: float, reduction: Reduction
) -> bool:
    """Whether the compiled loops take classes a, and labels, for a cross-entropy of this kind."""
    return (
        label_smoothing == 0.0
        and reduction == "mean"
        and a.ndim == 2
        and a.size > 0
        and rows.dtype == int64
        and rows.shape == a.shape[:1]
        and rows.flags.carray
        and _is_loopable(a)
    )


def _of_channels(x: RawTensor | None, like: HostArray, start: float) -> HostArray | None:
    """One number for each channel of an array, `start` by default; None where loops cannot."""
    if like.ndim < 2:
        return None
    if x is None:
        numbers = np.empty(like.shape[1:2], like.dtype)
        numbers[:] = start
        return numbers
    numbers = x.array
    fits = numbers.shape == like.shape[1:2] and numbers.dtype == like.dtype
    return numbers if fits and _is_loopable(numbers) else None


def _planes(a: HostArray) -> HostArray:
    """(batch, channels, ...) as (batch, channels, places), or as it is if there is no place."""
    planes: HostArray = a if a.ndim == 2 else a.reshape(*a.shape[:2], -1)
    return planes


def _each_range(run: Callable[[int, int], object], count: int, size: int) -> None:
    """Run over ranges of something, on several threads if there are enough elements."""
    if size < _PARALLEL:
        run(0, count)
        return
    step = max(1, count // (4 * POOL.workers))
    pieces = deque(range(0, count, step))

    def work() -> None:
        for start in taken(pieces):
            run(start, min(start + step, count))

    POOL.share(work)


def _is_loopable(array: HostArray) -> bool:
    """Whether the compiled loops take an array: float32 or float64, contiguous and writeable."""
    dtype = array.dtype
    return dtype.char in "fd" and dtype.isnative and array.flags.carray


def _are_loopable(a: HostArray, b: HostArray) -> bool:
    """Whether the compiled loops take two arrays of one shape and dtype."""
    return a.shape == b.shape and a.dtype == b.dtype and _is_loopable(a) and _is_loopable(b)
