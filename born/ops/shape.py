"""Shape, joining and splitting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsIndex, cast

import numpy as np
from typing_extensions import TypeIs

from born.backend import Axis, B, Scalar
from born.backend.arguments import normal_axis
from born.errors import DomainError, ShapeError
from born.operands import (
    ShapeLike,
    as_shape,
    backend_of,
    raw_index,
    raw_operand,
    raw_operands,
)
from born.ops.padding import MODES, Mode, Widths, padded
from born.raw import Shape
from born.tensor import Tensor, is_tensor
from born.validation import integer


def reshape(x: Tensor[B], shape: ShapeLike) -> Tensor[B]:
    """The same elements in another shape; one length may be -1.

    >>> ops.reshape(born.tensor([1.0, 2.0, 3.0, 4.0], backend), (2, -1)).shape
    (2, 2)
    """
    return Tensor(backend_of("reshape", x).reshape(x.raw, as_shape(shape)), x.backend)


def transpose(x: Tensor[B], axes: Sequence[int] | None = None) -> Tensor[B]:
    """The axes in another order; reversed by default.

    >>> ops.transpose(born.zeros((2, 3, 4), backend), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return Tensor(backend_of("transpose", x).transpose(x.raw, axes), x.backend)


def squeeze(x: Tensor[B], axis: Axis = None) -> Tensor[B]:
    """Without the axes of length one, or without those named.

    >>> ops.squeeze(born.zeros((1, 3, 1), backend)).shape
    (3,)
    """
    return Tensor(backend_of("squeeze", x).squeeze(x.raw, axis), x.backend)


def expand_dims(x: Tensor[B], axis: int | tuple[int, ...]) -> Tensor[B]:
    """With axes of length one at these places of the result.

    >>> ops.expand_dims(born.zeros(3, backend), (0, 2)).shape
    (1, 3, 1)
    """
    return Tensor(backend_of("expand_dims", x).expand_dims(x.raw, axis), x.backend)


def broadcast_to(x: Tensor[B], shape: ShapeLike) -> Tensor[B]:
    """x repeated to a shape it broadcasts to, without a copy.

    >>> ops.broadcast_to(born.tensor([1.0, 2.0], backend), (2, 2))
    Tensor([[1., 2.],
            [1., 2.]], dtype=float32)
    """
    return Tensor(backend_of("broadcast_to", x).broadcast_to(x.raw, as_shape(shape)), x.backend)


def concatenate(tensors: Sequence[Tensor[B] | Scalar], axis: int = 0) -> Tensor[B]:
    """Tensors joined along an axis they have; a number fills one more place on it.

    >>> ops.concatenate([born.ones(2, backend), born.zeros(1, backend)])
    Tensor([1., 1., 0.], dtype=float32)
    """
    filled = _filled(tensors, lambda shape: _one_place(shape, axis))
    backend, raw = raw_operands("concatenate", filled)
    return Tensor(backend.concatenate(raw, axis), backend)


def stack(tensors: Sequence[Tensor[B] | Scalar], axis: int = 0) -> Tensor[B]:
    """Tensors of one shape joined along a new axis; a number fills a tensor of that shape.

    >>> ops.stack([born.ones(2, backend), born.zeros(2, backend)])
    Tensor([[1., 1.],
            [0., 0.]], dtype=float32)
    """
    backend, raw = raw_operands("stack", _filled(tensors, lambda shape: shape))
    return Tensor(backend.stack(raw, axis), backend)


def _filled(
    tensors: Sequence[Tensor[B] | Scalar], shape_beside: Callable[[Shape], Shape]
) -> Sequence[Tensor[B]]:
    """The tensors, with one full of it in place of each number; its dtype is the first's."""
    first: Tensor[B] | None = next(filter(is_tensor, tensors), None)
    if first is None:
        return cast("Sequence[Tensor[B]]", tensors)  # refused by those who look at them
    zeros = None
    filled: list[Tensor[B]] = []
    for value in tensors:
        if isinstance(value, int | float):
            if zeros is None:
                raw = first.backend.zeros(shape_beside(first.shape), first.dtype)
                zeros = Tensor(raw, first.backend)
            filled.append(zeros + value)  # which checks that the number fits the dtype
        else:
            filled.append(value)
    return filled


def _one_place(shape: Shape, axis: int) -> Shape:
    axis = normal_axis(axis, len(shape))
    return (*shape[:axis], 1, *shape[axis + 1 :])


def split(x: Tensor[B], sections: int | Sequence[int], axis: int = 0) -> list[Tensor[B]]:
    """Parts along an axis: a number of equal ones, or cut before each of some indices.

    >>> [part.shape for part in ops.split(born.zeros((5, 2), backend), [1, 3])]
    [(1, 2), (2, 2), (2, 2)]
    """
    parts = backend_of("split", x).split(x.raw, sections, axis)
    return [Tensor(part, x.backend) for part in parts]


def flip(x: Tensor[B], axis: Axis = None) -> Tensor[B]:
    """The elements in reverse order along the axes; along all by default.

    >>> ops.flip(born.tensor([1.0, 2.0, 3.0], backend))
    Tensor([3., 2., 1.], dtype=float32)
    """
    return Tensor(backend_of("flip", x).flip(x.raw, axis), x.backend)


def pad(
    x: Tensor[B],
    widths: Widths,
    value: Scalar = 0,
    *,
    mode: Mode = "constant",
    constant_values: Scalar | None = None,
    end_values: Scalar | tuple[Scalar, Scalar] | Sequence[tuple[Scalar, Scalar]] = 0,
    reflect_type: Literal["even", "odd"] = "even",
    stat_length: Widths | None = None,
) -> Tensor[B]:
    """With elements added before and after along each axis.

    Args:
        x: of any shape.
        widths: how many, `(before, after)` for each axis; one pair, or one number, for all.
        value: of the elements of mode `"constant"`.
        mode: which elements, as in NumPy: `"constant"`; `"edge"`, the outermost of x; `"reflect"`,
            x mirrored about them; `"symmetric"`, mirrored about its border; `"wrap"`, from the
            other end; `"linear_ramp"`, on a line from the outermost to `end_values`; `"maximum"`,
            `"minimum"` or `"mean"` of the outermost `stat_length` elements.
        constant_values: NumPy's name of `value`.
        end_values: where a ramp ends, in the forms of `widths`.
        reflect_type: `"odd"` to mirror at a point: twice the outermost element less the even ones.
        stat_length: in the forms of `widths`; all elements along the axis by default.

    >>> ops.pad(born.ones(2, backend), [(1, 2)])
    Tensor([0., 1., 1., 0., 0.], dtype=float32)
    >>> ops.pad(born.ones((2, 3), backend), 1).shape
    (4, 5)
    >>> ops.pad(born.tensor([1.0, 2.0, 3.0], backend), 2, mode="reflect")
    Tensor([3., 2., 1., 2., 3., 2., 1.], dtype=float32)
    """
    backend = backend_of("pad", x)
    if isinstance(cast("object", value), str):
        raise DomainError(
            f"expected a number as the value in pad, got {value!r}; pass mode={value!r}"
        )
    pairs = _pairs(widths, x.ndim)
    # With constants first in any case, for its checks of the widths.
    value = value if constant_values is None else constant_values
    value = value if mode == "constant" else 0
    value = bool(value) if x.dtype.kind == "b" and value in (0, 1) else value
    constant = backend.pad(x.raw, pairs, value)
    if mode == "constant":
        return Tensor(constant, backend)
    if mode not in MODES or reflect_type not in ("even", "odd"):
        raise DomainError(
            f"expected mode to be one of {', '.join(MODES)} in pad, and reflect_type even or odd, "
            f"got {mode!r} and {reflect_type!r}; use one of them"
        )
    numbers: Any = [(None, None)] * x.ndim
    if mode == "linear_ramp":
        numbers = _pairs_of_each("end_values", end_values, x.ndim)
    elif stat_length is not None:
        numbers = _pairs_of_each("stat_length", stat_length, x.ndim)
    return padded(x, pairs, mode, reflect_type, numbers)


def _pairs(widths: Any, axes: int) -> Any:
    """A pair of widths for each axis."""
    if isinstance(widths, SupportsIndex):
        widths = (widths, widths)
    one = len(widths) == 2 and all(isinstance(each, SupportsIndex) for each in widths)
    return [tuple(widths)] * axes if one else widths


def _pairs_of_each(name: str, given: Any, axes: int) -> Any:
    try:
        return np.broadcast_to(np.asarray(given), (axes, 2)).tolist()
    except ValueError as error:
        raise ShapeError(
            f"expected {name} of pad as a pair for each of {axes} axes, as one pair or one number, "
            f"got {given!r}; pass as many as there are axes"
        ) from error


# -- axes ----------------------------------------------------------------------------------


def ravel(x: Tensor[B]) -> Tensor[B]:
    """All elements along one axis.

    >>> ops.ravel(born.zeros((2, 3), backend)).shape
    (6,)
    """
    backend_of("ravel", x)
    return reshape(x, (x.size,))


def moveaxis(
    x: Tensor[B], source: int | Sequence[int], destination: int | Sequence[int]
) -> Tensor[B]:
    """With some axes at other places; the rest stay in order.

    >>> ops.moveaxis(born.zeros((2, 3, 4), backend), 0, -1).shape
    (3, 4, 2)
    """
    backend_of("moveaxis", x)
    before, after = _axes(source, x.ndim), _axes(destination, x.ndim)
    if len(before) != len(after):
        raise ShapeError(
            f"expected as many destinations as axes to move, got source={source} and "
            f"destination={destination}; name them in pairs"
        )
    order = [i for i in range(x.ndim) if i not in before]
    for place, axis in sorted(zip(after, before, strict=True)):
        order.insert(place, axis)
    return transpose(x, order)


def _axes(axis: int | Sequence[int], ndim: int) -> list[int]:
    """Axes in the order in which they are named, each once."""
    axes = [normal_axis(each, ndim) for each in _integers("axis", axis)]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"expected each axis once, got axis={axis}; drop the repeated one")
    return axes


def _integers(name: str, value: int | Sequence[int]) -> list[int]:
    """One integer or several, as a list."""
    values = value if isinstance(value, Sequence) else [value]
    return [integer(name, each, None, ShapeError) for each in values]


def rollaxis(x: Tensor[B], axis: int, start: int = 0) -> Tensor[B]:
    """With an axis moved to before another; `moveaxis` says the same more plainly.

    >>> ops.rollaxis(born.zeros((2, 3, 4), backend), 2).shape
    (4, 2, 3)
    """
    backend_of("rollaxis", x)
    axis = normal_axis(axis, x.ndim)
    start = start + x.ndim if start < 0 else start
    return moveaxis(x, axis, start - 1 if axis < start else start)


def swapaxes(x: Tensor[B], axis1: int, axis2: int) -> Tensor[B]:
    """With two axes exchanged.

    >>> ops.swapaxes(born.zeros((2, 3, 4), backend), 0, 2).shape
    (4, 3, 2)
    """
    backend_of("swapaxes", x)
    order = list(range(x.ndim))
    first, second = normal_axis(axis1, x.ndim), normal_axis(axis2, x.ndim)
    order[first], order[second] = second, first
    return transpose(x, order)


def rot90(x: Tensor[B], k: int = 1, axes: tuple[int, int] = (0, 1)) -> Tensor[B]:
    """Turned by k right angles in the plane of two axes, from the first towards the second.

    >>> ops.rot90(born.tensor([[1, 2], [3, 4]], backend))
    Tensor([[2, 4],
            [1, 3]], dtype=int64)
    """
    backend_of("rot90", x)
    first, second = _axes(axes, x.ndim)
    if k % 4 == 2:
        return flip(x, (first, second))
    if k % 4 == 1:
        return swapaxes(flip(x, second), first, second)
    return flip(swapaxes(x, first, second), second) if k % 4 == 3 else reshape(x, x.shape)


def fliplr(x: Tensor[B]) -> Tensor[B]:
    """In reverse order along axis 1.

    >>> ops.fliplr(born.tensor([[1, 2], [3, 4]], backend))
    Tensor([[2, 1],
            [4, 3]], dtype=int64)
    """
    return flip(x, 1)


def flipud(x: Tensor[B]) -> Tensor[B]:
    """In reverse order along axis 0.

    >>> ops.flipud(born.tensor([[1, 2], [3, 4]], backend))
    Tensor([[3, 4],
            [1, 2]], dtype=int64)
    """
    return flip(x, 0)


def roll(
    x: Tensor[B], shift: int | Sequence[int], axis: int | Sequence[int] | None = None
) -> Tensor[B]:
    """The elements moved along axes, those that fall off put back at the other end.

    Args:
        x: any tensor.
        shift: by how many places, one number or one for each axis.
        axis: which axes; by default all elements are one row.

    >>> ops.roll(born.tensor([1, 2, 3, 4], backend), 1)
    Tensor([4, 1, 2, 3], dtype=int64)
    """
    backend_of("roll", x)
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    axes, shifts = _integers("axis", axis), _integers("shift", shift)
    if len(axes) != len(shifts) and 1 not in (len(axes), len(shifts)):
        raise ShapeError(
            f"expected as many shifts as axes in roll, got shift={shift} and axis={axis}; "
            "name them in pairs"
        )
    pairs = max(len(axes), len(shifts))
    for place, by in zip(axes * (pairs // len(axes)), shifts * (pairs // len(shifts)), strict=True):
        place = normal_axis(place, x.ndim)
        cut = -by % max(x.shape[place], 1)
        before = (slice(None),) * place
        x = concatenate([x[(*before, slice(cut, None))], x[(*before, slice(0, cut))]], place)
    return x


def atleast_1d(*tensors: Tensor[B]) -> Any:
    """With at least one axis; of several tensors a tuple.

    >>> ops.atleast_1d(born.tensor(1.0, backend)).shape
    (1,)
    """
    return _each(tensors, lambda x: x if x.ndim else reshape(x, (1,)))


def atleast_2d(*tensors: Tensor[B]) -> Any:
    """With at least two axes, added in front; of several tensors a tuple.

    >>> ops.atleast_2d(born.ones(3, backend)).shape
    (1, 3)
    """
    return _each(tensors, lambda x: x if x.ndim > 1 else reshape(x, (1, x.size)))


def atleast_3d(*tensors: Tensor[B]) -> Any:
    """With at least three axes: a vector (n,) is (1, n, 1), a matrix (m, n) is (m, n, 1).

    >>> ops.atleast_3d(born.ones(3, backend)).shape
    (1, 3, 1)
    """

    def raised(x: Tensor[B]) -> Tensor[B]:
        if x.ndim > 2:
            return x
        return reshape(x, (*x.shape, 1) if x.ndim == 2 else (1, x.size, 1))

    return _each(tensors, raised)


def _each(tensors: tuple[Tensor[B], ...], function: Callable[[Tensor[B]], Tensor[B]]) -> Any:
    for x in tensors:
        backend_of("atleast_nd", x)
    results = tuple(map(function, tensors))
    return results[0] if len(results) == 1 else results


# -- joining and splitting -----------------------------------------------------------------


def vstack(tensors: Sequence[Tensor[B]]) -> Tensor[B]:
    """Joined along axis 0, vectors as rows.

    >>> ops.vstack([born.ones(2, backend), born.zeros((2, 2), backend)]).shape
    (3, 2)
    """
    return concatenate([atleast_2d(x) for x in tensors], 0)


def hstack(tensors: Sequence[Tensor[B]]) -> Tensor[B]:
    """Joined along axis 1, vectors along their only axis.

    >>> ops.hstack([born.ones(2, backend), born.zeros(1, backend)])
    Tensor([1., 1., 0.], dtype=float32)
    """
    raised: list[Tensor[B]] = [atleast_1d(x) for x in tensors]
    return concatenate(raised, 0 if raised and raised[0].ndim == 1 else 1)


def dstack(tensors: Sequence[Tensor[B]]) -> Tensor[B]:
    """Joined along axis 2, of tensors with at least three axes.

    >>> ops.dstack([born.ones(2, backend), born.zeros(2, backend)]).shape
    (1, 2, 2)
    """
    return concatenate([atleast_3d(x) for x in tensors], 2)


def column_stack(tensors: Sequence[Tensor[B]]) -> Tensor[B]:
    """Joined along axis 1, vectors as columns.

    >>> ops.column_stack([born.ones(2, backend), born.zeros(2, backend)])
    Tensor([[1., 0.],
            [1., 0.]], dtype=float32)
    """
    raw_operands("column_stack", tensors)
    columns = [x if x.ndim > 1 else reshape(x, (x.size, 1)) for x in tensors]
    return concatenate(columns, 1)


def append(x: Tensor[B], values: Tensor[B], axis: int | None = None) -> Tensor[B]:
    """x with others joined at its end; without an axis, all elements along one.

    >>> ops.append(born.ones(2, backend), born.zeros(1, backend))
    Tensor([1., 1., 0.], dtype=float32)
    """
    backend = backend_of("append", x)
    raw_operand("append", backend, values)
    if axis is None:
        return concatenate([ravel(x), ravel(values)])
    return concatenate([x, values], axis)


def block(tensors: Tensor[Any] | Sequence[Any]) -> Tensor[Any]:
    """A tensor of blocks, given as nested lists: the innermost are joined along the last axis.

    >>> one, two = born.ones((2, 2), backend), born.zeros((2, 1), backend)
    >>> ops.block([[one, two], [two.T, born.ones((1, 1), backend)]])
    Tensor([[1., 1., 0.],
            [1., 1., 0.],
            [0., 0., 1.]], dtype=float32)
    """
    depth = _depth(tensors)
    axes = max(depth, _most_axes(tensors))

    def joined(part: Any, level: int) -> Any:
        if level == depth:
            return reshape(part, (1,) * (axes - part.ndim) + part.shape)
        return concatenate([joined(each, level + 1) for each in part], level - depth)

    whole: Tensor[Any] = joined(tensors, 0)
    return whole


def _depth(part: object) -> int:
    """How many lists a tensor lies in, the same for all."""
    if not _is_list(part):
        backend_of("block", cast("Tensor[Any]", part))
        return 0
    depths = {_depth(each) for each in part}
    if len(depths) != 1:
        raise ShapeError(
            "expected lists of one depth, and none of them empty, in block, got others; "
            "wrap a single tensor in a list"
        )
    return 1 + depths.pop()


def _most_axes(part: Any) -> int:
    return max(map(_most_axes, part)) if _is_list(part) else part.ndim


def _is_list(part: object) -> TypeIs[list[Any]]:
    return isinstance(part, list)


def array_split(x: Tensor[B], sections: int | Sequence[int], axis: int = 0) -> list[Tensor[B]]:
    """As `split`, but the parts need not be equal: the first ones are longer by one.

    >>> [part.shape for part in ops.array_split(born.zeros(5, backend), 2)]
    [(3,), (2,)]
    """
    backend_of("array_split", x)
    if isinstance(sections, int) and sections > 0:
        short, longer = divmod(x.shape[normal_axis(axis, x.ndim)], sections)
        sections = [i * short + min(i, longer) for i in range(1, sections)]
    return split(x, sections, axis)


def hsplit(x: Tensor[B], sections: int | Sequence[int]) -> list[Tensor[B]]:
    """Parts along axis 1, of vectors along their only axis.

    >>> [part.shape for part in ops.hsplit(born.zeros((2, 4), backend), 2)]
    [(2, 2), (2, 2)]
    """
    backend_of("hsplit", x)
    return split(x, sections, 0 if x.ndim == 1 else 1)


def vsplit(x: Tensor[B], sections: int | Sequence[int]) -> list[Tensor[B]]:
    """Parts along axis 0.

    >>> [part.shape for part in ops.vsplit(born.zeros((4, 2), backend), 2)]
    [(2, 2), (2, 2)]
    """
    return split(x, sections, 0)


def dsplit(x: Tensor[B], sections: int | Sequence[int]) -> list[Tensor[B]]:
    """Parts along axis 2.

    >>> [part.shape for part in ops.dsplit(born.zeros((1, 2, 4), backend), 2)]
    [(1, 2, 2), (1, 2, 2)]
    """
    return split(x, sections, 2)


def unstack(x: Tensor[B], axis: int = 0) -> tuple[Tensor[B], ...]:
    """The slices along an axis, without it; `stack` undoes it.

    >>> ops.unstack(born.tensor([[1, 2], [3, 4]], backend))
    (Tensor([1, 2], dtype=int64), Tensor([3, 4], dtype=int64))
    """
    backend_of("unstack", x)
    before = (slice(None),) * normal_axis(axis, x.ndim)
    return tuple(x[(*before, i)] for i in range(x.shape[axis]))


# -- repetition ----------------------------------------------------------------------------


def tile(x: Tensor[B], reps: int | Sequence[int]) -> Tensor[B]:
    """x, repeated as a whole along each axis.

    Args:
        x: any tensor.
        reps: how often along each axis, the last ones if they are fewer.

    >>> ops.tile(born.tensor([1, 2], backend), (2, 2))
    Tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]], dtype=int64)
    """
    backend_of("tile", x)
    counts = as_shape(reps)
    axes = max(x.ndim, len(counts))
    counts = (1,) * (axes - len(counts)) + counts
    shape = (1,) * (axes - x.ndim) + x.shape
    apart = reshape(x, tuple(length for n in shape for length in (1, n)))
    whole = tuple(length for pair in zip(counts, shape, strict=True) for length in pair)
    lengths = tuple(count * n for count, n in zip(counts, shape, strict=True))
    return reshape(broadcast_to(apart, whole), lengths)


def repeat(x: Tensor[B], repeats: int | Sequence[int], axis: int | None = None) -> Tensor[B]:
    """x, each of its elements or slices repeated.

    Args:
        x: any tensor.
        repeats: how often, one number or one for each slice.
        axis: along which; by default all elements are one row.

    >>> ops.repeat(born.tensor([1, 2], backend), 2)
    Tensor([1, 1, 2, 2], dtype=int64)
    """
    backend_of("repeat", x)
    if axis is None:
        x, axis = ravel(x), 0
    axis = normal_axis(axis, x.ndim)
    length = x.shape[axis]
    if isinstance(repeats, int):
        whole = (*x.shape[: axis + 1], repeats, *x.shape[axis + 1 :])
        wide = broadcast_to(expand_dims(x, axis + 1), whole)
        return reshape(wide, (*x.shape[:axis], length * repeats, *x.shape[axis + 1 :]))
    counts = as_shape(repeats)
    if len(counts) not in (1, length):
        raise ShapeError(
            f"expected one count, or {length}, one for each slice, in repeat, got {len(counts)}; "
            "pass as many as the axis is long"
        )
    if len(counts) == 1:
        return repeat(x, counts[0], axis)
    return x[(*(slice(None),) * axis, np.repeat(np.arange(length), counts))]


def broadcast_arrays(*tensors: Tensor[B]) -> tuple[Tensor[B], ...]:
    """The tensors, each repeated to the shape they broadcast to.

    >>> [x.shape for x in ops.broadcast_arrays(born.ones((2, 1), backend), born.ones(3, backend))]
    [(2, 3), (2, 3)]
    """
    if tensors:
        raw_operands("broadcast_arrays", tensors)
    try:
        shape = np.broadcast_shapes(*(x.shape for x in tensors))
    except ValueError as error:
        raise ShapeError(
            f"expected shapes that broadcast, got {[x.shape for x in tensors]}; "
            "reshape or index one of them"
        ) from error
    return tuple(broadcast_to(x, shape) for x in tensors)


def meshgrid(
    *tensors: Tensor[B], indexing: Literal["xy", "ij"] = "xy", sparse: bool = False
) -> tuple[Tensor[B], ...]:
    """Coordinates of the points of a grid, from those along each axis.

    Args:
        tensors: vectors.
        indexing: `"ij"` has the first vector along axis 0; `"xy"`, the default, along axis 1,
            and the second along axis 0.
        sparse: whether to leave the other axes of each at length one.

    >>> x, y = ops.meshgrid(born.arange(2, backend=backend), born.arange(3, backend=backend))
    >>> x.shape, y.tolist()
    ((3, 2), [[0, 0], [1, 1], [2, 2]])
    """
    if indexing not in ("xy", "ij"):
        raise DomainError(
            f'expected indexing "xy" or "ij" in meshgrid, got {indexing!r}; use one of them'
        )
    if tensors:
        raw_operands("meshgrid", tensors)
    count = len(tensors)
    places = list(range(count))
    if indexing == "xy" and count > 1:
        places[:2] = [1, 0]
    grids = tuple(
        reshape(x, tuple(x.size if i == place else 1 for i in range(count)))
        for place, x in zip(places, tensors, strict=True)
    )
    return grids if sparse else broadcast_arrays(*grids)


def ix_(*tensors: Tensor[B]) -> tuple[Tensor[B], ...]:
    """Vectors of integers as an index of their grid: `x[ops.ix_(rows, columns)]`.

    A vector of bools stands for the places where it holds; a device is waited for to know them.

    >>> rows = born.tensor([0, 1], backend)
    >>> [each.shape for each in ops.ix_(rows, rows)]
    [(2, 1), (1, 2)]
    """
    found: list[Tensor[B]] = []
    for x in tensors:
        if x.ndim != 1 or x.dtype.kind not in "biu":
            raise ShapeError(
                f"expected vectors of integers or bools in ix_, got shape {x.shape} of {x.dtype}; "
                "pass places, or a mask"
            )
        if x.dtype.kind == "b":
            places = np.flatnonzero(x.numpy())
            x = Tensor(x.backend.from_numpy(places.astype(np.int64)), x.backend)
        found.append(x)
    return meshgrid(*found, indexing="ij", sparse=True)


def sliding_window(
    x: Tensor[B], window: int | Sequence[int], axis: int | Sequence[int] | None = None
) -> Tensor[B]:
    """Every window of some length along axes, in new axes at the end.

    NumPy's `sliding_window_view`, but a copy.

    Args:
        x: any tensor.
        window: the length of the windows, one for each axis.
        axis: which axes; by default all.

    >>> ops.sliding_window(born.tensor([1, 2, 3, 4], backend), 3)
    Tensor([[1, 2, 3],
            [2, 3, 4]], dtype=int64)
    """
    backend_of("sliding_window", x)
    lengths = as_shape(window)
    axes = list(range(x.ndim)) if axis is None else _axes(axis, x.ndim)
    if len(axes) != len(lengths):
        raise ShapeError(
            f"expected as many lengths as axes in sliding_window, got window={window} for "
            f"{len(axes)} axes; name the axes with axis="
        )
    for place, length in zip(axes, lengths, strict=True):
        windows = x.shape[place] - length + 1
        if length < 0 or windows < 1:
            raise ShapeError(
                f"expected a window of at most {x.shape[place]} along axis {place}, got {length}; "
                "pad x, or take a shorter one"
            )
        index = np.arange(windows)[:, None] + np.arange(length)
        x = moveaxis(x[(*(slice(None),) * place, index)], place + 1, -1)
    return x


# -- diagonals and triangles ---------------------------------------------------------------


def tril(x: Tensor[B], k: int = 0) -> Tensor[B]:
    """The matrices in the last two axes, with zeros above a diagonal.

    Args:
        x: shape (..., m, n).
        k: which diagonal is the last that is kept, the main one by default; above it if positive.

    >>> ops.tril(born.ones((2, 2), backend))
    Tensor([[1., 0.],
            [1., 1.]], dtype=float32)
    """
    return _triangle("tril", x, k, lower=True)


def triu(x: Tensor[B], k: int = 0) -> Tensor[B]:
    """The matrices in the last two axes, with zeros below a diagonal; k as for `tril`.

    >>> ops.triu(born.ones((2, 2), backend))
    Tensor([[1., 1.],
            [0., 1.]], dtype=float32)
    """
    return _triangle("triu", x, k, lower=False)


def _triangle(name: str, x: Tensor[B], k: int, *, lower: bool) -> Tensor[B]:
    """Matrices with zeros on one side of a diagonal."""
    backend, k = backend_of(name, x), integer("k", k, None, ShapeError)
    if x.ndim < 2:
        raise ShapeError(
            f"expected matrices in the last two axes in {name}, got shape {x.shape}; reshape it"
        )
    rows, columns = (backend.arange(0, length, 1, "int64") for length in x.shape[-2:])
    above = backend.sub(columns, backend.expand_dims(rows, 1))
    kept = backend.less_equal(above, k) if lower else backend.greater_equal(above, k)
    return Tensor(backend.where(kept, x.raw, False if x.dtype.kind == "b" else 0), backend)


def diagonal(x: Tensor[B], offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor[B]:
    """The diagonals of two axes, in a new axis at the end.

    Args:
        x: a tensor of at least two axes.
        offset: how far above the main diagonal; below it if negative.
        axis1, axis2: the rows and the columns; the first two axes by default, as in NumPy.
            `ops.linalg.diagonal` takes the last two.

    >>> ops.diagonal(born.tensor([[1.0, 7.0], [8.0, 2.0]], backend), -1)
    Tensor([8.], dtype=float32)
    """
    backend_of("diagonal", x)
    offset = integer("offset", offset, None, ShapeError)
    if x.ndim < 2:
        raise ShapeError(
            f"expected at least two axes in diagonal, got shape {x.shape}; use diag of a vector"
        )
    y = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = y.shape[-2:]
    first, last = max(0, -offset), min(rows, columns - offset)
    index = np.arange(first, max(first, last))
    return y[..., index, index + offset]


def trace(x: Tensor[B], offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor[B]:
    """The sum of each diagonal; the arguments are those of `diagonal`.

    >>> ops.trace(born.tensor([[1.0, 7.0], [7.0, 2.0]], backend))
    Tensor(3., dtype=float32)
    """
    return diagonal(x, offset, axis1, axis2).sum(axis=-1)


def diag(x: Tensor[B], k: int = 0) -> Tensor[B]:
    """Of a vector the matrix with it on a diagonal, of a matrix that diagonal.

    Args:
        x: one or two axes.
        k: how far above the main diagonal; below it if negative.

    >>> ops.diag(born.tensor([1.0, 2.0], backend))
    Tensor([[1., 0.],
            [0., 2.]], dtype=float32)
    """
    backend, k = backend_of("diag", x), integer("k", k, None, ShapeError)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ShapeError(f"expected one or two axes in diag, got shape {x.shape}; use diagonal")
    size = x.size + abs(k)
    rows = np.arange(x.size) + max(0, -k)
    zeros = Tensor(backend.zeros((size, size), x.dtype), backend)
    index = raw_index((rows, rows + k), backend)
    return Tensor(backend.index_add(zeros.raw, index, x.raw), backend)


def diagflat(x: Tensor[B], k: int = 0) -> Tensor[B]:
    """The matrix with all elements of x on a diagonal.

    >>> ops.diagflat(born.ones((1, 2), backend)).shape
    (2, 2)
    """
    backend_of("diagflat", x)
    return diag(ravel(x), k)
