"""`NumbaBackend`: all of `NumpyBackend`, and compiled loops."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np

from born.backend import Axis, Index, Reduction
from born.backend.arguments import is_tuple
from born.backend.checks import Pair, check_pool_padding, image_shape, window, window_counts
from born.backend.update import UpdateKernel, compute_dtype
from born.errors import BackendUnavailableError
from born.fusion import Program
from born.raw import HostArray, RawTensor, int64
from born_numpy import NumpyBackend, global_norm
from born_numpy.backend import Turns, fit_affine, products


class NumbaBackend(NumpyBackend):
    """Compute on the CPU with NumPy, and with compiled loops where these are faster.

    Args:
        seed: where the random generator starts; 0 by default.

    Raises:
        BackendUnavailableError: Numba is not installed, or does not import or compile.
    """

    name = "numba"
    _turns: ClassVar = Turns(rows=128, outputs_a_row=2)

    def __init__(self, seed: int = 0) -> None:
        reason = self.unavailable_reason()
        if reason is not None:
            raise BackendUnavailableError(f"expected the package numba, got none: {reason}")
        super().__init__(seed)
        # Numba takes a second to import, so only who asks for this backend waits for it.
        try:
            self._compiled = importlib.import_module("born_numba.update")
            self._loops = importlib.import_module("born_numba.loops")
        except Exception as error:  # a library that is broken or missing may raise anything
            raise BackendUnavailableError(
                f"expected a numba that imports, got one that does not: {error}; install the "
                'versions that go together, as pip install "born-optim[numba]" does'
            ) from error
        if importlib.import_module("born_numba.compiler").configuration.DISABLE_JIT:
            raise BackendUnavailableError(
                "expected a numba that compiles, but NUMBA_DISABLE_JIT is set; unset it"
            )

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why this backend cannot be used here, or None if it can."""
        missing = [name for name in ("numba", "platformdirs") if not _is_installed(name)]
        if missing:
            return f'{" and ".join(missing)} not installed; run: pip install "born-optim[numba]"'
        return None

    def compile_update(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> UpdateKernel:
        """Compile a traced update rule to one loop.

        Powers, exponentials and logarithms are NumPy's: compiled ones are slower and
        differ in the last bit. So is everything for a NumPy whose arrays are laid out in
        another way than the loops know.
        """
        # The compiled loop would round to float16 by way of float32.
        halves_of_doubles = compute_dtype(dtypes) == np.float64 and (
            any(dtype.itemsize == 2 for dtype in dtypes)
            or any(op == "cast_float16" for op, _ in program.instructions)
        )
        if not program.exact or halves_of_doubles or not self._compiled.memory.layout_holds():
            return super().compile_update(program, dtypes)
        kernel: UpdateKernel = self._compiled.NumbaUpdate(program, dtypes)
        return kernel

    def global_norm(self, xs: Sequence[RawTensor]) -> RawTensor:
        """The norm of all elements of all tensors, one loop over all of them."""
        compiled = self._compiled.memory.layout_holds()
        add_squares = self._compiled.add_squares if compiled else global_norm.add_squares
        return global_norm.global_norm(xs, add_squares)

    def _turned(self, a: HostArray) -> HostArray:
        out = np.empty(a.shape[::-1], a.dtype)
        self._loops.TURNED[a.dtype](a, out)
        return out

    def _add_bias(self, out: HostArray, bias: HostArray) -> None:
        if out.ndim == 2 and _suits(bias):  # the product is new, and of the bias's dtype
            self._loops.BIAS[out.dtype](out, bias)
        else:
            super()._add_bias(out, bias)

    # -- operations in which one compiled loop beats several of NumPy's --

    def relu(self, x: RawTensor, /) -> RawTensor:
        """max(x, 0), one pass."""
        a = x.array
        if not _suits(a):
            return super().relu(x)
        out = np.empty_like(a)
        self._loops.RELU[a.dtype](a.reshape(-1), out.reshape(-1))
        return RawTensor(out)

    def linear_relu(
        self, x: RawTensor, weight: RawTensor, bias: RawTensor | None = None, /
    ) -> RawTensor:
        """max(x weight^T + bias, 0), one pass after the product."""
        if bias is None or not _suits(bias.array):
            return super().linear_relu(x, weight, bias)
        y = self.linear(x, weight)
        self._check_bias(x, weight, bias)
        a = y.array
        if a.size:
            rows = a if a.ndim == 2 else a.reshape(-1, a.shape[-1])
            self._loops.BIAS_RELU[a.dtype](rows, bias.array)
        return y

    def linear_gradients(
        self,
        g: RawTensor,
        x: RawTensor | None,
        weight: RawTensor | None,
        bias: bool,
        y: RawTensor | None = None,
    ) -> tuple[RawTensor | None, RawTensor | None, RawTensor | None]:
        """The gradients of `linear` or `linear_relu`; relu's and the bias's in one pass."""
        a = g.array
        if y is None or not bias or not fit_affine(g, x, weight) or not _alike(a, y.array):
            return super().linear_gradients(g, x, weight, bias, y)
        passed, total = np.empty_like(a), np.empty(a.shape[1], a.dtype)
        self._loops.BIAS_RELU_BACKWARD[a.dtype](a, y.array, passed, total)
        return (*products(passed, x, weight), RawTensor(total))

    def relu_backward(self, g: RawTensor, y: RawTensor, /) -> RawTensor:
        """The gradient of `relu`, one pass."""
        a, b = g.array, y.array
        if not _alike(a, b):
            return super().relu_backward(g, y)
        out = np.empty_like(a)
        self._loops.RELU_BACKWARD[a.dtype](a.reshape(-1), b.reshape(-1), out.reshape(-1))
        return RawTensor(out)

    def sum(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The sum; over the rows of a matrix, as the gradient of a bias is, compiled."""
        a = x.array
        if axis != 0 or keepdims or a.ndim != 2 or not a.size or not _suits(a):
            return super().sum(x, axis, keepdims)
        out = np.empty(a.shape[1], a.dtype)
        self._loops.SUM_ROWS[a.dtype](a, out)
        return RawTensor(out)

    def cross_entropy(
        self,
        logits: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> tuple[RawTensor, RawTensor]:
        """The cross-entropy and the probabilities, one pass over the rows."""
        a, rows = logits.array, labels.array
        plain = (
            label_smoothing == 0.0
            and reduction == "mean"
            and a.ndim == 2
            and a.size
            and a.shape[1] <= _NARROW
            and rows.dtype == int64
            and rows.shape == a.shape[:1]
            and rows.flags.carray
            and _suits(a)
        )
        if plain:
            p = np.empty_like(a)
            loss = self._loops.CROSS_ENTROPY[a.dtype](a, rows, p)
            if loss != _OUT_OF_RANGE:
                return RawTensor(np.array(loss, a.dtype)), RawTensor(p)
        return super().cross_entropy(logits, labels, label_smoothing, reduction)

    def cross_entropy_backward(
        self,
        g: RawTensor,
        probabilities: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> RawTensor:
        """The gradient of `cross_entropy`, one pass."""
        p, rows = probabilities.array, labels.array
        if (
            label_smoothing
            or reduction != "mean"
            or p.ndim != 2
            or not p.size
            or rows.shape != p.shape[:1]
            or rows.dtype != int64
            or not (_suits(p) and rows.flags.carray)
        ):
            return super().cross_entropy_backward(
                g, probabilities, labels, label_smoothing, reduction
            )
        out = np.empty_like(p)
        if not self._loops.CROSS_ENTROPY_BACKWARD[p.dtype](p, rows, g.array.item(), out):
            self.check_labels(probabilities, labels)
        return RawTensor(out)

    def layer_norm(
        self,
        x: RawTensor,
        weight: RawTensor | None,
        bias: RawTensor | None,
        /,
        axes: int = 1,
        eps: float = 1e-5,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        """Layer normalisation, a row at a time."""
        a = x.array
        if weight is None or bias is None or axes != 1 or not _is_narrow(a) or not _suits(a):
            return super().layer_norm(x, weight, bias, axes, eps)
        w, b = weight.array, bias.array
        fits = w.shape == b.shape == a.shape[-1:] and w.dtype == b.dtype == a.dtype
        if not (fits and _suits(w) and _suits(b)):
            return super().layer_norm(x, weight, bias, axes, eps)
        y, normal = np.empty_like(a), np.empty_like(a)
        scale = np.empty((*a.shape[:-1], 1), a.dtype)
        rows = (-1, a.shape[-1])
        self._loops.LAYER_NORM[a.dtype](
            a.reshape(rows), w, b, eps, y.reshape(rows), normal.reshape(rows), scale.reshape(-1)
        )
        return RawTensor(y), RawTensor(normal), RawTensor(scale)

    def layer_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        """The gradient of the normalisation, a row at a time."""
        a, z, factors = g.array, normal.array, scale.array
        if (
            axes != 1
            or not a.size
            or not (_suits(a) and _suits(z) and _suits(factors))
            or a.shape != z.shape
        ):
            return super().layer_norm_backward(g, normal, scale, axes)
        out = np.empty_like(a)
        rows = (-1, a.shape[-1])
        self._loops.LAYER_NORM_BACKWARD[a.dtype](
            a.reshape(rows), z.reshape(rows), factors.reshape(-1), out.reshape(rows)
        )
        return RawTensor(out)

    def unfold(
        self, x: RawTensor, /, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
    ) -> RawTensor:
        """The windows of images, without a padded copy of them."""
        if not _suits(x.array):
            return super().unfold(x, kernel, stride, padding, dilation)
        sizes = window(kernel, stride, padding, dilation)
        n, c, h, w = image_shape(x)
        rows, columns = window_counts((h, w), sizes)
        (kh, kw), *_ = sizes
        out = np.empty((n, c, kh * kw, rows, columns), x.dtype)
        self._loops.UNFOLD[x.dtype](x.array, out, *sizes)
        return RawTensor(out.reshape(n, c, kh * kw, rows * columns))

    def fold(
        self,
        columns: RawTensor,
        /,
        size: tuple[int, int],
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
    ) -> RawTensor:
        """Windows added up into images, without a padded copy of them."""
        if not _suits(columns.array):
            return super().fold(columns, size, kernel, stride, padding, dilation)
        sizes = window(kernel, stride, padding, dilation)
        n, c = columns.shape[:2]
        (kh, kw), *_ = sizes
        taps = columns.array.reshape(n, c, kh * kw, *window_counts(size, sizes))
        out = np.zeros((n, c, *size), columns.dtype)
        self._loops.FOLD[columns.dtype](taps, out, *sizes)
        return RawTensor(out)

    def max_pool2d(
        self, x: RawTensor, /, kernel: Pair, stride: Pair, padding: Pair = 0, dilation: Pair = 1
    ) -> tuple[RawTensor, RawTensor]:
        """The largest element of each window, without cutting the windows out."""
        if not _suits(x.array):
            return super().max_pool2d(x, kernel, stride, padding, dilation)
        sizes = window(kernel, stride, padding, dilation)
        check_pool_padding(sizes[0], sizes[2])
        n, c, h, w = image_shape(x)
        y = np.empty((n, c, *window_counts((h, w), sizes)), x.dtype)
        winner = np.empty(y.shape, int64)
        self._loops.MAX_POOL[x.dtype](x.array, y, winner, *sizes)
        return RawTensor(y), RawTensor(winner)

    def max_pool2d_backward(
        self,
        g: RawTensor,
        winner: RawTensor,
        /,
        size: tuple[int, int],
        kernel: Pair,
        stride: Pair,
        padding: Pair = 0,
        dilation: Pair = 1,
    ) -> RawTensor:
        """The gradient of `max_pool2d`, added where the largest elements were."""
        a, places = g.array, winner.array
        if not _suits(a) or places.dtype != int64 or not places.flags.carray:
            return super().max_pool2d_backward(g, winner, size, kernel, stride, padding, dilation)
        sizes = window(kernel, stride, padding, dilation)
        out = np.zeros((*a.shape[:2], *size), a.dtype)
        if not self._loops.MAX_POOL_BACKWARD[a.dtype](a, places, out, *sizes):
            return super().max_pool2d_backward(g, winner, size, kernel, stride, padding, dilation)
        return RawTensor(out)

    def _add_at(self, target: HostArray, index: Index, values: HostArray) -> None:
        """As NumPy's, a row at a time where whole rows of a table are named."""
        rows = _only(index)
        whole = (
            rows.__class__ is np.ndarray
            and rows.dtype == int64
            and target.ndim >= 1
            and values.shape == (*rows.shape, *target.shape[1:])
            and _suits(target)
            and _suits(values)
            and rows.flags.carray
        )
        if not whole:
            super()._add_at(target, index, values)
            return
        width = math.prod(target.shape[1:])
        misplaced = self._loops.ADD_ROWS[target.dtype](
            target.reshape(len(target), width), rows.reshape(-1), values.reshape(rows.size, width)
        )
        if misplaced >= 0:
            raise IndexError(
                f"index {rows.reshape(-1)[misplaced]} is out of bounds for axis 0 with size "
                f"{len(target)}"
            )

    def __repr__(self) -> str:
        return "NumbaBackend()"


_NARROW: Final = 128  # columns up to which one pass beats NumPy's vectorised exp and sums
_OUT_OF_RANGE: Final = -1.0


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _only(index: Index) -> Any:
    """What an index says of the first axis, if it says nothing of others."""
    return index[0] if is_tuple(index) and len(index) == 1 else index


def _is_narrow(array: HostArray) -> bool:
    return array.size > 0 and array.shape[-1] <= _NARROW


def _suits(array: HostArray) -> bool:
    """Whether the compiled loops take an array: float32 or float64, contiguous and writeable."""
    dtype = array.dtype
    return dtype.char in "fd" and dtype.isnative and array.flags.carray


def _alike(a: HostArray, b: HostArray) -> bool:
    """Whether the compiled loops take two arrays of one shape and dtype."""
    return a.shape == b.shape and a.dtype == b.dtype and _suits(a) and _suits(b)
