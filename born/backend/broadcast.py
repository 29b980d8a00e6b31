"""How arrays of several shapes are walked together."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from born.raw import Shape


class Walk(NamedTuple):
    """The axes of a result, joined where all its inputs allow it.

    Attributes:
        lengths: of the axes.
        strides: for each input, in elements of a contiguous array, along each axis; 0 where it
            broadcasts.
        full: those of the result.
    """

    lengths: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    full: tuple[int, ...]


@lru_cache(maxsize=1024)
def walk(shape: Shape, shapes: tuple[Shape, ...]) -> Walk:
    """How to walk contiguous arrays that broadcast to a shape.

    >>> walk((2, 3, 4), ((2, 3, 4), (4,), (2, 1, 1)))
    Walk(lengths=(2, 3, 4), strides=((12, 4, 1), (0, 0, 1), (1, 0, 0)), full=(12, 4, 1))
    >>> walk((2, 3, 4), ((2, 3, 4), (4,), (1,)))
    Walk(lengths=(6, 4), strides=((4, 1), (0, 1), (0, 0)), full=(4, 1))
    """
    every = [(1,) * (len(shape) - len(each)) + each for each in (shape, *shapes)]
    lengths: list[int] = []
    strides: list[list[int]] = [[] for _ in every]
    ends = [1] * len(every)  # the stride of the next axis to the left
    for axis in range(len(shape) - 1, -1, -1):
        length = shape[axis]
        steps = [end if each[axis] != 1 else 0 for each, end in zip(every, ends, strict=True)]
        ends = [end * each[axis] for each, end in zip(every, ends, strict=True)]
        if length == 1:
            continue
        if lengths and all(
            step == inner[0] * lengths[0] for step, inner in zip(steps, strides, strict=True)
        ):
            lengths[0] *= length
            continue
        lengths.insert(0, length)
        for step, inner in zip(steps, strides, strict=True):
            inner.insert(0, step)
    full, *rest = (tuple(each) for each in strides)
    return Walk(tuple(lengths), tuple(rest), full)
