"""The formulas of recurrent cells, traced, and their derivatives.

`z` is what the input of a step gives to the gates, `q` what the hidden state gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from born.fusion.derivative import Derivative, derivative
from born.fusion.formula import Formula, trace_formula
from born.fusion.functions import relu, sigmoid, tanh


class Cell(NamedTuple):
    """A formula of arrays, and its derivative by all of them."""

    formula: Formula
    derivative: Derivative


def _cell(function: Callable[..., Any], arguments: str) -> Cell:
    formula = trace_formula(function, dict.fromkeys(arguments.split(), False))
    count = len(formula.arrays)
    return Cell(formula, derivative(formula, [True] * count, [1.0] * count))


def _tanh_cell(z: Any, q: Any) -> Any:
    return tanh(z + q)


def _relu_cell(z: Any, q: Any) -> Any:
    return relu(z + q)


def _lstm_memory(i: Any, f: Any, g: Any, c: Any) -> Any:
    return sigmoid(f) * c + sigmoid(i) * tanh(g)


def _lstm_hidden(o: Any, c: Any) -> Any:
    return sigmoid(o) * tanh(c)


def _gru_hidden(zr: Any, zu: Any, zn: Any, qr: Any, qu: Any, qn: Any, h: Any) -> Any:
    u, n = sigmoid(zu + qu), tanh(zn + sigmoid(zr + qr) * qn)
    return n + u * (h - n)


SIMPLE: Final = {"tanh": _cell(_tanh_cell, "z q"), "relu": _cell(_relu_cell, "z q")}
"""h of a plain recurrent network (Elman, 1990), by its activation."""
LSTM_MEMORY: Final = _cell(_lstm_memory, "i f g c")
"""c of a long short-term memory (Hochreiter and Schmidhuber, 1997; Gers et al., 2000)."""
LSTM_HIDDEN: Final = _cell(_lstm_hidden, "o c")
"""h of a long short-term memory."""
GRU: Final = _cell(_gru_hidden, "zr zu zn qr qu qn h")
"""h of a gated recurrent unit (Cho et al., 2014)."""

GATES: Final = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}
"""Cell -> how many gates its weights hold, one after the other."""
