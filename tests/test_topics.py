"""One map: an operation is in the file of the same topic at every layer."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Final

import pytest

from born import ops
from born.backend import OPERATIONS, ArrayBackend, Backend
from tests.operations.row import Table
from tests.tools import ROOT

DERIVATIVES: Final = ROOT / "born" / "autodiff" / "derivatives"
REGISTRARS: Final = {"of_input", "of_result", "pullback_of", "constant"}

MAKING: Final = {"random": "creation", "transfer": "creation"}
"""What is drawn and what comes from the host is made, to the layers that compute nothing."""


def _entered(path: Path) -> list[str]:
    """The operations whose derivatives a file enters."""
    return [
        argument.value
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) in REGISTRARS
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def _rows(topic: str) -> Table:
    rows: Table = importlib.import_module(f"tests.operations.rows_{topic}").ROWS
    return rows


DERIVED: Final = {name: path.stem for path in DERIVATIVES.glob("*.py") for name in _entered(path)}
TESTED: Final = {
    name: path.stem.removeprefix("rows_")
    for path in (ROOT / "tests" / "operations").glob("rows_*.py")
    for name in _rows(path.stem.removeprefix("rows_"))
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_has_one_topic(name: str) -> None:
    methods = {"contract": getattr(Backend, name), "arrays": getattr(ArrayBackend, name)}
    if hasattr(ops, name):
        methods["ops"] = getattr(ops, name)
    topics = {layer: method.__module__.rpartition(".")[2] for layer, method in methods.items()}
    topics |= {"row": TESTED[name]}
    if name in DERIVED:
        topics |= {"derivative": DERIVED[name]}
    assert len({MAKING.get(topic, topic) for topic in topics.values()}) == 1, topics


def test_derivatives_are_of_operations() -> None:
    assert set(DERIVED) <= set(OPERATIONS)
    assert {"exp", "matmul", "argmax"} <= set(DERIVED), "the registrars are found"
