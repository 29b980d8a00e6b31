"""What `pad` adds at the ends of an axis in NumPy's modes other than a constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from born.backend import B, Index, Scalar
from born.dtypes import INTEGRAL
from born.errors import DomainError, ShapeError
from born.raw import HostArray, RawTensor
from born.tensor import Tensor

Mode: TypeAlias = Literal[
    "constant",
    "edge",
    "linear_ramp",
    "maximum",
    "mean",
    "minimum",
    "reflect",
    "symmetric",
    "wrap",
]
"""What to pad with: NumPy's names."""

Widths: TypeAlias = int | tuple[int, int] | Sequence[tuple[int, int]]
"""Two numbers for each axis: in pairs, or one pair or number for all."""

_PLACES: Final = ("edge", "reflect", "symmetric", "wrap")
_SUMMARIES: Final = ("maximum", "mean", "minimum")
MODES: Final = ("constant", *_PLACES, "linear_ramp", *_SUMMARIES)


def padded(
    x: Tensor[B],
    widths: Sequence[tuple[int, int]],
    mode: str,
    reflect_type: str,
    numbers: Sequence[tuple[Any, Any]],
) -> Tensor[B]:
    """x, padded one axis after the other.

    Args:
        x: the tensor.
        widths: of each axis, checked.
        mode: one of `MODES` but `"constant"`.
        reflect_type: whether mirrored elements are reflected at a point.
        numbers: of each axis, where its ramps end, or how many elements a summary takes.
    """
    odd = reflect_type == "odd" and mode in ("reflect", "symmetric")
    for axis, (width, pair) in enumerate(zip(widths, numbers, strict=True)):
        if not any(width):
            continue
        if not x.shape[axis]:
            raise ShapeError(
                f"expected elements along axis {axis} to pad with in mode {mode!r}, got shape "
                f'{x.shape}; use mode="constant"'
            )
        if mode in _PLACES and not odd:
            places = np.pad(np.arange(x.shape[axis]), width, mode)  # type: ignore[call-overload]  # a str
            x = x[_along(axis, places)]
        elif odd:
            x = _mirrored(x, axis, width, mode)
        else:
            x = _beside(x, axis, width, mode, pair)
    return x


def _along(axis: int, index: Any) -> Index:
    return (*(slice(None),) * axis, index)


def _mirrored(x: Tensor[B], axis: int, width: tuple[int, int], mode: Any) -> Tensor[B]:
    """With sums of a few elements at both ends, whose factors NumPy says."""
    n, (before, after) = x.shape[axis], width
    if max(width) < n:  # what is at an end depends on what lies near it
        first, last = (
            x[_along(axis, slice(0, before + 1))],
            x[_along(axis, slice(n - after - 1, n))],
        )
        left = np.pad(np.eye(before + 1), ((before, 0), (0, 0)), mode, reflect_type="odd")[:before]
        right = np.pad(np.eye(after + 1), ((0, after), (0, 0)), mode, reflect_type="odd")
        right = right[after + 1 :]
    else:
        first = last = x
        factors = np.pad(np.eye(n), (width, (0, 0)), mode, reflect_type="odd")
        left, right = factors[:before], factors[before + n :]
    parts = [_summed(first, axis, left), x, _summed(last, axis, right)]
    return Tensor(x.backend.concatenate([part.raw for part in parts], axis), x.backend)


def _summed(x: Tensor[B], axis: int, factors: HostArray) -> Tensor[B]:
    """For each row of factors the sum of elements times it, but of none whose factor is 0."""
    backend, rows = x.backend, len(factors)
    terms = int(np.count_nonzero(factors, axis=1).max(initial=1))
    order = np.argsort(np.equal(factors, 0.0), axis=1, kind="stable")
    shape = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    total: RawTensor | None = None
    for place in range(terms):
        places = order[:, place]
        own = factors[np.arange(rows), places].reshape(shape)
        number = backend.astype(backend.from_numpy(own), x.dtype)
        wanted = backend.from_numpy(np.not_equal(own, 0.0))
        term = backend.mul(backend.where(wanted, x[_along(axis, places)].raw, 0), number)
        total = term if total is None else backend.add(total, term)
    assert total is not None
    return Tensor(total, backend)


def _beside(
    x: Tensor[B], axis: int, width: tuple[int, int], mode: str, pair: tuple[Any, Any]
) -> Tensor[B]:
    """With numbers of their own at both ends."""
    backend, n = x.backend, x.shape[axis]
    parts = [x.raw]
    for end in (0, 1):
        if mode == "linear_ramp":
            edge = x[_along(axis, slice(0, 1) if end == 0 else slice(n - 1, n))]
            added = _ramp(edge, axis, width[end], pair[end])
            added = Tensor(backend.flip(added.raw, axis), backend) if end else added
        else:
            m = n if pair[end] is None else min(n, pair[end])
            if m < 1:
                raise DomainError(
                    f"expected stat_length from 1 on in pad, got {pair[end]}; leave it out for all "
                    "elements"
                )
            number = _summary(
                x[_along(axis, slice(0, m) if end == 0 else slice(n - m, n))], axis, mode
            )
            shape = (*x.shape[:axis], width[end], *x.shape[axis + 1 :])
            added = Tensor(backend.broadcast_to(number.raw, shape), backend)
        parts = [*parts, added.raw] if end else [added.raw, *parts]
    return Tensor(backend.concatenate(parts, axis), backend)


def _ramp(edge: Tensor[B], axis: int, width: int, end: Scalar) -> Tensor[B]:
    """Numbers on a line from an end to an edge, which is not among them."""
    backend = edge.backend
    shape = tuple(-1 if i == axis else 1 for i in range(edge.ndim))
    kind = np.float64 if edge.dtype.kind in INTEGRAL else edge.dtype
    steps = Tensor(
        backend.astype(backend.from_numpy(np.arange(width).reshape(shape)), kind), backend
    )
    wide = edge if kind is edge.dtype else edge.astype(kind)
    ramp = steps * ((wide - end) / max(width, 1)) + end
    if kind is edge.dtype:
        return ramp
    return Tensor(backend.ufunc("floor", ramp.raw), backend).astype(edge.dtype)


def _summary(part: Tensor[B], axis: int, mode: str) -> Tensor[B]:
    """One number of the elements along an axis."""
    if mode != "mean":
        return part.max(axis, True) if mode == "maximum" else part.min(axis, True)
    if part.dtype.kind in INTEGRAL:
        mean = part.astype("float64").mean(axis, True)
        return Tensor(part.backend.ufunc("rint", mean.raw), part.backend).astype(part.dtype)
    return part.mean(axis, True)
