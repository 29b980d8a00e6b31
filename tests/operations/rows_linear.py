"""Matrix products and affine maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.raw import HostArray, Shape
from tests.operations.drawing import Case, Draw
from tests.operations.row import Table

ROWS: Final = Table()


@ROWS.row("matmul", integers=True)
def _matmul(d: Draw) -> Case:
    m, k, n = (d.choice(d.lengths) for _ in range(3))
    left, right = d.broadcasting(2)
    x_shape: Shape = (k,) if d.flag() else (*left, m, k)
    y_shape: Shape = (k,) if d.flag() else (*right, k, n)
    return d.call(np.matmul, d.uniform(x_shape), d.uniform(y_shape))


def _affine(name: str, activation: Callable[[HostArray], Any]) -> None:
    def reference(x: HostArray, weight: HostArray, bias: HostArray | int = 0) -> Any:
        return activation(x @ weight.T + bias)

    @ROWS.row(name, integers=True)
    def _(d: Draw) -> Case:
        x, outputs = d.uniform(d.shape(1)), d.choice(d.lengths)
        parameters = d.uniform((outputs, x.shape[-1])), d.uniform((outputs,))
        return d.call(reference, x, *parameters[: d.choice((1, 2))])


_affine("linear", lambda y: y)
_affine("linear_relu", lambda y: np.maximum(y, 0))
