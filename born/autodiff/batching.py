"""One computation for many examples: what a Jacobian or per-example gradients are taken with.

`Batching` is a backend under a tape. A tensor that differs between examples is a `Batched`: all of
them in one tensor of the backend beneath, along a leading axis that its own shape does not
show. Most operations have a rule, which lets the backend beneath compute all examples at once; an
optional one is composed of those; of the rest one example is computed after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from typing_extensions import TypeIs, override

from born.autodiff.wrapping import Operation, Wrapping, define, passed_on
from born.backend import OPERATIONS, Backend
from born.backend.arguments import Axis, Index, is_tuple, normal_axes, normal_axis
from born.errors import TapeError
from born.fusion import Formula
from born.raw import HostArray, RawTensor, Shape


class Batched(RawTensor):
    """A tensor that differs between examples.

    Args:
        whole: all of them, along the first axis.
    """

    __slots__ = ("whole",)

    of_examples: ClassVar[bool] = True

    def __init__(self, whole: RawTensor) -> None:
        super().__init__(whole.array)
        self.whole = whole

    @property
    @override
    def shape(self) -> Shape:
        return self.whole.shape[1:]

    @property
    @override
    def ndim(self) -> int:
        return self.whole.ndim - 1

    @property
    @override
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    @override
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @override
    def alias(self) -> Batched:
        alias = Batched(self.whole)
        alias.share_changes(self)
        return alias

    @override
    def item(self) -> float | int | bool:
        raise _varies("a Python number")


def is_batched(x: object) -> TypeIs[Batched]:
    """Whether a value differs between examples."""
    return isinstance(x, Batched)


def _varies(use: str) -> TapeError:
    return TapeError(
        f"expected tensors to stay tensors where many examples are computed at once, got {use}, "
        "which is another for each example; use ops.where in place of if, or take one example "
        "at a time"
    )


class Batching(Wrapping):
    """A backend that computes many examples at once, by another that knows nothing of them."""

    @override
    def fused(
        self, formula: Formula, arrays: Sequence[RawTensor], scalars: Sequence[float] = ()
    ) -> tuple[RawTensor, ...]:
        if not any(map(is_batched, arrays)):
            return self.inner.fused(formula, arrays, scalars)
        ndim = max(x.ndim for x in arrays)
        results = self.inner.fused(formula, [self.lifted(x, ndim) for x in arrays], scalars)
        return tuple(map(Batched, results))

    @override
    def check_labels(self, logits: RawTensor, labels: RawTensor) -> None:
        if not is_batched(logits) and not is_batched(labels):
            self.inner.check_labels(logits, labels)
            return
        count = _count((logits, labels))
        self.inner.check_labels(*(self.full_batch(x, count) for x in (logits, labels)))

    @override
    def check_rows(self, index: RawTensor, rows: int) -> None:
        self.inner.check_rows(index.whole if is_batched(index) else index, rows)

    # -- parts of rules --

    def lifted(self, x: Any, ndim: int) -> Any:
        """What to hand on for an operand that is broadcast to `ndim` axes."""
        if not is_batched(x):
            return x
        whole = x.whole
        missing = ndim + 1 - whole.ndim
        if missing <= 0:
            return whole
        first, *rest = whole.shape
        return self.inner.reshape(whole, (first, *(1,) * missing, *rest))

    def full_batch(self, x: RawTensor, count: int) -> RawTensor:
        """A tensor with the axis of the examples, along which it may be repeated."""
        if is_batched(x):
            return x.whole
        return self.inner.broadcast_to(self.inner.expand_dims(x, 0), (count, *x.shape))

    def index_of_batch(self, x: RawTensor, index: Index) -> Index | None:
        """The index for all examples at once, or None if there is none."""
        parts = index if is_tuple(index) else (index,)
        advanced = [i for i, part in enumerate(parts) if isinstance(part, RawTensor)]
        if not advanced:
            return (slice(None), *parts)
        # An integer beside an array is one, too.
        advanced = [i for i, p in enumerate(parts) if isinstance(p, (RawTensor, int, np.integer))]
        if advanced != list(range(advanced[0], advanced[-1] + 1)):
            return None  # NumPy would put their axes before that of the examples
        batched = [part for part in parts if is_batched(part)]
        if not batched:
            return (slice(None), *parts)
        if advanced[0] != 0 or any(part.dtype.kind == "b" for part in batched):
            return None
        inner, ndim = self.inner, max(p.ndim for p in parts if isinstance(p, RawTensor))
        count = batched[0].whole.shape[0]
        rows = inner.arange(0, count, 1, "int64")
        examples = inner.reshape(rows, (count, *(1,) * ndim))
        return (examples, *(self.lifted(part, ndim) for part in parts))


# -- rules -------------------------------------------------------------------------------------


def _batched(result: Any) -> Any:
    """Results of the backend beneath, of all examples."""
    return tuple(map(Batched, result)) if is_tuple(result) else Batched(result)


def _count(args: Sequence[object]) -> int:
    """How many examples there are."""
    return next(x.whole.shape[0] for x in args if is_batched(x))


def _elementwise(name: str) -> Operation:
    """Of tensors and numbers that are broadcast."""

    def operation(self: Batching, /, *args: Any, **options: Any) -> Any:
        compute = getattr(self.inner, name)
        if not any(map(is_batched, args)):
            return compute(*args, **options)
        ndim = max(x.ndim for x in args if isinstance(x, RawTensor))
        return Batched(compute(*(self.lifted(x, ndim) for x in args), **options))

    return operation


def _of_matrices(name: str) -> Operation:
    """Of matrices, in the last two axes, whose other axes are broadcast."""

    def operation(self: Batching, /, *args: Any, **options: Any) -> Any:
        compute = getattr(self.inner, name)
        if not any(map(is_batched, args)):
            return compute(*args, **options)
        ndim = max(x.ndim for x in args if isinstance(x, RawTensor))
        return _batched(compute(*(self.lifted(x, ndim) for x in args), **options))

    return operation


def _along_axes(name: str) -> Operation:
    """Of one tensor and `axis`, one or several, of which None means all."""

    def operation(
        self: Batching, x: RawTensor, /, axis: Axis = None, *args: Any, **options: Any
    ) -> Any:
        compute = getattr(self.inner, name)
        if not is_batched(x):
            return compute(x, axis, *args, **options)
        axes = tuple(i + 1 for i in normal_axes(axis, x.ndim))
        return Batched(compute(x.whole, axes, *args, **options))

    return operation


def _along_axis(name: str, tensors: int, default: int | None = None) -> Operation:
    """Of tensors of one shape, and one axis."""

    def operation(self: Batching, /, *args: Any, **options: Any) -> Any:
        compute, xs = getattr(self.inner, name), args[:tensors]
        if not any(map(is_batched, xs)):
            return compute(*args, **options)
        count = _count(xs)
        axis: Any = (*args, options.pop("axis", default))[tensors]
        moved = normal_axis(axis, xs[0].ndim) + 1
        wholes = (self.full_batch(x, count) for x in xs)
        return Batched(compute(*wholes, moved, *args[tensors + 1 :], **options))

    return operation


def _position(name: str) -> Operation:
    """Of the largest or smallest element, along one axis or in all."""

    def operation(
        self: Batching, x: RawTensor, /, axis: int | None = None, keepdims: bool = False
    ) -> Any:
        compute = getattr(self.inner, name)
        if not is_batched(x):
            return compute(x, axis, keepdims)
        whole = x.whole
        if axis is not None:
            return Batched(compute(whole, normal_axis(axis, x.ndim) + 1, keepdims))
        found = compute(self.inner.reshape(whole, (whole.shape[0], x.size)), 1, False)
        shape = (whole.shape[0], *(1,) * (x.ndim if keepdims else 0))
        return Batched(self.inner.reshape(found, shape))

    return operation


def _of_images(name: str, tensors: int = 1) -> Operation:
    """Of images, whose own batch that of the examples joins."""

    def operation(self: Batching, /, *args: Any, **options: Any) -> Any:
        compute, xs = getattr(self.inner, name), args[:tensors]
        if not any(map(is_batched, xs)):
            return compute(*args, **options)
        inner, count = self.inner, _count(xs)
        wholes = [self.full_batch(x, count) for x in xs]
        joined = [inner.reshape(x, (count * x.shape[1], *x.shape[2:])) for x in wholes]
        result = compute(*joined, *args[tensors:], **options)
        results = result if is_tuple(result) else (result,)
        shapes = [(count, x.shape[0] // max(count, 1), *x.shape[1:]) for x in results]
        parted = [Batched(inner.reshape(x, s)) for x, s in zip(results, shapes, strict=True)]
        return tuple(parted) if is_tuple(result) else parted[0]

    return operation


def _one_by_one(name: str) -> Operation:
    """One example after the other."""

    def operation(self: Batching, /, *args: Any, **options: Any) -> Any:
        inner = self.inner
        compute = getattr(inner, name)
        given = [*args, *options.values()]
        flat = [x for each in given for x in (each if _is_sequence(each) else [each])]
        if not any(map(is_batched, flat)):
            return compute(*args, **options)
        results = [
            compute(
                *(_example(inner, x, i) for x in args),
                **{key: _example(inner, x, i) for key, x in options.items()},
            )
            for i in range(_count(flat))
        ]
        if isinstance(results[0], tuple):
            return tuple(Batched(inner.stack(part)) for part in zip(*results, strict=True))
        return Batched(inner.stack(results))

    return operation


def _is_sequence(x: object) -> TypeIs[list[Any] | tuple[Any, ...]]:
    return isinstance(x, list | tuple)


def _example(inner: Backend, x: Any, number: int) -> Any:
    """One of the examples in an argument."""
    if _is_sequence(x):
        return type(x)([_example(inner, each, number) for each in x])
    return inner.getitem(x.whole, number) if is_batched(x) else x


def _composed(name: str) -> Operation:
    """An operation by others, as the contract composes it, where an argument is batched."""
    composition: Operation = getattr(Backend, name)

    def operation(self: Batching, /, *args: Any, **options: Any) -> Any:
        # Lists hold tensors to be joined, which are rarely worth a faster way.
        if any(is_batched(x) or isinstance(x, list) for x in args):
            return composition(self, *args, **options)
        return getattr(self.inner, name)(*args, **options)

    return operation


def _reshape(self: Batching, x: RawTensor, /, shape: Shape) -> RawTensor:
    if not is_batched(x):
        return self.inner.reshape(x, shape)
    if -1 in shape:
        known = math.prod(n for n in shape if n != -1)
        shape = tuple(x.size // max(known, 1) if n == -1 else n for n in shape)
    return Batched(self.inner.reshape(x.whole, (x.whole.shape[0], *shape)))


def _transpose(self: Batching, x: RawTensor, /, axes: Sequence[int] | None = None) -> RawTensor:
    if not is_batched(x):
        return self.inner.transpose(x, axes)
    order = reversed(range(x.ndim)) if axes is None else axes
    return Batched(self.inner.transpose(x.whole, (0, *(axis % x.ndim + 1 for axis in order))))


def _broadcast_to(self: Batching, x: RawTensor, /, shape: Shape) -> RawTensor:
    if not is_batched(x):
        return self.inner.broadcast_to(x, shape)
    whole = self.lifted(x, len(shape))
    return Batched(self.inner.broadcast_to(whole, (whole.shape[0], *shape)))


def _squeeze(self: Batching, x: RawTensor, /, axis: Axis = None) -> RawTensor:
    if not is_batched(x):
        return self.inner.squeeze(x, axis)
    axes = normal_axes(axis, x.ndim) if axis is not None else range(x.ndim)
    gone = [i for i in axes if axis is not None or x.shape[i] == 1]
    return Batched(self.inner.squeeze(x.whole, tuple(i + 1 for i in gone)))


def _expand_dims(self: Batching, x: RawTensor, /, axis: Axis = 0) -> RawTensor:
    if not is_batched(x):
        return self.inner.expand_dims(x, axis)
    named = axis if isinstance(axis, tuple) else (axis or 0,)
    axes = normal_axes(named, x.ndim + len(named))
    return Batched(self.inner.expand_dims(x.whole, tuple(i + 1 for i in axes)))


def _joined(name: str) -> Operation:
    """An operation on a list of tensors, which all become batches if one is."""

    def operation(self: Batching, xs: Sequence[RawTensor], /, axis: int = 0) -> RawTensor:
        join = getattr(self.inner, name)
        if not any(map(is_batched, xs)):
            result: RawTensor = join(xs, axis)
            return result
        count, ndim = _count(xs), xs[0].ndim + (name == "stack")
        return Batched(join([self.full_batch(x, count) for x in xs], normal_axis(axis, ndim) + 1))

    return operation


def _flip(self: Batching, x: RawTensor, /, axis: Axis = None) -> RawTensor:
    if not is_batched(x):
        return self.inner.flip(x, axis)
    return Batched(self.inner.flip(x.whole, tuple(i + 1 for i in normal_axes(axis, x.ndim))))


def _pad(
    self: Batching, x: RawTensor, /, widths: Sequence[tuple[int, int]], value: Any = 0
) -> RawTensor:
    if not is_batched(x):
        return self.inner.pad(x, widths, value)
    return Batched(self.inner.pad(x.whole, ((0, 0), *widths), value))


def _getitem(self: Batching, x: RawTensor, /, index: Index) -> RawTensor:
    """At once if the index says where each example reads; otherwise one by one."""
    parts = index if is_tuple(index) else (index,)
    differ = [part for part in parts if is_batched(part)]
    if not is_batched(x) and not differ:
        return self.inner.getitem(x, index)
    whole = self.index_of_batch(x, index)
    if whole is None:
        each: RawTensor = _one_by_one("getitem")(self, x, index)
        return each
    if not is_batched(x):
        # Every example reads from the same tensor.
        ndim = max(part.ndim for part in parts if isinstance(part, RawTensor))
        lifted = tuple(self.lifted(part, ndim) for part in parts)
        return Batched(self.inner.getitem(x, lifted))
    return Batched(self.inner.getitem(x.whole, whole))


def _index_add(self: Batching, x: RawTensor, index: Index, y: RawTensor, /) -> RawTensor:
    """At once if the index says where each example adds; otherwise one by one."""
    parts = index if is_tuple(index) else (index,)
    differ = [each for each in (x, y, *parts) if is_batched(each)]
    if not differ:
        return self.inner.index_add(x, index, y)
    whole = self.index_of_batch(x, index)
    ndim = None if whole is None else _ndim_at(x.shape, parts)
    if whole is None or ndim is None:
        each: RawTensor = _one_by_one("index_add")(self, x, index, y)
        return each
    target = self.full_batch(x, _count(differ))
    return Batched(self.inner.index_add(target, whole, self.lifted(y, ndim)))


def _ndim_at(shape: Shape, parts: Sequence[Any]) -> int | None:
    """How many axes `x[index]` has; None if that depends on the truth values in it."""
    if any(isinstance(part, RawTensor) and part.dtype.kind == "b" for part in parts):
        return None
    host = tuple(np.zeros(p.shape, int) if isinstance(p, RawTensor) else p for p in parts)
    selected: HostArray = np.broadcast_to(np.zeros(()), shape)[host]
    return selected.ndim


def _matmul(self: Batching, x: RawTensor, y: RawTensor, /) -> RawTensor:
    """One product of all examples where one side is not batched; otherwise a stack of them."""
    inner = self.inner
    if not is_batched(x):
        if not is_batched(y):
            return inner.matmul(x, y)
        if x.ndim <= 2 and y.ndim == 1:  # one product of all examples
            return Batched(inner.matmul(y.whole, inner.transpose(x)))
    elif not is_batched(y) and y.ndim <= 2:
        return Batched(inner.matmul(x.whole, y))
    rows = self.expand_dims(x, 0) if x.ndim == 1 else x
    columns = self.expand_dims(y, 1) if y.ndim == 1 else y
    ndim = max(rows.ndim, columns.ndim)
    product = Batched(inner.matmul(self.lifted(rows, ndim), self.lifted(columns, ndim)))
    gone = (*((-2,) if x.ndim == 1 else ()), *((-1,) if y.ndim == 1 else ()))
    return self.squeeze(product, gone) if gone else product


def _conv2d(self: Batching, x: RawTensor, weight: RawTensor, bias: Any, *args: Any) -> RawTensor:
    if is_batched(weight) or is_batched(bias):
        return Backend.conv2d(self, x, weight, bias, *args)
    images: RawTensor = _of_images("conv2d")(self, x, weight, bias, *args)
    return images


def _to_numpy(self: Batching, x: RawTensor, /) -> HostArray:
    if is_batched(x):
        raise _varies("an array of NumPy's")
    return self.inner.to_numpy(x)


def _assign(self: Batching, target: RawTensor, value: RawTensor, /) -> None:
    if is_batched(target) or is_batched(value):
        raise _varies("one to write into another")
    self.inner.assign(target, value)


_RULES: Final[dict[str, Operation]] = {
    **{name: _along_axes(name) for name in ("sum", "prod", "max", "min", "any", "all")},
    **{name: _along_axes(name) for name in ("mean", "var", "std", "logsumexp", "norm")},
    **{name: _position(name) for name in ("argmax", "argmin")},
    "cumsum": _along_axis("cumsum", 1),
    "cumprod": _along_axis("cumprod", 1),
    "gather": _along_axis("gather", 2),
    "scatter_add": _along_axis("scatter_add", 3),
    **{name: _along_axis(name, 1, -1) for name in ("softmax", "log_softmax")},
    **{name: _along_axis(name, 2, -1) for name in ("softmax_backward", "log_softmax_backward")},
    **{name: _of_matrices(name) for name in ("cholesky", "solve", "qr", "svd", "eigh")},
    **{name: _of_matrices(name) for name in ("slogdet", "expm", "det", "inv", "pinv")},
    "solve_triangular": _of_matrices("solve_triangular"),
    **{name: _elementwise(name) for name in ("astype", "copy")},
    **{name: _of_images(name) for name in ("unfold", "fold", "max_pool2d", "avg_pool2d")},
    "max_pool2d_backward": _of_images("max_pool2d_backward", 2),
    **{name: _joined(name) for name in ("concatenate", "stack")},
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": _broadcast_to,
    "squeeze": _squeeze,
    "expand_dims": _expand_dims,
    "flip": _flip,
    "pad": _pad,
    "getitem": _getitem,
    "index_add": _index_add,
    "matmul": _matmul,
    "conv2d": _conv2d,
    "to_numpy": _to_numpy,
    "assign": _assign,
}
"""Operations with a rule of their own; the elementwise ones share another."""

_FROM_NOTHING: Final = ["full", "zeros", "ones", "arange", "eye", "normal", "uniform", "from_numpy"]


def _method(name: str) -> Operation:
    """How an operation takes batches: by its rule, by its topic, composed, or one by one."""
    topic = getattr(Backend, name).__module__.rpartition(".")[2]
    if name in _RULES:
        return _RULES[name]
    if name in _FROM_NOTHING:
        return passed_on(name)
    if topic == "elementwise":
        return _elementwise(name)
    return _one_by_one(name) if OPERATIONS[name] else _composed(name)


define(Batching, OPERATIONS, _method)
define(Batching, ("linear_gradients", "attention_gradients"), _composed)
