"""The formulas of activations, traced: one of each, for every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from born.fusion import functions
from born.fusion.derivative import derivative
from born.fusion.formula import Formula, trace_formula


def _of_one(function: Callable[[Any], Any]) -> Formula:
    return trace_formula(function, {"x": False})


RELU: Final = _of_one(functions.relu)
RELU_GRADIENT: Final = derivative(RELU, [True], [1.0]).formula
"""From the gradient of a `relu` and its result to the gradient of its argument."""
SIGMOID: Final = _of_one(functions.sigmoid)
SILU: Final = _of_one(functions.silu)
SOFTPLUS: Final = _of_one(functions.softplus)
GELU: Final = _of_one(functions.gelu)
GELU_TANH: Final = _of_one(functions.gelu_tanh)
ERF: Final = _of_one(functions.erf)


def _of_sum(function: Callable[[Any], Any]) -> Formula:
    def biased(x: Any, bias: Any) -> Any:
        return function(x + bias)

    biased.__name__ = f"biased_{function.__name__}"
    return trace_formula(biased, {"x": False, "bias": False})


BIASED: Final = {
    function.__name__: _of_sum(function)
    for function in (
        functions.gelu,
        functions.sigmoid,
        functions.silu,
        functions.softplus,
        functions.tanh,
    )
}
"""Activation -> the same of a sum, as after a product and its bias."""
