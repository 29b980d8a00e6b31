"""Layers that change the shape of what passes through them."""

from __future__ import annotations

import math

from typing_extensions import override

from born.backend import B
from born.errors import ShapeError
from born.nn.module import Stateless
from born.operands import backend_of
from born.tensor import Tensor
from born.validation import integer


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
