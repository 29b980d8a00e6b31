"""Layers that change the shape of what passes through them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from typing_extensions import override

from born.backend import B
from born.backend.arguments import normal_axis
from born.errors import ConfigTypeError, ShapeError
from born.nn.module import Stateless
from born.nn.traversal import Layer
from born.operands import backend_of
from born.tensor import Tensor
from born.validation import integer, shape


class Identity(Stateless):
    """x as it is: a place for a layer that there may be or not.

    >>> Identity()(born.tensor([1.0, 2.0], backend)).numpy().tolist()
    [1.0, 2.0]
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return x


class Lambda(Stateless):
    """A function of a tensor as a layer, such as one of `born.ops` in a `Sequential`.

    Args:
        function: takes a tensor and returns one. For a module to be pickled, one that pickle finds
            by its name.

    >>> Lambda(born.ops.square)(born.tensor([3.0], backend)).item()
    9.0
    """

    def __init__(self, function: Callable[[Tensor[Any]], Tensor[Any]]) -> None:
        if not callable(function) or isinstance(function, Layer):
            raise ConfigTypeError(
                f"expected a function of a tensor, got {type(function).__name__}; pass a function, "
                "and leave out Lambda around a layer"
            )
        self.function = function

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return self.function(x)

    @override
    def __repr__(self) -> str:
        return f"Lambda({getattr(self.function, '__name__', repr(self.function))})"


class Unflatten(Stateless):
    """Make several axes of one: what `Flatten` does, undone.

    Args:
        axis: the axis.
        lengths: those of the axes in its place, whose product is its length.

    >>> Unflatten(1, (3, 4))(born.zeros((8, 12), backend)).shape
    (8, 3, 4)
    """

    def __init__(self, axis: int, lengths: Sequence[int]) -> None:
        self.axis = integer("axis", axis, least=None)
        self.lengths = shape("lengths", lengths)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        backend_of(type(self).__name__, x)
        place = normal_axis(self.axis, x.ndim)
        if x.shape[place] != math.prod(self.lengths):
            raise ShapeError(
                f"expected {math.prod(self.lengths)} elements along axis {self.axis}, for lengths "
                f"{self.lengths}, got shape {x.shape}; change the lengths or the axis"
            )
        return x.reshape(*x.shape[:place], *self.lengths, *x.shape[place + 1 :])


class Flatten(Stateless):
    """Make the axes from `start_axis` on one.

    Args:
        start_axis: the first axis that is flattened, at least 0; the default keeps the batch.

    >>> Flatten()(born.zeros((8, 3, 4, 4), backend)).shape
    (8, 48)
    """

    def __init__(self, start_axis: int = 1) -> None:
        self.start_axis = integer("start_axis", start_axis, least=0)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        backend_of(type(self).__name__, x)
        if x.ndim < self.start_axis:
            raise ShapeError(
                f"expected a tensor of at least {self.start_axis} axes to flatten from axis "
                f"{self.start_axis}, got shape {x.shape}; pass a batch or a smaller start_axis"
            )
        # -1 would be ambiguous for a tensor without elements.
        length = math.prod(x.shape[self.start_axis :])
        return x.reshape(*x.shape[: self.start_axis], length)
